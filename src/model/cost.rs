//! How much memory does a model take, here and on its device?

use super::candle::{GROUP_SCORES, GROUP_TOKENS};
use super::shape::ModelShape;
use crate::device::{BackendName, Compute, DeviceName, Takes};
use crate::ids::Hookpoint;

/// What a model holds when `n_blocks` blocks are loaded: the blocks, the final norm and a projection after the token
/// embedding. Token and position embeddings stay memory-mapped.
pub fn weight_bytes(shape: &ModelShape, compute: Compute, n_blocks: usize) -> Takes {
    let (d_model, d_token) = (shape.d_model as u64, shape.d_token as u64);
    let project = if d_token == d_model { 0 } else { d_token * d_model };
    let bytes = compute.dtype.bytes() * (n_blocks as u64 * shape.n_block_parameters + project + 2 * d_model);
    // a tensor at a time is read in f32 before it goes where it belongs
    let largest = 4 * d_model * (shape.d_mlp as u64).max(3 * shape.d_attn as u64);
    match (compute.backend, compute.device) {
        (BackendName::Kernels, _) => Takes { here: bytes, device: 0 },
        (BackendName::Candle, DeviceName::Cpu) => Takes { here: bytes + largest, device: 0 },
        (BackendName::Candle, DeviceName::Cuda(_)) => Takes { here: largest, device: bytes + largest },
    }
}

/// What it takes to run batches of `n_contexts` contexts of `length` tokens on `threads` threads, the activations that are read left out.
pub fn running_bytes(
    shape: &ModelShape,
    compute: Compute,
    [n_contexts, length]: [usize; 2],
    hookpoints: &[Hookpoint],
    threads: u64,
) -> Takes {
    if compute.backend == BackendName::Kernels {
        return Takes { here: threads * context_bytes(shape, length, hookpoints), device: 0 };
    }
    let most = (GROUP_TOKENS.max(length) as u64).min((n_contexts as u64).saturating_mul(length as u64));
    let (d, d_attn, d_mlp) = (shape.d_model as u64, shape.d_attn as u64, shape.d_mlp as u64);
    let scores =
        (GROUP_SCORES as u64).max((length as u64).pow(2) * d_attn.div_ceil(32)).min(most * length as u64 * d_attn);
    // the stream and what is added to it, queries, keys and values as they are turned, the MLP's hidden values; norms in f32
    let of_rows = most * (compute.dtype.bytes() * (6 * d + 8 * d_attn + 4 * d_mlp) + 12 * d);
    // scores, the mask added, their softmax
    let bytes = of_rows + scores * 12;
    // rows of all places until the group is done; they come back context by context
    let read = most * 4 * width_of(shape, hookpoints);
    let coming =
        length as u64 * 4 * hookpoints.iter().map(|&h| shape.width(h).unwrap_or(d as usize) as u64).max().unwrap_or(0);
    match compute.device {
        DeviceName::Cpu => Takes { here: bytes + read + coming, device: 0 },
        DeviceName::Cuda(_) => Takes { here: coming + most * 4 * d, device: bytes + read },
    }
}

/// Bytes that one context of `n_tokens` holds while it runs, the activations read at `hookpoints` included; as many
/// contexts run at once as there are threads. The MLP is taken as eight times `d_model` (gate and up of four each), and
/// what is laid out for the products as five; where a place inside the MLP is read, its layers go one after the other and
/// four of its width are alive.
fn context_bytes(shape: &ModelShape, n_tokens: usize, hookpoints: &[Hookpoint]) -> u64 {
    let (n, d, d_attn) = (n_tokens as u64, shape.d_model as u64, shape.d_attn as u64);
    let inside = |h: &&Hookpoint| {
        matches!(h, Hookpoint::MlpPre(_) | Hookpoint::MlpUp(_) | Hookpoint::MlpGateAct(_) | Hookpoint::MlpAct(_))
    };
    let hidden = if hookpoints.iter().any(|h| inside(&h)) { 4 * shape.d_mlp as u64 } else { 0 };
    4 * n * (8 * d + 5 * d + 6 * d + 5 * d_attn + 64 + hidden + 2 * width_of(shape, hookpoints))
}

/// Values per row at all `hookpoints` together. The model must have every hookpoint.
pub fn width_of(shape: &ModelShape, hookpoints: &[Hookpoint]) -> u64 {
    hookpoints.iter().map(|&h| shape.width(h).unwrap_or(shape.d_model) as u64).sum()
}
