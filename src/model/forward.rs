//! What does a whole batch give? Contexts in parallel, special tokens left out, here and only here.

use super::activations::{ActivationBatch, Model};
use super::layers::pool::{buffer, put_back};
use crate::corpus::TokenBatch;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use rayon::prelude::*;

/// Every context of `batch` through `model`: for each of `hookpoints`, in that order, `[batch.n_rows(), width]`, row i
/// the i-th counted position of the batch. The bits of a row depend on its context alone, not on the batch or on the
/// number of threads.
///
/// # Errors
/// As [`Model::activations`], with the document named; `Input` when an activation of a counted row is not finite.
pub fn forward(model: &dyn Model, batch: &TokenBatch, hookpoints: &[Hookpoint]) -> Result<Vec<ActivationBatch>> {
    let widths = hookpoints.iter().map(|&h| model.shape().width(h)).collect::<Result<Vec<usize>>>()?;
    // Whole-batch buffers, cut into each context's own rows, so that contexts are written in parallel and in order.
    let n = batch.n_rows();
    let mut out: Vec<Matrix<f32>> = widths.iter().map(|&width| Matrix::from_vec(n, width, buffer(n * width))).collect();
    let mut jobs: Vec<Vec<&mut [f32]>> = batch.contexts.iter().map(|_| Vec::with_capacity(hookpoints.len())).collect();
    for (matrix, &width) in out.iter_mut().zip(&widths) {
        let mut rest = matrix.as_mut_slice();
        for (job, context) in jobs.iter_mut().zip(&batch.contexts) {
            let rows = context.counted.iter().filter(|&&counted| counted).count();
            let (own, after) = rest.split_at_mut(rows * width);
            job.push(own);
            rest = after;
        }
    }
    // The error of the first context wins, whichever fails first in time.
    let results: Vec<Result<()>> =
        jobs.into_par_iter().enumerate().map(|(c, slots)| run_context(model, batch, c, hookpoints, slots)).collect();
    results.into_iter().collect::<Result<()>>()?;
    Ok(hookpoints.iter().zip(out).map(|(&hookpoint, x)| ActivationBatch { hookpoint, x }).collect())
}

/// Lays the memory of `read` aside for the next batch that this thread puts through a model.
pub fn recycle(read: Vec<ActivationBatch>) {
    read.into_iter().for_each(|read| put_back(read.x.into_vec()));
}

fn run_context(
    model: &dyn Model,
    batch: &TokenBatch,
    c: usize,
    hookpoints: &[Hookpoint],
    mut slots: Vec<&mut [f32]>,
) -> Result<()> {
    let context = &batch.contexts[c];
    model
        .write_activations(&context.ids, hookpoints, &context.counted, &mut slots)
        .map_err(|e| e.within(format!("document {}", batch.document_of(c, 0).name)))?;
    for (slot, hookpoint) in slots.into_iter().zip(hookpoints) {
        let counted = (0..context.ids.len()).filter(|&p| context.counted[p]);
        let width = model.shape().width(*hookpoint)?;
        for (p, row) in counted.zip(slot.chunks_exact(width.max(1))) {
            if let Some(at) = row.iter().position(|v| !v.is_finite()) {
                return Err(Error::input(format!(
                    "model of family {}: activation {} of feature {at} at {hookpoint} is not finite, document {}, context {c} \
                     of batch {}, position {p}; the weights are damaged or overflow",
                    model.shape().family,
                    row[at],
                    batch.document_of(c, p).name,
                    batch.index
                )));
            }
        }
    }
    Ok(())
}
