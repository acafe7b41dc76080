//! The formats of SAEs, and their names in a dataflow file.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How an SAE is stored; the written form is the value of a dataflow file's `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// EleutherAI's sparsify: `cfg.json`, `sae.safetensors`.
    Sparsify,
    /// SAELens: `cfg.json`, `sae_weights.safetensors`.
    SaeLens,
    /// Gemma Scope: `params.npz`.
    GemmaScope,
    /// Gemma Scope 2: `params.safetensors`, `config.json`.
    #[serde(rename = "gemma_scope_2")]
    GemmaScope2,
    /// Llama Scope: `hyperparams.json`, `checkpoints/final.safetensors`.
    LlamaScope,
    /// Llamascopium, the later Llama Scope: `config.json`, `sae_weights.safetensors`.
    Llamascopium,
    /// dictionary_learning: `ae.pt`, `config.json`.
    DictionaryLearning,
    /// Qwen-Scope: `layerN.sae.pt`.
    QwenScope,
    /// Goodfire: a `.pt` or `.pth` with `encoder_linear`.
    Goodfire,
    /// OpenAI's GPT-2 SAEs: a `.pt` with `pre_bias` and `latent_bias`.
    #[serde(rename = "openai")]
    OpenAi,
}

impl Format {
    /// Every format that is read.
    pub const ALL: [Format; 10] = [
        Format::Sparsify,
        Format::SaeLens,
        Format::GemmaScope,
        Format::GemmaScope2,
        Format::LlamaScope,
        Format::Llamascopium,
        Format::DictionaryLearning,
        Format::QwenScope,
        Format::Goodfire,
        Format::OpenAi,
    ];

    /// The written form.
    pub fn name(self) -> &'static str {
        match self {
            Format::Sparsify => "sparsify",
            Format::SaeLens => "sae_lens",
            Format::GemmaScope => "gemma_scope",
            Format::GemmaScope2 => "gemma_scope_2",
            Format::LlamaScope => "llama_scope",
            Format::Llamascopium => "llamascopium",
            Format::DictionaryLearning => "dictionary_learning",
            Format::QwenScope => "qwen_scope",
            Format::Goodfire => "goodfire",
            Format::OpenAi => "openai",
        }
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Format::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let known: Vec<&str> = Format::ALL.into_iter().map(Format::name).collect();
            Error::request(format!("SAE format {text:?} is not known; expected {}", known.join(", ")))
        })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
