//! How is the memory of a candle tensor reached? As slices of f32 and strides of heads.

use crate::error::Error;
use candle_core::{CpuStorage, Layout};

/// An error of the tensor library. Shapes are checked at load, so it is a system error (memory, device).
pub fn device_error(e: candle_core::Error) -> Error {
    Error::machine(format!("a tensor operation of the forward failed: {e}"))
}

/// The values of a contiguous f32 tensor.
pub fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected, found {layout:?}"),
    }
}

/// The values of a contiguous f32 tensor, to be written.
pub fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> candle_core::Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("a contiguous f32 tensor was expected, found {layout:?}"),
    }
}

/// Strides of a `[n_tokens, n_heads, d_head]` view whose last dimension is contiguous: (first value, token, head).
pub fn head_strides(layout: &Layout) -> candle_core::Result<(usize, usize, usize)> {
    match (layout.dims(), layout.stride()) {
        (&[_, _, d], &[token, head, last]) if last == 1 || d == 1 => Ok((layout.start_offset(), token, head)),
        _ => candle_core::bail!("a [n_tokens, n_heads, d_head] view was expected, found {layout:?}"),
    }
}
