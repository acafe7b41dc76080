//! What is multiplied, sketches, centred and of length 1, and which products are known already?

use crate::matching::Standardised;
use crate::moments::{CandidateSums, Sketch};
use std::ops::Range;

/// One space of a pair: its sketch and sums.
pub type Side<'a> = (&'a Sketch, &'a Standardised);
/// The two spaces of a pair, source first.
pub type Sides<'a> = [Side<'a>; 2];

/// Centred sketches of length 1 of `latents`, `[n, width]` into `out`; NaN where a latent has no variance.
pub fn standard_rows((sketch, of): Side<'_>, latents: impl Iterator<Item = usize>, out: &mut [f32]) {
    for (z, i) in out.chunks_exact_mut(sketch.width()).zip(latents) {
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

/// Pairs that are counted, by the latents of one side.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    counted: &'a CandidateSums,
    sides: Sides<'a>,
    /// Where the rows are targets: target, source and entry of the pairs that may be asked for, in order.
    of_targets: Option<&'a [(u32, u32, u64)]>,
}

impl<'a> Known<'a> {
    /// By source latents.
    pub fn of_sources(counted: &'a CandidateSums, sides: Sides<'a>) -> Self {
        Known { counted, sides, of_targets: None }
    }

    /// The same by some target latents, from what [`entries_of`](Self::entries_of) found of them.
    pub fn of_targets(self, entries: &'a [(u32, u32, u64)]) -> Self {
        Known { of_targets: Some(entries), ..self }
    }

    /// Target, source and entry of every counted pair of these targets, which ascend.
    pub fn entries_of(self, targets: &[u32]) -> Vec<(u32, u32, u64)> {
        let candidates = self.counted.candidates();
        let mut out = Vec::new();
        for i in 0..self.counted.d_source() {
            for entry in candidates.row(i) {
                let j = candidates.targets[entry];
                if targets.binary_search(&j).is_ok() {
                    out.push((j, i as u32, entry as u64));
                }
            }
        }
        out.sort_unstable();
        out
    }

    /// Whether the pair of two latents, source first, is counted.
    pub fn has(self, source: u32, target: u32) -> bool {
        self.counted.candidates().find(source, target).is_some()
    }

    /// Calls `take` with each partner of latent `i` and their counted correlation, NaN where it has none.
    #[inline]
    pub fn each(self, i: u32, mut take: impl FnMut(u32, f32)) {
        let [(_, of_a), (_, of_b)] = self.sides;
        let mut one = |source: u32, target: u32, partner: u32, entry: usize| {
            let r = of_a.correlate(source as usize, of_b, target as usize, self.counted.sums()[entry]);
            take(partner, r.map_or(f32::NAN, |r| r as f32));
        };
        match self.of_targets {
            None => {
                let candidates = self.counted.candidates();
                candidates
                    .row(i as usize)
                    .for_each(|entry| one(i, candidates.targets[entry], candidates.targets[entry], entry));
            }
            Some(entries) => {
                let from = entries.partition_point(|e| e.0 < i);
                let of_latent = entries[from..].iter().take_while(|e| e.0 == i);
                of_latent.for_each(|&(target, source, entry)| one(source, target, source, entry as usize));
            }
        }
    }

    /// Puts the counted correlations of latent `i` in the place of the estimated ones; `r` is of the latents `columns` of the other side.
    pub fn set_counted(self, i: u32, columns: Range<usize>, r: &mut [f32]) {
        self.each(i, |partner, counted| {
            if columns.contains(&(partner as usize)) {
                r[partner as usize - columns.start] = counted;
            }
        });
    }
}
