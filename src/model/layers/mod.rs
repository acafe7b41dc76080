//! The layers that families share, written in candle tensors of one context: `[n_tokens, width]` f32.
//!
//! On the CPU the hot operations are candle custom ops over our own sequential kernels; on any other device the same
//! function takes candle's own operations. The latter also run on the CPU, where they are the oracle of the former.

pub mod activation;
pub mod approx;
pub mod attention;
pub mod embedding;
pub mod kept;
pub mod linear;
pub mod mlp;
pub mod norm;
mod onto;
pub mod rotary;
pub mod sum;
mod tensors;

pub use activation::Activation;
pub use attention::{Attention, side_by_side};
pub use embedding::Embedding;
pub use kept::Kept;
pub use linear::Linear;
pub use mlp::{Hidden, Mlp};
pub use norm::Norm;
pub use rotary::Rotary;
pub use sum::sum;
pub use tensors::device_error;

#[cfg(test)]
mod tests;
