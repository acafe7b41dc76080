//! What does a neuron pass on? GELU (exact and tanh), SiLU, ReLU, in place over a whole tensor.

use super::math::{erf, sigmoid};
use super::tensors::{device_error, slice, slice_mut};
use crate::error::Result;
use crate::linalg::vectorised;
use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, Layout, Tensor};

/// An activation function, by what it computes (Hugging Face's `hidden_act` names several of them twice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationFunction {
    /// `x Phi(x)` with the exact erf (`gelu`); absolute error at most 2.5e-7 |x| plus f32 rounding.
    GeluErf,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (`gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`); relative
    /// error at most 1e-6.
    GeluTanh,
    /// `x sigmoid(x)` (`silu`, `swish`); relative error at most 6e-7.
    Silu,
    /// `max(x, 0)` (`relu`).
    Relu,
}

impl ActivationFunction {
    /// By the name Hugging Face's configurations use; `None` for one that is not supported.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => ActivationFunction::GeluErf,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => ActivationFunction::GeluTanh,
            "silu" | "swish" => ActivationFunction::Silu,
            "relu" => ActivationFunction::Relu,
            _ => return None,
        })
    }

    /// The function of every element of `x`, which is overwritten where the device allows and given back.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn apply(self, x: Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            x.inplace_op1(&self).map_err(device_error)?;
            return Ok(x);
        }
        self.plain(&x).map_err(device_error)
    }

    /// `f(gate) * up`, element by element; `gate` is overwritten where the device allows.
    ///
    /// # Errors
    /// `Machine` when the tensor library fails.
    pub fn gated(self, gate: Tensor, up: &Tensor) -> Result<Tensor> {
        if gate.device().is_cpu() {
            gate.inplace_op2(up, &self).map_err(device_error)?;
            return Ok(gate);
        }
        self.plain(&gate).and_then(|gate| gate * up).map_err(device_error)
    }

    /// The same in candle's own operations.
    pub(super) fn plain(self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            ActivationFunction::GeluErf => x.gelu_erf(),
            ActivationFunction::GeluTanh => x.gelu(),
            ActivationFunction::Silu => x.silu(),
            ActivationFunction::Relu => x.relu(),
        }
    }
}

#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `1 + tanh(u)` is `2 sigmoid(2u)`, which loses no digits where tanh is near -1.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_8_OVER_PI: f32 = 1.595_769_2;
    x * sigmoid(SQRT_8_OVER_PI * (0.044_715 * x * x).mul_add(x, x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn relu(x: f32) -> f32 {
    // Not `max`, which would turn a NaN into 0.
    if x < 0.0 { 0.0 } else { x }
}

#[inline(always)]
fn map(x: &mut [f32], f: impl Fn(f32) -> f32) {
    for v in x {
        *v = f(*v);
    }
}

#[inline(always)]
fn map_times(x: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (v, &u) in x.iter_mut().zip(up) {
        *v = f(*v) * u;
    }
}

impl ActivationFunction {
    /// Of every element, in place, on the CPU.
    pub(super) fn of_slice(self, x: &mut [f32]) {
        vectorised(
            #[inline(always)]
            || match self {
                ActivationFunction::GeluErf => map(x, gelu_erf),
                ActivationFunction::GeluTanh => map(x, gelu_tanh),
                ActivationFunction::Silu => map(x, silu),
                ActivationFunction::Relu => map(x, relu),
            },
        );
    }

    /// `gate = f(gate) * up`, both of one length, on the CPU.
    pub(super) fn of_gated_slice(self, gate: &mut [f32], up: &[f32]) {
        vectorised(
            #[inline(always)]
            || match self {
                ActivationFunction::GeluErf => map_times(gate, up, gelu_erf),
                ActivationFunction::GeluTanh => map_times(gate, up, gelu_tanh),
                ActivationFunction::Silu => map_times(gate, up, silu),
                ActivationFunction::Relu => map_times(gate, up, relu),
            },
        );
    }
}

impl InplaceOp1 for ActivationFunction {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        self.of_slice(slice_mut(storage, layout)?);
        Ok(())
    }
}

impl InplaceOp2 for ActivationFunction {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn cpu_fwd(&self, gate: &mut CpuStorage, lg: &Layout, up: &CpuStorage, lu: &Layout) -> candle_core::Result<()> {
        let (gate, up) = (slice_mut(gate, lg)?, slice(up, lu)?);
        if gate.len() != up.len() {
            candle_core::bail!("a gate of {} values does not fit {} values", gate.len(), up.len());
        }
        self.of_gated_slice(gate, up);
        Ok(())
    }
}
