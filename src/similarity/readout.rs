//! How much of a latent can be read out of another model's activations, and in which direction does it lie there? Sums by half in, R² and
//! directions out.
//!
//! R² is cross-validated: the best linear prediction of x from w is fitted on one half of the documents and judged on the other, both ways;
//! R² = 1 − (SSE₀ + SSE₁)/(SST₀ + SST₁), with each half's sum of squares about its own mean. All of it follows from sums:
//! SSE = S_xx − 2βᵀc + βᵀS_wwβ + N(x̄ − x̄' − β(w̄ − w̄'))², primes for the half that was fitted. So a prediction that is worse than the
//! half's own mean is below 0, and noise is not above it.

use crate::error::Result;
use crate::linalg::{Cholesky, Matrix, product};
use crate::moments::{CoMoment, FOLDS};

/// What is added to each dimension's sum of squares before the fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ridge {
    /// This share of it: knows no scale, so that a dimension with a huge variance is bound no more than others.
    Share(f64),
    /// This much.
    Plain(f64),
}

/// The ridge of a run.
pub const RIDGE: Ridge = Ridge::Share(1e-3);

/// Sums of one latent over one half's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentHalf {
    /// Mean of x.
    pub mean: f64,
    /// Σ(x − x̄)².
    pub variance: f64,
    /// Σ(x − x̄)(w − w̄), `[width]`.
    pub cross: Vec<f64>,
}

impl LatentHalf {
    /// From plain sums over the rows that `of` knows: Σx, Σx² and Σxw.
    pub fn of_sums(of: &CoMoment, sum: f64, sum_sq: f64, cross: &[f64]) -> Self {
        let mean = if of.n_rows == 0 { 0.0 } else { sum / of.n_rows as f64 };
        let cross = cross.iter().zip(&of.mean).map(|(c, w)| c - sum * w).collect();
        LatentHalf { mean, variance: (sum_sq - sum * mean).max(0.0), cross }
    }
}

/// Predicts from the activations of one hookpoint.
#[derive(Clone, Debug)]
pub struct Readout<'a> {
    halves: &'a [CoMoment; FOLDS],
    factors: [Cholesky; FOLDS],
}

impl<'a> Readout<'a> {
    /// Of the activations' moments in each half, `ridge` (see [`RIDGE`]) added; `None` where a half has fewer than two rows. A dimension without
    /// variance predicts nothing.
    ///
    /// # Errors
    /// `Input` for moments that are not finite.
    pub fn new(halves: &'a [CoMoment; FOLDS], ridge: Ridge) -> Result<Option<Self>> {
        let mut factors = Vec::new();
        for half in halves {
            let mut c = half.c.clone();
            for j in 0..c.n_rows() {
                let own = c.row(j)[j];
                let added = match ridge {
                    Ridge::Share(share) => own * share,
                    Ridge::Plain(added) => added,
                };
                c.row_mut(j)[j] = if own > 0.0 { own + added } else { 1.0 };
            }
            match Cholesky::of(&c)? {
                Some(factor) if half.n_rows > 1 => factors.push(factor),
                _ => return Ok(None),
            }
        }
        let factors: [Cholesky; FOLDS] = factors.try_into().expect("one for each half");
        Ok(Some(Readout { halves, factors }))
    }

    /// Cross-validated R² of each latent; `None` where x has no variance in a half.
    ///
    /// # Errors
    /// `Machine` without memory.
    pub fn r_squared(&self, latents: &[[LatentHalf; FOLDS]]) -> Result<Vec<Option<f64>>> {
        let width = self.halves[0].mean.len();
        let mut errors = vec![0.0; latents.len()];
        for (fit, judge) in [(0, 1), (1, 0)] {
            let cross = latents.iter().flat_map(|l| l[fit].cross.iter().copied()).collect();
            let betas = self.factors[fit].solve_rows(&Matrix::from_vec(latents.len(), width, cross))?;
            let spread = product(&betas, &self.halves[judge].c);
            let n = self.halves[judge].n_rows as f64;
            for (k, (latent, error)) in latents.iter().zip(&mut errors).enumerate() {
                let (beta, own) = (betas.row(k), &latent[judge]);
                let shift = dot(beta, &self.halves[judge].mean) - dot(beta, &self.halves[fit].mean);
                let bias = own.mean - latent[fit].mean - shift;
                *error += own.variance - 2.0 * dot(beta, &own.cross) + dot(beta, spread.row(k)) + n * bias * bias;
            }
        }
        let r_squared = |(latent, error): (&[LatentHalf; FOLDS], f64)| {
            let defined = latent.iter().all(|half| half.variance > 0.0);
            defined.then(|| 1.0 - error / latent.iter().map(|half| half.variance).sum::<f64>())
        };
        Ok(latents.iter().zip(errors).map(r_squared).collect())
    }

