//! What is a measure, once it is prepared? A number for any pairing of rows.

use super::space::SideSpace;
use crate::error::{Error, Result};
use crate::linalg::{Matrix, transposed_product_permuted};

/// One pairing: row `i` of the first side with row `order[i]` of the second.
pub(super) struct Draw<'a> {
    pub order: &'a [u32],
    cross: Option<Matrix<f64>>,
}

impl<'a> Draw<'a> {
    /// A pairing with the `corner` of the cross product.
    pub fn new(order: &'a [u32], a: &SideSpace, b: &SideSpace, corner: (usize, usize)) -> Self {
        Draw { order, cross: Some(transposed_product_permuted(&a.svd.u, &b.svd.u, order, corner.0, corner.1)) }
    }

    /// A pairing without a cross product.
    pub fn of_order(order: &'a [u32]) -> Self {
        Draw { order, cross: None }
    }

    /// `U_A[:, :k_A]ᵀ U_B[order, :k_B]`, at least as large as any measure asked for.
    pub fn cross(&self) -> &Matrix<f64> {
        self.cross.as_ref().expect("measures that read the cross product state its size when they are prepared")
    }
}

/// A measure ready to be evaluated under any pairing.
pub(super) trait Statistic: Sync {
    fn value(&self, draw: &Draw) -> Result<f64>;
}

/// A gate for what overflowed on the way: NaN never leaves this room.
pub(super) fn finite(value: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    Err(Error::input(format!(
        "similarity: a score is {value}; the values compared are too large or too small for f64 squares"
    )))
}
