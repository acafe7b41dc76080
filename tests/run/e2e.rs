//! The whole line against transformers, sparsify and numpy: `fixtures/e2e`, all six ways of cutting contexts.

use crate::bench_rig::{by_rank, fixture, latents, matches, run};
use cognate::matching::Direction;
use safetensors::SafeTensors;
use std::path::Path;

struct Reference {
    bytes: Vec<u8>,
}

impl Reference {
    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.bytes).unwrap().tensor(name).is_ok()
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let t = all.tensor(name).unwrap_or_else(|_| panic!("{name}"));
        match t.dtype() {
            safetensors::Dtype::F64 => {
                t.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            safetensors::Dtype::I64 => {
                t.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
            }
            other => panic!("{name} is {other:?}"),
        }
    }
}

const SITES: [(&str, usize, &str); 4] =
    [("A", 0, "model_A"), ("A", 2, "model_A"), ("B", 1, "model_B"), ("B", 3, "model_B")];

fn flow(set: &Path, folder: &Path, options: &str) -> std::path::PathBuf {
    let set = set.display();
    let text = format!(
        r#"format = 1
name = "e2e"
[corpus]
files = ["{set}/corpus.jsonl"]
context_length = 64
batch_contexts = 16
{options}
[models.A]
path = "{set}/model_A"
[models.B]
path = "{set}/model_B"
[saes."A/layers.0"]
path = "{set}/sae_model_A/layers.0"
[saes."A/layers.2"]
path = "{set}/sae_model_A/layers.2"
[saes."B/layers.1"]
path = "{set}/sae_model_B/layers.1"
[saes."B/layers.3"]
path = "{set}/sae_model_B/layers.3"
[compare]
pairs = "all"
[estimate]
best = 120
activation_measures = ["svcca", "cka"]
null = {{ activation_permutations = 3 }}
"#
    );
    let path = folder.join("flow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn close(found: f64, expected: f64, relative: f64, what: &str) {
    let scale = expected.abs().max(1e-6);
    assert!((found - expected).abs() <= relative * scale, "{what}: found {found}, expected {expected}");
}

fn check(mode: &str, options: &str, n_rows: u64) {
    let set = fixture("e2e");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&flow(&set, folder.path(), options), &out, &["--quiet"]);
    let reference = Reference { bytes: std::fs::read(set.join("reference.safetensors")).unwrap() };

    let rows = latents(&out);
    for (short, layer, model) in SITES {
        let site = format!("{short}/resid_post.{layer}");
        let of = |what: &str| reference.f64(&format!("{mode}.{model}.layer{layer}.{what}"));
        let (n_active, sum, sum_sq) = (of("n_active"), of("sum"), of("sumsq"));
        let (mean, std, max) = (of("mean"), of("std_ddof0"), of("max"));
        let mine: Vec<_> = rows.iter().filter(|r| r.site.to_string() == site).collect();
        assert_eq!(mine.len(), n_active.len());
        for (i, row) in mine.iter().enumerate() {
            let what = |w: &str| format!("{mode} {site} latent {i} {w}");
            assert_eq!(row.n_active as f64, n_active[i], "{}", what("n_active"));
            assert!((row.frequency - n_active[i] / n_rows as f64).abs() < 1e-15, "{}", what("frequency"));
            let n = n_rows as f64;
            close(row.mean * n, sum[i], 1e-5, &what("sum"));
            close((row.std * row.std + row.mean * row.mean) * n, sum_sq[i], 1e-5, &what("sumsq"));
            close(row.mean, mean[i], 1e-5, &what("mean"));
            close(row.std, std[i], 1e-5, &what("std"));
            close(f64::from(row.max.unwrap_or(0.0)), max[i], 1e-5, &what("max"));
        }
    }

    let rows = matches(&out);
    let mut largest = 0.0f64;
    // the set holds correlations for some of the modes, statistics for all
    let has_pairs = reference.has(&format!("{mode}.A0_B1.a_to_b"));
    assert_eq!(
        has_pairs,
        matches!(mode, "bos_keep_excl" | "nobos_keep" | "nobos_drop"),
        "what the set holds has changed"
    );
    if !has_pairs {
        return;
    }
    for (a, b) in [(0, 1), (0, 3), (2, 1), (2, 3)] {
        let (source, target) = (format!("A/resid_post.{a}"), format!("B/resid_post.{b}"));
        for (direction, name) in [(Direction::Forward, "a_to_b"), (Direction::Backward, "b_to_a")] {
            let of = |what: &str| reference.f64(&format!("{mode}.A{a}_B{b}.{name}{what}"));
            let (best, correlation, gap) = (of(""), of("_corr"), of("_gap"));
            let mine = by_rank(&rows, &source, &target, direction);
            for i in 0..best.len() {
                let row = &mine[&(i as u32, 1)];
                let what = format!("{mode} {source} {target} {name} {i}");
                let partner = if direction == Direction::Forward { row.target_latent } else { row.source_latent };
                if correlation[i].is_nan() {
                    assert_eq!((partner, row.correlation), (None, None), "{what}");
                    continue;
                }
                let r = row.correlation.unwrap();
                largest = largest.max((r - correlation[i]).abs());
                assert!((r - correlation[i]).abs() < 2e-5, "{what}: found {r}, expected {}", correlation[i]);
                if gap[i] > 2e-5 {
                    assert_eq!(f64::from(partner.unwrap()), best[i], "{what}");
                }
            }
        }
        if mode == "bos_keep_excl" {
            let whole = reference.f64(&format!("{mode}.A{a}_B{b}.corr"));
            for row in by_rank(&rows, &source, &target, Direction::Forward).values() {
                if let (Some(s), Some(t), Some(r)) = (row.source_latent, row.target_latent, row.correlation) {
                    let expected = whole[s as usize * 120 + t as usize];
                    assert!((r - expected).abs() < 2e-5, "{source} {s} {target} {t}: found {r}, expected {expected}");
                }
            }
            let defined = whole.iter().filter(|v| !v.is_nan()).count();
            let found = by_rank(&rows, &source, &target, Direction::Forward)
                .values()
                .filter(|r| r.correlation.is_some())
                .count();
            assert_eq!(found, defined, "every defined correlation is in the table");
        }
    }
    println!("{mode}: largest difference of a best correlation {largest:.1e}");
    activations(mode, &set, &out);
}

