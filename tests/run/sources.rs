//! Where weights come from, and plans without them.

use crate::bench_rig::{cognate, project, run, same_tables, small_demo, tables};
use serde_json::Value;
use std::path::{Path, PathBuf};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Files of the demo in a cache as Python keeps it: blobs, and links to them in a snapshot.
fn cache(folder: &Path, repository: &str, from: &str, files: &[&str]) {
    let root = folder.join(format!("models--{}", repository.replace('/', "--")));
    for dir in ["refs", "blobs"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::write(root.join("refs/main"), COMMIT).unwrap();
    for file in files {
        let (blob, link) =
            (root.join("blobs").join(file.replace('/', "-")), root.join("snapshots").join(COMMIT).join(file));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::copy(project().join(from).join(file), &blob).unwrap();
        std::os::unix::fs::symlink(&blob, &link).unwrap();
    }
}

const MODEL: [&str; 5] =
    ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

#[test]
fn a_run_from_the_cache_is_the_run_from_folders() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    cache(&hub, "demo/a", "data/demo/models/small-a", &MODEL);
    cache(&hub, "demo/saes", "data/demo/saes/small-a", &["layers.1/cfg.json", "layers.1/sae.safetensors"]);
    let out = folder.path().join("run");
    run(&small_demo(folder.path(), &[]), &out, &["--quiet"]);
    let expected = tables(&out);

    let from_cache = [
        ("\"data/demo/models/small-a\"", "\"hf:demo/a\""),
        ("\"data/demo/saes/small-a/layers.1\"", "\"hf:demo/saes/layers.1\""),
    ];
    let flow = small_demo(folder.path(), &from_cache);
    let online = |out: &Path, code: i32| {
        let mut command = cognate();
        command
            .args(["run", "--quiet", "--out"])
            .arg(out)
            .arg(&flow)
            .env("HF_HUB_CACHE", &hub)
            .env("HF_HUB_OFFLINE", "1");
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    // the same directory: nothing is left to do, so the fingerprint is the same
    online(&out, 0);
    same_tables(&expected, &out, "taken for the same run");
    online(&folder.path().join("other"), 0);
    same_tables(&expected, &folder.path().join("other"), "run from the cache");

    std::fs::remove_file(hub.join("models--demo--a/blobs/model.safetensors")).unwrap();
    let said = online(&folder.path().join("third"), 2);
    for word in ["model \"small-a\": hf:demo/a", "model.safetensors is missing", "hf download demo/a", "HF_HUB_OFFLINE"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
}

/// The command's plan; (exit code, standard output, standard error).
fn plan(flow: &Path, more: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = cognate();
    command.arg("plan").arg(flow).args(["--memory-limit", "1TiB"]).args(more);
    let output = command.env("HF_HUB_CACHE", folder.path()).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_published_pairs_are_planned_without_weights() {
    let parts = [
        (
            "pythia-70m-160m-as-published",
            "gpt_neox, 6 blocks of 512, 44.7 M parameters",
            2,
            4,
            "512 -> 32768 latents, top-k 16, sparsify",
        ),
        ("pythia-70m-160m", "gpt_neox, 12 blocks of 768,", 2, 4, "768 -> 32768 latents, top-k 32, sparsify"),
        ("pythia-160m-410m-mlp", "gpt_neox, 24 blocks of 1024,", 2, 4, "1024 -> 65536 latents, top-k 32, sparsify"),
        ("gemma-1-2b-gemma-2-2b", "gemma2, 26 blocks of 2304,", 2, 6, "2304 -> 16384 latents"),
    ];
    for (name, model, n_models, n_missing, sae) in parts {
        let flow = project().join(format!("dataflows/{name}.toml"));
        let (code, text, said) = plan(&flow, &[]);
        assert_eq!(code, 0, "{said}");
        assert!(text.contains(model) && text.contains(sae), "{name}: {text}");
        let (_, json, _) = plan(&flow, &["--json"]);
        let json: Value = serde_json::from_str(&json).unwrap();
        let assumed: Vec<&str> = json["assumptions"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let from_file = assumed.iter().filter(|a| a.ends_with("its sizes are those of the dataflow file")).count();
        let tokenizers = assumed.iter().filter(|a| a.starts_with("the tokenizer of model")).count();
        let corpus = assumed.iter().filter(|a| a.starts_with("the corpus is not here")).count();
        assert_eq!((from_file, tokenizers, corpus), (n_missing, n_models, 1), "{assumed:#?}");
        // sums of every pair, dense
        let cells: u64 = json["costs"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["what"].as_str().unwrap().starts_with("co-moments"))
            .map(|c| c["memory_bytes"].as_u64().unwrap())
            .sum();
        let width = |k: usize| json["spaces"][k]["latents"].as_u64().unwrap();
        assert_eq!(
            cells,
            8 * width(0)
                * width(json["spaces"].as_array().unwrap().len() - 1)
                * json["pairs"].as_array().unwrap().len() as u64
        );
    }
}

#[test]
fn a_cached_configuration_is_enough_for_a_plan_and_sizes_must_agree() {
    let folder = tempfile::tempdir().unwrap();
    let bare = folder.path().join("bare");
    std::fs::create_dir(&bare).unwrap();
    std::fs::copy(project().join("data/demo/models/small-a/config.json"), bare.join("config.json")).unwrap();
    let path = format!("path = \"{}\"", bare.display());
    let model = ("path = \"data/demo/models/small-a\"", path.as_str());
    let (code, text, said) = plan(&small_demo(folder.path(), &[model]), &[]);
    assert_eq!(code, 0, "{said}");
    assert!(text.contains("its sizes are those of its config.json alone"), "{text}");
    let whole = plan(&small_demo(folder.path(), &[]), &["--json"]).1;
    let described = plan(&small_demo(folder.path(), &[model]), &["--json"]).1;
    let of = |text: &str| serde_json::from_str::<Value>(text).unwrap()["models"][0].clone();
    assert_eq!(of(&whole)["d_model"], of(&described)["d_model"]);
    let n = |text: &str| of(text)["n_parameters"].as_f64().unwrap();
    // the output head is the embedding
    assert_eq!(n(&described), n(&whole));

    let refused = |flow: PathBuf, words: &[&str]| {
        for command in ["plan", "run"] {
            let mut asked = cognate();
            asked.arg(command).arg(&flow);
            if command == "run" {
                asked.arg("--out").arg(folder.path().join("run"));
            }
            let output = asked.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command}: {said}");
            words.iter().for_each(|word| assert!(said.contains(word), "{command}: {word}: {said}"));
        }
    };
    let sae = "path = \"data/demo/saes/small-a/layers.1\"";
    let wrong = format!("{sae}\nsizes = {{ d_in = 128, d_sae = 2048, k = 16 }}");
    refused(
        small_demo(folder.path(), &[(sae, &wrong)]),
        &["small-a/resid_post.1", "its d_sae is 1024", "`sizes` says 2048"],
    );
    let model = "path = \"data/demo/models/small-a\"";
    let wrong = format!(
        "{model}\nsizes = {{ model_type = \"gpt_neox\", hidden_size = 96, num_hidden_layers = 4, num_attention_heads = 4, vocab_size = 4096 }}"
    );
    refused(
        small_demo(folder.path(), &[(model, &wrong)]),
        &["model \"small-a\"", "its width is 128", "`sizes` says 96"],
    );
    let gone = [("\"data/demo/saes/small-a/layers.1\"", "\"hf:demo/none/layers.1\"")];
    let (code, _, said) = plan(&small_demo(folder.path(), &gone), &[]);
    assert_eq!(code, 2);
    assert!(said.contains("hf:demo/none/layers.1") && said.contains("`sizes`"), "{said}");
}

#[test]
fn half_precision_is_refused_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let model = "path = \"data/demo/models/small-a\"";
    for (dtype, why) in [
        ("bf16", "this processor has no instruction that multiplies bf16"),
        ("f16", "kernels multiply f32 and bf16 only"),
    ] {
        if dtype == "bf16" && cognate::linalg::bf16::Way::of_this_machine().is_some() {
            continue;
        }
        let flow = small_demo(folder.path(), &[(model, &format!("{model}\ndtype = \"{dtype}\""))]);
        let (code, _, said) = plan(&flow, &[]);
        assert_eq!(code, 2, "{said}");
        let words = [format!("models.small-a: dtype is \"{dtype}\""), why.into(), "write dtype = \"f32\"".into()];
        assert!(words.iter().all(|words| said.contains(words)), "{said}");
    }
}

#[test]
fn only_blocks_that_are_read_or_tried_are_loaded() {
    let folder = tempfile::tempdir().unwrap();
    // places of small-a: resid_post.1 and resid_post.2 of 4 blocks; of small-b: resid_post.3 of 6
    let off = ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]");
    for (changes, loaded) in [(&[][..], [4, 5]), (&[off][..], [3, 4])] {
        let flow = small_demo(folder.path(), changes);
        let (code, text, said) = plan(&flow, &[]);
        assert_eq!(code, 0, "{said}");
        let json: Value = serde_json::from_str(&plan(&flow, &["--json"]).1).unwrap();
        for (k, all) in [4, 6].into_iter().enumerate() {
            assert!(text.contains(&format!("; {} of {all} blocks loaded", loaded[k])), "{text}");
            assert_eq!(json["models"][k]["n_layers_loaded"], loaded[k]);
            let name = format!("model {}", json["models"][k]["name"].as_str().unwrap());
            let costs = json["costs"].as_array().unwrap();
            let bytes = costs.iter().find(|c| c["what"] == name.as_str()).unwrap()["memory_bytes"].as_u64().unwrap();
            let shape = cognate::model::header(&project().join(format!("data/demo/models/{}", &name[6..]))).unwrap();
            assert_eq!(bytes, cognate::model::weight_bytes(&shape, Default::default(), loaded[k]).here);
        }
    }
}
