//! A weight that is kept for many products `x W`, in the numbers that it is multiplied in: f32 ([`panels`]) or bf16 ([`bf16`]). Sums
//! and what is added behind them are f32 in both.

use super::bf16::{self, HalfPanels, HalfRows};
use super::panels::{self, Finish, PackedRows, Panels};
use std::ops::Range;

/// In which numbers both sides of a product are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// As they are.
    #[default]
    F32,
    /// Rounded to bf16.
    Bf16,
}

/// A matrix `[depth, n_columns]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// As it came.
    F32(Panels),
    /// Rounded.
    Bf16(HalfPanels),
}

/// Rows that were laid out last, for weights in either numbers. Their memory is reused.
#[derive(Clone, Debug, Default)]
pub struct KeptRows {
    f32: PackedRows,
    bf16: HalfRows,
}

impl Kept {
    /// From the transposed matrix `w: [n_columns, depth]`, row-major, as torch keeps the weight of a linear layer.
    ///
    /// # Panics
    /// When `w` does not hold `n_columns * depth` values.
    pub fn from_transposed(numbers: Numbers, w: &[f32], n_columns: usize, depth: usize) -> Self {
        match numbers {
            Numbers::F32 => Kept::F32(Panels::from_transposed(w, n_columns, depth)),
            Numbers::Bf16 => Kept::Bf16(HalfPanels::from_transposed(w, n_columns, depth)),
        }
    }

    /// From `w: [depth, n_columns]`, row-major.
    ///
    /// # Panics
    /// When `w` does not hold `depth * n_columns` values.
    pub fn from_plain(numbers: Numbers, w: &[f32], depth: usize, n_columns: usize) -> Self {
        match numbers {
            Numbers::F32 => Kept::F32(Panels::from_plain(w, depth, n_columns)),
            Numbers::Bf16 => Kept::Bf16(HalfPanels::from_plain(w, depth, n_columns)),
        }
    }

    /// The same matrix rounded to bf16.
    #[must_use]
    pub fn in_bf16(self) -> Self {
        match self {
            Kept::F32(w) => Kept::Bf16(HalfPanels::of(&w)),
            Kept::Bf16(w) => Kept::Bf16(w),
        }
    }

    /// The matrix in f32, where it is kept so.
    pub fn as_f32(&self) -> Option<&Panels> {
        match self {
            Kept::F32(w) => Some(w),
            Kept::Bf16(_) => None,
        }
    }

    /// Number of terms of a sum.
    pub fn depth(&self) -> usize {
        match self {
            Kept::F32(w) => w.depth(),
            Kept::Bf16(w) => w.depth(),
        }
    }

    /// Number of columns.
    pub fn n_columns(&self) -> usize {
        match self {
            Kept::F32(w) => w.n_columns(),
            Kept::Bf16(w) => w.n_columns(),
        }
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        match self {
            Kept::F32(w) => w.n_panels(),
            Kept::Bf16(w) => w.n_panels(),
        }
    }

    /// Column `j`, `[depth]`, as it is multiplied.
    pub fn column(&self, j: usize) -> Vec<f32> {
        match self {
            Kept::F32(w) => w.column(j).collect(),
            Kept::Bf16(w) => w.column(j).collect(),
        }
    }

    /// The transposed matrix `[n_columns, depth]`, row-major, as it is multiplied.
    pub fn transposed(&self) -> Vec<f32> {
        match self {
            Kept::F32(w) => w.transposed(),
            Kept::Bf16(w) => w.transposed(),
        }
    }

    /// Lays out `x: [n_rows, depth]` for products with this matrix, and with others of its depth in the same numbers.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&self, rows: &mut KeptRows, x: &[f32], n_rows: usize) {
        match self {
            Kept::F32(w) => rows.f32.pack(x, n_rows, w.depth()),
            Kept::Bf16(w) => rows.bf16.pack(x, n_rows, w.depth()),
        }
    }

    /// `c = rows * columns of these panels + finish`, as [`panels::multiply`] and [`bf16::multiply`] have it.
    ///
    /// # Panics
    /// When depths differ, a panel of the range is not there, or a slice does not fit.
    pub fn multiply(&self, rows: &KeptRows, range: Range<usize>, c: &mut [f32], finish: Finish<'_>) {
        match self {
            Kept::F32(w) => panels::multiply(&rows.f32, w, range, c, finish),
            Kept::Bf16(w) => bf16::multiply(&rows.bf16, w, range, c, finish),
        }
    }
}
