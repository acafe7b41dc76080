//! How does a checkpoint become the truth? As a list of small steps, of which one rename is the commit.
//!
//! One function makes the list, without side effects; another carries it out. A test can therefore stop after any step, discard
//! any part of what was not synced, and check that the run can still be recovered.

use super::fs::{is_temporary, names_in, sync_dir, temporary_name, write_error};
use super::layout::{MANIFEST, PREVIOUS, RunDir, STATE, generation_of};
use super::manifest::{Manifest, is_damage, not_now};
use super::recover::Decision;
use crate::disk::{self, File};
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// One change to the file system; paths are relative to the run directory (empty: the directory itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes a new file. It is durable only after `SyncFile` (content) and `SyncDir` (name).
    Write {
        path: String,
        bytes: Vec<u8>,
    },
    SyncFile {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    SyncDir {
        path: String,
    },
    /// Of a file, or of a directory that is empty by then. May fail: what stays is swept another time.
    Remove {
        path: String,
    },
}

/// What commands make of a run in its directory: scores, controls, exports without a name of their own.
const MADE_OF_A_RUN: [&str; 4] = ["scores", "controls", "directions.safetensors", "maps.safetensors"];

impl RunDir {
    /// Makes `manifest` the run's truth. Every file that it names must have been finished before, by whichever process.
    /// The previous manifest is kept, with its files; older generations are removed.
    ///
    /// Committing the same batch again (for example to mark a run finished) replaces the newest manifest and keeps the previous.
    ///
    /// # Errors
    /// `State` when a named file is missing or of another size; `Machine` when the disk is full or does not answer. Then the run is still
    /// at the checkpoint before.
    pub fn commit(&self, manifest: &Manifest) -> Result<()> {
        for (path, record) in &manifest.files {
            let found = disk::metadata(&self.root().join(path)).map(|m| m.len());
            if let Err(e) = &found
                && !is_damage(e)
            {
                return Err(not_now(&self.root().join(path), e));
            }
            if !found.as_ref().is_ok_and(|n| *n == record.size) {
                let found = found.map_or_else(|e| e.to_string(), |n| format!("{n} bytes"));
                return Err(Error::state(format!(
                    "checkpoint before batch {}: state file {} should have {} bytes, found {found}; \
                     resume from the checkpoint before",
                    manifest.next_batch,
                    self.root().join(path).display(),
                    record.size
                )));
            }
        }
        let (current, previous) = (self.whole(MANIFEST)?, self.whole(PREVIOUS)?);
        let steps = commit_steps(manifest, current.as_ref(), previous.as_ref(), &self.state_listing());
        perform(self.root(), &steps)
    }

    /// Brings the directory in line with a decision: after a fallback the older manifest becomes the newest, a fresh start
    /// forgets both; then whatever is not named is removed, with every unfinished file and set of tables. For the holder of the lock, before
    /// any state is written.
    ///
    /// # Errors
    /// The decision's own, when it is to refuse; `Machine` when the disk refuses.
    pub fn carry_out(&self, decision: &Decision) -> Result<()> {
        let adopted = match decision {
            Decision::Refuse(e) => return Err(e.clone()),
            Decision::Fresh => None,
            Decision::Resume { manifest, .. } => Some(manifest.as_ref()),
        };
        let (current, previous) = (self.whole(MANIFEST)?, self.whole(PREVIOUS)?);
        let mut steps = steps_of(adopted, current.as_ref(), previous.as_ref(), &self.state_listing());
        steps.extend(self.unfinished().into_iter().map(|path| Step::Remove { path }));
        perform(self.root(), &steps)?;
        self.tidy_sets()
    }

    /// Forgets the run (`--fresh`): manifests, state, report and tables. The next decision is a fresh start.
    ///
    /// # Errors
    /// `Machine` when something cannot be removed.
    pub fn start_afresh(&self) -> Result<()> {
        let remove = |path: &Path| match disk::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(write_error(path, None, &e)),
            _ => Ok(()),
        };
        // The older manifest goes first: alone it would look like a newest one that was lost.
        remove(&self.previous_manifest())?;
        sync_dir(self.root())?;
        [self.manifest(), self.report()].iter().try_for_each(|path| remove(path))?;
        // what was made of the run
        for name in MADE_OF_A_RUN {
            let path = self.root().join(name);
            if disk::metadata(&path).is_ok_and(|m| m.is_dir()) {
                disk::remove_dir_all(&path).map_err(|e| write_error(&path, None, &e))?
            } else {
                remove(&path)?
            }
        }
        self.forget_sets()?;
        self.carry_out(&Decision::Fresh)
    }

    /// The manifest of that name; `None` where there is none, or it is damaged.
    ///
    /// # Errors
    /// `Machine` where it cannot be read just now.
    fn whole(&self, name: &str) -> Result<Option<Manifest>> {
        Manifest::whole_at(&self.root().join(name))
    }

    /// Every file and directory under the generations' directories, files before the directory that holds them.
    fn state_listing(&self) -> Vec<String> {
        let mut listing = Vec::new();
        let names_in = |dir: &str| names_in(&self.root().join(dir)).unwrap_or_default();
        for generation in names_in(STATE) {
            if generation_of(&generation).is_some() {
                let dir = format!("{STATE}/{generation}");
                listing.extend(names_in(&dir).into_iter().map(|file| format!("{dir}/{file}")));
                listing.push(dir);
            }
        }
        listing
    }

    /// Files under temporary names outside the generations.
    fn unfinished(&self) -> Vec<String> {
        let dirs = ["", "state/"];
        let names_in = |dir: &str| names_in(&self.root().join(dir)).unwrap_or_default().into_iter();
        let in_dir = |dir: &str| names_in(dir).filter(|n| is_temporary(n));
        dirs.iter().flat_map(|dir| in_dir(dir).map(move |name| format!("{dir}{name}"))).collect()
    }
}

