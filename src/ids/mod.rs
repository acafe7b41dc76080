//! What is it called? Names of things as types, so that two numbers cannot change places; the places inside a
//! transformer, and what other libraries call them in each family of models.

mod family;
mod hookpoint;
mod hugging_face;
mod name;
mod place;
mod resolve;
#[cfg(test)]
mod tests;
mod transformer_lens;

pub use hookpoint::Hookpoint;
pub use name::{HookName, Site, SiteName};
pub use place::BlockKind;
pub use resolve::{LibraryNames, families, library_names, resolve};

/// Number of a batch, from 0 in corpus order. It is the timestamp of everything made from the batch.
pub type BatchIndex = u64;
