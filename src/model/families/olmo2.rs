//! OLMo 2 (OLMo Team 2024): what attention and MLP give is normed before it is added, nothing before they read it; queries
//! and keys are normed over all heads together.

use super::llama_like::{HeadNorms, Norms, Variant};
use crate::error::Result;
use crate::model::architecture::Architecture;
use crate::model::config::Config;
use crate::model::keys::{Key, read, read_or_null};
use crate::model::rope::RopeKeys;

/// Keys in addition to those of all Llama-like families.
pub const KEYS: &[Key] =
    &[read_or_null("num_key_value_heads"), read("head_dim"), read("hidden_act"), read("attention_bias")];

const ROPE: RopeKeys = RopeKeys::whole(2048);

/// From `config.json` of model_type `olmo2`.
pub fn describe(config: &Config) -> Result<Architecture> {
    let n_heads = config.size("num_attention_heads")?;
    let d_head = config.head_width(config.size("hidden_size")?, n_heads)?;
    let bias = config.flag_or("attention_bias", false)?;
    let variant = Variant {
        n_kv_heads: config.kv_heads(n_heads, n_heads)?,
        activation: config.activation("hidden_act", "silu")?,
        default_eps: 1e-5,
        qkv_bias: bias,
        output_bias: bias,
        head_norms: HeadNorms::Together,
        norms: Norms::After,
        ..Variant::plain("olmo2", config, d_head, config.rope(&ROPE, d_head)?)?
    };
    variant.describe(config)
}
