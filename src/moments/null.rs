//! A null pairs each source row with an unrelated target row; what still matches is chance. Tiles, and the cross
//! co-moments that matches are made of, keep their sums once more for each null.
//!
//! Both sides keep their own sums: a null changes which rows are paired, and only Σxy differs.

use crate::sae::LatentBatch;
use serde::{Deserialize, Serialize};

/// A way to pair the rows of a batch otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Null {
    /// The target's rows are turned to those of another document, by [`document_rotation`].
    Rotated,
    /// The target's rows are the last ones of the same key in another document: what the key alone gives. Rows without one are left out.
    Given,
}

impl Null {
    /// Whether the rows of a batch alone decide it.
    pub fn is_of_batch(self) -> bool {
        self != Null::Given
    }

    /// Which target row is paired with each source row of a batch of `n_rows`.
    pub fn order(self, n_rows: usize) -> Vec<usize> {
        match self {
            Null::Rotated => {
                let by = document_rotation(n_rows);
                (0..n_rows).map(|r| (r + by) % n_rows).collect()
            }
            // its rows are those of a batch of their own
            Null::Given => (0..n_rows).collect(),
        }
    }

    /// Its tensor in the state file of a tile.
    pub fn tensor(self) -> &'static str {
        match self {
            Null::Rotated => "null",
            Null::Given => "given",
        }
    }

    /// What a plan calls its sums.
    pub fn named(self) -> &'static str {
        match self {
            Null::Rotated => "chance levels of matches (null.documents)",
            Null::Given => "what the key alone gives (null.given, mode = \"full\")",
        }
    }
}

/// How far a batch of `n_rows` rows is rotated, so that each row is paired with one of another document: half of it. As long as
/// no document holds more than half of the rows, no row is paired with its own document; of a batch that one document
/// fills, the rows of a pair are half a batch apart.
pub fn document_rotation(n_rows: usize) -> usize {
    n_rows / 2
}

/// What a batch's source rows are paired with: the target's rows, in their own or another order.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    target: &'a LatentBatch,
    order: Option<&'a [usize]>,
}

impl<'a> Beside<'a> {
    /// Row r with row r.
    pub fn own(target: &'a LatentBatch) -> Self {
        Beside { target, order: None }
    }

    /// Row r of the source with row `order[r]` of the target.
    pub fn ordered(target: &'a LatentBatch, order: &'a [usize]) -> Self {
        Beside { target, order: Some(order) }
    }

    /// Number of target latents.
    pub fn d_sae(self) -> usize {
        self.target.d_sae
    }

    /// Firings of a row, on average.
    pub fn firings_per_row(self) -> usize {
        self.target.latents.len() / self.target.n_rows().max(1)
    }

    /// Latents and values paired with row `r` of the source.
    #[inline]
    pub fn row(self, r: usize) -> (&'a [u32], &'a [f32]) {
        self.target.row(self.order.map_or(r, |order| order[r]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Documents that lie together and hold at most half of the rows each: no row is paired with its own document.
        #[test]
        fn the_rotation_leaves_no_row_beside_its_own_document(lengths in prop::collection::vec(1usize..9, 2..12)) {
            let documents: Vec<usize> =
                lengths.iter().enumerate().flat_map(|(d, &n)| std::iter::repeat_n(d, n)).collect();
            let n = documents.len();
            prop_assume!(lengths.iter().all(|&l| 2 * l <= n));
            let order = Null::Rotated.order(n);
            prop_assert!((0..n).all(|r| documents[r] != documents[order[r]]));
            let mut rows = order.clone();
            rows.sort_unstable();
            prop_assert!(rows.into_iter().eq(0..n), "each row is beside one");
        }
    }
}
