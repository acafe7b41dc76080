//! Values of a quantised block. The block formats of ggml, each widened to f32 with the roundings of the
//! reference implementation (`gguf.quants.dequantize`), so results are bit-equal to it.
//!
//! A block is a fixed number of bytes for 32 or 256 values; formats are described in ggml's `ggml-common.h`.

use half::{bf16, f16};

/// A tensor type of the file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain f32.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 4 bits, a scale per 32.
    Q4_0,
    /// 4 bits, a scale and a minimum per 32.
    Q4_1,
    /// 5 bits, a scale per 32.
    Q5_0,
    /// 5 bits, a scale and a minimum per 32.
    Q5_1,
    /// 8 bits, a scale per 32.
    Q8_0,
    /// 2 bits, a scale and a minimum of 4 bits per 16.
    Q2K,
    /// 3 bits, a scale of 6 bits per 16.
    Q3K,
    /// 4 bits, a scale and a minimum of 6 bits per 32.
    Q4K,
    /// 5 bits, a scale and a minimum of 6 bits per 32.
    Q5K,
    /// 6 bits, a scale of 8 bits per 16.
    Q6K,
    /// 4 bits that name one of 16 levels, a scale per 32.
    Iq4Nl,
    /// 4 bits that name one of 16 levels, a scale of 6 bits per 32.
    Iq4Xs,
}

/// Values in the largest block.
pub const MAX_BLOCK: usize = 256;

impl Kind {
    /// By its number in the file; `None` for one that is not read.
    pub fn numbered(number: u32) -> Option<Self> {
        Some(match number {
            0 => Kind::F32,
            1 => Kind::F16,
            2 => Kind::Q4_0,
            3 => Kind::Q4_1,
            6 => Kind::Q5_0,
            7 => Kind::Q5_1,
            8 => Kind::Q8_0,
            10 => Kind::Q2K,
            11 => Kind::Q3K,
            12 => Kind::Q4K,
            13 => Kind::Q5K,
            14 => Kind::Q6K,
            20 => Kind::Iq4Nl,
            23 => Kind::Iq4Xs,
            30 => Kind::Bf16,
            _ => return None,
        })
    }

    /// (values, bytes) of a block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Kind::F32 => (1, 4),
            Kind::F16 | Kind::Bf16 => (1, 2),
            Kind::Q4_0 | Kind::Iq4Nl => (32, 18),
            Kind::Q4_1 => (32, 20),
            Kind::Q5_0 => (32, 22),
            Kind::Q5_1 => (32, 24),
            Kind::Q8_0 => (32, 34),
            Kind::Q2K => (256, 84),
            Kind::Q3K => (256, 110),
            Kind::Q4K => (256, 144),
            Kind::Q5K => (256, 176),
            Kind::Q6K => (256, 210),
            Kind::Iq4Xs => (256, 136),
        }
    }

    /// The values of one block: `b` holds its bytes, `y` takes its values (sizes: [`Kind::block`]).
    pub fn widen(self, b: &[u8], y: &mut [f32]) {
        match self {
            Kind::F32 => y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Kind::F16 => y[0] = half_at(b, 0),
            Kind::Bf16 => y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Kind::Q4_0 => {
                let d = half_at(b, 0);
                nibbles(&b[2..], y, |q, _| d * f32::from(q as i8 - 8));
            }
            Kind::Q4_1 => {
                let (d, low) = (half_at(b, 0), half_at(b, 2));
                nibbles(&b[4..], y, |q, _| d * f32::from(q) + low);
            }
            Kind::Q5_0 => {
                let (d, high) = (half_at(b, 0), u32::from_le_bytes([b[2], b[3], b[4], b[5]]));
                nibbles(&b[6..], y, |q, i| d * f32::from((q | fifth(high, i)) as i8 - 16));
            }
            Kind::Q5_1 => {
                let (d, low, high) = (half_at(b, 0), half_at(b, 2), u32::from_le_bytes([b[4], b[5], b[6], b[7]]));
                nibbles(&b[8..], y, |q, i| d * f32::from(q | fifth(high, i)) + low);
            }
            Kind::Q8_0 => {
                let d = half_at(b, 0);
                for (y, &q) in y.iter_mut().zip(&b[2..]) {
                    *y = d * f32::from(q as i8);
                }
            }
            Kind::Iq4Nl => {
                let d = half_at(b, 0);
                nibbles(&b[2..], y, |q, _| d * f32::from(LEVELS[usize::from(q)]));
            }
            Kind::Q2K => q2_k(b, y),
            Kind::Q3K => q3_k(b, y),
            Kind::Q4K => q45_k(b, &b[16..], None, y),
            Kind::Q5K => q45_k(b, &b[48..], Some(&b[16..48]), y),
            Kind::Q6K => q6_k(b, y),
            Kind::Iq4Xs => iq4_xs(b, y),
        }
    }
}

