//! Falcon (Almazrouei et al. 2023) and Falcon 2: one key head for all queries (7B) or one for each group (40B, 180B, 11B), attention
//! and MLP in parallel, over one norm or one each. Query, key and value come from one layer.
//!
//! Known limitation: positions by ALiBi (the RW models) are refused.

use crate::error::{Error, Result};
use crate::ids::BlockKind;
use crate::model::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, LinearSpec, MlpSpec, Projections, RotarySpec, Scores,
    StoredOrder, Wiring, layer_norm, linear, table,
};
use crate::model::config::Config;
use crate::model::keys::{Key, harmless, only, read, read_or_null};
use crate::model::rope::RopeKeys;

/// Its keys.
pub const KEYS: &[Key] = &[
    read("hidden_size"),
    // A name of the first releases, which counts before the other one.
    read_or_null("n_embed"),
    read("num_hidden_layers"),
    read("num_attention_heads"),
    read_or_null("num_kv_heads"),
    read_or_null("num_ln_in_parallel_attn"),
    read_or_null("ffn_hidden_size"),
    read("max_position_embeddings"),
    read("layer_norm_epsilon"),
    read("activation"),
    read_or_null("new_decoder_architecture"),
    read("multi_query"),
    read("parallel_attn"),
    read_or_null("bias"),
    read_or_null("rope_theta"),
    only("alibi", &["false", "null"], "positions by ALiBi"),
    harmless("attention_dropout"),
    harmless("hidden_dropout"),
    // Of the first releases.
    harmless("apply_residual_connection_post_layernorm"),
];

const ROPE: RopeKeys = RopeKeys::whole(2048);

/// From `config.json` of model_type `falcon`; the prefix `transformer.` may be missing.
pub fn describe(config: &Config) -> Result<Architecture> {
    let config = &match config.get("n_embed") {
        Some(width) => config.clone().with("hidden_size", width.clone()),
        None => config.clone(),
    };
    let d_model = config.size("hidden_size")?;
    let n_layers = config.n_blocks("num_hidden_layers")?;
    let n_heads = config.size("num_attention_heads")?;
    let n_vocab = config.size("vocab_size")?;
    let d_mlp = config.size_or("ffn_hidden_size", 4 * d_model)?;
    let d_head = config.even_heads(d_model, n_heads)?;
    let eps = config.number_or("layer_norm_epsilon", 1e-5)?;
    let bias = config.flag_or("bias", false)?;
    let activation = config.activation("activation", "gelu")?;
    let rope = config.rope(&ROPE, d_head)?;
    let (stacking, n_kv_heads) = stacking(config, n_heads)?;
    let d_kv = n_kv_heads * d_head;
    let block = arrangement(config)?;

    let norm = |name| layer_norm(name, d_model, eps);
    let all = linear("self_attention.query_key_value", d_model, d_model + 2 * d_kv, bias);
    let scores = Scores { scale: 1.0 / (d_head as f32).sqrt(), soft_cap: None, window: None };
    Ok(Architecture {
        family: "falcon",
        prefixes: &["transformer.", ""],
        tied: false,
        max_context: config.optional_size("max_position_embeddings")?.map(|n| rope.longest(n)),
        input: InputSpec::plain(table("word_embeddings", n_vocab, d_model)),
        blocks_under: "h.",
        block: BlockSpec {
            attention: AttentionSpec {
                projections: match stacking {
                    Stacking::Heads => Projections::PerHead(all),
                    Stacking::Whole => Projections::Stacked(all),
                    Stacking::Groups => Projections::Stacked(LinearSpec {
                        stored: StoredOrder::Rows(rows_of_groups(n_heads, n_kv_heads, d_head).collect()),
                        ..all
                    }),
                },
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: None,
                output: linear("self_attention.dense", d_model, d_model, bias),
            },
            mlp: MlpSpec {
                gate: None,
                up: linear("mlp.dense_h_to_4h", d_model, d_mlp, bias),
                activation,
                down: linear("mlp.dense_4h_to_h", d_mlp, d_model, bias),
            },
            wiring: match block {
                BlockKind::Parallel => Wiring::Parallel(norm("ln_attn"), norm("ln_mlp")),
                BlockKind::Sequential => Wiring::Sequential(norm("input_layernorm"), norm("post_attention_layernorm")),
                _ => Wiring::ParallelShared(norm("input_layernorm")),
            },
        },
        layers: vec![LayerSpec { scores, rotary: Some(0) }; n_layers],
        rotations: vec![RotarySpec::of_halves(rope)],
        final_norm: Some(norm("ln_f")),
    })
}

