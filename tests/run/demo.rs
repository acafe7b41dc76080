//! The demo's references, made with transformers, sparsify and numpy: `data/demo/reference`.

use crate::bench_rig::{by_rank, latents, matches, project, run};
use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use cognate::matching::Direction;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const FLOW: &str = r#"format = 1
name = "reference"
[corpus]
files = ["data/demo/corpus.jsonl"]
context_length = 128
batch_contexts = 32
[models.small-a]
path = "data/demo/models/small-a"
[models.small-b]
path = "data/demo/models/small-b"
[saes."small-a/layers.2"]
path = "data/demo/saes/small-a/layers.2"
[saes."small-b/layers.3"]
path = "data/demo/saes/small-b/layers.3"
[compare]
pairs = "all"
[estimate]
best = 2
snapshot_every = 1_000_000
"#;

struct Columns(Vec<(String, Vec<f64>)>);

impl Columns {
    fn read(path: &Path) -> Columns {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap().build().unwrap();
        let mut out: Vec<(String, Vec<f64>)> = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Float64).unwrap();
                let values = column.as_primitive::<Float64Type>().values().to_vec();
                match out.iter_mut().find(|c| c.0 == *field.name()) {
                    Some(c) => c.1.extend(values),
                    None => out.push((field.name().clone(), values)),
                }
            }
        }
        Columns(out)
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.0.iter().find(|c| c.0 == name).unwrap_or_else(|| panic!("{name}")).1
    }
}

#[test]
fn the_reference_pair_is_reproduced() {
    let folder = tempfile::tempdir().unwrap();
    let flow = folder.path().join("flow.toml");
    std::fs::write(&flow, FLOW).unwrap();
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let (rows, matched) = (latents(&out), matches(&out));
    let reference = project().join("data/demo/reference");
    let sites = ["small-a/resid_post.2", "small-b/resid_post.3"];
    let files = ["features_small-a_layers.2.parquet", "features_small-b_layers.3.parquet"];
    for (k, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
        let expected = Columns::read(&reference.join(files[k]));
        let mine: Vec<_> = rows.iter().filter(|r| r.site.to_string() == sites[k]).collect();
        let best = by_rank(&matched, sites[0], sites[1], direction);
        assert_eq!(mine.len(), expected.get("feature").len());
        let (mut other_support, mut largest_r, mut largest_mean, mut other_best) = (0, 0.0f64, 0.0f64, 0);
        for (i, row) in mine.iter().enumerate() {
            let want = |c: &str| expected.get(c)[i];
            // a 16th and 17th largest that nearly tie may change places between two engines
            let flips = (row.n_active as f64 - want("active_tokens")).abs();
            assert!(
                flips <= 4.0,
                "{} latent {i}: active {} expected {}",
                sites[k],
                row.n_active,
                want("active_tokens")
            );
            other_support += usize::from(flips > 0.0);
            let mean_error = (row.mean - want("mean")).abs() / want("mean").abs().max(1e-4);
            largest_mean = largest_mean.max(mean_error);
            assert!(mean_error < 1e-3, "{} latent {i}: mean {} expected {}", sites[k], row.mean, want("mean"));
            let (r, second) = (best.get(&(i as u32, 1)).unwrap(), best.get(&(i as u32, 2)));
            let (best_r, second_r) = (want("best_r"), want("second_r"));
            if best_r.is_nan() {
                assert_eq!(r.correlation, None);
                continue;
            }
            let found = r.correlation.unwrap();
            largest_r = largest_r.max((found - best_r).abs());
            assert!((found - best_r).abs() < 1e-4, "{} latent {i}: r {found} expected {best_r}", sites[k]);
            let partner = if direction == Direction::Forward { r.target_latent } else { r.source_latent };
            if f64::from(partner.unwrap()) != want("best_match") {
                other_best += 1;
                assert!(best_r - second_r < 1e-4, "{} latent {i}", sites[k]);
            }
            if let Some(second) = second {
                assert!((second.correlation.unwrap() - second_r).abs() < 1e-4);
            }
        }
        println!(
            "{}: {other_support} latents with another count, largest difference of r {largest_r:.1e}, of a mean {largest_mean:.1e} \
             (relative), {other_best} other best matches",
            sites[k]
        );
    }
    let documents = Columns::read_documents(&reference.join("documents.parquet"));
    assert_eq!(rows[0].n_active as f64 / rows[0].frequency, documents as f64);
}

