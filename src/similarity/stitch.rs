//! How well does a linear map take the activations of one hookpoint into another's, and which map? Sums by half in, maps and their R² out.
//!
//! With C the co-moments of the half that is fitted, the least-squares map is `T = C_yx (C_xx + λI)⁻¹` with λ a share of the mean of C_xx's diagonal, and
//! the orthogonal map is `sUVᵀ` with `C_yx = U S Vᵀ` and `s = tr S / tr C_xx` (Schönemann 1966, with its scale). Both take means to means.
//!
//! R² is cross-validated: fitted on one half of the documents, judged on the other, both ways, over all dimensions of y together:
//! R² = 1 − (SSE₀ + SSE₁)/(SST₀ + SST₁). All of it follows from sums: of dimension j with row t of T,
//! SSE = S_yy − 2tᵀc + tᵀC_xx t + N(ȳ − ȳ' − t(x̄ − x̄'))², primes for the half that was fitted.
//!
//! With [`Units::Std`] each dimension counts in units of its standard deviation in the half that is fitted, so that one huge dimension of a residual
//! stream does not decide alone.

use crate::error::Result;
use crate::halt::Halt;
use crate::linalg::{Cholesky, Matrix, product, product_transposed, thin_svd};
use crate::moments::{Accumulator, CoMoment, FOLDS, FoldCross, FoldMoments};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// `[estimate] map = {…}`: how maps are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MapFit {
    /// λ as a share of the mean variance of the dimensions that are mapped.
    pub ridge: f64,
    /// Units of each dimension.
    pub units: Units,
}

impl Default for MapFit {
    fn default() -> Self {
        MapFit { ridge: 1e-3, units: Units::Raw }
    }
}

/// Units in which a map is fitted and judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Units {
    /// Activations as they are.
    #[default]
    Raw,
    /// Each dimension divided by its standard deviation; one that does not vary, as it is.
    Std,
}

impl Units {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Units::Raw => "raw",
            Units::Std => "std",
        }
    }

    /// What each dimension is divided by.
    fn of(self, moments: &CoMoment) -> Vec<f64> {
        let std = |j: usize| (moments.c.row(j)[j] / moments.n_rows.max(1) as f64).sqrt();
        let unit = |j: usize| if self == Units::Std && std(j) > 0.0 { std(j) } else { 1.0 };
        (0..moments.mean.len()).map(unit).collect()
    }
}

/// Which map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MapKind {
    /// The least squares of all linear maps, with a ridge.
    LeastSquares,
    /// The best rotation (or reflection) with one scale; places of one width only.
    Orthogonal,
}

impl MapKind {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            MapKind::LeastSquares => "least_squares",
            MapKind::Orthogonal => "orthogonal",
        }
    }
}

/// `y ≈ weight x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearMap {
    /// `[d_y, d_x]`.
    pub weight: Matrix<f64>,
    /// `[d_y]`.
    pub bias: Vec<f64>,
    /// What each dimension of y was divided by, `[d_y]`; all 1 with [`Units::Raw`].
    pub units: Vec<f64>,
}

impl LinearMap {
    /// Directions of x as directions of y, in the units that the map was fitted in: `[n, d_x] -> [n, d_y]`.
    ///
    /// # Panics
    /// When the directions are not as wide as x.
    pub fn directions(&self, directions: &Matrix<f64>) -> Matrix<f64> {
        let mut out = product_transposed(directions, &self.weight);
        for i in 0..out.n_rows() {
            out.row_mut(i).iter_mut().zip(&self.units).for_each(|(v, unit)| *v /= unit);
        }
        out
    }

    /// Cosine of a direction that [`directions`](LinearMap::directions) gave with one of y; `None` where one of them is 0.
    pub fn cosine(&self, mapped: &[f64], other: &[f32]) -> Option<f64> {
        let scaled = || other.iter().zip(&self.units).map(|(&v, unit)| f64::from(v) / unit);
        let along: f64 = mapped.iter().zip(scaled()).map(|(a, b)| a * b).sum();
        let norms = mapped.iter().map(|v| v * v).sum::<f64>() * scaled().map(|v| v * v).sum::<f64>();
        (norms > 0.0).then(|| (along / norms.sqrt()).clamp(-1.0, 1.0))
    }
}

/// A map's R²; `None` where y does not vary, or a half has fewer than two rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MapScore {
    /// Cross-validated R².
    pub r_squared: Option<f64>,
    /// The same of rows of other documents; `None` where they are not kept.
    pub null: Option<f64>,
}

/// The maps of a pair of places: source into target, then target into source.
#[derive(Clone, Debug)]
pub struct PairMaps {
    /// The least-squares map of all rows; `None` where the source of the map does not vary.
    pub maps: [Option<LinearMap>; 2],
    /// Of the least-squares maps.
    pub least_squares: [MapScore; 2],
    /// Of the orthogonal maps; `None` where the widths differ.
    pub orthogonal: Option<[MapScore; 2]>,
    /// Rows of both halves.
    pub n_rows: u64,
}

