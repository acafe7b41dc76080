//! f32 products `x W` when `W` is kept for many products: the weights are laid out for the kernel once.
//!
//! Both sides are laid out so that the kernel reads them in order: the kept side in [`Panels`] of [`WIDTH`] columns, the other in
//! [`PackedRows`], groups of [`GROUP`] rows. Every element of a product is one fixed sum: blocks of `DEPTH` terms, added in order.
//! A block is made of chains of `CHAIN` fused multiply-adds from 0, added in order. An element's bits therefore depend only on
//! its row and its column. Other rows and columns, threads and the width of the machine's vectors do not matter.
//!
//! Products run at 80 to 97 % of the processor's peak. The `gemm` crate packs for each product, has bits that depend on the
//! shapes, and reaches 75 to 85 % (benches/README.md); hence a custom kernel.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a panel.
pub const WIDTH: usize = 16;
/// Rows of a group.
pub const GROUP: usize = 6;
/// Terms that one chain of multiply-adds sums from 0. A chain's rounding error grows with the root of its length: hidden states
/// of a real model are nearer to float64 with chains of 128 than with one of 512 (benches/README.md).
pub(super) const CHAIN: usize = 128;
/// Terms whose chains are added up in registers before they are added to the rest: a block that stays in the first cache.
pub(super) const DEPTH: usize = 4 * CHAIN;
/// Groups that stay in the second-level cache while panels pass: 132 rows of 512 values.
const GROUPS: usize = 22;

/// Lines that a task lays out at least.
const LINES_AT_ONCE: usize = 4096;

/// How often one term of a product of `depth` terms is rounded at most: along its chain, with the chains of its block, with
/// the blocks.
pub fn roundings(depth: usize) -> usize {
    CHAIN.min(depth) + DEPTH / CHAIN + depth.div_ceil(DEPTH)
}

/// Values of one depth in the [`WIDTH`] columns of a panel, in one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line(pub [f32; WIDTH]);

/// A matrix `[depth, n_columns]` in panels of [`WIDTH`] columns, the last one filled up with zeros.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    depth: usize,
    n_columns: usize,
    /// `[n_panels, depth]`
    lines: Vec<Line>,
}

impl Panels {
    /// From the transposed matrix `w: [n_columns, depth]`, row-major, as torch keeps the weight of a linear layer.
    ///
    /// # Panics
    /// When `w` does not hold `n_columns * depth` values.
    pub fn from_transposed(w: &[f32], n_columns: usize, depth: usize) -> Self {
        assert_eq!(w.len(), n_columns * depth, "a weight of [{n_columns}, {depth}]");
        let mut panels = Panels::zeros(depth, n_columns);
        if depth > 0 {
            let least = LINES_AT_ONCE.div_ceil(depth);
            (panels.lines.par_chunks_exact_mut(depth).zip(w.par_chunks(WIDTH * depth)).with_min_len(least))
                .for_each(|(lines, columns)| turn(columns, lines));
        }
        panels
    }

    /// From `w: [depth, n_columns]`, row-major.
    ///
    /// # Panics
    /// When `w` does not hold `depth * n_columns` values.
    pub fn from_plain(w: &[f32], depth: usize, n_columns: usize) -> Self {
        assert_eq!(w.len(), n_columns * depth, "a weight of [{depth}, {n_columns}]");
        let mut panels = Panels::zeros(depth, n_columns);
        for (l, row) in w.chunks_exact(n_columns.max(1)).enumerate() {
            for (p, part) in row.chunks(WIDTH).enumerate() {
                panels.lines[p * depth + l].0[..part.len()].copy_from_slice(part);
            }
        }
        panels
    }

