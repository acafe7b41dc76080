//! Which files are read, in which order, in which format? The patterns of `[corpus] files` become a list.
//!
//! Patterns keep the order given; the matches of one pattern are sorted as bytes. A file that is named twice, under whatever
//! path, is refused: its tokens would count twice. The kind follows from the ending, `.jsonl`, `.ndjson` or `.json`, `.txt`,
//! `.parquet`, `.bin`, `.safetensors`, or from the `format` key, the wrapping from a last ending `.gz`, `.gzip`, `.zst` or `.zstd`.

use super::options::CorpusFormat;
use crate::disk;
use crate::error::{Error, Result};
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
    /// A digest of the file's identity and times of change; another value after the file is written to.
    pub stamp: u64,
}

impl CorpusFile {
    /// The file as it is.
    ///
    /// # Errors
    /// Those of looking at it.
    pub(super) fn look(path: PathBuf) -> Result<CorpusFile> {
        let found = disk::metadata(&path).map_err(|e| Error::io("look at the corpus file", &path, &e))?;
        Ok(CorpusFile { path, size_bytes: found.len(), stamp: stamp(&found) })
    }
}

#[cfg(unix)]
fn stamp(found: &disk::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let facts = [found.ino() as i64, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    digest(&facts)
}

#[cfg(not(unix))]
#[allow(clippy::disallowed_methods, reason = "a stamp is compared and digested into no result")]
fn stamp(found: &disk::Metadata) -> u64 {
    let modified = found.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    // without a time every look is another: it is then read again
    let nanos = modified.map_or_else(|| std::time::SystemTime::now().elapsed().unwrap_or_default(), |t| t).as_nanos();
    digest(&[nanos as i64])
}

fn digest(facts: &[i64]) -> u64 {
    let hash = blake3::hash(bytemuck::cast_slice(facts));
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"))
}

/// What it is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapping {
    Plain,
    Gzip,
    Zstd,
}

/// Compressions that others use and that are not read here.
const OTHER_WRAPPINGS: [&str; 6] = ["bz2", "xz", "lzma", "lz4", "br", "zip"];

/// Format and wrapping of a file: by its ending, the format as `said` where it is given.
///
/// # Errors
/// `Request` for an ending that is none of ours.
pub(super) fn kind_of(path: &Path, said: Option<CorpusFormat>) -> Result<(CorpusFormat, Wrapping)> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_ascii_lowercase();
    let (stem, wrapping) = match name.rsplit_once('.') {
        Some((stem, "gz" | "gzip")) => (stem, Wrapping::Gzip),
        Some((stem, "zst" | "zstd")) => (stem, Wrapping::Zstd),
        _ => (name.as_str(), Wrapping::Plain),
    };
    let ending = stem.rsplit_once('.').map(|(_, ending)| ending);
    if let Some(other) = ending.filter(|e| OTHER_WRAPPINGS.contains(e)) {
        return Err(Error::request(format!(
            "the corpus file {} is compressed as .{other}, which is not read; expected .gz or .zst: unpack it, or compress it again \
             with zstd",
            path.display()
        )));
    }
    let by_ending = match ending {
        Some("jsonl" | "ndjson" | "json") => Some(CorpusFormat::Jsonl),
        Some("txt") => Some(CorpusFormat::Text),
        Some("parquet") => Some(CorpusFormat::Parquet),
        Some("bin") => Some(CorpusFormat::Bin),
        Some("safetensors") => Some(CorpusFormat::Safetensors),
        _ => None,
    };
    let Some(format) = said.or(by_ending) else {
        return Err(Error::request(format!(
            "the corpus file {} has an unknown ending; expected .jsonl, .ndjson or .json, .txt, .parquet, .bin or .safetensors, the \
             others than .parquet and .safetensors also with .gz or .zst after it, or set what the files are by [corpus] format = \"jsonl\", \
             \"text\", \"parquet\", \"bin\" or \"safetensors\"",
            path.display()
        )));
    };
    if format == CorpusFormat::Parquet && wrapping != Wrapping::Plain {
        return Err(Error::request(format!(
            "the corpus file {} is Parquet inside another compression, which cannot be read at any place; unpack it once \
             (Parquet compresses its own pages)",
            path.display()
        )));
    }
    if format == CorpusFormat::Safetensors && wrapping != Wrapping::Plain {
        return Err(Error::request(format!(
            "the corpus file {} is safetensors inside a compression, which cannot be read at any place; unpack it once",
            path.display()
        )));
    }
    Ok((format, wrapping))
}

/// All files of the patterns.
///
/// # Errors
/// `Request` naming a pattern that is malformed or matches no file, a folder, an unknown ending, or a file named twice.
pub(super) fn list(patterns: &[String], said: Option<CorpusFormat>) -> Result<Vec<CorpusFile>> {
    if patterns.is_empty() {
        return Err(Error::request("[corpus] files is empty; name at least one file or pattern"));
    }
    let mut files = Vec::new();
    let mut named: BTreeMap<PathBuf, &String> = BTreeMap::new();
    for pattern in patterns {
        for path in matching_files("[corpus] files", "data/*.jsonl", pattern)? {
            kind_of(&path, said)?;
            let real = disk::canonicalize(&path).map_err(|e| Error::io("look at the corpus file", &path, &e))?;
            if let Some(before) = named.insert(real, pattern) {
                return Err(Error::request(format!(
                    "[corpus] files names {} twice, by {before:?} and by {pattern:?}; its tokens would count twice: name it once",
                    path.display()
                )));
            }
            files.push(CorpusFile::look(path)?);
        }
    }
    Ok(files)
}

