//! Llama 1 to 3.x (Touvron et al. 2023, Grattafiori et al. 2024): grouped queries, rotary scaling.

use super::llama_like::Variant;
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::config::Config;
use crate::model::keys::{Key, read, read_or_null};
use crate::model::rope::RopeKeys;

/// Keys in addition to those of all Llama-like families.
pub const KEYS: &[Key] = &[
    read_or_null("num_key_value_heads"),
    read_or_null("head_dim"),
    read("hidden_act"),
    read("attention_bias"),
    read("mlp_bias"),
];

const ROPE: RopeKeys = RopeKeys::whole(2048);

/// From `config.json` of model_type `llama`.
pub fn describe(config: &Config) -> Result<Architecture> {
    let bias = config.flag_or("attention_bias", false)?;
    let n_heads = config.size("num_attention_heads")?;
    let d_head = config.head_width(config.size("hidden_size")?, n_heads)?;
    let variant = Variant {
        n_kv_heads: config.kv_heads(n_heads, n_heads)?,
        activation: config.activation("hidden_act", "silu")?,
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: config.flag_or("mlp_bias", false)?,
        ..Variant::plain("llama", config, d_head, config.rope(&ROPE, d_head)?)?
    };
    variant.describe(config)
}
