//! What is a running sum? A batch goes in, another sum of other rows goes in, its state goes out to a file and comes back, and
//! what it takes at most is known before there is one.
//!
//! A state file is a list of states, one behind the other: each lays its keys and tensors out, writes them in that order, and
//! adds what a file holds to what it has. So going on from a checkpoint and adding a run over other rows are one act: what was saved
//! comes back into an empty sum bit by bit, and into another as by [`merge`](Accumulator::merge).

use crate::error::Result;
use crate::store::{StateLayout, StateReader, StateWriter};

/// What a checkpoint keeps of something.
pub trait State {
    /// Its keys and tensors, behind those that are laid out already.
    fn lay_out(&self, layout: StateLayout) -> StateLayout;

    /// Writes its tensors, in the order in which they are laid out.
    ///
    /// # Errors
    /// `Machine` when the disk refuses.
    fn save(&self, file: &mut StateWriter) -> Result<()>;

    /// Adds what a file holds. Its rows come behind those that are there already, as many as `first_row` (0 into empty memory), and
    /// their numbers are moved up by that.
    ///
    /// # Errors
    /// `State` naming a file that has not the shapes of this memory; those of [`merge`](Accumulator::merge).
    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()>;
}

/// A running sum.
pub trait Accumulator: State {
    /// What a batch gives to it.
    type Batch<'a>;
    /// What its size follows from.
    type Shape;

    /// Adds a batch. Batches come in order of index, and inside one rows are added in order, so that sums have the same bits
    /// however the work was spread.
    ///
    /// # Errors
    /// `Input` for a batch that it cannot take; most take every batch.
    fn fold(&mut self, batch: Self::Batch<'_>) -> Result<()>;

    /// Adds the sum of other rows, which come behind.
    ///
    /// # Errors
    /// `Input` where both cannot be held together; most can.
    fn merge(&mut self, other: &Self) -> Result<()>;

    /// Bytes of its sums when every latent has fired, in memory; its state has no more.
    fn bytes(shape: &Self::Shape) -> u64;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::{FileRecord, Manifest, RunDir};
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    /// `parts` through a state file and back into `into`, which holds `first_row` rows.
    pub fn through_a_file(parts: &[&dyn State], into: &mut [&mut dyn State], first_row: u64) -> Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::open_or_create(dir.path()).unwrap();
        let named = StateLayout::new(serde_json::json!({ "kind": "test" }));
        let mut file =
            run.write_state(0, "test", parts.iter().fold(named, |layout, part| part.lay_out(layout))).unwrap();
        parts.iter().for_each(|part| part.save(&mut file).unwrap());
        let file = file.finish().unwrap();
        let mut manifest = Manifest::new(String::new(), BTreeMap::new());
        manifest.files.insert(file.path, FileRecord { ..file.record });
        let mut read = run.read_state(&manifest, "test").unwrap();
        into.iter_mut().try_for_each(|part| part.load(&mut read, first_row))
    }

    /// The contract: what was saved comes back into an empty sum, and into another as by a merge, which an empty sum does
    /// not change; and a file of another shape is refused. `sums`: of rows one behind the other. `narrow`: empty, of another shape.
    pub fn keeps_the_contract<A>(empty: &A, sums: [&A; 2], narrow: Option<&A>)
    where
        A: Accumulator + Clone + PartialEq + Debug,
    {
        let [a, b] = sums;
        assert_ne!(a, empty, "of some rows");
        let mut read = empty.clone();
        through_a_file(&[a], &mut [&mut read], 0).unwrap();
        assert_eq!(&read, a);
        let mut merged = a.clone();
        merged.merge(b).unwrap();
        assert_ne!(&merged, a);
        through_a_file(&[b], &mut [&mut read], 1).unwrap();
        assert_eq!(read, merged);
        let mut nothing = empty.clone();
        through_a_file(&[empty], &mut [&mut nothing], 0).unwrap();
        assert_eq!(&nothing, empty);
        if let Some(mut narrow) = narrow.cloned() {
            let refused = through_a_file(&[a], &mut [&mut narrow], 0).unwrap_err().to_string();
            assert!(refused.contains("does not have the shapes of this run"), "{refused}");
        }
    }
}
