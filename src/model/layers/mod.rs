//! The layers that families share, written in candle tensors of one context: `[n_tokens, width]` f32.
//!
//! On the CPU the hot operations are candle custom ops over our own sequential kernels; on any other device the same
//! function takes candle's own operations. The latter also run on the CPU, where they are the oracle of the former.

pub mod activation;
pub mod attention;
pub mod embedding;
pub mod linear;
pub mod math;
pub mod mlp;
pub mod norm;
pub mod pool;
pub mod rotary;
mod row_op;
pub mod sum;
mod tensors;

pub use activation::ActivationFunction;
pub use attention::{Attention, side_by_side};
pub use embedding::Embedding;
pub use linear::Linear;
pub use mlp::{Hidden, Mlp};
pub use norm::Norm;
pub use pool::Pooled;
pub use rotary::Rotary;
pub use sum::sum;
pub use tensors::device_error;

#[cfg(test)]
mod tests;
