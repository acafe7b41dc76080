//! What are the latents of these rows? The product of activations and encoder, and the selection fused behind it.
//!
//! Rows are taken in blocks of [`BLOCK_ROWS`]; a block is one task on one thread. Latents are taken in tiles of [`TILE_PANELS`]
//! panels. A tile of products stays in cache until its candidates are taken, so the whole `[n_rows, d_sae]` never exists. A
//! product's bits depend only on its row and its latent (`linalg/panels.rs`). Other rows, the order of rows and the number of
//! threads do not matter.

use super::autoencoder::{Sae, SaeShape};
use super::latents::{Encode, LatentBatch};
use super::rule::{Normalise, Rule};
use super::screen::{Mode, Screen, ScreenScratch};
use super::selection::{RankKey, RowSelection};
use crate::error::{Error, Result};
use crate::linalg::kept::KeptRows;
use crate::linalg::panels::{Finish, WIDTH};
use crate::linalg::{Matrix, vectorised};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Rows of a block: twice what the product takes in one go, so that weights come from memory half as often.
pub(super) const BLOCK_ROWS: usize = 264;
/// Panels of latents in a tile: with [`BLOCK_ROWS`] a tile of 264 KiB, which stays in the second-level cache.
pub(super) const TILE_PANELS: usize = 16;

/// What a thread works in; kept from block to block, whatever SAE it is of.
#[derive(Default)]
struct Scratch {
    /// Inputs, `[BLOCK_ROWS, d_in]`, where they are not the rows as they are.
    u: Vec<f32>,
    /// The same, ready for the product.
    rows: KeptRows,
    /// Products, `[BLOCK_ROWS, tile]`.
    products: Vec<f32>,
    picks: Vec<RowSelection>,
    screening: ScreenScratch,
}

impl Scratch {
    /// Lends the thread's own.
    fn lend<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
        thread_local! {
            static SCRATCH: RefCell<Scratch> = RefCell::default();
        }
        SCRATCH.with_borrow_mut(work)
    }
}

impl SaeShape {
    /// Bytes that a thread takes while it encodes: inputs as they are and laid out, products of a tile, what of each row may be
    /// kept; where latents may be screened ([`Sae::screened`]) inputs laid out twice more, and sums of a tile.
    pub fn encoding_bytes(&self, encode: Encode) -> u64 {
        let (d_in, tile) = (self.d_in as u64, (TILE_PANELS * WIDTH) as u64);
        let keys = size_of::<RankKey>() as u64 * 2 * self.entries_per_row(encode) as u64;
        let screening = if self.screen_bytes() > 0 { (4 + 1) * d_in + 4 * tile + ScreenScratch::ROW_BYTES } else { 0 };
        BLOCK_ROWS as u64 * (2 * 4 * d_in + 4 * tile + keys + screening)
    }
}

/// Latents of a block: entries of its rows one after the other.
#[derive(Default)]
pub(super) struct Block {
    row_lengths: Vec<usize>,
    latents: Vec<u32>,
    values: Vec<f32>,
}

impl Block {
    /// Adds row `row`, of which these latents were picked; a value that is 0 has no entry.
    ///
    /// # Errors
    /// `Input` where a latent's value was not finite.
    pub(super) fn add_row(
        &mut self,
        row: usize,
        broken: Option<u32>,
        picked: impl Iterator<Item = (u32, f32)> + Clone,
        scale: Option<&[f32]>,
    ) -> Result<()> {
        if let Some(latent) = broken {
            return Err(Error::input(format!(
                "row {row} of the activations makes latent {latent} overflow; check the model's dtype and the SAE's hookpoint"
            )));
        }
        let before = self.latents.len();
        match scale {
            // A candidate exceeds a floor of 0 or more, so it is not 0.
            None => {
                self.latents.extend(picked.clone().map(|(latent, _)| latent));
                self.values.extend(picked.map(|(_, value)| value));
            }
            Some(scale) => {
                for (latent, value) in picked {
                    let value = value * scale[latent as usize];
                    if value != 0.0 {
                        self.latents.push(latent);
                        self.values.push(value);
                    }
                }
            }
        }
        self.row_lengths.push(self.latents.len() - before);
        Ok(())
    }
}

impl Sae {
    /// Latents of `x: [n_rows, d_in]` f32. Of equal values at the edge of a top-k the lowest latents are kept; a latent of
    /// value 0 has no entry; no rows give an empty batch.
    ///
    /// # Errors
    /// `Request` when `x` is not `d_in` wide or the batch has more than 2³² entries; `Input` naming the first row that
    /// is not finite, or whose latents are not, or (SAEs that divide by the norm of the input) that is all zeros.
    pub fn encode(&self, x: &Matrix<f32>, encode: Encode) -> Result<LatentBatch> {
        self.encode_in_turn(0, x, encode)
    }

