//! Settings of a GGUF file. Metadata under the architecture's prefix becomes a configuration in Hugging
//! Face's keys; what is absent has the default of llama.cpp; what is not known is refused by name.

use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::weights::gguf::{GgufFile, MetadataValue};
use serde_json::{Map, Value as Json, json};

/// Architectures that are read: name in the file, `model_type`.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
];

/// Settings that are read.
const READ: &[&str] = &[
    "embedding_length",
    "block_count",
    "context_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.sliding_window",
    "attn_logit_softcapping",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
];

/// Settings that change nothing at a hookpoint.
const HARMLESS: &[&str] = &[
    "vocab_size",
    "tensor_data_layout",
    "final_logit_softcapping",
    "rope.scaling.finetuned",
    // Of the window's layers in Gemma 3; the value is the architecture's.
    "rope.freq_base_swa",
];

/// Settings that support one value only: the value, and what any other value asks for.
const ONLY: &[(&str, f64, &str)] = &[
    ("attention.causal", 1.0, "attention to later tokens too"),
    ("expert_count", 0.0, "experts"),
    ("expert_used_count", 0.0, "experts"),
    ("attention.scale", 0.0, "another scale of the scores"),
    ("attention.clamp_kqv", 0.0, "clipped queries, keys and values"),
    ("embedding_scale", 0.0, "scaled token rows"),
    ("residual_scale", 0.0, "a scaled stream"),
    ("logit_scale", 0.0, "scaled logits"),
    ("rope.scaling.attn_factor", 1.0, "scaled cosines and sines"),
    ("rope.scaling.yarn_ext_factor", 1.0, "another blend of rotations"),
    ("rope.scaling.yarn_attn_factor", 1.0, "scaled cosines and sines"),
];

/// The settings of a file.
pub struct Settings<'a> {
    file: &'a GgufFile,
    /// Name of the architecture in the file.
    pub architecture: &'a str,
    family: &'static str,
}

impl<'a> Settings<'a> {
    /// Of `file`, every setting accounted for.
    ///
    /// # Errors
    /// `Request`, naming what is supported, for another architecture or a setting that is not.
    pub fn of(file: &'a GgufFile) -> Result<Self> {
        let found = match file.metadata.get("general.architecture") {
            Some(MetadataValue::Text(name)) => name.as_str(),
            _ => "none",
        };
        let Some((architecture, family)) = ARCHITECTURES.iter().find(|(name, _)| *name == found) else {
            let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
            return Err(Error::request(format!(
                "gguf {}: architecture {found:?} is not supported; supported are {}",
                file.path().display(),
                names.join(", ")
            )));
        };
        let settings = Settings { file, architecture, family };
        for (name, value) in &file.metadata {
            let Some(key) = name.strip_prefix(*architecture).and_then(|rest| rest.strip_prefix('.')) else { continue };
            if READ.contains(&key) || HARMLESS.contains(&key) {
                continue;
            }
            let asks_for = match ONLY.iter().find(|(known, ..)| *known == key) {
                Some((_, expected, _)) if number_of(value) == Some(*expected) => continue,
                Some((.., asks_for)) => asks_for,
                None => "something that is not known here",
            };
            let value: String = format!("{value:?}").chars().take(80).collect();
            return Err(Error::request(format!(
                "gguf {}: {name} is {value}, which asks for {asks_for}: not supported",
                file.path().display()
            )));
        }
        Ok(settings)
    }

    fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.file.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn wrong(&self, key: &str) -> Error {
        let found = self.get(key).map_or("missing".to_string(), |value| {
            let text = format!("{value:?}");
            text.chars().take(80).collect()
        });
        Error::input(format!("gguf {}: {}.{key} is {found}", self.file.path().display(), self.architecture))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(MetadataValue::Whole(n)) if (1..=1 << 32).contains(n) => Ok(Some(*n as usize)),
            Some(_) => Err(self.wrong(key)),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value @ (MetadataValue::Real(_) | MetadataValue::Whole(_))) => Ok(number_of(value)),
            Some(_) => Err(self.wrong(key)),
        }
    }

    /// Number of query heads.
    ///
    /// # Errors
    /// `Input` when it is missing or no size.
    pub fn n_heads(&self) -> Result<usize> {
        self.size("attention.head_count")
    }

    /// Number of key and value heads.
    ///
    /// # Errors
    /// As [`Settings::n_heads`].
    pub fn n_kv_heads(&self) -> Result<usize> {
        self.optional_size("attention.head_count_kv")?.map_or_else(|| self.n_heads(), Ok)
    }

    /// The configuration that the settings describe.
    ///
    /// # Errors
    /// `Input` for a setting that is missing or malformed, `Request` for one that is not supported.
    pub fn configuration(&self) -> Result<Config> {
        let (d_model, n_heads, n_layers) = (self.size("embedding_length")?, self.n_heads()?, self.size("block_count")?);
        let d_head = match self.optional_size("attention.key_length")? {
            Some(d_head) => d_head,
            None => d_model / n_heads,
        };
        let whole = |key: &str, what: &str| match self.optional_size(key)?.filter(|&n| n != d_head) {
            Some(n) => Err(Error::request(format!(
                "gguf {}: {n} of {d_head} features are {what}; only whole heads are supported",
                self.file.path().display()
            ))),
            None => Ok(()),
        };
        whole("rope.dimension_count", "rotated")?;
        whole("attention.value_length", "in the values of a head")?;
        let table = self.file.tensors.get("token_embd.weight").map(|tensor| tensor.shape.as_slice());
        let n_vocab = table.and_then(|shape| shape.first().copied()).unwrap_or(0);
        let mut values = Map::new();
        let mut put = |key: &str, value: Json| {
            if !value.is_null() {
                values.insert(key.to_string(), value);
            }
        };
        put("model_type", json!(self.family));
        put("hidden_size", json!(d_model));
        put("num_hidden_layers", json!(n_layers));
        put("num_attention_heads", json!(n_heads));
        put("num_key_value_heads", json!(self.n_kv_heads()?));
        put("head_dim", json!(d_head));
        put("intermediate_size", json!(self.size("feed_forward_length")?));
        put("vocab_size", json!(n_vocab));
        put("max_position_embeddings", json!(self.size("context_length")?));
        let eps = "attention.layer_norm_rms_epsilon";
        put("rms_norm_eps", json!(self.number(eps)?.ok_or_else(|| self.wrong(eps))?));
        put("rope_theta", json!(self.number("rope.freq_base")?.unwrap_or(10_000.0)));
        put("rope_scaling", self.scaling()?);
        match self.architecture {
            "llama" => put("attention_bias", json!(self.file.tensors.contains_key("blk.0.attn_q.bias"))),
            "gemma2" | "gemma3" => {
                let window = self.optional_size("attention.sliding_window")?;
                if window.is_none() && self.architecture == "gemma3" {
                    // Versions of llama.cpp disagree: an error in one, no window at all in another.
                    return Err(self.wrong("attention.sliding_window"));
                }
                put("sliding_window", json!(window));
                put("attn_logit_softcapping", json!(self.number("attn_logit_softcapping")?));
                // The largest of Gemma 2 and 3 (46 and 62 blocks) scale by the width of the stream over the heads;
                // llama.cpp knows them by their blocks too.
                let large = matches!((self.architecture, n_layers), ("gemma2", 46) | ("gemma3", 62));
                put("query_pre_attn_scalar", json!(if large { d_model / n_heads } else { d_head }));
            }
            _ => {}
        }
        Ok(Config::from_values(self.file.path().to_path_buf(), values))
    }

    fn scaling(&self) -> Result<Json> {
        let kind = match self.get("rope.scaling.type") {
            Some(MetadataValue::Text(kind)) if kind != "none" => Some(kind.as_str()),
            Some(MetadataValue::Text(_)) | None => None,
            Some(_) => return Err(self.wrong("rope.scaling.type")),
        };
        if let Some(tensor) = self.file.tensors.get("rope_freqs.weight") {
            if kind.is_some() {
                return Err(Error::request(format!(
                    "gguf {}: rope_freqs.weight and {}.rope.scaling.type both stretch the rotation; one of them is supported",
                    self.file.path().display(),
                    self.architecture
                )));
            }
            let mut factors = vec![0.0; tensor.shape.iter().product::<usize>().min(1 << 16)];
            self.file.read(tensor, 0, &mut factors);
            return Ok(json!({ "rope_type": "divided", "factors": factors }));
        }
        let Some(kind) = kind else { return Ok(Json::Null) };
        let mut scaling = Map::from_iter([("rope_type".to_string(), json!(kind))]);
        for (key, ours) in [
            ("rope.scaling.factor", "factor"),
            ("rope.scaling.original_context_length", "original_max_position_embeddings"),
            ("rope.scaling.yarn_beta_fast", "beta_fast"),
            ("rope.scaling.yarn_beta_slow", "beta_slow"),
        ] {
            if let Some(number) = self.number(key)? {
                scaling.insert(ours.to_string(), json!(number));
            }
        }
        Ok(Json::Object(scaling))
    }
}

/// A number or a flag as a number.
fn number_of(value: &MetadataValue) -> Option<f64> {
    match value {
        MetadataValue::Whole(n) => Some(*n as f64),
        MetadataValue::Real(v) => Some(*v),
        MetadataValue::Flag(flag) => Some(f64::from(u8::from(*flag))),
        MetadataValue::Text(_) | MetadataValue::List(_) => None,
    }
}
