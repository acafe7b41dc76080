//! Which instructions does a plain loop compile to? Those of the machine that it runs on.
//!
//! On x86-64 AVX-512 or AVX2 with FMA, found at run time; on aarch64 NEON; elsewhere, and with the cargo feature `portable`,
//! what every processor has. The results have the same bits everywhere.

use pulp::WithSimd;

/// Runs `work` with the widest vectors of this machine. With the feature `portable` it is given vectors of four f32, as NEON
/// has them, by plain Rust.
#[inline(always)]
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(feature = "portable")]
    return work.with_simd(pulp::Scalar128b);
    #[cfg(not(feature = "portable"))]
    pulp::Arch::new().dispatch(work)
}

/// Runs `work` compiled for the best vector instructions of this machine (AVX2 and FMA where there are any). A multiply-add
/// is then one instruction; without, it is a call into the C library, with the same bits.
///
/// Functions and closures inside must be `#[inline(always)]`, or they keep the portable instructions.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(feature = "portable")]
    return work();
    #[cfg(not(feature = "portable"))]
    pulp::Arch::new().dispatch(work)
}
