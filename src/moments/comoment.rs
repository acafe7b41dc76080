//! Means and co-moments of raw activations, for similarity of hookpoints themselves.
//!
//! Batches are combined as Chan, Golub and LeVeque (1983): with batch means m and co-moments C = Σ(x−m)(x−m)ᵀ,
//! C = C₁ + C₂ + (n₁n₂/(n₁+n₂)) δδᵀ, δ = m₂ − m₁; so a large mean never meets a small variance in one sum.

use crate::error::Result;
use crate::linalg::Matrix;
use crate::linalg::Stream;
use crate::linalg::gemm::{gemm_f32, gemm_f64};
use crate::moments::centred::centred;
use crate::moments::norms::{Around, NormMoments, row_norms};
use crate::moments::{Accumulator, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;

/// Mean and co-moment of the rows of one hookpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoMoment {
    /// Rows seen.
    pub n_rows: u64,
    /// `[d]` f64.
    pub mean: Vec<f64>,
    /// Σ(x−mean)(x−mean)ᵀ, `[d, d]` f64.
    pub c: Matrix<f64>,
}

/// Cross co-moment of the rows of two hookpoints, row i of one with row i of the other, and null versions of it in which
/// the second one's rows were permuted inside each batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossCoMoment {
    /// Rows seen.
    pub n_rows: u64,
    /// `[d_x]` f64.
    pub mean_x: Vec<f64>,
    /// `[d_y]` f64.
    pub mean_y: Vec<f64>,
    /// Σ(x−mean_x)² of each dimension, `[d_x]` f64.
    pub xx: Vec<f64>,
    /// Σ(y−mean_y)², `[d_y]` f64.
    pub yy: Vec<f64>,
    /// Σ(x−mean_x)(y−mean_y)ᵀ, `[d_x, d_y]` f64.
    pub c: Matrix<f64>,
    /// The same with y's rows permuted inside each batch (what both share merely by batch is thus kept in the null).
    pub nulls: Vec<Matrix<f64>>,
    /// Squared norms of the centred rows of both.
    pub norms: NormMoments,
    /// The same of each null.
    pub null_norms: Vec<NormMoments>,
}

/// XᵀY of centred rows.
pub(super) fn product(x: &Matrix<f64>, y: &Matrix<f64>) -> Matrix<f64> {
    let (n, dx, dy) = (x.n_rows(), x.n_cols(), y.n_cols());
    let mut c = Matrix::zeros(dx, dy);
    if n > 0 {
        gemm_f64(dx, dy, n, x.as_slice(), (1, dx), y.as_slice(), (dy, 1), c.as_mut_slice(), (dy, 1), 0.0, 1.0);
    }
    c
}

/// XᵀPY for each permutation P of y's rows. In f32: a batch's rounding is far below what another permutation changes, and
/// these products are most of the cost of a null. Sums over batches are in f64.
pub(super) fn null_products(x: &Matrix<f64>, y: &Matrix<f64>, permutations: &[Vec<usize>]) -> Vec<Matrix<f64>> {
    let narrow = |m: &Matrix<f64>, mut values: Vec<f32>| -> Matrix<f32> {
        values.clear();
        values.extend(m.as_slice().iter().map(|&v| v as f32));
        Matrix::from_vec(m.n_rows(), m.n_cols(), values)
    };
    let (n, dx, dy) = (x.n_rows(), x.n_cols(), y.n_cols());
    let [of_x, of_y] = NARROW.take();
    let (x, y) = (narrow(x, of_x), narrow(y, of_y));
    let product = |order: &Vec<usize>| {
        // the product may let this thread take up another permutation, which then has room of its own
        let (mut permuted, mut c) = ROOM.take();
        y.gather_into(order, &mut permuted);
        c.clear();
        c.resize(dx * dy, 0f32);
        if n > 0 {
            gemm_f32(dx, dy, n, x.as_slice(), (1, dx), &permuted, (dy, 1), &mut c, (dy, 1), 0.0, 1.0);
        }
        let product = Matrix::from_vec(dx, dy, c.iter().copied().map(f64::from).collect());
        ROOM.set((permuted, c));
        product
    };
    let products = permutations.par_iter().map(product).collect();
    NARROW.set([x.into_vec(), y.into_vec()]);
    products
}

