//! Which random pairings make the null? Orders of the second side's rows.

use std::borrow::Cow;

use crate::linalg::Stream;

/// The random pairings: row `i` of the first side meets row `order[i]` of the second.
#[derive(Clone, Copy, Debug)]
pub enum Permutations<'a> {
    /// `runs` uniform permutations; number `r` is the first permutation of stream `(seed, stream, r)`, so it is the same
    /// whatever else is drawn, and all measures of one comparison share it.
    Seeded {
        /// The run's seed.
        seed: u64,
        /// Name of the stream; by custom `null/` and what is compared.
        stream: &'a str,
        /// Number of permutations.
        runs: usize,
    },
    /// These and no others; each names every row once.
    Given(&'a [Vec<u32>]),
}

impl Permutations<'_> {
    /// No null at all.
    pub const NONE: Permutations<'static> = Permutations::Given(&[]);

    /// Number of pairings.
    pub fn runs(&self) -> usize {
        match self {
            Permutations::Seeded { runs, .. } => *runs,
            Permutations::Given(orders) => orders.len(),
        }
    }

    /// Pairing number `r` of `n_rows` rows.
    pub(super) fn order(&self, r: usize, n_rows: usize) -> Cow<'_, [u32]> {
        match self {
            Permutations::Seeded { seed, stream, .. } => {
                Cow::Owned(Stream::new(*seed, stream, r as u64).permutation(n_rows))
            }
            Permutations::Given(orders) => Cow::Borrowed(&orders[r]),
        }
    }
}
