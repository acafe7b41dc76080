//! Is every key of a configuration accounted for? A table for each family: keys that are read, keys of which only some
//! values are supported, keys that change nothing at a hookpoint. A configuration is checked against it before anything is
//! built.
//!
//! The tables follow transformers' configuration classes. A key that neither a table nor such a class knows (a note of
//! the author, another program's setting) changes nothing there and changes nothing here. `tests/models/config_keys.rs`
//! compares the tables with the classes.

use super::config::Config;
use crate::error::{Error, Result};
use serde_json::Value;

/// A key and what is done with it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in `config.json`.
    pub name: &'static str,
    /// What is done with it.
    pub uses: Uses,
}

/// What is done with a key.
#[derive(Clone, Copy, Debug)]
pub enum Uses {
    /// Read. Null is refused, as transformers refuses it.
    Read,
    /// Read, and null is a value: none, or the family's own rule.
    ReadOrNull,
    /// Only these values are supported (JSON texts); the second describes what the key asks for.
    Only(&'static [&'static str], &'static str),
    /// Changes nothing at a hookpoint.
    Harmless,
}

/// A key that is read.
pub const fn read(name: &'static str) -> Key {
    Key { name, uses: Uses::Read }
}

/// A key that is read and of which null is a value.
pub const fn read_or_null(name: &'static str) -> Key {
    Key { name, uses: Uses::ReadOrNull }
}

/// A key of which only `values` (JSON texts) are supported; `asks_for` describes what any other asks for.
pub const fn only(name: &'static str, values: &'static [&'static str], asks_for: &'static str) -> Key {
    Key { name, uses: Uses::Only(values, asks_for) }
}

/// A key that changes nothing at a hookpoint.
pub const fn harmless(name: &'static str) -> Key {
    Key { name, uses: Uses::Harmless }
}

/// Keys of every family.
pub const COMMON: &[Key] = &[
    read("model_type"),
    read("vocab_size"),
    read("tie_word_embeddings"),
    // What would be computed otherwise.
    only("is_causal", &["true"], "attention to later tokens too"),
    only("per_layer_config", &["null", "{}"], "other settings for single layers"),
    only("quantization_config", &["null"], "weights stored in a quantised form"),
    only("transformers_weights", &["null"], "weights from another file"),
    only("fusion_config", &["null"], "weights that are fused while they are loaded"),
    only("distributed_config", &["null"], "weights that are spread over machines"),
    only("use_bidirectional_attention", &["false", "null"], "attention to later tokens too"),
    // Who wrote it and with what.
    harmless("_name_or_path"),
    harmless("name_or_path"),
    harmless("_commit_hash"),
    harmless("architectures"),
    harmless("auto_map"),
    harmless("transformers_version"),
    // How the weights are held; here they are widened to f32.
    harmless("dtype"),
    harmless("torch_dtype"),
    // The same sums in pieces; an encoder that is not there.
    harmless("chunk_size_feed_forward"),
    harmless("is_encoder_decoder"),
    // What is handed out, what is kept between calls, which kernel runs.
    harmless("use_cache"),
    harmless("output_attentions"),
    harmless("output_hidden_states"),
    harmless("return_dict"),
    harmless("use_return_dict"),
    harmless("torchscript"),
    harmless("tie_last_hidden_states"),
    harmless("attn_implementation"),
    harmless("_attn_implementation"),
    harmless("_attn_implementation_autoset"),
    harmless("_experts_implementation"),
    harmless("experts_implementation"),
    harmless("cache_implementation"),
    harmless("gradient_checkpointing"),
    // Ids of tokens; the tokenizer's files say which are put in.
    harmless("bos_token_id"),
    harmless("eos_token_id"),
    harmless("pad_token_id"),
    harmless("sep_token_id"),
    harmless("decoder_start_token_id"),
    // Training and heads for other tasks.
    harmless("initializer_range"),
    harmless("classifier_dropout"),
    harmless("num_labels"),
    harmless("id2label"),
    harmless("label2id"),
    harmless("problem_type"),
    harmless("task_specific_params"),
    harmless("finetuning_task"),
    // Generation.
    harmless("max_length"),
    harmless("min_length"),
    harmless("do_sample"),
    harmless("temperature"),
    harmless("top_k"),
    harmless("top_p"),
    harmless("typical_p"),
    harmless("num_beams"),
    harmless("repetition_penalty"),
    harmless("length_penalty"),
    harmless("no_repeat_ngram_size"),
];

/// Keys of the rotation, in addition to the one that names its base.
pub const ROTARY: &[Key] = &[
    read_or_null("rope_parameters"),
    read_or_null("rope_scaling"),
    read_or_null("original_max_position_embeddings"),
    read_or_null("partial_rotary_factor"),
    // Names of other families, compared with the family's own.
    read_or_null("rotary_pct"),
    read_or_null("rotary_emb_base"),
];

/// Refuses a configuration that asks for something that is not done. `tables` are looked up in their order.
///
/// # Errors
/// `Request`, naming key, value and what is supported; `Input` for a null where a value is needed.
pub fn check(config: &Config, tables: &[&[Key]]) -> Result<()> {
    for (name, value) in config.entries() {
        let Some(key) = find(tables, name) else { continue };
        match key.uses {
            Uses::Only(values, asks_for) if !values.iter().any(|v| same(v, value)) => {
                return Err(Error::request(format!(
                    "config {}: {} is {}, which asks for {asks_for}: not supported, expected {}",
                    config.path().display(),
                    config.name(name),
                    shortened(value),
                    values.join(" or "),
                )));
            }
            Uses::Read if value.is_null() => {
                return Err(Error::input(format!(
                    "config {}: {} is null, expected a value; without the key the family's default holds",
                    config.path().display(),
                    config.name(name),
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The entry of `name`, of the first table that has one.
pub fn find<'a>(tables: &[&'a [Key]], name: &str) -> Option<&'a Key> {
    tables.iter().flat_map(|table| table.iter()).find(|key| key.name == name)
}

/// Whether `value` is the one that the JSON text `expected` writes; whole numbers and others are compared as numbers.
fn same(expected: &str, value: &Value) -> bool {
    let Ok(expected) = serde_json::from_str::<Value>(expected) else { return false };
    match (expected.as_f64(), value.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => expected == *value,
    }
}

/// A value for a message, cut where it is long.
pub fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}
