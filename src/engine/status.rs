//! Status of a run in one process, shared by its threads: whether a stop was asked for, the first failure, the stop rule, and the
//! figures that are printed.

use crate::engine::message::Listing;
use crate::error::{Error, Result};
use crate::halt::Halt;
use crate::store::SnapshotDue;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Stages whose time is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading, tokenizing and cutting the corpus, on worker 0's reader thread.
    Read,
    /// Models, up to their last hookpoint.
    Forward,
    /// SAEs: activations to latents.
    Encode,
    /// Co-moments of raw activations.
    Moments,
    /// Adding batches to the running sums.
    Fold,
    /// Sums to correlations and best partners.
    Snapshot,
    /// Filters, scores with their nulls, tables.
    Publish,
    /// State files and the manifest.
    Checkpoint,
}

impl Stage {
    /// All stages, in the order in which a batch passes them.
    pub const ALL: [Stage; 8] = [
        Stage::Read,
        Stage::Forward,
        Stage::Encode,
        Stage::Moments,
        Stage::Fold,
        Stage::Snapshot,
        Stage::Publish,
        Stage::Checkpoint,
    ];

    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Forward => "forward",
            Stage::Encode => "encode",
            Stage::Moments => "moments",
            Stage::Fold => "fold",
            Stage::Snapshot => "snapshot",
            Stage::Publish => "publish",
            Stage::Checkpoint => "checkpoint",
        }
    }
}

/// Tables that are being made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// Whether they are those of the end.
    pub is_last: bool,
    /// Which part of the work, as printed.
    pub part: &'static str,
    /// Pairs that this part is done with.
    pub done: usize,
    /// Pairs of the run.
    pub pairs: usize,
    /// When the making began.
    pub since: Instant,
}

/// A snapshot that a stop has kept from being published.
#[derive(Clone, Copy, Debug)]
pub struct Unpublished {
    /// What is due.
    pub due: SnapshotDue,
    /// Whether a checkpoint with it is committed.
    pub is_saved: bool,
}

/// What all threads of a process share of a run.
#[derive(Debug, Default)]
pub struct RunStatus {
    stop: AtomicBool,
    failed: AtomicBool,
    converged: AtomicBool,
    error: Mutex<Option<Error>>,
    listing: Mutex<Option<Arc<Listing>>>,
    making: Mutex<Option<Making>>,
    unpublished: Mutex<Option<Unpublished>>,
    stage_ns: [AtomicU64; 8],
    /// Counted rows folded so far, those before a resume included.
    pub rows: AtomicU64,
    /// Workers that are taking a snapshot (sums to matches, candidates chosen); no rows are folded meanwhile.
    pub in_snapshot: AtomicU64,
    /// Bytes of the corpus read so far.
    pub bytes_done: AtomicU64,
    /// Bytes of the corpus.
    pub bytes_total: AtomicU64,
    /// Records left out as malformed.
    pub skipped_records: AtomicU64,
    /// Descriptions of the first few.
    pub first_skips: Mutex<Vec<String>>,
    /// Halves of surrogate pairs that became U+FFFD, and where the first was.
    pub surrogates: Mutex<Option<(u64, String)>>,
    /// Documents read.
    pub documents: AtomicU64,
    /// For each label field, the number of documents that have a value.
    pub labelled: Mutex<Vec<u64>>,
    /// Documents that the sample leaves out.
    pub left_out_documents: AtomicU64,
    /// Documents, or rests of them, in which a tokenizer does not say which bytes its tokens are of.
    pub unaligned_documents: AtomicU64,
    /// Bytes of text in no row, because not all tokenizers share them.
    pub dropped_bytes: AtomicU64,
    /// Words, sentences or documents that are several rows.
    pub cut_units: AtomicU64,
    /// Largest number of batches in flight at once.
    pub in_flight: AtomicU64,
}

impl RunStatus {
    /// Asks the run to save its state and end.
    pub fn request_stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether a stop was requested.
    pub fn stop_requested(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Stops work when a stop is requested.
    pub fn halt(self: &Arc<Self>) -> Halt {
        let status = self.clone();
        Halt::when(move || status.stop_requested())
    }

    /// Says which tables are being made; `None` when that is over.
    pub fn set_making(&self, making: Option<Making>) {
        *self.making.lock().unwrap_or_else(|e| e.into_inner()) = making;
    }

    /// The tables that are being made.
    pub fn making(&self) -> Option<Making> {
        *self.making.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Begins a part of making the tables, or sets how many of its pairs are done.
    pub fn set_part(&self, part: &'static str, done: usize) {
        if let Some(making) = self.making.lock().unwrap_or_else(|e| e.into_inner()).as_mut() {
            (making.part, making.done) = (part, done);
        }
    }

    /// Leaves a snapshot unpublished. The publisher calls this before the source may let the next batch in.
    pub fn leave_unpublished(&self, left: Unpublished) {
        *self.unpublished.lock().unwrap_or_else(|e| e.into_inner()) = Some(left);
    }

    /// The snapshot that was left unpublished: no other batch may come in.
    pub fn unpublished(&self) -> Option<Unpublished> {
        *self.unpublished.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Marks the stop rule as met: the next batch is the last. The publisher calls this before the source may let that batch
    /// in, at the snapshot itself or where a run resumes.
    pub fn set_converged(&self) {
        self.converged.store(true, Relaxed);
    }

    /// Whether the stop rule is met.
    pub fn converged(&self) -> bool {
        self.converged.load(Relaxed)
    }

    /// Lists these pairs of latents from the next batch on. The publisher calls this before the source may let that batch in, as for
    /// [`set_converged`](RunStatus::set_converged).
    pub fn set_listing(&self, listing: Arc<Listing>) {
        *self.listing.lock().unwrap_or_else(|e| e.into_inner()) = Some(listing);
    }

    /// The new list for the next batch; `None` when there is none, or it was taken before.
    pub fn take_listing(&self) -> Option<Arc<Listing>> {
        self.listing.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Notes a failure; the first one is the one reported.
    pub fn fail(&self, error: Error) {
        let mut first = self.error.lock().unwrap_or_else(|e| e.into_inner());
        first.get_or_insert(error);
        self.failed.store(true, Relaxed);
    }

    /// The value; a failure is noted and gives `None`.
    pub fn keep<T>(&self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.fail(error)).ok()
    }

    /// Whether anything failed.
    pub fn failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// The first failure.
    pub fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Runs `work` and books its wall time on `stage`.
    #[allow(clippy::disallowed_methods, reason = "durations are printed, and enter no table")]
    pub fn timed<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let out = work();
        self.stage_ns[stage as usize].fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        out
    }

    /// Wall seconds booked on `stage`, over all workers.
    pub fn seconds(&self, stage: Stage) -> f64 {
        self.stage_ns[stage as usize].load(Relaxed) as f64 * 1e-9
    }
}
