//! What directions does a matrix have? Symmetric eigendecomposition and thin SVD in f64.
//!
//! Every call runs on the calling thread alone (`Par::Seq`), so the bits of the result do not depend on the number of
//! threads; callers spread many small decompositions over threads instead. Signs of vectors are the algorithm's.

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::evd::{self, ComputeEigenvectors};
use faer::linalg::qr::no_pivoting::factor as qr;
use faer::linalg::svd::{self, ComputeSvdVectors, bidiag};
use faer::{Mat, MatRef, Par};

use super::Matrix;
use super::bidiagonal::bidiagonal_values;
use crate::error::{Error, Result};

/// Eigenvalues and eigenvectors of a symmetric matrix, the largest value first.
#[derive(Clone, Debug)]
pub struct SymmetricEigen {
    /// `[n]`, not increasing; may be slightly negative for a singular matrix.
    pub values: Vec<f64>,
    /// `[n, n]`: column `j` belongs to `values[j]`.
    pub vectors: Matrix<f64>,
}

/// `A = U diag(S) Vᵀ` with `r = min(n_rows, n_cols)` columns.
#[derive(Clone, Debug)]
pub struct ThinSvd {
    /// `[n_rows, r]`, orthonormal columns.
    pub u: Matrix<f64>,
    /// `[r]`, not negative, not increasing.
    pub s: Vec<f64>,
    /// `[n_cols, r]`, orthonormal columns.
    pub v: Matrix<f64>,
}

/// Refuses a matrix that holds NaN or infinity; `what` names it in the error.
///
/// # Errors
/// `Input`, naming the first such entry.
pub fn require_finite(a: &Matrix<f64>, what: &str) -> Result<()> {
    match a.as_slice().iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, col) = (at / a.n_cols(), at % a.n_cols());
            Err(Error::input(format!(
                "{what}: row {row}, column {col} is {}, expected a finite number; check where the values come from",
                a.row(row)[col]
            )))
        }
    }
}

/// Eigendecomposition of a symmetric `a: [n, n]`; only its lower triangle is read.
///
/// # Errors
/// `Input` when `a` holds NaN or infinity or the iteration does not converge, `Machine` without memory for scratch.
///
/// # Panics
/// When `a` is not square.
pub fn symmetric_eigen(a: &Matrix<f64>) -> Result<SymmetricEigen> {
    let n = a.n_rows();
    assert_eq!(n, a.n_cols(), "a symmetric matrix is square");
    require_finite(a, "symmetric matrix")?;
    if n == 0 {
        return Ok(SymmetricEigen { values: Vec::new(), vectors: Matrix::zeros(0, 0) });
    }
    let mut vectors = Mat::<f64>::zeros(n, n);
    let mut values = faer::diag::Diag::<f64>::zeros(n);
    let yes = ComputeEigenvectors::Yes;
    let mut scratch = scratch(evd::self_adjoint_evd_scratch::<f64>(n, yes, Par::Seq, Default::default()))?;
    evd::self_adjoint_evd(
        view(a),
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut scratch),
        Default::default(),
    )
    .map_err(|_| {
        Error::input(format!("eigendecomposition of a [{n}, {n}] matrix did not converge; check its values"))
    })?;
    let ascending = values.column_vector();
    let mut flipped = Matrix::zeros(n, n);
    for i in 0..n {
        for (j, out) in flipped.row_mut(i).iter_mut().enumerate() {
            *out = vectors[(i, n - 1 - j)];
        }
    }
    Ok(SymmetricEigen { values: (0..n).rev().map(|j| ascending[j]).collect(), vectors: flipped })
}

/// Thin singular value decomposition of `a: [n_rows, n_cols]`.
///
/// # Errors
/// As [`symmetric_eigen`].
pub fn thin_svd(a: &Matrix<f64>) -> Result<ThinSvd> {
    let (m, n) = (a.n_rows(), a.n_cols());
    let r = m.min(n);
    require_finite(a, "matrix to decompose")?;
    let (mut u, mut v) = (Mat::<f64>::zeros(m, r), Mat::<f64>::zeros(n, r));
    let s = run_svd(a, Some((&mut u, &mut v)))?;
    Ok(ThinSvd { u: row_major(&u), s, v: row_major(&v) })
}

/// Singular values of `a: [n_rows, n_cols]`, largest first, within some units of rounding of the largest; several times
/// cheaper than [`thin_svd`].
///
/// # Errors
/// As [`symmetric_eigen`].
pub fn singular_values(a: &Matrix<f64>) -> Result<Vec<f64>> {
    require_finite(a, "matrix to decompose")?;
    if a.n_rows().min(a.n_cols()) == 0 {
        return Ok(Vec::new());
    }
    let (diagonal, above) = bidiagonal(a)?;
    // what overflowed, and a matrix on which the sweeps stall, are left to the iteration that has an error for them
    bidiagonal_values(&diagonal, &above).map_or_else(|| run_svd(a, None), Ok)
}