thread_local! {
    /// Rows of a permutation, and their product: memory of that size costs as much to ask for anew as a part of the product.
    static ROOM: RefCell<(Vec<f32>, Vec<f32>)> = RefCell::default();
    /// The rows of both sides in f32.
    static NARROW: RefCell<[Vec<f32>; 2]> = RefCell::default();
}

/// Σv² of each column, in order of rows.
fn squares(x: &Matrix<f64>) -> Vec<f64> {
    let mut out = vec![0.0; x.n_cols()];
    for row in x.rows() {
        out.iter_mut().zip(row).for_each(|(o, v)| *o += v * v);
    }
    out
}

/// C += (n₁n₂/(n₁+n₂)) δx δyᵀ.
pub(super) fn add_between(c: &mut Matrix<f64>, n1: u64, n2: u64, dx: &[f64], dy: &[f64]) {
    let w = n1 as f64 * n2 as f64 / (n1 + n2) as f64;
    for (i, &a) in dx.iter().enumerate() {
        for (v, &b) in c.row_mut(i).iter_mut().zip(dy) {
            *v += w * a * b;
        }
    }
}

pub(super) fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    b.iter().zip(a).map(|(b, a)| b - a).collect()
}

/// mean₁ += δ n₂/(n₁+n₂).
pub(super) fn move_mean(mean: &mut [f64], delta: &[f64], n1: u64, n2: u64) {
    let w = n2 as f64 / (n1 + n2) as f64;
    mean.iter_mut().zip(delta).for_each(|(m, d)| *m += w * d);
}

impl CoMoment {
    /// Nothing seen yet, `d` wide.
    pub fn new(d: usize) -> Self {
        CoMoment { n_rows: 0, mean: vec![0.0; d], c: Matrix::zeros(d, d) }
    }

    /// Of one batch, `x: [n, d]` f32.
    pub fn of_batch(x: &Matrix<f32>) -> Self {
        let (mean, rows) = centred(x);
        CoMoment { n_rows: x.n_rows() as u64, mean, c: product(&rows, &rows) }
    }
}

impl State for CoMoment {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.mean.len();
        layout.key("n_rows", self.n_rows).tensor::<f64>("mean", &[d]).tensor::<f64>("c", &[d, d])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("mean", &self.mean)?;
        file.put("c", self.c.as_slice())
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let d = self.mean.len();
        let n_rows = file.number("n_rows")?;
        self.merge(&CoMoment { n_rows, mean: vector(file, "mean", d)?, c: matrix(file, "c", d, d)? })
    }
}

impl Accumulator for CoMoment {
    /// Of the batch's rows: made where the batch is encoded, since activations go no further.
    type Batch<'a> = &'a CoMoment;
    /// Width of the hookpoint.
    type Shape = usize;

    fn fold(&mut self, batch: &CoMoment) -> Result<()> {
        self.merge(batch)
    }

    fn merge(&mut self, other: &CoMoment) -> Result<()> {
        if other.n_rows == 0 {
            return Ok(());
        }
        if self.n_rows == 0 {
            self.clone_from(other);
            return Ok(());
        }
        let delta = difference(&self.mean, &other.mean);
        self.c.as_mut_slice().iter_mut().zip(other.c.as_slice()).for_each(|(a, b)| *a += b);
        add_between(&mut self.c, self.n_rows, other.n_rows, &delta, &delta);
        move_mean(&mut self.mean, &delta, self.n_rows, other.n_rows);
        self.n_rows += other.n_rows;
        Ok(())
    }

    fn bytes(&d: &usize) -> u64 {
        (d * d * 8) as u64
    }
}

