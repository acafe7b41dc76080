//! What do the heads gather? Causal attention over contexts side by side, all scores of a group of contexts at once.

use super::layers::{Linear, Norm};
use crate::model::architecture::{Projections, Scores};
use crate::model::backend::{Attention, Part};
use crate::model::rotary::Rotary;
use candle_core::{D, DType, Device, Tensor};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Queries, keys and values as `[n_rows, heads, d_head]` views.
pub struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
}

impl Projected {
    /// Of `x: [n_rows, d_model]`, biases included, before head norms and rotation.
    pub fn new(attention: &Attention<Linear, Norm, Turning>, x: &Tensor) -> candle_core::Result<Self> {
        let (n, h, kv, d) = (x.dim(0)?, attention.n_heads, attention.n_kv_heads, attention.d_head);
        let (query, key, value) = match &attention.projections {
            Projections::PerHead(all) => {
                let all = all.forward(x)?.reshape((n, h, 3 * d))?;
                (all.narrow(2, 0, d)?, all.narrow(2, d, d)?, all.narrow(2, 2 * d, d)?)
            }
            Projections::Stacked(all) => {
                let all = all.forward(x)?.reshape((n, h + 2 * kv, d))?;
                (all.narrow(1, 0, h)?, all.narrow(1, h, kv)?, all.narrow(1, h + kv, kv)?)
            }
            Projections::Separate { query, key, value } => (
                query.forward(x)?.reshape((n, h, d))?,
                key.forward(x)?.reshape((n, kv, d))?,
                value.forward(x)?.reshape((n, kv, d))?,
            ),
        };
        Ok(Projected { query, key, value })
    }

    /// One of the three.
    pub fn part(&self, part: Part) -> &Tensor {
        match part {
            Part::Query => &self.query,
            Part::Key => &self.key,
            Part::Value => &self.value,
        }
    }

    /// The concatenated heads, `[n_rows, n_heads * d_head]`, in contexts of `length` rows.
    pub fn gathered(
        self,
        attention: &Attention<Linear, Norm, Turning>,
        length: usize,
        masks: &Masks,
    ) -> candle_core::Result<Tensor> {
        let (mut query, mut key) = (self.query, self.key);
        if let Some((q, k)) = &attention.qk_norms {
            (query, key) = (normed(&query, q, attention.d_head)?, normed(&key, k, attention.d_head)?);
        }
        // [n_contexts, heads, length, d_head]
        let by_context = |x: &Tensor| {
            let (n, heads, d) = x.dims3()?;
            x.reshape((n / length, length, heads, d))?.transpose(1, 2)?.contiguous()
        };
        let (mut q, mut k, v) = (by_context(&query)?, by_context(&key)?, by_context(&self.value)?);
        if let Some(turning) = &attention.rotary {
            (q, k) = (turning.apply(&q)?, turning.apply(&k)?);
        }
        attention.scores.gather(&q, &k, &v, masks)
    }
}

/// Heads through a norm: each by itself where the norm is a head wide, else all together.
fn normed(heads: &Tensor, norm: &Norm, d_head: usize) -> candle_core::Result<Tensor> {
    if norm.width() == d_head {
        return norm.forward(heads);
    }
    let (n, h, d) = heads.dims3()?;
    norm.forward(&heads.contiguous()?.reshape((n, h * d))?)?.reshape((n, h, d))
}

