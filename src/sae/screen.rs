//! Which latents cannot be active? A cheap product finds them; the remaining latents are computed exactly.
//!
//! A product of bytes with a proven bound (`linalg/bytes.rs`) costs a quarter of the f32 product where the processor has an
//! instruction for it. A latent must exceed the k-th best value so far (top-k) or a threshold. When its value plus the bound
//! does not, the latent is left out, as the full encode would do. The other latents are computed one by one with the bits of
//! the full product (`linalg/columns.rs`) and offered in the same order. Latents and values therefore equal the full encode bit
//! for bit. Whether screening is faster depends on the SAE and the processor: the first blocks are encoded both ways, and the
//! faster way is used from then on.

use super::rule::{Activation, Rule};
use super::selection::RowSelection;
use crate::linalg::bytes::{BytePanels, ByteRows, DEEPEST, Rounding, UNDERFLOW, multiply_bytes};
use crate::linalg::columns::{COLUMNS, ColumnMajor, WovenRows, multiply_few};
use crate::linalg::panels::{Panels, WIDTH};
use crate::linalg::{bytes, vectorised};
use std::ops::Range;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Latents compared at once.
const LANES: usize = 32;
/// Of k kept, so many times k latents go through the full product first: they give the others something to exceed.
const HEAD_START: usize = 32;
/// Columns that are looked at before what waits is computed: they stay in the third-level cache.
const TOGETHER_BYTES: u64 = 16 << 20;
/// Blocks encoded both ways.
const TIMED_BLOCKS: usize = 4;

/// Products from this size may overflow. Such a row is computed in full, because the full encode reports values that are
/// not finite.
const OVERFLOWS: f32 = 1e37;

/// What screening an SAE needs in addition to its encoder.
#[derive(Debug)]
pub(super) struct Screen {
    bytes: BytePanels,
    columns: ColumnMajor,
    /// Per latent, `[d_sae]`: step of its bytes, bias (with the slack that the bound needs), norm, norm of the rounding error.
    step: Vec<f32>,
    bias: Vec<f32>,
    norm: Vec<f32>,
    rounded: Vec<f32>,
    largest_norm: f32,
    timing: Mutex<Timing>,
    speedup: OnceLock<Speedup>,
}

/// The shortest times so far.
#[derive(Debug, Default)]
struct Timing {
    n: usize,
    full: Duration,
    screened: Duration,
}

/// How much faster screening is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Speedup {
    /// How many times as fast as the full encode.
    pub times: f64,
}

impl Speedup {
    /// Whether screening is faster.
    pub fn pays(self) -> bool {
        self.times > 1.0
    }
}

/// How a block is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    Full,
    Screened,
    /// Both ways, timed.
    Both,
}

/// What a thread screens in; kept from block to block.
#[derive(Default)]
pub(super) struct ScreenScratch {
    bytes: ByteRows,
    woven: WovenRows,
    sums: Vec<i32>,
    waiting: Vec<Waiting>,
}

/// Latents of one row that are still to be computed, ascending.
#[derive(Clone, Copy, Default)]
struct Waiting {
    latents: [u32; COLUMNS],
    n: usize,
}

impl ScreenScratch {
    /// Bytes per row in addition to its inputs and sums.
    pub const ROW_BYTES: u64 = size_of::<Waiting>() as u64;
}

impl Screen {
    /// For an encoder under `rule`; `None` where there is no bound to exceed, or nothing to gain.
    pub fn of(w_enc: &Panels, rule: &Rule) -> Option<Screen> {
        let bias = match rule {
            Rule::Above { bias, .. } | Rule::TopK { bias, signed: false, .. } => bias,
            Rule::TopK { signed: true, .. } | Rule::GroupMax { .. } | Rule::Gated { .. } => return None,
        };
        if w_enc.depth() > DEEPEST || head_start(rule) >= w_enc.n_columns() {
            return None;
        }
        let (bytes, latents) = BytePanels::of(w_enc);
        let each = |of: fn(&Rounding) -> f32| latents.iter().map(of).collect();
        Some(Screen {
            columns: ColumnMajor::of(w_enc),
            step: each(|latent| latent.step),
            // more than it is by what adding it up may lose
            bias: bias.iter().map(|b| b + 1e-6 * b.abs() + UNDERFLOW).collect(),
            largest_norm: latents.iter().fold(0.0, |max, latent| max.max(latent.norm)),
            norm: each(|latent| latent.norm),
            rounded: each(|latent| latent.rounded),
            timing: Mutex::default(),
            speedup: OnceLock::new(),
            bytes,
        })
    }

