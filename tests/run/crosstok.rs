//! Two models of two tokenizers: the whole line against transformers, sparsify and numpy (`fixtures/crosstok`), and laws: one tokenizer by
//! tokens and by text, a run killed and begun again, several workers, a merge, places as they are.

use crate::bench_rig::{by_rank, cognate, fixture, latents, matches, run};
use cognate::matching::Direction;
use cognate::table::{AlignmentRow, TableReader};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

fn numbers(bytes: &[u8], name: &str) -> Vec<f64> {
    let all = SafeTensors::deserialize(bytes).unwrap();
    let tensor = all.tensor(name).unwrap_or_else(|_| panic!("{name}"));
    let words = tensor.data().chunks_exact(8).map(|b| <[u8; 8]>::try_from(b).unwrap());
    match tensor.dtype() {
        safetensors::Dtype::F64 => words.map(f64::from_le_bytes).collect(),
        safetensors::Dtype::I64 => words.map(|b| i64::from_le_bytes(b) as f64).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

/// A dataflow file over the fixture, or over one model of it twice.
pub fn flow(folder: &Path, models: [&str; 2], corpus: &str, compare: &str, estimate: &str) -> PathBuf {
    let set = fixture("crosstok");
    let (set, [a, b]) = (set.display(), models);
    let text = format!(
        r#"format = 1
name = "crosstok"
[corpus]
files = ["{set}/corpus.jsonl"]
context_length = 64
batch_contexts = 16
{corpus}
[models.A]
path = "{set}/model_{a}"
[models.B]
path = "{set}/model_{b}"
[saes."A/layers.1"]
path = "{set}/sae_model_{a}/layers.1"
[saes."B/layers.1"]
path = "{set}/sae_model_{b}/layers.1"
[compare]
pairs = [["A/layers.1", "B/layers.1"]]
{compare}
[estimate]
best = 5
{estimate}
[check]
doctor = "off"
"#
    );
    let path = folder.join("flow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

pub fn alignment(out: &Path) -> Vec<AlignmentRow> {
    TableReader::open(&out.join("tables/alignment.parquet")).unwrap().read_all().unwrap()
}

#[test]
fn two_tokenizers_as_the_libraries_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let flow = flow(folder.path(), ["L", "N"], "", "align = \"span\"\nspan_contexts = \"own\"", "");
    let said = cognate().args(["run", "--out"]).arg(&out).arg(&flow).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said = String::from_utf8_lossy(&said.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("9 067 rows of 39 documents") && said.contains("1.06 of A, 1.10 of B tokens; 89.4 %"),
        "{said}"
    );
    let reference = std::fs::read(fixture("crosstok").join("reference.safetensors")).unwrap();
    let (rows, n) = (latents(&out), 9067.0);
    let mut worst = 0f64;
    for (model, side) in [("A", "L"), ("B", "N")] {
        let of = |what: &str| numbers(&reference, &format!("stats_{side}.{what}"));
        let all = ["n_active", "sum", "sumsq", "mean", "std_ddof0", "max"].map(of);
        let mine: Vec<_> = rows.iter().filter(|r| r.site.model == model).collect();
        assert_eq!(mine.len(), all[0].len());
        for (i, row) in mine.iter().enumerate() {
            assert_eq!(row.n_active as f64, all[0][i], "{side} {i}");
            let square = (row.std * row.std + row.mean * row.mean) * n;
            let found = [row.mean * n, square, row.mean, row.std, f64::from(row.max.unwrap_or(0.0))];
            for (k, found) in found.into_iter().enumerate() {
                let expected = all[k + 1][i];
                let off = (found - expected).abs() / expected.abs().max(1e-6);
                worst = worst.max(off);
                assert!(off <= 1e-5, "{side} latent {i} figure {k}: found {found}, expected {expected}");
            }
        }
    }
    let (rows, mut largest, mut compared) = (matches(&out), 0f64, 0);
    for (direction, name) in [(Direction::Forward, "a_to_b"), (Direction::Backward, "b_to_a")] {
        let [best, correlation, gap] = ["", "_corr", "_gap"].map(|what| numbers(&reference, &format!("{name}{what}")));
        let mine = by_rank(&rows, "A/resid_post.1", "B/resid_post.1", direction);
        for i in 0..best.len() {
            let row = &mine[&(i as u32, 1)];
            let partner = if direction == Direction::Forward { row.target_latent } else { row.source_latent };
            let off = (row.correlation.unwrap() - correlation[i]).abs();
            largest = largest.max(off);
            assert!(off < 2e-5, "{name} {i}: {:?}, expected {}", row.correlation, correlation[i]);
            if gap[i] > 2e-5 {
                assert_eq!(f64::from(partner.unwrap()), best[i], "{name} {i}");
                compared += 1;
            }
        }
    }
    println!("statistics within {worst:.1e}, correlations within {largest:.1e}, {compared} partners compared");
    assert!(compared > 200);
    let said = alignment(&out);
    assert_eq!(
        said.iter().map(|r| (r.model.as_str(), r.rows, r.tokens)).collect::<Vec<_>>(),
        [("A", 9067, 9655), ("B", 9067, 10010)]
    );
    assert!(said.iter().all(|r| r.dropped_bytes == 0 && r.unaligned_documents == 0));
    assert!(said[0].one_to_one.unwrap() > 0.5 && said[0].one_to_one == said[1].one_to_one, "{said:?}");
    // each side shows its own tokens
    let top = latents(&out).into_iter().filter(|r| r.site.model == "B").flat_map(|r| r.top).collect::<Vec<_>>();
    assert!(top.iter().all(|t| !t.context.contains('▁')));
}

/// The tables of a run but what the alignment alone has, as bytes.
fn tables(out: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = (std::fs::read_dir(out.join("tables")).unwrap().map(|e| e.unwrap().path()))
        .filter(|p| p.extension().is_some_and(|e| e == "parquet"))
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(p).unwrap()))
        .collect();
    all.sort();
    all
}

#[test]
fn with_one_tokenizer_text_and_tokens_give_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    // no token of these documents ends inside a character
    let plain = folder.path().join("plain.jsonl");
    let text = std::fs::read_to_string(fixture("crosstok").join("corpus.jsonl")).unwrap();
    let ascii: String =
        text.lines().filter(|line| line.is_ascii() && !line.contains("\\u")).map(|l| format!("{l}\n")).collect();
    std::fs::write(&plain, ascii).unwrap();
    let given = "activation_measures = [\"svcca\"]\nnull = { activation_permutations = 2, given = true }";
    let mut found = Vec::new();
    for align in ["align = \"token\"", "align = \"span\"", "align = \"span\"\nspan_contexts = \"own\""] {
        let out = folder.path().join(format!("run{}", found.len()));
        let path = flow(folder.path(), ["N", "N"], "", align, given);
        let text = std::fs::read_to_string(&path).unwrap();
        let text =
            text.replace(&format!("{}/corpus.jsonl", fixture("crosstok").display()), &plain.display().to_string());
        std::fs::write(&path, text).unwrap();
        run(&path, &out, &["--quiet"]);
        found.push((latents(&out), matches(&out)));
    }
    assert!(found[0].0.iter().any(|r| r.n_active > 100));
    assert_eq!(found[1], found[0]);
    assert_eq!(found[2], found[0]);
}

