//! Partners of a latent: one, the best few of them, and which side picks.

use crate::matching::Correlation;
use serde::{Deserialize, Serialize};

/// Which side picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The source latent picks its best target.
    Forward,
    /// The target latent picks its best source.
    Backward,
}

impl Direction {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// A partner and how well it correlates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// Latent of the other side.
    pub latent: u32,
    /// Pearson correlation.
    pub correlation: Correlation,
}

impl Partner {
    /// Better first: higher correlation, of equal ones the lower latent.
    fn precedes(&self, other: &Partner) -> bool {
        (self.correlation, std::cmp::Reverse(self.latent)) > (other.correlation, std::cmp::Reverse(other.latent))
    }
}

/// At most `keep` partners, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BestPartners(Vec<Partner>);

impl BestPartners {
    /// Best first.
    pub fn as_slice(&self) -> &[Partner] {
        &self.0
    }

    /// Takes `partner` in when it is among the `keep` best.
    #[inline]
    pub fn offer(&mut self, partner: Partner, keep: usize) {
        if self.0.len() == keep && self.0.last().is_none_or(|worst| worst.precedes(&partner)) {
            return;
        }
        let at = self.0.partition_point(|p| p.precedes(&partner));
        self.0.insert(at, partner);
        self.0.truncate(keep);
    }

    /// Takes in all of `other`'s.
    pub fn merge(&mut self, other: &BestPartners, keep: usize) {
        for &p in &other.0 {
            self.offer(p, keep);
        }
    }
}
