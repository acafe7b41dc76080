//! Which tensors does a checkpoint hold? Files of safetensors or torch, one or several with an index, headers read at
//! once, values widened to f32 when asked for.
//!
//! The files are those that transformers takes: `model.safetensors`, else the shards of `model.safetensors.index.json`,
//! else `pytorch_model.bin`, else the shards of `pytorch_model.bin.index.json`. Names lose what training wrappers put into
//! them (`weights/names.rs`). Every tensor's place has been checked against its file's length before a value is read.

use super::convert::{StoredDtype, widen};
use super::file::{Mapped, map};
use super::names::plain;
use super::source::Source;
use super::tensors::{Entry, Extent};
use super::{safetensors, torch};
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::{CHECKPOINTS, refuse_pointer};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Values that are widened before their bytes are counted as read.
const PIECE_VALUES: usize = 1 << 18;

/// A checkpoint of safetensors or torch files.
pub struct Checkpoint {
    folder: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to shard and place.
    tensors: BTreeMap<String, Stored>,
}

struct Shard {
    path: PathBuf,
    bytes: Mapped,
}

struct Stored {
    shard: usize,
    entry: Entry,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// What a model folder's weights are.
enum Files {
    Single(PathBuf),
    /// The index and its contents.
    Sharded(PathBuf, Index),
}

/// The weight files of a model folder, in lexicographic order, the index first where there is one.
///
/// # Errors
/// `Request` when the folder holds no checkpoint that is read; `Input` when the index is malformed.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(match files_of(folder)? {
        Files::Single(path) => vec![path],
        Files::Sharded(path, index) => {
            let shards = index.weight_map.into_values().collect::<BTreeSet<_>>();
            std::iter::once(path).chain(shards.iter().map(|name| folder.join(name))).collect()
        }
    })
}

fn files_of(folder: &Path) -> Result<Files> {
    for (single, index) in CHECKPOINTS {
        let (single, index) = (folder.join(single), folder.join(index));
        if disk::is_file(&single) {
            return Ok(Files::Single(single));
        }
        if disk::is_file(&index) {
            let read = read_index(&index)?;
            return Ok(Files::Sharded(index, read));
        }
    }
    let holds = |name: &str| disk::exists(&folder.join(name));
    let hint = match () {
        () if holds("adapter_config.json") => {
            "; it holds an adapter alone: merge it into its model (merge_and_unload), and save that"
        }
        () if holds("tf_model.h5") || holds("flax_model.msgpack") => {
            "; it holds weights of TensorFlow or Flax: load them with transformers and save_pretrained them"
        }
        () if holds("params.json") || holds("consolidated.safetensors") => {
            "; it is laid out as its author trained it: take the repository's files in Hugging Face layout"
        }
        () => "; check the path",
    };
    let expected: Vec<&str> = CHECKPOINTS.iter().flat_map(|(single, index)| [*single, *index]).collect();
    Err(Error::request(format!("model folder {}: found none of {}{hint}", folder.display(), expected.join(", "))))
}

