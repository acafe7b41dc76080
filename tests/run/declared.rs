//! What an SAE's own files, and SAELens' registry, declare is taken, or refused where the dataflow file contradicts it.

use crate::bench_rig::{cognate, project, run, small_demo};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// The SAE that the [`small_demo`] reads at small-b/resid_post.3.
const BLOCK: (&str, usize) = ("small-b", 3);

/// Writes that SAE as SAELens would, for activations multiplied by `scale`, its dimensions turned by `turn`, with `more` keys.
fn write_sae_lens(folder: &Path, scale: f32, turn: usize, more: Value) {
    let bytes = std::fs::read(project().join(format!("data/demo/saes/{}/layers.{}/sae.safetensors", BLOCK.0, BLOCK.1)));
    let bytes = bytes.unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data().as_chunks::<2>().0.to_vec();
        data.into_iter().map(|b| half::f16::from_le_bytes(b).to_f32()).collect()
    };
    let (w, w_dec, b_enc, b_dec) = (read("encoder.weight"), read("W_dec"), read("encoder.bias"), read("b_dec"));
    let (m, d) = (b_enc.len(), b_dec.len());
    let from = |i: usize| (i + turn) % d;
    let tensors = [
        ("W_enc", vec![d, m], (0..d * m).map(|k| w[k % m * d + from(k / m)] / scale).collect::<Vec<f32>>()),
        ("b_enc", vec![m], b_enc),
        ("W_dec", vec![m, d], (0..m * d).map(|k| w_dec[k / d * d + from(k % d)] * scale).collect()),
        ("b_dec", vec![d], (0..d).map(|i| b_dec[from(i)] * scale).collect()),
    ];
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("sae_weights.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let mut config = json!({
        "architecture": "topk", "k": 16, "d_in": d, "d_sae": m, "dtype": "float32", "apply_b_dec_to_input": true,
        "normalize_activations": "none",
        "metadata": { "hook_name": "blocks.3.hook_resid_post", "model_name": "small-b", "context_size": 64, "prepend_bos": true },
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    std::fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
}

