//! Merges runs over disjoint shards of a corpus: states in, one run directory out. No batch is read.
//!
//! Counts, extremes and top-activating tokens equal those of one run over all shards, bit by bit. Sums of partial sums round
//! differently from one sum over all rows: they agree to some 1e-15 of the sum's size, not to the last bit. Runs are added from
//! left to right, so merging a merge gives the same bits as merging all runs at once.

use crate::engine::encode::Loaded;
use crate::engine::fold::{Fold, checkpoint};
use crate::engine::results::{Due, Publisher, scanned_views};
use crate::engine::status::RunStatus;
use crate::error::Result;
use crate::plan::Plan;
use crate::store::{Manifest, MergedRun, RequestRecord, RunDir};
use std::sync::Arc;

/// A run to be added.
pub struct Part {
    /// Its directory, locked while it is read.
    pub run: RunDir,
    /// Its newest whole checkpoint.
    pub manifest: Manifest,
}

/// Adds `parts` up and publishes them in `out` as one snapshot and one finished checkpoint. `plan` carries the merge's
/// fingerprint; `asked` and `runs` are for the manifest.
///
/// # Errors
/// `State` when a part does not hold what the plan expects; `Machine` when reading or writing fails; the errors of scoring.
pub fn merge(
    plan: &Arc<Plan>,
    loaded: Loaded,
    parts: &[Part],
    out: &Arc<RunDir>,
    asked: RequestRecord,
    runs: Vec<MergedRun>,
) -> Result<()> {
    let mut fold = Fold::new(plan.clone(), 0, 1);
    let (mut rows, mut batches) = (0, 0);
    for part in parts {
        checkpoint::add(&mut fold, &part.run, &part.manifest, rows)?;
        rows += part.manifest.rows;
        batches += part.manifest.next_batch;
    }
    // saved before the snapshot, which chooses new candidates: a merge of this merge starts from the old ones
    let saved = checkpoint::save(&mut fold, out, batches)?;
    let (changes, notes) = fold.snapshot(true);
    let mut due = Due { deltas: scanned_views(changes, plan), saved, ..Due::default() };
    notes.into_iter().for_each(|note| due.note(note));
    let status = Arc::new(RunStatus::default());
    let mut publisher = Publisher::new(plan.clone(), &loaded, out.clone(), status, Arc::new(|_| {}), asked);
    publisher.publish_merged(rows, batches, runs, due)
}
