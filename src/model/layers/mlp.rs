//! What does the MLP add? Up, activation, down; or gate and up, gated activation, down.
//!
//! On the CPU the MLP is one operation over [`BLOCK`] rows at a time: the values between up and down stay in the core's cache.

use super::activation::ActivationFunction;
use super::linear::Linear;
use super::linear::packed;
use super::row_op::{RowsOp, apply, apply_onto};
use super::sum::sum;
use super::tensors::device_error;
use crate::error::Result;
use candle_core::Tensor;
use std::cell::RefCell;

/// Rows whose hidden values are alive at once: as many as the product takes in one go.
const BLOCK: usize = 132;

/// The MLP of a block.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// With a gate: `down(f(gate(x)) * up(x))`; without: `down(f(up(x)))`.
    pub gate: Option<Linear>,
    /// `[d_model]` to `[d_mlp]`.
    pub up: Linear,
    /// f.
    pub activation: ActivationFunction,
    /// `[d_mlp]` to `[d_model]`.
    pub down: Linear,
}

impl Mlp {
    /// `x: [n_tokens, d_model]`, the same shape out.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() { apply(self, x).map_err(device_error) } else { self.by_layers(x) }
    }

    /// `base + forward(x)`, with the bits that the two have one after the other.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward_add(&self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            return apply_onto(self, x, base).map_err(device_error);
        }
        sum(base, &self.by_layers(x)?)
    }

    /// The same, layer by layer.
    pub(super) fn by_layers(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.hidden(x, &mut |_, _| Ok(()))?;
        self.down.forward(&hidden)
    }

    /// The input of the down projection, `[n_tokens, d_mlp]`, computed layer by layer with the same bits as inside
    /// [`forward`](Self::forward); `read` is called with every part.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails; the errors of `read`.
    pub fn hidden(&self, x: &Tensor, read: &mut dyn FnMut(Hidden, &Tensor) -> Result<()>) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let hidden = match &self.gate {
            Some(gate) => {
                read(Hidden::Up, &up)?;
                let gate = gate.forward(x)?;
                read(Hidden::Pre, &gate)?;
                self.activation.gated(gate, &up)?
            }
            None => {
                read(Hidden::Pre, &up)?;
                self.activation.apply(up)?
            }
        };
        read(Hidden::Act, &hidden)?;
        Ok(hidden)
    }
}

/// A part of an MLP between its input and its down projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// What enters the non-linearity: the gate projection, or the up projection where there is no gate.
    Pre,
    /// The up projection of a gated MLP.
    Up,
    /// What enters the down projection.
    Act,
}

/// Lends the thread's two buffers for hidden values; their memory is kept.
fn scratch<R>(work: impl FnOnce(&mut [Vec<f32>; 2]) -> R) -> R {
    thread_local! {
        static HIDDEN: RefCell<[Vec<f32>; 2]> = RefCell::default();
    }
    HIDDEN.with_borrow_mut(work)
}

impl RowsOp for Mlp {
    const NAME: &'static str = "mlp";

    fn d_out(&self, d_in: usize) -> candle_core::Result<usize> {
        let (up, down, gate) = (self.up.sides(), self.down.sides(), self.gate.as_ref().map(Linear::sides));
        match (up, down) {
            ((hidden, up_in), (d_out, down_in))
                if (up_in, down_in) == (d_in, hidden) && gate.is_none_or(|gate| gate == up) =>
            {
                Ok(d_out)
            }
            _ => candle_core::bail!("an MLP of {up:?}, {gate:?} and {down:?} does not fit rows of {d_in}"),
        }
    }

    fn run(&self, x: &[f32], n: usize, out: &mut [f32], add: Option<&[f32]>) {
        let ((hidden, d_in), (d_out, _)) = (self.up.sides(), self.down.sides());
        scratch(|[values, gates]| {
            for first in (0..n).step_by(BLOCK) {
                let rows = BLOCK.min(n - first);
                let span = first * d_out..(first + rows) * d_out;
                values.resize(rows * hidden, 0.0);
                packed(|packed| {
                    packed.pack(&x[first * d_in..(first + rows) * d_in], rows, d_in);
                    self.up.product(packed, values, None);
                    let hidden_values = match &self.gate {
                        None => {
                            self.activation.of_slice(values);
                            &*values
                        }
                        Some(gate) => {
                            gates.resize(rows * hidden, 0.0);
                            gate.product(packed, gates, None);
                            self.activation.of_gated_slice(gates, values);
                            &*gates
                        }
                    };
                    packed.pack(hidden_values, rows, hidden);
                    self.down.product(packed, &mut out[span.clone()], add.map(|add| &add[span]));
                });
            }
        });
    }
}
