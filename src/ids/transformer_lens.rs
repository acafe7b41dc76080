//! What do the names of TransformerLens mean? Those of its HookedTransformer (versions 1 to 3) and of its bridge (version
//! 4), which knows most of the older ones too.
//!
//! The table was made by asking both: `benches/peers/hookpoints.py` runs them on small models of every family, and
//! `tests/hookpoints.rs` compares the meanings with what they gave. A name whose meaning changed from version to
//! version is in [`CHANGED`] and is never guessed.

use super::hookpoint::block_number;
use super::place::*;

/// A name and the place that it means.
pub(super) struct Name {
    /// Without `blocks.L.`.
    pub text: &'static str,
    /// Whether version 3 has it.
    pub in_3: bool,
    /// Whether version 4 has it.
    pub in_4: bool,
    /// The place.
    pub place: PlaceOf,
}

const fn both(text: &'static str, place: PlaceOf) -> Name {
    Name { text, in_3: true, in_4: true, place }
}

const fn bridge(text: &'static str, place: PlaceOf) -> Name {
    Name { text, in_3: false, in_4: true, place }
}

/// Names inside a block; the first of a place is the one that is written.
pub(super) const IN_BLOCK: &[Name] = &[
    both("hook_resid_pre", resid_pre),
    both("hook_resid_mid", resid_mid),
    both("hook_resid_post", resid_post),
    both("hook_attn_out", attn_added),
    both("hook_mlp_out", mlp_added),
    both("hook_mlp_in", mlp_stream),
    both("attn.hook_q", attn_q),
    both("attn.hook_k", attn_k),
    both("attn.hook_v", attn_v),
    both("attn.hook_z", attn_z),
    both("mlp.hook_pre", mlp_pre),
    both("mlp.hook_pre_linear", mlp_up),
    both("mlp.hook_post", mlp_act),
    bridge("hook_in", resid_pre),
    bridge("hook_out", resid_post),
    bridge("attn.hook_in", attn_in),
    bridge("attn.hook_out", attn_out),
    bridge("mlp.hook_in", mlp_in),
    bridge("mlp.hook_out", mlp_out),
    bridge("ln1_post.hook_out", attn_out_normed),
    bridge("ln2_post.hook_out", mlp_out_normed),
    bridge("ln1.hook_in", first_norm_in),
    bridge("ln1.hook_out", first_norm_out),
    bridge("ln2.hook_in", second_norm_in),
    bridge("ln2.hook_out", second_norm_out),
    bridge("ln1_post.hook_in", attn_out_before_norm),
    bridge("ln2_post.hook_in", mlp_out_before_norm),
    bridge("attn.q.hook_in", attn_in),
    bridge("attn.k.hook_in", attn_in),
    bridge("attn.v.hook_in", attn_in),
    bridge("attn.q.hook_out", attn_q),
    bridge("attn.k.hook_out", attn_k),
    bridge("attn.v.hook_out", attn_v),
    bridge("attn.o.hook_in", attn_z),
    bridge("attn.o.hook_out", attn_out),
    bridge("mlp.gate.hook_in", mlp_gate_in),
    bridge("mlp.gate.hook_out", mlp_gate),
    bridge("mlp.in.hook_in", mlp_in),
    bridge("mlp.in.hook_out", mlp_first),
    bridge("mlp.out.hook_in", mlp_act),
    bridge("mlp.out.hook_out", mlp_out),
];

/// Names outside of blocks.
pub(super) const ALONE: &[Name] = &[
    both("hook_embed", token_embed),
    bridge("embed.hook_out", token_embed),
    bridge("ln_final.hook_out", final_norm),
    bridge("unembed.hook_in", final_norm),
];

/// Names that mean a norm's output before its weight in some versions and after it in others, with the hookpoint after it.
pub(super) const CHANGED: &[(&str, PlaceOf)] = &[
    ("ln1.hook_normalized", first_norm_out),
    ("ln2.hook_normalized", second_norm_out),
    ("ln1_post.hook_normalized", attn_out_normed),
    ("ln2_post.hook_normalized", mlp_out_normed),
];

/// The same of the final norm.
pub(super) const CHANGED_ALONE: &str = "ln_final.hook_normalized";

/// The block and the rest of a name `blocks.L.rest`.
pub(super) fn in_block(text: &str) -> Option<(usize, &str)> {
    let (l, rest) = text.strip_prefix("blocks.")?.split_once('.')?;
    Some((block_number(l)?, rest))
}
