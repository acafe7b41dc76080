//! How is a damaged file recognised? By its size and its blake3 digest.

use crate::disk::File;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Size and digest of a whole file, as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Length in bytes.
    pub size: u64,
    /// blake3 of all bytes, 64 lower-case hex digits.
    pub blake3: String,
}

/// Size and digest of the file at `path`, read in one pass with a small buffer.
///
/// # Errors
/// As [`Error::io`]: the file is missing or cannot be read.
pub fn digest_of(path: &Path) -> Result<FileRecord> {
    look_through(path).map_err(|e| Error::io("read", path, &e))
}

/// The same with the system's own error.
pub(super) fn look_through(path: &Path) -> std::io::Result<FileRecord> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(FileRecord { size: hasher.count(), blake3: hasher.finalize().to_hex().to_string() })
}

/// blake3 of a text, 64 lower-case hex digits.
pub fn digest_of_text(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}
