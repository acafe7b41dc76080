//! What do this program's own kernels make of a layer? One context at a time, with bits that depend on nothing but the
//! context: not on the batch, the number of threads or the width of the machine's vectors. Everything is in f32. With `dtype = "bf16"`
//! the weights of linear layers and the rows that they take are rounded to bf16 for the product, whose sums are f32 again: norms,
//! embeddings, rotations, scores, softmax and the residual stream are as they are in f32.

mod activation;
mod attention;
mod linear;
mod math;
mod mlp;
mod norm;
mod rotary;
mod strides;
#[cfg(test)]
mod tests;

use super::activation_function::ActivationFunction;
use super::activations::{Model, OneContext};
use super::backend::{AttentionOf, Backend, LinearValues, Mlp, NormValues, Part};
use super::decoder::Decoder;
use super::pool::{Rows, buffer};
use super::rotary::Rotary;
use super::shape::ModelShape;
use crate::device::Dtype;
use crate::error::Result;
use crate::ids::Hookpoint;
use crate::linalg::kept::Numbers;
use rayon::prelude::*;

/// This program's own kernels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    numbers: Numbers,
}

impl Cpu {
    /// For linear layers in this number format.
    ///
    /// # Panics
    /// For a format that [`Compute::check`](crate::device::Compute::check) refuses.
    pub fn of(dtype: Dtype) -> Self {
        let numbers = match dtype {
            Dtype::F32 => Numbers::F32,
            Dtype::Bf16 => Numbers::Bf16,
            Dtype::F16 => unreachable!("the kernels' numbers are checked before a model is opened"),
        };
        Cpu { numbers }
    }
}

impl Backend for Cpu {
    type X = Rows;
    type Linear = linear::Linear;
    type Norm = NormValues;
    type Rotary = Rotary;
    type Projected = attention::Projected;

    fn linear(&self, layer: LinearValues) -> Result<linear::Linear> {
        Ok(linear::Linear::new(layer, self.numbers))
    }

    fn norm(&self, norm: NormValues) -> Result<NormValues> {
        Ok(norm)
    }

    fn rotary(&self, rotary: Rotary) -> Rotary {
        rotary
    }

    fn rows(&self, values: Vec<f32>, width: usize) -> Result<Rows> {
        Ok(Rows::new(values, width))
    }

    fn apply(&self, linear: &linear::Linear, x: &Rows) -> Result<Rows> {
        Ok(linear.forward(x, None))
    }

    fn apply_onto(&self, linear: &linear::Linear, x: &Rows, base: &Rows) -> Result<Rows> {
        Ok(linear.forward(x, Some(base)))
    }

    fn normed(&self, norm: &NormValues, x: &Rows) -> Result<Rows> {
        Ok(norm::forward(norm, x))
    }

    fn sum(&self, a: &Rows, b: &Rows) -> Result<Rows> {
        assert_eq!((a.n_rows(), a.width()), (b.n_rows(), b.width()), "sums are of rows of one shape");
        let mut out = buffer(a.values().len());
        out.iter_mut().zip(a.values().iter().zip(b.values())).for_each(|(out, (a, b))| *out = a + b);
        Ok(Rows::new(out, a.width()))
    }

    fn project(&self, attention: &AttentionOf<Cpu>, x: &Rows) -> Result<attention::Projected> {
        Ok(attention::project(attention, x))
    }

    fn side_by_side(&self, projected: &attention::Projected, part: Part) -> Result<Rows> {
        Ok(projected.side_by_side(part))
    }

    fn heads(&self, attention: &AttentionOf<Cpu>, projected: attention::Projected, _: usize) -> Result<Rows> {
        Ok(attention::heads(attention, projected))
    }

    fn activate(&self, function: ActivationFunction, x: &Rows) -> Result<Rows> {
        let mut out = copy(x);
        function.of_slice(out.values_mut());
        Ok(out)
    }

    fn gated(&self, function: ActivationFunction, gate: &Rows, up: &Rows) -> Result<Rows> {
        let mut out = copy(gate);
        function.of_gated_slice(out.values_mut(), up.values());
        Ok(out)
    }

    fn mlp(&self, mlp: &Mlp<linear::Linear>, x: &Rows) -> Result<Rows> {
        Ok(mlp::forward(mlp, x, None))
    }

    fn mlp_onto(&self, mlp: &Mlp<linear::Linear>, x: &Rows, base: &Rows) -> Result<Rows> {
        Ok(mlp::forward(mlp, x, Some(base)))
    }

    fn write(&self, x: &Rows, contexts: &mut [&mut OneContext], k: usize) -> Result<()> {
        let [context] = contexts else { panic!("the kernels take one context at a time") };
        x.write(context.counted, context.out[k]);
        Ok(())
    }
}

/// Each context by itself, in parallel.
impl Model for Decoder<Cpu> {
    fn shape(&self) -> &ModelShape {
        &self.shape
    }

    fn write_contexts(&self, hookpoints: &[Hookpoint], contexts: &mut [OneContext]) -> Vec<Result<()>> {
        let run = |context: &mut OneContext| {
            self.check(context.ids, hookpoints)?;
            self.run(hookpoints, &mut [context])
        };
        contexts.par_iter_mut().map(run).collect()
    }
}

fn copy(x: &Rows) -> Rows {
    let mut out = buffer(x.values().len());
    out.copy_from_slice(x.values());
    Rows::new(out, x.width())
}
