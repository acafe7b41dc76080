//! What does a run's checkpoint record in addition to its sums? What was asked, how the run ended, and where its sums come from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a run was asked for, as far as a later command has to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestRecord {
    /// The dataflow file that was given; paths in it that begin with `./` are relative to its folder.
    pub flow: String,
    /// Digest of the run directory's copy of the dataflow file.
    pub dataflow: String,
    /// Tokens asked for; 0 for the whole corpus.
    pub max_tokens: u64,
    /// Mark of each corpus file, in the order in which they are read.
    pub corpus_marks: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ended {
    /// Not yet: there is more to read.
    #[default]
    No,
    /// The corpus was read to its end, or as far as was asked.
    Corpus,
    /// The stop rule was met, with more of the corpus to come.
    StopRule {
        /// Largest churn of a pair.
        churn_below: f64,
        /// Consecutive snapshots in which it held.
        snapshots: u32,
    },
}

/// A snapshot that is due at a checkpoint: the sums hold its last batch, and its tables are not made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDue {
    /// Its number, from 1.
    pub snapshot: u32,
    /// Whether partners are listed after it.
    pub list: bool,
    /// How the run ends with it; not yet where there is more to read.
    pub ended: Ended,
}

/// Where sums come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SumsOrigin {
    /// From batches of a corpus.
    Streamed {
        /// Position in the corpus, in the corpus' own words; null before the first batch.
        cursor: Value,
        /// The second pass, from the end of the first on.
        // a missing key is an error, not `None`
        #[serde(deserialize_with = "Option::deserialize")]
        second_pass: Option<SecondPass>,
    },
    /// From other runs, in this order.
    Merged(Vec<MergedRun>),
}

/// Progress of a second pass over the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecondPass {
    /// Batches of the first pass; the second has as many.
    pub batches: u64,
    /// Counted rows of the first pass.
    pub rows: u64,
    /// Rows counted again so far.
    pub counted: u64,
    /// Whether the first pass ended by the stop rule.
    pub settled: bool,
}

/// A run in a merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergedRun {
    /// Its run directory.
    pub run: String,
    /// Counted rows in its sums.
    pub tokens: u64,
    /// Whether it was finished.
    pub finished: bool,
}

impl Default for SumsOrigin {
    fn default() -> Self {
        SumsOrigin::Streamed { cursor: Value::Null, second_pass: None }
    }
}
