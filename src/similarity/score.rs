//! The score of a measure: one number, and what chance alone would give.

use super::Measure;

/// One measure of two spaces with its null.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// What was measured.
    pub measure: Measure,
    /// The number; `None` where it is undefined (fewer than 3 pairs, no variance, a row of zeros under a cosine).
    pub value: Option<f64>,
    /// Pairs that entered it: rows for row measures, tokens for moments.
    pub n_pairs: usize,
    /// What chance gives; `None` when the value is undefined or no draws were asked for.
    pub null: Option<NullScores>,
    /// The pairing cannot change the value much or at all: `N - 1 < k_A + k_B` for canonical correlations (then at least
    /// `k_A + k_B - (N - 1)` of them are 1 for any pairing), or neighbourhoods of all other rows.
    pub no_power: bool,
    /// Components kept per side, for measures that keep some.
    pub components: Option<(usize, usize)>,
    /// The measure under each random pairing, in their order; empty unless asked for one by one.
    pub draws: Vec<f64>,
}

impl Score {
    /// Of `n_pairs` pairs that do not give a value.
    pub(super) fn undefined(measure: Measure, n_pairs: usize) -> Score {
        Score { measure, value: None, n_pairs, null: None, no_power: false, components: None, draws: Vec::new() }
    }

    /// How far the value is above the null's 95 % point τ, as a share of the way to the measure's best value: `max(0, (value - τ) /
    /// (1 - τ))`, for a distance, whose best value is 0, `max(0, (τ - value) / τ)`. 0 is chance, 1 is equal. `None` without τ, or
    /// where τ is the best value. (Our definition, after the calibration of arXiv 2602.14486.)
    pub fn calibrated(&self) -> Option<f64> {
        let (value, point) = (self.value?, self.null.as_ref()?.point?);
        let (ahead, room) =
            if self.measure.smaller_is_closer() { (point - value, point) } else { (value - point, 1.0 - point) };
        (room > 1e-9).then(|| (ahead / room).clamp(0.0, 1.0))
    }

    /// How far the value is above the null's mean, as a share of the way to 1: `(value - mean) / (1 - mean)`; 0 is
    /// chance, 1 is equal. `None` without a null, and for measures where smaller is closer.
    pub fn above_null(&self) -> Option<f64> {
        let (value, null) = (self.value?, self.null.as_ref()?);
        let room = 1.0 - null.mean;
        (!self.measure.smaller_is_closer() && room > 1e-9).then(|| (value - null.mean) / room)
    }
}

/// What two values of one measure may differ by and still be one value: coefficients carry about 1e-13.
const ROUNDING: f64 = 1e-10;

/// The measure over random pairings of the same rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NullScores {
    /// Mean over the runs.
    pub mean: f64,
    /// Standard deviation over the runs (`runs - 1` below the line); `None` for one run.
    pub sd: Option<f64>,
    /// Number of random pairings.
    pub runs: usize,
    /// The null's 95 % point: a value is closer than it where p is at most 0.05. `None` with fewer than 19 runs, whose p is
    /// never so small.
    pub point: Option<f64>,
    /// Number of random pairings that are at least as close as the observed one.
    pub as_close: usize,
    /// `(c + 1) / (runs + 1)` with `c` the runs at least as close as the observed pairing, so never 0. Values within 1e-10
    /// are equally close: where no pairing matters, all values are 1 but for rounding, and p is 1.
    pub p_value: f64,
}

impl NullScores {
    /// Summary of `draws` in their order; `None` for no draws.
    pub(super) fn of(observed: f64, draws: &[f64], smaller_is_closer: bool) -> Option<NullScores> {
        if draws.is_empty() {
            return None;
        }
        let runs = draws.len();
        let mean = draws.iter().sum::<f64>() / runs as f64;
        let squares: f64 = draws.iter().map(|x| (x - mean) * (x - mean)).sum();
        let as_close = |x: f64| if smaller_is_closer { x <= observed + ROUNDING } else { x >= observed - ROUNDING };
        let count = draws.iter().filter(|&&x| as_close(x)).count();
        Some(NullScores {
            mean,
            sd: (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt()),
            runs,
            point: point(draws, smaller_is_closer),
            as_close: count,
            p_value: (count + 1) as f64 / (runs + 1) as f64,
        })
    }
}

/// The ⌈0.95 (R + 1)⌉-th of R values in order of closeness, the farthest first.
fn point(draws: &[f64], smaller_is_closer: bool) -> Option<f64> {
    let rank = (19 * (draws.len() + 1)).div_ceil(20);
    let mut sorted = draws.to_vec();
    sorted.sort_by(|a, b| if smaller_is_closer { b.total_cmp(a) } else { a.total_cmp(b) });
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calibrated_score_is_above_0_just_where_p_is_at_most_a_twentieth() {
        let mut stream = crate::linalg::Stream::new(1, "draws", 0);
        for runs in [1, 9, 18, 19, 20, 39, 100, 1000] {
            let draws: Vec<f64> = (0..runs).map(|_| stream.unit()).collect();
            for value in [0.0, 0.5, 0.9, 0.94, 0.96, 0.99, 1.0] {
                for (measure, value) in [(Measure::Cka, value), (Measure::ProcrustesRmse, 1.0 - value)] {
                    let null = NullScores::of(value, &draws, measure.smaller_is_closer());
                    let score = Score { value: Some(value), null, ..Score::undefined(measure, 9) };
                    assert_eq!(score.calibrated().is_some(), runs >= 19, "{runs} runs");
                    let Some(calibrated) = score.calibrated() else { continue };
                    assert_eq!(calibrated > 0.0, null.unwrap().p_value <= 0.05, "{runs} runs, {measure} {value}");
                }
            }
        }
        let draws: Vec<f64> = (1..=19).map(f64::from).map(|k| k / 40.0).collect();
        let score = |value| Score {
            value: Some(value),
            null: NullScores::of(value, &draws, false),
            ..Score::undefined(Measure::Cka, 9)
        };
        // the point is the 19th of 19 draws, 0.475
        assert!((score(0.79).calibrated().unwrap() - 0.6).abs() < 1e-12);
        assert_eq!((score(1.0).calibrated(), score(0.1).calibrated()), (Some(1.0), Some(0.0)));
    }

    #[test]
    fn p_counts_ties_as_close_and_is_never_zero() {
        let null = NullScores::of(0.5, &[0.1, 0.5, 0.9, 0.3], false).unwrap();
        assert_eq!(null.p_value, 3.0 / 5.0);
        assert_eq!(NullScores::of(2.0, &[0.1, 0.5, 0.9, 0.3], false).unwrap().p_value, 1.0 / 5.0);
        assert_eq!(NullScores::of(0.3, &[0.1, 0.5, 0.9, 0.3], true).unwrap().p_value, 3.0 / 5.0);
        assert!((null.mean - 0.45).abs() < 1e-15 && (null.sd.unwrap() - 0.3415650255319866).abs() < 1e-15);
        assert_eq!(NullScores::of(0.5, &[0.5], false).unwrap().sd, None);
        assert_eq!(NullScores::of(0.5, &[], false), None);
    }
}
