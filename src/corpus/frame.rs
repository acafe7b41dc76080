//! How much memory does a zstd frame ask for? Its header declares how far back it looks (RFC 8878, 3.1.1.1); `--long` and `--ultra` make
//! windows of up to 2 GiB, which the reader must hold.

use super::files::Wrapping;
use crate::disk::File;
use crate::error::{Error, Result};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A window that needs no permission: what every decoder must be able to hold (RFC 8878, 3.1.1.1.2).
const USUAL_LOG: u32 = 23;
/// The longest window that the library holds.
const MOST_LOG: u32 = 31;
const MAGIC: u32 = 0xFD2F_B528;

/// What a file's frames may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Base-2 logarithm of the longest window.
    pub(super) log: u32,
    /// Bytes that decoding holds at most.
    pub(super) bytes: u64,
}

/// What the frames of a file may ask for: as much as its first, or the usual. Nothing for other wrappings.
///
/// # Errors
/// `Input` for a window that is longer than can be held; the errors of reading.
pub(super) fn allowed(path: &Path, wrapping: Wrapping) -> Result<Allowed> {
    if wrapping != Wrapping::Zstd {
        return Ok(Allowed { log: 0, bytes: 0 });
    }
    let window = first_window(path).map_err(|e| Error::io("read the corpus file", path, &e))?.unwrap_or(0);
    // the first power of two that holds it
    let log = u64::BITS - window.saturating_sub(1).leading_zeros();
    if log > MOST_LOG {
        return Err(Error::input(format!(
            "the corpus file {} looks back {window} bytes (its zstd window), expected at most 2 GiB; compress it again with \
             zstd --long=31 or less",
            path.display()
        )));
    }
    let log = log.max(USUAL_LOG);
    // the window, a block behind it and one before it, input and output of the stream
    Ok(Allowed { log, bytes: (1 << log) + (1 << 20) })
}

/// The window of the first frame that holds data; `None` where the file begins with none.
fn first_window(path: &Path) -> std::io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut at = 0;
    loop {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        (&mut file).take(18).read_to_end(&mut head)?;
        let word = |at: usize| head.get(at..at + 4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes")));
        match word(0) {
            // frames of other programs' notes are passed over
            Some(0x184D_2A50..=0x184D_2A5F) => at += 8 + u64::from(word(4).unwrap_or(0)),
            Some(MAGIC) => return Ok(window(&head[4..])),
            _ => return Ok(None),
        }
    }
}

/// The window that a frame header behind its magic number asks for; `None` where it is cut off.
fn window(header: &[u8]) -> Option<u64> {
    let (&descriptor, rest) = header.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let byte = *rest.first()?;
        let base = 1u64 << (10 + (byte >> 3));
        return Some(base + base / 8 * u64::from(byte & 7));
    }
    // the content is the window
    let id_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size_bytes = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let size = rest.get(id_bytes..id_bytes + size_bytes)?;
    let mut value = [0; 8];
    value[..size_bytes].copy_from_slice(size);
    Some(u64::from_le_bytes(value) + if size_bytes == 2 { 256 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn windows_are_those_that_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zst");
        for log in [20, 24, 27, 31] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"text").unwrap();
            let frame = encoder.finish().unwrap();
            // behind a note of another program
            let note = [&0x184D_2A50u32.to_le_bytes()[..], &5u32.to_le_bytes(), b"notes"].concat();
            for bytes in [frame.clone(), [note, frame].concat()] {
                std::fs::write(&path, bytes).unwrap();
                assert_eq!(first_window(&path).unwrap(), Some(1 << log));
                assert_eq!(allowed(&path, Wrapping::Zstd).unwrap().log, log.max(USUAL_LOG));
            }
        }
        // content whose size is known is its own window
        std::fs::write(&path, zstd::bulk::compress(&[7; 1000], 1).unwrap()).unwrap();
        assert_eq!(first_window(&path).unwrap(), Some(1000));
        // 1.5 TiB
        std::fs::write(&path, [&MAGIC.to_le_bytes()[..], &[0, 0xF4]].concat()).unwrap();
        let error = allowed(&path, Wrapping::Zstd).unwrap_err().to_string();
        assert!(error.contains("a.zst") && error.contains("--long=31"), "{error}");
        for none in [&b""[..], b"plain text", &MAGIC.to_le_bytes()] {
            std::fs::write(&path, none).unwrap();
            assert_eq!(allowed(&path, Wrapping::Zstd).unwrap().log, USUAL_LOG);
        }
    }
}
