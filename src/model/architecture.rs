//! What is a decoder made of? Names, shapes and wiring: plain data, without tensors and devices.
//!
//! A family makes an [`Architecture`] of its configuration. The same description is checked against the headers of a
//! checkpoint, costed, and loaded (`load.rs`).

use super::activation_function::ActivationFunction;
use super::rotary::Rope;
use super::shape::ModelShape;
use crate::ids::BlockKind;
use std::sync::Arc;

/// A decoder of any family.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// `model_type` of its configurations.
    pub family: &'static str,
    /// What may be before every tensor's name (`gpt_neox.` or nothing …); the first one is usual.
    pub prefixes: &'static [&'static str],
    /// Whether token table and output head are one matrix: a file may hold either.
    pub tied: bool,
    /// Longest context that the positions allow; `None` where nothing limits it.
    pub max_context: Option<usize>,
    /// What enters block 0.
    pub input: InputSpec,
    /// What comes before a block's number in the names of its tensors: `layers.` or `h.`.
    pub blocks_under: &'static str,
    /// What all blocks have in common; names are those inside a block.
    pub block: BlockSpec,
    /// What may differ, block by block.
    pub layers: Vec<LayerSpec>,
    /// The rotations that [`LayerSpec::rotary`] names.
    pub rotations: Vec<RotarySpec>,
    /// The norm after the last block.
    pub final_norm: Option<NormSpec>,
}

/// What enters block 0.
#[derive(Clone, Debug)]
pub struct InputSpec {
    /// `[n_vocab, d_token]`.
    pub tokens: TableSpec,
    /// Multiplies the token rows (Gemma).
    pub scale: Option<f32>,
    /// From the token table's width to `d_model` (OPT).
    pub project: Option<LinearSpec>,
    /// Learned positions and the row of position 0.
    pub positions: Option<(TableSpec, usize)>,
}

/// One block.
#[derive(Clone, Debug)]
pub struct BlockSpec {
    /// The attention.
    pub attention: AttentionSpec,
    /// The MLP.
    pub mlp: MlpSpec,
    /// Where the norms are and what is added to what.
    pub wiring: Wiring<NormSpec>,
}

/// The attention of a block.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Where queries, keys and values come from.
    pub projections: Projections<LinearSpec>,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Norms of queries and keys: of each head where they are `d_head` wide, else of all heads together.
    pub qk_norms: Option<(NormSpec, NormSpec)>,
    /// `[n_heads * d_head]` to `[d_model]`.
    pub output: LinearSpec,
}

/// The MLP of a block.
#[derive(Clone, Debug)]
pub struct MlpSpec {
    /// With a gate: `down(f(gate(x)) * up(x))`; without: `down(f(up(x)))`.
    pub gate: Option<LinearSpec>,
    /// `[d_model]` to `[d_mlp]`.
    pub up: LinearSpec,
    /// f.
    pub activation: ActivationFunction,
    /// `[d_mlp]` to `[d_model]`.
    pub down: LinearSpec,
}

/// What may differ from one block to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSpec {
    /// Scores and how they are masked.
    pub scores: Scores,
    /// Index into [`Architecture::rotations`]; `None` where queries and keys are not rotated.
    pub rotary: Option<usize>,
}

/// A rotation of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub struct RotarySpec {
    /// Base, rotated width and scaling.
    pub rope: Rope,
    /// Whether features 2 i and 2 i + 1 are rotated together (GPT-J), instead of pairs from two halves.
    pub neighbours: bool,
}

/// A linear layer: `NAME.weight` and, where there is one, `NAME.bias: [n_out]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSpec {
    /// Its name without the ending.
    pub name: &'static str,
    /// Width of what goes in.
    pub n_in: usize,
    /// Width of what comes out.
    pub n_out: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// How the weight is stored.
    pub stored: StoredOrder,
}

/// How the weight of a linear layer is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredOrder {
    /// `[n_out, n_in]`, as `torch.nn.Linear` stores it.
    OutIn,
    /// `[n_in, n_out]`, as GPT-2's `Conv1D` stores it.
    InOut,
    /// Rows `first..first + n_out` of `[of, n_in]`: several layers stored as one.
    Part {
        /// The first row.
        first: usize,
        /// Rows of all layers together.
        of: usize,
    },
    /// `[n_out, n_in]` in another order: row r is stored as row `rows[r]`.
    Rows(Arc<[usize]>),
}

