//! OPT (Zhang et al. 2022, and Galactica): learned positions from row 2 on, norms before each part or, in the 350m
//! model, after it, where the token table is narrower than the stream too.

use crate::error::Result;
use crate::ids::BlockKind;
use crate::model::ModelShape;
use crate::model::config::Config;
use crate::model::decoder::{Block, Decoder, Input, Wiring};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::layers::attention::Scores;
use crate::model::layers::{Attention, Mlp, Norm, Projections};
use crate::model::loader::Loader;

/// Its keys.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("max_position_embeddings"),
    read("ffn_dim"),
    read_or_null("word_embed_proj_dim"),
    read("enable_bias"),
    read("layer_norm_elementwise_affine"),
    read("do_layer_norm_before"),
    read("_remove_final_layer_norm"),
    read("activation_function"),
    harmless("attention_dropout"),
    harmless("dropout"),
    harmless("layerdrop"),
    harmless("init_std"),
];

/// The first rows of the position table stand for padding and are never read.
const FIRST_POSITION: usize = 2;

/// From `config.json` of model_type `opt`; the prefixes `model.decoder.` and `decoder.` are read.
pub fn build(config: &Config, loader: Loader) -> Result<Decoder> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.size("num_hidden_layers")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_vocab = config.size("vocab_size")?;
    let n_positions = config.size("max_position_embeddings")?;
    let d_mlp = config.size("ffn_dim")?;
    let d_embed = config.size_or("word_embed_proj_dim", d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let bias = config.flag_or("enable_bias", true)?;
    let affine = config.flag_or("layer_norm_elementwise_affine", true)?;
    let norms_first = config.flag_or("do_layer_norm_before", true)?;
    let has_final_norm = norms_first && !config.flag_or("_remove_final_layer_norm", false)?;
    let activation = config.activation("activation_function", "relu")?;
    let norm = |loader: &Loader, name: &str| -> Result<Norm> {
        if affine { loader.layer_norm(name, d_model, 1e-5) } else { loader.bare_layer_norm(d_model, 1e-5) }
    };

    let loader = loader.under(&["model.decoder.", "decoder.", ""], "embed_tokens.weight");
    let blocks = loader.blocks(n_layers, |loader, l| {
        let at = |name: &str| format!("layers.{l}.{name}");
        let norms = (norm(loader, &at("self_attn_layer_norm"))?, norm(loader, &at("final_layer_norm"))?);
        Ok(Block {
            attention: Attention {
                projections: Projections::Separate {
                    query: loader.linear(&at("self_attn.q_proj"), d_model, d_model, bias)?,
                    key: loader.linear(&at("self_attn.k_proj"), d_model, d_model, bias)?,
                    value: loader.linear(&at("self_attn.v_proj"), d_model, d_model, bias)?,
                },
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                rotary: None,
                scores: Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None },
                output: loader.linear(&at("self_attn.out_proj"), d_model, d_model, bias)?,
            },
            mlp: Mlp {
                gate: None,
                up: loader.linear(&at("fc1"), d_model, d_mlp, bias)?,
                activation,
                down: loader.linear(&at("fc2"), d_mlp, d_model, bias)?,
            },
            wiring: if norms_first { Wiring::Sequential(norms.0, norms.1) } else { Wiring::After(norms.0, norms.1) },
        })
    })?;
    let project = (d_embed != d_model).then(|| loader.linear("project_in", d_embed, d_model, false)).transpose()?;
    Ok(Decoder {
        name: String::new(),
        input: Input {
            tokens: loader.embedding("embed_tokens", n_vocab, d_embed)?,
            scale: None,
            project,
            positions: Some((
                loader.embedding("embed_positions", n_positions + FIRST_POSITION, d_model)?,
                FIRST_POSITION,
            )),
        },
        blocks,
        final_norm: if has_final_norm { Some(norm(&loader, "final_layer_norm")?) } else { None },
        shape: ModelShape {
            family: "opt".into(),
            n_layers,
            d_model,
            d_attn: d_model,
            d_kv: d_model,
            d_mlp,
            d_token: d_embed,
            n_vocab,
            max_context: Some(n_positions),
            n_parameters: loader.n_parameters(),
            n_block_parameters: loader.n_block_parameters(),
            block: if norms_first { BlockKind::Sequential } else { BlockKind::After },
            gated: false,
            // norms behind the sums see the mean of what was added
            layer_norm: norms_first,
        },
    })
}
