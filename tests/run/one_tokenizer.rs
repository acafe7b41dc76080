//! A base model and its fine-tune with an added `<pad>` have one tokenizer as long as no text shows the difference.

use crate::bench_rig::{cognate, latents, matches, project, run, small_demo};
use safetensors::tensor::{SafeTensors, TensorView};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The demo's model `name` with a `<pad>` behind its vocabulary, and a row for it in its embedding.
fn fine_tune(folder: &Path, name: &str) -> PathBuf {
    let (from, to) = (project().join("data/demo/models").join(name), folder.join(name));
    std::fs::create_dir(&to).unwrap();
    for file in ["tokenizer.json", "special_tokens_map.json"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    for (file, key, value) in
        [("config.json", "vocab_size", json!(4097)), ("tokenizer_config.json", "pad_token", json!("<pad>"))]
    {
        let mut table: Value = serde_json::from_slice(&std::fs::read(from.join(file)).unwrap()).unwrap();
        table[key] = value;
        std::fs::write(to.join(file), table.to_string()).unwrap();
    }
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let old = SafeTensors::deserialize(&bytes).unwrap();
    let embedding = old.tensor("gpt_neox.embed_in.weight").unwrap();
    let wider = [embedding.data(), &embedding.data()[..2 * embedding.shape()[1]]].concat();
    let tensors = old.tensors().into_iter().map(|(name, tensor)| match name.as_str() {
        "gpt_neox.embed_in.weight" => {
            let shape = vec![4097, tensor.shape()[1]];
            (name, TensorView::new(tensor.dtype(), shape, &wider).unwrap())
        }
        _ => (name, tensor),
    });
    std::fs::write(to.join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    to
}

/// The small demo, one model of it replaced, over `corpus`.
fn flow(folder: &Path, model: &str, path: &Path, corpus: &Path, more: &[(&str, &str)]) -> PathBuf {
    let (was, now) = (format!("data/demo/models/{model}"), path.display().to_string());
    let corpus = format!("files = [{:?}]", corpus.display().to_string());
    let mut replace = vec![
        (was.as_str(), now.as_str()),
        ("files = [\"data/demo/corpus.jsonl\"]", corpus.as_str()),
        ("max_tokens = 12_000", "max_tokens = 6_000"),
        ("activation_measures = [\"svcca_k10\", \"cka\"]", "activation_measures = []"),
    ];
    replace.extend(more);
    small_demo(folder, &replace)
}

#[test]
fn an_added_token_that_no_text_holds_changes_no_number_and_one_that_a_text_holds_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let demo = project().join("data/demo/corpus.jsonl");
    let whole = folder.path().join("whole");
    let untouched = project().join("data/demo/models/small-b");
    run(&flow(folder.path(), "small-b", &untouched, &demo, &[]), &whole, &["--quiet"]);
    let text = std::fs::read_to_string(&demo).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let padded = json!({"text": "A batch is filled up with <pad> behind its shortest text.", "lang": "en"}).to_string();
    lines.insert(2, &padded);
    let shown = folder.path().join("shown.jsonl");
    std::fs::write(&shown, lines.join("\n") + "\n").unwrap();
    for model in ["small-b", "small-a"] {
        let tuned = fine_tune(folder.path(), model);
        let path = flow(folder.path(), model, &tuned, &demo, &[]);
        let said = String::from_utf8(cognate().arg("plan").arg(&path).output().unwrap().stdout).unwrap();
        assert!(
            said.contains("tokens    by the tokenizer of small-a, and by that of small-b to check that texts are cut alike: of their"),
            "{said}"
        );
        let out = folder.path().join(format!("out-{model}"));
        run(&path, &out, &["--quiet", "--workers", "2"]);
        assert!((latents(&out), matches(&out)) == (latents(&whole), matches(&whole)), "{model}");

        // a text that shows it: named, and with skip left out
        let path = flow(folder.path(), model, &tuned, &shown, &[]);
        let out = folder.path().join(format!("shown-{model}"));
        let output = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        for words in
            ["shown.jsonl:3: at byte 25, the tokenizers of models \"small-a\" and \"small-b\" give", "align = \"span\""]
        {
            assert!(said.contains(words), "{words}: {said}");
        }
        // the same run resumes once such records are left out
        let skip = [("context_length = 64", "context_length = 64\non_bad_record = \"skip\"")];
        let path = flow(folder.path(), model, &tuned, &shown, &skip);
        let output = run(&path, &out, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("1 record was left out as malformed"), "{said}");
        let strip = |out: &Path| latents(out).into_iter().map(|l| (l.site, l.latent, l.n_active)).collect::<Vec<_>>();
        assert_eq!(strip(&out), strip(&whole), "{model}");
    }
}

#[test]
fn what_is_put_around_texts_must_be_of_both() {
    let folder = tempfile::tempdir().unwrap();
    let tuned = fine_tune(folder.path(), "small-a");
    let config = tuned.join("tokenizer_config.json");
    let mut table: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    table["bos_token"] = json!("<pad>");
    std::fs::write(&config, table.to_string()).unwrap();
    let demo = project().join("data/demo/corpus.jsonl");
    let path = flow(folder.path(), "small-a", &tuned, &demo, &[]);
    let output = cognate().arg("plan").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("\"<pad>\", the BOS of \"small-a\", is no token of \"small-b\""), "{said}");
    let path = flow(
        folder.path(),
        "small-a",
        &tuned,
        &demo,
        &[("context_length = 64", "context_length = 64\nbos = \"none\"")],
    );
    assert!(cognate().arg("plan").arg(&path).output().unwrap().status.success());
}
