//! What is computed from the sums, and when? `[estimate]`.

use super::names;
use crate::corpus::deserialize_count;
use crate::matching::{Categories, Filters, Rules};
use crate::similarity::{Measure, RsaRule, SvccaRule};
use serde::{Deserialize, Serialize};

/// `[estimate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EstimateSpec {
    /// Tokens between snapshots.
    #[serde(deserialize_with = "deserialize_count")]
    pub snapshot_every: u64,
    /// Partners kept per latent and direction.
    pub best: usize,
    /// Which reading of the paper is followed; sets other defaults for filters, measures and pairings (see
    /// `EstimateSpec::fill_published`).
    pub rules: Rules,
    /// Which best matches are kept for the scores.
    pub filters: Filters,
    /// Scores of the kept matches' decoder rows.
    #[serde(with = "names")]
    pub measures: Vec<Measure>,
    /// Scores of the hookpoints' raw activations, from streamed moments: `svcca…` and `cka`.
    #[serde(with = "names")]
    pub activation_measures: Vec<Measure>,
    /// Which kept matches are scored.
    pub pairings: Vec<Pairing>,
    /// A file of word lists; every row measure is made for each besides.
    pub categories: Option<String>,
    /// Contents of that file.
    #[serde(skip)]
    pub lists: Option<Categories>,
    /// Permutation nulls.
    pub null: NullSpec,
    /// Top-activating tokens kept per latent.
    pub top_tokens: usize,
    /// Tokens of context remembered before and after each.
    pub top_context: [usize; 2],
    /// End the run before the corpus does, when the matches have converged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_when: Option<StopRule>,
}

/// `[estimate] stop_when = {…}`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRule {
    /// The churn of every pair must be below this.
    pub churn_below: f64,
    /// In this many consecutive snapshots.
    #[serde(default = "one")]
    pub snapshots: u32,
}

fn one() -> u32 {
    1
}

impl Default for EstimateSpec {
    fn default() -> Self {
        EstimateSpec {
            snapshot_every: 50_000,
            best: 5,
            rules: Rules::Meant,
            filters: Filters::default(),
            measures: Vec::new(),
            activation_measures: Vec::new(),
            pairings: vec![Pairing::Mutual],
            categories: None,
            lists: None,
            null: NullSpec::default(),
            top_tokens: 10,
            top_context: [12, 4],
            stop_when: None,
        }
    }
}

impl EstimateSpec {
    /// The default of every key that is left out, under `rules`.
    pub fn of_rules(rules: Rules) -> Self {
        let mut usual = EstimateSpec { rules, ..EstimateSpec::default() };
        if rules == Rules::AsPublished {
            usual.fill_published(&toml::Table::new());
        }
        usual
    }

    /// Under `rules = "as_published"`: what the authors' code does is the default of every key that `written`, the file's
    /// `[estimate]`, leaves out.
    pub(super) fn fill_published(&mut self, written: &toml::Table) {
        let has = |key: &str| written.contains_key(key);
        let has_filter = |key: &str| written.get("filters").and_then(|f| f.get(key)).is_some();
        let published = Filters::as_published();
        let filters = &mut self.filters;
        if !has_filter("dead") {
            filters.dead = published.dead;
        }
        if !has_filter("min_correlation") {
            filters.min_correlation = published.min_correlation;
        }
        if !has_filter("non_concept") {
            filters.non_concept = published.non_concept;
        }
        if !has_filter("shared_token") {
            filters.shared_token = published.shared_token;
        }
        if !has_filter("one_to_one") {
            filters.one_to_one = published.one_to_one;
        }
        if !has("measures") {
            self.measures = vec![Measure::Svcca(SvccaRule::AsPublished), Measure::Rsa(RsaRule::Centred)];
        }
        if !has("pairings") {
            self.pairings = vec![Pairing::Backward];
        }
    }
}

/// A set of matches whose decoder rows are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Kept matches in which the source picks.
    Forward,
    /// Kept matches in which the target picks.
    Backward,
    /// Kept matches that are each other's best.
    Mutual,
}

impl Pairing {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Pairing::Forward => "forward",
            Pairing::Backward => "backward",
            Pairing::Mutual => "mutual",
        }
    }
}

impl From<Pairing> for crate::table::RowPairing {
    fn from(pairing: Pairing) -> Self {
        match pairing {
            Pairing::Forward => crate::table::RowPairing::Forward,
            Pairing::Backward => crate::table::RowPairing::Backward,
            Pairing::Mutual => crate::table::RowPairing::Mutual,
        }
    }
}

/// `[estimate] null = {…}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NullSpec {
    /// Permutations of the matched rows.
    pub permutations: u32,
    /// Permutations of the tokens inside each batch, for measures on raw activations; each costs a product per batch.
    pub activation_permutations: u32,
    /// When the matched rows' null is computed.
    pub at: NullAt,
    /// Whether the chance level of best matches is counted: the sums once more, with the target's rows beside those of
    /// another document.
    pub documents: bool,
}

/// When a null is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullAt {
    /// With the last snapshot.
    #[default]
    End,
    /// With every snapshot.
    Snapshot,
}

impl Default for NullSpec {
    fn default() -> Self {
        NullSpec { permutations: 1000, activation_permutations: 9, at: NullAt::End, documents: true }
    }
}
