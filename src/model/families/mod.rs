//! Which architecture is it? One file per family: configuration in, an [`Architecture`] out.
//!
//! A family is a line of [`FAMILIES`]: the name of its configurations, the tables of its keys (`model/keys.rs`), and
//! the function that reads its configuration.

mod falcon;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod llama;
mod llama_like;
mod mistral;
mod olmo2;
mod opt;
mod phi;
mod phi3;
mod qwen;
mod smollm3;
mod starcoder2;

use super::architecture::Architecture;
use super::config::Config;
use super::keys::{self, Key};
use crate::error::{Error, Result};

/// A family that is read.
struct Family {
    /// `model_type` of its configurations.
    name: &'static str,
    /// Tables of its keys; the first table that has a key decides. The table of all families is added at the end.
    keys: &'static [&'static [Key]],
    says: Says,
}

/// Contents of a configuration.
enum Says {
    /// An architecture.
    This(fn(&Config) -> Result<Architecture>),
    /// Where the configuration of the model that is read is inside it.
    Inside(fn(&Config) -> Result<Config>),
}

use Says::{Inside, This};

const FAMILIES: &[Family] = &[
    Family { name: "gpt_neox", keys: &[gpt_neox::KEYS, keys::ROTARY], says: This(gpt_neox::describe) },
    Family { name: "gpt2", keys: &[gpt2::KEYS], says: This(gpt2::describe) },
    Family { name: "gpt_neo", keys: &[gpt_neo::KEYS], says: This(gpt_neo::describe) },
    Family { name: "opt", keys: &[opt::KEYS], says: This(opt::describe) },
    Family { name: "llama", keys: &[llama::KEYS, llama_like::KEYS, keys::ROTARY], says: This(llama::describe) },
    Family { name: "mistral", keys: &[mistral::KEYS, llama_like::KEYS, keys::ROTARY], says: This(mistral::describe) },
    Family { name: "qwen2", keys: &[qwen::KEYS, llama_like::KEYS, keys::ROTARY], says: This(qwen::qwen2) },
    Family {
        name: "qwen3",
        keys: &[qwen::KEYS_3, qwen::KEYS, llama_like::KEYS, keys::ROTARY],
        says: This(qwen::qwen3),
    },
    Family {
        name: "gemma",
        keys: &[gemma::KEYS_1, gemma::KEYS, llama_like::KEYS, keys::ROTARY],
        says: This(gemma::gemma),
    },
    Family {
        name: "gemma2",
        keys: &[gemma::KEYS_2, gemma::KEYS_23, gemma::KEYS, llama_like::KEYS, keys::ROTARY],
        says: This(gemma::gemma2),
    },
    Family {
        name: "gemma3_text",
        keys: &[gemma::KEYS_3, gemma::KEYS_23, gemma::KEYS, llama_like::KEYS, keys::ROTARY],
        says: This(gemma::gemma3),
    },
    Family { name: "gemma3", keys: &[gemma::KEYS_AROUND], says: Inside(gemma::text_of_gemma3) },
    Family { name: "phi", keys: &[phi::KEYS, keys::ROTARY], says: This(phi::describe) },
    Family { name: "phi3", keys: &[phi3::KEYS, llama_like::KEYS, keys::ROTARY], says: This(phi3::describe) },
    Family { name: "olmo2", keys: &[olmo2::KEYS, llama_like::KEYS, keys::ROTARY], says: This(olmo2::describe) },
    Family { name: "smollm3", keys: &[smollm3::KEYS, llama_like::KEYS, keys::ROTARY], says: This(smollm3::describe) },
    Family { name: "starcoder2", keys: &[starcoder2::KEYS, keys::ROTARY], says: This(starcoder2::describe) },
    Family { name: "gptj", keys: &[gptj::KEYS], says: This(gptj::describe) },
    Family { name: "falcon", keys: &[falcon::KEYS, keys::ROTARY], says: This(falcon::describe) },
];

/// Families whose output head is a matrix of its own unless the configuration ties it.
const UNTIED: &[&str] = &["gpt_neox", "llama", "mistral", "qwen2", "qwen3", "phi", "phi3", "olmo2", "gptj"];

/// Whether token table and output head are one matrix, by `config` or the family's default.
///
/// # Errors
/// `Input` when the key is neither true nor false.
fn tied(config: &Config) -> Result<bool> {
    let family = config.text("model_type")?.unwrap_or("none");
    config.flag_or("tie_word_embeddings", !UNTIED.contains(&family))
}

impl Family {
    fn tables(&self) -> Vec<&'static [Key]> {
        self.keys.iter().copied().chain([keys::COMMON]).collect()
    }
}

/// Whether the tables of the family `name` (a `model_type`) have an entry for `key`.
pub fn knows_key(name: &str, key: &str) -> bool {
    FAMILIES.iter().any(|family| family.name == name && keys::find(&family.tables(), key).is_some())
}

