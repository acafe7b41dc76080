//! GPT-NeoX (Black et al. 2022) and Pythia: parallel or sequential residual, partial rotation, one projection for query,
//! key and value, head by head.

use crate::error::{Error, Result};
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, Projections, RotarySpec, Scores, Wiring,
    layer_norm, linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::rope::{Fraction, RopeKeys};

/// Its keys.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read("intermediate_size"),
    read("max_position_embeddings"),
    read_or_null("head_dim"),
    read("hidden_act"),
    read("layer_norm_eps"),
    read("attention_bias"),
    read("use_parallel_residual"),
    read_or_null("rope_theta"),
    harmless("attention_dropout"),
    harmless("hidden_dropout"),
    harmless("is_decoder"),
];

const ROPE: RopeKeys = RopeKeys {
    theta: "rotary_emb_base",
    default_theta: 10_000.0,
    max_positions: 2048,
    fraction: Some(Fraction { key: "rotary_pct", default: 0.25, odd: true }),
};

/// From `config.json` of model_type `gpt_neox`; the prefix `gpt_neox.` may be missing.
pub fn describe(config: &Config) -> Result<Architecture> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_hidden_layers")?;
    let n_heads = config.size("num_attention_heads")?;
    let d_mlp = config.size_or("intermediate_size", 4 * d_model)?;
    let n_vocab = config.size("vocab_size")?;
    let d_head = config.even_heads(d_model, n_heads)?;
    if let Some(other) = config.optional_size("head_dim")?.filter(|&other| other != d_head) {
        return Err(Error::request(format!(
            "config {}: head_dim is {other}, but heads of this family are hidden_size / num_attention_heads = {d_head} wide; \
             remove head_dim",
            config.path().display()
        )));
    }
    let d_attn = n_heads * d_head;
    let eps = config.number_or("layer_norm_eps", 1e-5)?;
    let bias = config.flag_or("attention_bias", true)?;
    let parallel = config.flag_or("use_parallel_residual", true)?;
    let activation = config.activation("hidden_act", "gelu")?;
    let rope = config.rope(&ROPE, d_head)?;

    let norms = (layer_norm("input_layernorm", d_model, eps), layer_norm("post_attention_layernorm", d_model, eps));
    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None };
    Ok(Architecture {
        family: "gpt_neox",
        prefixes: &["gpt_neox.", ""],
        tied: false,
        max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
        input: InputSpec::plain(table("embed_in", n_vocab, d_model)),
        blocks_under: "layers.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::PerHead(linear("attention.query_key_value", d_model, 3 * d_attn, bias)),
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                output: linear("attention.dense", d_attn, d_model, bias),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.dense_h_to_4h", d_model, d_mlp, true),
                activation,
                down: linear("mlp.dense_4h_to_h", d_mlp, d_model, true),
            },
            wiring: if parallel { Wiring::Parallel(norms.0, norms.1) } else { Wiring::Sequential(norms.0, norms.1) },
        },
        layers: vec![LayerSpec { scores, rotary: Some(0) }; n_layers],
        rotations: vec![RotarySpec::of_halves(rope)],
        final_norm: Some(layer_norm("final_layer_norm", d_model, eps)),
    })
}