impl CrossCoMoment {
    /// Nothing seen yet.
    pub fn new(d_x: usize, d_y: usize, n_nulls: usize) -> Self {
        CrossCoMoment {
            n_rows: 0,
            mean_x: vec![0.0; d_x],
            mean_y: vec![0.0; d_y],
            xx: vec![0.0; d_x],
            yy: vec![0.0; d_y],
            c: Matrix::zeros(d_x, d_y),
            nulls: vec![Matrix::zeros(d_x, d_y); n_nulls],
            norms: NormMoments::new(d_x, d_y),
            null_norms: vec![NormMoments::new(d_x, d_y); n_nulls],
        }
    }

    /// Of one batch; `permutations[r]` orders y's rows for null r.
    pub fn of_batch(x: &Matrix<f32>, y: &Matrix<f32>, permutations: &[Vec<usize>]) -> Self {
        assert_eq!(x.n_rows(), y.n_rows(), "row i is the same token on both sides");
        let (mean_x, rows_x) = centred(x);
        let (mean_y, rows_y) = centred(y);
        let nulls = match permutations {
            [] => Vec::new(),
            _ => null_products(&rows_x, &rows_y, permutations),
        };
        let (xx, yy) = (squares(&rows_x), squares(&rows_y));
        let (of_x, of_y) = (row_norms(&rows_x), row_norms(&rows_y));
        let beside = |order: &[usize]| NormMoments::of_rows((&rows_x, &of_x), (&rows_y, &of_y), |i| order[i]);
        CrossCoMoment {
            n_rows: x.n_rows() as u64,
            mean_x,
            mean_y,
            xx,
            yy,
            c: product(&rows_x, &rows_y),
            nulls,
            norms: NormMoments::of_rows((&rows_x, &of_x), (&rows_y, &of_y), |i| i),
            null_norms: permutations.par_iter().map(|order| beside(order)).collect(),
        }
    }

    fn around<'a>(&self, c: &'a Matrix<f64>, squares: [f64; 2]) -> Around<'a> {
        Around { n_rows: self.n_rows, c, squares }
    }
}

impl State for CrossCoMoment {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let (dx, dy) = (self.mean_x.len(), self.mean_y.len());
        layout
            .key("n_rows", self.n_rows)
            .tensor::<f64>("mean_x", &[dx])
            .tensor::<f64>("mean_y", &[dy])
            .tensor::<f64>("xx", &[dx])
            .tensor::<f64>("yy", &[dy])
            .tensor::<f64>("c", &[dx, dy])
            .tensor::<f64>("nulls", &[self.nulls.len(), dx, dy])
            .tensor::<f64>("norms", &[1 + self.nulls.len(), NormMoments::len(dx, dy)])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("mean_x", &self.mean_x)?;
        file.put("mean_y", &self.mean_y)?;
        file.put("xx", &self.xx)?;
        file.put("yy", &self.yy)?;
        file.put("c", self.c.as_slice())?;
        self.nulls.iter().try_for_each(|null| file.put("nulls", null.as_slice()))?;
        std::iter::once(&self.norms).chain(&self.null_norms).try_for_each(|norms| file.put("norms", &norms.flat()))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let (dx, dy) = (self.mean_x.len(), self.mean_y.len());
        let mut nulls = vec![Matrix::zeros(dx, dy); self.nulls.len()];
        for (r, null) in nulls.iter_mut().enumerate() {
            file.read_at("nulls", r * dx * dy, null.as_mut_slice())?;
        }
        let (mean_x, mean_y) = (vector(file, "mean_x", dx)?, vector(file, "mean_y", dy)?);
        let (xx, yy, c) = (vector(file, "xx", dx)?, vector(file, "yy", dy)?, matrix(file, "c", dx, dy)?);
        let each = NormMoments::len(dx, dy);
        let all = vector(file, "norms", (1 + nulls.len()) * each)?;
        let mut lists = all.chunks_exact(each).map(|list| NormMoments::of_flat(list, dx));
        let norms = lists.next().expect("one is the real pairing's");
        let null_norms = lists.collect();
        let n_rows = file.number("n_rows")?;
        self.merge(&CrossCoMoment { n_rows, mean_x, mean_y, xx, yy, c, nulls, norms, null_norms })
    }
}

