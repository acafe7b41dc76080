//! How far is the corpus read? All that a new process needs to hand out the next batch, small enough for a manifest.

use super::cutter::{Carry, Counts};
use super::files::CorpusFile;
use super::record::FilePosition;
use super::span_cutter::SpanCarry;
use super::trail::{Chain, Trail};
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Position of a batch. It holds at most one unfinished context (with `pack`, or inside a long document), where rows are words,
/// sentences or documents the row begun and its contexts, and a mark of every file that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    pub(super) batch: BatchIndex,
    pub(super) rows: u64,
    /// Of each view, tokens that belong to a row in all batches before; empty in a cursor that was written before these were counted.
    #[serde(default)]
    pub(super) tokens: Vec<u64>,
    /// Contexts that the record at the standing's place has given to batches before.
    pub(super) handed_out: u64,
    pub(super) standing: ReaderState,
    /// What had been read with the record that is being handed out.
    pub(super) with_record: Chain,
    /// The file it is in, as it was; `None` after the last.
    path: Option<PathBuf>,
    size_bytes: u64,
    stamp: u64,
    /// Bytes of all files before it, and their number is `standing.file`.
    bytes_before: u64,
    /// What an earlier pass over the corpus read.
    pub(super) earlier: Option<Box<Cursor>>,
}

/// What is known between two records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ReaderState {
    pub(super) file: usize,
    pub(super) place: FilePosition,
    pub(super) file_bytes: u64,
    /// What was read up to it.
    pub(super) trail: Trail,
    /// Key of the file; `None` before anything was read from it.
    pub(super) key: Option<u64>,
    pub(super) counts: Counts,
    pub(super) split_documents: u64,
    /// For each label field, the number of documents with a value.
    pub(super) labelled: Vec<u64>,
    /// Whether the open document is counted in `split_documents`.
    pub(super) split_here: bool,
    pub(super) skipped_records: u64,
    pub(super) first_skips: Vec<String>,
    pub(super) replaced_surrogates: u64,
    pub(super) first_surrogate: Option<String>,
    pub(super) carry: Carry,
    /// The same where rows are pieces of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spans: Option<Box<SpanCarry>>,
    /// Whether the corpus has been read to its end.
    pub(super) is_through: bool,
}

impl Cursor {
    /// The position of batch `batch`, with `tokens` of each view before it; `with_record`: what was read up to `standing` and with the record that comes next.
    pub(super) fn new(
        [batch, rows, handed_out]: [u64; 3],
        tokens: Vec<u64>,
        standing: ReaderState,
        with_record: Chain,
        files: &[CorpusFile],
        earlier: Option<Box<Cursor>>,
    ) -> Cursor {
        let here = files.get(standing.file);
        Cursor {
            batch,
            rows,
            tokens,
            handed_out,
            with_record,
            path: here.map(|f| f.path.clone()),
            size_bytes: here.map_or(0, |f| f.size_bytes),
            stamp: here.map_or(0, |f| f.stamp),
            bytes_before: files.iter().take(standing.file).map(|f| f.size_bytes).sum(),
            standing,
            earlier,
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

    /// Finds the position again in a corpus whose files may have changed after it. A file whose size or times of change differ
    /// is read again up to the position.
    ///
    /// # Errors
    /// `State`, naming the file, when records before the position have changed; `Request` or `Machine` when a file cannot be read.
    pub(super) fn find(
        &self,
        files: &[CorpusFile],
        read: &mut dyn FnMut(usize, u64) -> Result<Again>,
    ) -> Result<FilePosition> {
        let (n_before, trail) = (self.standing.file, &self.standing.trail);
        let here = files.get(n_before);
        if n_before > files.len() || here.map(|f| &f.path) != self.path.as_ref() {
            let found = here.map_or("the end of the corpus".to_string(), |f| f.path.display().to_string());
            let stood = self.path.as_ref().map_or("the end of the corpus".to_string(), |p| p.display().to_string());
            return Err(Error::state(format!(
                "the corpus file number {} is {found} and was {stood} when the run was stopped; restore it, or start again with --fresh",
                n_before + 1
            )));
        }
        let changed = |file: &CorpusFile, which: String| {
            Error::state(format!(
                "the corpus file {} is not what it was {which}; restore it, or start again with --fresh: only what comes after the run's \
                 position may be mended",
                file.path.display()
            ))
        };
        for (k, (file, mark)) in files.iter().zip(trail.done.iter()).enumerate() {
            if (file.size_bytes, file.stamp) == (mark.size_bytes, mark.stamp) {
                continue;
            }
            let again = read(k, mark.chain.steps)?;
            if again.chain != mark.chain || !again.at_end {
                return Err(changed(file, "when the run read it to its end".into()));
            }
        }
        match here {
            Some(file) if (file.size_bytes, file.stamp) != (self.size_bytes, self.stamp) => {
                let again = read(n_before, trail.here.steps)?;
                if again.chain != trail.here {
                    return Err(changed(
                        file,
                        format!("up to record {}, which the run has read", self.standing.place.record),
                    ));
                }
                Ok(again.place)
            }
            _ => Ok(self.standing.place),
        }
    }
}

/// A file read again, up to a number of steps.
pub(super) struct Again {
    pub(super) chain: Chain,
    pub(super) place: FilePosition,
    /// Whether nothing is behind.
    pub(super) at_end: bool,
}