impl Scores {
    /// `q: [n_contexts, n_heads, length, d]`, `k` and `v` with a head for each group of those, to `[n_contexts * length, n_heads * d]`.
    /// Scores and their softmax are in f32, or f64 where `q` is.
    pub fn gather(&self, q: &Tensor, k: &Tensor, v: &Tensor, masks: &Masks) -> candle_core::Result<Tensor> {
        let (b, h, n, d) = q.dims4()?;
        let kv = k.dim(1)?;
        let wide = if q.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        // the queries that read one key head, one below the other
        let grouped = q.reshape((b, kv, h / kv * n, d))?;
        let scores = (grouped.matmul(&k.t()?)?.to_dtype(wide)? * f64::from(self.scale))?;
        let mut scores = scores.reshape((b, h, n, n))?;
        if let Some(cap) = self.soft_cap {
            scores = ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?;
        }
        let scores = scores.broadcast_add(&masks.of(n, self.window, q.device())?.to_dtype(wide)?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores)?.to_dtype(q.dtype())?;
        let z = weights.reshape((b, kv, h / kv * n, n))?.matmul(v)?;
        z.reshape((b, h, n, d))?.transpose(1, 2)?.contiguous()?.reshape((b * n, h * d))
    }
}

/// Masks on the device, by length and window.
#[derive(Default)]
pub struct Masks(Mutex<BTreeMap<(usize, usize), Tensor>>);

impl Masks {
    /// Masks that are kept: some lengths of contexts by the windows of a model.
    const MOST: usize = 16;

    /// `[length, length]` f32: 0 where position i sees j, else -inf.
    fn of(&self, length: usize, window: Option<usize>, device: &Device) -> candle_core::Result<Tensor> {
        let window = window.unwrap_or(usize::MAX);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mask) = kept.get(&(length, window)) {
            return Ok(mask.clone());
        }
        let hidden = |i: usize, j: usize| if j <= i && i - j < window { 0.0 } else { f32::NEG_INFINITY };
        let mask: Vec<f32> = (0..length).flat_map(|i| (0..length).map(move |j| hidden(i, j))).collect();
        let mask = Tensor::from_vec(mask, (length, length), device)?;
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert((length, window), mask.clone());
        Ok(mask)
    }
}

/// A rotation, with the cosines and sines of the last length on the device.
pub struct Turning {
    rotary: Rotary,
    last: Mutex<Option<(usize, Tensor, Tensor)>>,
}

impl Turning {
    /// Nothing is on the device yet.
    pub fn new(rotary: Rotary) -> Self {
        Turning { rotary, last: Mutex::default() }
    }

    /// Whether the rows of a context of `length` turn as they do behind fewer rows.
    pub fn is_short(&self, length: usize) -> bool {
        self.rotary.rope().is_short(length)
    }

    /// `x: [n_contexts, heads, length, d_head]`, rotated by the position in the context.
    pub fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let n = self.rotary.rope().n_pairs();
        if n == 0 {
            return Ok(x.clone());
        }
        let (cos, sin) = self.turns(x.dim(2)?, x)?;
        let rotated = x.narrow(D::Minus1, 0, 2 * n)?.contiguous()?;
        let turned = if self.rotary.is_of_neighbours() {
            candle_nn::rotary_emb::rope_i(&rotated, &cos, &sin)?
        } else {
            candle_nn::rotary_emb::rope(&rotated, &cos, &sin)?
        };
        let d = x.dim(D::Minus1)?;
        if d == 2 * n {
            return Ok(turned);
        }
        Tensor::cat(&[&turned, &x.narrow(D::Minus1, 2 * n, d - 2 * n)?.contiguous()?], D::Minus1)
    }

    /// Cosines and sines, `[length, n_pairs]`, like `x` in type and device.
    fn turns(&self, length: usize, x: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cos, sin)) = last.as_ref().filter(|(n, cos, _)| *n == length && cos.dtype() == x.dtype()) {
            return Ok((cos.clone(), sin.clone()));
        }
        let (turns, n) = (self.rotary.turns(length), self.rotary.rope().n_pairs());
        let table =
            |values: &[f32]| Tensor::from_slice(&values[..length * n], (length, n), x.device())?.to_dtype(x.dtype());
        let (cos, sin) = (table(&turns.cos)?, table(&turns.sin)?);
        *last = Some((length, cos.clone(), sin.clone()));
        Ok((cos, sin))
    }
}
