//! What is a sparse autoencoder once it is loaded, whatever format it came in?
//!
//! `u = normalise(x) - subtract`, `z = u W_encᵀ`, a [`Rule`] makes latents from `z`, and `W_dec`, `b_dec`, an optional
//! skip connection and the undone normalisation make the output. What a format multiplies into its weights is already
//! folded in here.

use super::declared::Declared;
use super::screen::Screen;
use super::{Encode, Format};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::Matrix;
use crate::linalg::panels::Panels;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What is known of an SAE from its headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SaeShape {
    /// How it is stored.
    pub format: Format,
    /// Width of what it reads.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// Width of what it predicts; `d_in` unless it is a transcoder.
    pub d_out: usize,
    /// Which latents it lets through.
    pub activation: Activation,
    /// Whether it predicts another place's activations than those it reads.
    pub transcoder: bool,
    /// Whether a linear map of the input is added to its output.
    pub skip: bool,
    /// What the files say of how it was trained.
    pub declared: Declared,
    /// The files that define it, configuration first.
    pub files: Vec<PathBuf>,
    /// Bytes of those files.
    pub size_bytes: u64,
}

impl SaeShape {
    /// Bytes that the loaded weights take: encoder, decoder, skip connection and vectors as f32.
    pub fn memory_bytes(&self) -> u64 {
        let (d_in, d_sae, d_out) = (self.d_in as u64, self.d_sae as u64, self.d_out as u64);
        let skip = if self.skip { d_in * d_out } else { 0 };
        4 * (d_sae * (d_in + d_out) + skip + 4 * d_sae + 2 * d_out)
    }

    /// Bytes that screening its latents takes beside ([`Sae::screened`]); 0 where this machine or its rule gains nothing by it.
    pub fn screen_bytes(&self) -> u64 {
        let tried = Screen::is_worth_a_trial(self.activation, self.d_in, self.d_sae);
        if tried { Screen::memory_bytes(self.d_in, self.d_sae) } else { 0 }
    }

    /// Entries of a row to make room for. For a counted selection the most there can be; for all positive latents half
    /// of them (as many pre-activations are negative); for a trained ReLU, threshold or gate a sixteenth, several times
    /// what is seen of them.
    pub fn entries_per_row(&self, encode: Encode) -> usize {
        match (self.activation, encode) {
            (Activation::TopK(k) | Activation::GroupMax(k) | Activation::AbsTopK(k), Encode::Sparse) => k,
            (Activation::AbsTopK(_), Encode::Dense) => self.d_sae,
            (Activation::TopK(_) | Activation::GroupMax(_), Encode::Dense) => self.d_sae.div_ceil(2),
            (Activation::Relu | Activation::JumpRelu | Activation::Gated, _) => self.d_sae.div_ceil(16),
        }
    }
}

impl fmt::Display for SaeShape {
    /// `512 -> 32768 latents, top-k 32, sparsify`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} latents, {}, {}", self.d_in, self.d_sae, self.activation, self.format)?;
        if self.transcoder {
            write!(f, ", transcoder to {}", self.d_out)?;
        }
        f.write_str(if self.skip { ", skip connection" } else { "" })
    }
}

/// Which latents an SAE lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// All positive ones.
    Relu,
    /// The k largest of the positive ones.
    TopK(usize),
    /// The k largest by magnitude, with their signs.
    AbsTopK(usize),
    /// The largest positive one of each of k consecutive groups.
    GroupMax(usize),
    /// Those above a threshold.
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

/// A loaded sparse autoencoder or transcoder.
#[derive(Clone, Debug)]
pub struct Sae {
    pub(super) shape: SaeShape,
    /// Encoder directions as columns, `[d_in, d_sae]`
    pub(super) w_enc: Panels,
    /// `[d_sae, d_out]`
    pub(super) w_dec: Matrix<f32>,
    /// `[d_out]`
    pub(super) b_dec: Vec<f32>,
    pub(super) normalise: Normalise,
    /// Taken from the normalised input, `[d_in]`.
    pub(super) subtract: Option<Vec<f32>>,
    pub(super) rule: Rule,
    /// What the selected values are multiplied by, `[d_sae]`: a selection on other units than the output's.
    pub(super) output_scale: Option<Vec<f32>>,
    /// `[d_out, d_in]`: `x skipᵀ` of the raw input is added to the output.
    pub(super) skip: Option<Matrix<f32>>,
    /// Latents ruled out by a cheap product before they are computed.
    pub(super) screen: Option<Arc<Screen>>,
}

impl Sae {
    /// Its sizes and origin.
    pub fn shape(&self) -> &SaeShape {
        &self.shape
    }

    /// Decoder directions, `[d_sae, d_out]` f32: row i is what one unit of latent i adds to the output.
    pub fn decoder_rows(&self) -> &Matrix<f32> {
        &self.w_dec
    }

    /// `[d_out]`, what is predicted when nothing fires.
    pub fn decoder_bias(&self) -> &[f32] {
        &self.b_dec
    }

    /// Whether the decoder bias is taken from the input before encoding.
    pub fn subtracts_bias(&self) -> bool {
        self.subtract.is_some()
    }

    /// Whether every row is brought to a norm of its own before it is read, so that a scale would change nothing.
    pub fn normalises(&self) -> bool {
        matches!(self.normalise, Normalise::LayerNorm | Normalise::ConstantNorm | Normalise::CenteredConstantNorm)
    }

    /// Whether the mean over dimensions of each row is taken off before it is read.
    pub fn takes_mean_off(&self) -> bool {
        !matches!(self.normalise, Normalise::Nothing | Normalise::ConstantNorm)
    }

    /// The same SAE with the mean over dimensions of each row taken off first, or not. For telling which reading the file means;
    /// a layer norm stays.
    #[must_use]
    pub fn centered(&self, center: bool) -> Sae {
        let normalise = match self.normalise {
            normalise if center => normalise.centered(),
            Normalise::Centered => Normalise::Nothing,
            Normalise::CenteredConstantNorm => Normalise::ConstantNorm,
            other => other,
        };
        Sae { normalise, ..self.clone() }
    }

    /// The same SAE read the other way: with the decoder bias taken from the input, or not. For telling which reading
    /// the file means (`cognate doctor`); `None` for a transcoder, whose input is in another space.
    #[must_use]
    pub fn with_bias_subtracted(&self, subtract: bool) -> Option<Sae> {
        if self.shape.transcoder || self.b_dec.len() != self.shape.d_in {
            return None;
        }
        Some(Sae { subtract: subtract.then(|| self.b_dec.clone()), ..self.clone() })
    }
}
