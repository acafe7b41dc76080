//! Which fields do the first records of a corpus have? Read before a run starts. A label that no record has is then refused
//! early, by a message that lists the fields that exist.

use super::files::{CorpusFile, kind_of};
use super::jsonl::JsonlReader;
use super::lenient::mended;
use super::options::{CorpusFormat, CorpusOptions, OnBadRecord};
use super::record::{FilePosition, Limits, RawBody};
use crate::error::Result;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Records looked at.
const RECORDS: usize = 1000;
/// Most bytes of records looked at.
const BYTES: usize = 64 << 20;
/// Names that a message lists.
const NAMES: usize = 24;

/// What the first records have.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FirstRecords {
    /// Records that were read; those that are no JSON objects are left out.
    pub(super) n: usize,
    /// Whether any record has the text field.
    pub(super) has_text: bool,
    /// For each label of the request, whether any record has the field.
    pub(super) has: Vec<bool>,
    /// Names of the fields, in order of first appearance; at most [`NAMES`].
    pub(super) names: Vec<String>,
}

/// Looks for the text and the labels of `options` in the first records of the .jsonl files.
///
/// # Errors
/// `Request` or `Machine` when a file cannot be opened or read.
pub(super) fn first_records(files: &[CorpusFile], options: &CorpusOptions, limits: Limits) -> Result<FirstRecords> {
    let wanted = &options.labels;
    let text = options.text.as_str();
    let lenient = CorpusOptions { on_bad_record: OnBadRecord::Skip, ..options.clone() };
    let mut found = FirstRecords { has: vec![false; wanted.len()], ..FirstRecords::default() };
    let mut bytes = 0;
    for file in files {
        let (CorpusFormat::Jsonl, wrapping) = kind_of(&file.path, options.format)? else { continue };
        let mut reader = JsonlReader::open(&file.path, wrapping, &lenient, FilePosition::default(), limits)?;
        while found.n < RECORDS && bytes < BYTES {
            let Some(raw) = reader.next()? else { break };
            let line = match raw.body {
                RawBody::Json { line, .. } => line,
                RawBody::Long { opening, text, .. } => {
                    bytes += text.len();
                    if let Some(opening) = opening {
                        found.n += 1;
                        found.has_text = true;
                        found.has.iter_mut().zip(&opening.labels).for_each(|(has, value)| *has |= value.is_some());
                    }
                    continue;
                }
                _ => continue,
            };
            bytes += line.len();
            let Some(keys) = keys_of(&line) else { continue };
            found.n += 1;
            for key in keys {
                found.has_text |= key == text;
                found.has.iter_mut().zip(wanted).for_each(|(has, name)| *has |= *name == key);
                if found.names.len() < NAMES && !found.names.contains(&key) {
                    found.names.push(key);
                }
            }
        }
    }
    Ok(found)
}

/// The names of the fields of a line of JSON, if it is one.
fn keys_of(line: &[u8]) -> Option<Vec<String>> {
    let of = |line: &str| serde_json::Deserializer::from_str(line).deserialize_map(Keys).ok();
    let line = std::str::from_utf8(line).ok()?;
    of(line).or_else(|| of(&mended(line)?.line))
}

/// The names of an object's fields.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vec<String>, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
            keys.push(key);
        }
        Ok(keys)
    }
}
