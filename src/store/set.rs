//! Which tables belong together? A **set**: all tables of one snapshot in a folder of their own, with a file that names them.
//!
//! ```text
//! RUN/sets/000007/NAME.parquet   every table of one snapshot, whole and synced
//! RUN/sets/000007/set.json       snapshot, tokens, fingerprint, size and blake3 of each table; sealed; written last
//! RUN/tables -> sets/000007      the newest set: one link, replaced by one rename
//! ```
//!
//! A set is written to a folder that no reader opens, and becomes the newest by the rename of the link. A reader that resolves
//! `tables` once sees one snapshot; after a kill at any moment the newest set is the old one or the new one, whole. The previous
//! set stays until the next one is begun, or until the end of the run, for processes that still read it. On a file system
//! without links, or in a copy of a run made with links followed, `tables` is a folder. It is then exchanged by two renames;
//! between them this program finds the new set by its number.

use super::commit::{Step, perform};
use super::digest::{FileRecord, digest_of};
use super::fs::{create_dir_all, names_in, sync_dir, temporary_name, write_error};
use super::layout::{RunDir, SETS, TABLES};
use super::manifest::{Manifest, is_damage, not_now, read_bounded};
use super::seal::{format_of, sealed, unsealed};
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Number of the set file's format.
pub const SET_FORMAT: u32 = 1;

/// Name of the file that names a set.
pub(super) const SET_FILE: &str = "set.json";

/// Where a set comes from, and its tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRecord {
    /// [`SET_FORMAT`] of the writer; filled in when the set is published.
    pub format: u32,
    /// Snapshots taken by then, this one among them.
    pub snapshot: u32,
    /// Counted rows.
    pub tokens: u64,
    /// Digest, in hex, of all that changes numbers.
    pub fingerprint: String,
    /// What the fingerprint was made of, as in the manifest.
    pub parts: BTreeMap<String, String>,
    /// Digest of the dataflow file that is kept with the tables, where it is known.
    pub dataflow: Option<String>,
    /// Every table: file name to size and digest; filled in when the set is published.
    pub tables: BTreeMap<String, FileRecord>,
}

/// A set being made. Dropped before [`publish`](NewSet::publish), it leaves nothing behind.
#[derive(Debug)]
pub struct NewSet {
    root: PathBuf,
    number: u64,
    tables: BTreeMap<String, FileRecord>,
    published: bool,
}

impl RunDir {
    /// Begins a set. Removes older sets, except the newest.
    ///
    /// # Errors
    /// `Machine` when the directory cannot be read or written.
    pub fn new_set(&self) -> Result<NewSet> {
        let root = self.root().to_path_buf();
        create_dir_all(&root.join(SETS))?;
        keep_sets(&root, newest_number(&root)?.as_slice());
        let highest = numbers(&root)?.last().copied().unwrap_or(0);
        // a folder in the place of the link is moved to the previous number
        let number = highest + 1 + u64::from(is_folder(&root)?);
        let set = NewSet { root, number, tables: BTreeMap::new(), published: false };
        create_dir_all(&set.dir())?;
        Ok(set)
    }
}

impl NewSet {
    /// The file of the table `name` (`latents`, `matches`, …).
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(file_name(name))
    }

    /// Takes in a table that was written to its [`path`](NewSet::path), whole and synced.
    pub fn add(&mut self, name: &str, record: FileRecord) {
        self.tables.insert(file_name(name), record);
    }

    /// Makes the tables that were added the newest set, with `about`, which records where they come from. `last`: there is no
    /// set to come, and the one before is not kept.
    ///
    /// # Errors
    /// `Machine` when the disk refuses; then the set before is still the newest, or this one is, whole.
    pub fn publish(mut self, about: SetRecord, last: bool) -> Result<SetRecord> {
        let record = SetRecord { format: SET_FORMAT, tables: std::mem::take(&mut self.tables), ..about };
        let (before, folder) = (newest_number(&self.root)?, is_folder(&self.root)?);
        let linked = link(&self.root, self.number)?;
        let done = perform(&self.root, &publish_steps(self.number, &record, linked, folder));
        // what fails behind the rename, such as a sync, leaves this set the newest: it stays
        self.published = done.is_ok() || newest_number(&self.root).map_or(true, |newest| newest == Some(self.number));
        done?;
        let moved_aside = self.number.checked_sub(1);
        let kept: Vec<u64> =
            [Some(self.number), before.or(moved_aside).filter(|_| !last)].into_iter().flatten().collect();
        keep_sets(&self.root, &kept);
        Ok(record)
    }

    fn dir(&self) -> PathBuf {
        self.root.join(set_path(self.number))
    }
}