    /// The same on the device whose turn it is, of several: 0 the first, 1 the second, and round.
    ///
    /// # Errors
    /// As [`Sae::encode`]; `Machine` when the device fails.
    pub fn encode_in_turn(&self, turn: usize, x: &Matrix<f32>, encode: Encode) -> Result<LatentBatch> {
        let d_in = self.shape.d_in;
        if x.n_cols() != d_in {
            return Err(Error::request(format!(
                "the SAE at {} reads {d_in} numbers per row, the activations have {}; check its hookpoint",
                self.shape.files[0].display(),
                x.n_cols()
            )));
        }
        let dense;
        let rule = match (encode, &self.rule) {
            (Encode::Dense, Rule::TopK { bias, signed: false, .. } | Rule::GroupMax { bias, .. }) => {
                dense = Rule::Above { bias: bias.clone(), floor: vec![0.0; bias.len()] };
                &dense
            }
            (Encode::Dense, Rule::TopK { bias, signed: true, .. }) => {
                dense = Rule::TopK { bias: bias.clone(), k: self.shape.d_sae, signed: true };
                &dense
            }
            (_, rule) => rule,
        };
        let blocks = match self.products.len() {
            0 => (0..x.n_rows().div_ceil(BLOCK_ROWS))
                .into_par_iter()
                .map(|b| Scratch::lend(|scratch| self.encode_block(x, b * BLOCK_ROWS, rule, scratch)))
                .collect(),
            n => self.encode_with(&self.products[turn % n], x, rule)?,
        };
        self.join(blocks)
    }

    /// The same SAE, screening latents where that pays (`screen.rs`): for all that is encoded from here on the
    /// same latents and values, sooner, for [`SaeShape::screen_bytes`](super::SaeShape::screen_bytes) more. An SAE in bf16 is not
    /// screened: what is left would have to be computed by chains of bf16, one element at a time, which `linalg/columns.rs` does not.
    #[must_use]
    pub fn screened(mut self) -> Sae {
        if let Some(w_enc) = self.w_enc.as_f32().filter(|_| self.shape.screen_bytes() > 0 && self.products.is_empty()) {
            self.screen = Screen::of(w_enc, &self.rule).map(Arc::new);
        }
        self
    }

    /// The same SAE with its encoder rounded to bf16, and from here on the rows that it is multiplied by. Sums, biases and the selection
    /// stay f32. Nothing is screened.
    #[must_use]
    pub fn in_bf16(self) -> Sae {
        Sae { w_enc: self.w_enc.in_bf16(), screen: None, ..self }
    }

    /// How many times as fast as the full encode screening was found to be; `None` where it is not tried, or not yet known.
    pub fn screening(&self) -> Option<f64> {
        Some(self.screen.as_ref()?.speedup()?.times)
    }

    #[allow(clippy::disallowed_methods, reason = "both ways that are timed give the same bits")]
    fn encode_block(&self, x: &Matrix<f32>, first_row: usize, rule: &Rule, scratch: &mut Scratch) -> Result<Block> {
        let (d_in, d_sae) = (self.shape.d_in, self.shape.d_sae);
        let Scratch { u, rows, products, picks, screening } = scratch;
        let n_rows = BLOCK_ROWS.min(x.n_rows() - first_row);
        products.resize(BLOCK_ROWS * TILE_PANELS * WIDTH, 0.0);
        picks.resize(BLOCK_ROWS, RowSelection::default());
        let x = &x.as_slice()[first_row * d_in..][..n_rows * d_in];
        let u = self.prepare(x, first_row, u)?;
        self.w_enc.pack(rows, u, n_rows);
        let picks = &mut picks[..n_rows];
        let mut full = |panels: Range<usize>, picks: &mut [RowSelection]| {
            for panel in panels.clone().step_by(TILE_PANELS) {
                let panels = panel..panels.end.min(panel + TILE_PANELS);
                let (first, end) = (panels.start * WIDTH, d_sae.min(panels.end * WIDTH));
                let products = &mut products[..n_rows * (end - first)];
                self.w_enc.multiply(rows, panels, products, Finish::default());
                pick(rule, first, end - first, products, picks);
            }
        };
        // Of another rule than the SAE's own (a dense encode) nothing is screened.
        let screen = self.screen.as_deref().filter(|_| std::ptr::eq(rule, &self.rule));
        let mode = screen.map_or(Mode::Full, |screen| screen.mode(n_rows == BLOCK_ROWS));
        let start = Instant::now();
        picks.iter_mut().for_each(RowSelection::clear);
        if mode != Mode::Screened {
            full(0..self.w_enc.n_panels(), picks);
        }
        let took = start.elapsed();
        if let Some(screen) = screen.filter(|_| mode != Mode::Full) {
            let start = Instant::now();
            picks.iter_mut().for_each(RowSelection::clear);
            screen.pick(u, rule, TILE_PANELS, screening, picks, full);
            if mode == Mode::Both {
                screen.record(took, start.elapsed());
            }
        }
        self.block_of(first_row, rule, picks)
    }

