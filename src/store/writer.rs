//! How is a tile's state written? As safetensors, streamed: the header first, then every tensor straight from its slice.
//!
//! Nothing is held twice: the layout is stated, the bytes flow through the digest to the disk. Little-endian only, as the
//! format asks.

use super::digest::FileRecord;
use super::fs::AtomicFile;
use crate::error::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

#[cfg(target_endian = "big")]
compile_error!("state files are little-endian; swap the bytes in writer.rs and reader.rs first");

/// Key of the JSON text in the safetensors metadata.
pub(super) const METADATA_KEY: &str = "cognate";

/// A number that a state tensor can hold.
pub trait Element: bytemuck::Pod {
    /// Its name in the file.
    const DTYPE: Dtype;
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}
impl Element for u32 {
    const DTYPE: Dtype = Dtype::U32;
}
impl Element for u64 {
    const DTYPE: Dtype = Dtype::U64;
}
impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}
impl Element for f64 {
    const DTYPE: Dtype = Dtype::F64;
}

/// What a state file will hold, in the order in which it will be written.
#[derive(Clone, Debug, Default)]
pub struct StateLayout {
    metadata: serde_json::Value,
    tensors: Vec<(String, TensorInfo)>,
}

impl StateLayout {
    /// Nothing yet; `metadata` is any JSON, handed back by [`StateReader::metadata`](super::StateReader::metadata).
    pub fn new(metadata: serde_json::Value) -> Self {
        StateLayout { metadata, tensors: Vec::new() }
    }

    /// One more key of the metadata, which must be an object or nothing yet.
    #[must_use]
    pub fn key(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.metadata[name] = value.into();
        self
    }

    /// One more tensor `name` of `shape`, row-major.
    #[must_use]
    pub fn tensor<T: Element>(mut self, name: &str, shape: &[usize]) -> Self {
        let start = self.tensors.last().map_or(0, |(_, t)| t.data_offsets.1);
        let size = shape.iter().product::<usize>() * size_of::<T>();
        let info = TensorInfo { dtype: T::DTYPE, shape: shape.to_vec(), data_offsets: (start, start + size) };
        self.tensors.push((name.to_string(), info));
        self
    }
}

/// A finished state file, ready to be named in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateFile {
    /// Path relative to the run directory.
    pub path: String,
    /// Size and digest.
    pub record: FileRecord,
}

/// A state file being written. Dropped before [`finish`](StateWriter::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct StateWriter {
    file: AtomicFile,
    relative: String,
    tensors: Vec<(String, TensorInfo)>,
    /// The tensor being filled, and how many of its bytes are written.
    at: (usize, usize),
}

impl StateWriter {
    pub(super) fn create(path: &Path, relative: String, layout: StateLayout) -> Result<Self> {
        let StateLayout { metadata, tensors } = layout;
        let metadata = HashMap::from([(METADATA_KEY.to_string(), metadata.to_string())]);
        let header = Metadata::new(Some(metadata), tensors.clone()).map_err(|e| {
            Error::state(format!("state file {} cannot be laid out: {e:?}; this is a bug", path.display()))
        })?;
        let mut header = serde_json::to_vec(&header).expect("a safetensors header is JSON");
        // The data starts at a multiple of 8, as the format's own writer does it.
        header.resize(header.len().next_multiple_of(8), b' ');
        let total = 8 + header.len() + tensors.last().map_or(0, |(_, t)| t.data_offsets.1);
        let mut file = AtomicFile::create(path)?.expecting(total as u64);
        let opened = file.write_all(&(header.len() as u64).to_le_bytes()).and_then(|()| file.write_all(&header));
        opened.map_err(|e| file.error(&e))?;
        Ok(StateWriter { file, relative, tensors, at: (0, 0) })
    }

    /// Appends `values` to tensor `name`. Tensors are filled in the order of the layout, each in as many pieces as one likes.
    ///
    /// # Errors
    /// `Machine` when the disk is full; `State` when the tensor, dtype or length is not the one laid out (a bug).
    pub fn put<T: Element>(&mut self, name: &str, values: &[T]) -> Result<()> {
        self.skip_filled();
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let (index, written) = self.at;
        let fits = self.tensors.get(index).is_some_and(|(expected, info)| {
            expected == name
                && info.dtype == T::DTYPE
                && written + bytes.len() <= info.data_offsets.1 - info.data_offsets.0
        });
        if !fits && bytes.is_empty() {
            return Ok(());
        }
        if !fits {
            return Err(self.misuse(&format!("{} values of {:?} put into {name:?}", values.len(), T::DTYPE)));
        }
        self.file.write_all(bytes).map_err(|e| self.file.error(&e))?;
        self.at.1 += bytes.len();
        Ok(())
    }

    /// Makes the file durable.
    ///
    /// # Errors
    /// `Machine` when the disk is full; `State` when a tensor was left unfilled (a bug).
    pub fn finish(mut self) -> Result<StateFile> {
        self.skip_filled();
        if self.at.0 < self.tensors.len() {
            return Err(self.misuse("finished"));
        }
        Ok(StateFile { path: self.relative, record: self.file.commit()? })
    }

    fn skip_filled(&mut self) {
        while self.tensors.get(self.at.0).is_some_and(|(_, t)| self.at.1 == t.data_offsets.1 - t.data_offsets.0) {
            self.at = (self.at.0 + 1, 0);
        }
    }

    fn misuse(&self, what: &str) -> Error {
        let expected = match self.tensors.get(self.at.0) {
            Some((name, info)) => {
                format!("{name:?} {:?} {:?} is filled to {} bytes", info.dtype, info.shape, self.at.1)
            }
            None => "every tensor is full".to_string(),
        };
        Error::state(format!("state file {}: {what}, but {expected}; this is a bug", self.file.path().display()))
    }
}
