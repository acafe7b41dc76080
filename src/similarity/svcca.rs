//! SVCCA: how well do the leading components of one side predict those of the other? (Raghu et al. 2017,
//! arXiv 1706.05806; the rule of the universality paper, arXiv 2410.06981.)
//!
//! Closed form: the canonical correlations of the first `k_A` and `k_B` principal component scores are the singular
//! values of `U_A[:, :k_A]ᵀ U_B[:, :k_B]`; the score is their plain mean. The published code solves the same problem by
//! covariance blocks with a ridge of 1e-10, and differs from this by about 5e-10.

use super::space::{RANK_CUT, SideSpace};
use crate::error::{Error, Result};
use crate::linalg::{Matrix, require_finite, singular_values, transposed_product_permuted};

/// How many components each side keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SvccaRule {
    /// As the published code decides: the first `j` whose cumulative *share* reaches 0.99 times the *absolute* total
    /// variance, and one component when none does, which is always the case for a total above 1.0102: then the score is
    /// the absolute correlation of the two first components' scores.
    AsPublished,
    /// The first `j` whose cumulative share reaches this value in `(0, 1]`; 0.99 is what the published comment intends.
    Variance(f64),
    /// This many, or as many as there are.
    Fixed(usize),
}

impl SvccaRule {
    /// Components kept of a side with these variances (squared singular values, not increasing): at least 1, and none
    /// below 1e-10 of the first.
    pub fn components(self, variances: &[f64]) -> usize {
        let rank = variances.iter().filter(|&&v| v >= RANK_CUT * variances[0]).count().max(1);
        let total: f64 = variances.iter().sum();
        let reaching = |level: f64| {
            let mut sum = 0.0;
            variances.iter().position(|v| {
                sum += v;
                sum / total >= level
            })
        };
        match self {
            SvccaRule::AsPublished => reaching(0.99 * total).map_or(1, |j| j + 1).min(rank),
            SvccaRule::Variance(share) => reaching(share).map_or(rank, |j| j + 1).min(rank),
            SvccaRule::Fixed(k) => k.clamp(1, rank),
        }
    }
}

/// SVCCA of one pairing, in detail.
#[derive(Clone, Debug, PartialEq)]
pub struct Svcca {
    /// Mean of the coefficients, in `[0, 1]`.
    pub value: f64,
    /// Components kept of the first side.
    pub k_a: usize,
    /// Components kept of the second side.
    pub k_b: usize,
    /// The `min(k_A, k_B)` canonical correlations, largest first.
    pub coefficients: Vec<f64>,
    /// `N - 1 < k_A + k_B`: some coefficients are 1 for any pairing.
    pub no_power: bool,
}

/// SVCCA of `p: [N, d_A]` and `q: [N, d_B]`, row `i` of one belonging to row `i` of the other; `None` for fewer than 3 rows
/// or a side without variance. Without a null it means little: [`super::compare_rows`] gives both.
///
/// # Errors
/// `Request` when the numbers of rows differ, `Input` for values that are not finite.
pub fn svcca(p: &Matrix<f64>, q: &Matrix<f64>, rule: SvccaRule) -> Result<Option<Svcca>> {
    if p.n_rows() != q.n_rows() {
        let (n, m) = (p.n_rows(), q.n_rows());
        return Err(Error::request(format!("svcca: {n} rows with {m}, expected one partner for every row")));
    }
    require_finite(p, "svcca: first side")?;
    require_finite(q, "svcca: second side")?;
    let (Some(a), Some(b)) = (SideSpace::of(p)?, SideSpace::of(q)?) else { return Ok(None) };
    let (k_a, k_b) = (rule.components(&a.variances()), rule.components(&b.variances()));
    let order: Vec<u32> = (0..p.n_rows() as u32).collect();
    let cross = transposed_product_permuted(&a.svd.u, &b.svd.u, &order, k_a, k_b);
    let coefficients = canonical_correlations(&cross, k_a, k_b)?;
    let value = mean(&coefficients);
    Ok(Some(Svcca { value, k_a, k_b, coefficients, no_power: no_power(p.n_rows(), k_a, k_b) }))
}

/// Whether some canonical correlations of `n` rows are 1 whatever the pairing.
pub(super) fn no_power(n: usize, k_a: usize, k_b: usize) -> bool {
    n.saturating_sub(1) < k_a + k_b
}

/// Singular values of the corner `cross[:k_a, :k_b]`, at most 1: above it they are rounding.
pub(super) fn canonical_correlations(cross: &Matrix<f64>, k_a: usize, k_b: usize) -> Result<Vec<f64>> {
    if (k_a, k_b) == (1, 1) {
        return Ok(vec![cross.row(0)[0].abs().min(1.0)]);
    }
    let values = if (k_a, k_b) == (cross.n_rows(), cross.n_cols()) {
        singular_values(cross)?
    } else {
        let corner = (0..k_a).flat_map(|i| &cross.row(i)[..k_b]).copied().collect();
        singular_values(&Matrix::from_vec(k_a, k_b, corner))?
    };
    Ok(values.into_iter().map(|rho| rho.min(1.0)).collect())
}

/// Plain mean; of nothing, 0.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_keep_what_they_say() {
        let variances = [6.0, 3.0, 0.95, 0.05];
        assert_eq!(SvccaRule::Variance(0.9).components(&variances), 2); // 9 of 10 reaches 0.9
        assert_eq!(SvccaRule::Variance(0.99).components(&variances), 3);
        assert_eq!(SvccaRule::Variance(1.0).components(&variances), 4);
        assert_eq!(SvccaRule::AsPublished.components(&variances), 1);
        let shrunk = variances.map(|v| v / 10.0);
        assert_eq!(SvccaRule::AsPublished.components(&shrunk), 3, "a total of 1 does what was meant");
        assert_eq!(SvccaRule::Fixed(9).components(&variances), 4);
        assert_eq!(SvccaRule::Fixed(9).components(&[1.0, 0.5, 1e-12]), 2, "noise is no direction");
    }

    #[test]
    fn undefined_is_none_and_mismatch_is_an_error() {
        let two = Matrix::from_vec(2, 2, vec![1.0, 2.0, 3.0, 4.5]);
        assert_eq!(svcca(&two, &two, SvccaRule::Fixed(1)).unwrap(), None);
        let flat: Matrix<f64> = Matrix::from_vec(4, 2, [0.1, 0.7].repeat(4));
        let other = Matrix::from_vec(4, 1, vec![1.0, 2.0, 3.0, 5.0]);
        assert_eq!(svcca(&flat, &other, SvccaRule::Fixed(1)).unwrap(), None);
        assert!(svcca(&two, &other, SvccaRule::Fixed(1)).is_err());
    }
}
