//! How large are the pages of a Parquet file? A page is decoded whole, so the largest one decides what memory that takes.
//!
//! A footer gives the size of a column in a row group, not that of its pages. Each page has a header of its own, in front of it
//! (Thrift's compact protocol, `PageHeader` of the format's `parquet.thrift`). Headers are read one after the other, and the pages
//! between them passed over.

use crate::disk::Ranges;
use parquet::basic::{Compression, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use std::io::{self, Read};

/// Page headers that are read when a corpus is opened; more would take longer than a person waits for a plan.
pub(super) const MOST_HEADERS: u64 = 1 << 14;
/// The same of one row group before it is read.
pub(super) const MOST_HEADERS_IN_A_GROUP: u64 = 1 << 20;
/// A page's size, in bytes, up to which several rows are decoded at once.
pub(super) const SMALL_PAGE: u64 = 256 << 10;
/// The size of a page that is counted where not all headers were read, in bytes, or that of the largest one found.
const ASSUMED_PAGE: u64 = 16 << 20;
/// Most memory that zstd's window takes in files that are written without asking for more, in bytes.
const WINDOW: u64 = 8 << 20;
/// Memory of a number while it is decoded, in bytes: as it is, as the 8 bytes that ids become, and two levels.
const NUMBER: u64 = 20;

/// What pages take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    /// The largest one, unwrapped.
    pub(super) largest: u64,
    /// Memory while rows are decoded, of all columns together.
    pub(super) memory: u64,
}

impl Pages {
    /// The larger of both.
    pub(super) fn or(self, other: Pages) -> Pages {
        Pages { largest: self.largest.max(other.largest), memory: self.memory.max(other.memory) }
    }
}

/// The pages of some columns in a row group, `leaves` by number, or what they are at most where `headers` are used up.
/// `largest_so_far`: of the corpus.
///
/// # Errors
/// The machine's; a header that is not one ends the search, for what is behind it is not decoded either.
pub(super) fn pages_of(
    file: &Ranges,
    group: &RowGroupMetaData,
    leaves: impl Iterator<Item = usize>,
    headers: &mut u64,
    largest_so_far: u64,
) -> Result<Pages, ParquetError> {
    let mut all = Pages::default();
    for column in leaves.filter_map(|leaf| group.columns().get(leaf)) {
        let unwrapped = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        // a page is no larger than its column
        let known = if unwrapped <= SMALL_PAGE { None } else { Some(headers_of(file, column, headers)?) };
        let assumed = Page { unwrapped: unwrapped.min(largest_so_far.max(ASSUMED_PAGE)), wrapped: 0, numbers: 0 };
        let page = match known {
            None => Page { unwrapped, wrapped: unwrapped, ..assumed },
            Some(found) if found.is_all => found.largest,
            Some(found) => Page { wrapped: assumed.unwrapped, ..assumed }.or(found.largest),
        };
        let decoded = match column.column_type() {
            Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY => page.unwrapped,
            _ if page.numbers == 0 => page.unwrapped.max(NUMBER * u64::try_from(column.num_values()).unwrap_or(0)),
            _ => page.unwrapped.max(NUMBER * page.numbers),
        };
        let rows_at_once =
            if page.unwrapped > SMALL_PAGE { decoded } else { (16 * decoded).min(unwrapped.max(decoded)) };
        let window = if matches!(column.compression(), Compression::ZSTD(_)) { page.unwrapped.min(WINDOW) } else { 0 };
        // as it is stored; a dictionary, the page before and this one; values as they are read, and copied into another type
        let memory = page.wrapped.saturating_add(page.unwrapped.saturating_mul(3)).saturating_add(window);
        all.largest = all.largest.max(page.unwrapped);
        all.memory = all.memory.saturating_add(memory).saturating_add(rows_at_once.saturating_mul(2));
    }
    Ok(all)
}

/// Sizes of a page, in bytes, and how many values it has; or the largest of several of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Page {
    unwrapped: u64,
    wrapped: u64,
    numbers: u64,
}

impl Page {
    fn or(self, other: Page) -> Page {
        Page {
            unwrapped: self.unwrapped.max(other.unwrapped),
            wrapped: self.wrapped.max(other.wrapped),
            numbers: self.numbers.max(other.numbers),
        }
    }
}

