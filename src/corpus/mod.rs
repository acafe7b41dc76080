//! Which tokens? Files in, [`TokenBatch`]es out, in one fixed order, from any batch on.
//!
//! What comes in: the `[corpus]` table of a dataflow file ([`CorpusOptions`]) and a tokenizer. What goes out: batches of
//! contexts whose content is a pure function of the options, the files and the batch's number. The position of reading is a
//! [`Cursor`], small enough for a manifest.
//!
//! On the way: `files` lists, `bytes` unwraps, `window` keeps places, a reader for each format (`jsonl`, `text`,
//! `parquet`, `bin`) finds records, `prefetch` has them parsed and tokenized in parallel (`parse`), `cutter` makes contexts
//! and `stream` batches. Where rows are pieces of text, `align` finds those that all tokenizers share, `gather` puts them together to words,
//! sentences or documents (`unit_ends`), and `span_cutter` cuts contexts.
//!
//! `sample` decides which documents are kept, `shuffle` in which order their tokens come. `trail` records what was read, so that a resumed run knows
//! whether the files before its place are what they were.
//!
//! A text over 64 KiB is tokenized in pieces that together give the tokens of the whole text (`split`). Documents for which this
//! cannot be verified are counted. A JSON line over 1 MiB and a text file are never held whole (`long`, `text`).
//!
//! Known limits: a Parquet page, and with it a row's text, is held whole.

mod agreement;
mod align;
mod batch;
mod bin;
mod bytes;
mod check;
mod columns;
mod companions;
mod count;
mod cursor;
mod cutter;
mod facts;
mod fields;
mod files;
mod frame;
mod gather;
mod handed;
mod id_tensor;
mod json;
mod jsonl;
mod lenient;
mod long;
mod options;
mod pages;
mod parquet;
mod parse;
mod prefetch;
mod reader;
mod record;
mod row_contexts;
mod sample;
mod shuffle;
mod sniff;
mod span_cutter;
mod special;
mod split;
mod stream;
mod text;
mod texts;
mod token_bytes;
mod tokenizer;
mod trail;
mod unit_ends;
mod vocab_files;
mod window;

pub use batch::{Context, Document, LeftOut, Row, RowText, TokenBatch, TokenView};
pub use count::{deserialize_count, parse_count};
pub use cursor::Cursor;
pub use facts::{CorpusFacts, Progress, tokenizing_bytes};
pub use files::{CorpusFile, matching_files};
pub use options::{
    BosRule, CorpusFormat, CorpusOptions, OnBadRecord, Remainder, RowRule, RowUnit, SpanContexts, TextUnit,
};
pub use sample::Sample;
pub use shuffle::Shuffle;
pub use stream::Corpus;
pub use token_bytes::ByteTokens;
pub use tokenizer::{Encoded, Tokenizer};

#[cfg(test)]
mod tests;
