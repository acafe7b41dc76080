//! Wrong requests are refused in one line with what was found and what to do.

use crate::bench_rig::{cognate, project, run, same_tables, small_demo, tables};
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
fn a_misspelt_command_and_a_repository_without_its_mark() {
    for (written, meant) in [("statsu", "status"), ("rnu", "run"), ("plna", "plan")] {
        let output = cognate().args([written, "flow.toml"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let named = [written, meant].iter().all(|name| said.contains(&format!("'{name}'")));
        assert!(output.status.code() == Some(2) && named, "{said}");
    }
    check(
        &[("data/demo/models/small-b", "EleutherAI/pythia-70m")],
        2,
        &["EleutherAI/pythia-70m", "hf:EleutherAI/pythia-70m"],
    );
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
fn both_remedies_of_a_bad_record_go_on_from_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    // some 6 000 tokens, a checkpoint every 1 000
    let good: Vec<&str> = whole.lines().take(8).collect();
    let corpus = folder.path().join("corpus.jsonl");
    let write = |line: &str| {
        let mut lines = good.clone();
        lines[6] = line;
        std::fs::write(&corpus, lines.join("\n")).unwrap();
    };
    // what is read is the question, not how the SAEs fit
    let paths = [
        ("data/demo/corpus.jsonl", corpus.to_str().unwrap()),
        ("max_tokens = 12_000", "max_tokens = 0"),
        ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]"),
    ];
    let flow = small_demo(folder.path(), &paths);
    let (mended, skipped) = (folder.path().join("mended"), folder.path().join("skipped"));
    write("{broken");
    for out in [&mended, &skipped] {
        let (code, line) = refused(&flow, out, &[]);
        assert!(code == 3 && line.contains("corpus.jsonl:7:") && line.contains("run the same command again"), "{line}");
    }
    let afresh = |flow: &std::path::Path| {
        let out = folder.path().join("afresh");
        let stale =
            ["scores/filters", "controls/a", "directions.safetensors", "maps.safetensors"].map(|name| out.join(name));
        for path in &stale {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "of the run before").unwrap();
        }
        run(flow, &out, &["--fresh", "--quiet"]);
        assert!(stale.iter().all(|path| !path.exists()), "what was made of the run before");
        tables(&out)
    };
    let goes_on = |flow: &std::path::Path, out: &std::path::Path| {
        let said = String::from_utf8_lossy(&run(flow, out, &[]).stderr).into_owned();
        assert!(said.contains("resuming after"), "{said}");
    };
    let skip = small_demo(
        folder.path(),
        &[paths[0], paths[1], paths[2], ("batch_contexts = 8", "batch_contexts = 8\non_bad_record = \"skip\"")],
    );
    goes_on(&skip, &skipped);
    same_tables(&afresh(&skip), &skipped, "with the bad record left out");
    // another length than it had
    write("{\"text\": \"This record was broken, and is mended now.\", \"lang\": \"en\"}");
    let flow = small_demo(folder.path(), &paths);
    goes_on(&flow, &mended);
    same_tables(&afresh(&flow), &mended, "with the bad record mended");
    // what was read is what it must be
    std::fs::write(&corpus, whole.lines().skip(1).take(8).collect::<Vec<_>>().join("\n")).unwrap();
    let (code, line) = refused(&flow, &mended, &[]);
    assert!(code == 4 && line.contains("corpus.jsonl is not what it was"), "{line}");
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

#[test]
fn what_is_declared_and_comes_into_no_pair() {
    let slip = "pairs = [[\"small-a/resid_post.1\", \"small-b/resid_post.3\"], [\"small-a/resid_post.3\", \"small-b/resid_post.3\"]]";
    let words = ["[saes.\"small-a/resid_post.2\"] is in no pair", "compare.pairs names small-a/resid_post.3", "no SAE"];
    check(&[("pairs = \"all\"", slip)], 2, &words);
    let idle = "[models.small-c]\npath = \"data/demo/models/small-a\"\n[compare]";
    check(&[("[compare]", idle)], 2, &["[models.small-c] is in no pair"]);
}

#[test]
fn a_key_that_changes_nothing() {
    check(
        &[("pairs = \"all\"", "pairs = \"all\"\nwidth = 1024")],
        2,
        &["compare.width changes nothing here", "sketch"],
    );
    let text_unit = ("batch_contexts = 8", "batch_contexts = 8\ntext_unit = \"line\"");
    check(&[text_unit], 2, &["text_unit changes nothing here", ".txt"]);
    let counted = ("batch_contexts = 8", "batch_contexts = 8\nbos = \"none\"\ncount_special = true");
    check(&[counted], 2, &["count_special changes nothing here"]);
    let measures = ("measures = [\"svcca_k10\", \"cka\"]\npairings", "measures = [\"cka\", \"cka\"]\npairings");
    check(&[measures], 2, &["estimate.measures names \"cka\" twice"]);
    let nan = ("min_correlation = 0.1", "min_correlation = nan");
    check(&[nan], 2, &["min_correlation is NaN", "below 1"]);
}

#[test]
fn a_corpus_file_named_twice() {
    let twice = "files = [\"data/demo/corpus.jsonl\", \"data/demo/*.jsonl\"]";
    check(
        &[("files = [\"data/demo/corpus.jsonl\"]", twice)],
        2,
        &["data/demo/corpus.jsonl twice", "data/demo/*.jsonl"],
    );
}

#[test]
fn a_text_field_that_no_record_has_with_the_fields_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[("labels = [\"lang\"]", "text = \"txt\"")]);
    let words = ["no field \"txt\" ([corpus] text) in the first 681 records", "lang", "text", "set [corpus] text"];
    check(&[("labels = [\"lang\"]", "text = \"txt\"")], 2, &words);
    // before anything starts: the plan says it too
    let said = cognate().arg("plan").arg(&flow).output().unwrap();
    assert_eq!(said.status.code(), Some(2), "{}", String::from_utf8_lossy(&said.stderr));
    // a field that some records lack is no such slip
    let some = folder.path().join("some.jsonl");
    std::fs::write(&some, "{\"other\": 1}\n{\"text\": \"a few words of text\"}\n").unwrap();
    let files = format!("files = [{:?}]\non_bad_record = \"skip\"", some.to_str().unwrap());
    let flow =
        small_demo(folder.path(), &[("files = [\"data/demo/corpus.jsonl\"]", &files), ("labels = [\"lang\"]", "")]);
    let said = cognate().arg("plan").arg(&flow).output().unwrap();
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_directory_that_differs_in_measures_alone_can_be_scored() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 2_000")]), &out, &["--quiet"]);
    let other = [("max_tokens = 12_000", "max_tokens = 2_000"), ("min_correlation = 0.1", "min_correlation = 0.2")];
    let (code, line) = refused(&small_demo(folder.path(), &other), &out, &[]);
    assert!(code == 4 && line.contains("cognate score") && line.contains("--set estimate.filters"), "{line}");
    let more = [other[0], other[1], ("context_length = 64", "context_length = 32")];
    let (code, line) = refused(&small_demo(folder.path(), &more), &out, &[]);
    assert!(code == 4 && !line.contains("cognate score"), "{line}");
}

