//! What is `x w^T + b`? One product over weights that were laid out for it at load.

use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::model::backend::{LinearValues, Order};
use crate::model::pool::{Rows, buffer};
use std::cell::RefCell;

/// A linear layer: its weight in panels, its bias.
pub struct Linear {
    panels: Panels,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// Lays the weights out.
    pub fn new(layer: LinearValues) -> Self {
        let LinearValues { weight, bias, n_in, n_out, order } = layer;
        let panels = match order {
            Order::OutIn => Panels::from_transposed(&weight, n_out, n_in),
            Order::InOut => Panels::from_plain(&weight, n_in, n_out),
        };
        Linear { panels, bias }
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
            rows.pack(x.values(), n, n_in);
            self.product(rows, &mut out, add.map(Rows::values));
        });
        Rows::new(out, n_out)
    }

    /// Width of what comes out and of what goes in.
    pub fn sides(&self) -> (usize, usize) {
        (self.panels.n_columns(), self.panels.depth())
    }

    /// `out = x w^T + b (+ add)` for packed rows.
    pub fn product(&self, x: &PackedRows, out: &mut [f32], add: Option<&[f32]>) {
        let panels = &self.panels;
        multiply(x, panels, 0..panels.n_panels(), out, Finish { bias: self.bias.as_deref(), add });
    }
}

/// Lends the thread's packed rows; their memory is kept from product to product.
pub fn packed<R>(work: impl FnOnce(&mut PackedRows) -> R) -> R {
    thread_local! {
        static ROWS: RefCell<PackedRows> = RefCell::default();
    }
    ROWS.with_borrow_mut(work)
}
