//! Phi-1, 1.5 and 2 (Gunasekar et al. 2023): attention and MLP read the same norm and are added together; part of each
//! head is rotated.

use crate::error::Result;
use crate::ids::BlockKind;
use crate::model::ModelShape;
use crate::model::config::Config;
use crate::model::decoder::{Block, Decoder, Input, Wiring};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::layers::attention::Scores;
use crate::model::layers::{Attention, Mlp, Projections, Rotary};
use crate::model::loader::Loader;
use crate::model::rope::{Fraction, RopeKeys};
use std::sync::Arc;

/// Its keys.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read_or_null("num_key_value_heads"),
    read("intermediate_size"),
    read("max_position_embeddings"),
    read("head_dim"),
    read("hidden_act"),
    read("layer_norm_eps"),
    read("qk_layernorm"),
    read_or_null("rope_theta"),
    harmless("attention_dropout"),
    harmless("resid_pdrop"),
    harmless("embd_pdrop"),
];

const ROPE: RopeKeys = RopeKeys {
    fraction: Some(Fraction { key: "partial_rotary_factor", default: 0.5, odd: false }),
    ..RopeKeys::whole(2048)
};

/// From `config.json` of model_type `phi`; the prefix `model.` may be missing.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.size("num_hidden_layers")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_kv_heads = config.kv_heads(n_heads, n_heads)?;
    let n_vocab = config.size("vocab_size")?;
    let d_mlp = config.size("intermediate_size")?;
    let d_head = config.head_width(d_model, n_heads)?;
    let d_attn = n_heads * d_head;
    let eps = config.number_or("layer_norm_eps", 1e-5)?;
    let activation = config.activation("hidden_act", "gelu_new")?;
    let qk_norms = config.flag_or("qk_layernorm", false)?;
    let rope = config.rope(&ROPE, d_head)?;
    let rotary = Arc::new(Rotary::new(&rope));

    let loader = loader.under(&["model.", ""], "embed_tokens.weight");
    let blocks = loader.blocks(n_layers, |loader, l| {
        let at = |name: &str| format!("layers.{l}.{name}");
        let head_norm = |name: &str| loader.layer_norm(&at(name), d_head, eps);
        Ok(Block {
            attention: Attention {
                projections: Projections::Separate {
                    query: loader.linear(&at("self_attn.q_proj"), d_model, d_attn, true)?,
                    key: loader.linear(&at("self_attn.k_proj"), d_model, n_kv_heads * d_head, true)?,
                    value: loader.linear(&at("self_attn.v_proj"), d_model, n_kv_heads * d_head, true)?,
                },
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: if qk_norms {
                    Some((head_norm("self_attn.q_layernorm")?, head_norm("self_attn.k_layernorm")?))
                } else {
                    None
                },
                rotary: Some(rotary.clone()),
                scores: Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None },
                output: loader.linear(&at("self_attn.dense"), d_attn, d_model, true)?,
            },
            mlp: Mlp {
                gate: None,
                up: loader.linear(&at("mlp.fc1"), d_model, d_mlp, true)?,
                activation,
                down: loader.linear(&at("mlp.fc2"), d_mlp, d_model, true)?,
            },
            wiring: Wiring::ParallelShared(loader.layer_norm(&at("input_layernorm"), d_model, eps)?),
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
        final_norm: Some(loader.layer_norm("final_layernorm", d_model, eps)?),
        shape: ModelShape {
            family: "phi".into(),
            n_layers,
            d_model,
            d_attn,
            d_kv: n_kv_heads * d_head,
            d_mlp,
            d_token: d_model,
            n_vocab,
            max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
            n_parameters: loader.n_parameters(),
            n_block_parameters: loader.n_block_parameters(),
            block: BlockKind::ParallelShared,
            gated: false,
            layer_norm: true,
        },
    })
}