/// A normalisation over the last dimension: `NAME.weight` and, of a LayerNorm, `NAME.bias`, both `[width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormSpec {
    /// LayerNorm; without a name its weight is 1 and its bias 0.
    Layer {
        /// Its name without the ending.
        name: Option<&'static str>,
        /// Features of a row.
        width: usize,
        /// Added to the variance.
        eps: f64,
    },
    /// RMSNorm.
    Rms {
        /// Its name without the ending.
        name: &'static str,
        /// Features of a row.
        width: usize,
        /// Added to the mean square.
        eps: f64,
        /// What the stored weight lacks: 1 for Gemma, else 0.
        stored_less: f32,
    },
}

/// A table of rows, `NAME.weight: [rows, width]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TableSpec {
    /// Its name without the ending.
    pub name: &'static str,
    /// Number of rows.
    pub rows: usize,
    /// Width of a row.
    pub width: usize,
}

/// Where queries, keys and values come from: layers `L`.
#[derive(Clone, Debug)]
pub enum Projections<L> {
    /// One linear layer whose output is, head by head, query, key and value (GPT-NeoX).
    PerHead(L),
    /// One linear layer whose output is all queries, all keys, all values (GPT-2).
    Stacked(L),
    /// Three layers.
    Separate {
        /// To `[n_heads * d_head]`.
        query: L,
        /// To `[n_kv_heads * d_head]`.
        key: L,
        /// To `[n_kv_heads * d_head]`.
        value: L,
    },
}

/// How a score is made of query and key, and which keys are seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Multiplies the product of query and key.
    pub scale: f32,
    /// `cap * tanh(score / cap)` (Gemma 2).
    pub soft_cap: Option<f32>,
    /// Position i sees j with `i - window < j <= i`; `None`: all j <= i.
    pub window: Option<usize>,
}

/// Where the norms `N` of a block are and what is added to what; a and m are attention and MLP.
#[derive(Clone, Debug)]
pub enum Wiring<N> {
    /// `x += a(n1(x)); x += m(n2(x))` (GPT-2, Llama …).
    Sequential(N, N),
    /// `x += a(n1(x)) + m(n2(x))` (GPT-NeoX).
    Parallel(N, N),
    /// `x += a(n(x)) + m(n(x))` (Phi).
    ParallelShared(N),
    /// `x += p1(a(n1(x))); x += p2(m(n2(x)))` (Gemma 2 and 3).
    Sandwich {
        /// n1.
        before_attention: N,
        /// p1.
        after_attention: N,
        /// n2.
        before_mlp: N,
        /// p2.
        after_mlp: N,
    },
    /// `x += p1(a(x)); x += p2(m(x))` (OLMo 2).
    PostNorms {
        /// p1.
        after_attention: N,
        /// p2.
        after_mlp: N,
    },
    /// `x = n1(x + a(x)); x = n2(x + m(x))` (OPT-350m).
    After(N, N),
}

impl InputSpec {
    /// The rows of the table as they are.
    pub fn plain(tokens: TableSpec) -> Self {
        InputSpec { tokens, scale: None, project: None, positions: None }
    }
}

impl RotarySpec {
    /// Feature i of the first half of the rotated part turns with feature i of the second.
    pub fn of_halves(rope: Rope) -> Self {
        RotarySpec { rope, neighbours: false }
    }
}

impl<L> Projections<L> {
    /// The same of other layers; the first error wins.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn map<M, E>(&self, mut to: impl FnMut(&L) -> Result<M, E>) -> Result<Projections<M>, E> {
        Ok(match self {
            Projections::PerHead(all) => Projections::PerHead(to(all)?),
            Projections::Stacked(all) => Projections::Stacked(to(all)?),
            Projections::Separate { query, key, value } => {
                Projections::Separate { query: to(query)?, key: to(key)?, value: to(value)? }
            }
        })
    }

    /// Its layers.
    pub fn layers(&self) -> Vec<&L> {
        match self {
            Projections::PerHead(all) | Projections::Stacked(all) => vec![all],
            Projections::Separate { query, key, value } => vec![query, key, value],
        }
    }
}

