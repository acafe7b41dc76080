//! How are bytes multiplied by fours? A loop over groups of rows and panels for any instruction that does, and the two that do.

use super::packed::{ByteRows, QUAD, QuadLine};
use crate::linalg::panels::{GROUP, WIDTH};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Quads whose products are summed before the next columns pass: with four panels 32 KiB, which stay in the first cache.
const DEPTH: usize = 128;
/// Groups of rows that stay in the second-level cache while panels pass.
const GROUPS: usize = 22;

/// Whether this machine multiplies bytes faster than f32.
pub fn pays_off() -> bool {
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    return x86::has_512() || x86::has_256();
    #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
    false
}

/// Sums of four products each, in the lanes of a line.
trait Quads: Copy {
    /// A line of sums.
    type Sums: Pod;
    /// `sums + w x`, `w` unsigned, `x` four signed bytes for every lane.
    fn add(self, sums: Self::Sums, w: QuadLine, x: i32) -> Self::Sums;
}

/// By the definition, on any processor.
#[derive(Clone, Copy)]
struct Plain;

impl Quads for Plain {
    type Sums = [i32; WIDTH];

    #[inline(always)]
    fn add(self, mut sums: [i32; WIDTH], w: QuadLine, x: i32) -> [i32; WIDTH] {
        let x = x.to_le_bytes();
        for (j, sum) in sums.iter_mut().enumerate() {
            for (t, &x) in x.iter().enumerate() {
                *sum += i32::from(w.0[j * QUAD + t]) * i32::from(x as i8);
            }
        }
        sums
    }
}

/// A product under way: `sums[row, column] = rows[row] * lines[column]`, `width` columns.
pub(super) struct Product<'a> {
    pub rows: &'a ByteRows,
    pub n_quads: usize,
    pub lines: &'a [QuadLine],
    pub width: usize,
    pub sums: &'a mut [i32],
}

impl Product<'_> {
    /// By the fastest instruction of this machine.
    pub fn dispatch(self) {
        #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
        if x86::has_512() || x86::has_256() {
            return x86::run(self);
        }
        self.plain();
    }

    /// By the definition.
    pub fn plain(self) {
        crate::linalg::vectorised(
            #[inline(always)]
            || self.run::<_, 1>(Plain),
        );
    }

    #[inline(always)]
    fn run<Q: Quads, const P: usize>(mut self, quads: Q) {
        let n_groups = self.rows.n_rows.div_ceil(GROUP);
        let n_panels = self.lines.len() / self.n_quads;
        for first in (0..n_groups).step_by(GROUPS) {
            let groups = first..n_groups.min(first + GROUPS);
            for start in (0..self.n_quads).step_by(DEPTH) {
                let depths = start..self.n_quads.min(start + DEPTH);
                let mut p = 0;
                while p + P <= n_panels {
                    groups.clone().for_each(|g| self.group::<Q, P>(quads, g, depths.clone(), p));
                    p += P;
                }
                while p < n_panels {
                    groups.clone().for_each(|g| self.group::<Q, 1>(quads, g, depths.clone(), p));
                    p += 1;
                }
            }
        }
    }

    /// One block of depths of a group of rows and `P` panels.
    #[inline(always)]
    fn group<Q: Quads, const P: usize>(&mut self, quads: Q, g: usize, depths: Range<usize>, p: usize) {
        let a = &self.rows.values[g * self.n_quads..][depths.clone()];
        let b: [&[QuadLine]; P] =
            std::array::from_fn(|i| &self.lines[(p + i) * self.n_quads..][depths.clone()][..a.len()]);
        let mut sums = [[Q::Sums::zeroed(); P]; GROUP];
        for (l, a) in a.iter().enumerate() {
            let b: [QuadLine; P] = std::array::from_fn(|i| b[i][l]);
            for (sums, &a) in sums.iter_mut().zip(a) {
                for (sum, &b) in sums.iter_mut().zip(&b) {
                    *sum = quads.add(*sum, b, a);
                }
            }
        }
        for (i, sums) in sums.into_iter().enumerate() {
            let row = g * GROUP + i;
            if row == self.rows.n_rows {
                break;
            }
            for (q, sum) in sums.into_iter().enumerate() {
                let sum: [i32; WIDTH] = bytemuck::cast(sum);
                let out = &mut self.sums[row * self.width + (p + q) * WIDTH..][..WIDTH];
                for (out, sum) in out.iter_mut().zip(sum) {
                    *out = if depths.start == 0 { sum } else { *out + sum };
                }
            }
        }
    }
}

/// The two instructions that multiply bytes by fours.
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
#[allow(unsafe_code)]
pub(super) mod x86 {
    use super::{Product, QuadLine, Quads};
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_dpbusd_avx_epi32, _mm256_set1_epi32, _mm512_dpbusd_epi32, _mm512_set1_epi32,
    };

    pub fn has_512() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
    }

    pub fn has_256() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")
    }

    /// On a processor that has one of them.
    pub fn run(product: Product<'_>) {
        if has_512() { by_512(product) } else { by_256(product) }
    }

    pub fn by_512(product: Product<'_>) {
        assert!(has_512(), "a processor without AVX-512 VNNI");
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { with_512(product) }
    }

    pub fn by_256(product: Product<'_>) {
        assert!(has_256(), "a processor without AVX-VNNI");
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe { with_256(product) }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn with_512(product: Product<'_>) {
        product.run::<_, 4>(By512(()));
    }

    #[target_feature(enable = "avx2,avxvnni")]
    fn with_256(product: Product<'_>) {
        product.run::<_, 1>(By256(()));
    }

    /// Made by `with_512` alone.
    #[derive(Clone, Copy)]
    struct By512(());
    /// Made by `with_256` alone.
    #[derive(Clone, Copy)]
    struct By256(());

    impl Quads for By512 {
        type Sums = __m512i;

        #[inline(always)]
        fn add(self, sums: __m512i, w: QuadLine, x: i32) -> __m512i {
            // SAFETY: a By512 is made only where the processor has these instructions.
            unsafe { _mm512_dpbusd_epi32(sums, bytemuck::cast(w.0), _mm512_set1_epi32(x)) }
        }
    }

    impl Quads for By256 {
        type Sums = [__m256i; 2];

        #[inline(always)]
        fn add(self, sums: [__m256i; 2], w: QuadLine, x: i32) -> [__m256i; 2] {
            let w: [__m256i; 2] = bytemuck::cast(w.0);
            // SAFETY: a By256 is made only where the processor has these instructions.
            std::array::from_fn(
                #[inline(always)]
                |i| unsafe { _mm256_dpbusd_avx_epi32(sums[i], w[i], _mm256_set1_epi32(x)) },
            )
        }
    }
}
