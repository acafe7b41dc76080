use super::*;
use crate::device::{BackendName, Compute, Opened};
use crate::moments::centred::centred;
use crate::moments::comoment::product;
use crate::moments::row_permutation;
use proptest::prelude::*;

/// `[n, d]`, by `by` away from 0: exact in f32.
fn rows(values: &[f32], d: usize, by: f32) -> Matrix<f32> {
    let values: Vec<f32> = values.iter().map(|v| (v * 256.0).round() / 256.0 + by).collect();
    Matrix::from_vec(values.len() / d, d, values)
}

fn there(x: &Matrix<f32>) -> DeviceRows {
    let on = Opened::of(Compute { backend: BackendName::Candle, ..Compute::default() }).unwrap();
    DeviceRows::of(&on, on.tensor(x.as_slice().to_vec(), (x.n_rows(), x.n_cols())).unwrap())
}

/// Both, with what may lie between: 1e-12 of the largest sum that the terms could have had.
fn close(what: &str, got: &[f64], want: &[f64], largest: f64) -> std::result::Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        prop_assert!((got - want).abs() <= 1e-12 * largest, "{what}: {got:e} and {want:e}, of {largest:e}");
    }
    Ok(())
}

fn norms_are_close(
    got: &NormMoments,
    want: &NormMoments,
    of: f64,
    largest: f64,
) -> std::result::Result<(), TestCaseError> {
    close("norms, both", &[got.both], &[want.both], of * of * largest)?;
    close("norms, x", &got.x, &want.x, of * largest)?;
    close("norms, y", &got.y, &want.y, of * largest)
}

proptest! {
    /// The law of the device: its sums are those of this machine but for the order of summation.
    #[test]
    fn a_device_gives_what_the_processor_gives(
        values in prop::collection::vec(-1.0f32..1.0, 7 * 40), n in 1usize..=40, far in any::<bool>(), seed in any::<u64>(),
    ) {
        let by = if far { 64.0 } else { 0.0 };
        let (x, y) = (rows(&values[..3 * n], 3, by), rows(&values[3 * 40..3 * 40 + 4 * n], 4, -by));
        let (x_there, y_there) = (there(&x), there(&y));
        let (here, on_device) = (PlaceRows { here: &x, there: None }, PlaceRows { here: &x, there: Some(&x_there) });
        // rows are as long as 2 sqrt(3) at most, sums are of n of them; means are rounded at their own size
        let (most, largest) = (16.0, n as f64 * (1.0 + f64::from(by)));
        let (want, got) = (SiteMoments::of_place(here).unwrap(), SiteMoments::of_place(on_device).unwrap());
        prop_assert_eq!(&want, &SiteMoments::of_batch(&x));
        prop_assert_eq!(&got, &SiteMoments::of_place(on_device).unwrap(), "the same bits of the same rows");
        prop_assert_eq!(got.co.n_rows, want.co.n_rows);
        close("mean", &got.co.mean, &want.co.mean, 1.0 + f64::from(by))?;
        close("c", got.co.c.as_slice(), want.co.c.as_slice(), most * largest)?;
        norms_are_close(&got.norms, &want.norms, most, largest)?;

        let orders: Vec<Vec<usize>> = (0..2).map(|run| row_permutation(seed, "test", 0, run, n)).collect();
        let beside = PlaceRows { here: &y, there: Some(&y_there) };
        let want = CrossCoMoment::of_batch(&x, &y, &orders);
        let got = CrossCoMoment::of_places(on_device, beside, &orders).unwrap();
        prop_assert_eq!(&got, &CrossCoMoment::of_places(on_device, beside, &orders).unwrap(), "the same bits of the same rows");
        // a side that is here alone
        prop_assert_eq!(&want, &CrossCoMoment::of_places(on_device, PlaceRows { here: &y, there: None }, &orders).unwrap());
        prop_assert_eq!(&want, &CrossCoMoment::of_places(here, beside, &orders).unwrap());
        close("mean of x", &got.mean_x, &want.mean_x, 1.0 + f64::from(by))?;
        close("mean of y", &got.mean_y, &want.mean_y, 1.0 + f64::from(by))?;
        close("xx", &got.xx, &want.xx, most * largest)?;
        close("yy", &got.yy, &want.yy, most * largest)?;
        close("c", got.c.as_slice(), want.c.as_slice(), most * largest)?;
        norms_are_close(&got.norms, &want.norms, most, largest)?;
        prop_assert_eq!((got.nulls.len(), got.null_norms.len()), (2, 2));
        // the CPU makes nulls in f32, so the device's are compared with plain f64 products of the permuted rows
        let (_, x_rows) = centred(&x);
        for (run, order) in orders.iter().enumerate() {
            let mut turned = Vec::new();
            y.gather_into(order, &mut turned);
            let (_, y_rows) = centred(&Matrix::from_vec(n, 4, turned));
            close("null", got.nulls[run].as_slice(), product(&x_rows, &y_rows).as_slice(), most * largest)?;
            norms_are_close(&got.null_norms[run], &want.null_norms[run], most, largest)?;
        }
    }
}

#[test]
fn no_rows_have_no_moments() {
    let x = rows(&[], 3, 0.0);
    let x = PlaceRows { here: &x, there: Some(&there(&x)) };
    let own = SiteMoments::of_place(x).unwrap();
    assert_eq!(own, SiteMoments::of_batch(x.here));
    assert_eq!(
        CrossCoMoment::of_places(x, x, &[Vec::new()]).unwrap(),
        CrossCoMoment::of_batch(x.here, x.here, &[Vec::new()])
    );
}
