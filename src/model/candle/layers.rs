//! What are a linear layer, a norm and an activation function of tensors?

use crate::model::activation_function::ActivationFunction;
use candle_core::{D, DType, Tensor};

/// A linear layer.
pub struct Linear {
    /// `[n_in, n_out]`, laid out as it was stored.
    pub weight: Tensor,
    /// `[n_out]`.
    pub bias: Option<Tensor>,
}

/// A norm.
pub enum Norm {
    /// LayerNorm: weight, bias, what is added to the variance.
    Layer(Tensor, Tensor, f64),
    /// RMSNorm: weight, what is added to the mean square.
    Rms(Tensor, f32),
}

impl Linear {
    /// `x w^T + b`.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let product = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

impl Norm {
    /// Features of a row.
    pub fn width(&self) -> usize {
        match self {
            Norm::Layer(weight, ..) | Norm::Rms(weight, _) => weight.elem_count(),
        }
    }

    /// Every row, or each part of it that is a norm wide.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let shape = x.shape().clone();
        let x = x.contiguous()?.reshape(((), self.width()))?;
        match self {
            // candle-nn's takes the variance as a difference of squares, which loses digits in rows far from zero
            Norm::Layer(weight, bias, eps) => {
                let wide = x.to_dtype(DType::F32)?;
                let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                let scaled = centred.broadcast_div(&(variance + *eps)?.sqrt()?)?.to_dtype(x.dtype())?;
                scaled.broadcast_mul(weight)?.broadcast_add(bias)?
            }
            Norm::Rms(weight, eps) => candle_nn::ops::rms_norm(&x, weight, *eps)?,
        }
        .reshape(shape)
    }
}

/// The function of every value.
pub fn activated(function: ActivationFunction, x: &Tensor) -> candle_core::Result<Tensor> {
    match function {
        ActivationFunction::GeluErf => x.gelu_erf(),
        ActivationFunction::GeluTanh => x.gelu(),
        ActivationFunction::Silu => x.silu(),
        ActivationFunction::Relu => x.relu(),
    }
}