/// The same text of both models in whole units, which none of them cuts.
#[test]
fn units_of_two_tokenizers_hold_all_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    let texts: u64 = (std::fs::read_to_string(fixture("crosstok").join("corpus.jsonl")).unwrap().lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().len() as u64)
        .sum();
    let mut rows = vec![9067];
    for unit in ["word", "sentence", "document"] {
        for contexts in ["common", "own"] {
            let out = folder.path().join(format!("{unit}-{contexts}"));
            let compare = format!("unit = \"{unit}\"\nspan_contexts = \"{contexts}\"");
            // an EOS in a text is no text
            let corpus = "split_at_eos = false";
            run(&flow(folder.path(), ["L", "N"], corpus, &compare, ""), &out, &["--quiet"]);
            let said = alignment(&out);
            assert_eq!(said.len(), 2);
            assert!(said.iter().all(|r| r.unit.as_str() == unit && r.dropped_bytes == 0), "{said:?}");
            assert_eq!(said[0].bytes, texts);
            assert!(said.iter().all(|r| r.tokens >= r.rows && r.tokens < 12_000), "{said:?}");
            if contexts == "own" {
                assert_eq!(said[0].rows, *rows.last().unwrap(), "{unit}: rows do not depend on where contexts end");
            } else {
                assert!(said[0].rows < *rows.last().unwrap());
                rows.push(said[0].rows);
            }
        }
    }
}

#[test]
fn kills_workers_and_a_second_start_leave_the_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let estimate =
        "snapshot_every = 2000\nactivation_measures = [\"cka\"]\nnull = { activation_permutations = 2, given = true }";
    for contexts in ["common", "own"] {
        let compare = format!("align = \"span\"\nspan_contexts = \"{contexts}\"\nreadout = true");
        let flow = flow(
            folder.path(),
            ["L", "N"],
            "pack = true",
            &compare,
            &format!("{estimate}\n[checkpoint]\nevery = 1500"),
        );
        let of = |name: &str| folder.path().join(format!("{contexts}-{name}"));
        run(&flow, &of("whole"), &["--quiet"]);
        run(&flow, &of("workers"), &["--quiet", "--workers", "3"]);
        assert_eq!(tables(&of("workers")), tables(&of("whole")), "{contexts}");
        // stopped at its first rows, and again further on, then to the end
        for most in ["2000", "5000"] {
            run(&flow, &of("parts"), &["--quiet", "--max-tokens", most]);
        }
        run(&flow, &of("parts"), &["--quiet"]);
        let but_history = |out: &Path| tables(out).into_iter().filter(|t| t.0 != "history.parquet").collect::<Vec<_>>();
        assert!(but_history(&of("parts")).len() > 4);
        for ((name, parts), (_, whole)) in but_history(&of("parts")).iter().zip(&but_history(&of("whole"))) {
            // the number of the snapshot is in their metadata
            if parts != whole {
                println!("{contexts} {name}: other bytes");
            }
        }
        assert_eq!((latents(&of("parts")), matches(&of("parts"))), (latents(&of("whole")), matches(&of("whole"))));
    }
}

#[test]
fn tokenizers_that_differ_are_named_where_rows_are_tokens() {
    let folder = tempfile::tempdir().unwrap();
    for (compare, corpus, words) in [
        ("", "", vec!["have different tokenizers", "write compare.align = \"span\"", "normaliser"]),
        ("span_contexts = \"own\"", "", vec!["compare.span_contexts changes nothing here"]),
        ("pool = { latents = \"sum\" }", "", vec!["compare.pool changes nothing here"]),
        ("align = \"span\"", "count_special = true", vec!["corpus.count_special"]),
    ] {
        let flow = flow(folder.path(), ["L", "N"], corpus, compare, "");
        let output = cognate().args(["plan"]).arg(&flow).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let flow = flow(folder.path(), ["L", "N"], "", "align = \"span\"\npool = { latents = \"mean\" }", "");
    let said = String::from_utf8(cognate().arg("plan").arg(&flow).output().unwrap().stdout).unwrap();
    assert!(
        said.contains("rows      pieces of text") && said.contains("the mean of latents, the last of activations"),
        "{said}"
    );
}
