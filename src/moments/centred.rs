//! Rows of one batch, centred, in memory that a thread keeps for its next batch.

use crate::linalg::Matrix;
use std::cell::RefCell;
use std::ops::Deref;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f64>>> = const { RefCell::new(Vec::new()) };
}

/// Buffers that a thread lays aside at most: both sides of a pair.
const MOST: usize = 2;

/// Centred rows, `[n, d]` f64.
pub(super) struct Centred(Matrix<f64>);

impl Deref for Centred {
    type Target = Matrix<f64>;

    fn deref(&self) -> &Matrix<f64> {
        &self.0
    }
}

impl Drop for Centred {
    fn drop(&mut self) {
        let values = std::mem::replace(&mut self.0, Matrix::from_vec(0, 0, Vec::new())).into_vec();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MOST {
                spare.push(values);
            }
        });
    }
}

/// Column means in order of rows, and the centred rows.
pub(super) fn centred(x: &Matrix<f32>) -> (Vec<f64>, Centred) {
    let (n, d) = (x.n_rows(), x.n_cols());
    let mut mean = vec![0.0; d];
    for row in x.rows() {
        mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
    }
    mean.iter_mut().for_each(|m| *m /= n.max(1) as f64);
    let mut values = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    values.clear();
    values.reserve(n * d);
    for row in x.rows() {
        values.extend(row.iter().zip(&mean).map(|(&v, m)| f64::from(v) - m));
    }
    (mean, Centred(Matrix::from_vec(n, d, values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_the_next_rows_and_holds_none_of_the_last() {
        let x = |values: &[f32], d: usize| Matrix::from_vec(values.len() / d, d, values.to_vec());
        // in a thread of its own, which has laid nothing aside
        let work = move || {
            let (mean, first) = centred(&x(&[1.0, 2.0, 3.0, 6.0, 5.0, 10.0], 2));
            assert_eq!((mean, first.as_slice()), (vec![3.0, 6.0], &[-2.0, -4.0, 0.0, 0.0, 2.0, 4.0][..]));
            let place = first.as_slice().as_ptr();
            drop(first);
            let (mean, second) = centred(&x(&[4.0, 8.0], 1));
            assert_eq!((mean, second.as_slice()), (vec![6.0], &[-2.0, 2.0][..]));
            assert_eq!(second.as_slice().as_ptr(), place);
            drop((0..5).map(|_| centred(&x(&[1.0], 1)).1).collect::<Vec<_>>());
            assert_eq!(SPARE.with_borrow(Vec::len), MOST);
        };
        std::thread::spawn(work).join().unwrap();
    }
}
