//! StarCoder 2 (Lozhkov et al. 2024): LayerNorm, grouped queries, rotary positions, an MLP without a gate; a sliding window
//! in every layer, or none.

use crate::error::Result;
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, Projections, RotarySpec, Scores, Wiring,
    layer_norm, linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::rope::RopeKeys;

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
pub fn describe(config: &Config) -> Result<Architecture> {
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_hidden_layers")?;
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

    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window };
    Ok(Architecture {
        family: "starcoder2",
        prefixes: &["model.", ""],
        tied: false,
        max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
        input: InputSpec::plain(table("embed_tokens", n_vocab, d_model)),
        blocks_under: "layers.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Separate {
                    query: linear("self_attn.q_proj", d_model, d_attn, bias),
                    key: linear("self_attn.k_proj", d_model, d_kv, bias),
                    value: linear("self_attn.v_proj", d_model, d_kv, bias),
                },
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: None,
                output: linear("self_attn.o_proj", d_attn, d_model, bias),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.c_fc", d_model, d_mlp, bias),
                activation,
                down: linear("mlp.c_proj", d_mlp, d_model, bias),
            },
            wiring: Wiring::Sequential(
                layer_norm("input_layernorm", d_model, eps),
                layer_norm("post_attention_layernorm", d_model, eps),
            ),
        },
        layers: vec![LayerSpec { scores, rotary: Some(0) }; n_layers],
        rotations: vec![RotarySpec::of_halves(rope)],
        final_norm: Some(layer_norm("norm", d_model, eps)),
    })
}
