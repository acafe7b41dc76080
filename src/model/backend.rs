//! What is a decoder computed with? Layers and the operations between them: this program's own kernels on one context at a time
//! (`cpu/`), or the tensor library's operations on many contexts at once and on any of its devices (`candle/`).
//!
//! The wiring of a decoder is written once, over this trait (`decoder.rs`).

use super::activation_function::ActivationFunction;
use super::activations::OneContext;
use super::architecture::{Projections, Scores};
use super::rotary::Rotary;
use crate::error::Result;
use std::sync::Arc;

/// Layers of one kind and what is done between them.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Rows of activations, `[n_rows, width]`: context behind context, each padded at its end to the longest.
    type X;
    /// A linear layer.
    type Linear: Send + Sync;
    /// A norm.
    type Norm: Send + Sync;
    /// A rotation of queries and keys.
    type Rotary: Send + Sync;
    /// Queries, keys and values.
    type Projected;

    /// Takes the weights of a linear layer.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn linear(&self, layer: LinearValues) -> Result<Self::Linear>;

    /// Takes the weights of a norm.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn norm(&self, norm: NormValues) -> Result<Self::Norm>;

    /// Takes a rotation.
    fn rotary(&self, rotary: Rotary) -> Self::Rotary;

    /// Takes rows, `[values.len() / width, width]`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn rows(&self, values: Vec<f32>, width: usize) -> Result<Self::X>;

    /// `x w^T + b`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn apply(&self, linear: &Self::Linear, x: &Self::X) -> Result<Self::X>;

    /// `base + apply(linear, x)`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn apply_onto(&self, linear: &Self::Linear, x: &Self::X, base: &Self::X) -> Result<Self::X> {
        self.sum(base, &self.apply(linear, x)?)
    }

    /// Every row through a norm, or each part of it where rows are several norms wide.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn normed(&self, norm: &Self::Norm, x: &Self::X) -> Result<Self::X>;

    /// `a + b`, of one shape.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn sum(&self, a: &Self::X, b: &Self::X) -> Result<Self::X>;

    /// Queries, keys and values of `x`, biases included, before head norms and rotation.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn project(&self, attention: &AttentionOf<Self>, x: &Self::X) -> Result<Self::Projected>;

    /// Heads side by side, `[n_rows, heads * d_head]`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn side_by_side(&self, projected: &Self::Projected, part: Part) -> Result<Self::X>;

    /// Queries, keys and values to the concatenated heads `[n_rows, n_heads * d_head]`, in contexts of `length` rows.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn heads(&self, attention: &AttentionOf<Self>, projected: Self::Projected, length: usize) -> Result<Self::X>;

    /// The function of every value.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn activate(&self, function: ActivationFunction, x: &Self::X) -> Result<Self::X>;

    /// `f(gate) * up`, value by value.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn gated(&self, function: ActivationFunction, gate: &Self::X, up: &Self::X) -> Result<Self::X>;

    /// `x` through an MLP.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn mlp(&self, mlp: &Mlp<Self::Linear>, x: &Self::X) -> Result<Self::X> {
        let up = self.apply(&mlp.up, x)?;
        let hidden = match &mlp.gate {
            Some(gate) => self.gated(mlp.activation, &self.apply(gate, x)?, &up)?,
            None => self.activate(mlp.activation, &up)?,
        };
        self.apply(&mlp.down, &hidden)
    }

    /// `base + mlp(x)`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn mlp_onto(&self, mlp: &Mlp<Self::Linear>, x: &Self::X, base: &Self::X) -> Result<Self::X> {
        self.sum(base, &self.mlp(mlp, x)?)
    }

    /// Writes the rows of each context that are counted to its place number `k`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    fn write(&self, x: &Self::X, contexts: &mut [&mut OneContext], k: usize) -> Result<()>;
}

/// The weights of a linear layer.
pub struct LinearValues {
    /// In [`order`](Self::order).
    pub weight: Vec<f32>,
    /// `[n_out]`.
    pub bias: Option<Vec<f32>>,
    /// Width of what goes in.
    pub n_in: usize,
    /// Width of what comes out.
    pub n_out: usize,
    /// How the weight lies.
    pub order: Order,
}

/// Layout of a weight in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[n_out, n_in]`, as `torch.nn.Linear` stores it.
    OutIn,
    /// `[n_in, n_out]`, as GPT-2's `Conv1D` stores it.
    InOut,
}

/// The weights of a norm over the last dimension.
pub enum NormValues {
    /// `(x - mean) / sqrt(variance + eps) * weight + bias`, variance over n.
    Layer {
        /// `[width]`.
        weight: Vec<f32>,
        /// `[width]`.
        bias: Vec<f32>,
        /// Added to the variance.
        eps: f32,
    },
    /// `x / sqrt(mean(x^2) + eps) * weight`. Gemma stores `weight - 1`; the 1 is added at load.
    Rms {
        /// `[width]`.
        weight: Vec<f32>,
        /// Added to the mean square.
        eps: f32,
    },
}

/// The attention of a block, up to the heads' concatenated output (`attn_z`), and its output projection: of linear layers `L`, norms
/// `N` and rotations `R`.
pub struct Attention<L, N, R> {
    /// Where queries, keys and values come from.
    pub projections: Projections<L>,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; divides `n_heads`, query head h reads key head `h / (n_heads / n_kv_heads)`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub d_head: usize,
    /// Norms of queries and keys, before the rotation: of each head where they are `d_head` wide, else of all heads together.
    pub qk_norms: Option<(N, N)>,
    /// Rotation of queries and keys.
    pub rotary: Option<Arc<R>>,
    /// Scores and how they are masked.
    pub scores: Scores,
    /// `[n_heads * d_head]` to `[d_model]`.
    pub output: L,
}

/// The attention of a backend.
pub type AttentionOf<B> = Attention<<B as Backend>::Linear, <B as Backend>::Norm, <B as Backend>::Rotary>;

/// The MLP of a block: of linear layers `L`.
pub struct Mlp<L> {
    /// With a gate: `down(f(gate(x)) * up(x))`; without: `down(f(up(x)))`.
    pub gate: Option<L>,
    /// `[d_model]` to `[d_mlp]`.
    pub up: L,
    /// f.
    pub activation: ActivationFunction,
    /// `[d_mlp]` to `[d_model]`.
    pub down: L,
}

/// A part of what attention reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is asked.
    Query,
    /// What is asked about.
    Key,
    /// What is gathered.
    Value,
}
