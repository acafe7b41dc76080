//! Selected elements of `x W`, bit-identical to the full product: one row and some columns, for callers that know which columns
//! matter (`bytes.rs`).
//!
//! An element of a product is a sum of chains ([`multiply`](super::panels::multiply)). Here the chains of one element are stored
//! next to each other, and one vector computes all four chains of a block.

use super::Zeroed;
use super::panels::{CHAIN, DEPTH, Panels};
use bytemuck::{Pod, Zeroable};

/// Chains of a block.
const CHAINS: usize = DEPTH / CHAIN;
/// Columns at once: as many sums as hide the latency of a multiply-add.
pub const COLUMNS: usize = 8;

/// Chains computed side by side: the chains of one block, or of two blocks when there are more than one.
fn n_lanes(depth: usize) -> usize {
    if depth > DEPTH { 2 * CHAINS } else { CHAINS }
}

/// Values of a woven vector, a whole number of blocks or pairs of blocks.
fn n_values(depth: usize) -> usize {
    depth.div_ceil(n_lanes(depth) * CHAIN) * n_lanes(depth) * CHAIN
}

/// Writes `v` of `depth` values into `out` of [`n_values`] zeros: `[CHAIN, n_lanes]` one after the other.
fn weave(v: impl Iterator<Item = f32>, depth: usize, out: &mut [f32]) {
    let n_lanes = n_lanes(depth);
    let together = n_lanes * CHAIN;
    for (l, v) in v.enumerate() {
        out[l / together * together + l % CHAIN * n_lanes + l % together / CHAIN] = v;
    }
}

/// A matrix `[depth, n_columns]`, column by column.
#[derive(Clone, Debug)]
pub struct ColumnMajor {
    depth: usize,
    values: Zeroed<f32>,
}

impl ColumnMajor {
    /// The columns of `panels`.
    pub fn of(panels: &Panels) -> Self {
        let n = n_values(panels.depth());
        let mut values = Zeroed::new(panels.n_columns() * n);
        for j in 0..panels.n_columns() {
            weave(panels.column(j), panels.depth(), &mut values[j * n..][..n]);
        }
        ColumnMajor { depth: panels.depth(), values }
    }

    /// Bytes that `[depth, n_columns]` take.
    pub fn memory_bytes(depth: usize, n_columns: usize) -> u64 {
        n_columns as u64 * n_values(depth) as u64 * size_of::<f32>() as u64
    }
}

/// Rows `[n_rows, depth]`. Its memory is reused by the next packing.
#[derive(Clone, Debug, Default)]
pub struct WovenRows {
    depth: usize,
    values: Vec<f32>,
}

impl WovenRows {
    /// Takes `x: [n_rows, depth]`, row-major.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&mut self, x: &[f32], n_rows: usize, depth: usize) {
        assert_eq!(x.len(), n_rows * depth, "rows of [{n_rows}, {depth}]");
        let n = n_values(depth);
        self.depth = depth;
        self.values.clear();
        self.values.resize(n_rows * n, 0.0);
        for (r, x) in x.chunks_exact(depth.max(1)).enumerate() {
            weave(x.iter().copied(), depth, &mut self.values[r * n..][..n]);
        }
    }
}

/// Row `r` times these columns, `out[i]` for `chosen[i]`.
///
/// # Panics
/// When depths differ, or there is no such row or column.
pub fn multiply_few(rows: &WovenRows, r: usize, columns: &ColumnMajor, chosen: [u32; COLUMNS]) -> [f32; COLUMNS] {
    assert_eq!(rows.depth, columns.depth, "a product sums as many terms on both sides");
    let n = n_values(rows.depth);
    let row = &rows.values[r * n..][..n];
    let chosen = chosen.map(|j| &columns.values[j as usize * n..][..n]);
    let wide = n_lanes(rows.depth) == 2 * CHAINS;
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || {
                if wide { few(row, chosen, Pair(simd)) } else { few(row, chosen, Single(simd)) }
            },
        );
    }
    if wide { few(row, chosen, Plain::<8>) } else { few(row, chosen, Plain::<4>) }
}

/// Chains side by side.
trait Lanes<const L: usize>: Copy {
    type Sums: Pod;
    /// `a * b + c`, rounded once.
    fn mul_add(self, a: [f32; L], b: [f32; L], c: Self::Sums) -> Self::Sums;
}

