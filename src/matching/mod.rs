//! Which latents correspond? Sums in, matches out.
//!
//! [`pearson`] turns sums into a correlation; `best.rs` finds each latent's best partners in a tile, or each dimension's in a
//! cross co-moment; [`apply_filters`] gives each listed partner an [`Outcome`], [`significance`] tests the best one against
//! the null; [`count_matches`] counts matches, and those of the null; [`groups`] puts the kept mutual ones of several places
//! together. Ties go to the lower latent; undefined correlations (a
//! variance of 0) are `None` and give no partner, unless under [`Rules::AsPublished`]. [`assignment`] pairs whole dictionaries
//! one to one.

pub mod assignment;
mod best;
mod best_over;
mod candidate_matches;
mod category;
mod correlation;
mod counts;
mod enough;
mod fdr;
mod filters;
pub mod groups;
mod listed;
mod partners;
mod significance;
mod sketch_candidates;
mod token_class;

pub use best::{TileMatches, match_co_moment, match_tile, match_tiles};
pub use best_over::{BestOver, Chosen, OverCounts, OverPlaces, PlacePair, best_over, count_over};
pub use candidate_matches::{match_counted, standard_error};
pub use category::{AROUND, Categories, Category, CategoryRule, Lexicon, Shown};
pub use correlation::{Correlation, Rules, Standardised, pearson};
pub use counts::{MatchCounts, count_matches};
pub use enough::{MAX_OWN_SHARE, MIN_DOCUMENTS, MIN_TOKENS, NoChance, too_few};
pub use fdr::benjamini_hochberg;
pub use filters::{
    Filters, LatentFacts, OneToOne, Outcome, Reason, Side, TOP_STRINGS, TRANSPORT_POOL, apply_filters, kept,
};
pub use listed::{CONTAINED, HOLDS_WITHIN, Listed, ListedFigures, Relation};
pub use partners::{BestPartners, Direction, Partner};
pub use significance::{MIN_POOL, Significance, significance};
pub use sketch_candidates::{PRODUCT_COLUMNS, PRODUCT_ROWS, Sides, choose_candidates, choosing_bytes};
pub use token_class::TokenClass;
