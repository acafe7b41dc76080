//! What has been read so far? A digest of every record, in order, per file. A run may resume over a file that was changed after
//! its position. It refuses a file whose records before the position have changed.
//!
//! A file with unchanged size and times of change is taken as unchanged. Any other file is read again up to the position, which
//! also finds where the position now is.

use super::files::CorpusFile;
use super::json::{Record, json};
use super::options::CorpusOptions;
use super::record::{Opening, Raw, RawBody};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bits of a digest, enough to notice a change made by mistake.
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

/// Digest of the parts of a record that the run uses, and of the record's number. `record` is the parsed JSON line: two
/// spellings of the same values have the same digest.
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
        // of what is left out, only that it was there
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

/// What distinguishes a file from others of its name wherever it is in a list: the name, how many of that name came before it, and its
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

#[cfg(test)]
mod tests {
    use super::super::record::FilePosition;
    use super::*;
    use crate::corpus::tests::options;
    use std::collections::BTreeSet;

    fn of(record: u64, body: RawBody) -> Digest {
        let after = FilePosition { record, ..FilePosition::default() };
        digest_of_raw(&Raw { after, file_bytes: 0, body }, "file", &with_labels())
    }

    fn with_labels() -> CorpusOptions {
        CorpusOptions { labels: vec!["lang".into()], ..options(&[], 8) }
    }

    fn opening(name: &str, labels: &[Option<&str>]) -> Opening {
        Opening { name: name.into(), labels: labels.iter().map(|label| label.map(String::from)).collect() }
    }

    #[test]
    fn a_digest_tells_number_name_labels_and_text_and_where_each_ends() {
        let row = |record, name, labels: &[Option<&str>], text: &str| {
            of(record, RawBody::Row { opening: opening(name, labels), text: text.into() })
        };
        let bad = |records| of(1, RawBody::Bad { what: "anything".into(), records });
        let long = |text: &str, closes| {
            let (opening, piece) = (Some(opening("a", &[Some("x")])), 0..4);
            of(1, RawBody::Long { opening, text: text.into(), piece, surrogates: 0, closes })
        };
        let ids = |ids: &[u32], closes| of(1, RawBody::Ids { opening: None, ids: ids.to_vec(), closes });
        let all = [
            row(1, "a", &[Some("x")], "text"),
            row(2, "a", &[Some("x")], "text"),
            row(1, "b", &[Some("x")], "text"),
            row(1, "a", &[Some("y")], "text"),
            row(1, "a", &[None], "text"),
            row(1, "a", &[Some("")], "text"),
            row(1, "a", &[Some("x"), None], "text"),
            row(1, "a", &[Some("x")], "texts"),
            row(1, "a", &[Some("xt")], "ext"),
            row(1, "ax", &[Some("")], "text"),
            long("text", true),
            long("text", false),
            long("tex.", true),
            ids(&[1, 2], true),
            ids(&[2, 1], true),
            ids(&[1, 2], false),
            bad(1),
            bad(2),
        ];
        assert_eq!(BTreeSet::from(all).len(), all.len());
        // what is no part of the piece is no part of its digest
        assert_eq!(long("text and margin", true), long("text", true));
    }

    #[test]
    fn a_line_of_json_is_what_is_asked_of_it() {
        let line = |line: &str| of(1, RawBody::Json { line: line.into(), number: 1 });
        let one = line(r#"{"text": "a b", "id": "x", "lang": "de"}"#);
        assert_eq!(one, line(r#"{"lang":"de","more":[1, 2],"text":"a\u0020b","id":"x"}"#), "written otherwise");
        for other in [
            r#"{"text": "ab", "id": "x", "lang": "de"}"#,
            r#"{"text": "a b", "id": "y", "lang": "de"}"#,
            r#"{"text": "a b", "id": "x", "lang": "fr"}"#,
            r#"{"text": "a b", "id": "x"}"#,
        ] {
            assert_ne!(one, line(other), "{other}");
        }
        // whatever is wrong with it, it is one record that was left out
        let bad = of(1, RawBody::Bad { what: "anything".into(), records: 1 });
        assert_eq!([line("{broken"), line(r#"{"body": 1}"#)], [bad, bad]);
    }

    #[test]
    fn a_chain_knows_the_order_of_its_records() {
        let chain = |records: &[Digest]| {
            let mut chain = Chain::default();
            records.iter().for_each(|record| chain.add(*record));
            chain
        };
        let (a, b) = ([1, 2], [3, 4]);
        let all =
            [chain(&[]), chain(&[a]), chain(&[b]), chain(&[a, b]), chain(&[b, a]), chain(&[b, b]), chain(&[a, b, b])];
        assert_eq!(all.map(|c| c.steps), [0, 1, 1, 2, 2, 2, 3]);
        assert_eq!(all.iter().map(|c| c.digest).collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn a_file_is_told_by_name_place_among_its_namesakes_and_first_record() {
        let keys = [
            file_key("a.jsonl", 0, [1, 2]),
            file_key("b.jsonl", 0, [1, 2]),
            file_key("a.jsonl", 1, [1, 2]),
            file_key("a.jsonl", 0, [2, 2]),
            file_key("a.jsonl", 0, [1, 1]),
        ];
        assert_eq!(BTreeSet::from(keys).len(), keys.len());
    }
}
