//! Gemma 1, 2 and 3 (Gemma Team 2024, 2024, 2025): norm weights stored less 1, token rows times the root of the width.
//! Gemma 2 adds norms after each part, soft caps and a window in every other layer; Gemma 3 trades the caps for head
//! norms, has a window in five layers of six and another rotation in those.
//!
//! Known limitation: Gemma 1's early configurations say `hidden_act: gelu`, which the released models were not trained
//! with; as in the libraries, the tanh form is taken unless `hidden_activation` says otherwise.

use super::gated::Line;
use crate::error::Result;
use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::layers::rotary::{Rope, Scaling};
use crate::model::loader::Loader;

/// From `config.json` of model_type `gemma`.
pub fn gemma(config: &Config, loader: Loader) -> Result<Decoder> {
    common("gemma", config)?.build(config, loader)
}

/// From `config.json` of model_type `gemma2`.
pub fn gemma2(config: &Config, loader: Loader) -> Result<Decoder> {
    let line = common("gemma2", config)?;
    let score_scale = 1.0 / config.number_or("query_pre_attn_scalar", 256.0)?.sqrt() as f32;
    let soft_cap = config.optional_number("attn_logit_softcapping")?.map(|cap| cap as f32);
    let window = Some(config.size_or("sliding_window", 4096)?);
    let sliding = config.sliding_layers(line.sliding.len(), |l| l % 2 == 0)?;
    Line { post_norms: true, score_scale, soft_cap, window, sliding, ..line }.build(config, loader)
}

/// From `config.json` of model_type `gemma3_text`.
pub fn gemma3(config: &Config, loader: Loader) -> Result<Decoder> {
    let line = common("gemma3_text", config)?;
    let score_scale = 1.0 / config.number_or("query_pre_attn_scalar", 256.0)?.sqrt() as f32;
    let soft_cap = config.optional_number("attn_logit_softcapping")?.map(|cap| cap as f32);
    let window = Some(config.size_or("sliding_window", 4096)?);
    let pattern = match config.optional_size("sliding_window_pattern")? {
        Some(pattern) => pattern,
        None => config.size_or("_sliding_window_pattern", 6)?,
    };
    let sliding = config.sliding_layers(line.sliding.len(), |l| (l + 1) % pattern != 0)?;
    let sliding_rope = if config.get("rope_parameters").is_some() {
        config.rope("sliding_attention", 10_000.0)?
    } else {
        // Stretching is for the layers that see the whole context.
        Rope { theta: config.number_or("rope_local_base_freq", 10_000.0)?, scaling: Scaling::None }
    };
    let rope = config.rope("full_attention", 1_000_000.0)?;
    Line { post_norms: true, head_norms: true, score_scale, soft_cap, window, sliding, rope, sliding_rope, ..line }
        .build(config, loader)
}

fn common(family: &'static str, config: &Config) -> Result<Line> {
    let bias = config.flag_or("attention_bias", false)?;
    let line = Line::plain(family, config)?;
    Ok(Line {
        qkv_bias: bias,
        output_bias: bias,
        norm_stored_less: 1.0,
        embed_scale: Some((config.size("hidden_size")? as f64).sqrt() as f32),
        activation: config.activation("hidden_activation", "gelu_pytorch_tanh")?,
        ..line
    })
}