    fn zeros(depth: usize, n_columns: usize) -> Self {
        Panels { depth, n_columns, lines: vec![Line([0.0; WIDTH]); n_columns.div_ceil(WIDTH) * depth] }
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

    /// Column `j`, `[depth]`.
    pub fn column(&self, j: usize) -> impl Iterator<Item = f32> {
        self.lines[j / WIDTH * self.depth..][..self.depth].iter().map(move |line| line.0[j % WIDTH])
    }

    /// Column `j`, to be changed.
    pub fn column_mut(&mut self, j: usize) -> impl Iterator<Item = &mut f32> {
        self.lines[j / WIDTH * self.depth..][..self.depth].iter_mut().map(move |line| &mut line.0[j % WIDTH])
    }

    /// The transposed matrix `[n_columns, depth]`, row-major.
    pub fn transposed(&self) -> Vec<f32> {
        (0..self.n_columns).flat_map(|j| self.column(j)).collect()
    }
}

/// One panel from its columns, `[up to WIDTH, depth]`; those that are missing stay.
fn turn(columns: &[f32], lines: &mut [Line]) {
    let depth = lines.len();
    if columns.len() < WIDTH * depth {
        for (j, column) in columns.chunks_exact(depth).enumerate() {
            lines.iter_mut().zip(column).for_each(|(line, &v)| line.0[j] = v);
        }
        return;
    }
    let columns: [&[f32]; WIDTH] = std::array::from_fn(|j| &columns[j * depth..][..depth]);
    for (l, line) in lines.iter_mut().enumerate() {
        line.0 = std::array::from_fn(|j| columns[j][l]);
    }
}

/// Rows `[n_rows, depth]` in groups of [`GROUP`]; what fills up the last group is never used. Its memory is reused by the next packing.
#[derive(Clone, Debug, Default)]
pub struct PackedRows {
    n_rows: usize,
    depth: usize,
    /// `[n_groups, depth]`
    values: Vec<[f32; GROUP]>,
}

impl PackedRows {
    /// Takes `x: [n_rows, depth]`, row-major.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&mut self, x: &[f32], n_rows: usize, depth: usize) {
        assert_eq!(x.len(), n_rows * depth, "rows of [{n_rows}, {depth}]");
        (self.n_rows, self.depth) = (n_rows, depth);
        self.values.resize(n_rows.div_ceil(GROUP) * depth, [0.0; GROUP]);
        if depth == 0 {
            return;
        }
        for (group, x) in self.values.chunks_exact_mut(depth).zip(x.chunks(GROUP * depth)) {
            // A row that is missing is the first one again.
            let row = |i: usize| if (i + 1) * depth <= x.len() { &x[i * depth..][..depth] } else { &x[..depth] };
            let rows: [&[f32]; GROUP] = std::array::from_fn(row);
            for (l, out) in group.iter_mut().enumerate() {
                *out = std::array::from_fn(|i| rows[i][l]);
            }
        }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }
}

/// What is added to a product once it is summed up, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finish<'a> {
    /// To every row, `[n_columns]`.
    pub bias: Option<&'a [f32]>,
    /// Element by element, laid out as the product.
    pub add: Option<&'a [f32]>,
}

/// `c = rows * panels[.., columns of these panels] + finish`, `c: [n_rows, width]` row-major, where width is the number of
/// columns in the range of panels. What was in `c` is not read. `finish` is laid out as `c`: its bias has `width` values.
///
/// # Panics
/// When depths differ, a panel of the range is not there, or a slice does not fit.
pub fn multiply(rows: &PackedRows, panels: &Panels, range: Range<usize>, c: &mut [f32], finish: Finish<'_>) {
    assert_eq!(rows.depth, panels.depth, "a product sums as many terms on both sides");
    assert!(range.start <= range.end && range.end <= panels.n_panels(), "panels {range:?} of {}", panels.n_panels());
    let width = (range.end * WIDTH).min(panels.n_columns).saturating_sub(range.start * WIDTH);
    assert_eq!(c.len(), rows.n_rows * width, "a product of [{}, {width}]", rows.n_rows);
    assert!(finish.bias.is_none_or(|b| b.len() == width) && finish.add.is_none_or(|a| a.len() == c.len()));
    if rows.depth == 0 {
        c.fill(0.0);
        for (i, c) in c.iter_mut().enumerate() {
            *c += finish.bias.map_or(0.0, |b| b[i % width]);
            *c += finish.add.map_or(0.0, |a| a[i]);
        }
        return;
    }
    let lines = &panels.lines[range.start * panels.depth..range.end * panels.depth];
    super::dispatch(Product { rows, depth: panels.depth, lines, width, c, finish });
}

