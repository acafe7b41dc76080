//! How well does one way of reading reconstruct? Sums over rows, in f64.

use super::verdict::Configuration;
use crate::error::Result;
use crate::linalg::Matrix;
use crate::sae::{Encode, LatentBatch, Sae};

/// One reading, being summed.
pub(super) struct Trial {
    n: u64,
    /// Σ‖y − ŷ‖²
    residual: f64,
    /// Σy and Σy² of each column of what is predicted, less its first row: f64 keeps its digits where means are large.
    columns: Vec<Column>,
    entries: u64,
    fired: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Column {
    first: f64,
    sum: f64,
    squares: f64,
}

impl Trial {
    pub fn new(sae: &Sae) -> Self {
        let columns = Vec::with_capacity(sae.shape().d_out);
        Trial { n: 0, residual: 0.0, columns, entries: 0, fired: vec![false; sae.shape().d_sae] }
    }

    /// All of `x: [n_rows, d_in]`, multiplied by `by` before the SAE and its output divided by it again, against
    /// `y: [n_rows, d_out]`; batch by batch.
    ///
    /// # Errors
    /// Those of encoding.
    pub fn over(sae: &Sae, by: f64, x: &[Matrix<f32>], y: &[Matrix<f32>]) -> Result<Trial> {
        let mut trial = Trial::new(sae);
        for (x, y) in x.iter().zip(y) {
            if by == 1.0 {
                let latents = sae.encode(x, Encode::Sparse)?;
                trial.add(&latents, &sae.decode(&latents, x)?, y);
            } else {
                let x = times(x, by);
                let latents = sae.encode(&x, Encode::Sparse)?;
                trial.add(&latents, &times(&sae.decode(&latents, &x)?, 1.0 / by), y);
            }
        }
        Ok(trial)
    }

    pub fn n(&self) -> u64 {
        self.n
    }

    /// `like` with what was found.
    pub fn reading(&self, like: Configuration) -> Configuration {
        Configuration {
            fvu: self.fvu(),
            l0: self.entries as f64 / self.n.max(1) as f64,
            dead_share: self.fired.iter().filter(|f| !**f).count() as f64 / self.fired.len().max(1) as f64,
            ..like
        }
    }

    fn add(&mut self, latents: &LatentBatch, predicted: &Matrix<f32>, y: &Matrix<f32>) {
        self.entries += latents.latents.len() as u64;
        latents.latents.iter().for_each(|&l| self.fired[l as usize] = true);
        for (y, predicted) in y.rows().zip(predicted.rows()) {
            if self.n == 0 {
                let column = |&y: &f32| Column { first: f64::from(y), sum: 0.0, squares: 0.0 };
                self.columns.extend(y.iter().map(column));
            }
            self.n += 1;
            for ((column, &y), &predicted) in self.columns.iter_mut().zip(y).zip(predicted) {
                self.residual += (f64::from(y) - f64::from(predicted)).powi(2);
                let moved = f64::from(y) - column.first;
                column.sum += moved;
                column.squares += moved * moved;
            }
        }
    }

    /// `Σ‖y − ŷ‖² / Σ‖y − ȳ‖²`; `None` without variance.
    pub fn fvu(&self) -> Option<f64> {
        let variance: f64 = self.columns.iter().map(|c| c.squares - c.sum * c.sum / self.n as f64).sum();
        (variance > 0.0).then(|| self.residual / variance)
    }
}

fn times(x: &Matrix<f32>, by: f64) -> Matrix<f32> {
    let data = x.as_slice().iter().map(|&v| (f64::from(v) * by) as f32).collect();
    Matrix::from_vec(x.n_rows(), x.n_cols(), data)
}

/// `√d / mean ‖x‖`, as SAELens estimates the factor of `expected_average_only_in`; `center`: of the centred rows. `None` where
/// all rows are zero.
pub(super) fn estimated_scale(x: &[Matrix<f32>], center: bool) -> Option<f64> {
    let (mut norms, mut n) = (0f64, 0u64);
    for row in x.iter().flat_map(|x| x.rows()) {
        let d = row.len() as f64;
        let mean = if center { row.iter().map(|&v| f64::from(v)).sum::<f64>() / d } else { 0.0 };
        norms += row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>().sqrt();
        n += 1;
    }
    let d = x.first()?.n_cols() as f64;
    (norms > 0.0).then(|| d.sqrt() * n as f64 / norms)
}

/// Rows that a scale is looked for on: one block of the encoder.
const SEARCH_ROWS: usize = 256;
/// Factors that are tried first: powers of 2 up to this one, and down to it.
const OCTAVES: i32 = 10;
/// Steps of the search between the best factor and its neighbours; each step leaves 0.62 of the interval.
const STEPS: usize = 9;

/// The factor by which the input of the declared reading is best multiplied: a look at powers of 2, then golden section in the
/// logarithm, by the FVU of the first rows. `None` where there is nothing to compare.
pub(super) fn searched_scale(sae: &Sae, x: &[Matrix<f32>], y: &[Matrix<f32>]) -> Option<f64> {
    let first = |m: &Matrix<f32>| m.gather_rows(&(0..m.n_rows().min(SEARCH_ROWS)).collect::<Vec<_>>());
    let (x, y) = ([first(x.first()?)], [first(y.first()?)]);
    // what overflows is no reading
    let fvu = |log: f64| Trial::over(sae, log.exp2(), &x, &y).ok().and_then(|t| t.fvu()).unwrap_or(f64::INFINITY);
    let tried = (-OCTAVES..=OCTAVES).map(|k| (f64::from(k), fvu(f64::from(k))));
    let best = tried.reduce(|best, next| if next.1 < best.1 { next } else { best })?.0;
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (best - 1.0, best + 1.0);
    let inner = |low: f64, high: f64| (high - golden * (high - low), low + golden * (high - low));
    let (mut a, mut b) = inner(low, high);
    let (mut of_a, mut of_b) = (fvu(a), fvu(b));
    for _ in 0..STEPS {
        if of_a <= of_b {
            (high, b, of_b) = (b, a, of_a);
            a = inner(low, high).0;
            of_a = fvu(a);
        } else {
            (low, a, of_a) = (a, b, of_b);
            b = inner(low, high).1;
            of_b = fvu(b);
        }
    }
    let (best, found) = if of_a <= of_b { (a, of_a) } else { (b, of_b) };
    found.is_finite().then(|| best.exp2())
}
