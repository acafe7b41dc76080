//! What is kept of one hookpoint whose raw activations are scored: mean, co-moment, and squared norms of its rows.

use crate::error::Result;
use crate::linalg::Matrix;
use crate::moments::centred::centred;
use crate::moments::norms::{Around, NormMoments, row_norms};
use crate::moments::{Accumulator, CoMoment, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Mean, co-moment and squared norms of the rows of one hookpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteMoments {
    /// Mean and co-moment.
    pub co: CoMoment,
    /// Squared norms of the centred rows, with themselves.
    pub norms: NormMoments,
}

impl SiteMoments {
    /// Nothing seen yet, `d` wide.
    pub fn new(d: usize) -> Self {
        SiteMoments { co: CoMoment::new(d), norms: NormMoments::new(d, d) }
    }

    /// Of one batch, `x: [n, d]` f32.
    pub fn of_batch(x: &Matrix<f32>) -> Self {
        let (_, rows) = centred(x);
        let squares = row_norms(&rows);
        let norms = NormMoments::of_rows((&rows, &squares), (&rows, &squares), |i| i);
        SiteMoments { co: CoMoment::of_batch(x), norms }
    }

    fn around(&self) -> Around<'_> {
        let squares = (0..self.co.c.n_rows()).map(|i| self.co.c.row(i)[i]).sum();
        Around { n_rows: self.co.n_rows, c: &self.co.c, squares: [squares; 2] }
    }
}

impl State for SiteMoments {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.co.mean.len();
        self.co.lay_out(layout).tensor::<f64>("norms", &[NormMoments::len(d, d)])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        self.co.save(file)?;
        file.put("norms", &self.norms.flat())
    }

    fn load(&mut self, file: &mut StateReader, first: u64) -> Result<()> {
        let d = self.co.mean.len();
        let mut co = CoMoment::new(d);
        co.load(file, first)?;
        let norms: Vec<f64> = file.tensor("norms")?;
        if norms.len() != NormMoments::len(d, d) {
            return Err(file.misfit());
        }
        self.merge(&SiteMoments { co, norms: NormMoments::of_flat(&norms, d) })
    }
}

impl Accumulator for SiteMoments {
    /// Of the batch's rows: made where the batch is encoded, since activations go no further.
    type Batch<'a> = &'a SiteMoments;
    /// Width of the hookpoint.
    type Shape = usize;

    fn fold(&mut self, batch: &SiteMoments) -> Result<()> {
        self.merge(batch)
    }

    fn merge(&mut self, other: &SiteMoments) -> Result<()> {
        if self.co.n_rows == 0 {
            self.clone_from(other);
            return Ok(());
        }
        if other.co.n_rows > 0 {
            let delta: Vec<f64> = other.co.mean.iter().zip(&self.co.mean).map(|(b, a)| b - a).collect();
            let mut norms = self.norms.clone();
            norms.merge(self.around(), &other.norms, other.around(), [&delta, &delta]);
            self.norms = norms;
        }
        self.co.merge(&other.co)
    }

    fn bytes(&d: &usize) -> u64 {
        CoMoment::bytes(&d) + NormMoments::len(d, d) as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use proptest::prelude::*;

    proptest! {
        /// About the mean of all rows, however they are cut, and however far from 0 they are.
        #[test]
        fn any_split_gives_the_plain_fourth_moments(
            values in prop::collection::vec(-1.0f32..1.0, 3 * 24), cuts in prop::collection::vec(0usize..25, 3), far in any::<bool>(),
        ) {
            let by = if far { 4096.0 } else { 0.0 };
            // exact in f32 beside 4096
            let values: Vec<f32> = values.iter().map(|v| (v * 256.0).round() / 256.0 + by).collect();
            let part = |from: usize, to: usize| Matrix::from_vec(to - from, 3, values[3 * from..3 * to].to_vec());
            let mut cuts = [cuts, vec![0, 24]].concat();
            cuts.sort_unstable();
            let mut sums = SiteMoments::new(3);
            cuts.windows(2).for_each(|w| sums.merge(&SiteMoments::of_batch(&part(w[0], w[1].min(24)))).unwrap());
            let (_, rows) = centred(&part(0, 24));
            let want: f64 = row_norms(&rows).iter().map(|n| n * n).sum();
            prop_assert!((sums.norms.both - want).abs() < 1e-10 * (1.0 + want), "{} {want}", sums.norms.both);
        }
    }

    #[test]
    fn they_go_through_a_file() {
        let of = |n: usize, by: f32| {
            SiteMoments::of_batch(&Matrix::from_vec(n, 3, (0..n * 3).map(|k| by + (k * k % 7) as f32).collect()))
        };
        keeps_the_contract(&SiteMoments::new(3), [&of(4, 0.5), &of(5, 2.0)], Some(&SiteMoments::new(4)));
    }
}
