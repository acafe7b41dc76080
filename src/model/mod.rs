//! What are a model's activations at its hookpoints? Token ids in, [`ActivationBatch`]es out: by a forward here, by a feed, another
//! process that is asked (`feed/`), or from files (`stored/`). [`Network`] is any of these.
//!
//! A family is one file that describes an architecture in plain data (`architecture.rs`). The description is checked against
//! headers, costed, or loaded (`load.rs`). All families share the layers, which are written in candle tensors; the most expensive
//! operations are candle custom ops over CPU kernels. One product takes the rows of one context: a context's activations do not
//! depend on its batch.

mod activations;
mod architecture;
mod config;
mod decoder;
mod families;
mod feed;
mod forward;
mod gguf;
mod keys;
mod layers;
mod load;
mod network;
mod open;
mod random;
mod rope;
mod shape;
mod sparse;
mod stored;
#[cfg(test)]
mod tests;
mod unembedding;

pub use activations::{ActivationBatch, Model};
pub use decoder::blocks_needed;
pub use families::knows_key;
pub use feed::{Asked, Feed, FeedOptions, Holds};
pub use forward::{forward, recycle};
pub use gguf::tokenizer_json;
pub use network::{Elsewhere, Held, Network};
pub use open::{
    context_bytes, described, described_by, files, header, memory_bytes, name_of, open, open_for, open_redrawn,
    tokenizer, tokenizer_files, unembedding, width_of,
};
pub use random::RandomWeights;
pub use shape::ModelShape;
pub use sparse::SparseRows;
pub use stored::{RowFiles, Stored, StoredLatents, StoredPlace};
pub use unembedding::Unembedding;
