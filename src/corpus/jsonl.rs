//! Lines of a .jsonl file: one record each, blank ones passed over. A long one is never held whole: its text is read in pieces
//! (`long`), once it is known that the line is a good record.

use super::bytes::{Broken, BytePlace};
use super::files::Wrapping;
use super::json::{Record, cut, json};
use super::long::{decode, number_of, skeleton};
use super::options::{CorpusOptions, OnBadRecord};
use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use super::split::{boundary, first_piece, margin_before};
use super::window::Window;
use crate::error::Result;
use std::path::{Path, PathBuf};

/// Longest text, in bytes, that is held in memory when its line is long.
const HOLD: usize = 4096;

/// Reads lines from a place on.
pub(super) struct JsonlReader {
    name: String,
    path: PathBuf,
    wrapping: Wrapping,
    options: CorpusOptions,
    window: Option<Window>,
    place: FilePosition,
    limits: Limits,
    broken: Option<Broken>,
}

impl JsonlReader {
    /// Opens `path` at `place`.
    ///
    /// # Errors
    /// `Request` or `Machine` when the file cannot be opened or read; damage comes as a bad record.
    pub(super) fn open(
        path: &Path,
        wrapping: Wrapping,
        options: &CorpusOptions,
        place: FilePosition,
        limits: Limits,
    ) -> Result<JsonlReader> {
        let (name, path, options) = (path.display().to_string(), path.to_path_buf(), options.clone());
        let mut reader = JsonlReader { name, path, wrapping, options, window: None, place, limits, broken: None };
        if !place.is_end() {
            match reader.window_here()? {
                Ok(window) => reader.window = Some(window),
                Err(broken) => reader.broken = Some(broken),
            }
        }
        Ok(reader)
    }

    /// The file from the place on.
    fn window_here(&self) -> Result<Result<Window, Broken>> {
        Window::open(&self.path, self.wrapping, BytePlace { frame: self.place.frame, skip: self.place.skip })
    }

