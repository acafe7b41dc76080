//! About how large are the inner products of many vectors of length 1? From one bit a dimension of the one side, looked up in small tables
//! of the other, for callers that look at all pairs and need few of them (`columns.rs` then computes those).
//!
//! Both sides are turned first: random signs and a Hadamard transform, so that each coordinate is about as large as any
//! other. Of a turned vector t the signs are kept, and Σ|t|. For a turned vector u of the other side, Σ u·sign(t) / Σ|t| estimates u·t without
//! bias; of vectors with no relation it has [`SPREAD`]/√dims of an error of its own (RaBitQ: Gao and Long 2024, arXiv 2405.12497).
//!
//! The signs of four dimensions are an index into a table of 16 sums, rounded to steps from 0 to 15. A table is one vector, and an
//! instruction that permutes bytes looks up 32 vectors at once (André, Kermarrec and Le Scouarnec 2015). The sums of steps are
//! whole numbers, the same by any instruction.

use crate::linalg::Stream;
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
use crate::linalg::bytes::vectors::PairedProducts;
use crate::linalg::bytes::vectors::{Multiply, PlainProducts};

/// Vectors that are looked up at once.
pub const BLOCK: usize = 32;
/// Vectors of the other side whose tables are read together.
pub const TOGETHER: usize = 8;
/// Standard error of an estimate, in 1/√dims, where the true product is near 0: √(π/2 − 1).
pub const SPREAD: f32 = 0.7555;
/// Dimensions that share a table.
const NIBBLE: usize = 4;
/// The largest step of a table.
const LARGEST: f32 = 15.0;
/// Tables whose steps a byte can sum up.
const BYTE_SUM: usize = 16;
/// Dimensions are a multiple of this: a whole number of byte sums.
const LEAST: usize = NIBBLE * BYTE_SUM;
/// Dimensions at most: sums of steps fit into 16 bits.
pub const MOST: usize = 16384;

/// Signs that are the same in every run, and a Hadamard transform.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// ±1/√dims for each dimension there is: `[width]`
    signs: Vec<f32>,
    dims: usize,
}

impl Rotation {
    /// For vectors of `width` values; `None` above [`MOST`].
    pub fn new(width: usize) -> Option<Self> {
        let dims = width.next_power_of_two().max(LEAST);
        let size = 1.0 / (dims as f32).sqrt();
        let mut random = Stream::new(0, "signs", 0);
        let signs = (0..width).map(|_| if random.next_u64() & 1 == 0 { size } else { -size }).collect();
        (dims <= MOST).then_some(Rotation { signs, dims })
    }

    /// Dimensions of a turned vector: the next power of two.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// `x` turned, into `out: [dims]`.
    ///
    /// # Panics
    /// When either is of another length.
    pub fn turn(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!((x.len(), out.len()), (self.signs.len(), self.dims), "a vector and its turned self");
        out[x.len()..].fill(0.0);
        for ((out, x), sign) in out.iter_mut().zip(x).zip(&self.signs) {
            *out = x * sign;
        }
        let mut half = 1;
        while half < self.dims {
            for pair in out.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
    }
}

/// Signs of [`BLOCK`] vectors: in line l those of dimensions 8l to 8l + 8, a byte a vector.
type Line = [u8; BLOCK];

/// Signs of many vectors, block behind block.
#[derive(Clone, Debug)]
pub struct Signs {
    dims: usize,
    /// `[n_blocks, dims / 8]`
    lines: Vec<Line>,
    /// Σ|t| of each vector; infinite for one that is not there, so that no estimate of it is large: `[n_blocks * BLOCK]`
    sizes: Vec<f32>,
}

impl Signs {
    /// Room for `n` vectors of `dims` dimensions, none of them there.
    pub fn new(n: usize, dims: usize) -> Self {
        assert!(dims.is_multiple_of(LEAST) && dims <= MOST, "{dims} dimensions");
        let blocks = n.div_ceil(BLOCK);
        Signs { dims, lines: vec![[0; BLOCK]; blocks * dims / 8], sizes: vec![f32::INFINITY; blocks * BLOCK] }
    }

    /// Bytes of `n` vectors.
    pub fn memory_bytes(n: usize, dims: usize) -> usize {
        n.next_multiple_of(BLOCK) * (dims / 8 + size_of::<f32>())
    }

    /// Blocks, to be filled by [`set`](BlockMut::set) on any thread.
    pub fn blocks_mut(&mut self) -> Vec<BlockMut<'_>> {
        let lines = self.lines.chunks_exact_mut(self.dims / 8);
        lines.zip(self.sizes.chunks_exact_mut(BLOCK)).map(|(lines, sizes)| BlockMut { lines, sizes }).collect()
    }