impl<N> Wiring<N> {
    /// The same of other norms; the first error wins.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn map<M, E>(&self, mut to: impl FnMut(&N) -> Result<M, E>) -> Result<Wiring<M>, E> {
        Ok(match self {
            Wiring::Sequential(a, b) => Wiring::Sequential(to(a)?, to(b)?),
            Wiring::Parallel(a, b) => Wiring::Parallel(to(a)?, to(b)?),
            Wiring::ParallelShared(a) => Wiring::ParallelShared(to(a)?),
            Wiring::Sandwich { before_attention, after_attention, before_mlp, after_mlp } => Wiring::Sandwich {
                before_attention: to(before_attention)?,
                after_attention: to(after_attention)?,
                before_mlp: to(before_mlp)?,
                after_mlp: to(after_mlp)?,
            },
            Wiring::PostNorms { after_attention, after_mlp } => {
                Wiring::PostNorms { after_attention: to(after_attention)?, after_mlp: to(after_mlp)? }
            }
            Wiring::After(a, b) => Wiring::After(to(a)?, to(b)?),
        })
    }

    /// Its norms.
    pub fn norms(&self) -> Vec<&N> {
        match self {
            Wiring::Sequential(a, b) | Wiring::Parallel(a, b) | Wiring::After(a, b) => vec![a, b],
            Wiring::ParallelShared(a) => vec![a],
            Wiring::Sandwich { before_attention, after_attention, before_mlp, after_mlp } => {
                vec![before_attention, after_attention, before_mlp, after_mlp]
            }
            Wiring::PostNorms { after_attention, after_mlp } => vec![after_attention, after_mlp],
        }
    }

    /// Which of them it is.
    pub fn kind(&self) -> BlockKind {
        match self {
            Wiring::Sequential(..) => BlockKind::Sequential,
            Wiring::Parallel(..) => BlockKind::Parallel,
            Wiring::ParallelShared(_) => BlockKind::ParallelShared,
            Wiring::Sandwich { .. } => BlockKind::Sandwich,
            Wiring::PostNorms { .. } => BlockKind::PostNorms,
            Wiring::After(..) => BlockKind::After,
        }
    }
}

/// A linear layer stored as `torch.nn.Linear` does.
pub fn linear(name: &'static str, n_in: usize, n_out: usize, bias: bool) -> LinearSpec {
    LinearSpec { name, n_in, n_out, bias, stored: StoredOrder::OutIn }
}

/// A linear layer stored as GPT-2's `Conv1D` does, with a bias.
pub fn conv1d(name: &'static str, n_in: usize, n_out: usize) -> LinearSpec {
    LinearSpec { name, n_in, n_out, bias: true, stored: StoredOrder::InOut }
}

/// A LayerNorm with weight and bias.
pub fn layer_norm(name: &'static str, width: usize, eps: f64) -> NormSpec {
    NormSpec::Layer { name: Some(name), width, eps }
}

/// A table of rows.
pub fn table(name: &'static str, rows: usize, width: usize) -> TableSpec {
    TableSpec { name, rows, width }
}

/// A tensor by its name and shape.
pub type TensorSpec = (String, Vec<usize>);

impl LinearSpec {
    /// Its tensors, as stored.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (weight, bias) = match self.stored {
            StoredOrder::OutIn | StoredOrder::Rows(_) => ([self.n_out, self.n_in], self.n_out),
            StoredOrder::InOut => ([self.n_in, self.n_out], self.n_out),
            StoredOrder::Part { of, .. } => ([of, self.n_in], of),
        };
        let mut out = vec![(format!("{}.weight", self.name), weight.to_vec())];
        if self.bias {
            out.push((format!("{}.bias", self.name), vec![bias]));
        }
        out
    }
}

impl NormSpec {
    /// Its tensors.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        match *self {
            NormSpec::Layer { name: None, .. } => Vec::new(),
            NormSpec::Layer { name: Some(name), width, .. } => {
                vec![(format!("{name}.weight"), vec![width]), (format!("{name}.bias"), vec![width])]
            }
            NormSpec::Rms { name, width, .. } => vec![(format!("{name}.weight"), vec![width])],
        }
    }
}

impl TableSpec {
    /// Its tensor.
    pub fn tensor(&self) -> TensorSpec {
        (format!("{}.weight", self.name), vec![self.rows, self.width])
    }
}

