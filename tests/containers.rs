//! Checkpoints as people have them: torch's files, wrappers' names, tied weights stored either way, parts of GGUF files,
//! notes in the place of files, quantised weights.

use cognate::error::ErrorKind;
use cognate::ids::Hookpoint;
use cognate::linalg::Matrix;
use cognate::{model, sae};
use common::fixture;
use safetensors::tensor::{SafeTensors, TensorView};
use std::path::{Path, PathBuf};

mod common;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo/models/small-a")
}

/// Rows of the last block of a model at `path`.
fn rows(path: &Path) -> Matrix<f32> {
    let model = model::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let last = Hookpoint::ResidPost(model.shape().n_layers - 1);
    model.activations(&[3, 1, 4, 1, 5], &[Hookpoint::Embed, last]).unwrap().pop().unwrap()
}

/// Demo model `small-a` in `folder` with its tensors renamed; `None` leaves one out.
fn renamed(folder: &Path, name: impl Fn(&str) -> Option<String>) {
    let bytes = std::fs::read(demo().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<(String, TensorView)> =
        tensors.iter().filter_map(|(stored, view)| Some((name(stored)?, view))).collect();
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(kept, None).unwrap()).unwrap();
    std::fs::copy(demo().join("config.json"), folder.join("config.json")).unwrap();
}

/// Changes `config.json` in `folder`.
fn configured(folder: &Path, change: impl Fn(&mut serde_json::Value)) {
    let path = folder.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
}

fn refused(path: &Path, kind: ErrorKind, parts: &[&str]) {
    let error = model::header(path).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn names_that_wrappers_put_around_a_model_are_read_through() {
    let folder = tempfile::tempdir().unwrap();
    let whole = rows(&demo());
    let wrap: [fn(&str) -> String; 4] = [
        |name| format!("module.{name}"),
        |name| format!("_orig_mod.{name}"),
        |name| format!("module._orig_mod.{name}"),
        |name| name.replace("layers.1.", "layers.1._orig_mod.").replace(".mlp.", ".mlp._checkpoint_wrapped_module."),
    ];
    for wrap in wrap {
        renamed(folder.path(), |name| Some(wrap(name)));
        assert_eq!(rows(folder.path()), whole, "{}", wrap("gpt_neox.layers.1.mlp"));
    }
    // one tensor under two names
    let twice = |name: &str| Some(name.replace("final_layer_norm.bias", "module").replace("gpt_neox.module", "a"));
    renamed(folder.path(), |name| match name {
        "gpt_neox.final_layer_norm.weight" => Some("module.gpt_neox.final_layer_norm.bias".into()),
        other => Some(other.into()),
    });
    refused(folder.path(), ErrorKind::Input, &["module.gpt_neox.final_layer_norm.bias", "are both"]);
    // unknown names are shown
    renamed(folder.path(), |name| twice(name).map(|name| format!("student.{name}")));
    refused(folder.path(), ErrorKind::Input, &["is missing; it holds student."]);
}

#[test]
fn a_token_table_that_is_stored_as_the_output_head_alone_is_found_where_both_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let head = |name: &str| match name {
        "gpt_neox.embed_in.weight" => Some("embed_out.weight".to_string()),
        "embed_out.weight" => None,
        other => Some(other.to_string()),
    };
    renamed(folder.path(), head);
    configured(folder.path(), |config| config["tie_word_embeddings"] = true.into());
    assert_eq!(rows(folder.path()), rows(&demo()));
    // without the prefix, as a base model is saved
    renamed(folder.path(), |name| head(name).map(|name| name.trim_start_matches("gpt_neox.").to_string()));
    configured(folder.path(), |config| config["tie_word_embeddings"] = true.into());
    assert_eq!(rows(folder.path()), rows(&demo()));
    configured(folder.path(), |config| config["tie_word_embeddings"] = false.into());
    refused(folder.path(), ErrorKind::Input, &["embed_in.weight\" [4096, 128] is missing"]);
}

