//! Which tensors does a weight file hold, and what are their values as f32?
//!
//! A [`Tensors`] is made from a file's header alone, by one of the containers
//! (`safetensors.rs`, `npz.rs`, `torch.rs`).
//! Values are read later, tensor by tensor, in pieces straight into their final matrix, so weights are never held twice.
//! Every length in a header is checked against the file before anything is allocated.

use super::convert::{StoredDtype, widen};
use super::file::open;
use super::zip::inflated;
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where the bytes of a tensor are in its file.
#[derive(Clone, Debug)]
pub enum Extent {
    /// As they are, from this offset.
    Plain {
        /// Of the first byte.
        offset: u64,
    },
    /// Deflated: `compressed` bytes from `offset`; the first `skip` inflated bytes are a header.
    Deflated {
        /// Of the first compressed byte.
        offset: u64,
        /// Compressed bytes.
        compressed: u64,
        /// Inflated bytes before the first element.
        skip: u64,
    },
}

/// A tensor as its header describes it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// How elements are stored, or why the tensor cannot be read. An unreadable tensor is an error only when it is needed.
    pub dtype: Result<StoredDtype, &'static str>,
    /// Its sides, slowest first.
    pub shape: Vec<usize>,
    /// Whether the first index runs fastest (torch's transposed views, Fortran order of numpy).
    pub column_major: bool,
    /// Where its bytes are.
    pub place: Extent,
}

/// The named tensors of a file.
#[derive(Clone, Debug)]
pub struct Tensors {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
}

/// Layout of a matrix `[rows, cols]` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Shape `[rows, cols]`.
    AsIs,
    /// Shape `[cols, rows]`; it is transposed while it is read.
    Transposed,
}

/// Bytes widened at a time; a piece of several rows where rows are shorter.
const PIECE_BYTES: usize = 256 * 1024;

impl Tensors {
    /// From entries found by a container; every entry is checked against `file_bytes` when it is plain.
    ///
    /// # Errors
    /// `Input` when a tensor reaches past the end of the file or its size overflows.
    pub fn checked(path: &Path, file_bytes: u64, entries: BTreeMap<String, Entry>) -> Result<Self> {
        let tensors = Tensors { path: path.to_path_buf(), entries };
        for (name, entry) in &tensors.entries {
            let Ok(dtype) = entry.dtype else { continue };
            let size = count(&entry.shape).and_then(|n| n.checked_mul(dtype.size())).map(|n| n as u64);
            let fits = match entry.place {
                Extent::Plain { offset } => {
                    size.and_then(|size| offset.checked_add(size)).is_some_and(|end| end <= file_bytes)
                }
                Extent::Deflated { .. } => size.is_some(),
            };
            if !fits {
                return Err(tensors.wrong(
                    name,
                    format!(
                        "of shape {:?} reaches past the end of the file ({file_bytes} bytes); fetch it again",
                        entry.shape
                    ),
                ));
            }
        }
        Ok(tensors)
    }

    /// The file they are in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shape of a tensor; `None` where there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Every tensor by its name.
    pub fn into_entries(self) -> BTreeMap<String, Entry> {
        self.entries
    }

    /// Whether a tensor of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The first of `names` that is there.
    ///
    /// # Errors
    /// `Input` naming what was looked for and what the file holds.
    pub fn first_of(&self, names: &[&str]) -> Result<String> {
        names.iter().find(|name| self.has(name)).map(|name| (*name).to_string()).ok_or_else(|| {
            let held: Vec<&str> = self.entries.keys().map(String::as_str).take(24).collect();
            Error::input(format!(
                "{}: no tensor {}; the file holds {}; check that it is the whole file of this format",
                self.path.display(),
                names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(" or "),
                held.join(", ")
            ))
        })
    }

    /// The two sides of a matrix.
    ///
    /// # Errors
    /// `Input` when it is missing or not a matrix.
    pub fn sides(&self, name: &str) -> Result<(usize, usize)> {
        match *self.entry(name)?.shape.as_slice() {
            [rows, cols] => Ok((rows, cols)),
            ref other => Err(self.wrong(name, format!("has shape {other:?}, expected a matrix"))),
        }
    }

