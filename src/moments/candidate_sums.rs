//! Σxy of chosen pairs of latents, the candidates of a sketch.
//!
//! A candidate begins with what its sketches estimate of the rows before it was chosen, and is counted exactly from then on;
//! so its sum is of all rows, and the part that is estimated only shrinks.

use crate::error::Result;
use crate::moments::{Accumulator, Beside, ByLatent, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which pairs are counted and how well their sums are known, in compressed rows by source latent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Source latent i holds entries `starts[i]..starts[i + 1]`: `[d_source + 1]`.
    pub starts: Vec<u64>,
    /// Target latent of each entry, ascending inside a row.
    pub targets: Vec<u32>,
    /// Rows whose products are estimated, not counted.
    pub sketched_rows: Vec<u64>,
    /// Standard error of Σ(x−x̄)(y−ȳ) from them.
    pub error: Vec<f32>,
}

impl Candidates {
    /// None, for `d_source` source latents.
    pub fn none(d_source: usize) -> Self {
        Candidates { starts: vec![0; d_source + 1], ..Candidates::default() }
    }

    /// Entries of source latent `i`.
    pub fn row(&self, i: usize) -> std::ops::Range<usize> {
        self.starts[i] as usize..self.starts[i + 1] as usize
    }

    /// The entry of a pair.
    pub fn find(&self, source: u32, target: u32) -> Option<usize> {
        let row = self.row(source as usize);
        self.targets[row.clone()].binary_search(&target).ok().map(|k| row.start + k)
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Whether the rows are whole and every target is below `d_target`.
    pub fn is_sound(&self, d_source: usize, d_target: usize) -> bool {
        let n = self.targets.len();
        [self.sketched_rows.len(), self.error.len()] == [n; 2]
            && self.starts.len() == d_source + 1
            && self.starts[0] == 0
            && self.starts[d_source] == n as u64
            && self.starts.is_sorted()
            && (0..d_source).all(|i| self.targets[self.row(i)].is_sorted_by(|a, b| a < b))
            && self.targets.iter().all(|&j| (j as usize) < d_target)
    }
}

/// The candidates of one pair of spaces with their sums.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateSums {
    d_target: usize,
    candidates: Arc<Candidates>,
    /// Σxy of each entry over all rows.
    sums: Vec<f64>,
}

/// Tasks that a batch's products are cut into, at most.
const TASKS: usize = 64;

impl CandidateSums {
    /// No candidates yet.
    pub fn new(d_source: usize, d_target: usize) -> Self {
        CandidateSums { d_target, candidates: Arc::new(Candidates::none(d_source)), sums: Vec::new() }
    }

    /// Candidates with their sums so far; `None` when they do not fit.
    pub fn with(d_source: usize, d_target: usize, candidates: Candidates, sums: Vec<f64>) -> Option<Self> {
        let fits = candidates.is_sound(d_source, d_target) && sums.len() == candidates.len();
        fits.then(|| CandidateSums { d_target, candidates: Arc::new(candidates), sums })
    }

    /// Number of source latents.
    pub fn d_source(&self) -> usize {
        self.candidates.starts.len() - 1
    }

    /// Number of target latents.
    pub fn d_target(&self) -> usize {
        self.d_target
    }

    /// Which pairs.
    pub fn candidates(&self) -> &Arc<Candidates> {
        &self.candidates
    }

    /// Σxy of each entry.
    pub fn sums(&self) -> &[f64] {
        &self.sums
    }

    /// Forgets what is known of the pairs, to count all rows.
    pub fn begin_again(&mut self) {
        let candidates = Arc::make_mut(&mut self.candidates);
        candidates.sketched_rows.fill(0);
        candidates.error.fill(0.0);
        self.sums.fill(0.0);
    }
}

