//! What does the tensor library make of a layer? Many contexts at once, in f32, f16 or bf16, on any of its devices.
//!
//! Written with candle's operations alone, as plainly as they allow: on the CPU it is the oracle of this program's own kernels. Bits may
//! depend on the batch, the device and the build; the same batch on the same device gives the same bits.

mod attention;
mod decoder;
mod layers;

use super::activation_function::ActivationFunction;
use super::activations::OneContext;
use super::backend::{AttentionOf, Backend, LinearValues, NormValues, Order, Part};
use super::rotary::Rotary;
use crate::device::{DeviceRows, Opened};
use crate::error::{Error, Result};
#[cfg(test)]
pub(super) use attention::Masks;
#[cfg(not(test))]
use attention::Masks;
use attention::{Projected, Turning};
use candle_core::{DType, Tensor};
pub(super) use decoder::{GROUP_SCORES, GROUP_TOKENS};
use layers::{Linear, Norm, activated};

/// Candle on one of its devices.
pub struct Candle {
    on: Opened,
    masks: Masks,
}

/// An error of the tensor library in a forward.
fn device_error(e: candle_core::Error) -> Error {
    Opened::failed(e).within("forward")
}

impl Candle {
    /// With weights and activations on `on`.
    pub fn new(on: Opened) -> Self {
        Candle { on, masks: Masks::default() }
    }

    /// The device.
    pub fn on(&self) -> &Opened {
        &self.on
    }
}

impl Backend for Candle {
    type X = Tensor;
    type Linear = Linear;
    type Norm = Norm;
    type Rotary = Turning;
    type Projected = Projected;

    fn linear(&self, layer: LinearValues) -> Result<Linear> {
        let LinearValues { weight, bias, n_in, n_out, order } = layer;
        let weight = match order {
            Order::OutIn => self.on.tensor(weight, (n_out, n_in))?.t().map_err(device_error)?,
            Order::InOut => self.on.tensor(weight, (n_in, n_out))?,
        };
        Ok(Linear { weight, bias: bias.map(|bias| self.on.tensor(bias, n_out)).transpose()? })
    }

    fn norm(&self, norm: NormValues) -> Result<Norm> {
        let vector = |values: Vec<f32>| {
            let n = values.len();
            self.on.tensor(values, n)
        };
        Ok(match norm {
            NormValues::Layer { weight, bias, eps } => Norm::Layer(vector(weight)?, vector(bias)?, eps.into()),
            NormValues::Rms { weight, eps } => Norm::Rms(vector(weight)?, eps),
        })
    }

    fn rotary(&self, rotary: Rotary) -> Turning {
        Turning::new(rotary)
    }

    fn rows(&self, values: Vec<f32>, width: usize) -> Result<Tensor> {
        let n = values.len() / width;
        self.on.tensor(values, (n, width))
    }

    fn apply(&self, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        linear.forward(x).map_err(device_error)
    }

    fn normed(&self, norm: &Norm, x: &Tensor) -> Result<Tensor> {
        norm.forward(x).map_err(device_error)
    }

    fn sum(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        (a + b).map_err(device_error)
    }

    fn project(&self, attention: &AttentionOf<Candle>, x: &Tensor) -> Result<Projected> {
        Projected::new(attention, x).map_err(device_error)
    }

    fn side_by_side(&self, projected: &Projected, part: Part) -> Result<Tensor> {
        projected.part(part).contiguous().and_then(|x| x.flatten_from(1)).map_err(device_error)
    }

    fn heads(&self, attention: &AttentionOf<Candle>, projected: Projected, length: usize) -> Result<Tensor> {
        projected.gathered(attention, length, &self.masks).map_err(device_error)
    }

    fn activate(&self, function: ActivationFunction, x: &Tensor) -> Result<Tensor> {
        activated(function, x).map_err(device_error)
    }

    fn gated(&self, function: ActivationFunction, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        activated(function, gate).and_then(|gate| gate * up).map_err(device_error)
    }

    fn write(&self, x: &Tensor, contexts: &mut [&mut OneContext], k: usize) -> Result<()> {
        let length = x.dims()[0] / contexts.len();
        let counted: Vec<u32> = (contexts.iter().enumerate())
            .flat_map(|(c, context)| {
                let marked = context.counted.iter().enumerate().filter(|(_, counted)| **counted);
                marked.map(move |(p, _)| (c * length + p) as u32)
            })
            .collect();
        if counted.is_empty() {
            return Ok(());
        }
        let n = counted.len();
        let rows = Tensor::from_vec(counted, n, &self.on.device)
            .and_then(|counted| x.index_select(&counted, 0)?.to_dtype(DType::F32))
            .map_err(device_error)?;
        // they come back when the device has done all that was asked of it (`decoder.rs`)
        let rows = DeviceRows::of(&self.on, rows);
        let mut first = 0;
        for context in contexts {
            let n = context.counted.iter().filter(|counted| **counted).count();
            context.there[k] = if n > 0 { Some(rows.part(first, n)?) } else { None };
            first += n;
        }
        Ok(())
    }
}
