//! What is a row after LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)?
//!
//! Sums run in 16 fixed f32 lanes (feature i in lane i mod 16) that are added up in order, so bits do not depend on the
//! machine's vector width.

use crate::linalg::vectorised;
use crate::model::backend::NormValues;
use crate::model::pool::{Rows, buffer};

/// Every row of `x` through `norm`. Rows may be several norms wide: then each part has a norm of its own.
///
/// # Panics
/// When a row is no whole number of norms.
pub fn forward(norm: &NormValues, x: &Rows) -> Rows {
    let (NormValues::Layer { weight, .. } | NormValues::Rms { weight, .. }) = norm;
    assert!(x.width().is_multiple_of(weight.len()), "a norm over {} for rows of {}", weight.len(), x.width());
    let mut out = buffer(x.values().len());
    vectorised(
        #[inline(always)]
        || match norm {
            NormValues::Layer { weight, bias, eps } => layer_norm(x.values(), weight, bias, *eps, &mut out),
            NormValues::Rms { weight, eps } => rms_norm(x.values(), weight, *eps, &mut out),
        },
    );
    Rows::new(out, x.width())
}

const LANES: usize = 16;

#[inline(always)]
fn lane_sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += term(chunk[i]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += term(v);
    }
    lanes.iter().sum()
}

#[inline(always)]
fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (row, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let mean = lane_sum(
            row,
            #[inline(always)]
            |v| v,
        ) / n as f32;
        let variance = lane_sum(
            row,
            #[inline(always)]
            |v| (v - mean) * (v - mean),
        ) / n as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((o, &v), &w), &b) in out.iter_mut().zip(row).zip(weight).zip(bias) {
            *o = ((v - mean) * scale).mul_add(w, b);
        }
    }
}

#[inline(always)]
fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let n = weight.len();
    for (row, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let square = lane_sum(
            row,
            #[inline(always)]
            |v| v * v,
        ) / n as f32;
        let scale = 1.0 / (square + eps).sqrt();
        for ((o, &v), &w) in out.iter_mut().zip(row).zip(weight) {
            *o = v * scale * w;
        }
    }
}
