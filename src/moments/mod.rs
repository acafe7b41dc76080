//! What must be remembered? Plain f64 sums, mergeable: per latent ([`LatentSums`], [`Profiles`]), per pair of latents ([`PairSums`]), per
//! hookpoint ([`CoMoment`], [`CrossCoMoment`]) and of the corpus ([`DocumentRows`], [`SeenContexts`]).
//!
//! Each is an [`Accumulator`]: a batch goes in, another one goes in, its state goes to a file and comes back. Folding is done in order of
//! batch index and, inside a batch, in order of rows, so sums have the same bits however the work was spread.

mod accumulator;
mod candidate_sums;
mod comoment;
mod cross;
mod documents;
mod label;
mod latent;
mod null;
mod pair;
mod profiles;
mod seen;
mod sketch;
mod top;

pub use accumulator::{Accumulator, State};
pub use candidate_sums::{CandidateSums, Candidates};
pub use comoment::{CoMoment, CrossCoMoment, row_permutation};
pub use cross::{ByLatent, CrossTile, SavedTile, tile_rows};
pub use documents::DocumentRows;
pub use label::{LabelCount, LabelKey, LabelSums, MAX_LABEL_VALUES};
pub use latent::LatentSums;
pub(crate) use latent::product_difference;
pub use null::{Beside, Null, document_rotation};
pub use pair::{PairBatch, PairShape, PairSums};
pub use profiles::{ProfileShape, Profiles};
pub use seen::{Repeated, SeenContexts};
pub use sketch::{Buckets, RowHash, Sketch};
pub use top::{TopOptions, TopToken, TopTokens};
