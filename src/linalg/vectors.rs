//! Which instructions does a plain loop compile to? Those of the machine that it runs on.

/// Runs `work` compiled for the best vector instructions of this machine (AVX2 and FMA where there are any). A multiply-add
/// is then one instruction; without, it is a call into the C library, with the same bits.
///
/// Functions and closures inside must be `#[inline(always)]`, or they keep the portable instructions.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
