//! Which x solves A x = b for a symmetric, positive definite A and many b? Cholesky's factor, once.

use super::Matrix;
use super::decompose::{require_finite, scratch, view};
use crate::error::Result;
use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt;
use faer::{Mat, Par};

/// The factor of a symmetric, positive definite matrix.
#[derive(Clone, Debug)]
pub struct Cholesky {
    factor: Mat<f64>,
}

impl Cholesky {
    /// Of `a: [n, n]`, of which the lower triangle is read; `None` where it is not positive definite.
    ///
    /// # Errors
    /// `Input` for NaN or infinity, `Machine` without memory for scratch.
    ///
    /// # Panics
    /// When `a` is not square.
    pub fn of(a: &Matrix<f64>) -> Result<Option<Cholesky>> {
        let n = a.n_rows();
        assert_eq!(n, a.n_cols(), "a symmetric matrix is square");
        require_finite(a, "symmetric matrix")?;
        let mut factor = view(a).to_owned();
        let mut scratch = scratch(llt::factor::cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default()))?;
        let stack = MemStack::new(&mut scratch);
        let done =
            llt::factor::cholesky_in_place(factor.as_mut(), Default::default(), Par::Seq, stack, Default::default());
        Ok(done.is_ok().then_some(Cholesky { factor }))
    }

    /// A⁻¹ b for each row b of `b: [k, n]`, by row.
    ///
    /// # Errors
    /// `Machine` without memory for scratch.
    ///
    /// # Panics
    /// When the rows are not as long as the matrix.
    pub fn solve_rows(&self, b: &Matrix<f64>) -> Result<Matrix<f64>> {
        let (k, n) = (b.n_rows(), b.n_cols());
        assert_eq!(n, self.factor.nrows(), "rows as long as the matrix");
        let mut x = view(b).transpose().to_owned();
        let mut scratch = scratch(llt::solve::solve_in_place_scratch::<f64>(n, k, Par::Seq))?;
        llt::solve::solve_in_place(self.factor.as_ref(), x.as_mut(), Par::Seq, MemStack::new(&mut scratch));
        let mut out = Matrix::zeros(k, n);
        for i in 0..k {
            out.row_mut(i).iter_mut().enumerate().for_each(|(j, o)| *o = x[(j, i)]);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Stream, product, transposed_product};

    #[test]
    fn solutions_multiply_back_and_what_is_not_definite_has_none() {
        let mut stream = Stream::new(2, "solve", 0);
        let mut gaussian =
            |m: usize, n: usize| Matrix::from_vec(m, n, (0..m * n).map(|_| stream.gaussian()).collect::<Vec<f64>>());
        for n in [1, 5, 70] {
            let x = gaussian(3 * n, n);
            let (a, b) = (transposed_product(&x, &x), gaussian(4, n));
            let solved = Cholesky::of(&a).unwrap().unwrap().solve_rows(&b).unwrap();
            let back = product(&solved, &a);
            for (found, right) in back.as_slice().iter().zip(b.as_slice()) {
                assert!((found - right).abs() < 1e-9, "{found}, expected {right}");
            }
        }
        let flat = Matrix::from_vec(2, 2, vec![1.0, 2.0, 2.0, 1.0]);
        assert!(Cholesky::of(&flat).unwrap().is_none());
    }
}