impl State for CandidateSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let n = self.sums.len();
        layout
            .tensor::<u64>("starts", &[self.candidates.starts.len()])
            .tensor::<f64>("sums", &[n])
            .tensor::<u64>("sketched_rows", &[n])
            .tensor::<u32>("targets", &[n])
            .tensor::<f32>("error", &[n])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("starts", &self.candidates.starts)?;
        file.put("sums", &self.sums)?;
        file.put("sketched_rows", &self.candidates.sketched_rows)?;
        file.put("targets", &self.candidates.targets)?;
        file.put("error", &self.candidates.error)
    }

    /// Into empty memory all that was chosen comes back; behind other rows, what is chosen in both.
    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let candidates = Candidates {
            starts: file.tensor("starts")?,
            targets: file.tensor("targets")?,
            sketched_rows: file.tensor("sketched_rows")?,
            error: file.tensor("error")?,
        };
        let read = CandidateSums::with(self.d_source(), self.d_target, candidates, file.tensor("sums")?);
        let read = read.ok_or_else(|| file.misfit())?;
        if first_row == 0 {
            *self = read;
            return Ok(());
        }
        self.merge(&read)
    }
}

/// Bytes of a candidate pair: its entry, and while candidates are chosen the pair itself.
const CANDIDATE_BYTES: u64 = 24;

impl Accumulator for CandidateSums {
    type Batch<'a> = (&'a ByLatent, Beside<'a>);
    /// Numbers of source and of target latents, and candidates of each, both ways.
    type Shape = (usize, usize, usize);

    /// Only pairs that are counted in both stay: of the others one part is not known, and the sketches of all rows know them
    /// better than half a count.
    fn merge(&mut self, other: &CandidateSums) -> Result<()> {
        let (mine, theirs) = (&self.candidates, &other.candidates);
        let mut merged = Candidates::none(self.d_source());
        let mut sums = Vec::new();
        for i in 0..self.d_source() {
            for k in mine.row(i) {
                let Some(l) = theirs.find(i as u32, mine.targets[k]) else { continue };
                merged.targets.push(mine.targets[k]);
                merged.sketched_rows.push(mine.sketched_rows[k] + theirs.sketched_rows[l]);
                merged.error.push(mine.error[k].hypot(theirs.error[l]));
                sums.push(self.sums[k] + other.sums[l]);
            }
            merged.starts[i + 1] = merged.targets.len() as u64;
        }
        self.candidates = Arc::new(merged);
        self.sums = sums;
        Ok(())
    }

    /// For each source latent in order, its rows in order.
    fn fold(&mut self, (source, target): Self::Batch<'_>) -> Result<()> {
        assert_eq!(target.d_sae(), self.d_target, "candidates are counted on their own pair");
        if self.candidates.is_empty() {
            return Ok(());
        }
        let candidates = &self.candidates;
        let n = candidates.starts.len() - 1;
        let mut tasks = Vec::with_capacity(TASKS);
        let mut rest = self.sums.as_mut_slice();
        for from in (0..n).step_by(n.div_ceil(TASKS)) {
            let to = (from + n.div_ceil(TASKS)).min(n);
            let (mine, later) = rest.split_at_mut((candidates.starts[to] - candidates.starts[from]) as usize);
            tasks.push((from..to, mine));
            rest = later;
        }
        // position of each target's sum in the source latent's row, 0 for no candidate
        let places = || vec![0u32; self.d_target];
        tasks.into_par_iter().for_each_init(places, |places, (latents, sums)| {
            let first = candidates.starts[latents.start] as usize;
            for i in latents {
                let (rows, values) = source.latent(i);
                let row = candidates.row(i);
                if rows.is_empty() || row.is_empty() {
                    continue;
                }
                let targets = &candidates.targets[row.clone()];
                let sums = &mut sums[row.start - first..row.end - first];
                targets.iter().zip(1..).for_each(|(&j, k)| places[j as usize] = k);
                for (&r, &x) in rows.iter().zip(values) {
                    let (latents, y) = target.row(r as usize);
                    for (&j, &y) in latents.iter().zip(y) {
                        let place = places[j as usize];
                        if place != 0 {
                            sums[place as usize - 1] += f64::from(x) * f64::from(y);
                        }
                    }
                }
                targets.iter().for_each(|&j| places[j as usize] = 0);
            }
        });
        Ok(())
    }

