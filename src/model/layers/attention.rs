//! What do the heads gather? Causal attention over one context, with grouped queries, sliding windows and soft caps.
//!
//! The CPU kernel works on blocks of 16 queries (side by side in vectors) and 16 keys. Blocks above the diagonal or outside the
//! window are skipped. Only the scores of one block of queries exist at a time, in the core's cache.

use super::linear::Linear;
use super::math::{exp, tanh};
use super::norm::Norm;
use super::pool::{Pooled, buffer};
use super::rotary::Rotary;
use super::tensors::{device_error, head_strides};
use crate::error::Result;
use crate::linalg::panels::{Line, WIDTH, square};
use crate::model::architecture::{Projections, Scores};
use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};
use pulp::{Simd, WithSimd};
use std::cell::RefCell;
use std::sync::Arc;

/// The attention of a block, up to the heads' concatenated output (`attn_z`), and its output projection.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Where queries, keys and values come from.
    pub projections: Projections<Linear>,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`, query head h reads key head `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Norms of queries and keys, before the rotation: of each head where they are `d_head` wide, else of all heads together.
    pub qk_norms: Option<(Norm, Norm)>,
    /// Rotation of queries and keys.
    pub rotary: Option<Arc<Rotary>>,
    /// Scores and how they are masked.
    pub scores: Scores,
    /// `[n_heads * d_head]` to `[d_model]`.
    pub output: Linear,
}

impl Attention {
    /// Queries, keys and values to the concatenated heads `[n_tokens, n_heads * d_head]`.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn heads(&self, projected: Projected) -> Result<Tensor> {
        let Projected { mut q, mut k, v, mut memory } = projected;
        if let Some((query, key)) = &self.qk_norms {
            q = self.normed(&q, query)?;
            k = self.normed(&k, key)?;
            memory.extend([Pooled::new(q.clone()), Pooled::new(k.clone())]);
        }
        if let Some(rotary) = &self.rotary {
            q = rotary.apply(q)?;
            k = rotary.apply(k)?;
        }
        let on_cpu = q.device().is_cpu();
        let z = if on_cpu { q.apply_op3_no_bwd(&k, &v, &self.scores) } else { self.scores.plain(&q, &k, &v) };
        z.map_err(device_error)
    }

    fn normed(&self, heads: &Tensor, norm: &Norm) -> Result<Tensor> {
        let heads = heads.contiguous().map_err(device_error)?;
        if norm.width() == self.d_head {
            return norm.forward(&heads);
        }
        let together = heads.flatten_from(1).map_err(device_error)?;
        norm.forward(&together)?.reshape(heads.shape()).map_err(device_error)
    }

    /// Queries, keys and values of `x: [n_tokens, d_model]`, biases included, before head norms and rotation.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn project(&self, x: &Tensor) -> Result<Projected> {
        let (n, h, kv, d) = (x.dims()[0], self.n_heads, self.n_kv_heads, self.d_head);
        let memory: Vec<Pooled> = match &self.projections {
            Projections::PerHead(all) | Projections::Stacked(all) => vec![Pooled::new(all.forward(x)?)],
            Projections::Separate { query, key, value } => {
                [query, key, value].into_iter().map(|to| to.forward(x).map(Pooled::new)).collect::<Result<_>>()?
            }
        };
        let views = match (&self.projections, &memory[..]) {
            (Projections::PerHead(_), [all]) => all
                .reshape((n, h, 3 * d))
                .and_then(|all| Ok((all.narrow(2, 0, d)?, all.narrow(2, d, d)?, all.narrow(2, 2 * d, d)?))),
            (Projections::Stacked(_), [all]) => all
                .reshape((n, h + 2 * kv, d))
                .and_then(|all| Ok((all.narrow(1, 0, h)?, all.narrow(1, h, kv)?, all.narrow(1, h + kv, kv)?))),
            (_, [q, k, v]) => {
                q.reshape((n, h, d)).and_then(|q| Ok((q, k.reshape((n, kv, d))?, v.reshape((n, kv, d))?)))
            }
            _ => unreachable!("one tensor or three"),
        };
        let (q, k, v) = views.map_err(device_error)?;
        Ok(Projected { q, k, v, memory })
    }
}

