//! What is handed over? One number, and what chance alone would give.

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
    pub null: Option<Null>,
    /// The pairing cannot change the value much or at all: `N - 1 < k_A + k_B` for canonical correlations (then at least
    /// `k_A + k_B - (N - 1)` of them are 1 for any pairing), or neighbourhoods of all other rows.
    pub no_power: bool,
    /// Components kept a side, for the measures that keep some.
    pub components: Option<(usize, usize)>,
}

impl Score {
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
pub struct Null {
    /// Mean over the runs.
    pub mean: f64,
    /// Standard deviation over the runs (`runs - 1` below the line); `None` for one run.
    pub sd: Option<f64>,
    /// Number of random pairings.
    pub runs: usize,
    /// Of them at least as close as the observed one.
    pub as_close: usize,
    /// `(c + 1) / (runs + 1)` with `c` the runs at least as close as the observed pairing, so never 0. Values within 1e-10
    /// are equally close: where no pairing matters, all values are 1 but for rounding, and p is 1.
    pub p_value: f64,
}

impl Null {
    /// Summary of `draws` in their order; `None` for no draws.
    pub(super) fn of(observed: f64, draws: &[f64], smaller_is_closer: bool) -> Option<Null> {
        if draws.is_empty() {
            return None;
        }
        let runs = draws.len();
        let mean = draws.iter().sum::<f64>() / runs as f64;
        let squares: f64 = draws.iter().map(|x| (x - mean) * (x - mean)).sum();
        let as_close = |x: f64| if smaller_is_closer { x <= observed + ROUNDING } else { x >= observed - ROUNDING };
        let count = draws.iter().filter(|&&x| as_close(x)).count();
        Some(Null {
            mean,
            sd: (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt()),
            runs,
            as_close: count,
            p_value: (count + 1) as f64 / (runs + 1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_counts_ties_as_close_and_is_never_zero() {
        let null = Null::of(0.5, &[0.1, 0.5, 0.9, 0.3], false).unwrap();
        assert_eq!(null.p_value, 3.0 / 5.0);
        assert_eq!(Null::of(2.0, &[0.1, 0.5, 0.9, 0.3], false).unwrap().p_value, 1.0 / 5.0);
        assert_eq!(Null::of(0.3, &[0.1, 0.5, 0.9, 0.3], true).unwrap().p_value, 3.0 / 5.0);
        assert!((null.mean - 0.45).abs() < 1e-15 && (null.sd.unwrap() - 0.3415650255319866).abs() < 1e-15);
        assert_eq!(Null::of(0.5, &[0.5], false).unwrap().sd, None);
        assert_eq!(Null::of(0.5, &[], false), None);
    }
}
