//! Rows of every table that the tests of this room write, and what each file asks: `files` how a table is written and read back, `differences`
//! how two are compared.

mod differences;
mod files;

use super::*;
use crate::ids::Site;
use crate::matching::groups::GroupKind;
use crate::matching::{Direction, Significance};
use crate::similarity::{MapKind, Units};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn site(text: &str) -> Arc<Site> {
    Arc::new(text.parse().unwrap())
}

fn pair(source: &str, target: &str) -> Arc<SitePair> {
    Arc::new(SitePair { source: source.parse().unwrap(), target: target.parse().unwrap() })
}

fn labels() -> Vec<LabelColumn> {
    // A dot in a value: names alone could not be taken apart again.
    [("lang", "de"), ("lang", "en.us"), ("domain", "law")]
        .map(|(field, value)| LabelColumn { field: field.into(), value: value.into() })
        .into()
}

fn latents(n: u32) -> Vec<LatentRow> {
    let row = |place: &str, i: u32| {
        let x = f64::from(i) / 7.0;
        let token = |k: u32| TopTokenCell {
            token: format!(" t{k}"),
            value: (i * 3 + k) as f32 / 3.0,
            context: format!("ein »Satz« um {k}\n"),
            document: format!("doc-{}", i % 5),
        };
        LatentRow {
            documents: 2,
            given_rows: Some(30),
            token_share: Some(0.25),
            site: site(place),
            latent: i,
            n_active: u64::from(i % 4),
            frequency: x,
            mean: x / 3.0,
            std: x.sqrt(),
            max: (!i.is_multiple_of(4)).then_some(x as f32),
            alive: !i.is_multiple_of(4),
            top: (0..i % 4).map(token).collect(),
            categories: (!i.is_multiple_of(3)).then(|| (0..i % 3 - 1).map(|k| format!("category {k}")).collect()),
            labels: vec![
                Some(LabelSum { n_active: u64::from(i), sum: x }),
                None,
                (i.is_multiple_of(2)).then_some(LabelSum { n_active: 1, sum: -x }),
            ],
        }
    };
    // Sorted by place in the network: by letters resid_post.10 would come first.
    ["a/resid_post.2", "a/resid_post.10", "b/embed"].iter().flat_map(|place| (0..n).map(|i| row(place, i))).collect()
}

fn matches(n: u32) -> Vec<MatchRow> {
    let p = pair("a/resid_post.2", "b/mlp_out.3");
    let mut rows = Vec::new();
    for direction in [Direction::Forward, Direction::Backward] {
        for i in 0..n {
            for rank in 1..=if i.is_multiple_of(3) { 1 } else { 2 } {
                let partner = (!i.is_multiple_of(3)).then_some(i * 2 + rank);
                let (source_latent, target_latent) =
                    if direction == Direction::Forward { (Some(i), partner) } else { (partner, Some(i)) };
                rows.push(MatchRow {
                    cosines: RowCosines {
                        decoder: partner.map(|q| -0.5 / f64::from(q + 1)),
                        encoder: partner.map(|_| 0.25),
                        mapped: partner.map(|q| 0.75 / f64::from(q + 1)),
                        logits: partner.map(|q| -0.125 / f64::from(q + 1)),
                    },
                    listed: ListedCells {
                        counted_rows: partner.map(|_| 1000 + u64::from(i)),
                        n_both: partner.map(u64::from),
                        given_rows: Some(u64::from(i)),
                        sampling_error: partner.map(|q| f64::from(q) / 9.0),
                        jaccard: Some(0.5),
                        target_given_source: partner.map(|q| 1.0 / f64::from(q + 1)),
                        source_given_target: None,
                        phi: Some(-0.25),
                        token_correlation: partner.map(|q| 0.5 / f64::from(q + 1)),
                        within_correlation: partner.map(|q| -1.0 / f64::from(q + 2)),
                        null_within_correlation: Some(f64::from(i) / 64.0),
                        token_best_correlation: Some(f64::from(i) / 32.0),
                        token_p_value: partner.map(|q| 1.0 / f64::from(q + 3)),
                    },
                    pair: p.clone(),
                    source_latent,
                    target_latent,
                    correlation: partner.map(|q| f64::from(q).sin()),
                    significance: Significance {
                        null_correlation: partner.map(|q| f64::from(q).cos()),
                        point: partner.map(|q| f64::from(q).cos() / 2.0),
                        p_value: partner.map(|q| 1.0 / f64::from(q + 1)),
                        q_value: partner.map(|q| 1.0 / f64::from(q + 2)),
                        margin: (rank == 1 && partner.is_some()).then_some(0.125),
                    },
                    exact_tokens: u64::from(i) << 40,
                    sketch_error: partner.map(|q| f64::from(q) / 7.0),
                    rank,
                    direction,
                    mutual: i.is_multiple_of(2),
                    kept: i.is_multiple_of(5) && partner.is_some(),
                    dropped_by: if partner.is_none() {
                        Some("dead".into())
                    } else {
                        (!i.is_multiple_of(5)).then(|| "min_active".into())
                    },
                });
            }
        }
    }
    rows
}