#[test]
fn the_third_model_is_reproduced_and_every_two_models_are_compared() {
    let reference = project().join("data/demo/reference/first_batch_small-c.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(reference).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // without scores, which take most of the time
    let text = std::fs::read_to_string(project().join("dataflows/demo-three.toml")).unwrap();
    let unscored =
        |line: &&str| !["measures", "activation_measures", "categories"].iter().any(|key| line.starts_with(key));
    let flow = folder.path().join("flow.toml");
    std::fs::write(&flow, text.lines().filter(unscored).collect::<Vec<_>>().join("\n")).unwrap();
    let output = run(&flow, &out, &["--max-tokens", "1"]);
    let (rows, matched) = (latents(&out), matches(&out));
    let tokens = reference["tokens"].as_f64().unwrap();
    for (site, expected) in reference["latents"].as_object().unwrap() {
        let mine: Vec<_> = rows.iter().filter(|r| r.site.to_string() == *site).collect();
        assert_eq!(mine.len(), expected["mean"].as_array().unwrap().len(), "{site}");
        let mut others = 0;
        for (i, row) in mine.iter().enumerate() {
            let [active, mean] = ["active_tokens", "mean"].map(|key| expected[key][i].as_f64().unwrap());
            if row.n_active > 0 {
                assert_eq!((row.n_active as f64 / row.frequency).round(), tokens, "{site}");
            }
            // a 16th and 17th largest that nearly tie may change places between two engines
            let flips = (row.n_active as f64 - active).abs();
            assert!(flips <= 1.0, "{site} latent {i}: active {} expected {active}", row.n_active);
            others += usize::from(flips > 0.0);
            let close = flips > 0.0 || (row.mean - mean).abs() < 1e-5 * mean.abs().max(1e-3);
            assert!(close, "{site} latent {i}: mean {} expected {mean}", row.mean);
        }
        assert!(others <= 4, "{site}: {others} latents with another count");
    }
    let [source, target] = ["source", "target"].map(|key| reference["best_r"][key].as_str().unwrap());
    let best = by_rank(&matched, source, target, Direction::Forward);
    let others = (reference["best_r"]["r"].as_array().unwrap().iter().enumerate())
        .filter(|(i, r)| match (best.get(&(*i as u32, 1)).and_then(|m| m.correlation), r.as_f64()) {
            (Some(found), Some(wanted)) => (found - wanted).abs() > 1e-4,
            (None, None) => false,
            _ => true,
        })
        .count();
    // those of the few latents with another count
    assert!(others <= 8, "{others} latents of {source} with another best r");
    let pairs: BTreeSet<_> =
        matched.iter().map(|m| (m.pair.source.model.to_string(), m.pair.target.model.to_string())).collect();
    let pairs: Vec<_> = pairs.iter().map(|(a, b)| format!("{a} {b}")).collect();
    assert_eq!(pairs, ["small-a small-b", "small-a small-c", "small-b small-c"]);
    // one table for each pair of models
    let summary = String::from_utf8_lossy(&output.stdout);
    let headings = summary.lines().filter_map(|line| Some(line.split_once("  ")?.0));
    let headings: Vec<_> = headings.filter(|h| h.starts_with("small-") && h.contains(" x small-")).collect();
    assert_eq!(headings, ["small-a x small-b", "small-a x small-c", "small-b x small-c"], "{summary}");
}

impl Columns {
    /// Tokens of all documents.
    fn read_documents(path: &Path) -> i64 {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap().build().unwrap();
        let mut total = 0;
        for batch in reader {
            let batch = batch.unwrap();
            let tokens =
                batch.schema().fields().iter().position(|f| f.name().contains("token")).expect("a column of tokens");
            let column = arrow::compute::cast(batch.column(tokens), &arrow::datatypes::DataType::Int64).unwrap();
            total += column.as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
        total
    }
}