impl Drop for NewSet {
    fn drop(&mut self) {
        if !self.published {
            let _ = disk::remove_dir_all(&self.dir());
        }
    }
}

/// Names the set, in its own folder, then puts it in its place.
fn publish_steps(number: u64, record: &SetRecord, linked: bool, folder: bool) -> Vec<Step> {
    let dir = set_path(number);
    let path = format!("{dir}/{SET_FILE}");
    let mut steps = vec![
        Step::Write { path: path.clone(), bytes: sealed(record) },
        Step::SyncFile { path },
        Step::SyncDir { path: dir },
        Step::SyncDir { path: SETS.to_string() },
    ];
    steps.extend(swap_steps(number, linked, folder));
    steps
}

/// Puts the set in the place of the newest: by a link that is `linked` already under its temporary name, or as a folder.
/// `folder`: there is a folder in its place.
fn swap_steps(number: u64, linked: bool, folder: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    match (folder, linked) {
        (true, _) => steps.push(Step::Rename { from: TABLES.to_string(), to: set_path(number.saturating_sub(1)) }),
        // a folder takes no link's name
        (false, false) => steps.push(Step::Remove { path: TABLES.to_string() }),
        (false, true) => {}
    }
    let from = if linked { temporary_name(TABLES) } else { set_path(number) };
    steps.push(Step::Rename { from, to: TABLES.to_string() });
    steps.extend([SETS, ""].map(|path| Step::SyncDir { path: path.to_string() }));
    steps
}

/// Makes the link to a set under a temporary name; `false` where the file system has no links.
///
/// # Errors
/// `Machine` when it has, and the disk refuses.
fn link(root: &Path, number: u64) -> Result<bool> {
    use std::io::ErrorKind as Io;
    let path = root.join(temporary_name(TABLES));
    let _ = disk::remove_file(&path);
    match disk::symlink(Path::new(&set_path(number)), &path) {
        Ok(()) => Ok(true),
        // FAT and some network file systems say that it is not permitted
        Err(e) if matches!(e.kind(), Io::Unsupported | Io::PermissionDenied | Io::InvalidInput) => Ok(false),
        Err(e) => Err(write_error(&path, None, &e)),
    }
}

/// The newest set of tables, whole: every file was checked against its digest when it was opened.
#[derive(Clone, Debug)]
pub struct TableSet {
    dir: PathBuf,
    record: SetRecord,
}

/// What is in the place of the newest tables.
#[derive(Clone, Debug)]
pub enum FoundTables {
    /// Nothing was published.
    None,
    /// A whole set.
    Whole(TableSet),
    /// A set that is not as it was published.
    Hurt {
        /// What is wrong, a clause each: `matches.parquet is missing`.
        faults: Vec<String>,
        /// What was published, where that can still be read.
        record: Option<SetRecord>,
    },
}

impl TableSet {
    /// Determines the condition of the newest tables. Reads each table once, to check its digest.
    ///
    /// # Errors
    /// Those of reading, other than of a file that is not there: damage is a fact.
    pub fn look(run: &RunDir) -> Result<FoundTables> {
        let found = look_once(run.root())?;
        // a set may be taken away while it is looked at, when a newer one has come
        match found {
            FoundTables::Hurt { .. } => look_once(run.root()),
            found => Ok(found),
        }
    }

    /// The newest tables.
    ///
    /// # Errors
    /// `Request` when there are none yet; `State` when they are not as they were published, with what is wrong and what to do.
    pub fn open(run: &RunDir) -> Result<TableSet> {
        match TableSet::look(run)? {
            FoundTables::Whole(set) => Ok(set),
            FoundTables::None => {
                let root = run.root().display();
                Err(Error::request(format!("{root} has no tables yet; they come with the first snapshot")))
            }
            FoundTables::Hurt { faults, .. } => Err(hurt(run, &faults)),
        }
    }

    /// The folder of the tables. It stays as it is when newer ones are published.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of the table `name`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(file_name(name))
    }

    /// The set's own record.
    pub fn record(&self) -> &SetRecord {
        &self.record
    }

    /// Whether the same tables are still where they were read.
    fn stands(&self) -> Result<bool> {
        Ok(read_record(&self.dir)?.is_ok_and(|record| record == self.record))
    }
}

