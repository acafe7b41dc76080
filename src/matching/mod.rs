//! Who corresponds to whom? Sums in, matches out.
//!
//! [`pearson`] turns sums into a correlation; [`best`] finds each latent's best partners in a tile, or each dimension's in a
//! cross co-moment; [`Verdict`] says why a match is kept or dropped. Ties go to the lower latent; undefined correlations (a
//! variance of 0) are `None` and match nobody. [`assignment`] pairs whole dictionaries one to one.

pub mod assignment;
mod best;
mod correlation;
mod verdict;

pub use best::{BestPartners, Partner, TileMatches, match_co_moment, match_tile};
pub use correlation::{Correlation, Standardised, pearson};
pub use verdict::{Direction, Filters, LatentFlags, Verdict};
