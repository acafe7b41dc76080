use super::*;
use crate::table::{PairCounts, RowPairing};

fn pair_row(source: &str, target: &str, counts: PairCounts) -> PairRow {
    PairRow {
        dictionary: Default::default(),
        mapped: Default::default(),
        logits: Default::default(),
        pair: Arc::new(SitePair { source: source.parse().unwrap(), target: target.parse().unwrap() }),
        tokens: 101_600,
        documents: 681,
        own_document_share: Some(0.1),
        too_few: None,
        no_chance: None,
        one_decoder: false,
        n_own_partner: None,
        n_own_partner_null: None,
        n_latents_source: 1024,
        n_latents_target: 32_768,
        counts,
    }
}

fn counts() -> PairCounts {
    PairCounts {
        n_mutual_given: 5,
        n_mutual_within: 3,
        n_mutual_within_null: 1,
        mean_best_correlation_forward: Some(0.535),
        null_mean_best_correlation_forward: Some(0.021),
        mean_best_correlation_backward: Some(0.5),
        null_mean_best_correlation_backward: Some(0.02),
        n_alive_source: 1020,
        n_alive_target: 30_000,
        n_mutual: 478,
        n_mutual_null: Some(312),
        n_mutual_above_chance: Some(470),
        n_mutual_above_chance_null: Some(1),
        n_distinct_partners_forward: 700,
        n_distinct_partners_forward_null: Some(600),
        n_distinct_partners_backward: 710,
        n_distinct_partners_backward_null: Some(610),
        n_kept: 520,
        n_kept_null: Some(4),
        n_kept_backward: 510,
        n_kept_backward_null: Some(5),
    }
}

fn score(measure: &str, pairing: RowPairing, pair: &Arc<SitePair>) -> SimilarityRow {
    SimilarityRow {
        pair: pair.clone(),
        subset: "all".into(),
        pairing,
        measure: measure.into(),
        value: Some(0.5),
        n_pairs: 9,
        components_source: None,
        components_target: None,
        no_power: false,
        one_decoder: false,
        null_mean: Some(0.25),
        null_sd: None,
        null_point: None,
        calibrated: None,
        null_runs: 9,
        p_value: Some(0.1),
        q_value: None,
    }
}

fn summary(rows: Vec<PairRow>) -> Summary {
    let all =
        [("cka", RowPairing::Mutual), ("svcca", RowPairing::Mutual), ("svcca_k20", RowPairing::Mutual)].into_iter();
    let all: Vec<(&str, RowPairing)> =
        all.chain([("cka", RowPairing::Activations), ("svcca", RowPairing::Activations)]).collect();
    let of = |row: PairRow| PairSummary {
        given: Some("token".into()),
        scores: all.iter().map(|(m, pairing)| score(m, *pairing, &row.pair)).collect(),
        row,
        min_within: Default::default(),
        churn: Some(0.015),
        best: vec![BestPair {
            source: 129,
            target: 387,
            correlation: 0.9818,
            point: Some(0.061),
            within: Some([Some(0.41), Some(-0.002)]),
            n_active: [1_203, 7],
            source_top: vec![],
            target_top: vec![],
        }],
    };
    Summary {
        tables: "runs/x/tables".into(),
        tokens: 101_600,
        documents: 681,
        snapshots: 1,
        pairs: rows.into_iter().map(of).collect(),
        best_over: None,
        alignment: Vec::new(),
        readout: None,
        agreement: None,
        groups: None,
        control: None,
        random_weights: None,
        repeated: None,
        ending: None,
        sample: None,
        speed: None,
        report: None,
    }
}

#[test]
fn the_first_line_fits_a_terminal_with_everything_that_it_may_say() {
    let with_all = summary(vec![pair_row("a/resid_post.10", "b/resid_post.1", counts())])
        .with_sample(Some("a sample of 0.25 of the documents, seed 7".into()))
        .with_ending(Some("ended at max_tokens = 101 600; a --max-tokens above 101 600 reads on".into()));
    let text = with_all.as_text();
    let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
    assert!(lines.iter().all(|l| l.chars().count() <= 100), "{lines:?}");
    assert_eq!(
        lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" "),
        "101 600 tokens of 681 documents, 1 snapshot; a sample of 0.25 of the documents, seed 7; \
         ended at max_tokens = 101 600; a --max-tokens above 101 600 reads on"
    );
}

