//! Where is a token? Rotary position embedding (Su et al. 2021, arXiv 2104.09864), half-split pairs: feature i of the
//! first half of the rotated part is turned together with feature i of the second half.
//!
//! Angles are computed as PyTorch does (frequencies and angles rounded to f32), since at position 2000 the rounding of
//! a frequency is already worth 1e-4 of a turn. Scalings: none, linear, and Llama 3.1's.

use super::{device_error, head_strides};
use crate::error::Result;
use crate::linalg::vectorised;
use candle_core::{CpuStorage, D, InplaceOp1, Layout, Tensor};
use std::sync::{Arc, RwLock};

/// How the frequencies are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched for contexts longer than trained.
    pub scaling: Scaling,
}

/// How frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by the factor.
    Linear(f64),
    /// Each divided by its own factor (1 where there is none).
    Divided(Arc<[f32]>),
    /// Long waves divided by the factor, short ones kept, blended between (Llama 3.1).
    Llama3 {
        /// Divides the long waves.
        factor: f64,
        /// Waves longer than `original_context / low` are long.
        low: f64,
        /// Waves shorter than `original_context / high` are short.
        high: f64,
        /// Context length before the stretch.
        original_context: f64,
    },
}

impl Rope {
    /// Frequencies of the `d_rotated / 2` pairs, radians per position.
    pub fn frequencies(&self, d_rotated: usize) -> Vec<f32> {
        let plain = (0..d_rotated / 2).map(|i| 1.0 / (self.theta as f32).powf((2 * i) as f32 / d_rotated as f32));
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear(factor) => plain.map(|f| f / *factor as f32).collect(),
            Scaling::Divided(factors) => {
                plain.enumerate().map(|(i, f)| f / factors.get(i).copied().unwrap_or(1.0)).collect()
            }
            &Scaling::Llama3 { factor, low, high, original_context } => plain
                .map(|f| {
                    let frequency = f64::from(f);
                    let wave = 2.0 * std::f64::consts::PI / frequency;
                    let stretched = if wave > original_context / low {
                        frequency / factor
                    } else if wave < original_context / high {
                        frequency
                    } else {
                        let smooth = (original_context / wave - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    };
                    stretched as f32
                })
                .collect(),
        }
    }
}

/// Turns the first `d_rotated` features of every head by the token's position.
#[derive(Debug)]
pub struct Rotary {
    frequencies: Vec<f32>,
    /// Cosines, then sines of as many positions as were ever needed; grows by doubling, values never change.
    turns: RwLock<Arc<Turns>>,
}

#[derive(Debug, Default)]
struct Turns {
    n_positions: usize,
    /// `[n_positions, n_pairs]`.
    cos: Vec<f32>,
    /// `[n_positions, n_pairs]`.
    sin: Vec<f32>,
}

impl Rotary {
    /// For heads of which the first `d_rotated` (even) features turn.
    pub fn new(rope: &Rope, d_rotated: usize) -> Self {
        Rotary { frequencies: rope.frequencies(d_rotated), turns: RwLock::default() }
    }

    /// `x: [n_tokens, n_heads, d_head]`, token i at position i; turned in place where the device allows.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn apply(&self, x: Tensor) -> Result<Tensor> {
        if self.frequencies.is_empty() {
            return Ok(x);
        }
        let turns = self.turns(x.dims().first().copied().unwrap_or(0));
        if x.device().is_cpu() {
            x.inplace_op1(&Turn { turns, n_pairs: self.frequencies.len() }).map_err(device_error)?;
            return Ok(x);
        }
        self.plain(&x, &turns).map_err(device_error)
    }

    fn turns(&self, n_positions: usize) -> Arc<Turns> {
        let have = self.turns.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if have.n_positions >= n_positions {
            return have;
        }
        let n_positions = n_positions.next_power_of_two();
        let angles: Vec<f32> =
            (0..n_positions).flat_map(|p| self.frequencies.iter().map(move |f| p as f32 * f)).collect();
        let made = Arc::new(Turns {
            n_positions,
            cos: angles.iter().map(|a| a.cos()).collect(),
            sin: angles.iter().map(|a| a.sin()).collect(),
        });
        let mut held = self.turns.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.n_positions < n_positions {
            *held = made.clone();
        }
        made
    }

    /// The same in candle's own operations.
    fn plain(&self, x: &Tensor, turns: &Turns) -> candle_core::Result<Tensor> {
        let (n_tokens, _, d_head) = x.dims3()?;
        let n = self.frequencies.len();
        let table = |values: &[f32]| Tensor::from_slice(&values[..n_tokens * n], (n_tokens, 1, n), x.device());
        let (cos, sin) = (table(&turns.cos)?, table(&turns.sin)?);
        let (a, b) = (x.narrow(D::Minus1, 0, n)?, x.narrow(D::Minus1, n, n)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        if d_head == 2 * n {
            return Tensor::cat(&[&first, &second], D::Minus1);
        }
        Tensor::cat(&[&first, &second, &x.narrow(D::Minus1, 2 * n, d_head - 2 * n)?.contiguous()?], D::Minus1)
    }
}

struct Turn {
    turns: Arc<Turns>,
    n_pairs: usize,
}

impl InplaceOp1 for Turn {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (start, token_stride, head_stride) = head_strides(layout)?;
        let (n_tokens, n_heads, d_head) = layout.shape().dims3()?;
        let CpuStorage::F32(values) = storage else { candle_core::bail!("rotary turns f32 tensors only") };
        let n = self.n_pairs;
        if d_head < 2 * n {
            candle_core::bail!("{} rotated features do not fit heads of {d_head}", 2 * n);
        }
        vectorised(
            #[inline(always)]
            || {
                for t in 0..n_tokens {
                    let (cos, sin) = (&self.turns.cos[t * n..][..n], &self.turns.sin[t * n..][..n]);
                    for h in 0..n_heads {
                        let at = start + t * token_stride + h * head_stride;
                        let (first, second) = values[at..][..2 * n].split_at_mut(n);
                        for i in 0..n {
                            let (a, b) = (first[i], second[i]);
                            first[i] = a * cos[i] - b * sin[i];
                            second[i] = b * cos[i] + a * sin[i];
                        }
                    }
                }
            },
        );
        Ok(())
    }
}