    /// Both halves together: N of the activations, x̄, Σ(x − x̄)² and Σ(x − x̄)(w − w̄).
    pub fn whole(&self, latent: &[LatentHalf; FOLDS]) -> (u64, LatentHalf) {
        let [a, b] = self.halves;
        let (n, x) = (a.n_rows + b.n_rows, latent[1].mean - latent[0].mean);
        let between = a.n_rows as f64 * b.n_rows as f64 / n as f64;
        let cross =
            (0..a.mean.len()).map(|j| latent[0].cross[j] + latent[1].cross[j] + between * x * (b.mean[j] - a.mean[j]));
        let mean = (latent[0].mean * a.n_rows as f64 + latent[1].mean * b.n_rows as f64) / n as f64;
        let variance = latent[0].variance + latent[1].variance + between * x * x;
        (n, LatentHalf { mean, variance, cross: cross.collect() })
    }

    /// Mean of the activations over both halves.
    pub fn mean(&self) -> Vec<f64> {
        let [a, b] = self.halves;
        let n = (a.n_rows + b.n_rows) as f64;
        a.mean.iter().zip(&b.mean).map(|(x, y)| (x * a.n_rows as f64 + y * b.n_rows as f64) / n).collect()
    }
}

/// The transferred direction of a latent, `[width]`: by how much the other model's activations change with one unit of it (the regression of w on
/// x). `None` where x has no variance.
pub fn direction(whole: &LatentHalf) -> Option<Vec<f64>> {
    (whole.variance > 0.0).then(|| whole.cross.iter().map(|c| c / whole.variance).collect())
}

