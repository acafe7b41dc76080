//! When is a snapshot or a checkpoint due? A pure function of the corpus and the dataflow file, so that a resumed run
//! takes the same ones.

use crate::engine::message::Control;
use crate::ids::BatchIndex;

/// Where a run stands in its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    snapshot_every: u64,
    checkpoint_every: u64,
    /// Counted rows before the next batch.
    rows: u64,
    /// Snapshots taken.
    snapshots: u32,
}

impl Schedule {
    /// A schedule that stands after `rows` rows and `snapshots` snapshots.
    pub fn new(snapshot_every: u64, checkpoint_every: u64, rows: u64, snapshots: u32) -> Self {
        Schedule { snapshot_every, checkpoint_every, rows, snapshots }
    }

    /// What is due after a batch of `n_rows` rows. A snapshot is due in the batch that reaches a multiple of
    /// `snapshot_every`, and after the last batch; a checkpoint likewise, and when a stop was asked for.
    pub fn next(&mut self, t: BatchIndex, n_rows: u64, last: bool, stop: bool) -> Control {
        let before = self.rows;
        self.rows += n_rows;
        let crossed = |every: u64| before / every != self.rows / every;
        let snapshot = (crossed(self.snapshot_every) || last).then(|| {
            self.snapshots += 1;
            self.snapshots
        });
        let checkpoint = crossed(self.checkpoint_every) || last || stop;
        Control { t, rows: self.rows, snapshot, checkpoint, last, ..Control::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_schedule_goes_on_as_the_uninterrupted_one() {
        let sizes: Vec<u64> = (0..40).map(|i| 7 + i % 5).collect();
        let run = |from: usize, rows: u64, snapshots: u32| -> Vec<Control> {
            let mut s = Schedule::new(50, 90, rows, snapshots);
            (from..40).map(|t| s.next(t as u64, sizes[t], t == 39, false)).collect()
        };
        let whole = run(0, 0, 0);
        for cut in 1..40 {
            let rows = whole[cut - 1].rows;
            let snapshots = whole[..cut].iter().filter_map(|c| c.snapshot).max().unwrap_or(0);
            assert_eq!(run(cut, rows, snapshots), whole[cut..]);
        }
        assert!(whole[39].last && whole[39].checkpoint && whole[39].snapshot.is_some());
        // 360 rows; the last batch is the one that reaches 350
        assert_eq!(whole.iter().filter(|c| c.snapshot.is_some()).count(), 7);
    }
}
