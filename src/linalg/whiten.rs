//! How is a covariance divided out? Whitening and the inverse square root of a symmetric positive matrix, with a rank
//! cut: directions with almost no variance are dropped, not blown up.

use super::{Matrix, SymmetricEigen, product_transposed};

/// `Q_k diag(λ_k)^(-1/2)`: `[n, k]`. For `C = Q Λ Qᵀ` and this `W`, `Wᵀ C W` is the identity of size `k`.
///
/// # Panics
/// When `k` is larger than the number of positive eigenvalues.
pub fn whitening(eigen: &SymmetricEigen, k: usize) -> Matrix<f64> {
    scaled(eigen, k, |value| 1.0 / value.sqrt())
}

/// `Q_k diag(λ_k)^(-1/2) Q_kᵀ`: `[n, n]`, the symmetric inverse square root on the span of the first `k` directions.
///
/// # Panics
/// As [`whitening`].
pub fn inverse_square_root(eigen: &SymmetricEigen, k: usize) -> Matrix<f64> {
    let half = scaled(eigen, k, |value| 1.0 / value.sqrt().sqrt());
    product_transposed(&half, &half)
}

fn scaled(eigen: &SymmetricEigen, k: usize, factor: impl Fn(f64) -> f64) -> Matrix<f64> {
    assert!(eigen.values[..k].iter().all(|&value| value > 0.0), "a whitened direction has variance");
    let factors: Vec<f64> = eigen.values[..k].iter().map(|&value| factor(value)).collect();
    let mut out = Matrix::zeros(eigen.vectors.n_rows(), k);
    for i in 0..out.n_rows() {
        for (j, x) in out.row_mut(i).iter_mut().enumerate() {
            *x = eigen.vectors.row(i)[j] * factors[j];
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Stream, product, symmetric_eigen, transposed_product};

    #[test]
    fn whitened_covariance_is_the_identity_up_to_the_cut() {
        let mut stream = Stream::new(3, "whiten", 0);
        let mut x: Matrix<f64> = Matrix::from_vec(30, 5, (0..150).map(|_| stream.gaussian()).collect());
        for i in 0..30 {
            x.row_mut(i)[4] = x.row(i)[0] + x.row(i)[1]; // rank 4
        }
        let c = transposed_product(&x, &x);
        let eigen = symmetric_eigen(&c).unwrap();
        assert!(eigen.values[4].abs() < 1e-12 * eigen.values[0]);
        let w = whitening(&eigen, 4);
        let i = product(&transposed_product(&w, &c), &w);
        let root = inverse_square_root(&eigen, 4);
        // R C R is the projection on the kept directions: applied twice, itself.
        let projection = product(&product(&root, &c), &root);
        let twice = product(&projection, &projection);
        for a in 0..4 {
            for b in 0..4 {
                assert!((i.row(a)[b] - f64::from(u8::from(a == b))).abs() < 1e-12);
            }
        }
        assert!(twice.as_slice().iter().zip(projection.as_slice()).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
