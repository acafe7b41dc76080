//! What is due after each batch: a snapshot, a checkpoint, the second pass, the end? A pure function of the corpus and the
//! dataflow file: a resumed run has the same schedule.

use crate::engine::message::{Brings, CheckpointDue, Control, Next, Pass, Snapshot};
use crate::ids::BatchIndex;
use crate::store::{Ended, SecondPass, SnapshotDue};

/// Rows after which partners are listed for the first time, and at each doubling from there; a power of two.
const FIRST_LISTING: u64 = 1 << 14;

/// Position of a run in its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    snapshot_every: u64,
    checkpoint_every: u64,
    /// Whether the corpus is read twice.
    twice: bool,
    /// Whether partners are listed.
    lists: bool,
    /// Rows that this pass has counted before the next batch.
    rows: u64,
    /// Snapshots taken.
    snapshots: u32,
    /// The second pass, when the first has ended.
    second: Option<SecondPass>,
}

/// A batch, as far as the schedule looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its number in the run.
    pub t: BatchIndex,
    /// Counted rows.
    pub n_rows: u64,
    /// Whether the corpus has no other behind it.
    pub is_last: bool,
    /// Position in the corpus after it, as JSON.
    pub cursor: String,
}

impl Schedule {
    /// The schedule of a run from its first batch on.
    pub fn new(snapshot_every: u64, checkpoint_every: u64, twice: bool, lists: bool) -> Self {
        Schedule { snapshot_every, checkpoint_every, twice, lists, rows: 0, snapshots: 0, second: None }
    }

    /// The same from a checkpoint on: after `rows` rows and `snapshots` snapshots, and the progress of the second pass.
    pub fn resumed(self, rows: u64, snapshots: u32, second: Option<SecondPass>) -> Self {
        Schedule { rows: second.map_or(rows, |pass| pass.counted), snapshots, second, ..self }
    }

    /// Number of batches in the first pass; 0 while it lasts. The numbers of the second pass continue from here.
    pub fn batches_before(&self) -> u64 {
        self.second.map_or(0, |pass| pass.batches)
    }

    /// What is due after a batch; `converged`: the stop rule is met; `save`: a checkpoint is asked for, by a stop or by the clock.
    ///
    /// A snapshot is due in the batch that reaches a multiple of `snapshot_every` and after the last one of a pass, in a second
    /// pass only there; a checkpoint likewise, in either pass, and where one is asked for. Partners are listed where the first pass reaches
    /// a multiple of `snapshot_every`, 2¹⁴ rows, or a doubling of them.
    pub fn next(&mut self, read: Read, converged: bool, save: bool) -> Control {
        let pass = if self.second.is_some() { Pass::Second } else { Pass::First };
        let ends = match self.second {
            Some(second) => read.t + 1 == 2 * second.batches,
            None => read.is_last || converged,
        };
        let before = self.rows;
        self.rows += read.n_rows;
        let crossed = |every: u64| before / every != self.rows / every;
        let is_checkpoint = crossed(self.checkpoint_every) || ends || save;
        let is_snapshot = (pass == Pass::First && crossed(self.snapshot_every)) || ends;
        let doubled = before.max(FIRST_LISTING - 1).ilog2() != self.rows.max(FIRST_LISTING - 1).ilog2();
        let list = self.lists && pass == Pass::First && (crossed(self.snapshot_every) || doubled);
        // with more of the corpus to come
        let early = converged && !read.is_last;
        let rows = match &mut self.second {
            Some(second) => {
                second.counted = self.rows;
                second.rows
            }
            None => self.rows,
        };
        let next = match (pass, self.second) {
            _ if !ends => Next::Batch,
            (Pass::First, _) if self.twice => Next::SecondPass,
            (_, Some(SecondPass { settled: true, .. })) => Next::Converged,
            (Pass::First, _) if early => Next::Converged,
            _ => Next::End,
        };
        if next == Next::SecondPass {
            self.second = Some(SecondPass { batches: read.t + 1, rows, counted: 0, settled: early });
            self.rows = 0;
        }
        let snapshot = is_snapshot.then(|| {
            self.snapshots += 1;
            let by_number = pass == Pass::First && self.snapshots.is_power_of_two();
            Snapshot { number: self.snapshots, choose: by_number || next == Next::SecondPass }
        });
        let checkpoint = is_checkpoint.then_some(CheckpointDue { cursor: read.cursor, second: self.second });
        Control { t: read.t, brings: Brings::Batch, rows, pass, listing: None, snapshot, list, checkpoint, next }
    }

