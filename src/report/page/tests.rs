//! The page of a small made-up run, whose corpus holds hostile text.

use super::*;
use crate::error::Error;
use crate::ids::Site;
use crate::linalg::{Matrix, Stream};
use crate::matching::groups::GroupKind;
use crate::matching::{Direction, Significance};
use crate::table::{
    CycleRow, GroupRow, GroupSizeRow, HistoryRow, LabelColumn, LabelSum, LatentRow, MatchRow, Missing, PairCounts,
    PairRow, RowPairing, SimilarityRow, SitePair, TopTokenCell, write_table,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const HARM: [&str; 5] = [
    "</script><script>alert(1)</script>",
    "\" onclick='x' <b>&amp;",
    "\u{202e}txt.exe\u{0007}\u{0000}",
    "<!--",
    "\u{2028}line",
];

struct Rig {
    folder: tempfile::TempDir,
    pair: Arc<SitePair>,
    one_decoder: bool,
}

fn site(name: &str) -> Site {
    name.parse().unwrap()
}

impl Rig {
    /// `n` latents per side; latent i of the source picks i of the target, the last of each is dead.
    fn new(n: u32) -> Rig {
        Rig::with(n, None, false)
    }

    /// The same with a share of repeated contexts and its error, and one SAE on both sides.
    fn with(n: u32, repeated: Option<(f64, f64)>, one_decoder: bool) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let pair = Arc::new(SitePair { source: site("a/resid_post.1"), target: site("b/resid_post.2") });
        let rig = Rig { folder, pair, one_decoder };
        let origin = BTreeMap::new();
        let labels: Vec<LabelColumn> =
            ["de", "en"].map(|v| LabelColumn { field: "lang".into(), value: v.into() }).to_vec();
        let latents = [&rig.pair.source, &rig.pair.target].map(|s| Arc::new(s.clone())).into_iter().flat_map(|s| {
            (0..n).map(move |latent| {
                let harm = HARM[latent as usize % HARM.len()];
                let alive = latent + 1 < n;
                let top = |k: u32| TopTokenCell {
                    token: harm.to_string(),
                    value: 3.5 - k as f32,
                    context: format!("é🙂 {latent} {harm} behind {k}"),
                    document: format!("doc {harm}"),
                };
                LatentRow {
                    documents: 2,
                    given_rows: Some(30),
                    token_share: Some(0.25),
                    site: s.clone(),
                    latent,
                    n_active: if alive { 10 } else { 0 },
                    frequency: if alive { 0.1 } else { 0.0 },
                    mean: 0.2,
                    std: 0.3,
                    max: alive.then_some(3.5),
                    alive,
                    top: if alive { (0..3).map(top).collect() } else { Vec::new() },
                    categories: Some(if latent.is_multiple_of(2) { vec![format!("c {harm}")] } else { Vec::new() }),
                    labels: vec![Some(LabelSum { n_active: u64::from(alive) * 2, sum: 1.0 }), None],
                }
            })
        });
        write_table(&rig.table("latents"), labels, &origin, latents).unwrap();
        let matches = [Direction::Forward, Direction::Backward].into_iter().flat_map(|direction| {
            let pair = rig.pair.clone();
            (0..n).flat_map(move |i| {
                let (pair, dead) = (pair.clone(), i + 1 == n);
                let row = move |rank: u32| {
                    let partner = if rank == 1 { i } else { (i + 1) % (n - 1) };
                    let (source, target) = if direction == Direction::Forward { (i, partner) } else { (partner, i) };
                    let picks = |own: Direction| direction == own;
                    MatchRow {
                        cosines: Default::default(),
                        listed: Default::default(),
                        pair: pair.clone(),
                        source_latent: (!dead || picks(Direction::Forward)).then_some(source),
                        target_latent: (!dead || picks(Direction::Backward)).then_some(target),
                        correlation: (!dead).then(|| 0.9 - 0.001 * f64::from(i) - 0.25 * f64::from(rank - 1)),
                        exact_tokens: 9,
                        sketch_error: (!dead).then_some(0.0),
                        significance: Significance {
                            null_correlation: (rank == 1 && !dead).then_some(0.12),
                            point: (rank == 1 && !dead).then_some(0.15),
                            p_value: (rank == 1 && !dead).then_some(0.01),
                            q_value: (rank == 1 && !dead).then_some(if i < 5 { 0.02 } else { 0.2 }),
                            margin: (rank == 1 && !dead).then_some(0.25),
                        },
                        rank,
                        direction,
                        mutual: !dead && rank == 1,
                        kept: !dead && rank == 1 && i % 3 != 2,
                        dropped_by: match (dead, rank, i % 3) {
                            (true, ..) => Some("dead".to_string()),
                            (_, 2, _) => Some("rank".to_string()),
                            (_, _, 2) => Some("one_to_one".to_string()),
                            _ => None,
                        },
                    }
                };
                (1..=if dead { 1 } else { 2 }).map(row)
            })
        });
        write_table(&rig.table("matches"), (), &origin, matches).unwrap();
        let scores = [("cka", true), ("svcca_k3", false)].map(|(measure, no_power)| SimilarityRow {
            pair: rig.pair.clone(),
            subset: "all".into(),
            pairing: RowPairing::Mutual,
            measure: measure.into(),
            value: Some(0.5),
            n_pairs: 7,
            components_source: None,
            components_target: None,
            no_power,
            one_decoder: rig.one_decoder,
            null_mean: Some(0.25),
            null_sd: Some(0.05),
            null_point: None,
            calibrated: None,
            null_runs: 99,
            p_value: Some(0.01),
            q_value: Some(0.015),
        });
        write_table(&rig.table("similarities"), (), &origin, scores).unwrap();
        let history = (1..=3u32).map(|snapshot| HistoryRow {
            snapshot,
            tokens: 1000 * u64::from(snapshot),
            pair: rig.pair.clone(),
            counts: PairCounts {
                mean_best_correlation_forward: Some(0.4 + 0.1 * f64::from(snapshot)),
                mean_best_correlation_backward: Some(0.4),
                n_alive_source: u64::from(n - 1),
                n_alive_target: u64::from(n - 1),
                n_mutual: u64::from(n - 1),
                n_kept: 5,
                ..PairCounts::default()
            },
            repeated_contexts: repeated.map(|r| r.0),
            repeated_contexts_error: repeated.map(|r| r.1),
            churn: (snapshot > 1).then(|| 0.1 / f64::from(snapshot * snapshot)),
            measures: vec![Some(0.5)],
        });
        let whole = PairRow {
            dictionary: Default::default(),
            mapped: Default::default(),
            logits: Default::default(),
            pair: rig.pair.clone(),
            tokens: 3000,
            documents: 9,
            own_document_share: Some(0.1),
            too_few: None,
            no_chance: None,
            one_decoder,
            n_own_partner: one_decoder.then_some(u64::from(n - 1)),
            n_own_partner_null: one_decoder.then_some(1),
            n_latents_source: u64::from(n),
            n_latents_target: u64::from(n),
            counts: PairCounts::default(),
        };
        write_table(&rig.table("pairs"), (), &origin, [whole]).unwrap();
        write_table(&rig.table("history"), vec!["mutual.svcca_k3".into()], &origin, history).unwrap();
        rig
    }

    fn table(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.parquet"))
    }

    fn page(&self, decoders: Decoders<'_>) -> String {
        let facts = RunFacts {
            name: "harm <i>".into(),
            finished: Some(true),
            facts: vec![("Corpus".into(), HARM.join("\n"))],
            dataflow: "name = \"</pre><script>\"".into(),
        };
        page(self.folder.path(), &self.table("history"), &facts, &Marker::new(None, [3, 3]), decoders, None, None)
            .unwrap()
    }
}