    fn bytes(&(d_source, d_target, keep): &Self::Shape) -> u64 {
        (d_source + d_target) as u64 * keep as u64 * CANDIDATE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::CrossTile;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use crate::sae::LatentBatch;
    use proptest::prelude::*;

    proptest! {
        /// Every pair that is counted has the sum that the exact tile has, bit for bit.
        #[test]
        fn counted_pairs_have_the_exact_sums(
            rows in prop::collection::vec(prop::collection::vec(prop_oneof![2 => Just(0.0f32), 1 => -2.0f32..4.0], 150), 1..9),
            chosen in prop::collection::btree_set((0u32..90, 0u32..60), 0..200),
        ) {
            let csr = |from: usize, to: usize| {
                let mut out = LatentBatch { d_sae: to - from, row_starts: vec![0], ..Default::default() };
                for row in &rows {
                    for (j, &v) in row[from..to].iter().enumerate().filter(|(_, v)| **v != 0.0) {
                        out.latents.push(j as u32);
                        out.values.push(v);
                    }
                    out.row_starts.push(out.latents.len() as u32);
                }
                out
            };
            let (a, b) = (ByLatent::new(&csr(0, 90)), csr(90, 150));
            let mut tile = CrossTile::new(0, 90, 60);
            tile.fold((&a, Beside::own(&b))).unwrap();
            let mut candidates = Candidates::none(90);
            for &(i, j) in &chosen {
                candidates.targets.push(j);
                (i + 1..=90).for_each(|k| candidates.starts[k as usize] += 1);
            }
            candidates.sketched_rows = vec![0; chosen.len()];
            candidates.error = vec![0.0; chosen.len()];
            let mut counted = CandidateSums::with(90, 60, candidates, vec![0.0; chosen.len()]).unwrap();
            counted.fold((&a, Beside::own(&b))).unwrap();
            for (k, &(i, j)) in chosen.iter().enumerate() {
                let exact = tile.row(i as usize).map_or(0.0, |row| row[j as usize]);
                prop_assert_eq!(counted.sums()[k].to_bits(), exact.to_bits());
                prop_assert_eq!(counted.candidates().find(i, j), Some(k));
            }
        }
    }

    #[test]
    fn candidates_that_do_not_fit_are_not_taken() {
        let good =
            Candidates { starts: vec![0, 2, 2], targets: vec![0, 3], sketched_rows: vec![9; 2], error: vec![0.0; 2] };
        let fits = |c: &Candidates, n: usize| CandidateSums::with(2, 4, c.clone(), vec![0.0; n]).is_some();
        assert!(fits(&good, 2));
        assert!(!fits(&good, 1) && !fits(&Candidates { targets: vec![3, 3], ..good.clone() }, 2));
        assert!(!fits(&Candidates { targets: vec![0, 4], ..good.clone() }, 2));
        assert!(!fits(&Candidates { starts: vec![0, 3, 2], ..good.clone() }, 2));
        assert!(!fits(&Candidates { error: vec![0.0], ..good }, 2));
    }

    #[test]
    fn candidates_go_through_a_file_and_what_both_count_stays() {
        let of = |starts: Vec<u64>, targets: Vec<u32>, sums: Vec<f64>| {
            let n = targets.len();
            let candidates = Candidates { starts, targets, sketched_rows: vec![3; n], error: vec![0.5; n] };
            CandidateSums::with(2, 4, candidates, sums).unwrap()
        };
        let a = of(vec![0, 2, 3], vec![0, 3, 1], vec![1.0, 2.0, 3.0]);
        let b = of(vec![0, 1, 3], vec![3, 1, 2], vec![4.0, 5.0, 6.0]);
        keeps_the_contract(&CandidateSums::new(2, 4), [&a, &b], Some(&CandidateSums::new(3, 4)));
        let mut both = a.clone();
        both.merge(&b).unwrap();
        assert_eq!((both.sums(), &both.candidates().targets), (&[6.0, 8.0][..], &vec![3, 1]));
    }
}