    /// Block number `b`.
    pub fn block(&self, b: usize) -> Block<'_> {
        let n = self.dims / 8;
        Block { lines: &self.lines[b * n..][..n], sizes: self.sizes[b * BLOCK..][..BLOCK].try_into().expect("a block") }
    }
}

/// A block to be filled.
pub struct BlockMut<'a> {
    lines: &'a mut [Line],
    sizes: &'a mut [f32],
}

impl BlockMut<'_> {
    /// Puts the turned vector `t` at place `k`. One that is not finite is left out.
    pub fn set(&mut self, k: usize, t: &[f32]) {
        let size: f32 = t.iter().map(|v| v.abs()).sum();
        if !size.is_finite() {
            return;
        }
        for (line, eight) in self.lines.iter_mut().zip(t.chunks_exact(8)) {
            line[k] = eight.iter().enumerate().fold(0, |bits, (b, v)| bits | (u8::from(*v >= 0.0) << b));
        }
        self.sizes[k] = size;
    }
}

/// A block to be looked up.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    lines: &'a [Line],
    sizes: &'a [f32; BLOCK],
}

/// Tables of [`TOGETHER`] turned vectors.
#[derive(Clone, Debug)]
pub struct Tables {
    /// `[dims / 4]`: of each vector 16 steps.
    steps: Vec<[[u8; 16]; TOGETHER]>,
    /// What a step is worth; NaN for a vector that is not finite.
    step: [f32; TOGETHER],
    /// What all steps at 0 stand for.
    base: [f32; TOGETHER],
}

impl Tables {
    /// Of nothing yet.
    pub fn new(dims: usize) -> Self {
        Tables { steps: vec![[[0; 16]; TOGETHER]; dims / NIBBLE], step: [f32::NAN; TOGETHER], base: [0.0; TOGETHER] }
    }

    /// Bytes of [`TOGETHER`] vectors.
    pub fn memory_bytes(dims: usize) -> usize {
        dims / NIBBLE * 16 * TOGETHER
    }

    /// Takes the turned vector `u` as number `r`.
    pub fn set(&mut self, r: usize, u: &[f32]) {
        let largest = |four: &[f32]| four.iter().map(|v| v.abs()).sum::<f32>();
        let most = u.chunks_exact(NIBBLE).map(largest).fold(0.0f32, |a, b| if b > a || b.is_nan() { b } else { a });
        let step = 2.0 * most / LARGEST;
        self.step[r] = if step > 0.0 { step } else { f32::NAN };
        self.base[r] = 0.0;
        for (tables, four) in self.steps.iter_mut().zip(u.chunks_exact(NIBBLE)) {
            let low = -largest(four);
            self.base[r] += low;
            for (signs, out) in tables[r].iter_mut().enumerate() {
                let sum: f32 = (0..NIBBLE).map(|b| if signs >> b & 1 == 1 { four[b] } else { -four[b] }).sum();
                *out = ((sum - low) / step).round().min(LARGEST) as u8;
            }
        }
    }

    /// Calls `found(r, k)` for each vector r of these and k of the block whose estimated product is above `bar`, a positive number.
    #[inline(always)]
    pub fn above(&self, block: Block<'_>, bar: f32, lookup: impl Lookup, mut found: impl FnMut(usize, usize)) {
        let smallest = block.sizes.iter().fold(f32::INFINITY, |a, &b| if b < a { b } else { a });
        // a whole number that no sum worth looking at is below; what is not a number is above all
        let bars: [u16; TOGETHER] = std::array::from_fn(|r| {
            let steps = (bar * smallest - self.base[r]) / self.step[r];
            if steps.is_nan() { u16::MAX } else { steps as u16 }
        });
        let mut sums = [[0u16; BLOCK]; TOGETHER];
        let masks = lookup.look(&self.steps, block.lines, bars, &mut sums);
        for (r, mut mask) in masks.into_iter().enumerate() {
            while mask != 0 {
                let k = mask.trailing_zeros() as usize;
                mask &= mask - 1;
                // of two neighbours one is in the low, one in the high half
                let sum = sums[r][k / 2 + k % 2 * (BLOCK / 2)];
                if f32::from(sum) * self.step[r] + self.base[r] > bar * block.sizes[k] {
                    found(r, k);
                }
            }
        }
    }
}

/// How steps are looked up and summed.
pub trait Lookup: Copy {
    /// Vectors of the block whose sum is above the bar, a bit each; all sums in `sums`, those of even places in the low half, those of odd places in
    /// the high half. Where no bit of a row is set, its sums may be left as they are.
    fn look(
        self,
        steps: &[[[u8; 16]; TOGETHER]],
        lines: &[Line],
        bars: [u16; TOGETHER],
        sums: &mut [[u16; BLOCK]; TOGETHER],
    ) -> [u32; TOGETHER];
}

