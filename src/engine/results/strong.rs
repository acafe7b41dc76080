//! Does a latent's best match show that the other SAE has it, whatever the filters decide?

use crate::matching::{Outcome, Partner};

/// Best correlation from which a match above its chance point shows that the other SAE has the latent.
const MATCHED: f64 = 0.5;

/// Whether a latent's best match is strong, and if so, whether the filters keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strong {
    /// It is not.
    No,
    /// Strong and above chance, and kept.
    Kept,
    /// Strong and above chance, and dropped.
    Dropped,
}

impl Strong {
    /// By the outcomes of a latent's partners, the best one, and its chance point.
    pub fn of(outcomes: &[Outcome], best: Option<Partner>, point: Option<f64>) -> Strong {
        let r = best.map(|p| p.correlation.value()).filter(|&r| r >= MATCHED && point.is_none_or(|point| r > point));
        match (r, outcomes.first().is_some_and(|outcome| outcome.is_kept())) {
            (None, _) => Strong::No,
            (_, true) => Strong::Kept,
            (_, false) => Strong::Dropped,
        }
    }
}
