//! Which tokens? Files in, [`TokenBatch`]es out, in one fixed order, from any batch on.
//!
//! What comes in: the `[corpus]` table of a dataflow file ([`CorpusOptions`]) and a tokenizer. What goes out: batches of
//! contexts whose content is a pure function of the options, the files and the batch's number. Where reading stands is a
//! [`Cursor`], small enough for a manifest.
//!
//! On the way: `files` lists, `bytes` unwraps, `window` keeps places, a reader for each format (`jsonl`, `text`,
//! `parquet`, `bin`) finds records, `ahead` has them parsed and tokenized in parallel (`parse`), `cutter` makes contexts
//! and `stream` batches.
//!
//! Known limits: a text over 4 MiB is tokenized in pieces, which may change the tokens beside each cut (such documents
//! are counted); nothing but names and sizes tells that a file has changed between a stop and a restart.

mod ahead;
mod batch;
mod bin;
mod bytes;
mod check;
mod columns;
mod companions;
mod cursor;
mod cutter;
mod facts;
mod fields;
mod files;
mod json;
mod jsonl;
mod options;
mod parquet;
mod parse;
mod pieces;
mod reader;
mod record;
mod special;
mod stream;
mod text;
mod tokenizer;
mod vocab_files;
mod window;

pub use batch::{Context, Document, TokenBatch};
pub use cursor::Cursor;
pub use facts::{CorpusFacts, Progress};
pub use files::CorpusFile;
pub use options::{BosRule, CorpusOptions, OnBadRecord, Remainder, TextUnit};
pub use stream::Corpus;
pub use tokenizer::{Encoded, Tokenizer};

#[cfg(test)]
mod tests;