/// What the headers of a column say, as far as they were read.
struct Found {
    largest: Page,
    is_all: bool,
}

/// Reads the headers of a column's pages in one row group, as many as `left`.
fn headers_of(file: &Ranges, column: &ColumnChunkMetaData, left: &mut u64) -> Result<Found, ParquetError> {
    let begin = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
    let (Ok(begin), Ok(length)) = (u64::try_from(begin), u64::try_from(column.compressed_size())) else {
        return Ok(Found { largest: Page::default(), is_all: true });
    };
    let (mut at, end) = (begin, begin.saturating_add(length));
    let mut largest = Page::default();
    while at < end {
        if *left == 0 {
            return Ok(Found { largest, is_all: false });
        }
        *left -= 1;
        let mut header = Compact { from: file.get_read(at)?.take(end - at), read: 0 };
        let page = match header.page() {
            Ok(page) => page,
            Err(e) if e.raw_os_error().is_some() => return Err(ParquetError::from(e)),
            Err(_) => break,
        };
        largest = largest.or(page);
        at = at.saturating_add(header.read).saturating_add(page.wrapped);
    }
    Ok(Found { largest, is_all: true })
}

/// Values in Thrift's compact protocol.
struct Compact<R> {
    from: R,
    /// Bytes read.
    read: u64,
}

/// How deep a header may be nested; the format's own has three levels.
const DEPTH: usize = 8;

impl<R: Read> Compact<R> {
    /// A `PageHeader`.
    fn page(&mut self) -> io::Result<Page> {
        let (mut page, mut sizes, mut id) = (Page::default(), [false; 2], 0);
        while let Some(kind) = self.field(&mut id)? {
            match (id, kind) {
                (2, 5) => (page.unwrapped, sizes[0]) = (self.size()?, true),
                (3, 5) => (page.wrapped, sizes[1]) = (self.size()?, true),
                // headers of a data page, a dictionary, a data page of version 2: the number of values comes first
                (5 | 7 | 8, 12) => {
                    let mut inner = 0;
                    while let Some(kind) = self.field(&mut inner)? {
                        match (inner, kind) {
                            (1, 5) => page.numbers = self.size()?,
                            _ => self.pass(kind, 0)?,
                        }
                    }
                }
                _ => self.pass(kind, 0)?,
            }
        }
        if sizes == [true; 2] { Ok(page) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// The kind of the next field of a struct, and its number in `id`; `None` at the end.
    fn field(&mut self, id: &mut i64) -> io::Result<Option<u8>> {
        let byte = self.byte()?;
        let kind = byte & 15;
        if kind == 0 {
            return Ok(None);
        }
        *id = if byte >> 4 > 0 { id.wrapping_add(i64::from(byte >> 4)) } else { self.number()? };
        Ok(Some(kind))
    }

    /// Passes over a value.
    fn pass(&mut self, kind: u8, depth: usize) -> io::Result<()> {
        if depth > DEPTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match kind {
            // a boolean is in its field's kind
            1 | 2 => {}
            3 => self.pass_bytes(1)?,
            4..=6 => {
                self.varint()?;
            }
            7 => self.pass_bytes(8)?,
            8 => {
                let n = self.varint()?;
                self.pass_bytes(n)?;
            }
            9 | 10 => {
                let byte = self.byte()?;
                let n = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
                for _ in 0..n {
                    // here a boolean is a byte
                    if byte & 15 <= 2 { self.pass_bytes(1)? } else { self.pass(byte & 15, depth + 1)? }
                }
            }
            12 => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.pass(kind, depth + 1)?;
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    fn size(&mut self) -> io::Result<u64> {
        u64::try_from(self.number()?).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// A signed number: zigzag.
    fn number(&mut self) -> io::Result<i64> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(n);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.from.read_exact(&mut byte)?;
        self.read += 1;
        Ok(byte[0])
    }

    fn pass_bytes(&mut self, n: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.from.by_ref().take(n), &mut io::sink())?;
        self.read += passed;
        if passed == n { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}
