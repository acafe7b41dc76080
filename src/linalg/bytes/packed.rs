//! Rows and columns rounded to bytes, as the kernel reads them, and what rounding took of each.

use crate::linalg::panels::{GROUP, Panels, WIDTH, roundings};

/// Terms that one instruction sums.
pub(super) const QUAD: usize = 4;
/// Whole steps either way.
const STEPS: f32 = 127.0;
/// Added to the bytes of a column to make them non-negative.
const OFFSET: i32 = 128;
/// Longest side whose sums fit 32 bits: 127 · 255 · 65 536 < 2³¹.
pub const DEEPEST: usize = 65_536;
/// More than a product of f32 may lose where its terms are too small to be rounded in proportion: 65 536 · 2⁻¹⁵⁰ < 2⁻¹²⁶.
pub const UNDERFLOW: f32 = f32::MIN_POSITIVE;

/// Four terms of each of the [`WIDTH`] columns of a panel, column by column, in one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuadLine(pub(super) [u8; WIDTH * QUAD]);

/// What is kept of a row or a column in addition to its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rounding {
    /// Its step s.
    pub step: f32,
    /// ‖v - v'‖, at least.
    pub rounded: f32,
    /// ‖v‖ and ‖v'‖, at least.
    pub norm: f32,
}

/// Columns `[depth, n_columns]` as bytes, in panels.
#[derive(Clone, Debug)]
pub struct BytePanels {
    pub(super) depth: usize,
    /// `[n_panels, n_quads]`
    pub(super) lines: Vec<QuadLine>,
}

impl BytePanels {
    /// The columns of `panels`, and what rounding took of each, `[n_columns]`. [`Rounding::rounded`] holds also what a product of f32
    /// may be off by, for each unit of the row's norm.
    ///
    /// # Panics
    /// When they are deeper than [`DEEPEST`].
    pub fn of(panels: &Panels) -> (Self, Vec<Rounding>) {
        let (depth, n_columns) = (panels.depth(), panels.n_columns());
        assert!(depth <= DEEPEST, "{depth} terms of bytes in 32 bits");
        let n_quads = depth.div_ceil(QUAD);
        // A rounding is by 2^-24 of what is rounded at most, half an EPSILON: twice that leaves room for products of roundings.
        let f32_off = roundings(depth) as f32 * f32::EPSILON;
        let mut lines = vec![QuadLine([OFFSET as u8; WIDTH * QUAD]); panels.n_panels() * n_quads];
        let mut steps = vec![0; depth];
        let mut column = Vec::with_capacity(depth);
        let of_columns = (0..n_columns)
            .map(|j| {
                column.clear();
                column.extend(panels.column(j));
                let mut rounding = round(&column, &mut steps);
                rounding.rounded += f32_off * rounding.norm;
                let lines = &mut lines[j / WIDTH * n_quads..][..n_quads];
                for (line, steps) in lines.iter_mut().zip(steps.chunks(QUAD)) {
                    for (byte, q) in line.0[j % WIDTH * QUAD..].iter_mut().zip(steps) {
                        *byte = (i32::from(*q) + OFFSET) as u8;
                    }
                }
                rounding
            })
            .collect();
        (BytePanels { depth, lines }, of_columns)
    }

    /// Bytes that `[depth, n_columns]` take.
    pub fn memory_bytes(depth: usize, n_columns: usize) -> u64 {
        let lines = n_columns.div_ceil(WIDTH) as u64 * depth.div_ceil(QUAD) as u64;
        lines * size_of::<QuadLine>() as u64
    }

    pub(super) fn n_quads(&self) -> usize {
        self.depth.div_ceil(QUAD)
    }
}

/// Rows `[n_rows, depth]` as bytes, in groups of [`GROUP`]. Its memory is reused by the next packing.
#[derive(Clone, Debug, Default)]
pub struct ByteRows {
    pub(super) n_rows: usize,
    pub(super) n_quads: usize,
    /// `[n_groups, n_quads]` of four steps in one integer
    pub(super) values: Vec<[i32; GROUP]>,
    roundings: Vec<Rounding>,
    /// What [`OFFSET`] adds to the row's sums.
    offsets: Vec<i32>,
    steps: Vec<i8>,
}

impl ByteRows {
    /// Takes `x: [n_rows, depth]`, row-major, finite.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&mut self, x: &[f32], n_rows: usize, depth: usize) {
        assert_eq!(x.len(), n_rows * depth, "rows of [{n_rows}, {depth}]");
        let n_quads = depth.div_ceil(QUAD);
        (self.n_rows, self.n_quads) = (n_rows, n_quads);
        self.values.resize(n_rows.div_ceil(GROUP) * n_quads, [0; GROUP]);
        self.steps.clear();
        self.steps.resize(n_quads * QUAD, 0);
        self.roundings.clear();
        self.offsets.clear();
        for r in 0..n_rows {
            let x = &x[r * depth..][..depth];
            self.roundings.push(crate::linalg::vectorised(
                #[inline(always)]
                || round(x, &mut self.steps[..depth]),
            ));
            self.offsets.push(OFFSET * self.steps.iter().map(|&q| i32::from(q)).sum::<i32>());
            let group = &mut self.values[r / GROUP * n_quads..][..n_quads];
            let (quads, _) = self.steps.as_chunks::<QUAD>();
            for (out, quad) in group.iter_mut().zip(quads) {
                out[r % GROUP] = i32::from_le_bytes(quad.map(|q| q as u8));
            }
        }
    }

    /// What is known of the rows, `[n_rows]`.
    pub fn roundings(&self) -> &[Rounding] {
        &self.roundings
    }

    /// What every sum of row `r` is too large by.
    pub fn offset(&self, r: usize) -> i32 {
        self.offsets[r]
    }
}

/// Rounds `v` to whole steps.
#[inline(always)]
pub(super) fn round(v: &[f32], steps: &mut [i8]) -> Rounding {
    let largest = v.iter().fold(0.0f32, |max, v| max.max(v.abs()));
    let step = largest / STEPS;
    // A step near the smallest numbers would round by more than half: such a vector, and a vector of zeros, has no step.
    let step = if step > 1e-30 { step } else { 0.0 };
    let inverse = if step > 0.0 { 1.0 / step } else { 0.0 };
    let (mut rounded, mut norm, mut own) = ([0.0f64; 8], [0.0f64; 8], [0.0f64; 8]);
    let mut one = |lane: usize, v: f32, q: &mut i8| {
        let whole = (v * inverse).round_ties_even().clamp(-STEPS, STEPS);
        *q = whole as i8;
        let near = f64::from(step) * f64::from(whole);
        let v = f64::from(v);
        rounded[lane] += (v - near) * (v - near);
        norm[lane] += v * v;
        own[lane] += near * near;
    };
    let (v_lanes, v_rest) = v.as_chunks::<8>();
    let (q_lanes, q_rest) = steps.as_chunks_mut::<8>();
    for (v, q) in v_lanes.iter().zip(q_lanes) {
        for lane in 0..8 {
            one(lane, v[lane], &mut q[lane]);
        }
    }
    for (v, q) in v_rest.iter().zip(q_rest) {
        one(0, *v, q);
    }
    // A little more than it is: what f64 and the step to f32 may have taken.
    let at_least = |squares: [f64; 8]| (squares.iter().sum::<f64>().sqrt() * (1.0 + 1e-6)) as f32;
    Rounding { step, rounded: at_least(rounded), norm: at_least(norm).max(at_least(own)) }
}
