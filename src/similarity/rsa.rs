//! RSA: are the same pairs of rows alike on both sides? (Kriegeskorte et al. 2008; the paper's inner measure is the
//! row-centred cosine, its outer one Spearman's rank correlation with average ranks for ties.)
//!
//! Ranks are computed once per side and kept as centred integers (twice the rank minus its mean). A permuted pairing (Mantel
//! test) is then one pass of exact integer products, whose value does not depend on the order of summation.
//! Memory for N rows: the second side's ranks as a square `[N, N]` i32, the first's as `N (N - 1) / 2` i32, and while
//! ranking 24 bytes per pair: at most `14 N²` bytes in all ([`rsa_bytes`]).

use rayon::prelude::*;

use super::measure::RsaRule;
use super::statistic::{Draw, Statistic};
use crate::error::Result;
use crate::linalg::{Matrix, product_transposed};

/// Most rows that RSA compares: 5.6 GB while it runs. Beyond it a named sample of the rows, drawn from the seed, is
/// compared, and the score's `n_pairs` gives the number.
pub const RSA_MAX_ROWS: usize = 20_000;

/// Bytes that RSA of `n_rows` rows holds at most, without the rows themselves.
pub fn rsa_bytes(n_rows: usize) -> u64 {
    let n = n_rows.min(RSA_MAX_ROWS) as u64;
    14 * n * n
}

const ROWS_PER_BLOCK: usize = 128;

/// A row's norm below this share of its raw norm is rounding of its mean: the row is constant.
const CONSTANT_CUT: f64 = 1e-13;

/// Rows scaled to unit norm; with `centre`, each row minus its mean first. `None` when a row is zero before scaling.
pub(super) fn unit_rows(rows: &Matrix<f64>, centre: bool) -> Option<Matrix<f64>> {
    let mut out = rows.clone();
    for i in 0..out.n_rows() {
        let row = out.row_mut(i);
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let raw = norm(row);
        if centre {
            let mean = row.iter().sum::<f64>() / row.len() as f64;
            row.iter_mut().for_each(|x| *x -= mean);
        }
        let length = norm(row);
        if length <= CONSTANT_CUT * raw || !length.is_finite() {
            return None;
        }
        row.iter_mut().for_each(|x| *x /= length);
    }
    Some(out)
}

/// Both sides' ranks.
pub(super) struct Rsa {
    n: usize,
    /// Upper triangle, row-major.
    a: Vec<i32>,
    /// `[n, n]`, symmetric.
    b: Vec<i32>,
    /// `√(Σa² Σb²)`.
    norm: f64,
}

impl Rsa {
    /// For `p: [N, d_A]`, `q: [N, d_B]`, N at most [`RSA_MAX_ROWS`]. `None` when a cosine is undefined, for fewer than 3
    /// rows, or when all similarities of a side are equal.
    pub fn new(p: &Matrix<f64>, q: &Matrix<f64>, rule: RsaRule) -> Option<Self> {
        let n = p.n_rows();
        if n < 3 {
            return None;
        }
        let ranks = |rows: &Matrix<f64>| {
            Some(centred_ranks(match rule {
                RsaRule::Centred => cosines(&unit_rows(rows, true)?),
                RsaRule::Cosine => cosines(&unit_rows(rows, false)?),
                RsaRule::Euclidean => nearness(rows),
            }))
        };
        let (a, upper) = (ranks(p)?, ranks(q)?);
        let squares = |ranks: &[i32]| ranks.iter().map(|&x| i128::from(i64::from(x) * i64::from(x))).sum::<i128>();
        let norm = (squares(&a) as f64).sqrt() * (squares(&upper) as f64).sqrt();
        if norm == 0.0 {
            return None;
        }
        let mut b = vec![0i32; n * n];
        let mut from = 0;
        for i in 0..n {
            let width = n - i - 1;
            b[i * n + i + 1..][..width].copy_from_slice(&upper[from..][..width]);
            for j in i + 1..n {
                b[j * n + i] = upper[from + j - i - 1];
            }
            from += width;
        }
        Some(Rsa { n, a, b, norm })
    }
}

impl Statistic for Rsa {
    fn value(&self, draw: &Draw) -> Result<f64> {
        // |rank| < pairs, so this many products fit an i64.
        let pairs = self.a.len() as i64;
        let chunk = usize::try_from(i64::MAX / (pairs * pairs)).unwrap_or(usize::MAX).clamp(1, self.n);
        let mut sum = 0i128;
        let mut rest = &self.a[..];
        for i in 0..self.n {
            let (row, after) = rest.split_at(self.n - i - 1);
            rest = after;
            let beside = &self.b[draw.order[i] as usize * self.n..][..self.n];
            for (ranks, order) in row.chunks(chunk).zip(draw.order[i + 1..].chunks(chunk)) {
                let products = ranks.iter().zip(order).map(|(&x, &o)| i64::from(x) * i64::from(beside[o as usize]));
                sum += i128::from(products.sum::<i64>());
            }
        }
        Ok(sum as f64 / self.norm)
    }
}

