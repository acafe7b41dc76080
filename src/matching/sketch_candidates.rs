//! Candidates from sketches: each latent's best partners by the estimated correlation of every pair of two spaces.
//!
//! Sketches are centred (with the sketch of the constant 1) and brought to length 1, so that an inner product estimates a
//! correlation as a sample of `width` buckets does: standard error (1 − r²)/√width, 0 for a latent with a copy of itself.
//! All pairs are one product, [`PRODUCT_ROWS`] by [`PRODUCT_COLUMNS`] at a time; nothing of it is kept but the best. Its bits
//! do not depend on where it is cut (`linalg/panels.rs`).

use crate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use crate::matching::best::{GLANCE, glance};
use crate::matching::{BestPartners, Correlation, Partner, Standardised, TileMatches};
use crate::moments::{CandidateSums, Candidates, Sketch};
use rayon::prelude::*;

/// Source latents of one product.
pub const PRODUCT_ROWS: usize = 264;
/// Products whose sources are held, centred and laid out, while the targets pass: they must be so only once for each.
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
    /// The last one of each list: what is below it changes nothing.
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
    // a stretch for each thread, for each holds a list of best sources for every target; what comes of them is the same
    // however many there are, for the order of partners is total and products have the same bits wherever they are cut
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
                        // equal ones too: of them the lower partner stays, whoever comes first
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

/// The `keep` best partners of every latent among the candidates, both ways.
pub fn match_counted(
    counted: &CandidateSums,
    source: &Standardised,
    target: &Standardised,
    keep: usize,
) -> TileMatches {
    let mut found = TileMatches {
        forward: vec![BestPartners::default(); counted.d_source()],
        backward: vec![BestPartners::default(); counted.d_target()],
    };
    let candidates = counted.candidates();
    for i in 0..counted.d_source() {
        for entry in candidates.row(i) {
            let j = candidates.targets[entry];
            let r = source.correlate(i, target, j as usize, counted.sums()[entry]);
            let Some(correlation) = r.and_then(Correlation::new) else { continue };
            found.forward[i].offer(Partner { latent: j, correlation }, keep);
            found.backward[j as usize].offer(Partner { latent: i as u32, correlation }, keep);
        }
    }
    found
}

