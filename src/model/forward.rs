//! What does a whole batch give? Contexts in parallel, special tokens left out, here and only here.

use super::activations::{ActivationBatch, Model};
use super::layers::pool::{buffer, put_back};
use crate::corpus::{TokenBatch, TokenView};
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use rayon::prelude::*;

/// Every context of `view`, which is one of `batch`, through `model`: for each of `hookpoints`, in that order,
/// `[n_tokens, width]`, one row per token that belongs to a row of the batch ([`TokenView::tokens`]). The bits of a row depend on
/// its context alone, not on the batch or on the number of threads.
///
/// # Errors
/// As [`Model::activations`], with the document named; `Input` when an activation of a counted row is not finite.
pub fn forward(
    model: &dyn Model,
    batch: &TokenBatch,
    view: &TokenView,
    hookpoints: &[Hookpoint],
) -> Result<Vec<ActivationBatch>> {
    let widths = hookpoints.iter().map(|&h| model.shape().width(h)).collect::<Result<Vec<usize>>>()?;
    // Whole-batch buffers, cut into the rows of each context. Contexts are written in parallel, each at its own place.
    let lengths: Vec<usize> = view.contexts.iter().map(|c| c.tokens().count()).collect();
    let n: usize = lengths.iter().sum();
    let mut out: Vec<Matrix<f32>> = widths.iter().map(|&width| Matrix::from_vec(n, width, buffer(n * width))).collect();
    let mut jobs: Vec<Vec<&mut [f32]>> = lengths.iter().map(|_| Vec::with_capacity(hookpoints.len())).collect();
    for (matrix, &width) in out.iter_mut().zip(&widths) {
        let mut rest = matrix.as_mut_slice();
        for (job, length) in jobs.iter_mut().zip(&lengths) {
            let (own, after) = rest.split_at_mut(length * width);
            job.push(own);
            rest = after;
        }
    }
    // The error of the first context wins, whichever fails first in time.
    let results: Vec<Result<()>> = (jobs.into_par_iter().enumerate())
        .map(|(c, slots)| run_context(model, (batch, view), c, hookpoints, slots))
        .collect();
    results.into_iter().collect::<Result<()>>()?;
    Ok(hookpoints.iter().zip(out).map(|(&hookpoint, x)| ActivationBatch { hookpoint, x }).collect())
}

/// Lays the memory of `read` aside for the next batch that this thread puts through a model.
pub fn recycle(read: Vec<ActivationBatch>) {
    read.into_iter().for_each(|read| put_back(read.x.into_vec()));
}

fn run_context(
    model: &dyn Model,
    (batch, view): (&TokenBatch, &TokenView),
    c: usize,
    hookpoints: &[Hookpoint],
    mut slots: Vec<&mut [f32]>,
) -> Result<()> {
    let context = &view.contexts[c];
    let counted: Vec<bool> = context.row_of.iter().map(Option::is_some).collect();
    model.write_activations(&context.ids, hookpoints, &counted, &mut slots).map_err(|e| {
        // a context without rows has no document
        let first = context.tokens().next();
        let name = |(row, _)| format!("document {}", batch.document_of(row).name);
        e.within(first.map_or_else(|| format!("context {c} of batch {}", batch.index), name))
    })?;
    for (slot, hookpoint) in slots.into_iter().zip(hookpoints) {
        let width = model.shape().width(*hookpoint)?;
        for ((row, p), x) in context.tokens().zip(slot.chunks_exact(width.max(1))) {
            if let Some(at) = x.iter().position(|v| !v.is_finite()) {
                return Err(Error::input(format!(
                    "model of family {}: activation {} of feature {at} at {hookpoint} is not finite, document {}, context {c} \
                     of batch {}, position {p}; the weights are damaged or overflow",
                    model.shape().family,
                    x[at],
                    batch.document_of(row).name,
                    batch.index
                )));
            }
        }
    }
    Ok(())
}
