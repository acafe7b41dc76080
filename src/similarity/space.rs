//! What is one side's shape? The centred rows and their principal components, computed once and used by every measure
//! and every null draw.
//!
//! Permuting rows commutes with centring and with the SVD: only the rows of `U` change places. So one product
//! `M = U_Aᵀ U_B[order]` gives, for any pairing, SVCCA (singular values of a corner of `M`), CKA, Procrustes and PWCCA.

use crate::error::Result;
use crate::linalg::{Matrix, ThinSvd, thin_svd};

/// A component whose variance is below this share of the first one's is noise, not a direction: the variables that the
/// published CCA drops (it divides the covariance by its largest entry and drops a diagonal below 1e-10).
pub(super) const RANK_CUT: f64 = 1e-10;

/// Total variance below this share of the rows' raw sum of squares is rounding of the mean: rows that are all equal.
const CONSTANT_CUT: f64 = 1e-26;

/// One side's rows: column means and principal components.
pub(super) struct SideSpace {
    /// `[d]`, mean of each column.
    pub mean: Vec<f64>,
    /// `U: [N, r]`, `S: [r]`, `V: [d, r]` of the centred rows.
    pub svd: ThinSvd,
    /// Sum of the squared singular values.
    pub total_variance: f64,
    /// Components above the rank cut.
    pub rank: usize,
}

impl SideSpace {
    /// The space of `rows: [N, d]`; `None` when the rows have no variance or there are fewer than 3.
    ///
    /// # Errors
    /// `Input` for values that are not finite.
    pub fn of(rows: &Matrix<f64>) -> Result<Option<SideSpace>> {
        let (n, d) = (rows.n_rows(), rows.n_cols());
        if n < 3 || d == 0 {
            return Ok(None);
        }
        let mut mean = vec![0.0; d];
        for row in rows.rows() {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut centred = rows.clone();
        for i in 0..n {
            centred.row_mut(i).iter_mut().zip(&mean).for_each(|(x, m)| *x -= m);
        }
        let raw: f64 = rows.as_slice().iter().map(|x| x * x).sum();
        let variance: f64 = centred.as_slice().iter().map(|x| x * x).sum();
        if variance <= CONSTANT_CUT * raw {
            return Ok(None);
        }
        let svd = thin_svd(&centred)?;
        let total_variance = svd.s.iter().map(|s| s * s).sum();
        let rank = svd.s.iter().filter(|&&s| s * s >= RANK_CUT * svd.s[0] * svd.s[0]).count();
        Ok(Some(SideSpace { mean, svd, total_variance, rank }))
    }

    /// Squared singular values, largest first.
    pub fn variances(&self) -> Vec<f64> {
        self.svd.s.iter().map(|s| s * s).collect()
    }

    /// `diag(S) Vᵀ`: `[r, d]`, the centred rows in the coordinates of `U`.
    pub fn scores_to_columns(&self) -> Matrix<f64> {
        let (r, d) = (self.svd.s.len(), self.svd.v.n_rows());
        let mut out = Matrix::zeros(r, d);
        for j in 0..r {
            for (i, x) in out.row_mut(j).iter_mut().enumerate() {
                *x = self.svd.s[j] * self.svd.v.row(i)[j];
            }
        }
        out
    }
}
