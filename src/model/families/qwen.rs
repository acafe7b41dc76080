//! Qwen 2, 2.5 (Yang et al. 2024: biases of query, key and value) and Qwen 3 (2025: head norms instead); a sliding window
//! in the later layers where the configuration turns it on.

use super::gated::Line;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::loader::Loader;

/// From `config.json` of model_type `qwen2`.
pub fn qwen2(config: &Config, loader: Loader) -> Result<Decoder> {
    let line = with_window(Line::plain("qwen2", config)?, config)?;
    Line { qkv_bias: true, ..line }.build(config, loader)
}

/// From `config.json` of model_type `qwen3`.
pub fn qwen3(config: &Config, loader: Loader) -> Result<Decoder> {
    let line = with_window(Line::plain("qwen3", config)?, config)?;
    let bias = config.flag_or("attention_bias", false)?;
    // The family's default is 128 wide heads, whatever the width of the stream.
    let d_head = config.head_width_or(128)?;
    let score_scale = 1.0 / (d_head as f32).sqrt();
    Line { head_norms: true, qkv_bias: bias, output_bias: bias, d_head, score_scale, ..line }.build(config, loader)
}

fn with_window(line: Line, config: &Config) -> Result<Line> {
    let on = config.flag_or("use_sliding_window", false)?;
    let first = config.size_or("max_window_layers", 28)?;
    let sliding = config.sliding_layers(line.sliding.len(), |l| on && l >= first)?;
    Ok(Line { window: config.optional_size("sliding_window")?.filter(|_| on), sliding, ..line })
}
