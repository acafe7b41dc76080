//! How is a tile's state read back? Tensor by tensor, straight into the vector that will hold it.
//!
//! A header is believed only as far as the file's length goes, so a damaged or hostile one allocates nothing large.

use super::digest::{FileRecord, look_through};
use super::manifest::{is_damage, not_now};
use super::writer::{Element, METADATA_KEY};
use crate::disk::File;
use crate::error::{Error, Result};
use safetensors::tensor::{Metadata, TensorInfo};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest header read, in bytes (the limit of the format's own reader).
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open state file.
#[derive(Debug)]
pub struct StateReader {
    path: PathBuf,
    file: File,
    header: Metadata,
    metadata: serde_json::Value,
    data_start: u64,
}

impl StateReader {
    /// Opens the file at `path`; with `expected`, only if its size and digest are those (which reads it once through).
    ///
    /// # Errors
    /// `State` naming the file and what is wrong with it; `Machine` when it cannot be read just now.
    pub fn open(path: &Path, expected: Option<&FileRecord>) -> Result<Self> {
        if let Some(expected) = expected {
            let found = look_through(path).map_err(|e| unread(path, "", &e))?;
            if &found != expected {
                return Err(damaged(path, &difference(&found, expected)));
            }
        }
        let mut file = File::open(path).map_err(|e| unread(path, "", &e))?;
        let length = file.length().map_err(|e| unread(path, "", &e))?;
        let mut prefix = [0; 8];
        if length < 8 {
            return Err(damaged(path, "it is shorter than 8 bytes"));
        }
        file.read_exact(&mut prefix).map_err(|e| unread(path, "", &e))?;
        let n_header = u64::from_le_bytes(prefix);
        if n_header > MAX_HEADER_BYTES.min(length - 8) {
            return Err(damaged(path, &format!("its header claims {n_header} bytes, the file has {length}")));
        }
        let mut text = vec![0; n_header as usize];
        file.read_exact(&mut text).map_err(|e| unread(path, "header: ", &e))?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|e| damaged(path, &format!("header: {e}")))?;
        let data_start = 8 + n_header;
        if data_start + header.data_len() as u64 != length {
            let wanted = data_start + header.data_len() as u64;
            return Err(damaged(path, &format!("it is {length} bytes long, its header asks for {wanted}")));
        }
        let metadata = match header.metadata().as_ref().and_then(|m| m.get(METADATA_KEY)) {
            Some(json) => serde_json::from_str(json).map_err(|e| damaged(path, &format!("metadata: {e}")))?,
            None => serde_json::Value::Null,
        };
        Ok(StateReader { path: path.to_path_buf(), file, header, metadata, data_start })
    }

    /// Opens a file whose digest was checked before; only its size is looked at again.
    pub(super) fn open_sized(path: &Path, size: u64) -> Result<Self> {
        let reader = Self::open(path, None)?;
        let found = reader.data_start + reader.header.data_len() as u64;
        if found != size {
            return Err(damaged(path, &format!("{found} bytes, the manifest names {size}")));
        }
        Ok(reader)
    }

    /// The JSON given to [`StateLayout::new`](super::StateLayout::new).
    pub fn metadata(&self) -> &serde_json::Value {
        &self.metadata
    }

    /// The whole number under `key` of the JSON.
    ///
    /// # Errors
    /// `State` when there is none.
    pub fn number(&self, key: &str) -> Result<u64> {
        self.metadata[key].as_u64().ok_or_else(|| damaged(&self.path, &format!("its metadata has no number {key:?}")))
    }

    /// The error for a file that is whole and holds other shapes than this run's.
    pub fn misfit(&self) -> Error {
        damaged(&self.path, "it does not have the shapes of this run")
    }

    /// Names of the tensors in the order in which they were written.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Shape of the tensor `name`.
    ///
    /// # Errors
    /// `State` when there is none.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    /// The whole tensor `name`, row-major.
    ///
    /// # Errors
    /// `State` when there is none, or it holds another dtype.
    pub fn tensor<T: Element>(&mut self, name: &str) -> Result<Vec<T>> {
        let info = self.typed_info::<T>(name)?;
        let n = (info.data_offsets.1 - info.data_offsets.0) / size_of::<T>();
        let mut values = vec![T::zeroed(); n];
        self.read_at(name, 0, &mut values)?;
        Ok(values)
    }

    /// Fills `into` with the values of tensor `name` from its `start`-th on, counted row-major.
    ///
    /// # Errors
    /// `State` when there is no such tensor, it holds another dtype or it ends before.
    pub fn read_at<T: Element>(&mut self, name: &str, start: usize, into: &mut [T]) -> Result<()> {
        let info = self.typed_info::<T>(name)?;
        let (from, to) = info.data_offsets;
        let n = (to - from) / size_of::<T>();
        if start.checked_add(into.len()).is_none_or(|end| end > n) {
            let asked = into.len();
            return Err(damaged(
                &self.path,
                &format!("tensor {name:?} has {n} values, asked for {asked} from {start} on"),
            ));
        }
        let offset = self.data_start + (from + start * size_of::<T>()) as u64;
        let read =
            self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(bytemuck::cast_slice_mut(into)));
        read.map_err(|e| unread(&self.path, &format!("tensor {name:?}: "), &e))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        let here = || self.header.offset_keys().join(", ");
        self.header
            .info(name)
            .ok_or_else(|| damaged(&self.path, &format!("it has no tensor {name:?}, only {}", here())))
    }

    fn typed_info<T: Element>(&self, name: &str) -> Result<&TensorInfo> {
        let info = self.info(name)?;
        if info.dtype != T::DTYPE {
            return Err(damaged(&self.path, &format!("tensor {name:?} is {:?}, expected {:?}", info.dtype, T::DTYPE)));
        }
        Ok(info)
    }
}