/// SVCCA and CKA of the residual streams themselves, from streamed moments, against those of the stored activations.
fn activations(mode: &str, set: &Path, out: &Path) {
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(set.join("manifest.json")).unwrap()).unwrap();
    let scores: Vec<cognate::table::SimilarityRow> =
        cognate::table::TableReader::open(&out.join("tables/similarities.parquet")).unwrap().read_all().unwrap();
    for (a, b) in [(0, 1), (0, 3), (2, 1), (2, 3)] {
        let expected = &manifest["modes"][mode]["pairs"][format!("A{a}_B{b}")];
        for (measure, key) in [("svcca", "residual_stream_svcca_99pct"), ("cka", "residual_stream_linear_cka")] {
            let row = scores
                .iter()
                .find(|r| {
                    r.measure == measure
                        && r.pair.source.to_string() == format!("A/resid_post.{a}")
                        && r.pair.target.to_string() == format!("B/resid_post.{b}")
                })
                .unwrap();
            let (found, expected) = (row.value.unwrap(), expected[key].as_f64().unwrap());
            assert!(
                (found - expected).abs() < 1e-5,
                "{mode} A{a} B{b} {measure}: found {found}, expected {expected} (f32 activations)"
            );
            assert!(row.null_mean.is_some() && row.null_runs == 3 && row.p_value.is_some());
        }
    }
}

#[test]
fn bos_before_every_context_short_kept_bos_not_counted() {
    check("bos_keep_excl", "bos = \"context\"\nremainder = \"keep\"", 10010);
}

#[test]
fn bos_before_every_context_short_kept_bos_counted() {
    check("bos_keep_incl", "bos = \"context\"\nremainder = \"keep\"\ncount_special = true", 10188);
}

#[test]
fn bos_before_every_context_short_dropped() {
    check("bos_drop_excl", "bos = \"context\"\nremainder = \"drop\"", 8946);
}

#[test]
fn bos_once_before_each_document() {
    check("bosdoc_keep_excl", "bos = \"document\"\nremainder = \"keep\"", 10010);
}

#[test]
fn no_bos_short_kept() {
    check("nobos_keep", "bos = \"none\"\nremainder = \"keep\"", 10010);
}

#[test]
fn no_bos_short_dropped() {
    check("nobos_drop", "bos = \"none\"\nremainder = \"drop\"", 8704);
}
