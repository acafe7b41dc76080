//! How is a weight file opened? For reading, or mapped read-only; a Git LFS pointer is refused.

use crate::disk::File;
use crate::error::{Error, Result};
use crate::hub::{POINTER_BYTES, refuse_pointer};
use memmap2::Mmap;
use std::io::{Read, Seek};
use std::path::Path;

/// Maps `path` for reading.
///
/// Known limitation: a file that is cut short by another program while it is mapped ends this process with a bus error;
/// checkpoints are written once and not changed while a run reads them.
///
/// # Errors
/// `Input` when it is a Git LFS pointer; else as [`Error::io`], `what` being the attempt ("read the checkpoint").
#[allow(unsafe_code)]
pub fn map(what: &str, path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| Error::io(what, path, &e))?;
    let mapped = file.to_map().map_err(|e| Error::io(what, path, &e))?;
    // SAFETY: the map is read-only and private to this process. Its bytes are read as plain numbers only, for which every
    // pattern is valid. The documented condition above demands that the file is not shortened meanwhile.
    let bytes = unsafe { Mmap::map(mapped) }.map_err(|e| Error::io(what, path, &e))?;
    refuse_pointer(path, &bytes[..bytes.len().min(POINTER_BYTES)])?;
    Ok(bytes)
}

/// Opens a file for reading.
///
/// # Errors
/// As [`Error::io`], with its name; `Input` when it is a Git LFS pointer.
pub fn open(path: &Path) -> Result<File> {
    let mut file = File::open(path).map_err(|e| Error::io("open", path, &e))?;
    let mut head = Vec::with_capacity(POINTER_BYTES);
    let read = (&mut file).take(POINTER_BYTES as u64).read_to_end(&mut head).and_then(|_| file.rewind());
    read.map_err(|e| Error::io("read", path, &e))?;
    refuse_pointer(path, &head)?;
    Ok(file)
}

/// Opens a file again that had so many bytes.
///
/// # Errors
/// `Input` where it has another number of them by now; those of [`open`].
pub fn reopen(path: &Path, file_bytes: u64) -> Result<File> {
    let file = open(path)?;
    let now = length(&file, path)?;
    if now != file_bytes {
        return Err(Error::input(format!(
            "{} has {now} bytes, and had {file_bytes} when it was opened; do not write to it while a run reads it",
            path.display()
        )));
    }
    Ok(file)
}

/// Bytes in an open file.
///
/// # Errors
/// As [`Error::io`].
pub fn length(file: &File, path: &Path) -> Result<u64> {
    file.length().map_err(|e| Error::io("read", path, &e))
}
