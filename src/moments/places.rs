//! Where are sums over a place's rows made? Where a device holds the rows, there; else here. Both differ by the order of summation.

use crate::device::{Crossed, DeviceRows, Norms, Own};
use crate::error::Result;
use crate::linalg::Matrix;
use crate::moments::norms::NormMoments;
use crate::moments::{CoMoment, CrossCoMoment, SiteMoments};

/// The rows of one place in one batch.
#[derive(Clone, Copy, Debug)]
pub struct PlaceRows<'a> {
    /// `[n_rows, width]` f32.
    pub here: &'a Matrix<f32>,
    /// The same on the device that made them, if they were kept there.
    pub there: Option<&'a DeviceRows>,
}

impl SiteMoments {
    /// Of one batch.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn of_place(place: PlaceRows<'_>) -> Result<Self> {
        let Some(rows) = place.there else { return Ok(SiteMoments::of_batch(place.here)) };
        let d = rows.width();
        let Own { mean, c, norms } = Own::of(rows)?;
        let co = CoMoment { n_rows: rows.n_rows() as u64, mean, c: Matrix::from_vec(d, d, c) };
        Ok(SiteMoments { co, norms: NormMoments::of_device(norms) })
    }
}

impl CrossCoMoment {
    /// Of one batch; `permutations[r]` orders y's rows for null r. Here, too, where the sides are on different devices. A device makes
    /// nulls in f64, where [`CrossCoMoment::of_batch`] makes them in f32.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn of_places(x: PlaceRows<'_>, y: PlaceRows<'_>, permutations: &[Vec<usize>]) -> Result<Self> {
        let (Some(a), Some(b)) = (x.there, y.there) else {
            return Ok(CrossCoMoment::of_batch(x.here, y.here, permutations));
        };
        if !a.is_beside(b) {
            return Ok(CrossCoMoment::of_batch(x.here, y.here, permutations));
        }
        assert_eq!(a.n_rows(), b.n_rows(), "row i is the same token on both sides");
        let Crossed { means: [mean_x, mean_y], squares: [xx, yy], products } = Crossed::of(a, b, permutations)?;
        let (mut matrices, mut norms) = (Vec::new(), Vec::new());
        for product in products {
            matrices.push(Matrix::from_vec(a.width(), b.width(), product.c));
            norms.push(NormMoments::of_device(product.norms));
        }
        // the real pairing comes first
        let (nulls, null_norms) = (matrices.split_off(1), norms.split_off(1));
        let (c, norms) = (matrices.remove(0), norms.remove(0));
        Ok(CrossCoMoment { n_rows: a.n_rows() as u64, mean_x, mean_y, xx, yy, c, nulls, norms, null_norms })
    }
}

impl NormMoments {
    fn of_device(Norms { both, x, y }: Norms) -> NormMoments {
        NormMoments { both, x, y }
    }
}

#[cfg(test)]
mod tests;
