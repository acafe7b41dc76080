//! Which architecture is it? One file per family: configuration and tensor names in, shared layers out.

mod gated;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod mistral;
mod opt;
mod phi;
mod qwen;

use super::config::Config;
use super::decoder::Decoder;
use super::loader::Loader;
use crate::error::{Error, Result};

type Build = fn(&Config, Loader) -> Result<Decoder>;

/// `model_type` of the configurations that are read, and who reads them.
const FAMILIES: &[(&str, Build)] = &[
    ("gpt_neox", gpt_neox::build),
    ("gpt2", gpt2::build),
    ("gpt_neo", gpt_neo::build),
    ("opt", opt::build),
    ("llama", llama::build),
    ("mistral", mistral::build),
    ("qwen2", qwen::qwen2),
    ("qwen3", qwen::qwen3),
    ("gemma", gemma::gemma),
    ("gemma2", gemma::gemma2),
    ("gemma3_text", gemma::gemma3),
    ("phi", phi::build),
];

/// Families whose output head is a matrix of its own unless the configuration says otherwise.
const UNTIED: &[&str] = &["gpt_neox", "llama", "mistral", "qwen2", "qwen3", "phi"];

/// Whether token table and output head are one matrix, by `config` or the family's default.
///
/// # Errors
/// `Input` when the key is neither true nor false.
pub fn tied(config: &Config) -> Result<bool> {
    let family = config.text("model_type")?.unwrap_or("none");
    config.flag_or("tie_word_embeddings", !UNTIED.contains(&family))
}

/// The decoder that `config` describes, from the tensors of `loader`.
///
/// # Errors
/// `Request`, naming what is supported, for any other architecture or an option that is not implemented; `Input` for a
/// malformed configuration or a checkpoint that does not fit it.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    not_quantised(config)?;
    let family = config.text("model_type")?.unwrap_or("none");
    match FAMILIES.iter().find(|(name, _)| *name == family) {
        Some((_, build)) => build(config, loader),
        None => {
            let names: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
            Err(Error::request(format!(
                "config {}: architecture {family:?} is not supported; supported are {}",
                config.path().display(),
                names.join(", ")
            )))
        }
    }
}

/// Refuses weights that only another program can unpack.
fn not_quantised(config: &Config) -> Result<()> {
    let Some(said) = config.nested("quantization_config") else { return Ok(()) };
    let method = said.text("quant_method")?.unwrap_or("a method that it does not name");
    Err(Error::request(format!(
        "config {}: the weights are quantised with {method} (quantization_config), which is not read; take the model's \
         unquantised weights, or a GGUF file of it",
        config.path().display()
    )))
}
