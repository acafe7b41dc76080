//! What must be remembered to map the activations of one hookpoint into another's? Their cross co-moment in each half of the documents.
//!
//! Halves are those of the readout (`readout.rs`), where mean and co-moment of each hookpoint lie ([`FoldMoments`](super::FoldMoments)), so that a
//! map that is fitted on one half can be judged on the other from sums alone. The null has the cross co-moment once more with each row of
//! the target taken from half of the batch's rows of the same half further on: its means are its own.

use crate::error::Result;
use crate::linalg::Matrix;
use crate::moments::centred::centred;
use crate::moments::comoment::{add_between, difference, move_mean, null_products, product};
use crate::moments::{Accumulator, FOLDS, FoldRows, State, document_rotation};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Cross co-moment of two hookpoints in each half, with its null where there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldCross(pub [HalfCross; FOLDS]);

/// One half of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HalfCross {
    /// Rows seen.
    pub n_rows: u64,
    /// `[d_x]`.
    mean_x: Vec<f64>,
    /// `[d_y]`.
    mean_y: Vec<f64>,
    /// Σ(x − x̄)(y − ȳ)ᵀ, `[d_x, d_y]`.
    pub c: Matrix<f64>,
    /// The same with y's rows turned inside each batch; `None` where it is not kept.
    pub null: Option<Matrix<f64>>,
}

impl HalfCross {
    fn new(d_x: usize, d_y: usize, null: bool) -> Self {
        let zeros = || Matrix::zeros(d_x, d_y);
        let (mean_x, mean_y) = (vec![0.0; d_x], vec![0.0; d_y]);
        HalfCross { n_rows: 0, mean_x, mean_y, c: zeros(), null: null.then(zeros) }
    }

    fn of_batch(x: &Matrix<f32>, y: &Matrix<f32>, null: bool) -> Self {
        let ((mean_x, x), (mean_y, y)) = (centred(x), centred(y));
        let (n, by) = (x.n_rows(), document_rotation(x.n_rows()));
        let turned = || null_products(&x, &y, &[(0..n).map(|k| (k + by) % n).collect()]).remove(0);
        HalfCross { n_rows: n as u64, mean_x, mean_y, c: product(&x, &y), null: null.then(turned) }
    }

    /// Adds the sums of other rows (Chan's rule, as [`CoMoment`](super::CoMoment)).
    ///
    /// # Errors
    /// None: both are of one pair of hookpoints.
    pub fn merge(&mut self, other: &HalfCross) -> Result<()> {
        if other.n_rows == 0 {
            return Ok(());
        }
        if self.n_rows == 0 {
            self.clone_from(other);
            return Ok(());
        }
        let (dx, dy) = (difference(&self.mean_x, &other.mean_x), difference(&self.mean_y, &other.mean_y));
        let nulls = self.null.iter_mut().zip(&other.null);
        for (mine, theirs) in std::iter::once((&mut self.c, &other.c)).chain(nulls) {
            mine.as_mut_slice().iter_mut().zip(theirs.as_slice()).for_each(|(a, b)| *a += b);
            add_between(mine, self.n_rows, other.n_rows, &dx, &dy);
        }
        move_mean(&mut self.mean_x, &dx, self.n_rows, other.n_rows);
        move_mean(&mut self.mean_y, &dy, self.n_rows, other.n_rows);
        self.n_rows += other.n_rows;
        Ok(())
    }
}

impl FoldCross {
    /// Nothing seen yet of a source `d_x` and a target `d_y` wide; `null`: whether the null is kept.
    pub fn new(d_x: usize, d_y: usize, null: bool) -> Self {
        FoldCross([0, 1].map(|_| HalfCross::new(d_x, d_y, null)))
    }

    /// Of one batch, `x: [n_rows, d_x]` beside `y: [n_rows, d_y]`.
    pub fn of_batch(x: &Matrix<f32>, y: &Matrix<f32>, folds: &FoldRows, null: bool) -> Self {
        let of = |f: usize| (x.gather_rows(&folds.rows[f]), y.gather_rows(&folds.rows[f]));
        FoldCross([0, 1].map(|f: usize| {
            let (x, y) = of(f);
            HalfCross::of_batch(&x, &y, null)
        }))
    }

    /// Σ(x − x̄)(y − ȳ)ᵀ of half `f`, `[d_x, d_y]`; of the null where `null`, `None` where it is not kept.
    pub fn cross(&self, f: usize, null: bool) -> Option<&Matrix<f64>> {
        if null { self.0[f].null.as_ref() } else { Some(&self.0[f].c) }
    }
}

