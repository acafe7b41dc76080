//! The history of a run: a row per snapshot and pair, how many best partners changed since the snapshot before, and whether
//! the stop rule is met. Results in, rows of the table `history` out; kept over checkpoints.

use crate::engine::message::Spaces;
use crate::engine::results::judged::{Results, View};
use crate::error::{Error, Result};
use crate::moments::Repeated;
use crate::plan::Plan;
use crate::spec::StopRule;
use crate::store::{StateLayout, StateReader, StateWriter};
use crate::table::{HistoryRow, RowPairing, SimilarityRow, SitePair};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Name of the state file that keeps the history.
pub const PUBLISHED: &str = "published";

/// Name of the same at a checkpoint at which a snapshot is due: the publisher's memory before that snapshot. Under a name of its own, since
/// the checkpoint behind the snapshot replaces this one and has the same batches.
pub const BEFORE_SNAPSHOT: &str = "published-before";

/// Rows of `history` so far, and the best partners that the next churn is counted from.
pub struct History {
    /// Best partners at the snapshot before, `u32::MAX` for none, of each pair and direction; empty before the first.
    before: Vec<[Vec<u32>; 2]>,
    rows: Vec<HistoryRow>,
}

impl History {
    /// No snapshot yet.
    pub fn new(n_pairs: usize) -> Self {
        History { before: vec![[Vec::new(), Vec::new()]; n_pairs], rows: Vec::new() }
    }

    /// All rows, snapshot by snapshot.
    pub fn rows(&self) -> &[HistoryRow] {
        &self.rows
    }

    /// Adds the rows of a snapshot, one per pair, and gives them back.
    pub fn add(
        &mut self,
        results: &Results,
        snapshot: u32,
        tokens: u64,
        spaces: &Spaces,
        similarities: &[SimilarityRow],
        repeated: Option<Repeated>,
    ) -> Vec<HistoryRow> {
        let scores = scores(&results.plan);
        let values: BTreeMap<(&SitePair, RowPairing, &str), Option<f64>> = (similarities.iter())
            .filter(|row| row.subset == "all")
            .map(|row| ((&*row.pair, row.pairing, row.measure.as_str()), row.value))
            .collect();
        let mut out = Vec::new();
        for (p, before) in self.before.iter_mut().enumerate() {
            let pair = Arc::new(results.table_pair(p));
            let value = |(pairing, measure): &(RowPairing, String)| {
                values.get(&(&*pair, *pairing, measure.as_str())).copied().flatten()
            };
            out.push(HistoryRow {
                snapshot,
                tokens,
                pair: pair.clone(),
                counts: results.pair_counts(p, spaces),
                repeated_contexts: repeated.map(|r| r.share),
                repeated_contexts_error: repeated.map(|r| r.error),
                churn: churn(&results.views[p], before),
                measures: scores.iter().map(value).collect(),
            });
            *before = [0, 1].map(|d: usize| firsts(&results.views[p][d]));
        }
        self.rows.extend(out.iter().cloned());
        out
    }

    /// Whether every pair's churn was below the rule's share in each of the last snapshots that it asks for.
    pub fn has_converged(&self, rule: StopRule) -> bool {
        let last = self.rows.last().map_or(0, |row| row.snapshot);
        let asked: Vec<&HistoryRow> = self.rows.iter().filter(|row| row.snapshot + rule.snapshots > last).collect();
        last >= rule.snapshots && asked.iter().all(|row| row.churn.is_some_and(|churn| churn < rule.churn_below))
    }