    /// Bytes that one takes for an encoder `[d_in, d_sae]`.
    pub fn memory_bytes(d_in: usize, d_sae: usize) -> u64 {
        let vectors = 4 * size_of::<f32>() as u64 * d_sae as u64;
        BytePanels::memory_bytes(d_in, d_sae) + ColumnMajor::memory_bytes(d_in, d_sae) + vectors
    }

    /// Whether an SAE with this activation is worth timing on this machine.
    pub fn is_worth_timing(activation: Activation, d_in: usize, d_sae: usize) -> bool {
        let bounded = match activation {
            Activation::TopK(k) => HEAD_START * k < d_sae,
            Activation::Relu | Activation::JumpRelu => true,
            Activation::AbsTopK(_) | Activation::GroupMax(_) | Activation::Gated => false,
        };
        bounded && d_in <= DEEPEST && bytes::pays_off()
    }

    /// The measured speed-up, once [`TIMED_BLOCKS`] blocks are timed.
    pub fn speedup(&self) -> Option<Speedup> {
        self.speedup.get().copied()
    }

    /// How to encode the next block; a block of few rows shows no difference, and is not timed.
    pub fn mode(&self, whole_block: bool) -> Mode {
        match self.speedup() {
            Some(speedup) if speedup.pays() => Mode::Screened,
            None if whole_block => Mode::Both,
            _ => Mode::Full,
        }
    }

    /// Records how long a block took each way.
    pub fn record(&self, full: Duration, screened: Duration) {
        let mut timing = self.timing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let first = timing.n == 0;
        timing.full = if first { full } else { timing.full.min(full) };
        timing.screened = if first { screened } else { timing.screened.min(screened) };
        timing.n += 1;
        if timing.n == TIMED_BLOCKS {
            let times = timing.full.as_secs_f64() / timing.screened.as_secs_f64().max(1e-9);
            self.speedup.get_or_init(|| Speedup { times });
        }
    }

    /// Offers `picks` what the rows `u: [picks.len(), d_in]` may keep, a tile of `tile` panels after the other. `full` does the
    /// same with the whole product of a tile, for the first latents of a counted selection.
    pub fn pick(
        &self,
        u: &[f32],
        rule: &Rule,
        tile: usize,
        work: &mut ScreenScratch,
        picks: &mut [RowSelection],
        mut full: impl FnMut(Range<usize>, &mut [RowSelection]),
    ) {
        let (n_rows, d_sae) = (picks.len(), self.step.len());
        let (depth, n_panels) = (u.len() / n_rows.max(1), d_sae.div_ceil(WIDTH));
        let head = head_start(rule).div_ceil(tile * WIDTH) * tile;
        for first in (0..head.min(n_panels)).step_by(tile) {
            full(first..n_panels.min(first + tile), picks);
        }
        if let Rule::TopK { k, .. } = *rule {
            picks.iter_mut().for_each(|pick| pick.prune(k));
        }
        // Several rows may wait for the same column: it comes from memory once.
        let together = (TOGETHER_BYTES / ColumnMajor::memory_bytes(depth, tile * WIDTH)).max(1) as usize * tile;
        let ScreenScratch { bytes, woven, sums, waiting } = work;
        bytes.pack(u, n_rows, depth);
        woven.pack(u, n_rows, depth);
        waiting.clear();
        waiting.resize(n_rows, Waiting::default());
        for first in (head..n_panels).step_by(tile) {
            let panels = first..n_panels.min(first + tile);
            let width = panels.len() * WIDTH;
            sums.resize(n_rows * width, 0);
            multiply_bytes(bytes, &self.bytes, panels, &mut sums[..n_rows * width]);
            vectorised(
                #[inline(always)]
                || {
                    for (r, sums) in sums[..n_rows * width].chunks_exact(width).enumerate() {
                        let row = self.row(rule, bytes, woven, r);
                        self.scan(&row, first * WIDTH, sums, &mut waiting[r], &mut picks[r]);
                    }
                },
            );
            if (first + tile).is_multiple_of(together) || first + tile >= n_panels {
                for (r, (waiting, pick)) in waiting.iter_mut().zip(&mut *picks).enumerate() {
                    self.compute(&self.row(rule, bytes, woven, r), waiting, pick);
                }
            }
        }
    }

