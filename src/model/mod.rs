//! What did the network hold there? Token ids in, [`ActivationBatch`]es out.
//!
//! A family is one file that describes an architecture in plain data (`architecture.rs`): checked against headers, costed, or loaded
//! (`load.rs`) over shared layers, written once in candle tensors; the hot operations are candle custom ops with
//! our CPU kernels inside. One context is one product's rows: what a context gives does not depend on its batch.

mod activations;
mod architecture;
mod config;
mod decoder;
mod families;
mod forward;
mod gguf;
mod keys;
mod layers;
mod load;
mod open;
mod rope;
mod shape;
#[cfg(test)]
mod tests;

pub use activations::{ActivationBatch, Model};
pub use decoder::blocks_needed;
pub use families::knows_key;
pub use forward::{forward, recycle};
pub use gguf::tokenizer_json;
pub use open::{
    context_bytes, described, described_by, files, header, memory_bytes, name_of, open, open_for, open_redrawn,
    tokenizer, tokenizer_files, width_of,
};
pub use shape::ModelShape;
