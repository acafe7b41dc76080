//! What is computed from the sums, and when? `[estimate]`.

use super::names;
use crate::corpus::deserialize_count;
use crate::matching::{Categories, Filters, Rules};
use crate::moments::RowKey;
use crate::similarity::{MapFit, Measure, RsaRule, SvccaRule};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// `[estimate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EstimateSpec {
    /// Tokens between snapshots.
    #[serde(deserialize_with = "deserialize_count")]
    pub snapshot_every: u64,
    /// Partners kept per latent and direction.
    pub best: usize,
    /// Of how many best partners, either way, co-firing, what is beyond the token and the sampling error are counted; 0: of none.
    pub listed: usize,
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
    /// Whether dictionaries of one model are paired as wholes, by the cosines of their decoder rows.
    pub dictionary: bool,
    /// Whether the effects of listed partners' decoder rows on the logits are compared.
    pub logits: bool,
    /// Which kept matches are scored.
    pub pairings: Vec<Pairing>,
    /// A file of word lists; every row measure is made for each besides.
    pub categories: Option<String>,
    /// Contents of that file.
    #[serde(skip)]
    pub lists: Option<Categories>,
    /// Permutation nulls.
    pub null: NullSpec,
    /// How maps between raw activations are fitted, where `compare.stitch` keeps their sums.
    pub map: MapFit,
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
            listed: 1,
            rules: Rules::Meant,
            filters: Filters::default(),
            measures: Vec::new(),
            activation_measures: Vec::new(),
            dictionary: false,
            logits: false,
            pairings: vec![Pairing::Mutual],
            categories: None,
            lists: None,
            null: NullSpec::default(),
            map: MapFit::default(),
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
    /// Whether the chance level of best matches is counted: the sums once more, with each source row paired with a
    /// target row of another document.
    pub documents: bool,
    /// Which other rows listed partners are compared on, to see what is beyond the token.
    pub given: Given,
}

/// `given = {…}` in `[estimate] null`, or a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Given {
    /// As by default, or not at all.
    Switch(bool),
    /// With these settings.
    By(GivenBy),
}

/// How rows are paired with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GivenBy {
    /// What a row has in common with its partner.
    pub key: RowKey,
    /// Of which pairs of latents.
    pub mode: GivenMode,
}

/// Of which pairs of latents it is known what the key alone gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenMode {
    /// Of listed ones.
    #[default]
    Listed,
    /// Of all, in one more set of tiles; and of listed ones.
    Full,
}

impl<'de> Deserialize<'de> for Given {
    /// Not as an untagged enum, so that a wrong key or name inside the table is named.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchOrTable;
        impl<'de> Visitor<'de> for SwitchOrTable {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a table like { key = \"token\" }")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Given, E> {
                Ok(Given::Switch(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Given, A::Error> {
                GivenBy::deserialize(MapAccessDeserializer::new(map)).map(Given::By)
            }
        }
        deserializer.deserialize_any(SwitchOrTable)
    }
}

impl Given {
    /// Whether what the key alone gives is counted of all pairs of latents.
    pub fn is_full(self) -> bool {
        matches!(self, Given::By(GivenBy { mode: GivenMode::Full, .. }))
    }

    /// What a row has in common with its partner; `None` where rows have no partners.
    pub fn key(self) -> Option<RowKey> {
        match self {
            Given::Switch(on) => on.then(RowKey::default),
            Given::By(by) => Some(by.key),
        }
    }
}

impl Default for Given {
    fn default() -> Self {
        Given::By(GivenBy::default())
    }
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
        NullSpec {
            permutations: 1000,
            activation_permutations: 9,
            at: NullAt::End,
            documents: true,
            given: Given::default(),
        }
    }
}
