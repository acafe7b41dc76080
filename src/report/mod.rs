//! What does a person see? The words and figures at the end of a run, one latent, a page for a browser.

mod agreement;
mod alignment;
mod best_over;
mod context;
mod evidence;
mod grid;
mod groups;
mod latent;
mod page;
mod readout;
mod summary;
mod words;

pub use agreement::{AgreementSummary, PairAgreement};
pub use alignment::{alignment_words, read_alignment};
pub use best_over::BestOverSummary;
pub use context::Marker;
pub use evidence::{CAVEAT, Closeness, LEAST_RUNS_FOR_SD, closest, repeated_words, shown_sd};
pub use grid::Grid;
pub use groups::{GroupCounts, GroupSummary};
pub use latent::LatentCard;
pub use page::{Decoders, OtherRun, RunFacts, page};
pub use readout::{ReadoutSummary, VerdictCounts};
pub use summary::{Speed, Summary};
pub use words::{WIDTH, given_in_words, shown_token, wrapped};