    /// The next line that is not blank; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(broken) = self.broken.take() {
            return self.end_broken(broken).map(Some);
        }
        if self.place.inside {
            return self.piece(None, 0).map(Some);
        }
        loop {
            let Some(window) = &mut self.window else { return Ok(None) };
            let mut searched = 0;
            let line_end = loop {
                let unread = window.unread();
                if let Some(at) = unread[searched..].iter().position(|&b| b == b'\n') {
                    break Some(searched + at);
                }
                searched = unread.len();
                if searched > self.limits.line_bytes {
                    return self.long_line().map(Some);
                }
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(broken) => return self.end_broken(broken).map(Some),
                }
            };
            let length = line_end.unwrap_or(searched);
            if length > self.limits.line_bytes {
                return self.long_line().map(Some);
            }
            if line_end.is_none() && length == 0 {
                self.window = None;
                return Ok(None);
            }
            let mut bytes = &window.unread()[..length];
            if self.place.line == 0 {
                bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
            }
            let bytes = bytes.trim_ascii();
            let line = (!bytes.is_empty()).then(|| bytes.to_vec());
            window.consume(length + usize::from(line_end.is_some()));
            let number = self.step_over_line();
            if let Some(line) = line {
                return Ok(Some(self.raw(RawBody::Json { line, number })));
            }
        }
    }

    /// A line that is not held whole: gone through, then its text piece by piece.
    fn long_line(&mut self) -> Result<Raw> {
        let mut ahead = match self.window_here()? {
            Ok(window) => window,
            Err(broken) => return self.end_broken(broken),
        };
        let mut mark = 0;
        if self.place.line == 0 && ahead.unread().is_empty() {
            drop(ahead.grow());
        }
        if self.place.line == 0 && ahead.unread().starts_with(b"\xEF\xBB\xBF") {
            ahead.consume(3);
            mark = 3;
        }
        let Limits { line_bytes, record_bytes, .. } = self.limits;
        let number = self.place.line + 1;
        let hold = HOLD.min(line_bytes / 4);
        let read = match skeleton(&mut ahead, hold, line_bytes, record_bytes as u64) {
            Err(broken) => return self.end_broken(broken),
            Ok(read) => read.and_then(|skeleton| {
                let mut record = json(&skeleton.line, &self.name, number, &self.options)?;
                let named = number_of(&record.opening.name).and_then(|k| skeleton.long.get(k));
                if let Some(name) = named.filter(|_| self.options.id_is_by_default()) {
                    record.opening.name = cut(&name.begins);
                }
                let shown = record.opening.labels.iter().flatten().chain([&record.opening.name]);
                if let Some(k) = shown.into_iter().find_map(|value| number_of(value)) {
                    return Err(format!("a label or the name, text {k} of the record, is longer than {hold} bytes"));
                }
                Ok((record, skeleton.long))
            }),
        };
        drop(ahead);
        let (record, long) = match read {
            Ok(read) => read,
            Err(what) => return self.pass_long_line(format!("{}:{number}: {what}", self.name)),
        };
        match number_of(&record.text).and_then(|k| long.get(k)) {
            Some(text) => {
                self.advance(mark + text.offset)?;
                self.place.record = number;
                self.piece(Some(record.opening), record.surrogates + text.surrogates)
            }
            // the text itself is short
            None => {
                self.pass_line();
                let piece = 0..record.text.len();
                let Record { opening, text, surrogates } = record;
                self.step_over_line();
                Ok(self.raw(RawBody::Long { opening: Some(opening), text, piece, surrogates, closes: true }))
            }
        }
    }

    /// The next piece of a text that the window is in; `opening` where it is the first.
    fn piece(&mut self, opening: Option<Opening>, surrogates: u64) -> Result<Raw> {
        let Limits { piece_bytes, margin_bytes, .. } = self.limits;
        let (name, number, lead) = (&self.name, self.place.line + 1, self.place.lead as usize);
        let window = self.window.as_mut().expect("a long text was met in an open window");
        let wanted = lead + piece_bytes + margin_bytes + 8;
        let found = loop {
            let found = decode(window.unread(), wanted);
            if found.ends || found.text.len() >= wanted {
                break found;
            }
            match window.grow() {
                Ok(true) => {}
                Ok(false) => {
                    let what = "the file ends inside a text".to_string();
                    return self.end_broken(Broken::Content(what));
                }
                Err(broken) => return self.end_broken(broken),
            }
        };
        // a character may be cut at the end of what was wanted
        let whole = match std::str::from_utf8(&found.text) {
            Ok(_) => found.text.len(),
            Err(e) => e.valid_up_to(),
        };
        let text = &found.text[..whole];
        if lead > whole || (found.ends && whole < found.text.len()) {
            let what = format!("{name}:{number}: its text is not what it was when it was begun; expected UTF-8");
            return self.pass_long_line(what);
        }
        let rest = &text[lead..];
        let closes = found.ends && rest.len() <= piece_bytes;
        let end = lead + if closes { rest.len() } else { first_piece(rest, piece_bytes) };
        let to = if closes { end } else { boundary(text, end + margin_bytes) };
        let next_lead = if closes { 0 } else { margin_before(text, end, margin_bytes) };
        let text = String::from_utf8_lossy(&text[..to]).into_owned();
        let used = if closes { found.used } else { decode(window.unread(), end - next_lead).used };
        window.consume(used);
        if closes {
            self.pass_line();
            self.step_over_line();
        } else {
            let at = window.place();
            let lead = next_lead as u32;
            self.place =
                FilePosition { frame: at.frame, skip: at.skip, record: number, inside: true, lead, ..self.place };
        }
        Ok(self.raw(RawBody::Long { opening, text, piece: lead..end, surrogates, closes }))
    }

    /// Uses up `n` bytes of the line.
    fn advance(&mut self, mut n: u64) -> Result<()> {
        let window = self.window.as_mut().expect("a long line was met in an open window");
        loop {
            let now = n.min(window.unread().len() as u64);
            window.consume(now as usize);
            n -= now;
            if n == 0 {
                return Ok(());
            }
            match window.grow() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(Broken::Machine(e)) => return Err(e),
                Err(broken) => {
                    self.broken = Some(broken);
                    return Ok(());
                }
            }
        }
    }

    /// Uses up the rest of a line, unread.
    fn pass_line(&mut self) {
        let window = self.window.as_mut().expect("a long line was met in an open window");
        loop {
            let unread = window.unread();
            match unread.iter().position(|&b| b == b'\n') {
                Some(at) => return window.consume(at + 1),
                None => window.consume(unread.len()),
            }
            match window.grow() {
                Ok(true) => {}
                Ok(false) => return,
                Err(broken) => {
                    self.broken = Some(broken);
                    return;
                }
            }
        }
    }

    /// Handles a long line that is not a valid record. With `on_bad_record = "skip"` its bytes are read past; otherwise
    /// reading ends at the line.
    fn pass_long_line(&mut self, what: String) -> Result<Raw> {
        if self.options.on_bad_record == OnBadRecord::Skip {
            self.pass_line();
            self.step_over_line();
        } else {
            self.place = self.place.end();
        }
        let raw = self.raw(RawBody::Bad { what, records: 1 });
        if self.place.is_end() {
            self.window = None;
        }
        Ok(raw)
    }

    /// Moves the place behind the line just used up; its number, from 1.
    fn step_over_line(&mut self) -> u64 {
        let at = self.window.as_ref().expect("a line was used up of an open window").place();
        let number = self.place.line + 1;
        self.place =
            FilePosition { frame: at.frame, skip: at.skip, record: number, line: number, inside: false, lead: 0 };
        number
    }

    fn raw(&self, body: RawBody) -> Raw {
        let file_bytes = self.window.as_ref().map_or(0, Window::file_bytes);
        Raw { after: self.place, file_bytes, body }
    }

    /// The file's content ends in damage: one bad record, then nothing.
    fn end_broken(&mut self, broken: Broken) -> Result<Raw> {
        let file_bytes = self.window.take().map_or(0, |window| window.file_bytes());
        let message = broken.after_line(&self.name, self.place.line)?;
        self.place = self.place.end();
        Ok(Raw { after: self.place, file_bytes, body: RawBody::Bad { what: message, records: 1 } })
    }
}
