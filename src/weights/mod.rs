//! Which tensors does a weight file hold, and what are their values? Files of safetensors, torch and numpy, for whoever
//! knows what the tensors mean: `model/` and `sae/`.
//!
//! Headers are read first and checked against the length of their file; values are read later, in pieces. No header makes
//! this room take more than four times the file's length and 16 MiB (`budget.rs`).

mod budget;
mod convert;
mod map;
mod names;
pub mod npz;
mod pickle;
pub mod safetensors;
mod tensors;
pub mod torch;
mod zip;

pub use convert::{Dtype, widen};
pub use map::map;
pub use names::plain;
pub use tensors::{Entry, Layout, Place, Tensors, open};
pub use torch::StateDict;