/// By the definition, on any processor.
#[derive(Clone, Copy)]
struct Plain<const L: usize>;

macro_rules! lanes {
    ($name:ty, $n:literal, $sums:ty, |$this:ident, $a:ident, $b:ident, $c:ident| $body:expr) => {
        impl Lanes<$n> for $name {
            type Sums = $sums;

            #[inline(always)]
            fn mul_add(self, $a: [f32; $n], $b: [f32; $n], $c: $sums) -> $sums {
                let $this = self;
                $body
            }
        }
    };
}

lanes!(Plain<4>, 4, [f32; 4], |_this, a, b, c| std::array::from_fn(|i| a[i].mul_add(b[i], c[i])));
lanes!(Plain<8>, 8, [f32; 8], |_this, a, b, c| std::array::from_fn(|i| a[i].mul_add(b[i], c[i])));

/// The chains of one block and of two in the vectors of AVX2.
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
#[derive(Clone, Copy)]
struct Single(pulp::x86::V3);
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
#[derive(Clone, Copy)]
struct Pair(pulp::x86::V3);
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
lanes!(Single, 4, pulp::f32x4, |this, a, b, c| this.0.mul_add_f32x4(bytemuck::cast(a), bytemuck::cast(b), c));
#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
lanes!(Pair, 8, pulp::f32x8, |this, a, b, c| this.0.mul_add_f32x8(bytemuck::cast(a), bytemuck::cast(b), c));

/// The steps of chains side by side, from `start` on.
#[inline(always)]
fn steps<const L: usize>(v: &[[f32; L]], start: usize) -> &[[f32; L]; CHAIN] {
    v[start..start + CHAIN].try_into().expect("whole chains")
}

#[inline(always)]
fn few<T: Lanes<L>, const L: usize>(row: &[f32], chosen: [&[f32]; COLUMNS], lanes: T) -> [f32; COLUMNS] {
    let mut out = [0.0f32; COLUMNS];
    let (row, _) = row.as_chunks::<L>();
    let chosen = chosen.map(
        #[inline(always)]
        |column| column.as_chunks::<L>().0,
    );
    for start in (0..row.len()).step_by(CHAIN) {
        let row = steps(row, start);
        let columns = chosen.map(
            #[inline(always)]
            |column| steps(column, start),
        );
        let mut sums = [T::Sums::zeroed(); COLUMNS];
        for l in 0..CHAIN {
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = lanes.mul_add(row[l], column[l], *sum);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            let chains: [f32; L] = bytemuck::cast(sum);
            let (blocks, _) = chains.as_chunks::<CHAINS>();
            for (b, block) in blocks.iter().enumerate() {
                let block = block[0] + block[1] + block[2] + block[3];
                *out = if start == 0 && b == 0 { block } else { *out + block };
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use crate::linalg::panels::{Finish, PackedRows, multiply};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_few_elements_are_those_of_the_product(
            n_rows in 1usize..20, depth in prop_oneof![0usize..70, 500usize..530, 1020usize..1030, Just(2304)], n_columns in 1usize..70,
        ) {
            let mut stream = Stream::new(0, "few", 0);
            let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect() };
            let x = values(n_rows * depth);
            let panels = Panels::from_transposed(&values(n_columns * depth), n_columns, depth);
            let (mut rows, mut woven) = (PackedRows::default(), WovenRows::default());
            rows.pack(&x, n_rows, depth);
            woven.pack(&x, n_rows, depth);
            let mut products = vec![f32::NAN; n_rows * n_columns];
            multiply(&rows, &panels, 0..panels.n_panels(), &mut products, Finish::default());
            let columns = ColumnMajor::of(&panels);
            for r in 0..n_rows {
                let chosen: [u32; COLUMNS] = std::array::from_fn(|i| ((i * 31 + r * 7) % n_columns) as u32);
                for (j, found) in chosen.into_iter().zip(multiply_few(&woven, r, &columns, chosen)) {
                    // A sum of nothing but zeros may be either zero.
                    prop_assert_eq!((found + 0.0).to_bits(), (products[r * n_columns + j as usize] + 0.0).to_bits());
                }
            }
        }
    }
}
