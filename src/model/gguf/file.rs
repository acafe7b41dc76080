//! What stands in a GGUF file? Its metadata and the place of each tensor (format versions 2 and 3, little-endian).
//!
//! Every count and length is checked against the bytes that are left before anything of that size is kept, so a hostile
//! header costs no more memory than a small multiple of the file.

use super::quant::{Kind, MAX_BLOCK};
use crate::error::{Error, Result};
use crate::model::map::map;
use memmap2::Mmap;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A value of the metadata; whole numbers of every width are one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Whole(i128),
    /// f32 or f64.
    Real(f64),
    /// A bool.
    Flag(bool),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Value>),
}

/// An opened file: header read, tensors mapped.
pub struct GgufFile {
    path: PathBuf,
    bytes: Mmap,
    /// The metadata.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors by their names in the file.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Where a tensor stands.
pub struct Tensor {
    /// Row-major, slowest dimension first (the reverse of the file's order).
    pub shape: Vec<usize>,
    /// Its block format.
    pub kind: Kind,
    /// First byte in the file.
    start: usize,
}

const MAX_NESTING: usize = 3;

impl GgufFile {
    /// Reads the header of `path`.
    ///
    /// # Errors
    /// `Input`, naming the place, when it is not a GGUF file of a known version, is damaged or cut short, or holds a
    /// tensor type that is not read.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = map("read the model", path)?;
        let (metadata, tensors) =
            header(&bytes).map_err(|e| e.within(format!("gguf {} ({} bytes)", path.display(), bytes.len())))?;
        Ok(GgufFile { path: path.to_path_buf(), bytes, metadata, tensors })
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Values `first..first + out.len()` of a tensor, row-major, widened to f32.
    pub fn read(&self, tensor: &Tensor, first: usize, out: &mut [f32]) {
        let (per_block, size) = tensor.kind.block();
        let mut block = [0.0; MAX_BLOCK];
        let mut done = 0;
        while done < out.len() {
            let (number, offset) = ((first + done) / per_block, (first + done) % per_block);
            tensor.kind.widen(&self.bytes[tensor.start + number * size..][..size], &mut block[..per_block]);
            let n = (per_block - offset).min(out.len() - done);
            out[done..done + n].copy_from_slice(&block[offset..offset + n]);
            done += n;
        }
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
pub type Header = (BTreeMap<String, Value>, BTreeMap<String, Tensor>);

/// The header of a whole file; every tensor's place lies inside it.
///
/// # Errors
/// As [`GgufFile::open`], without the file's name.
pub fn header(bytes: &[u8]) -> Result<Header> {
    let cursor = &mut Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        return Err(Error::input("it does not begin with GGUF; check the file"));
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(Error::input(format!("format version {version} is not read (2 and 3 are); convert it again")));
    }
    let (n_tensors, n_values) = (cursor.u64()?, cursor.u64()?);
    let mut metadata = BTreeMap::new();
    for _ in 0..n_values {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0).map_err(|e| e.within(format!("metadata {key:?}")))?;
        metadata.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..n_tensors {
        let name = cursor.text()?;
        let tensor = described(cursor).map_err(|e| e.within(format!("tensor {name:?}")))?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(Error::input(format!("tensor {name:?} is listed twice; it is damaged")));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Whole(n)) if (1..=1 << 20).contains(n) && (*n as usize).is_power_of_two() => *n as usize,
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

fn described(cursor: &mut Cursor) -> Result<Tensor> {
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
    Ok(Tensor { shape, kind, start: usize::try_from(start).unwrap_or(usize::MAX) })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..n).ok_or_else(|| {
            Error::input(format!(
                "the header asks for {n} bytes at byte {}, {} are left; it is damaged or cut short",
                self.at,
                left.len()
            ))
        })?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many bytes as were taken"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let n = usize::try_from(self.u64()?).unwrap_or(usize::MAX);
        let text = self.take(n)?;
        String::from_utf8(text.to_vec())
            .map_err(|_| Error::input(format!("a text of {n} bytes is not UTF-8; it is damaged")))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        Ok(match kind {
            0 => Value::Whole(self.array::<1>()?[0].into()),
            1 => Value::Whole(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Whole(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Whole(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Whole(self.u32()?.into()),
            5 => Value::Whole(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Real(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Flag(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth < MAX_NESTING => {
                let (kind, n) = (self.u32()?, self.u64()?);
                let mut list = Vec::new();
                for _ in 0..n {
                    list.push(self.value(kind, depth + 1)?);
                }
                Value::List(list)
            }
            10 => Value::Whole(self.u64()?.into()),
            11 => Value::Whole(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Real(f64::from_le_bytes(self.array()?)),
            other => return Err(Error::input(format!("value type {other} is not known; it is damaged"))),
        })
    }
}