/// The data in a page, as the browser reads it.
fn data_of(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

fn rows(_: &Site, latents: &[usize]) -> Result<Option<Matrix<f32>>> {
    let mut stream = Stream::new(1, "rows", 0);
    Ok(Some(Matrix::from_vec(latents.len(), 6, (0..latents.len() * 6).map(|_| stream.gaussian() as f32).collect())))
}

#[test]
fn nothing_of_a_corpus_becomes_markup() {
    let page = Rig::new(20).page(&rows);
    assert_eq!(page.matches("<script").count(), 2, "the data's and the page's own");
    assert_eq!(page.matches("</script").count(), 2);
    let outside = page.split("id=\"data\">").next().unwrap();
    for harm in ["<!--", "<i>", "<b>", "onclick='", "</pre><s"] {
        assert!(!outside.contains(harm), "{harm} stands in the page");
    }
    assert!(!page.contains("<!--") && !page.contains("<b>"));
    for c in ['\u{202e}', '\u{0007}', '\u{0000}', '\u{2028}'] {
        let may_be_in_data = c > ' ';
        assert!(!outside.contains(c), "{:?} stands in the page", c.escape_unicode());
        assert!(may_be_in_data || !page.contains(c), "{:?} stands in the data", c.escape_unicode());
    }
    for source in ["http://", "https://", "src=", "url(", "import(", "fetch("] {
        let said = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!said.contains(source), "the page may ask for something: {source}");
    }
    // and the texts are all there, as they were
    let tokens = data_of(&page)["tokens"].clone();
    assert!(HARM.iter().all(|h| tokens.as_array().unwrap().iter().any(|t| t == h)), "{tokens}");
}

