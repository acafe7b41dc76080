//! Which tensors does a safetensors file hold? Its header, checked against the length of the file; no values. And a file of some tensors.

use super::convert::StoredDtype;
use super::file::map;
use super::names::Plain;
use super::tensors::{Entry, Extent, Tensors};
use crate::error::{Error, Result};
use ::safetensors::tensor::{SafeTensorError, SafeTensors, TensorInfo};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Longest header that is read however short the file; a longer one may be a quarter of its file. Read, a header takes some
/// ten times its length.
const HEADER_LIMIT: u64 = 256 << 10;

/// The header of a safetensors file, checked against the length of the file.
pub(super) struct Header {
    /// Its tensors by name; offsets count from `start`.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Where the first byte of a tensor lies in the file.
    pub start: u64,
    /// Length of the file.
    pub file_bytes: u64,
}

/// Reads the header of a safetensors file.
///
/// # Errors
/// `Request` when there is no such file, `Input` when its header is damaged or the file is cut short or too long.
pub(super) fn header(path: &Path) -> Result<Header> {
    let bytes = map("read the weights", path)?;
    let damaged = |what: &str| {
        Error::input(format!(
            "{} ({} bytes): {what}; the file is damaged or cut short, get or write it again",
            path.display(),
            bytes.len()
        ))
    };
    let file_bytes = bytes.len() as u64;
    if let Some(head) = bytes.first_chunk::<8>() {
        let header_bytes = u64::from_le_bytes(*head);
        if header_bytes > HEADER_LIMIT.max(file_bytes / 4) {
            return Err(damaged(&format!("its header claims {header_bytes} bytes")));
        }
    }
    let (header_bytes, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&sentence(&e)))?;
    // in order: the same file gives the same error
    let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    Ok(Header { tensors, start: 8 + header_bytes as u64, file_bytes })
}

/// The tensors of a safetensors file.
///
/// # Errors
/// `Request` when there is no such file, `Input` when its header is damaged or the file is cut short or too long.
pub fn tensors(path: &Path) -> Result<Tensors> {
    let Header { tensors, start, file_bytes } = header(path)?;
    let mut entries = Plain::default();
    for (name, info) in tensors {
        let entry = Entry {
            dtype: dtype(&info),
            place: Extent::Plain { offset: start + info.data_offsets.0 as u64 },
            shape: info.shape,
            column_major: false,
        };
        entries.add(path, name, entry)?;
    }
    Tensors::checked(path, file_bytes, entries.into_map())
}

fn sentence(e: &SafeTensorError) -> String {
    match e {
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors of its header end elsewhere than the file".to_string()
        }
        SafeTensorError::HeaderTooSmall => "it is too short for a header".to_string(),
        SafeTensorError::InvalidHeaderLength => "its header is longer than the file".to_string(),
        SafeTensorError::InvalidOffset(name) => format!("tensor {name:?} overlaps another or leaves a gap"),
        SafeTensorError::TensorInvalidInfo => "a tensor's bytes do not fit its shape and type".to_string(),
        other => other.to_string(),
    }
}

fn dtype(info: &TensorInfo) -> Result<StoredDtype, &'static str> {
    use ::safetensors::Dtype as Stored;
    match info.dtype {
        Stored::F16 => Ok(StoredDtype::F16),
        Stored::BF16 => Ok(StoredDtype::Bf16),
        Stored::F32 => Ok(StoredDtype::F32),
        Stored::F64 => Ok(StoredDtype::F64),
        Stored::I32 => Ok(StoredDtype::I32),
        Stored::I64 => Ok(StoredDtype::I64),
        Stored::BOOL => Err("holds true and false, no numbers"),
        Stored::U8 | Stored::I8 => Err("holds bytes (uint8 or int8)"),
        Stored::F8_E4M3 | Stored::F8_E5M2 | Stored::F8_E8M0 => Err("holds floats of 8 bits"),
        _ => Err("is of an element type that is not read"),
    }
}

/// A safetensors file of f32 tensors: name, shape, values row-major; `about` is its metadata, an object of texts.
///
/// # Panics
/// When a shape has not as many values.
pub fn written<S: AsRef<str>>(tensors: &[(S, Vec<usize>, Vec<f32>)], about: &Value) -> Vec<u8> {
    let (mut header, mut start) = (Map::new(), 0);
    // sorted by name, as the library writes tensors of one type
    let mut sorted: Vec<&(S, Vec<usize>, Vec<f32>)> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
    if about.as_object().is_some_and(|about| !about.is_empty()) {
        header.insert("__metadata__".into(), about.clone());
    }
    for (name, shape, values) in &sorted {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "as many values as the shape says");
        let end = start + 4 * values.len();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.as_ref().to_string(), entry);
        start = end;
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text);
    sorted.iter().for_each(|(_, _, values)| out.extend(values.iter().flat_map(|v| v.to_le_bytes())));
    out
}