/// The steps of [`RunDir::commit`]. `current` and `previous` are what the two manifest files hold, `listing` what is under
/// `state/`.
pub(super) fn commit_steps(
    new: &Manifest,
    current: Option<&Manifest>,
    previous: Option<&Manifest>,
    listing: &[String],
) -> Vec<Step> {
    let mut steps = Vec::new();
    // The same batch again: its generation is one, and the one before stays what to fall back to.
    let kept = match current {
        Some(m) if m.next_batch != new.next_batch => {
            steps.extend(replace(PREVIOUS, m));
            current
        }
        _ => previous,
    };
    steps.extend(replace(MANIFEST, new));
    // Both renames are durable before anything is swept. Either alone would do no harm: the one before the last is whole too.
    steps.push(Step::SyncDir { path: String::new() });
    // Only generations up to this one are swept: other processes may be writing the next one already.
    let older = |path: &str| {
        let dir = path.split('/').nth(1).and_then(generation_of);
        dir.is_some_and(|batch| batch <= new.next_batch)
    };
    steps.extend(sweep(listing.iter().filter(|p| older(p)), [Some(new), kept]));
    steps
}

/// The steps of [`RunDir::carry_out`], less the unfinished files outside `state/`.
pub(super) fn steps_of(
    adopted: Option<&Manifest>,
    current: Option<&Manifest>,
    previous: Option<&Manifest>,
    listing: &[String],
) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(m) = adopted.filter(|m| current != Some(m)) {
        steps.extend(replace(MANIFEST, m));
        steps.push(Step::SyncDir { path: String::new() });
    }
    // A newest manifest that was just given up is not kept, and neither are its files.
    let kept = if adopted.is_some() { previous } else { None };
    steps.extend(sweep(listing.iter(), [adopted, kept]));
    steps
}

/// Writes `manifest` under `name`: a temporary file, synced, renamed. The new name is durable once the directory is synced.
fn replace(name: &str, manifest: &Manifest) -> [Step; 3] {
    let temp = temporary_name(name);
    [
        Step::Write { path: temp.clone(), bytes: manifest.to_bytes() },
        Step::SyncFile { path: temp.clone() },
        Step::Rename { from: temp, to: name.to_string() },
    ]
}

fn sweep<'a>(listing: impl Iterator<Item = &'a String>, live: [Option<&Manifest>; 2]) -> Vec<Step> {
    let files = || live.iter().flatten().flat_map(|m| m.files.keys());
    let dirs = files().filter_map(|f| f.rsplit_once('/').map(|(dir, _)| dir));
    let keep: BTreeSet<&str> = files().map(String::as_str).chain(dirs).collect();
    listing.filter(|path| !keep.contains(path.as_str())).map(|path| Step::Remove { path: path.clone() }).collect()
}

/// Carries the steps out, in order; stops at the first that fails, other than a removal.
pub(super) fn perform(root: &Path, steps: &[Step]) -> Result<()> {
    for step in steps {
        match step {
            Step::Write { path, bytes } => {
                let path = root.join(path);
                let written = File::create(&path).and_then(|mut f| f.write_all(bytes));
                written.map_err(|e| {
                    // Half a file under a temporary name would only take up the room that is missing.
                    let _ = disk::remove_file(&path);
                    write_error(&path, Some(bytes.len() as u64), &e)
                })?;
            }
            Step::SyncFile { path } => {
                let path = root.join(path);
                File::open(&path).and_then(|f| f.sync()).map_err(|e| write_error(&path, None, &e))?;
            }
            Step::Rename { from, to } => {
                let to = root.join(to);
                disk::rename(&root.join(from), &to).map_err(|e| write_error(&to, None, &e))?;
            }
            Step::SyncDir { path } => sync_dir(&root.join(path))?,
            Step::Remove { path } => {
                let path = root.join(path);
                let _ = disk::remove_file(&path).or_else(|_| disk::remove_dir(&path));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
