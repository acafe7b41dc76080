//! What are a few elements of `x W`, bit for bit as the whole product has them? One row and some columns, for who knows
//! which of them matter (`bytes.rs`).
//!
//! A product's element is a sum of chains ([`multiply`](super::panels::multiply)): here the chains of one element lie beside each
//! other, so that one vector works at all four of a block.

use super::panels::{CHAIN, DEPTH, Panels};
use pulp::f32x4;

/// Chains of a block.
const CHAINS: usize = DEPTH / CHAIN;
/// Columns at once: as many sums as hide the latency of a multiply-add.
pub const COLUMNS: usize = 8;

/// A row or a column as its blocks' chains: `[n_blocks, CHAIN]` of one term of each.
type Woven = [[f32; CHAINS]];

/// Steps of a woven vector.
fn n_steps(depth: usize) -> usize {
    depth.div_ceil(DEPTH) * CHAIN
}

/// Writes `v` into `out`, which holds zeros where it holds nothing.
fn weave(v: impl Iterator<Item = f32>, out: &mut Woven) {
    for (l, v) in v.enumerate() {
        out[l / DEPTH * CHAIN + l % CHAIN][l % DEPTH / CHAIN] = v;
    }
}

/// A matrix `[depth, n_columns]`, column by column.
#[derive(Clone, Debug)]
pub struct Columns {
    depth: usize,
    values: Vec<[f32; CHAINS]>,
}

impl Columns {
    /// The columns of `panels`.
    pub fn of(panels: &Panels) -> Self {
        let n = n_steps(panels.depth());
        let mut values = vec![[0.0; CHAINS]; panels.n_columns() * n];
        for j in 0..panels.n_columns() {
            weave(panels.column(j), &mut values[j * n..][..n]);
        }
        Columns { depth: panels.depth(), values }
    }

    /// Bytes that `[depth, n_columns]` take.
    pub fn memory_bytes(depth: usize, n_columns: usize) -> u64 {
        n_columns as u64 * n_steps(depth) as u64 * size_of::<[f32; CHAINS]>() as u64
    }
}

/// Rows `[n_rows, depth]`. Keeps its memory when it is packed anew.
#[derive(Clone, Debug, Default)]
pub struct WovenRows {
    depth: usize,
    values: Vec<[f32; CHAINS]>,
}

impl WovenRows {
    /// Takes `x: [n_rows, depth]`, row-major.
    ///
    /// # Panics
    /// When `x` does not hold `n_rows * depth` values.
    pub fn pack(&mut self, x: &[f32], n_rows: usize, depth: usize) {
        assert_eq!(x.len(), n_rows * depth, "rows of [{n_rows}, {depth}]");
        let n = n_steps(depth);
        self.depth = depth;
        self.values.clear();
        self.values.resize(n_rows * n, [0.0; CHAINS]);
        for (r, x) in x.chunks_exact(depth.max(1)).enumerate() {
            weave(x.iter().copied(), &mut self.values[r * n..][..n]);
        }
    }
}

/// Row `r` times these columns, `out[i]` for `chosen[i]`.
///
/// # Panics
/// When depths differ, or there is no such row or column.
pub fn multiply_few(rows: &WovenRows, r: usize, columns: &Columns, chosen: [u32; COLUMNS]) -> [f32; COLUMNS] {
    assert_eq!(rows.depth, columns.depth, "a product sums as many terms on both sides");
    let n = n_steps(rows.depth);
    let row = &rows.values[r * n..][..n];
    let chosen = chosen.map(|j| &columns.values[j as usize * n..][..n]);
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || {
                few(
                    row,
                    chosen,
                    #[inline(always)]
                    |a, b, c| simd.mul_add_f32x4(a, b, c),
                )
            },
        );
    }
    few(row, chosen, |x: f32x4, y, z| {
        f32x4(x.0.mul_add(y.0, z.0), x.1.mul_add(y.1, z.1), x.2.mul_add(y.2, z.2), x.3.mul_add(y.3, z.3))
    })
}

#[inline(always)]
fn few(row: &Woven, chosen: [&Woven; COLUMNS], mul_add: impl Fn(f32x4, f32x4, f32x4) -> f32x4) -> [f32; COLUMNS] {
    let mut out = [0.0f32; COLUMNS];
    for start in (0..row.len()).step_by(CHAIN) {
        let row = &row[start..start + CHAIN];
        let columns = chosen.map(
            #[inline(always)]
            |column| &column[start..start + CHAIN],
        );
        let mut sums = [f32x4(0.0, 0.0, 0.0, 0.0); COLUMNS];
        for (l, &x) in row.iter().enumerate() {
            let x: f32x4 = bytemuck::cast(x);
            for (sum, column) in sums.iter_mut().zip(columns) {
                *sum = mul_add(x, bytemuck::cast(column[l]), *sum);
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            let block = sum.0 + sum.1 + sum.2 + sum.3;
            *out = if start == 0 { block } else { *out + block };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use crate::linalg::panels::{Finish, Rows, multiply};
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
            let (mut rows, mut woven) = (Rows::default(), WovenRows::default());
            rows.pack(&x, n_rows, depth);
            woven.pack(&x, n_rows, depth);
            let mut products = vec![f32::NAN; n_rows * n_columns];
            multiply(&rows, &panels, 0..panels.n_panels(), &mut products, Finish::default());
            let columns = Columns::of(&panels);
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