/// The 16 levels of the IQ4 formats.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn half_at(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// 32 four-bit values: low halves of 16 bytes first, then the high halves; `value(q, i)` gives value i.
fn nibbles(qs: &[u8], y: &mut [f32], value: impl Fn(u8, usize) -> f32) {
    for i in 0..16 {
        y[i] = value(qs[i] & 0xF, i);
        y[i + 16] = value(qs[i] >> 4, i + 16);
    }
}

/// Bit i of `high` as the fifth bit of a value.
fn fifth(high: u32, i: usize) -> u8 {
    (((high >> i) & 1) << 4) as u8
}

/// scales [16] (low half scale, high half minimum), two bits per value [64], d, dmin.
fn q2_k(b: &[u8], y: &mut [f32]) {
    let (d, min) = (half_at(b, 80), half_at(b, 82));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let scale = b[group];
        let (scale, low) = (d * f32::from(scale & 0xF), min * f32::from(scale >> 4));
        let (half, within) = (group / 8, group % 8);
        let qs = &b[16 + 32 * half + 16 * (within % 2)..];
        for (y, q) in y.iter_mut().zip(qs) {
            *y = scale * f32::from((q >> (2 * (within / 2))) & 3) - low;
        }
    }
}

/// Third bits [32], two bits per value [64], six-bit scales [12], d.
fn q3_k(b: &[u8], y: &mut [f32]) {
    let (high, qs, packed, d) = (&b[..32], &b[32..96], &b[96..108], half_at(b, 108));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        // Four low bits of a scale are in bytes 0..8 (low halves first), its two high bits in bytes 8..12.
        let low = if group < 8 { packed[group] & 0xF } else { packed[group - 8] >> 4 };
        let top = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
        let scale = d * f32::from((low | (top << 4)) as i8 - 32);
        let (half, within) = (group / 8, group % 8);
        let (pair, offset) = (within / 2, 16 * (within % 2));
        for (i, y) in y.iter_mut().enumerate() {
            let q = (qs[32 * half + offset + i] >> (2 * pair)) & 3;
            let less = if high[offset + i] & (1 << (4 * half + pair)) == 0 { 4 } else { 0 };
            *y = scale * f32::from(q as i8 - less);
        }
    }
}

/// d, dmin, six-bit scales and minima [12]; for Q5 the fifth bits [32]; four bits per value [128].
fn q45_k(b: &[u8], qs: &[u8], high: Option<&[u8]>, y: &mut [f32]) {
    let (d, min, packed) = (half_at(b, 0), half_at(b, 2), &b[4..16]);
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, low) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            let (low_bits, scale_top, min_top) = (packed[group + 4], packed[group - 4] >> 6, packed[group] >> 6);
            ((low_bits & 0xF) | (scale_top << 4), (low_bits >> 4) | (min_top << 4))
        };
        let (scale, low) = (d * f32::from(scale), min * f32::from(low));
        for (i, y) in y.iter_mut().enumerate() {
            let q = (qs[32 * (group / 2) + i] >> (4 * (group % 2))) & 0xF;
            let fifth = high.map_or(0, |high| ((high[i] >> group) & 1) << 4);
            *y = scale * f32::from(q | fifth) - low;
        }
    }
}

/// Four low bits per value [128], two high bits per value [64], scales [16], d.
fn q6_k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half_at(b, 208));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let scale = d * f32::from(scales[group] as i8);
        // Groups 0, 1 are the first 32 values of a half, 2 and 3 the next, and so on.
        let (half, quarter, offset) = (group / 8, (group % 8) / 2, 16 * (group % 2));
        for (i, y) in y.iter_mut().enumerate() {
            let at = offset + i;
            let four = (low[64 * half + 32 * (quarter % 2) + at] >> (4 * (quarter / 2))) & 0xF;
            let two = (high[32 * half + at] >> (2 * quarter)) & 3;
            *y = scale * f32::from((four | (two << 4)) as i8 - 32);
        }
    }
}

/// d, two high bits of each scale (u16), four low bits [4], four bits per value [128].
fn iq4_xs(b: &[u8], y: &mut [f32]) {
    let (d, high) = (half_at(b, 0), u16::from_le_bytes([b[2], b[3]]));
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let low = (b[4 + group / 2] >> (4 * (group % 2))) & 0xF;
        let top = ((high >> (2 * group)) & 3) as u8;
        let scale = d * f32::from((low | (top << 4)) as i8 - 32);
        nibbles(&b[8 + 16 * group..], y, |q, _| scale * f32::from(LEVELS[usize::from(q)]));
    }
}
