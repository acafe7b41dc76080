//! The figures of listed partners, from the tables that a run leaves.

use crate::bench_rig::{SKETCHED, cognate, latents, matches, run, small_demo};
use cognate::matching::Direction;
use cognate::table::{PairRow, TableReader};
use std::path::Path;

fn pairs(run: &Path) -> Vec<PairRow> {
    TableReader::open(&run.join("tables/pairs.parquet")).unwrap().read_all().unwrap()
}

fn given(how: &'static str) -> (&'static str, &'static str) {
    ("null = {", how)
}

#[test]
fn listed_partners_are_counted_and_the_counts_of_a_pair_are_those_of_its_matches() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[given("null = { given = { mode = \"full\" },"), ("batch_contexts = 8", "batch_contexts = 64")],
    );
    let out = folder.path().join("run");
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).into_owned();
    assert!(said.contains("given token"), "{said}");
    let (rows, sums) = (matches(&out), latents(&out));
    assert!(rows.iter().any(|m| m.rank == 1 && m.listed.counted_rows.is_some_and(|n| n > 3_000)));
    assert!(rows.iter().filter(|m| m.rank > 1).filter(|m| m.listed.counted_rows.is_some()).count() * 4 < rows.len());
    for m in &rows {
        let l = &m.listed;
        let Some(n_both) = l.n_both else {
            assert_eq!((l.jaccard, l.within_correlation, l.given_rows), (None, None, None), "{m:?}");
            continue;
        };
        let active = |latent: Option<u32>, site: &cognate::ids::Site| {
            sums.iter().find(|row| *row.site == *site && Some(row.latent) == latent).unwrap().n_active
        };
        assert!(n_both <= active(m.source_latent, &m.pair.source).min(active(m.target_latent, &m.pair.target)));
        if l.given_rows < Some(20) {
            assert_eq!((l.token_correlation, l.within_correlation), (None, None), "{m:?}");
        }
        for r in [l.token_correlation, l.within_correlation, l.phi].into_iter().flatten() {
            assert!((-1.0..=1.0).contains(&r), "{m:?}");
        }
        // both directions tell the same of the same two
        let back = rows.iter().find(|b| {
            b.direction != m.direction
                && b.pair == m.pair
                && (b.source_latent, b.target_latent) == (m.source_latent, m.target_latent)
        });
        if let Some(back) = back {
            let key = |l: &cognate::table::ListedCells| (l.n_both, l.within_correlation, l.sampling_error);
            assert_eq!(key(&back.listed), key(l));
        }
    }
    for m in rows.iter().filter(|m| m.rank == 1 && m.correlation.is_some()) {
        assert!(m.listed.token_p_value.is_some_and(|p| p > 0.0 && p <= 1.0), "{m:?}");
        assert!(m.listed.token_best_correlation.is_none_or(|r| r <= 1.0), "{m:?}");
    }
    for row in pairs(&out) {
        let mutual = || rows.iter().filter(|m| m.pair == row.pair && m.direction == Direction::Forward && m.mutual);
        let n = |test: &dyn Fn(f64) -> bool| {
            mutual().filter_map(|m| m.listed.within_correlation).filter(|r| test(*r)).count()
        };
        let c = &row.counts;
        assert_eq!([c.n_mutual_given, c.n_mutual_within], [n(&|_| true), n(&|r| r >= 0.3)].map(|n| n as u64));
        assert!(c.n_mutual_given > 0 && c.n_mutual_within_null <= c.n_mutual_within, "{c:?}");
    }
    let shares: Vec<f64> = sums.iter().filter_map(|l| l.token_share).collect();
    assert!(shares.len() > 100 && shares.iter().all(|s| (-1.0..=1.0).contains(s)), "{}", shares.len());
    assert!(sums.iter().all(|l| (l.documents > 0) == l.alive && l.documents <= l.n_active));

    let refused = cognate().args(["score", "--set", "estimate.null.given.key=bigram"]).arg(&out).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && text.contains("that key changes the sums"), "{text}");
    let scored = folder.path().join("scored");
    let output =
        cognate().args(["score", "--set", "estimate.filters.min_active=5", "--out"]).arg(&scored).arg(&out).output();
    assert!(output.unwrap().status.success());
    let told = |run: &Path| -> Vec<_> {
        matches(run).into_iter().map(|m| (m.source_latent, m.target_latent, m.listed)).collect()
    };
    assert_eq!(told(&scored), told(&out), "saved sums tell the same");
}

#[test]
fn what_is_not_asked_for_is_null_and_what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let short = ("max_tokens = 12_000", "max_tokens = 7_000");
    let out = folder.path().join("without");
    let flow = small_demo(folder.path(), &[given("null = { given = false,"), short]);
    run(&flow, &out, &["--quiet"]);
    let rows = matches(&out);
    assert!(
        rows.iter().any(|m| m.listed.jaccard.is_some()) && rows.iter().all(|m| m.listed.within_correlation.is_none())
    );
    assert!(latents(&out).iter().all(|l| l.token_share.is_none() && l.given_rows.is_none()));
    let out = folder.path().join("none");
    let flow = small_demo(folder.path(), &[("snapshot_every = 3_000", "snapshot_every = 3_000\nlisted = 0"), short]);
    run(&flow, &out, &["--quiet"]);
    assert!(matches(&out).iter().all(|m| m.listed.counted_rows.is_none()));
    let refusal = |replace: &[(&str, &str)]| {
        let flow = small_demo(folder.path(), replace);
        let output = cognate().args(["plan"]).arg(&flow).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let full = given("null = { given = { mode = \"full\" },");
    assert!(refusal(&[full, SKETCHED]).contains("compare.cross = \"sketch\" keeps none"));
    let text = refusal(&[given("null = { given = { key = \"trigram\" },")]);
    assert!(text.contains("estimate.null.given.key: unknown variant `trigram`"), "{text}");
    // a filter that asks for what is hardly counted yet says what it dropped, and why
    let few = [
        ("max_tokens = 12_000", "max_tokens = 3_600"),
        ("min_active = 3, one_to_one = true", "min_active = 3, one_to_one = true, min_within = -1"),
    ];
    let out = folder.path().join("few");
    let said = String::from_utf8_lossy(&run(&small_demo(folder.path(), &few), &out, &[]).stdout).into_owned();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let unknown = matches(&out)
        .iter()
        .filter(|m| m.rank == 1 && m.direction == Direction::Forward && m.dropped_by.as_deref() == Some("min_within"))
        .count();
    assert!(unknown > 20, "{unknown}");
    assert!(
        said.contains("filters.min_within dropped ") && said.contains("their r given the token is not known"),
        "{said}"
    );
    assert!(
        refusal(&[("snapshot_every = 3_000", "snapshot_every = 3_000\nlisted = 6")])
            .contains("estimate.listed is 6, expected 0 to 5")
    );
}
