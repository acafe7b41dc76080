//! How much of a latent's activation does its token explain? The correlation of its activation with that on the last row of the same token
//! in another document, from sums over the rows that have such a partner.

use crate::error::Result;
use crate::moments::partner_rows::{Partners, each_of_both};
use crate::moments::{Accumulator, LatentSums, State, product_difference};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Fewest firings on rows with a partner for a figure.
pub const MIN_GIVEN: u64 = 20;

/// Sums over rows t with partner s of every latent of one space. All vectors are `[d_sae]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GivenSums {
    /// Rows with a partner.
    pub n_rows: u64,
    /// Those on which the latent was not 0.
    pub n_active: Vec<u64>,
    /// Σ xₜ, Σ xₜ², Σ xₛ, Σ xₛ², Σ xₜ xₛ.
    sums: [Vec<f64>; 5],
}

const NAMES: [&str; 5] = ["given.x", "given.xx", "given.y", "given.yy", "given.xy"];

impl GivenSums {
    /// Nothing seen yet, for `d_sae` latents.
    pub fn new(d_sae: usize) -> Self {
        GivenSums { n_rows: 0, n_active: vec![0; d_sae], sums: [(); 5].map(|()| vec![0.0; d_sae]) }
    }

    /// The sums of the latents over rows with a partner, and of their values on the partners, as a space's own sums have them; extremes are
    /// not known, and a latent that fires counts as one that changes.
    pub fn sides(&self) -> [LatentSums; 2] {
        [[0, 1], [2, 3]].map(|[sum, sum_sq]: [usize; 2]| {
            let mut out = LatentSums::new(self.n_active.len());
            (out.n_rows, out.sum, out.sum_sq) = (self.n_rows, self.sums[sum].clone(), self.sums[sum_sq].clone());
            for i in (0..self.n_active.len()).filter(|i| self.sums[sum_sq][*i] > 0.0) {
                (out.n_active[i], out.min[i], out.max[i]) = (self.n_active[i].max(1), f32::MIN, f32::MAX);
            }
            out
        })
    }

    /// corr(xₜ, xₛ), the share of the variance of latent `i` that its key explains where documents are independent; `None` where it fires on
    /// too few rows with a partner, or never changes on them.
    pub fn share(&self, i: usize) -> Option<f64> {
        if self.n_active[i] < MIN_GIVEN {
            return None;
        }
        self.share_of_any(i)
    }

    /// The same however rarely it fires.
    pub fn share_of_any(&self, i: usize) -> Option<f64> {
        let [x, xx, y, yy, xy] = [0, 1, 2, 3, 4].map(|k: usize| self.sums[k][i]);
        correlation(self.n_rows as f64, [x, xx, y, yy, xy])
    }
}

/// Below this share of n·Σx² a variance is what rounding left.
const ROUNDING: f64 = 1e-12;

/// Pearson's r from n and Σx, Σx², Σy, Σy², Σxy; `None` where a variance is 0 or lost to rounding.
pub fn correlation(n: f64, [x, xx, y, yy, xy]: [f64; 5]) -> Option<f64> {
    let (a, b) = (product_difference(n, xx, x, x), product_difference(n, yy, y, y));
    (a > ROUNDING * n * xx && b > ROUNDING * n * yy)
        .then(|| (product_difference(n, xy, x, y) / (a.sqrt() * b.sqrt())).clamp(-1.0, 1.0))
}

impl State for GivenSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.n_active.len();
        let layout = layout.key("given_rows", self.n_rows).tensor::<u64>("given.n_active", &[d]);
        NAMES.iter().fold(layout, |layout, name| layout.tensor::<f64>(name, &[d]))
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("given.n_active", &self.n_active)?;
        NAMES.iter().zip(&self.sums).try_for_each(|(name, sums)| file.put(name, sums))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let mut read = GivenSums::new(0);
        read.n_rows = file.number("given_rows")?;
        read.n_active = file.tensor("given.n_active")?;
        for (name, sums) in NAMES.iter().zip(&mut read.sums) {
            *sums = file.tensor(name)?;
        }
        let d = self.n_active.len();
        if read.n_active.len() != d || read.sums.iter().any(|s| s.len() != d) {
            return Err(file.misfit());
        }
        self.merge(&read)
    }
}

impl Accumulator for GivenSums {
    /// The partners, the latents, and those of the partners.
    type Batch<'a> = (&'a Partners, &'a LatentBatch, &'a LatentBatch);
    /// Number of latents.
    type Shape = usize;

    fn fold(&mut self, (partners, own, partner): Self::Batch<'_>) -> Result<()> {
        for r in (0..own.n_rows()).filter(|r| partners.of_rows[*r].is_some()) {
            self.n_rows += 1;
            each_of_both(own.row(r), partner.row(r), |latent, x, y| {
                let (i, x, y) = (latent as usize, f64::from(x), f64::from(y));
                self.n_active[i] += u64::from(x != 0.0);
                for (sums, term) in self.sums.iter_mut().zip([x, x * x, y, y * y, x * y]) {
                    sums[i] += term;
                }
            });
        }
        Ok(())
    }

    fn merge(&mut self, other: &GivenSums) -> Result<()> {
        self.n_rows += other.n_rows;
        self.n_active.iter_mut().zip(&other.n_active).for_each(|(a, b)| *a += b);
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }

    fn bytes(&d_sae: &usize) -> u64 {
        d_sae as u64 * 8 * 6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;

    #[test]
    fn sums_go_through_a_file() {
        let of = |seed: u64| GivenSums {
            n_rows: seed,
            n_active: vec![seed, 1],
            sums: [0, 1, 2, 3, 4].map(|k| vec![k as f64 + seed as f64, 0.5]),
        };
        keeps_the_contract(&GivenSums::new(2), [&of(3), &of(8)], Some(&GivenSums::new(1)));
    }

    #[test]
    fn a_constant_has_no_correlation_whatever_rounding_leaves() {
        let n = 1000.0;
        let (x, xx) = ((0..1000).map(|_| 0.1f64).sum::<f64>(), (0..1000).map(|_| 0.1f64 * 0.1).sum::<f64>());
        assert_eq!(correlation(n, [x, xx, 3.0, 9.0, 0.3]), None);
        assert_eq!(correlation(4.0, [2.0, 2.0, 2.0, 2.0, 2.0]), Some(1.0));
    }
}
