//! Which best matches are kept. Settings and facts in, an [`Outcome`] for each listed match out.

mod apply;
mod choice;
mod one_to_one;
mod outcome;
mod settings;

pub use apply::{Side, TRANSPORT_POOL, apply_filters, kept};
pub use one_to_one::OneToOne;
pub use outcome::{LatentFacts, Outcome, Reason};
pub use settings::{Filters, TOP_STRINGS};
