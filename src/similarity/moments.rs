//! How similar are two activation spaces when only their sums are kept? SVCCA, CKA, debiased CKA and Procrustes from co-moments.
//!
//! With `C_xx = X_cᵀX_c` (not divided by n), eigenvalues are the squared singular values of the centred activations, and
//! `W_xᵀ C_xy W_y` with `W = Q_k Λ_k^(-1/2)` is `U_A[:, :k_A]ᵀ U_B[:, :k_B]`: the same closed form as for rows. Forming the
//! co-moment squares the condition number: components below 1e-10 of the first one's variance are never used.
//!
//! The unbiased estimates of HSIC leave each row's product with itself out of the kernels. Of centred rows that takes
//! `Σ |x|²|y|²` besides the co-moments (see [`super::debiased`]), so no pair of rows is ever looked at.

use rayon::prelude::*;

use super::debiased::{ROUNDING, unbiased};
use super::measure::Measure;
use super::score::{NullScores, Score};
use super::space::RANK_CUT;
use super::statistic::finite;
use super::svcca::{SvccaRule, canonical_correlations, mean, no_power};
use crate::error::{Error, Result};
use crate::halt::Halt;
use crate::linalg::{Matrix, product, require_finite, singular_values, symmetric_eigen, transposed_product, whitening};

/// A canonical correlation above 1 by more than this is no rounding: the blocks are not of one data set.
const EXCESS: f64 = 1e-6;

/// Streamed sums of two hookpoints over the same `n` rows (tokens).
#[derive(Clone, Copy, Debug)]
pub struct Moments<'a> {
    /// Rows seen.
    pub n: usize,
    /// `[d_x, d_x]`: `Σ (x - x̄)(x - x̄)ᵀ`, not divided.
    pub cxx: &'a Matrix<f64>,
    /// `[d_y, d_y]`: `Σ (y - ȳ)(y - ȳ)ᵀ`.
    pub cyy: &'a Matrix<f64>,
    /// `[d_x, d_y]`: `Σ (x - x̄)(y - ȳ)ᵀ`.
    pub cxy: &'a Matrix<f64>,
    /// `Σ |x - x̄|⁴`, `Σ |y - ȳ|⁴` and `Σ |x - x̄|²|y - ȳ|²`.
    pub norms: [f64; 3],
}

/// The same rows, paired at random.
#[derive(Clone, Copy, Debug)]
pub struct NullMoments<'a> {
    /// `[d_x, d_y]`.
    pub cxy: &'a Matrix<f64>,
    /// `Σ |x - x̄|²|y - ȳ|²`.
    pub norms: f64,
}

/// The measures that co-moments suffice for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MomentsMeasure {
    /// As [`Measure::Svcca`].
    Svcca(SvccaRule),
    /// As [`Measure::Cka`].
    Cka,
    /// As [`Measure::CkaDebiased`].
    CkaDebiased,
    /// As [`Measure::Procrustes`].
    Procrustes,
}

impl MomentsMeasure {
    /// The measure among all; `None` of `of` for those that need the rows themselves.
    pub fn of(measure: Measure) -> Option<Self> {
        match measure {
            Measure::Svcca(rule) => Some(MomentsMeasure::Svcca(rule)),
            Measure::Cka => Some(MomentsMeasure::Cka),
            Measure::CkaDebiased => Some(MomentsMeasure::CkaDebiased),
            Measure::Procrustes => Some(MomentsMeasure::Procrustes),
            _ => None,
        }
    }

    /// The measure it is.
    pub fn measure(self) -> Measure {
        match self {
            MomentsMeasure::Svcca(rule) => Measure::Svcca(rule),
            MomentsMeasure::Cka => Measure::Cka,
            MomentsMeasure::CkaDebiased => Measure::CkaDebiased,
            MomentsMeasure::Procrustes => Measure::Procrustes,
        }
    }
}

/// What does not depend on the pairing.
enum Prepared {
    /// `W_x: [d_x, k_x]`, `W_y: [d_y, k_y]`.
    Svcca(Matrix<f64>, Matrix<f64>),
    /// `‖C_xx‖ ‖C_yy‖`.
    Cka(f64),
    /// Rows, `tr C_xx tr C_yy`, and the root of the product of the sides' own estimates.
    CkaDebiased { n: f64, of_sides: f64, scale: f64 },
    /// `√(tr C_xx tr C_yy)`.
    Procrustes(f64),
}

