//! What does the MLP add? Up, activation, down; or gate and up, gated activation, down.

use super::{Activation, Linear};
use crate::error::Result;
use candle_core::Tensor;

/// The MLP of a block.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// With a gate: `down(f(gate(x)) * up(x))`; without: `down(f(up(x)))`.
    pub gate: Option<Linear>,
    /// `[d_model]` to `[d_mlp]`.
    pub up: Linear,
    /// f.
    pub activation: Activation,
    /// `[d_mlp]` to `[d_model]`.
    pub down: Linear,
}

impl Mlp {
    /// `x: [n_tokens, d_model]`, the same shape out.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let hidden = match &self.gate {
            Some(gate) => self.activation.gated(gate.forward(x)?, &up)?,
            None => self.activation.apply(up)?,
        };
        self.down.forward(&hidden)
    }
}
