//! Which weights does a family need? One description per family, run twice: once over headers alone, where every
//! tensor's presence and shape is checked, once to load.

use super::checkpoint::Source;
use super::layers::linear::Order;
use super::layers::{Embedding, Linear, Norm, device_error};
use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// Hands out the layers of a checkpoint, by name.
#[derive(Clone)]
pub struct Loader {
    source: Arc<dyn Source>,
    /// What stands before every name (`gpt_neox.` or nothing …).
    prefix: &'static str,
    /// `None`: shapes are checked and empty tensors handed out.
    device: Option<Device>,
    /// Blocks from this one on are checked, not loaded.
    n_blocks: usize,
}

impl Loader {
    /// Over `source`; blocks from `n_blocks` on are only checked, and with `n_blocks == None` everything is.
    pub fn new(source: Arc<dyn Source>, n_blocks: Option<usize>) -> Self {
        Loader { source, prefix: "", device: n_blocks.map(|_| Device::Cpu), n_blocks: n_blocks.unwrap_or(0) }
    }

    /// The same with the first of `prefixes` under which `probe` is found (the first one when none is).
    #[must_use]
    pub fn under(mut self, prefixes: &[&'static str], probe: &str) -> Self {
        let found = prefixes.iter().find(|prefix| self.source.shape(&format!("{prefix}{probe}")).is_some());
        self.prefix = found.or(prefixes.first()).unwrap_or(&"");
        self
    }

    /// `block(loader, l)` for every layer, all checked, the needed ones kept.
    pub fn blocks<B>(&self, n_layers: usize, block: impl Fn(&Loader, usize) -> Result<B>) -> Result<Vec<B>> {
        let mut kept = Vec::new();
        for l in 0..n_layers {
            let load = l < self.n_blocks;
            let loader = Loader { device: self.device.clone().filter(|_| load), ..self.clone() };
            let made = block(&loader, l)?;
            if load {
                kept.push(made);
            }
        }
        Ok(kept)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Checks that a tensor is there and has this shape.
    fn checked(&self, name: &str, shape: &[usize]) -> Result<String> {
        let name = self.full(name);
        let place = self.source.place(&name);
        match self.source.shape(&name) {
            None => Err(Error::input(format!(
                "checkpoint {place}: tensor {name:?} {shape:?} is missing; check that config.json belongs to it"
            ))),
            Some(found) if found != shape => Err(Error::input(format!(
                "checkpoint {place}: tensor {name:?} is {found:?}, config.json says {shape:?}; they do not belong together"
            ))),
            Some(_) => Ok(name),
        }
    }

    /// A tensor of this name and shape in f32, each value passed through `change`.
    fn tensor(&self, name: &str, shape: &[usize], change: impl Fn(f32) -> f32) -> Result<Tensor> {
        let name = self.checked(name, shape)?;
        let mut values = vec![0.0; if self.device.is_some() { shape.iter().product() } else { 0 }];
        // With no device this still refuses a type that cannot be read.
        self.source.read(&name, 0, &mut values)?;
        let Some(device) = &self.device else {
            return Tensor::from_vec(values, 0, &Device::Cpu).map_err(device_error);
        };
        values.iter_mut().for_each(|v| *v = change(*v));
        Tensor::from_vec(values, shape, device).map_err(device_error)
    }

    /// `NAME.weight: [n_out, n_in]` and, where `bias`, `NAME.bias: [n_out]`.
    pub fn linear(&self, name: &str, n_in: usize, n_out: usize, bias: bool) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_out, n_in], |v| v)?;
        Ok(Linear::new(weight, self.bias(name, n_out, bias)?, Order::OutIn))
    }

    /// The same stored the other way round, `[n_in, n_out]`.
    pub fn conv1d(&self, name: &str, n_in: usize, n_out: usize) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_in, n_out], |v| v)?;
        Ok(Linear::new(weight, self.bias(name, n_out, true)?, Order::InOut))
    }

    fn bias(&self, name: &str, n_out: usize, bias: bool) -> Result<Option<Tensor>> {
        bias.then(|| self.tensor(&format!("{name}.bias"), &[n_out], |v| v)).transpose()
    }

    /// LayerNorm `NAME.weight`, `NAME.bias`: `[width]`.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f64) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width], |v| v)?;
        let bias = self.tensor(&format!("{name}.bias"), &[width], |v| v)?;
        Ok(Norm::Layer { weight, bias, eps: eps as f32 })
    }

    /// LayerNorm without weights over `width`.
    pub fn bare_layer_norm(&self, width: usize, eps: f64) -> Result<Norm> {
        let full =
            |value: f32| Tensor::full(value, width, self.device.as_ref().unwrap_or(&Device::Cpu)).map_err(device_error);
        Ok(Norm::Layer { weight: full(1.0)?, bias: full(0.0)?, eps: eps as f32 })
    }

    /// RMSNorm `NAME.weight: [width]`, stored as weight minus `stored_less` (1 for Gemma, else 0).
    pub fn rms_norm(&self, name: &str, width: usize, eps: f64, stored_less: f32) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width], |v| v + stored_less)?;
        Ok(Norm::Rms { weight, eps: eps as f32 })
    }

    /// The table `NAME.weight: [n, d]`, which stays in the checkpoint.
    pub fn embedding(&self, name: &str, n: usize, d: usize) -> Result<Embedding> {
        let name = self.checked(&format!("{name}.weight"), &[n, d])?;
        self.source.read(&name, 0, &mut [])?;
        Ok(Embedding::new(self.source.clone(), name, d))
    }

    /// Number of values in the checkpoint.
    pub fn n_parameters(&self) -> u64 {
        self.source.n_parameters()
    }
}
