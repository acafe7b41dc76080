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

mod allocator;
mod dataflow;
mod encode;
mod event;
mod export;
mod fold;
mod job;
mod latent_cache;
mod measure;
mod merge;
mod message;
mod results;
mod score;
mod status;

use crate::corpus::Corpus;
use crate::error::Result;

pub use allocator::bound_arenas;
pub use dataflow::{Cluster, Meeting, Secret, abort_on_panic};
pub use encode::Loaded;
pub use event::{Event, Observer, SnapshotFacts};
pub use export::{Stitched, Transferred, stitched, transferred};
pub use job::{Job, RunOutcome};
pub use latent_cache::{Cached, cache_latents};
pub use measure::{BatchTimes, measure_batch, measure_choice};
pub use merge::{Part, merge};
pub use score::{remake, score};
pub use status::{Making, RunStatus, Stage};

/// Runs a job to its end, or until a stop is requested, once all processes have met. `corpus`, on process 0 only, is where
/// the run begins.
///
/// # Errors
/// The first failure of any worker of this process; the run is then at its last checkpoint.
pub fn run(job: Job, meeting: Meeting, corpus: Option<Corpus>) -> Result<RunOutcome> {
    let status = job.status.clone();
    dataflow::execute(job, meeting, corpus)?;
    match status.error() {
        Some(error) => Err(error),
        None if status.stop_requested() => Ok(RunOutcome::Stopped),
        None => Ok(RunOutcome::Finished),
    }
}
