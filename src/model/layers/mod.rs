//! The layers that families share, written in candle tensors of one context: `[n_tokens, width]` f32.
//!
//! On the CPU the hot operations are candle custom ops over our own sequential kernels; on any other device the same
//! function takes candle's own operations. The latter also run on the CPU, where they are the oracle of the former.

pub mod activation;
pub mod approx;
pub mod attention;
pub mod embedding;
pub mod kept;
pub mod linear;
pub mod mlp;
pub mod norm;
mod onto;
pub mod rotary;
pub mod sum;

pub use activation::Activation;
pub use attention::{Attention, side_by_side};
pub use embedding::Embedding;
pub use kept::Kept;
pub use linear::Linear;
pub use mlp::{Hidden, Mlp};
pub use norm::Norm;
pub use rotary::Rotary;
pub use sum::sum;

#[cfg(test)]
mod tests;

use crate::error::Error;
use candle_core::{CpuStorage, Layout};

/// A failure of the tensor library, which shapes checked at load leave to the machine (memory, device).
pub fn device_error(e: candle_core::Error) -> Error {
    Error::machine(format!("a tensor operation of the forward failed: {e}"))
}

/// The values of a contiguous f32 tensor.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected, found {layout:?}"),
    }
}

/// The values of a contiguous f32 tensor, to be written.
fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected, found {layout:?}"),
    }
}

/// Strides of a `[n_tokens, n_heads, d_head]` view whose last dimension is contiguous: (first value, token, head).
fn head_strides(layout: &Layout) -> candle_core::Result<(usize, usize, usize)> {
    match (layout.dims(), layout.stride()) {
        (&[_, _, d], &[token, head, last]) if last == 1 || d == 1 => Ok((layout.start_offset(), token, head)),
        _ => candle_core::bail!("a [n_tokens, n_heads, d_head] view was expected, found {layout:?}"),
    }
}
