//! Which latents fired, how strongly? Activations in, [`LatentBatch`]es out.
//!
//! Every format on disk is one file here and ends in the same [`Sae`]. Dense pre-activations live only tile by tile.
//!
//! Reading goes in two steps: a format's file says from headers alone what is stored ([`header`]), and one common path
//! (`recipe.rs`) reads the weights and rescales what can be folded ([`open`]).

mod autoencoder;
mod declared;
mod decode;
mod dictionary_learning;
mod encode;
mod folder;
mod format;
mod gemma_scope;
mod latents;
mod llama_scope;
mod llamascopium;
mod open;
mod reading;
mod recipe;
mod rule;
mod sae_lens;
mod screen;
mod selection;
mod sparsify;
mod state_dicts;
#[cfg(test)]
mod tests;

pub use autoencoder::{Sae, SaeShape};
pub use declared::{Declared, Place, Scale};
pub use format::Format;
pub use latents::{Encode, LatentBatch, Pool};
pub use open::{files, header, header_as, open, open_as};
pub use reading::Reading;
pub use rule::Activation;

use crate::error::Result;
use crate::linalg::Matrix;
use crate::weights::safetensors;
use std::path::Path;

/// Activations in a safetensors file: shape of tensor `name`, `[…, width]` of any float type, and its rows
/// `[n_rows, width]` as f32.
///
/// # Errors
/// `Request` when file or tensor is missing, `Input` when the file is damaged or the tensor is no float matrix.
pub fn read_activations(path: &Path, name: Option<&str>) -> Result<(Vec<usize>, Matrix<f32>)> {
    safetensors::tensors(path)?.activations(name)
}
