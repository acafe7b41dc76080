//! What does a neuron pass on? In place over many values.

use super::math::{erf, sigmoid};
use crate::linalg::vectorised;
use crate::model::activation_function::ActivationFunction;

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
    pub fn of_slice(self, x: &mut [f32]) {
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
    pub fn of_gated_slice(self, gate: &mut [f32], up: &[f32]) {
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
