//! From views and notes to tables: what worker 0 of process 0 knows, publishes and commits. No dataflow here.

use crate::corpus::Tokenizer;
use crate::engine::encode::Loaded;
use crate::engine::event::{Event, Observer, SnapshotFacts};
use crate::engine::message::{CheckpointDue, Control, Next, SavedFile, Spaces};
use crate::engine::results::due::Due;
use crate::engine::results::judged::{Results, View};
use crate::engine::results::saved_tiles::SavedTiles;
use crate::engine::results::tables::{make_tables, origin};
use crate::engine::status::{RunStatus, Stage};
use crate::error::Result;
use crate::ids::BatchIndex;
use crate::moments::Repeated;
use crate::plan::Plan;
use crate::spec::{NullAt, StopRule};
use crate::store::{
    Ended, Environment, FileRecord, Manifest, MergedRun, RequestRecord, RunDir, SetRecord, StateFile, StateLayout,
    SumsOrigin,
};
use crate::table::{HistoryRow, RowPairing, SimilarityRow, SitePair, write_into};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What worker 0 knows.
pub struct Publisher {
    plan: Arc<Plan>,
    run: Arc<RunDir>,
    status: Arc<RunStatus>,
    observer: Observer,
    results: Results,
    /// Best partners at the snapshot before, `u32::MAX` for none, of each pair and direction; empty before the first.
    before: Vec<[Vec<u32>; 2]>,
    history: Vec<HistoryRow>,
    parts: (String, BTreeMap<String, String>),
    asked: RequestRecord,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(
        plan: Arc<Plan>,
        loaded: &Loaded,
        tokenizer: Arc<Tokenizer>,
        run: Arc<RunDir>,
        status: Arc<RunStatus>,
        observer: Observer,
        asked: RequestRecord,
    ) -> Self {
        let results = Results::new(plan.clone(), loaded.saes.clone(), tokenizer);
        let before = vec![[Vec::new(), Vec::new()]; plan.pairs().len()];
        let parts = (plan.fingerprint().to_string(), plan.fingerprint_parts().clone());
        Publisher { plan, run, status, observer, results, before, history: Vec::new(), parts, asked }
    }

    /// Reads back what a checkpoint holds of the publisher.
    ///
    /// # Errors
    /// `State` when the file is not what the plan expects.
    pub fn restore(&mut self, manifest: &Manifest) -> Result<()> {
        let mut file = self.run.read_state(manifest, PUBLISHED)?;
        for (p, pair) in self.plan.pairs().to_vec().iter().enumerate() {
            for (d, space) in [pair.source, pair.target].into_iter().enumerate() {
                let name = format!("before.{p}.{d}");
                let before: Vec<u32> = file.tensor(&name)?;
                if !before.is_empty() && before.len() != self.plan.spaces()[space].width {
                    return Err(crate::error::Error::state(format!(
                        "state file {PUBLISHED}: {name} has another width"
                    )));
                }
                self.before[p][d] = before;
            }
        }
        self.history = serde_json::from_value(file.metadata()["history"].clone())
            .map_err(|e| crate::error::Error::state(format!("state file {PUBLISHED}: history: {e}")))?;
        let numbers: Vec<f64> = file.tensor("history")?;
        let mut numbers = numbers.into_iter();
        for number in self.history.iter_mut().flat_map(numbers_of) {
            let saved = numbers.next().ok_or_else(|| {
                crate::error::Error::state(format!("state file {PUBLISHED}: the history lacks numbers"))
            })?;
            *number = Some(saved).filter(|n| !n.is_nan());
        }
        self.check_stop_rule();
        Ok(())
    }

    /// Finishes a batch: brings the views up to date, publishes, commits.
    ///
    /// # Errors
    /// Those of writing; `Input` or `State` from a score that meets a non-finite number.
    pub fn finish(&mut self, t: BatchIndex, due: Due) -> Result<()> {
        let mut due = due;
        self.results.update(std::mem::take(&mut due.deltas));
        let Some(control) = due.control.take() else { return Ok(()) };
        debug_assert_eq!(control.t, t);
        let status = self.status.clone();
        let (next, ended) = (control.t + 1, self.ended(&control));
        if let Some(snapshot) = control.snapshot {
            status.timed(Stage::Publish, || self.publish(snapshot.number, control.rows, next, ended, &due))?;
        }
        if let Some(CheckpointDue { cursor, second }) = control.checkpoint {
            let cursor = serde_json::from_str(&cursor).expect("a cursor is plain data");
            let origin = SumsOrigin::Streamed { cursor, second_pass: second };
            status.timed(Stage::Checkpoint, || self.commit(next, control.rows, ended, due.saved, origin))?;
        }
        Ok(())
    }

