//! Do the spaces agree, beyond chance? Matched rows or moments in, scores with their nulls out.
//!
//! Two ways in: [`compare_rows`] for two matrices whose row `i` belongs together (decoder rows of matched latents), and
//! [`moments_scores`] for streamed co-moments of activations, where the rows themselves are gone. Every score is a plain
//! function of its input; the null comes from row permutations drawn from the run's named streams, so scores do not
//! depend on the number of threads.
//!
//! Known limit: memory. Row comparisons hold about `4 N d` f64 values per side, and RSA `14 N²` bytes more
//! ([`rsa_bytes`]).

mod compare;
mod debiased;
mod dictionary;
mod logits;
mod measure;
mod moments;
mod neighbours;
mod null;
mod over;
mod procrustes;
mod pwcca;
mod readout;
mod rsa;
mod score;
mod space;
mod statistic;
mod stitch;
mod svcca;

pub use compare::{compare_rows, compare_rows_until};
pub use dictionary::{DENSE_ROWS, DictionaryMatch, cosine, match_dictionaries, unit_rows};
pub use logits::{LogitEffects, wide};
pub use measure::{Measure, PwccaRule, RsaRule};
pub use moments::{Moments, MomentsMeasure, NullMoments, moments_scores};
pub use null::Permutations;
pub use over::{Candidate, closest_of};
pub use readout::{LatentHalf, RIDGE, Readout, Ridge, direction, latent_scaling};
pub use rsa::{RSA_MAX_ROWS, rsa_bytes};
pub use score::{NullScores, Score};
pub use stitch::{LinearMap, MapFit, MapKind, MapScore, PairMaps, Units};
pub use svcca::{Svcca, SvccaRule, svcca};

#[cfg(test)]
mod tests;
