//! Contents of a GGUF file: its metadata and the place of each tensor (format versions 2 and 3, little-endian), of a
//! split file over all its parts.
//!
//! Every count and length is checked against the bytes that are left before anything of that size is kept, arrays stay
//! where they are in the file (`array.rs`), and metadata and tensors are counted, so a hostile header costs less memory
//! than four times its file and 16 MiB.

use super::array::Array;
use super::cursor::HeaderCursor;
use super::quant::{Kind, MAX_BLOCK};
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::split_names;
use crate::weights::file::{Mapped, map};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A value of the metadata; whole numbers of every width are one.
#[derive(Clone, Debug)]
pub enum MetadataValue {
    /// Any integer type.
    Whole(i128),
    /// f32 or f64.
    Real(f64),
    /// A bool.
    Flag(bool),
    /// A text.
    Text(String),
    /// An array, by its place in the first part.
    List(Array),
}

/// An opened file: header read, tensors mapped.
pub struct GgufFile {
    /// The file, or the parts of a split one, in order.
    parts: Vec<Part>,
    /// The metadata.
    pub metadata: BTreeMap<String, MetadataValue>,
    /// The tensors by their names in the file.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Blocks that are widened before their bytes are counted as read.
const PIECE_BLOCKS: usize = 1 << 13;

struct Part {
    path: PathBuf,
    bytes: Mapped,
}

/// Position of a tensor.
pub struct Tensor {
    /// Row-major, slowest dimension first (the reverse of the file's order).
    pub shape: Vec<usize>,
    /// Its block format.
    pub kind: Kind,
    /// The part of a split file that it is in.
    part: usize,
    /// First byte in that file.
    start: usize,
}

/// Most values of the metadata and tensors of a file; real ones have some dozens and some thousands.
const MAX_ENTRIES: u64 = 1 << 16;

impl GgufFile {
    /// Reads the header of `path`, and of the other parts where it is one of a split file.
    ///
    /// # Errors
    /// `Input`, naming the place, when it is not a GGUF file of a known version, is damaged or cut short, holds a
    /// tensor type that is not read, or a part of it is missing.
    pub fn open(path: &Path) -> Result<Self> {
        let (part, header) = Part::open(path)?;
        let n_parts = count(&header.0, "split.count");
        if n_parts <= 1 {
            return Ok(GgufFile { parts: vec![part], metadata: header.0, tensors: header.1 });
        }
        let wrong = |path: &Path, what: String| Error::input(format!("gguf {}: {what}", path.display()));
        let mut file = GgufFile { parts: Vec::new(), metadata: BTreeMap::new(), tensors: BTreeMap::new() };
        let n_tensors = count(&header.0, "split.tensors.count");
        drop((part, header));
        for path in paths(path, n_parts)? {
            if !disk::exists(&path) {
                let what = format!(
                    "this part of {n_parts} is missing; fetch it, or join the parts with llama-gguf-split --merge"
                );
                return Err(wrong(&path, what));
            }
            let (part, (metadata, tensors)) = Part::open(&path)?;
            let number = count(&metadata, "split.no");
            if (number, count(&metadata, "split.count")) != (file.parts.len() as u64, n_parts) {
                let what = format!("its header declares part {number} of another split; take all parts from one place");
                return Err(wrong(&path, what));
            }
            for (name, tensor) in tensors {
                if file.tensors.insert(name.clone(), Tensor { part: file.parts.len(), ..tensor }).is_some() {
                    return Err(wrong(&path, format!("tensor {name:?} is in another part too; fetch the parts again")));
                }
            }
            if file.parts.is_empty() {
                file.metadata = metadata;
            }
            file.parts.push(part);
        }
        if n_tensors != 0 && n_tensors != file.tensors.len() as u64 {
            let found = file.tensors.len();
            return Err(wrong(
                path,
                format!("its parts hold {found} tensors, expected {n_tensors}; fetch the parts again"),
            ));
        }
        Ok(file)
    }

    /// Where it was read; of a split file the first part.
    pub fn path(&self) -> &Path {
        &self.parts[0].path
    }