fn similarities() -> Vec<SimilarityRow> {
    let mut rows = Vec::new();
    for subset in ["all", "emotions"] {
        for pairing in [RowPairing::Forward, RowPairing::Backward, RowPairing::Mutual, RowPairing::Activations] {
            for (measure, value) in [("cka", Some(0.25)), ("svcca", None)] {
                rows.push(SimilarityRow {
                    pair: pair("a/resid_post.2", "b/mlp_out.3"),
                    subset: subset.into(),
                    pairing,
                    measure: measure.into(),
                    value,
                    n_pairs: 12,
                    components_source: value.map(|_| 3),
                    components_target: None,
                    no_power: value.is_none(),
                    one_decoder: value.is_some(),
                    null_mean: value,
                    null_sd: None,
                    null_point: None,
                    calibrated: None,
                    null_runs: 1000,
                    p_value: value.map(|v| v / 1000.0),
                    q_value: value.map(|v| v / 500.0),
                });
            }
        }
    }
    rows
}

/// Another value in every column; every third null is none.
fn counts(n: u64) -> PairCounts {
    let null = |k: u64| (!(n + k).is_multiple_of(3)).then_some(100 * n + k);
    PairCounts {
        n_mutual_given: 5,
        n_mutual_within: 3,
        n_mutual_within_null: 1,
        mean_best_correlation_forward: Some(0.5),
        null_mean_best_correlation_forward: null(0).map(|n| n as f64 / 1e4),
        mean_best_correlation_backward: None,
        null_mean_best_correlation_backward: null(1).map(|n| n as f64 / 1e5),
        n_alive_source: 1,
        n_alive_target: 2,
        n_mutual: 3,
        n_mutual_null: null(2),
        n_mutual_above_chance: null(3),
        n_mutual_above_chance_null: null(4),
        n_distinct_partners_forward: 5,
        n_distinct_partners_forward_null: null(5),
        n_distinct_partners_backward: 6,
        n_distinct_partners_backward_null: null(6),
        n_kept: 7,
        n_kept_null: null(7),
        n_kept_backward: 8,
        n_kept_backward_null: null(8),
    }
}

fn pair_table(n: u32) -> Vec<PairRow> {
    let row = |k: u32| PairRow {
        dictionary: DictionaryScores {
            pw_mcc: Some(0.5),
            shared_null: k.is_multiple_of(2).then_some(0.125),
            ..DictionaryScores::default()
        },
        pair: pair(&format!("a/resid_post.{k}"), "b/mlp_out.3"),
        tokens: 1 << 40,
        documents: u64::from(k),
        own_document_share: (k > 1).then(|| 1.0 / f64::from(k)),
        too_few: (k < 2).then(|| format!("{k} documents")),
        no_chance: k.is_multiple_of(2).then(|| "a sketch".to_string()),
        one_decoder: k.is_multiple_of(2),
        n_own_partner: k.is_multiple_of(2).then_some(7),
        n_own_partner_null: k.is_multiple_of(4).then_some(1),
        n_latents_source: 1024,
        n_latents_target: 2048,
        counts: counts(u64::from(k)),
        mapped: CosineScores { mean: (k > 1).then_some(0.5), null_point: Some(0.25), ..CosineScores::default() },
        logits: LogitScores(CosineScores { null_mean: Some(0.125), ..CosineScores::default() }),
    };
    (0..n).map(row).collect()
}

fn history(n_snapshots: u32) -> Vec<HistoryRow> {
    let pairs = [pair("a/resid_post.2", "b/mlp_out.3"), pair("a/resid_post.10", "b/mlp_out.3")];
    let row = |snapshot: u32, pair: &Arc<SitePair>| HistoryRow {
        snapshot,
        tokens: u64::from(snapshot + 1) * 50_000,
        pair: pair.clone(),
        counts: counts(u64::from(snapshot)),
        repeated_contexts: (snapshot > 0).then_some(0.25),
        repeated_contexts_error: (snapshot > 1).then_some(0.004),
        churn: (snapshot > 0).then_some(0.01),
        measures: vec![Some(0.75), None],
    };
    (0..n_snapshots).flat_map(|s| pairs.iter().map(move |p| row(s, p))).collect()
}

fn groups(n: u32) -> Vec<GroupRow> {
    let sites = ["a/resid_post.2", "a/resid_post.10", "b/mlp_out.3"].map(site);
    let missing = |k: u32| {
        let closest = !k.is_multiple_of(3);
        let here = Missing {
            model: "c".into(),
            hookpoint: closest.then(|| "embed".to_string()),
            latent: closest.then_some(k),
            correlation: closest.then_some(0.125),
            readout_r2: (k % 2 == 1).then_some(0.5),
            readout_point: (k % 4 == 1).then_some(0.25),
        };
        vec![here; (k % 3) as usize]
    };
    let row = |group: u32, site: &Arc<Site>| GroupRow {
        group: group + 1,
        size: 3,
        models: 2,
        kind: [GroupKind::Clique, GroupKind::Chain, GroupKind::Conflict][group as usize % 3],
        edges: 1,
        edges_possible: 1 + group,
        min_correlation: 0.5,
        mean_correlation: 0.75,
        min_within: (!group.is_multiple_of(2)).then_some(-0.25),
        site: site.clone(),
        latent: group,
        frequency: 0.25,
        degree: 2,
        best: group.is_multiple_of(2),
        top: (0..group % 4).map(|k| format!(" t{k}")).collect(),
        missing: missing(group),
    };
    (0..n).flat_map(|group| sites.iter().map(move |site| row(group, site))).collect()
}

