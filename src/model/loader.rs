//! Which weights does a family need? One description per family, run twice: once over headers alone, where every
//! tensor's presence and shape is checked, once to load.

use super::layers::linear::Order;
use super::layers::{Embedding, Linear, Norm, device_error};
use crate::error::{Error, Result};
use crate::linalg::Stream;
use crate::weights::Source;
use candle_core::{Device, Tensor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Hands out the layers of a checkpoint, by name.
#[derive(Clone)]
pub struct Loader {
    source: Arc<dyn Source>,
    /// What stands before every name (`gpt_neox.` or nothing …).
    prefix: &'static str,
    /// Full name of the token table, and whether the output head may stand for it.
    table: String,
    tied: bool,
    /// `None`: shapes are checked and empty tensors handed out.
    device: Option<Device>,
    /// Blocks from this one on are checked, not loaded.
    n_blocks: usize,
    /// Seed of the random weights that stand for the checkpoint's.
    redraw: Option<u64>,
    /// Whether there is no checkpoint and every tensor is taken to be there.
    described: bool,
    /// Values asked for so far: in all, and in the last block.
    asked: Arc<[AtomicU64; 2]>,
}

/// Names of output heads, `[n_vocab, d_model]`.
const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];

/// No checkpoint at all.
struct Nothing;

impl Source for Nothing {
    fn shape(&self, _: &str) -> Option<&[usize]> {
        None
    }

    fn read(&self, name: &str, _: usize, _: &mut [f32]) -> Result<()> {
        Err(Error::input(format!("tensor {name:?} is only described")))
    }

    fn n_parameters(&self) -> u64 {
        0
    }

