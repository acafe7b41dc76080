//! Do two directions do the same to the logits of their models? Rows of two output heads in, correlations over the vocabulary out.
//!
//! The effect of a direction d is e = Wd with the head's rows W (final norm's weight in them), and the agreement of two is Pearson's r of their effects over
//! the vocabulary that both models have. With the co-moments of the heads' rows over the vocabulary, G_aa, G_bb and G_ab, it is
//! dᵀG_ab d' / √(dᵀG_aa d · d'ᵀG_bb d'), so that no effect is ever laid out.

use crate::error::Result;
use crate::linalg::{Matrix, product};
use crate::moments::{Accumulator, CoMoment, CrossCoMoment};
use rayon::prelude::*;

/// Rows of the heads that are taken together.
const ROWS: usize = 1024;

/// Blocks of rows that are at work at once.
const AT_ONCE: usize = 4;

/// Directions that are taken together.
const DIRECTIONS: usize = 64;

/// Co-moments of two heads over the vocabulary.
#[derive(Clone, Debug)]
pub struct LogitEffects {
    own: [Matrix<f64>; 2],
    /// `[d_a, d_b]`
    cross: Matrix<f64>,
}

impl LogitEffects {
    /// Of the first `n_vocab` rows of two heads; `rows(side, first, n)` gives `[n, d]` of them.
    ///
    /// # Errors
    /// Those of `rows`.
    pub fn of(
        n_vocab: usize,
        widths: [usize; 2],
        rows: impl Fn(usize, usize, usize) -> Result<Matrix<f32>> + Sync,
    ) -> Result<LogitEffects> {
        let mut own = widths.map(CoMoment::new);
        let mut cross = CrossCoMoment::new(widths[0], widths[1], 0);
        let firsts: Vec<usize> = (0..n_vocab).step_by(ROWS).collect();
        // blocks are added in order, so that sums have the same bits with any number of threads
        for some in firsts.chunks(AT_ONCE) {
            let blocks: Vec<([CoMoment; 2], CrossCoMoment)> = (some.par_iter())
                .map(|&first| {
                    let n = ROWS.min(n_vocab - first);
                    let [a, b] = [rows(0, first, n)?, rows(1, first, n)?];
                    let both = CrossCoMoment::of_batch(&a, &b, &[]);
                    Ok(([CoMoment::of_batch(&a), CoMoment::of_batch(&b)], both))
                })
                .collect::<Result<_>>()?;
            for (of_sides, both) in blocks {
                own.iter_mut().zip(&of_sides).try_for_each(|(mine, theirs)| mine.merge(theirs))?;
                cross.merge(&both)?;
            }
        }
        Ok(LogitEffects { own: own.map(|moments| moments.c), cross: cross.c })
    }

    /// The same seen from the other side.
    #[must_use]
    pub fn turned(&self) -> LogitEffects {
        let [a, b] = self.own.clone();
        let mut cross = Matrix::zeros(self.cross.n_cols(), self.cross.n_rows());
        for (i, row) in self.cross.rows().enumerate() {
            row.iter().enumerate().for_each(|(j, &v)| cross.row_mut(j)[i] = v);
        }
        LogitEffects { own: [b, a], cross }
    }

    /// Length of the centred effect of each row of `directions: [n, d]` of one side.
    pub fn lengths(&self, side: usize, directions: &Matrix<f32>) -> Vec<f64> {
        let all: Vec<usize> = (0..directions.n_rows()).collect();
        let of = |some: &[usize]| -> Vec<f64> {
            let rows = wide(directions, some);
            let spread = product(&rows, &self.own[side]);
            let square = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            rows.rows().zip(spread.rows()).map(square).map(|square| square.max(0.0).sqrt()).collect()
        };
        all.par_chunks(DIRECTIONS).flat_map_iter(of).collect()
    }

    /// What rows of the first side are to the second side's: `[n, d_b]`, of which the inner product with a direction there, over both lengths, is
    /// the correlation.
    pub fn across(&self, directions: &Matrix<f64>) -> Matrix<f64> {
        product(directions, &self.cross)
    }

    /// Pearson's r of two effects; `None` where one of them is the same for all tokens.
    pub fn correlation(across: &[f64], other: &[f32], lengths: [f64; 2]) -> Option<f64> {
        let along: f64 = across.iter().zip(other).map(|(a, &b)| a * f64::from(b)).sum();
        let both = lengths[0] * lengths[1];
        (both > 0.0).then(|| (along / both).clamp(-1.0, 1.0))
    }
}

/// Rows `some`, in f64.
pub fn wide(rows: &Matrix<f32>, some: &[usize]) -> Matrix<f64> {
    let data = some.iter().flat_map(|&i| rows.row(i).iter().map(|&v| f64::from(v))).collect();
    Matrix::from_vec(some.len(), rows.n_cols(), data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;

    fn gaussian(n: usize, d: usize, name: &str) -> Matrix<f32> {
        let mut stream = Stream::new(6, name, 0);
        Matrix::from_vec(n, d, (0..n * d).map(|_| 1.0 + stream.gaussian() as f32).collect())
    }

    /// Pearson's r of the effects themselves.
    fn plain(heads: [&Matrix<f32>; 2], directions: [&[f32]; 2], n: usize) -> f64 {
        let effect = |k: usize| -> Vec<f64> {
            let along = |row: &[f32]| row.iter().zip(directions[k]).map(|(&w, &d)| f64::from(w) * f64::from(d)).sum();
            let all: Vec<f64> = heads[k].rows().take(n).map(along).collect();
            let mean = all.iter().sum::<f64>() / n as f64;
            all.iter().map(|v| v - mean).collect()
        };
        let (a, b) = (effect(0), effect(1));
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
    }

    #[test]
    fn correlations_from_co_moments_are_those_of_the_effects() {
        let (a, b) = (gaussian(2600, 6, "a"), gaussian(2500, 9, "b"));
        let rows = |side: usize, first: usize, n: usize| {
            let of: &Matrix<f32> = [&a, &b][side];
            Ok(of.gather_rows(&(first..first + n).collect::<Vec<_>>()))
        };
        let effects = LogitEffects::of(2400, [6, 9], rows).unwrap();
        let (x, y) = (gaussian(70, 6, "x"), gaussian(70, 9, "y"));
        let lengths = [effects.lengths(0, &x), effects.lengths(1, &y)];
        let across = effects.across(&wide(&x, &(0..70).collect::<Vec<_>>()));
        let turned = effects.turned();
        let back = turned.across(&wide(&y, &(0..70).collect::<Vec<_>>()));
        assert_eq!(turned.lengths(1, &x), lengths[0]);
        for (k, both) in lengths[0].iter().zip(&lengths[1]).map(|(a, b)| [*a, *b]).enumerate() {
            let right = plain([&a, &b], [x.row(k), y.row(k)], 2400);
            for found in [
                LogitEffects::correlation(across.row(k), y.row(k), both),
                LogitEffects::correlation(back.row(k), x.row(k), both),
            ] {
                assert!((found.unwrap() - right).abs() < 1e-9, "{found:?}, expected {right}");
            }
        }
        // a head compared with itself: a direction agrees with itself, and one that all tokens get alike has no
        // correlation
        let own = LogitEffects::of(100, [6, 6], |_, first, n| rows(0, first, n)).unwrap();
        let length = own.lengths(0, &x);
        let across = own.across(&wide(&x, &[3]));
        assert!((LogitEffects::correlation(across.row(0), x.row(3), [length[3]; 2]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(LogitEffects::correlation(across.row(0), x.row(3), [length[3], 0.0]), None);
    }
}
