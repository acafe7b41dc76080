//! What must be known of a family of models to say what a name means in it, and which place each name means?

use super::Hookpoint;
use super::Hookpoint::*;
use BlockKind::{After, Parallel, ParallelShared, PostNorms};

/// Where the norms of a block are and what is added to what; a and m are attention and MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// `x += a(n1(x)); x += m(n2(x))` (GPT-2, Llama …).
    Sequential,
    /// `x += a(n1(x)) + m(n2(x))` (GPT-NeoX).
    Parallel,
    /// `x += a(n(x)) + m(n(x))` (Phi, GPT-J, Falcon).
    ParallelShared,
    /// `x += p1(a(n1(x))); x += p2(m(n2(x)))` (Gemma 2 and 3).
    Sandwich,
    /// `x += p1(a(x)); x += p2(m(x))` (OLMo 2).
    PostNorms,
    /// `x = n1(x + a(x)); x = n2(x + m(x))` (OPT-350m).
    After,
}

impl BlockKind {
    /// Whether attention and MLP are normed before they are added (`attn_out_normed`, `mlp_out_normed` exist).
    pub fn has_post_norms(self) -> bool {
        matches!(self, BlockKind::Sandwich | BlockKind::PostNorms)
    }

    /// Whether there is a stream between attention and MLP (`resid_mid` exists).
    pub fn has_resid_mid(self) -> bool {
        matches!(self, BlockKind::Sequential | BlockKind::Sandwich | BlockKind::PostNorms)
    }
}

/// A family, as far as names depend on it.
pub(super) struct Family {
    /// `model_type`, or `model_type/arrangement`.
    pub name: &'static str,
    /// The arrangement of its blocks.
    pub block: BlockKind,
    /// Whether the MLP has a gate.
    pub gated: bool,
    /// Whether learned positions are added to the token's row.
    pub positions: bool,
    /// Modules of transformers' class.
    pub modules: &'static Modules,
}

/// What a module is called with, or what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModuleSide {
    Input,
    Output,
}

/// A module and what it takes and gives.
pub(super) struct Module {
    /// Behind the block's path, or behind the root.
    pub path: &'static str,
    pub input: PlaceOf,
    pub output: PlaceOf,
}

impl Module {
    pub fn at(&self, side: ModuleSide) -> PlaceOf {
        match side {
            ModuleSide::Input => self.input,
            ModuleSide::Output => self.output,
        }
    }
}

/// The modules of one class.
pub(super) struct Modules {
    /// Possible prefixes of the path, the full one first.
    pub roots: &'static [&'static str],
    /// The list of blocks.
    pub blocks: &'static str,
    /// Modules of a block, part by part; the first of a place is the one that is written.
    pub in_block: &'static [&'static [Module]],
    /// Modules outside of blocks.
    pub alone: &'static [Module],
}

/// Why a family does not have a hookpoint.
pub(super) type NoPlace = &'static str;

const NO_GATE: NoPlace = "its MLP has no gate";
const NO_POST_NORMS: NoPlace = "it has no norms after attention and MLP";
const NO_MIDDLE: NoPlace = "its blocks have no stream between attention and MLP before a norm";
const NO_SUCH_NORM: NoPlace = "its blocks have no such norm";
/// A tensor that this program does not read.
const NOT_READ: NoPlace = "that tensor is not read";

/// The place of block l that a name means in a family.
pub(super) type PlaceOf = fn(&Family, usize) -> Result<Hookpoint, NoPlace>;

macro_rules! places {
    ($($name:ident $place:ident)*) => {$(
        pub(super) fn $name(_: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
            Ok($place(l))
        }
    )*};
}

places! {
    resid_pre ResidPre
    attn_in AttnIn
    attn_q AttnQ
    attn_k AttnK
    attn_v AttnV
    attn_z AttnZ
    attn_out AttnOut
    mlp_in MlpIn
    mlp_pre MlpPre
    mlp_act MlpAct
    mlp_out MlpOut
    resid_post ResidPost
}