    /// The snapshot that is due where the run resumes, behind batch `t` at `cursor`.
    pub fn due(&mut self, t: BatchIndex, due: SnapshotDue, cursor: String) -> Control {
        self.snapshots = due.snapshot;
        Control {
            brings: Brings::Resumed,
            snapshot: Some(Snapshot { number: due.snapshot, choose: false }),
            list: due.list,
            next: match due.ended {
                Ended::No => Next::Batch,
                Ended::Corpus => Next::End,
                Ended::StopRule { .. } => Next::Converged,
            },
            ..self.nothing(t, cursor)
        }
    }

    /// Saves the state before batch `t` at `cursor`, with a snapshot due that was not published; the last of a run that stops.
    pub fn stop(&self, t: BatchIndex, due: SnapshotDue, cursor: String) -> Control {
        Control { brings: Brings::Stop(due), ..self.nothing(t, cursor) }
    }

    /// A checkpoint and nothing else, where no batch is read.
    fn nothing(&self, t: BatchIndex, cursor: String) -> Control {
        Control {
            t,
            brings: Brings::Batch,
            rows: self.second.map_or(self.rows, |second| second.rows),
            pass: if self.second.is_some() { Pass::Second } else { Pass::First },
            listing: None,
            snapshot: None,
            list: false,
            checkpoint: Some(CheckpointDue { cursor, second: self.second }),
            next: Next::Batch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 40;

    fn read(t: usize) -> Read {
        let n_rows = 7 + (t % N) as u64 % 5;
        Read { t: t as u64, n_rows, is_last: t % N == N - 1, cursor: format!("\"after {t}\"") }
    }

    /// Everything that is due from batch `from` on; the stop rule is met after `converged` snapshots.
    fn run(mut schedule: Schedule, from: usize, converged: u32) -> Vec<Control> {
        let (mut out, mut snapshots) = (Vec::new(), schedule.snapshots);
        for t in from.. {
            let control = schedule.next(read(t), snapshots >= converged, false);
            snapshots = control.snapshot.map_or(snapshots, |s| s.number);
            out.push(control);
            if matches!(out[out.len() - 1].next, Next::End | Next::Converged) {
                break;
            }
        }
        out
    }

    /// As a checkpoint after `done` has it.
    fn resumed(schedule: Schedule, done: &[Control]) -> Schedule {
        let last = &done[done.len() - 1];
        let snapshots = done.iter().filter_map(|c| Some(c.snapshot?.number)).max().unwrap_or(0);
        let second = last.checkpoint.as_ref().expect("one is asked for below").second;
        schedule.resumed(last.rows, snapshots, second)
    }

    #[test]
    fn a_resumed_schedule_goes_on_as_the_uninterrupted_one() {
        for twice in [false, true] {
            let schedule = Schedule::new(50, 9, twice, true);
            let whole = run(schedule.clone(), 0, u32::MAX);
            let mut cuts = 0;
            for cut in (1..whole.len()).filter(|&cut| whole[cut - 1].checkpoint.is_some()) {
                assert_eq!(run(resumed(schedule.clone(), &whole[..cut]), cut, u32::MAX), whole[cut..], "{cut}");
                cuts += 1;
            }
            assert!(cuts > N / 2, "{cuts} checkpoints");
            let end = &whole[whole.len() - 1];
            assert!(end.next == Next::End && end.checkpoint.is_some() && end.snapshot.is_some());
            // 360 rows; the last batch of the first pass is the one that reaches 350
            let n_snapshots = whole.iter().filter(|c| c.snapshot.is_some()).count();
            assert_eq!((n_snapshots, whole.len()), if twice { (8, 2 * N) } else { (7, N) });
        }
    }

    #[test]
    fn a_second_pass_counts_as_many_batches_again_and_takes_one_snapshot() {
        let whole = run(Schedule::new(50, 90, true, true), 0, u32::MAX);
        let (first, second) = whole.split_at(N);
        assert!(first.iter().all(|c| c.pass == Pass::First) && second.iter().all(|c| c.pass == Pass::Second));
        let turn = &first[N - 1];
        assert_eq!((turn.next, turn.rows), (Next::SecondPass, 360));
        assert_eq!(
            turn.snapshot,
            Some(Snapshot { number: 7, choose: true }),
            "candidates are chosen for the second pass"
        );
        let begins = SecondPass { batches: N as u64, rows: 360, counted: 0, settled: false };
        assert_eq!(turn.checkpoint.as_ref().unwrap().second, Some(begins));
        assert!(second.iter().all(|c| c.rows == 360), "rows are not counted twice");
        let snapshots: Vec<(u64, Snapshot)> = second.iter().filter_map(|c| Some((c.t, c.snapshot?))).collect();
        assert_eq!(snapshots, [(2 * N as u64 - 1, Snapshot { number: 8, choose: false })]);
        let last = second[N - 1].checkpoint.as_ref().unwrap().second.unwrap();
        assert_eq!(last, SecondPass { counted: 360, ..begins });
    }

    #[test]
    fn candidates_are_chosen_at_snapshots_1_2_4_8() {
        let whole = run(Schedule::new(50, 90, false, true), 0, u32::MAX);
        let chosen: Vec<u32> = whole.iter().filter_map(|c| c.snapshot.filter(|s| s.choose).map(|s| s.number)).collect();
        assert_eq!(chosen, [1, 2, 4]);
    }

    #[test]
    fn a_met_stop_rule_ends_the_pass_with_the_next_batch_and_the_end_says_why() {
        for (twice, n_batches) in [(false, 1), (true, 2)] {
            let whole = run(Schedule::new(50, 90, twice, true), 0, 3);
            let third = whole.iter().position(|c| c.snapshot.is_some_and(|s| s.number == 3)).unwrap();
            assert_eq!(whole.len(), n_batches * (third + 2));
            assert_eq!(whole[whole.len() - 1].next, Next::Converged);
        }
        // met with the corpus's last batch still to come, which is then the end of the corpus
        let whole = run(Schedule::new(50, 90, false, true), 0, 6);
        assert_eq!(whole[whole.len() - 1].next, if whole.len() == N { Next::End } else { Next::Converged });
    }

    #[test]
    fn a_snapshot_that_is_due_where_a_run_resumes_is_that_of_the_batch() {
        for twice in [false, true] {
            let schedule = Schedule::new(50, 9, twice, true);
            let whole = run(schedule.clone(), 0, u32::MAX);
            let snapshots = whole.iter().filter(|c| c.snapshot.is_some_and(|s| !s.choose) && c.checkpoint.is_some());
            for of_batch in snapshots.clone() {
                let cut = of_batch.t as usize + 1;
                let mut again = resumed(schedule.clone(), &whole[..cut]);
                // as the checkpoint before its tables has it
                again.snapshots -= 1;
                let ended = if of_batch.is_last() { Ended::Corpus } else { Ended::No };
                let number = of_batch.snapshot.unwrap().number;
                let cursor = of_batch.checkpoint.clone().unwrap().cursor;
                let due = SnapshotDue { snapshot: number, list: of_batch.list, ended };
                let control = again.due(of_batch.t, due, cursor.clone());
                assert_eq!(Control { brings: Brings::Batch, ..control.clone() }, *of_batch);
                assert_eq!(control.next_batch(), of_batch.next_batch());
                // what comes after it is what comes after the batch
                if !of_batch.is_last() {
                    assert_eq!(run(again.clone(), cut, u32::MAX), whole[cut..]);
                }
                let saved = again.stop(cut as u64, due, cursor);
                assert_eq!((saved.next_batch(), saved.rows), (control.next_batch(), control.rows));
                assert!(saved.snapshot.is_none() && !saved.list && !saved.is_last() && saved.is_due());
            }
            assert!(snapshots.count() >= if twice { 4 } else { 3 });
        }
    }

    #[test]
    fn a_stop_saves_and_changes_nothing_else() {
        let (mut stopped, mut not) = (Schedule::new(50, 90, false, true), Schedule::new(50, 90, false, true));
        let (a, b) = (stopped.next(read(0), false, true), not.next(read(0), false, false));
        assert!(a.checkpoint.is_some() && b.checkpoint.is_none());
        assert_eq!(Control { checkpoint: None, ..a }, b);
        assert_eq!(stopped, not);
    }
}
