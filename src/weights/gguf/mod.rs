//! What is in a GGUF file? Metadata, and tensors in ggml's block formats; what they mean as a model is `model/gguf`'s.

mod array;
mod cursor;
mod file;
mod quant;
#[cfg(test)]
mod tests;

pub use file::{GgufFile, MetadataValue, Tensor, header};
pub use quant::Kind;
