//! OPT (Zhang et al. 2022, and Galactica): learned positions from row 2 on, norms before each part or, in the 350m
//! model, after it, where the token table is narrower than the stream too.

use crate::error::Result;
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, NormSpec, Projections, Scores, Wiring,
    linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, read, read_or_null};

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

/// The first rows of the position table are padding and never read.
const FIRST_POSITION: usize = 2;

/// From `config.json` of model_type `opt`; the prefixes `model.decoder.` and `decoder.` are read.
pub fn describe(config: &Config) -> Result<Architecture> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_hidden_layers")?;
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
    let norm = |name| NormSpec::Layer { name: affine.then_some(name), width: d_model, eps: 1e-5 };
    let projection = |name| linear(name, d_model, d_model, bias);
    let norms = (norm("self_attn_layer_norm"), norm("final_layer_norm"));
    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None };
    Ok(Architecture {
        family: "opt",
        prefixes: &["model.decoder.", "decoder.", ""],
        tied: false,
        max_context: Some(n_positions),
        input: InputSpec {
            project: (d_embed != d_model).then(|| linear("project_in", d_embed, d_model, false)),
            positions: Some((table("embed_positions", n_positions + FIRST_POSITION, d_model), FIRST_POSITION)),
            ..InputSpec::plain(table("embed_tokens", n_vocab, d_embed))
        },
        blocks_under: "layers.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Separate {
                    query: projection("self_attn.q_proj"),
                    key: projection("self_attn.k_proj"),
                    value: projection("self_attn.v_proj"),
                },
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                output: projection("self_attn.out_proj"),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("fc1", d_model, d_mlp, bias),
                activation,
                down: linear("fc2", d_mlp, d_model, bias),
            },
            wiring: if norms_first { Wiring::Sequential(norms.0, norms.1) } else { Wiring::After(norms.0, norms.1) },
        },
        layers: vec![LayerSpec { scores, rotary: None }; n_layers],
        rotations: Vec::new(),
        final_norm: has_final_norm.then(|| norm("final_layer_norm")),
    })
}