    /// Publishes the sums of `runs` as one snapshot of `rows` rows, and commits them as a finished run of `batches` batches.
    ///
    /// # Errors
    /// As [`Publisher::finish`].
    pub fn publish_merged(&mut self, rows: u64, batches: BatchIndex, runs: Vec<MergedRun>, mut due: Due) -> Result<()> {
        self.results.update(std::mem::take(&mut due.deltas));
        self.publish(1, rows, batches, Ended::Corpus, &due)?;
        self.commit(batches, rows, Ended::Corpus, due.saved, SumsOrigin::Merged(runs))
    }

    /// How the run has ended after a batch.
    fn ended(&self, control: &Control) -> Ended {
        match (control.next, self.plan.spec().estimate.stop_when) {
            (Next::Batch | Next::SecondPass, _) => Ended::No,
            (Next::Converged, Some(StopRule { churn_below, snapshots })) => Ended::StopRule { churn_below, snapshots },
            (Next::End | Next::Converged, _) => Ended::Corpus,
        }
    }

    /// Makes all tables of a snapshot, then publishes them as one set.
    fn publish(&mut self, snapshot: u32, rows: u64, next: BatchIndex, ended: Ended, due: &Due) -> Result<()> {
        let last = ended != Ended::No;
        self.results.judge(due.facts())?;
        let origin = origin(&self.plan, rows, snapshot, due.contexts);
        let with_null = last || self.plan.spec().estimate.null.at == NullAt::Snapshot;
        // at the end the sums are on disk already
        let exact_end = last && !self.plan.is_sketched();
        let saved = exact_end.then(|| SavedTiles::of_files(&self.run, &self.plan, next, &due.saved));
        let mut set = self.run.new_set()?;
        let similarities = make_tables(&mut set, &self.results, due, &origin, with_null, saved)?;
        let of_pairs = self.history_rows(snapshot, rows, &due.spaces, &similarities, due.contexts);
        self.history.extend(of_pairs.iter().cloned());
        self.check_stop_rule();
        write_into(&mut set, self.history_measures(), &origin, self.history.iter().cloned())?;
        set.publish(self.about(snapshot, rows), last)?;
        let facts = SnapshotFacts { snapshot, tokens: rows, pairs: of_pairs };
        (self.observer)(Event::Snapshot(facts));
        Ok(())
    }

    /// Publishes the last snapshot again, from what a [restored](Publisher::restore) checkpoint's sums give.
    ///
    /// # Errors
    /// Those of writing and of scores.
    pub fn publish_again(
        &mut self,
        manifest: &Manifest,
        mut due: Due,
        with_null: bool,
        saved: Option<SavedTiles<'_>>,
    ) -> Result<SetRecord> {
        self.results.update(std::mem::take(&mut due.deltas));
        self.results.judge(due.facts())?;
        let origin = origin(&self.plan, manifest.rows, manifest.snapshot, due.contexts);
        let mut set = self.run.new_set()?;
        make_tables(&mut set, &self.results, &due, &origin, with_null, saved)?;
        write_into(&mut set, self.history_measures(), &origin, self.history.iter().cloned())?;
        set.publish(self.about(manifest.snapshot, manifest.rows), manifest.is_finished())
    }

    /// The record of a set of tables.
    fn about(&self, snapshot: u32, tokens: u64) -> SetRecord {
        let (fingerprint, parts) = self.parts.clone();
        let dataflow = Some(self.asked.dataflow.clone());
        SetRecord { snapshot, tokens, fingerprint, parts, dataflow, ..SetRecord::default() }
    }

    /// Counted rows at the last snapshot; `None` before the first.
    pub fn tokens_of_last_snapshot(&self) -> Option<u64> {
        self.history.last().map(|row| row.tokens)
    }

    /// Pairing and measure of each score that `history` has a column of, in their order.
    fn history_scores(&self) -> Vec<(RowPairing, String)> {
        let estimate = &self.plan.spec().estimate;
        let of_rows = (estimate.pairings.iter())
            .flat_map(|&pairing| estimate.measures.iter().map(move |m| (pairing.into(), m.to_string())));
        let of_activations = estimate.activation_measures.iter().map(|m| (RowPairing::Activations, m.to_string()));
        of_rows.chain(of_activations).collect()
    }

