//! Rows and columns as pairs of bf16, as the kernel reads them.

use crate::linalg::panels::{GROUP, Panels, WIDTH};
use rayon::prelude::*;

/// Lines that a task lays out at least.
const LINES_AT_ONCE: usize = 4096;

/// Bits of an f32.
const SIGN: u32 = 0x8000_0000;
const EXPONENT: u32 = 0x7f80_0000;
const QUIET: u32 = 0x0040_0000;
/// What bf16 keeps of it.
const KEPT: u32 = 0xffff_0000;

/// `v` as bf16, in the upper half.
#[inline(always)]
fn upper(v: f32) -> u32 {
    let bits = v.to_bits();
    // Half of the last place that is kept, and nothing more where that place is even.
    let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & KEPT;
    if bits & !SIGN > EXPONENT {
        (bits | QUIET) & KEPT
    } else if nearest & EXPONENT == 0 {
        nearest & SIGN
    } else {
        nearest
    }
}

/// What a product takes `v` for: the nearest bf16, of two the even one; zero where that is below the smallest normal number.
#[inline(always)]
pub fn rounded(v: f32) -> f32 {
    f32::from_bits(upper(v))
}

/// Two depths side by side.
#[inline(always)]
fn pair(even: f32, odd: f32) -> u32 {
    upper(even) >> 16 | upper(odd)
}

/// The pairs of a row or a column.
#[inline(always)]
fn pair_at(v: &[f32], i: usize) -> u32 {
    pair(v[2 * i], v.get(2 * i + 1).copied().unwrap_or(0.0))
}

/// The two of a pair: even, odd.
#[inline(always)]
pub(super) fn both(pair: u32) -> [f32; 2] {
    [f32::from_bits(pair << 16), f32::from_bits(pair & KEPT)]
}

/// A pair of depths of each of the [`WIDTH`] columns of a panel, in one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PairLine(pub(super) [u32; WIDTH]);

/// A matrix `[depth, n_columns]` in bf16, in panels of [`WIDTH`] columns, the last one filled up with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfPanels {
    depth: usize,
    n_columns: usize,
    /// `[n_panels, n_pairs]`
    lines: Vec<PairLine>,
}

impl HalfPanels {
    /// From the transposed matrix `w: [n_columns, depth]`, row-major, as torch keeps the weight of a linear layer.
    ///
    /// # Panics
    /// When `w` does not hold `n_columns * depth` values.
    pub fn from_transposed(w: &[f32], n_columns: usize, depth: usize) -> Self {
        assert_eq!(w.len(), n_columns * depth, "a weight of [{n_columns}, {depth}]");
        HalfPanels::laid_out(depth, n_columns, |p, lines| {
            for (j, column) in w[p * WIDTH * depth..].chunks_exact(depth).take(WIDTH).enumerate() {
                lines.iter_mut().enumerate().for_each(|(i, line)| line.0[j] = pair_at(column, i));
            }
        })
    }

    /// From `w: [depth, n_columns]`, row-major.
    ///
    /// # Panics
    /// When `w` does not hold `depth * n_columns` values.
    pub fn from_plain(w: &[f32], depth: usize, n_columns: usize) -> Self {
        assert_eq!(w.len(), n_columns * depth, "a weight of [{depth}, {n_columns}]");
        HalfPanels::laid_out(depth, n_columns, |p, lines| {
            let columns = p * WIDTH..n_columns.min((p + 1) * WIDTH);
            for (line, rows) in lines.iter_mut().zip(w.chunks(2 * n_columns)) {
                let (even, odd) = rows.split_at(n_columns);
                for (out, j) in line.0.iter_mut().zip(columns.clone()) {
                    *out = pair(even[j], odd.get(j).copied().unwrap_or(0.0));
                }
            }
        })
    }

