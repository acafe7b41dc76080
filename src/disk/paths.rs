//! What is asked of the system by path. Errors are the system's, everywhere.

use super::fault::before;
use super::{Call, File, uninterrupted};
use std::collections::TryReserveError;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io::{ErrorKind, Read, Result};
use std::path::{Path, PathBuf};

/// The whole file.
///
/// # Errors
/// The system's.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    make_room(&file, |n| bytes.try_reserve_exact(n))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole file, which must be UTF-8.
///
/// # Errors
/// The system's; `InvalidData` where it is not UTF-8.
pub fn read_to_string(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut text = String::new();
    make_room(&file, |n| text.try_reserve_exact(n))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Reserves as many bytes as the file is long, and no more.
fn make_room(file: &File, reserve: impl FnOnce(usize) -> std::result::Result<(), TryReserveError>) -> Result<()> {
    let length = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    reserve(length).map_err(|_| ErrorKind::OutOfMemory.into())
}

/// A file that the system generates (`/proc/self/status`): it is made when it is read, and no disk can fail.
///
/// # Errors
/// The system's.
pub fn of_system(path: &str) -> Result<String> {
    std::fs::read_to_string(path)
}

/// What is known of a file; of what a link leads to.
///
/// # Errors
/// The system's.
pub fn metadata(path: &Path) -> Result<Metadata> {
    called(Call::Look, path, || std::fs::metadata(path))
}

/// The same of a link itself.
///
/// # Errors
/// The system's.
pub fn link_metadata(path: &Path) -> Result<Metadata> {
    called(Call::Look, path, || std::fs::symlink_metadata(path))
}

/// Whether something is there. What cannot be looked at, and not a second time either, is taken to be.
pub fn exists(path: &Path) -> bool {
    is_there(path, |_| true)
}

/// Whether a file is there. What cannot be looked at is taken for one.
pub fn is_file(path: &Path) -> bool {
    is_there(path, Metadata::is_file)
}

/// Whether a directory is there. What cannot be looked at is taken for one.
pub fn is_dir(path: &Path) -> bool {
    is_there(path, Metadata::is_dir)
}

fn is_there(path: &Path, wanted: impl Fn(&Metadata) -> bool) -> bool {
    // a name that no file can have is too long, or has a zero in it
    let is_absent = |e: &std::io::Error| {
        use ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
        matches!(e.kind(), NotFound | NotADirectory | InvalidInput | InvalidFilename)
    };
    // a disk that stumbles once would else make a file of one that need not be there
    match metadata(path).or_else(|e| if is_absent(&e) { Err(e) } else { metadata(path) }) {
        Ok(found) => wanted(&found),
        Err(e) => !is_absent(&e),
    }
}

/// Names in a directory, sorted.
///
/// # Errors
/// The system's.
pub fn names_in(dir: &Path) -> Result<Vec<OsString>> {
    called(Call::List, dir, || {
        let mut names = std::fs::read_dir(dir)?.map(|e| Ok(e?.file_name())).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
}

/// Where a link leads.
///
/// # Errors
/// The system's; `InvalidInput` for what is no link.
pub fn read_link(path: &Path) -> Result<PathBuf> {
    called(Call::Follow, path, || std::fs::read_link(path))
}

/// The path without links, from the root on.
///
/// # Errors
/// The system's.
pub fn canonicalize(path: &Path) -> Result<PathBuf> {
    called(Call::Follow, path, || path.canonicalize())
}

/// Makes a link at `path` that leads to `to`.
///
/// # Errors
/// The system's; `Unsupported` where there are no links.
pub fn symlink(to: &Path, path: &Path) -> Result<()> {
    called(Call::Link, path, || {
        #[cfg(unix)]
        return std::os::unix::fs::symlink(to, path);
        #[cfg(not(unix))]
        return Err(ErrorKind::Unsupported.into());
    })
}

/// Gives a file or directory another name.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    called(Call::Rename, to, || std::fs::rename(from, to))
}

/// Removes a file or a link.
///
/// # Errors
/// The system's.
pub fn remove_file(path: &Path) -> Result<()> {
    called(Call::Remove, path, || std::fs::remove_file(path))
}

/// Removes an empty directory.
///
/// # Errors
/// The system's.
pub fn remove_dir(path: &Path) -> Result<()> {
    called(Call::Remove, path, || std::fs::remove_dir(path))
}

/// Removes a directory with all that is in it.
///
/// # Errors
/// The system's; a part may be gone.
pub fn remove_dir_all(path: &Path) -> Result<()> {
    called(Call::Remove, path, || std::fs::remove_dir_all(path))
}

/// Makes a directory, whose parent must be there.
///
/// # Errors
/// The system's.
pub fn create_dir(path: &Path) -> Result<()> {
    called(Call::Make, path, || std::fs::create_dir(path))
}

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// The system's.
pub fn create_dir_all(path: &Path) -> Result<()> {
    called(Call::Make, path, || std::fs::create_dir_all(path))
}

fn called<T>(call: Call, path: &Path, mut made: impl FnMut() -> Result<T>) -> Result<T> {
    uninterrupted(|| {
        before(call, path)?;
        made()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_and_a_name_that_cannot_be_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "x").unwrap();
        assert_eq!((exists(&file), is_file(&file), is_dir(&file)), (true, true, false));
        assert_eq!((exists(dir.path()), is_file(dir.path()), is_dir(dir.path())), (true, false, true));
        for none in ["b", "a/b", "a\0b", &"x".repeat(300)] {
            let none = dir.path().join(none);
            assert_eq!((exists(&none), is_file(&none), is_dir(&none)), (false, false, false), "{none:?}");
        }
        assert_eq!(names_in(dir.path()).unwrap(), ["a"]);
    }
}
