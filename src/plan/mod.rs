//! What will be done, and what will it cost? Steps, shapes, bytes and the fingerprint, from headers alone.
//!
//! A [`Request`] is a dataflow file as written and what is wanted of it. It becomes an [`Outline`], which can be shown, or a
//! [`Plan`], which can be run; `steps` resolves and checks, `decide` settles what the file leaves open, and nothing is changed later.
//! Shared work is merged here: one forward per model for all its hookpoints, one encode per SAE, however many pairs use
//! them. Everything after the plan trusts its shapes.

mod choice;
mod control;
mod cost;
mod decide;
mod declared;
mod fingerprint;
mod given;
mod logits;
mod made_of;
mod memory;
mod models;
mod one_decoder;
mod outline;
mod parts;
mod places;
mod request;
mod runnable;
mod scale;
mod sites;
mod sizes;
mod space;
mod steps;
mod tiles;
mod tokenizers;
mod used;

pub use cost::grouped;
pub use declared::is_written;
pub use fingerprint::{corpus_mark, is_of_stored};
pub use made_of::{check_sae, check_tokenizer};
pub use models::{PlannedModel, resolved};
pub use outline::Outline;
pub use parts::{Cost, Pair, PlannedReadout, PlannedStitch, RawPair, RawSite, Strip, Tile};
pub use request::{Purpose, Request, SavedSums};
pub use runnable::Plan;
pub use scale::{Bound, Expected, Machines, PerToken};
pub use space::{Origin, PlannedSae, Space, Tap};

#[cfg(test)]
mod tests;
