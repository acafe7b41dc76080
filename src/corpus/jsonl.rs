//! Lines of a .jsonl file: one record each, blank ones passed over, an endless one never held whole.

use super::bytes::{Broken, BytePlace};
use super::files::Wrapping;
use super::record::{Limits, Place, Raw, RawBody};
use super::window::Window;
use crate::error::Result;
use std::path::Path;

/// Reads lines from a place on.
pub(super) struct JsonlReader {
    name: String,
    window: Option<Window>,
    place: Place,
    limits: Limits,
    /// Whether an oversized line is to be passed over; else reading ends at it.
    skip_long: bool,
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
        place: Place,
        limits: Limits,
        skip_long: bool,
    ) -> Result<JsonlReader> {
        let mut reader =
            JsonlReader { name: path.display().to_string(), window: None, place, limits, skip_long, broken: None };
        if !place.is_end() {
            match Window::open(path, wrapping, BytePlace { frame: place.frame, skip: place.skip })? {
                Ok(window) => reader.window = Some(window),
                Err(broken) => reader.broken = Some(broken),
            }
        }
        Ok(reader)
    }

    /// The next line that is not blank; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(broken) = self.broken.take() {
            return self.end_broken(broken).map(Some);
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
                if searched > self.limits.record_bytes {
                    return self.pass_long_line().map(Some);
                }
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(broken) => return self.end_broken(broken).map(Some),
                }
            };
            let length = line_end.unwrap_or(searched);
            if length > self.limits.record_bytes {
                return self.pass_long_line().map(Some);
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

    /// A line longer than a record may be: used up unread when it is to be skipped.
    fn pass_long_line(&mut self) -> Result<Raw> {
        let name = &self.name;
        let (number, limit) = (self.place.line + 1, self.limits.record_bytes);
        let window = self.window.as_mut().expect("a long line was met in an open window");
        let message = format!(
            "{name}:{number}: the line is longer than {limit} bytes; expected one JSON record a line (a JSON array over many \
             lines is not .jsonl)"
        );
        if !self.skip_long {
            let file_bytes = window.file_bytes();
            self.window = None;
            self.place = self.place.end();
            return Ok(Raw { after: self.place, file_bytes, body: RawBody::Bad(message) });
        }
        loop {
            let unread = window.unread();
            match unread.iter().position(|&b| b == b'\n') {
                Some(at) => {
                    window.consume(at + 1);
                    break;
                }
                None => window.consume(unread.len()),
            }
            match window.grow() {
                Ok(true) => {}
                Ok(false) => break,
                Err(broken) => {
                    self.broken = Some(broken);
                    break;
                }
            }
        }
        self.step_over_line();
        Ok(self.raw(RawBody::Bad(message)))
    }

    /// Moves the place behind the line just used up; its number, from 1.
    fn step_over_line(&mut self) -> u64 {
        let at = self.window.as_ref().expect("a line was used up of an open window").place();
        let number = self.place.line + 1;
        self.place = Place { frame: at.frame, skip: at.skip, record: number, line: number, inside: false };
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
        Ok(Raw { after: self.place, file_bytes, body: RawBody::Bad(message) })
    }
}