/// Standard error of a counted pair's correlation from the rows that are estimated: 0 where all were counted, `None` where a
/// variance is 0.
pub fn standard_error(
    candidates: &Candidates,
    entry: usize,
    x: (&Standardised, usize),
    y: (&Standardised, usize),
) -> Option<f64> {
    let (scale_x, scale_y) = (x.0.scale[x.1]?, y.0.scale[y.1]?);
    Some(f64::from(candidates.error[entry]) * x.0.n_rows * scale_x * scale_y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use crate::moments::{Accumulator, Beside, ByLatent, LatentSums};
    use crate::sae::LatentBatch;

    /// Sparse non-negative latents over `n` rows, the last ones of the second space noisy copies of the first ones.
    fn spaces(seed: u64, n: usize, d: usize, copies: usize) -> [LatentBatch; 2] {
        let mut random = Stream::new(seed, "test", 0);
        let draw = |random: &mut Stream, often: f64| (random.unit() < often).then(|| (0.5 + random.unit()) as f32);
        let mut out = [(); 2].map(|()| LatentBatch { d_sae: d, row_starts: vec![0], ..Default::default() });
        for _ in 0..n {
            let first: Vec<Option<f32>> = (0..d).map(|i| draw(&mut random, 0.02 + 0.2 * (i % 5) as f64)).collect();
            let second: Vec<Option<f32>> = (0..d)
                .map(|j| match j.checked_sub(d - copies) {
                    Some(k) if random.unit() < 0.8 => first[k],
                    _ => draw(&mut random, 0.1),
                })
                .collect();
            for (out, row) in out.iter_mut().zip([first, second]) {
                for (i, x) in row.into_iter().enumerate().filter_map(|(i, x)| Some((i, x?))) {
                    out.latents.push(i as u32);
                    out.values.push(x);
                }
                out.row_starts.push(out.latents.len() as u32);
            }
        }
        out
    }

    struct Known {
        sketch: Sketch,
        sums: LatentSums,
        by: ByLatent,
    }

    fn known(batch: &LatentBatch, width: usize, seed: u64) -> Known {
        let mut random = Stream::new(seed, "buckets", 0);
        let places: Vec<u32> = (0..batch.n_rows()).map(|_| random.below(2 * width as u64) as u32).collect();
        let (mut sketch, mut sums) = (Sketch::new(batch.d_sae, width), LatentSums::new(batch.d_sae));
        let by = ByLatent::new(batch);
        sketch.fold((&by, &places)).unwrap();
        sums.fold(batch).unwrap();
        Known { sketch, sums, by }
    }

    #[test]
    fn candidates_are_the_best_by_a_plain_estimate_and_begin_with_it() {
        let (d, width, keep) = (300, 64, 3);
        let [mut x, y] = spaces(1, 400, d, 40);
        // a latent that never fires and one that is always the same have no partner and are nobody's
        x.values.iter_mut().zip(&x.latents).filter(|(_, i)| **i == 7).for_each(|(v, _)| *v = 0.0);
        let (a, b) = (known(&x, width, 5), known(&y, width, 5));
        let (sa, sb) = (Standardised::new(&a.sums), Standardised::new(&b.sums));
        let got = choose_candidates(&CandidateSums::new(d, d), [(&a.sketch, &sa), (&b.sketch, &sb)], keep);
        let z = |k: &Known, s: &Standardised, i: usize| -> Option<Vec<f64>> {
            s.scale[i]?;
            let mean = s.sum[i] / s.n_rows;
            let row: Vec<f64> =
                k.sketch.latent(i).iter().zip(k.sketch.ones()).map(|(&v, one)| f64::from(v) - mean * one).collect();
            let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            Some(row.into_iter().map(|v| v / norm).collect())
        };
        let (za, zb): (Vec<_>, Vec<_>) =
            ((0..d).map(|i| z(&a, &sa, i)).collect(), (0..d).map(|j| z(&b, &sb, j)).collect());
        let r = |i: usize, j: usize| -> Option<f64> {
            Some(za[i].as_ref()?.iter().zip(zb[j].as_ref()?).map(|(a, b)| a * b).sum())
        };
        let mut expected = std::collections::BTreeSet::new();
        for i in 0..d {
            for flip in [false, true] {
                let pair = |k: usize| if flip { (k, i) } else { (i, k) };
                let mut all: Vec<(f64, usize)> = (0..d).filter_map(|k| Some((r(pair(k).0, pair(k).1)?, k))).collect();
                all.sort_by(|a, b| b.0.total_cmp(&a.0));
                expected.extend(all.iter().take(keep).map(|&(_, k)| pair(k)));
            }
        }
        let found: std::collections::BTreeSet<(usize, usize)> = (0..d)
            .flat_map(|i| got.candidates().row(i).map(move |k| (i, k)))
            .map(|(i, k)| (i, got.candidates().targets[k] as usize))
            .collect();
        assert_eq!(found, expected);
        assert!(sa.scale[7].is_none() && got.candidates().row(7).is_empty());
        for i in 0..d {
            for k in got.candidates().row(i) {
                let j = got.candidates().targets[k] as usize;
                let found = sa.correlate(i, &sb, j, got.sums()[k]).unwrap();
                let wanted = r(i, j).unwrap();
                assert!((found - wanted).abs() < 1e-6, "{i} {j}: {found} {wanted}");
                let error = standard_error(got.candidates(), k, (&sa, i), (&sb, j)).unwrap();
                assert!((error - (1.0 - wanted * wanted) / 8.0).abs() < 1e-6);
                assert_eq!(got.candidates().sketched_rows[k], 400);
            }
        }
    }

    #[test]
    fn what_is_counted_goes_on_and_the_estimated_share_shrinks() {
        let (d, width) = (120, 64);
        let batches: Vec<[LatentBatch; 2]> = (0..4).map(|k| spaces(k, 500, d, 60)).collect();
        let (mut sums, mut sketches) = ([(); 2].map(|()| LatentSums::new(d)), [(); 2].map(|()| Sketch::new(d, width)));
        let mut counted = CandidateSums::new(d, d);
        let mut exact = crate::moments::CrossTile::new(0, d, d);
        let mut errors = Vec::new();
        for (k, batch) in batches.iter().enumerate() {
            let of_batch = [0, 1].map(|side| known(&batch[side], width, 9 + k as u64));
            let mut random = Stream::new(9 + k as u64, "buckets", 0);
            let places: Vec<u32> = (0..500).map(|_| random.below(2 * width as u64) as u32).collect();
            for side in 0..2 {
                sums[side].fold(&batch[side]).unwrap();
                sketches[side].fold((&of_batch[side].by, &places)).unwrap();
            }
            counted.fold((&of_batch[0].by, Beside::own(&batch[1]))).unwrap();
            exact.fold((&of_batch[0].by, Beside::own(&batch[1]))).unwrap();
            let s = [0, 1].map(|side| Standardised::new(&sums[side]));
            counted = choose_candidates(&counted, [(&sketches[0], &s[0]), (&sketches[1], &s[1])], 2);
            // the copies, found at once and counted since, come nearer to the exact correlation than the sketch ever could
            let off: Vec<(f64, f64)> = (0..60)
                .map(|i| {
                    let entry = counted.candidates().find(i, 60 + i).expect("a copy is a candidate");
                    assert_eq!(counted.candidates().sketched_rows[entry], 500, "it was chosen once and stayed");
                    let (i, j) = (i as usize, 60 + i as usize);
                    let r = |xy: f64| s[0].correlate(i, &s[1], j, xy).unwrap();
                    let error = standard_error(counted.candidates(), entry, (&s[0], i), (&s[1], j)).unwrap();
                    (r(counted.sums()[entry]) - r(exact.row(i).unwrap()[j]), error)
                })
                .collect();
            let rms = |v: Vec<f64>| (v.iter().map(|x| x * x).sum::<f64>() / v.len() as f64).sqrt();
            errors.push((rms(off.iter().map(|o| o.0).collect()), rms(off.iter().map(|o| o.1).collect())));
        }
        // 500 of 2000 rows are estimated at the end
        assert!(errors[3].0 < 0.35 * errors[0].0 && errors[3].1 < 0.35 * errors[0].1, "{errors:?}");
        // 60 draws: the standard error is right within a third
        assert!(errors.iter().all(|(off, error)| (off / error - 1.0).abs() < 0.34), "{errors:?}");
    }

    #[test]
    fn ties_go_to_the_lower_partner_however_lists_are_put_together() {
        let offers = [(0.5f32, 9), (0.7, 4), (0.7, 2), (f32::NAN, 1), (0.7, 8), (-0.1, 0)];
        let mut whole = Best::new(1, 3);
        offers.iter().for_each(|&(r, p)| whole.offer(0, r, p));
        assert_eq!(whole.list(0).collect::<Vec<_>>(), [(0.7, 2), (0.7, 4), (0.7, 8)]);
        for cut in 0..=offers.len() {
            let (mut left, mut right) = (Best::new(1, 3), Best::new(1, 3));
            offers[..cut].iter().for_each(|&(r, p)| left.offer(0, r, p));
            offers[cut..].iter().for_each(|&(r, p)| right.offer(0, r, p));
            right.merge(&left);
            assert_eq!(right.list(0).collect::<Vec<_>>(), whole.list(0).collect::<Vec<_>>());
        }
    }
}
