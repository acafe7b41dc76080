//! From views and notes to tables: what worker 0 of process 0 knows, publishes and commits. No dataflow here.

use crate::engine::encode::Loaded;
use crate::engine::event::{Event, Observer, SnapshotFacts};
use crate::engine::message::{Brings, CheckpointDue, Control, Next, SavedFile};
use crate::engine::results::due::Due;
use crate::engine::results::history::{self, BEFORE_SNAPSHOT, History, PUBLISHED};
use crate::engine::results::judged::Results;
use crate::engine::results::listing::Listed;
use crate::engine::results::saved_tiles::SavedTiles;
use crate::engine::results::tables::{make_tables, origin};
use crate::engine::results::work::Work;
use crate::engine::status::{Making, RunStatus, Stage, Unpublished};
use crate::error::{ErrorKind, Result};
use crate::ids::BatchIndex;
use crate::plan::Plan;
use crate::spec::{NullAt, StopRule};
use crate::store::{
    Ended, Environment, FileRecord, Manifest, MergedRun, RequestRecord, RunDir, SetRecord, SnapshotDue, StateFile,
    SumsOrigin,
};
use crate::table::write_into;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What worker 0 knows.
pub struct Publisher {
    plan: Arc<Plan>,
    run: Arc<RunDir>,
    status: Arc<RunStatus>,
    observer: Observer,
    results: Results,
    history: History,
    listed: Listed,
    parts: (String, BTreeMap<String, String>),
    asked: RequestRecord,
    /// The state files of the checkpoint that the run resumes from, where a snapshot is due there.
    resumed: Vec<SavedFile>,
}

impl Publisher {
    /// A publisher that has published nothing yet.
    pub fn new(
        plan: Arc<Plan>,
        loaded: &Loaded,
        run: Arc<RunDir>,
        status: Arc<RunStatus>,
        observer: Observer,
        asked: RequestRecord,
    ) -> Self {
        let results = Results { work: Work::of(&status), ..Results::new(plan.clone(), loaded.saes.clone()) };
        let history = History::new(plan.pairs().len());
        let listed = Listed::new(plan.pairs().len());
        let parts = (plan.fingerprint().to_string(), plan.fingerprint_parts().clone());
        Publisher { plan, run, status, observer, results, history, listed, parts, asked, resumed: Vec::new() }
    }

    /// Reads back what a checkpoint holds of the publisher.
    ///
    /// # Errors
    /// `State` when the file is not what the plan expects.
    pub fn restore(&mut self, manifest: &Manifest) -> Result<()> {
        let name = if manifest.due.is_some() { BEFORE_SNAPSHOT } else { PUBLISHED };
        let mut file = self.run.read_state(manifest, name)?;
        if manifest.due.is_some() {
            let before = &self.run.state_path(manifest.next_batch, BEFORE_SNAPSHOT);
            let others = manifest.files.iter().filter(|(path, _)| *path != before);
            let saved = |(path, record): (&String, &FileRecord)| SavedFile {
                path: path.clone(),
                size: record.size,
                digest: record.blake3.clone(),
            };
            self.resumed = others.map(saved).collect();
        }
        self.history.restore(&mut file, &self.plan)?;
        self.listed.restore(&mut file, &self.plan)?;
        if let Some(listing) = self.listed.now() {
            self.status.set_listing(listing);
        }
        self.check_stop_rule();
        Ok(())
    }

    /// Finishes a batch: brings the views up to date, publishes, commits. A stop keeps a snapshot from being published: it is then due where the
    /// run resumes, and the status says so. The state behind the last batch is committed before the tables of the end are begun.
    ///
    /// # Errors
    /// Those of writing; `Input` or `State` from a score that meets a non-finite number.
    pub fn finish(&mut self, t: BatchIndex, due: Due) -> Result<()> {
        let mut due = due;
        self.results.update(std::mem::take(&mut due.deltas));
        let Some(control) = due.control.take() else { return Ok(()) };
        debug_assert_eq!(control.t, t);
        if control.brings == Brings::Resumed {
            due.saved = std::mem::take(&mut self.resumed);
        }
        if let Some(snapshot) = control.snapshot
            && !self.finish_snapshot(snapshot.number, &control, &due)?
        {
            return Ok(());
        }
        if control.list {
            self.status.set_listing(self.listed.choose(&self.results, &self.plan));
        }
        let ended = self.ended(&control);
        let left = if let Brings::Stop(left) = control.brings { Some(left) } else { None };
        self.save(&control, ended, left, due.saved)
    }

