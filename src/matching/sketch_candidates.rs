//! Which pairs are counted? Candidates from sketches: each latent's best partners by the estimated correlation of every pair of
//! two spaces. `candidate_matches` matches what was counted.
//!
//! Sketches are centred (with the sketch of the constant 1) and brought to length 1, so that an inner product estimates a
//! correlation as a sample of `width` buckets does: standard error (1 − r²)/√width, 0 for a latent with a copy of itself.
//! All pairs are one product, computed [`PRODUCT_ROWS`] by [`PRODUCT_COLUMNS`] at a time; only the best are kept. The product's
//! bits do not depend on where it is cut (`linalg/panels.rs`).

use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::matching::Standardised;
use crate::matching::best::{GLANCE, glance};
use crate::moments::{CandidateSums, Candidates, Sketch};
use rayon::prelude::*;

/// Source latents of one product.
pub const PRODUCT_ROWS: usize = 264;
/// Products whose sources are held, centred and laid out, while the targets pass; each source is then laid out once.
const PRODUCTS_HELD: usize = 8;
/// Target latents of one product.
pub const PRODUCT_COLUMNS: usize = 1024;

/// Bytes that a thread needs while candidates are chosen; one more thread's lists hold the merged result.
pub fn choosing_bytes(width: usize, d_target: usize, keep: usize) -> usize {
    let held = PRODUCTS_HELD * PRODUCT_ROWS;
    let lists = (held + d_target) * (8 * keep + 4);
    4 * ((held + PRODUCT_ROWS + 2 * PRODUCT_COLUMNS) * width + PRODUCT_ROWS * PRODUCT_COLUMNS) + lists
}

/// The `keep` best of each of `n` latents, as flat lists: correlation and partner, best first, ties to the lower partner.
struct Best {
    keep: usize,
    r: Vec<f32>,
    partner: Vec<u32>,
    /// Last value of each list: a lower value changes nothing.
    floor: Vec<f32>,
}

impl Best {
    fn new(n: usize, keep: usize) -> Self {
        let none = f32::NEG_INFINITY;
        Best { keep, r: vec![none; n * keep], partner: vec![u32::MAX; n * keep], floor: vec![none; n] }
    }

    #[inline]
    fn offer(&mut self, i: usize, r: f32, partner: u32) {
        let (from, to) = (i * self.keep, (i + 1) * self.keep);
        let precedes = |a: f32, p: u32| a > r || (a == r && p < partner);
        // NaN: a latent without variance
        if r < self.r[to - 1] || r.is_nan() || precedes(self.r[to - 1], self.partner[to - 1]) {
            return;
        }
        let mut at = to - 1;
        while at > from && !precedes(self.r[at - 1], self.partner[at - 1]) {
            (self.r[at], self.partner[at]) = (self.r[at - 1], self.partner[at - 1]);
            at -= 1;
        }
        (self.r[at], self.partner[at]) = (r, partner);
        self.floor[i] = self.r[to - 1];
    }

    fn list(&self, i: usize) -> impl Iterator<Item = (f32, u32)> + '_ {
        let span = i * self.keep..(i + 1) * self.keep;
        self.r[span.clone()].iter().copied().zip(self.partner[span].iter().copied()).filter(|(_, p)| *p != u32::MAX)
    }

    fn merge(&mut self, other: &Best) {
        for i in 0..self.r.len() / self.keep {
            for (r, partner) in other.list(i) {
                self.offer(i, r, partner);
            }
        }
    }
}

/// Centred sketches of length 1 of latents `from..from + n`, `[n, width]` into `out`; NaN where a latent has no variance.
fn standard_rows(sketch: &Sketch, of: &Standardised, from: usize, n: usize, out: &mut [f32]) {
    for (k, z) in out.chunks_exact_mut(sketch.width()).take(n).enumerate() {
        let i = from + k;
        let mean = of.sum[i] / of.n_rows;
        let mut square = 0.0f64;
        for ((z, &s), &one) in z.iter_mut().zip(sketch.latent(i)).zip(sketch.ones()) {
            let centred = f64::from(s) - mean * one;
            square += centred * centred;
            *z = centred as f32;
        }
        let scale = if of.scale[i].is_some() && square > 0.0 { (1.0 / square.sqrt()) as f32 } else { f32::NAN };
        z.iter_mut().for_each(|z| *z *= scale);
    }
}

