//! Matches, filters and scores again, from the sums that a checkpoint holds; nothing is streamed.

use crate::engine::encode::Loaded;
use crate::engine::fold::{Fold, checkpoint};
use crate::engine::results::{
    Due, History, Publisher, Results, SavedTiles, history_measures, make_tables, origin, scanned_views,
};
use crate::engine::status::RunStatus;
use crate::error::Result;
use crate::plan::Plan;
use crate::sae::Sae;
use crate::spec::NullAt;
use crate::store::{Manifest, RunDir, SetRecord, SumsOrigin};
use crate::table::{SimilarityRow, write_into};
use std::sync::Arc;

/// Publishes the tables that a run of `plan` would have at its end if its sums were the sums of `run`'s checkpoint, in `out`, nulls
/// included; `history` has that one snapshot. `plan` may differ from the run's own plan only in keys that change no sum. Returns the rows
/// of `similarities`. `dataflow` is the digest of the dataflow file that is kept with the tables.
///
/// # Errors
/// `State` when the sums do not fit the plan, those of scores and of writing.
pub fn score(
    plan: &Arc<Plan>,
    saes: Vec<Option<Arc<Sae>>>,
    run: &RunDir,
    manifest: &Manifest,
    out: &RunDir,
    dataflow: String,
) -> Result<Vec<SimilarityRow>> {
    let mut due = saved_due(plan, run, manifest)?;
    let mut results = Results::new(plan.clone(), saes);
    results.update(std::mem::take(&mut due.deltas));
    results.judge(due.facts())?;
    let origin = origin(plan, manifest.rows, manifest.snapshot, due.contexts);
    let saved = Some(SavedTiles::of_manifest(run, plan, manifest));
    let mut set = out.new_set()?;
    let similarities = make_tables(&mut set, &results, &due, &origin, true, saved)?;
    let mut history = History::new(plan.pairs().len());
    history.add(&results, manifest.snapshot, manifest.rows, &due.spaces, &similarities, due.contexts);
    write_into(&mut set, history_measures(plan), &origin, history.rows().iter().cloned())?;
    let about = SetRecord {
        snapshot: manifest.snapshot,
        tokens: manifest.rows,
        fingerprint: plan.fingerprint().to_string(),
        parts: plan.fingerprint_parts().clone(),
        dataflow: Some(dataflow),
        ..SetRecord::default()
    };
    set.publish(about, true)?;
    Ok(similarities)
}

/// Publishes the tables of a run's last snapshot again, history included, from the checkpoint that was taken with it: the same
/// bytes. `None`, and nothing is done, where the checkpoint was taken at another moment.
///
/// # Errors
/// `State` when the sums do not fit the plan, those of scores and of writing.
pub fn remake(plan: &Arc<Plan>, loaded: &Loaded, run: &Arc<RunDir>, manifest: &Manifest) -> Result<Option<SetRecord>> {
    // what a sketch's candidates were at a snapshot is not what they are in a checkpoint, but at the end
    let known = manifest.is_finished() || (!plan.is_sketched() && manifest.second_pass().is_none());
    let status = Arc::new(RunStatus::default());
    let (observer, asked) = (Arc::new(|_| {}), manifest.asked.clone());
    let mut publisher = Publisher::new(plan.clone(), loaded, run.clone(), status, observer, asked);
    publisher.restore(manifest)?;
    if !known || publisher.tokens_of_last_snapshot() != Some(manifest.rows) {
        return Ok(None);
    }
    let due = saved_due(plan, run, manifest)?;
    let saved = manifest.is_finished().then(|| SavedTiles::of_manifest(run, plan, manifest));
    let with_null = manifest.is_finished() || plan.spec().estimate.null.at == NullAt::Snapshot;
    publisher.publish_again(manifest, due, with_null, saved).map(Some)
}

/// Results of a snapshot of the sums that a checkpoint holds.
fn saved_due(plan: &Arc<Plan>, run: &RunDir, manifest: &Manifest) -> Result<Due> {
    let mut fold = Fold::new(plan.clone(), 0, 1);
    checkpoint::add(&mut fold, run, manifest, 0)?;
    // a merge keeps what all its parts count, and chooses its candidates from there
    let of_merge = matches!(manifest.origin, SumsOrigin::Merged(_));
    let (changes, notes) = fold.snapshot(of_merge);
    let mut due = Due { deltas: scanned_views(changes, plan), ..Due::default() };
    notes.into_iter().for_each(|note| due.note(note));
    // the tiles are the largest part; what is to come needs them no more
    drop(fold);
    Ok(due)
}
