//! Where is everything? The only place that builds paths of a run directory.
//!
//! ```text
//! RUN/manifest.json            the commit point        RUN/sets/NNNNNN/NAME.parquet  the tables of one snapshot
//! RUN/manifest.previous.json   the one before          RUN/tables -> sets/NNNNNN     the newest of them (`set`)
//! RUN/dataflow.toml            as given                RUN/report.html
//! RUN/state/<next batch, 12 digits>/NAME.safetensors   RUN/lock   RUN/stop
//! ```

use super::fs::{create_dir_all, is_temporary, names_in, write_atomic};
use super::lock::{Holder, Lock};
use super::manifest::Manifest;
use super::reader::StateReader;
use super::writer::{StateLayout, StateWriter};
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use std::path::{Path, PathBuf};

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const PREVIOUS: &str = "manifest.previous.json";
pub(super) const STATE: &str = "state";
pub(super) const TABLES: &str = "tables";
pub(super) const SETS: &str = "sets";

/// Longest state file name kept as it is; a longer one is cut and made unique by a digest (file systems stop at 255).
const MAX_NAME_BYTES: usize = 160;

/// A run directory. All methods take `&self`: one value may be shared by all workers of a process.
#[derive(Debug)]
pub struct RunDir {
    root: PathBuf,
    _lock: Option<Lock>,
}

impl RunDir {
    /// Makes the directory where it is missing, takes its lock and clears an old request to stop. For the one process
    /// that commits (process 0).
    ///
    /// # Errors
    /// `Machine` when another run holds the lock (it is named) or the directory cannot be written.
    pub fn open_or_create(root: &Path) -> Result<RunDir> {
        let mut run = RunDir::join(root)?;
        run._lock = Some(Lock::take(&root.join("lock"))?);
        match disk::remove_file(&run.stop()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(super::fs::write_error(&run.stop(), None, &e)),
            _ => Ok(run),
        }
    }

    /// The same directory for the other processes of a run: they write state files and commit nothing.
    ///
    /// # Errors
    /// `Machine` when it cannot be written.
    pub fn join(root: &Path) -> Result<RunDir> {
        let run = RunDir { root: root.to_path_buf(), _lock: None };
        for dir in [run.root.clone(), run.root.join(STATE)] {
            create_dir_all(&dir)?;
        }
        Ok(run)
    }

    /// An existing run, to be looked at.
    ///
    /// # Errors
    /// `Request` when `root` is no directory.
    pub fn at(root: &Path) -> Result<RunDir> {
        if !disk::is_dir(root) {
            return Err(Error::request(format!("{} is not a run directory; give the --out of a run", root.display())));
        }
        Ok(RunDir { root: root.to_path_buf(), _lock: None })
    }

    /// A folder that holds tables and no run. Created when missing, and locked for the process that writes the tables; unfinished files of a
    /// process that was killed there are removed.
    ///
    /// # Errors
    /// `Machine` when another process writes there (the message names it), or when the folder cannot be written.
    pub fn for_tables(root: &Path) -> Result<RunDir> {
        let sets = root.join(SETS);
        create_dir_all(&sets)?;
        let folder = RunDir { root: root.to_path_buf(), _lock: Some(Lock::take(&sets.join("lock"))?) };
        if folder.is_of_scores() {
            // what a killed writer left; in a run's directory its own processes may be writing
            let names = names_in(root).unwrap_or_default().into_iter().filter(|name| is_temporary(name));
            names.for_each(|name| drop(disk::remove_file(&root.join(name))));
        }
        Ok(folder)
    }

    /// Folder of tables that were made again, each set in a folder of its name.
    pub fn scores(&self) -> PathBuf {
        self.root.join("scores")
    }

    /// Whether it holds tables that were made from the sums of another directory, and no run of its own: it was never
    /// locked, and has no checkpoint.
    pub fn is_of_scores(&self) -> bool {
        matches!(self.holder(), Ok(None))
            && !disk::exists(&self.manifest())
            && disk::exists(&self.root.join(SETS).join("lock"))
    }

    /// The process that locked the directory last, and whether it still holds the lock. For commands that only read.
    ///
    /// # Errors
    /// `Machine` where the lock is there and cannot be read just now.
    pub fn holder(&self) -> Result<Option<(Holder, bool)>> {
        super::lock::look(&self.root.join("lock"))
    }

