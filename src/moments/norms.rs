//! What do squared norms of rows give together with rows? Σ|x|²|y|² of two hookpoints' centred rows, for unbiased estimates of HSIC.
//!
//! Sums are about the means of the rows seen so far. When the means move, rows become `x + d` and `y + e`, and the sums follow from
//! what is there (Σx = Σy = 0): Σ|x|²y gains `e Σ|x|² + 2 Cᵀd + n|d|²e`, Σ|x|²|y|² gains `2 e·Σ|x|²y + 2 d·Σ|y|²x + |e|² Σ|x|² + |d|² Σ|y|² +
//! 4 dᵀCe + n|d|²|e|²`. So a large mean never meets a small variance in one sum, as in [`super::CoMoment`].

use crate::linalg::Matrix;
use serde::{Deserialize, Serialize};

/// Squared norms of two sides' centred rows, weighted with each other and with the rows themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormMoments {
    /// Σ|x|²|y|².
    pub both: f64,
    /// Σ|y|²x, `[d_x]`.
    pub(super) x: Vec<f64>,
    /// Σ|x|²y, `[d_y]`.
    pub(super) y: Vec<f64>,
}

/// What else is known of the rows whose means move: their number, Σxyᵀ, Σ|x|² and Σ|y|².
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub n_rows: u64,
    pub c: &'a Matrix<f64>,
    pub squares: [f64; 2],
}

/// Squared norm of each row.
pub(super) fn row_norms(rows: &Matrix<f64>) -> Vec<f64> {
    rows.rows().map(|row| row.iter().map(|v| v * v).sum()).collect()
}

impl NormMoments {
    /// Of no rows.
    pub(super) fn new(d_x: usize, d_y: usize) -> Self {
        NormMoments { both: 0.0, x: vec![0.0; d_x], y: vec![0.0; d_y] }
    }

    /// Of centred rows with their squared norms, row i of x beside row `beside(i)` of y; in order of x's rows.
    pub(super) fn of_rows(
        (x, x_norms): (&Matrix<f64>, &[f64]),
        (y, y_norms): (&Matrix<f64>, &[f64]),
        beside: impl Fn(usize) -> usize,
    ) -> Self {
        let mut out = NormMoments::new(x.n_cols(), y.n_cols());
        for (i, &of_x) in x_norms.iter().enumerate() {
            let j = beside(i);
            let of_y = y_norms[j];
            out.both += of_x * of_y;
            out.x.iter_mut().zip(x.row(i)).for_each(|(sum, v)| *sum += of_y * v);
            out.y.iter_mut().zip(y.row(j)).for_each(|(sum, v)| *sum += of_x * v);
        }
        out
    }

    /// The same rows about other means: each is `x + d` and `y + e` then.
    fn moved(&self, around: Around<'_>, d: &[f64], e: &[f64]) -> Self {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (n, c, [of_x, of_y]) = (around.n_rows as f64, around.c, around.squares);
        let (dd, ee) = (dot(d, d), dot(e, e));
        let c_e: Vec<f64> = c.rows().map(|row| dot(row, e)).collect();
        let mut d_c = vec![0.0; e.len()];
        for (row, &d) in c.rows().zip(d) {
            d_c.iter_mut().zip(row).for_each(|(sum, v)| *sum += d * v);
        }
        let gained = 2.0 * (dot(e, &self.y) + dot(d, &self.x)) + ee * of_x + dd * of_y + 4.0 * dot(d, &c_e);
        let side = |sums: &[f64], shift: &[f64], crossed: &[f64], scale: f64| -> Vec<f64> {
            sums.iter().zip(shift).zip(crossed).map(|((sum, s), c)| sum + scale * s + 2.0 * c).collect()
        };
        NormMoments {
            both: self.both + gained + n * dd * ee,
            x: side(&self.x, d, &c_e, of_y + n * ee),
            y: side(&self.y, e, &d_c, of_x + n * dd),
        }
    }

    /// Adds those of other rows. `mine` and `theirs`: what else is known of either; `delta`: their means less mine.
    pub(super) fn merge(&mut self, mine: Around<'_>, other: &NormMoments, theirs: Around<'_>, delta: [&[f64]; 2]) {
        let share = theirs.n_rows as f64 / (mine.n_rows + theirs.n_rows) as f64;
        let scaled = |by: f64| delta.map(|side| side.iter().map(|v| by * v).collect::<Vec<f64>>());
        let ([d, e], [further_d, further_e]) = (scaled(-share), scaled(1.0 - share));
        let (here, there) = (self.moved(mine, &d, &e), other.moved(theirs, &further_d, &further_e));
        let sum = |a: Vec<f64>, b: Vec<f64>| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
        *self = NormMoments { both: here.both + there.both, x: sum(here.x, there.x), y: sum(here.y, there.y) };
    }

    /// Numbers in its [flat form](NormMoments::flat).
    pub(super) fn len(d_x: usize, d_y: usize) -> usize {
        1 + d_x + d_y
    }

    /// All numbers in one list, for a state file.
    pub(super) fn flat(&self) -> Vec<f64> {
        std::iter::once(&self.both).chain(&self.x).chain(&self.y).copied().collect()
    }

    /// Of such a list.
    pub(super) fn of_flat(values: &[f64], d_x: usize) -> Self {
        let (x, y) = values[1..].split_at(d_x);
        NormMoments { both: values[0], x: x.to_vec(), y: y.to_vec() }
    }
}
