//! What does a direction of the residual stream do to the logits? The rows of the output head, the final norm's weight in them.
//!
//! A norm's division by the row's own size scales all logits alike, and the mean that a LayerNorm takes off is left on, as is the output bias: what is left
//! is linear, `W_U (d ⊙ γ)` for a direction d.

use crate::error::Result;
use crate::linalg::Matrix;
use crate::weights::Source;
use std::sync::Arc;

/// The output head of a model; its rows stay in the checkpoint.
pub struct Unembedding {
    pub(super) source: Arc<dyn Source>,
    pub(super) name: String,
    pub(super) n_vocab: usize,
    /// γ, `[d_model]`; all 1 without a final norm.
    pub(super) scale: Vec<f32>,
}

impl Unembedding {
    /// Number of rows: token ids, and padding behind them.
    pub fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    /// Width of the residual stream.
    pub fn width(&self) -> usize {
        self.scale.len()
    }

    /// Rows `first..first + n`, each times γ: `[n, d_model]` f32.
    ///
    /// # Errors
    /// Those of reading.
    pub fn rows(&self, first: usize, n: usize) -> Result<Matrix<f32>> {
        let width = self.width();
        let mut out = Matrix::zeros(n, width);
        self.source.read(&self.name, first * width, out.as_mut_slice())?;
        for i in 0..n {
            out.row_mut(i).iter_mut().zip(&self.scale).for_each(|(v, scale)| *v *= scale);
        }
        Ok(out)
    }
}