/// The two spaces of a pair: sketch and sums, source first.
pub type Sides<'a> = [(&'a Sketch, &'a Standardised); 2];

/// Chooses the `keep` best partners of every latent, both ways. A pair that is counted already competes with its counted
/// correlation, and continues to be counted when it is chosen again; a new one begins with the sketches' estimate.
pub fn choose_candidates(counted: &CandidateSums, sides: Sides<'_>, keep: usize) -> CandidateSums {
    let [(a, of_a), (b, of_b)] = sides;
    let (d_source, d_target) = (a.d_sae(), b.d_sae());
    // one stretch per thread, since each holds a list of best sources for every target; the result does not depend on their
    // number: partners have a total order, and products have the same bits wherever they are cut
    let height = d_source.div_ceil(rayon::current_num_threads()).next_multiple_of(PRODUCT_ROWS);
    let stretches: Vec<(Vec<(u32, u32)>, Best)> = (0..d_source.div_ceil(height))
        .into_par_iter()
        .map(|s| {
            let rows = s * height..((s + 1) * height).min(d_source);
            let mut backward = Best::new(d_target, keep);
            let forward = best_of_stretch(counted, sides, rows, keep, &mut backward);
            (forward, backward)
        })
        .collect();
    let mut chosen: Vec<(u32, u32)> = Vec::new();
    let mut backward = Best::new(d_target, keep);
    for (forward, of_stretch) in stretches {
        chosen.extend(forward);
        backward.merge(&of_stretch);
    }
    chosen.extend((0..d_target).flat_map(|j| backward.list(j).map(move |(_, i)| (i, j as u32))));
    drop(backward);
    chosen.par_sort_unstable();
    chosen.dedup();

    let known = counted.candidates();
    let entries: Vec<(f64, u64, f32)> = (chosen.par_iter())
        .map(|&(i, j)| match known.find(i, j) {
            Some(k) => (counted.sums()[k], known.sketched_rows[k], known.error[k]),
            None => {
                let (r, spread) = estimate(sides, i as usize, j as usize);
                let between = of_a.sum[i as usize] * of_b.sum[j as usize] / of_a.n_rows;
                let error = (1.0 - r * r) / (a.width() as f64).sqrt() * spread;
                (r * spread + between, of_a.n_rows as u64, error as f32)
            }
        })
        .collect();
    let mut candidates = Candidates::none(d_source);
    let mut sums = Vec::with_capacity(entries.len());
    for (&(i, j), (sum, sketched_rows, error)) in chosen.iter().zip(entries) {
        candidates.starts[i as usize + 1] += 1;
        candidates.targets.push(j);
        candidates.sketched_rows.push(sketched_rows);
        candidates.error.push(error);
        sums.push(sum);
    }
    for i in 0..d_source {
        candidates.starts[i + 1] += candidates.starts[i];
    }
    CandidateSums::with(d_source, d_target, candidates, sums).expect("pairs are sorted, each once")
}

