//! Mistral (Jiang et al. 2023): Llama with a sliding window in every layer, or in those that `layer_types` names
//! (Ministral).

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
    read_or_null("sliding_window"),
    read_or_null("layer_types"),
];

const ROPE: RopeKeys = RopeKeys::whole(131_072);

/// From `config.json` of model_type `mistral`: a window of 4096 where none is given, none where `sliding_window` is null.
pub fn describe(config: &Config) -> Result<Architecture> {
    let n_heads = config.size("num_attention_heads")?;
    let d_head = config.head_width(config.size("hidden_size")?, n_heads)?;
    let variant = Variant::plain("mistral", config, d_head, config.rope(&ROPE, d_head)?)?;
    let window = config.size_or_none("sliding_window", Some(4096))?;
    let sliding = config.sliding_layers(variant.sliding.len(), |_| window.is_some(), window)?;
    let variant = Variant {
        n_kv_heads: config.kv_heads(n_heads, 8)?,
        activation: config.activation("hidden_act", "silu")?,
        window,
        sliding,
        ..variant
    };
    variant.describe(config)
}
