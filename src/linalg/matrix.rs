//! A dense matrix, row-major, nothing more.

use serde::{Deserialize, Serialize};

/// `[n_rows, n_cols]`, row-major and contiguous.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix<T> {
    n_rows: usize,
    n_cols: usize,
    data: Vec<T>,
}

impl<T: Copy + Default> Matrix<T> {
    /// All zeros, `[n_rows, n_cols]`.
    pub fn zeros(n_rows: usize, n_cols: usize) -> Self {
        Matrix { n_rows, n_cols, data: vec![T::default(); n_rows * n_cols] }
    }

    /// From row-major values.
    ///
    /// # Panics
    /// When `data` does not hold `n_rows * n_cols` values.
    pub fn from_vec(n_rows: usize, n_cols: usize, data: Vec<T>) -> Self {
        assert_eq!(data.len(), n_rows * n_cols, "a matrix of [{n_rows}, {n_cols}] needs as many values");
        Matrix { n_rows, n_cols, data }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Row `i`, `[n_cols]`.
    pub fn row(&self, i: usize) -> &[T] {
        &self.data[i * self.n_cols..][..self.n_cols]
    }

    /// Row `i`, to be written.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.data[i * self.n_cols..][..self.n_cols]
    }

    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.data.chunks_exact(self.n_cols.max(1))
    }

    /// All values, row-major.
    pub fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// All values, row-major, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The values, row-major.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// The rows named by `index`, in that order: `[index.len(), n_cols]`.
    pub fn gather_rows(&self, index: &[usize]) -> Self {
        let mut data = Vec::new();
        self.gather_into(index, &mut data);
        Matrix { n_rows: index.len(), n_cols: self.n_cols, data }
    }

    /// The same rows into `out`, in the place of what it held.
    pub fn gather_into(&self, index: &[usize], out: &mut Vec<T>) {
        out.clear();
        out.reserve_exact(index.len() * self.n_cols);
        for &i in index {
            out.extend_from_slice(self.row(i));
        }
    }
}
