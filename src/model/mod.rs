//! What did the network hold there? Token ids in, [`ActivationBatch`]es out.
//!
//! A family is one file over shared layers, written once in candle tensors; the hot operations are candle custom ops with
//! our CPU kernels inside. One context is one product's rows: what a context gives does not depend on its batch.

mod checkpoint;
mod config;
mod decoder;
mod families;
mod forward;
mod gguf;
mod layers;
mod loader;
mod map;
mod open;
#[cfg(test)]
mod tests;

pub use forward::{forward, lay_aside};
pub use gguf::tokenizer_json;
pub use open::{
    context_bytes, described, described_by, files, header, memory_bytes, open, open_for, open_redrawn, tokenizer,
    tokenizer_file,
};

use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;

/// What a forward gives at one hookpoint, special tokens already left out.
#[derive(Clone, Debug)]
pub struct ActivationBatch {
    /// Where it was read.
    pub hookpoint: Hookpoint,
    /// `[n_rows, width]` f32; row i is the same token in every model and hookpoint.
    pub x: Matrix<f32>,
}

/// Sizes of a model, known from its header.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// `model_type` of the configuration, for example `gpt_neox`.
    pub family: String,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of `attn_z`: heads times head width.
    pub d_attn: usize,
    /// Rows of the embedding.
    pub n_vocab: usize,
    /// Longest context the positions allow; `None` where nothing limits it.
    pub max_context: Option<usize>,
    /// Parameters in the file.
    pub n_parameters: u64,
    /// Whether blocks add post-normed outputs (`attn_out_normed`, `mlp_out_normed` exist).
    pub has_post_norms: bool,
}

impl ModelShape {
    /// Width of the activations at `hookpoint`.
    ///
    /// # Errors
    /// `Request` when the family has no such hookpoint or the model no such block.
    pub fn width(&self, hookpoint: Hookpoint) -> Result<usize> {
        if let Some(l) = hookpoint.layer().filter(|&l| l >= self.n_layers) {
            return Err(Error::request(format!(
                "hookpoint {hookpoint} names block {l}, the model has {} blocks (0 to {})",
                self.n_layers,
                self.n_layers - 1
            )));
        }
        match hookpoint {
            Hookpoint::AttnOutNormed(_) | Hookpoint::MlpOutNormed(_) if !self.has_post_norms => {
                Err(Error::request(format!(
                    "hookpoint {hookpoint}: family {} has no norms after attention and MLP; take attn_out or mlp_out",
                    self.family
                )))
            }
            Hookpoint::AttnZ(_) => Ok(self.d_attn),
            _ => Ok(self.d_model),
        }
    }
}

/// A loaded model.
pub trait Model: Send + Sync {
    /// Its sizes.
    fn shape(&self) -> &ModelShape;

    /// One context through the network as far as the last hookpoint asked for: for each of `hookpoints`, in that order,
    /// `[ids.len(), width]`.
    ///
    /// # Errors
    /// `Input` when an id is outside the vocabulary or the context is longer than positions allow; `Request` when the
    /// family has no such hookpoint.
    fn activations(&self, ids: &[u32], hookpoints: &[Hookpoint]) -> Result<Vec<Matrix<f32>>>;
}