/// The small demo with that SAE from `path`, at `place`, with more keys.
fn flow(folder: &Path, path: &str, place: &str, keys: &str) -> std::path::PathBuf {
    let new = format!("[saes.\"small-b/{place}\"]\npath = \"{path}\"\n{keys}");
    let text = [("[saes.\"small-b/resid_post.3\"]\npath = \"data/demo/saes/small-b/layers.3\"", new.as_str())];
    small_demo(folder, &text)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What `cognate plan` makes of it.
fn plan(flow: &Path) -> (i32, String) {
    let output = cognate().arg("plan").arg(flow).output().unwrap();
    (output.status.code().unwrap(), said(&output))
}

/// What `cognate doctor` finds of that SAE.
fn doctor(flow: &Path) -> (i32, Value) {
    let output = cognate().args(["doctor", "--json", "--tokens", "1500"]).arg(flow).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
    let saes = found["saes"].as_array().unwrap();
    let sae = saes.iter().find(|s| s["site"].as_str().unwrap().starts_with("small-b/")).unwrap().clone();
    (output.status.code().unwrap(), sae)
}

#[test]
fn the_place_that_a_file_names_is_refused_elsewhere_and_may_be_insisted_on() {
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    let path = sae.to_str().unwrap();
    write_sae_lens(&sae, 1.0, 0, json!({ "metadata": { "hook_name": "blocks.4.hook_resid_pre" } }));
    let (code, told) = plan(&flow(folder.path(), path, "resid_post.4", ""));
    assert_eq!(code, 2, "{told}");
    for word in ["blocks.4.hook_resid_pre, which is resid_post.3", "at resid_post.4", "insist = [\"hookpoint\"]"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    // both names of the right place, and the wrong one insisted on
    for (place, keys) in [("resid_post.3", ""), ("resid_pre.4", ""), ("resid_post.4", "insist = [\"hookpoint\"]")] {
        let (code, told) = plan(&flow(folder.path(), path, place, keys));
        assert_eq!(code, 0, "{place}: {told}");
    }
    // a folder's name is a statement too
    let (code, told) = plan(&flow(folder.path(), "data/demo/saes/small-b/layers.3", "resid_post.2", ""));
    assert!(code == 2 && told.contains("layers.3, which is resid_post.3"), "{told}");
}

#[test]
fn what_training_had_otherwise_is_said_and_one_head_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    let metadata = json!({
        "hook_name": "blocks.3.hook_resid_post", "model_name": "pythia-70m", "context_size": 1024, "prepend_bos": false,
        "seqpos_slice": [5, null], "model_from_pretrained_kwargs": { "fold_everything": true },
    });
    write_sae_lens(&sae, 1.0, 0, json!({ "metadata": metadata }));
    let (code, told) = plan(&flow(folder.path(), sae.to_str().unwrap(), "resid_post.3", ""));
    assert_eq!(code, 0, "{told}");
    for word in
        ["\"pythia-70m\"", "contexts of 1024 tokens", "without BOS", "positions [5,null]", "fold_everything = true"]
    {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(told.contains("warning: sae \"small-b/resid_post.3\": it was trained on \"pythia-70m\""), "{told}");

    write_sae_lens(&sae, 1.0, 0, json!({ "metadata": { "hook_name": "blocks.3.attn.hook_z", "hook_head_index": 2 } }));
    let (code, told) = plan(&flow(folder.path(), sae.to_str().unwrap(), "attn_z.3", ""));
    assert!(code == 2 && told.contains("attention head 2 alone"), "{told}");
}

#[test]
fn a_missing_factor_is_asked_for_estimated_and_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    let path = sae.to_str().unwrap();
    write_sae_lens(&sae, 3.0, 0, json!({ "normalize_activations": "expected_average_only_in" }));
    let (code, told) = plan(&flow(folder.path(), path, "resid_post.3", ""));
    assert!(code == 2 && told.contains("write scale = FACTOR"), "{told}");
    let (code, found) = doctor(&flow(folder.path(), path, "resid_post.3", ""));
    println!("{found:#}");
    assert_eq!((code, found["better"]["hookpoint"].as_str()), (1, Some("resid_post.3")));
    let scale = found["better"]["scale"].as_f64().unwrap();
    assert!((scale / 3.0 - 1.0).abs() < 0.1, "{scale}");
    assert!(found["contradictions"][0].as_str().unwrap().contains("expected_average_only_in"));
    // one that is a tenth of it is reported as well, in the file's own measure
    let (code, found) = doctor(&flow(folder.path(), path, "resid_post.3", "scale = 0.3"));
    let scale = found["better"]["scale"].as_f64().unwrap_or_else(|| panic!("{found:#}"));
    assert!(code == 1 && (scale / 3.0 - 1.0).abs() < 0.1, "{found:#}");

    let (code, found) = doctor(&flow(folder.path(), path, "resid_post.3", "scale = 3.0"));
    assert_eq!((code, found["wrong"].as_bool()), (0, Some(false)), "{found:#}");
    let (_, plain) = doctor(&flow(folder.path(), "data/demo/saes/small-b/layers.3", "resid_post.3", ""));
    let fvu = |sae: &Value| sae["readings"][0]["fvu"].as_f64().unwrap();
    assert!((fvu(&found) / fvu(&plain) - 1.0).abs() < 1e-3, "{} {}", fvu(&found), fvu(&plain));
}

#[test]
fn an_sae_that_is_scaled_or_of_another_model_does_not_start_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let sae = folder.path().join("sae");
    let path = sae.to_str().unwrap();
    let start = |keys: &str| {
        let out = folder.path().join("run");
        let flow = flow(folder.path(), path, "resid_post.3", keys);
        let output = cognate()
            .arg("run")
            .arg(flow)
            .args(["--fresh", "--max-tokens", "1000", "--out"])
            .arg(out)
            .output()
            .unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    write_sae_lens(&sae, 3.0, 0, json!({}));
    let (code, told) = start("");
    assert!(code == 1 && told.contains("reads better with scale = ") && told.contains("write scale = "), "{told}");

    // as if its model had other dimensions
    write_sae_lens(&sae, 1.0, 37, json!({}));
    let (code, found) = doctor(&flow(folder.path(), path, "resid_post.3", ""));
    println!("{found:#}");
    assert!(
        code == 1 && found["verdict"].as_str().unwrap().starts_with("reconstructs worse than the mean"),
        "{found:#}"
    );
    let (code, told) = start("");
    assert_eq!(code, 1, "{told}");
    for word in ["worse than the mean: FVU ", "mis-scaled, of another model, or untrained", "insist = [\"fvu\"]"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let (code, told) = start("insist = [\"fvu\"]");
    assert!(code == 0 && told.contains("doctor: 3 SAEs checked on"), "{told}");
}

#[test]
fn the_registry_gives_scale_centring_and_neuronpedia_to_what_lies_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("hub");
    let repository = cache.join("models--tommmcgrath--gpt2-small-mlp-out-saes");
    let inside = "sae_group_gpt2_blocks.3.hook_mlp_out_24576:v0";
    let sae = repository.join("snapshots/0123").join(inside);
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), "0123").unwrap();
    write_sae_lens(
        &sae,
        1.0,
        0,
        json!({
            "normalize_activations": "expected_average_only_in", "metadata": { "hook_name": "blocks.3.hook_mlp_out" },
        }),
    );
    let command = |what: &str, flow: &Path| {
        let output =
            cognate().args([what, "--json"]).arg(flow).env("HF_HUB_CACHE", &cache).env("HF_HUB_OFFLINE", "1").output();
        output.unwrap()
    };
    let by_id = "sae_lens:gpt2-small-mlp-tm/blocks.3.hook_mlp_out";
    for path in [by_id, &format!("hf:tommmcgrath/gpt2-small-mlp-out-saes/{inside}")] {
        let found = command("doctor", &flow(folder.path(), path, "mlp_out.3", ""));
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&found)));
        let of = found["saes"].as_array().unwrap().iter().find(|s| s["site"] == "small-b/mlp_out.3").unwrap().clone();
        // the factor of this block, and centred weights: this model has LayerNorm
        let declared = &of["readings"][0];
        assert!((declared["scale"].as_f64().unwrap() - 1.8958522157897557).abs() < 1e-12, "{of:#}");
        assert_eq!(declared["center"], true, "{of:#}");
        assert!(of["contradictions"].as_array().unwrap().is_empty(), "{of:#}");
        let elsewhere = command("plan", &flow(folder.path(), path, "mlp_out.2", ""));
        assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));
    }
    let there = cache.join("models--jbloom--GPT2-Small-SAEs-Reformatted");
    std::fs::create_dir_all(there.join("refs")).unwrap();
    std::fs::write(there.join("refs/main"), "0123").unwrap();
    let metadata = json!({ "metadata": { "hook_name": "blocks.4.hook_resid_pre" } });
    write_sae_lens(&there.join("snapshots/0123/blocks.4.hook_resid_pre"), 1.0, 0, metadata);
    let out = folder.path().join("run");
    let flow = flow(folder.path(), "sae_lens:gpt2-small-res-jb/blocks.4.hook_resid_pre", "resid_post.3", "");
    let mut command = cognate();
    command.arg("run").arg(&flow).args(["--max-tokens", "1000", "--out"]).arg(&out);
    let output = command.env("HF_HUB_CACHE", &cache).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert!(output.status.success() && said(&output).contains("trained on \"gpt2-small\""), "{}", said(&output));
    let latents = out.join("tables/latents.parquet");
    let reader = cognate::table::TableReader::<cognate::table::LatentRow>::open(&latents).unwrap();
    assert_eq!(reader.origin()["neuronpedia"], "{\"small-b/resid_post.3\":\"gpt2-small/4-res-jb\"}");
}

