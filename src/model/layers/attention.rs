//! What do the heads gather? Causal attention over one context, with grouped queries, sliding windows and soft caps.
//!
//! The CPU kernel goes by blocks of query rows and multiplies only with the keys that some row of the block sees: no
//! block above the diagonal or outside the window is touched, and scores live for one block at a time.

use super::approx::{exp, tanh, vectorised};
use super::{Linear, Norm, Rotary, device_error, head_strides};
use crate::error::Result;
use crate::linalg::gemm::gemm_f32;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};
use std::sync::Arc;

/// The attention of a block, up to the heads' concatenated output (`attn_z`), and its output projection.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Where queries, keys and values come from.
    pub projections: Projections,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`, query head h reads key head `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Norms over `d_head` of queries and keys, before the rotation.
    pub qk_norms: Option<(Norm, Norm)>,
    /// Rotation of queries and keys.
    pub rotary: Option<Arc<Rotary>>,
    /// Scores and how they are masked.
    pub scores: Scores,
    /// `[n_heads * d_head]` to `[d_model]`.
    pub output: Linear,
}

/// Where queries, keys and values come from.
#[derive(Clone, Debug)]
pub enum Projections {
    /// One linear layer whose output is, head by head, query, key and value (GPT-NeoX).
    PerHead(Linear),
    /// One linear layer whose output is all queries, all keys, all values (GPT-2).
    Stacked(Linear),
    /// Three layers.
    Separate {
        /// To `[n_heads * d_head]`.
        query: Linear,
        /// To `[n_kv_heads * d_head]`.
        key: Linear,
        /// To `[n_kv_heads * d_head]`.
        value: Linear,
    },
}

/// How a score is made of query and key, and which keys are seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Multiplies the product of query and key.
    pub scale: f32,
    /// `cap * tanh(score / cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
    /// Position i sees j with `i - window < j <= i`; `None`: all j <= i.
    pub window: Option<usize>,
}

impl Attention {
    /// `x: [n_tokens, d_model]` to the concatenated heads `[n_tokens, n_heads * d_head]`.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn heads(&self, x: &Tensor) -> Result<Tensor> {
        let (mut q, mut k, v) = self.project(x)?;
        if let Some((query, key)) = &self.qk_norms {
            q = query.forward(&q.contiguous().map_err(device_error)?)?;
            k = key.forward(&k.contiguous().map_err(device_error)?)?;
        }
        if let Some(rotary) = &self.rotary {
            q = rotary.apply(q)?;
            k = rotary.apply(k)?;
        }
        let z =
            if x.device().is_cpu() { q.apply_op3_no_bwd(&k, &v, &self.scores) } else { self.scores.plain(&q, &k, &v) };
        z.map_err(device_error)
    }

    /// Queries, keys and values as `[n_tokens, heads, d_head]` views.
    fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let (n, h, kv, d) = (x.dims()[0], self.n_heads, self.n_kv_heads, self.d_head);
        let parts = match &self.projections {
            Projections::PerHead(all) => {
                let all = all.forward(x)?;
                all.reshape((n, h, 3 * d))
                    .and_then(|all| Ok((all.narrow(2, 0, d)?, all.narrow(2, d, d)?, all.narrow(2, 2 * d, d)?)))
            }
            Projections::Stacked(all) => {
                let all = all.forward(x)?;
                all.reshape((n, h + 2 * kv, d))
                    .and_then(|all| Ok((all.narrow(1, 0, h)?, all.narrow(1, h, kv)?, all.narrow(1, h + kv, kv)?)))
            }
            Projections::Separate { query, key, value } => {
                let (q, k, v) = (query.forward(x)?, key.forward(x)?, value.forward(x)?);
                q.reshape((n, h, d)).and_then(|q| Ok((q, k.reshape((n, kv, d))?, v.reshape((n, kv, d))?)))
            }
        };
        parts.map_err(device_error)
    }
}

/// Query rows in a block: small enough that little above the diagonal is computed, large enough for the product.
const BLOCK: usize = 64;

