//! SmolLM 3 (Bakouch et al. 2025): Llama's blocks. Some blocks have no rotation (NoPE; by default every fourth), and a
//! configuration may give blocks a sliding window.

use super::llama_like::Variant;
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::config::Config;
use crate::model::keys::{Key, read, read_or_null};
use crate::model::rope::RopeKeys;
use serde_json::Value;

/// Keys in addition to those of all Llama-like families.
pub const KEYS: &[Key] = &[
    read_or_null("num_key_value_heads"),
    read("head_dim"),
    read("hidden_act"),
    read("attention_bias"),
    read("mlp_bias"),
    read_or_null("no_rope_layers"),
    read("no_rope_layer_interval"),
    read("use_sliding_window"),
    read_or_null("sliding_window"),
    read_or_null("layer_types"),
];

const ROPE: RopeKeys = RopeKeys { default_theta: 2_000_000.0, ..RopeKeys::whole(32_768) };

/// From `config.json` of model_type `smollm3`.
pub fn describe(config: &Config) -> Result<Architecture> {
    let n_heads = config.size("num_attention_heads")?;
    let d_head = config.head_width(config.size("hidden_size")?, n_heads)?;
    let variant = Variant::plain("smollm3", config, d_head, config.rope(&ROPE, d_head)?)?;
    let bias = config.flag_or("attention_bias", false)?;
    let turned = turned(config, variant.sliding.len())?;
    let on = config.flag_or("use_sliding_window", false)?;
    let window = config.optional_size("sliding_window")?;
    // A layer that the configuration names has its window whether windows are turned on or not, as in transformers.
    let by_itself = |l: usize| on && window.is_some() && !turned[l];
    let sliding = config.sliding_layers(variant.sliding.len(), by_itself, window)?;
    let variant = Variant {
        n_kv_heads: config.kv_heads(n_heads, 4)?,
        activation: config.activation("hidden_act", "silu")?,
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: config.flag_or("mlp_bias", false)?,
        window,
        sliding,
        turned,
        ..variant
    };
    variant.describe(config)
}

/// Which layers have positions.
fn turned(config: &Config, n_layers: usize) -> Result<Vec<bool>> {
    let interval = config.size_or("no_rope_layer_interval", 4)?;
    let Some(list) = config.get("no_rope_layers") else {
        return Ok((1..=n_layers).map(|l| !l.is_multiple_of(interval)).collect());
    };
    let wrong = || {
        let expected = format!("1 (positions) or 0 (none) for each of num_hidden_layers {n_layers}");
        config.wrong("no_rope_layers", list, &expected)
    };
    let list = list.as_array().filter(|list| list.len() >= n_layers).ok_or_else(wrong)?;
    let one = |value: &Value| match value.as_u64() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(wrong()),
    };
    list[..n_layers].iter().map(one).collect()
}
