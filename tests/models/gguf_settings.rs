//! A setting that a GGUF file lacks has llama.cpp's default, and one that is not read is refused by name. The weights
//! and the answers are those of `config_keys` (transformers), put into GGUF files here.

use super::floats;
use cognate::ids::Hookpoint;
use cognate::model;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Clone)]
enum Meta {
    Number(u32),
    Real(f32),
    Flag(bool),
    Text(&'static str),
}

/// A GGUF file, version 3, of f32 tensors.
fn write(path: &Path, metadata: &[(String, Meta)], tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let mut out = b"GGUF".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    };
    out.extend(3_u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        match value {
            Meta::Number(n) => out.extend([4_u32.to_le_bytes(), n.to_le_bytes()].concat()),
            Meta::Real(v) => out.extend([6_u32.to_le_bytes(), v.to_le_bytes()].concat()),
            Meta::Flag(flag) => out.extend([&7_u32.to_le_bytes()[..], &[u8::from(*flag)]].concat()),
            Meta::Text(value) => {
                out.extend(8_u32.to_le_bytes());
                text(&mut out, value);
            }
        }
    }
    let mut offset = 0_u64;
    for (name, shape, values) in tensors {
        text(&mut out, name);
        out.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|n| out.extend((*n as u64).to_le_bytes()));
        out.extend(0_u32.to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += (4 * values.len() as u64).next_multiple_of(32);
    }
    for (.., values) in tensors {
        out.resize(out.len().next_multiple_of(32), 0);
        values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    }
    std::fs::write(path, out).unwrap();
}

