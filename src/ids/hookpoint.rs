//! At which place inside a transformer are activations read?

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A place inside a transformer where activations are read.
///
/// The written form is `resid_post.3`, `embed`, `final_norm` …. Other libraries' names are resolved by family, with
/// [`resolve`](super::resolve()); `FromStr` reads those on which all families agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hookpoint {
    /// The token's row of the embedding alone, times the family's factor: `[n_tokens, d_token]`. Where a family has
    /// learned positions [`Embed`](Self::Embed) holds them too; elsewhere the two are the same.
    TokenEmbed,
    /// What enters block 0, `[n_tokens, d_model]`.
    Embed,
    /// What enters block L (for L > 0 the same as `ResidPost(L - 1)`).
    ResidPre(usize),
    /// What enters the attention, after its norm where it has one before it.
    AttnIn(usize),
    /// Queries, heads side by side, biases included, before head norms and before the rotation,
    /// `[n_tokens, n_heads * d_head]`.
    AttnQ(usize),
    /// Keys, likewise, `[n_tokens, n_kv_heads * d_head]`.
    AttnK(usize),
    /// Values, likewise, `[n_tokens, n_kv_heads * d_head]`.
    AttnV(usize),
    /// Output of attention's heads, concatenated: what enters the output projection, `[n_tokens, n_heads * d_head]`.
    AttnZ(usize),
    /// Output of the attention's output projection, bias included.
    AttnOut(usize),
    /// `AttnOut` after the family's post-norm, where there is one.
    AttnOutNormed(usize),
    /// The stream after attention was added to it, before the MLP's norm; families that add attention and MLP at once
    /// have no such place.
    ResidMid(usize),
    /// What enters the MLP, after its norm where it has one before it.
    MlpIn(usize),
    /// Before the non-linearity, `[n_tokens, d_mlp]`; in a gated MLP the output of the gate projection.
    MlpPre(usize),
    /// Output of a gated MLP's up projection, which the gate multiplies, `[n_tokens, d_mlp]`.
    MlpUp(usize),
    /// The non-linearity of a gated MLP's gate alone, `[n_tokens, d_mlp]`.
    MlpGateAct(usize),
    /// After the non-linearity, what enters the down projection, `[n_tokens, d_mlp]`; in a gated MLP act(gate) · up.
    MlpAct(usize),
    /// Output of the MLP's last linear layer, bias included.
    MlpOut(usize),
    /// `MlpOut` after the family's post-norm, where there is one.
    MlpOutNormed(usize),
    /// Output of block L, before any final norm.
    ResidPost(usize),
    /// Output of the final norm.
    FinalNorm,
}

use Hookpoint::*;

/// A place of every block by its written name.
type InBlock = (&'static str, fn(usize) -> Hookpoint);

/// Places of a block, in the order in which a forward passes them.
const IN_BLOCK: [InBlock; 17] = [
    ("resid_pre", ResidPre),
    ("attn_in", AttnIn),
    ("attn_q", AttnQ),
    ("attn_k", AttnK),
    ("attn_v", AttnV),
    ("attn_z", AttnZ),
    ("attn_out", AttnOut),
    ("attn_out_normed", AttnOutNormed),
    ("resid_mid", ResidMid),
    ("mlp_in", MlpIn),
    ("mlp_pre", MlpPre),
    ("mlp_up", MlpUp),
    ("mlp_gate_act", MlpGateAct),
    ("mlp_act", MlpAct),
    ("mlp_out", MlpOut),
    ("mlp_out_normed", MlpOutNormed),
    ("resid_post", ResidPost),
];

/// Hookpoints outside of blocks.
const ALONE: [(&str, Hookpoint); 3] = [("token_embed", TokenEmbed), ("embed", Embed), ("final_norm", FinalNorm)];

impl Hookpoint {
    /// Its name without the block, and how a place of that kind is made; `None` for those outside of blocks.
    fn in_block(self) -> Option<(InBlock, usize)> {
        let l = match self {
            TokenEmbed | Embed | FinalNorm => return None,
            ResidPre(l) | AttnIn(l) | AttnQ(l) | AttnK(l) | AttnV(l) | AttnZ(l) | AttnOut(l) | AttnOutNormed(l)
            | ResidMid(l) | MlpIn(l) | MlpPre(l) | MlpUp(l) | MlpGateAct(l) | MlpAct(l) | MlpOut(l)
            | MlpOutNormed(l) | ResidPost(l) => l,
        };
        IN_BLOCK.into_iter().find(|(_, place)| place(l) == self).map(|named| (named, l))
    }

    /// The block it is in; `None` for `token_embed`, `embed` and `final_norm`.
    pub fn layer(self) -> Option<usize> {
        self.in_block().map(|(_, l)| l)
    }

    /// The same place `blocks` further down (negative: up); `None` where there is no such block.
    pub fn shifted(self, blocks: isize) -> Option<Hookpoint> {
        let ((_, place), l) = self.in_block()?;
        l.checked_add_signed(blocks).map(place)
    }

    /// The same output before or after the family's post-norm, which is easily taken for the other: `attn_out` and
    /// `attn_out_normed`, `mlp_out` and `mlp_out_normed`. `None` for every other place.
    pub fn twin(self) -> Option<Hookpoint> {
        Some(match self {
            AttnOut(l) => AttnOutNormed(l),
            AttnOutNormed(l) => AttnOut(l),
            MlpOut(l) => MlpOutNormed(l),
            MlpOutNormed(l) => MlpOut(l),
            _ => return None,
        })
    }

    /// Every hookpoint that a model of `n_layers` blocks may have: those outside of blocks, then block by block.
    pub fn all(n_layers: usize) -> impl Iterator<Item = Hookpoint> {
        let alone = ALONE.into_iter().map(|(_, place)| place);
        alone.chain((0..n_layers).flat_map(|l| IN_BLOCK.into_iter().map(move |(_, place)| place(l))))
    }

    /// The place of this written form (`resid_post.3`); `None` for any other text, other libraries' names included.
    pub fn plain(text: &str) -> Option<Hookpoint> {
        if let Some((_, place)) = ALONE.into_iter().find(|(name, _)| *name == text) {
            return Some(place);
        }
        let (name, l) = text.split_once('.')?;
        let (_, place) = IN_BLOCK.into_iter().find(|(own, _)| *own == name)?;
        block_number(l).map(place)
    }

    /// Every written form, for messages: `embed, resid_pre.L …`.
    pub(super) fn written_forms() -> String {
        let blocks = IN_BLOCK.iter().map(|(name, _)| format!("{name}.L"));
        ALONE.iter().map(|(name, _)| (*name).to_string()).chain(blocks).collect::<Vec<_>>().join(", ")
    }
}

/// A block's number as it is written: digits alone.
pub(super) fn block_number(text: &str) -> Option<usize> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Hookpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.in_block() {
            Some(((name, _), l)) => write!(f, "{name}.{l}"),
            None => f.write_str(ALONE.iter().find(|(_, place)| place == self).map_or("", |(name, _)| name)),
        }
    }
}

impl TryFrom<String> for Hookpoint {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Hookpoint> for String {
    fn from(h: Hookpoint) -> String {
        h.to_string()
    }
}
