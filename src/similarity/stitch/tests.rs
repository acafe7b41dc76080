use super::*;
use crate::corpus::TokenBatch;
use crate::linalg::Stream;
use crate::moments::FoldRows;

fn gaussian(n: usize, d: usize, name: &str) -> Matrix<f32> {
    let mut stream = Stream::new(7, name, 0);
    Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian() as f32).collect())
}

/// Halves of rows in documents of 5 rows each.
fn halves(n: usize) -> FoldRows {
    let mut batch = TokenBatch::new(0, 0);
    for record in 0..n.div_ceil(5) as u64 {
        batch.documents.push(crate::corpus::Document { number: record, record, ..Default::default() });
        let rows = 5.min(n - 5 * record as usize);
        batch.push(vec![0; rows], &vec![true; rows], &[(0, record as u32)]);
    }
    FoldRows::of(&batch)
}

fn maps(x: &Matrix<f32>, y: &Matrix<f32>, fit: MapFit) -> PairMaps {
    let folds = halves(x.n_rows());
    let sides = [FoldMoments::of_batch(x, &folds), FoldMoments::of_batch(y, &folds)];
    PairMaps::of(&Halt::NEVER, [&sides[0], &sides[1]], &FoldCross::of_batch(x, y, &folds, true), fit).unwrap()
}

fn rotated(x: &Matrix<f32>, by: f64) -> Matrix<f32> {
    let d = x.n_cols();
    let wide: Matrix<f64> =
        Matrix::from_vec(d, d, gaussian(d, d, "turn").as_slice().iter().map(|&v| v.into()).collect());
    let turn = thin_svd(&wide).unwrap();
    let turn = product_transposed(&turn.u, &turn.v);
    let rows: Matrix<f64> = Matrix::from_vec(x.n_rows(), d, x.as_slice().iter().map(|&v| v.into()).collect());
    let data = product(&rows, &turn).as_slice().iter().map(|&v| (by * v + 4.0) as f32).collect();
    Matrix::from_vec(x.n_rows(), d, data)
}

const RAW: MapFit = MapFit { ridge: 1e-6, units: Units::Raw };
const STD: MapFit = MapFit { ridge: 1e-6, units: Units::Std };

#[test]
fn a_place_maps_to_itself_and_a_rotated_copy_by_a_rotation() {
    let x = gaussian(300, 6, "x");
    for fit in [RAW, STD] {
        let own = maps(&x, &x, fit);
        for score in own.least_squares.iter().chain(&own.orthogonal.unwrap()) {
            // least squares: a ridge of 1e-6
            assert!(score.r_squared.unwrap() > 1.0 - 1e-10 && score.null.unwrap() < 0.1, "{score:?}");
        }
        let weight = &own.maps[0].as_ref().unwrap().weight;
        let error = (0..36).map(|k| (weight.as_slice()[k] - f64::from(u8::from(k % 7 == 0))).abs()).fold(0.0, f64::max);
        assert!(error < 1e-5, "the identity: {error}");
    }
    // dimensions of very different variance: a rotation of them is one in raw units alone
    let mut uneven = x.clone();
    (0..300).for_each(|i| uneven.row_mut(i).iter_mut().zip([30.0, 1.0, 1.0, 0.1, 1.0, 1.0]).for_each(|(v, s)| *v *= s));
    let copy = rotated(&uneven, 2.5);
    let found = maps(&uneven, &copy, RAW).orthogonal.unwrap();
    assert!(found.iter().all(|score| score.r_squared.unwrap() > 1.0 - 1e-9), "{found:?}");
    let in_std = maps(&uneven, &copy, STD).orthogonal.unwrap();
    assert!(in_std.iter().all(|score| score.r_squared.unwrap() < 0.95), "{in_std:?}");
}

