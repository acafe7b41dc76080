//! What a person is told of a corpus: before it is read, and while it is.

/// How far reading is, for a person and for an estimate of the time left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on disk behind the batches handed out; equals `bytes_total` when the corpus is through. Within a compressed
    /// file or a row group it is near, not exact.
    pub bytes_done: u64,
    /// Bytes on disk of all files, a file named twice counted twice.
    pub bytes_total: u64,
    /// Documents begun, empty ones included, skipped ones not.
    pub documents: u64,
    /// Malformed records left out, a damaged rest of a file counted once.
    pub skipped_records: u64,
    /// Documents with a text too long to be tokenized in one piece: tokens beside the cuts may differ.
    pub split_documents: u64,
    /// Of each label field, documents that have a value of it; empty before the first document.
    pub labelled: Vec<u64>,
    /// What was wrong with the first few skipped records.
    pub first_skips: Vec<String>,
}

/// What a plan says of a corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFacts {
    /// Files, a file named twice counted twice.
    pub n_files: usize,
    /// Their bytes on disk.
    pub size_bytes: u64,
    /// Ids from 0 up to, not including, this one.
    pub vocab_size: usize,
    /// What is put before contexts or documents; `None` with `bos = "none"`.
    pub bos: Option<(u32, String)>,
    /// What is put between packed documents; `None` without `pack`.
    pub eos: Option<(u32, String)>,
}
