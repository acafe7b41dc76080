//! GPT-2 (Radford et al. 2019): learned positions, stacked query, key and value, weights stored `[n_in, n_out]`.

use crate::error::Result;
use crate::ids::BlockKind;
use crate::model::ModelShape;
use crate::model::config::Config;
use crate::model::decoder::{Block, Decoder, Input, Wiring};
use crate::model::keys::{Key, harmless, only, read, read_or_null};
use crate::model::layers::attention::Scores;
use crate::model::layers::{Attention, Mlp, Projections};
use crate::model::loader::Loader;

/// Its keys; four of them have another name that is read too.
pub const KEYS: &[Key] = &[
    read("n_embd"),
    read("hidden_size"),
    read("n_layer"),
    read("num_hidden_layers"),
    read("n_head"),
    read("num_attention_heads"),
    read("n_positions"),
    read("max_position_embeddings"),
    read_or_null("n_inner"),
    read("activation_function"),
    read("layer_norm_epsilon"),
    read("scale_attn_weights"),
    read("scale_attn_by_inverse_layer_idx"),
    // The same function in another order of operations, for half precision.
    harmless("reorder_and_upcast_attn"),
    only("add_cross_attention", &["false"], "weights that read an encoder"),
    harmless("n_ctx"),
    harmless("resid_pdrop"),
    harmless("embd_pdrop"),
    harmless("attn_pdrop"),
    harmless("hidden_dropout"),
    harmless("summary_type"),
    harmless("summary_use_proj"),
    harmless("summary_activation"),
    harmless("summary_proj_to_labels"),
    harmless("summary_first_dropout"),
    harmless("summary_last_dropout"),
];

/// From `config.json` of model_type `gpt2`; the prefix `transformer.` may be missing.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let config = &config.renamed(&[
        ("hidden_size", "n_embd"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
    ]);
    let d_model = config.size("n_embd")?;
    let n_layers = config.size("n_layer")?;
    let n_heads = config.size("n_head")?;
    let n_vocab = config.size("vocab_size")?;
    let n_positions = config.size("n_positions")?;
    let d_mlp = config.size_or("n_inner", 4 * d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let d_attn = n_heads * d_head;
    let eps = config.number_or("layer_norm_epsilon", 1e-5)?;
    let activation = config.activation("activation_function", "gelu_new")?;
    let scaled = config.flag_or("scale_attn_weights", true)?;
    let by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false)?;

    let loader = loader.under(&["transformer.", ""], "wte.weight");
    let blocks = loader.blocks(n_layers, |loader, l| {
        let at = |name: &str| format!("h.{l}.{name}");
        let scale = if scaled { 1.0 / (d_head as f32).sqrt() } else { 1.0 };
        Ok(Block {
            attention: Attention {
                projections: Projections::Stacked(loader.conv1d(&at("attn.c_attn"), d_model, 3 * d_attn)?),
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                rotary: None,
                scores: Scores {
                    scale: if by_layer { scale / (l + 1) as f32 } else { scale },
                    soft_cap: None,
                    window: None,
                },
                output: loader.conv1d(&at("attn.c_proj"), d_attn, d_model)?,
            },
            mlp: Mlp {
                gate: None,
                up: loader.conv1d(&at("mlp.c_fc"), d_model, d_mlp)?,
                activation,
                down: loader.conv1d(&at("mlp.c_proj"), d_mlp, d_model)?,
            },
            wiring: Wiring::Sequential(
                loader.layer_norm(&at("ln_1"), d_model, eps)?,
                loader.layer_norm(&at("ln_2"), d_model, eps)?,
            ),
        })
    })?;
    Ok(Decoder {
        name: String::new(),
        input: Input {
            tokens: loader.embedding("wte", n_vocab, d_model)?,
            scale: None,
            project: None,
            positions: Some((loader.embedding("wpe", n_positions, d_model)?, 0)),
        },
        blocks,
        final_norm: Some(loader.layer_norm("ln_f", d_model, eps)?),
        shape: ModelShape {
            family: "gpt2".into(),
            n_layers,
            d_model,
            d_attn,
            d_kv: d_attn,
            d_mlp,
            d_token: d_model,
            n_vocab,
            max_context: Some(n_positions),
            n_parameters: loader.n_parameters(),
            n_block_parameters: loader.n_block_parameters(),
            block: BlockKind::Sequential,
            gated: false,
            layer_norm: true,
        },
    })
}
