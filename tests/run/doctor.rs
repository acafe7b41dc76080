//! `cognate doctor` over the demo: the right readings pass, moved hookpoints and a bias read the wrong way are named.

use crate::bench_rig::{cognate, fixture, project, run, same_tables, small_demo, tables};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::path::Path;

/// The demo's six SAEs: model, block.
const SAES: [(&str, usize); 6] =
    [("small-a", 1), ("small-a", 2), ("small-a", 3), ("small-b", 1), ("small-b", 3), ("small-b", 5)];

fn doctor(flow: &Path) -> (Option<i32>, Value, String) {
    let output = cognate().args(["doctor", "--json", "--tokens", "2000"]).arg(flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output.status.code(), found, said)
}

/// A copy of the demo's file with each SAE declared elsewhere, or with a key more.
fn changed(folder: &Path, hookpoint: impl Fn(&str, usize) -> usize, more: &str) -> std::path::PathBuf {
    let mut text = std::fs::read_to_string(project().join("dataflows/demo.toml")).unwrap();
    for (model, block) in SAES {
        let path = format!("path = \"data/demo/saes/{model}/layers.{block}\"\n");
        let old = format!("[saes.\"{model}/resid_post.{block}\"]\n{path}");
        assert!(text.contains(&old), "{old}");
        // a mark keeps a site that was just written from being taken for the next one
        text =
            text.replace(&old, &format!("[saes.\"{model}/@resid_post.{}\"]\n{path}{more}\n", hookpoint(model, block)));
    }
    let flow = folder.join("flow.toml");
    std::fs::write(&flow, text.replace('@', "")).unwrap();
    flow
}

