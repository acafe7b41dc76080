//! f64 matrix products. Each runs on the calling thread alone: its bits do not depend on the number of threads.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use super::Matrix;
use super::decompose::view;
use std::cell::RefCell;

thread_local! {
    /// Gathered rows of a block. A null of a thousand draws asks for them a thousand times, and new memory of that size costs as much
    /// as a part of the product.
    static GATHERED: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Rows folded at a time in [`transposed_product_permuted`]: with 1024 the product runs at 35 GFLOP/s a core for [512, 768],
/// with 256 at 16. The number is part of the result's last bits.
const ROWS_PER_BLOCK: usize = 1024;

/// `A B`: `[m, k] x [k, n] -> [m, n]`.
///
/// # Panics
/// When the inner sizes differ.
pub fn product(a: &Matrix<f64>, b: &Matrix<f64>) -> Matrix<f64> {
    assert_eq!(a.n_cols(), b.n_rows(), "A B needs as many columns of A as rows of B");
    multiply(view(a), view(b))
}

/// `A Bᵀ`: `[m, k] x [n, k] -> [m, n]`.
///
/// # Panics
/// When the inner sizes differ.
pub fn product_transposed(a: &Matrix<f64>, b: &Matrix<f64>) -> Matrix<f64> {
    assert_eq!(a.n_cols(), b.n_cols(), "A Bᵀ needs rows of one width");
    multiply(view(a), view(b).transpose())
}

/// `Aᵀ B`: `[k, m] x [k, n] -> [m, n]`.
///
/// # Panics
/// When the numbers of rows differ.
pub fn transposed_product(a: &Matrix<f64>, b: &Matrix<f64>) -> Matrix<f64> {
    assert_eq!(a.n_rows(), b.n_rows(), "Aᵀ B needs as many rows on both sides");
    multiply(view(a).transpose(), view(b))
}

/// `A[:, :m]ᵀ B[order, :n]`: row `i` of `A` meets row `order[i]` of `B`; `[m, n]`.
///
/// # Panics
/// When `order` does not name one row of `B` for every row of `A`, or `m`, `n` are larger than the widths.
pub fn transposed_product_permuted(a: &Matrix<f64>, b: &Matrix<f64>, order: &[u32], m: usize, n: usize) -> Matrix<f64> {
    assert_eq!(a.n_rows(), order.len(), "one row of B for every row of A");
    let mut out = Matrix::zeros(m, n);
    if m == 1 && n == 1 {
        // The published SVCCA keeps one component: a plain dot product, without packing.
        out.row_mut(0)[0] = order.iter().enumerate().map(|(i, &o)| a.row(i)[0] * b.row(o as usize)[0]).sum();
        return out;
    }
    let mut gathered = GATHERED.take();
    gathered.resize(gathered.len().max(ROWS_PER_BLOCK.min(order.len()) * n), 0.0);
    for (block, rows) in order.chunks(ROWS_PER_BLOCK).enumerate() {
        for (into, &o) in gathered.chunks_exact_mut(n.max(1)).zip(rows) {
            into.copy_from_slice(&b.row(o as usize)[..n]);
        }
        let left = view(a).subrows(block * ROWS_PER_BLOCK, rows.len()).subcols(0, m);
        let right = MatRef::from_row_major_slice(&gathered[..rows.len() * n], rows.len(), n);
        matmul(view_mut(&mut out), Accum::Add, left.transpose(), right, 1.0, Par::Seq);
    }
    GATHERED.set(gathered);
    out
}

fn multiply(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Matrix<f64> {
    let mut out = Matrix::zeros(a.nrows(), b.ncols());
    matmul(view_mut(&mut out), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

fn view_mut(a: &mut Matrix<f64>) -> MatMut<'_, f64> {
    let (m, n) = (a.n_rows(), a.n_cols());
    MatMut::from_row_major_slice_mut(a.as_mut_slice(), m, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;

    #[test]
    fn products_are_the_plain_sums() {
        let mut stream = Stream::new(1, "products", 0);
        let mut random = |m, n| Matrix::from_vec(m, n, (0..m * n).map(|_| stream.gaussian()).collect());
        let (a, b) = (random(1500, 5), random(1500, 4));
        let order = Stream::new(1, "order", 0).permutation(1500);
        let plain = |i: usize, j: usize, order: &[u32]| -> f64 {
            (0..1500).map(|t| a.row(t)[i] * b.row(order[t] as usize)[j]).sum()
        };
        let identity: Vec<u32> = (0..1500).collect();
        let (whole, permuted) = (transposed_product(&a, &b), transposed_product_permuted(&a, &b, &order, 3, 2));
        for i in 0..5 {
            for j in 0..4 {
                assert!((whole.row(i)[j] - plain(i, j, &identity)).abs() < 1e-11);
                if i < 3 && j < 2 {
                    assert!((permuted.row(i)[j] - plain(i, j, &order)).abs() < 1e-11);
                }
            }
        }
        let single = transposed_product_permuted(&a, &b, &order, 1, 1);
        assert!((single.row(0)[0] - plain(0, 0, &order)).abs() < 1e-11);
        let square = product_transposed(&product(&a, &whole), &b);
        assert_eq!((square.n_rows(), square.n_cols()), (1500, 1500));
    }
}