#[test]
fn the_single_file_is_taken_before_an_index_and_safetensors_before_torch() {
    let folder = tempfile::tempdir().unwrap();
    renamed(folder.path(), |name| Some(name.to_string()));
    let index = r#"{"weight_map": {"gpt_neox.embed_in.weight": "model-00001-of-00002.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin"), "no torch file").unwrap();
    assert_eq!(rows(folder.path()), rows(&demo()));
    let files = model::files(folder.path()).unwrap();
    assert_eq!(files, ["config.json", "model.safetensors"].map(|name| folder.path().join(name)));
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let error = model::header(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model-00001-of-00002.safetensors"), "{error}");
}

#[test]
fn quantised_weights_are_named_by_their_method() {
    let folder = tempfile::tempdir().unwrap();
    renamed(folder.path(), |name| Some(name.to_string()));
    for method in ["bitsandbytes", "gptq", "awq", "compressed-tensors"] {
        configured(folder.path(), |config| config["quantization_config"] = serde_json::json!({"quant_method": method}));
        refused(folder.path(), ErrorKind::Request, &[&format!("quantised with {method}"), "unquantised weights"]);
    }
    // tensors of bytes say so even where the configuration is silent
    let bytes = std::fs::read(demo().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let eight = |name: &str, view: TensorView<'_>| {
        let name = name.to_string();
        if !name.ends_with("attention.dense.weight") {
            return (name, view.dtype(), view.shape().to_vec(), view.data().to_vec());
        }
        let n = view.shape().iter().product();
        (name, safetensors::Dtype::U8, view.shape().to_vec(), vec![1; n])
    };
    let kept: Vec<_> = tensors.iter().map(|(name, view)| eight(name, view)).collect();
    let views = kept.iter().map(|(n, t, s, b)| (n, TensorView::new(*t, s.clone(), b).unwrap()));
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    std::fs::copy(demo().join("config.json"), folder.path().join("config.json")).unwrap();
    refused(folder.path(), ErrorKind::Input, &["attention.dense.weight\" holds bytes", "GGUF"]);
}

/// What Git LFS leaves in the place of a file.
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:abababab\nsize 1229346544\n";

#[test]
fn a_git_lfs_pointer_is_named_whatever_file_it_stands_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let told = ["Git LFS pointer", "1229346544 bytes", "git lfs pull"];
    for file in ["model.safetensors", "pytorch_model.bin", "config.json"] {
        renamed(path, |name| Some(name.to_string()));
        if file == "pytorch_model.bin" {
            std::fs::remove_file(path.join("model.safetensors")).unwrap();
        }
        std::fs::write(path.join(file), POINTER).unwrap();
        refused(path, ErrorKind::Input, &[&told[..], &[file]].concat());
        std::fs::remove_file(path.join(file)).unwrap();
    }
    let gguf = path.join("q.gguf");
    std::fs::write(&gguf, POINTER).unwrap();
    refused(&gguf, ErrorKind::Input, &[&told[..], &["q.gguf"]].concat());
    for (file, beside) in [("ae.pt", None), ("params.npz", None), ("sae.safetensors", Some("cfg.json"))] {
        let place = path.join(file.replace('.', "_"));
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join(file), POINTER).unwrap();
        if let Some(config) = beside {
            std::fs::copy(fixture("saes/sparsify/topk/layers.1/cfg.json"), place.join(config)).unwrap();
        }
        let error = sae::header(&place, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!([&told[..], &[file]].concat().iter().all(|part| error.to_string().contains(part)), "{error}");
    }
    let tokenizer = path.join("tokenizer.json");
    std::fs::write(&tokenizer, POINTER).unwrap();
    let corpus = path.join("c.txt");
    std::fs::write(&corpus, POINTER).unwrap();
    let said = serde_json::json!({"files": [corpus], "context_length": 16, "bos": "none"});
    let own = std::sync::Arc::new(
        cognate::corpus::Tokenizer::from_file(&fixture("tokenizers/gpt2_bpe/tokenizer.json")).unwrap(),
    );
    let error = cognate::corpus::Corpus::open(serde_json::from_value(said).unwrap(), own).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && told.iter().all(|part| error.to_string().contains(part)), "{error}");
    let error = cognate::corpus::Tokenizer::from_file(&tokenizer).map(drop).unwrap_err().to_string();
    assert!(told.iter().all(|part| error.contains(part)), "{error}");
}

/// Where a value of a GGUF file's metadata ends.
fn after_value(bytes: &[u8], at: usize, kind: u32) -> usize {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    match kind {
        0 | 1 | 7 => at + 1,
        2 | 3 => at + 2,
        4..=6 => at + 4,
        8 => at + 8 + number(at),
        9 => {
            let kind = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            (0..number(at + 4)).fold(at + 12, |at, _| after_value(bytes, at, kind))
        }
        _ => at + 8,
    }
}

