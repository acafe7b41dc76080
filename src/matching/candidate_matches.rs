//! Which counted candidates are a latent's best partners, and how exact are their correlations?

use crate::matching::{BestPartners, Correlation, Partner, Standardised, TileMatches};
use crate::moments::{CandidateSums, Candidates};

/// The `keep` best partners of every latent among the candidates, both ways.
pub fn match_counted(
    counted: &CandidateSums,
    source: &Standardised,
    target: &Standardised,
    keep: usize,
) -> TileMatches {
    let mut found = TileMatches {
        forward: vec![BestPartners::default(); counted.d_source()],
        backward: vec![BestPartners::default(); counted.d_target()],
    };
    let candidates = counted.candidates();
    for i in 0..counted.d_source() {
        for entry in candidates.row(i) {
            let j = candidates.targets[entry];
            let r = source.correlate(i, target, j as usize, counted.sums()[entry]);
            let Some(correlation) = r.and_then(Correlation::new) else { continue };
            found.forward[i].offer(Partner { latent: j, correlation }, keep);
            found.backward[j as usize].offer(Partner { latent: i as u32, correlation }, keep);
        }
    }
    found
}

/// Standard error of a counted pair's correlation from the rows that are estimated: 0 where all were counted, `None` where a
/// variance is 0.
pub fn standard_error(
    candidates: &Candidates,
    entry: usize,
    x: (&Standardised, usize),
    y: (&Standardised, usize),
) -> Option<f64> {
    let (scale_x, scale_y) = (x.0.scale[x.1]?, y.0.scale[y.1]?);
    Some(f64::from(candidates.error[entry]) * x.0.n_rows * scale_x * scale_y)
}