/// Reads the newest tables of a run with `read`; a second time, when newer ones took their place meanwhile.
///
/// # Errors
/// Those of [`TableSet::open`] and of `read`; `Machine` when the tables were renewed twice under the reader.
pub fn read_tables<T>(run: &RunDir, read: impl Fn(&TableSet) -> Result<T>) -> Result<T> {
    for last in [false, true] {
        let set = match TableSet::open(run) {
            // it may have been renewed while it was looked at
            Err(e) if e.kind() == ErrorKind::State && !last => continue,
            set => set?,
        };
        let result = read(&set);
        if set.stands()? {
            return result;
        }
    }
    Err(Error::machine(format!(
        "the tables of {} were renewed twice while they were read; give the same command again",
        run.root().display()
    )))
}

/// Checks a file against the set of its folder; a file outside of a set passes.
///
/// # Errors
/// `State` when the file is not as it was published; the errors of reading.
pub fn check_in_set(file: &Path) -> Result<()> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str())) else { return Ok(()) };
    let Ok(record) = read_record(dir)? else { return Ok(()) };
    match record.tables.get(name).map(|expected| fault(file, name, expected)).transpose()?.flatten() {
        Some(fault) => Err(Error::state(format!(
            "{}: {fault}; give the command that wrote it (`cognate run`, `merge` or `score`) again, which makes it again from the saved sums",
            dir.display()
        ))),
        None => Ok(()),
    }
}

/// The sentence for tables that are not as they were published.
fn hurt(run: &RunDir, faults: &[String]) -> Error {
    let again = match Manifest::whole_at(&run.manifest()) {
        Ok(Some(manifest)) if !manifest.merged().is_empty() => {
            "give the same `cognate merge` again, which makes them again from the saved sums"
        }
        _ if disk::exists(&run.manifest()) => {
            "give the same `cognate run` again, which makes them again from the saved sums"
        }
        _ => "give the same `cognate score` again",
    };
    Error::state(format!(
        "the tables of {} are not as they were published: {}; {again}",
        run.root().display(),
        faults.join("; ")
    ))
}

fn look_once(root: &Path) -> Result<FoundTables> {
    let Some(dir) = newest_dir(root)? else { return Ok(FoundTables::None) };
    let record = match read_record(&dir)? {
        Ok(record) => record,
        // a folder in which nothing was published yet
        Err(_) if disk::is_dir(&dir) && !names_in(&dir)?.iter().any(|name| is_ours(name)) => {
            return Ok(FoundTables::None);
        }
        Err(why) => return Ok(FoundTables::Hurt { faults: vec![why], record: None }),
    };
    let mut faults = Vec::new();
    for (name, expected) in &record.tables {
        faults.extend(fault(&dir.join(name), name, expected)?);
    }
    Ok(match faults.is_empty() {
        true => FoundTables::Whole(TableSet { dir, record }),
        false => FoundTables::Hurt { faults, record: Some(record) },
    })
}

/// What is wrong with a table; `None` where it is as it was published.
fn fault(path: &Path, name: &str, expected: &FileRecord) -> Result<Option<String>> {
    let found = match disk::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Some(format!("{name} is missing"))),
        Err(e) => return Err(Error::io("read the table", path, &e)),
        // the length is looked at first: it is free
        Ok(m) if m.len() != expected.size => {
            return Ok(Some(format!("{name} has {} bytes, {SET_FILE} names {}", m.len(), expected.size)));
        }
        Ok(_) => digest_of(path),
    };
    match found {
        Ok(found) if found == *expected => Ok(None),
        Ok(_) => {
            Ok(Some(format!("{name} is damaged, or of another snapshot: its digest is not the one in {SET_FILE}")))
        }
        Err(e) if e.kind() == ErrorKind::Request => Ok(Some(format!("{name} is missing"))),
        Err(e) => Err(e),
    }
}