/// The architecture that `config` describes.
///
/// # Errors
/// `Request`, naming what is supported, for any other architecture or an option that is not implemented; `Input` for a
/// malformed configuration.
pub fn describe(config: &Config) -> Result<Architecture> {
    let tied = tied(config)?;
    not_quantised(config)?;
    let name = config.text("model_type")?.unwrap_or("none");
    match FAMILIES.iter().find(|family| family.name == name) {
        Some(family) => {
            keys::check(config, &family.tables())?;
            let architecture = match family.says {
                This(describe) => describe(config)?,
                Inside(text) => describe(&text(config)?)?,
            };
            Ok(Architecture { tied, ..architecture })
        }
        None => {
            let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
            let inside = match config.get("text_config").and_then(|text| text["model_type"].as_str()) {
                Some(text) if names.contains(&text) => {
                    format!("; its text model is a {text}: load it with transformers and save that by itself")
                }
                _ => String::new(),
            };
            Err(Error::request(format!(
                "config {}: architecture {name:?} is not supported; supported are {}{inside}",
                config.path().display(),
                names.join(", ")
            )))
        }
    }
}

/// Refuses weights that only another program can unpack.
fn not_quantised(config: &Config) -> Result<()> {
    let mut entries = config.entries();
    let Some((_, said)) = entries.find(|(key, value)| *key == "quantization_config" && !value.is_null()) else {
        return Ok(());
    };
    let method = said["quant_method"].as_str().unwrap_or("a method that it does not name");
    Err(Error::request(format!(
        "config {}: the weights are quantised with {method} (quantization_config), which is not read; take the model's \
         unquantised weights, or a GGUF file of it",
        config.path().display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::keys::Uses;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    /// A configuration with the sizes that every family must find, and nothing else.
    fn smallest(family: &str) -> Config {
        let json = match family {
            "gpt2" => json!({"n_embd": 64, "n_layer": 2, "n_head": 32, "n_positions": 16}),
            "gptj" => json!({"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 16, "rotary_dim": 4}),
            "gemma3" => json!({"text_config": {
                "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 8, "intermediate_size": 8, "vocab_size": 10,
                "max_position_embeddings": 16,
            }}),
            "gpt_neo" => json!({"hidden_size": 64, "num_layers": 2, "num_heads": 32, "max_position_embeddings": 16}),
            _ => json!({
                "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 32, "intermediate_size": 8, "ffn_dim": 8,
                "max_position_embeddings": 16,
            }),
        };
        let mut values = json.as_object().expect("an object").clone();
        values.extend([("vocab_size".to_string(), json!(10)), ("model_type".to_string(), json!(family))]);
        Config::from_values(PathBuf::from("config.json"), values)
    }

    #[test]
    fn tables_say_what_families_read() {
        // Other names of a key, and keys that are read only when another key is absent.
        let only_where_given = [
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
            "original_max_position_embeddings",
            "rotary_emb_base",
            // The text model inside has its own (Gemma 3).
            "vocab_size",
        ];
        for family in FAMILIES {
            let config = smallest(family.name);
            describe(&config).unwrap_or_else(|e| panic!("{e}"));
            let asked = config.asked();
            let tables = family.tables();
            for key in &asked {
                let uses = keys::find(&tables, key).map(|key| key.uses);
                assert!(uses.is_some_and(|uses| !matches!(uses, Uses::Harmless)), "{}: {key} is {uses:?}", family.name);
            }
            for key in tables.iter().flat_map(|table| table.iter()) {
                if matches!(keys::find(&tables, key.name).map(|key| key.uses), Some(Uses::Read | Uses::ReadOrNull)) {
                    let read = asked.contains(key.name) || only_where_given.contains(&key.name);
                    assert!(read, "{} never asks for {}", family.name, key.name);
                }
            }
        }
    }

    #[test]
    fn a_number_of_blocks_that_no_model_has_is_refused() {
        let with = |n: usize| smallest("gpt_neox").with("num_hidden_layers", json!(n));
        assert_eq!(describe(&with(4096)).unwrap().shape().n_layers, 4096);
        let error = describe(&with(4097)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("num_hidden_layers is 4097, expected a whole number from 1 to 4096"), "{error}");
    }

    #[test]
    fn a_table_names_a_key_once() {
        for family in FAMILIES {
            let mut seen = BTreeSet::new();
            for key in family.tables().iter().flat_map(|table| table.iter()) {
                // A family's own entry for a key precedes that of all families, or of all Llama-like ones.
                let common =
                    keys::COMMON.iter().chain(keys::ROTARY).chain(llama_like::KEYS).any(|k| std::ptr::eq(k, key));
                assert!(seen.insert(key.name) || common, "{} names {} twice", family.name, key.name);
            }
        }
    }
}