    /// Every file that it is in.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.parts.iter().map(|part| part.path.clone()).collect()
    }

    /// Where a tensor was read.
    pub fn path_of(&self, tensor: &Tensor) -> &Path {
        &self.parts[tensor.part].path
    }

    /// The texts of an array in the metadata; `None` when it is absent or holds anything else.
    pub fn texts(&self, key: &str) -> Option<Vec<&str>> {
        let Some(MetadataValue::List(array)) = self.metadata.get(key) else { return None };
        array.texts(&self.parts[0].bytes)
    }

    /// The whole numbers of an array in the metadata; `None` when it is absent or holds anything else.
    pub fn wholes(&self, key: &str) -> Option<Vec<i64>> {
        let Some(MetadataValue::List(array)) = self.metadata.get(key) else { return None };
        array.wholes(&self.parts[0].bytes)
    }

    /// The numbers of an array in the metadata; `None` when it is absent or holds anything else.
    pub fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        let Some(MetadataValue::List(array)) = self.metadata.get(key) else { return None };
        array.numbers(&self.parts[0].bytes)
    }

    /// Values `first..first + out.len()` of a tensor, row-major, widened to f32.
    pub fn read(&self, tensor: &Tensor, first: usize, out: &mut [f32]) {
        let bytes = &self.parts[tensor.part].bytes;
        let (per_block, size) = tensor.kind.block();
        let mut block = [0.0; MAX_BLOCK];
        let (mut done, mut counted) = (0, first / per_block);
        while done < out.len() {
            let (number, offset) = ((first + done) / per_block, (first + done) % per_block);
            tensor.kind.widen(&bytes[tensor.start + number * size..][..size], &mut block[..per_block]);
            let n = (per_block - offset).min(out.len() - done);
            out[done..done + n].copy_from_slice(&block[offset..offset + n]);
            done += n;
            if done == out.len() || number % PIECE_BLOCKS == PIECE_BLOCKS - 1 {
                bytes.has_read((number + 1 - counted) * size);
                counted = number + 1;
            }
        }
    }
}

impl Part {
    fn open(path: &Path) -> Result<(Part, Header)> {
        let bytes = map("read the model", path)?;
        let header =
            header(&bytes).map_err(|e| e.within(format!("gguf {} ({} bytes)", path.display(), bytes.len())))?;
        Ok((Part { path: path.to_path_buf(), bytes }, header))
    }
}

/// The files of a split one, by the name of any.
fn paths(path: &Path, n_parts: u64) -> Result<Vec<PathBuf>> {
    let names = path.file_name().and_then(|name| split_names(name.to_str()?));
    let names = names.filter(|names| names.len() as u64 == n_parts).ok_or_else(|| {
        Error::input(format!(
            "gguf {}: it is one of {n_parts} parts, and its name does not tell which; name them as they were, \
             NAME-00001-of-{n_parts:05}.gguf and so on",
            path.display()
        ))
    })?;
    Ok(names.iter().map(|name| path.with_file_name(name)).collect())
}

/// A count of the metadata; 0 when it is absent.
fn count(metadata: &BTreeMap<String, MetadataValue>, key: &str) -> u64 {
    match metadata.get(key) {
        Some(MetadataValue::Whole(n)) => u64::try_from(*n).unwrap_or(0),
        _ => 0,
    }
}

impl Tensor {
    /// Its bytes in the file.
    pub fn place(&self) -> Range<usize> {
        let (per_block, size) = self.kind.block();
        let n_bytes = self.shape.iter().product::<usize>() / per_block * size;
        self.start..self.start.saturating_add(n_bytes)
    }
}

/// Metadata and tensors.
pub type Header = (BTreeMap<String, MetadataValue>, BTreeMap<String, Tensor>);