    /// The same matrix in bf16.
    pub fn of(panels: &Panels) -> Self {
        HalfPanels::laid_out(panels.depth(), panels.n_columns(), |p, lines| {
            let mut column = Vec::with_capacity(panels.depth());
            for j in p * WIDTH..panels.n_columns().min((p + 1) * WIDTH) {
                column.clear();
                column.extend(panels.column(j));
                lines.iter_mut().enumerate().for_each(|(i, line)| line.0[j % WIDTH] = pair_at(&column, i));
            }
        })
    }

    /// `fill` writes the lines of a panel, given its number.
    fn laid_out(depth: usize, n_columns: usize, fill: impl Fn(usize, &mut [PairLine]) + Sync) -> Self {
        let n_pairs = depth.div_ceil(2);
        let mut lines = vec![PairLine([0; WIDTH]); n_columns.div_ceil(WIDTH) * n_pairs];
        if n_pairs > 0 {
            let least = LINES_AT_ONCE.div_ceil(n_pairs);
            let panels = lines.par_chunks_exact_mut(n_pairs).enumerate().with_min_len(least);
            panels.for_each(|(p, lines)| fill(p, lines));
        }
        HalfPanels { depth, n_columns, lines }
    }

    /// Bytes that `[depth, n_columns]` take.
    pub fn memory_bytes(depth: usize, n_columns: usize) -> u64 {
        let lines = n_columns.div_ceil(WIDTH) as u64 * depth.div_ceil(2) as u64;
        lines * size_of::<PairLine>() as u64
    }

    /// Number of terms of a sum.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Number of columns.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Number of panels.
    pub fn n_panels(&self) -> usize {
        self.n_columns.div_ceil(WIDTH)
    }

    /// Column `j`, `[depth]`, as it is multiplied.
    pub fn column(&self, j: usize) -> impl Iterator<Item = f32> {
        let lines = &self.lines[j / WIDTH * self.n_pairs()..][..self.n_pairs()];
        lines.iter().flat_map(move |line| both(line.0[j % WIDTH])).take(self.depth)
    }

    /// The transposed matrix `[n_columns, depth]`, row-major, as it is multiplied.
    pub fn transposed(&self) -> Vec<f32> {
        (0..self.n_columns).flat_map(|j| self.column(j)).collect()
    }

    pub(super) fn n_pairs(&self) -> usize {
        self.depth.div_ceil(2)
    }

    pub(super) fn lines(&self, panels: std::ops::Range<usize>) -> &[PairLine] {
        &self.lines[panels.start * self.n_pairs()..panels.end * self.n_pairs()]
    }
}

/// Rows `[n_rows, depth]` in bf16, in groups of [`GROUP`]; what fills up the last group is never used. Its memory is reused by the next
/// packing.
#[derive(Clone, Debug, Default)]
pub struct HalfRows {
    pub(super) n_rows: usize,
    pub(super) depth: usize,
    /// `[n_groups, n_pairs]`
    pub(super) values: Vec<[u32; GROUP]>,
}

impl HalfRows {
    /// Takes `x: [n_rows, depth]`, row-major.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&mut self, x: &[f32], n_rows: usize, depth: usize) {
        assert_eq!(x.len(), n_rows * depth, "rows of [{n_rows}, {depth}]");
        (self.n_rows, self.depth) = (n_rows, depth);
        let n_pairs = depth.div_ceil(2);
        self.values.resize(n_rows.div_ceil(GROUP) * n_pairs, [0; GROUP]);
        if depth == 0 {
            return;
        }
        for (group, x) in self.values.chunks_exact_mut(n_pairs).zip(x.chunks(GROUP * depth)) {
            // A row that is missing is the first one again.
            let row = |i: usize| if (i + 1) * depth <= x.len() { &x[i * depth..][..depth] } else { &x[..depth] };
            let rows: [&[f32]; GROUP] = std::array::from_fn(row);
            for (l, out) in group.iter_mut().enumerate() {
                *out = std::array::from_fn(|i| pair_at(rows[i], l));
            }
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }
}
