//! Wrong requests are refused in one line that says what was found and what to do.

use crate::bench_rig::{cognate, project, run, small_demo};
use std::path::Path;

/// Runs what must fail; gives (exit code, first line of standard error that is an error).
fn refused(flow: &Path, out: &Path, more: &[&str]) -> (i32, String) {
    let output = cognate().args(["run", "--quiet", "--out"]).arg(out).args(more).arg(flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().next().unwrap_or_default().to_string();
    assert!(line.starts_with("error: "), "{said}");
    (output.status.code().unwrap(), line)
}

fn check(replace: &[(&str, &str)], code: i32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), replace);
    let (found, line) = refused(&flow, &folder.path().join("run"), &[]);
    assert_eq!(found, code, "{line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

#[test]
fn an_unknown_key() {
    check(&[("context_length = 64", "context_lenth = 64")], 2, &["context_lenth", "line 7", "context_length"]);
}

#[test]
fn a_missing_file() {
    check(&[("data/demo/models/small-b", "data/demo/models/small-z")], 2, &["small-z"]);
    check(&[("data/demo/corpus.jsonl", "data/demo/corpse.jsonl")], 2, &["corpse.jsonl"]);
    check(&[("data/demo/saes/small-b/layers.3", "data/demo/saes/small-b/layers.9")], 2, &["layers.9"]);
    let (code, line) = refused(Path::new("no-such-flow.toml"), Path::new("nowhere"), &[]);
    assert_eq!(code, 2);
    assert!(line.contains("no-such-flow.toml"), "{line}");
}

#[test]
fn an_sae_of_another_width() {
    let swapped = [("path = \"data/demo/saes/small-b/layers.3\"", "path = \"data/demo/saes/small-a/layers.3\"")];
    check(&swapped, 2, &["128", "160", "small-b/resid_post.3"]);
}

#[test]
fn a_truncated_checkpoint_of_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in
        ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors"]
    {
        std::fs::copy(project().join("data/demo/models/small-a").join(file), model.join(file)).unwrap();
    }
    let weights = model.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let flow = small_demo(folder.path(), &[("data/demo/models/small-a", model.to_str().unwrap())]);
    let (code, line) = refused(&flow, &folder.path().join("run"), &[]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("model.safetensors"), "{line}");
}

#[test]
fn a_tokenizer_larger_than_the_embedding() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for file in ["config.json", "tokenizer_config.json", "special_tokens_map.json", "model.safetensors"] {
        std::fs::copy(project().join("data/demo/models/small-a").join(file), model.join(file)).unwrap();
    }
    let text = std::fs::read_to_string(project().join("data/demo/models/small-a/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).unwrap();
    tokenizer["model"]["vocab"]["a token too many"] = 5000.into();
    std::fs::write(model.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let flow = small_demo(folder.path(), &[("data/demo/models/small-a", model.to_str().unwrap())]);
    let (code, line) = refused(&flow, &folder.path().join("run"), &[]);
    assert_eq!(code, 2, "{line}");
    assert!(line.contains("5001") && line.contains("4096"), "{line}");
}

#[test]
fn too_little_memory_with_the_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let (code, line) = refused(&flow, &folder.path().join("run"), &["--memory-limit", "1MiB"]);
    assert_eq!(code, 5, "{line}");
    assert!(line.contains("1.00 MiB") && line.contains("program, reader") && line.contains("--memory-limit"), "{line}");
}

#[test]
fn a_directory_of_another_run_naming_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let out = folder.path().join("run");
    run(&flow, &out, &["--quiet"]);
    let flow = small_demo(folder.path(), &[("seed = 7", "seed = 8"), ("context_length = 64", "context_length = 32")]);
    let (code, line) = refused(&flow, &out, &[]);
    assert_eq!(code, 4, "{line}");
    assert!(
        line.contains("context_length") && line.contains("64") && line.contains("32") && line.contains("seed"),
        "{line}"
    );
}

#[test]
fn a_malformed_record_names_file_and_line_and_may_be_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("bad.jsonl");
    let lines: Vec<String> = std::fs::read_to_string(project().join("data/demo/corpus.jsonl"))
        .unwrap()
        .lines()
        .take(6)
        .map(String::from)
        .collect();
    std::fs::write(&corpus, format!("{}\n{{broken\n{}\n", lines[..3].join("\n"), lines[3..].join("\n"))).unwrap();
    let changes = [("data/demo/corpus.jsonl", corpus.to_str().unwrap())];
    let flow = small_demo(folder.path(), &changes);
    let (code, line) = refused(&flow, &folder.path().join("run"), &[]);
    assert_eq!(code, 3, "{line}");
    assert!(line.contains("bad.jsonl") && line.contains('4') && line.contains("on_bad_record"), "{line}");
    let flow = small_demo(
        folder.path(),
        &[changes[0], ("batch_contexts = 8", "batch_contexts = 8\non_bad_record = \"skip\"")],
    );
    let output = run(&flow, &folder.path().join("skipped"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 record was left out") && said.contains("bad.jsonl"), "{said}");
}

#[test]
fn a_reader_who_goes_away_ends_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let (flow, out) = (small_demo(folder.path(), &[]), folder.path().join("run"));
    let piped = std::process::Stdio::piped;
    let mut child =
        cognate().args(["run", "--out"]).arg(&out).arg(&flow).stdout(piped()).stderr(piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(out.join("report.html").exists());
}
