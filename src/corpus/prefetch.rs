//! Reading ahead: records are read in order, parsed and tokenized in parallel, and handed on in order.
//!
//! The text read ahead is bounded in bytes; a record larger than the bound is read ahead alone. The first groups are small: a
//! short look at a corpus costs little. The amount read ahead changes no result. A failure waits in the queue until everything
//! before it was handed on.

use super::files::CorpusFile;
use super::options::CorpusOptions;
use super::parse::{ParseOptions, Unit, parse};
use super::reader::Reader;
use super::record::{FilePosition, Limits, Raw};
use super::tokenizer::Tokenizer;
use super::trail::{digest_of_raw, file_key};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of text in the first group.
const FIRST_GROUP_BYTES: usize = 128 << 10;

/// Records in a group, however small they are.
const MOST_RECORDS: usize = 1 << 14;

/// The files as one stream of parsed records.
pub(super) struct Ahead {
    limits: Limits,
    group_bytes: usize,
    file: usize,
    place: FilePosition,
    reader: Option<Reader>,
    /// Key of the file, from its first record on.
    key: Option<u64>,
    queue: VecDeque<Result<(usize, Unit)>>,
    /// A failure has been queued: nothing is read behind it.
    failed: bool,
}

impl Ahead {
    /// Begins at `place` of file number `file`, whose key is known where that is not its beginning.
    pub(super) fn new(file: usize, place: FilePosition, key: Option<u64>, limits: Limits) -> Ahead {
        let group_bytes = FIRST_GROUP_BYTES.min(limits.look_ahead_bytes);
        Ahead { limits, group_bytes, file, place, reader: None, key, queue: VecDeque::new(), failed: false }
    }

    /// The next record, with the number of its file; `None` behind the last.
    ///
    /// # Errors
    /// As [`Reader::open`] and [`Reader::next`].
    pub(super) fn next(
        &mut self,
        files: &[CorpusFile],
        options: &CorpusOptions,
        tokenizers: &[Arc<Tokenizer>],
    ) -> Result<Option<(usize, Unit)>> {
        if self.queue.is_empty() && !self.failed {
            self.read_group(files, options, tokenizers);
        }
        self.queue.pop_front().transpose()
    }

    fn read_group(&mut self, files: &[CorpusFile], options: &CorpusOptions, tokenizers: &[Arc<Tokenizer>]) {
        let (mut group, mut bytes) = (Vec::new(), 0);
        let mut failure: Option<Error> = None;
        while bytes < self.group_bytes && group.len() < MOST_RECORDS {
            let step = match &mut self.reader {
                Some(reader) => reader.next(),
                None if self.file == files.len() => break,
                None => {
                    let path = &files[self.file].path;
                    let eos = tokenizers[0].eos_id().filter(|_| options.split_at_eos);
                    match Reader::open(path, options, eos, self.place, self.limits) {
                        Ok(reader) => {
                            self.reader = Some(reader);
                            continue;
                        }
                        Err(e) => Err(e),
                    }
                }
            };
            match step {
                Ok(Some(raw)) => {
                    bytes += raw.body.size_bytes();
                    let key = *self.key.get_or_insert_with(|| key_of(files, self.file, &raw, options));
                    group.push((self.file, key, raw));
                }
                Ok(None) => {
                    self.reader = None;
                    self.file += 1;
                    self.place = FilePosition::default();
                    self.key = None;
                }
                Err(e) => {
                    failure = Some(e);
                    break;
                }
            }
        }
        self.group_bytes = (2 * self.group_bytes).min(self.limits.look_ahead_bytes);
        let limits = &self.limits;
        let parsed: Vec<(usize, Unit)> = group
            .into_par_iter()
            .map(|(file, key, raw)| {
                let name = files[file].path.display().to_string();
                (file, parse(raw, &ParseOptions { name: &name, key, options, tokenizers, limits }))
            })
            .collect();
        self.queue.extend(parsed.into_iter().map(Ok));
        self.failed |= failure.is_some();
        self.queue.extend(failure.map(Err));
    }
}

/// The key of file number `file`, which begins with `first`.
fn key_of(files: &[CorpusFile], file: usize, first: &Raw, options: &CorpusOptions) -> u64 {
    let name = files[file].path.file_name();
    let times = files[..file].iter().filter(|f| f.path.file_name() == name).count() as u64;
    file_key(
        &name.unwrap_or_default().to_string_lossy(),
        times,
        digest_of_raw(first, &files[file].path.display().to_string(), options),
    )
}