    #[inline(always)]
    fn row<'a>(&self, rule: &'a Rule, bytes: &ByteRows, woven: &'a WovenRows, r: usize) -> ScreenRow<'a> {
        let mut rounding = bytes.roundings()[r];
        if rounding.norm * self.largest_norm > OVERFLOWS {
            rounding.norm = f32::INFINITY;
        }
        ScreenRow { rule, woven, r, offset: bytes.offset(r), rounding }
    }

    /// One row's sums of the latents from `first` on.
    #[inline(always)]
    fn scan(&self, row: &ScreenRow<'_>, first: usize, sums: &[i32], waiting: &mut Waiting, pick: &mut RowSelection) {
        let n = sums.len().min(self.step.len() - first);
        let (lanes, rest) = sums[..n].as_chunks::<LANES>();
        for (c, sums) in lanes.iter().enumerate() {
            self.look(row, first + c * LANES, sums, waiting, pick);
        }
        for (i, sum) in rest.iter().enumerate() {
            self.look(row, first + lanes.len() * LANES + i, &[*sum], waiting, pick);
        }
    }

    /// The same for [`LANES`] latents or one.
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)] // what overflowed is not known
    fn look<const L: usize>(
        &self,
        row: &ScreenRow<'_>,
        first: usize,
        sums: &[i32; L],
        waiting: &mut Waiting,
        pick: &mut RowSelection,
    ) {
        let [step, bias, norm, rounded] =
            [&self.step, &self.bias, &self.norm, &self.rounded].map(|v| lanes::<L>(v, first));
        let floor = match row.rule {
            Rule::Above { floor, .. } => *lanes(floor, first),
            _ => [pick.floor(); L],
        };
        let mut may = [0u8; LANES];
        for i in 0..L {
            let about = (sums[i] - row.offset) as f32 * row.rounding.step;
            let most = about.mul_add(step[i], bias[i]);
            let most = row.rounding.rounded.mul_add(norm[i], most);
            let most = row.rounding.norm.mul_add(rounded[i], most);
            may[i] = u8::from(!(most <= floor[i]));
        }
        let (words, _) = may.as_chunks::<8>();
        for (w, word) in words[..L.div_ceil(8)].iter().enumerate() {
            let mut word = u64::from_le_bytes(*word);
            while word != 0 {
                waiting.latents[waiting.n] = (first + w * 8) as u32 + word.trailing_zeros() / 8;
                waiting.n += 1;
                word &= word - 1;
                if waiting.n == COLUMNS {
                    self.compute(row, waiting, pick);
                }
            }
        }
    }

    /// Computes what waits, and offers it.
    fn compute(&self, row: &ScreenRow<'_>, waiting: &mut Waiting, pick: &mut RowSelection) {
        let n = std::mem::take(&mut waiting.n);
        if n == 0 {
            return;
        }
        let mut latents = waiting.latents;
        let any = latents[0];
        latents[n..].fill(any);
        let products = multiply_few(row.woven, row.r, &self.columns, latents);
        for (&latent, product) in latents[..n].iter().zip(products) {
            let j = latent as usize;
            match row.rule {
                Rule::Above { bias, floor } => pick.offer(latent, product + bias[j], floor[j]),
                Rule::TopK { bias, k, .. } => pick.offer_to_best(*k, latent, product + bias[j]),
                Rule::GroupMax { .. } | Rule::Gated { .. } => unreachable!("rules that are not screened"),
            }
        }
    }
}

/// Latents that go through the full product.
fn head_start(rule: &Rule) -> usize {
    if let Rule::TopK { k, .. } = *rule { HEAD_START * k } else { 0 }
}

/// A row that is screened.
struct ScreenRow<'a> {
    rule: &'a Rule,
    woven: &'a WovenRows,
    r: usize,
    offset: i32,
    rounding: Rounding,
}

/// `L` values from `first` on.
#[inline(always)]
fn lanes<const L: usize>(values: &[f32], first: usize) -> &[f32; L] {
    values[first..first + L].try_into().expect("as many")
}

#[cfg(test)]
impl Screen {
    /// As if screening had been measured to be faster.
    pub fn always(w_enc: &Panels, rule: &Rule) -> Option<Screen> {
        let screen = Screen::of(w_enc, rule)?;
        screen.speedup.get_or_init(|| Speedup { times: 2.0 });
        Some(screen)
    }
}
