//! How are pairs of bf16 multiplied? A loop over groups of rows and panels for any instruction that does, and the emulation of one.

use super::packed::{HalfRows, PairLine, both};
use crate::linalg::panels::{CHAIN, DEPTH, Finish, GROUP, WIDTH};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Pairs of a chain and of a block.
const CHAIN_PAIRS: usize = CHAIN / 2;
const BLOCK_PAIRS: usize = DEPTH / 2;
/// Groups of rows that stay in the second-level cache while panels pass.
const GROUPS: usize = 22;

/// Chains in the lanes of a line.
pub(super) trait Pairs: Copy {
    /// A line of sums.
    type Sums: Copy;
    /// Where chains begin.
    fn zero(self) -> Self::Sums;
    /// One pair more in every lane, of column `w` and row `x`: the odd term, then the even one.
    fn add(self, sums: Self::Sums, w: &PairLine, x: u32) -> Self::Sums;
    /// The sums.
    fn values(self, sums: Self::Sums) -> [f32; WIDTH];
}

/// A product under way: `c[row, column] = rows[row] * lines[column] + finish`, `width` columns.
pub(super) struct Product<'a> {
    pub rows: &'a HalfRows,
    pub n_pairs: usize,
    pub lines: &'a [PairLine],
    pub width: usize,
    pub c: &'a mut [f32],
    pub finish: Finish<'a>,
}

impl Product<'_> {
    /// By f32 multiply-adds.
    pub fn emulated(self) {
        crate::linalg::dispatch(self);
    }

    /// With `P` panels at once.
    #[inline(always)]
    pub fn run<Q: Pairs, const P: usize>(mut self, pairs: Q) {
        if self.n_pairs == 0 {
            return self.of_nothing();
        }
        let n_groups = self.rows.n_rows.div_ceil(GROUP);
        let n_panels = self.lines.len() / self.n_pairs;
        for first in (0..n_groups).step_by(GROUPS) {
            let groups = first..n_groups.min(first + GROUPS);
            for start in (0..self.n_pairs).step_by(BLOCK_PAIRS) {
                let depths = start..self.n_pairs.min(start + BLOCK_PAIRS);
                let mut p = 0;
                while p + P <= n_panels {
                    for g in groups.clone() {
                        self.group::<Q, P>(pairs, g, depths.clone(), p);
                    }
                    p += P;
                }
                while p < n_panels {
                    for g in groups.clone() {
                        self.group::<Q, 1>(pairs, g, depths.clone(), p);
                    }
                    p += 1;
                }
            }
        }
    }

    /// One block of pairs of a group of rows and `P` panels.
    #[inline(always)]
    fn group<Q: Pairs, const P: usize>(&mut self, pairs: Q, g: usize, depths: Range<usize>, p: usize) {
        let a = &self.rows.values[g * self.n_pairs..][depths.clone()];
        let b: [&[PairLine]; P] = std::array::from_fn(
            #[inline(always)]
            |q| &self.lines[(p + q) * self.n_pairs..][depths.clone()],
        );
        let mut sums = [[[0.0f32; WIDTH]; P]; GROUP];
        for (n, a) in a.chunks(CHAIN_PAIRS).enumerate() {
            let b = b.map(
                #[inline(always)]
                |b| &b[n * CHAIN_PAIRS..][..a.len()],
            );
            let mut chains = [[pairs.zero(); P]; GROUP];
            for (l, a) in a.iter().enumerate() {
                for (chains, &a) in chains.iter_mut().zip(a) {
                    for (chain, b) in chains.iter_mut().zip(b) {
                        *chain = pairs.add(*chain, &b[l], a);
                    }
                }
            }
            for (sums, chains) in sums.iter_mut().zip(chains) {
                for (sum, chain) in sums.iter_mut().zip(chains) {
                    let chain = pairs.values(chain);
                    for (sum, chain) in sum.iter_mut().zip(chain) {
                        *sum = if n == 0 { chain } else { *sum + chain };
                    }
                }
            }
        }
        let (first, last) = (depths.start == 0, depths.end == self.n_pairs);
        for (i, sums) in sums.iter().enumerate().take(self.rows.n_rows - g * GROUP) {
            for (q, sums) in sums.iter().enumerate() {
                self.write(sums, g * GROUP + i, (p + q) * WIDTH, first, last);
            }
        }
    }

    /// Adds the sums of a block to those of the blocks before, and what finishes them behind the last one.
    #[inline(always)]
    fn write(&mut self, sums: &[f32; WIDTH], row: usize, column: usize, first: bool, last: bool) {
        let (width, at) = (WIDTH.min(self.width - column), row * self.width + column);
        let c = &mut self.c[at..][..width];
        if first {
            c.copy_from_slice(&sums[..width]);
        } else {
            c.iter_mut().zip(sums).for_each(|(c, sum)| *c += sum);
        }
        if let Some(bias) = self.finish.bias.filter(|_| last) {
            c.iter_mut().zip(&bias[column..]).for_each(|(c, bias)| *c += bias);
        }
        if let Some(add) = self.finish.add.filter(|_| last) {
            c.iter_mut().zip(&add[at..]).for_each(|(c, add)| *c += add);
        }
    }

    /// A product of no terms.
    fn of_nothing(self) {
        self.c.fill(0.0);
        for (i, c) in self.c.iter_mut().enumerate() {
            *c += self.finish.bias.map_or(0.0, |bias| bias[i % self.width]);
            *c += self.finish.add.map_or(0.0, |add| add[i]);
        }
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<_, 1>(Emulated::<S, 1>(simd)),
            8 => self.run::<_, 1>(Emulated::<S, 2>(simd)),
            4 => self.run::<_, 1>(Emulated::<S, 4>(simd)),
            1 => self.run::<_, 1>(Emulated::<S, WIDTH>(simd)),
            lanes => unreachable!("vectors of {lanes} f32"),
        }
    }
}

/// The instruction's sums by `V` vectors of f32 for a line.
#[derive(Clone, Copy)]
struct Emulated<S, const V: usize>(S);

impl<S: Simd, const V: usize> Pairs for Emulated<S, V> {
    type Sums = [S::f32s; V];

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [self.0.splat_f32s(0.0); V]
    }

    #[inline(always)]
    fn add(self, mut sums: Self::Sums, w: &PairLine, x: u32) -> Self::Sums {
        let Emulated(simd) = self;
        let [x_even, x_odd] = both(x);
        let (x_even, x_odd) = (simd.splat_f32s(x_even), simd.splat_f32s(x_odd));
        let w: [S::u32s; V] = bytemuck::cast(w.0);
        // a loop: what a closure calls may be compiled without the vectors of this machine
        for v in 0..V {
            let odd = simd.transmute_f32s_u32s(simd.and_u32s(w[v], simd.splat_u32s(0xffff_0000)));
            let even = simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(w[v], simd.splat_u32s(16)));
            let sum = flushed(simd, simd.mul_add_f32s(x_odd, odd, sums[v]));
            sums[v] = flushed(simd, simd.mul_add_f32s(x_even, even, sum));
        }
        sums
    }

    #[inline(always)]
    fn values(self, sums: Self::Sums) -> [f32; WIDTH] {
        bytemuck::cast(sums)
    }
}

/// Zeros, with their signs, for what is below the smallest normal number.
#[inline(always)]
fn flushed<S: Simd>(simd: S, v: S::f32s) -> S::f32s {
    let below = simd.less_than_f32s(simd.abs_f32s(v), simd.splat_f32s(f32::MIN_POSITIVE));
    simd.select_f32s(below, simd.and_f32s(v, simd.splat_f32s(-0.0)), v)
}