    /// Checks a shape without reading values.
    ///
    /// # Errors
    /// `Input` naming the tensor, its shape and the expected one.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        let found = &self.entry(name)?.shape;
        if found.as_slice() == shape {
            return Ok(());
        }
        Err(self.wrong(
            name,
            format!("has shape {found:?}, expected {shape:?}; file and configuration do not belong together"),
        ))
    }

    /// A matrix `[rows, cols]` f32, row-major.
    ///
    /// # Errors
    /// `Input` for another shape, an element type that is no float, or a value that is not finite; `Machine` when
    /// memory is short.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize, layout: Layout) -> Result<Matrix<f32>> {
        let stored = if layout == Layout::AsIs { [rows, cols] } else { [cols, rows] };
        self.expect(name, &stored)?;
        let mut data = self.reserve(name, rows, cols)?;
        if (layout == Layout::AsIs) != self.entry(name)?.column_major {
            self.stream(name, 1, true, |_, piece| data.extend_from_slice(piece))?;
        } else {
            // The stream is row-major [cols, rows]; pieces are whole rows of it, so that a destination line of 16 f32
            // is filled while it is in cache.
            data.resize(rows * cols, 0.0);
            self.stream(name, rows, true, |first, piece| {
                let col = first / rows;
                let n_cols = piece.len() / rows;
                for (r, out) in data.chunks_exact_mut(cols).enumerate() {
                    for (c, value) in out[col..col + n_cols].iter_mut().enumerate() {
                        *value = piece[c * rows + r];
                    }
                }
            })?;
        }
        Ok(Matrix::from_vec(rows, cols, data))
    }

    /// A vector `[len]` f32; every value is finite.
    ///
    /// # Errors
    /// As [`Tensors::matrix`].
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.expect(name, &[len])?;
        let mut data = self.reserve(name, 1, len)?;
        self.stream(name, 1, true, |_, piece| data.extend_from_slice(piece))?;
        Ok(data)
    }

    /// Thresholds `[len]` f32, where an infinity is allowed (a latent that never fires) but NaN is not.
    ///
    /// # Errors
    /// As [`Tensors::matrix`].
    pub fn thresholds(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.expect(name, &[len])?;
        let mut data = self.reserve(name, 1, len)?;
        self.stream(name, 1, false, |_, piece| data.extend_from_slice(piece))?;
        if data.iter().any(|v| v.is_nan()) {
            return Err(self.wrong(name, "holds NaN; the file is damaged or from a failed training"));
        }
        Ok(data)
    }

    /// Whether a tensor of that name is a single number.
    pub fn is_scalar(&self, name: &str) -> bool {
        self.shape(name).and_then(count) == Some(1)
    }

    /// A single number, of shape `[]` or `[1]`.
    ///
    /// # Errors
    /// As [`Tensors::matrix`].
    pub fn scalar(&self, name: &str) -> Result<f32> {
        let shape = &self.entry(name)?.shape;
        if count(shape) != Some(1) {
            return Err(self.wrong(name, format!("has shape {shape:?}, expected a single number")));
        }
        let mut number = f32::NAN;
        self.stream(name, 1, true, |_, piece| number = piece[0])?;
        Ok(number)
    }

    /// Activations `[…, width]` of any float type, of the tensor `name` (`None`: the only one): their shape, and all rows as `[n_rows, width]`. Values are not looked
    /// at; the caller names the row that is not finite.
    ///
    /// # Errors
    /// `Request` when there is no tensor of that name, `Input` when it is no float matrix.
    pub fn activations(&self, name: Option<&str>) -> Result<(Vec<usize>, Matrix<f32>)> {
        let only = self.entries.keys().next().filter(|_| self.entries.len() == 1).map(String::as_str);
        let Some((name, entry)) = name.or(only).and_then(|name| Some((name, self.entries.get(name)?))) else {
            let missing = name.map_or("several tensors".to_string(), |name| format!("no tensor is named {name:?}"));
            return Err(Error::request(format!(
                "{}: {missing}; the file holds {}; name one with --tensor",
                self.path.display(),
                self.entries.keys().map(String::as_str).take(24).collect::<Vec<_>>().join(", ")
            )));
        };
        let (shape, width) = match entry.shape.as_slice() {
            shape @ [_, .., width] if *width > 0 => (shape.to_vec(), *width),
            other => return Err(self.wrong(name, format!("has shape {other:?}, expected [n, d_in]"))),
        };
        if !matches!(entry.dtype, Ok(StoredDtype::F16 | StoredDtype::Bf16 | StoredDtype::F32 | StoredDtype::F64)) {
            return Err(self.wrong(name, "is not of a float type that is read (f16, bf16, f32, f64)"));
        }
        let n_rows = count(&shape[..shape.len() - 1]).ok_or_else(|| self.wrong(name, "is too large"))?;
        let mut data = self.reserve(name, n_rows, width)?;
        self.stream(name, 1, false, |_, piece| data.extend_from_slice(piece))?;
        Ok((shape, Matrix::from_vec(n_rows, width, data)))
    }

    /// An `Input` error about one tensor.
    pub fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        Error::input(format!("{}: tensor {name:?} {what}", self.path.display()))
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| self.first_of(&[name]).expect_err("the name is not there"))
    }

    fn reserve(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>> {
        let mut data = Vec::new();
        let n = rows.checked_mul(cols).ok_or_else(|| self.wrong(name, "is too large"))?;
        data.try_reserve_exact(n).map_err(|_| {
            Error::machine(format!("no memory for tensor {name:?} of {}: {n} numbers of 4 bytes", self.path.display()))
        })?;
        Ok(data)
    }

    /// Gives the values in stored order, in pieces of whole rows of `row` elements: (number of the first, values).
    fn stream(&self, name: &str, row: usize, finite: bool, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        let entry = self.entry(name)?;
        let dtype = entry.dtype.map_err(|why| self.wrong(name, why))?;
        let total = count(&entry.shape).expect("checked when the header was read");
        let mut file = open(&self.path)?;
        let failed = |e: std::io::Error| Error::io("read", &self.path, &e).within(format!("tensor {name:?}"));
        let mut source: Box<dyn Read> = match entry.place {
            Extent::Plain { offset } => {
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
                Box::new(file)
            }
            Extent::Deflated { offset, compressed, skip } => {
                inflated(file, offset, compressed, skip).map_err(failed)?
            }
        };
        let piece = ((PIECE_BYTES / dtype.size() / row.max(1)).max(16) * row.max(1)).min(total.max(1));
        let (mut bytes, mut values) = (vec![0u8; piece * dtype.size()], vec![0f32; piece]);
        let mut first = 0;
        while first < total {
            let n = piece.min(total - first);
            let (bytes, values) = (&mut bytes[..n * dtype.size()], &mut values[..n]);
            source.read_exact(bytes).map_err(failed)?;
            widen(dtype, bytes, values);
            if finite && let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return Err(self.wrong(name, format!("holds {} at element {}", values[at], first + at)));
            }
            take(first, values);
            first += n;
        }
        Ok(())
    }
}

/// Number of elements; `None` when it overflows.
pub fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side))
}