/// Sums of a map from x to y over some rows.
struct Sums<'a> {
    x: &'a CoMoment,
    y: &'a CoMoment,
    /// Σ(y − ȳ)(x − x̄)ᵀ, `[d_y, d_x]`.
    cross: Matrix<f64>,
}

impl PairMaps {
    /// Fits and judges; `sides`: moments of the source and the target, `cross`: theirs together.
    ///
    /// # Errors
    /// `Input` for sums that are not finite, `Machine` without memory.
    pub fn of(halt: &Halt, sides: [&FoldMoments; 2], cross: &FoldCross, fit: MapFit) -> Result<PairMaps> {
        let sums = |towards: usize, f: usize, null: bool| -> Option<Sums<'_>> {
            let c = cross.cross(f, null)?;
            let [x, y] = [towards, 1 - towards].map(|side| &sides[side].0[f]);
            Some(Sums { x, y, cross: if towards == 0 { transposed(c) } else { c.clone() } })
        };
        let n_rows = sides[0].0.iter().map(|half| half.n_rows).sum();
        let enough = sides[0].0.iter().all(|half| half.n_rows > 1);
        let same_width = sides[0].0[0].mean.len() == sides[1].0[0].mean.len();
        // each half fitted and judged on the other; a rotation serves both directions
        let mut tasks: Vec<(MapKind, usize, usize)> = Vec::new();
        for f in 0..FOLDS {
            tasks.extend([0, 1].map(|towards| (MapKind::LeastSquares, towards, f)));
            tasks.extend(same_width.then_some((MapKind::Orthogonal, 0, f)));
        }
        tasks.retain(|_| enough);
        let judged: Vec<Vec<Judged>> = (tasks.par_iter())
            .map(|&(kind, towards, f)| {
                let mut out = Vec::new();
                for null in [false, true] {
                    halt.check()?;
                    let both = |towards: usize| Some((sums(towards, f, null)?, sums(towards, 1 - f, null)?));
                    let Some((fitted, judge)) = both(towards) else { continue };
                    let mut judge_by = |fitted: &Sums<'_>, judge: &Sums<'_>, towards: usize, weight| {
                        let map = fitted.with_bias(weight, fit.units);
                        out.push(Judged { kind, towards, null, errors: judge.errors(&map, fitted) });
                    };
                    match kind {
                        MapKind::LeastSquares => {
                            let Some(weight) = fitted.least_squares(fit)? else { continue };
                            judge_by(&fitted, &judge, towards, weight);
                        }
                        MapKind::Orthogonal => {
                            let rotation = fitted.rotation(fit.units)?;
                            let Some((back, judge_back)) = both(1 - towards) else { continue };
                            if let Some(weight) = fitted.scaled(&rotation.0, rotation.1, fit.units) {
                                judge_by(&fitted, &judge, towards, weight);
                            }
                            if let Some(weight) = back.scaled(&transposed(&rotation.0), rotation.1, fit.units) {
                                judge_by(&back, &judge_back, 1 - towards, weight);
                            }
                        }
                    }
                }
                Ok(out)
            })
            .collect::<Result<_>>()?;
        let judged: Vec<Judged> = judged.into_iter().flatten().collect();
        let score = |kind: MapKind, towards: usize| {
            let of = |null: bool| r_squared(&judged, |j| (j.kind, j.towards, j.null) == (kind, towards, null));
            MapScore { r_squared: of(false), null: of(true) }
        };
        let whole = [merged(sides[0])?, merged(sides[1])?];
        let mut both = cross.0[0].clone();
        both.merge(&cross.0[1])?;
        let maps: Vec<Option<LinearMap>> = ([0, 1].par_iter())
            .map(|&towards: &usize| {
                halt.check()?;
                let cross = if towards == 0 { transposed(&both.c) } else { both.c.clone() };
                let sums = Sums { x: &whole[towards], y: &whole[1 - towards], cross };
                Ok(sums.least_squares(fit)?.map(|weight| sums.with_bias(weight, fit.units)))
            })
            .collect::<Result<_>>()?;
        let [forward, backward]: [_; 2] = maps.try_into().expect("both directions");
        Ok(PairMaps {
            maps: [forward, backward],
            least_squares: [0, 1].map(|towards| score(MapKind::LeastSquares, towards)),
            orthogonal: same_width.then(|| [0, 1].map(|towards| score(MapKind::Orthogonal, towards))),
            n_rows,
        })
    }
}

/// The errors of a map on the half that it was not fitted on, and that half's squares.
struct Judged {
    kind: MapKind,
    towards: usize,
    null: bool,
    errors: [f64; 2],
}

/// Moments of both halves together.
fn merged(of: &FoldMoments) -> Result<CoMoment> {
    let mut out = of.0[0].clone();
    out.merge(&of.0[1])?;
    Ok(out)
}

