//! Do two dictionaries of one space hold the same directions? Rows of two SAEs of one model in, their one-to-one agreement out; no
//! activation is looked at.
//!
//! PW-MCC (arXiv 2505.20254) is the mean cosine over the one-to-one pairing with the largest sum. MMCS is the mean over one side's rows of
//! their highest cosine with the other's. Cosines are signed; a row of zeros has cosine 0 with every row.

use crate::error::Result;
use crate::linalg::{Matrix, product_transposed};
use crate::matching::assignment::{ScoredColumns, hungarian, hungarian_sparse};
use rayon::prelude::*;

/// Up to this many latents on either side every cosine takes part in the pairing; beyond, the 16 highest of each row.
pub const DENSE_ROWS: usize = 4096;
/// Highest cosines of each row, both ways, that are paired where there are too many for all.
const LISTED: usize = 16;
/// Rows of the source whose cosines are held at once, for each thread.
const BLOCK_ROWS: usize = 256;

/// How two dictionaries agree.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryMatch {
    /// The one-to-one pairing: source row, target row, cosine; by source row. Where the sides differ in width, rows of the wider one stay
    /// alone.
    pub pairs: Vec<(usize, usize, f64)>,
    /// Sum of the cosines of the pairs over the number of rows of the narrower side; `None` without rows.
    pub pw_mcc: Option<f64>,
    /// Mean over source rows of the highest cosine with a target row, and over target rows with a source row.
    pub mean_max: [Option<f64>; 2],
}

/// Rows of norm 1, in f64; a row of zeros stays.
pub fn unit_rows(rows: &Matrix<f32>) -> Matrix<f64> {
    let mut out = Matrix::zeros(rows.n_rows(), rows.n_cols());
    for (i, row) in rows.rows().enumerate() {
        let norm = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if norm > 0.0 {
            out.row_mut(i).iter_mut().zip(row).for_each(|(o, &v)| *o = f64::from(v) / norm);
        }
    }
    out
}

/// Cosine of two rows; `None` where one of them is zero.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    (norms > 0.0).then(|| (dot(a, b) / norms).clamp(-1.0, 1.0))
}

/// Pairs the rows of `a: [F, d]` with those of `b: [G, d]`, both of norm 1 or 0. With more than [`DENSE_ROWS`] rows on a side only the 16
/// highest cosines of each row, both ways, are paired, and of them those above 0; a row that is left alone counts as 0, so that the
/// PW-MCC is then a lower bound.
///
/// # Errors
/// `Input` for values that are not finite.
///
/// # Panics
/// When the rows differ in width.
pub fn match_dictionaries(a: &Matrix<f64>, b: &Matrix<f64>) -> Result<DictionaryMatch> {
    assert_eq!(a.n_cols(), b.n_cols(), "rows of one space");
    let (m, n) = (a.n_rows(), b.n_rows());
    let keep = if m.max(n) > DENSE_ROWS { LISTED } else { 0 };
    let mut dense = Matrix::zeros(if keep == 0 { m } else { 0 }, n);
    let mut highest = [vec![f64::NEG_INFINITY; m], vec![f64::NEG_INFINITY; n]];
    let mut listed = [vec![Vec::new(); m], vec![Vec::new(); n]];
    let wave = BLOCK_ROWS * rayon::current_num_threads();
    for from in (0..m).step_by(wave) {
        let blocks: Vec<(usize, Matrix<f64>)> = (from..(from + wave).min(m))
            .step_by(BLOCK_ROWS)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|first| {
                let index: Vec<usize> = (first..(first + BLOCK_ROWS).min(m).min(from + wave)).collect();
                (first, product_transposed(&a.gather_rows(&index), b))
            })
            .collect();
        for (first, cosines) in blocks {
            for (r, row) in cosines.rows().enumerate() {
                let i = first + r;
                for (j, &c) in row.iter().enumerate() {
                    highest[0][i] = highest[0][i].max(c);
                    highest[1][j] = highest[1][j].max(c);
                    if keep > 0 {
                        offer(&mut listed[0][i], j as u32, c, keep);
                        offer(&mut listed[1][j], i as u32, c, keep);
                    }
                }
                if keep == 0 {
                    dense.row_mut(i).copy_from_slice(row);
                }
            }
        }
    }
    let pairs = if keep == 0 {
        hungarian(&dense)?.into_iter().map(|(i, j)| (i, j, dense.row(i)[j])).collect()
    } else {
        pair_listed(listed, n)?
    };
    let mean = |of: &[f64]| (!of.is_empty() && m.min(n) > 0).then(|| of.iter().sum::<f64>() / of.len() as f64);
    let sum: f64 = pairs.iter().map(|p: &(usize, usize, f64)| p.2).sum();
    let pw_mcc = (m.min(n) > 0).then(|| sum / m.min(n) as f64);
    Ok(DictionaryMatch { pairs, pw_mcc, mean_max: [mean(&highest[0]), mean(&highest[1])] })
}

