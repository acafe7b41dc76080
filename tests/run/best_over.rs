//! The best over all places of a model against a look at every best match of every pair, and what identical places must
//! give.

use crate::bench_rig::{matches, run, small_demo};
use cognate::matching::Direction;
use cognate::table::{
    BestOverCounts, BestOverRow, BestOverScore, MatchRow, RowPairing, SimilarityRow, TableReader, TableRow,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Latent = (String, u32);

fn rows<R: TableRow>(run: &Path) -> Vec<R> {
    TableReader::open(&run.join(format!("tables/{}.parquet", R::TABLE))).unwrap().read_all().unwrap()
}

/// The latent that picks, the one that is picked, r, and the picker's chance level.
fn pick(m: &MatchRow) -> Option<(Latent, Latent, f64, f64)> {
    let source = (m.pair.source.to_string(), m.source_latent?);
    let target = (m.pair.target.to_string(), m.target_latent?);
    let (own, other) = if m.direction == Direction::Forward { (source, target) } else { (target, source) };
    Some((own, other, m.correlation?, m.significance.null_correlation?)).filter(|_| m.rank == 1)
}

fn model(place: &str) -> String {
    place.split('/').next().unwrap().to_string()
}

#[test]
fn the_best_over_places_is_the_best_of_all_pairs_and_so_is_its_chance() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // two places of each model
    let fourth = "[saes.\"small-b/resid_post.5\"]\npath = \"data/demo/saes/small-b/layers.5\"\n[compare]";
    let more = [
        ("[compare]", fourth),
        ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = [\"cka\", \"cka_debiased\"]"),
        ("activation_permutations = 2", "activation_permutations = 19"),
        ("max_tokens = 12_000", "max_tokens = 6_000"),
    ];
    run(&small_demo(folder.path(), &more), &out, &["--quiet", "--workers", "2"]);
    let found = rows::<BestOverRow>(&out);
    let picks: Vec<(Latent, Latent, f64, f64)> = matches(&out).iter().filter_map(pick).collect();
    let mut of_latent: BTreeMap<Latent, Vec<(Latent, f64, f64)>> = BTreeMap::new();
    picks.into_iter().for_each(|(own, other, r, null)| of_latent.entry(own).or_default().push((other, r, null)));
    // ties to the lower place, as the table is sorted by it, then to the lower latent
    let best: BTreeMap<Latent, (Latent, f64, f64)> = (of_latent.iter())
        .map(|(own, all)| {
            let top = all.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
            let first = all.iter().filter(|p| p.1 == top).map(|p| p.0.clone()).min().unwrap();
            (own.clone(), (first, top, all.iter().map(|p| p.2).fold(f64::NEG_INFINITY, f64::max)))
        })
        .collect();
    assert_eq!(found.len(), 4 * 1024);
    let (mut mutual, mut above) = (0, [0u64; 2]);
    for row in &found {
        let own = (row.site.to_string(), row.latent);
        assert_eq!((row.places, row.target_model != row.site.model.as_str().into()), (2, true), "{row:?}");
        let chosen = row.best.as_ref().map(|(site, latent, _)| (site.to_string(), *latent));
        let Some((other, r, null)) = best.get(&own) else { continue };
        assert!(row.best.as_ref().is_some_and(|b| b.0.model.as_str() == &*row.target_model));
        assert_eq!((chosen.as_ref(), row.best.as_ref().unwrap().2), (Some(other), *r));
        assert_eq!(row.significance.null_correlation, Some(*null), "{row:?}");
        assert_eq!(row.mutual, best[other].0 == own, "{row:?}");
        mutual += u64::from(row.mutual);
        above[usize::from(model(&own.0) == "small-b")] += u64::from(*r > row.significance.point.unwrap());
    }
    let counts = &rows::<BestOverCounts>(&out)[0];
    assert_eq!((counts.models.join(" "), counts.counts.n_places), ("small-a small-b".into(), [2, 2]));
    assert_eq!((2 * counts.counts.n_mutual, counts.counts.n_above_chance), (mutual, above.map(Some)));
    let c = &counts.counts;
    for d in 0..2 {
        let (here, by_chance) = (c.n_above_chance[d].unwrap(), c.n_above_chance_null[d].unwrap());
        assert!(by_chance <= c.n_best[d] / 20 + 1 && here > 5 * by_chance, "{c:?}");
        assert!(c.mean_best[d] > c.mean_best_null[d]);
    }
    assert!(c.n_mutual_above_chance_null.unwrap() < c.n_mutual_above_chance.unwrap() / 5, "{c:?}");
    // to compete raises chance
    let single = rows::<cognate::table::PairRow>(&out);
    assert!(single.iter().all(|p| p.counts.null_mean_best_correlation_forward.unwrap() < c.mean_best_null[0].unwrap()));

    // the closest places by each score
    let scores: Vec<SimilarityRow> = rows(&out);
    let closest: Vec<BestOverScore> = rows(&out);
    let keys: BTreeSet<(RowPairing, &str)> = scores.iter().map(|s| (s.pairing, s.measure.as_str())).collect();
    assert_eq!(keys, closest.iter().map(|s| (s.pairing, s.measure.as_str())).collect());
    for s in &closest {
        let of = || scores.iter().filter(|t| (t.pairing, &t.measure) == (s.pairing, &s.measure) && !t.no_power);
        let top = of().filter_map(|t| t.value).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!((s.numbers.value, s.place_pairs as usize), (Some(top), of().count()), "{s:?}");
        assert_eq!(of().find(|t| t.value == Some(top)).unwrap().pair, s.pair);
        // the best of each permutation is at least the best of the means
        let highest =
            |of_row: &dyn Fn(&SimilarityRow) -> Option<f64>| of().filter_map(of_row).fold(f64::NEG_INFINITY, f64::max);
        let runs = if s.pairing == RowPairing::Activations { 19 } else { 20 };
        assert_eq!(s.null_runs, runs, "{s:?}");
        assert!(s.numbers.null_mean.unwrap() >= highest(&|t| t.null_mean) - 1e-15, "{s:?}");
        // of 19 or 20 the point is the highest
        assert_eq!(s.numbers.null_point.unwrap(), highest(&|t| t.null_point), "{s:?}");
        let p = of().find(|t| t.value == Some(top)).unwrap().p_value.unwrap();
        assert!(s.numbers.p_value.unwrap() >= p - 1e-15, "no less than that of the pair alone: {s:?}");
        if s.pairing == RowPairing::Activations {
            assert!(s.numbers.p_value == Some(0.05) && s.numbers.calibrated.unwrap() > 0.0);
        }
    }
    // with so many tokens there is little bias to take off
    let value = |measure: &str| closest.iter().find(|s| s.measure == measure).unwrap().numbers.value.unwrap();
    let cka = closest.iter().find(|s| s.measure == "cka" && s.pairing == RowPairing::Activations).unwrap();
    let debiased = value("cka_debiased");
    assert!(
        debiased < cka.numbers.value.unwrap() && debiased > cka.numbers.value.unwrap() - 0.05,
        "{debiased} {cka:?}"
    );
}

