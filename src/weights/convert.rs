//! How is an element stored, and what is it as f32?

use half::f16;
use half::slice::HalfFloatSliceExt;

/// How an element is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Whole numbers of 4 bytes.
    I32,
    /// Whole numbers of 8 bytes.
    I64,
}

impl StoredDtype {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            StoredDtype::F16 | StoredDtype::Bf16 => 2,
            StoredDtype::F32 | StoredDtype::I32 => 4,
            StoredDtype::F64 | StoredDtype::I64 => 8,
        }
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        !matches!(self, StoredDtype::I32 | StoredDtype::I64)
    }
}

/// Little-endian elements to f32; f64 and integers are rounded to the nearest. As many as both hold.
pub fn widen(dtype: StoredDtype, bytes: &[u8], values: &mut [f32]) {
    fn each<const N: usize>(bytes: &[u8], values: &mut [f32], widen: impl Fn([u8; N]) -> f32) {
        let (elements, _) = bytes.as_chunks::<N>();
        for (value, element) in values.iter_mut().zip(elements) {
            *value = widen(*element);
        }
    }
    match dtype {
        StoredDtype::F16 => widen_f16(bytes, values),
        StoredDtype::Bf16 => each(bytes, values, |b| half::bf16::from_le_bytes(b).to_f32()),
        StoredDtype::F32 => each(bytes, values, f32::from_le_bytes),
        StoredDtype::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
        StoredDtype::I32 => each(bytes, values, |b| i32::from_le_bytes(b) as f32),
        StoredDtype::I64 => each(bytes, values, |b| i64::from_le_bytes(b) as f32),
    }
}

/// By the processor's own instructions, many at a time.
fn widen_f16(bytes: &[u8], out: &mut [f32]) {
    let mut some = [f16::ZERO; 512];
    for (bytes, out) in bytes.chunks(2 * some.len()).zip(out.chunks_mut(some.len())) {
        let some = &mut some[..out.len()];
        some.iter_mut().zip(bytes.as_chunks().0).for_each(|(v, b)| *v = f16::from_le_bytes(*b));
        some.convert_to_f32_slice(out);
    }
}
