//! The graph of matches: latents of places, kept mutual matches between them, and which places are compared at all.

use crate::matching::Correlation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A latent of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// Number of the place.
    pub place: u32,
    /// The latent there.
    pub latent: u32,
}

/// A kept mutual match of two places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The lower end first; the two are of different places.
    pub ends: [Node; 2],
    /// Of the match.
    pub correlation: Correlation,
}

impl Edge {
    /// An edge between two nodes in any order.
    pub fn new(a: Node, b: Node, correlation: Correlation) -> Edge {
        Edge { ends: [a.min(b), a.max(b)], correlation }
    }
}

/// The places that a run compares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places {
    /// Number of the model of each place.
    pub model_of: Vec<u32>,
    /// Source and target of each pair, by place.
    pub pairs: Vec<[u32; 2]>,
}

/// Places from which groups are more than pairs.
pub const MIN_PLACES: usize = 3;

impl Places {
    /// The two places of pair `p`; `None` where both are one place.
    pub fn joined(&self, p: usize) -> Option<[u32; 2]> {
        let [source, target] = self.pairs[p];
        (source != target).then_some([source, target])
    }

    /// Every two places that are compared, lower first.
    pub(super) fn compared(&self) -> BTreeSet<[u32; 2]> {
        (0..self.pairs.len()).filter_map(|p| self.joined(p)).map(|[a, b]| [a.min(b), a.max(b)]).collect()
    }
}
