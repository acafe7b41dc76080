//! Matches, filters and scores again, from the sums that a checkpoint holds; nothing is streamed.

use crate::corpus::Tokenizer;
use crate::engine::fold::Fold;
use crate::engine::publish::{Due, origin};
use crate::engine::results::{Results, label_columns};
use crate::engine::state;
use crate::engine::subset::SavedTiles;
use crate::engine::views::settled_views;
use crate::error::Result;
use crate::plan::Plan;
use crate::sae::Sae;
use crate::store::{Manifest, RunDir};
use crate::table::{SimilarityRow, write_table};
use std::sync::Arc;

/// Writes the tables `latents`, `matches` and `similarities` that a run of `plan` with the sums of `run`'s checkpoint has at
/// its end, nulls included, to `out`. `plan` differs from the run's own in nothing that changes sums. Returns the rows of
/// `similarities`, and how many matches are kept of each pair in which the source picks.
///
/// # Errors
/// `State` when the sums do not fit the plan, those of scores and of writing.
pub fn score(
    plan: &Arc<Plan>,
    saes: Vec<Option<Arc<Sae>>>,
    tokenizer: Arc<Tokenizer>,
    run: &RunDir,
    manifest: &Manifest,
    out: &RunDir,
) -> Result<(Vec<SimilarityRow>, Vec<u64>)> {
    let mut fold = Fold::new(plan.clone(), 0, 1);
    state::add(&mut fold, run, manifest, 0, |k| plan.tile_name(k))?;
    let mut due = Due::default();
    // a merge keeps what all its parts count, and chooses its candidates from there
    let of_merge = !manifest.extra["merged"].is_null();
    let rows = settled_views(fold.snapshot(of_merge), plan);
    fold.notes().into_iter().for_each(|note| due.note(note));
    // the tiles are the largest part; what is to come needs them no more
    drop(fold);
    let mut results = Results::new(plan.clone(), saes, tokenizer);
    results.update(rows);
    results.judge(&due.spaces, &due.chance, &due.candidates)?;
    let origin = origin(plan, manifest.rows);
    let columns = label_columns(plan, &due.spaces);
    write_table(&out.table("latents"), columns, &origin, results.latent_rows(&due.spaces))?;
    write_table(&out.table("matches"), (), &origin, results.match_rows())?;
    let saved = (!plan.is_sketched()).then(|| SavedTiles::of_manifest(run, plan, manifest));
    let similarities = results.scores(&due.spaces, &due.raw, true, saved)?;
    write_table(&out.table("similarities"), (), &origin, similarities.iter().cloned())?;
    let kept = (0..plan.pairs.len()).map(|p| results.n_kept(p)).collect();
    Ok((similarities, kept))
}
