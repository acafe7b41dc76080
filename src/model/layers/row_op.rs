//! How does an operation on rows meet candle, alone or added onto the stream in the same pass?
//!
//! `base + f(x)` has the bits that the two have one after the other: the sum is taken where a value of `f` is finished.

use super::pool::buffer;
use super::tensors::slice;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};

/// An operation from rows of one width to rows of another, on the CPU in f32.
pub(super) trait RowsOp: Sync + Send {
    /// What errors call it.
    const NAME: &'static str;

    /// Width of the output for rows `d_in` wide.
    ///
    /// # Errors
    /// When such rows do not fit.
    fn d_out(&self, d_in: usize) -> candle_core::Result<usize>;

    /// `out = f(x)`, plus `add` where there is one; `x: [n, d_in]`, `out` and `add`: `[n, d_out]`. What was in `out` is not read.
    fn run(&self, x: &[f32], n: usize, out: &mut [f32], add: Option<&[f32]>);
}

/// `f(x)` for `x: [n, d_in]` contiguous on the CPU.
pub(super) fn apply(op: &impl RowsOp, x: &Tensor) -> candle_core::Result<Tensor> {
    x.apply_op1_no_bwd(&Op(op))
}

/// `base + f(x)`, `base: [n, d_out]`.
pub(super) fn apply_onto(op: &impl RowsOp, x: &Tensor, base: &Tensor) -> candle_core::Result<Tensor> {
    x.apply_op2_no_bwd(base, &Op(op))
}

struct Op<'a, T>(&'a T);

impl<T: RowsOp> Op<'_, T> {
    fn run(&self, x: &[f32], lx: &Layout, add: Option<&[f32]>) -> candle_core::Result<(CpuStorage, Shape)> {
        let (n, d_in) = lx.shape().dims2()?;
        let d_out = self.0.d_out(d_in)?;
        if add.is_some_and(|add| add.len() != n * d_out) {
            candle_core::bail!("{:?} values cannot be added to [{n}, {d_out}]", add.map(<[f32]>::len));
        }
        let mut out = buffer(n * d_out);
        self.0.run(x, n, &mut out, add);
        Ok((CpuStorage::F32(out), (n, d_out).into()))
    }
}

impl<T: RowsOp> CustomOp1 for Op<'_, T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(slice(x, lx)?, lx, None)
    }
}

impl<T: RowsOp> CustomOp2 for Op<'_, T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        base: &CpuStorage,
        lb: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(slice(x, lx)?, lx, Some(slice(base, lb)?))
    }
}