struct Product<'a> {
    rows: &'a PackedRows,
    depth: usize,
    lines: &'a [Line],
    width: usize,
    c: &'a mut [f32],
    finish: Finish<'a>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Vectors that a panel takes, and panels at once: as many sums in registers as hide the latency.
        match S::F32_LANES {
            16 => self.run::<S, 2, 1>(simd),
            8 => self.run::<S, 1, 2>(simd),
            4 => self.run::<S, 1, 4>(simd),
            1 => self.run::<S, 1, WIDTH>(simd),
            lanes => unreachable!("vectors of {lanes} f32"),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const P: usize, const V: usize>(mut self, simd: S) {
        let n_groups = self.rows.n_rows.div_ceil(GROUP);
        let n_panels = self.lines.len() / self.depth;
        for first in (0..n_groups).step_by(GROUPS) {
            let groups = first..n_groups.min(first + GROUPS);
            for start in (0..self.depth).step_by(DEPTH) {
                let depths = start..self.depth.min(start + DEPTH);
                let mut p = 0;
                while p + P <= n_panels {
                    self.panels::<S, P, V>(simd, groups.clone(), depths.clone(), p);
                    p += P;
                }
                while p < n_panels {
                    self.panels::<S, 1, V>(simd, groups.clone(), depths.clone(), p);
                    p += 1;
                }
            }
        }
    }

    /// One block of depths of `P` panels with some groups of rows.
    #[inline(always)]
    fn panels<S: Simd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        groups: Range<usize>,
        depths: Range<usize>,
        p: usize,
    ) {
        let panel = |i: usize| &self.lines[(p + i) * self.depth..][depths.clone()];
        let b: [&[Line]; P] = std::array::from_fn(panel);
        for g in groups {
            let a = &self.rows.values[g * self.depth..][depths.clone()];
            let row = g * GROUP;
            match self.rows.n_rows - row {
                1 => self.group::<S, 1, P, V>(simd, a, b, row, p, depths.clone()),
                2 => self.group::<S, 2, P, V>(simd, a, b, row, p, depths.clone()),
                3 => self.group::<S, 3, P, V>(simd, a, b, row, p, depths.clone()),
                4 => self.group::<S, 4, P, V>(simd, a, b, row, p, depths.clone()),
                5 => self.group::<S, 5, P, V>(simd, a, b, row, p, depths.clone()),
                _ => self.group::<S, GROUP, P, V>(simd, a, b, row, p, depths.clone()),
            }
        }
    }

    /// One block of depths of `M` rows and `P` panels.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn group<S: Simd, const M: usize, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        a: &[[f32; GROUP]],
        b: [&[Line]; P],
        row: usize,
        p: usize,
        depths: Range<usize>,
    ) {
        let mut sums = [[[simd.splat_f32s(0.0); V]; P]; M];
        for (n, a) in a.chunks(CHAIN).enumerate() {
            let b = b.map(
                #[inline(always)]
                |b| &b[n * CHAIN..],
            );
            let chain = chains::<S, _, M, P, V>(simd, a, 0, b);
            for (sums, chain) in sums.iter_mut().zip(chain) {
                for (sum, chain) in sums.iter_mut().zip(chain) {
                    *sum = if n == 0 { chain } else { add(simd, *sum, chain) };
                }
            }
        }
        let (first, last) = (depths.start == 0, depths.end == self.depth);
        for q in 0..P {
            let column = (p + q) * WIDTH;
            if self.width - column < WIDTH {
                for (i, sums) in sums.iter().enumerate() {
                    self.part(&bytemuck::cast(sums[q]), (row + i) * self.width + column, column, first, last);
                }
                continue;
            }
            let bias = self.finish.bias.filter(|_| last).map(|bias| line::<S, V>(bias, column));
            for (i, sums) in sums.iter().enumerate() {
                let at = (row + i) * self.width + column;
                let mut out = sums[q];
                let c: &mut [f32; WIDTH] = (&mut self.c[at..][..WIDTH]).try_into().expect("a whole line");
                if !first {
                    out = add(simd, bytemuck::cast(*c), out);
                }
                if let Some(bias) = bias {
                    out = add(simd, out, bias);
                }
                if let Some(more) = self.finish.add.filter(|_| last) {
                    out = add(simd, out, line::<S, V>(more, at));
                }
                *c = bytemuck::cast(out);
            }
        }
    }

    /// The last panel where it has fewer columns than its width: one row of it, value by value.
    fn part(&mut self, sums: &[f32; WIDTH], at: usize, column: usize, first: bool, last: bool) {
        for (j, c) in self.c[at..at + self.width - column].iter_mut().enumerate() {
            *c = if first { sums[j] } else { *c + sums[j] };
            if last {
                *c += self.finish.bias.map_or(0.0, |bias| bias[column + j]);
                *c += self.finish.add.map_or(0.0, |add| add[at + j]);
            }
        }
    }
}