    /// The latents of rows from `first_row` on, by what was picked of each.
    pub(super) fn block_of(&self, first_row: usize, rule: &Rule, picks: &mut [RowSelection]) -> Result<Block> {
        let mut block = Block::default();
        for (r, pick) in picks.iter_mut().enumerate() {
            let broken = pick.broken();
            let keys: &[RankKey] = if let Rule::TopK { k, .. } = *rule { pick.best(k) } else { pick.all() };
            let picked = keys.iter().map(|key| (key.latent(), key.value()));
            block.add_row(first_row + r, broken, picked, self.output_scale.as_deref())?;
        }
        Ok(block)
    }

    /// `u = normalise(x) - subtract` of rows from `first_row` on, made in `u`; the rows themselves where that is all there is to it.
    pub(super) fn prepare<'a>(&self, x: &'a [f32], first_row: usize, u: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let d_in = self.shape.d_in;
        let as_it_is = self.normalise == Normalise::Nothing && self.subtract.is_none();
        if !as_it_is {
            u.resize(x.len(), 0.0);
        }
        for (r, x) in x.chunks_exact(d_in).enumerate() {
            let within = |e: Error| e.within(format!("row {} of the activations", first_row + r));
            if let Some(at) = x.iter().position(|v| !v.is_finite()) {
                let what = format!("holds {} at column {at}; check the model's dtype and weights", x[at]);
                return Err(within(Error::input(what)));
            }
            if as_it_is {
                continue;
            }
            let u = &mut u[r * d_in..][..d_in];
            self.normalise.apply(x, u).map_err(within)?;
            if let Some(subtract) = &self.subtract {
                u.iter_mut().zip(subtract).for_each(|(u, b)| *u -= b);
            }
        }
        Ok(if as_it_is { x } else { u })
    }

    /// Blocks in order; the error of the first row that has one.
    fn join(&self, blocks: Vec<Result<Block>>) -> Result<LatentBatch> {
        let blocks = blocks.into_iter().collect::<Result<Vec<Block>>>()?;
        let mut batch = LatentBatch { d_sae: self.shape.d_sae, row_starts: vec![0], ..LatentBatch::default() };
        let n = blocks.iter().map(|block| block.latents.len()).sum();
        batch.latents.reserve_exact(n);
        batch.values.reserve_exact(n);
        batch.row_starts.reserve_exact(blocks.iter().map(|block| block.row_lengths.len()).sum());
        for block in blocks {
            for length in block.row_lengths {
                let end = *batch.row_starts.last().expect("starts with 0") as usize + length;
                batch.row_starts.push(u32::try_from(end).map_err(|_| {
                    Error::request("a batch has more than 4294967295 active latents; lower corpus.batch_contexts")
                })?);
            }
            batch.latents.extend(block.latents);
            batch.values.extend(block.values);
        }
        Ok(batch)
    }
}

/// Takes the candidates of a tile, `products: [picks.len() or more, width]`.
pub(super) fn pick(rule: &Rule, first: usize, width: usize, products: &[f32], picks: &mut [RowSelection]) {
    let span = first..first + width;
    vectorised(
        #[inline(always)]
        || {
            for (products, pick) in products.chunks_exact(width).zip(picks) {
                match rule {
                    Rule::Above { bias, floor } => {
                        pick.above(first, products, &bias[span.clone()], &floor[span.clone()])
                    }
                    Rule::TopK { bias, k, signed: false } => {
                        pick.top_k::<false>(*k, first, products, &bias[span.clone()])
                    }
                    Rule::TopK { bias, k, signed: true } => {
                        pick.top_k::<true>(*k, first, products, &bias[span.clone()])
                    }
                    Rule::GroupMax { bias, groups } => {
                        pick.group_max(bias.len() / groups, first, products, &bias[span.clone()]);
                    }
                    Rule::Gated { bias, scale, gate } => {
                        let (bias, scale, gate) = (&bias[span.clone()], &scale[span.clone()], &gate[span.clone()]);
                        pick.gated(first, products, bias, scale, gate);
                    }
                }
            }
        },
    );
}
