//! How much agreement is left after the best rotation? Orthogonal Procrustes, and linear CKA with it: both are norms of
//! the cross product of the two sides' rows.
//!
//! With `P_c = U_A S_A V_Aᵀ` and `M = U_Aᵀ U_B[order]`: `‖P_cᵀ Q_c‖ = ‖S_A M S_B‖` in every unitarily invariant norm.

use super::space::SideSpace;
use super::statistic::{Draw, Statistic};
use crate::error::Result;
use crate::linalg::{Matrix, product, product_transposed, singular_values};

/// `S_A M S_B`.
pub(super) fn weighted(cross: &Matrix<f64>, a: &SideSpace, b: &SideSpace) -> Matrix<f64> {
    let mut out = cross.clone();
    for i in 0..out.n_rows() {
        let s = a.svd.s[i];
        out.row_mut(i).iter_mut().zip(&b.svd.s).for_each(|(x, t)| *x *= s * t);
    }
    out
}

/// Linear CKA: `‖P_cᵀQ_c‖² / (‖P_cᵀP_c‖ ‖Q_cᵀQ_c‖)` in Frobenius norms (Kornblith et al. 2019, arXiv 1905.00414, eq. 3 and
/// section 5), the RV coefficient of Robert and Escoufier (1976).
pub(super) struct Cka<'a>(pub &'a SideSpace, pub &'a SideSpace);

impl Statistic for Cka<'_> {
    fn value(&self, draw: &Draw) -> Result<f64> {
        let Cka(a, b) = self;
        let squares: f64 = weighted(draw.cross(), a, b).as_slice().iter().map(|x| x * x).sum();
        let fourth = |space: &SideSpace| space.svd.s.iter().map(|s| s.powi(4)).sum::<f64>();
        Ok(squares / (fourth(a) * fourth(b)).sqrt())
    }
}

/// `‖P_cᵀQ_c‖_* / (‖P_c‖ ‖Q_c‖)`: the inner product of the centred, unit-norm sides after the best orthogonal map, the
/// narrower side padded with zeros (Schönemann 1966).
pub(super) struct Procrustes<'a>(pub &'a SideSpace, pub &'a SideSpace);

impl Statistic for Procrustes<'_> {
    fn value(&self, draw: &Draw) -> Result<f64> {
        let Procrustes(a, b) = self;
        let nuclear: f64 = singular_values(&weighted(draw.cross(), a, b))?.iter().sum();
        Ok(nuclear / (a.total_variance * b.total_variance).sqrt())
    }
}

/// `min_R ‖P R - Q‖ / ‖Q‖` over orthogonal `R`, not centred and not scaled, the narrower side padded with zeros:
/// `‖P‖² + ‖Q‖² - 2 ‖PᵀQ‖_*`. The difference cancels: equal spaces give about 1e-8, not 0.
pub(super) struct ProcrustesRmse<'a> {
    a: &'a SideSpace,
    b: &'a SideSpace,
    left: Matrix<f64>,
    right: Matrix<f64>,
    n_rows: f64,
}

impl<'a> ProcrustesRmse<'a> {
    /// For `n_rows` matched rows.
    pub fn new(a: &'a SideSpace, b: &'a SideSpace, n_rows: usize) -> Self {
        ProcrustesRmse { a, b, left: a.svd.v.clone(), right: b.svd.v.clone(), n_rows: n_rows as f64 }
    }

    fn raw_norm(&self, space: &SideSpace) -> f64 {
        space.total_variance + self.n_rows * space.mean.iter().map(|m| m * m).sum::<f64>()
    }
}

impl Statistic for ProcrustesRmse<'_> {
    fn value(&self, draw: &Draw) -> Result<f64> {
        // PᵀQ = V_A S_A M S_B V_Bᵀ + N μ_A μ_Bᵀ, as the means are the same under any order.
        let mut raw = product_transposed(&product(&self.left, &weighted(draw.cross(), self.a, self.b)), &self.right);
        for (i, mean) in self.a.mean.iter().enumerate() {
            raw.row_mut(i).iter_mut().zip(&self.b.mean).for_each(|(x, m)| *x += self.n_rows * mean * m);
        }
        let nuclear: f64 = singular_values(&raw)?.iter().sum();
        let (p, q) = (self.raw_norm(self.a), self.raw_norm(self.b));
        Ok(((p + q - 2.0 * nuclear).max(0.0) / q).sqrt())
    }
}
