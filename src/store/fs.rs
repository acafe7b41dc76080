//! How does a file appear whole or not at all? Written under a temporary name in the same folder, synced, renamed, the directory synced.
//!
//! A reader never sees a half file under a final name: not after a crash, not after a full disk. What a crash leaves
//! behind carries a recognisable name ([`is_temporary`]) and is swept at the next start.

use super::digest::FileRecord;
use super::manifest::not_now;
use crate::disk::{self, File, Temp};
use crate::error::{Error, Result};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const TEMP_PREFIX: &str = ".cognate-";
const TEMP_SUFFIX: &str = ".tmp";
const BUFFER_BYTES: usize = 256 * 1024;

/// Whether a file of this name is one of our unfinished ones, free to be removed when no run is active.
pub fn is_temporary(file_name: &str) -> bool {
    file_name.starts_with(TEMP_PREFIX) && file_name.ends_with(TEMP_SUFFIX)
}

/// A name under which `file_name` may be written before it is renamed; the same every time.
pub fn temporary_name(file_name: &str) -> String {
    format!("{TEMP_PREFIX}{file_name}{TEMP_SUFFIX}")
}

/// A file being written. It takes its name at [`commit`](AtomicFile::commit) and leaves nothing behind when dropped
/// before. Its digest is taken on the way.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temp: BufWriter<Temp>,
    hasher: blake3::Hasher,
    expected_bytes: Option<u64>,
}

impl AtomicFile {
    /// Starts to write `path`, whose directory must be there.
    ///
    /// # Errors
    /// `Machine` when the directory cannot be written to.
    pub fn create(path: &Path) -> Result<Self> {
        let temp = Temp::create(parent_of(path), TEMP_PREFIX, TEMP_SUFFIX, path);
        let temp = temp.map_err(|e| write_error(path, None, &e))?;
        Ok(AtomicFile {
            path: path.to_path_buf(),
            temp: BufWriter::with_capacity(BUFFER_BYTES, temp),
            hasher: blake3::Hasher::new(),
            expected_bytes: None,
        })
    }

    /// States the length of the file: an error for a full disk then names the bytes needed.
    #[must_use]
    pub fn expecting(mut self, bytes: u64) -> Self {
        self.expected_bytes = Some(bytes);
        self
    }

    /// The name it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sentence for a failed write of this file.
    pub fn error(&self, source: &io::Error) -> Error {
        write_error(&self.path, self.expected_bytes, source)
    }

    /// Makes the file durable under its name and gives back its size and digest. Whatever had the name is replaced.
    ///
    /// # Errors
    /// `Machine` when the disk is full or refuses; then nothing has changed under the name.
    pub fn commit(self) -> Result<FileRecord> {
        let AtomicFile { path, temp, hasher, expected_bytes } = self;
        let fail = |e: &io::Error| write_error(&path, expected_bytes, e);
        let temp = temp.into_inner().map_err(|e| fail(e.error()))?;
        temp.sync().and_then(|()| temp.persist()).map_err(|e| fail(&e))?;
        sync_dir(parent_of(&path))?;
        Ok(FileRecord { size: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.temp.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.flush()
    }
}

/// Writes `bytes` to `path`, whole and durable or not at all.
///
/// # Errors
/// `Machine` when the disk is full or refuses; then the old file under the name is still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<FileRecord> {
    let mut file = AtomicFile::create(path)?.expecting(bytes.len() as u64);
    file.write_all(bytes).map_err(|e| file.error(&e))?;
    file.commit()
}

/// Makes `dir` and what is missing above it, durably.
///
/// # Errors
/// `Machine` when it cannot be made.
pub fn create_dir_all(dir: &Path) -> Result<()> {
    // where the look fails, making it has the error
    let is_there = || disk::metadata(dir).is_ok_and(|m| m.is_dir());
    if is_there() {
        return Ok(());
    }
    let parent = parent_of(dir);
    if parent != dir {
        create_dir_all(parent)?;
    }
    match disk::create_dir(dir) {
        Ok(()) => sync_dir(parent),
        // Another process of the same run may have been first.
        Err(_) if is_there() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::machine(format!(
            "{} is a file, and a directory is needed there; choose another place",
            dir.display()
        ))),
        Err(e) => {
            Err(Error::machine(format!("cannot make the directory {}: {e}; choose another place", dir.display())))
        }
    }
}

/// What the disk of `path` has free for this user; of the nearest directory that is there, if `path` is not. `None`
/// where that is unknown.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|p| disk::is_dir(p)).unwrap_or(Path::new("."));
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of all files below; what vanishes meanwhile is not counted.
pub fn bytes_under(path: &Path) -> u64 {
    let names = disk::names_in(path).unwrap_or_default().into_iter();
    let entries = names.map(|name| path.join(name));
    entries
        .map(|entry| match disk::link_metadata(&entry) {
            Ok(found) if found.is_dir() => bytes_under(&entry),
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        })
        .sum()
}

/// Names in a directory that are UTF-8, sorted; none when it is not there.
///
/// # Errors
/// `Machine` when it cannot be listed: what is not seen would be taken for gone.
pub(super) fn names_in(dir: &Path) -> Result<Vec<String>> {
    match disk::names_in(dir) {
        Ok(names) => Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(not_now(dir, &e)),
    }
}

/// Makes the names in `dir` durable (a rename is not, before this).
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync()).map_err(|e| write_error(dir, None, &e))
}

/// Every failed write is a `Machine` error; for a full disk it gives the size wanted, and that nothing is lost.
pub fn write_error(path: &Path, needed_bytes: Option<u64>, source: &io::Error) -> Error {
    use io::ErrorKind as Io;
    let needed = needed_bytes.map(|n| format!(" ({n} bytes)")).unwrap_or_default();
    let hint = match source.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => {
            "; the file that was there before is unchanged: free some space, then run the same command again to resume from the last \
             checkpoint"
        }
        Io::PermissionDenied | Io::ReadOnlyFilesystem => "; check who may write there",
        Io::NotFound => "; its folder is not there: make it, or choose another place",
        _ => "",
    };
    Error::machine(format!("write {}{needed}: {source}{hint}", path.display()))
}

/// The directory a file is in; `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::store::digest_of;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn an_unfinished_file_has_a_temporary_name_and_leaves_nothing_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(&[7; 1000]).unwrap();
        let during = names(dir.path());
        assert!(during.len() == 1 && is_temporary(&during[0]), "{during:?}");
        drop(file);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn commit_replaces_and_its_record_is_that_of_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        write_atomic(&path, b"old").unwrap();
        let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i * 31 % 251) as u8).collect();
        let record = write_atomic(&path, &bytes).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(record, digest_of(&path).unwrap());
        assert_eq!(names(dir.path()), ["a.bin"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_ne!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o044, 0, "others may read results");
        }
    }

    #[test]
    fn failures_name_path_size_and_remedy() {
        let missing = write_atomic(Path::new("/nowhere/at/all/x.bin"), b"x").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::Machine);
        let full = write_error(Path::new("runs/a/t.parquet"), Some(42), &io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.kind(), ErrorKind::Machine);
        for part in ["runs/a/t.parquet", "42 bytes", "free some space", "resume"] {
            assert!(full.to_string().contains(part), "{full}");
        }
    }
}