#[test]
fn the_demo_is_read_as_it_was_trained() {
    let (code, found, said) = doctor(&project().join("dataflows/demo.toml"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(found["saes"].as_array().unwrap().len(), SAES.len());
    for sae in found["saes"].as_array().unwrap() {
        let readings = sae["readings"].as_array().unwrap();
        let fvu = |r: &Value| r["fvu"].as_f64().unwrap();
        let declared = readings.iter().find(|r| r["declared"] == true).unwrap();
        assert!(readings.len() >= 4 && readings.iter().all(|r| fvu(r) >= fvu(declared)), "{sae:#}");
        assert!(fvu(declared) < 0.6 && declared["l0"].as_f64().unwrap() <= 16.0, "{declared:#}");
        assert!(sae["better"].is_null() && sae["n_tokens"].as_u64().unwrap() >= 2000);
        assert!(
            sae["wrong"] == false && sae["verdict"].as_str().unwrap().starts_with("reads best as declared: FVU 0.")
        );
        // one change at a time: every reading differs from the declared one in one thing
        let differs = |r: &Value, key: &str| usize::from(r[key] != declared[key]);
        let changes = |r: &Value| -> usize {
            ["hookpoint", "subtract_b_dec", "scale", "center"].map(|key| differs(r, key)).iter().sum()
        };
        assert!(readings.iter().filter(|r| r["declared"] == false).all(|r| changes(r) == 1), "{sae:#}");
        for key in ["subtract_b_dec", "scale", "center", "hookpoint"] {
            assert!(readings.iter().any(|r| differs(r, key) == 1), "{key} is not tried: {sae:#}");
        }
    }
    assert_eq!(found["verdict"], "6 SAEs read best as declared");
}

#[test]
fn a_hookpoint_one_block_off_is_refused_and_the_right_one_named() {
    let folder = tempfile::tempdir().unwrap();
    // the last blocks have none behind them: those two stand far off, where no neighbour is the right one
    let far = [("small-a", 3, 1), ("small-b", 5, 0)];
    for by in [-1isize, 1] {
        let moved = |model: &str, block: usize| {
            let far = far.iter().find(|f| by == 1 && (f.0, f.1) == (model, block));
            far.map_or(block.checked_add_signed(by).unwrap(), |f| f.2)
        };
        let (code, found, said) = doctor(&changed(folder.path(), moved, ""));
        println!("{said}");
        assert_eq!(code, Some(1), "{said}");
        let of = |site: &str| found["saes"].as_array().unwrap().iter().find(|s| s["site"] == site).unwrap().clone();
        for (model, block) in SAES.into_iter().filter(|s| by == -1 || far.iter().all(|f| (f.0, f.1) != *s)) {
            let sae = of(&format!("{model}/resid_post.{}", moved(model, block)));
            assert_eq!(sae["better"]["hookpoint"], format!("resid_post.{block}"), "{sae:#}");
            assert!(said.contains(&format!("write [saes.\"{model}/resid_post.{block}\"]")), "{said}");
            // the folder's name contradicts the dataflow file too
            let contradiction = sae["contradictions"][0].as_str().unwrap();
            assert!(
                contradiction.contains(&format!("its files name layers.{block}, which is resid_post.{block}")),
                "{sae:#}"
            );
        }
    }
}

#[test]
fn a_bias_read_the_wrong_way_is_refused_and_the_key_named() {
    let folder = tempfile::tempdir().unwrap();
    let (code, found, said) = doctor(&changed(folder.path(), |_, block| block, "subtract_b_dec = false"));
    println!("{said}");
    assert_eq!(code, Some(1), "{said}");
    for sae in found["saes"].as_array().unwrap() {
        assert_eq!(sae["better"]["subtract_b_dec"], true, "{sae:#}");
        let (_, hookpoint) = sae["site"].as_str().unwrap().split_once('/').unwrap();
        assert_eq!(sae["better"]["hookpoint"], hookpoint, "{sae:#}");
    }
    assert!(said.contains("write subtract_b_dec = true"), "{said}");
}

#[test]
fn a_run_tries_its_saes_first_and_its_numbers_do_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let said = |output: std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let first = said(run(&small_demo(folder.path(), &[]), &out, &[]));
    assert!(first.contains("doctor: 3 SAEs checked on ") && first.contains("hookpoints look right (FVU 0."), "{first}");
    let expected = tables(&out);
    // switched otherwise it is the same run, and the same tables
    let check =
        |rule: &str| ("[checkpoint]".to_string(), format!("[check]\ndoctor = \"{rule}\"\ntokens = 500\n[checkpoint]"));
    for rule in ["off", "warn"] {
        let (from, to) = check(rule);
        let flow = small_demo(folder.path(), &[(&from, &to)]);
        let again = said(run(&flow, &out, &[]));
        assert!(again.contains("is complete") && !again.contains("checked on"), "{again}");
        let other = folder.path().join(rule);
        assert_eq!(said(run(&flow, &other, &[])).contains("checked on"), rule == "warn");
        same_tables(&expected, &other, rule);
    }

    let moved = ("[saes.\"small-b/resid_post.3\"]", "[saes.\"small-b/resid_post.4\"]\ninsist = [\"hookpoint\"]");
    let refused = cognate()
        .arg("run")
        .arg(small_demo(folder.path(), &[moved]))
        .arg("--out")
        .arg(folder.path().join("moved"))
        .output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let line = said(refused);
    for word in ["sae \"small-b/resid_post.4\" reads better at resid_post.3", "doctor = \"warn\" under [check]"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let (from, to) = check("warn");
    let warned = said(run(&small_demo(folder.path(), &[moved, (&from, &to)]), &folder.path().join("moved"), &[]));
    assert!(warned.contains("warning: sae \"small-b/resid_post.4\" reads better at resid_post.3"), "{warned}");
}

#[test]
fn where_no_reading_fits_nothing_is_stopped() {
    // the trained SAEs over models of random weights: bad everywhere, and no neighbour is called better
    let (code, found, said) = doctor(&project().join("dataflows/demo-random.toml"));
    assert_eq!(code, Some(0), "{said}");
    let saes = found["saes"].as_array().unwrap();
    assert_eq!(saes.len(), SAES.len());
    for sae in saes {
        assert!(sae["better"].is_null() && sae["control"] == true && sae["wrong"] == false, "{sae:#}");
        assert!(sae["readings"].as_array().unwrap().iter().all(|r| r["fvu"].as_f64().unwrap() > 0.7), "{sae:#}");
    }
    assert!(found["verdict"].as_str().unwrap().contains("as a control"), "{}", found["verdict"]);
}

#[test]
fn a_rough_fit_at_the_declared_place_passes() {
    let e2e = fixture("e2e");
    let folder = tempfile::tempdir().unwrap();
    let flow = folder.path().join("flow.toml");
    let at = |what: &str| e2e.join(what).display().to_string();
    let text = format!(
        "format = 1\nname = \"rough\"\n[corpus]\nfiles = [{:?}]\ncontext_length = 64\n[models]\na.path = {:?}\nb.path = {:?}\n\
         [saes]\n\"a/resid_post.0\".path = {:?}\n\"a/resid_post.2\".path = {:?}\n\"b/resid_post.1\".path = {:?}\n\
         [compare]\npairs = \"all\"\n",
        at("corpus.jsonl"),
        at("model_A"),
        at("model_B"),
        at("sae_model_A/layers.0"),
        at("sae_model_A/layers.2"),
        at("sae_model_B/layers.1")
    );
    std::fs::write(&flow, text).unwrap();
    let (code, found, said) = doctor(&flow);
    assert_eq!(code, Some(0), "{said}");
    assert!(found["saes"].as_array().unwrap().iter().all(|sae| sae["better"].is_null()), "{found:#}");
}

/// Writes a small Gemma 2 whose last block's post-norms stretch the first quarter of the dimensions and all but drop the others, with a
/// tokenizer of 32 words.
fn write_gemma2(folder: &Path) {
    let from = project().join("tests/fixtures/hookpoints/gemma2");
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(from.join("config.json"), folder.join("config.json")).unwrap();
    let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    // the weight is what is added to 1
    let stretch: Vec<u8> = (0..16).flat_map(|i| if i < 4 { 3f32 } else { -0.9 }.to_le_bytes()).collect();
    let views = file.tensors().into_iter().map(|(name, view)| {
        let post =
            ["post_attention_layernorm", "post_feedforward_layernorm"].map(|n| format!("model.layers.1.{n}.weight"));
        let data = if post.contains(&name) { &stretch } else { view.data() };
        (name, TensorView::new(view.dtype(), view.shape().to_vec(), data).unwrap())
    });
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let special = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true })
    };
    let words = ["<s>", "</s>"].map(String::from).into_iter().chain((2..32).map(|k| format!("w{k}")));
    let vocab: serde_json::Map<String, Value> = words.zip(0..).map(|(word, id)| (word, json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(0, "<s>"), special(1, "</s>")],
        "normalizer": null, "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "w2" },
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// Writes an SAE that gives back the first quarter of the dimensions and nothing of the others; `hook` is what its file names.
fn write_first_quarter(folder: &Path, hook: &str) {
    let (d, kept) = (16, 4);
    let sign = |latent: usize| if latent < kept { 1f32 } else { -1.0 };
    let at = |i: usize, latent: usize| if latent % kept == i { sign(latent) } else { 0.0 };
    let m = 2 * kept;
    let tensors = [
        ("W_enc", vec![d, m], (0..d * m).map(|k| at(k / m, k % m)).collect::<Vec<f32>>()),
        ("b_enc", vec![m], vec![0.0; m]),
        ("W_dec", vec![m, d], (0..m * d).map(|k| at(k % d, k / d)).collect()),
        ("b_dec", vec![d], vec![0.0; d]),
    ];
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = (tensors.iter().zip(&bytes))
        .map(|((name, shape, _), bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("sae_weights.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let config = json!({
        "architecture": "standard", "d_in": d, "d_sae": m, "dtype": "float32", "apply_b_dec_to_input": false,
        "normalize_activations": "none", "metadata": { "hook_name": hook },
    });
    std::fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
}

/// In Gemma 2 an output before its post-norm is easily taken for the one after it, which is what the libraries' names mean.
#[test]
fn an_sae_of_a_normed_output_put_before_the_norm_is_told_where_it_reads_better() {
    let folder = tempfile::tempdir().unwrap();
    write_gemma2(&folder.path().join("gemma"));
    let mut state = 5u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("w{}", 2 + (state >> 33) % 30)
    };
    let lines: Vec<String> =
        (0..40).map(|_| json!({ "text": (0..25).map(|_| word()).collect::<Vec<_>>().join(" ") }).to_string()).collect();
    std::fs::write(folder.path().join("corpus.jsonl"), lines.join("\n")).unwrap();
    for (name, before, after) in [
        ("blocks.1.hook_mlp_out", "mlp_out.1", "mlp_out_normed.1"),
        ("blocks.1.hook_attn_out", "attn_out.1", "attn_out_normed.1"),
    ] {
        let sae = folder.path().join("sae");
        write_first_quarter(&sae, name);
        let tried = |place: &str| {
            let flow = folder.path().join("flow.toml");
            let at = |what: &str| folder.path().join(what).display().to_string();
            let text = format!(
                "format = 1\nname = \"twin\"\n[corpus]\nfiles = [{:?}]\ncontext_length = 32\n[models]\ng.path = {:?}\n\
                 [saes.\"g/{place}\"]\npath = {:?}\n[compare]\npairs = [[\"g/{place}\", \"g/resid_post.0\"]]\n",
                at("corpus.jsonl"),
                at("gemma"),
                sae.display().to_string()
            );
            std::fs::write(&flow, text).unwrap();
            let (code, found, said) = doctor(&flow);
            (code, found["saes"][0].clone(), said)
        };
        let (code, right, said) = tried(after);
        assert_eq!(code, Some(0), "{said}");
        assert!(right["better"].is_null() && right["verdict"].as_str().unwrap().starts_with("reads best as declared"));
        let fvu = |sae: &Value, place: &str| {
            let all = sae["readings"].as_array().unwrap();
            all.iter().find(|r| r["hookpoint"] == place && r["scale"] == 1.0).unwrap()["fvu"].as_f64().unwrap()
        };
        assert!(fvu(&right, after) < 0.05 && fvu(&right, before) > 0.4, "{right:#}");

        let (code, wrong, said) = tried(before);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(wrong["better"]["hookpoint"], after, "{wrong:#}");
        assert!(said.contains(&format!("reads better at {after}: FVU 0.0")), "{said}");
        assert!(said.contains(&format!("write [saes.\"g/{after}\"]")), "{said}");
        // the name in its file says so as well
        let contradiction = wrong["contradictions"][0].as_str().unwrap();
        assert!(contradiction.contains(&format!("its files name {name}, which is {after}")), "{contradiction}");
    }
}
