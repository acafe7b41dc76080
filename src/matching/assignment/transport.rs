//! How would mass flow from one pool of latents to the other at least cost, with some entropy? (Cuturi 2013,
//! arXiv 1306.0895: Sinkhorn-Knopp.) Cost is `1 - correlation`, both marginals are uniform.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::linalg::{Matrix, require_finite};

const COLUMNS_PER_BLOCK: usize = 256;

/// When to stop, and how much entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sinkhorn {
    /// Weight of the entropy, in units of the cost.
    pub regularisation: f64,
    /// Most iterations.
    pub iterations: usize,
    /// Stop when the Euclidean error of the target marginal, looked at every tenth iteration, is below this.
    pub tolerance: f64,
}

impl Default for Sinkhorn {
    /// What the authors of the universality paper use: 0.05, at most 80 iterations, 1e-6.
    fn default() -> Self {
        Sinkhorn { regularisation: 0.05, iterations: 80, tolerance: 1e-6 }
    }
}

/// A transport plan and what is read off it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transport {
    /// `[n_sources, n_targets]`; sums to 1.
    pub plan: Matrix<f64>,
    /// `⟨plan, 1 - correlation⟩`.
    pub cost: f64,
    /// For each target the source that gives it most, the lowest on ties.
    pub source_of: Vec<u32>,
    /// Iterations done.
    pub iterations: usize,
}

/// Entropic optimal transport over `correlations: [n_sources, n_targets]`. Does not depend on the number of threads.
///
/// # Errors
/// `Request` for an empty pool, or a regularisation that is not positive or so small that all of a latent's weights
/// underflow; `Input` for correlations that are not finite.
pub fn sinkhorn(correlations: &Matrix<f64>, options: &Sinkhorn) -> Result<Transport> {
    require_finite(correlations, "transport: correlations")?;
    let (m, n) = (correlations.n_rows(), correlations.n_cols());
    if m == 0 || n == 0 || options.regularisation.is_nan() || options.regularisation <= 0.0 {
        let reg = options.regularisation;
        return Err(Error::request(format!("transport: pool [{m}, {n}], regularisation {reg}; all must be positive")));
    }
    let mut kernel = correlations.clone();
    kernel.as_mut_slice().par_iter_mut().for_each(|x| *x = (-(1.0 - *x) / options.regularisation).exp());
    let (mut u, mut v) = (vec![1.0 / m as f64; m], vec![1.0 / n as f64; n]);
    let mut done = 0;
    for iteration in 0..options.iterations {
        v = times_transposed(&kernel, &u).into_iter().map(|x| 1.0 / (n as f64 * x)).collect();
        u = kernel_times(&kernel, &v).into_iter().map(|x| 1.0 / (m as f64 * x)).collect();
        if u.iter().chain(&v).any(|x| !x.is_finite()) {
            let reg = options.regularisation;
            return Err(Error::request(format!(
                "transport: weights underflow at regularisation {reg}; take a larger one"
            )));
        }
        done = iteration + 1;
        if iteration % 10 == 0 {
            let sums = times_transposed(&kernel, &u);
            let error = sums.iter().zip(&v).map(|(s, v)| (s * v - 1.0 / n as f64).powi(2)).sum::<f64>().sqrt();
            if error < options.tolerance {
                break;
            }
        }
    }
    let mut plan = kernel;
    for (i, u) in u.iter().enumerate() {
        plan.row_mut(i).iter_mut().zip(&v).for_each(|(x, v)| *x *= u * v);
    }
    let cost = plan.as_slice().iter().zip(correlations.as_slice()).map(|(p, c)| p * (1.0 - c)).sum();
    let mut source_of = vec![0u32; n];
    for i in 1..m {
        for (j, best) in source_of.iter_mut().enumerate() {
            if plan.row(i)[j] > plan.row(*best as usize)[j] {
                *best = i as u32;
            }
        }
    }
    Ok(Transport { plan, cost, source_of, iterations: done })
}

/// `K v`: `[m]`.
fn kernel_times(kernel: &Matrix<f64>, v: &[f64]) -> Vec<f64> {
    let dot = |i| kernel.row(i).iter().zip(v).map(|(k, v)| k * v).sum();
    (0..kernel.n_rows()).into_par_iter().map(dot).collect()
}

/// `Kᵀ u`: `[n]`, rows added in order within each block of columns.
fn times_transposed(kernel: &Matrix<f64>, u: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; kernel.n_cols()];
    out.par_chunks_mut(COLUMNS_PER_BLOCK).enumerate().for_each(|(block, out)| {
        for (i, u) in u.iter().enumerate() {
            let row = &kernel.row(i)[block * COLUMNS_PER_BLOCK..][..out.len()];
            out.iter_mut().zip(row).for_each(|(x, k)| *x += k * u);
        }
    });
    out
}
