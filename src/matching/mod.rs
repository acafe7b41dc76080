//! Who corresponds to whom? Sums in, matches out.
//!
//! [`pearson`] turns sums into a correlation; `best.rs` finds each latent's best partners in a tile, or each dimension's in a
//! cross co-moment; [`judge`] says of each listed partner why it is kept or dropped, [`chances`] how far above chance the
//! best one is; [`count_matches`] counts them, and those of chance. Ties go to the lower latent; undefined correlations (a variance of 0) are `None` and match nobody, but under
//! [`Rules::AsPublished`]. [`assignment`] pairs whole dictionaries one to one.

pub mod assignment;
mod best;
mod category;
mod chance;
mod correlation;
mod counts;
mod enough;
mod fdr;
mod filters;
mod judge;
mod sketch_candidates;
mod token_class;
mod verdict;

pub use best::{BestPartners, Partner, TileMatches, match_co_moment, match_tile, match_tiles};
pub use category::{AROUND, Categories, Category, CategoryRule, Lexicon, Shown};
pub use chance::{Chance, MIN_POOL, chances};
pub use correlation::{Correlation, Rules, Standardised, pearson};
pub use counts::{MatchCounts, count_matches};
pub use enough::{MAX_OWN_SHARE, MIN_DOCUMENTS, MIN_TOKENS, NoChance, too_few};
pub use fdr::benjamini_hochberg;
pub use filters::{Filters, OneToOne, TOP_STRINGS};
pub use judge::{Side, TRANSPORT_POOL, judge, kept};
pub use sketch_candidates::{
    PRODUCT_COLUMNS, PRODUCT_ROWS, Sides, choose_candidates, choosing_bytes, match_counted, standard_error,
};
pub use token_class::TokenClass;
pub use verdict::{Direction, LatentFacts, Verdict};