/// The difference between two records, for a message.
pub(super) fn difference(found: &FileRecord, expected: &FileRecord) -> String {
    if found.size != expected.size {
        return format!("{} bytes, the manifest names {}", found.size, expected.size);
    }
    let short = |d: &str| d.chars().take(12).collect::<String>();
    format!("its digest is {}…, the manifest names {}…", short(&found.blake3), short(&expected.blake3))
}

/// The error for a failed read: what may pass is no damage.
fn unread(path: &Path, what: &str, e: &io::Error) -> Error {
    match is_damage(e) || e.kind() == io::ErrorKind::UnexpectedEof {
        true => damaged(path, &format!("{what}{e}")),
        false => not_now(path, e),
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::state(format!("state file {}: {why}; --fresh starts over", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RunDir, StateLayout};

    #[test]
    fn what_was_put_in_pieces_comes_back_and_other_readers_agree() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::open_or_create(dir.path()).unwrap();
        let xy: Vec<f64> = (0..35).map(|i| f64::from(i) / 7.0).collect();
        let layout = StateLayout::new(serde_json::json!({"rows": [0, 5]}))
            .tensor::<u8>("odd", &[3])
            .tensor::<f64>("xy", &[5, 7])
            .tensor::<f32>("none", &[0, 4])
            .tensor::<u64>("n", &[1]);
        let mut w = run.write_state(12, "exact a/embed", layout).unwrap();
        w.put("odd", &[1u8, 2, 3]).unwrap();
        w.put("xy", &xy[..9]).unwrap();
        assert!(w.put("xy", &[1f32]).is_err(), "another dtype");
        assert!(w.put("n", &[1u64]).is_err(), "xy is not full");
        w.put("xy", &xy[9..]).unwrap();
        w.put::<f32>("none", &[]).unwrap();
        w.put("n", &[u64::MAX]).unwrap();
        assert!(w.put("n", &[1u64]).is_err(), "full");
        let done = w.finish().unwrap();
        assert_eq!(done.path, "state/000000000012/exact%20a%2Fembed.safetensors");

        let path = dir.path().join(&done.path);
        let mut r = StateReader::open(&path, Some(&done.record)).unwrap();
        assert_eq!(r.metadata()["rows"][1], 5);
        assert_eq!(r.names(), ["odd", "xy", "none", "n"]);
        assert_eq!(r.shape("xy").unwrap(), [5, 7]);
        assert_eq!(r.tensor::<f64>("xy").unwrap(), xy);
        assert_eq!(r.tensor::<u64>("n").unwrap(), [u64::MAX]);
        assert_eq!(r.tensor::<f32>("none").unwrap(), [0f32; 0]);
        let mut part = [0f64; 4];
        r.read_at("xy", 31, &mut part).unwrap();
        assert_eq!(part, xy[31..]);
        assert!(r.read_at("xy", 32, &mut part).is_err());
        for (text, e) in [("U8", r.tensor::<u32>("odd").unwrap_err()), ("no tensor", r.tensor::<u8>("zz").unwrap_err())]
        {
            assert!(e.to_string().contains(text) && e.to_string().contains("exact%20a"), "{e}");
        }
        let bytes = std::fs::read(&path).unwrap();
        let independent = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(independent.tensor("xy").unwrap().data(), bytemuck::cast_slice::<f64, u8>(&xy));
    }

    #[test]
    fn an_unfilled_file_is_refused_and_never_appears() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::open_or_create(dir.path()).unwrap();
        let layout = StateLayout::new(serde_json::Value::Null).tensor::<u32>("a", &[2]);
        let mut w = run.write_state(0, "x", layout).unwrap();
        w.put("a", &[1u32]).unwrap();
        assert!(w.finish().unwrap_err().to_string().contains("filled to 4 bytes"));
        assert_eq!(std::fs::read_dir(dir.path().join("state/000000000000")).unwrap().count(), 0);
    }

    #[test]
    fn hostile_headers_are_refused_without_allocating() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let file = |header: &str| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
        let huge = r#"{"a":{"dtype":"F64","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#;
        let beyond = r#"{"a":{"dtype":"F64","shape":[1000000],"data_offsets":[0,8000000]}}"#;
        let claims =
            [u64::MAX.to_le_bytes().to_vec(), vec![1, 2, 3], vec![], file(huge), file(beyond), file("[]"), file("{}")];
        for bytes in claims {
            std::fs::write(&path, &bytes).unwrap();
            assert!(StateReader::open(&path, None).is_err(), "{bytes:?}");
        }
    }
}
