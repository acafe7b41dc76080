//! What is compared with what, and how are the sums of a pair kept? `[compare]`, and the pairs that it comes to.

use crate::corpus::{RowRule, RowUnit, SpanContexts};
use crate::ids::SiteName;
use crate::sae::Pool;
use serde::{Deserialize, Serialize};

/// `[compare]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareSpec {
    /// Pairs of sites, source first; or `"all"`: every SAE of a model with every SAE of a model after it in the alphabet,
    /// and likewise the [`hookpoints`](Self::hookpoints). A listed site without an SAE means its hookpoint's
    /// dimensions as they are.
    pub pairs: PairsSpec,
    /// Sites without an SAE that `"all"` pairs: places of several models across models, as SAEs; places of one model each
    /// with every later one of the list.
    #[serde(default)]
    pub hookpoints: Vec<SiteName>,
    /// How Σxy is kept.
    #[serde(default)]
    pub cross: Cross,
    /// Buckets of a sketch.
    #[serde(default = "default_width")]
    pub width: usize,
    /// Best partners of every latent, by the sketch, that are then counted exactly; in both directions.
    #[serde(default = "default_candidates")]
    pub candidates: usize,
    /// When candidates are counted.
    #[serde(default)]
    pub refine: Refine,
    /// Whether every SAE's latents are read out of the raw activations of the other place of their pairs.
    #[serde(default)]
    pub readout: bool,
    /// Whether maps from the raw activations of each pair's places into each other's are fitted.
    #[serde(default)]
    pub stitch: bool,
    /// What a row is.
    #[serde(default)]
    pub align: Align,
    /// What a row of text holds at least; a token when absent. Any other makes rows pieces of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<RowUnit>,
    /// Where contexts end when rows are pieces of text; at common ends when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_contexts: Option<SpanContexts>,
    /// What a row of several tokens has of their values; the usual when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSpec>,
}

impl CompareSpec {
    /// What a row is, for the corpus.
    pub fn rows(&self) -> RowRule {
        match (self.align, self.unit.unwrap_or_default()) {
            (Align::Token, RowUnit::Token) => RowRule::Tokens,
            (_, unit) => RowRule::Spans(self.span_contexts.unwrap_or_default(), unit),
        }
    }

    /// What rows are called where they are counted.
    pub fn rows_are(&self) -> &'static str {
        if self.is_of_text() { "rows" } else { "tokens" }
    }

    /// Whether rows are pieces of text, which models of several tokenizers share.
    pub fn is_of_text(&self) -> bool {
        self.rows() != RowRule::Tokens
    }

    /// What a row of several tokens has of their values.
    pub fn pools(&self) -> PoolSpec {
        self.pool.unwrap_or_default()
    }

    /// Takes out what is as it would be without it.
    pub(super) fn without_defaults(&mut self) {
        self.unit = self.unit.filter(|unit| *unit != RowUnit::default());
        self.span_contexts = self.span_contexts.filter(|contexts| *contexts != SpanContexts::default());
        self.pool = self.pool.filter(|pool| *pool != PoolSpec::default());
    }
}

/// `pool = { latents = …, activations = … }`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSpec {
    /// Of an SAE's latents.
    pub latents: Pool,
    /// Of activations that are compared as they are.
    pub activations: Pool,
}

impl Default for PoolSpec {
    fn default() -> Self {
        PoolSpec { latents: Pool::Max, activations: Pool::Last }
    }
}

/// Which pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "pairs is \"all\" or a list like [[\"a/resid_post.2\", \"b/resid_post.3\"]]")]
pub enum PairsSpec {
    /// The word `all`.
    All(AllPairs),
    /// `[[source, target], …]`
    Listed(Vec<(SiteName, SiteName)>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllPairs {
    /// Every SAE of a model with every SAE of a later one, and every listed hookpoint likewise.
    All,
}

/// How Σxy is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cross {
    /// Dense f64 tiles, allocated as rows come alive.
    #[default]
    Exact,
    /// A sketch per space; the best partners by it are counted exactly from then on.
    Sketch,
    /// Exact where that fits into memory, else a sketch; decided when the run is begun.
    Auto,
}

/// When the candidates of a sketch are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// From their choice on.
    #[default]
    Continue,
    /// Also, for those chosen at the end, over the whole corpus, which is read a second time.
    SecondPass,
}

pub(super) fn default_width() -> usize {
    512
}

pub(super) fn default_candidates() -> usize {
    10
}

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// A token; all models have the same tokenizer.
    #[default]
    Token,
    /// A piece of text between two byte ends at which tokens of all tokenizers end.
    Span,
}
