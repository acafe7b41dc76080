//! Which tensors does a safetensors file hold? Its header, checked against the length of the file; no values.

use super::tensors::{Dtype, Entry, Place, Tensors, length, open};
use crate::error::{Error, Result};
use std::io::Read;
use std::path::Path;

/// Longest header read from a file.
const HEADER_LIMIT: u64 = 16 << 20;

/// The tensors of a safetensors file.
///
/// # Errors
/// `Request` when there is no such file, `Input` when its header is damaged or the file is cut short.
pub(super) fn tensors(path: &Path) -> Result<Tensors> {
    let mut file = open(path)?;
    let file_bytes = length(&file, path)?;
    let damaged = |what: String| Error::input(format!("{}: {what}; fetch the file again", path.display()));
    let mut head = [0; 8];
    file.read_exact(&mut head).map_err(|_| damaged(format!("{file_bytes} bytes are no safetensors file")))?;
    let header_bytes = u64::from_le_bytes(head);
    if header_bytes > HEADER_LIMIT || header_bytes > file_bytes - 8 {
        return Err(damaged(format!("the safetensors header claims {header_bytes} bytes of a file of {file_bytes}")));
    }
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header).map_err(|e| Error::io("read", path, &e))?;
    let metadata: ::safetensors::tensor::Metadata =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("safetensors header: {e}")))?;
    let start = 8 + header_bytes;
    if start + metadata.data_len() as u64 != file_bytes {
        return Err(damaged(format!(
            "the safetensors header tells of {} bytes of tensors, the file holds {}",
            metadata.data_len(),
            file_bytes - start
        )));
    }
    let entry = |info: &::safetensors::tensor::TensorInfo| {
        use ::safetensors::Dtype as Stored;
        Entry {
            dtype: match info.dtype {
                Stored::F16 => Ok(Dtype::F16),
                Stored::BF16 => Ok(Dtype::Bf16),
                Stored::F32 => Ok(Dtype::F32),
                Stored::F64 => Ok(Dtype::F64),
                Stored::I32 => Ok(Dtype::I32),
                Stored::I64 => Ok(Dtype::I64),
                _ => Err("is of an element type that SAE weights do not have"),
            },
            shape: info.shape.clone(),
            column_major: false,
            place: Place::Plain { offset: start + info.data_offsets.0 as u64 },
        }
    };
    Tensors::checked(path, file_bytes, metadata.tensors().into_iter().map(|(name, i)| (name, entry(i))).collect())
}