    fn place(&self, _: &str) -> String {
        "that is only described".into()
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

impl Loader {
    /// Over `source`; blocks from `n_blocks` on are only checked, and with `n_blocks == None` everything is.
    pub fn new(source: Arc<dyn Source>, n_blocks: Option<usize>) -> Self {
        Loader {
            source,
            prefix: "",
            table: String::new(),
            tied: false,
            device: n_blocks.map(|_| Device::Cpu),
            n_blocks: n_blocks.unwrap_or(0),
            redraw: None,
            described: false,
            asked: Arc::default(),
        }
    }

    /// The same model with random weights: every tensor of a linear layer, weight or bias, is drawn anew from a Gaussian
    /// with that tensor's own mean and standard deviation; embeddings and norms stay (the control of arXiv 2410.06981,
    /// after Heap et al.). The same seed gives the same weights; tensors have independent streams by their names.
    #[must_use]
    pub fn redrawn(self, seed: Option<u64>) -> Self {
        Loader { redraw: seed, ..self }
    }

    /// The same where the configuration says whether the token table and the output head are one: a file may hold either.
    #[must_use]
    pub fn tied(self, tied: bool) -> Self {
        Loader { tied, ..self }
    }

    /// Over no checkpoint: every tensor a family asks for is taken to be there in the shape asked for, and counted.
    pub fn described() -> Self {
        Loader { described: true, ..Loader::new(Arc::new(Nothing), None) }
    }

    /// The same with the first of `prefixes` under which the token table `table` is found, or blocks where that is not in
    /// the file (the first one when nothing is).
    #[must_use]
    pub fn under(mut self, prefixes: &[&'static str], table: &str) -> Self {
        let holds_table = |prefix: &&&str| self.source.shape(&format!("{prefix}{table}")).is_some();
        let holds_blocks = |prefix: &&&str| {
            let first = [format!("{prefix}layers.0."), format!("{prefix}h.0.")];
            self.source.names().any(|name| first.iter().any(|first| name.starts_with(first)))
        };
        let found = prefixes.iter().find(holds_table).or_else(|| prefixes.iter().find(holds_blocks));
        self.prefix = found.or(prefixes.first()).unwrap_or(&"");
        self.table = self.full(table);
        self
    }

    /// `block(loader, l)` for every layer, all checked, the needed ones kept.
    pub fn blocks<B>(&self, n_layers: usize, block: impl Fn(&Loader, usize) -> Result<B>) -> Result<Vec<B>> {
        let mut kept = Vec::new();
        for l in 0..n_layers {
            let load = l < self.n_blocks;
            let loader = Loader { device: self.device.clone().filter(|_| load), ..self.clone() };
            let before = self.asked[0].load(Relaxed);
            let made = block(&loader, l)?;
            self.asked[1].store(self.asked[0].load(Relaxed) - before, Relaxed);
            if load {
                kept.push(made);
            }
        }
        Ok(kept)
    }

    /// The name in the file: of a tied token table that is not there, the output head's.
    fn full(&self, name: &str) -> String {
        let name = format!("{}{name}", self.prefix);
        if !self.tied || name != self.table || self.source.shape(&name).is_some() {
            return name;
        }
        let is_head = |held: &&str| HEADS.iter().any(|head| *held == *head || held.ends_with(&format!(".{head}")));
        self.source.names().find(is_head).map_or(name, String::from)
    }

    /// What to do about a checkpoint that is another than its configuration describes.
    fn remedy(&self) -> &'static str {
        // as bitsandbytes, GPTQ, AWQ and float8 checkpoints call what stands beside or instead of a weight
        let packed = [".qweight", ".qzeros", ".absmax", ".quant_map", ".SCB", ".weight_scale", ".weight_packed"];
        match self.source.names().any(|name| packed.iter().any(|ending| name.ends_with(ending))) {
            true => "its weights are quantised: take the model's unquantised weights, or a GGUF file of it",
            false => "they do not belong together: check that config.json is this checkpoint's",
        }
    }

    /// Checks that a tensor is there and has this shape.
    fn checked(&self, name: &str, shape: &[usize]) -> Result<String> {
        let name = self.full(name);
        self.asked[0].fetch_add(shape.iter().map(|&n| n as u64).product(), Relaxed);
        if self.described {
            return Ok(name);
        }
        let place = self.source.place(&name);
        match self.source.shape(&name) {
            None => {
                let held: Vec<&str> = self.source.names().take(8).collect();
                Err(Error::input(format!(
                    "checkpoint {place}: tensor {name:?} {shape:?} is missing; it holds {} …; {}",
                    held.join(", "),
                    self.remedy()
                )))
            }
            Some(found) if found != shape => Err(Error::input(format!(
                "checkpoint {place}: tensor {name:?} is {found:?}, config.json says {shape:?}; {}",
                self.remedy()
            ))),
            Some(_) => Ok(name),
        }
    }

    /// A tensor of a linear layer: as stored, or drawn anew.
    fn weights(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.weights_then(name, shape, |_| {})
    }

    /// The same with its values passed through `change`.
    fn weights_then(&self, name: &str, shape: &[usize], change: impl FnOnce(&mut [f32])) -> Result<Tensor> {
        match self.redraw {
            None => self.tensor(name, shape, change),
            Some(seed) => self.tensor(name, shape, |values| {
                redraw(seed, &self.full(name), values);
                change(values);
            }),
        }
    }

    /// A tensor of this name and shape in f32, its values passed through `change`.
    fn tensor(&self, name: &str, shape: &[usize], change: impl FnOnce(&mut [f32])) -> Result<Tensor> {
        let name = self.checked(name, shape)?;
        let mut values = vec![0.0; if self.device.is_some() { shape.iter().product() } else { 0 }];
        if !self.described {
            // With no device this still refuses a type that cannot be read.
            self.source.read(&name, 0, &mut values)?;
        }
        let Some(device) = &self.device else {
            return Tensor::from_vec(values, 0, &Device::Cpu).map_err(device_error);
        };
        change(&mut values);
        Tensor::from_vec(values, shape, device).map_err(device_error)
    }

    /// `NAME.weight: [n_out, n_in]` and, where `bias`, `NAME.bias: [n_out]`.
    pub fn linear(&self, name: &str, n_in: usize, n_out: usize, bias: bool) -> Result<Linear> {
        let weight = self.weights(&format!("{name}.weight"), &[n_out, n_in])?;
        Linear::new(weight, self.bias(name, n_out, bias)?, Order::OutIn)
    }

    /// Linear layers of `n_out` features each that are stored as one, the rows of the first one first.
    pub fn linears<const N: usize>(
        &self,
        name: &str,
        n_in: usize,
        n_out: [usize; N],
        bias: bool,
    ) -> Result<[Linear; N]> {
        let all: usize = n_out.iter().sum();
        let weight = self.weights(&format!("{name}.weight"), &[all, n_in])?;
        let bias = self.bias(name, all, bias)?;
        let mut first = 0;
        let mut parts = Vec::with_capacity(N);
        for n in n_out {
            // where only headers are read there is nothing to cut
            let cut = |tensor: &Tensor| match tensor.dims() {
                [0] => Ok(tensor.clone()),
                _ => tensor.narrow(0, first, n).and_then(|part| part.contiguous()).map_err(device_error),
            };
            parts.push(Linear::new(cut(&weight)?, bias.as_ref().map(cut).transpose()?, Order::OutIn)?);
            first += n;
        }
        Ok(parts.try_into().unwrap_or_else(|_| unreachable!("one layer for each of N")))
    }

    /// A linear layer whose row r is stored as row `stored(r)`.
    pub fn linear_of_rows(
        &self,
        name: &str,
        n_in: usize,
        n_out: usize,
        bias: bool,
        stored: impl Fn(usize) -> usize,
    ) -> Result<Linear> {
        let in_order = |values: &mut [f32], width: usize| {
            let held = values.to_vec();
            for (r, row) in values.chunks_exact_mut(width).enumerate() {
                row.copy_from_slice(&held[stored(r) * width..][..width]);
            }
        };
        let weight = self.weights_then(&format!("{name}.weight"), &[n_out, n_in], |values| in_order(values, n_in))?;
        let bias = bias
            .then(|| self.weights_then(&format!("{name}.bias"), &[n_out], |values| in_order(values, 1)))
            .transpose()?;
        Linear::new(weight, bias, Order::OutIn)
    }

    /// The same stored the other way round, `[n_in, n_out]`.
    pub fn conv1d(&self, name: &str, n_in: usize, n_out: usize) -> Result<Linear> {
        let weight = self.weights(&format!("{name}.weight"), &[n_in, n_out])?;
        Linear::new(weight, self.bias(name, n_out, true)?, Order::InOut)
    }

    fn bias(&self, name: &str, n_out: usize, bias: bool) -> Result<Option<Tensor>> {
        bias.then(|| self.weights(&format!("{name}.bias"), &[n_out])).transpose()
    }

    /// LayerNorm `NAME.weight`, `NAME.bias`: `[width]`.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f64) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), &[width], |_| {})?;
        let bias = self.tensor(&format!("{name}.bias"), &[width], |_| {})?;
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
        let add = |values: &mut [f32]| values.iter_mut().for_each(|v| *v += stored_less);
        let weight = self.tensor(&format!("{name}.weight"), &[width], add)?;
        Ok(Norm::Rms { weight, eps: eps as f32 })
    }

    /// The table `NAME.weight: [n, d]`, which stays in the checkpoint.
    pub fn embedding(&self, name: &str, n: usize, d: usize) -> Result<Embedding> {
        let name = self.checked(&format!("{name}.weight"), &[n, d])?;
        if !self.described {
            self.source.read(&name, 0, &mut [])?;
        }
        Ok(Embedding::new(self.source.clone(), name, d))
    }

    /// Number of values in the checkpoint; of one that is only described, those asked for so far.
    pub fn n_parameters(&self) -> u64 {
        if self.described { self.asked[0].load(Relaxed) } else { self.source.n_parameters() }
    }

    /// Number of values of the last block that was asked for.
    pub fn n_block_parameters(&self) -> u64 {
        self.asked[1].load(Relaxed)
    }
}

/// Puts Gaussian values of the same mean and standard deviation (ddof = 0) in the place of `values`.
fn redraw(seed: u64, name: &str, values: &mut [f32]) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let std = (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let mut stream = Stream::new(seed, &format!("random weights {name}"), 0);
    values.iter_mut().for_each(|v| *v = (mean + std * stream.gaussian()) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_weights_keep_mean_and_spread_and_nothing_else() {
        let stored: Vec<f32> = (0..20_000).map(|i| 0.5 + (i % 7) as f32).collect();
        let drawn = |seed, name| {
            let mut values = stored.clone();
            redraw(seed, name, &mut values);
            values
        };
        let moments = |values: &[f32]| {
            let n = values.len() as f64;
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            (mean, (values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt())
        };
        let (of_stored, of_drawn) = (moments(&stored), moments(&drawn(42, "w")));
        // the standard error of the mean is 2 / sqrt(20 000) = 0.014
        assert!((of_stored.0 - of_drawn.0).abs() < 0.06 && (of_stored.1 - of_drawn.1).abs() < 0.06, "{of_drawn:?}");
        assert_eq!(drawn(42, "w"), drawn(42, "w"));
        assert!(drawn(42, "w") != drawn(32, "w") && drawn(42, "w") != drawn(42, "v"));
        // Gaussian, not shuffled: some values lie beyond the stored range, none is a stored step
        let least = drawn(42, "w").into_iter().fold(f32::INFINITY, f32::min);
        assert!(least < 0.0, "{least}");
    }
}
