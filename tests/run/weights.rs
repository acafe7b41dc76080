//! Cosines of rows and agreement of dictionaries within one model: the whole line against scipy's assignment over the same files.

use crate::bench_rig::{WITHOUT_LAYER_1, by_rank, cognate, fixture, matches, project, run, small_demo};
use cognate::matching::Direction;
use cognate::sae::{Sae, open};
use cognate::similarity::{LogitEffects, wide};
use cognate::table::{PairRow, RowCosines, TableReader};
use std::path::Path;

/// One model under two names, an SAE each, at different places and at one; and a pair of two models.
const ONE_MODEL: [(&str, &str); 5] = [
    ("[models.small-b]", "[models.again]\npath = \"data/demo/models/small-a\"\n[models.small-b]"),
    (
        "[compare]",
        "[saes.\"again/resid_post.1\"]\npath = \"data/demo/saes/small-a/layers.2\"\ninsist = [\"hookpoint\"]\n[compare]",
    ),
    (
        "pairs = \"all\"",
        "pairs = [[\"small-a/resid_post.1\", \"small-a/resid_post.2\"], [\"small-a/resid_post.1\", \"again/resid_post.1\"], \
         [\"small-a/resid_post.1\", \"small-b/resid_post.3\"]]",
    ),
    ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]"),
    ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []\ndictionary = true\nlogits = true"),
];

fn pairs(run: &Path) -> Vec<PairRow> {
    TableReader::open(&run.join("tables/pairs.parquet")).unwrap().read_all().unwrap()
}

