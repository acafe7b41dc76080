//! GPT-2 (Radford et al. 2019): learned positions, stacked query, key and value, weights stored `[n_in, n_out]`.

use crate::error::Result;
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, MlpSpec, Projections, Scores, Wiring, conv1d,
    layer_norm, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, only, read, read_or_null};

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
    let n_positions = config.size("n_positions")?;
    let d_mlp = config.size_or("n_inner", 4 * d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let d_attn = n_heads * d_head;
    let eps = config.number_or("layer_norm_epsilon", 1e-5)?;
    let activation = config.activation("activation_function", "gelu_new")?;
    let scaled = config.flag_or("scale_attn_weights", true)?;
    let by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false)?;

    let scale = if scaled { 1.0 / (d_head as f32).sqrt() } else { 1.0 };
    let layer = |l: usize| LayerSpec {
        scores: Scores { scale: if by_layer { scale / (l + 1) as f32 } else { scale }, soft_cap: None, window: None },
        rotary: None,
    };
    Ok(Architecture {
        family: "gpt2",
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
                projections: Projections::Stacked(conv1d("attn.c_attn", d_model, 3 * d_attn)),
                n_heads,
                n_kv_heads: n_heads,
                d_head,
                qk_norms: None,
                output: conv1d("attn.c_proj", d_attn, d_model),
            },
            mlp: MlpSpec {
                gate: None,
                up: conv1d("mlp.c_fc", d_model, d_mlp),
                activation,
                down: conv1d("mlp.c_proj", d_mlp, d_model),
            },
            wiring: Wiring::Sequential(layer_norm("ln_1", d_model, eps), layer_norm("ln_2", d_model, eps)),
        },
        layers: (0..n_layers).map(layer).collect(),
        rotations: Vec::new(),
        final_norm: Some(layer_norm("ln_f", d_model, eps)),
    })
}
