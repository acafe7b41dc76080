//! Why a match is kept or not, and what was asked of it.

use super::filters::{Filters, OneToOne};
use serde::{Deserialize, Serialize};

/// Who picks whom.
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

/// What the filters need to know of a latent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatentFacts {
    /// Never active.
    pub dead: bool,
    /// The same value in every row.
    pub constant: bool,
    /// Rows in which it was active.
    pub n_active: u64,
    /// Largest activation, as a sortable key.
    pub max: Option<super::Correlation>,
    /// One of its strongest tokens is no concept.
    pub non_concept: bool,
    /// Numbers of the strings of its strongest tokens, ascending; two latents share a string when they share a number.
    pub top: Vec<u32>,
}

/// Why a match is kept or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It passes every filter.
    Kept,
    /// It is not the latent's best match.
    Rank,
    /// The latent was never active, so no correlation is defined.
    Dead,
    /// The latent had one value in all rows, so no correlation is defined.
    Constant,
    /// No partner has a defined correlation with it.
    NoPartner,
    /// One of the two was active in too few rows.
    MinActive,
    /// The correlation is too low.
    MinCorrelation,
    /// One of the two stands for punctuation, space or the like.
    TokenClass,
    /// The strongest tokens of the two have no string in common.
    SharedToken,
    /// The partner prefers another.
    Mutual,
    /// The partner goes to another match.
    OneToOne,
}

impl Verdict {
    /// Name of the filter in tables; `None` when kept.
    pub fn dropped_by(self) -> Option<&'static str> {
        Some(match self {
            Verdict::Kept => return None,
            Verdict::Rank => "rank",
            Verdict::Dead => "dead",
            Verdict::Constant => "constant",
            Verdict::NoPartner => "no_partner",
            Verdict::MinActive => "min_active",
            Verdict::MinCorrelation => "min_correlation",
            Verdict::TokenClass => "non_concept",
            Verdict::SharedToken => "shared_token",
            Verdict::Mutual => "mutual",
            Verdict::OneToOne => "one_to_one",
        })
    }
}

impl LatentFacts {
    /// Verdict on a latent that has no partner.
    pub fn without_partner(&self) -> Verdict {
        match self {
            LatentFacts { dead: true, .. } => Verdict::Dead,
            LatentFacts { constant: true, .. } => Verdict::Constant,
            _ => Verdict::NoPartner,
        }
    }

    /// Whether the strongest tokens of both hold one string.
    pub fn shares_token(&self, other: &LatentFacts) -> bool {
        self.top.iter().any(|token| other.top.binary_search(token).is_ok())
    }
}

impl Filters {
    /// Verdict on two latents by themselves: everything but `mutual` and `one_to_one`, which need the others. With the
    /// published one-to-one rule `min_correlation` is not judged here, because it comes after that rule.
    pub fn judge(&self, a: &LatentFacts, b: &LatentFacts, correlation: f64) -> Verdict {
        if self.dead && (a.dead || b.dead) {
            Verdict::Dead
        } else if a.n_active < self.min_active || b.n_active < self.min_active {
            Verdict::MinActive
        } else if self.one_to_one != OneToOne::AsPublished && correlation <= self.min_correlation {
            Verdict::MinCorrelation
        } else if !self.non_concept.is_empty() && (a.non_concept || b.non_concept) {
            Verdict::TokenClass
        } else if self.shared_token && !a.shares_token(b) {
            Verdict::SharedToken
        } else {
            Verdict::Kept
        }
    }
}