impl Prepared {
    fn value(&self, NullMoments { cxy, norms }: NullMoments<'_>) -> Result<f64> {
        match self {
            Prepared::Cka(scale) => Ok(squares(cxy) / scale),
            Prepared::CkaDebiased { n, of_sides, scale } => Ok(unbiased(*n, squares(cxy), norms, *of_sides) / scale),
            Prepared::Procrustes(scale) => Ok(singular_values(cxy)?.iter().sum::<f64>() / scale),
            Prepared::Svcca(wx, wy) => {
                let cross = product(&transposed_product(wx, cxy), wy);
                let largest = singular_values(&cross)?[0];
                if largest > 1.0 + EXCESS {
                    return Err(Error::input(format!(
                        "moments: a canonical correlation is {largest}, expected at most 1; C_xy is not of the data of C_xx and C_yy"
                    )));
                }
                Ok(mean(&canonical_correlations(&cross, wx.n_cols(), wy.n_cols())?))
            }
        }
    }
}

/// Sum of the squares of all entries.
fn squares(c: &Matrix<f64>) -> f64 {
    c.as_slice().iter().map(|x| x * x).sum()
}

/// Scores by each measure; the null of each is its value over `nulls`, of randomly paired rows with the same `C_xx` and `C_yy`.
///
/// # Errors
/// `Request` for shapes that do not fit, `Input` for values that are not finite or blocks that are not of one data set; `Interrupted` where
/// `halt` stops it between two pairings.
pub fn moments_scores(
    halt: &Halt,
    moments: &Moments<'_>,
    measures: &[MomentsMeasure],
    nulls: &[NullMoments<'_>],
) -> Result<Vec<Score>> {
    let Moments { cxx, cyy, cxy, .. } = *moments;
    let shape = |m: &Matrix<f64>| (m.n_rows(), m.n_cols());
    let (dx, dy) = (cxx.n_rows(), cyy.n_rows());
    for (found, expected, name) in [(cxx, (dx, dx), "C_xx"), (cyy, (dy, dy), "C_yy")].into_iter().chain(
        std::iter::once(cxy).chain(nulls.iter().map(|null| null.cxy)).map(|m| (m, (dx, dy), "C_xy or a null of it")),
    ) {
        if shape(found) != expected {
            let found = shape(found);
            return Err(Error::request(format!(
                "moments: {name} is {found:?}, expected {expected:?}; check the hookpoints"
            )));
        }
        require_finite(found, name)?;
    }
    measures.iter().map(|&measure| score(halt, moments, measure, nulls)).collect()
}

fn score(halt: &Halt, moments: &Moments<'_>, measure: MomentsMeasure, nulls: &[NullMoments<'_>]) -> Result<Score> {
    halt.check()?;
    let Moments { n, cxx, cyy, cxy, norms } = *moments;
    let mut score = Score::undefined(measure.measure(), n);
    let trace = |c: &Matrix<f64>| (0..c.n_rows()).map(|i| c.row(i)[i]).sum::<f64>();
    let frobenius = |c: &Matrix<f64>| squares(c).sqrt();
    if n < 3 || trace(cxx) <= 0.0 || trace(cyy) <= 0.0 {
        return Ok(score);
    }
    let prepared = match measure {
        MomentsMeasure::Cka => Prepared::Cka(frobenius(cxx) * frobenius(cyy)),
        MomentsMeasure::CkaDebiased => {
            let own = |c: &Matrix<f64>, fourth: f64| {
                let estimate = unbiased(n as f64, squares(c), fourth, trace(c) * trace(c));
                (n > 3 && estimate > ROUNDING * squares(c)).then_some(estimate)
            };
            let Some((x, y)) = own(cxx, norms[0]).zip(own(cyy, norms[1])) else { return Ok(score) };
            Prepared::CkaDebiased { n: n as f64, of_sides: trace(cxx) * trace(cyy), scale: (x * y).sqrt() }
        }
        MomentsMeasure::Procrustes => Prepared::Procrustes((trace(cxx) * trace(cyy)).sqrt()),
        MomentsMeasure::Svcca(rule) => {
            let side = |c| -> Result<(Matrix<f64>, usize)> {
                let eigen = symmetric_eigen(c)?;
                let cut = RANK_CUT * eigen.values[0];
                let variances: Vec<f64> = eigen.values.iter().map(|&v| if v >= cut { v } else { 0.0 }).collect();
                let k = rule.components(&variances);
                Ok((whitening(&eigen, k), k))
            };
            let (x, y) = rayon::join(|| side(cxx), || side(cyy));
            let ((wx, kx), (wy, ky)) = (x?, y?);
            score.components = Some((kx, ky));
            score.no_power = no_power(n, kx, ky);
            Prepared::Svcca(wx, wy)
        }
    };
    let value_of = |pairing: NullMoments<'_>| {
        halt.check()?;
        prepared.value(pairing).and_then(finite)
    };
    let value = value_of(NullMoments { cxy, norms: norms[2] })?;
    let draws: Vec<f64> = nulls.par_iter().map(|null| value_of(*null)).collect::<Result<_>>()?;
    score.value = Some(value);
    score.null = NullScores::of(value, &draws, false);
    score.draws = draws;
    Ok(score)
}
