//! No count without its chance: the table `pairs`, and the message where there is too little text for one.

use crate::bench_rig::{SKETCHED, latents, matches, project, run, small_demo};
use cognate::matching::Direction;
use cognate::table::{HistoryRow, MatchRow, PairRow, TableReader};
use std::collections::BTreeSet;
use std::path::Path;

pub fn pairs(run: &Path) -> Vec<PairRow> {
    TableReader::open(&run.join("tables/pairs.parquet")).unwrap().read_all().unwrap()
}

fn best(rows: &[MatchRow], pair: &PairRow, direction: Direction) -> Vec<MatchRow> {
    let is_it = |m: &&MatchRow| m.pair == pair.pair && m.direction == direction && m.rank == 1;
    rows.iter().filter(is_it).cloned().collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Every count that the rows of `matches` and `latents` hold, counted again from them; what only the rotated tiles know is held
/// against its bound.
#[test]
fn pairs_are_counted_as_their_matches_are() {
    let folder = tempfile::tempdir().unwrap();
    // batches that hold several documents each, so that rows lie beside other ones
    let flow = small_demo(folder.path(), &[("batch_contexts = 8", "batch_contexts = 64")]);
    let out = folder.path().join("run");
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).into_owned();
    let (matches, latents) = (matches(&out), latents(&out));
    let found = pairs(&out);
    assert_eq!(found.len(), 2);
    for row in &found {
        let c = &row.counts;
        let [forward, backward] = [Direction::Forward, Direction::Backward].map(|d| best(&matches, row, d));
        let point = |m: &MatchRow| m.correlation > m.significance.point && m.significance.point.is_some();
        let above = forward.iter().filter(|m| m.mutual).filter(|m| {
            let back = backward.iter().find(|b| b.target_latent == m.target_latent).unwrap();
            point(m) && point(back)
        });
        assert_eq!(c.n_mutual, forward.iter().filter(|m| m.mutual).count() as u64);
        assert_eq!(c.n_mutual_above_chance, Some(above.count() as u64));
        assert_eq!(c.n_kept, forward.iter().filter(|m| m.kept).count() as u64);
        assert_eq!(c.n_kept_backward, backward.iter().filter(|m| m.kept).count() as u64);
        let targets: BTreeSet<u32> = forward.iter().filter_map(|m| m.target_latent).collect();
        let sources: BTreeSet<u32> = backward.iter().filter_map(|m| m.source_latent).collect();
        assert_eq!(c.n_distinct_partners_forward, targets.len() as u64);
        assert_eq!(c.n_distinct_partners_backward, sources.len() as u64);
        let alive = latents.iter().filter(|l| *l.site == row.pair.source && l.alive).count() as u64;
        assert_eq!((c.n_alive_source, row.n_latents_source), (alive, forward.len() as u64));
        for (side, real, null) in [
            (&forward, c.mean_best_correlation_forward, c.null_mean_best_correlation_forward),
            (&backward, c.mean_best_correlation_backward, c.null_mean_best_correlation_backward),
        ] {
            let by_chance = mean(side.iter().filter_map(|m| m.significance.null_correlation));
            assert!((real.unwrap() - mean(side.iter().filter_map(|m| m.correlation))).abs() < 1e-12);
            assert!((null.unwrap() - by_chance).abs() < 1e-12);
        }
        // at most one in twenty of the chance maxima of either side is above its band's point
        let most = c.n_alive_source.min(c.n_alive_target) / 20;
        let null = c.n_mutual_above_chance_null.unwrap();
        assert!(null <= most && null < c.n_mutual_above_chance.unwrap() / 10, "{c:?}");
        // sparse latents that have nothing in common: some tenths of them are mutual
        let mutual = c.n_mutual_null.unwrap();
        assert!(mutual > c.n_alive_source / 10 && mutual < c.n_mutual, "{c:?}");
        assert!(c.n_distinct_partners_forward_null.unwrap() >= mutual, "a mutual partner is a partner");
        // rows of another document have no r that the filters keep, or few
        assert!(c.n_kept_null.unwrap() < c.n_kept / 2, "{c:?}");
        assert!(row.documents > 5 && row.own_document_share.unwrap() < 0.5 && row.too_few.is_none(), "{row:?}");
        assert_eq!(row.no_chance, None);
        let line = format!("{} ({})", c.n_mutual, mutual);
        assert!(said.contains(&line), "{line}: {said}");
    }
    assert!(said.contains("(chance ") && !said.contains("chance unknown"), "{said}");
    // tokens and paths are as long as they are
    let free = |l: &str| l.contains('~') || ["tables", "report", "next", "    "].iter().any(|head| l.starts_with(head));
    assert!(said.lines().all(|l| l.chars().count() <= 100 || free(l)), "{said}");
    let history: Vec<HistoryRow> = TableReader::open(&out.join("tables/history.parquet")).unwrap().read_all().unwrap();
    let last = history.iter().filter(|h| Some(h.snapshot) == history.last().map(|h| h.snapshot));
    for (h, row) in last.zip(&found) {
        assert_eq!((&h.pair, &h.counts), (&row.pair, &row.counts), "the last snapshot is the state");
    }
}

