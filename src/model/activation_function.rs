//! Which functions does a neuron pass its value through? GELU (exact and tanh), SiLU, ReLU.

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
}
