//! Int8 approximation of `x W`, with a proven bound on its error.
//!
//! Each row and column is rounded to whole multiples of its own step, from −127 to 127: `x ≈ s q`. Products of bytes are exact
//! sums of integers. Processors that multiply bytes by fours (AVX-512 VNNI, AVX-VNNI) make four products in the time of one f32
//! multiply-add; other processors compute the same sums more slowly.
//!
//! For a row x and a column w with `x' = s q` their rounded selves, by Cauchy and Schwarz
//! `|x·w - x'·w'| <= ‖x - x'‖ ‖w‖ + ‖x'‖ ‖w - w'‖`. The rounding errors are measured per row and column, not assumed. The f32
//! product ([`multiply`](super::panels::multiply)) is at most `γ ‖x‖ ‖w‖` from the exact one, where γ counts the roundings of one
//! term. [`Rounding`] holds the share of a row or a column in the sum of both errors. Products near the smallest f32 lose up to
//! half of 2⁻¹⁴⁹ at each of at most [`DEEPEST`] terms: less than [`UNDERFLOW`], which the caller must add to the bound.

mod kernel;
mod packed;
pub mod vectors;

use super::panels::WIDTH;
use std::ops::Range;

pub use kernel::pays_off;
pub use packed::{BytePanels, ByteRows, DEEPEST, Rounding, UNDERFLOW};

/// `sums = rows * panels[.., columns of these panels]` in whole steps, `[n_rows, WIDTH * range.len()]`, each row's too large by
/// its [`ByteRows::offset`]. Columns that fill up the last panel hold nothing of use.
///
/// # Panics
/// When depths differ, a panel of the range is not there, or `sums` does not fit.
pub fn multiply_bytes(rows: &ByteRows, panels: &BytePanels, range: Range<usize>, sums: &mut [i32]) {
    let n_quads = panels.n_quads();
    assert_eq!(rows.n_quads, n_quads, "a product sums as many terms on both sides");
    assert!(range.end * n_quads <= panels.lines.len(), "panels {range:?}");
    assert_eq!(sums.len(), rows.n_rows * range.len() * WIDTH, "sums of {} rows", rows.n_rows);
    if n_quads == 0 {
        return sums.fill(0);
    }
    let lines = &panels.lines[range.start * n_quads..range.end * n_quads];
    kernel::Product { rows, n_quads, lines, width: range.len() * WIDTH, sums }.dispatch();
}

#[cfg(test)]
mod tests {
    use super::kernel::Product;
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    use super::kernel::x86;
    use super::*;
    use crate::linalg::Stream;
    use crate::linalg::panels::Panels;
    use crate::linalg::panels::{Finish, PackedRows, multiply};
    use proptest::prelude::*;

    fn values(n: usize, name: &str) -> Vec<f32> {
        let mut stream = Stream::new(0, name, 0);
        // mostly small, some large: what rounding to few steps is worst at
        (0..n).map(|_| (2.0 * stream.unit() - 1.0).powi(5) as f32).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// The same integers by any instruction, and no product of f32 further off than the bound.
        #[test]
        fn sums_are_exact_and_products_within_the_bound(
            n_rows in 0usize..150, depth in prop_oneof![0usize..70, 500usize..530, 1020usize..1030], n_columns in 1usize..150,
            cut in 0usize..8, scale in prop_oneof![Just(1.0f32), Just(1e-20), Just(1e-38), Just(1e12), Just(0.0)],
        ) {
            let x: Vec<f32> = values(n_rows * depth, "x").iter().map(|x| x * scale).collect();
            let panels = Panels::from_transposed(&values(n_columns * depth, "w"), n_columns, depth);
            let (bytes, columns) = BytePanels::of(&panels);
            let (mut rows, mut full) = (ByteRows::default(), PackedRows::default());
            rows.pack(&x, n_rows, depth);
            full.pack(&x, n_rows, depth);
            let range = cut.min(panels.n_panels() - 1)..panels.n_panels();
            let width = range.len() * WIDTH;
            let mut sums = vec![i32::MIN; n_rows * width];
            multiply_bytes(&rows, &bytes, range.clone(), &mut sums);
            if depth > 0 {
                let lines = &bytes.lines[range.start * bytes.n_quads()..];
                let by = |way: fn(Product<'_>)| {
                    let mut sums = vec![i32::MIN; n_rows * width];
                    way(Product { rows: &rows, n_quads: bytes.n_quads(), lines, width, sums: &mut sums });
                    sums
                };
                prop_assert_eq!(&sums, &by(|product| product.plain()));
                #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
                for (has, way) in [(x86::has_512(), x86::by_512 as fn(Product<'_>)), (x86::has_256(), x86::by_256)] {
                    if has {
                        prop_assert_eq!(&sums, &by(way));
                    }
                }
            }
            let n_true = n_columns - range.start * WIDTH;
            let mut products = vec![0.0; n_rows * n_true];
            multiply(&full, &panels, range.clone(), &mut products, Finish::default());
            for i in 0..n_rows {
                for j in 0..n_true {
                    let (row, column) = (rows.roundings()[i], columns[range.start * WIDTH + j]);
                    let steps = sums[i * width + j] - rows.offset(i);
                    let about = f64::from(steps) * f64::from(row.step) * f64::from(column.step);
                    let bound = f64::from(row.rounded) * f64::from(column.norm) + f64::from(row.norm) * f64::from(column.rounded);
                    let off = (f64::from(products[i * n_true + j]) - about).abs();
                    let bound = bound + depth as f64 * 2f64.powi(-150);
                    prop_assert!(off <= bound, "{off} for at most {bound}");
                }
            }
        }
    }
}
