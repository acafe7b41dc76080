//! Which fields do the first records of a corpus have? Asked before anything runs, so that a label that no record has is named
//! then, beside those that are there.

use super::files::{CorpusFile, Format, kind_of};
use super::jsonl::JsonlReader;
use super::record::{Limits, Place, RawBody};
use crate::error::Result;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// Records looked at.
const RECORDS: usize = 1000;
/// Bytes of them at most.
const BYTES: usize = 64 << 20;
/// Names that are told.
const NAMES: usize = 24;

/// What the first records have.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FirstRecords {
    /// Records that were looked at; those that are no JSON objects are left out.
    pub(super) n: usize,
    /// Of each field asked for, whether any of them has it.
    pub(super) has: Vec<bool>,
    /// Names of their fields, in order of first appearance, the first [`NAMES`].
    pub(super) names: Vec<String>,
}

/// Looks for `wanted` in the first records of the .jsonl files.
///
/// # Errors
/// `Request` or `Machine` when a file cannot be opened or read.
pub(super) fn first_records(files: &[CorpusFile], wanted: &[String], limits: Limits) -> Result<FirstRecords> {
    let mut found = FirstRecords { has: vec![false; wanted.len()], ..FirstRecords::default() };
    let mut bytes = 0;
    for file in files {
        let (Format::Jsonl, wrapping) = kind_of(&file.path)? else { continue };
        let mut reader = JsonlReader::open(&file.path, wrapping, Place::default(), limits, true)?;
        while found.n < RECORDS && bytes < BYTES {
            let Some(raw) = reader.next()? else { break };
            let RawBody::Json { line, .. } = raw.body else { continue };
            bytes += line.len();
            let Ok(keys) = serde_json::Deserializer::from_slice(&line).deserialize_map(Keys) else { continue };
            found.n += 1;
            for key in keys {
                found.has.iter_mut().zip(wanted).for_each(|(has, name)| *has |= *name == key);
                if found.names.len() < NAMES && !found.names.contains(&key) {
                    found.names.push(key);
                }
            }
        }
    }
    Ok(found)
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