/// Queries, keys and values as `[n_tokens, heads, d_head]` views.
pub struct Projected {
    /// Queries.
    pub q: Tensor,
    /// Keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
    /// Lays their memory aside; goes after they were read for the last time.
    memory: Vec<Pooled>,
}

/// `[n_tokens, heads, d_head]` as `[n_tokens, heads * d_head]`, in memory of its own where the heads are not contiguous.
///
/// # Errors
/// `Machine` when the tensor library fails.
pub fn side_by_side(heads: &Tensor) -> Result<Tensor> {
    heads.flatten_from(1).and_then(|x| x.contiguous()).map_err(device_error)
}

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
        let scores = scores.broadcast_add(&Tensor::from_vec(mask, (1, n, n), q.device())?.to_dtype(q.dtype())?)?;
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
        let width = n_heads * d;
        let mut out = buffer(n * width);
        let view = |values, layout| Ok::<_, candle_core::Error>(View { values, at: head_strides(layout)?, d });
        let (q, k, v) = (view(q, lq)?, view(k, lk)?, view(v, lv)?);
        Buffers::lend(|buffers| {
            crate::linalg::dispatch(Heads { scores: self, q, k, v, n, n_heads, n_kv, out: &mut out, buffers });
        });
        Ok((CpuStorage::F32(out), (n, width).into()))
    }
}

/// Queries, keys or values, `[n_tokens, n_heads, d_head]`.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    /// First value, distance of tokens, distance of heads.
    at: (usize, usize, usize),
    d: usize,
}

impl<'a> View<'a> {
    #[inline(always)]
    fn row(&self, token: usize, head: usize) -> &'a [f32] {
        let (first, by_token, by_head) = self.at;
        &self.values[first + token * by_token + head * by_head..][..self.d]
    }

    /// 16 tokens from `first` on side by side, `[d]` lines; those behind the last one are 0.
    #[inline(always)]
    fn turn(&self, first: usize, n: usize, head: usize, lines: &mut [Line]) {
        if first + WIDTH <= n {
            let rows: [&[f32]; WIDTH] = std::array::from_fn(
                #[inline(always)]
                |i| self.row(first + i, head),
            );
            for (l, line) in lines.iter_mut().enumerate() {
                line.0 = std::array::from_fn(
                    #[inline(always)]
                    |i| rows[i][l],
                );
            }
            return;
        }
        lines.fill(ZEROS);
        for i in 0..n - first {
            lines.iter_mut().zip(self.row(first + i, head)).for_each(|(line, v)| line.0[i] = *v);
        }
    }
}

const ZEROS: Line = Line([0.0; WIDTH]);

/// What a thread lays out for every head; its memory is reused.
#[derive(Default)]
struct Buffers {
    /// 16 queries side by side, `[d]`.
    queries: Vec<Line>,
    /// 16 keys side by side, `[n_blocks, d]`.
    keys: Vec<Line>,
    /// 16 features of a value, `[d / 16, n_tokens]`.
    values: Vec<Line>,
    /// 16 queries side by side, `[n_keys]`: scores, then weights.
    scores: Vec<Line>,
}

impl Buffers {
    fn lend<R>(work: impl FnOnce(&mut Buffers) -> R) -> R {
        thread_local! {
            static BUFFERS: RefCell<Buffers> = RefCell::default();
        }
        BUFFERS.with_borrow_mut(work)
    }
}

struct Heads<'a> {
    scores: &'a Scores,
    q: View<'a>,
    k: View<'a>,
    v: View<'a>,
    n: usize,
    n_heads: usize,
    n_kv: usize,
    out: &'a mut [f32],
    buffers: &'a mut Buffers,
}