#[test]
fn a_release_that_is_not_there_is_answered_with_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let (code, told) =
        plan(&flow(folder.path(), "sae_lens:gpt2-small-res-bj/blocks.1.hook_resid_pre", "resid_post.3", ""));
    assert!(code == 2 && told.contains("gpt2-small-res-jb"), "{told}");
}

#[test]
fn scale_and_centring_make_another_run_and_insisting_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (out, path) = (folder.path().join("run"), "data/demo/saes/small-b/layers.3");
    let start = |keys: &str, more: &[&str]| {
        let flow = flow(folder.path(), path, "resid_post.3", keys);
        let mut command = cognate();
        command.arg("run").arg(flow).args(["--max-tokens", "1000", "--out"]).arg(&out).args(more);
        let output = command.output().unwrap();
        (output.status.code().unwrap(), said(&output))
    };
    run(&flow(folder.path(), path, "resid_post.3", ""), &out, &["--max-tokens", "1000"]);
    for same in ["insist = [\"hookpoint\", \"fvu\"]", "scale = 1.0", "center = false"] {
        let (code, told) = start(same, &[]);
        assert!(code == 0 && told.contains("is complete"), "{same}: {told}");
    }
    for (other, key) in [("scale = 1.05", "scale"), ("center = true", "center")] {
        let (code, told) = start(other, &[]);
        assert!(code == 4 && told.contains(key), "{other}: {told}");
    }
}
