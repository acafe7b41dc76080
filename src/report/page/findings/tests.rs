//! Findings of small pages that are written by hand.

use super::*;
use crate::report::page::data::HistoryData;

fn score(measure: &str, subset: &str, p: f64, no_power: bool) -> ScoreData {
    ScoreData {
        pair: 0,
        subset: subset.into(),
        pairing: "mutual",
        measure: measure.into(),
        value: Some(0.5),
        null_mean: Some(0.1),
        null_sd: Some(0.1),
        null_runs: 100,
        p: Some(p),
        q: Some(p),
        n: 9,
        no_power,
        one_decoder: false,
    }
}

#[test]
fn a_control_is_named_first_and_scores_at_their_null_are_not_beyond_it() {
    let scores = vec![score("svcca_k20", "all", 0.9, false)];
    let first_score = Some(["svcca_k20", "mutual", "all"].map(String::from));
    let data = PageData {
        scores,
        first_score,
        control: Some("weights drawn at random (a seed 1)".into()),
        ..PageData::default()
    };
    assert!(control(&data).unwrap().text.contains("drawn at random (a seed 1)"));
    assert!(control(&PageData { control: None, ..data.clone() }).is_none());
    // a score below chance, or one that is not above it, is not beyond it; one far above is
    let lead = |p: f64| {
        let scores = vec![ScoreData { pair: 1, ..score("svcca_k20", "all", p, false) }];
        beyond_chance(&PageData { scores, ..data.clone() }).unwrap().lead
    };
    assert_eq!([lead(0.9), lead(0.01)], ["Not beyond chance.", "Beyond chance."]);
}

#[test]
fn one_quiet_snapshot_is_not_yet_converged() {
    let found = |churn: &[Option<f64>]| {
        let tokens = (1..=churn.len() as u64).map(|k| 1000 * k).collect();
        let series = [("churn".to_owned(), vec![churn.to_vec()])].into();
        converged(&PageData { history: HistoryData { tokens, series }, ..PageData::default() })
    };
    let lead = |churn: &[Option<f64>]| found(churn).map(|f| f.lead);
    assert_eq!(lead(&[None, Some(0.2), Some(0.06)]), Some("Not converged yet."));
    assert_eq!(lead(&[None, Some(0.2), Some(0.05)]), Some("Nearly converged."));
    assert_eq!(lead(&[None, Some(0.2), Some(0.05), Some(0.04)]), Some("Converged."));
    assert_eq!(lead(&[None]), None);
    assert!(found(&[None, Some(0.04), Some(0.04)]).unwrap().text.contains("since 2\u{202f}000 tokens"));
}

#[test]
fn categories_are_told_by_a_measure_that_can_tell() {
    let mut scores = vec![score("svcca_k20", "all", 0.01, false)];
    scores.extend(["time", "people", "small"].map(|c| score("svcca_k20", c, 0.5, true)));
    scores.extend(
        [("time", 0.01, false), ("people", 0.4, false), ("small", 0.9, true)]
            .map(|(c, p, few)| score("cka", c, p, few)),
    );
    let first_score = Some(["svcca_k20", "mutual", "all"].map(String::from));
    let data = PageData { scores, first_score, ..PageData::default() };
    assert_eq!(
        categories(&data).unwrap().text,
        "1 of 3 semantic categories of that pair are above their null (cka), most of all time (0.500, null 0.100, 9 pairs); \
         1 with too few pairs to tell."
    );
    // where both can tell, by the measure that the page shows first
    let both = data
        .scores
        .iter()
        .filter(|s| s.measure == "cka")
        .map(|s| ScoreData { measure: "svcca_k20".into(), ..s.clone() });
    let scores = both.chain(data.scores.iter().filter(|s| s.measure == "cka").cloned()).collect();
    assert!(categories(&PageData { scores, ..data.clone() }).unwrap().text.contains("(svcca_k20)"));
}
