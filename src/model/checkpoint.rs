//! Which tensors does a checkpoint hold? One safetensors file or several with an index, headers read at once, values
//! widened to f32 when asked for.
//!
//! Nothing is allocated by the word of a header: its size is bounded by the format (100 MB) and by the file, and every
//! tensor's place has been checked against the file's length before a value is read.

use super::map::map;
use crate::error::{Error, Result};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where weights come from, whatever the format.
pub trait Source: Send + Sync {
    /// Shape of a tensor; `None` when there is none of that name.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// Values `first..first + out.len()` of a tensor, row-major, widened to f32.
    ///
    /// # Errors
    /// `Input` when the tensor's type is not one that is read.
    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()>;

    /// Number of values in all floating-point tensors.
    fn n_parameters(&self) -> u64;

    /// Name of the file that holds `name`, or of the checkpoint as a whole, for messages.
    fn place(&self, name: &str) -> String;
}

/// A checkpoint of safetensors files.
pub struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to shard and place.
    tensors: BTreeMap<String, Entry>,
}

struct Shard {
    path: PathBuf,
    bytes: Mmap,
}

struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// First byte in the file.
    start: usize,
}

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The safetensors files of a model folder, in lexicographic order, the index first where there is one.
///
/// # Errors
/// `Request` when the folder holds no safetensors checkpoint; `Input` when the index is malformed.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join(INDEX);
    if index.is_file() {
        let mut files = vec![index.clone()];
        files.extend(
            read_index(&index)?.weight_map.into_values().collect::<BTreeSet<_>>().iter().map(|name| folder.join(name)),
        );
        return Ok(files);
    }
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let other = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|name| folder.join(name).exists());
    let hint = if other { "; it holds PyTorch weights: convert them to safetensors" } else { "; check the path" };
    Err(Error::request(format!("model folder {}: expected {SINGLE} or {INDEX}, found neither{hint}", folder.display())))
}

fn read_index(path: &Path) -> Result<Index> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read the checkpoint's index", path, &e))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("index {}: {e}; download it again", path.display())))?;
    for file in index.weight_map.values() {
        // A name is a file beside the index, never a way out of the folder.
        if Path::new(file).components().count() != 1 || file.contains("..") {
            return Err(Error::input(format!("index {}: shard {file:?} is not a plain file name", path.display())));
        }
    }
    Ok(index)
}

impl Checkpoint {
    /// Opens every file of the checkpoint in `folder` and reads the headers.
    ///
    /// # Errors
    /// `Request` when there is none; `Input`, naming the file, when a header is damaged, a file is longer or shorter
    /// than its header says, or the index names a tensor that its shard lacks.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut checkpoint = Checkpoint { folder: folder.to_path_buf(), shards: Vec::new(), tensors: BTreeMap::new() };
        for path in weight_files(folder)?.into_iter().filter(|path| !path.ends_with(INDEX)) {
            checkpoint.add(path)?;
        }
        let index = folder.join(INDEX);
        if index.is_file() {
            for (name, file) in read_index(&index)?.weight_map {
                let held = checkpoint.tensors.get(&name).map(|entry| &checkpoint.shards[entry.shard].path);
                if held.is_none_or(|path| !path.ends_with(&file)) {
                    return Err(Error::input(format!(
                        "checkpoint {}: the index places tensor {name:?} in {file}, which does not hold it; download both again",
                        folder.display()
                    )));
                }
            }
        }
        Ok(checkpoint)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let bytes = map("read the checkpoint", &path)?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&path, bytes.len(), &e))?;
        for (name, info) in metadata.tensors() {
            let entry = Entry {
                shard: self.shards.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                start: 8 + header + info.data_offsets.0,
            };
            if let Some(before) = self.tensors.insert(name.clone(), entry) {
                let other = self.shards.get(before.shard).map_or(&path, |shard| &shard.path);
                return Err(Error::input(format!(
                    "checkpoint {}: tensor {name:?} stands in {} too; remove one of the files",
                    path.display(),
                    other.display()
                )));
            }
        }
        self.shards.push(Shard { path, bytes });
        Ok(())
    }
}

fn damaged(path: &Path, size_bytes: usize, e: &SafeTensorError) -> Error {
    let what = match e {
        SafeTensorError::MetadataIncompleteBuffer => {
            "the tensors of its header end elsewhere than the file".to_string()
        }
        SafeTensorError::HeaderTooSmall => "it is too short for a header".to_string(),
        SafeTensorError::InvalidHeaderLength => "its header is longer than the file".to_string(),
        SafeTensorError::InvalidOffset(name) => format!("tensor {name:?} overlaps another or leaves a gap"),
        SafeTensorError::TensorInvalidInfo => "a tensor's bytes do not fit its shape and type".to_string(),
        other => other.to_string(),
    };
    Error::input(format!(
        "checkpoint {} ({size_bytes} bytes): {what}; it is damaged or cut short, download it again",
        path.display()
    ))
}

impl Source for Checkpoint {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        let entry = self
            .tensors
            .get(name)
            .ok_or_else(|| Error::input(format!("checkpoint {}: tensor {name:?} is missing", self.folder.display())))?;
        let size = match entry.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => {
                return Err(Error::input(format!(
                    "checkpoint {}: tensor {name:?} is {other:?}; expected F32, F16 or BF16: convert it",
                    self.place(name)
                )));
            }
        };
        let all = &self.shards[entry.shard].bytes;
        let values =
            all.get(entry.start + first * size..).and_then(|from| from.get(..out.len() * size)).ok_or_else(|| {
                Error::input(format!(
                    "checkpoint {}: tensor {name:?} ends before value {}",
                    self.place(name),
                    first + out.len()
                ))
            })?;
        match entry.dtype {
            Dtype::F32 => widen(values, out, f32::from_le_bytes),
            Dtype::F16 => widen_f16(values, out),
            _ => widen(values, out, |b| bf16::from_le_bytes(b).to_f32()),
        }
        Ok(())
    }

    fn n_parameters(&self) -> u64 {
        let float = |entry: &&Entry| matches!(entry.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        self.tensors.values().filter(float).map(|entry| entry.shape.iter().product::<usize>() as u64).sum()
    }

    fn place(&self, name: &str) -> String {
        let path = self.tensors.get(name).map_or(&self.folder, |entry| &self.shards[entry.shard].path);
        path.display().to_string()
    }
}

/// By the processor's own instructions, many at a time.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    let mut some = [f16::ZERO; 512];
    for (bytes, out) in bytes.chunks(2 * some.len()).zip(out.chunks_mut(some.len())) {
        let some = &mut some[..out.len()];
        some.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, b)| *v = f16::from_le_bytes(*b));
        some.convert_to_f32_slice(out);
    }
}

fn widen<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (b, v) in bytes.as_chunks::<N>().0.iter().zip(out) {
        *v = value(*b);
    }
}
