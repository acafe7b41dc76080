//! How does a checkpoint fill an architecture? Every tensor of the architecture is checked for presence, shape and type. The tensors
//! of the blocks that are needed are then read, widened to f32 and laid out for the products.

use super::architecture::{
    Architecture, AttentionSpec, BlockSpec, InputSpec, LayerSpec, LinearSpec, MlpSpec, NormSpec, StoredOrder,
    TableSpec, TensorSpec,
};
use super::backend::{Attention, Backend, LinearValues, Mlp, NormValues, Order};
use super::decoder::{Block, Decoder, Input};
use super::embedding::Embedding;
use super::random::{RandomTable, RandomWeights, redraw};
use super::rotary::Rotary;
use super::shape::ModelShape;
use super::unembedding::Unembedding;
use crate::error::{Error, Result};
use crate::weights::Source;
use std::sync::Arc;

/// A checkpoint that holds all tensors of an architecture, under its names.
pub struct Checked {
    architecture: Architecture,
    source: Arc<dyn Source>,
    /// Prefix of every name.
    prefix: &'static str,
    /// Random weights in place of the checkpoint's.
    redraw: Option<RandomWeights>,
}

/// Names of output heads, `[n_vocab, d_model]`.
const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];

impl Checked {
    /// Holds every tensor of `architecture` against the headers of `source`; no value is read.
    ///
    /// # Errors
    /// `Input`, naming file and tensor, when one is missing, has another shape or a type that is not read.
    pub fn new(architecture: Architecture, source: Arc<dyn Source>) -> Result<Self> {
        let prefix = prefix(&architecture, source.as_ref());
        let checked = Checked { architecture, source, prefix, redraw: None };
        let of_block = checked.architecture.block.tensors();
        for l in 0..checked.architecture.layers.len() {
            for (name, shape) in &of_block {
                checked.check(&checked.architecture.in_block(l, name), shape)?;
            }
        }
        for (name, shape) in checked.architecture.tensors_around() {
            checked.check(&name, &shape)?;
        }
        Ok(checked)
    }

    /// The same model with random weights: every tensor of a linear layer, weight or bias, is drawn at random from a Gaussian
    /// with that tensor's own mean and standard deviation; embeddings stay unless they are to be drawn too, norms stay (the
    /// control of arXiv 2410.06981, after Heap et al., 2501.17727). The same seed gives the same weights; tensors have independent streams by their names.
    #[must_use]
    pub fn redrawn(self, random: Option<RandomWeights>) -> Self {
        Checked { redraw: random, ..self }
    }

    /// Its sizes; parameters are those in the file.
    pub fn shape(&self) -> ModelShape {
        ModelShape { n_parameters: self.source.n_parameters(), ..self.architecture.shape() }
    }

    /// The decoder with its first `n_blocks` blocks; messages call it `name`.
    ///
    /// # Errors
    /// Those of reading; `Machine` when the device fails.
    pub fn load<B: Backend>(&self, backend: B, n_blocks: usize, name: String) -> Result<Decoder<B>> {
        let Architecture { input, layers, rotations, final_norm, .. } = &self.architecture;
        let rotations: Vec<Arc<B::Rotary>> = (rotations.iter())
            .map(|spec| {
                let rotary = Rotary::new(&spec.rope);
                Arc::new(backend.rotary(if spec.neighbours { rotary.of_neighbours() } else { rotary }))
            })
            .collect();
        let blocks = (layers.iter().take(n_blocks).enumerate())
            .map(|(l, layer)| self.block(&backend, l, layer, &rotations))
            .collect::<Result<_>>()?;
        let InputSpec { tokens, scale, project, positions } = input;
        let project = project.as_ref().map(|spec| backend.linear(self.linear(spec, &plain)?)).transpose()?;
        let positions =
            (positions.as_ref()).map(|(table, first)| Ok::<_, Error>((self.table(table)?, *first))).transpose()?;
        let final_norm = final_norm.as_ref().map(|spec| backend.norm(self.norm(spec, &plain)?)).transpose()?;
        let input = Input { tokens: self.table(tokens)?, scale: *scale, project, positions };
        Ok(Decoder { backend, shape: self.shape(), name, input, blocks, final_norm })
    }

