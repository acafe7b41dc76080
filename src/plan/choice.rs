//! What does a request leave open, and what was decided? How Σxy is kept, and whether SAEs screen their latents.

use crate::device::BackendName;
use crate::moments::PairShape;
use crate::plan::steps::Steps;
use crate::plan::{Pair, PlannedSae};
use crate::sae::Encode;
use crate::spec::Cross;

/// One way to do what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// How Σxy is kept: never [`Cross::Auto`].
    pub cross: Cross,
    /// Buckets of a sketch, if one is kept.
    pub width: usize,
    /// Whether SAEs screen their latents, where a trial finds that faster. Changes no number.
    pub screens: bool,
}

impl Choice {
    /// Whether Σxy of pairs is sketched, and counted for candidates only.
    pub fn is_sketched(&self) -> bool {
        self.cross == Cross::Sketch
    }

    /// Whether a space has a sketch: it is in a pair that has tiles.
    pub fn has_sketch(&self, steps: &Steps, space: usize) -> bool {
        self.is_sketched() && steps.pairs.iter().any(|p| [p.source, p.target].contains(&space) && !steps.is_raw(*p))
    }

    /// What the sums of `d_source` source latents of a pair are made for.
    pub fn pair_shape(&self, steps: &Steps, pair: Pair, d_source: usize) -> PairShape {
        PairShape {
            d_source,
            d_target: steps.spaces[pair.target].width,
            nulls: steps.nulls(),
            candidates: self.is_sketched().then_some(steps.spec.compare.candidates),
        }
    }

    /// Bytes that screening this SAE's latents takes; 0 where they are not screened.
    pub fn screen_bytes(&self, sae: &PlannedSae) -> u64 {
        let computed = sae.computed[0];
        let by_f32_kernels = computed.backend == BackendName::Kernels && !computed.rounds_for_kernels();
        let is_screened = self.screens && sae.encode == Encode::Sparse && by_f32_kernels;
        if is_screened { sae.shape.screen_bytes() } else { 0 }
    }
}
