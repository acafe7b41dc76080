//! GPT-Neo (Black et al. 2021, the TinyStories models): learned positions, scores not scaled, every other layer with a
//! local window.

use crate::error::{Error, Result};
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, Projections, Scores, Wiring, layer_norm,
    linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, read, read_or_null};
use serde_json::Value;

/// Its keys; two of them have another name that is read too.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("num_layers"),
    read("num_hidden_layers"),
    read("num_heads"),
    read("num_attention_heads"),
    read("max_position_embeddings"),
    read_or_null("intermediate_size"),
    read_or_null("attention_types"),
    read("attention_layers"),
    read("window_size"),
    read("activation_function"),
    read("layer_norm_epsilon"),
    harmless("attention_dropout"),
    harmless("resid_dropout"),
    harmless("embed_dropout"),
];

/// From `config.json` of model_type `gpt_neo`; the prefix `transformer.` may be missing.
pub fn describe(config: &Config) -> Result<Architecture> {
    let config = &config.renamed(&[("num_hidden_layers", "num_layers"), ("num_attention_heads", "num_heads")]);
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_layers")?;
    let n_heads = config.size("num_heads")?;
    let n_vocab = config.size("vocab_size")?;
    let n_positions = config.size("max_position_embeddings")?;
    let d_mlp = config.size_or("intermediate_size", 4 * d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let d_attn = n_heads * d_head;
    let eps = config.number_or("layer_norm_epsilon", 1e-5)?;
    let activation = config.activation("activation_function", "gelu_new")?;
    let window = config.size_or("window_size", 256)?;
    let local = local_layers(config, n_layers)?;

    let projection = |name| linear(name, d_model, d_attn, false);
    let layer = |&local: &bool| LayerSpec {
        scores: Scores { scale: 1.0, soft_cap: None, window: local.then_some(window) },
        rotary: None,
    };
    Ok(Architecture {
        family: "gpt_neo",
        prefixes: &["transformer.", ""],
        tied: false,
        max_context: Some(n_positions),
        input: InputSpec {
            positions: Some((table("wpe", n_positions, d_model), 0)),
            ..InputSpec::plain(table("wte", n_vocab, d_model))
        },
        blocks_under: "h.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Separate {
                    query: projection("attn.attention.q_proj"),
                    key: projection("attn.attention.k_proj"),
                    value: projection("attn.attention.v_proj"),
                },
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                output: linear("attn.attention.out_proj", d_attn, d_model, true),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.c_fc", d_model, d_mlp, true),
                activation,
                down: linear("mlp.c_proj", d_mlp, d_model, true),
            },
            wiring: Wiring::Sequential(layer_norm("ln_1", d_model, eps), layer_norm("ln_2", d_model, eps)),
        },
        layers: local.iter().map(layer).collect(),
        rotations: Vec::new(),
        final_norm: Some(layer_norm("ln_f", d_model, eps)),
    })
}

/// Whether each layer is local: `attention_layers`, or `attention_types` as `[[names], times]` groups, or by turns.
fn local_layers(config: &Config, n_layers: usize) -> Result<Vec<bool>> {
    let wrong = || {
        Error::input(format!(
            "config {}: attention_layers or attention_types must name global or local for each layer; num_layers (or \
             num_hidden_layers) is {n_layers}",
            config.path().display()
        ))
    };
    let named = |value: &Value| match value.as_str() {
        Some("global") => Ok(false),
        Some("local") => Ok(true),
        _ => Err(wrong()),
    };
    let mut local = Vec::new();
    if let Some(layers) = config.get("attention_layers") {
        local = layers.as_array().ok_or_else(wrong)?.iter().map(named).collect::<Result<_>>()?;
    } else if let Some(groups) = config.get("attention_types") {
        for group in groups.as_array().ok_or_else(wrong)? {
            let names = group.get(0).and_then(Value::as_array).ok_or_else(wrong)?;
            let times = group.get(1).and_then(Value::as_u64).filter(|&n| n <= n_layers as u64).ok_or_else(wrong)?;
            for name in (0..times).flat_map(|_| names) {
                // no list is longer than the model, whatever the numbers say
                if local.len() == n_layers {
                    return Err(wrong());
                }
                local.push(named(name)?);
            }
        }
    } else {
        local = (0..n_layers).map(|l| l % 2 == 1).collect();
    }
    if local.len() == n_layers { Ok(local) } else { Err(wrong()) }
}
