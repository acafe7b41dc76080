//! What has been read so far? A digest of every record, in order, file by file: so that a run goes on over a file that was mended
//! behind the place where it stands, and over none whose records before it are not what they were.
//!
//! A file that carries the marks it had (size, times of change) is taken to be the one it was. Any other is read again up to the
//! place, which also tells where that place now lies.

use super::files::CorpusFile;
use super::json::{Record, json};
use super::options::CorpusOptions;
use super::record::{Opening, Raw, RawBody};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bits of a digest, enough to tell what was changed by mistake.
pub(super) type Digest = [u64; 2];

/// Records one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chain {
    /// Steps of the reader, pieces of long records one by one.
    pub(super) steps: u64,
    digest: Digest,
}

impl Chain {
    /// Adds the next one.
    pub(super) fn add(&mut self, record: Digest) {
        let mut hasher = blake3::Hasher::new();
        for word in self.digest.into_iter().chain(record) {
            hasher.update(&word.to_le_bytes());
        }
        *self = Chain { steps: self.steps + 1, digest: shortened(&hasher) };
    }
}

/// A file that was read to its end, as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileMark {
    pub(super) size_bytes: u64,
    pub(super) stamp: u64,
    pub(super) chain: Chain,
}

/// All that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trail {
    /// Files read to their end.
    pub(super) done: Arc<Vec<FileMark>>,
    /// What was read of the next.
    pub(super) here: Chain,
}

impl Trail {
    /// The files before number `file` are read to their end.
    pub(super) fn reach(&mut self, file: usize, files: &[CorpusFile]) {
        while self.done.len() < file {
            let CorpusFile { size_bytes, stamp, .. } = files[self.done.len()];
            Arc::make_mut(&mut self.done).push(FileMark { size_bytes, stamp, chain: std::mem::take(&mut self.here) });
        }
    }
}

/// Digest of what a reader handed on, as far as it is asked for, with the number of its record. `record`: a line of JSON as it was
/// parsed, so that another way to write the same counts as the same.
pub(super) fn digest_of(raw: &Raw, record: Option<&Result<Record, String>>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(&raw.after.record.to_le_bytes());
    match &raw.body {
        RawBody::Json { .. } => match record {
            Some(Ok(record)) => {
                field(b"json");
                opened(&record.opening, &mut field);
                field(record.text.as_bytes());
            }
            Some(Err(_)) | None => {
                field(b"bad");
                field(&1u64.to_le_bytes());
            }
        },
        RawBody::Text { bytes, piece, opens, closes, .. } => {
            field(b"text");
            field(&bytes[piece.clone()]);
            field(&[u8::from(*opens), u8::from(*closes)]);
        }
        RawBody::Long { opening, text, piece, closes, .. } => {
            field(b"long");
            opening.iter().for_each(|opening| opened(opening, &mut field));
            field(&text.as_bytes()[piece.clone()]);
            field(&[u8::from(*closes)]);
        }
        RawBody::Row { opening, text } => {
            field(b"row");
            opened(opening, &mut field);
            field(text.as_bytes());
        }
        RawBody::Ids { opening, ids, closes } => {
            field(b"ids");
            opening.iter().for_each(|opening| opened(opening, &mut field));
            field(bytemuck::cast_slice(ids));
            field(&[u8::from(*closes)]);
        }
        // what is left out says nothing, but that it is
        RawBody::Bad { records, .. } => {
            field(b"bad");
            field(&records.to_le_bytes());
        }
    }
    shortened(&hasher)
}

/// The same of what was not parsed yet; `name` is the file's.
pub(super) fn digest_of_raw(raw: &Raw, name: &str, options: &CorpusOptions) -> Digest {
    match &raw.body {
        RawBody::Json { line, number } => digest_of(raw, Some(&json(line, name, *number, options))),
        _ => digest_of(raw, None),
    }
}

fn opened(opening: &Opening, field: &mut impl FnMut(&[u8])) {
    field(opening.name.as_bytes());
    for label in &opening.labels {
        field(&[u8::from(label.is_some())]);
        field(label.as_deref().unwrap_or_default().as_bytes());
    }
}

fn shortened(hasher: &blake3::Hasher) -> Digest {
    let hash = hasher.finalize();
    let word = |at: usize| u64::from_le_bytes(hash.as_bytes()[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

/// What tells a file from others of its name wherever it lies in a list: the name, how many of that name came before it, and its
/// first record.
pub(super) fn file_key(name: &str, times: u64, first: Digest) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    for word in [times, first[0], first[1]] {
        hasher.update(&word.to_le_bytes());
    }
    shortened(&hasher)[0]
}
