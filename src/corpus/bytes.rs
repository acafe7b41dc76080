//! The bytes of a file, unwrapped, in chunks that know their position.
//!
//! A run resumes at a position in a file. In a plain file the position is an offset. A compressed file can be entered only
//! where a gzip member or zstd frame begins, so the position is that offset and a number of unpacked bytes after it. A chunk
//! ends where a member or frame ends, and reads are aligned to multiples of [`CHUNK`] in the file. Reading from a position
//! therefore gives the same chunks as reading from the start.

use super::files::Wrapping;
use super::frame::allowed;
use crate::disk::File;
use crate::error::{Error, Result};
use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a read and of a chunk.
pub(super) const CHUNK: usize = 64 * 1024;

/// Position of a byte: `skip` unwrapped bytes behind the member, frame or (plain) byte at offset `frame`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BytePlace {
    pub(super) frame: u64,
    pub(super) skip: u64,
}

/// A chunk of unwrapped bytes: the position of its first byte, and how much of the file was needed up to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkMark {
    pub(super) place: BytePlace,
    pub(super) file_end: u64,
}

/// Why no chunk came.
#[derive(Debug)]
pub(super) enum Broken {
    /// The file's content is damaged or cut off: what, in a few words.
    Content(String),
    /// The machine failed to read.
    Machine(Error),
}

impl Broken {
    /// The message about damage after line `line` of the file `name`.
    ///
    /// # Errors
    /// The machine's failure, which is no fault of the file.
    pub(super) fn after_line(self, name: &str, line: u64) -> Result<String> {
        match self {
            Broken::Content(what) => Ok(format!("{name}: {what} behind line {line}; what follows in the file is lost")),
            Broken::Machine(e) => Err(e),
        }
    }
}

/// A file as a stream of chunks.
pub(super) struct ByteStream {
    layer: Layer,
    place: BytePlace,
    /// A failure met after some bytes of a chunk had come: given out in place of the next chunk.
    pending: Option<io::Error>,
    path: std::path::PathBuf,
    /// Base-2 logarithm of the longest window of a zstd frame.
    window_log: u32,
}

enum Layer {
    Plain(AlignedFile),
    Gzip(Box<GzDecoder<AlignedFile>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, AlignedFile>>),
    End,
}

impl ByteStream {
    /// Opens `path` at `place`, which a chunk of the same file once had (default: the start).
    pub(super) fn open(path: &Path, wrapping: Wrapping, place: BytePlace) -> Result<Result<ByteStream, Broken>> {
        let file = File::open(path).map_err(|e| Error::io("open the corpus file", path, &e))?;
        let file = AlignedFile::new(file, place.frame).map_err(|e| Error::io("read the corpus file", path, &e))?;
        let start = BytePlace { frame: place.frame, skip: 0 };
        let window_log = allowed(path, wrapping)?.log;
        let path = path.to_path_buf();
        let mut stream = ByteStream { layer: Layer::End, place: start, pending: None, path, window_log };
        if let Err(e) = stream.begin(file, wrapping) {
            return Ok(Err(stream.broken(e)));
        }
        Ok(Ok(stream))
    }