    fn block<B: Backend>(
        &self,
        backend: &B,
        l: usize,
        layer: &LayerSpec,
        rotations: &[Arc<B::Rotary>],
    ) -> Result<Block<B>> {
        let BlockSpec { attention, mlp, wiring } = &self.architecture.block;
        let at = |name: &str| self.architecture.in_block(l, name);
        let linear = |spec: &LinearSpec| backend.linear(self.linear(spec, &at)?);
        let norm = |spec: &NormSpec| backend.norm(self.norm(spec, &at)?);
        let &AttentionSpec { n_heads, n_kv_heads, d_head, .. } = attention;
        let MlpSpec { gate, up, activation, down } = mlp;
        Ok(Block {
            attention: Attention {
                projections: attention.projections.map(linear)?,
                n_heads,
                n_kv_heads,
                d_head,
                qk_norms: (attention.qk_norms.as_ref())
                    .map(|(query, key)| Ok::<_, Error>((norm(query)?, norm(key)?)))
                    .transpose()?,
                rotary: layer.rotary.map(|k| rotations[k].clone()),
                scores: layer.scores,
                output: linear(&attention.output)?,
            },
            mlp: Mlp {
                gate: gate.as_ref().map(linear).transpose()?,
                up: linear(up)?,
                activation: *activation,
                down: linear(down)?,
            },
            wiring: wiring.map(norm)?,
        })
    }

    /// The name in the file: of a tied token table that is not there, the output head's.
    fn full(&self, name: &str) -> String {
        let full = format!("{}{name}", self.prefix);
        let is_table = || name == self.architecture.input.tokens.tensor().0;
        if !self.architecture.tied || self.source.shape(&full).is_some() || !is_table() {
            return full;
        }
        let is_head = |held: &&str| HEADS.iter().any(|head| *held == *head || held.ends_with(&format!(".{head}")));
        self.source.names().find(is_head).map_or(full, String::from)
    }

    /// The output head, with the final norm's weight; `None` where the file holds none of the stream's width.
    ///
    /// # Errors
    /// Those of reading.
    pub fn unembedding(&self) -> Result<Option<Unembedding>> {
        let Architecture { input, final_norm, prefixes, tied, .. } = &self.architecture;
        let width = self.architecture.shape().d_model;
        let named =
            |head: &&str| std::iter::once(&"").chain(*prefixes).map(|p| format!("{p}{head}")).collect::<Vec<_>>();
        let heads = HEADS.iter().flat_map(named).chain(tied.then(|| self.full(&input.tokens.tensor().0)));
        let found = heads.into_iter().find_map(|name| {
            let shape = self.source.shape(&name)?;
            (shape.len() == 2 && shape[1] == width).then(|| (name, shape[0]))
        });
        let Some((name, n_vocab)) = found else { return Ok(None) };
        let scale = match final_norm {
            Some(NormSpec::Layer { name: Some(name), width, .. }) => {
                self.values(&format!("{name}.weight"), &[*width])?
            }
            Some(NormSpec::Rms { name, width, stored_less, .. }) => {
                let stored = self.values(&format!("{name}.weight"), &[*width])?;
                stored.into_iter().map(|v| v + stored_less).collect()
            }
            Some(NormSpec::Layer { name: None, .. }) | None => vec![1.0; width],
        };
        Ok(Some(Unembedding { source: self.source.clone(), name, n_vocab, scale }))
    }

