//! How is a GGUF file a model? Its metadata becomes a configuration in Hugging Face's keys, its tensors answer to Hugging
//! Face's names, and the family files read it like any other checkpoint.
//!
//! What llama.cpp's converter changed is changed back here: rows of query and key of the `llama` architecture (stored for
//! interleaved rotary pairs), Gemma's norm weights (stored with the 1 added).

mod array;
mod file;
mod quant;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use tokenizer::{tokenizer, tokenizer_json};

use self::file::{GgufFile, Tensor, Value};
use crate::error::{Error, Result};
use crate::model::checkpoint::Source;
use crate::model::config::Config;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Architectures that are read: name in the file, `model_type`.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma", "gemma"),
    ("gemma2", "gemma2"),
    ("gemma3", "gemma3_text"),
];

/// The configuration and the tensors of the file at `path`.
///
/// # Errors
/// `Request`, naming what is supported, for another architecture or an option that is not implemented; `Input` for a
/// damaged file.
pub fn open(path: &Path) -> Result<(Config, Arc<dyn Source>)> {
    let file = GgufFile::open(path)?;
    let keys = Keys { file: &file, architecture: architecture(&file)? };
    let config = configuration(&keys)?;
    let (n_heads, n_kv_heads) = (keys.size("attention.head_count")?, keys.kv_heads()?);
    let architecture = keys.architecture.to_string();
    Ok((config, Arc::new(Weights { file, architecture, n_heads, n_kv_heads })))
}

/// Every file of the model at `path`: the parts of a split one, in order.
///
/// # Errors
/// As [`open`], of the header.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(GgufFile::open(path)?.paths())
}

fn architecture(file: &GgufFile) -> Result<&str> {
    match file.metadata.get("general.architecture") {
        Some(Value::Text(name)) if ARCHITECTURES.iter().any(|(known, _)| known == name) => Ok(name),
        other => {
            let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
            let found = if let Some(Value::Text(name)) = other { name.as_str() } else { "none" };
            Err(Error::request(format!(
                "gguf {}: architecture {found:?} is not supported; supported are {}",
                file.path().display(),
                names.join(", ")
            )))
        }
    }
}

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
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
            Some(Value::Whole(n)) if (1..=1 << 32).contains(n) => Ok(Some(*n as usize)),
            Some(_) => Err(self.wrong(key)),
        }
    }

    fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Real(v)) => Ok(Some(*v)),
            Some(Value::Whole(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(self.wrong(key)),
        }
    }

    fn kv_heads(&self) -> Result<usize> {
        match self.optional_size("attention.head_count_kv")? {
            Some(n) => Ok(n),
            None => self.size("attention.head_count"),
        }
    }
}

fn configuration(keys: &Keys) -> Result<Config> {
    let family = ARCHITECTURES.iter().find(|(name, _)| *name == keys.architecture).map_or("", |(_, family)| family);
    let (d_model, n_heads, n_layers) =
        (keys.size("embedding_length")?, keys.size("attention.head_count")?, keys.size("block_count")?);
    let d_head = match keys.optional_size("attention.key_length")? {
        Some(d_head) => d_head,
        None => d_model / n_heads,
    };
    if let Some(rotated) = keys.optional_size("rope.dimension_count")?.filter(|&rotated| rotated != d_head) {
        return Err(Error::request(format!(
            "gguf {}: {rotated} of {d_head} features are rotated; only whole heads are supported",
            keys.file.path().display()
        )));
    }
    let table = keys.file.tensors.get("token_embd.weight").map(|tensor| tensor.shape.as_slice());
    let n_vocab = table.and_then(|shape| shape.first().copied()).unwrap_or(0);
    let mut values = json!({
        "model_type": family,
        "hidden_size": d_model,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": keys.kv_heads()?,
        "head_dim": d_head,
        "intermediate_size": keys.size("feed_forward_length")?,
        "vocab_size": n_vocab,
        "max_position_embeddings": keys.size("context_length")?,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-6),
        "rope_theta": keys.number("rope.freq_base")?,
        "rope_scaling": scaling(keys)?,
        "sliding_window": keys.optional_size("attention.sliding_window")?,
        "attn_logit_softcapping": keys.number("attn_logit_softcapping")?,
        "attention_bias": keys.file.tensors.contains_key("blk.0.attn_q.bias") && keys.architecture == "llama",
        // The largest of Gemma 2 and 3 (46 and 62 blocks) scale by the width of the stream over the heads; llama.cpp
        // knows them by their blocks too.
        "query_pre_attn_scalar": if matches!((keys.architecture, n_layers), ("gemma2", 46) | ("gemma3", 62)) {
            d_model / n_heads
        } else {
            d_head
        },
    });
    let values: Map<String, serde_json::Value> = values.as_object_mut().map(std::mem::take).unwrap_or_default();
    Ok(Config::from_values(keys.file.path().to_path_buf(), values))
}