#[test]
fn every_count_stands_beside_its_chance_in_lines_of_a_terminal() {
    let rows = ["b/resid_post.1", "b/resid_post.31", "c/mlp_out.3"];
    let text = summary(rows.iter().map(|t| pair_row("a/resid_post.10", t, counts())).collect()).as_text();
    for part in [
        "101 600 tokens of 681 documents, 1 snapshot\n",
        "0.535 (0.021)  478 (312)  470 (1)   3 of 5 (1)  520 (4)",
        "given token   3 of 5 mutual matches still have r >= 0.3 (chance 1)",
        "resid_post.10 x resid_post.31",
        "mean best r   0.535 (chance 0.021) forward, 0.500 (chance 0.020) backward",
        "mutual        478 (chance 312); above both chance points 470 (chance 1)",
        "partners      700 (chance 600) targets and 710 (chance 610) sources are some latent's best partner",
        "kept          520 (chance 4) forward, 510 (chance 5) backward",
        "0.9818 (0.061)",
        "r given (chance)",
        "0.410 (-0.002)",
        "1 203 ~ 7",
        "cka*",
        "random_weights",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("unknown") && !text.contains("caution"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    // two groups of models, each with its head; five measures in one table where they fit
    assert_eq!(text.matches("\na x b ").count() + text.matches("\na x c ").count(), 4, "{text}");
}

#[test]
fn a_run_of_random_weights_says_that_it_is_a_control() {
    let trained = summary(vec![pair_row("a/embed", "b/embed", counts())]);
    let control = Summary {
        control: Some("weights drawn at random (a seed 42, b seed 32)".into()),
        random_weights: Some("a seed 42, b seed 32".into()),
        ..trained.clone()
    };
    let said = "\nthis run is a control: weights drawn at random (a seed 42, b seed 32)";
    let [trained, control] = [trained, control].map(|s| (s.as_text(), s.as_json()["random_weights"].clone()));
    assert!(control.0.contains(said) && control.0.contains("what was drawn at random did not"), "{}", control.0);
    let shows = "A control with\n  random_weights shows whether training made them do so.\n";
    assert!(!control.0.contains(shows), "{}", control.0);
    assert!(!trained.0.contains("a control:") && trained.0.contains(shows));
    assert_eq!((trained.1, control.1), (Value::Null, "a seed 42, b seed 32".into()));
    assert!(control.0.lines().all(|l| l.chars().count() <= 100), "{}", control.0);
}

#[test]
fn what_is_not_known_is_said() {
    let unknown =
        PairCounts { mean_best_correlation_forward: Some(0.66), n_mutual: 7, n_kept: 9, ..PairCounts::default() };
    let row = PairRow {
        no_chance: Some("1 document".into()),
        too_few: Some("1 document: no chance level".into()),
        ..pair_row("a/embed", "b/embed", unknown)
    };
    let text = summary(vec![row.clone(), pair_row("a/embed", "b/final_norm", counts())]).as_text();
    for part in ["\ncaution: 1 document: no chance level\n", "0.660 (?)", "7 (?)", "9 (?)", "?: chance unknown"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let alone = summary(vec![row.clone()]);
    let text = alone.as_text();
    for part in [
        "mean best r   0.660 (chance unknown) forward, undefined backward",
        "mutual        7 (chance unknown)\n",
        "kept          9 (chance unknown) forward",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json = alone.as_json();
    assert_eq!(json["pairs"][0]["n_mutual_null"], Value::Null);
    assert_eq!(json["pairs"][0]["too_few"], "1 document: no chance level");
    let sketched = PairRow { too_few: None, no_chance: Some("a sketch has no rotated rows".into()), ..row };
    let text = summary(vec![sketched]).overview();
    assert!(text.starts_with("caution: chance unknown: a sketch has no rotated rows\n"), "{text}");
}

#[test]
fn the_pair_in_full_is_the_one_farthest_above_its_chance() {
    let of = |r: f64, null: Option<f64>| PairCounts {
        n_mutual_given: 5,
        n_mutual_within: 3,
        n_mutual_within_null: 1,
        mean_best_correlation_forward: Some(r),
        null_mean_best_correlation_forward: null,
        ..PairCounts::default()
    };
    let high = pair_row("a/embed", "b/embed", of(0.6, Some(0.5)));
    let far = pair_row("a/embed", "b/final_norm", of(0.4, Some(0.1)));
    let both = summary(vec![high, far]);
    assert_eq!(both.shown_in_full().unwrap().0.row.pair.target.to_string(), "b/final_norm");
    assert!(
        both.as_text()
            .contains("a/embed x b/final_norm\n  closest       highest mean best r above chance, both directions\n"),
        "{}",
        both.as_text()
    );
}
