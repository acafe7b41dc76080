//! What does a run need, and how did it end?

use crate::engine::dataflow::Cluster;
use crate::engine::encode::Loaded;
use crate::engine::event::Observer;
use crate::engine::status::RunStatus;
use crate::plan::Plan;
use crate::store::{Manifest, RequestRecord, RunDir};
use std::sync::Arc;

/// Everything a run needs.
pub struct Job {
    /// The resolved dataflow file.
    pub plan: Arc<Plan>,
    /// Models and SAEs.
    pub loaded: Arc<Loaded>,
    /// The run directory.
    pub run: Arc<RunDir>,
    /// The checkpoint to resume from, on process 0, which sends it to the others.
    pub resume: Option<Manifest>,
    /// Workers and processes.
    pub cluster: Cluster,
    /// Batches that may be unfinished at once.
    pub in_flight: u64,
    /// Status of this process.
    pub status: Arc<RunStatus>,
    /// Called with every event.
    pub observer: Observer,
    /// What was asked, for the manifest.
    pub asked: RequestRecord,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// The corpus was read to its end, or the stop rule was met.
    Finished,
    /// A stop was asked for; the run can be resumed.
    Stopped,
}
