//! How is a weight file opened? For reading, or mapped read-only; a Git LFS pointer is refused.

use crate::disk::File;
use crate::error::{Error, Result};
use crate::hub::{POINTER_BYTES, refuse_pointer};
use memmap2::Mmap;
use std::io::{Read, Seek};
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes that are read of a mapped file before its pages are given back.
const RELEASE_BYTES: usize = 8 << 20;

/// A file, mapped read-only. The system counts the pages that were read as memory of this process, beside the copy that was
/// made of them, so they are given back while the file is read.
pub struct Mapped {
    bytes: Mmap,
    /// Bytes read since pages were given back.
    read: AtomicUsize,
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Mapped {
    /// Counts `n_bytes` that have been read. After every [`RELEASE_BYTES`] all pages are given back. A page that is read
    /// again has the same bytes, from the system's cache or the disk.
    #[allow(unsafe_code)]
    pub fn has_read(&self, n_bytes: usize) {
        if self.read.fetch_add(n_bytes, Relaxed) + n_bytes < RELEASE_BYTES {
            return;
        }
        self.read.store(0, Relaxed);
        #[cfg(unix)]
        // SAFETY: the map is of a file and is never written, so that its pages hold nothing that the file does not: one that
        // is dropped while another thread reads it is read from the file again.
        let _ = unsafe { self.bytes.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

/// Maps `path` for reading.
///
/// Known limitation: a file that is cut short by another program while it is mapped ends this process with a bus error;
/// checkpoints are written once and not changed while a run reads them.
///
/// # Errors
/// `Input` when it is a Git LFS pointer; else as [`Error::io`], `what` being the attempt ("read the checkpoint").
#[allow(unsafe_code)]
pub fn map(what: &str, path: &Path) -> Result<Mapped> {
    let file = File::open(path).map_err(|e| Error::io(what, path, &e))?;
    let mapped = file.to_map().map_err(|e| Error::io(what, path, &e))?;
    // SAFETY: the map is read-only and private to this process. Its bytes are read as plain numbers only, for which every
    // pattern is valid. The documented condition above demands that the file is not shortened meanwhile.
    let bytes = unsafe { Mmap::map(mapped) }.map_err(|e| Error::io(what, path, &e))?;
    refuse_pointer(path, &bytes[..bytes.len().min(POINTER_BYTES)])?;
    Ok(Mapped { bytes, read: AtomicUsize::new(0) })
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
