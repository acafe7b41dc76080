//! The events of a run, as its observers receive them.

use crate::table::HistoryRow;
use std::sync::Arc;

/// What happened, for observers of a run.
#[derive(Clone, Debug)]
pub enum Event {
    /// Tables were published.
    Snapshot(SnapshotFacts),
    /// Everything is read, and the scores and tables of the end are begun.
    FinalScores {
        /// Counted rows.
        tokens: u64,
        /// Pairs of the run.
        pairs: usize,
    },
    /// State was committed.
    Checkpoint {
        /// Counted rows.
        tokens: u64,
        /// Whether the run is finished with it.
        finished: bool,
    },
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

/// Called with every event, on a worker's thread.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;