fn group_sizes() -> Vec<GroupSizeRow> {
    let row = |models: u32, places: u32, known: bool| GroupSizeRow {
        models,
        places,
        groups: 9,
        null_groups: known.then_some(2),
        complete: 4,
        null_complete: known.then_some(1),
    };
    vec![row(3, 4, true), row(3, 3, false), row(2, 5, true)]
}

fn cycles() -> Vec<CycleRow> {
    let row = |[a, b, c]: [&str; 3], known: bool| CycleRow {
        sites: [a, b, c].map(|model| site(&format!("{model}/embed"))),
        latents: 8,
        returned: 6,
        null_latents: known.then_some(0),
        null_returned: known.then_some(0),
    };
    vec![row(["a", "b", "c"], true), row(["a", "c", "b"], false)]
}

fn origin() -> BTreeMap<String, String> {
    BTreeMap::from([("fingerprint".to_string(), "f00d".to_string()), ("rows".to_string(), "50000".to_string())])
}

/// Writes, reads back, and checks bytes, shape and origin on the way.
pub(super) fn round_trip<R: TableRow + Clone + PartialEq + std::fmt::Debug>(
    shape: R::Shape,
    rows: Vec<R>,
) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let [once, again] = ["once", "again"].map(|name| dir.path().join(name));
    let record = write_table(&once, shape.clone(), &origin(), rows.clone()).unwrap();
    prop_assert_eq!(
        &record,
        &write_table(&again, shape.clone(), &origin(), rows.clone()).unwrap(),
        "the same rows, the same bytes"
    );
    let reader = TableReader::<R>::open(&once).unwrap();
    prop_assert_eq!(reader.shape(), &shape);
    prop_assert_eq!(reader.origin()["fingerprint"].as_str(), "f00d");
    prop_assert_eq!(reader.n_rows(), rows.len() as u64);
    prop_assert_eq!(reader.read_all().unwrap(), rows);
    Ok(())
}

fn read_out(n: u32) -> Vec<ReadoutRow> {
    let verdicts =
        [Some(Verdict::Matched), Some(Verdict::Dropped), Some(Verdict::Readable), Some(Verdict::Absent), None];
    let row = |direction: Direction, latent: u32| ReadoutRow {
        pair: pair("a/resid_post.2", "b/mlp_out.3"),
        direction,
        latent,
        partner: (!latent.is_multiple_of(3)).then_some(latent * 7),
        found: ReadoutNumbers {
            r_squared: (latent > 1).then(|| f64::from(latent).sin()),
            norm: Some(f64::from(latent) / 3.0),
            ..ReadoutNumbers::default()
        },
        verdict: verdicts[latent as usize % verdicts.len()],
        by_chance: [None, Some([true, false]), Some([false, true])][latent as usize % 3],
    };
    let both = [Direction::Forward, Direction::Backward].into_iter();
    both.flat_map(|direction| (0..n).map(move |latent| row(direction, latent))).collect()
}

fn maps() -> Vec<MapRow> {
    let row = |direction, kind, k: u32| MapRow {
        pair: pair("a/resid_post.2", "b/mlp_out.3"),
        direction,
        kind,
        units: if k == 0 { Units::Raw } else { Units::Std },
        ridge: f64::from(k) / 8.0,
        tokens: 1 << 33,
        score: MapNumbers { r_squared: (k > 0).then(|| f64::from(k) / 3.0), null: Some(-0.125) },
    };
    let both = [Direction::Forward, Direction::Backward].into_iter();
    both.flat_map(|d| [row(d, MapKind::LeastSquares, 1), row(d, MapKind::Orthogonal, 0)]).collect()
}

#[test]
fn a_share_of_nothing_is_not_known() {
    let shares: Vec<_> = cycles().iter().map(|c| (c.share(), c.null_share())).collect();
    assert_eq!(shares, [(Some(0.75), None); 2]);
}

#[test]
fn the_point_of_cosines_leaves_one_in_twenty_of_the_null_above() {
    let null: Vec<f64> = (0..100).map(|k| f64::from(k * 37 % 100) / 100.0).collect();
    let found = CosineScores::of(&[0.1, 0.95, 0.99, 0.5], &null);
    assert_eq!(found.null_point, Some(0.94));
    assert_eq!(found.share_above, Some(0.5));
    assert!((found.mean.unwrap() - 0.635).abs() < 1e-12 && (found.null_mean.unwrap() - 0.495).abs() < 1e-12);
    assert_eq!(CosineScores::of(&[], &[]), CosineScores::default());
}
