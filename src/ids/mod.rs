//! Names as types: two numbers of different meaning cannot be exchanged by mistake. The hookpoints of a transformer, and their
//! names in other libraries for each family of models.

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
pub use name::{HookName, Site, SiteName, Tag};
pub use place::BlockKind;
pub use resolve::{LibraryNames, families, library_names, resolve};

/// Number of a batch, from 0 in corpus order. It is the timestamp of everything made from the batch.
pub type BatchIndex = u64;
