//! Which sums over rows does a device make where they lie? Means, squares, co-moments and what squared norms give together with rows,
//! of one place or of two; only these come back.
//!
//! Everything is in f64, from the rows as they were made in f32: both CPU and CUDA devices multiply f64, and the sums then differ from
//! those made on this machine (`crate::moments`) by the order of summation alone. Server devices multiply f64 at half the speed of f32
//! or at the same; others at a 32nd or less. Where a device has none, each row could be split into a high and a low part, `x = h + l`: three
//! products `hh + hl + lh` with sums in f32 give some 2e-7 of the largest term, thousands of rows then lose what f64 keeps beside a large mean, and blocks
//! of few rows would have to be added up here.
//!
//! All sums are products of matrices: a sum over rows is a product with a row of ones. So they are as fast as products, and the same rows on the same device give the same bits.

use super::compute::{Compute, DeviceName};
use super::opened::Opened;
use super::rows::DeviceRows;
use super::takes::Takes;
use crate::error::Result;
use candle_core::{DType, Tensor};

/// Sums over the centred rows of one place.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// `[d]`.
    pub mean: Vec<f64>,
    /// XᵀX, `[d, d]`.
    pub c: Vec<f64>,
    /// With the place itself.
    pub norms: Norms,
}

/// Sums over the centred rows of two places, row i beside row i.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossed {
    /// `[d_x]` and `[d_y]`.
    pub means: [Vec<f64>; 2],
    /// Σx² and Σy² of each dimension.
    pub squares: [Vec<f64>; 2],
    /// As the rows are, and then with y's rows in other orders.
    pub products: Vec<Paired>,
}

/// What depends on which rows stand beside each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// XᵀY, `[d_x, d_y]`.
    pub c: Vec<f64>,
    /// Squared norms with each other, and with the rows.
    pub norms: Norms,
}

/// What squared norms of rows give together with rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Norms {
    /// Σ|x|²|y|².
    pub both: f64,
    /// Σ|y|²x, `[d_x]`.
    pub x: Vec<f64>,
    /// Σ|x|²y, `[d_y]`.
    pub y: Vec<f64>,
}

impl Own {
    /// Of `rows`.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn of(rows: &DeviceRows) -> Result<Own> {
        let (on, x) = rows.tensor();
        let _alone = on.alone();
        let make = || {
            let x = Centred::of(x)?;
            let Paired { c, norms } = paired(&x, &x.rows, &x.norms)?;
            Ok(Own { mean: values(&x.mean)?, c, norms })
        };
        make().map_err(Opened::failed)
    }
}

impl Crossed {
    /// Of rows on one device, as many of either; `orders[r]` puts y's rows into another order.
    ///
    /// # Errors
    /// `Machine` when the device fails.
    pub fn of(x: &DeviceRows, y: &DeviceRows, orders: &[Vec<usize>]) -> Result<Crossed> {
        let (on, x) = x.tensor();
        let (_, y) = y.tensor();
        let _alone = on.alone();
        let make = || {
            let (x, y) = (Centred::of(x)?, Centred::of(y)?);
            let mut products = vec![paired(&x, &y.rows, &y.norms)?];
            for order in orders {
                let order: Vec<u32> = order.iter().map(|&row| row as u32).collect();
                let order = Tensor::new(order, &on.device)?;
                products.push(paired(&x, &y.rows.index_select(&order, 0)?, &y.norms.index_select(&order, 0)?)?);
            }
            let means = [values(&x.mean)?, values(&y.mean)?];
            Ok(Crossed { means, squares: [values(&x.squares()?)?, values(&y.squares()?)?], products })
        };
        make().map_err(Opened::failed)
    }
}

/// Rows with their mean taken off.
struct Centred {
    /// `[1, d]`
    mean: Tensor,
    /// `[n_rows, d]`
    rows: Tensor,
    /// Squared norm of each, `[n_rows, 1]`.
    norms: Tensor,
}

impl Centred {
    fn of(x: &Tensor) -> candle_core::Result<Centred> {
        let (n, d) = x.dims2()?;
        let x = x.to_dtype(DType::F64)?;
        let mean = (sum_of_rows(&x)? / n.max(1) as f64)?;
        let rows = x.broadcast_sub(&mean)?;
        let norms = rows.sqr()?.matmul(&Tensor::ones((d, 1), DType::F64, rows.device())?)?;
        Ok(Centred { mean, rows, norms })
    }

    /// Σv² of each column, `[1, d]`.
    fn squares(&self) -> candle_core::Result<Tensor> {
        sum_of_rows(&self.rows.sqr()?)
    }
}

/// `[1, d]`
fn sum_of_rows(x: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::ones((1, x.dims()[0]), DType::F64, x.device())?.matmul(x)
}

/// Of x beside the rows `y` with their squared norms.
fn paired(x: &Centred, y: &Tensor, y_norms: &Tensor) -> candle_core::Result<Paired> {
    let c = values(&x.rows.t()?.matmul(y)?)?;
    let (of_x, of_y) = (x.norms.t()?, y_norms.t()?);
    let both = values(&of_x.matmul(y_norms)?)?[0];
    Ok(Paired { c, norms: Norms { both, x: values(&of_y.matmul(&x.rows)?)?, y: values(&of_x.matmul(y)?)? } })
}

fn values(x: &Tensor) -> candle_core::Result<Vec<f64>> {
    x.flatten_all()?.to_vec1()
}

/// What making the sums of two places takes, `[d_x, d_y]` wide, with orders of y's rows or without.
pub fn moment_bytes(compute: Compute, n_rows: u64, [d_x, d_y]: [u64; 2]) -> Takes {
    // x centred; y as it came, centred and squared, later in another order; a product, here and there
    let bytes = 8 * (n_rows * (d_x + 3 * d_x.max(d_y) + 4) + d_x * d_y);
    match compute.device {
        DeviceName::Cpu => Takes { here: bytes + 8 * d_x * d_y, device: 0 },
        DeviceName::Cuda(_) => Takes { here: 8 * d_x * d_y, device: bytes },
    }
}
