//! What does the MLP add? Up, activation, down; or gate and up, gated activation, down.
//!
//! [`BLOCK`] rows at a time go through all of it: the values between up and down stay in the core's cache.

use super::linear::{Linear, packed};
use crate::model::backend::Mlp;
use crate::model::pool::{Rows, buffer};
use std::cell::RefCell;

/// Rows whose hidden values are alive at once: as many as the product takes in one go.
const BLOCK: usize = 132;

/// Lends the thread's two buffers for hidden values; their memory is kept.
fn scratch<R>(work: impl FnOnce(&mut [Vec<f32>; 2]) -> R) -> R {
    thread_local! {
        static HIDDEN: RefCell<[Vec<f32>; 2]> = RefCell::default();
    }
    HIDDEN.with_borrow_mut(work)
}

/// `x` through the MLP, plus `add` where there is one, with the bits that its layers have one after the other.
///
/// # Panics
/// When `x` or `add` do not fit.
pub fn forward(mlp: &Mlp<Linear>, x: &Rows, add: Option<&Rows>) -> Rows {
    let ((hidden, d_in), (d_out, d_down)) = (mlp.up.sides(), mlp.down.sides());
    assert_eq!((x.width(), d_down), (d_in, hidden), "rows of the width that the MLP takes");
    let n = x.n_rows();
    let (x, add) = (x.values(), add.map(Rows::values));
    let mut out = buffer(n * d_out);
    scratch(|[values, gates]| {
        for first in (0..n).step_by(BLOCK) {
            let rows = BLOCK.min(n - first);
            let span = first * d_out..(first + rows) * d_out;
            values.resize(rows * hidden, 0.0);
            packed(|packed| {
                mlp.up.pack(packed, &x[first * d_in..(first + rows) * d_in], rows);
                mlp.up.product(packed, values, None);
                let hidden_values = match &mlp.gate {
                    None => {
                        mlp.activation.of_slice(values);
                        &*values
                    }
                    Some(gate) => {
                        gates.resize(rows * hidden, 0.0);
                        gate.product(packed, gates, None);
                        mlp.activation.of_gated_slice(gates, values);
                        &*gates
                    }
                };
                mlp.down.pack(packed, hidden_values, rows);
                mlp.down.product(packed, &mut out[span.clone()], add.map(|add| &add[span]));
            });
        }
    });
    Rows::new(out, d_out)
}
