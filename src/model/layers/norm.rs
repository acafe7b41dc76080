//! What is a row after LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)?
//!
//! Sums run in 16 fixed f32 lanes (feature i in lane i mod 16) that are added up in order, so bits do not depend on the
//! machine's vector width.

use super::pool::buffer;
use super::tensors::{device_error, slice};
use crate::error::Result;
use crate::linalg::vectorised;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Layout, Shape, Tensor};

/// A normalisation over the last dimension.
#[derive(Clone, Debug)]
pub enum Norm {
    /// `(x - mean) / sqrt(variance + eps) * weight + bias`, variance over n.
    Layer {
        /// `[width]`.
        weight: Tensor,
        /// `[width]`.
        bias: Tensor,
        /// Added to the variance.
        eps: f32,
    },
    /// `x / sqrt(mean(x^2) + eps) * weight`. Gemma stores `weight - 1`; the 1 is added at load.
    Rms {
        /// `[width]`.
        weight: Tensor,
        /// Added to the mean square.
        eps: f32,
    },
}

impl Norm {
    /// Features of a row.
    pub fn width(&self) -> usize {
        match self {
            Norm::Layer { weight, .. } | Norm::Rms { weight, .. } => weight.elem_count(),
        }
    }

    /// `x: [.., width]` contiguous, the same shape out.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let out = if x.device().is_cpu() {
            match self {
                Norm::Layer { weight, bias, eps } => x.apply_op3_no_bwd(weight, bias, &LayerNorm { eps: *eps }),
                Norm::Rms { weight, eps } => x.apply_op2_no_bwd(weight, &RmsNorm { eps: *eps }),
            }
        } else {
            self.plain(x)
        };
        out.map_err(device_error)
    }

    /// The same in candle's own operations.
    pub(super) fn plain(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Norm::Layer { weight, bias, eps } => {
                let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                centred
                    .broadcast_div(&(variance + f64::from(*eps))?.sqrt()?)?
                    .broadcast_mul(weight)?
                    .broadcast_add(bias)
            }
            Norm::Rms { weight, eps } => {
                let square = x.sqr()?.mean_keepdim(D::Minus1)?;
                x.broadcast_div(&(square + f64::from(*eps))?.sqrt()?)?.broadcast_mul(weight)
            }
        }
    }
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

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, w, b) = (slice(x, lx)?, slice(w, lw)?, slice(b, lb)?);
        if w.is_empty() || w.len() != b.len() || lx.dims().last() != Some(&w.len()) {
            candle_core::bail!("a norm over {} does not fit rows of {:?}", w.len(), lx.dims().last());
        }
        let mut out = buffer(x.len());
        vectorised(
            #[inline(always)]
            || layer_norm(x, w, b, self.eps, &mut out),
        );
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
}

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        if w.is_empty() || lx.dims().last() != Some(&w.len()) {
            candle_core::bail!("a norm over {} does not fit rows of {:?}", w.len(), lx.dims().last());
        }
        let mut out = buffer(x.len());
        vectorised(
            #[inline(always)]
            || rms_norm(x, w, self.eps, &mut out),
        );
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }
}
