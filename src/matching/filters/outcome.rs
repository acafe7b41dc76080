//! Outcome of the filters for one match, and the facts about a latent that they look at.

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
    pub max: Option<crate::matching::Correlation>,
    /// One of its top-activating tokens is of a class that the filter names.
    pub non_concept: bool,
    /// Ids of the strings of its top-activating tokens, ascending; two latents share a string when they share an id.
    pub top: Vec<u32>,
}

/// What the filters make of one match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It passes every filter.
    Kept,
    /// It is dropped, for this reason.
    Dropped(Reason),
}

/// Why a match is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
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
    /// A top-activating token of one of the two is punctuation, whitespace or another listed class.
    TokenClass,
    /// The top-activating tokens of the two have no string in common.
    SharedToken,
    /// The correlation is not above the chance points of both.
    BeyondChance,
    /// The correlation given the token is too low, or not known.
    MinWithin,
    /// The partner's best match is another latent.
    Mutual,
    /// The one-to-one rule gives the partner to another match.
    OneToOne,
}

impl Outcome {
    /// Whether it is kept.
    pub fn is_kept(self) -> bool {
        self == Outcome::Kept
    }

    /// Name of the filter in tables; `None` when kept.
    pub fn dropped_by(self) -> Option<&'static str> {
        match self {
            Outcome::Kept => None,
            Outcome::Dropped(reason) => Some(reason.as_str()),
        }
    }
}

impl Reason {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rank => "rank",
            Reason::Dead => "dead",
            Reason::Constant => "constant",
            Reason::NoPartner => "no_partner",
            Reason::MinActive => "min_active",
            Reason::MinCorrelation => "min_correlation",
            Reason::TokenClass => "non_concept",
            Reason::SharedToken => "shared_token",
            Reason::BeyondChance => "beyond_chance",
            Reason::MinWithin => "min_within",
            Reason::Mutual => "mutual",
            Reason::OneToOne => "one_to_one",
        }
    }
}

impl LatentFacts {
    /// Why this latent has no partner.
    pub fn why_no_partner(&self) -> Reason {
        match self {
            LatentFacts { dead: true, .. } => Reason::Dead,
            LatentFacts { constant: true, .. } => Reason::Constant,
            _ => Reason::NoPartner,
        }
    }

    /// Whether the top-activating tokens of both have a string in common.
    pub fn shares_token(&self, other: &LatentFacts) -> bool {
        self.top.iter().any(|token| other.top.binary_search(token).is_ok())
    }
}
