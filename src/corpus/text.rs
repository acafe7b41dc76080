//! Documents of a .txt file: the whole file, its paragraphs or its lines, in pieces where one is too long.

use super::bytes::{Broken, BytePlace};
use super::files::Wrapping;
use super::options::TextUnit;
use super::record::{FilePosition, Limits, Raw, RawBody};
use super::split::{boundary, first_piece, margin_before};
use super::window::Window;
use crate::error::Result;
use std::path::Path;

/// Bytes looked at behind the longest piece before a text is called too long: whether it is cut then depends on the
/// text alone, not on how many bytes happened to be there. At least a margin.
const SLACK: usize = 4096;

/// Reads documents from a place on.
pub(super) struct TextReader {
    name: String,
    unit: TextUnit,
    window: Option<Window>,
    place: FilePosition,
    limits: Limits,
    broken: Option<Broken>,
}

/// Where a document ends: bytes of its text, and bytes used up with its ending.
struct End {
    text: usize,
    used: usize,
}

impl TextReader {
    /// Opens `path` at `place`; a byte order mark at the start is passed over.
    ///
    /// # Errors
    /// `Request` or `Machine` when the file cannot be opened or read; damage comes as a bad record.
    pub(super) fn open(
        path: &Path,
        wrapping: Wrapping,
        unit: TextUnit,
        place: FilePosition,
        limits: Limits,
    ) -> Result<TextReader> {
        let mut reader =
            TextReader { name: path.display().to_string(), unit, window: None, place, limits, broken: None };
        if place.is_end() {
            return Ok(reader);
        }
        match Window::open(path, wrapping, BytePlace { frame: place.frame, skip: place.skip })? {
            Ok(window) => reader.window = Some(window),
            Err(broken) => reader.broken = Some(broken),
        }
        if let (Some(window), true) = (&mut reader.window, place == FilePosition::default()) {
            while window.unread().len() < 3 {
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(broken) => {
                        reader.broken = Some(broken);
                        break;
                    }
                }
            }
            if window.unread().starts_with(b"\xEF\xBB\xBF") {
                window.consume(3);
            }
        }
        Ok(reader)
    }

    /// The next document or piece; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(broken) = self.broken.take() {
            return self.end_broken(broken).map(Some);
        }
        let (limit, margin, unit) = (self.limits.piece_bytes, self.limits.margin_bytes, self.unit);
        loop {
            let Some(window) = &mut self.window else { return Ok(None) };
            // what was handed on before, as the margin of what comes now
            let lead = self.place.lead as usize;
            while window.unread().len() < lead {
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(broken) => return self.end_broken(broken).map(Some),
                }
            }
            let mut searched = 0;
            let found = loop {
                if let Some(end) = find_end(unit, &window.unread()[lead..], &mut searched, false) {
                    break Some(end);
                }
                if window.unread().len() - lead >= limit + SLACK {
                    break None;
                }
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break find_end(unit, &window.unread()[lead..], &mut searched, true),
                    Err(broken) => return self.end_broken(broken).map(Some),
                }
            };
            let end = found.as_ref().filter(|end| end.text <= limit);
            let unread = &window.unread()[lead..];
            if unread.is_empty() && !self.place.inside {
                self.window = None;
                return Ok(None);
            }
            let (text, used) = match end {
                Some(end) => (end.text, end.used),
                None => {
                    let n = first_piece(unread, limit);
                    (n, n)
                }
            };
            let opens = !self.place.inside;
            let closes = end.is_some();
            let blank = unit != TextUnit::File && opens && closes && unread[..text].trim_ascii().is_empty();
            let lines = unread[..used].iter().filter(|&&b| b == b'\n').count() as u64;
            let all = window.unread();
            let (piece, next_lead) =
                (lead..lead + text, if closes { 0 } else { margin_before(all, lead + text, margin) });
            let behind = found.as_ref().map_or(all.len(), |end| lead + end.text);
            let to = if closes { piece.end } else { boundary(&all[..behind], piece.end + margin) };
            let (bytes, piece) = if blank { (Vec::new(), 0..0) } else { (all[..to].to_vec(), piece) };
            window.consume(lead + used - next_lead);
            let (at, line) = (window.place(), self.place.line + 1);
            let dropped = blank && opens && closes;
            // A line's number in its file is its record number; paragraphs are counted, and blank ones are none.
            let record = match unit {
                TextUnit::Line if opens => self.place.line + 1,
                TextUnit::File | TextUnit::Paragraph if opens && !dropped => self.place.record + 1,
                _ => self.place.record,
            };
            let line_before = self.place.line + lines;
            let lead = next_lead as u32;
            self.place =
                FilePosition { frame: at.frame, skip: at.skip, record, line: line_before, inside: !closes, lead };
            if dropped {
                continue;
            }
            let file_bytes = window.file_bytes();
            return Ok(Some(Raw {
                after: self.place,
                file_bytes,
                body: RawBody::Text { bytes, piece, record, line, opens, closes },
            }));
        }
    }

    /// The file's content ends in damage: one bad record, then nothing.
    fn end_broken(&mut self, broken: Broken) -> Result<Raw> {
        let file_bytes = self.window.take().map_or(0, |window| window.file_bytes());
        let message = broken.after_line(&self.name, self.place.line)?;
        self.place = self.place.end();
        Ok(Raw { after: self.place, file_bytes, body: RawBody::Bad { what: message, records: 1 } })
    }
}

/// The end of the document that `bytes` begin with, if it is among them. `searched` is kept between calls with more
/// bytes: the start of the first line not yet looked at.
fn find_end(unit: TextUnit, bytes: &[u8], searched: &mut usize, at_file_end: bool) -> Option<End> {
    let whole = at_file_end.then_some(End { text: bytes.len(), used: bytes.len() });
    if unit == TextUnit::File {
        return whole;
    }
    while let Some(n) = bytes[*searched..].iter().position(|&b| b == b'\n') {
        let line = *searched..*searched + n;
        if unit == TextUnit::Line {
            return Some(End { text: line.end, used: line.end + 1 });
        }
        if bytes[line.clone()].trim_ascii().is_empty() {
            // The text ends before the line end that leads to the empty line.
            return Some(End { text: line.start.saturating_sub(1), used: line.end + 1 });
        }
        *searched = line.end + 1;
    }
    if unit == TextUnit::Paragraph && at_file_end && bytes.ends_with(b"\n") {
        return Some(End { text: bytes.len() - 1, used: bytes.len() });
    }
    whole
}
