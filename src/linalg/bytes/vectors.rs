//! Single inner products of vectors rounded to bytes: any of the one side with any of the other.

use super::packed::{DEEPEST, round};
use rayon::prelude::*;

/// Vectors of `depth` values as bytes, one behind the other.
#[derive(Clone, Debug)]
pub struct ByteVectors {
    depth: usize,
    /// Whole steps, padded by zeros to whole [`CHUNK`]s: `[n, chunks]`
    steps: Vec<[i8; CHUNK]>,
    /// What a step of each vector is worth.
    worth: Vec<f32>,
}

/// Bytes that are multiplied at once.
const CHUNK: usize = 32;

impl ByteVectors {
    /// Room for `n` vectors, all zeros.
    ///
    /// # Panics
    /// When they are deeper than [`DEEPEST`].
    pub fn new(n: usize, depth: usize) -> Self {
        assert!(depth <= DEEPEST, "{depth} terms of bytes in 32 bits");
        let steps = vec![[0; CHUNK]; n * depth.div_ceil(CHUNK)];
        ByteVectors { depth, steps, worth: vec![0.0; n] }
    }

    /// Bytes of `n` vectors.
    pub fn memory_bytes(n: usize, depth: usize) -> usize {
        n * (depth.next_multiple_of(CHUNK) + size_of::<f32>())
    }

    /// Takes vectors, finite, from the first on; `fill` is called with the number of each and room for its values.
    pub fn fill(&mut self, fill: impl Fn(usize, &mut [f32]) + Sync) {
        let (depth, chunks) = (self.depth, self.depth.div_ceil(CHUNK).max(1));
        let room = || vec![0f32; depth];
        let vectors = self.steps.par_chunks_exact_mut(chunks).zip(&mut self.worth).enumerate();
        vectors.with_min_len(64).for_each_init(room, |v, (k, (steps, worth))| {
            fill(k, v);
            *worth = rounded(v, steps);
        });
    }

    /// Takes vector `k`, finite.
    pub fn set(&mut self, k: usize, v: &[f32]) {
        let chunks = self.depth.div_ceil(CHUNK);
        self.worth[k] = rounded(v, &mut self.steps[k * chunks..][..chunks]);
    }

    /// The product of vector `i`, rounded, and vector `j` of `other`, rounded.
    #[inline(always)]
    pub fn product(&self, i: usize, other: &ByteVectors, j: usize, multiply: impl Multiply) -> f32 {
        let n = self.depth.div_ceil(CHUNK);
        let whole = multiply.sum(&self.steps[i * n..][..n], &other.steps[j * n..][..n]);
        whole as f32 * (self.worth[i] * other.worth[j])
    }
}

fn rounded(v: &[f32], steps: &mut [[i8; CHUNK]]) -> f32 {
    let rounding = crate::linalg::vectorised(
        #[inline(always)]
        || round(v, &mut steps.as_flattened_mut()[..v.len()]),
    );
    rounding.step
}

/// How bytes are multiplied and summed.
pub trait Multiply: Copy {
    /// Of two vectors of as many chunks.
    fn sum(self, a: &[[i8; CHUNK]], b: &[[i8; CHUNK]]) -> i32;
}

/// By the definition, on any processor.
#[derive(Clone, Copy)]
pub struct PlainProducts;

impl Multiply for PlainProducts {
    #[inline(always)]
    fn sum(self, a: &[[i8; CHUNK]], b: &[[i8; CHUNK]]) -> i32 {
        let terms = a.as_flattened().iter().zip(b.as_flattened());
        terms.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    }
}

/// By pairs, with AVX2.
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
#[derive(Clone, Copy)]
pub struct PairedProducts(pub pulp::x86::V3);

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
impl Multiply for PairedProducts {
    #[inline(always)]
    fn sum(self, a: &[[i8; CHUNK]], b: &[[i8; CHUNK]]) -> i32 {
        let (avx, x) = (self.0.avx, self.0.avx2);
        let ones = avx._mm256_set1_epi16(1);
        let mut sums = avx._mm256_setzero_si256();
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (bytemuck::cast(*a), bytemuck::cast(*b));
            // |a| times b with the sign of a: at most 2 · 127² of two, which 16 bits hold
            let pairs = x._mm256_maddubs_epi16(x._mm256_abs_epi8(a), x._mm256_sign_epi8(b, a));
            sums = x._mm256_add_epi32(sums, x._mm256_madd_epi16(pairs, ones));
        }
        bytemuck::cast::<_, [i32; 8]>(sums).iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sums_are_the_same_and_products_within_the_bound(
            seed in any::<u64>(), depth in prop_oneof![0usize..70, Just(512), 1000usize..1030], scale in prop_oneof![Just(1.0), Just(1e-15), Just(1e12), Just(0.0)],
        ) {
            let mut random = Stream::new(seed, "test", 0);
            let n = 3;
            let values: Vec<f32> = (0..2 * n * depth).map(|_| (scale * random.gaussian().powi(3)) as f32).collect();
            let vector = |k: usize| &values[k * depth..][..depth];
            let (mut a, mut b) = (ByteVectors::new(n, depth), ByteVectors::new(n, depth));
            a.fill(|k, v| v.copy_from_slice(vector(k)));
            (0..n).for_each(|k| b.set(k, vector(n + k)));
            for i in 0..n {
                for j in 0..n {
                    let about = a.product(i, &b, j, PlainProducts);
                    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
                    if let Some(simd) = pulp::x86::V3::try_new() {
                        prop_assert_eq!(about, a.product(i, &b, j, PairedProducts(simd)));
                    }
                    // half a step of either side times what it meets, and a little for f32
                    let (x, y) = (vector(i), vector(n + j));
                    let exact: f64 = x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let [of_x, of_y] = [x, y].map(|v| v.iter().map(|v| f64::from(v.abs())).sum::<f64>());
                    let [half_x, half_y] = [a.worth[i], b.worth[j]].map(|step| 0.5001 * f64::from(step));
                    let bound = half_x * of_y + half_y * (of_x + half_x * depth as f64);
                    let slack = 1e-6 * exact.abs() + f64::from(f32::MIN_POSITIVE);
                    prop_assert!((f64::from(about) - exact).abs() <= bound + slack, "{} {} {}", about, exact, bound);
                }
            }
        }
    }
}
