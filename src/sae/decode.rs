//! What is an SAE's output? Latents back to activations.

use super::autoencoder::Sae;
use super::encode::BLOCK_ROWS;
use super::latents::LatentBatch;
use super::rule::Normalise;
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::linalg::gemm::gemm_f32;
use rayon::prelude::*;

impl Sae {
    /// The forward pass behind the latents, `[n_rows, d_out]` f32: `latents · W_dec + b_dec`, the input's normalisation
    /// undone, and `x · skipᵀ` added where there is a skip connection (sparsify's and SAELens's `forward`; their `decode`
    /// leaves the skip out). Summed in f64, latents ascending. `x: [n_rows, d_in]` is what the latents were made from.
    ///
    /// # Errors
    /// `Request` when `latents` and `x` do not fit each other or the SAE; `Input` for a row without a norm where the SAE
    /// divides by it.
    pub fn decode(&self, latents: &LatentBatch, x: &Matrix<f32>) -> Result<Matrix<f32>> {
        let shape = &self.shape;
        if x.n_cols() != shape.d_in || latents.d_sae != shape.d_sae || latents.n_rows() != x.n_rows() {
            return Err(Error::request(format!(
                "cannot decode [{}, {}] latents and [{}, {}] activations with an SAE of {} inputs and {} latents",
                latents.n_rows(),
                latents.d_sae,
                x.n_rows(),
                x.n_cols(),
                shape.d_in,
                shape.d_sae
            )));
        }
        let mut out = Matrix::zeros(x.n_rows(), shape.d_out);
        let blocks: Vec<Result<()>> = out
            .as_mut_slice()
            .par_chunks_mut(BLOCK_ROWS * shape.d_out)
            .enumerate()
            .map(|(b, out)| self.decode_block(latents, x, b * BLOCK_ROWS, out))
            .collect();
        blocks.into_iter().collect::<Result<()>>()?;
        Ok(out)
    }

    fn decode_block(&self, latents: &LatentBatch, x: &Matrix<f32>, first_row: usize, out: &mut [f32]) -> Result<()> {
        let (d_in, d_out) = (self.shape.d_in, self.shape.d_out);
        let n_rows = out.len() / d_out;
        let skipped = self.skip.as_ref().map(|skip| {
            // As in encoding, every product has the same number of rows.
            let (mut input, mut product) = (vec![0.0; BLOCK_ROWS * d_in], vec![0.0; BLOCK_ROWS * d_out]);
            input[..n_rows * d_in].copy_from_slice(&x.as_slice()[first_row * d_in..][..n_rows * d_in]);
            if matches!(self.normalise, Normalise::Centered | Normalise::CenteredConstantNorm) {
                // centred weights would have written the row without its mean
                for row in input[..n_rows * d_in].chunks_exact_mut(d_in) {
                    let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / d_in as f64;
                    row.iter_mut().for_each(|v| *v = (f64::from(*v) - mean) as f32);
                }
            }
            let (skip, c) = (skip.as_slice(), (d_out, 1));
            gemm_f32(BLOCK_ROWS, d_out, d_in, &input, (d_in, 1), skip, (1, d_in), &mut product, c, 0.0, 1.0);
            product
        });
        let mut sums = vec![0f64; d_out];
        let mut normalised = vec![0f32; d_in];
        for (r, out) in out.chunks_exact_mut(d_out).enumerate() {
            sums.iter_mut().zip(&self.b_dec).for_each(|(sum, &b)| *sum = f64::from(b));
            let (active, values) = latents.row(first_row + r);
            for (&latent, &value) in active.iter().zip(values) {
                let direction = self.w_dec.row(latent as usize);
                sums.iter_mut().zip(direction).for_each(|(sum, &w)| *sum += f64::from(value) * f64::from(w));
            }
            let (shift, scale) = match self.normalise {
                Normalise::Nothing => (0.0, 1.0),
                // the output belongs to another hookpoint, whose mean differs from the mean of the input
                Normalise::Centered if self.shape.transcoder => (0.0, 1.0),
                normalise => normalise
                    .apply(x.row(first_row + r), &mut normalised)
                    .map_err(|e| e.within(format!("row {} of the activations", first_row + r)))?,
            };
            for (j, (out, sum)) in out.iter_mut().zip(&sums).enumerate() {
                let skipped = skipped.as_ref().map_or(0.0, |skipped| f64::from(skipped[r * d_out + j]));
                *out = (sum * f64::from(scale) + f64::from(shift) + skipped) as f32;
            }
        }
        Ok(())
    }
}
