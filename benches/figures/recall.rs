//! How well do sketches find partners on synthetic latents? For `figures sketch`, and at a small width for `tests/sketch.rs`.

use cognate::linalg::Stream;
use cognate::matching::{Sides, Standardised, choose_candidates, match_tile, standard_error};
use cognate::moments::{Accumulator, Beside, ByLatent, CandidateSums, CrossTile, LatentSums, Sketch};
use cognate::sae::LatentBatch;
use std::time::Instant;

/// Latents per token: some that fire by a Zipf law, each with its copies in the other space.
pub struct World {
    d: usize,
    /// Cumulative firing shares, and whose they are.
    law: Vec<f64>,
    latent: Vec<u32>,
    /// For each latent of the first space its copies in the second: (latent, how often it fires along).
    copies: Vec<Vec<(u32, f64)>>,
}

impl World {
    /// Six of ten latents have copies; of those every third has three, near duplicates of each other.
    pub fn new(d: usize, seed: u64) -> Self {
        let mut random = Stream::new(seed, "world", 0);
        let mut total = 0.0;
        let law: Vec<f64> = (0..d)
            .map(|i| {
                total += ((i + 1) as f64).powf(-0.9);
                total
            })
            .collect();
        let law = law.into_iter().map(|v| v / total).collect();
        let mut free = random.permutation(d).into_iter();
        let copies = (0..d)
            .map(|i| {
                let n = match i % 10 {
                    0..4 => 1,
                    4..6 => 3,
                    _ => 0,
                };
                let often = 0.1 + 0.9 * random.unit();
                (0..n).filter_map(|_| Some((free.next()?, (often + 0.05 * random.unit()).min(1.0)))).collect()
            })
            .collect();
        World { d, law, latent: random.permutation(d), copies }
    }

    fn draw(&self, random: &mut Stream) -> u32 {
        let u = random.unit();
        self.latent[self.law.partition_point(|&v| v < u).min(self.d - 1)]
    }

    /// Batch number `t` of `n` tokens, `k` draws each.
    pub fn batch(&self, t: u64, n: usize, k: usize) -> [LatentBatch; 2] {
        let mut random = Stream::new(1, "tokens", t);
        let mut out = [(); 2].map(|()| LatentBatch { d_sae: self.d, row_starts: vec![0], ..Default::default() });
        for _ in 0..n {
            let mut first: Vec<(u32, f32)> =
                (0..k).map(|_| (self.draw(&mut random), (0.2 + 2.0 * random.unit()) as f32)).collect();
            first.sort_by_key(|e| e.0);
            first.dedup_by_key(|e| e.0);
            let mut second: Vec<(u32, f32)> = Vec::new();
            for &(i, x) in &first {
                for &(j, often) in &self.copies[i as usize] {
                    if random.unit() < often {
                        second.push((j, x * (0.8 + 0.4 * random.unit()) as f32));
                    }
                }
            }
            second.extend((0..k / 4).map(|_| {
                let j = (u64::from(self.draw(&mut random)) * 7919 + 13) % self.d as u64;
                (j as u32, (0.2 + 2.0 * random.unit()) as f32)
            }));
            second.sort_by_key(|e| e.0);
            second.dedup_by_key(|e| e.0);
            for (out, row) in out.iter_mut().zip([first, second]) {
                out.latents.extend(row.iter().map(|e| e.0));
                out.values.extend(row.iter().map(|e| e.1));
                out.row_starts.push(out.latents.len() as u32);
            }
        }
        out
    }
}

/// Buckets of the rows of batch `t`: `[n]`, below twice the width.
pub fn buckets(t: u64, n: usize, width: usize) -> Vec<u32> {
    let mut random = Stream::new(2, "buckets", t);
    (0..n).map(|_| random.below(2 * width as u64) as u32).collect()
}

