//! Pearson correlation from sums.

use crate::moments::LatentSums;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// A defined correlation, totally ordered and hashable, so that it can travel as data.
///
/// Ordered by value; it is never NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Correlation(u64);

impl Correlation {
    /// `None` when `value` is not finite.
    pub fn new(value: f64) -> Option<Self> {
        // -0 and 0 are one value and must be one key
        value.is_finite().then(|| Correlation((value + 0.0).to_bits()))
    }

    /// The number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl PartialOrd for Correlation {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Correlation {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value().total_cmp(&other.value())
    }
}

/// Which reading of the paper correlations, filters and p-values follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rules {
    /// What was meant: Pearson's r, undefined without variance; p-values that count the observed pairing.
    #[default]
    Meant,
    /// What the authors' code computes (docs/method.md, "published"): r times (N − 1)/N with 1e-8 added to each standard deviation, 0
    /// without variance, so that a dead latent's partner is latent 0; p-values that may be 0.
    AsPublished,
}

/// r = (NΣxy − ΣxΣy) / √((NΣx² − (Σx)²)(NΣy² − (Σy)²)), the denominator as the product of the sides' `scale` (see
/// [`Standardised`]). Clamped to [−1, 1], which rounding may leave by a few ulp.
#[inline(always)]
pub fn pearson(n: f64, sum_x: f64, scale_x: f64, sum_y: f64, scale_y: f64, sum_xy: f64) -> f64 {
    let covariance = crate::moments::product_difference(n, sum_xy, sum_x, sum_y);
    (covariance * scale_x * scale_y).clamp(-1.0, 1.0)
}

/// What a latent's sums give to a correlation: Σx and 1/√(NΣx² − (Σx)²). All vectors are `[d_sae]`.
#[derive(Clone, Debug)]
pub struct Standardised {
    /// Rows seen, N.
    pub n_rows: f64,
    /// Σx.
    pub sum: Vec<f64>,
    /// 1/√(NΣx² − (Σx)²); `None` where the variance is 0. As published: 1/(N (s + 1e-8)) with s by N − 1, and 0 where the
    /// variance is 0, so that such a latent's correlations are all 0.
    pub scale: Vec<Option<f64>>,
}

/// What the published code adds to a standard deviation.
pub(super) const PUBLISHED_EPSILON: f64 = 1e-8;

impl Standardised {
    /// Of all latents of a space, for Pearson's r.
    pub fn new(sums: &LatentSums) -> Self {
        Self::by(sums, Rules::Meant)
    }

    /// Of all latents of a space, for the correlation of `rules`.
    pub fn by(sums: &LatentSums, rules: Rules) -> Self {
        let n = sums.n_rows as f64;
        let published = |v: f64| 1.0 / (n * ((v / (n * (n - 1.0))).sqrt() + PUBLISHED_EPSILON));
        let scale = |i: usize| match rules {
            Rules::Meant => sums.scaled_variance(i).map(|v| 1.0 / v.sqrt()),
            Rules::AsPublished => Some(sums.scaled_variance(i).map_or(0.0, published)),
        };
        Standardised { n_rows: n, sum: sums.sum.clone(), scale: (0..sums.d_sae()).map(scale).collect() }
    }

    /// Correlation of latent `i` here with latent `j` of `other`, given Σxy; `None` when a variance is 0.
    pub fn correlate(&self, i: usize, other: &Standardised, j: usize, sum_xy: f64) -> Option<f64> {
        Some(pearson(self.n_rows, self.sum[i], self.scale[i]?, other.sum[j], other.scale[j]?, sum_xy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_numbers() {
        let values = [-1.0, -0.5, -0.0, 0.0, 1e-300, 0.3, 1.0];
        for w in values.windows(2) {
            let (a, b) = (Correlation::new(w[0]).unwrap(), Correlation::new(w[1]).unwrap());
            assert_eq!(a.cmp(&b), w[0].partial_cmp(&w[1]).unwrap(), "{w:?}");
        }
        assert_eq!(Correlation::new(f64::NAN), None);
    }
}