impl State for FoldCross {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let [HalfCross { mean_x, mean_y, null, .. }, _] = &self.0;
        let (dx, dy) = (mean_x.len(), mean_y.len());
        let named = layout.tensor::<u64>("n_rows", &[FOLDS]).tensor::<f64>("mean_x", &[FOLDS, dx]);
        let named = named.tensor::<f64>("mean_y", &[FOLDS, dy]).tensor::<f64>("c", &[FOLDS, dx, dy]);
        named.tensor::<f64>("null", &[if null.is_some() { FOLDS } else { 0 }, dx, dy])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("n_rows", &self.0.each_ref().map(|half| half.n_rows))?;
        self.0.iter().try_for_each(|half| file.put("mean_x", &half.mean_x))?;
        self.0.iter().try_for_each(|half| file.put("mean_y", &half.mean_y))?;
        self.0.iter().try_for_each(|half| file.put("c", half.c.as_slice()))?;
        self.0.iter().flat_map(|half| &half.null).try_for_each(|null| file.put("null", null.as_slice()))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let [HalfCross { mean_x, mean_y, null, .. }, _] = &self.0;
        let (dx, dy, with_null) = (mean_x.len(), mean_y.len(), null.is_some());
        let shapes = [("mean_x", vec![FOLDS, dx]), ("mean_y", vec![FOLDS, dy]), ("c", vec![FOLDS, dx, dy])];
        // a null that is not asked for is left where it is
        let of_null = with_null.then(|| ("null", vec![FOLDS, dx, dy]));
        for (name, shape) in shapes.into_iter().chain(of_null) {
            if file.shape(name)? != shape {
                return Err(file.misfit());
            }
        }
        let n_rows: Vec<u64> = file.tensor("n_rows")?;
        for (f, mine) in self.0.iter_mut().enumerate() {
            let mut read = HalfCross::new(dx, dy, with_null);
            read.n_rows = *n_rows.get(f).ok_or_else(|| file.misfit())?;
            file.read_at("mean_x", f * dx, &mut read.mean_x)?;
            file.read_at("mean_y", f * dy, &mut read.mean_y)?;
            file.read_at("c", f * dx * dy, read.c.as_mut_slice())?;
            if let Some(null) = &mut read.null {
                file.read_at("null", f * dx * dy, null.as_mut_slice())?;
            }
            mine.merge(&read)?;
        }
        Ok(())
    }
}

impl Accumulator for FoldCross {
    /// Of the batch's rows: made where the batch is encoded.
    type Batch<'a> = &'a FoldCross;
    /// Widths of both hookpoints, and whether the null is kept.
    type Shape = (usize, usize, bool);

    fn fold(&mut self, batch: &FoldCross) -> Result<()> {
        self.merge(batch)
    }

    fn merge(&mut self, other: &FoldCross) -> Result<()> {
        self.0.iter_mut().zip(&other.0).try_for_each(|(mine, theirs)| mine.merge(theirs))
    }

    fn bytes(&(d_x, d_y, null): &Self::Shape) -> u64 {
        FOLDS as u64 * 8 * ((d_x * d_y * (1 + usize::from(null))) + d_x + d_y) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;

    fn matrix(n: usize, d: usize, by: f32) -> Matrix<f32> {
        Matrix::from_vec(n, d, (0..n * d).map(|k| by + (k * k % 11) as f32).collect())
    }

    #[test]
    fn each_half_has_its_own_and_the_null_turns_the_targets_rows_inside_it() {
        let (x, y) = (matrix(7, 2, 0.5), matrix(7, 3, -2.0));
        let folds = FoldRows::by(vec![0, 1, 0, 0, 1, 0, 1]);
        let found = FoldCross::of_batch(&x, &y, &folds, true);
        for (f, rows, beside) in [(0, [0, 2, 3, 5].as_slice(), [3, 5, 0, 2].as_slice()), (1, &[1, 4, 6], &[4, 6, 1])] {
            let n = rows.len() as f64;
            let at = |m: &Matrix<f32>, r: usize, j: usize| f64::from(m.row(r)[j]);
            let mean = |m: &Matrix<f32>, j: usize| rows.iter().map(|&r| at(m, r, j)).sum::<f64>() / n;
            for (null, others) in [(false, rows), (true, beside)] {
                for i in 0..2 {
                    for j in 0..3 {
                        let both = rows.iter().zip(others);
                        let right: f64 =
                            both.map(|(&r, &o)| (at(&x, r, i) - mean(&x, i)) * (at(&y, o, j) - mean(&y, j))).sum();
                        let found = found.cross(f, null).unwrap().row(i)[j];
                        // the null's products are of f32 rows
                        assert!((found - right).abs() < 1e-4, "half {f}, null {null}: {found}, expected {right}");
                    }
                }
            }
        }
        assert!(FoldCross::of_batch(&x, &y, &folds, false).cross(0, true).is_none());
        let more = FoldCross::of_batch(&matrix(4, 2, 3.0), &matrix(4, 3, 1.0), &FoldRows::by(vec![1, 1, 0, 1]), true);
        let empty = FoldCross::new(2, 3, true);
        keeps_the_contract(&empty, [&found, &more], Some(&FoldCross::new(2, 2, true)));
        keeps_the_contract(&empty, [&more, &found], Some(&FoldCross::new(3, 3, true)));
    }
}
