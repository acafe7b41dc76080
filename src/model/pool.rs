//! What memory does a thread keep from one context to the next? The buffers that its rows were computed in.
//!
//! A context of a small model makes some fifty matrices, each large enough that the allocator asks the system for memory. The page
//! faults of new memory then cost up to a tenth of the arithmetic. A thread keeps as many buffers as were alive at once in one
//! of its contexts, and uses them for the next context of any model.

use std::cell::RefCell;

/// Buffers that a thread lays aside at most: more than are alive at once in any block, or in a batch read at every layer.
const MOST: usize = 256;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `n` values with unspecified contents: the caller must write every value.
pub fn buffer(n: usize) -> Vec<f32> {
    let mut values = FREE.with_borrow_mut(|free| {
        // The smallest that is large enough; where there is none, the largest grows.
        let fits = (0..free.len()).filter(|&i| free[i].capacity() >= n).min_by_key(|&i| free[i].capacity());
        let best = fits.or_else(|| (0..free.len()).max_by_key(|&i| free[i].capacity()));
        best.map(|i| free.swap_remove(i)).unwrap_or_default()
    });
    if values.capacity() < n {
        values = Vec::with_capacity(n);
    }
    values.resize(n, 0.0);
    values
}

/// Lays a buffer aside for the thread's next rows.
pub fn put_back(values: Vec<f32>) {
    FREE.with_borrow_mut(|free| {
        if free.len() < MOST && values.capacity() > 0 {
            free.push(values);
        }
    });
}

/// Rows of one context, `[n_rows, width]`. Their memory is laid aside when they go.
pub struct Rows {
    values: Vec<f32>,
    width: usize,
}

impl Rows {
    /// Rows `width` wide, width > 0.
    ///
    /// # Panics
    /// When `values` is no whole number of rows.
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        assert!(values.len().is_multiple_of(width), "{} values are no rows of {width}", values.len());
        Rows { values, width }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Width of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row behind row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Row behind row, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Writes the rows that are `counted` to `out: [number counted, width]`.
    ///
    /// # Panics
    /// When `counted` or `out` is of another length.
    pub fn write(&self, counted: &[bool], out: &mut [f32]) {
        let n_counted = counted.iter().filter(|&&counted| counted).count();
        let expected = (counted.len() * self.width, n_counted * self.width);
        assert_eq!((self.values.len(), out.len()), expected, "rows of {} values", self.width);
        let rows = self.values.chunks_exact(self.width).zip(counted).filter(|(_, counted)| **counted);
        out.chunks_exact_mut(self.width).zip(rows).for_each(|(out, (row, _))| out.copy_from_slice(row));
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        put_back(std::mem::take(&mut self.values));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> Rows {
        Rows::new(buffer(n), 1)
    }

    /// In a thread of its own, which has laid nothing aside.
    fn fresh(work: impl FnOnce() + Send + 'static) {
        std::thread::spawn(work).join().unwrap();
    }

    #[test]
    fn what_goes_serves_the_next_rows() {
        fresh(|| {
            let (small, large) = (rows(100), rows(1000));
            let place = |x: &Rows| x.values().as_ptr() as usize;
            let places = (place(&small), place(&large));
            drop((small, large));
            // the one that fits best, whatever was laid aside last
            let (again, larger) = (rows(90), rows(900));
            assert_eq!((place(&again), place(&larger)), places);
            assert_eq!(larger.n_rows(), 900);
        });
    }

    #[test]
    fn a_thread_keeps_no_more_than_was_alive_at_once() {
        fresh(|| {
            for n in 1..200 {
                drop((rows(n), rows(3 * n)));
            }
            let free = FREE.with_borrow(|free| free.iter().map(Vec::capacity).collect::<Vec<_>>());
            assert_eq!(free.len(), 2);
            assert!(free.iter().sum::<usize>() <= 2 * 3 * 199, "{free:?}");
            drop((0..MOST + 3).map(rows).collect::<Vec<_>>());
            assert!(FREE.with_borrow(Vec::len) <= MOST);
        });
    }

    #[test]
    fn rows_that_are_counted_are_written_and_no_others() {
        let x = Rows::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        let mut out = [9.0; 4];
        x.write(&[true, false, true], &mut out);
        assert_eq!(out, [1.0, 2.0, 5.0, 6.0]);
        x.write(&[false; 3], &mut []);
    }
}