/// Where each row of all queries, all keys, all values is stored that are stored group by group: a group's queries, its key,
/// its value.
fn rows_of_groups(n_heads: usize, n_kv_heads: usize, d_head: usize) -> impl Iterator<Item = usize> {
    let group = n_heads / n_kv_heads;
    (0..(n_heads + 2 * n_kv_heads) * d_head).map(move |row| {
        let (head, feature) = (row / d_head, row % d_head);
        let stored = match head.checked_sub(n_heads) {
            None => head / group * (group + 2) + head % group,
            Some(kv) => kv % n_kv_heads * (group + 2) + group + kv / n_kv_heads,
        };
        stored * d_head + feature
    })
}

/// Order of the rows of query, key and value in their one layer.
#[derive(Clone, Copy)]
enum Stacking {
    /// Head by head: its query, key, value.
    Heads,
    /// Group by group: its queries, its key, its value.
    Groups,
    /// All queries, the key, the value.
    Whole,
}

/// The stacking and the number of key heads.
fn stacking(config: &Config, n_heads: usize) -> Result<(Stacking, usize)> {
    let n_kv_heads = config.size_or("num_kv_heads", n_heads)?;
    let multi_query = config.flag_or("multi_query", true)?;
    if config.flag_or("new_decoder_architecture", false)? {
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(Error::input(format!(
                "config {}: num_kv_heads {n_kv_heads} does not divide {n_heads} query heads",
                config.path().display()
            )));
        }
        return Ok((Stacking::Groups, n_kv_heads));
    }
    if multi_query {
        return Ok((Stacking::Whole, 1));
    }
    if n_kv_heads != n_heads {
        return Err(Error::request(format!(
            "config {}: num_kv_heads is {n_kv_heads}, but without new_decoder_architecture and multi_query each of the \
             {n_heads} heads has its own; remove one of them",
            config.path().display()
        )));
    }
    Ok((Stacking::Heads, n_heads))
}

/// Which norms there are, and where.
fn arrangement(config: &Config) -> Result<BlockKind> {
    let parallel = config.flag_or("parallel_attn", true)?;
    let n_norms = config.optional_size("num_ln_in_parallel_attn")?;
    match (config.flag_or("new_decoder_architecture", false)?, parallel, n_norms) {
        (true, true, None | Some(2)) => Ok(BlockKind::Parallel),
        (true, true, Some(1)) | (false, true, None | Some(1)) => Ok(BlockKind::ParallelShared),
        (false, false, None | Some(1)) => Ok(BlockKind::Sequential),
        (new, _, _) => Err(Error::request(format!(
            "config {}: new_decoder_architecture {new}, parallel_attn {parallel} and num_ln_in_parallel_attn {} do not go together; \
             no released model has them so",
            config.path().display(),
            n_norms.map_or("null".to_string(), |n| n.to_string())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_groups_are_each_read_once_and_a_groups_queries_lie_before_its_key() {
        // 4 query heads, 2 key heads, 3 features: [q0 q1 k0 v0 q2 q3 k1 v1] to [q0 q1 q2 q3 k0 k1 v0 v1]
        let rows: Vec<usize> = rows_of_groups(4, 2, 3).collect();
        let heads: Vec<usize> = rows.iter().step_by(3).map(|row| row / 3).collect();
        assert_eq!(heads, [0, 1, 4, 5, 2, 6, 3, 7]);
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..24).collect::<Vec<_>>());
    }
}