/// Inner products of all pairs of different rows, upper triangle row-major: `n (n - 1) / 2`.
fn cosines(unit: &Matrix<f64>) -> Vec<f64> {
    let n = unit.n_rows();
    upper_triangle(n, |first, last, into| {
        let rows: Vec<usize> = (first..last).collect();
        let others: Vec<usize> = (first..n).collect();
        let products = product_transposed(&unit.gather_rows(&rows), &unit.gather_rows(&others));
        let mut at = 0;
        for i in first..last {
            let row = &products.row(i - first)[i + 1 - first..];
            into[at..][..row.len()].copy_from_slice(row);
            at += row.len();
        }
    })
}

/// Minus the squared Euclidean distance of all pairs, from differences: equal rows have a distance of exactly 0.
fn nearness(rows: &Matrix<f64>) -> Vec<f64> {
    let n = rows.n_rows();
    let apart = |i, j| rows.row(i).iter().zip(rows.row(j)).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
    upper_triangle(n, |first, last, into| {
        let pairs = (first..last).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        into.iter_mut().zip(pairs).for_each(|(out, (i, j))| *out = -apart(i, j));
    })
}

/// The upper triangle of `n` rows, blocks of rows `first..last` filled in parallel.
fn upper_triangle(n: usize, fill: impl Fn(usize, usize, &mut [f64]) + Sync) -> Vec<f64> {
    let mut out = vec![0.0; n * (n - 1) / 2];
    let mut blocks = Vec::new();
    let mut rest = &mut out[..];
    for first in (0..n).step_by(ROWS_PER_BLOCK) {
        let last = n.min(first + ROWS_PER_BLOCK);
        let (mine, after) = rest.split_at_mut((first..last).map(|i| n - i - 1).sum());
        blocks.push((first, last, mine));
        rest = after;
    }
    blocks.into_par_iter().for_each(|(first, last, mine)| fill(first, last, mine));
    out
}

/// Twice the average rank of each value, minus twice the mean rank: in `-(n - 1)..=(n - 1)`, sum 0.
fn centred_ranks(values: Vec<f64>) -> Vec<i32> {
    let n = values.len();
    let mut sorted: Vec<(u64, u32)> = values.iter().enumerate().map(|(i, &x)| (ordered_bits(x), i as u32)).collect();
    drop(values);
    sorted.par_sort_unstable();
    let mut ranks = vec![0i32; n];
    let mut first = 0;
    while first < n {
        let same = sorted[first..].iter().take_while(|s| s.0 == sorted[first].0).count();
        // Ranks first+1 ..= first+same: twice their mean is 2 first + same + 1; twice the mean of all is n + 1.
        let rank = (2 * first + same) as i64 - n as i64;
        for &(_, i) in &sorted[first..first + same] {
            ranks[i as usize] = i32::try_from(rank).expect("at most 2^31 pairs, by RSA_MAX_ROWS");
        }
        first += same;
    }
    ranks
}

/// Bits whose unsigned order is the order of finite values; both zeros are one value.
fn ordered_bits(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;

    #[test]
    fn ranks_average_over_ties() {
        // Ranks 2.5, 1, 2.5, 4, 5 of five: twice, minus 6.
        assert_eq!(centred_ranks(vec![0.0, -3.0, -0.0, 0.5, 7.0]), [-1, -4, -1, 2, 4]);
        assert_eq!(centred_ranks(vec![2.0; 3]), [0, 0, 0]);
    }

    #[test]
    fn permuted_ranks_are_the_rsa_of_permuted_rows() {
        let mut stream = Stream::new(2, "rsa", 0);
        let mut random = |n, d| Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian()).collect::<Vec<f64>>());
        let (p, q) = (random(300, 6), random(300, 9));
        let order = Stream::new(2, "rsa order", 0).permutation(300);
        let shuffled = q.gather_rows(&order.iter().map(|&o| o as usize).collect::<Vec<_>>());
        let identity: Vec<u32> = (0..300).collect();
        for rule in [RsaRule::Centred, RsaRule::Cosine, RsaRule::Euclidean] {
            let cached = Rsa::new(&p, &q, rule).unwrap().value(&Draw::of_order(&order)).unwrap();
            let direct = Rsa::new(&p, &shuffled, rule).unwrap().value(&Draw::of_order(&identity)).unwrap();
            assert_eq!(cached, direct);
        }
    }
}