/// Forward pairs of the source latents `rows`; best sources of every target go into `backward`.
fn best_of_stretch(
    counted: &CandidateSums,
    sides: Sides<'_>,
    rows: std::ops::Range<usize>,
    keep: usize,
    backward: &mut Best,
) -> Vec<(u32, u32)> {
    let [(a, of_a), (b, of_b)] = sides;
    let (width, d_target) = (a.width(), b.d_sae());
    let mut za = vec![0f32; PRODUCT_ROWS * width];
    let mut zb = vec![0f32; PRODUCT_COLUMNS * width];
    let mut r = vec![0f32; PRODUCT_ROWS * PRODUCT_COLUMNS];
    let mut held = [(); PRODUCTS_HELD].map(|()| PackedRows::default());
    let mut out = Vec::new();
    for from in rows.clone().step_by(PRODUCTS_HELD * PRODUCT_ROWS) {
        let products: Vec<std::ops::Range<usize>> = (from..rows.end.min(from + PRODUCTS_HELD * PRODUCT_ROWS))
            .step_by(PRODUCT_ROWS)
            .map(|first| first..rows.end.min(first + PRODUCT_ROWS))
            .collect();
        for (rows, z) in products.iter().zip(&mut held) {
            standard_rows(a, of_a, rows.start, rows.len(), &mut za);
            z.pack(&za[..rows.len() * width], rows.len(), width);
        }
        let mut forward: Vec<Best> = products.iter().map(|rows| Best::new(rows.len(), keep)).collect();
        for first in (0..d_target).step_by(PRODUCT_COLUMNS) {
            let columns = first..d_target.min(first + PRODUCT_COLUMNS);
            let n = columns.len();
            standard_rows(b, of_b, first, n, &mut zb);
            let panels = Panels::from_transposed(&zb[..n * width], n, width);
            for ((rows, z), forward) in products.iter().zip(&held).zip(&mut forward) {
                let r = &mut r[..rows.len() * n];
                multiply(z, &panels, 0..panels.n_panels(), r, Finish::default());
                for ((k, i), r) in rows.clone().enumerate().zip(r.chunks_exact_mut(n)) {
                    set_counted(counted, sides, i, columns.clone(), r);
                    for (start, r) in (first..).step_by(GLANCE).zip(r.chunks(GLANCE)) {
                        // equal values too: the lower partner is kept, in whatever order they come
                        if !glance(r, forward.floor[k], &backward.floor[start..start + r.len()], |r, floor| r >= floor)
                        {
                            continue;
                        }
                        for (j, &r) in (start..).zip(r) {
                            forward.offer(k, r, j as u32);
                            backward.offer(j, r, i as u32);
                        }
                    }
                }
            }
        }
        for (rows, forward) in products.into_iter().zip(forward) {
            out.extend(
                rows.enumerate()
                    .flat_map(|(k, i)| forward.list(k).map(move |(_, j)| (i as u32, j)).collect::<Vec<_>>()),
            );
        }
    }
    out
}

/// Puts the counted correlations of source `i` in the place of the estimated ones; `r` is of the targets `columns`.
fn set_counted(counted: &CandidateSums, sides: Sides<'_>, i: usize, columns: std::ops::Range<usize>, r: &mut [f32]) {
    let ([(_, of_a), (_, of_b)], known) = (sides, counted.candidates());
    for entry in known.row(i) {
        let j = known.targets[entry] as usize;
        if columns.contains(&j) {
            r[j - columns.start] = of_a.correlate(i, of_b, j, counted.sums()[entry]).map_or(f32::NAN, |r| r as f32);
        }
    }
}

/// Estimated correlation of two latents with variance, and √(Σ(x−x̄)²Σ(y−ȳ)²).
fn estimate([(a, of_a), (b, of_b)]: Sides<'_>, i: usize, j: usize) -> (f64, f64) {
    let (mx, my) = (of_a.sum[i] / of_a.n_rows, of_b.sum[j] / of_b.n_rows);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (((&x, &y), one_x), one_y) in a.latent(i).iter().zip(b.latent(j)).zip(a.ones()).zip(b.ones()) {
        let (x, y) = (f64::from(x) - mx * one_x, f64::from(y) - my * one_y);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    let scale = |of: &Standardised, i: usize| of.scale[i].expect("a candidate has a variance");
    let spread = 1.0 / (scale(of_a, i) * scale(of_b, j)) / of_a.n_rows;
    ((xy / (xx * yy).sqrt()).clamp(-1.0, 1.0), spread)
}

#[cfg(test)]
mod tests;
