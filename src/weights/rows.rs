//! Which rows does a safetensors file hold, one for each token, and what are some of them? Rows are read by their
//! position, in pieces, so that a file may be of any size; the ids of the tokens may be stored with them.

use super::convert::{StoredDtype, widen};
use super::file::reopen;
use super::integers::{bytes_of, whole_numbers};
use super::safetensors::{Header, header};
use super::tensors::count;
use crate::disk::File;
use crate::error::{Error, Result};
use ::safetensors::tensor::{Dtype, TensorInfo};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// Tensors that say which token each row is of; the first that is there.
const IDS: [&str; 2] = ["ids", "tokens"];

/// Bytes that a thread reads at a time, or one row where that is longer.
const PIECE_BYTES: usize = 256 << 10;

/// Rows of floats in a file, known from its header.
#[derive(Clone, Debug)]
pub struct RowFile {
    path: PathBuf,
    file_bytes: u64,
    tensor: String,
    n_rows: u64,
    width: usize,
    dtype: StoredDtype,
    /// Of the first row.
    offset: u64,
    ids: Option<Ids>,
}

/// The ids of the tokens that rows are of.
#[derive(Clone, Debug)]
struct Ids {
    tensor: &'static str,
    dtype: Dtype,
    offset: u64,
}

impl RowFile {
    /// The rows of the file at `path`: of the tensor `named`, else of the one called `place`, else of the only one beside those of ids. A tensor
    /// `[…, width]` has as many rows as the product of its other sides; `ids` or `tokens` has as many values.
    ///
    /// # Errors
    /// `Request` when there is no such file or tensor, or several to choose from; `Input` for a damaged file, and for tensors of other types
    /// or shapes.
    pub fn open(path: &Path, place: &str, named: Option<&str>) -> Result<RowFile> {
        let Header { tensors, start, file_bytes } = header(path)?;
        let others = || tensors.keys().filter(|name| !IDS.contains(&name.as_str()));
        let chosen = match named {
            Some(name) => tensors.contains_key(name).then_some(name),
            None if tensors.contains_key(place) => Some(place),
            None => others().next().filter(|_| others().count() == 1).map(String::as_str),
        };
        let Some(name) = chosen else {
            let held: Vec<&str> = tensors.keys().map(String::as_str).take(24).collect();
            let (what, way) = match named {
                Some(name) => (format!("no tensor {name:?}"), "check tensor = …"),
                None => (
                    format!("no tensor {place:?}, and not one alone beside ids"),
                    "name the one that holds the rows with tensor = \"NAME\"",
                ),
            };
            return Err(Error::request(format!(
                "{}: {what}; the file holds {}; {way}",
                path.display(),
                held.join(", ")
            )));
        };
        let wrong = |name: &str, what: String| Error::input(format!("{}: tensor {name:?} {what}", path.display()));
        let info = &tensors[name];
        let dtype = match info.dtype {
            Dtype::F32 => StoredDtype::F32,
            Dtype::F16 => StoredDtype::F16,
            Dtype::BF16 => StoredDtype::Bf16,
            other => return Err(wrong(name, format!("is of {other:?}, expected F32, F16 or BF16"))),
        };
        let sides = |info: &TensorInfo, n: usize| count(&info.shape[..n]).map(|n| n as u64);
        let (n_rows, width) = match info.shape.as_slice() {
            shape @ [_, .., width] if *width > 0 => (sides(info, shape.len() - 1), *width),
            other => return Err(wrong(name, format!("is of shape {other:?}, expected [n_rows, width]"))),
        };
        let n_rows = n_rows.ok_or_else(|| wrong(name, format!("is of shape {:?}, which is too large", info.shape)))?;
        let at = |info: &TensorInfo| start + info.data_offsets.0 as u64;
        let ids = match IDS.into_iter().find(|ids| *ids != name && tensors.contains_key(*ids)) {
            None => None,
            Some(tensor) => {
                let info = &tensors[tensor];
                if bytes_of(info.dtype) == 0 {
                    return Err(wrong(
                        tensor,
                        format!("is of {:?}, expected ids as whole numbers (I64, I32, U64, U32 or U16)", info.dtype),
                    ));
                }
                if sides(info, info.shape.len()) != Some(n_rows) {
                    return Err(wrong(
                        tensor,
                        format!(
                            "is of shape {:?}, and {name:?} has {n_rows} rows; expected an id for each row",
                            info.shape
                        ),
                    ));
                }
                Some(Ids { tensor, dtype: info.dtype, offset: at(info) })
            }
        };
        Ok(RowFile {
            path: path.to_path_buf(),
            file_bytes,
            tensor: name.to_string(),
            n_rows,
            width,
            dtype,
            offset: at(info),
            ids,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the tensor of the rows is called.
    pub fn tensor(&self) -> &str {
        &self.tensor
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Name of the tensor with the rows' token ids, where there is one.
    pub fn ids_tensor(&self) -> Option<&'static str> {
        self.ids.as_ref().map(|ids| ids.tensor)
    }

    /// Bytes that reading takes at most with this many threads, without the destination.
    pub fn reading_bytes(width: usize, threads: u64) -> u64 {
        threads * PIECE_BYTES.max(4 * width) as u64
    }

    /// Rows from `first` on, widened to f32, as many as `out` `[n, width]` has room for. Values are not looked at; the caller names the row
    /// that is not finite.
    ///
    /// # Errors
    /// `Input` where the file has changed since it was opened; those of reading.
    ///
    /// # Panics
    /// When there are not as many rows.
    pub fn read(&self, first: u64, out: &mut [f32]) -> Result<()> {
        assert!(first + (out.len() / self.width) as u64 <= self.n_rows, "rows of the file");
        let file = self.opened()?;
        let row_bytes = self.width.saturating_mul(self.dtype.size());
        let rows = (PIECE_BYTES / row_bytes).max(1);
        let pieces = out.par_chunks_mut(rows * self.width).enumerate().map(|(k, out)| {
            let mut bytes = vec![0u8; out.len() * self.dtype.size()];
            let at = self.offset + (first + (k * rows) as u64) * row_bytes as u64;
            file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read rows of", &self.path, &e))?;
            widen(self.dtype, &bytes, out);
            Ok(())
        });
        pieces.collect::<Vec<Result<()>>>().into_iter().collect()
    }

    /// The ids of `n` rows from `first` on; `None` where the file has none.
    ///
    /// # Errors
    /// As [`RowFile::read`].
    ///
    /// # Panics
    /// When there are not as many rows.
    pub fn ids(&self, first: u64, n: usize) -> Result<Option<Vec<i128>>> {
        let Some(ids) = &self.ids else { return Ok(None) };
        assert!(first + n as u64 <= self.n_rows, "rows of the file");
        let size = bytes_of(ids.dtype);
        let mut bytes = vec![0u8; n * size];
        let at = ids.offset + first * size as u64;
        self.opened()?.read_exact_at(&mut bytes, at).map_err(|e| Error::io("read ids of", &self.path, &e))?;
        Ok(Some(whole_numbers(ids.dtype, &bytes)))
    }

    /// The file, as long as it was.
    fn opened(&self) -> Result<File> {
        reopen(&self.path, self.file_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::safetensors::tensor::TensorView;

    fn stored<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
        values.flatten().collect()
    }

    fn file(folder: &Path, tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> PathBuf {
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        let path = folder.join("rows.safetensors");
        std::fs::write(&path, ::safetensors::serialize(views, None).unwrap()).unwrap();
        path
    }

    #[test]
    fn rows_are_those_of_the_whole_tensor_wherever_one_begins_to_read() {
        let folder = tempfile::tempdir().unwrap();
        // rows of more than one piece together, of values that every type holds
        let (n, width) = (700, 300);
        let values: Vec<f32> = (0..n * width).map(|i| (i % 251) as f32 - 60.0).collect();
        let types = [
            (Dtype::F32, stored(values.iter().map(|v| v.to_le_bytes()))),
            (Dtype::F16, stored(values.iter().map(|v| half::f16::from_f32(*v).to_le_bytes()))),
            (Dtype::BF16, stored(values.iter().map(|v| half::bf16::from_f32(*v).to_le_bytes()))),
        ];
        for (dtype, bytes) in types {
            let ids = stored((0..n as u16).map(|i| (i + 9).to_le_bytes()));
            let path =
                file(folder.path(), &[("acts", dtype, &[7, 100, width], bytes), ("tokens", Dtype::U16, &[n], ids)]);
            let rows = RowFile::open(&path, "resid_post.0", None).unwrap();
            assert_eq!((rows.n_rows(), rows.width(), rows.ids_tensor()), (n as u64, width, Some("tokens")));
            for (first, many) in [(0, n), (3, 1), (250, 450), (699, 1), (5, 0)] {
                let mut out = vec![0f32; many * width];
                rows.read(first as u64, &mut out).unwrap();
                assert!(out == values[first * width..][..many * width], "{dtype:?} from {first}");
                let ids = rows.ids(first as u64, many).unwrap().unwrap();
                assert_eq!(ids, (0..many).map(|i| (first + i + 9) as i128).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_holds_no_rows_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let four = |n: usize| vec![0u8; 4 * n];
        let refused = |tensors: &[(&str, Dtype, &[usize], Vec<u8>)], named: Option<&str>| {
            RowFile::open(&file(folder.path(), tensors), "resid_post.0", named).unwrap_err().to_string()
        };
        let said =
            |text: String, words: &[&str]| words.iter().for_each(|w| assert!(text.contains(w), "no {w:?} in {text}"));
        let two = [("a", Dtype::F32, &[2usize, 3][..], four(6)), ("b", Dtype::F32, &[2, 3][..], four(6))];
        said(refused(&two, None), &["rows.safetensors", "no tensor \"resid_post.0\"", "a, b", "tensor = \"NAME\""]);
        said(refused(&two, Some("c")), &["no tensor \"c\"", "a, b"]);
        said(refused(&[("a", Dtype::I32, &[2, 3], four(6))], None), &["\"a\" is of I32, expected F32"]);
        said(refused(&[("a", Dtype::F32, &[6], four(6))], None), &["shape [6], expected [n_rows, width]"]);
        let ids = |dtype, shape| [("a", Dtype::F32, &[2usize, 3][..], four(6)), ("ids", dtype, shape, four(3))];
        said(refused(&ids(Dtype::F32, &[3]), None), &["\"ids\" is of F32"]);
        said(refused(&ids(Dtype::U32, &[3]), None), &["\"ids\" is of shape [3]", "2 rows"]);
        // the one of the place's name is taken, and one that is named
        let place = [("resid_post.0", Dtype::F32, &[2usize, 3][..], four(6)), ("b", Dtype::F32, &[1, 6][..], four(6))];
        let path = file(folder.path(), &place);
        assert_eq!(RowFile::open(&path, "resid_post.0", None).unwrap().tensor(), "resid_post.0");
        assert_eq!(RowFile::open(&path, "resid_post.0", Some("b")).unwrap().width(), 6);
        // a file that is another one by now
        let rows = RowFile::open(&path, "resid_post.0", None).unwrap();
        std::fs::write(&path, b"short").unwrap();
        said(rows.read(0, &mut [0.0; 3]).unwrap_err().to_string(), &["has 5 bytes", "while a run reads it"]);
    }
}
