//! Which tensors does a weight file hold, and what are their values? Files of safetensors, torch, numpy and GGUF, for
//! rooms that know what the tensors mean: `model/` and `sae/`.
//!
//! Headers are read first and checked against the length of their file; values are read later, in pieces. No header makes
//! this room take more than four times the file's length and 16 MiB (`budget.rs`).

mod budget;
mod checkpoint;
mod control_vector;
mod convert;
mod file;
pub mod gguf;
mod ids;
mod integers;
mod latent_cache;
mod latent_splits;
mod names;
pub mod npz;
mod pickle;
mod rows;
pub mod safetensors;
mod source;
mod tensors;
pub mod torch;
mod zip;

pub use checkpoint::{Checkpoint, weight_files};
pub use control_vector::control_vector;
pub use file::open;
pub use ids::IdFile;
pub use latent_cache::{Firing, split_file, splits};
pub use latent_splits::LatentCache;
pub use rows::RowFile;
pub use source::Source;
pub use tensors::{Layout, Tensors};
pub use torch::StateDict;
