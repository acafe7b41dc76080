//! Do the same rows lie near each other on both sides? Overlap of the `k` nearest neighbours by cosine.
//!
//! Neighbours are found once; a permuted pairing only renames them. Ties go to the lower row.

use rayon::prelude::*;

use super::rsa::unit_rows;
use super::statistic::{Draw, Statistic};
use crate::error::Result;
use crate::linalg::{Matrix, product_transposed};

const ROWS_PER_BLOCK: usize = 128;

/// Nearest neighbours of every row on both sides.
pub(super) struct Neighbours {
    a: Vec<Vec<u32>>,
    b: Vec<Vec<u32>>,
    k: usize,
    jaccard: bool,
}

impl Neighbours {
    /// `None` when there are not more than `k` rows, or a row is all zeros.
    pub fn new(p: &Matrix<f64>, q: &Matrix<f64>, k: usize, jaccard: bool) -> Option<Self> {
        if p.n_rows() <= k {
            return None;
        }
        Some(Neighbours { a: nearest(p, k)?, b: nearest(q, k)?, k, jaccard })
    }

    /// Every other row is a neighbour: the overlap is 1 whatever the pairing.
    pub fn no_power(&self) -> bool {
        self.a.len() == self.k + 1
    }
}

/// The `k` rows of largest cosine to each row, itself excluded, in no particular order.
fn nearest(rows: &Matrix<f64>, k: usize) -> Option<Vec<Vec<u32>>> {
    let unit = unit_rows(rows, false)?;
    let n = rows.n_rows();
    let blocks: Vec<Vec<Vec<u32>>> = (0..n.div_ceil(ROWS_PER_BLOCK))
        .into_par_iter()
        .map(|block| {
            let first = block * ROWS_PER_BLOCK;
            let index: Vec<usize> = (first..n.min(first + ROWS_PER_BLOCK)).collect();
            let cosines = product_transposed(&unit.gather_rows(&index), &unit);
            let of_row = |i: usize| {
                let row = cosines.row(i - first);
                let mut others: Vec<u32> = (0..n as u32).filter(|&j| j as usize != i).collect();
                let closer = |x: &u32, y: &u32| row[*y as usize].total_cmp(&row[*x as usize]).then(x.cmp(y));
                if k < others.len() {
                    others.select_nth_unstable_by(k - 1, closer);
                }
                others.truncate(k);
                others
            };
            index.iter().map(|&i| of_row(i)).collect()
        })
        .collect();
    Some(blocks.into_iter().flatten().collect())
}

impl Statistic for Neighbours {
    fn value(&self, draw: &Draw) -> Result<f64> {
        // Row i of A is beside row order[i] of B, so row m of B is called inverse[m].
        let mut inverse = vec![0u32; draw.order.len()];
        for (i, &o) in draw.order.iter().enumerate() {
            inverse[o as usize] = i as u32;
        }
        // In A's names, the B neighbours of row i are marked with i + 1.
        let mut marked = vec![0u32; draw.order.len()];
        let mut sum = 0.0;
        for (i, &o) in draw.order.iter().enumerate() {
            let mark = i as u32 + 1;
            self.b[o as usize].iter().for_each(|&m| marked[inverse[m as usize] as usize] = mark);
            let both = self.a[i].iter().filter(|&&j| marked[j as usize] == mark).count() as f64;
            sum += if self.jaccard { both / (2.0 * self.k as f64 - both) } else { both / self.k as f64 };
        }
        Ok(sum / draw.order.len() as f64)
    }
}