/// From the errors and squares of each half; `None` where one has none or nothing varies.
fn r_squared(judged: &[Judged], which: impl Fn(&Judged) -> bool) -> Option<f64> {
    let halves: Vec<[f64; 2]> = judged.iter().filter(|j| which(j)).map(|j| j.errors).collect();
    let [errors, squares] = [0, 1].map(|k: usize| halves.iter().map(|half| half[k]).sum::<f64>());
    (halves.len() == FOLDS && squares > 0.0).then(|| 1.0 - errors / squares)
}

impl Sums<'_> {
    /// The map that takes the mean of x to that of y.
    fn with_bias(&self, weight: Matrix<f64>, units: Units) -> LinearMap {
        let along = |row: &[f64]| row.iter().zip(&self.x.mean).map(|(t, x)| t * x).sum::<f64>();
        let bias = weight.rows().zip(&self.y.mean).map(|(row, y)| y - along(row)).collect();
        LinearMap { weight, bias, units: units.of(self.y) }
    }

    /// Co-moments of x and of y with x in the units of the fit, and these units.
    fn in_units(&self, units: Units) -> (Matrix<f64>, Matrix<f64>, [Vec<f64>; 2]) {
        let (of_x, of_y) = (units.of(self.x), units.of(self.y));
        (divided(&self.x.c, &of_x, &of_x), divided(&self.cross, &of_y, &of_x), [of_x, of_y])
    }

    fn least_squares(&self, fit: MapFit) -> Result<Option<Matrix<f64>>> {
        let (mut own, cross, [of_x, of_y]) = self.in_units(fit.units);
        let mean = trace(&own) / own.n_rows() as f64;
        if mean <= 0.0 {
            return Ok(None);
        }
        for j in 0..own.n_rows() {
            own.row_mut(j)[j] += fit.ridge * mean;
        }
        let Some(factor) = Cholesky::of(&own)? else { return Ok(None) };
        Ok(Some(multiplied(factor.solve_rows(&cross)?, &of_y, &of_x)))
    }

    /// UVᵀ of the cross co-moment in the units of the fit, and the sum of its singular values.
    fn rotation(&self, units: Units) -> Result<(Matrix<f64>, f64)> {
        let (_, cross, _) = self.in_units(units);
        let svd = thin_svd(&cross)?;
        Ok((product_transposed(&svd.u, &svd.v), svd.s.iter().sum()))
    }

    /// A rotation with the best scale, as a map; `None` where x does not vary.
    fn scaled(&self, rotation: &Matrix<f64>, nuclear: f64, units: Units) -> Option<Matrix<f64>> {
        let (own, _, [of_x, of_y]) = self.in_units(units);
        let total = trace(&own);
        let mut out = rotation.clone();
        out.as_mut_slice().iter_mut().for_each(|v| *v *= nuclear / total);
        (total > 0.0).then(|| multiplied(out, &of_y, &of_x))
    }

    /// Sum of squared errors of a map that was fitted on `fitted`, and y's sum of squares about its own mean, in the map's units.
    fn errors(&self, map: &LinearMap, fitted: &Sums<'_>) -> [f64; 2] {
        let spread = product(&map.weight, &self.x.c);
        let shift: Vec<f64> = self.x.mean.iter().zip(&fitted.x.mean).map(|(own, of_fit)| own - of_fit).collect();
        let n = self.x.n_rows as f64;
        let mut out = [0.0, 0.0];
        for (j, unit) in map.units.iter().enumerate() {
            let (t, own) = (map.weight.row(j), self.y.c.row(j)[j]);
            let dot = |other: &[f64]| t.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
            let bias = self.y.mean[j] - fitted.y.mean[j] - dot(&shift);
            let error = own - 2.0 * dot(self.cross.row(j)) + dot(spread.row(j)) + n * bias * bias;
            out[0] += error / (unit * unit);
            out[1] += own / (unit * unit);
        }
        out
    }
}

fn trace(a: &Matrix<f64>) -> f64 {
    (0..a.n_rows()).map(|j| a.row(j)[j]).sum()
}

fn transposed(a: &Matrix<f64>) -> Matrix<f64> {
    let mut out = Matrix::zeros(a.n_cols(), a.n_rows());
    for (i, row) in a.rows().enumerate() {
        row.iter().enumerate().for_each(|(j, &v)| out.row_mut(j)[i] = v);
    }
    out
}

/// a / (rows colsᵀ).
fn divided(a: &Matrix<f64>, rows: &[f64], cols: &[f64]) -> Matrix<f64> {
    let data = a.rows().zip(rows).flat_map(|(row, r)| row.iter().zip(cols).map(move |(v, c)| v / (r * c)));
    Matrix::from_vec(a.n_rows(), a.n_cols(), data.collect())
}

/// a · rows / colsᵀ.
fn multiplied(mut a: Matrix<f64>, rows: &[f64], cols: &[f64]) -> Matrix<f64> {
    for (i, r) in rows.iter().enumerate() {
        a.row_mut(i).iter_mut().zip(cols).for_each(|(v, c)| *v *= r / c);
    }
    a
}

#[cfg(test)]
mod tests;
