//! Documents of a .bin file: token ids of 2 or 4 bytes, little-endian, split at EOS where the tokenizer has one.
//!
//! The EOS that ends a document is a separator and not part of the document; `pack` puts it back. Two EOS in a row have no
//! document between them. A file without EOS is one document.

use super::bytes::{Broken, BytePlace};
use super::files::Wrapping;
use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use super::window::Window;
use crate::error::Result;
use std::path::Path;

/// Reads documents of ids from a place on.
pub(super) struct BinReader {
    name: String,
    /// Bytes of an id: 2 or 4.
    width: usize,
    eos: Option<u32>,
    n_labels: usize,
    window: Option<Window>,
    place: FilePosition,
    limits: Limits,
    broken: Option<Broken>,
}

impl BinReader {
    /// Opens `path` at `place`; documents get `n_labels` empty labels.
    ///
    /// # Errors
    /// `Request` or `Machine` when the file cannot be opened or read; damage comes as a bad record.
    pub(super) fn open(
        path: &Path,
        wrapping: Wrapping,
        width: u8,
        eos: Option<u32>,
        n_labels: usize,
        place: FilePosition,
        limits: Limits,
    ) -> Result<BinReader> {
        let name = path.display().to_string();
        let width = usize::from(width);
        let mut reader = BinReader { name, width, eos, n_labels, window: None, place, limits, broken: None };
        if !place.is_end() {
            match Window::open(path, wrapping, BytePlace { frame: place.frame, skip: place.skip })? {
                Ok(window) => reader.window = Some(window),
                Err(broken) => reader.broken = Some(broken),
            }
        }
        Ok(reader)
    }

    /// The next document or piece; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(broken) = self.broken.take() {
            return self.end_broken(broken).map(Some);
        }
        let (width, most) = (self.width, self.limits.piece_ids);
        loop {
            let Some(window) = &mut self.window else { return Ok(None) };
            let mut searched = 0;
            // (ids of the document or piece, whether an EOS behind them ends it, whether it ends at all)
            let (n, at_eos, closes) = loop {
                let ids = || window.unread().chunks_exact(width).map(id_of);
                let found = self.eos.and_then(|eos| ids().skip(searched).position(|id| id == eos));
                match found.map(|at| searched + at) {
                    Some(n) if n <= most => break (n, true, true),
                    _ if ids().len() > most => break (most, false, false),
                    _ => searched = ids().len(),
                }
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break (window.unread().len() / width, false, true),
                    Err(broken) => return self.end_broken(broken).map(Some),
                }
            };
            let left_over = window.unread().len();
            if n == 0 && !at_eos && left_over > 0 {
                let what = format!("the file ends inside an id ({left_over} of {width} bytes)");
                return self.end_broken(Broken::Content(what)).map(Some);
            }
            let opens = !self.place.inside;
            if n == 0 && opens && !at_eos {
                self.window = None;
                return Ok(None);
            }
            let ids: Vec<u32> = window.unread()[..n * width].chunks_exact(width).map(id_of).collect();
            window.consume((n + usize::from(at_eos)) * width);
            let at = window.place();
            let file_bytes = window.file_bytes();
            let record = self.place.record + u64::from(opens && n > 0);
            self.place = FilePosition { frame: at.frame, skip: at.skip, record, line: 0, inside: !closes, lead: 0 };
            if n == 0 && opens {
                continue;
            }
            let opening =
                opens.then(|| Opening { name: format!("{}:{record}", self.name), labels: vec![None; self.n_labels] });
            return Ok(Some(Raw { after: self.place, file_bytes, body: RawBody::Ids { opening, ids, closes } }));
        }
    }

    fn end_broken(&mut self, broken: Broken) -> Result<Raw> {
        let file_bytes = self.window.take().map_or(0, |window| window.file_bytes());
        let message = match broken {
            Broken::Machine(e) => return Err(e),
            Broken::Content(what) => {
                format!("{}: {what} behind document {}; what follows in the file is lost", self.name, self.place.record)
            }
        };
        self.place = self.place.end();
        Ok(Raw { after: self.place, file_bytes, body: RawBody::Bad { what: message, records: 1 } })
    }
}

/// An id of 2 or 4 bytes, little-endian.
fn id_of(bytes: &[u8]) -> u32 {
    match bytes {
        [a, b] => u32::from(u16::from_le_bytes([*a, *b])),
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => unreachable!("bin_token_bytes is 2 or 4, which opening the corpus checks"),
    }
}