pub(super) fn not_read(_: &Family, _: usize) -> Result<Hookpoint, NoPlace> {
    Err(NOT_READ)
}

pub(super) fn mlp_up(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.gated { Ok(MlpUp(l)) } else { Err(NO_GATE) }
}

pub(super) fn mlp_gate(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.gated { Ok(MlpPre(l)) } else { Err(NO_GATE) }
}

pub(super) fn mlp_gate_in(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.gated { Ok(MlpIn(l)) } else { Err(NO_GATE) }
}

pub(super) fn mlp_gate_act(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.gated { Ok(MlpGateAct(l)) } else { Err(NO_GATE) }
}

/// What the layer that TransformerLens calls `mlp.in` gives: the up projection.
pub(super) fn mlp_first(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    Ok(if family.gated { MlpUp(l) } else { MlpPre(l) })
}

pub(super) fn resid_mid(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.block.has_resid_mid() { Ok(ResidMid(l)) } else { Err(NO_MIDDLE) }
}

/// The stream that the MLP's part of a block begins from.
pub(super) fn mlp_stream(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    match family.block {
        Parallel | ParallelShared => Ok(ResidPre(l)),
        _ => resid_mid(family, l),
    }
}

pub(super) fn attn_out_normed(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.block.has_post_norms() { Ok(AttnOutNormed(l)) } else { Err(NO_POST_NORMS) }
}

pub(super) fn mlp_out_normed(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.block.has_post_norms() { Ok(MlpOutNormed(l)) } else { Err(NO_POST_NORMS) }
}

/// The output of `attn_out` or of its post-norm that has one.
pub(super) fn attn_out_before_norm(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.block.has_post_norms() { Ok(AttnOut(l)) } else { Err(NO_POST_NORMS) }
}

pub(super) fn mlp_out_before_norm(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    if family.block.has_post_norms() { Ok(MlpOut(l)) } else { Err(NO_POST_NORMS) }
}

/// What attention adds to the stream.
pub(super) fn attn_added(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    Ok(if family.block.has_post_norms() { AttnOutNormed(l) } else { AttnOut(l) })
}

/// What the MLP adds to the stream.
pub(super) fn mlp_added(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    Ok(if family.block.has_post_norms() { MlpOutNormed(l) } else { MlpOut(l) })
}

pub(super) fn first_norm_in(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    match family.block {
        PostNorms => Err(NO_SUCH_NORM),
        After => Err(NO_MIDDLE),
        _ => Ok(ResidPre(l)),
    }
}

pub(super) fn first_norm_out(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    match family.block {
        PostNorms => Err(NO_SUCH_NORM),
        After => Ok(MlpIn(l)),
        _ => Ok(AttnIn(l)),
    }
}

pub(super) fn second_norm_in(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    match family.block {
        PostNorms | ParallelShared => Err(NO_SUCH_NORM),
        _ => mlp_stream(family, l),
    }
}

pub(super) fn second_norm_out(family: &Family, l: usize) -> Result<Hookpoint, NoPlace> {
    match family.block {
        PostNorms | ParallelShared => Err(NO_SUCH_NORM),
        After => Ok(ResidPost(l)),
        _ => Ok(MlpIn(l)),
    }
}

/// The token's row alone.
pub(super) fn token_embed(family: &Family, _: usize) -> Result<Hookpoint, NoPlace> {
    Ok(if family.positions { TokenEmbed } else { Embed })
}

pub(super) fn embed(_: &Family, _: usize) -> Result<Hookpoint, NoPlace> {
    Ok(Embed)
}

pub(super) fn final_norm(family: &Family, _: usize) -> Result<Hookpoint, NoPlace> {
    if family.block == After { Err("it has no final norm") } else { Ok(FinalNorm) }
}
