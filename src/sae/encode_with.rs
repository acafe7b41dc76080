//! What are the latents of these rows, where the tensor library multiplies them? Its products come back, some rows at a time, and
//! the selection is the one of the kernels: the same bias, in f32, and the same rule for ties.

use super::autoencoder::Sae;
use super::encode::{BLOCK_ROWS, Block, TILE_PANELS, pick};
use super::rule::Rule;
use super::selection::RowSelection;
use crate::device::{BackendName, Choice, Chosen, Compute, Made, Products};
use crate::error::Result;
use crate::linalg::Matrix;
use crate::linalg::panels::WIDTH;
use rayon::prelude::*;
use std::sync::Arc;

impl Rule {
    /// The same for a device.
    pub(super) fn choice(&self) -> Choice<'_> {
        match self {
            Rule::Above { bias, floor } => Choice::above(bias, floor),
            Rule::TopK { bias, k, signed } => Choice::top(bias, *k, *signed),
            Rule::GroupMax { bias, groups } => Choice::group_max(bias, *groups),
            Rule::Gated { bias, scale, gate } => Choice::gated(bias, scale, gate),
        }
    }
}

/// Latents that are looked at between two prunings.
const TILE: usize = TILE_PANELS * WIDTH;

impl Sae {
    /// The same SAE, encoded in the way of `computed` from here on: one way, on each of some devices. By the kernels in bf16 its encoder is
    /// rounded ([`Sae::in_bf16`]). By the tensor library, an encode is no longer the same bits for any number of rows: of the same rows
    /// on the same device it is.
    ///
    /// # Errors
    /// `Request` for a way that cannot be had, `Machine` when the device cannot be opened, or fails.
    pub fn computed(mut self, computed: &[Compute]) -> Result<Sae> {
        computed.iter().try_for_each(Compute::check)?;
        computed.iter().try_for_each(Compute::check_here)?;
        let sizes = [self.shape.d_sae, self.shape.d_in];
        let by_candle = computed.iter().filter(|compute| compute.backend == BackendName::Candle);
        let products = by_candle.map(|&compute| Products::new(compute, self.w_enc.transposed(), sizes).map(Arc::new));
        self.products = products.collect::<Result<_>>()?;
        let in_bf16 = computed.iter().any(Compute::rounds_for_kernels);
        Ok(if in_bf16 { self.in_bf16() } else { self })
    }

    pub(super) fn encode_with(&self, products: &Products, x: &Matrix<f32>, rule: &Rule) -> Result<Vec<Result<Block>>> {
        let (d_in, d_sae) = (self.shape.d_in, self.shape.d_sae);
        let mut blocks = Vec::new();
        let mut u = Vec::new();
        for first in (0..x.n_rows()).step_by(products.rows()) {
            let n = products.rows().min(x.n_rows() - first);
            let rows = self.prepare(&x.as_slice()[first * d_in..][..n * d_in], first, &mut u)?;
            let z = match products.of(rows, &rule.choice())? {
                Made::Products(z) => z,
                Made::Chosen(chosen) => {
                    blocks.push(self.block_of_chosen(first, &chosen));
                    continue;
                }
            };
            let of_rows = z.par_chunks(BLOCK_ROWS * d_sae).enumerate().map(|(b, z)| {
                let mut picks = vec![RowSelection::default(); z.len() / d_sae];
                for (z, pick_of_row) in z.chunks_exact(d_sae).zip(&mut picks) {
                    for (t, z) in z.chunks(TILE).enumerate() {
                        pick(rule, t * TILE, z.len(), z, std::slice::from_mut(pick_of_row));
                    }
                }
                self.block_of(first + b * BLOCK_ROWS, rule, &mut picks)
            });
            blocks.extend(of_rows.collect::<Vec<_>>());
        }
        Ok(blocks)
    }

    /// The latents of rows from `first_row` on, by what a device has chosen.
    fn block_of_chosen(&self, first_row: usize, chosen: &Chosen) -> Result<Block> {
        let mut block = Block::default();
        let mut at = 0;
        for (r, &(n, broken)) in chosen.rows.iter().enumerate() {
            let entries = at..at + n;
            let entries = chosen.latents[entries.clone()].iter().copied().zip(chosen.values[entries].iter().copied());
            block.add_row(first_row + r, broken, entries, self.output_scale.as_deref())?;
            at += n;
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests;
