//! Which files, in which order, of which kind? The patterns of `[corpus] files` become a list.
//!
//! Patterns stand in the order given; the matches of one pattern are sorted as bytes. A file that is named twice, under whatever
//! path, is refused: its tokens would count twice. The kind follows from the ending: `.jsonl` or `.ndjson`, `.txt`, `.parquet`,
//! `.bin`, each but Parquet (which holds its own compression) also with `.gz` or `.zst`.

use crate::error::{Error, Result};
use crate::hub::{POINTER_BYTES, refuse_pointer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One file of the corpus, as it was when the corpus was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusFile {
    /// Its path, as the pattern gave it.
    pub path: PathBuf,
    /// Its size on disk, in bytes.
    pub size_bytes: u64,
}

/// What is inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Jsonl,
    Text,
    Parquet,
    Bin,
}

/// What it is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    Plain,
    Gzip,
    Zstd,
}

/// Format and wrapping of a file, by its ending.
///
/// # Errors
/// `Request` for an ending that is none of ours.
pub(super) fn kind_of(path: &Path) -> Result<(Format, Wrapping)> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
    let (stem, wrapping) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem, Wrapping::Gzip),
        Some((stem, "zst")) => (stem, Wrapping::Zstd),
        _ => (name.as_str(), Wrapping::Plain),
    };
    let format = match stem.rsplit_once('.').map(|(_, ending)| ending) {
        Some("jsonl" | "ndjson") => Format::Jsonl,
        Some("txt") => Format::Text,
        Some("parquet") => Format::Parquet,
        Some("bin") => Format::Bin,
        _ => {
            return Err(Error::request(format!(
                "the corpus file {} has an ending that says nothing; expected .jsonl, .ndjson, .txt, .parquet or .bin, \
                 the others than .parquet also with .gz or .zst behind",
                path.display()
            )));
        }
    };
    if format == Format::Parquet && wrapping != Wrapping::Plain {
        return Err(Error::request(format!(
            "the corpus file {} is Parquet inside another compression, which cannot be read at any place; unpack it once \
             (Parquet compresses its own pages)",
            path.display()
        )));
    }
    Ok((format, wrapping))
}

/// All files of the patterns.
///
/// # Errors
/// `Request` naming a pattern that is malformed or matches no file, a folder, an unknown ending, or a file named twice;
/// `Input` naming a file that is a Git LFS pointer.
pub(super) fn list(patterns: &[String]) -> Result<Vec<CorpusFile>> {
    if patterns.is_empty() {
        return Err(Error::request("[corpus] files is empty; name at least one file or pattern"));
    }
    let mut files = Vec::new();
    let mut named: BTreeMap<PathBuf, &String> = BTreeMap::new();
    for pattern in patterns {
        for path in matches(pattern)? {
            kind_of(&path)?;
            let real = path.canonicalize().map_err(|e| Error::io("look at the corpus file", &path, &e))?;
            if let Some(before) = named.insert(real, pattern) {
                return Err(Error::request(format!(
                    "[corpus] files names {} twice, by {before:?} and by {pattern:?}; its tokens would count twice: name it once",
                    path.display()
                )));
            }
            let size_bytes =
                std::fs::metadata(&path).map_err(|e| Error::io("look at the corpus file", &path, &e))?.len();
            if size_bytes <= POINTER_BYTES as u64 {
                let whole = std::fs::read(&path).map_err(|e| Error::io("read the corpus file", &path, &e))?;
                refuse_pointer(&path, &whole)?;
            }
            files.push(CorpusFile { path, size_bytes });
        }
    }
    Ok(files)
}

/// The same of the patterns that match something, and the others.
///
/// # Errors
/// As [`list`], but for patterns that match nothing.
pub(super) fn list_here(patterns: &[String]) -> Result<(Vec<CorpusFile>, Vec<String>)> {
    let nothing = |p: &&String| !Path::new(p).exists() && glob::glob(p).is_ok_and(|mut found| found.next().is_none());
    let missing: Vec<String> = patterns.iter().filter(nothing).cloned().collect();
    for pattern in &missing {
        kind_of(Path::new(pattern))?;
    }
    let here: Vec<String> = patterns.iter().filter(|p| !missing.contains(p)).cloned().collect();
    Ok((if here.is_empty() && !missing.is_empty() { Vec::new() } else { list(&here)? }, missing))
}

/// The files of one pattern, sorted. A path that exists is itself, whatever marks of a pattern its name holds.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    if Path::new(pattern).is_file() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let walk = glob::glob(pattern).map_err(|e| {
        Error::request(format!(
            "[corpus] files: the pattern {pattern:?} is malformed ({e}); a pattern knows *, ?, [ab] and **"
        ))
    })?;
    let mut paths = Vec::new();
    for found in walk {
        let path = found.map_err(|e| Error::io("look for corpus files in", e.path(), e.error()))?;
        if path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let found = if Path::new(pattern).is_dir() { "is a folder" } else { "matches no file" };
        return Err(Error::request(format!(
            "[corpus] files: {pattern:?} {found}; expected a file or a pattern such as data/*.jsonl (relative to the working \
             directory, or to the dataflow file with a leading ./)"
        )));
    }
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn kinds_follow_the_ending_and_unknown_ones_are_named() {
        let kind = |name: &str| kind_of(Path::new(name));
        assert_eq!(kind("a/b.jsonl").unwrap(), (Format::Jsonl, Wrapping::Plain));
        assert_eq!(kind("b.NDJSON.GZ").unwrap(), (Format::Jsonl, Wrapping::Gzip));
        assert_eq!(kind("b.x.txt.zst").unwrap(), (Format::Text, Wrapping::Zstd));
        assert_eq!(kind("b.bin.zst").unwrap(), (Format::Bin, Wrapping::Zstd));
        assert_eq!(kind("b.parquet").unwrap(), (Format::Parquet, Wrapping::Plain));
        for bad in ["b.csv", "jsonl", "b.gz", "b.parquet.zst", "b"] {
            let error = kind(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request);
            assert!(error.to_string().contains(bad), "{error}");
        }
    }

    #[test]
    fn patterns_keep_their_order_and_sort_their_matches() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "z.jsonl", "a[1].txt", "skip.csv"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let names = |patterns: &[String]| -> Vec<String> {
            let found = list(patterns).unwrap();
            found.iter().map(|f| f.path.file_name().unwrap().to_str().unwrap().to_string()).collect()
        };
        assert_eq!(names(&[at("z.jsonl"), at("?.txt"), at("a[1].txt")]), ["z.jsonl", "a.txt", "b.txt", "a[1].txt"]);
        // by whatever path
        let other = folder.path().join("link.txt");
        std::os::unix::fs::symlink(folder.path().join("b.txt"), &other).unwrap();
        for twice in [[at("a.txt"), at("?.txt")], [at("z.jsonl"), at("./z.jsonl")], [at("b.txt"), at("link.txt")]] {
            let error = list(&twice).unwrap_err().to_string();
            assert!(error.contains("twice, by"), "{twice:?}: {error}");
        }
        let error = list(&[at("a.txt"), at("no*.txt")]).unwrap_err();
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains("no*.txt"), "{error}");
        assert_eq!(list(&[folder.path().display().to_string()]).unwrap_err().kind(), ErrorKind::Request);
        assert_eq!(list(&[at("*")]).unwrap_err().kind(), ErrorKind::Request);
        assert_eq!(list(&[]).unwrap_err().kind(), ErrorKind::Request);
    }
}
