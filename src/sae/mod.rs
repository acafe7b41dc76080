//! Which latents fired, how strongly? Activations in, [`LatentBatch`]es out.
//!
//! Every format on disk has one file here, and every format becomes the same [`Sae`]. Dense pre-activations exist only one tile at
//! a time.
//!
//! Reading has two steps. The format's file finds out from headers alone what is stored ([`header`]). One common path
//! (`recipe.rs`) reads the weights and folds scales into them ([`open`]).

mod autoencoder;
mod declared;
mod decode;
mod dictionary_learning;
mod encode;
mod encode_with;
mod folder;
mod format;
mod gemma_scope;
mod latents;
mod llama_scope;
mod llamascopium;
mod open;
mod random;
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
mod transported;

pub use autoencoder::{Sae, SaeShape};
pub use declared::{Declared, Place, Scale};
pub use format::Format;
pub use latents::{Encode, LatentBatch, Pool};
pub use open::{files, header, header_as, open, open_as};
pub use random::RandomSae;
pub use reading::Reading;
pub use rule::Activation;
pub use transported::{SaeLensFolder, transported};

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