/// Reads a folder's set file; the reason, where it cannot be trusted.
///
/// # Errors
/// `Machine` when it cannot be read just now.
fn read_record(dir: &Path) -> Result<Result<SetRecord, String>> {
    let path = dir.join(SET_FILE);
    match read_bounded(&path) {
        Ok(bytes) => Ok(record_in(&bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Ok(Err(format!("{SET_FILE}, which names the tables that belong together, is missing")))
        }
        Err(e) if is_damage(&e) => Ok(Err(format!("{SET_FILE} cannot be read: {e}"))),
        Err(e) => Err(not_now(&path, &e)),
    }
}

fn record_in(bytes: &[u8]) -> Result<SetRecord, String> {
    let json = unsealed(bytes).ok_or_else(|| format!("{SET_FILE} is damaged: its seal does not fit its text"))?;
    match format_of(&json) {
        Some(n) if n != u64::from(SET_FORMAT) => {
            Err(format!("{SET_FILE} is of format {n}, this version reads {SET_FORMAT}"))
        }
        _ => serde_json::from_slice(&json).map_err(|e| format!("{SET_FILE} cannot be read: {e}")),
    }
}

/// The folder of the newest set: where `tables` leads, or, when a kill between two renames left nothing there, the named set
/// of the highest number.
///
/// # Errors
/// `Machine` when that cannot be looked at: what is not seen is not the newest, and would be removed.
fn newest_dir(root: &Path) -> Result<Option<PathBuf>> {
    let tables = root.join(TABLES);
    match place_of(root)? {
        Some(Place::Link) => {
            let to = disk::read_link(&tables).map_err(|e| not_now(&tables, &e))?;
            return Ok(Some(root.join(to)));
        }
        Some(Place::Folder) => return Ok(Some(tables)),
        None => {}
    }
    for number in numbers(root)?.into_iter().rev() {
        let dir = root.join(set_path(number));
        if read_record(&dir)?.is_ok() {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// What is in the place of the newest tables.
enum Place {
    Link,
    /// A folder, or anything else that is no link.
    Folder,
}

fn place_of(root: &Path) -> Result<Option<Place>> {
    let tables = root.join(TABLES);
    match disk::link_metadata(&tables) {
        Ok(found) if found.is_symlink() => Ok(Some(Place::Link)),
        Ok(_) => Ok(Some(Place::Folder)),
        Err(e) if is_damage(&e) => Ok(None),
        Err(e) => Err(not_now(&tables, &e)),
    }
}

/// The number of the newest set; `None` where there is none, or it is no numbered folder.
///
/// # Errors
/// As [`newest_dir`].
fn newest_number(root: &Path) -> Result<Option<u64>> {
    let Some(dir) = newest_dir(root)? else { return Ok(None) };
    Ok(numbers(root)?.into_iter().find(|n| root.join(set_path(*n)) == dir))
}

/// Whether there is a folder in the link's place.
fn is_folder(root: &Path) -> Result<bool> {
    Ok(matches!(place_of(root)?, Some(Place::Folder)))
}

/// Numbers of the folders of sets, ascending.
fn numbers(root: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = names_in(&root.join(SETS))?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes every set but those named. May fail: what stays is removed another time.
fn keep_sets(root: &Path, kept: &[u64]) {
    for number in numbers(root).unwrap_or_default().into_iter().filter(|n| !kept.contains(n)) {
        let set = root.join(set_path(number));
        // first what says that its tables are there, so that a reader who misses one knows why
        let _ = disk::remove_file(&set.join(SET_FILE));
        let _ = disk::remove_dir_all(&set);
    }
}

fn set_path(number: u64) -> String {
    format!("{SETS}/{number:06}")
}

/// Whether a file of this name in a folder of tables is one that this program writes there.
fn is_ours(name: &str) -> bool {
    name.ends_with(".parquet") || name == SET_FILE
}

fn file_name(table: &str) -> String {
    format!("{table}.parquet")
}

impl RunDir {
    /// Puts a set in its place that a kill left unlinked, and removes what is neither the newest nor the one before it.
    pub(super) fn tidy_sets(&self) -> Result<()> {
        let root = self.root();
        let newest = newest_number(root)?;
        if let (None, Some(number)) = (place_of(root)?, newest) {
            perform(root, &swap_steps(number, link(root, number)?, false))?;
        }
        keep_sets(root, newest.as_slice());
        Ok(())
    }

    /// Forgets all tables; files that are not ours stay.
    pub(super) fn forget_sets(&self) -> Result<()> {
        let (root, tables) = (self.root(), self.tables());
        let gone = |result: std::io::Result<()>, path: &Path| match result {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(write_error(path, None, &e)),
            _ => Ok(()),
        };
        if is_folder(root)? {
            for name in names_in(&tables)?.iter().filter(|name| is_ours(name)) {
                let path = tables.join(name);
                gone(disk::remove_file(&path), &path)?;
            }
            // it stays where something else lies in it
            let _ = disk::remove_dir(&tables);
        } else {
            gone(disk::remove_file(&tables), &tables)?;
        }
        gone(disk::remove_dir_all(&root.join(SETS)), &root.join(SETS))?;
        sync_dir(root)
    }
}

#[cfg(test)]
mod tests;
