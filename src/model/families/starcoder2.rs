//! StarCoder 2 (Lozhkov et al. 2024): LayerNorm, grouped queries, rotary positions, an MLP without a gate; a sliding window
//! in every layer, or none.

use crate::error::Result;
use crate::ids::BlockKind;
use crate::model::ModelShape;
use crate::model::config::Config;
use crate::model::decoder::{Block, Decoder, Input, Wiring};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::layers::attention::Scores;
use crate::model::layers::{Attention, Mlp, Projections, Rotary};
use crate::model::loader::Loader;
use crate::model::rope::RopeKeys;
use std::sync::Arc;

/// Its keys.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("num_key_value_heads"),
    read("intermediate_size"),
    read("max_position_embeddings"),
    read_or_null("head_dim"),
    read("hidden_act"),
    read("norm_epsilon"),
    read("use_bias"),
    read_or_null("sliding_window"),
    read_or_null("rope_theta"),
    harmless("attention_dropout"),
    harmless("residual_dropout"),
    harmless("embedding_dropout"),
];

const ROPE: RopeKeys = RopeKeys::whole(4096);

/// From `config.json` of model_type `starcoder2`; the prefix `model.` may be missing.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.size("num_hidden_layers")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_kv_heads = config.kv_heads(n_heads, 2)?;
    let n_vocab = config.size("vocab_size")?;
    let d_mlp = config.size("intermediate_size")?;
    let d_head = config.head_width(d_model, n_heads)?;
    let (d_attn, d_kv) = (n_heads * d_head, n_kv_heads * d_head);
    let eps = config.number_or("norm_epsilon", 1e-5)?;
    let bias = config.flag_or("use_bias", true)?;
    let activation = config.activation("hidden_act", "gelu_pytorch_tanh")?;
    let window = config.optional_size("sliding_window")?;
    let rope = config.rope(&ROPE, d_head)?;
    let rotary = Arc::new(Rotary::new(&rope));

    let loader = loader.under(&["model.", ""], "embed_tokens.weight");
    let blocks = loader.blocks(n_layers, |loader, l| {
        let at = |name: &str| format!("layers.{l}.{name}");
        Ok(Block {
            attention: Attention {
                projections: Projections::Separate {
                    query: loader.linear(&at("self_attn.q_proj"), d_model, d_attn, bias)?,
                    key: loader.linear(&at("self_attn.k_proj"), d_model, d_kv, bias)?,
                    value: loader.linear(&at("self_attn.v_proj"), d_model, d_kv, bias)?,
                },
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: None,
                rotary: Some(rotary.clone()),
                scores: Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window },
                output: loader.linear(&at("self_attn.o_proj"), d_attn, d_model, bias)?,
            },
            mlp: Mlp {
                gate: None,
                up: loader.linear(&at("mlp.c_fc"), d_model, d_mlp, bias)?,
                activation,
                down: loader.linear(&at("mlp.c_proj"), d_mlp, d_model, bias)?,
            },
            wiring: Wiring::Sequential(
                loader.layer_norm(&at("input_layernorm"), d_model, eps)?,
                loader.layer_norm(&at("post_attention_layernorm"), d_model, eps)?,
            ),
        })
    })?;
    Ok(Decoder {
        name: String::new(),
        input: Input {
            tokens: loader.embedding("embed_tokens", n_vocab, d_model)?,
            scale: None,
            project: None,
            positions: None,
        },
        blocks,
        final_norm: Some(loader.layer_norm("norm", d_model, eps)?),
        shape: ModelShape {
            family: "starcoder2".into(),
            n_layers,
            d_model,
            d_attn,
            d_kv,
            d_mlp,
            d_token: d_model,
            n_vocab,
            max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
            n_parameters: loader.n_parameters(),
            n_block_parameters: loader.n_block_parameters(),
            block: BlockKind::Sequential,
            gated: false,
            layer_norm: true,
        },
    })
}
