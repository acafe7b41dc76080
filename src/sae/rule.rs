//! Normalisation of a row before the encoder, and selection of latents after it.

use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;
use std::fmt;

/// Which latents an SAE lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// All positive latents.
    Relu,
    /// The k largest positive latents.
    TopK(usize),
    /// The k largest by magnitude, with their signs.
    AbsTopK(usize),
    /// The largest positive latent in each of k consecutive groups.
    GroupMax(usize),
    /// The latents above a threshold.
    JumpRelu,
    /// Those whose gate is open.
    Gated,
}

impl Activation {
    /// The k of a top-k selection or the number of groups; `None` where nothing is counted.
    pub fn k(self) -> Option<usize> {
        match self {
            Activation::TopK(k) | Activation::AbsTopK(k) | Activation::GroupMax(k) => Some(k),
            Activation::Relu | Activation::JumpRelu | Activation::Gated => None,
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activation::Relu => f.write_str("ReLU"),
            Activation::TopK(k) => write!(f, "top-k {k}"),
            Activation::AbsTopK(k) => write!(f, "top-k {k} by magnitude"),
            Activation::GroupMax(k) => write!(f, "maximum of {k} groups"),
            Activation::JumpRelu => f.write_str("JumpReLU"),
            Activation::Gated => f.write_str("gated"),
        }
    }
}

/// What is done to a row before `subtract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Normalise {
    Nothing,
    /// `(x - mean) / (std + 1e-5)`, std with n - 1; undone by `* std + mean` (OpenAI and SAELens write it so).
    LayerNorm,
    /// `x √d / ‖x‖`, undone by the inverse factor (SAELens `constant_norm_rescale`).
    ConstantNorm,
    /// `x - mean`, undone by `+ mean`: what centring the weights that write to the residual stream does to it.
    Centered,
    /// Centred, then as `ConstantNorm`.
    CenteredConstantNorm,
}

impl Normalise {
    /// The same of the centred row. A layer norm takes the mean off itself.
    pub fn centered(self) -> Self {
        match self {
            Normalise::Nothing | Normalise::Centered => Normalise::Centered,
            Normalise::ConstantNorm | Normalise::CenteredConstantNorm => Normalise::CenteredConstantNorm,
            Normalise::LayerNorm => Normalise::LayerNorm,
        }
    }

    /// Writes the normalised row and gives (shift, scale) with `x ≈ out * scale + shift`.
    ///
    /// # Errors
    /// `Input` for a row of zeros where its norm is divided by; the caller names the row.
    pub fn apply(self, x: &[f32], out: &mut [f32]) -> Result<(f32, f32)> {
        let n = x.len() as f64;
        let centered = matches!(self, Normalise::Centered | Normalise::CenteredConstantNorm);
        let mean = if centered { x.iter().map(|&v| f64::from(v)).sum::<f64>() / n } else { 0.0 };
        match self {
            Normalise::Nothing => {
                out.copy_from_slice(x);
                Ok((0.0, 1.0))
            }
            Normalise::LayerNorm => {
                let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
                let squares = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
                let std = (squares / (n - 1.0)).sqrt();
                for (out, &v) in out.iter_mut().zip(x) {
                    *out = ((f64::from(v) - mean) / (std + 1e-5)) as f32;
                }
                Ok((mean as f32, std as f32))
            }
            Normalise::Centered => {
                for (out, &v) in out.iter_mut().zip(x) {
                    *out = (f64::from(v) - mean) as f32;
                }
                Ok((mean as f32, 1.0))
            }
            Normalise::ConstantNorm | Normalise::CenteredConstantNorm => {
                let norm = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>().sqrt();
                if norm == 0.0 {
                    return Err(Error::new(
                        ErrorKind::Input,
                        "is all zeros, and this SAE divides by the norm of its input; leave such rows out",
                    ));
                }
                let factor = n.sqrt() / norm;
                for (out, &v) in out.iter_mut().zip(x) {
                    *out = ((f64::from(v) - mean) * factor) as f32;
                }
                Ok((mean as f32, (1.0 / factor) as f32))
            }
        }
    }
}

/// How products `z = u · W_enc row` become latents.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// `z + bias` where it is above `floor >= 0` (ReLU: 0 everywhere; JumpReLU: its threshold).
    Above { bias: Vec<f32>, floor: Vec<f32> },
    /// The k largest positive `z + bias` of a row, or with `signed` the k largest magnitudes.
    TopK { bias: Vec<f32>, k: usize, signed: bool },
    /// The largest positive `z + bias` of each of `groups` runs of latents of equal length.
    GroupMax { bias: Vec<f32>, groups: usize },
    /// `z * scale + bias` where that and `z + gate` are positive.
    Gated { bias: Vec<f32>, scale: Vec<f32>, gate: Vec<f32> },
}

impl Rule {
    /// Multiplies what is added to the products. Gated rules are never rescaled by a format.
    pub fn scale_bias(&mut self, by: &[f32]) {
        match self {
            Rule::Above { bias, .. }
            | Rule::TopK { bias, .. }
            | Rule::GroupMax { bias, .. }
            | Rule::Gated { bias, .. } => {
                bias.iter_mut().zip(by).for_each(|(bias, by)| *bias *= by);
            }
        }
    }
}
