//! How similar are two sets of rows when the bias of few rows is taken off? Linear CKA of unbiased HSIC estimates.
//!
//! With `K = P_c P_cᵀ`, `L = Q_c Q_cᵀ` of the centred rows, and `K̃`, `L̃` the same with zeros on the diagonal, Song et al. (2012, JMLR
//! 13:1393, eq. 5) estimate `n (n - 3) HSIC = tr(K̃L̃) + (1ᵀK̃1)(1ᵀL̃1)/((n - 1)(n - 2)) - 2/(n - 2) 1ᵀK̃L̃1`. Rows of centred kernels
//! sum to 0, so that `K̃1 = -diag K`, and it comes to `‖P_cᵀQ_c‖² - n/(n - 2) Σ ‖p_i‖²‖q_i‖² + ‖P_c‖²‖Q_c‖²/((n - 1)(n - 2))`, which
//! needs no n × n matrix. The score is that of P with Q over the root of those of each with itself (Nguyen et al. 2020, arXiv
//! 2010.15327).

use super::procrustes::weighted;
use super::space::SideSpace;
use super::statistic::{Draw, Statistic};
use crate::error::Result;

/// An estimate of a side's own HSIC below this share of its biased one is rounding.
pub(super) const ROUNDING: f64 = 1e-12;

/// Ready for any pairing.
pub(super) struct CkaDebiased<'a> {
    sides: [&'a SideSpace; 2],
    /// Squared norms of the centred rows of each side.
    norms: [Vec<f64>; 2],
    n: f64,
    /// Root of the product of the sides' own estimates.
    scale: f64,
}

impl<'a> CkaDebiased<'a> {
    /// For `n` matched rows; `None` with fewer than 4, or where a side's own estimate is not above 0.
    pub fn new(a: &'a SideSpace, b: &'a SideSpace, n: usize) -> Option<Self> {
        if n < 4 {
            return None;
        }
        let n = n as f64;
        let norms = [a, b].map(|side| {
            let row = |u: &[f64]| u.iter().zip(&side.svd.s).map(|(u, s)| (u * s).powi(2)).sum();
            side.svd.u.rows().map(row).collect::<Vec<f64>>()
        });
        let own = |side: &SideSpace, norms: &[f64]| {
            let fourth: f64 = side.svd.s.iter().map(|s| s.powi(4)).sum();
            let squares: f64 = norms.iter().map(|v| v * v).sum();
            let estimate = unbiased(n, fourth, squares, side.total_variance * side.total_variance);
            (estimate > ROUNDING * fourth).then_some(estimate)
        };
        let scale = (own(a, &norms[0])? * own(b, &norms[1])?).sqrt();
        Some(CkaDebiased { sides: [a, b], norms, n, scale })
    }
}

/// `n (n - 3)` times the estimate of HSIC: from `‖P_cᵀQ_c‖²`, `Σ ‖p_i‖²‖q_i‖²` and `‖P_c‖²‖Q_c‖²`.
pub(super) fn unbiased(n: f64, cross: f64, of_rows: f64, of_sides: f64) -> f64 {
    cross - n / (n - 2.0) * of_rows + of_sides / ((n - 1.0) * (n - 2.0))
}

impl Statistic for CkaDebiased<'_> {
    fn value(&self, draw: &Draw) -> Result<f64> {
        let ([a, b], [of_a, of_b]) = (self.sides, &self.norms);
        let cross: f64 = weighted(draw.cross(), a, b).as_slice().iter().map(|x| x * x).sum();
        let of_rows: f64 = of_a.iter().zip(draw.order).map(|(p, &i)| p * of_b[i as usize]).sum();
        Ok(unbiased(self.n, cross, of_rows, a.total_variance * b.total_variance) / self.scale)
    }
}

#[cfg(test)]
mod tests {
    use crate::linalg::{Matrix, Stream};
    use crate::similarity::{Measure, Permutations, compare_rows};

    fn gaussian(n: usize, d: usize, name: &str) -> Matrix<f64> {
        let mut stream = Stream::new(5, name, 0);
        Matrix::from_vec(n, d, (0..n * d).map(|_| 2.0 + stream.gaussian()).collect())
    }

    /// As written by Song et al., n × n, from rows as they are: the estimate does not change when they are centred.
    fn plain(p: &Matrix<f64>, q: &Matrix<f64>) -> f64 {
        let n = p.n_rows();
        let kernel = |m: &Matrix<f64>| -> Vec<Vec<f64>> {
            let dot = |i: usize, j: usize| m.row(i).iter().zip(m.row(j)).map(|(a, b)| a * b).sum::<f64>();
            (0..n).map(|i| (0..n).map(|j| if i == j { 0.0 } else { dot(i, j) }).collect()).collect()
        };
        let (k, l) = (kernel(p), kernel(q));
        let hsic = |k: &[Vec<f64>], l: &[Vec<f64>]| {
            let nf = n as f64;
            let trace: f64 = (0..n).map(|i| (0..n).map(|j| k[i][j] * l[j][i]).sum::<f64>()).sum();
            let sums = |m: &[Vec<f64>]| m.iter().map(|row| row.iter().sum::<f64>()).collect::<Vec<_>>();
            let (of_k, of_l) = (sums(k), sums(l));
            let mixed: f64 = of_k.iter().zip(&of_l).map(|(a, b)| a * b).sum();
            let both = of_k.iter().sum::<f64>() * of_l.iter().sum::<f64>();
            (trace + both / ((nf - 1.0) * (nf - 2.0)) - 2.0 / (nf - 2.0) * mixed) / (nf * (nf - 3.0))
        };
        hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt()
    }

    fn value(p: &Matrix<f64>, q: &Matrix<f64>, measure: Measure) -> Option<f64> {
        compare_rows(p, q, &[measure], Permutations::NONE).unwrap()[0].value
    }

    #[test]
    fn it_is_the_plain_n_by_n_estimate_in_every_order() {
        let (p, q) = (gaussian(17, 5, "p"), gaussian(17, 30, "q"));
        let got = value(&p, &q, Measure::CkaDebiased).unwrap();
        assert!((got - plain(&p, &q)).abs() < 1e-10, "{got} {}", plain(&p, &q));
        let order: Vec<u32> = Stream::new(1, "order", 0).permutation(17);
        let rows: Vec<usize> = order.iter().map(|&i| i as usize).collect();
        let turned = compare_rows(&p, &q, &[Measure::CkaDebiased], Permutations::Given(&[order])).unwrap();
        let want = plain(&p, &q.gather_rows(&rows));
        assert!((turned[0].null.unwrap().mean - want).abs() < 1e-10, "{turned:?} {want}");
        assert!((value(&p, &p, Measure::CkaDebiased).unwrap() - 1.0).abs() < 1e-10);
        let few = [0, 1, 2];
        assert_eq!(value(&p.gather_rows(&few), &q.gather_rows(&few), Measure::CkaDebiased), None);
    }

    #[test]
    fn of_independent_rows_it_is_0_on_average_where_cka_is_high() {
        let mean = |measure| {
            let one = |k: u64| {
                let (p, q) = (gaussian(40, 60, &format!("p{k}")), gaussian(40, 60, &format!("q{k}")));
                value(&p, &q, measure).unwrap()
            };
            (0..20).map(one).sum::<f64>() / 20.0
        };
        assert!(mean(Measure::CkaDebiased).abs() < 0.03, "{}", mean(Measure::CkaDebiased));
        assert!(mean(Measure::Cka) > 0.4, "{}", mean(Measure::Cka));
    }
}
