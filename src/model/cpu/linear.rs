//! What is `x w^T + b`? One product over weights that were laid out for it at load.

use crate::linalg::kept::{Kept, KeptRows, Numbers};
use crate::linalg::panels::Finish;
use crate::model::backend::{LinearValues, Order};
use crate::model::pool::{Rows, buffer};
use std::cell::RefCell;

/// A linear layer: its weight in panels, its bias.
pub struct Linear {
    weight: Kept,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Lays the weights out, in the numbers that they are multiplied in.
    pub fn new(layer: LinearValues, numbers: Numbers) -> Self {
        let LinearValues { weight, bias, n_in, n_out, order } = layer;
        let weight = match order {
            Order::OutIn => Kept::from_transposed(numbers, &weight, n_out, n_in),
            Order::InOut => Kept::from_plain(numbers, &weight, n_in, n_out),
        };
        Linear { weight, bias }
    }

    /// `x w^T + b`, plus `add` where there is one: `[n_rows, n_out]`, with the bits that the two have one after the other.
    ///
    /// # Panics
    /// When `x` or `add` do not fit.
    pub fn forward(&self, x: &Rows, add: Option<&Rows>) -> Rows {
        let (n, (n_out, n_in)) = (x.n_rows(), self.sides());
        assert_eq!(x.width(), n_in, "rows of the width that the layer takes");
        let mut out = buffer(n * n_out);
        packed(|rows| {
            self.pack(rows, x.values(), n);
            self.product(rows, &mut out, add.map(Rows::values));
        });
        Rows::new(out, n_out)
    }

    /// Width of what comes out and of what goes in.
    pub fn sides(&self) -> (usize, usize) {
        (self.weight.n_columns(), self.weight.depth())
    }

    /// Lays out `x: [n_rows, n_in]`, for this layer and others of the model that take the same rows.
    pub fn pack(&self, rows: &mut KeptRows, x: &[f32], n_rows: usize) {
        self.weight.pack(rows, x, n_rows);
    }

    /// `out = x w^T + b (+ add)` for packed rows.
    pub fn product(&self, x: &KeptRows, out: &mut [f32], add: Option<&[f32]>) {
        self.weight.multiply(x, 0..self.weight.n_panels(), out, Finish { bias: self.bias.as_deref(), add });
    }
}

/// Lends the thread's packed rows; their memory is kept from product to product.
pub fn packed<R>(work: impl FnOnce(&mut KeptRows) -> R) -> R {
    thread_local! {
        static ROWS: RefCell<KeptRows> = RefCell::default();
    }
    ROWS.with_borrow_mut(work)
}