/// The same of the patterns that match something, and the others.
///
/// # Errors
/// As [`list`], but for patterns that match nothing.
pub(super) fn list_here(patterns: &[String], said: Option<CorpusFormat>) -> Result<(Vec<CorpusFile>, Vec<String>)> {
    let nothing =
        |p: &&String| !disk::exists(Path::new(p)) && glob::glob(p).is_ok_and(|mut found| found.next().is_none());
    let missing: Vec<String> = patterns.iter().filter(nothing).cloned().collect();
    for pattern in &missing {
        kind_of(Path::new(pattern), said)?;
    }
    let here: Vec<String> = patterns.iter().filter(|p| !missing.contains(p)).cloned().collect();
    Ok((if here.is_empty() && !missing.is_empty() { Vec::new() } else { list(&here, said)? }, missing))
}

/// The files of one pattern, in byte order. A path that exists is itself, whatever marks of a pattern its name holds. `key` is what the
/// dataflow file calls the list, `example` a pattern as it might have.
///
/// # Errors
/// `Request` for a pattern that is malformed or matches no file; those of looking for them.
pub fn matching_files(key: &str, example: &str, pattern: &str) -> Result<Vec<PathBuf>> {
    if disk::is_file(Path::new(pattern)) {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let walk = glob::glob(pattern).map_err(|e| {
        Error::request(format!("{key}: the pattern {pattern:?} is malformed ({e}); a pattern knows *, ?, [ab] and **"))
    })?;
    let mut paths = Vec::new();
    for found in walk {
        let path = found.map_err(|e| Error::io("look for files in", e.path(), e.error()))?;
        if disk::is_file(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let is_pattern = pattern.contains(['*', '?', '[']);
        let found = match Path::new(pattern) {
            folder if disk::is_dir(folder) => "is a folder".to_string(),
            _ if is_pattern => "matches no file".to_string(),
            file => format!("matches no file{}", disk::instead_of(file)),
        };
        return Err(Error::request(format!(
            "{key}: {pattern:?} {found}; expected a file or a pattern such as {example} (relative to the working \
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
        let kind = |name: &str| kind_of(Path::new(name), None);
        assert_eq!(kind("a/b.jsonl").unwrap(), (CorpusFormat::Jsonl, Wrapping::Plain));
        assert_eq!(kind("b.NDJSON.GZ").unwrap(), (CorpusFormat::Jsonl, Wrapping::Gzip));
        assert_eq!(kind("b.x.txt.zst").unwrap(), (CorpusFormat::Text, Wrapping::Zstd));
        assert_eq!(kind("b.bin.zst").unwrap(), (CorpusFormat::Bin, Wrapping::Zstd));
        assert_eq!(kind("b.parquet").unwrap(), (CorpusFormat::Parquet, Wrapping::Plain));
        assert_eq!(kind("c4-train.00000-of-01024.json.gz").unwrap(), (CorpusFormat::Jsonl, Wrapping::Gzip));
        assert_eq!(kind("b.JSON").unwrap(), (CorpusFormat::Jsonl, Wrapping::Plain));
        assert_eq!(kind("b.jsonl.zstd").unwrap(), (CorpusFormat::Jsonl, Wrapping::Zstd));
        assert_eq!(kind("b.txt.gzip").unwrap(), (CorpusFormat::Text, Wrapping::Gzip));
        // a given format holds, whatever the ending
        let said = |name: &str, format| kind_of(Path::new(name), Some(format));
        assert_eq!(said("part-0001", CorpusFormat::Jsonl).unwrap(), (CorpusFormat::Jsonl, Wrapping::Plain));
        assert_eq!(said("b.txt.gz", CorpusFormat::Jsonl).unwrap(), (CorpusFormat::Jsonl, Wrapping::Gzip));
        assert!(said("b.gz", CorpusFormat::Parquet).is_err());
        for other in ["b.jsonl.bz2", "b.txt.xz"] {
            let error = kind(other).unwrap_err().to_string();
            assert!(error.contains(other) && error.contains("compress it again with zstd"), "{error}");
            assert!(said(other, CorpusFormat::Text).is_err());
        }
        for bad in ["b.csv", "jsonl", "b.gz", "b.parquet.zst", "b"] {
            let error = kind(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Request);
            assert!(error.to_string().contains(bad), "{error}");
            assert!(bad.contains("parquet") || error.to_string().contains("format = \"jsonl\""), "{error}");
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
            let found = list(patterns, None).unwrap();
            found.iter().map(|f| f.path.file_name().unwrap().to_str().unwrap().to_string()).collect()
        };
        assert_eq!(names(&[at("z.jsonl"), at("?.txt"), at("a[1].txt")]), ["z.jsonl", "a.txt", "b.txt", "a[1].txt"]);
        // by whatever path
        let other = folder.path().join("link.txt");
        std::os::unix::fs::symlink(folder.path().join("b.txt"), &other).unwrap();
        for twice in [[at("a.txt"), at("?.txt")], [at("z.jsonl"), at("./z.jsonl")], [at("b.txt"), at("link.txt")]] {
            let error = list(&twice, None).unwrap_err().to_string();
            assert!(error.contains("twice, by"), "{twice:?}: {error}");
        }
        let error = list(&[at("a.txt"), at("no*.txt")], None).unwrap_err();
        assert!(error.kind() == ErrorKind::Request && error.to_string().contains("no*.txt"), "{error}");
        assert_eq!(list(&[folder.path().display().to_string()], None).unwrap_err().kind(), ErrorKind::Request);
        assert_eq!(list(&[at("*")], None).unwrap_err().kind(), ErrorKind::Request);
        assert_eq!(list(&[], None).unwrap_err().kind(), ErrorKind::Request);
    }
}
