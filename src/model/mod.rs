//! What are a model's activations at its hookpoints? Token ids in, [`ActivationBatch`]es out: by a forward here, by a feed, another
//! process that is asked (`feed/`), or from files (`stored/`). [`Network`] is any of these.
//!
//! A family is one file that describes an architecture in plain data (`architecture.rs`). The description is checked against
//! headers, costed, or loaded (`load.rs`). All families share the wiring (`decoder.rs`) over layers of a backend (`backend.rs`): this
//! program's own kernels (`cpu/`), where a context's activations do not depend on its batch, or the tensor library's (`candle/`).

mod activation_function;
mod activations;
mod architecture;
mod backend;
mod candle;
mod config;
mod cost;
mod cpu;
mod decoder;
mod embedding;
mod families;
mod feed;
mod forward;
mod gguf;
mod keys;
mod load;
mod network;
mod open;
mod pool;
mod random;
mod rope;
mod rotary;
mod shape;
mod sparse;
mod stored;
#[cfg(test)]
mod tests;
mod unembedding;

pub use activations::{ActivationBatch, Model, OneContext};
pub use cost::{running_bytes, weight_bytes, width_of};
pub use decoder::blocks_needed;
pub use families::knows_key;
pub use feed::{Asked, Feed, FeedOptions, Holds};
pub use forward::{forward, recycle};
pub use gguf::tokenizer_json;
pub use network::{Elsewhere, Held, Network};
pub use open::{
    described, described_by, files, header, name_of, open, open_for, open_on, open_redrawn, tokenizer, tokenizer_files,
    unembedding,
};
pub use random::RandomWeights;
pub use shape::ModelShape;
pub use sparse::SparseRows;
pub use stored::{RowFiles, Stored, StoredLatents, StoredPlace};
pub use unembedding::Unembedding;
