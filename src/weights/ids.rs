//! Which sequences of token ids does a safetensors file hold? A tensor `[n_sequences, length]`, as a latent cache has beside its latents; ids are read
//! by their position, so that a file may be of any size.

use super::file::reopen;
use super::integers::{bytes_of, whole_numbers};
use super::safetensors::{Header, header};
use crate::error::{Error, Result};
use ::safetensors::tensor::Dtype;
use std::path::{Path, PathBuf};

/// Tensors that hold ids; the first that is there.
const IDS: [&str; 2] = ["tokens", "ids"];

/// Token ids in a file, known from its header.
#[derive(Clone, Debug)]
pub struct IdFile {
    path: PathBuf,
    file_bytes: u64,
    dtype: Dtype,
    /// Of the first id.
    offset: u64,
    n_sequences: u64,
    length: u64,
    is_split: bool,
}

impl IdFile {
    /// The ids of the file at `path`: of the tensor `named`, else of `tokens`, else of `ids`.
    ///
    /// # Errors
    /// `Request` when there is no such file or tensor; `Input` for a damaged file, and for a tensor of another type or shape.
    pub fn open(path: &Path, named: Option<&str>) -> Result<IdFile> {
        let Header { tensors, start, file_bytes } = header(path)?;
        let chosen = match named {
            Some(name) => tensors.get_key_value(name),
            None => IDS.into_iter().find_map(|name| tensors.get_key_value(name)),
        };
        let Some((name, info)) = chosen else {
            let held: Vec<&str> = tensors.keys().map(String::as_str).take(24).collect();
            return Err(Error::request(format!(
                "{}: no tensor {}; the file holds {}; name the one that holds token ids with ids = \"NAME\"",
                path.display(),
                named.map_or_else(|| IDS.map(|name| format!("{name:?}")).join(" or "), |name| format!("{name:?}")),
                held.join(", ")
            )));
        };
        let wrong = |what: String| Error::input(format!("{}: tensor {name:?} {what}", path.display()));
        if bytes_of(info.dtype) == 0 {
            let what =
                format!("is of {:?}, expected token ids as whole numbers (I64, I32, U64, U32 or U16)", info.dtype);
            return Err(wrong(what));
        }
        let [n_sequences, length @ (1..)] = info.shape[..] else {
            return Err(wrong(format!(
                "is of shape {:?}, expected [n_sequences, length], a document for each sequence",
                info.shape
            )));
        };
        Ok(IdFile {
            path: path.to_path_buf(),
            file_bytes,
            dtype: info.dtype,
            offset: start + info.data_offsets.0 as u64,
            n_sequences: n_sequences as u64,
            length: length as u64,
            is_split: tensors.contains_key("locations"),
        })
    }

    /// Number of sequences.
    pub fn n_sequences(&self) -> u64 {
        self.n_sequences
    }

    /// Ids of each, at least 1.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether it is a split of a latent cache, every one of which holds the same ids.
    pub fn is_split(&self) -> bool {
        self.is_split
    }

    /// Bytes of the file up to id `at`, counted over all sequences.
    pub fn bytes_before(&self, at: u64) -> u64 {
        self.offset + at * bytes_of(self.dtype) as u64
    }

    /// `n` ids from id `first` on, counted over all sequences.
    ///
    /// # Errors
    /// `Input` where the file has changed since it was opened; those of reading.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn read(&self, first: u64, n: usize) -> Result<Vec<i128>> {
        assert!(first + n as u64 <= self.n_sequences * self.length, "ids of the file");
        let mut bytes = vec![0u8; n * bytes_of(self.dtype)];
        let file = reopen(&self.path, self.file_bytes)?;
        let read = file.read_exact_at(&mut bytes, self.bytes_before(first));
        read.map_err(|e| Error::io("read ids of", &self.path, &e))?;
        Ok(whole_numbers(self.dtype, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::tensor::TensorView;

    fn file(folder: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> PathBuf {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        let path = folder.join("ids.safetensors");
        std::fs::write(&path, ::safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    #[test]
    fn ids_of_every_type_are_read_from_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<u16> = (0..60).map(|k| k * 1000 + 3).collect();
        let types: [(Dtype, fn(u16) -> Vec<u8>); 5] = [
            (Dtype::I64, |n| i64::from(n).to_le_bytes().to_vec()),
            (Dtype::U64, |n| u64::from(n).to_le_bytes().to_vec()),
            (Dtype::I32, |n| i32::from(n).to_le_bytes().to_vec()),
            (Dtype::U32, |n| u32::from(n).to_le_bytes().to_vec()),
            (Dtype::U16, |n| n.to_le_bytes().to_vec()),
        ];
        for (dtype, as_bytes) in types {
            let bytes = numbers.iter().flat_map(|n| as_bytes(*n)).collect();
            let path =
                file(folder.path(), &[("locations", Dtype::U16, &[1], vec![0; 2]), ("tokens", dtype, &[5, 12], bytes)]);
            let ids = IdFile::open(&path, None).unwrap();
            assert_eq!((ids.n_sequences(), ids.length(), ids.is_split()), (5, 12, true));
            for (first, n) in [(0, 60), (59, 1), (13, 20), (60, 0)] {
                let expected: Vec<i128> = numbers[first..first + n].iter().map(|n| i128::from(*n)).collect();
                assert_eq!(ids.read(first as u64, n).unwrap(), expected, "{dtype:?} from {first}");
            }
        }
    }

    #[test]
    fn what_holds_no_ids_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let told = |tensors: &[(&str, Dtype, &[usize], Vec<u8>)], named: Option<&str>, words: &[&str]| {
            let said = IdFile::open(&file(folder.path(), tensors), named).unwrap_err().to_string();
            words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
        };
        let one = |name, dtype, shape: &'static [usize], n| [(name, dtype, shape, vec![0u8; n])];
        told(
            &one("a", Dtype::I64, &[2, 3], 48),
            None,
            &["no tensor \"tokens\" or \"ids\"; the file holds a", "ids = \"NAME\""],
        );
        told(&one("tokens", Dtype::I64, &[2, 3], 48), Some("b"), &["no tensor \"b\"", "holds tokens"]);
        told(&one("ids", Dtype::F32, &[2, 3], 24), None, &["\"ids\" is of F32, expected token ids"]);
        told(&one("ids", Dtype::U16, &[6], 12), None, &["shape [6], expected [n_sequences, length]"]);
        told(&one("ids", Dtype::U16, &[6, 0], 0), None, &["shape [6, 0], expected"]);
        told(&one("ids", Dtype::U16, &[1, 3, 2], 12), None, &["shape [1, 3, 2], expected"]);
        assert!(IdFile::open(&file(folder.path(), &one("a", Dtype::U16, &[2, 3], 12)), Some("a")).is_ok());
    }
}
