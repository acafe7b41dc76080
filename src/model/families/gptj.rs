//! GPT-J (Wang and Komatsuzaki 2021): attention and MLP read the same norm and are added together; part of each head is
//! rotated, neighbouring features together.

use crate::error::{Error, Result};
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, Projections, RotarySpec, Scores, Wiring,
    layer_norm, linear, table,
};
use crate::model::config::{Config, Setting};
use crate::model::keys::{Key, harmless, read, read_or_null};
use crate::model::rotary::{Rope, Scaling};

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
    read("rotary_dim"),
    read("activation_function"),
    read("layer_norm_epsilon"),
    harmless("attn_pdrop"),
    harmless("embd_pdrop"),
    harmless("resid_pdrop"),
    // Of the first releases; this family has always been rotated and scaled so.
    harmless("rotary"),
    harmless("scale_attn_weights"),
    harmless("tokenizer_class"),
    harmless("summary_activation"),
    harmless("summary_first_dropout"),
    harmless("summary_proj_to_labels"),
    harmless("summary_type"),
    harmless("summary_use_proj"),
];

/// From `config.json` of model_type `gptj`; the prefix `transformer.` may be missing.
pub fn describe(config: &Config) -> Result<Architecture> {
    let config = &config.renamed(&[
        ("hidden_size", "n_embd"),
        ("num_hidden_layers", "n_layer"),
        ("num_attention_heads", "n_head"),
        ("max_position_embeddings", "n_positions"),
    ]);
    let d_model = config.size("n_embd")?;
    let n_layers = config.n_blocks("n_layer")?;
    let n_heads = config.size("n_head")?;
    let n_vocab = config.size("vocab_size")?;
    let n_positions = config.size_or("n_positions", 2048)?;
    let d_mlp = config.size_or("n_inner", 4 * d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let eps = config.number_or("layer_norm_epsilon", 1e-5)?;
    let activation = config.activation("activation_function", "gelu_new")?;
    let d_rotated = config.size_or("rotary_dim", 64)?;
    if d_rotated > d_head || !d_rotated.is_multiple_of(2) {
        let default = if config.setting("rotary_dim") == Setting::Absent { ", the family's default," } else { "" };
        return Err(Error::input(format!(
            "config {}: rotary_dim {d_rotated}{default} is no even number up to {d_head}, the width of a head",
            config.path().display()
        )));
    }
    let rope = Rope { theta: 10_000.0, d_rotated, scaling: Scaling::None };

    let projection = |name| linear(name, d_model, d_model, false);
    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None };
    Ok(Architecture {
        family: "gptj",
        prefixes: &["transformer.", ""],
        tied: false,
        max_context: Some(n_positions),
        input: InputSpec::plain(table("wte", n_vocab, d_model)),
        blocks_under: "h.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Separate {
                    query: projection("attn.q_proj"),
                    key: projection("attn.k_proj"),
                    value: projection("attn.v_proj"),
                },
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                output: projection("attn.out_proj"),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.fc_in", d_model, d_mlp, true),
                activation,
                down: linear("mlp.fc_out", d_mlp, d_model, true),
            },
            wiring: Wiring::ParallelShared(layer_norm("ln_1", d_model, eps)),
        },
        layers: vec![LayerSpec { scores, rotary: Some(0) }; n_layers],
        rotations: vec![RotarySpec { rope, neighbours: true }],
        final_norm: Some(layer_norm("ln_f", d_model, eps)),
    })
}
