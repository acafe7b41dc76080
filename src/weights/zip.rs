//! Members of a zip archive: names, offsets and lengths from its directory; nothing is unpacked to disk.
//!
//! Read here because both users want offsets: torch's archives are stored uncompressed and are read in place, numpy's
//! `npz` may be deflated and is streamed. Zip64 is understood, encryption and other compressions are refused. Layout:
//! PKWARE's APPNOTE, sections 4.3.7 to 4.3.16.

use super::file::{length, open};
use crate::disk::File;
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A member's bytes in the archive.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Of its first byte, behind its local header.
    pub offset: u64,
    /// Bytes in the archive.
    pub compressed: u64,
    /// Bytes when unpacked.
    pub size: u64,
    /// Whether it is compressed.
    pub deflated: bool,
}

/// Unpacked bytes that an archive may claim: weights barely compress, but a vector of one repeated value does.
const LARGEST_RATIO: u64 = 32;
const SMALL: u64 = 1 << 20;
/// The end record and its longest comment.
const TAIL: u64 = 22 + 65_535;
const DIRECTORY_LIMIT: u64 = 16 << 20;

/// The members of the archive at `path` by name.
///
/// # Errors
/// `Input` when it is no zip archive, cut short, encrypted, compressed in another way, or claims to unpack to much more
/// than it is.
pub fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let mut file = open(path)?;
    let file_bytes = length(&file, path)?;
    let damaged = |what: &str| Error::input(format!("{}: {what}; fetch the file again", path.display()));
    let mut read = |offset: u64, n: u64| -> Result<Vec<u8>> {
        if offset.checked_add(n).is_none_or(|end| end > file_bytes) {
            return Err(damaged("the zip archive is cut short"));
        }
        let mut bytes = vec![0; n as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::io("read", path, &e))?;
        Ok(bytes)
    };
    let tail_bytes = file_bytes.min(TAIL);
    let tail = read(file_bytes - tail_bytes, tail_bytes)?;
    let end = (0..tail.len().saturating_sub(21))
        .rev()
        .find(|&at| tail[at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(|| damaged("no zip archive, or one that is cut short"))?;
    let (mut directory_bytes, mut directory_offset) =
        (u64::from(u32_at(&tail, end + 12)), u64::from(u32_at(&tail, end + 16)));
    if end >= 20 && tail[end - 20..].starts_with(b"PK\x06\x07") {
        let record = read(u64_at(&tail, end - 12), 56)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(damaged("the zip64 end record is not where the archive declares it"));
        }
        (directory_bytes, directory_offset) = (u64_at(&record, 40), u64_at(&record, 48));
    }
    if directory_bytes > DIRECTORY_LIMIT {
        return Err(damaged("the zip directory is too long to be that of weights"));
    }
    let directory = read(directory_offset, directory_bytes)?;
    let mut members = BTreeMap::new();
    let (mut at, mut unpacked) = (0, 0u64);
    while directory.len() - at >= 46 && directory[at..].starts_with(b"PK\x01\x02") {
        let head = &directory[at..];
        let [name_bytes, extra_bytes, comment_bytes] = [28, 30, 32].map(|field| usize::from(u16_at(head, field)));
        let next = 46 + name_bytes + extra_bytes + comment_bytes;
        if next > head.len() {
            return Err(damaged("the zip directory is cut short"));
        }
        let name = String::from_utf8_lossy(&head[46..46 + name_bytes]).into_owned();
        let extra = &head[46 + name_bytes..46 + name_bytes + extra_bytes];
        let [size, compressed, local] = large(head, extra).ok_or_else(|| damaged("a zip64 field is missing"))?;
        let method = u16_at(head, 10);
        if u16_at(head, 8) & 1 != 0 || !matches!(method, 0 | 8) {
            return Err(damaged(&format!(
                "member {name:?} is encrypted or compressed in a way that is not read (method {method})"
            )));
        }
        let local_head = read(local, 30)?;
        if !local_head.starts_with(b"PK\x03\x04") {
            return Err(damaged(&format!("member {name:?} is not where the zip directory declares it")));
        }
        let offset = local + 30 + u64::from(u16_at(&local_head, 26)) + u64::from(u16_at(&local_head, 28));
        let deflated = method == 8;
        let fits =
            offset.checked_add(compressed).is_some_and(|end| end <= file_bytes) && (deflated || size == compressed);
        unpacked = unpacked.saturating_add(size);
        if !fits || unpacked > file_bytes.saturating_mul(LARGEST_RATIO).saturating_add(SMALL) {
            return Err(damaged(&format!("member {name:?} claims {size} bytes of an archive of {file_bytes}")));
        }
        members.insert(name, Member { offset, compressed, size, deflated });
        at += next;
    }
    Ok(members)
}

/// (size, compressed size, offset of the local header), from the zip64 field where the short ones are full.
fn large(head: &[u8], extra: &[u8]) -> Option<[u64; 3]> {
    let short = [u32_at(head, 24), u32_at(head, 20), u32_at(head, 42)];
    let mut wide = None;
    let mut at = 0;
    while at + 4 <= extra.len() {
        let n = usize::from(u16_at(extra, at + 2));
        let field = extra.get(at + 4..at + 4 + n)?;
        if u16_at(extra, at) == 1 {
            wide = Some(field);
        }
        at += 4 + n;
    }
    let mut numbers = [0; 3];
    let mut from = 0;
    for (number, short) in numbers.iter_mut().zip(short) {
        if short == u32::MAX {
            *number = u64::from_le_bytes(wide?.get(from..from + 8)?.try_into().ok()?);
            from += 8;
        } else {
            *number = u64::from(short);
        }
    }
    Some(numbers)
}

/// The whole of a small member.
///
/// # Errors
/// `Input` when it is longer than `limit` or damaged.
pub fn read_member(path: &Path, member: Member, limit: u64) -> Result<Vec<u8>> {
    if member.size > limit {
        return Err(Error::input(format!(
            "{}: a header of {} bytes is too long; fetch the file again",
            path.display(),
            member.size
        )));
    }
    let mut bytes = Vec::with_capacity(member.size as usize);
    let failed = |e: io::Error| Error::io("read", path, &e);
    stream(open(path)?, member).map_err(failed)?.take(member.size).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn stream(mut file: File, member: Member) -> io::Result<Box<dyn Read>> {
    if member.deflated {
        return inflated(file, member.offset, member.compressed, 0);
    }
    file.seek(SeekFrom::Start(member.offset))?;
    Ok(Box::new(file.take(member.size)))
}

/// The inflated bytes of `compressed` bytes from `offset`, without the first `skip`.
///
/// # Errors
/// As reading.
pub fn inflated(mut file: File, offset: u64, compressed: u64, skip: u64) -> io::Result<Box<dyn Read>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut source = flate2::read::DeflateDecoder::new(BufReader::with_capacity(1 << 16, file.take(compressed)));
    io::copy(&mut source.by_ref().take(skip), &mut io::sink())?;
    Ok(Box::new(source))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
