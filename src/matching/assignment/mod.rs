//! One partner for each: pairings of a whole dictionary at once, from a matrix or a list of correlations.
//!
//! - [`hungarian`]: the one-to-one pairing of largest sum over a dense matrix; every latent of the smaller side is used.
//! - [`hungarian_sparse`]: the same over a few candidates a row, at the size of whole dictionaries; a latent may stay alone.
//! - [`greedy_one_to_one`]: strongest pair first.
//! - [`first_one_to_one`]: the published walk, the lowest target of each source.
//! - [`sinkhorn`]: entropic optimal transport, which may give one source to several targets.
//!
//! The optimal pairings count in integers: scores are scaled by a power of two so that the largest takes 44 bits, a
//! resolution of 6e-14 of it. Sums are then exact and ties are real ties, broken the same way on every machine.

mod dense;
mod one_to_one;
mod sparse;
mod transport;

pub use dense::hungarian;
pub use one_to_one::{first_one_to_one, greedy_one_to_one};
pub use sparse::{ScoredColumns, hungarian_sparse};
pub use transport::{Sinkhorn, Transport, sinkhorn};

use crate::error::{Error, Result};

/// Bits of the largest score after scaling: sums over 2^18 rows stay below 2^62.
const SCORE_BITS: i32 = 44;

/// Integer costs (minus the scores), the smallest for the best.
///
/// # Errors
/// `Input` for NaN or infinity, naming the place.
fn integer_costs(scores: &[f64]) -> Result<Vec<i64>> {
    if let Some(at) = scores.iter().position(|x| !x.is_finite()) {
        return Err(Error::input(format!(
            "assignment: score {at} is {}, expected a finite number; leave out latents without variance",
            scores[at]
        )));
    }
    let largest = scores.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    // 2^exponent is above `largest`; scaled in two steps, as 2^(44 - exponent) alone may overflow.
    let exponent = if largest > 0.0 { largest.log2().floor() as i32 + 1 } else { 0 };
    let half = (SCORE_BITS - exponent) / 2;
    let (first, second) = (2f64.powi(half), 2f64.powi(SCORE_BITS - exponent - half));
    Ok(scores.iter().map(|x| -((x * first * second).round() as i64)).collect())
}

#[cfg(test)]
mod tests;