    /// Publishes the snapshot of a control; `false` where a stop has kept it from that.
    fn finish_snapshot(&mut self, number: u32, control: &Control, due: &Due) -> Result<bool> {
        let status = self.status.clone();
        let (next, ended) = (control.next_batch(), self.ended(control));
        let left = SnapshotDue { snapshot: number, list: control.list, ended };
        let mut is_saved = control.brings == Brings::Resumed;
        // a kill from here on loses nothing that was read
        if ended != Ended::No && !is_saved {
            self.save(control, Ended::No, Some(left), due.saved.clone())?;
            is_saved = true;
        }
        match status.timed(Stage::Publish, || self.publish(number, control.rows, next, ended, due)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                if !is_saved && control.checkpoint.is_some() {
                    self.save(control, Ended::No, Some(left), due.saved.clone())?;
                    is_saved = true;
                }
                status.leave_unpublished(Unpublished { due: left, is_saved });
                Ok(false)
            }
            published => published.map(|()| true),
        }
    }

    /// Commits the checkpoint of a control, if it has one.
    fn save(&mut self, control: &Control, ended: Ended, due: Option<SnapshotDue>, saved: Vec<SavedFile>) -> Result<()> {
        let Some(CheckpointDue { cursor, second }) = &control.checkpoint else { return Ok(()) };
        let cursor = serde_json::from_str(cursor).expect("a cursor is plain data");
        let origin = SumsOrigin::Streamed { cursor, second_pass: *second };
        let (next, status) = (control.next_batch(), self.status.clone());
        status.timed(Stage::Checkpoint, || self.commit(next, control.rows, ended, due, saved, origin))
    }

    /// Publishes the sums of `runs` as one snapshot of `rows` rows, and commits them as a finished run of `batches` batches.
    ///
    /// # Errors
    /// As [`Publisher::finish`].
    pub fn publish_merged(&mut self, rows: u64, batches: BatchIndex, runs: Vec<MergedRun>, mut due: Due) -> Result<()> {
        self.results.update(std::mem::take(&mut due.deltas));
        self.publish(1, rows, batches, Ended::Corpus, &due)?;
        self.commit(batches, rows, Ended::Corpus, None, due.saved, SumsOrigin::Merged(runs))
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
    ///
    /// # Errors
    /// `Interrupted` when a stop is asked for before they are all made: then nothing is published.
    fn publish(&mut self, snapshot: u32, rows: u64, next: BatchIndex, ended: Ended, due: &Due) -> Result<()> {
        let last = ended != Ended::No;
        let pairs = self.plan.pairs().len();
        if last {
            (self.observer)(Event::FinalScores { tokens: rows, pairs });
        }
        let _making = Watched::begin(&self.status, last, pairs);
        self.results.judge(due.facts())?;
        let origin = origin(&self.plan, rows, snapshot, due.contexts);
        let with_null = last || self.plan.spec().estimate.null.at == NullAt::Snapshot;
        // at the end the sums are on disk already
        let saved = last.then(|| SavedTiles::of_files(&self.run, &self.plan, next, &due.saved));
        let mut set = self.run.new_set()?;
        let similarities = make_tables(&mut set, &self.results, due, &origin, with_null, saved)?;
        let of_pairs = self.history.add(&self.results, snapshot, rows, &due.spaces, &similarities, due.contexts);
        self.check_stop_rule();
        write_into(&mut set, history::measures(&self.plan), &origin, self.history.rows().iter().cloned())?;
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
        write_into(&mut set, history::measures(&self.plan), &origin, self.history.rows().iter().cloned())?;
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
        self.history.rows().last().map(|row| row.tokens)
    }

    fn check_stop_rule(&self) {
        if self.plan.spec().estimate.stop_when.is_some_and(|rule| self.history.has_converged(rule)) {
            self.status.set_converged();
        }
    }

    fn commit(
        &mut self,
        next: BatchIndex,
        rows: u64,
        ended: Ended,
        due: Option<SnapshotDue>,
        saved: Vec<SavedFile>,
        origin: SumsOrigin,
    ) -> Result<()> {
        let name = if due.is_some() { BEFORE_SNAPSHOT } else { PUBLISHED };
        let layout = self.listed.lay_out(self.history.layout());
        let mut file = self.run.write_state(next, name, layout)?;
        self.history.save(&mut file)?;
        self.listed.save(&mut file)?;
        let published: StateFile = file.finish()?;
        let mut manifest = Manifest::new(self.parts.0.clone(), self.parts.1.clone());
        manifest.next_batch = next;
        manifest.rows = rows;
        manifest.snapshot = self.history.rows().last().map_or(0, |h| h.snapshot);
        (manifest.ended, manifest.due) = (ended, due);
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

/// Tables are being made while this lives.
struct Watched(Arc<RunStatus>);

impl Watched {
    #[allow(clippy::disallowed_methods, reason = "how long it takes is printed")]
    fn begin(status: &Arc<RunStatus>, is_last: bool, pairs: usize) -> Watched {
        let since = std::time::Instant::now();
        status.set_making(Some(Making { is_last, part: "matches", done: 0, pairs, since }));
        Watched(status.clone())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.set_making(None);
    }
}
