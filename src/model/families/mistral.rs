//! Mistral (Jiang et al. 2023): Llama with a sliding window in every layer.

use super::gated::Line;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::loader::Loader;

/// From `config.json` of model_type `mistral`; no window where `sliding_window` is null.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let line = Line::plain("mistral", config)?;
    let window = config.optional_size("sliding_window")?;
    // Eight key heads is the family's default where the key is absent.
    let n_kv_heads = config.kv_heads(line.n_heads, if line.n_heads % 8 == 0 { 8 } else { line.n_heads })?;
    Line { window, n_kv_heads, sliding: vec![window.is_some(); line.sliding.len()], ..line }.build(config, loader)
}
