//! Which files are at the path of an SAE? Names, small configuration files, sizes; no format is known here.

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest configuration file that is read; real ones have a few kilobytes.
const CONFIG_LIMIT: u64 = 4 << 20;

/// A place on disk: a folder and the names in it, or one file and the folder it is in.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// The file that was named, where it was a file.
    pub file: Option<PathBuf>,
    /// File names in the folder, sorted.
    pub names: BTreeSet<String>,
}

impl Folder {
    /// Looks at `path`.
    ///
    /// # Errors
    /// `Request` when there is nothing, `Machine` when it may not be read.
    pub fn at(path: &Path) -> Result<Self> {
        let found = disk::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::request(format!(
                "{} does not exist{}; check the path (one without ./ or ../ before it is relative to the working directory)",
                path.display(),
                disk::instead_of(path)
            )),
            _ => Error::io("open the SAE", path, &e),
        });
        let is_file = found?.is_file();
        let folder = match path.parent() {
            Some(parent) if is_file && parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) if is_file => parent,
            _ => path,
        };
        let listed = disk::names_in(folder).map_err(|e| Error::io("list", folder, &e))?;
        let names = listed.into_iter().filter_map(|name| name.into_string().ok()).collect();
        Ok(Folder { path: folder.to_path_buf(), file: is_file.then(|| path.to_path_buf()), names })
    }

    /// The named file itself, else `name` in the folder.
    pub fn weights(&self, name: &str) -> PathBuf {
        self.file.clone().unwrap_or_else(|| self.path.join(name))
    }

    /// Name of the file that was named, or of the folder.
    pub fn last_name(&self) -> &str {
        self.file.as_deref().unwrap_or(&self.path).file_name().and_then(|n| n.to_str()).unwrap_or("")
    }

    /// The components of the path, last first: repositories write sites and sizes into folder names.
    pub fn components(&self) -> impl Iterator<Item = String> {
        let full = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let names: Vec<String> = full.components().filter_map(|c| c.as_os_str().to_str().map(String::from)).collect();
        names.into_iter().rev()
    }

    /// A JSON file of the folder.
    ///
    /// # Errors
    /// `Request` when it is missing, `Input` when it is no JSON or lacks what is asked for.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path.join(name);
        let file = crate::weights::open(&path)?;
        let mut text = String::new();
        file.take(CONFIG_LIMIT).read_to_string(&mut text).map_err(|e| Error::io("read", &path, &e))?;
        serde_json::from_str(&text).map_err(|e| Error::input(format!("{}: {e}", path.display())))
    }

    /// A JSON file of the folder above, where there is one that reads.
    ///
    /// # Errors
    /// `Machine` when it cannot be read just now.
    pub fn beside<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let above = Folder { path: self.path.join(".."), file: None, names: BTreeSet::new() };
        match above.json(name) {
            Ok(read) => Ok(Some(read)),
            Err(e) if e.kind() == ErrorKind::Machine => Err(e),
            Err(_) => Ok(None),
        }
    }
}

/// Bytes of files that exist.
///
/// # Errors
/// As [`Error::io`] when one cannot be looked at.
pub(super) fn total_bytes(files: &[PathBuf]) -> Result<u64> {
    files.iter().map(|path| Ok(disk::metadata(path).map_err(|e| Error::io("read", path, &e))?.len())).sum()
}
