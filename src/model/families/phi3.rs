//! Phi-3, 3.5 and 4 (Abdin et al. 2024): Llama's blocks with query, key and value in one layer and gate and up in another; a
//! sliding window in every layer, or none; LongRoPE for long contexts.

use super::llama_like::Variant;
use crate::error::{Error, Result};
use crate::model::architecture::Architecture;
use crate::model::config::{Config, Setting};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::rope::{Fraction, RopeKeys};
use crate::model::rotary::Scaling;
use serde_json::{Value, json};

/// Keys in addition to those of all Llama-like families.
pub const KEYS: &[Key] = &[
    read_or_null("num_key_value_heads"),
    read("head_dim"),
    read("hidden_act"),
    read_or_null("sliding_window"),
    read_or_null("partial_rotary_factor"),
    harmless("embd_pdrop"),
    harmless("resid_pdrop"),
];

const ROPE: RopeKeys = RopeKeys {
    fraction: Some(Fraction { key: "partial_rotary_factor", default: 1.0, odd: false }),
    ..RopeKeys::whole(4096)
};

/// From `config.json` of model_type `phi3`.
pub fn describe(config: &Config) -> Result<Architecture> {
    let config = &of_today(config);
    let n_heads = config.size("num_attention_heads")?;
    let d_head = config.head_width(config.size("hidden_size")?, n_heads)?;
    let rope = config.rope(&ROPE, d_head)?;
    if !matches!(rope.scaling, Scaling::None | Scaling::Long { .. }) {
        return Err(Error::request(format!(
            "config {}: this family's rotations are scaled by longrope alone, as in transformers; check rope_scaling",
            config.path().display()
        )));
    }
    let variant = Variant::plain("phi3", config, d_head, rope)?;
    let window = config.optional_size("sliding_window")?;
    let variant = Variant {
        n_kv_heads: config.kv_heads(n_heads, n_heads)?,
        activation: config.activation("hidden_act", "silu")?,
        default_eps: 1e-5,
        fused: true,
        window,
        sliding: vec![window.is_some(); variant.sliding.len()],
        ..variant
    };
    variant.describe(config)
}

/// The configuration with the changes that transformers' class makes: 4096 as the original context length when none is given,
/// and today's name of the scaling for the names of the first releases.
fn of_today(config: &Config) -> Config {
    let mut config = config.clone();
    if config.setting("original_max_position_embeddings") == Setting::Absent {
        config = config.with("original_max_position_embeddings", json!(4096));
    }
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(Value::Object(scaling)) = config.get(key) else { continue };
        let mut scaling = scaling.clone();
        for name in ["type", "rope_type"] {
            if let Some(kind @ Value::String(_)) = scaling.get_mut(name)
                && (*kind == "su" || *kind == "yarn")
            {
                *kind = json!("longrope");
            }
        }
        config = config.with(key, Value::Object(scaling));
    }
    config
}