/// The [`WIDTH`] values from `at` on.
#[inline(always)]
fn line<S: Simd, const V: usize>(values: &[f32], at: usize) -> [S::f32s; V] {
    let line: [f32; WIDTH] = values[at..][..WIDTH].try_into().expect("a whole line");
    bytemuck::cast(line)
}

#[inline(always)]
fn add<S: Simd, const V: usize>(simd: S, a: [S::f32s; V], b: [S::f32s; V]) -> [S::f32s; V] {
    std::array::from_fn(
        #[inline(always)]
        |v| simd.add_f32s(a[v], b[v]),
    )
}

/// The product of two panels: `out[i][j]` is the chain of multiply-adds from 0 of `a[l][i] * b[l][j]` over all l, for
/// kernels that lay out both sides themselves. To be called inside a dispatched [`WithSimd`].
#[inline(always)]
pub fn square<S: Simd>(simd: S, a: &[Line], b: &[Line], out: &mut [Line; WIDTH]) {
    #[inline(always)]
    fn rows<S: Simd, const M: usize, const V: usize>(
        simd: S,
        a: &[Line],
        i: usize,
        b: &[Line],
        out: &mut [Line; WIDTH],
    ) {
        for (out, [sums]) in out[i..i + M].iter_mut().zip(chains::<S, _, M, 1, V>(simd, a, i, [b])) {
            out.0 = bytemuck::cast(sums);
        }
    }
    match S::F32_LANES {
        16 => rows::<S, WIDTH, 1>(simd, a, 0, b, out),
        8 => {
            rows::<S, 6, 2>(simd, a, 0, b, out);
            rows::<S, 6, 2>(simd, a, 6, b, out);
            rows::<S, 4, 2>(simd, a, 12, b, out);
        }
        4 => (0..WIDTH).step_by(4).for_each(
            #[inline(always)]
            |i| rows::<S, 4, 4>(simd, a, i, b, out),
        ),
        1 => (0..WIDTH).step_by(4).for_each(
            #[inline(always)]
            |i| rows::<S, 4, WIDTH>(simd, a, i, b, out),
        ),
        lanes => unreachable!("vectors of {lanes} f32"),
    }
}

/// Values of one depth in neighbouring rows.
trait Chunk {
    fn values(&self) -> &[f32];
}

impl Chunk for [f32; GROUP] {
    #[inline(always)]
    fn values(&self) -> &[f32] {
        self
    }
}

impl Chunk for Line {
    #[inline(always)]
    fn values(&self) -> &[f32] {
        &self.0
    }
}