fn cosine(a: impl Iterator<Item = f32> + Clone, b: impl Iterator<Item = f32> + Clone) -> f64 {
    let dot = |a: &mut dyn Iterator<Item = f32>, b: &mut dyn Iterator<Item = f32>| -> f64 {
        a.zip(b).map(|(x, y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(&mut a.clone(), &mut b.clone())
        / (dot(&mut a.clone(), &mut a.clone()) * dot(&mut b.clone(), &mut b.clone())).sqrt()
}

#[test]
fn rows_of_one_model_have_cosines_and_dictionaries_agree_as_scipy_says() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let flow = small_demo(dir.path(), &ONE_MODEL);
    run(&flow, &out, &["--max-tokens", "6000"]);
    let expected: serde_json::Value = serde_json::from_slice(&std::fs::read(fixture("weights.json")).unwrap()).unwrap();
    let right = &expected["equal"];
    let table = pairs(&out);
    assert_eq!(table.len(), 3);
    let mut seen = 0;
    for row in &table {
        let d = row.dictionary;
        if row.pair.target.model == "small-b" {
            assert_eq!(d, Default::default(), "two models have no common space");
            continue;
        }
        let near = |found: Option<f64>, right: &serde_json::Value| {
            assert!(
                (found.unwrap() - right.as_f64().unwrap()).abs() < 1e-9,
                "{}: {found:?}, expected {right}",
                row.pair
            );
        };
        near(d.pw_mcc, &right["pw_mcc"]);
        near(d.mean_max_forward, &right["mean_max"][0]);
        near(d.mean_max_backward, &right["mean_max"][1]);
        near(d.shared, &right["shared"]);
        // of 96 dimensions the chance of a maximum is far below what the model shares
        assert!(d.pw_mcc_null.unwrap() < d.pw_mcc.unwrap() && d.shared_null == Some(0.0), "{d:?}");
        assert!(d.mean_max_forward_null.unwrap() > 0.0 && d.mean_max_backward_null < d.mean_max_backward);
        seen += 1;
    }
    assert_eq!(seen, 2);

    let open = |layer: &str| open(Path::new(&format!("data/demo/saes/small-a/layers.{layer}")), None).unwrap();
    let (a, b): (Sae, Sae) = (open("1"), open("2"));
    let rows = matches(&out);
    for target in ["small-a/resid_post.2", "again/resid_post.1"] {
        for direction in [Direction::Forward, Direction::Backward] {
            let found = by_rank(&rows, "small-a/resid_post.1", target, direction);
            let with_partner = found.values().filter_map(|m| Some((m.source_latent?, m.target_latent?, m.cosines)));
            let mut n = 0;
            for (i, j, RowCosines { decoder, encoder, .. }) in with_partner {
                let (i, j) = (i as usize, j as usize);
                let of = |w: &Sae, i: usize| w.decoder_rows().row(i).to_vec().into_iter();
                assert!((decoder.unwrap() - cosine(of(&a, i), of(&b, j))).abs() < 1e-12);
                let of = |w: &Sae, i: usize| w.encoder_row(i).into_iter();
                assert!((encoder.unwrap() - cosine(of(&a, i), of(&b, j))).abs() < 1e-12);
                n += 1;
            }
            assert!(n > 500, "{target}: {n}");
        }
    }
    let two_models = by_rank(&rows, "small-a/resid_post.1", "small-b/resid_post.3", Direction::Forward);
    assert!(two_models.values().all(|m| (m.cosines.decoder, m.cosines.encoder) == (None, None)));
    assert!(
        (expected["equal"]["first"][1].as_f64().unwrap()
            - cosine(a.encoder_row(5).into_iter(), b.encoder_row(9).into_iter()))
        .abs()
            < 1e-9
    );

    // what rows do to the logits: by the heads' co-moments, within one model and across two
    for (target, model, layer) in [("small-a/resid_post.2", "small-a", "2"), ("small-b/resid_post.3", "small-b", "3")] {
        let head = |model: &str| {
            cognate::model::unembedding(&project().join("data/demo/models").join(model)).unwrap().unwrap()
        };
        let heads = [head("small-a"), head(model)];
        let rows_of = |side: usize, first: usize, n: usize| heads[side].rows(first, n);
        let effects = LogitEffects::of(4096, [0, 1].map(|k: usize| heads[k].width()), rows_of).unwrap();
        let b = cognate::sae::open(&project().join(format!("data/demo/saes/{model}/layers.{layer}")), None).unwrap();
        let lengths = [effects.lengths(0, a.decoder_rows()), effects.lengths(1, b.decoder_rows())];
        for direction in [Direction::Forward, Direction::Backward] {
            let found = by_rank(&rows, "small-a/resid_post.1", target, direction);
            let some = found.values().filter_map(|m| Some((m.source_latent? as usize, m.target_latent? as usize, m)));
            let mut n = 0;
            for (i, j, row) in some.step_by(37) {
                let across = effects.across(&wide(a.decoder_rows(), &[i]));
                let both = [lengths[0][i], lengths[1][j]];
                let right = LogitEffects::correlation(across.row(0), b.decoder_rows().row(j), both).unwrap();
                assert!((row.cosines.logits.unwrap() - right).abs() < 1e-9, "{:?}, expected {right}", row.cosines);
                n += 1;
            }
            assert!(n > 5, "{target}: {n}");
        }
    }
    for row in &table {
        let found = row.logits.0;
        assert!(found.mean.unwrap() > found.null_mean.unwrap() && found.share_above.unwrap() > 0.05, "{found:?}");
    }

    // saved sums give the same, whether or not anything else asks for the SAEs
    let scored = dir.path().join("scored");
    let settings = ["--set", "estimate.measures=[]", "--set", "estimate.pairings=[\"mutual\"]"];
    let output = cognate().arg("score").arg(&out).args(settings).arg("--out").arg(&scored).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of_logits = |table: &[PairRow]| table.iter().map(|r| r.logits).collect::<Vec<_>>();
    assert_eq!(of_logits(&pairs(&scored)), of_logits(&table));
    assert_eq!(
        pairs(&scored).iter().map(|r| r.dictionary).collect::<Vec<_>>(),
        table.iter().map(|r| r.dictionary).collect::<Vec<_>>()
    );
}

#[test]
fn effects_on_the_logits_are_of_the_residual_stream() {
    let dir = tempfile::tempdir().unwrap();
    let raw = [
        WITHOUT_LAYER_1,
        ("[saes.\"small-a/resid_post.2\"]\npath = \"data/demo/saes/small-a/layers.2\"\n", ""),
        ("pairs = \"all\"", "pairs = [[\"small-a/resid_post.2\", \"small-b/resid_post.3\"]]"),
        ("measures = [\"svcca_k10\", \"cka\"]\npairings = [\"forward\", \"backward\", \"mutual\"]", "logits = true"),
        ("null = { permutations = 20, ", "null = { "),
    ];
    let flow = small_demo(dir.path(), &raw);
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("estimate.logits changes nothing here"), "{said}");
}

#[test]
fn dictionaries_of_two_models_are_not_paired() {
    let dir = tempfile::tempdir().unwrap();
    let flow = small_demo(dir.path(), &[("pairings", "dictionary = true\npairings")]);
    let output = cognate().arg("plan").arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("estimate.dictionary changes nothing here"), "{said}");
}