    /// Names of these columns.
    fn history_measures(&self) -> Vec<String> {
        self.history_scores().iter().map(|(pairing, measure)| format!("{}.{measure}", pairing.as_str())).collect()
    }

    fn history_rows(
        &mut self,
        snapshot: u32,
        tokens: u64,
        spaces: &Spaces,
        similarities: &[SimilarityRow],
        repeated: Option<Repeated>,
    ) -> Vec<HistoryRow> {
        let scores = self.history_scores();
        let values: BTreeMap<(&SitePair, RowPairing, &str), Option<f64>> = (similarities.iter())
            .filter(|row| row.subset == "all")
            .map(|row| ((&*row.pair, row.pairing, row.measure.as_str()), row.value))
            .collect();
        let mut out = Vec::new();
        for p in 0..self.plan.pairs().len() {
            let table_pair = Arc::new(self.results.table_pair(p));
            let value = |(pairing, measure): &(RowPairing, String)| {
                values.get(&(&*table_pair, *pairing, measure.as_str())).copied().flatten()
            };
            let values = scores.iter().map(value).collect();
            out.push(HistoryRow {
                snapshot,
                tokens,
                pair: table_pair.clone(),
                counts: self.results.pair_counts(p, spaces),
                repeated_contexts: repeated.map(|r| r.share),
                repeated_contexts_error: repeated.map(|r| r.error),
                churn: churn(&self.results.views[p], &self.before[p]),
                measures: values,
            });
            self.before[p] = [0, 1].map(|d: usize| firsts(&self.results.views[p][d]));
        }
        out
    }

    fn check_stop_rule(&self) {
        if self.plan.spec().estimate.stop_when.is_some_and(|rule| has_converged(&self.history, rule)) {
            self.status.set_converged();
        }
    }

    fn commit(
        &mut self,
        next: BatchIndex,
        rows: u64,
        ended: Ended,
        saved: Vec<SavedFile>,
        origin: SumsOrigin,
    ) -> Result<()> {
        // decimal text does not bring every f64 back, so numbers are saved as they are; here alone NaN stands for none
        let numbers: Vec<f64> =
            self.history.iter_mut().flat_map(numbers_of).map(|number| number.unwrap_or(f64::NAN)).collect();
        let mut layout = StateLayout::new(json!({ "kind": "published", "history": self.history }))
            .tensor::<f64>("history", &[numbers.len()]);
        for (p, sides) in self.before.iter().enumerate() {
            for (d, before) in sides.iter().enumerate() {
                layout = layout.tensor::<u32>(&format!("before.{p}.{d}"), &[before.len()]);
            }
        }
        let mut file = self.run.write_state(next, PUBLISHED, layout)?;
        file.put("history", &numbers)?;
        for (p, sides) in self.before.iter().enumerate() {
            for (d, before) in sides.iter().enumerate() {
                file.put(&format!("before.{p}.{d}"), before)?;
            }
        }
        let published: StateFile = file.finish()?;
        let mut manifest = Manifest::new(self.parts.0.clone(), self.parts.1.clone());
        manifest.next_batch = next;
        manifest.rows = rows;
        manifest.snapshot = self.history.last().map_or(0, |h| h.snapshot);
        manifest.ended = ended;
        manifest.origin = origin;
        manifest.asked = self.asked.clone();
        manifest.environment = Environment::here();
        manifest.files = (saved.into_iter())
            .map(|f| (f.path, FileRecord { size: f.size, blake3: f.digest }))
            .chain([(published.path, published.record)])
            .collect();
        self.run.commit(&manifest)?;
        (self.observer)(Event::Checkpoint { tokens: rows, finished: manifest.is_finished() });
        Ok(())
    }
}

/// Name of the publisher's own state file.
const PUBLISHED: &str = "published";

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

/// Whether every pair's churn was below the rule's share in each of the last snapshots that it asks for.
fn has_converged(history: &[HistoryRow], rule: StopRule) -> bool {
    let last = history.last().map_or(0, |row| row.snapshot);
    let asked: Vec<&HistoryRow> = history.iter().filter(|row| row.snapshot + rule.snapshots > last).collect();
    last >= rule.snapshots && asked.iter().all(|row| row.churn.is_some_and(|churn| churn < rule.churn_below))
}