#[test]
fn the_data_is_what_the_tables_say() {
    let rig = Rig::new(20);
    let page = rig.page(&rows);
    assert_eq!(page, rig.page(&rows), "the same tables give the same bytes");
    let data = data_of(&page);
    let forward = &data["matches"][0][0];
    assert_eq!((forward["total"].as_u64(), forward["matched"].as_u64()), (Some(20), Some(19)));
    assert_eq!(forward["verdicts"], serde_json::json!({"dead": 1, "kept": 13, "one_to_one": 6}));
    let list = |name: &str| forward[name].as_array().unwrap().clone();
    // kept first, by falling correlation; then the dropped
    assert_eq!(list("source")[..3], [0, 1, 3].map(Value::from));
    assert_eq!(
        (list("source")[13].as_u64(), list("dropped")[13].as_i64(), list("dropped")[0].as_i64()),
        (Some(2), Some(0), Some(-1))
    );
    assert_eq!((list("r")[2].as_f64(), list("margin")[2].as_f64()), (Some(0.897), Some(0.25)));
    let counts: u64 = forward["histogram"]["counts"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!(counts, 19);
    let null = &forward["null_histogram"];
    assert_eq!((null["first"].as_u64(), &null["counts"]), (Some(56), &serde_json::json!([19])));
    assert_eq!(
        (list("null")[0].as_f64(), list("q")[4].as_f64(), forward["significant"].as_u64()),
        (Some(0.12), Some(0.2), Some(5))
    );
    assert_eq!(data["scores"][0]["q"].as_f64(), Some(0.015));
    let a = &data["sites"][0];
    assert_eq!(
        (a["width"].as_u64(), a["alive"].as_u64(), a["latent"].as_array().unwrap().len()),
        (Some(20), Some(19), 19)
    );
    assert_eq!(a["labels"][0], serde_json::json!([2, 0]));
    // the token's position, as a browser counts: the smile has two units
    let top = &a["top"][1][0];
    let context = data["contexts"][top[0].as_u64().unwrap() as usize].as_str().unwrap();
    let units: Vec<u16> = context.encode_utf16().collect();
    let [from, to] = [3, 4].map(|k| top[k].as_u64().unwrap() as usize);
    assert_eq!(String::from_utf16(&units[from..to]).unwrap(), HARM[1]);
    assert_eq!(data["history"]["series"]["score.mutual.svcca_k3"][0], serde_json::json!([0.5, 0.5, 0.5]));
    assert_eq!(data["first_score"], serde_json::json!(["svcca_k3", "mutual", "all"]));
    assert_eq!(a["map"]["latent"].as_array().unwrap().len(), 19, "living latents only");
}

#[test]
fn groups_are_shown_with_their_members_and_their_chance() {
    let rig = Rig::new(20);
    assert!(data_of(&rig.page(&rows))["groups"].is_null(), "a run of two places makes none");
    let missing = |model: &str, closest: Option<u32>| Missing {
        model: model.into(),
        hookpoint: closest.map(|_| "embed".to_string()),
        latent: closest,
        correlation: closest.map(|_| 0.25),
        readout_r2: closest.map(|_| 0.375),
        readout_point: None,
    };
    let member = |group: u32, site: &Site, latent: u32| GroupRow {
        group,
        size: 2,
        models: 2,
        kind: GroupKind::Chain,
        edges: 1,
        edges_possible: 3,
        min_correlation: 0.123_456,
        mean_correlation: 0.5,
        min_within: None,
        site: Arc::new(site.clone()),
        latent,
        frequency: 0.1,
        degree: 1,
        best: latent == 3,
        top: vec![HARM[0].to_string()],
        missing: vec![missing("c", Some(7)), missing("d", None)],
    };
    let SitePair { source, target } = &*rig.pair;
    let rows_of = |group: u32| [member(group, source, 3 + group), member(group, target, 3)];
    let origin = BTreeMap::new();
    write_table(&rig.table("groups"), (), &origin, (1..=1_200).flat_map(rows_of)).unwrap();
    let size = |models: u32, places: u32| GroupSizeRow {
        models,
        places,
        groups: 600,
        null_groups: Some(5),
        complete: 100,
        null_complete: Some(1),
    };
    write_table(&rig.table("group_sizes"), (), &origin, [size(3, 4), size(3, 3)]).unwrap();
    write_table::<CycleRow>(&rig.table("cycles"), (), &origin, []).unwrap();
    let page = rig.page(&rows);
    let groups = &data_of(&page)["groups"];
    assert_eq!((groups["total"].as_u64(), groups["shown"].as_array().unwrap().len()), (Some(1_200), 1_000));
    assert_eq!(groups["sizes"], serde_json::json!([[3, 1200, 10, 200, 2]]));
    let first = &groups["shown"][0];
    assert_eq!((&first["kind"], &first["min"], &first["possible"]), (&"chain".into(), &0.1235.into(), &3.into()));
    let tokens = data_of(&page)["tokens"].as_array().unwrap().clone();
    assert_eq!(tokens[first["members"][0][4][0].as_u64().unwrap() as usize], HARM[0]);
    assert_eq!(first["missing"], serde_json::json!([["c", ["embed/7", 0.25], 0.375], ["d", null, null]]));
    let said =
        "1\u{202f}200 (chance 10) groups of latents span 3 models; in 200 (chance 2) of them each two are matched";
    assert!(page.contains(said), "{said}");
}

#[test]
fn findings_say_what_the_figures_say() {
    let page = Rig::new(20).page(&rows);
    let text = page.split("<ul class=\"findings\">").nth(1).unwrap().split("</ul>").next().unwrap();
    for expected in [
        "the 19 living latents of the first correlate with their best partners at 0.891 (chance 0.120) on average",
        "5 of 19 best matches have q ≤ 0.05 (at most 5 % of these are there by chance)",
        "not that training made them so",
        "agree at 0.500 (svcca_k3), where shuffled matches reach 0.250 ± 0.050",
        "1 of 1 scores with a null of 19 runs or more lie above it (q ≤ 0.05)",
        "1 score says nothing",
        "13 (100 %) fire most often on the same “lang” on both sides (chance 100 %: partners drawn at random)",
        "Between the last two snapshots 1.1 %",
        "Converged.",
        "since 2\u{202f}000 tokens",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
}

#[test]
fn a_map_that_cannot_be_made_is_left_out_and_said() {
    let rig = Rig::new(12);
    let missing = |site: &Site, _: &[usize]| match site.model.as_str() {
        "a" => Err(Error::request("open the SAE x: not there")),
        _ => Ok(None),
    };
    let data = data_of(&rig.page(&missing));
    assert!(data["sites"][0]["map"].is_null() && data["sites"][1]["map"].is_null());
    assert!(data["sites"][0]["no_map"].as_str().unwrap().contains("not there"));
    assert!(data["sites"][1]["no_map"].as_str().unwrap().contains("no SAE"));
}

#[test]
fn a_wide_run_is_cut_to_its_strongest_matches() {
    let rig = Rig::new(11_000);
    let page = rig.page(&|_, _| Ok(None));
    let forward = data_of(&page)["matches"][0][0].clone();
    let sources = forward["source"].as_array().unwrap();
    assert_eq!((forward["matched"].as_u64(), sources.len()), (Some(10_999), 10_000));
    assert_eq!(sources[7332].as_u64(), Some(10_998), "kept ones first, whatever their correlation");
    assert_eq!(sources[7333].as_u64(), Some(2), "then the strongest of the dropped");
    assert!(page.len() < 5 << 20, "{} bytes", page.len());
}

#[test]
fn a_run_beside_is_told_with_its_own_figures() {
    let (rig, other) = (Rig::new(20), Rig::new(15));
    let history = other.table("history");
    let beside = OtherRun { name: "control <b>", tables: other.folder.path(), history: &history };
    let facts = RunFacts::default();
    let marker = Marker::new(None, [3, 3]);
    let page = page(rig.folder.path(), &rig.table("history"), &facts, &marker, &rows, Some(beside), None).unwrap();
    let theirs = data_of(&page)["beside"].clone();
    assert_eq!(theirs["matches"][0]["n_mutual"], serde_json::json!([14.0, null]));
    assert_eq!(theirs["matches"][0]["mean"][0].as_f64(), Some(0.8935));
    assert_eq!(theirs["matches"][0]["null_mean"][0].as_f64(), Some(0.12));
    assert_eq!(theirs["scores"].as_array().unwrap().len(), 2);
    // each run by its distance from its own chance level, never by its score alone
    for said in [
        "the best partner of a latent correlates in “control &lt;b&gt;” at 0.773 above chance (0.893, chance 0.120), here at 0.771 above",
        "svcca_k3 is +0.250 from its null (0.500, null 0.250) in “control &lt;b&gt;”, here +0.250 from its null",
    ] {
        assert!(page.contains(said), "{said:?} is not in {}", page.split("<ul class=\"findings\">").nth(1).unwrap());
    }
}

#[test]
fn one_sae_on_both_sides_is_no_evidence_and_copies_of_text_are_told_first() {
    let page = Rig::with(20, Some((0.12, 0.004)), true).page(&rows);
    let text = page.split("<ul class=\"findings\">").nth(1).unwrap().split("</ul>").next().unwrap();
    let first = text.split("</li>").next().unwrap();
    assert!(first.contains("12.0 % (± 0.4) of the contexts were seen before"), "{first}");
    assert!(text.contains("Every pair is read through one SAE on both sides"), "{text}");
    assert!(text.contains("19 (chance 1) of 19 latents have themselves as best partner"), "{text}");
    assert!(!text.contains("svcca_k3") && !text.contains("lie above it"), "{text}");
    let data = data_of(&page);
    assert_eq!(
        (&data["facts"][0]["one_decoder"], &data["scores"][0]["one_decoder"]),
        (&Value::from(true), &Value::from(true))
    );
}

#[test]
fn what_is_read_out_and_the_best_over_places_and_controls_stand_beside_their_chance() {
    use crate::matching::OverCounts;
    use crate::table::{
        BestOverCounts, BestOverScore, ControlRow, OverScore, ReadoutNumbers, ReadoutRow, ScoreCell, Verdict,
    };
    let rig = Rig::new(20);
    let data = data_of(&rig.page(&rows));
    assert_eq!(
        (&data["readouts"], &data["over"], &data["controls"]),
        (&Value::from(vec![0; 0]), &Value::from(vec![0; 0]), &Value::from(vec![0; 0]))
    );
    let origin = BTreeMap::new();
    let read = |latent: u32| ReadoutRow {
        pair: rig.pair.clone(),
        direction: Direction::Forward,
        latent,
        partner: None,
        found: ReadoutNumbers {
            r_squared: Some(0.375),
            null: Some(0.1),
            chance_point: Some(0.05),
            ..ReadoutNumbers::default()
        },
        verdict: Some(if latent < 12 { Verdict::Matched } else { Verdict::Readable }),
        by_chance: Some([latent == 3, false]),
    };
    write_table(&rig.table("readout"), (), &origin, (0..20).map(read)).unwrap();
    let [a, b] = [&rig.pair.source.model, &rig.pair.target.model].map(String::clone);
    let counts = OverCounts {
        n_places: [1, 3],
        n_best: [19, 57],
        n_above_chance: [Some(18), None],
        n_above_chance_null: [Some(1), None],
        n_mutual: 9,
        n_mutual_above_chance: Some(8),
        ..OverCounts::default()
    };
    write_table(&rig.table("best_over_counts"), (), &origin, [BestOverCounts { models: [a, b], counts }]).unwrap();
    let closest = BestOverScore {
        pair: rig.pair.clone(),
        subset: "all".into(),
        pairing: RowPairing::Activations,
        measure: "cka".into(),
        place_pairs: 3,
        null_runs: 9,
        numbers: OverScore { value: Some(0.5), null_mean: Some(0.125), ..OverScore::default() },
    };
    write_table(&rig.table("best_over_scores"), (), &origin, [closest]).unwrap();
    let control = |run: &str, control: Option<&str>, r: f64| ControlRow {
        pair: rig.pair.clone(),
        run: run.into(),
        control: control.map(String::from),
        tokens: 900,
        counts: PairCounts { mean_best_correlation_forward: Some(r), ..PairCounts::default() },
        rows: Some(ScoreCell { pairing: RowPairing::Mutual, measure: "cka".into(), value: Some(0.5), null_mean: None }),
        activations: None,
    };
    let runs = [control("real", None, 0.75), control("drawn", Some("weights of <a>"), 0.25)];
    write_table(&rig.table("controls"), (), &origin, runs).unwrap();
    let (history, controls) = (rig.table("history"), rig.table("controls"));
    let marker = Marker::new(None, [3, 3]);
    let page = page(rig.folder.path(), &history, &RunFacts::default(), &marker, &rows, None, Some(&controls)).unwrap();
    let data = data_of(&page);
    let forward = &data["matches"][0][0];
    assert_eq!(forward["readout_counts"]["here"], serde_json::json!([12, 0, 8, 0, 0]));
    // none of these is readable by chance
    assert_eq!(forward["readout_counts"]["by_chance"], serde_json::json!([1, 0, 0, 8, 0]));
    assert_eq!(forward["readout"].as_array().unwrap().len(), forward["source"].as_array().unwrap().len());
    let latent = forward["source"].as_array().unwrap().iter().position(|l| l == 13).unwrap();
    assert_eq!((&forward["readout"][latent], &forward["readable"][latent]), (&0.375.into(), &2.into()));
    assert!(data["matches"][0][1]["readout_counts"].is_null(), "the target was not read out");
    assert_eq!(data["over"][0]["above"], serde_json::json!([[18, 1], [null, null]]));
    assert_eq!(data["over"][0]["closest"][0][3], 0.5);
    let names: Vec<&Value> = data["controls"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, [&Value::Null, &"drawn".into()], "the run itself first");
    assert_eq!(data["controls"][1]["scores"], serde_json::json!([["cka", "mutual", 0.5, null], null]));
    for said in [
        "8 (chance 0) can be read out of its activations by a linear map",
        "18 (chance 1) of 19 have a best partner above chance, and 8 (chance unknown) pairs choose each other",
        "the mean best r is 0.750 (chance unknown); in the control “drawn” 0.250 (chance unknown).",
    ] {
        assert!(page.contains(said), "{said:?} is not in {}", page.split("<ul class=\"findings\">").nth(1).unwrap());
    }
}

#[test]
fn maps_and_directions_stand_beside_their_chance() {
    use crate::similarity::{MapKind, Units};
    use crate::table::{CosineScores, LogitScores, MapNumbers, MapRow, RowCosines};
    let rig = Rig::new(20);
    let data = data_of(&rig.page(&rows));
    assert_eq!(
        (&data["agreement"], &data["matches"][0][0]["mapped"]),
        (&Value::from(vec![0; 0]), &Value::from(vec![0; 0]))
    );
    let origin = BTreeMap::new();
    let map = |direction, kind, r_squared: f64, null: Option<f64>| MapRow {
        pair: rig.pair.clone(),
        direction,
        kind,
        units: Units::Raw,
        ridge: 0.001,
        tokens: 900,
        score: MapNumbers { r_squared: Some(r_squared), null },
    };
    let maps = [
        map(Direction::Forward, MapKind::LeastSquares, 0.625, Some(-0.01)),
        map(Direction::Backward, MapKind::LeastSquares, 0.5, None),
    ];
    write_table(&rig.table("maps"), (), &origin, maps).unwrap();
    let scores = |mean: f64, above: f64| CosineScores {
        mean: Some(mean),
        null_mean: Some(0.125),
        null_point: Some(0.25),
        share_above: Some(above),
    };
    let pairs: Vec<PairRow> = crate::table::TableReader::open(&rig.table("pairs")).unwrap().read_all().unwrap();
    let pairs = pairs.into_iter().map(|row| PairRow {
        mapped: scores(0.5, 0.92),
        logits: LogitScores(scores(0.375, 0.68)),
        ..row
    });
    write_table(&rig.table("pairs"), (), &origin, pairs).unwrap();
    let matches: Vec<MatchRow> = crate::table::TableReader::open(&rig.table("matches")).unwrap().read_all().unwrap();
    let cosines = RowCosines { mapped: Some(0.4375), ..RowCosines::default() };
    write_table(&rig.table("matches"), (), &origin, matches.into_iter().map(|row| MatchRow { cosines, ..row }))
        .unwrap();
    let page = rig.page(&rows);
    let data = data_of(&page);
    let found = &data["agreement"][0];
    assert_eq!(found["maps"], serde_json::json!([["least_squares", 0, 0.625, -0.01], ["least_squares", 1, 0.5, null]]));
    assert_eq!(found["mapped"], serde_json::json!([0.5, 0.125, 0.25, 0.92]));
    let forward = &data["matches"][0][0];
    assert_eq!((&forward["mapped"][0], &forward["logits"]), (&0.4375.into(), &Value::from(vec![0; 0])));
    assert_eq!(forward["point"][0].as_f64(), Some(0.15));
    for said in [
        "explains 62.5 % (chance nothing) of those of b/resid_post.2",
        "the decoder rows of 92 % (chance 5 %) of the kept matches lie closer together",
        "The decoder rows of 68 % (chance 5 %) of the kept matches between",
    ] {
        assert!(page.contains(said), "{said:?} is not in {}", page.split("<ul class=\"findings\">").nth(1).unwrap());
    }
}