#[test]
fn rows_that_have_nothing_to_do_with_each_other_are_at_the_null() {
    let (x, y) = (gaussian(400, 12, "x"), gaussian(400, 12, "another"));
    let found = maps(&x, &y, RAW);
    for score in found.least_squares.iter().chain(&found.orthogonal.unwrap()) {
        let (r, null) = (score.r_squared.unwrap(), score.null.unwrap());
        assert!(r < 0.02 && (r - null).abs() < 0.06, "{score:?}");
    }
    // shuffled rows of a copy
    let order = Stream::new(1, "order", 0).permutation(400).into_iter().map(|i| i as usize).collect::<Vec<_>>();
    let shuffled = maps(&x, &x.gather_rows(&order), RAW);
    assert!(shuffled.least_squares[0].r_squared.unwrap() < 0.02, "{:?}", shuffled.least_squares);
}

/// What the sums say is the error over the rows of the half that was not fitted; a map of all rows takes mean to mean.
#[test]
fn errors_from_sums_are_those_of_rows() {
    let x = gaussian(120, 4, "x");
    let mut y = gaussian(120, 3, "noise");
    (0..120).for_each(|i| {
        let at = x.row(i).to_vec();
        y.row_mut(i).iter_mut().enumerate().for_each(|(j, v)| *v += 20.0 * at[j] - at[3] + 5.0);
    });
    let folds = halves(120);
    let of = |m: &Matrix<f32>, f: usize| CoMoment::of_batch(&m.gather_rows(&folds.rows[f]));
    let cross = FoldCross::of_batch(&x, &y, &folds, false);
    for units in [Units::Raw, Units::Std] {
        let (of_x, of_y) = ([of(&x, 0), of(&x, 1)], [of(&y, 0), of(&y, 1)]);
        let sums = |f: usize| Sums { x: &of_x[f], y: &of_y[f], cross: transposed(&cross.0[f].c) };
        let (fitted, judge) = (sums(0), sums(1));
        let map = fitted.with_bias(fitted.least_squares(MapFit { units, ..RAW }).unwrap().unwrap(), units);
        let [error, squares] = judge.errors(&map, &fitted);
        let (mut plain, mut total) = (0.0, 0.0);
        for &r in &folds.rows[1] {
            for j in 0..3 {
                let along: f64 = map.weight.row(j).iter().zip(x.row(r)).map(|(t, &v)| t * f64::from(v)).sum();
                plain += ((f64::from(y.row(r)[j]) - along - map.bias[j]) / map.units[j]).powi(2);
                total += ((f64::from(y.row(r)[j]) - of_y[1].mean[j]) / map.units[j]).powi(2);
            }
        }
        assert!((error - plain).abs() < 1e-9 * plain && (squares - total).abs() < 1e-9 * total, "{error} {plain}");
    }
    let whole = maps(&x, &y, RAW);
    assert_eq!((whole.n_rows, whole.orthogonal), (120, None), "widths differ");
    let score = whole.least_squares[0].r_squared.unwrap();
    assert!(score > 0.98 && score < 0.9999, "{score}");
}

#[test]
fn what_does_not_vary_has_no_map_and_no_r_squared() {
    let flat = Matrix::from_vec(40, 2, vec![3.0f32; 80]);
    let x = gaussian(40, 2, "x");
    let found = maps(&flat, &x, RAW);
    assert!(found.maps[0].is_none() && found.maps[1].is_some());
    assert_eq!(found.least_squares[0].r_squared, None, "nothing to map from");
    assert_eq!(found.least_squares[1].r_squared, None, "nothing to explain");
    let one = maps(&gaussian(5, 2, "x"), &gaussian(5, 2, "y"), RAW);
    assert_eq!(one.least_squares[0], MapScore::default(), "one document fills one half");
    let map = maps(&x, &rotated(&x, 1.0), RAW).maps[0].clone().unwrap();
    let mapped = map.directions(&Matrix::from_vec(1, 2, vec![0.0, 0.0]));
    assert_eq!(map.cosine(mapped.row(0), &[1.0, 0.0]), None);
}