impl Accumulator for CrossCoMoment {
    /// Of the batch's rows, as for [`CoMoment`].
    type Batch<'a> = &'a CrossCoMoment;
    /// Widths of both hookpoints, and the number of nulls.
    type Shape = (usize, usize, usize);

    fn fold(&mut self, batch: &CrossCoMoment) -> Result<()> {
        self.merge(batch)
    }

    fn merge(&mut self, other: &CrossCoMoment) -> Result<()> {
        if other.n_rows == 0 {
            return Ok(());
        }
        if self.n_rows == 0 {
            self.clone_from(other);
            return Ok(());
        }
        let (dx, dy) = (difference(&self.mean_x, &other.mean_x), difference(&self.mean_y, &other.mean_y));
        let sums = |of: &CrossCoMoment| [&of.xx, &of.yy].map(|squares| squares.iter().sum::<f64>());
        let (mine, theirs) = (sums(self), sums(other));
        let mut norms = std::mem::replace(&mut self.norms, NormMoments::new(0, 0));
        let (own, further) = (self.around(&self.c, mine), other.around(&other.c, theirs));
        norms.merge(own, &other.norms, further, [&dx, &dy]);
        self.norms = norms;
        let mut null_norms = std::mem::take(&mut self.null_norms);
        for (k, norms) in null_norms.iter_mut().enumerate() {
            let (own, further) = (self.around(&self.nulls[k], mine), other.around(&other.nulls[k], theirs));
            norms.merge(own, &other.null_norms[k], further, [&dx, &dy]);
        }
        self.null_norms = null_norms;
        for (mine, theirs) in std::iter::once((&mut self.c, &other.c)).chain(self.nulls.iter_mut().zip(&other.nulls)) {
            mine.as_mut_slice().iter_mut().zip(theirs.as_slice()).for_each(|(a, b)| *a += b);
            add_between(mine, self.n_rows, other.n_rows, &dx, &dy);
        }
        let w = self.n_rows as f64 * other.n_rows as f64 / (self.n_rows + other.n_rows) as f64;
        for (mine, theirs, delta) in [(&mut self.xx, &other.xx, &dx), (&mut self.yy, &other.yy, &dy)] {
            mine.iter_mut().zip(theirs).zip(delta).for_each(|((a, b), d)| *a += b + w * d * d);
        }
        move_mean(&mut self.mean_x, &dx, self.n_rows, other.n_rows);
        move_mean(&mut self.mean_y, &dy, self.n_rows, other.n_rows);
        self.n_rows += other.n_rows;
        Ok(())
    }

    fn bytes(&(dx, dy, n_nulls): &Self::Shape) -> u64 {
        ((dx * dy + NormMoments::len(dx, dy)) * 8 * (1 + n_nulls)) as u64
    }
}

fn vector(file: &mut StateReader, name: &str, d: usize) -> Result<Vec<f64>> {
    let values: Vec<f64> = file.tensor(name)?;
    if values.len() == d { Ok(values) } else { Err(file.misfit()) }
}

fn matrix(file: &mut StateReader, name: &str, n_rows: usize, n_cols: usize) -> Result<Matrix<f64>> {
    Ok(Matrix::from_vec(n_rows, n_cols, vector(file, name, n_rows * n_cols)?))
}

