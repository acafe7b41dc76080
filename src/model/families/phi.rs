//! Phi-1, 1.5 and 2 (Gunasekar et al. 2023): attention and MLP read the same norm and are added together; part of each
//! head is rotated.

use crate::error::Result;
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
pub fn describe(config: &Config) -> Result<Architecture> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_hidden_layers")?;
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

    let head_norm = |name| layer_norm(name, d_head, eps);
    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None };
    Ok(Architecture {
        family: "phi",
        prefixes: &["model.", ""],
        tied: false,
        max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
        input: InputSpec::plain(table("embed_tokens", n_vocab, d_model)),
        blocks_under: "layers.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Separate {
                    query: linear("self_attn.q_proj", d_model, d_attn, true),
                    key: linear("self_attn.k_proj", d_model, n_kv_heads * d_head, true),
                    value: linear("self_attn.v_proj", d_model, n_kv_heads * d_head, true),
                },
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: qk_norms.then(|| (head_norm("self_attn.q_layernorm"), head_norm("self_attn.k_layernorm"))),
                output: linear("self_attn.dense", d_attn, d_model, true),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.fc1", d_model, d_mlp, true),
                activation,
                down: linear("mlp.fc2", d_mlp, d_model, true),
            },
            wiring: Wiring::ParallelShared(layer_norm("input_layernorm", d_model, eps)),
        },
        layers: vec![LayerSpec { scores, rotary: Some(0) }; n_layers],
        rotations: vec![RotarySpec::of_halves(rope)],
        final_norm: Some(layer_norm("final_layernorm", d_model, eps)),
    })
}