    /// What to do about a checkpoint that is another than its configuration describes.
    fn remedy(&self) -> &'static str {
        // names in bitsandbytes, GPTQ, AWQ and float8 checkpoints of tensors that accompany or replace a weight
        let packed = [".qweight", ".qzeros", ".absmax", ".quant_map", ".SCB", ".weight_scale", ".weight_packed"];
        match self.source.names().any(|name| packed.iter().any(|ending| name.ends_with(ending))) {
            true => "its weights are quantised: take the model's unquantised weights, or a GGUF file of it",
            false => "they do not belong together: check that config.json is this checkpoint's",
        }
    }

    /// Checks that a tensor is there, has this shape and is of a type that is read.
    fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let name = self.full(name);
        let place = || self.source.place(&name);
        match self.source.shape(&name) {
            None => {
                let held: Vec<&str> = self.source.names().take(8).collect();
                Err(Error::input(format!(
                    "checkpoint {}: tensor {name:?} {shape:?} is missing; it holds {} …; {}",
                    place(),
                    held.join(", "),
                    self.remedy()
                )))
            }
            Some(found) if found != shape => Err(Error::input(format!(
                "checkpoint {}: tensor {name:?} is {found:?}, config.json gives {shape:?}; {}",
                place(),
                self.remedy()
            ))),
            Some(_) => self.source.read(&name, 0, &mut []),
        }
    }

    /// A tensor in f32.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let mut values = vec![0.0; shape.iter().product()];
        self.source.read(&self.full(name), 0, &mut values)?;
        Ok(values)
    }

    /// A tensor of a linear layer: as stored, or drawn at random.
    fn weights(&self, (name, shape): &TensorSpec, at: &dyn Fn(&str) -> String) -> Result<Vec<f32>> {
        let name = at(name);
        let mut values = self.values(&name, shape)?;
        if let Some(random) = self.redraw {
            redraw(random.seed, &self.full(&name), &mut values);
        }
        Ok(values)
    }

    fn linear(&self, spec: &LinearSpec, at: &dyn Fn(&str) -> String) -> Result<LinearValues> {
        let tensors = spec.tensors();
        let whole = self.weights(&tensors[0], at)?;
        let bias = tensors.get(1).map(|tensor| self.weights(tensor, at)).transpose()?;
        Ok(LinearValues {
            weight: of_stored(&spec.stored, whole, spec.n_in, spec.n_out),
            bias: bias.map(|bias| of_stored(&spec.stored, bias, 1, spec.n_out)),
            n_in: spec.n_in,
            n_out: spec.n_out,
            order: if spec.stored == StoredOrder::InOut { Order::InOut } else { Order::OutIn },
        })
    }

    fn norm(&self, spec: &NormSpec, at: &dyn Fn(&str) -> String) -> Result<NormValues> {
        let values = |name: &str, ending: &str, width: usize| self.values(&at(&format!("{name}.{ending}")), &[width]);
        Ok(match *spec {
            NormSpec::Layer { name: Some(name), width, eps } => NormValues::Layer {
                weight: values(name, "weight", width)?,
                bias: values(name, "bias", width)?,
                eps: eps as f32,
            },
            NormSpec::Layer { name: None, width, eps } => {
                NormValues::Layer { weight: vec![1.0; width], bias: vec![0.0; width], eps: eps as f32 }
            }
            NormSpec::Rms { name, width, eps, stored_less } => {
                let mut weight = values(name, "weight", width)?;
                weight.iter_mut().for_each(|v| *v += stored_less);
                NormValues::Rms { weight, eps: eps as f32 }
            }
        })
    }

    /// A table, which stays in the checkpoint, or whose rows are drawn when they are looked up.
    fn table(&self, spec: &TableSpec) -> Result<Embedding> {
        let name = self.full(&spec.tensor().0);
        let source: Arc<dyn Source> = match self.redraw {
            Some(RandomWeights { seed, embeddings: true }) => {
                Arc::new(RandomTable::new(self.source.clone(), name.clone(), spec.width, seed)?)
            }
            _ => self.source.clone(),
        };
        Ok(Embedding::new(source, name, spec.width))
    }
}

/// The name of a tensor outside the blocks.
fn plain(name: &str) -> String {
    name.to_string()
}

/// The first prefix under which the token table is found, or blocks where that is not in the file (the first one when nothing
/// is).
fn prefix(architecture: &Architecture, source: &dyn Source) -> &'static str {
    let Architecture { prefixes, input, blocks_under, .. } = architecture;
    let table = input.tokens.tensor().0;
    let holds_table = |prefix: &&&str| source.shape(&format!("{prefix}{table}")).is_some();
    let holds_blocks = |prefix: &&&str| {
        let first = format!("{prefix}{blocks_under}0.");
        source.names().any(|name| name.starts_with(&first))
    };
    let found = prefixes.iter().find(holds_table).or_else(|| prefixes.iter().find(holds_blocks));
    found.or(prefixes.first()).unwrap_or(&"")
}

/// The rows of one layer, `width` values each, of what is stored.
fn of_stored(stored: &StoredOrder, whole: Vec<f32>, width: usize, n_out: usize) -> Vec<f32> {
    match stored {
        StoredOrder::OutIn | StoredOrder::InOut => whole,
        StoredOrder::Part { first, .. } => whole[first * width..(first + n_out) * width].to_vec(),
        StoredOrder::Rows(rows) => rows.iter().flat_map(|r| &whole[r * width..(r + 1) * width]).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_are_stored_as_one_or_in_another_order_are_told_apart() {
        let whole: Vec<f32> = (0..12).map(|v| v as f32).collect();
        // rows of two: the second layer of [2, 4] rows, and rows 2, 0, 1
        let of = |stored, n_out| of_stored(&stored, whole.clone(), 2, n_out);
        assert_eq!(of(StoredOrder::Part { first: 2, of: 6 }, 4), (4..12).map(|v| v as f32).collect::<Vec<_>>());
        assert_eq!(of(StoredOrder::Rows([2, 0, 1].into_iter().collect()), 3), [4.0, 5.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(of(StoredOrder::OutIn, 6), whole);
        assert_eq!(of(StoredOrder::InOut, 6), whole);
    }
}