#[test]
fn rows_beside_their_own_document_are_told() {
    let folder = tempfile::tempdir().unwrap();
    // 512 tokens a batch, some 700 a document
    let flow = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 3_000")]);
    let out = folder.path().join("run");
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).into_owned();
    let rows = pairs(&out);
    assert_eq!(rows.len(), 2);
    for row in rows {
        let share = row.own_document_share.unwrap();
        assert!(share > 0.5 && share < 1.0 && row.documents > 1, "{row:?}");
        let expected = format!("{:.0} % of the rotated rows lie beside their own document", 100.0 * share);
        assert!(row.too_few.as_ref().unwrap().starts_with(&expected) && said.contains(&expected), "{row:?} {said}");
        assert!(row.no_chance.is_none() && row.counts.n_mutual_null.is_some(), "a level that is too high is one");
    }
}

/// A run over one text, all tokens of one document.
fn one_text(folder: &Path, text: &str) -> (PairRow, Vec<MatchRow>, String) {
    let corpus = folder.join("one.jsonl");
    std::fs::write(&corpus, serde_json::json!({ "text": text, "lang": "en" }).to_string()).unwrap();
    let corpus = format!("files = [{:?}]", corpus.to_str().unwrap());
    let flow = small_demo(folder, &[("files = [\"data/demo/corpus.jsonl\"]", &corpus)]);
    let out = folder.join("run");
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).into_owned();
    (pairs(&out).remove(0), matches(&out), said)
}

#[test]
fn one_document_has_no_chance_level_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(project().join("README.md")).unwrap();
    let (row, matches, said) = one_text(folder.path(), &text);
    assert!(row.documents == 1 && row.tokens > 1000 && row.own_document_share == Some(1.0), "{row:?}");
    assert_eq!(row.too_few.as_deref(), Some("1 document: no chance level"));
    assert_eq!(row.no_chance.as_deref(), Some("1 document"));
    let c = &row.counts;
    assert!(c.n_mutual > 0 && c.mean_best_correlation_forward.is_some());
    let nulls = [c.n_mutual_null, c.n_mutual_above_chance, c.n_mutual_above_chance_null, c.n_kept_null];
    assert_eq!((nulls, c.null_mean_best_correlation_forward), ([None; 4], None));
    for m in &matches {
        let levels =
            (m.significance.null_correlation, m.significance.point, m.significance.p_value, m.significance.q_value);
        assert_eq!(levels, (None, None, None, None), "{m:?}");
    }
    assert!(said.contains("caution: 1 document: no chance level"), "{said}");
    assert!(said.contains(&format!("{} (?)", c.n_mutual)) && said.contains("(chance unknown)"), "{said}");
}

#[test]
fn a_few_tokens_say_nothing_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (row, _, said) = one_text(folder.path(), "of the");
    assert!(row.tokens < 5, "{row:?}");
    let expected = format!("{} tokens: too few to say anything; 1 document: no chance level", row.tokens);
    assert_eq!(row.too_few.as_deref(), Some(expected.as_str()));
    assert!(said.contains(&format!("caution: {expected}")), "{said}");
}

#[test]
fn a_sketch_has_no_chance_level_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[SKETCHED, ("max_tokens = 12_000", "max_tokens = 4_000")]);
    let out = folder.path().join("run");
    let said = String::from_utf8_lossy(&run(&flow, &out, &[]).stdout).into_owned();
    for row in pairs(&out) {
        assert_eq!(row.no_chance.as_deref(), Some("a sketch has no rotated rows"));
        assert_eq!((row.too_few, row.counts.n_mutual_null), (None, None));
    }
    assert!(said.contains("caution: chance unknown: a sketch has no rotated rows"), "{said}");
}