/// A GGUF file cut into `n` parts as gguf-split does it: metadata in the first, tensors in turn.
fn split(whole: &Path, folder: &Path, n: usize) -> Vec<PathBuf> {
    let bytes = std::fs::read(whole).unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let (n_tensors, n_values) = (number(8), number(16));
    let mut first = 24;
    for _ in 0..n_values {
        first += 8 + number(first) + 4;
        let kind = u32::from_le_bytes(bytes[first - 4..first].try_into().unwrap());
        first = after_value(&bytes, first, kind);
    }
    let mut at = first;
    let mut tensors = Vec::new();
    for _ in 0..n_tensors {
        let start = at;
        at += 8 + number(at);
        let n_dims = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += 4 + 8 * n_dims + 4;
        tensors.push((bytes[start..at].to_vec(), number(at)));
        at += 8;
    }
    let data = at.next_multiple_of(32);
    let ends: Vec<usize> = tensors.iter().skip(1).map(|t| t.1).chain([bytes.len() - data]).collect();
    let key = |key: &str, kind: u32, value: &[u8]| {
        [&(key.len() as u64).to_le_bytes()[..], key.as_bytes(), &kind.to_le_bytes(), value].concat()
    };
    (0..n)
        .map(|part| {
            let own: Vec<usize> = (0..n_tensors).filter(|t| t % n == part).collect();
            let said = [
                key("split.no", 2, &(part as u16).to_le_bytes()),
                key("split.count", 2, &(n as u16).to_le_bytes()),
                key("split.tensors.count", 5, &(n_tensors as i32).to_le_bytes()),
            ]
            .concat();
            let (held, n_held) = if part == 0 { (&bytes[24..first], n_values + 3) } else { (&[][..], 3) };
            let mut out = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &(own.len() as u64).to_le_bytes()].concat();
            out.extend([&(n_held as u64).to_le_bytes()[..], held, &said].concat());
            let mut values = Vec::new();
            for &t in &own {
                out.extend([&tensors[t].0[..], &(values.len() as u64).to_le_bytes()].concat());
                values.extend(&bytes[data + tensors[t].1..data + ends[t]]);
                values.resize(values.len().next_multiple_of(32), 0);
            }
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(values);
            let path = folder.join(format!("q-{:05}-of-{n:05}.gguf", part + 1));
            std::fs::write(&path, out).unwrap();
            path
        })
        .collect()
}

#[test]
fn a_split_gguf_file_is_read_from_any_of_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fixture("gguf/qwen2_f16.gguf");
    let parts = split(&whole, folder.path(), 3);
    let expected = rows(&whole);
    for part in &parts {
        assert_eq!(rows(part), expected);
        assert_eq!(model::files(part).unwrap(), parts);
        assert_eq!(model::header(part).unwrap(), model::header(&whole).unwrap());
        model::tokenizer(part).unwrap();
    }
    std::fs::rename(&parts[0], folder.path().join("other.gguf")).unwrap();
    refused(&folder.path().join("other.gguf"), ErrorKind::Input, &["one of 3 parts", "NAME-00001-of-00003.gguf"]);
    refused(&parts[2], ErrorKind::Input, &["q-00001-of-00003.gguf", "is missing", "--merge"]);
    std::fs::copy(&parts[1], &parts[0]).unwrap();
    refused(&parts[2], ErrorKind::Input, &["q-00001-of-00003.gguf", "part 1 of another split"]);
}

#[test]
fn a_dictionary_s_k_is_read_from_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("saes/dictionary_learning/topk_2024");
    for file in ["ae.pt", "config.json"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let k = |folder: &Path| sae::header(folder, None).map(|shape| shape.activation);
    assert_eq!(k(folder.path()).unwrap(), sae::Activation::TopK(3));
    configured(folder.path(), |config| drop(config["trainer"].as_object_mut().unwrap().remove("k")));
    let error = k(folder.path()).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("trainer.k"), "{error}");
    // a tensor that contradicts the configuration
    std::fs::copy(from.join("with_k.pt"), folder.path().join("ae.pt")).unwrap();
    assert_eq!(k(folder.path()).unwrap(), sae::Activation::TopK(3));
    configured(folder.path(), |config| config["trainer"]["k"] = 4.into());
    let error = k(folder.path()).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && error.to_string().contains("k is 3, trainer.k of config.json is 4"));
}
