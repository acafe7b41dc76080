//! Where does reading stand? All that a new process needs to hand out the next batch, small enough for a manifest.

use super::cutter::Carry;
use super::files::CorpusFile;
use super::record::Place;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Position of a batch. It holds at most one unfinished context (with `pack`, or inside a long document) and is
/// otherwise of fixed size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub(super) batch: BatchIndex,
    pub(super) rows: u64,
    /// Contexts that the record at the standing's place has given to batches before.
    pub(super) handed_out: u64,
    pub(super) standing: Standing,
    /// The file it stands in, as it was; `None` behind the last.
    path: Option<PathBuf>,
    size_bytes: u64,
    /// Bytes of all files before it, and their number is `standing.file`.
    bytes_before: u64,
}

/// What is known between two records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Standing {
    pub(super) file: usize,
    pub(super) place: Place,
    pub(super) file_bytes: u64,
    pub(super) documents: u64,
    pub(super) split_documents: u64,
    /// Documents with a value, of each label field.
    pub(super) labelled: Vec<u64>,
    pub(super) skipped_records: u64,
    pub(super) first_skips: Vec<String>,
    pub(super) carry: Carry,
    /// Whether the corpus has been read to its end.
    pub(super) is_through: bool,
}

impl Cursor {
    pub(super) fn new(
        batch: BatchIndex,
        rows: u64,
        handed_out: u64,
        standing: Standing,
        files: &[CorpusFile],
    ) -> Cursor {
        let here = files.get(standing.file);
        Cursor {
            batch,
            rows,
            handed_out,
            path: here.map(|f| f.path.clone()),
            size_bytes: here.map_or(0, |f| f.size_bytes),
            bytes_before: files.iter().take(standing.file).map(|f| f.size_bytes).sum(),
            standing,
        }
    }

    /// Number of the batch that comes next.
    pub fn batch(&self) -> BatchIndex {
        self.batch
    }

    /// Counted rows in all batches before it.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the corpus behind it.
    pub fn bytes_done(&self) -> u64 {
        self.bytes_before + self.standing.file_bytes.min(self.size_bytes)
    }

    /// Refuses a corpus that is not the one it was taken in, as far as names and sizes tell.
    ///
    /// # Errors
    /// `State`, naming the file.
    pub(super) fn check(&self, files: &[CorpusFile]) -> Result<()> {
        let afresh = "restore it, or start afresh";
        let n_before = self.standing.file;
        let bytes_before: u64 = files.iter().take(n_before).map(|f| f.size_bytes).sum();
        let here = files.get(n_before);
        if n_before > files.len() || here.map(|f| &f.path) != self.path.as_ref() {
            let found = here.map_or("the end of the corpus".to_string(), |f| f.path.display().to_string());
            let stood = self.path.as_ref().map_or("the end of the corpus".to_string(), |p| p.display().to_string());
            return Err(Error::state(format!(
                "the corpus file number {} is {found} and was {stood} when the run was stopped; {afresh}",
                n_before + 1
            )));
        }
        if let Some(file) = here.filter(|f| f.size_bytes != self.size_bytes) {
            return Err(Error::state(format!(
                "the corpus file {} has {} bytes and had {} when the run was stopped; {afresh}",
                file.path.display(),
                file.size_bytes,
                self.size_bytes
            )));
        }
        if bytes_before != self.bytes_before {
            let names: Vec<String> = files.iter().take(n_before.min(3)).map(|f| f.path.display().to_string()).collect();
            return Err(Error::state(format!(
                "the {n_before} corpus files read so far ({}{}) have {bytes_before} bytes and had {} when the run was \
                 stopped; {afresh}",
                names.join(", "),
                if n_before > 3 { ", …" } else { "" },
                self.bytes_before
            )));
        }
        Ok(())
    }
}
