//! What is `x w^T + b`? One product over weights that were laid out for it at load.

use super::onto::{RowsOp, apply, apply_onto};
use super::{device_error, slice};
use crate::error::Result;
use crate::linalg::panels::{Finish, Panels, Rows, multiply};
use candle_core::{Storage, Tensor};
use std::cell::RefCell;
use std::sync::Arc;

/// A linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    weights: Weights,
}

/// Where the weights are.
#[derive(Clone, Debug)]
enum Weights {
    /// On the CPU: in panels, which stand for the tensor.
    Panels(Arc<Panels>, Option<Arc<[f32]>>),
    /// On any other device; or nothing, where only a checkpoint's headers were read.
    Tensors { weight: Tensor, bias: Option<Tensor>, order: Order },
}

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[n_out, n_in]`, as `torch.nn.Linear` stores it.
    OutIn,
    /// `[n_in, n_out]`, as GPT-2's `Conv1D` stores it.
    InOut,
}

impl Linear {
    /// From a weight in `order` and a bias `[n_out]`, both f32.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn new(weight: Tensor, bias: Option<Tensor>, order: Order) -> Result<Self> {
        Ok(Linear {
            weights: match weight.dims() {
                &[rows, cols] if weight.device().is_cpu() => {
                    let (storage, layout) = weight.storage_and_layout();
                    let Storage::Cpu(storage) = &*storage else { unreachable!("a CPU tensor has CPU storage") };
                    let values = slice(storage, layout).map_err(device_error)?;
                    let panels = match order {
                        Order::OutIn => Panels::from_transposed(values, rows, cols),
                        Order::InOut => Panels::from_plain(values, rows, cols),
                    };
                    let bias = bias.map(|b| b.to_vec1::<f32>()).transpose().map_err(device_error)?;
                    Weights::Panels(Arc::new(panels), bias.map(Arc::from))
                }
                _ => Weights::Tensors { weight, bias, order },
            },
        })
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
    pub fn forward_onto(&self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() { apply_onto(self, x, base) } else { base + self.plain(x).map_err(device_error)? }
            .map_err(device_error)
    }

    /// The same in candle's own operations.
    pub(super) fn plain(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (product, bias) = match &self.weights {
            Weights::Panels(panels, bias) => {
                let (n_out, n_in) = (panels.n_columns(), panels.depth());
                let weight = Tensor::from_vec(panels.transposed(), (n_out, n_in), x.device())?;
                let bias = bias.as_deref().map(|b| Tensor::from_slice(b, n_out, x.device())).transpose()?;
                (x.matmul(&weight.t()?)?, bias)
            }
            Weights::Tensors { weight, bias, order: Order::OutIn } => (x.matmul(&weight.t()?)?, bias.clone()),
            Weights::Tensors { weight, bias, order: Order::InOut } => (x.matmul(weight)?, bias.clone()),
        };
        match bias {
            Some(bias) => product.broadcast_add(&bias),
            None => Ok(product),
        }
    }

    /// Width of what comes out and of what goes in; `None` when the weights are not on the CPU.
    pub(super) fn sides(&self) -> Option<(usize, usize)> {
        match &self.weights {
            Weights::Panels(panels, _) => Some((panels.n_columns(), panels.depth())),
            Weights::Tensors { .. } => None,
        }
    }

    /// `out = x w^T + b (+ add)` for packed rows, on the CPU.
    pub(super) fn product(&self, x: &Rows, out: &mut [f32], add: Option<&[f32]>) {
        let Weights::Panels(panels, bias) = &self.weights else { unreachable!("`sides` was asked") };
        multiply(x, panels, 0..panels.n_panels(), out, Finish { bias: bias.as_deref(), add });
    }
}

/// Lends the thread's packed rows; their memory is kept from product to product.
pub(super) fn packed<R>(work: impl FnOnce(&mut Rows) -> R) -> R {
    thread_local! {
        static ROWS: RefCell<Rows> = RefCell::default();
    }
    ROWS.with_borrow_mut(work)
}

impl RowsOp for Linear {
    const NAME: &'static str = "linear";

    fn d_out(&self, d_in: usize) -> candle_core::Result<usize> {
        match self.sides() {
            Some((n_out, n_in)) if n_in == d_in => Ok(n_out),
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
