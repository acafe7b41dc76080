//! What is a sparse autoencoder once it is loaded, whatever format it came in?
//!
//! `u = normalise(x) - subtract`, `z = u W_encᵀ`, a [`Rule`] makes latents from `z`, and `W_dec`, `b_dec`, an optional
//! skip connection and the undone normalisation make the output. What a format multiplies into its weights is already
//! folded in here.

use super::declared::Declared;
use super::format::Format;
use super::latents::Encode;
use super::rule::{Activation, Normalise, Rule};
use super::screen::Screen;
use crate::device::Products;
use crate::linalg::Matrix;
use crate::linalg::kept::Kept;
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
    /// How it was trained, according to its files.
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

    /// Extra bytes that screening its latents takes ([`Sae::screened`]); 0 where this machine or its rule gains nothing by it.
    pub fn screen_bytes(&self) -> u64 {
        let tried = Screen::is_worth_timing(self.activation, self.d_in, self.d_sae);
        if tried { Screen::memory_bytes(self.d_in, self.d_sae) } else { 0 }
    }

    /// Entries per row to reserve memory for. For a selection of k latents: k. For all positive latents: half of `d_sae`, as
    /// about half of the pre-activations are negative. For a trained ReLU, threshold or gate: a sixteenth of `d_sae`, several
    /// times what trained SAEs show.
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

/// A loaded sparse autoencoder or transcoder.
#[derive(Clone, Debug)]
pub struct Sae {
    pub(super) shape: SaeShape,
    /// Encoder directions as columns, `[d_in, d_sae]`
    pub(super) w_enc: Kept,
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
    /// The encoder on each of some devices, where it is computed there; none where the kernels do.
    pub(super) products: Vec<Arc<Products>>,
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

    /// Encoder direction of latent `i`, `[d_in]` f32: what its input is multiplied by; of an SAE in bf16 as it is rounded.
    pub fn encoder_row(&self, i: usize) -> Vec<f32> {
        self.w_enc.column(i)
    }

    /// `[d_out]`, what is predicted when nothing fires.
    pub fn decoder_bias(&self) -> &[f32] {
        &self.b_dec
    }

    /// Whether the decoder bias is taken from the input before encoding.
    pub fn subtracts_bias(&self) -> bool {
        self.subtract.is_some()
    }

    /// Whether each row is normalised before it is read; a scale would then change nothing.
    pub fn normalises(&self) -> bool {
        matches!(self.normalise, Normalise::LayerNorm | Normalise::ConstantNorm | Normalise::CenteredConstantNorm)
    }

    /// Whether the mean over dimensions of each row is taken off before it is read.
    pub fn takes_mean_off(&self) -> bool {
        !matches!(self.normalise, Normalise::Nothing | Normalise::ConstantNorm)
    }

    /// The same SAE with the mean over dimensions of each row taken off first, or not. For finding out which reading
    /// the file means; a layer norm stays.
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

    /// The same SAE with `subtract_b_dec` set to `subtract`. For finding out which of the two
    /// the file means (`cognate doctor`); `None` for a transcoder, whose input is in another space.
    #[must_use]
    pub fn with_bias_subtracted(&self, subtract: bool) -> Option<Sae> {
        if self.shape.transcoder || self.b_dec.len() != self.shape.d_in {
            return None;
        }
        Some(Sae { subtract: subtract.then(|| self.b_dec.clone()), ..self.clone() })
    }
}
