//! Which pairs are counted? Candidates from sketches: each latent's best partners by the estimated correlation of every pair of
//! two spaces. `candidate_matches` matches what was counted.
//!
//! Sketches are centred (with the sketch of the constant 1) and brought to length 1, so that an inner product estimates a
//! correlation as a sample of `width` buckets does: standard error (1 − r²)/√width, 0 for a latent with a copy of itself.
//! Of few latents all products are computed ([`by_products`]); of many those that their signs say are worth it ([`by_signs`]).

mod by_products;
mod by_signs;
mod lists;
mod rows;

use crate::matching::Standardised;
use crate::moments::{CandidateSums, Candidates};
use by_signs::Search;
use rayon::prelude::*;
use rows::Known;

pub use by_products::{PRODUCT_COLUMNS, PRODUCT_ROWS};
pub use rows::Sides;

/// Bytes that choosing candidates of a pair of `d_source` and `d_target` latents takes on `threads` threads.
pub fn choosing_bytes(width: usize, [d_source, d_target]: [usize; 2], keep: usize, threads: usize) -> usize {
    // one more list holds the merged result
    let of_threads =
        (threads + 1) * by_products::bytes(width, d_target, keep).max(by_signs::bytes(width, d_target, keep));
    of_threads + by_signs::shared_bytes(width, [d_source, d_target])
}

/// Chooses the `keep` best partners of every latent, both ways. A pair that is counted already competes with its counted
/// correlation, and continues to be counted when it is chosen again; a new one begins with the sketches' estimate.
pub fn choose_candidates(counted: &CandidateSums, sides: Sides<'_>, keep: usize) -> CandidateSums {
    let [(a, of_a), (b, of_b)] = sides;
    let (d_source, d_target) = (a.d_sae(), b.d_sae());
    let sources = Known::of_sources(counted, sides);
    let mut chosen = match Search::of(sides, keep) {
        Some(search) => by_signs::best_of_some(&search, sources),
        None => by_products::best_of_all(sources, sides, keep),
    };
    chosen.par_sort_unstable();
    chosen.dedup();

    let known = counted.candidates();
    let entries: Vec<(f64, u64, f32)> = (chosen.par_iter())
        .map(|&(i, j)| match known.find(i, j) {
            Some(k) => (counted.sums()[k], known.sketched_rows[k], known.error[k]),
            None => {
                let (r, spread) = estimate(sides, i as usize, j as usize);
                let between = of_a.sum[i as usize] * of_b.sum[j as usize] / of_a.n_rows;
                let error = (1.0 - r * r) / (a.width() as f64).sqrt() * spread;
                (r * spread + between, of_a.n_rows as u64, error as f32)
            }
        })
        .collect();
    let mut candidates = Candidates::none(d_source);
    let mut sums = Vec::with_capacity(entries.len());
    for (&(i, j), (sum, sketched_rows, error)) in chosen.iter().zip(entries) {
        candidates.starts[i as usize + 1] += 1;
        candidates.targets.push(j);
        candidates.sketched_rows.push(sketched_rows);
        candidates.error.push(error);
        sums.push(sum);
    }
    for i in 0..d_source {
        candidates.starts[i + 1] += candidates.starts[i];
    }
    CandidateSums::with(d_source, d_target, candidates, sums).expect("pairs are sorted, each once")
}

/// Estimated correlation of two latents with variance, and √(Σ(x−x̄)²Σ(y−ȳ)²).
fn estimate([(a, of_a), (b, of_b)]: Sides<'_>, i: usize, j: usize) -> (f64, f64) {
    let (mx, my) = (of_a.sum[i] / of_a.n_rows, of_b.sum[j] / of_b.n_rows);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (((&x, &y), one_x), one_y) in a.latent(i).iter().zip(b.latent(j)).zip(a.ones()).zip(b.ones()) {
        let (x, y) = (f64::from(x) - mx * one_x, f64::from(y) - my * one_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    let scale = |of: &Standardised, i: usize| of.scale[i].expect("a candidate has a variance");
    let spread = 1.0 / (scale(of_a, i) * scale(of_b, j)) / of_a.n_rows;
    ((xy / (xx * yy).sqrt()).clamp(-1.0, 1.0), spread)
}

#[cfg(test)]
mod tests;
