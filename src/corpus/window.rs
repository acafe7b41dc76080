//! The unread bytes of a file, with the place of each: what the readers of lines, texts and ids look through.
//!
//! A window grows by a chunk at a time at its end and is used up from its front. It never holds more than what its
//! reader asked for plus one chunk, so the reader's own limit bounds the memory.

use super::bytes::{Broken, BytePlace, ByteStream, ChunkMark};
use super::files::Wrapping;
use crate::error::Result;
use std::collections::VecDeque;
use std::path::Path;

/// A growing and shrinking view on a [`ByteStream`].
pub(super) struct Window {
    stream: ByteStream,
    wrapping: Wrapping,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are used up.
    head: usize,
    /// Unwrapped bytes used up since the window was opened.
    used: u64,
    /// The chunks in the buffer, and the last one used up: (number of their first byte since opening, mark).
    marks: VecDeque<(u64, ChunkMark)>,
    at_end: bool,
}

impl Window {
    /// Opens `path` so that the first byte is the one at `place`.
    pub(super) fn open(path: &Path, wrapping: Wrapping, place: BytePlace) -> Result<Result<Window, Broken>> {
        let stream = match ByteStream::open(path, wrapping, place)? {
            Ok(stream) => stream,
            Err(broken) => return Ok(Err(broken)),
        };
        let mut window =
            Window { stream, wrapping, buffer: Vec::new(), head: 0, used: 0, marks: VecDeque::new(), at_end: false };
        let mut behind = place.skip;
        while behind > 0 {
            if window.unread().is_empty() {
                match window.grow() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(broken) => return Ok(Err(broken)),
                }
            }
            let n = behind.min(window.unread().len() as u64);
            window.consume(n as usize);
            behind -= n;
        }
        Ok(Ok(window))
    }

    /// Bytes that are there and not used up.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.head..]
    }

    /// Takes in another chunk; false at the end of the file.
    pub(super) fn grow(&mut self) -> Result<bool, Broken> {
        if self.at_end {
            return Ok(false);
        }
        if self.head > 0 && self.head >= self.buffer.len() / 2 {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
        let first = self.used + self.unread().len() as u64;
        match self.stream.next_chunk(&mut self.buffer)? {
            Some(mark) => self.marks.push_back((first, mark)),
            None => self.at_end = true,
        }
        Ok(!self.at_end)
    }

    /// Uses up the first `n` unread bytes.
    pub(super) fn consume(&mut self, n: usize) {
        self.head += n;
        self.used += n as u64;
        debug_assert!(self.head <= self.buffer.len(), "only bytes that are there are used up");
        while self.marks.len() > 1 && self.marks[1].0 < self.used {
            self.marks.pop_front();
        }
    }

    /// FilePosition of the first unread byte, given as behind the last used one.
    pub(super) fn place(&self) -> BytePlace {
        let Some(&(first, mark)) = self.marks.front() else { return BytePlace::default() };
        let inside = self.used - first;
        match self.wrapping {
            Wrapping::Plain => BytePlace { frame: mark.place.frame + inside, skip: 0 },
            Wrapping::Gzip | Wrapping::Zstd => BytePlace { frame: mark.place.frame, skip: mark.place.skip + inside },
        }
    }

    /// Bytes of the file needed for all used bytes.
    pub(super) fn file_bytes(&self) -> u64 {
        match self.wrapping {
            Wrapping::Plain => self.place().frame,
            Wrapping::Gzip | Wrapping::Zstd => self.marks.front().map_or(0, |(_, mark)| mark.file_end),
        }
    }
}