impl Scores {
    /// The same in candle's own operations.
    pub(super) fn plain(&self, q: &Tensor, k: &Tensor, v: &Tensor) -> candle_core::Result<Tensor> {
        let (n, h, d) = q.dims3()?;
        let group = h / k.dim(1)?;
        let spread = |x: &Tensor| -> candle_core::Result<Tensor> {
            let kv = x.dim(1)?;
            x.unsqueeze(2)?.broadcast_as((n, kv, group, d))?.reshape((n, h, d))?.transpose(0, 1)?.contiguous()
        };
        let (q, k, v) = (q.transpose(0, 1)?.contiguous()?, spread(k)?, spread(v)?);
        let mut scores = (q.matmul(&k.t()?)? * f64::from(self.scale))?;
        if let Some(cap) = self.soft_cap {
            scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        let window = self.window.unwrap_or(usize::MAX);
        let hidden = |i: usize, j: usize| if j <= i && i - j < window { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (0..n).flat_map(|i| (0..n).map(move |j| hidden(i, j))).collect();
        let scores = scores.broadcast_add(&Tensor::from_vec(mask, (1, n, n), q.device())?)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
        weights.matmul(&v)?.transpose(0, 1)?.contiguous()?.reshape((n, h * d))
    }

    /// First key that position `i` sees.
    fn first_key(&self, i: usize) -> usize {
        self.window.map_or(0, |w| (i + 1).saturating_sub(w))
    }
}

impl CustomOp3 for Scores {
    fn name(&self) -> &'static str {
        "causal attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((n, n_heads, d), (_, n_kv, _)) = (lq.shape().dims3()?, lk.shape().dims3()?);
        if lk.dims() != [n, n_kv, d] || lv.dims() != lk.dims() || n_kv == 0 || !n_heads.is_multiple_of(n_kv) {
            candle_core::bail!("queries {:?}, keys {:?} and values {:?} do not fit", lq.dims(), lk.dims(), lv.dims());
        }
        let (CpuStorage::F32(q), CpuStorage::F32(k), CpuStorage::F32(v)) = (q, k, v) else {
            candle_core::bail!("attention reads f32 tensors only");
        };
        let ((q0, qt, qh), (k0, kt, kh), (v0, vt, vh)) = (head_strides(lq)?, head_strides(lk)?, head_strides(lv)?);
        let width = n_heads * d;
        let mut out = vec![0.0; n * width];
        let mut scores = vec![0.0; BLOCK.min(n) * n];
        for h in 0..n_heads {
            let kv = h / (n_heads / n_kv);
            for first in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - first);
                let low = self.first_key(first);
                let keys = first + rows - low;
                let scores = &mut scores[..rows * keys];
                let q = &q[q0 + first * qt + h * qh..];
                let k = &k[k0 + low * kt + kv * kh..];
                let v = &v[v0 + low * vt + kv * vh..];
                gemm_f32(rows, keys, d, q, (qt, 1), k, (1, kt), scores, (keys, 1), 0.0, self.scale);
                vectorised(
                    #[inline(always)]
                    || {
                        for (r, row) in scores.chunks_exact_mut(keys).enumerate() {
                            let i = first + r;
                            let (start, end) = (self.first_key(i) - low, i + 1 - low);
                            row[..start].fill(0.0);
                            row[end..].fill(0.0);
                            softmax(&mut row[start..end], self.soft_cap);
                        }
                    },
                );
                let out = &mut out[first * width + h * d..];
                gemm_f32(rows, d, keys, scores, (keys, 1), v, (vt, 1), out, (width, 1), 0.0, 1.0);
            }
        }
        Ok((CpuStorage::F32(out), (n, width).into()))
    }
}

const LANES: usize = 16;

/// Softmax of one row, its soft cap first. Sums run in 16 fixed lanes, so bits do not depend on the vector width.
#[inline(always)]
fn softmax(row: &mut [f32], soft_cap: Option<f32>) {
    if let Some(cap) = soft_cap {
        for v in row.iter_mut() {
            *v = cap * tanh(*v / cap);
        }
    }
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| larger(a, b));
    let mut lanes = [0.0_f32; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in chunks.by_ref() {
        for i in 0..LANES {
            chunk[i] = exp(chunk[i] - max);
            lanes[i] += chunk[i];
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.into_remainder()) {
        *v = exp(*v - max);
        *lane += *v;
    }
    let scale = 1.0 / lanes.iter().sum::<f32>();
    for v in row.iter_mut() {
        *v *= scale;
    }
}
