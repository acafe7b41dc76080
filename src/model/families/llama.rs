//! Llama 1 to 3.x (Touvron et al. 2023, Grattafiori et al. 2024): grouped queries, rotary scaling linear or Llama 3.1's.

use super::gated::Line;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::loader::Loader;

/// From `config.json` of model_type `llama`.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let bias = config.flag_or("attention_bias", false)?;
    let mlp_bias = config.flag_or("mlp_bias", false)?;
    Line { qkv_bias: bias, output_bias: bias, mlp_bias, ..Line::plain("llama", config)? }.build(config, loader)
}
