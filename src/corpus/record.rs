//! What readers hand to the tokenizing stage: a record, a piece of a record, or a bad record.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Position of reading inside one file: between two records, or inside a text too long to be one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// Offset of the compressed member or frame, or of the next byte of a plain file; row group of a Parquet file.
    pub(super) frame: u64,
    /// Unwrapped bytes behind it; rows of the row group, the one that continues not counted.
    pub(super) skip: u64,
    /// Records begun before this place.
    pub(super) record: u64,
    /// Line ends before this place; of a Parquet file, what of the row that continues was handed on: bytes of its text, or ids.
    pub(super) line: u64,
    /// Whether the document begun last continues here.
    pub(super) inside: bool,
    /// Unwrapped bytes before the rest of that document that were handed on with its last piece, and are read again as the margin of
    /// the next; of a text in JSON, once decoded.
    pub(super) lead: u32,
}

impl FilePosition {
    /// The end of the file, wherever its content breaks off.
    pub(super) fn end(self) -> FilePosition {
        FilePosition { frame: u64::MAX, skip: 0, inside: false, lead: 0, ..self }
    }

    /// Whether this is [`FilePosition::end`].
    pub(super) fn is_end(self) -> bool {
        self.frame == u64::MAX
    }
}

/// One step of a reader.
pub(super) struct Raw {
    /// Position of reading after it.
    pub(super) after: FilePosition,
    /// Bytes of the file behind this step, for progress.
    pub(super) file_bytes: u64,
    pub(super) body: RawBody,
}

/// What was read, not yet parsed or tokenized.
pub(super) enum RawBody {
    /// A line of JSON, without its end.
    Json { line: Vec<u8>, number: u64 },
    /// A text or a piece of one, from a .txt file, with its margins: `piece` of the bytes. `line` is the number of its first line.
    Text { bytes: Vec<u8>, piece: Range<usize>, record: u64, line: u64, opens: bool, closes: bool },
    /// A piece of a text that is too long to be held whole, with its margins; `opening` where the document begins.
    Long { opening: Option<Opening>, text: String, piece: Range<usize>, surrogates: u64, closes: bool },
    /// A row with a text.
    Row { opening: Opening, text: String },
    /// Ready-made ids or a piece of them; `opening` where a document begins.
    Ids { opening: Option<Opening>, ids: Vec<u32>, closes: bool },
    /// What is wrong, with file and line or row, and how many records are lost.
    Bad { what: String, records: u64 },
}

/// A document's id and labels, before its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) name: String,
    pub(super) labels: Vec<Option<String>>,
}

impl RawBody {
    /// Bytes of text or ids, for the bound on reading ahead.
    pub(super) fn size_bytes(&self) -> usize {
        64 + match self {
            RawBody::Json { line, .. } => line.len(),
            RawBody::Text { bytes, .. } => bytes.len(),
            RawBody::Row { text, .. } | RawBody::Long { text, .. } => text.len(),
            RawBody::Ids { ids, .. } => 4 * ids.len(),
            RawBody::Bad { what, .. } => what.len(),
        }
    }
}

/// Bounds of what is held at once. They are constants of the program; tests make them small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// The longest record; a longer one is bad.
    pub(super) record_bytes: usize,
    /// The longest line of JSON that is held whole, and the longest text of a Parquet file that is handed on whole; the text of a longer
    /// one is read in pieces.
    pub(super) line_bytes: usize,
    /// The longest text that goes through the tokenizer in one piece. The tokenizers library holds some 130 times a
    /// text's size while it works (2.1 GB for 16 MiB, measured).
    pub(super) piece_bytes: usize,
    /// What is tokenized with a piece beyond its cuts.
    pub(super) margin_bytes: usize,
    /// Ids of one piece of a document of ids.
    pub(super) piece_ids: usize,
    /// Text in the air between reading and cutting.
    pub(super) look_ahead_bytes: usize,
    /// The largest page of a Parquet file, unwrapped, that is decoded; what was counted for when not all of them were looked at.
    pub(super) page_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            record_bytes: 4 << 30,
            line_bytes: 1 << 20,
            piece_bytes: 64 << 10,
            margin_bytes: 1 << 10,
            piece_ids: 1 << 20,
            look_ahead_bytes: 1 << 20,
            page_bytes: u64::MAX,
        }
    }
}
