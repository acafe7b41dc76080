//! Where and when? The timely and differential dataflow: their only home.
//!
//! ```text
//! reader thread ─▶ Batches ─▶ Encode ─▶ Fold ─┬─▶ views (differential) ─▶ Publish ─▶ probe
//!  (worker 0)      worker 0  t+1 mod N  tiles  └─▶ notes ──────────────────▲   └─ Batches admits by it
//! ```
//!
//! A batch's number is its timestamp. The fold waits until the frontier has passed t and applies batches in order, so no
//! number depends on how many workers, threads or processes there are, or on how many batches are in the air. What timely
//! does not give is durable state: at a checkpoint the source lets nothing in until the publisher has committed (nor, for
//! memory's sake, at a snapshot until it is published).

mod cluster;
mod dataflow;
mod encode;
mod facts;
mod fold;
mod measure;
mod meeting;
mod memory;
mod merge;
mod message;
mod pairs;
mod publish;
mod results;
mod schedule;
mod score;
mod shared;
mod similarities;
mod snapshot;
mod source;
mod state;
mod subset;
mod tables;
mod views;

use crate::corpus::{Corpus, Tokenizer};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::store::{Manifest, RunDir};
use crate::table::HistoryRow;
use std::sync::Arc;

pub use cluster::{Cluster, abort_on_panic};
pub use encode::Loaded;
pub use measure::{measure_batch, measure_choice};
pub use meeting::Meeting;
pub use memory::bound_arenas;
pub use merge::{Part, merge};
pub use message::SecondPass;
pub use score::{remake, score};
pub use shared::{Shared, Stage};

/// What happened, for whoever watches.
#[derive(Clone, Debug)]
pub enum Event {
    /// Tables were published.
    Snapshot(SnapshotFacts),
    /// State was committed.
    Checkpoint { tokens: u64, finished: bool },
}

/// A snapshot in figures.
#[derive(Clone, Debug)]
pub struct SnapshotFacts {
    /// Its number, from 1.
    pub snapshot: u32,
    /// Counted rows.
    pub tokens: u64,
    /// One row per pair.
    pub pairs: Vec<HistoryRow>,
}

/// Hears of every event, on a worker's thread.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Everything a run needs.
pub struct Job {
    pub plan: Arc<Plan>,
    pub loaded: Arc<Loaded>,
    pub tokenizer: Arc<Tokenizer>,
    pub run: Arc<RunDir>,
    /// The checkpoint to go on from, on process 0; it tells the others.
    pub resume: Option<Manifest>,
    pub cluster: Cluster,
    /// Batches that may be unfinished at once.
    pub in_flight: u64,
    pub shared: Arc<Shared>,
    pub observer: Observer,
    /// What the manifest is to say beside.
    pub extra: serde_json::Value,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The corpus was read to its end, or the stop rule was met.
    Finished,
    /// A stop was asked for; the run can be resumed.
    Stopped,
}

/// Runs a job to its end, or until a stop is asked for, once all processes have met. `corpus`, on process 0 only, stands where
/// the run begins.
///
/// # Errors
/// The first failure of any worker of this process; the run then stands at its last checkpoint.
pub fn run(job: Job, meeting: Meeting, corpus: Option<Corpus>) -> Result<Outcome> {
    let shared = job.shared.clone();
    cluster::execute(job, meeting, corpus)?;
    match shared.error() {
        Some(error) => Err(error),
        None if shared.stop_requested() => Ok(Outcome::Stopped),
        None => Ok(Outcome::Finished),
    }
}

/// The second pass over the corpus that a checkpoint stands in, or has behind it.
pub fn second_pass(manifest: &Manifest) -> Option<SecondPass> {
    serde_json::from_value(manifest.extra["second_pass"].clone()).ok()
}

/// A worker that found something wrong says so once; the others only stop.
fn keep_or_fail<T>(shared: &Shared, result: std::result::Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            shared.fail(error);
            None
        }
    }
}