/// `M` rows (from `offset` on in each chunk of `a`) times `P` panels: chains of multiply-adds from 0, kept in registers.
/// `V` vectors of `S` make a panel's line.
#[inline(always)]
fn chains<S: Simd, A: Chunk, const M: usize, const P: usize, const V: usize>(
    simd: S,
    a: &[A],
    offset: usize,
    b: [&[Line]; P],
) -> [[[S::f32s; V]; P]; M] {
    let mut sums = [[[simd.splat_f32s(0.0); V]; P]; M];
    let b = b.map(
        #[inline(always)]
        |b| &b[..a.len()],
    );
    for (l, a) in a.iter().enumerate() {
        let a: &[f32; M] = a.values()[offset..][..M].try_into().expect("M rows in a chunk");
        let b: [[S::f32s; V]; P] = std::array::from_fn(
            #[inline(always)]
            |p| bytemuck::cast(b[p][l].0),
        );
        for i in 0..M {
            let a = simd.splat_f32s(a[i]);
            for p in 0..P {
                for v in 0..V {
                    sums[i][p][v] = simd.mul_add_f32s(a, b[p][v], sums[i][p][v]);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use proptest::prelude::*;

    fn values(n: usize, name: &str) -> Vec<f32> {
        let mut stream = Stream::new(0, name, 0);
        (0..n).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect()
    }

    /// The definition, element by element.
    fn plain(x: &[f32], w: &[f32]) -> f32 {
        let chain = |(x, w): (&[f32], &[f32])| x.iter().zip(w).fold(0.0f32, |sum, (&x, &w)| x.mul_add(w, sum));
        let block = |(x, w): (&[f32], &[f32])| x.chunks(CHAIN).zip(w.chunks(CHAIN)).map(chain).reduce(|a, b| a + b);
        let sums = x.chunks(DEPTH).zip(w.chunks(DEPTH)).filter_map(block);
        sums.reduce(|a, b| a + b).unwrap_or(0.0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Bit for bit, for any shape, range of panels and finish, from either layout.
        #[test]
        fn a_product_is_its_definition(
            n_rows in 0usize..290, depth in prop_oneof![0usize..70, 500usize..530, 1020usize..1030], n_columns in 1usize..70,
            cut in 0usize..5, bias in any::<bool>(), add in any::<bool>(),
        ) {
            let (x, w) = (values(n_rows * depth, "x"), values(n_columns * depth, "w"));
            let panels = Panels::from_transposed(&w, n_columns, depth);
            let plain_w: Vec<f32> = (0..depth).flat_map(|l| (0..n_columns).map(|j| w[j * depth + l]).collect::<Vec<_>>()).collect();
            prop_assert_eq!(&Panels::from_plain(&plain_w, depth, n_columns), &panels);
            prop_assert_eq!(panels.transposed(), w.clone());
            let first = cut.min(panels.n_panels() - 1);
            let width = n_columns - first * WIDTH;
            let (bias_values, add_values) = (values(width, "bias"), values(n_rows * width, "add"));
            let mut rows = PackedRows::default();
            rows.pack(&x, n_rows, depth);
            let mut c = vec![f32::NAN; n_rows * width];
            let finish = Finish { bias: bias.then_some(&bias_values), add: add.then_some(&add_values) };
            multiply(&rows, &panels, first..panels.n_panels(), &mut c, finish);
            for i in 0..n_rows {
                for j in 0..width {
                    let w = &w[(first * WIDTH + j) * depth..][..depth];
                    let mut want = plain(&x[i * depth..][..depth], w);
                    want += if bias { bias_values[j] } else { 0.0 };
                    want += if add { add_values[i * width + j] } else { 0.0 };
                    prop_assert_eq!(c[i * width + j].to_bits(), want.to_bits(), "[{}, {}] at {}, {}", n_rows, depth, i, j);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "as many terms on both sides")]
    fn sides_that_do_not_fit_are_refused() {
        let mut rows = PackedRows::default();
        rows.pack(&[0.0; 6], 2, 3);
        multiply(&rows, &Panels::from_plain(&[0.0; 4], 4, 1), 0..1, &mut [0.0; 2], Finish::default());
    }
}
