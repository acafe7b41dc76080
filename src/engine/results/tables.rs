//! Which tables does a snapshot have? They are made here, for a run as for commands that make them again from saved
//! sums, into a set that is published when all are there. A new table is one more `write_into`: the set, its readers
//! and their checks know tables by what the set names.

use crate::engine::allocator;
use crate::engine::results::agreement::Agreement;
use crate::engine::results::due::Due;
use crate::engine::results::judged::Results;
use crate::engine::results::rows::label_columns;
use crate::engine::results::saved_tiles::SavedTiles;
use crate::error::Result;
use crate::moments::Repeated;
use crate::plan::{Plan, PlannedModel};
use crate::store::NewSet;
use crate::table::{AlignmentRow, SimilarityRow, TableRow, write_into};
use std::collections::BTreeMap;

/// Where the tables come from, as they record it: `tokens` rows, at the `snapshot`th snapshot; and of the text, how many of its
/// contexts were there before.
pub fn origin(plan: &Plan, tokens: u64, snapshot: u32, repeated: Option<Repeated>) -> BTreeMap<String, String> {
    let mut origin = BTreeMap::from([
        ("run".to_string(), plan.spec().name.clone()),
        ("fingerprint".to_string(), plan.fingerprint().to_string()),
        ("tokens".to_string(), tokens.to_string()),
        ("snapshot".to_string(), snapshot.to_string()),
        ("hookpoints".to_string(), plan.library_names()),
    ]);
    if let Some(repeated) = repeated {
        origin.insert("contexts".to_string(), repeated.contexts.to_string());
        origin.insert("repeated_contexts".to_string(), repeated.share.to_string());
        origin.insert("repeated_contexts_error".to_string(), repeated.error.to_string());
    }
    if let Some((key, _)) = plan.given_slots() {
        origin.insert("given".to_string(), key.as_str().to_string());
    }
    let redrawn = plan.models().iter().filter_map(|m| Some(format!("{} {}", m.name, m.random_weights?)));
    let redrawn: Vec<String> = redrawn.collect();
    if !redrawn.is_empty() {
        origin.insert("random_weights".to_string(), redrawn.join(", "));
    }
    if let Some(control) = plan.control() {
        origin.insert("control".to_string(), control);
    }
    // "model/hookpoint": "model/source", for readers who look latents up there
    let ids = plan.saes().filter_map(|(space, sae)| Some((space.site.to_string(), sae.neuronpedia.clone()?)));
    let ids: BTreeMap<String, String> = ids.collect();
    if !ids.is_empty() {
        origin.insert("neuronpedia".to_string(), serde_json::to_string(&ids).expect("text to text"));
    }
    origin
}

/// How decoder rows of matches agree under maps and on the logits.
fn agreement(results: &Results, saved: &SavedTiles<'_>) -> Result<Agreement> {
    let (maps, mapped) = results.mapped(saved)?;
    Ok(Agreement { maps, mapped, logits: results.on_the_logits()? })
}

/// Writes a table, unless it is to stop.
fn write<R: TableRow>(
    set: &mut NewSet,
    results: &Results,
    shape: R::Shape,
    origin: &BTreeMap<String, String>,
    rows: impl IntoIterator<Item = R>,
) -> Result<()> {
    write_into(set, shape, origin, results.work.rows(rows))?;
    results.work.halt().check()
}

/// Writes every table but `history` into `set` and gives back the rows of `similarities`; `results` must be judged.
/// `with_null`: the null of matched rows is computed. `saved`: sums for matching within a category.
///
/// # Errors
/// Those of writing and of [`Results::scores`]; `Interrupted` when it is to stop.
pub fn make_tables(
    set: &mut NewSet,
    results: &Results,
    due: &Due,
    origin: &BTreeMap<String, String>,
    with_null: bool,
    saved: Option<SavedTiles<'_>>,
) -> Result<Vec<SimilarityRow>> {
    results.work.at("latents", 0)?;
    write(set, results, label_columns(&results.plan, &due.spaces), origin, results.latent_rows(&due.spaces))?;
    allocator::give_back();
    let agreement = saved.as_ref().map(|saved| agreement(results, saved)).transpose()?.unwrap_or_default();
    results.work.at("matches", 0)?;
    write(set, results, (), origin, results.match_rows(&agreement))?;
    allocator::give_back();
    write(set, results, (), origin, results.pair_rows(&due.spaces, &agreement))?;
    if !results.plan.stitches().is_empty() {
        write(set, results, (), origin, agreement.maps)?;
    }
    let choices = results.choices(&due.spaces);
    write(set, results, (), origin, results.best_over_rows(&choices))?;
    write(set, results, (), origin, results.best_over_counts(&choices))?;
    drop(choices);
    allocator::give_back();
    let readout = if results.plan.readouts().is_empty() {
        Vec::new()
    } else {
        saved.as_ref().map_or(Ok(Vec::new()), |saved| results.readout_rows(&due.spaces, saved))?
    };
    if let Some(groups) = results.groups(&due.spaces, &readout) {
        write(set, results, (), origin, groups.rows)?;
        write(set, results, (), origin, groups.sizes)?;
        write(set, results, (), origin, groups.cycles)?;
        allocator::give_back();
    }
    if let Some(alignment) = &due.alignment {
        let row = |model: &PlannedModel| AlignmentRow {
            model: model.name.clone(),
            unit: results.plan.spec().corpus.rows.unit(),
            rows: alignment.rows,
            one_to_one: alignment.one_to_one_share(),
            tokens: alignment.tokens.get(model.view).copied().unwrap_or(0),
            tokens_per_row: alignment.tokens_per_row(model.view),
            bytes: alignment.bytes,
            dropped_bytes: alignment.left_out.bytes,
            unaligned_documents: alignment.left_out.unaligned_documents,
            cut_units: alignment.left_out.cut_units,
        };
        write(set, results, (), origin, results.plan.models().iter().map(row))?;
    }
    if !results.plan.readouts().is_empty() {
        write(set, results, (), origin, readout)?;
    }
    // tiles are there where sums are exact
    let tiles = saved.filter(|_| !results.plan.is_sketched());
    let scored = results.scores(&due.spaces, &due.raw, with_null, tiles)?;
    write(set, results, (), origin, results.best_over_scores(&scored))?;
    let similarities: Vec<SimilarityRow> = scored.into_iter().map(|s| s.row).collect();
    write(set, results, (), origin, similarities.iter().cloned())?;
    Ok(similarities)
}