/// The header of a whole file; every tensor's bytes are inside the file.
///
/// # Errors
/// As [`GgufFile::open`], without the file's name.
pub fn header(bytes: &[u8]) -> Result<Header> {
    let cursor = &mut HeaderCursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err(Error::input("it does not begin with GGUF; check the file"));
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Error::input(format!("format version {version} is not read (2 and 3 are); convert it again")));
    }
    let (n_tensors, n_values) = (cursor.u64()?, cursor.u64()?);
    if n_tensors.max(n_values) > MAX_ENTRIES {
        return Err(Error::input(format!(
            "the header declares {n_tensors} tensors and {n_values} values, expected at most {MAX_ENTRIES}; it is damaged"
        )));
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..n_values {
        let key = cursor.text()?.to_string();
        let kind = cursor.u32()?;
        let value = value(cursor, kind).map_err(|e| e.within(format!("metadata {key:?}")))?;
        metadata.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..n_tensors {
        let name = cursor.text()?.to_string();
        let tensor = described(cursor).map_err(|e| e.within(format!("tensor {name:?}")))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(Error::input(format!("tensor {name:?} is listed twice; it is damaged")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(MetadataValue::Whole(n)) if (1..=1 << 20).contains(n) && (*n as usize).is_power_of_two() => *n as usize,
        Some(other) => return Err(Error::input(format!("general.alignment is {other:?}, expected a power of two"))),
    };
    let data = cursor.at.next_multiple_of(alignment);
    for (name, tensor) in &mut tensors {
        tensor.start = tensor.start.saturating_add(data);
        if tensor.place().end > bytes.len() {
            return Err(Error::input(format!(
                "tensor {name:?} ends beyond the file; it is cut short, download it again"
            )));
        }
    }
    Ok((metadata, tensors))
}

fn described(cursor: &mut HeaderCursor) -> Result<Tensor> {
    let n_dims = cursor.u32()?;
    if n_dims > 4 {
        return Err(Error::input(format!("{n_dims} dimensions, expected at most 4; it is damaged")));
    }
    let mut shape = Vec::new();
    for _ in 0..n_dims {
        shape.push(usize::try_from(cursor.u64()?).unwrap_or(usize::MAX));
    }
    let (number, start) = (cursor.u32()?, cursor.u64()?);
    let kind = Kind::numbered(number).ok_or_else(|| {
        Error::input(format!(
            "ggml type {number} is not read (F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS \
             are); take another quantisation"
        ))
    })?;
    let n = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).filter(|&n| n < 1 << 48);
    let fits = n.is_some() && shape.first().copied().unwrap_or(1).is_multiple_of(kind.block().0);
    if !fits {
        return Err(Error::input(format!("rows of {shape:?} are no whole blocks of {kind:?}; it is damaged")));
    }
    shape.reverse();
    Ok(Tensor { shape, kind, part: 0, start: usize::try_from(start).unwrap_or(usize::MAX) })
}

/// A value of the metadata, of this type.
fn value(cursor: &mut HeaderCursor, kind: u32) -> Result<MetadataValue> {
    Ok(match kind {
        0 => MetadataValue::Whole(cursor.array::<1>()?[0].into()),
        1 => MetadataValue::Whole(i8::from_le_bytes(cursor.array()?).into()),
        2 => MetadataValue::Whole(u16::from_le_bytes(cursor.array()?).into()),
        3 => MetadataValue::Whole(i16::from_le_bytes(cursor.array()?).into()),
        4 => MetadataValue::Whole(cursor.u32()?.into()),
        5 => MetadataValue::Whole(i32::from_le_bytes(cursor.array()?).into()),
        6 => MetadataValue::Real(f32::from_le_bytes(cursor.array()?).into()),
        7 => MetadataValue::Flag(cursor.array::<1>()?[0] != 0),
        8 => MetadataValue::Text(cursor.text()?.to_string()),
        9 => MetadataValue::List(Array::read(cursor)?),
        10 => MetadataValue::Whole(cursor.u64()?.into()),
        11 => MetadataValue::Whole(i64::from_le_bytes(cursor.array()?).into()),
        12 => MetadataValue::Real(f64::from_le_bytes(cursor.array()?)),
        other => return Err(Error::input(format!("value type {other} is not known; it is damaged"))),
    })
}
