//! bf16 products `x W` with f32 sums, when `W` is kept for many products; the shape of [`panels`](super::panels).
//!
//! Weights and rows are rounded to bf16, to nearest even: NaN stays NaN, infinity stays infinity. A bf16 below the smallest normal
//! number is zero, with its sign. Two depths are a pair, side by side in 32 bits, the even one below; a missing last one is 0.
//!
//! Every element is one fixed sum, as in [`panels`](super::panels): blocks of 512 terms, added in order, each made of chains of 128 terms,
//! added in order, both in plain f32. A chain goes from 0, pair by pair, in the way Intel's manual has it of VDPBF16PS: first the odd
//! term `x[2i+1] * w[2i+1]`, then the even one `x[2i] * w[2i]`, each by a fused multiply-add rounded to nearest even. A sum that
//! comes out below the smallest normal number is zero, with its sign. So an element's bits depend on its row and its column alone.
//! The payload of a NaN is left open.
//!
//! There are two ways to the same bits ([`Way`]): the instruction, and its emulation on any processor, many times slower, which tests take
//! and the instruction is held to. One thing the manual does not say: of a sum less than 2⁻¹⁵⁰ below the smallest normal number, whether
//! it counts as below before it is rounded. The emulation rounds first, as to a number of that size.

mod kernel;
mod packed;
mod way;
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
mod x86;

use super::panels::{Finish, WIDTH};
use kernel::Product;
use std::ops::Range;

pub use packed::{HalfPanels, HalfRows, rounded};
pub use way::Way;

/// `c = rows * panels[.., columns of these panels] + finish`, `c: [n_rows, width]` row-major, where width is the number of
/// columns in the range of panels. What was in `c` is not read. `finish` is laid out as `c`: its bias has `width` values.
///
/// # Panics
/// When depths differ, a panel of the range is not there, or a slice does not fit.
pub fn multiply(rows: &HalfRows, panels: &HalfPanels, range: Range<usize>, c: &mut [f32], finish: Finish<'_>) {
    assert_eq!(rows.depth, panels.depth(), "a product sums as many terms on both sides");
    assert!(range.start <= range.end && range.end <= panels.n_panels(), "panels {range:?} of {}", panels.n_panels());
    let width = (range.end * WIDTH).min(panels.n_columns()).saturating_sub(range.start * WIDTH);
    assert_eq!(c.len(), rows.n_rows() * width, "a product of [{}, {width}]", rows.n_rows());
    assert!(finish.bias.is_none_or(|b| b.len() == width) && finish.add.is_none_or(|a| a.len() == c.len()));
    let product = Product { rows, n_pairs: panels.n_pairs(), lines: panels.lines(range), width, c, finish };
    match Way::of_this_machine() {
        #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
        Some(Way::Instruction) => x86::run(product),
        #[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
        Some(Way::Instruction) => unreachable!("the instruction is never found here"),
        Some(Way::Emulated) | None => product.emulated(),
    }
}

#[cfg(test)]
mod tests;