fn scaling(keys: &Keys) -> Result<serde_json::Value> {
    if let Some(tensor) = keys.file.tensors.get("rope_freqs.weight") {
        let mut factors = vec![0.0; tensor.shape.iter().product::<usize>().min(1 << 16)];
        keys.file.read(tensor, 0, &mut factors);
        return Ok(json!({ "rope_type": "divided", "factors": factors }));
    }
    Ok(match keys.get("rope.scaling.type") {
        Some(Value::Text(kind)) if kind != "none" => {
            json!({ "rope_type": kind, "factor": keys.number("rope.scaling.factor")? })
        }
        _ => serde_json::Value::Null,
    })
}

/// The tensors under Hugging Face's names.
struct Weights {
    file: GgufFile,
    architecture: String,
    n_heads: usize,
    n_kv_heads: usize,
}

/// Parts of names inside a block: Hugging Face's, the file's.
const PARTS: &[(&str, &str)] = &[
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

impl Weights {
    fn stored_name(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("model.")?;
        match name {
            "embed_tokens.weight" => return Some("token_embd.weight".into()),
            "norm.weight" => return Some("output_norm.weight".into()),
            _ => {}
        }
        let (block, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, ending) = rest.rsplit_once('.')?;
        let stored = match part {
            // The same name stands for the norm before the MLP or, with norms after each part, the one after attention.
            "post_attention_layernorm" if matches!(self.architecture.as_str(), "gemma2" | "gemma3") => {
                "post_attention_norm"
            }
            "post_attention_layernorm" => "ffn_norm",
            _ => PARTS.iter().find(|(ours, _)| *ours == part)?.1,
        };
        Some(format!("blk.{block}.{stored}.{ending}"))
    }

    fn tensor(&self, name: &str) -> Option<(String, &Tensor)> {
        let stored = self.stored_name(name)?;
        let tensor = self.file.tensors.get(&stored)?;
        Some((stored, tensor))
    }

    /// Heads whose rows are stored in interleaved pairs.
    fn interleaved_heads(&self, stored: &str) -> Option<usize> {
        match stored.rsplit('.').nth(1) {
            Some("attn_q") if self.architecture == "llama" => Some(self.n_heads),
            Some("attn_k") if self.architecture == "llama" => Some(self.n_kv_heads),
            _ => None,
        }
    }
}

impl Source for Weights {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensor(name).map(|(_, tensor)| tensor.shape.as_slice())
    }

    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        let (stored, tensor) = self.tensor(name).ok_or_else(|| {
            Error::input(format!("gguf {}: tensor for {name:?} is missing", self.file.path().display()))
        })?;
        let whole: usize = tensor.shape.iter().product();
        if first.checked_add(out.len()).is_none_or(|end| end > whole) {
            return Err(Error::input(format!(
                "gguf {}: tensor {stored:?} ends before that",
                self.file.path().display()
            )));
        }
        let n_rows = tensor.shape.first().copied().unwrap_or(1);
        match self.interleaved_heads(&stored).filter(|&heads| n_rows.is_multiple_of(2 * heads)) {
            None => self.file.read(tensor, first, out),
            Some(heads) => {
                let (width, d_head) = (whole / n_rows.max(1), n_rows / heads);
                let mut done = 0;
                while done < out.len() {
                    let (row, column) = ((first + done) / width, (first + done) % width);
                    let n = (width - column).min(out.len() - done);
                    // Feature i of half j stands at 2 i + j.
                    let (head, feature) = (row / d_head, row % d_head);
                    let (i, j) = (feature % (d_head / 2), feature / (d_head / 2));
                    let from = (head * d_head + 2 * i + j) * width + column;
                    self.file.read(tensor, from, &mut out[done..done + n]);
                    done += n;
                }
            }
        }
        if self.architecture.starts_with("gemma") && stored.ends_with("norm.weight") {
            out.iter_mut().for_each(|v| *v -= 1.0);
        }
        Ok(())
    }

    fn n_parameters(&self) -> u64 {
        self.file.tensors.values().map(|tensor| tensor.shape.iter().product::<usize>() as u64).sum()
    }

    fn place(&self, name: &str) -> String {
        let path = self.tensor(name).map_or_else(|| self.file.path(), |(_, tensor)| self.file.path_of(tensor));
        path.display().to_string()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.file.tensors.keys().map(String::as_str))
    }
}