/// Puts a cosine among the `keep` highest, highest first; of equal ones the first to come is before.
fn offer(list: &mut Vec<(u32, f64)>, at: u32, cosine: f64, keep: usize) {
    if list.len() == keep && list[keep - 1].1 >= cosine {
        return;
    }
    let place = list.partition_point(|&(_, c)| c >= cosine);
    list.insert(place, (at, cosine));
    list.truncate(keep);
}

/// The pairing with the largest sum over what is listed from either side.
fn pair_listed([of_rows, of_columns]: [Vec<Vec<(u32, f64)>>; 2], n: usize) -> Result<Vec<(usize, usize, f64)>> {
    let mut rows = of_rows;
    for (j, list) in of_columns.into_iter().enumerate() {
        list.into_iter().for_each(|(i, c)| rows[i as usize].push((j as u32, c)));
    }
    for row in &mut rows {
        row.sort_by_key(|&(j, _)| j);
        row.dedup_by_key(|&mut (j, _)| j);
    }
    let found = hungarian_sparse(&ScoredColumns::from_rows(n, rows.iter().map(|row| row.iter().copied()))?)?;
    let cosine = |i: u32, j: u32| {
        let row = &rows[i as usize];
        row[row.binary_search_by_key(&j, |&(at, _)| at).expect("a listed pair")].1
    };
    Ok(found.into_iter().map(|(i, j)| (i as usize, j as usize, cosine(i, j))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;

    fn rows(values: &[&[f32]]) -> Matrix<f64> {
        unit_rows(&Matrix::from_vec(values.len(), values[0].len(), values.concat()))
    }

    #[test]
    fn a_worked_example() {
        let a = rows(&[&[1.0, 0.0], &[0.0, 1.0], &[1.0, 1.0]]);
        let b = rows(&[&[0.0, 2.0], &[1.0, 0.2], &[-1.0, 1.0]]);
        let found = match_dictionaries(&a, &b).unwrap();
        assert_eq!(found.pairs.iter().map(|p| p.1).collect::<Vec<_>>(), [1, 2, 0]);
        // 1 and 0.2 are f32 here: eight digits
        for (value, right) in [
            (found.pw_mcc, 0.798_264_746_0),
            (found.mean_max[0], 0.937_543_656_7),
            (found.mean_max[1], 0.895_895_819_0),
        ] {
            assert!((value.unwrap() - right).abs() < 2e-9, "{value:?}, expected {right}");
        }
    }

    #[test]
    fn rows_of_zeros_stay_and_the_narrower_side_counts() {
        let a = rows(&[&[0.0, 0.0], &[0.0, 3.0]]);
        let b = rows(&[&[0.0, -1.0], &[2.0, 0.0], &[0.0, 1.0]]);
        let found = match_dictionaries(&a, &b).unwrap();
        assert_eq!(found.pairs.len(), 2);
        assert_eq!(found.pairs[1], (1, 2, 1.0));
        assert_eq!((found.pw_mcc, found.mean_max), (Some(0.5), [Some(0.5), Some(1.0 / 3.0)]));
        assert_eq!(match_dictionaries(&Matrix::zeros(0, 2), &b).unwrap().pw_mcc, None);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[0.0, -2.0], &[0.0, 1.0]), Some(-1.0));
    }

    /// Lists that hold all that the best pairing needs give that of the whole matrix.
    #[test]
    fn pairing_listed_cosines_is_pairing_all_where_directions_are_shared() {
        let (n, d) = (300, 24);
        let mut stream = Stream::new(3, "test", 0);
        let a: Vec<f32> = (0..n * d).map(|_| stream.gaussian() as f32).collect();
        let a = Matrix::from_vec(n, d, a);
        let order: Vec<usize> = stream.permutation(n).into_iter().map(|i| i as usize).collect();
        let (a, b) = (unit_rows(&a), unit_rows(&a.gather_rows(&order)));
        let all = match_dictionaries(&a, &b).unwrap();
        let cosines = product_transposed(&a, &b);
        let mut listed = [vec![Vec::new(); n], vec![Vec::new(); n]];
        for i in 0..n {
            for (j, &c) in cosines.row(i).iter().enumerate() {
                offer(&mut listed[0][i], j as u32, c, LISTED);
                offer(&mut listed[1][j], i as u32, c, LISTED);
            }
        }
        assert!(listed[0].iter().all(|l| l.len() == LISTED && l.windows(2).all(|w| w[0].1 >= w[1].1)));
        let pairs = pair_listed(listed, n).unwrap();
        assert_eq!(
            pairs.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>(),
            all.pairs.iter().map(|p| (p.0, p.1)).collect::<Vec<_>>()
        );
        assert!((all.pw_mcc.unwrap() - 1.0).abs() < 1e-12);
    }
}
