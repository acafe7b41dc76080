//! Facts about a corpus for messages: before it is read, and while it is.

use super::batch::LeftOut;
use super::files::{CorpusFile, Wrapping, kind_of};
use super::options::{CorpusFormat, CorpusOptions, RowRule};
use super::record::Limits;
use super::tokenizer::Tokenizer;
use crate::disk;
use std::sync::Arc;

/// How far reading is, for a person and for an estimate of the time left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on disk behind the batches handed out; equals `bytes_total` when the corpus is through. Within a compressed
    /// file or a row group it is near, not exact.
    pub bytes_done: u64,
    /// Bytes on disk of all files.
    pub bytes_total: u64,
    /// Documents begun, empty ones included, skipped ones not.
    pub documents: u64,
    /// Documents that are not of the sample.
    pub left_out_documents: u64,
    /// Malformed records left out; rows of Parquet files as rows, what is lost of another damaged file as one.
    pub skipped_records: u64,
    /// Documents that were tokenized in pieces and whose tokens next to a cut may differ from the tokens of the whole text.
    pub split_documents: u64,
    /// What is in no row because not all tokenizers share it.
    pub in_no_row: LeftOut,
    /// For each label field, the number of documents that have a value; empty before the first document.
    pub labelled: Vec<u64>,
    /// What was wrong with the first few skipped records.
    pub first_skips: Vec<String>,
    /// Halves of surrogate pairs that stood alone in a record and became U+FFFD.
    pub replaced_surrogates: u64,
    /// Position of the first replaced surrogate.
    pub first_surrogate: Option<String>,
}

/// Facts about a corpus for a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFacts {
    /// Files.
    pub n_files: usize,
    /// Their bytes on disk.
    pub size_bytes: u64,
    /// Most memory that unpacking one file needs beyond the usual buffers: the window of zstd.
    pub window_bytes: u64,
    /// Most memory that decoding pages of a Parquet file takes: a page is decoded whole.
    pub pages_bytes: u64,
    /// Tokens of all contexts at most, special ones included, where the sizes of the files tell: they do not where a file is compressed.
    pub most_tokens: Option<u64>,
    /// Ids from 0 up to, not including, this one; of each tokenizer.
    pub vocab_size: Vec<usize>,
    /// What is put before contexts or documents, by each tokenizer; `None` with `bos = "none"`, and for a tokenizer
    /// without BOS among several.
    pub bos: Vec<Option<(u32, String)>>,
    /// What is put between packed documents; `None` without `pack`.
    pub eos: Vec<Option<(u32, String)>>,
}

/// The shortest record of JSON lines, in bytes: an empty text and a line's end.
const SHORTEST_LINE: u64 = 12;

/// Tokens of all contexts at most: bytes of text as tokens, what the options put around a context and a document, and a space before a
/// text. `None` where bytes on disk say nothing of that, and where rows are pieces of text, which contexts hold more than once.
pub(super) fn most_tokens(files: &[CorpusFile], options: &CorpusOptions, tokenizers: &[Arc<Tokenizer>]) -> Option<u64> {
    if options.rows != RowRule::Tokens {
        return None;
    }
    let of_a_byte = tokenizers.iter().map(|t| t.most_tokens_of_a_byte()).max().unwrap_or(1);
    let (mut tokens, mut documents) = (0u64, 0u64);
    for file in files {
        let (format, wrapping) = kind_of(&file.path, options.format).ok()?;
        // a pipe has no size
        if wrapping != Wrapping::Plain || !disk::is_file(&file.path) {
            return None;
        }
        let here = match format {
            CorpusFormat::Jsonl => file.size_bytes / SHORTEST_LINE + 1,
            CorpusFormat::Text | CorpusFormat::Bin | CorpusFormat::Safetensors => file.size_bytes,
            CorpusFormat::Parquet => return None,
        };
        documents = documents.saturating_add(here);
        tokens = tokens.saturating_add(file.size_bytes.saturating_add(here).saturating_mul(of_a_byte));
    }
    // each context but a document's last is full
    let contexts = (tokens / (options.context_length.max(2) as u64 - 1)).saturating_add(documents);
    Some(tokens.saturating_add(contexts).saturating_add(documents))
}

/// Bytes that the tokenizers library holds for each byte of text while it works (measured: 130 for ids alone, more with offsets).
const HELD_FOR_A_BYTE: u64 = 200;

/// Memory that reading and tokenizing take on this many threads, however long a document is: a piece on each, as far as
/// text is read ahead, and a line that is held whole.
pub fn tokenizing_bytes(threads: u64) -> u64 {
    let Limits { line_bytes, piece_bytes, look_ahead_bytes, .. } = Limits::default();
    let at_work = (threads * piece_bytes as u64).min((look_ahead_bytes + piece_bytes) as u64);
    at_work * HELD_FOR_A_BYTE + 4 * line_bytes as u64
}
