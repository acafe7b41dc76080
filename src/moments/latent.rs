//! Sums per latent: what a mean, a variance and a firing rate need.

use crate::error::Result;
use crate::moments::{Accumulator, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Running sums of every latent of one space over all rows seen, zeros included. All vectors are `[d_sae]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentSums {
    /// Rows seen.
    pub n_rows: u64,
    /// Rows in which the latent was not 0.
    pub n_active: Vec<u64>,
    /// Σx.
    pub sum: Vec<f64>,
    /// Σx².
    pub sum_sq: Vec<f64>,
    /// Largest value that was not 0; −∞ before the first.
    pub max: Vec<f32>,
    /// Smallest value that was not 0; +∞ before the first.
    pub min: Vec<f32>,
}

impl LatentSums {
    /// Nothing seen yet, for `d_sae` latents.
    pub fn new(d_sae: usize) -> Self {
        LatentSums {
            n_rows: 0,
            n_active: vec![0; d_sae],
            sum: vec![0.0; d_sae],
            sum_sq: vec![0.0; d_sae],
            max: vec![f32::NEG_INFINITY; d_sae],
            min: vec![f32::INFINITY; d_sae],
        }
    }

    /// Number of latents.
    pub fn d_sae(&self) -> usize {
        self.sum.len()
    }

    /// Whether latent `i` was ever not 0.
    pub fn is_alive(&self, i: usize) -> bool {
        self.n_active[i] > 0
    }

    /// Whether latent `i` had the same value in every row; judged by counts and extremes, so rounding cannot hide it.
    pub fn is_constant(&self, i: usize) -> bool {
        self.n_active[i] == 0 || (self.n_active[i] == self.n_rows && self.min[i] == self.max[i])
    }

    /// Mean over all rows; `None` before the first row.
    pub fn mean(&self, i: usize) -> Option<f64> {
        (self.n_rows > 0).then(|| self.sum[i] / self.n_rows as f64)
    }

    /// N²·variance = NΣx² − (Σx)², population variance; `None` when it is 0 (constant) or lost to rounding.
    pub fn scaled_variance(&self, i: usize) -> Option<f64> {
        if self.is_constant(i) {
            return None;
        }
        let v = product_difference(self.n_rows as f64, self.sum_sq[i], self.sum[i], self.sum[i]);
        (v > 0.0).then_some(v)
    }

    /// Population standard deviation (ddof 0); 0 for a constant latent, `None` before the first row.
    pub fn std(&self, i: usize) -> Option<f64> {
        (self.n_rows > 0).then(|| self.scaled_variance(i).map_or(0.0, |v| v.sqrt() / self.n_rows as f64))
    }
}

impl State for LatentSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.d_sae();
        layout
            .key("n_rows", self.n_rows)
            .tensor::<u64>("n_active", &[d])
            .tensor::<f64>("sum", &[d])
            .tensor::<f64>("sum_sq", &[d])
            .tensor::<f32>("max", &[d])
            .tensor::<f32>("min", &[d])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("n_active", &self.n_active)?;
        file.put("sum", &self.sum)?;
        file.put("sum_sq", &self.sum_sq)?;
        file.put("max", &self.max)?;
        file.put("min", &self.min)
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let read = LatentSums {
            n_rows: file.number("n_rows")?,
            n_active: file.tensor("n_active")?,
            sum: file.tensor("sum")?,
            sum_sq: file.tensor("sum_sq")?,
            max: file.tensor("max")?,
            min: file.tensor("min")?,
        };
        let lengths = [read.n_active.len(), read.sum.len(), read.sum_sq.len(), read.max.len(), read.min.len()];
        if lengths != [self.d_sae(); 5] {
            return Err(file.misfit());
        }
        self.merge(&read)
    }
}

impl Accumulator for LatentSums {
    type Batch<'a> = &'a LatentBatch;
    /// Number of latents.
    type Shape = usize;

    fn fold(&mut self, batch: &LatentBatch) -> Result<()> {
        self.n_rows += batch.n_rows() as u64;
        for (&latent, &value) in batch.latents.iter().zip(&batch.values) {
            let i = latent as usize;
            let x = f64::from(value);
            self.n_active[i] += 1;
            self.sum[i] += x;
            self.sum_sq[i] += x * x;
            self.max[i] = self.max[i].max(value);
            self.min[i] = self.min[i].min(value);
        }
        Ok(())
    }

    fn merge(&mut self, other: &LatentSums) -> Result<()> {
        self.n_rows += other.n_rows;
        for i in 0..self.d_sae() {
            self.n_active[i] += other.n_active[i];
            self.sum[i] += other.sum[i];
            self.sum_sq[i] += other.sum_sq[i];
            self.max[i] = self.max[i].max(other.max[i]);
            self.min[i] = self.min[i].min(other.min[i]);
        }
        Ok(())
    }

    fn bytes(&d_sae: &usize) -> u64 {
        d_sae as u64 * 32
    }
}

/// a·b − c·d with the rounding of the products carried along (Kahan), so that a small difference of large products keeps
/// its digits.
#[inline(always)]
pub(crate) fn product_difference(a: f64, b: f64, c: f64, d: f64) -> f64 {
    let cd = c * d;
    let error = (-c).mul_add(d, cd);
    a.mul_add(b, -cd) + error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;

    fn batch(rows: &[&[(u32, f32)]], d_sae: usize) -> LatentBatch {
        let mut out = LatentBatch { d_sae, row_starts: vec![0], ..Default::default() };
        for row in rows {
            for &(l, v) in *row {
                out.latents.push(l);
                out.values.push(v);
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    #[test]
    fn sums_are_those_of_the_rows_and_merge_is_the_whole() {
        let a = batch(&[&[(0, 1.5), (2, 2.0)], &[], &[(0, 0.5)]], 4);
        let b = batch(&[&[(2, 2.0)], &[(0, 3.0), (3, 1.0)]], 4);
        let mut whole = LatentSums::new(4);
        whole.fold(&a).unwrap();
        whole.fold(&b).unwrap();
        let (mut left, mut right) = (LatentSums::new(4), LatentSums::new(4));
        left.fold(&a).unwrap();
        right.fold(&b).unwrap();
        left.merge(&right).unwrap();
        assert_eq!(left, whole);
        let [mut a_alone, mut b_alone] = [(); 2].map(|()| LatentSums::new(4));
        a_alone.fold(&a).unwrap();
        b_alone.fold(&b).unwrap();
        keeps_the_contract(&LatentSums::new(4), [&a_alone, &b_alone], Some(&LatentSums::new(3)));
        assert_eq!(whole.n_rows, 5);
        assert_eq!(whole.n_active, [3, 0, 2, 1]);
        assert_eq!(whole.sum, [5.0, 0.0, 4.0, 1.0]);
        assert_eq!(whole.mean(0), Some(1.0));
        let x = [1.5f64, 0.0, 0.5, 0.0, 3.0];
        let var = x.iter().map(|v| (v - 1.0) * (v - 1.0)).sum::<f64>() / 5.0;
        assert!((whole.std(0).unwrap() - var.sqrt()).abs() < 1e-15);
        assert_eq!(whole.scaled_variance(1), None);
    }

    #[test]
    fn a_constant_latent_is_known_even_where_rounding_would_give_it_a_variance() {
        let mut sums = LatentSums::new(1);
        for _ in 0..1000 {
            sums.fold(&batch(&[&[(0, 0.1)], &[(0, 0.1)], &[(0, 0.1)]], 1)).unwrap();
        }
        assert!(sums.is_constant(0));
        assert_eq!(sums.scaled_variance(0), None);
    }
}