fn read_index(path: &Path) -> Result<Index> {
    let text = disk::read_to_string(path).map_err(|e| Error::io("read the checkpoint's index", path, &e))?;
    refuse_pointer(path, text.as_bytes())?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| Error::input(format!("index {}: {e}; download it again", path.display())))?;
    for file in index.weight_map.values() {
        // A name is a file in the folder of the index, never a path out of it.
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
    /// than its header declares, or the index names a tensor that its shard lacks.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut checkpoint = Checkpoint { folder: folder.to_path_buf(), shards: Vec::new(), tensors: BTreeMap::new() };
        match files_of(folder)? {
            Files::Single(path) => checkpoint.add(path)?,
            Files::Sharded(_, index) => {
                for file in index.weight_map.values().collect::<BTreeSet<_>>() {
                    checkpoint.add(folder.join(file))?;
                }
                checkpoint.check(&index)?;
            }
        }
        Ok(checkpoint)
    }

    /// Whether every tensor is in the shard that the index names.
    fn check(&self, index: &Index) -> Result<()> {
        for (name, file) in &index.weight_map {
            let held = self.tensors.get(&*plain(name)).map(|stored| &self.shards[stored.shard].path);
            if held.is_none_or(|path| !path.ends_with(file)) {
                return Err(Error::input(format!(
                    "checkpoint {}: the index places tensor {name:?} in {file}, which does not hold it; download both again",
                    self.folder.display()
                )));
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let is_torch = path.extension().is_some_and(|ending| ending == "bin");
        let tensors = if is_torch { torch::state_dict(&path)?.tensors } else { safetensors::tensors(&path)? };
        for (name, entry) in tensors.into_entries() {
            let shard = self.shards.len();
            if let Some(before) = self.tensors.insert(name.clone(), Stored { shard, entry }) {
                let other = self.shards.get(before.shard).map_or(&path, |shard| &shard.path);
                return Err(Error::input(format!(
                    "checkpoint {}: tensor {name:?} is in {} too; remove one of the files",
                    path.display(),
                    other.display()
                )));
            }
        }
        let bytes = map("read the checkpoint", &path)?;
        self.shards.push(Shard { path, bytes });
        Ok(())
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        Error::input(format!("checkpoint {}: tensor {name:?} {what}", self.place(name)))
    }
}

impl Source for Checkpoint {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.entry.shape.as_slice())
    }

    fn read(&self, name: &str, first: usize, out: &mut [f32]) -> Result<()> {
        let Stored { shard, entry } = self.tensors.get(name).ok_or_else(|| self.wrong(name, "is missing"))?;
        let dtype = match entry.dtype {
            Ok(dtype) if dtype.is_float() => dtype,
            Ok(_) => return Err(self.wrong(name, &format!("holds whole numbers; {EXPECTED}"))),
            Err(why) => return Err(self.wrong(name, &format!("{why}; {EXPECTED}"))),
        };
        let Extent::Plain { offset } = entry.place else {
            return Err(self.wrong(name, "is compressed inside its file; save the model again with save_pretrained"));
        };
        let (all, size) = (&self.shards[*shard].bytes, dtype.size());
        let values = |first: usize, n: usize| {
            let start = (first * size).checked_add(usize::try_from(offset).ok()?)?;
            all.get(start..)?.get(..n * size)
        };
        let past = || self.wrong(name, &format!("ends before value {}", first + out.len()));
        if !entry.column_major {
            let bytes = values(first, out.len()).ok_or_else(past)?;
            for (bytes, out) in bytes.chunks(PIECE_VALUES * size).zip(out.chunks_mut(PIECE_VALUES)) {
                widen(dtype, bytes, out);
                all.has_read(bytes.len());
            }
            return Ok(());
        }
        let [rows, cols] = *entry.shape.as_slice() else {
            return Err(self.wrong(name, "is stored transposed; save it again with .contiguous()"));
        };
        for (i, value) in out.iter_mut().enumerate() {
            let (row, col) = ((first + i) / cols, (first + i) % cols);
            let bytes = values(col * rows + row, 1).ok_or_else(|| self.wrong(name, "ends early"))?;
            widen(dtype, bytes, std::slice::from_mut(value));
        }
        all.has_read(out.len() * size);
        Ok(())
    }

    fn n_parameters(&self) -> u64 {
        let float = |stored: &&Stored| stored.entry.dtype.is_ok_and(StoredDtype::is_float);
        self.tensors.values().filter(float).map(|stored| stored.entry.shape.iter().product::<usize>() as u64).sum()
    }

    fn place(&self, name: &str) -> String {
        let path = self.tensors.get(name).map_or(&self.folder, |stored| &self.shards[stored.shard].path);
        path.display().to_string()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.tensors.keys().map(String::as_str))
    }
}

/// What a tensor of a model may be.
const EXPECTED: &str = "expected floats of 16, 32 or 64 bits: take the model's own weights, or a GGUF file";
