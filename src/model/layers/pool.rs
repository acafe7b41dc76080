//! What memory does a thread keep from one context to the next? The buffers that its tensors were computed in.
//!
//! A context of a small model makes some fifty tensors, each large enough that the allocator asks the system for memory. The page
//! faults of new memory then cost up to a tenth of the arithmetic. A thread keeps as many buffers as were alive at once in one
//! of its contexts, and uses them for the next context of any model.

use super::tensors::{device_error, slice};
use crate::error::Result;
use candle_core::{CpuStorage, InplaceOp1, Layout, Storage, Tensor};
use std::cell::RefCell;
use std::ops::Deref;

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

/// Lays a buffer aside for the thread's next tensor.
pub fn put_back(values: Vec<f32>) {
    FREE.with_borrow_mut(|free| {
        if free.len() < MOST && values.capacity() > 0 {
            free.push(values);
        }
    });
}

/// A tensor of one context. Its memory is laid aside when it goes, so no other tensor that shares it may be read after.
pub struct Pooled(Tensor);

impl Pooled {
    /// Takes `tensor`, the last to be read of those that share its memory.
    pub fn new(tensor: Tensor) -> Self {
        Pooled(tensor)
    }
}

/// Writes the rows of a contiguous tensor `[n_rows, width]` that are `counted` to `out: [number counted, width]`.
///
/// # Errors
/// `Machine` when the tensor library fails.
///
/// # Panics
/// When `out` is of another length.
pub fn write_rows(x: &Tensor, counted: &[bool], out: &mut [f32]) -> Result<()> {
    let mut write = || {
        let (_, width) = x.dims2()?;
        let (storage, layout) = x.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => copy_rows(slice(storage, layout)?, width, counted, out),
            _ => copy_rows(&x.flatten_all()?.to_vec1()?, width, counted, out),
        }
        Ok(())
    };
    write().map_err(device_error)
}

fn copy_rows(x: &[f32], width: usize, counted: &[bool], out: &mut [f32]) {
    let n_counted = counted.iter().filter(|&&counted| counted).count();
    assert_eq!((x.len(), out.len()), (counted.len() * width, n_counted * width), "rows of {width} values");
    if width == 0 {
        return;
    }
    let rows = x.chunks_exact(width).zip(counted).filter(|(_, counted)| **counted);
    out.chunks_exact_mut(width).zip(rows).for_each(|(out, (row, _))| out.copy_from_slice(row));
}

impl Deref for Pooled {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if self.0.device().is_cpu() {
            // What cannot be laid aside is freed with the tensor.
            let _ = self.0.inplace_op1(&Recycle);
        }
    }
}

/// Takes the memory out of a tensor.
struct Recycle;

impl InplaceOp1 for Recycle {
    fn name(&self) -> &'static str {
        "lay aside"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        if let CpuStorage::F32(values) = storage {
            put_back(std::mem::take(values));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn tensor(n: usize) -> Pooled {
        Pooled::new(Tensor::from_vec(buffer(n), n, &Device::Cpu).unwrap())
    }

    /// In a thread of its own, which has laid nothing aside.
    fn fresh(work: impl FnOnce() + Send + 'static) {
        std::thread::spawn(work).join().unwrap();
    }

    #[test]
    fn what_goes_serves_the_next_tensor() {
        fresh(|| {
            let (small, large) = (tensor(100), tensor(1000));
            let place = |x: &Pooled| match &*x.storage_and_layout().0 {
                Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as usize,
                _ => panic!("f32 on the CPU"),
            };
            let places = (place(&small), place(&large));
            drop((small, large));
            // the one that fits best, whatever was laid aside last
            let (again, larger) = (tensor(90), tensor(900));
            assert_eq!((place(&again), place(&larger)), places);
            assert_eq!(larger.elem_count(), 900);
        });
    }

    #[test]
    fn a_thread_keeps_no_more_than_was_alive_at_once() {
        fresh(|| {
            for n in 1..200 {
                drop((tensor(n), tensor(3 * n)));
            }
            let free = FREE.with_borrow(|free| free.iter().map(Vec::capacity).collect::<Vec<_>>());
            assert_eq!(free.len(), 2);
            assert!(free.iter().sum::<usize>() <= 2 * 3 * 199, "{free:?}");
            drop((0..MOST + 3).map(tensor).collect::<Vec<_>>());
            assert!(FREE.with_borrow(Vec::len) <= MOST);
        });
    }

    #[test]
    fn rows_that_are_counted_are_written_and_no_others() {
        let x = Pooled::new(Tensor::from_vec(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], (3, 2), &Device::Cpu).unwrap());
        let mut out = [9.0; 4];
        write_rows(&x, &[true, false, true], &mut out).unwrap();
        assert_eq!(out, [1.0, 2.0, 5.0, 6.0]);
        write_rows(&x, &[false; 3], &mut []).unwrap();
        // rows of a view lie behind those that it leaves out
        let mut last = [0.0; 2];
        write_rows(&x.narrow(0, 2, 1).unwrap(), &[true], &mut last).unwrap();
        assert_eq!(last, [5.0, 6.0]);
    }
}
