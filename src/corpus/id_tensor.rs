//! Documents of a .safetensors file: each sequence of its tensor of token ids is one, as those of a latent cache are.

use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use crate::error::Result;
use crate::weights::IdFile;
use std::path::Path;

/// Ids read at once; a longer document comes in pieces.
const STEP: u64 = 1 << 14;

/// Reads sequences from a place on.
pub(super) struct IdTensorReader {
    name: String,
    file: IdFile,
    n_labels: usize,
    place: FilePosition,
    limits: Limits,
    /// Ids that were read, and the number of the first in the file.
    held: (u64, Vec<i128>),
}

impl IdTensorReader {
    /// Opens `path` at `place` (ids of the sequence begun); `named`: the tensor. Documents get `n_labels` empty labels.
    ///
    /// # Errors
    /// Those of [`IdFile::open`].
    pub(super) fn open(
        path: &Path,
        named: Option<&str>,
        n_labels: usize,
        place: FilePosition,
        limits: Limits,
    ) -> Result<IdTensorReader> {
        let file = IdFile::open(path, named).map_err(|e| e.within("read the corpus"))?;
        Ok(IdTensorReader { name: path.display().to_string(), file, n_labels, place, limits, held: (0, Vec::new()) })
    }

    /// The next sequence or piece of one; `None` at the end of the file.
    ///
    /// # Errors
    /// Those of [`IdFile::read`].
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        let opens = !self.place.inside;
        let sequence = self.place.record - u64::from(!opens);
        if sequence >= self.file.n_sequences() {
            return Ok(None);
        }
        let (from, record) = (if opens { 0 } else { self.place.skip }, sequence + 1);
        let n = (self.file.length() - from).min(self.limits.piece_ids as u64).min(STEP);
        let first = sequence * self.file.length() + from;
        let ids: Result<Vec<u32>, (usize, i128)> =
            self.ids(first, n)?.iter().enumerate().map(|(k, id)| u32::try_from(*id).map_err(|_| (k, *id))).collect();
        let closes = from + n == self.file.length() || ids.is_err();
        let skip = if closes { 0 } else { from + n };
        self.place = FilePosition { skip, record, inside: !closes, ..FilePosition::default() };
        let body = match ids {
            Ok(ids) => {
                let name = || format!("{}:{record}", self.name);
                let opening = opens.then(|| Opening { name: name(), labels: vec![None; self.n_labels] });
                RawBody::Ids { opening, ids, closes }
            }
            Err((k, id)) => {
                let what = format!(
                    "{}: sequence {sequence} has the id {id} at position {}, expected 0 or more, below 2^32",
                    self.name,
                    from + k as u64
                );
                RawBody::Bad { what, records: 1 }
            }
        };
        Ok(Some(Raw { after: self.place, file_bytes: self.file.bytes_before(first + n), body }))
    }

    /// `n` ids from id `first` of the file on.
    fn ids(&mut self, first: u64, n: u64) -> Result<&[i128]> {
        let (start, held) = &self.held;
        if first < *start || first + n > start + held.len() as u64 {
            let left = self.file.n_sequences() * self.file.length() - first;
            self.held = (first, self.file.read(first, STEP.min(left) as usize)?);
        }
        let at = (first - self.held.0) as usize;
        Ok(&self.held.1[at..at + n as usize])
    }
}