    /// Starts a member or frame at the file's offset.
    fn begin(&mut self, mut file: AlignedFile, wrapping: Wrapping) -> io::Result<()> {
        self.place = BytePlace { frame: file.offset(), skip: 0 };
        if file.fill_buf()?.is_empty() {
            self.layer = Layer::End;
            return Ok(());
        }
        self.layer = match wrapping {
            Wrapping::Plain => Layer::Plain(file),
            Wrapping::Gzip => Layer::Gzip(Box::new(GzDecoder::new(file))),
            Wrapping::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?.single_frame();
                decoder.window_log_max(self.window_log)?;
                Layer::Zstd(Box::new(decoder))
            }
        };
        Ok(())
    }

    /// Appends the next chunk to `out`; `None` at the end of the file.
    pub(super) fn next_chunk(&mut self, out: &mut Vec<u8>) -> Result<Option<ChunkMark>, Broken> {
        loop {
            if let Some(e) = self.pending.take() {
                self.layer = Layer::End;
                return Err(self.broken(e));
            }
            let before = out.len();
            match &mut self.layer {
                Layer::End => return Ok(None),
                Layer::Plain(file) => {
                    match file.fill_buf() {
                        Ok(bytes) => out.extend_from_slice(bytes),
                        Err(e) => return Err(self.broken(e)),
                    }
                    let n = out.len() - before;
                    if n == 0 {
                        self.layer = Layer::End;
                        return Ok(None);
                    }
                    let place = self.place;
                    file.consume(n);
                    self.place.frame += n as u64;
                    return Ok(Some(ChunkMark { place, file_end: self.place.frame }));
                }
                Layer::Gzip(decoder) => self.pending = fill(decoder.as_mut(), out).err(),
                Layer::Zstd(decoder) => self.pending = fill(decoder.as_mut(), out).err(),
            }
            let n = out.len() - before;
            if n > 0 {
                let file_end = match &self.layer {
                    Layer::Gzip(decoder) => decoder.get_ref().offset(),
                    Layer::Zstd(decoder) => decoder.get_ref().offset(),
                    Layer::Plain(_) | Layer::End => unreachable!("both have returned above"),
                };
                let place = self.place;
                self.place.skip += n as u64;
                return Ok(Some(ChunkMark { place, file_end }));
            }
            if self.pending.is_none() {
                self.pending = self.next_frame().err();
            }
        }
    }

    /// The member or frame has ended: the next one begins, or the file is over.
    fn next_frame(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.layer, Layer::End) {
            Layer::Gzip(decoder) => {
                let mut file = decoder.into_inner();
                // gzip files on tape and in block stores are filled up with zeros, which gzip itself passes over.
                while file.fill_buf()?.first() == Some(&0) {
                    file.consume(1);
                }
                self.begin(file, Wrapping::Gzip)
            }
            Layer::Zstd(decoder) => self.begin(decoder.finish(), Wrapping::Zstd),
            Layer::Plain(_) | Layer::End => unreachable!("only wrapped files have frames"),
        }
    }

    fn broken(&self, e: io::Error) -> Broken {
        if e.raw_os_error().is_some() && !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
        {
            return Broken::Machine(Error::io("read the corpus file", &self.path, &e));
        }
        Broken::Content(match e.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed data is cut off".to_string(),
            // the library's words for a window over the limit
            _ if e.to_string().contains("too much memory") => format!(
                "a zstd frame looks back further than {} MiB, which neither the first of the file does nor the plan counts; compress \
                 the file anew in one go",
                (1u64 << self.window_log) >> 20
            ),
            _ => format!("the compressed data is damaged ({e})"),
        })
    }
}

/// Reads until `out` has grown by a chunk or the reader is at its end.
fn fill(reader: &mut dyn Read, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + CHUNK, 0);
    let mut n = 0;
    let result = loop {
        if n == CHUNK {
            // Decoders take an empty buffer for a mistake.
            break Ok(());
        }
        match reader.read(&mut out[start + n..]) {
            Ok(0) => break Ok(()),
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    out.truncate(start + n);
    result
}

/// A file read in pieces that end at multiples of [`CHUNK`], wherever reading began.
struct AlignedFile {
    file: File,
    buffer: Vec<u8>,
    used: usize,
    /// Offset in the file of the buffer's end.
    end: u64,
}

impl AlignedFile {
    fn new(mut file: File, offset: u64) -> io::Result<AlignedFile> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(AlignedFile { file, buffer: Vec::with_capacity(CHUNK), used: 0, end: offset })
    }

    /// Offset in the file of the next byte.
    fn offset(&self) -> u64 {
        self.end - (self.buffer.len() - self.used) as u64
    }
}

impl Read for AlignedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for AlignedFile {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
            let wanted = CHUNK as u64 - self.end % CHUNK as u64;
            (&mut self.file).take(wanted).read_to_end(&mut self.buffer)?;
            self.end += self.buffer.len() as u64;
        }
        Ok(&self.buffer[self.used..])
    }

    fn consume(&mut self, n: usize) {
        self.used = (self.used + n).min(self.buffer.len());
    }
}