/// Tokens are permuted alike in every pair: two places of the same activations have the same nulls, to the last bit.
#[test]
fn pairs_of_places_that_are_the_same_have_the_same_permutations() {
    let folder = tempfile::tempdir().unwrap();
    let third = "[models.small-c]\npath = \"data/demo/models/small-b\"\n[saes.\"small-c/resid_post.3\"]\npath = \"data/demo/saes/small-b/layers.3\"\n[compare]";
    let more = [
        ("[compare]", third),
        ("measures = [\"svcca_k10\", \"cka\"]\npairings", "measures = []\npairings"),
        ("pairings = [\"forward\", \"backward\", \"mutual\"]\n", ""),
        ("null = { permutations = 20, activation_permutations = 2 }", "null = { activation_permutations = 3 }"),
        ("max_tokens = 12_000", "max_tokens = 3_000"),
    ];
    let out = folder.path().join("run");
    run(&small_demo(folder.path(), &more), &out, &["--quiet"]);
    let scores: Vec<SimilarityRow> = rows(&out);
    let of = |target: &str| {
        let mine = scores
            .iter()
            .filter(|s| s.pair.source.to_string() == "small-a/resid_post.2" && s.pair.target.model == target);
        mine.map(|s| (s.measure.clone(), s.value, s.null_mean, s.null_sd)).collect::<Vec<_>>()
    };
    assert_eq!(of("small-b").len(), 2);
    assert_eq!(of("small-b"), of("small-c"));
}
