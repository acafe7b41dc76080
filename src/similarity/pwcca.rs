//! PWCCA: canonical correlations weighed by how much of a side each direction carries (Morcos, Raghu, Bengio 2018,
//! arXiv 1806.05759, eq. 2 and 3). The weights come from the side of lower rank, the first on equal ranks.

use super::measure::PwccaRule;
use super::space::SideSpace;
use super::statistic::{Draw, Statistic};
use crate::error::Result;
use crate::linalg::{Matrix, product, product_transposed, thin_svd, transposed_product};

/// The prepared sides.
pub(super) struct Pwcca<'a> {
    a: &'a SideSpace,
    b: &'a SideSpace,
    rule: PwccaRule,
    n_rows: usize,
    /// Whether the weights come from the first side.
    first: bool,
    /// Sign that the first coordinate of each published direction is set to; as `faer` leaves it where absent.
    signs: Vec<f64>,
    /// `[r, d]`: centred columns of the weighing side in the coordinates of its `U`.
    columns: Matrix<f64>,
}

impl<'a> Pwcca<'a> {
    pub fn new(a: &'a SideSpace, b: &'a SideSpace, rule: PwccaRule, n_rows: usize) -> Self {
        let first = a.rank <= b.rank;
        let columns = if first { a } else { b }.scores_to_columns();
        Pwcca { a, b, rule, n_rows, first, signs: Vec::new(), columns }
    }

    /// `[k, d]`: inner products of the published directions with the columns. The published directions are
    /// `S w_i + μ_i 1`, made orthonormal in order; in the basis (U, 1/√N) they are `(S w_i, √N μ_i)`.
    fn published(&self, w: &Matrix<f64>, side: &SideSpace) -> Matrix<f64> {
        let (r, d, k, root) = (side.rank, side.mean.len(), w.n_cols(), (self.n_rows as f64).sqrt());
        let mut directions: Vec<Vec<f64>> = Vec::with_capacity(k);
        let mut columns = Matrix::zeros(r + 1, d);
        for j in 0..r {
            columns.row_mut(j).copy_from_slice(self.columns.row(j));
        }
        columns.row_mut(r).iter_mut().zip(&side.mean).for_each(|(x, m)| *x = root * m);
        for i in 0..k {
            let mut next: Vec<f64> = (0..r).map(|j| side.svd.s[j] * w.row(j)[i]).collect();
            next.push(root * side.mean[i]);
            // Gram-Schmidt, twice: the second pass takes off what rounding left.
            for _ in 0..2 {
                for before in &directions {
                    let along: f64 = before.iter().zip(&next).map(|(x, y)| x * y).sum();
                    next.iter_mut().zip(before).for_each(|(x, y)| *x -= along * y);
                }
            }
            let norm = next.iter().map(|x| x * x).sum::<f64>().sqrt();
            next.iter_mut().for_each(|x| *x /= norm);
            directions.push(next);
        }
        product(&Matrix::from_vec(k, r + 1, directions.concat()), &columns)
    }
}

impl Statistic for Pwcca<'_> {
    fn value(&self, draw: &Draw) -> Result<f64> {
        let (side, other) = if self.first { (self.a, self.b) } else { (self.b, self.a) };
        let mut cross = Matrix::zeros(side.rank, other.rank);
        for i in 0..side.rank {
            for (j, x) in cross.row_mut(i).iter_mut().enumerate() {
                *x = if self.first { draw.cross().row(i)[j] } else { draw.cross().row(j)[i] };
            }
        }
        let on_columns = match self.rule {
            PwccaRule::Projection => {
                let svd = thin_svd(&cross)?;
                let columns = Matrix::from_vec(side.rank, self.columns.n_cols(), {
                    self.columns.as_slice()[..side.rank * self.columns.n_cols()].to_vec()
                });
                (transposed_product(&svd.u, &columns), svd.s)
            }
            PwccaRule::AsPublished => {
                // The published code decomposes the whitened covariance in the variables' own coordinates.
                let cut = |space: &SideSpace| {
                    let v: Vec<f64> = space.svd.v.rows().flat_map(|row| &row[..space.rank]).copied().collect();
                    Matrix::from_vec(space.svd.v.n_rows(), space.rank, v)
                };
                let (left, right) = (cut(side), cut(other));
                let svd = thin_svd(&product_transposed(&product(&left, &cross), &right))?;
                let mut directions = svd.u;
                for (i, &sign) in self.signs.iter().enumerate() {
                    if directions.row(0)[i] * sign < 0.0 {
                        (0..directions.n_rows()).for_each(|j| directions.row_mut(j)[i] *= -1.0);
                    }
                }
                let w = transposed_product(&left, &directions);
                let w = Matrix::from_vec(side.rank, side.rank, {
                    w.rows().flat_map(|row| &row[..side.rank]).copied().collect()
                });
                (self.published(&w, side), svd.s[..side.rank].to_vec())
            }
        };
        let (on_columns, rho) = on_columns;
        let weights: Vec<f64> = on_columns.rows().map(|row| row.iter().map(|x| x.abs()).sum()).collect();
        let total: f64 = weights.iter().sum();
        Ok(weights.iter().zip(&rho).map(|(w, r)| w * r.min(1.0)).sum::<f64>() / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::tests::{decoders, matched_decoders, near};

    /// The published code adds `μ_i` to a direction whose sign is free, so its value hangs on the signs of LAPACK's singular
    /// vectors. Given those (of the first coordinates, read off NumPy 2.4), the value is met to the last digits.
    fn with_signs(p: &Matrix<f64>, q: &Matrix<f64>, signs: &str) -> f64 {
        let (a, b) = (SideSpace::of(p).unwrap().unwrap(), SideSpace::of(q).unwrap().unwrap());
        let mut pwcca = Pwcca::new(&a, &b, PwccaRule::AsPublished, p.n_rows());
        pwcca.signs = signs.chars().map(|c| if c == '+' { 1.0 } else { -1.0 }).collect();
        let order: Vec<u32> = (0..p.n_rows() as u32).collect();
        pwcca.value(&Draw::new(&order, &a, &b, (a.rank, b.rank))).unwrap()
    }

    #[test]
    fn published_weights_give_the_check_value_under_the_same_signs() {
        let (a, b) = decoders();
        near(with_signs(&b, &a, "++-+-"), 0.9696979655527455, 1e-12);
        assert!((with_signs(&b, &a, "-++++") - 0.9696979655527455).abs() > 1e-6, "the signs matter");
    }

    #[test]
    fn published_weights_give_the_python_values_under_the_same_signs() {
        for (set, signs) in [
            ("paper_run_expm_final_pairs", "++---+----+---+--+++++++"),
            ("1to1_first_corr_gt_0.1", "----+-+-+----+-+++-++++-"),
            ("keyword_1to1_first_corr_gt_0.1", "+-+++-+-+-+-+++-+-++-++-"),
            ("many_to_1_corr_gt_0.1", "-+---++++++++-+----+++++"),
        ] {
            let (p, q, scores) = matched_decoders(set);
            near(with_signs(&p, &q, signs), scores["paper_pwcca_A_B"].as_f64().unwrap(), 1e-10);
            near(with_signs(&q, &p, signs), scores["paper_pwcca_A_B"].as_f64().unwrap(), 1e-10);
        }
    }
}
