//! What must be remembered? Plain f64 sums, mergeable: per latent ([`LatentSums`], [`Profiles`]), per pair of latents ([`PairSums`]), per
//! hookpoint ([`CoMoment`], [`SiteMoments`], [`CrossCoMoment`], by half [`FoldMoments`], [`FoldCross`]), per latent and other hookpoint ([`ReadoutSums`]) and of the corpus ([`DocumentRows`], [`SeenContexts`]).
//!
//! Each is an [`Accumulator`]: a batch goes in, another one goes in, its state goes to a file and comes back. Folding is done in order of
//! batch index and, inside a batch, in order of rows, so sums have the same bits however the work was spread.

mod accumulator;
mod alignment;
mod candidate_sums;
mod centred;
mod comoment;
mod cross;
mod document_counts;
mod documents;
mod given;
mod label;
mod latent;
mod listed;
mod norms;
mod null;
mod pair;
mod partner_rows;
mod places;
mod profiles;
mod readout;
mod seen;
mod site;
mod sketch;
mod stitch;
mod top;

pub use accumulator::{Accumulator, State};
pub use alignment::Alignment;
pub use candidate_sums::{CandidateSums, Candidates};
pub use comoment::{CoMoment, CrossCoMoment, row_permutation};
pub use cross::{ByLatent, CrossTile, SavedTile, tile_rows};
pub use document_counts::DocumentCounts;
pub use documents::DocumentRows;
pub use given::{GivenSums, MIN_GIVEN, correlation};
pub use label::{LabelCount, LabelKey, LabelSums, MAX_LABEL_VALUES};
pub use latent::LatentSums;
pub(crate) use latent::product_difference;
pub use listed::{GROUPS, ListedBatch, ListedPair, ListedSide, ListedSums, Since, groups_of_rows};
pub use norms::NormMoments;
pub use null::{Beside, Null, document_rotation};
pub use pair::{PairBatch, PairShape, PairSums};
pub use partner_rows::{Partner, PartnerIndex, Partners, RowKey, RowMemory, differences};
pub use places::PlaceRows;
pub use profiles::{ProfileShape, Profiles};
pub use readout::{FOLDS, FoldMoments, FoldRows, LatentReadout, ReadoutBatch, ReadoutShape, ReadoutSums};
pub use seen::{Repeated, SeenContexts};
pub use site::SiteMoments;
pub use sketch::{Buckets, RowHash, Sketch};
pub use stitch::FoldCross;
pub use top::{TopOptions, TopToken, TopTokens};