/// Work that looks up signs and multiplies bytes.
pub trait ByteWork {
    /// Does it by these instructions. To be `#[inline(always)]`.
    fn run(self, lookup: impl Lookup, multiply: impl Multiply);
}

/// Does `work` by the fastest instructions of this machine.
pub fn by_bytes(work: impl ByteWork) {
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || work.run(Shuffled(simd), PairedProducts(simd)),
        );
    }
    work.run(Plain, PlainProducts);
}

/// By the definition, on any processor.
#[derive(Clone, Copy)]
struct Plain;

impl Lookup for Plain {
    #[inline(always)]
    fn look(
        self,
        steps: &[[[u8; 16]; TOGETHER]],
        lines: &[Line],
        bars: [u16; TOGETHER],
        sums: &mut [[u16; BLOCK]; TOGETHER],
    ) -> [u32; TOGETHER] {
        *sums = [[0; BLOCK]; TOGETHER];
        for (line, tables) in lines.iter().zip(steps.chunks_exact(2)) {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (k, byte) in line.iter().enumerate() {
                    let step = u16::from(tables[0][r][usize::from(byte & 15)])
                        + u16::from(tables[1][r][usize::from(byte >> 4)]);
                    sums[k / 2 + k % 2 * (BLOCK / 2)] += step;
                }
            }
        }
        std::array::from_fn(|r| {
            (0..BLOCK).fold(0, |mask, k| mask | (u32::from(sums[r][k / 2 + k % 2 * (BLOCK / 2)] > bars[r]) << k))
        })
    }
}

