//! The instruction that multiplies pairs of bf16, VDPBF16PS.

#![allow(unsafe_code)]

use super::kernel::{Pairs, Product};
use super::packed::PairLine;
use crate::linalg::panels::WIDTH;
use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_set1_epi32};
use std::mem::transmute;

/// Whether this processor has it.
pub fn has_instruction() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// A product by the instruction.
///
/// # Panics
/// On a processor that does not have it.
pub fn run(product: Product<'_>) {
    assert!(has_instruction(), "a processor without AVX-512 BF16");
    // SAFETY: the processor has the features that the function is compiled for.
    unsafe { with_instruction(product) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn with_instruction(product: Product<'_>) {
    product.run::<_, 2>(Instruction(()));
}

/// Made by `with_instruction` alone.
#[derive(Clone, Copy)]
struct Instruction(());

impl Pairs for Instruction {
    type Sums = __m512;

    #[inline(always)]
    fn zero(self) -> __m512 {
        bytemuck::Zeroable::zeroed()
    }

    #[inline(always)]
    fn add(self, sums: __m512, w: &PairLine, x: u32) -> __m512 {
        // SAFETY: an Instruction is made only where the processor has these instructions; 64 bytes of any value are 32 bf16.
        unsafe {
            let x = transmute::<__m512i, __m512bh>(_mm512_set1_epi32(x.cast_signed()));
            let w = transmute::<[u32; WIDTH], __m512bh>(w.0);
            _mm512_dpbf16_ps(sums, x, w)
        }
    }

    #[inline(always)]
    fn values(self, sums: __m512) -> [f32; WIDTH] {
        bytemuck::cast(sums)
    }
}