    /// Reads the history back from a checkpoint.
    ///
    /// # Errors
    /// `State` when the file is not what the plan expects.
    pub fn restore(&mut self, file: &mut StateReader, plan: &Plan) -> Result<()> {
        let wrong = |what: String| Error::state(format!("state file {PUBLISHED}: {what}"));
        for (p, pair) in plan.pairs().iter().enumerate() {
            for (d, space) in [pair.source, pair.target].into_iter().enumerate() {
                let name = format!("before.{p}.{d}");
                let before: Vec<u32> = file.tensor(&name)?;
                if !before.is_empty() && before.len() != plan.spaces()[space].width {
                    return Err(wrong(format!("{name} has another width")));
                }
                self.before[p][d] = before;
            }
        }
        self.rows =
            serde_json::from_value(file.metadata()["history"].clone()).map_err(|e| wrong(format!("history: {e}")))?;
        let mut numbers = file.tensor::<f64>("history")?.into_iter();
        for number in self.rows.iter_mut().flat_map(numbers_of) {
            let saved = numbers.next().ok_or_else(|| wrong("the history lacks numbers".into()))?;
            *number = Some(saved).filter(|n| !n.is_nan());
        }
        Ok(())
    }

    /// Layout of its state file. Decimal text does not bring every f64 back, so numbers are saved as they are; in this file
    /// alone NaN is written for none.
    pub fn layout(&mut self) -> StateLayout {
        let n_numbers = self.rows.iter_mut().flat_map(numbers_of).count();
        let mut layout = StateLayout::new(json!({ "kind": "published", "history": self.rows }))
            .tensor::<f64>("history", &[n_numbers]);
        for (p, sides) in self.before.iter().enumerate() {
            for (d, before) in sides.iter().enumerate() {
                layout = layout.tensor::<u32>(&format!("before.{p}.{d}"), &[before.len()]);
            }
        }
        layout
    }

    /// Writes it into a file of this [layout](History::layout).
    ///
    /// # Errors
    /// `Machine` when the disk refuses.
    pub fn save(&mut self, file: &mut StateWriter) -> Result<()> {
        let numbers: Vec<f64> =
            self.rows.iter_mut().flat_map(numbers_of).map(|number| number.unwrap_or(f64::NAN)).collect();
        file.put("history", &numbers)?;
        for (p, sides) in self.before.iter().enumerate() {
            for (d, before) in sides.iter().enumerate() {
                file.put(&format!("before.{p}.{d}"), before)?;
            }
        }
        Ok(())
    }
}

/// Names of the columns that `history` has of scores, in their order.
pub fn measures(plan: &Plan) -> Vec<String> {
    scores(plan).iter().map(|(pairing, measure)| format!("{}.{measure}", pairing.as_str())).collect()
}

/// Pairing and measure of each of these columns.
fn scores(plan: &Plan) -> Vec<(RowPairing, String)> {
    let estimate = &plan.spec().estimate;
    let of_rows = (estimate.pairings.iter())
        .flat_map(|&pairing| estimate.measures.iter().map(move |m| (pairing.into(), m.to_string())));
    let of_activations = estimate.activation_measures.iter().map(|m| (RowPairing::Activations, m.to_string()));
    of_rows.chain(of_activations).collect()
}

/// The numbers of a row of the history.
fn numbers_of(row: &mut HistoryRow) -> impl Iterator<Item = &mut Option<f64>> {
    let HistoryRow { counts, repeated_contexts, repeated_contexts_error, churn, measures, .. } = row;
    let own = [repeated_contexts, repeated_contexts_error, churn];
    counts.numbers_mut().into_iter().chain(own).chain(measures)
}

/// Best partner of each latent, `u32::MAX` for none.
fn firsts(view: &View) -> Vec<u32> {
    view.best.iter().map(|b| b[0].map_or(u32::MAX, |p| p.latent)).collect()
}

/// Share of latents, both ways, whose best partner is another one than at the snapshot before; of those that have one now
/// or had one. `None` at the first snapshot.
fn churn(views: &[View; 2], before: &[Vec<u32>; 2]) -> Option<f64> {
    let (mut changed, mut known) = (0u64, 0u64);
    for (view, before) in views.iter().zip(before) {
        if before.is_empty() {
            return None;
        }
        for (now, before) in firsts(view).into_iter().zip(before) {
            known += u64::from(now != u32::MAX || *before != u32::MAX);
            changed += u64::from(now != *before);
        }
    }
    (known > 0).then(|| changed as f64 / known as f64)
}