/// Diagonal and superdiagonal of a bidiagonal matrix with the singular values of `a`, by reflections.
fn bidiagonal(a: &Matrix<f64>) -> Result<(Vec<f64>, Vec<f64>)> {
    let tall = if a.n_rows() < a.n_cols() { view(a).transpose() } else { view(a) };
    let (m, n) = (tall.nrows(), tall.ncols());
    let mut work = tall.to_owned();
    if m > 2 * n {
        let block = qr::recommended_block_size::<f64>(m, n);
        let mut scratch = scratch(qr::qr_in_place_scratch::<f64>(m, n, block, Par::Seq, Default::default()))?;
        let mut reflections = Mat::<f64>::zeros(block, n);
        let stack = MemStack::new(&mut scratch);
        qr::qr_in_place(work.as_mut(), reflections.as_mut(), Par::Seq, stack, Default::default());
        work = Mat::from_fn(n, n, |i, j| if i <= j { work[(i, j)] } else { 0.0 });
    }
    // the reflections themselves are not asked for: blocks of one save putting them together
    let (mut left, mut right) = (Mat::<f64>::zeros(1, n), Mat::<f64>::zeros(1, n - 1));
    let request = bidiag::bidiag_in_place_scratch::<f64>(work.nrows(), n, Par::Seq, Default::default());
    let mut scratch = scratch(request)?;
    let stack = MemStack::new(&mut scratch);
    bidiag::bidiag_in_place(work.as_mut(), left.as_mut(), right.as_mut(), Par::Seq, stack, Default::default());
    Ok(((0..n).map(|i| work[(i, i)]).collect(), (1..n).map(|i| work[(i - 1, i)]).collect()))
}

fn run_svd(a: &Matrix<f64>, vectors: Option<(&mut Mat<f64>, &mut Mat<f64>)>) -> Result<Vec<f64>> {
    let (m, n) = (a.n_rows(), a.n_cols());
    if m.min(n) == 0 {
        return Ok(Vec::new());
    }
    let compute = if vectors.is_some() { ComputeSvdVectors::Thin } else { ComputeSvdVectors::No };
    let mut s = faer::diag::Diag::<f64>::zeros(m.min(n));
    let mut scratch = scratch(svd::svd_scratch::<f64>(m, n, compute, compute, Par::Seq, Default::default()))?;
    let (u, v) = vectors.map_or((None, None), |(u, v)| (Some(u.as_mut()), Some(v.as_mut())));
    svd::svd(view(a), s.as_mut(), u, v, Par::Seq, MemStack::new(&mut scratch), Default::default()).map_err(|_| {
        Error::input(format!("singular values of a [{m}, {n}] matrix did not converge; check its values"))
    })?;
    let s: Vec<f64> = s.column_vector().iter().copied().collect();
    if s.iter().any(|x| !x.is_finite()) {
        return Err(Error::input(format!("singular values of a [{m}, {n}] matrix overflow; check its scale")));
    }
    Ok(s)
}

pub(super) fn scratch(request: StackReq) -> Result<MemBuffer> {
    MemBuffer::try_new(request).map_err(|_| {
        let size = request.unaligned_bytes_required();
        Error::machine(format!("no memory for {size} bytes of a decomposition's scratch; compare fewer rows"))
    })
}

/// The matrix as `faer` sees it.
pub(super) fn view(a: &Matrix<f64>) -> MatRef<'_, f64> {
    MatRef::from_row_major_slice(a.as_slice(), a.n_rows(), a.n_cols())
}

fn row_major(a: &Mat<f64>) -> Matrix<f64> {
    let mut out = Matrix::zeros(a.nrows(), a.ncols());
    for i in 0..a.nrows() {
        for (j, x) in out.row_mut(i).iter_mut().enumerate() {
            *x = a[(i, j)];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Stream, product, product_transposed, transposed_product};

    fn gaussian(m: usize, n: usize, name: &str) -> Matrix<f64> {
        let mut stream = Stream::new(5, name, 0);
        Matrix::from_vec(m, n, (0..m * n).map(|_| stream.gaussian()).collect())
    }

    fn largest_difference(a: &Matrix<f64>, b: &Matrix<f64>) -> f64 {
        a.as_slice().iter().zip(b.as_slice()).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    }

    fn scale_columns(a: &Matrix<f64>, by: &[f64]) -> Matrix<f64> {
        let mut out = a.clone();
        for i in 0..a.n_rows() {
            out.row_mut(i).iter_mut().zip(by).for_each(|(x, s)| *x *= s);
        }
        out
    }

    #[test]
    fn factors_multiply_back() {
        for (m, n) in [(40, 7), (7, 40), (12, 12), (1, 5)] {
            let a = gaussian(m, n, "svd");
            let f = thin_svd(&a).unwrap();
            let back = product_transposed(&scale_columns(&f.u, &f.s), &f.v);
            assert!(largest_difference(&a, &back) < 1e-13, "svd of [{m}, {n}]");
            assert!(f.s.windows(2).all(|w| w[0] >= w[1]));
            let only = singular_values(&a).unwrap();
            assert_eq!(only.len(), f.s.len());
            assert!(only.iter().zip(&f.s).all(|(x, y)| (x - y).abs() < 1e-13));
            // what a matrix is left to on which the sweeps stall
            let stalled = run_svd(&a, None).unwrap();
            assert!(only.iter().zip(&stalled).all(|(x, y)| (x - y).abs() < 1e-13) && stalled.len() == only.len());
            let c = transposed_product(&a, &a);
            let e = symmetric_eigen(&c).unwrap();
            let back = product_transposed(&scale_columns(&e.vectors, &e.values), &e.vectors);
            assert!(largest_difference(&c, &back) < 1e-12, "eigen of [{n}, {n}]");
            assert!(e.values.windows(2).all(|w| w[0] >= w[1]));
            let i = product(&c, &e.vectors);
            assert!(largest_difference(&i, &scale_columns(&e.vectors, &e.values)) < 1e-12);
        }
    }

    #[test]
    fn nan_is_refused_with_its_place() {
        let mut a = gaussian(4, 3, "nan");
        a.row_mut(2)[1] = f64::NAN;
        let message = thin_svd(&a).unwrap_err().to_string();
        assert!(message.contains("row 2, column 1"), "{message}");
    }
}