/// (width, recall@10 when chosen, recall@1 after counting on), and prints more of it. The first `before` of `n_batches` are sketched, the others
/// counted on the candidates of those; against exact sums of a strip.
pub fn recall(d: usize, [before, n_batches]: [u64; 2], widths: &[usize]) -> Vec<(usize, f64, f64)> {
    const ROWS: usize = 8192;
    let strip = (d / 16).max(64);
    let world = World::new(d, 3);
    let mut tiles = [(); 2].map(|()| CrossTile::new(0, strip, d));
    let mut sums = [(); 2].map(|()| [LatentSums::new(d), LatentSums::new(d)]);
    let mut sketches: Vec<[Sketch; 2]> = widths.iter().map(|&w| [Sketch::new(d, w), Sketch::new(d, w)]).collect();
    let mut counted: Vec<CandidateSums> = Vec::new();
    let mut at_choice: Vec<Vec<f64>> = Vec::new();
    for t in 0..n_batches {
        let half = usize::from(t >= before);
        if half == 1 && counted.is_empty() {
            let s = [0, 1].map(|side| Standardised::new(&sums[0][side]));
            for sketch in &sketches {
                let start = Instant::now();
                let sides: Sides<'_> = [(&sketch[0], &s[0]), (&sketch[1], &s[1])];
                counted.push(choose_candidates(&CandidateSums::new(d, d), sides, 10));
                at_choice.push(counted.last().unwrap().sums().to_vec());
                println!("  choosing at width {}: {:.1} s", sketch[0].width(), start.elapsed().as_secs_f64());
            }
        }
        let batch = world.batch(t, ROWS, 32);
        let by = [0, 1].map(|side| ByLatent::new(&batch[side]));
        tiles[half].fold((&by[0], Beside::own(&batch[1]))).unwrap();
        (0..2).for_each(|side| sums[half][side].fold(&batch[side]).unwrap());
        for sketch in sketches.iter_mut().filter(|_| half == 0) {
            let places = buckets(t, ROWS, sketch[0].width());
            sketch.iter_mut().zip(&by).for_each(|(sketch, by)| sketch.fold((by, &places)).unwrap());
        }
        counted.iter_mut().for_each(|c| c.fold((&by[0], Beside::own(&batch[1]))).unwrap());
    }
    let of_half = [0, 1].map(|half| [0, 1].map(|side| Standardised::new(&sums[half][side])));
    let whole: Vec<LatentSums> = (0..2)
        .map(|side| {
            let mut all = sums[0][side].clone();
            all.merge(&sums[1][side]).unwrap();
            all
        })
        .collect();
    let s = [0, 1].map(|side| Standardised::new(&whole[side]));
    let of_first = match_tile(&tiles[0], &of_half[0][0], &of_half[0][1], 1);
    let [mut tile, second] = tiles;
    tile.merge(&second).unwrap();
    let exact = match_tile(&tile, &s[0], &s[1], 1);
    let rms = |v: &[f64]| (v.iter().map(|x| x * x).sum::<f64>() / v.len().max(1) as f64).sqrt();
    let mut out = Vec::new();
    for (k, &width) in widths.iter().enumerate() {
        let (candidates, sums) = (counted[k].candidates(), counted[k].sums());
        let (mut at_1, mut at_10, mut strong, mut counted_1, mut strong_now) = (0, 0, 0, 0, 0);
        let (mut duplicates, mut duplicates_1) = (0, 0);
        let (mut sketched, mut continued, mut alone, mut stated) = (vec![], vec![], vec![], vec![]);
        let enough = |i: usize| whole[0].n_active[i] >= 30;
        for i in (0..strip).filter(|&i| enough(i)) {
            let row = candidates.row(i);
            let r_of = |xy: &[f64], s: &[Standardised; 2], entry: usize| {
                s[0].correlate(i, &s[1], candidates.targets[entry] as usize, xy[entry]).unwrap_or(f64::NAN)
            };
            let best_by = |xy: &[f64], s: &[Standardised; 2]| {
                row.clone().max_by(|&a, &b| r_of(xy, s, a).total_cmp(&r_of(xy, s, b))).map(|e| candidates.targets[e])
            };
            if let Some(best) = of_first.forward[i].as_slice().first().filter(|p| p.correlation.value() > 0.3) {
                strong += 1;
                let hit = best_by(&at_choice[k], &of_half[0]) == Some(best.latent);
                at_1 += usize::from(hit);
                at_10 += usize::from(candidates.find(i as u32, best.latent).is_some());
                if world.copies[i].len() > 1 {
                    duplicates += 1;
                    duplicates_1 += usize::from(hit);
                }
            }
            if let Some(best) = exact.forward[i].as_slice().first().filter(|p| p.correlation.value() > 0.3) {
                strong_now += 1;
                counted_1 += usize::from(best_by(sums, &s) == Some(best.latent));
                if let Some(entry) = candidates.find(i as u32, best.latent) {
                    let r = best.correlation.value();
                    let since: Vec<f64> = vec![sums[entry] - at_choice[k][entry]];
                    sketched.push(r_of(&at_choice[k], &of_half[0], entry) - r);
                    continued.push(r_of(sums, &s, entry) - r);
                    let r_since = of_half[1][0].correlate(i, &of_half[1][1], best.latent as usize, since[0]);
                    alone.push(r_since.unwrap_or(0.0) - r);
                    stated.push(
                        standard_error(candidates, entry, (&s[0], i), (&s[1], best.latent as usize))
                            .unwrap_or(f64::NAN),
                    );
                }
            }
        }
        let share = |a: usize, b: usize| a as f64 / b.max(1) as f64;
        println!(
            "d {d}, width {width}, {} tokens sketched: {strong} latents with r > 0.3: recall@1 {:.4} (near duplicates {:.4} of {duplicates}), @10 {:.4}; \
             after counting {} tokens for each of those @1 {:.4}; error of r: sketch {:.4}, with the count since {:.4} (stated {:.4}), \
             count since alone {:.4}",
            before * ROWS as u64,
            share(at_1, strong),
            share(duplicates_1, duplicates),
            share(at_10, strong),
            (n_batches - before) / before,
            share(counted_1, strong_now),
            rms(&sketched),
            rms(&continued),
            rms(&stated),
            rms(&alone)
        );
        out.push((width, share(at_10, strong), share(counted_1, strong_now)));
    }
    out
}
