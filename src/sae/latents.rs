//! What does an encoder hand on? The latents that fired, row by row.

use crate::linalg::Matrix;
use serde::{Deserialize, Serialize};

/// Latent activations of a batch in compressed sparse rows: `[n_rows, d_sae]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentBatch {
    /// Number of latents of the SAE.
    pub d_sae: usize,
    /// Row r holds entries `row_starts[r]..row_starts[r + 1]`: `[n_rows + 1]`.
    pub row_starts: Vec<u32>,
    /// Latent of each entry, ascending inside a row.
    pub latents: Vec<u32>,
    /// Activation of each entry; never 0.
    pub values: Vec<f32>,
}

impl LatentBatch {
    /// The dimensions of `x: [n_rows, d]` as they are, each in the place of a latent. Fewer than 2³² values.
    ///
    /// # Panics
    /// When there are more.
    pub fn of_dimensions(x: &Matrix<f32>) -> Self {
        let d = x.n_cols();
        assert!(x.as_slice().len() <= u32::MAX as usize, "a batch of {} values", x.as_slice().len());
        let mut out = LatentBatch {
            d_sae: d,
            row_starts: Vec::with_capacity(x.n_rows() + 1),
            latents: Vec::with_capacity(x.as_slice().len()),
            values: Vec::with_capacity(x.as_slice().len()),
        };
        out.row_starts.push(0);
        for r in 0..x.n_rows() {
            for (j, &v) in x.row(r).iter().enumerate().filter(|(_, v)| **v != 0.0) {
                out.latents.push(j as u32);
                out.values.push(v);
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.row_starts.len().saturating_sub(1)
    }

    /// Latents and values of row `r`.
    pub fn row(&self, r: usize) -> (&[u32], &[f32]) {
        let span = self.row_starts[r] as usize..self.row_starts[r + 1] as usize;
        (&self.latents[span.clone()], &self.values[span])
    }
}

/// Which of an SAE's outputs is streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encode {
    /// The SAE's own output, after its selection (top-k, threshold …).
    #[default]
    Sparse,
    /// Activations before a top-k selection (after ReLU), as the paper used for Pythia. Only a selection across latents
    /// (top-k, group maximum) is left out; thresholds and gates belong to the activation function and stay.
    Dense,
}