    /// The state files of the checkpoint before `next_batch`, as a folder.
    pub fn generation(&self, next_batch: BatchIndex) -> PathBuf {
        self.root.join(STATE).join(format!("{next_batch:012}"))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The commit point.
    pub fn manifest(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    /// The checkpoint before, to fall back to.
    pub fn previous_manifest(&self) -> PathBuf {
        self.root.join(PREVIOUS)
    }

    /// The dataflow file as given.
    pub fn dataflow(&self) -> PathBuf {
        self.root.join("dataflow.toml")
    }

    /// The newest whole tables, for messages; readers open a [`TableSet`](super::TableSet).
    pub fn tables(&self) -> PathBuf {
        self.root.join(TABLES)
    }

    /// The page for people.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// The file whose presence asks the run to checkpoint and stop.
    pub fn stop(&self) -> PathBuf {
        self.root.join("stop")
    }

    /// Asks the run that holds this directory to checkpoint and stop.
    ///
    /// # Errors
    /// `Machine` when the file cannot be written.
    pub fn request_stop(&self) -> Result<()> {
        write_atomic(&self.stop(), b"").map(|_| ())
    }

    /// Whether somebody asked the run to stop. Costs one look at the file system.
    pub fn stop_requested(&self) -> bool {
        // a look that fails is no request: the next look decides
        disk::metadata(&self.stop()).is_ok()
    }

    /// Starts the state file `name` (a tile's, whichever worker holds it) of the checkpoint before `next_batch`. It is durable when
    /// finished and live when a manifest names it.
    ///
    /// # Errors
    /// `Machine` when the disk is full or refuses.
    pub fn write_state(&self, next_batch: BatchIndex, name: &str, layout: StateLayout) -> Result<StateWriter> {
        let relative = state_path(next_batch, name);
        let path = self.root.join(&relative);
        create_dir_all(path.parent().expect("a state file is in its generation's directory"))?;
        StateWriter::create(&path, relative, layout)
    }

    /// Path of the state file `name` of a checkpoint, relative to the run directory.
    pub fn state_path(&self, next_batch: BatchIndex, name: &str) -> String {
        state_path(next_batch, name)
    }

    /// Opens the state file `name` of a committed checkpoint. Its bytes were checked by [`inspect`](super::inspect).
    ///
    /// # Errors
    /// `State` when the manifest does not name it, or it is damaged.
    pub fn read_state(&self, manifest: &Manifest, name: &str) -> Result<StateReader> {
        let relative = state_path(manifest.next_batch, name);
        let record = manifest.files.get(&relative).ok_or_else(|| {
            Error::state(format!(
                "{} names no state {name:?} (looked for {relative}); --fresh starts over",
                self.manifest().display()
            ))
        })?;
        StateReader::open_sized(&self.root.join(relative), record.size)
    }
}

/// Path of the state `name` of the checkpoint before `next_batch`, relative to the run directory.
pub(super) fn state_path(next_batch: BatchIndex, name: &str) -> String {
    format!("{STATE}/{next_batch:012}/{}.safetensors", file_name(name))
}

/// The batch of a generation's directory name.
pub(super) fn generation_of(dir_name: &str) -> Option<BatchIndex> {
    (dir_name.len() >= 12 && dir_name.bytes().all(|b| b.is_ascii_digit())).then(|| dir_name.parse().ok()).flatten()
}

/// A file name for any text, different for different texts: letters, digits, `.`, `_`, `-` stay, other bytes become `%XX`.
fn file_name(name: &str) -> String {
    let mut out = String::new();
    for (i, b) in name.bytes().enumerate() {
        match b {
            b'.' if i == 0 => out.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(b)),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    if out.len() > MAX_NAME_BYTES || out.is_empty() {
        let digest = blake3::hash(name.as_bytes()).to_hex();
        out.truncate(MAX_NAME_BYTES - 33);
        // An escaped name has no `~`, so a shortened name never equals a whole one.
        out = format!("{out}~{}", &digest[..32]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::fs::temporary_name;
    use super::*;

    #[test]
    fn names_become_distinct_files_inside_the_directory() {
        let long = |c: char| "x".repeat(300) + &c.to_string();
        let names =
            ["a/resid_post.2", "a%2Fresid_post.2", "a_resid_post.2", "../up", "", "~", "é", &long('a'), &long('b')];
        let files: std::collections::BTreeSet<String> = names.iter().map(|n| file_name(n)).collect();
        assert_eq!(files.len(), names.len());
        for file in files {
            assert!(
                !file.starts_with('.') && !file.contains('/') && file.len() <= MAX_NAME_BYTES && !file.is_empty(),
                "{file}"
            );
        }
        assert_eq!(state_path(7, "a/resid_post.2"), "state/000000000007/a%2Fresid_post.2.safetensors");
        assert_eq!(generation_of("000000000007"), Some(7));
        assert_eq!(generation_of(&format!("{:012}", u64::MAX)), Some(u64::MAX));
        assert_eq!(generation_of("7"), None);
        assert_eq!(generation_of("00000000000x"), None);
    }

    #[test]
    fn a_request_to_stop_is_seen_and_cleared_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::open_or_create(&dir.path().join("runs/a")).unwrap();
        assert!(!run.stop_requested());
        RunDir::at(run.root()).unwrap().request_stop().unwrap();
        assert!(run.stop_requested());
        let root = run.root().to_path_buf();
        assert!(RunDir::open_or_create(&root).is_err(), "held");
        RunDir::join(&root).expect("other processes of the run join without the lock");
        drop(run);
        assert!(!RunDir::open_or_create(&root).unwrap().stop_requested());
        assert!(RunDir::at(&root.join("none")).is_err());
    }

    #[test]
    fn a_folder_of_scores_is_none_of_a_run_and_is_swept_of_unfinished_files() {
        let dir = tempfile::tempdir().unwrap();
        let (scores, run) = (dir.path().join("scores"), dir.path().join("run"));
        drop(RunDir::for_tables(&scores).unwrap());
        drop(RunDir::open_or_create(&run).unwrap());
        let unfinished = temporary_name("dataflow.toml");
        for folder in [&scores, &run] {
            std::fs::write(folder.join(&unfinished), "half").unwrap();
            let opened = RunDir::for_tables(folder).unwrap();
            assert_eq!((opened.is_of_scores(), folder.join(&unfinished).exists()), (*folder == scores, *folder == run));
        }
    }
}
