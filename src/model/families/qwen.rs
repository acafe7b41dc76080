//! Qwen 2, 2.5 (Yang et al. 2024: biases of query, key and value) and Qwen 3 (2025: head norms instead); a sliding window
//! in the later layers where the configuration turns it on.

use super::llama_like::{HeadNorms, Variant};
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::config::Config;
use crate::model::keys::{Key, read, read_or_null};
use crate::model::rope::RopeKeys;

/// Keys of both, in addition to those of all Llama-like families.
pub const KEYS: &[Key] = &[
    read_or_null("num_key_value_heads"),
    read("head_dim"),
    read("hidden_act"),
    read("use_sliding_window"),
    read_or_null("sliding_window"),
    read("max_window_layers"),
    read_or_null("layer_types"),
];

/// Keys of Qwen 3 alone.
pub const KEYS_3: &[Key] = &[read("attention_bias")];

const ROPE: RopeKeys = RopeKeys::whole(32_768);

/// From `config.json` of model_type `qwen2`.
pub fn qwen2(config: &Config) -> Result<Architecture> {
    let d_head = config.head_width(config.size("hidden_size")?, config.size("num_attention_heads")?)?;
    Variant { qkv_bias: true, ..common("qwen2", config, d_head)? }.describe(config)
}

/// From `config.json` of model_type `qwen3`; heads are 128 wide by default, whatever the width of the stream.
pub fn qwen3(config: &Config) -> Result<Architecture> {
    let variant = common("qwen3", config, config.head_width_or(128)?)?;
    let bias = config.flag_or("attention_bias", false)?;
    Variant { head_norms: HeadNorms::Each, qkv_bias: bias, output_bias: bias, ..variant }.describe(config)
}

fn common(family: &'static str, config: &Config, d_head: usize) -> Result<Variant> {
    let variant = Variant::plain(family, config, d_head, config.rope(&ROPE, d_head)?)?;
    let on = config.flag_or("use_sliding_window", false)?;
    let window = config.size_or_none("sliding_window", Some(4096))?.filter(|_| on);
    let first = config.count_or("max_window_layers", 28)?;
    let sliding = config.sliding_layers(variant.sliding.len(), |l| window.is_some() && l >= first, window)?;
    Ok(Variant {
        n_kv_heads: config.kv_heads(variant.n_heads, 32)?,
        activation: config.activation("hidden_act", "silu")?,
        window,
        sliding,
        ..variant
    })
}