#[test]
fn a_label_that_no_record_has_with_the_fields_that_are_there() {
    let words = ["no field \"language\" ([corpus] labels) in the first 681 records", "lang", "text"];
    check(&[("labels = [\"lang\"]", "labels = [\"language\"]")], 2, &words);
}

#[test]
fn a_label_of_few_documents_is_told_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("few.jsonl");
    let text = std::fs::read_to_string(project().join("data/demo/corpus.jsonl")).unwrap();
    // the first document alone keeps its label; another field is there once, as null
    let lines: Vec<String> = (text.lines().take(12).enumerate())
        .map(|(k, line)| {
            let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
            let fields = record.as_object_mut().unwrap();
            if k > 0 {
                fields.remove("lang");
            }
            fields.insert("topic".into(), serde_json::Value::Null);
            record.to_string()
        })
        .collect();
    std::fs::write(&corpus, lines.join("\n")).unwrap();
    let changes = [
        ("data/demo/corpus.jsonl", corpus.to_str().unwrap()),
        ("labels = [\"lang\"]", "labels = [\"lang\", \"topic\"]"),
        ("max_tokens = 12_000", "max_tokens = 0"),
    ];
    let flow = small_demo(folder.path(), &changes);
    let said = |out: &str| {
        let output = run(&flow, &folder.path().join(out), &[]);
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = said("run");
    assert!(said.contains("1 of 12 documents had a value of the label \"lang\""), "{said}");
    assert!(said.contains("none of 12 documents had a value of the label \"topic\""), "{said}");
    let whole = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 2_000")]);
    let output = run(&whole, &folder.path().join("whole"), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("had a value of the label"), "{said}");
}

#[test]
fn a_path_that_is_not_there_is_answered_with_the_one_that_is_near() {
    for (from, to, place, said) in [
        ("models/small-b\"", "models/small-bb\"", "model \"small-b\"", "(did you mean data/demo/models/small-b?)"),
        (
            "small-b/layers.3",
            "small-b/layres.3",
            "small-b/resid_post.3",
            "(did you mean data/demo/saes/small-b/layers.3?)",
        ),
        ("small-b/layers.3", "small-b/blocks_3", "small-b/resid_post.3", "(data/demo/saes/small-b holds layers."),
        ("corpus.jsonl", "corpus.json", "[corpus] files", "(did you mean data/demo/corpus.jsonl?)"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let flow = small_demo(folder.path(), &[(from, to)]);
        let output = cognate().args(["run", "--out"]).arg(folder.path().join("out")).arg(&flow).output().unwrap();
        let heard = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && heard.contains(place) && heard.contains(said), "{to}: {heard}");
    }
}
