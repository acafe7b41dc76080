//! Is a text file what its ending promises? Its first bytes, looked at before anything is read, show what people mistake for lines of
//! UTF-8: a JSON array, UTF-16, another compression, a page of a web server, Git LFS's pointer to the file.

use super::bytes::{BytePlace, ByteStream};
use super::files::{CorpusFile, Wrapping};
use super::options::CorpusFormat;
use crate::disk::File;
use crate::error::{Error, Result};
use crate::hub::refuse_pointer;
use std::io::Read;

/// Bytes of the file looked at; of a wrapped one a chunk is unwrapped.
const HEAD: u64 = 4096;

/// Beginnings of files that are no text, and what they are.
const BEGINNINGS: [(&[u8], &str); 9] = [
    (b"\x1f\x8b", "gzip data, so its name should end in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd data, so its name should end in .zst"),
    (b"BZh", "bzip2 data; unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "xz data; unpack it with unxz"),
    (b"PK\x03\x04", "a zip archive; unpack it"),
    (b"PAR1", "a Parquet file, so its name should end in .parquet"),
    (b"ARROW1\0\0", "an Arrow file; write it as Parquet or as lines of JSON"),
    (b"<!DOCTYPE html", "a page of a web server; download the file itself"),
    (b"<html", "a page of a web server; download the file itself"),
];

/// Looks at the first bytes of a file of lines or text. What cannot be unwrapped is left to the reader to name.
///
/// # Errors
/// `Input` naming what the file is and what to do; those of reading.
pub(super) fn sniff(file: &CorpusFile, format: CorpusFormat, wrapping: Wrapping) -> Result<()> {
    let path = &file.path;
    let told = |e: std::io::Error| Error::io("read the corpus file", path, &e);
    let mut raw = Vec::new();
    File::open(path).and_then(|f| f.take(HEAD).read_to_end(&mut raw)).map_err(told)?;
    refuse_pointer(path, &raw).map_err(|e| e.within("read the corpus"))?;
    if !matches!(format, CorpusFormat::Jsonl | CorpusFormat::Text) {
        return Ok(());
    }
    let mut head = Vec::new();
    if wrapping == Wrapping::Plain {
        head = raw;
    } else if let Ok(mut stream) = ByteStream::open(path, wrapping, BytePlace::default())? {
        drop(stream.next_chunk(&mut head));
    }
    match mistaken(&head, format, wrapping, &path.display().to_string()) {
        Some(what) => Err(Error::input(format!("the corpus file {} is {what}", path.display()))),
        None => Ok(()),
    }
}

/// What the bytes are that were taken for text, and what to do.
fn mistaken(head: &[u8], format: CorpusFormat, wrapping: Wrapping, name: &str) -> Option<String> {
    if let Some(encoding) = encoding_of(head) {
        return Some(format!(
            "{encoding}, expected UTF-8; iconv -f {encoding} -t UTF-8 FILE > NEW writes it so{}",
            if wrapping == Wrapping::Plain { "" } else { ", once it is unpacked" }
        ));
    }
    if let Some((_, what)) = BEGINNINGS.iter().find(|(start, _)| head.starts_with(start)) {
        return Some(what.to_string());
    }
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    if format == CorpusFormat::Jsonl && text.trim_ascii_start().first() == Some(&b'[') {
        let unpacked = match wrapping {
            Wrapping::Plain => format!("jq -c '.[]' {name}"),
            Wrapping::Gzip => format!("gzip -dc {name} | jq -c '.[]'"),
            Wrapping::Zstd => format!("zstd -dc {name} | jq -c '.[]'"),
        };
        return Some(format!(
            "a JSON array, not lines; expected one JSON record a line: {unpacked} > LINES.jsonl makes lines"
        ));
    }
    None
}

/// An encoding of two or four bytes per character, by its mark, or by the zeros that it puts between the letters of
/// Latin scripts.
fn encoding_of(head: &[u8]) -> Option<&'static str> {
    let marks: [(&[u8], _); 4] = [
        (b"\xff\xfe\0\0", "UTF-32LE"),
        (b"\0\0\xfe\xff", "UTF-32BE"),
        (b"\xff\xfe", "UTF-16LE"),
        (b"\xfe\xff", "UTF-16BE"),
    ];
    if let Some((_, encoding)) = marks.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(encoding);
    }
    // share of zeros at each of four places
    let n = head.len() / 4;
    let zeros = |place: usize| head.chunks_exact(4).filter(|c| c[place] == 0).count();
    let [a, b, c, d] = [0, 1, 2, 3].map(|place| (3 * zeros(place) > 2 * n, 20 * zeros(place) > n));
    match [a, b, c, d] {
        _ if n < 2 => None,
        [(_, false), (true, _), (true, _), (true, _)] => Some("UTF-32LE"),
        [(true, _), (true, _), (true, _), (_, false)] => Some("UTF-32BE"),
        [(_, false), (true, _), (_, false), (true, _)] => Some("UTF-16LE"),
        [(true, _), (_, false), (true, _), (_, false)] => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_with_and_without_a_mark() {
        let text = "{\"text\": \"naïve readers, 12\"}\n";
        let utf16: Vec<u16> = text.encode_utf16().collect();
        let (le, be): (Vec<u8>, Vec<u8>) = (
            utf16.iter().flat_map(|u| u.to_le_bytes()).collect(),
            utf16.iter().flat_map(|u| u.to_be_bytes()).collect(),
        );
        let le32: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
        let be32: Vec<u8> = text.chars().flat_map(|c| (c as u32).to_be_bytes()).collect();
        let marked = |mark: &[u8], bytes: &[u8]| [mark, bytes].concat();
        for (bytes, encoding) in [
            (le.clone(), "UTF-16LE"),
            (be.clone(), "UTF-16BE"),
            (le32.clone(), "UTF-32LE"),
            (be32.clone(), "UTF-32BE"),
            (marked(b"\xff\xfe", &le), "UTF-16LE"),
            (marked(b"\xfe\xff", &be), "UTF-16BE"),
            (marked(b"\xff\xfe\0\0", &le32), "UTF-32LE"),
            (marked(b"\0\0\xfe\xff", &be32), "UTF-32BE"),
        ] {
            assert_eq!(encoding_of(&bytes), Some(encoding));
        }
        for other in
            [text.as_bytes(), b"", b"a\0b", b"a\0\0\0", b"\0\0\0\0\0\0\0\0\0\0\0\0", b"one\n\ntwo\0\nthree and more"]
        {
            assert_eq!(encoding_of(other), None, "{other:?}");
        }
    }
}
