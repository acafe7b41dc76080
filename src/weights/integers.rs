//! Whole numbers as safetensors files hold them: ids of tokens, places of latents.

use ::safetensors::tensor::Dtype;

/// Bytes of a number; 0 for what is no type of whole numbers that is read.
pub fn bytes_of(dtype: Dtype) -> usize {
    match dtype {
        Dtype::I64 | Dtype::U64 => 8,
        Dtype::I32 | Dtype::U32 => 4,
        Dtype::U16 => 2,
        _ => 0,
    }
}

/// Little-endian whole numbers, of every type without a loss.
pub fn whole_numbers(dtype: Dtype, bytes: &[u8]) -> Vec<i128> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> i128) -> Vec<i128> {
        bytes.as_chunks::<N>().0.iter().map(|b| number(*b)).collect()
    }
    match dtype {
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b).into()),
        Dtype::U64 => each(bytes, |b| u64::from_le_bytes(b).into()),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        Dtype::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        Dtype::U16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        _ => Vec::new(),
    }
}