/// Latent scaling (arXiv 2504.02922): the β with the least Σ‖w − βxd‖² over all rows, d a decoder row. `sum_sq`: Σx². `None` where x or d is 0.
pub fn latent_scaling(n: u64, whole: &LatentHalf, mean_w: &[f64], sum_sq: f64, decoder: &[f64]) -> Option<f64> {
    let norm = dot(decoder, decoder) * sum_sq;
    let along = dot(decoder, &whole.cross) + n as f64 * whole.mean * dot(decoder, mean_w);
    (norm > 0.0).then(|| along / norm)
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;

    /// Halves of rows with `fold`, and a latent in each.
    fn halves(w: &Matrix<f32>, x: &[f64], fold: impl Fn(usize) -> usize) -> ([CoMoment; 2], [LatentHalf; 2]) {
        let rows = [0, 1].map(|f: usize| (0..x.len()).filter(|&r| fold(r) == f).collect::<Vec<_>>());
        let moments = [0, 1].map(|f: usize| CoMoment::of_batch(&w.gather_rows(&rows[f])));
        let latent = [0, 1].map(|f: usize| {
            let of = |g: &dyn Fn(usize) -> f64| rows[f].iter().map(|&r| g(r)).sum::<f64>();
            let cross: Vec<f64> = (0..w.n_cols()).map(|j| of(&|r| x[r] * f64::from(w.row(r)[j]))).collect();
            LatentHalf::of_sums(&moments[f], of(&|r| x[r]), of(&|r| x[r] * x[r]), &cross)
        });
        (moments, latent)
    }

    fn near(found: f64, right: f64, within: f64) {
        assert!((found - right).abs() < within, "{found}, expected {right}");
    }

    #[test]
    fn a_worked_example() {
        let w = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 0.0], [0.0, 2.0], [1.0, -1.0], [2.0, 1.0], [-1.0, 0.0f32]];
        let w = Matrix::from_vec(8, 2, w.concat());
        let x = [0.0, 1.0, 1.0, 0.0, 2.0, 0.0, 1.5, 0.0];
        let (moments, latent) = halves(&w, &x, |r| r % 2);
        let readout = Readout::new(&moments, Ridge::Plain(1e-9)).unwrap().unwrap();
        near(readout.r_squared(std::slice::from_ref(&latent)).unwrap()[0].unwrap(), -0.137_115_837_2, 1e-10);
        let (n, whole) = readout.whole(&latent);
        assert_eq!(n, 8);
        near(whole.cross[0], -0.125, 1e-12);
        near(whole.cross[1], 4.75, 1e-12);
        let g = direction(&whole).unwrap();
        near(g[0], -0.027_972_028_0, 1e-9);
        near(g[1], 1.062_937_062_9, 1e-9);
        let sum_sq = x.iter().map(|x| x * x).sum();
        near(latent_scaling(n, &whole, &readout.mean(), sum_sq, &[0.6, 0.8]).unwrap(), 1.018_181_818_2, 1e-9);
    }

    /// Row by row: what the sums say is the error over the rows of the half that was not fitted.
    #[test]
    fn sums_give_what_rows_give() {
        let (n, d) = (60, 3);
        let mut stream = Stream::new(4, "readout", 0);
        let w = Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian() as f32 + 2.0).collect());
        let x: Vec<f64> = (0..n).map(|r| (f64::from(w.row(r)[0]) - 1.5 + stream.gaussian()).max(0.0)).collect();
        let fold = |r: usize| usize::from(r % 5 < 2);
        let (moments, latent) = halves(&w, &x, fold);
        let readout = Readout::new(&moments, RIDGE).unwrap().unwrap();
        let (mut error, mut total) = (0.0, 0.0);
        for fit in [0, 1] {
            // normal equations by Gauss and Jordan, of the rows themselves
            let rows: Vec<usize> = (0..n).filter(|&r| fold(r) == fit).collect();
            let m = rows.len() as f64;
            let at = |r: usize, j: usize| f64::from(w.row(r)[j]);
            let mean: Vec<f64> = (0..d).map(|j| rows.iter().map(|&r| at(r, j)).sum::<f64>() / m).collect();
            let mean_x = rows.iter().map(|&r| x[r]).sum::<f64>() / m;
            let mut a = vec![vec![0.0; d + 1]; d];
            for &r in &rows {
                for i in 0..d {
                    (0..d).for_each(|j| a[i][j] += (at(r, i) - mean[i]) * (at(r, j) - mean[j]));
                    a[i][d] += (at(r, i) - mean[i]) * (x[r] - mean_x);
                }
            }
            (0..d).for_each(|i| a[i][i] *= 1.0 + 1e-3);
            for i in 0..d {
                let pivot = a[i].clone();
                for (k, row) in a.iter_mut().enumerate() {
                    let by = if k == i { 1.0 - 1.0 / pivot[i] } else { row[i] / pivot[i] };
                    row.iter_mut().zip(&pivot).for_each(|(v, p)| *v -= by * p);
                }
            }
            let others: Vec<usize> = (0..n).filter(|&r| fold(r) != fit).collect();
            let own_mean = others.iter().map(|&r| x[r]).sum::<f64>() / others.len() as f64;
            for &r in &others {
                let predicted = mean_x + (0..d).map(|j| a[j][d] * (at(r, j) - mean[j])).sum::<f64>();
                error += (x[r] - predicted).powi(2);
                total += (x[r] - own_mean).powi(2);
            }
        }
        near(readout.r_squared(&[latent]).unwrap()[0].unwrap(), 1.0 - error / total, 1e-10);
    }

    /// A sum of the activations is read out; noise is not above 0; a latent of one half alone is undefined; a flat dimension does no harm.
    #[test]
    fn what_is_linear_is_read_and_noise_is_not() {
        let (n, d) = (400, 20);
        let mut stream = Stream::new(5, "readout", 0);
        let mut data: Vec<f32> = (0..n * d).map(|_| stream.gaussian() as f32).collect();
        data.iter_mut().skip(7).step_by(d).for_each(|v| *v = 3.0);
        let w = Matrix::from_vec(n, d, data);
        let linear: Vec<f64> = (0..n).map(|r| w.row(r).iter().map(|&v| f64::from(v)).sum::<f64>() + 10.0).collect();
        let noise: Vec<f64> = (0..n).map(|_| stream.gaussian()).collect();
        let single: Vec<f64> = (0..n).map(|r| f64::from(u8::from(r == 4))).collect();
        let sides: Vec<_> = [&linear, &noise, &single].map(|x| halves(&w, x, |r| r % 2)).into();
        let readout = Readout::new(&sides[0].0, RIDGE).unwrap().unwrap();
        let latents: Vec<_> = sides.iter().map(|s| s.1.clone()).collect();
        let found = readout.r_squared(&latents).unwrap();
        assert!(found[0].unwrap() > 0.9999 && found[1].unwrap() < 0.0, "{found:?}");
        assert_eq!(found[2], None);
        let empty = [CoMoment::new(2), CoMoment::new(2)];
        assert!(Readout::new(&empty, RIDGE).unwrap().is_none());
    }
}