impl WithSimd for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Heads { scores, q, k, v, n, n_heads, n_kv, out, buffers } = self;
        let (d, width, group) = (q.d, n_heads * q.d, n_heads / n_kv);
        let (n_blocks, n_parts) = (n.div_ceil(WIDTH), d.div_ceil(WIDTH));
        buffers.queries.resize(d, ZEROS);
        buffers.keys.resize(n_blocks * d, ZEROS);
        buffers.values.resize(n_parts * n_blocks * WIDTH, ZEROS);
        buffers.scores.resize(n_blocks * WIDTH, ZEROS);
        let n_padded = n_blocks * WIDTH;
        let mut square_out = [ZEROS; WIDTH];
        for h in 0..n_heads {
            if h % group == 0 {
                for (b, lines) in buffers.keys.chunks_exact_mut(d).enumerate() {
                    k.turn(b * WIDTH, n, h / group, lines);
                }
                buffers.values.fill(ZEROS);
                for t in 0..n {
                    for (part, values) in v.row(t, h / group).chunks(WIDTH).enumerate() {
                        buffers.values[part * n_padded + t].0[..values.len()].copy_from_slice(values);
                    }
                }
            }
            for b in 0..n_blocks {
                let first = b * WIDTH;
                q.turn(first, n, h, &mut buffers.queries);
                let low = scores.first_key(first) / WIDTH;
                for kb in low..=b {
                    square(simd, &buffers.keys[kb * d..][..d], &buffers.queries, &mut square_out);
                    scores.judge(&mut square_out, kb * WIDTH, first);
                    buffers.scores[kb * WIDTH..][..WIDTH].copy_from_slice(&square_out);
                }
                let weights = &mut buffers.scores[low * WIDTH..first + WIDTH];
                let total = softmax(weights);
                for part in 0..n_parts {
                    let values = &buffers.values[part * n_padded..][low * WIDTH..first + WIDTH];
                    square(simd, weights, values, &mut square_out);
                    for i in 0..WIDTH.min(n - first) {
                        let at = (first + i) * width + h * d + part * WIDTH;
                        let out = &mut out[at..][..WIDTH.min(d - part * WIDTH)];
                        out.iter_mut().zip(square_out[i].0).for_each(|(out, v)| *out = v / total[i]);
                    }
                }
            }
        }
    }
}

impl Scores {
    /// Products of 16 keys from `key` on and 16 queries from `query` on: scaled, the soft cap, and -inf where the query
    /// does not see the key.
    #[inline(always)]
    fn judge(&self, block: &mut [Line; WIDTH], key: usize, query: usize) {
        for line in block.iter_mut() {
            line.0.iter_mut().for_each(
                #[inline(always)]
                |v| *v *= self.scale,
            );
        }
        if let Some(cap) = self.soft_cap {
            for line in block.iter_mut() {
                for v in &mut line.0 {
                    *v = cap * tanh(*v / cap);
                }
            }
        }
        // Every query sees the whole block of keys.
        if key + WIDTH <= query + 1 && self.first_key(query + WIDTH - 1) <= key {
            return;
        }
        for (j, line) in (key..).zip(block.iter_mut()) {
            for (i, v) in (query..).zip(&mut line.0) {
                if j > i || j < self.first_key(i) {
                    *v = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// Softmax of 16 queries side by side, `[n_keys]` lines, without the last division: `exp(score - max)` in place, and the
/// sums over the keys, in their order. What is not seen adds 0, so the bits do not depend on where blocks begin.
#[inline(always)]
fn softmax(scores: &mut [Line]) -> [f32; WIDTH] {
    let mut max = [f32::NEG_INFINITY; WIDTH];
    for line in scores.iter() {
        for (max, &score) in max.iter_mut().zip(&line.0) {
            *max = if score > *max { score } else { *max };
        }
    }
    let mut total = [0.0; WIDTH];
    for line in scores {
        for i in 0..WIDTH {
            line.0[i] = exp(line.0[i] - max[i]);
            total[i] += line.0[i];
        }
    }
    total
}