/// 32 bytes at once.
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
#[derive(Clone, Copy)]
struct Shuffled(pulp::x86::V3);

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
impl Lookup for Shuffled {
    #[inline(always)]
    fn look(
        self,
        steps: &[[[u8; 16]; TOGETHER]],
        lines: &[Line],
        bars: [u16; TOGETHER],
        sums: &mut [[u16; BLOCK]; TOGETHER],
    ) -> [u32; TOGETHER] {
        use std::arch::x86_64::__m256i;
        let (avx, x) = (self.0.avx, self.0.avx2);
        let low_nibbles = avx._mm256_set1_epi8(15);
        let low_bytes = avx._mm256_set1_epi16(255);
        let zero = avx._mm256_setzero_si256();
        let (mut even, mut odd) = ([zero; TOGETHER], [zero; TOGETHER]);
        let (lines, _) = lines.as_chunks::<{ BYTE_SUM / 2 }>();
        let (steps, _) = steps.as_chunks::<BYTE_SUM>();
        for (lines, steps) in lines.iter().zip(steps) {
            let mut bytes = [zero; TOGETHER];
            for (l, line) in lines.iter().enumerate() {
                let line: __m256i = bytemuck::cast(*line);
                let low = x._mm256_and_si256(line, low_nibbles);
                let high = x._mm256_and_si256(x._mm256_srli_epi16::<4>(line), low_nibbles);
                for (nibbles, tables) in [(low, &steps[2 * l]), (high, &steps[2 * l + 1])] {
                    for (sum, table) in bytes.iter_mut().zip(tables) {
                        let table = x._mm256_broadcastsi128_si256(bytemuck::cast(*table));
                        *sum = x._mm256_add_epi8(*sum, x._mm256_shuffle_epi8(table, nibbles));
                    }
                }
            }
            for r in 0..TOGETHER {
                even[r] = x._mm256_add_epi16(even[r], x._mm256_and_si256(bytes[r], low_bytes));
                odd[r] = x._mm256_add_epi16(odd[r], x._mm256_srli_epi16::<8>(bytes[r]));
            }
        }
        std::array::from_fn(
            #[inline(always)]
            |r| {
                let bar = avx._mm256_set1_epi16(bars[r] as i16);
                // all bits of a lane where sum - bar, not below 0, is 0
                let not = |sum| x._mm256_cmpeq_epi16(x._mm256_subs_epu16(sum, bar), zero);
                let (a, b) = (not(even[r]), not(odd[r]));
                let not = x._mm256_blendv_epi8(b, a, low_bytes);
                let mask = !(x._mm256_movemask_epi8(not) as u32);
                if mask != 0 {
                    let halves: [[u16; BLOCK / 2]; 2] = [bytemuck::cast(even[r]), bytemuck::cast(odd[r])];
                    sums[r] = bytemuck::cast(halves);
                }
                mask
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(random: &mut Stream, n: usize) -> Vec<f32> {
        let x: Vec<f64> = (0..n).map(|_| random.gaussian()).collect();
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.into_iter().map(|v| (v / norm) as f32).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn turned_vectors_have_the_products_that_they_had() {
        let mut random = Stream::new(1, "test", 0);
        for width in [1, 40, 64, 100, 512] {
            let rotation = Rotation::new(width).unwrap();
            let (a, b) = (unit(&mut random, width), unit(&mut random, width));
            let turned = [&a, &b].map(|x| {
                let mut out = vec![9.0; rotation.dims()];
                rotation.turn(x, &mut out);
                out
            });
            assert!((dot(&a, &b) - dot(&turned[0], &turned[1])).abs() < 1e-6, "{width}");
            // a single value is spread over all of them
            let mut one = vec![0.0; width];
            one[width / 2] = 1.0;
            let mut out = vec![9.0; rotation.dims()];
            rotation.turn(&one, &mut out);
            assert!(out.iter().all(|v| (v.abs() * (rotation.dims() as f32).sqrt() - 1.0).abs() < 1e-6));
        }
        assert!(Rotation::new(MOST).is_some() && Rotation::new(MOST + 1).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// The same pairs by any instruction, and those whose rounded sums are above the bar.
        #[test]
        fn what_is_above_is_so_by_the_plain_sums(seed in any::<u64>(), exponent in 6u32..11, n in 1usize..70, bar in 0.001f32..0.4) {
            let dims = 1 << exponent;
            let mut random = Stream::new(seed, "test", 0);
            let rows: Vec<Vec<f32>> = (0..TOGETHER).map(|_| unit(&mut random, dims)).collect();
            let vectors: Vec<Vec<f32>> = (0..n).map(|_| unit(&mut random, dims)).collect();
            let mut tables = Tables::new(dims);
            rows.iter().enumerate().for_each(|(r, row)| tables.set(r, row));
            if seed % 4 == 0 {
                tables.set(2, &vec![f32::NAN; dims]);
            }
            let mut signs = Signs::new(n, dims);
            for (b, mut block) in signs.blocks_mut().into_iter().enumerate() {
                (0..BLOCK.min(n - b * BLOCK)).for_each(|k| block.set(k, &vectors[b * BLOCK + k]));
            }
            let mut expected = Vec::new();
            for b in 0..n.div_ceil(BLOCK) {
                for r in (0..TOGETHER).filter(|r| seed % 4 != 0 || *r != 2) {
                    for (k, t) in vectors[b * BLOCK..].iter().take(BLOCK).enumerate() {
                        let steps: u32 = (0..dims / 4).map(|g| {
                            let index = (0..4).fold(0, |bits, d| bits | (usize::from(t[4 * g + d] >= 0.0) << d));
                            u32::from(tables.steps[g][r][index])
                        }).sum();
                        let size: f32 = t.iter().map(|v| v.abs()).sum();
                        if steps as f32 * tables.step[r] + tables.base[r] > bar * size {
                            expected.push((b, r, k));
                        }
                    }
                }
            }
            let mut found = Vec::new();
            (0..n.div_ceil(BLOCK)).for_each(|b| tables.above(signs.block(b), bar, Plain, |r, k| found.push((b, r, k))));
            prop_assert_eq!(&found, &expected);
            #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
            if let Some(simd) = pulp::x86::V3::try_new() {
                let mut found = Vec::new();
                (0..n.div_ceil(BLOCK)).for_each(|b| tables.above(signs.block(b), bar, Shuffled(simd), |r, k| found.push((b, r, k))));
                prop_assert_eq!(&found, &expected);
            }
        }
    }

    #[test]
    fn estimates_have_no_bias_and_the_spread_that_is_stated() {
        let (dims, n) = (512, 4000);
        let mut random = Stream::new(2, "test", 0);
        for r in [0.0, 0.3f64] {
            let (mut mean, mut squares) = (0.0, 0.0);
            for _ in 0..n {
                let u = unit(&mut random, dims);
                let other = unit(&mut random, dims);
                let t: Vec<f32> =
                    u.iter().zip(&other).map(|(a, b)| r as f32 * a + (1.0 - r * r).sqrt() as f32 * b).collect();
                let mut tables = Tables::new(dims);
                tables.set(0, &u);
                let steps: u32 = (0..dims / 4)
                    .map(|g| {
                        let index = (0..4).fold(0, |bits, d| bits | (usize::from(t[4 * g + d] >= 0.0) << d));
                        u32::from(tables.steps[g][0][index])
                    })
                    .sum();
                let size: f32 = t.iter().map(|v| v.abs()).sum();
                let error = f64::from((steps as f32 * tables.step[0] + tables.base[0]) / size) - dot(&u, &t);
                mean += error / f64::from(n);
                squares += error * error / f64::from(n);
            }
            let stated = f64::from(SPREAD) / (dims as f64).sqrt();
            let found = squares.sqrt();
            assert!(mean.abs() < 4.0 * stated / f64::from(n).sqrt(), "{r}: {mean}");
            assert!((0.9..1.1).contains(&(found / stated)), "{r}: {found} {stated}");
        }
    }
}
