//! What is `x w^T + b`? One product over weights that were laid out for it at load.

use super::row_op::{RowsOp, apply, apply_onto};
use super::tensors::device_error;
use crate::error::Result;
use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use candle_core::Tensor;
use std::cell::RefCell;
use std::sync::Arc;

/// A linear layer: its weight in panels, its bias.
#[derive(Clone, Debug)]
pub struct Linear {
    panels: Arc<Panels>,
    bias: Option<Arc<[f32]>>,
}

/// Layout of a weight in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[n_out, n_in]`, as `torch.nn.Linear` stores it.
    OutIn,
    /// `[n_in, n_out]`, as GPT-2's `Conv1D` stores it.
    InOut,
}

impl Linear {
    /// From a weight in `order` and a bias `[n_out]`.
    pub fn new(weight: &[f32], bias: Option<Vec<f32>>, n_in: usize, n_out: usize, order: Order) -> Self {
        let panels = match order {
            Order::OutIn => Panels::from_transposed(weight, n_out, n_in),
            Order::InOut => Panels::from_plain(weight, n_in, n_out),
        };
        Linear { panels: Arc::new(panels), bias: bias.map(Arc::from) }
    }

    /// `x: [n_rows, n_in]` contiguous to `[n_rows, n_out]`.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() { apply(self, x) } else { self.plain(x) }.map_err(device_error)
    }

    /// `base + forward(x)`, with the bits that the two have one after the other.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward_add(&self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() { apply_onto(self, x, base) } else { base + self.plain(x).map_err(device_error)? }
            .map_err(device_error)
    }

    /// The same in candle's own operations.
    pub(super) fn plain(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (n_out, n_in) = self.sides();
        let weight = Tensor::from_vec(self.panels.transposed(), (n_out, n_in), x.device())?;
        let product = x.matmul(&weight.t()?)?;
        match self.bias.as_deref() {
            Some(bias) => product.broadcast_add(&Tensor::from_slice(bias, n_out, x.device())?),
            None => Ok(product),
        }
    }

    /// Width of what comes out and of what goes in.
    pub(super) fn sides(&self) -> (usize, usize) {
        (self.panels.n_columns(), self.panels.depth())
    }

    /// `out = x w^T + b (+ add)` for packed rows, on the CPU.
    pub(super) fn product(&self, x: &PackedRows, out: &mut [f32], add: Option<&[f32]>) {
        let panels = &self.panels;
        multiply(x, panels, 0..panels.n_panels(), out, Finish { bias: self.bias.as_deref(), add });
    }
}

/// Lends the thread's packed rows; their memory is kept from product to product.
pub(super) fn packed<R>(work: impl FnOnce(&mut PackedRows) -> R) -> R {
    thread_local! {
        static ROWS: RefCell<PackedRows> = RefCell::default();
    }
    ROWS.with_borrow_mut(work)
}

impl RowsOp for Linear {
    const NAME: &'static str = "linear";

    fn d_out(&self, d_in: usize) -> candle_core::Result<usize> {
        match self.sides() {
            (n_out, n_in) if n_in == d_in => Ok(n_out),
            sides => candle_core::bail!("a linear layer {sides:?} does not fit rows of {d_in}"),
        }
    }

    fn run(&self, x: &[f32], n: usize, out: &mut [f32], add: Option<&[f32]>) {
        packed(|rows| {
            rows.pack(x, n, x.len() / n.max(1));
            self.product(rows, out, add);
        });
    }
}
