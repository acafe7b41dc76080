//! Which matches are kept, and why the others are not.

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

/// The filters of a dataflow file, applied in the order of the fields to the best match of each latent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Both latents must have been active in at least this many rows.
    #[serde(default)]
    pub min_active: u64,
    /// The correlation must be greater than this (strictly, as published).
    #[serde(default)]
    pub min_correlation: f64,
    /// Of matches that share a partner only the one with the highest correlation stays (ties: the lower latent).
    #[serde(default)]
    pub one_to_one: bool,
}

impl Default for Filters {
    fn default() -> Self {
        Filters { min_active: 0, min_correlation: 0.0, one_to_one: false }
    }
}

/// What the filters need to know of a latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LatentFlags {
    /// Never active.
    pub dead: bool,
    /// The same value in every row.
    pub constant: bool,
    /// Active in fewer rows than `min_active`.
    pub rare: bool,
}

/// Why a match is kept or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// Another match with the same partner is better.
    OneToOne,
}

impl Verdict {
    /// All of them, in order of their discriminants; a kept one sorts first.
    pub const ALL: [Verdict; 8] = [
        Verdict::Kept,
        Verdict::Rank,
        Verdict::Dead,
        Verdict::Constant,
        Verdict::NoPartner,
        Verdict::MinActive,
        Verdict::MinCorrelation,
        Verdict::OneToOne,
    ];

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
            Verdict::OneToOne => "one_to_one",
        })
    }
}

impl Filters {
    /// Verdict on the best match of a latent, before `one_to_one`, which needs the others.
    pub fn judge(&self, a: LatentFlags, b: LatentFlags, correlation: f64) -> Verdict {
        if a.rare || b.rare {
            Verdict::MinActive
        } else if correlation <= self.min_correlation {
            Verdict::MinCorrelation
        } else {
            Verdict::Kept
        }
    }
}

impl LatentFlags {
    /// Verdict on a latent that has no partner.
    pub fn without_partner(self) -> Verdict {
        match self {
            LatentFlags { dead: true, .. } => Verdict::Dead,
            LatentFlags { constant: true, .. } => Verdict::Constant,
            _ => Verdict::NoPartner,
        }
    }
}