const PARTS: &[(&str, &str)] = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// Gemma 2's tensors under the names, and with the norms, that llama.cpp's converter gives them.
fn gemma2_tensors() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(super::config_keys::folder().join("gemma2.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = Vec::new();
    for (name, view) in stored.tensors() {
        let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
        let mut values: Vec<f32> = view.data().chunks_exact(2).map(half).collect();
        if name.ends_with("norm.weight") {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        let short = name.strip_prefix("model.").unwrap();
        let name = match short {
            "embed_tokens.weight" => "token_embd.weight".to_string(),
            "norm.weight" => "output_norm.weight".to_string(),
            _ => {
                let (block, part) = short.strip_prefix("layers.").unwrap().split_once('.').unwrap();
                let part = part.strip_suffix(".weight").unwrap();
                let stored = PARTS.iter().find(|(ours, _)| *ours == part).unwrap().1;
                format!("blk.{block}.{stored}.weight")
            }
        };
        tensors.push((name, view.shape().to_vec(), values));
    }
    tensors
}

/// Metadata with every setting.
fn gemma2_metadata() -> BTreeMap<&'static str, Meta> {
    BTreeMap::from([
        ("general.architecture", Meta::Text("gemma2")),
        ("gemma2.embedding_length", Meta::Number(32)),
        ("gemma2.block_count", Meta::Number(2)),
        ("gemma2.context_length", Meta::Number(64)),
        ("gemma2.feed_forward_length", Meta::Number(24)),
        ("gemma2.attention.head_count", Meta::Number(4)),
        ("gemma2.attention.head_count_kv", Meta::Number(2)),
        ("gemma2.attention.key_length", Meta::Number(8)),
        ("gemma2.attention.value_length", Meta::Number(8)),
        ("gemma2.attention.layer_norm_rms_epsilon", Meta::Real(1e-6)),
        ("gemma2.attention.sliding_window", Meta::Number(6)),
        ("gemma2.attn_logit_softcapping", Meta::Real(2.0)),
        ("gemma2.final_logit_softcapping", Meta::Real(30.0)),
        ("gemma2.rope.freq_base", Meta::Real(10_000.0)),
    ])
}

struct Gemma2 {
    folder: tempfile::TempDir,
    tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    about: Value,
    expected: Vec<u8>,
}

impl Gemma2 {
    fn new() -> Self {
        let fixtures = super::config_keys::folder();
        Gemma2 {
            folder: tempfile::tempdir().unwrap(),
            tensors: gemma2_tensors(),
            about: super::config_keys::about(&fixtures.join("gemma2.json")),
            expected: std::fs::read(fixtures.join("gemma2.expected.safetensors")).unwrap(),
        }
    }

    /// What the last block gives with this metadata.
    fn found(&self, metadata: &BTreeMap<&str, Meta>) -> Result<Vec<f64>, String> {
        let path = self.folder.path().join("m.gguf");
        let metadata: Vec<(String, Meta)> = metadata.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
        write(&path, &metadata, &self.tensors);
        let ids: Vec<u32> = self.about["ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
        let model = model::open(&path).map_err(|e| e.to_string())?;
        let x = model.activations(&ids, &[Hookpoint::ResidPost(1)]).map_err(|e| e.to_string())?.remove(0);
        Ok(x.as_slice().iter().map(|v| f64::from(*v)).collect())
    }

    /// What transformers gives where `key` is `how` in the configuration.
    fn wanted(&self, key: &str, how: &str) -> Vec<f64> {
        let cases = self.about["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["key"] == key && case["how"] == how).unwrap();
        let expected = SafeTensors::deserialize(&self.expected).unwrap();
        floats(&expected.tensor(case["expected"].as_str().unwrap()).unwrap())
    }
}

#[test]
fn what_a_gguf_file_leaves_out_has_the_default_of_llama_cpp() {
    let gemma2 = Gemma2::new();
    // 1e-4 of the root mean square, as for every configuration.
    let near = |got: &[f64], want: &[f64]| super::config_keys::off(want, got) < 1e-4;
    let whole = gemma2.found(&gemma2_metadata()).unwrap();
    assert!(near(&whole, &gemma2.wanted("note_of_the_author", "other")));
    for (left_out, key) in [
        ("gemma2.attn_logit_softcapping", "attn_logit_softcapping"),
        ("gemma2.attention.sliding_window", "sliding_window"),
    ] {
        let mut metadata = gemma2_metadata();
        metadata.remove(left_out);
        let got = gemma2.found(&metadata).unwrap();
        let want = gemma2.wanted(key, "absent");
        assert!(near(&got, &want) && !near(&got, &whole), "{left_out}");
    }
    for left_out in ["gemma2.rope.freq_base", "gemma2.attention.key_length", "gemma2.final_logit_softcapping"] {
        let mut metadata = gemma2_metadata();
        metadata.remove(left_out);
        assert!(near(&gemma2.found(&metadata).unwrap(), &whole), "{left_out}");
    }
    for left_out in ["gemma2.attention.layer_norm_rms_epsilon", "gemma2.context_length", "gemma2.block_count"] {
        let mut metadata = gemma2_metadata();
        metadata.remove(left_out);
        let error = gemma2.found(&metadata).unwrap_err();
        assert!(error.contains(&format!("{left_out} is missing")), "{error}");
    }
}

#[test]
fn a_setting_of_a_gguf_file_that_is_not_read_is_refused_by_name() {
    let gemma2 = Gemma2::new();
    let whole = gemma2.found(&gemma2_metadata()).unwrap();
    for (name, value, text) in [
        ("gemma2.attention.causal", Meta::Flag(false), "attention to later tokens"),
        ("gemma2.attention.scale", Meta::Real(0.5), "another scale of the scores"),
        ("gemma2.expert_count", Meta::Number(8), "experts"),
        ("gemma2.some.new.setting", Meta::Number(1), "not known here"),
        ("gemma2.attention.value_length", Meta::Number(4), "only whole heads"),
        ("gemma2.rope.dimension_count", Meta::Number(4), "only whole heads"),
        ("gemma2.rope.scaling.type", Meta::Text("longrope"), "short_factor is missing"),
        ("gemma2.rope.scaling.type", Meta::Text("new"), "is \"new\", a rotary scaling that is not supported"),
    ] {
        let mut metadata = gemma2_metadata();
        metadata.insert(name, value);
        let error = gemma2.found(&metadata).unwrap_err();
        assert!(error.contains(text), "{name}: {error}");
    }
    for (name, value) in [
        ("gemma2.attention.causal", Meta::Flag(true)),
        ("gemma2.expert_count", Meta::Number(0)),
        ("gemma2.rope.scaling.type", Meta::Text("none")),
        ("gemma2.vocab_size", Meta::Number(40)),
        ("general.name", Meta::Text("x")),
    ] {
        let mut metadata = gemma2_metadata();
        metadata.insert(name, value);
        assert!(gemma2.found(&metadata).unwrap() == whole, "{name}");
    }
}
