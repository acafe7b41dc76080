//! Gemma 1, 2 and 3 (Gemma Team 2024, 2024, 2025): norm weights stored less 1, token rows times the root of the width.
//! Gemma 2 adds norms after each part, soft caps and a window in every other layer; Gemma 3 trades the caps for head
//! norms, has a window in five layers of six and another rotation in those; its larger models come with an image tower, of
//! which nothing is read.
//!
//! Known limitation: Gemma 1's early configurations have `hidden_act: gelu`, which the released models were not trained
//! with; as in transformers, the tanh form is taken.

use super::llama_like::{HeadNorms, Norms, Variant};
use crate::error::{Error, Result};
use crate::model::activation_function::ActivationFunction;
use crate::model::architecture::Architecture;
use crate::model::config::{Config, Setting};
use crate::model::keys::{Key, harmless, only, read, read_or_null};
use crate::model::rope::RopeKeys;
use serde_json::{Value, json};

/// Keys of all three, in addition to those of all Llama-like families.
pub const KEYS: &[Key] = &[read("num_key_value_heads"), read("head_dim"), read("attention_bias")];

/// Keys of Gemma 1 alone.
pub const KEYS_1: &[Key] = &[read("hidden_act"), read_or_null("hidden_activation")];

/// Keys of Gemma 2 and 3.
pub const KEYS_23: &[Key] = &[
    read("hidden_activation"),
    read("query_pre_attn_scalar"),
    read("sliding_window"),
    read_or_null("layer_types"),
    harmless("final_logit_softcapping"),
];

/// Keys of Gemma 2 alone.
pub const KEYS_2: &[Key] = &[read_or_null("attn_logit_softcapping")];

/// Keys of Gemma 3 alone.
pub const KEYS_3: &[Key] = &[
    read_or_null("sliding_window_pattern"),
    harmless("_sliding_window_pattern"),
    read_or_null("rope_local_base_freq"),
    only("attn_logit_softcapping", &["null"], "a soft cap of the scores, which transformers leaves out in this family"),
];

/// Keys around the text model of Gemma 3, where it has an image tower.
pub const KEYS_AROUND: &[Key] = &[
    read("text_config"),
    harmless("vision_config"),
    harmless("mm_tokens_per_image"),
    harmless("boi_token_index"),
    harmless("eoi_token_index"),
    harmless("image_token_index"),
    harmless("image_token_id"),
];

/// Sizes of the text model that released files leave to its class.
const SIZES: [(&str, usize); 6] = [
    ("hidden_size", 2304),
    ("intermediate_size", 9216),
    ("num_hidden_layers", 26),
    ("num_attention_heads", 8),
    ("max_position_embeddings", 131_072),
    ("vocab_size", 262_208),
];

const ROPE: RopeKeys = RopeKeys::whole(8192);
const ROPE_3: RopeKeys = RopeKeys { default_theta: 1_000_000.0, ..RopeKeys::whole(131_072) };

/// From `config.json` of model_type `gemma`.
pub fn gemma(config: &Config) -> Result<Architecture> {
    let d_head = config.head_width_or(256)?;
    let variant = common(Variant::plain("gemma", config, d_head, config.rope(&ROPE, d_head)?)?, config, 16)?;
    let activation = match config.text("hidden_act")? {
        Some("gelu") => ActivationFunction::GeluTanh,
        _ => config.activation("hidden_act", "gelu_pytorch_tanh")?,
    };
    // Read by transformers 4, by version 5 no longer.
    if config.get("hidden_activation").is_some() && config.activation("hidden_activation", "")? != activation {
        return Err(Error::request(format!(
            "config {}: hidden_act and hidden_activation name two functions, of which transformers takes one or the other by \
             its version; keep the one that the model was trained with, in both",
            config.path().display()
        )));
    }
    Variant { activation, ..variant }.describe(config)
}

/// From `config.json` of model_type `gemma2`: a soft cap of 50 where none is given, none where it is null.
pub fn gemma2(config: &Config) -> Result<Architecture> {
    let d_head = config.head_width_or(256)?;
    let variant = common(Variant::plain("gemma2", config, d_head, config.rope(&ROPE, d_head)?)?, config, 4)?;
    let soft_cap = config.number_or_none("attn_logit_softcapping", Some(50.0))?.map(|cap| cap as f32);
    if soft_cap.is_some_and(|cap| cap <= 0.0) {
        return Err(Error::input(format!(
            "config {}: attn_logit_softcapping is not positive; null means no cap",
            config.path().display()
        )));
    }
    with_window(Variant { soft_cap, ..variant }, config, |l| l % 2 == 0)?.describe(config)
}

/// From `config.json` of model_type `gemma3_text`.
pub fn gemma3(config: &Config) -> Result<Architecture> {
    let d_head = config.head_width_or(256)?;
    let (rope, sliding_rope) = config.rope_by_layer(&ROPE_3, d_head)?;
    let variant = common(Variant::plain("gemma3_text", config, d_head, rope)?, config, 4)?;
    let pattern = match config.setting("sliding_window_pattern") {
        Setting::Null if config.get("layer_types").is_none() => {
            return Err(config.wrong("sliding_window_pattern", &Value::Null, "a number, or layer_types in addition"));
        }
        _ => config.size_or("sliding_window_pattern", 6)?,
    };
    let variant = Variant { head_norms: HeadNorms::Each, sliding_rope: Some(sliding_rope), ..variant };
    with_window(variant, config, |l| (l + 1) % pattern != 0)?.describe(config)
}

/// The configuration of the text model inside a `config.json` of model_type `gemma3`.
pub fn text_of_gemma3(config: &Config) -> Result<Config> {
    let text = config.nested("text_config")?.ok_or_else(|| config.missing("text_config"))?;
    let text = SIZES.iter().fold(text, |text, (key, size)| match text.setting(key) {
        Setting::Absent => text.with(key, json!(size)),
        _ => text,
    });
    Ok(text.with("model_type", json!("gemma3_text")))
}

fn common(variant: Variant, config: &Config, n_kv_heads: usize) -> Result<Variant> {
    let bias = config.flag_or("attention_bias", false)?;
    Ok(Variant {
        n_kv_heads: config.kv_heads(variant.n_heads, n_kv_heads)?,
        qkv_bias: bias,
        output_bias: bias,
        norm_stored_less: 1.0,
        embed_scale: Some((config.size("hidden_size")? as f64).sqrt() as f32),
        ..variant
    })
}

/// What Gemma 2 and 3 have in common; `sliding`: the layers with a window where the configuration names none.
fn with_window(variant: Variant, config: &Config, sliding: impl Fn(usize) -> bool) -> Result<Variant> {
    let scalar = config.size_or("query_pre_attn_scalar", 256)? as f64;
    let window = Some(config.size_or("sliding_window", 4096)?);
    Ok(Variant {
        norms: Norms::Around,
        activation: config.activation("hidden_activation", "gelu_pytorch_tanh")?,
        score_scale: 1.0 / scalar.sqrt() as f32,
        window,
        sliding: config.sliding_layers(variant.sliding.len(), sliding, window)?,
        ..variant
    })
}