/// The permutation of `n` rows for null `run` of batch `batch`: a pure function of its arguments.
pub fn row_permutation(seed: u64, stream: &str, batch: u64, run: u64, n: usize) -> Vec<usize> {
    let order = Stream::new(seed, &format!("{stream}, run {run}"), batch).permutation(n);
    order.into_iter().map(|i| i as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use proptest::prelude::*;

    fn plain_cross(x: &Matrix<f32>, y: &Matrix<f32>) -> Matrix<f64> {
        let n = x.n_rows() as f64;
        let mean = |m: &Matrix<f32>, j: usize| (0..m.n_rows()).map(|r| f64::from(m.row(r)[j])).sum::<f64>() / n;
        let mut c = Matrix::zeros(x.n_cols(), y.n_cols());
        for i in 0..x.n_cols() {
            for j in 0..y.n_cols() {
                c.row_mut(i)[j] = (0..x.n_rows())
                    .map(|r| (f64::from(x.row(r)[i]) - mean(x, i)) * (f64::from(y.row(r)[j]) - mean(y, j)))
                    .sum();
            }
        }
        c
    }

    proptest! {
        #[test]
        fn any_split_gives_the_plain_co_moments(values in prop::collection::vec(-1.0f32..1.0, 5 * 24), cut in 1usize..23) {
            let n = 24;
            let part = |from: usize, to: usize, c0: usize, c1: usize| {
                let data = (from..to).flat_map(|r| values[r * 5 + c0..r * 5 + c1].iter().map(|v| v + 1000.0)).collect();
                Matrix::from_vec(to - from, c1 - c0, data)
            };
            let (x, y) = (part(0, n, 0, 3), part(0, n, 3, 5));
            let mut own = CoMoment::of_batch(&part(0, cut, 0, 3));
            own.merge(&CoMoment::of_batch(&part(cut, n, 0, 3))).unwrap();
            let mut cross = CrossCoMoment::of_batch(&part(0, cut, 0, 3), &part(0, cut, 3, 5), &[(0..cut).collect()]);
            cross.merge(&CrossCoMoment::of_batch(&part(cut, n, 0, 3), &part(cut, n, 3, 5), &[(0..n - cut).collect()])).unwrap();
            for (got, want) in own.c.as_slice().iter().zip(plain_cross(&x, &x).as_slice()) {
                prop_assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
            for (got, want) in cross.c.as_slice().iter().zip(plain_cross(&x, &y).as_slice()) {
                prop_assert!((got - want).abs() < 1e-9, "{got} {want}");
            }
            for (got, matrix) in [(&cross.xx, plain_cross(&x, &x)), (&cross.yy, plain_cross(&y, &y))] {
                for (i, got) in got.iter().enumerate() {
                    prop_assert!((got - matrix.row(i)[i]).abs() < 1e-9, "{got} {}", matrix.row(i)[i]);
                }
            }
            let norms = |a: &Matrix<f32>, b: &Matrix<f32>| -> f64 {
                let centred = |m: &Matrix<f32>| -> Vec<f64> {
                    let (_, rows) = centred(m);
                    rows.rows().map(|row| row.iter().map(|v| v * v).sum()).collect()
                };
                centred(a).iter().zip(&centred(b)).map(|(a, b)| a * b).sum()
            };
            prop_assert!((cross.norms.both - norms(&x, &y)).abs() < 1e-8, "{} {}", cross.norms.both, norms(&x, &y));
            // the identity permutation is no permutation
            let (null, real) = (cross.null_norms[0].both, cross.norms.both);
            prop_assert!((null - real).abs() < 1e-4, "{null} {real}: the shift of means takes the f32 products");
            for (null, real) in cross.nulls[0].as_slice().iter().zip(cross.c.as_slice()) {
                prop_assert!((null - real).abs() < 1e-4, "{null} {real}: f32 products of 24 terms");
            }
        }
    }

    #[test]
    fn co_moments_go_through_a_file() {
        let rows =
            |n: usize, d: usize, by: f32| Matrix::from_vec(n, d, (0..n * d).map(|k| by + (k * k % 7) as f32).collect());
        let own = |n: usize, by: f32| CoMoment::of_batch(&rows(n, 3, by));
        keeps_the_contract(&CoMoment::new(3), [&own(4, 0.5), &own(5, 2.0)], Some(&CoMoment::new(4)));
        let cross = |n: usize, by: f32| {
            CrossCoMoment::of_batch(&rows(n, 3, by), &rows(n, 2, -by), &[(0..n).collect(), (0..n).rev().collect()])
        };
        let narrow = CrossCoMoment::new(2, 2, 2);
        keeps_the_contract(&CrossCoMoment::new(3, 2, 2), [&cross(4, 0.5), &cross(5, 2.0)], Some(&narrow));
    }
}
