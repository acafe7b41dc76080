//! How is a GGUF file a model? Its metadata becomes a configuration in Hugging Face's keys, its tensors answer to Hugging
//! Face's names, and the family files read it like any other checkpoint.
//!
//! What llama.cpp's converter changed is changed back here: rows of query and key of the `llama` architecture (stored for
//! interleaved rotary pairs), Gemma's norm weights (stored with the 1 added).

mod settings;
mod tokenizer;

pub use tokenizer::{tokenizer, tokenizer_json};

use self::settings::Settings;
use crate::error::{Error, Result};
use crate::model::config::Config;
use crate::weights::Source;
use crate::weights::gguf::{GgufFile, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The configuration and the tensors of the file at `path`.
///
/// # Errors
/// `Request`, naming what is supported, for another architecture or an option that is not implemented; `Input` for a
/// damaged file.
pub fn open(path: &Path) -> Result<(Config, Arc<dyn Source>)> {
    let file = GgufFile::open(path)?;
    let settings = Settings::of(&file)?;
    let config = settings.configuration()?;
    let (n_heads, n_kv_heads) = (settings.n_heads()?, settings.n_kv_heads()?);
    let architecture = settings.architecture.to_string();
    Ok((config, Arc::new(Weights { file, architecture, n_heads, n_kv_heads })))
}

/// Every file of the model at `path`: the parts of a split one, in order.
///
/// # Errors
/// As [`open`], of the header.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(GgufFile::open(path)?.paths())
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
        if name == "lm_head.weight" {
            return Some("output.weight".into());
        }
        let name = name.strip_prefix("model.")?;
        match name {
            "embed_tokens.weight" => return Some("token_embd.weight".into()),
            "norm.weight" => return Some("output_norm.weight".into()),
            _ => {}
        }
        let (block, rest) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, ending) = rest.rsplit_once('.')?;
        let stored = match part {
            // The same name means the norm before the MLP or, with norms after each part, the one after attention.
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