impl BlockSpec {
    /// Its tensors, by their names inside the block, each once.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let BlockSpec { attention, mlp, wiring } = self;
        let layers = attention.projections.layers().into_iter().chain([&attention.output]);
        let layers = layers.chain(mlp.gate.as_ref()).chain([&mlp.up, &mlp.down]);
        let norms = attention.qk_norms.iter().flat_map(|(q, k)| [q, k]).chain(wiring.norms());
        let mut out: Vec<TensorSpec> = Vec::new();
        for tensor in layers.flat_map(LinearSpec::tensors).chain(norms.flat_map(NormSpec::tensors)) {
            // layers that are stored as one name it each
            if out.iter().all(|(name, _)| *name != tensor.0) {
                out.push(tensor);
            }
        }
        out
    }
}

impl Architecture {
    /// The name of a tensor of block `l`, from its name inside the block; without a prefix.
    pub fn in_block(&self, l: usize, name: &str) -> String {
        format!("{}{l}.{name}", self.blocks_under)
    }

    /// The tensors outside the blocks, without a prefix.
    pub fn tensors_around(&self) -> Vec<TensorSpec> {
        let InputSpec { tokens, project, positions, .. } = &self.input;
        let mut out = vec![tokens.tensor()];
        out.extend(project.iter().flat_map(LinearSpec::tensors));
        out.extend(positions.iter().map(|(table, _)| table.tensor()));
        out.extend(self.final_norm.iter().flat_map(NormSpec::tensors));
        out
    }

    /// The sizes, with the parameters that a forward needs.
    pub fn shape(&self) -> ModelShape {
        let AttentionSpec { n_heads, n_kv_heads, d_head, output, .. } = &self.block.attention;
        let kind = self.block.wiring.kind();
        let values = |tensors: Vec<TensorSpec>| -> u64 {
            tensors.iter().map(|(_, shape)| shape.iter().map(|&n| n as u64).product::<u64>()).sum()
        };
        let n_block_parameters = values(self.block.tensors());
        let of_layer_norm = |norm: &NormSpec| matches!(norm, NormSpec::Layer { .. });
        ModelShape {
            family: self.family.into(),
            n_layers: self.layers.len(),
            d_model: output.n_out,
            d_attn: n_heads * d_head,
            d_kv: n_kv_heads * d_head,
            d_mlp: self.block.mlp.up.n_out,
            d_token: self.input.tokens.width,
            n_vocab: self.input.tokens.rows,
            max_context: self.max_context,
            n_parameters: self.layers.len() as u64 * n_block_parameters + values(self.tensors_around()),
            n_block_parameters,
            block: kind,
            gated: self.block.mlp.gate.is_some(),
            // norms behind the sums see the mean of what was added
            layer_norm: kind != BlockKind::After && self.block.wiring.norms().into_iter().all(of_layer_norm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_are_stored_as_one_are_one_tensor() {
        let half =
            |first| LinearSpec { stored: StoredOrder::Part { first, of: 10 }, ..linear("mlp.gate_up", 3, 5, true) };
        let norm = layer_norm("norm", 3, 1e-5);
        let block = BlockSpec {
            attention: AttentionSpec {
                projections: Projections::Stacked(conv1d("qkv", 3, 9)),
                n_heads: 1,
                n_kv_heads: 1,
                d_head: 3,
                qk_norms: None,
                output: linear("out", 3, 3, false),
            },
            mlp: MlpSpec {
                gate: Some(half(0)),
                up: half(5),
                activation: ActivationFunction::Silu,
                down: linear("mlp.down", 5, 3, false),
            },
            wiring: Wiring::Sequential(norm, NormSpec::Layer { name: None, width: 3, eps: 1e-5 }),
        };
        let tensors = block.tensors();
        let tensors: Vec<(&str, &[usize])> = tensors.iter().map(|(name, shape)| (&**name, &**shape)).collect();
        let expected: [(&str, &[usize]); 8] = [
            ("qkv.weight", &[3, 9]),
            ("qkv.bias", &[9]),
            ("out.weight", &[3, 3]),
            ("mlp.gate_up.weight", &[10, 3]),
            ("mlp.gate_up.bias", &[10]),
            ("mlp.down.weight", &[3, 5]),
            ("norm.weight", &[3]),
            ("norm.bias", &[3]),
        ];
        assert_eq!(tensors, expected);
    }
}
