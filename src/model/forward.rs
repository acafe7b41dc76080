//! What does a whole batch give? Special tokens left out, here and only here.

use super::activations::{ActivationBatch, Model, OneContext};
use super::pool::{buffer, put_back};
use crate::corpus::{TokenBatch, TokenView};
use crate::device::DeviceRows;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use rayon::prelude::*;

/// Every context of `view`, which is one of `batch`, through `model`: for each of `hookpoints`, in that order,
/// `[n_tokens, width]`, one row per token that belongs to a row of the batch ([`TokenView::tokens`]). On the CPU's own kernels the bits of a row
/// depend on its context alone, not on the batch or on the number of threads. `keep` says for each hookpoint whether the rows stay on the device that
/// made them as well.
///
/// # Errors
/// As [`Model::write_contexts`], with the document named; `Input` when an activation of a counted row is not finite.
pub fn forward(
    model: &dyn Model,
    batch: &TokenBatch,
    view: &TokenView,
    hookpoints: &[Hookpoint],
    keep: &[bool],
) -> Result<Vec<ActivationBatch>> {
    let widths = hookpoints.iter().map(|&h| model.shape().width(h)).collect::<Result<Vec<usize>>>()?;
    // Whole-batch buffers, cut into the rows of each context. Each is written at its own place.
    let lengths: Vec<usize> = view.contexts.iter().map(|c| c.tokens().count()).collect();
    let n: usize = lengths.iter().sum();
    let counted: Vec<Vec<bool>> =
        view.contexts.iter().map(|context| context.row_of.iter().map(Option::is_some).collect()).collect();
    let mut out: Vec<Matrix<f32>> = widths.iter().map(|&width| Matrix::from_vec(n, width, buffer(n * width))).collect();
    let mut contexts: Vec<OneContext> = (view.contexts.iter().zip(&counted))
        .map(|(context, counted)| OneContext::new(&context.ids, counted, hookpoints.len(), keep))
        .collect();
    for (matrix, &width) in out.iter_mut().zip(&widths) {
        let mut rest = matrix.as_mut_slice();
        for (context, length) in contexts.iter_mut().zip(&lengths) {
            let (own, after) = rest.split_at_mut(length * width);
            context.out.push(own);
            rest = after;
        }
    }
    let results = model.write_contexts(hookpoints, &mut contexts);
    // The error of the first context wins, whichever failed first in time.
    for (c, result) in results.into_iter().enumerate() {
        result.map_err(|e| {
            // a context without rows has no document
            let first = view.contexts[c].tokens().next();
            let name = |(row, _)| format!("document {}", batch.document_of(row).name);
            e.within(first.map_or_else(|| format!("context {c} of batch {}", batch.index), name))
        })?;
    }
    let found: Vec<Result<()>> = (contexts.par_iter().enumerate())
        .map(|(c, context)| check_finite(model, (batch, view), c, hookpoints, &context.out))
        .collect();
    found.into_iter().collect::<Result<()>>()?;
    let kept = |k: usize| {
        DeviceRows::joined(&contexts.iter().filter_map(|context| context.there[k].clone()).collect::<Vec<_>>())
    };
    let there = (0..hookpoints.len()).map(kept).collect::<Result<Vec<Option<DeviceRows>>>>()?;
    drop(contexts);
    let read = hookpoints.iter().zip(out).zip(there);
    Ok(read.map(|((&hookpoint, x), there)| ActivationBatch { hookpoint, x, there }).collect())
}

/// Lays the memory of `read` aside for the next batch that this thread puts through a model.
pub fn recycle(read: Vec<ActivationBatch>) {
    read.into_iter().for_each(|read| put_back(read.x.into_vec()));
}

fn check_finite(
    model: &dyn Model,
    (batch, view): (&TokenBatch, &TokenView),
    c: usize,
    hookpoints: &[Hookpoint],
    out: &[&mut [f32]],
) -> Result<()> {
    for (out, hookpoint) in out.iter().zip(hookpoints) {
        let width = model.shape().width(*hookpoint)?;
        for ((row, p), x) in view.contexts[c].tokens().zip(out.chunks_exact(width.max(1))) {
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
