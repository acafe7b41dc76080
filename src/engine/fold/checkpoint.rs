//! Memory to disk and back: a walk over the state files of what a worker holds, each named by what it is. What is in a
//! file is decided by its sums ([`State`](crate::moments::State)).
//!
//! A file is written by the owner of its sum and read by the next owner; sums are read by every worker.

use crate::engine::fold::held::Fold;
use crate::engine::message::SavedFile;
use crate::error::Result;
use crate::ids::BatchIndex;
use crate::store::{Manifest, RunDir, StateFile, StateLayout};
use serde_json::json;

impl From<StateFile> for SavedFile {
    fn from(file: StateFile) -> Self {
        SavedFile { path: file.path, size: file.record.size, digest: file.record.blake3 }
    }
}

/// Writes everything that this worker owns as the state before batch `next`.
///
/// # Errors
/// `Machine` when the disk refuses.
pub fn save(fold: &mut Fold, run: &RunDir, next: BatchIndex) -> Result<Vec<SavedFile>> {
    let mut saved = Vec::new();
    fold.each_file(|file, states| {
        if file.mine {
            let named = StateLayout::new(json!({ "kind": file.kind }));
            let layout = states.iter().fold(named, |layout, state| state.lay_out(layout));
            let mut written = run.write_state(next, &file.name, layout)?;
            states.iter().try_for_each(|state| state.save(&mut written))?;
            saved.push(written.finish()?.into());
        }
        Ok(())
    })?;
    Ok(saved)
}

/// Adds what a checkpoint holds of what this worker owns, and the sums of every space: into an empty memory it is read
/// back bit by bit, into one that holds other rows both add up. Row numbers of strongest tokens are moved up by `first_row`.
///
/// # Errors
/// `State` naming the file that does not hold what the plan expects.
pub fn add(fold: &mut Fold, run: &RunDir, manifest: &Manifest, first_row: u64) -> Result<()> {
    fold.each_file(|file, states| {
        let mut read = run.read_state(manifest, &file.name)?;
        states.iter_mut().try_for_each(|state| state.load(&mut read, first_row))
    })
}
