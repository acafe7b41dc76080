//! Σxy of every source latent with every target latent, in tiles of source rows.
//!
//! A tile is the unit of ownership and of state files: a range of source latents against all target latents. A row takes
//! memory from when its latent first fires. Cost per token: (nonzeros of source) × (nonzeros of target).

use crate::error::Result;
use crate::linalg::Zeroed;
use crate::moments::{Accumulator, Beside, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
use std::collections::BTreeMap;

/// Bytes that one tile may take when all its rows are alive; bounds the size of a state file.
const TILE_BYTES: usize = 64 << 20;

/// Rows of a tile for a pair with these widths: a function of the widths alone, so that state files do not depend on
/// the worker that computed them.
pub fn tile_rows(d_source: usize, d_target: usize) -> usize {
    let fit = TILE_BYTES / (8 * d_target.max(1));
    // at least four tiles, so that a few workers have something each; at most what fits the byte bound
    fit.min(d_source.div_ceil(4)).max(1)
}

/// A batch turned round: for every latent its rows and values, rows ascending.
#[derive(Clone, Debug)]
pub struct ByLatent {
    starts: Vec<u32>,
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl ByLatent {
    /// Counting sort of the batch's entries by latent.
    pub fn new(batch: &LatentBatch) -> Self {
        let mut starts = vec![0u32; batch.d_sae + 1];
        for &latent in &batch.latents {
            starts[latent as usize + 1] += 1;
        }
        for i in 0..batch.d_sae {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let (mut rows, mut values) = (vec![0; batch.latents.len()], vec![0.0; batch.latents.len()]);
        for r in 0..batch.n_rows() {
            let (latents, v) = batch.row(r);
            for (&latent, &value) in latents.iter().zip(v) {
                let at = next[latent as usize] as usize;
                rows[at] = r as u32;
                values[at] = value;
                next[latent as usize] += 1;
            }
        }
        ByLatent { starts, rows, values }
    }

    /// Rows and values of latent `i`.
    pub fn latent(&self, i: usize) -> (&[u32], &[f32]) {
        let span = self.starts[i] as usize..self.starts[i + 1] as usize;
        (&self.rows[span.clone()], &self.values[span])
    }
}

/// Σxy of source latents `first_row..first_row + n_rows` with all `d_target` target latents, f64.
#[derive(Clone, Debug)]
pub struct CrossTile {
    first_row: usize,
    d_target: usize,
    /// Where in `sums` a row is, `[n_rows]`; `None` while its latent never fired.
    places: Vec<Option<u32>>,
    /// Rows in the order in which they came alive, then zeros: `[n_rows, d_target]`, or nothing before the first.
    sums: Zeroed<f64>,
    n_alive: usize,
}

impl PartialEq for CrossTile {
    fn eq(&self, other: &Self) -> bool {
        (self.first_row, self.n_rows(), self.d_target) == (other.first_row, other.n_rows(), other.d_target)
            && self.alive().eq(other.alive())
    }
}

impl CrossTile {
    /// An empty tile.
    pub fn new(first_row: usize, n_rows: usize, d_target: usize) -> Self {
        CrossTile { first_row, d_target, places: vec![None; n_rows], sums: Zeroed::new(0), n_alive: 0 }
    }

    /// Row `i`, made alive where it is not.
    pub(super) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        if self.n_alive == 0 {
            self.sums = Zeroed::new(self.places.len() * self.d_target);
        }
        let place = *self.places[i].get_or_insert_with(|| {
            self.n_alive += 1;
            (self.n_alive - 1) as u32
        });
        &mut self.sums[place as usize * self.d_target..][..self.d_target]
    }

    /// First source latent.
    pub fn first_row(&self) -> usize {
        self.first_row
    }

    /// Number of source latents.
    pub fn n_rows(&self) -> usize {
        self.places.len()
    }

    /// Number of target latents.
    pub fn d_target(&self) -> usize {
        self.d_target
    }

    /// Σxy of source latent `first_row + i` with every target latent, `[d_target]`; `None` while it never fired.
    pub fn row(&self, i: usize) -> Option<&[f64]> {
        self.places[i].map(|place| &self.sums[place as usize * self.d_target..][..self.d_target])
    }

    /// Bytes of the rows that are alive.
    pub fn size_bytes(&self) -> usize {
        self.n_alive * self.d_target * 8
    }

    /// Rows that are alive, ascending: (index in the tile, sums).
    pub fn alive(&self) -> impl Iterator<Item = (usize, &[f64])> {
        (0..self.n_rows()).filter_map(|i| Some((i, self.row(i)?)))
    }

    /// Adds a row's sums; `false` when it does not fit the tile.
    fn add_row(&mut self, i: usize, sums: &[f64]) -> bool {
        let fits = i < self.n_rows() && sums.len() == self.d_target;
        if fits {
            self.row_mut(i).iter_mut().zip(sums).for_each(|(a, b)| *a += b);
        }
        fits
    }

    /// Its sums alone as tensor `name`; which rows they are is laid out by another tile with the same rows alive.
    pub(super) fn lay_out_sums(&self, layout: StateLayout, name: &str) -> StateLayout {
        layout.tensor::<f64>(name, &[self.n_alive, self.d_target])
    }

    /// Writes them.
    pub(super) fn save_sums(&self, file: &mut StateWriter, name: &str) -> Result<()> {
        self.alive().try_for_each(|(_, sums)| file.put(name, sums))
    }

    /// Adds the sums of tensor `name`.
    pub(super) fn load_sums(&mut self, file: &mut StateReader, name: &str) -> Result<()> {
        let rows: Vec<u32> = file.tensor(ROWS)?;
        let mut sums = vec![0.0f64; self.d_target];
        if file.shape(name)? != [rows.len(), self.d_target] {
            return Err(file.misfit());
        }
        for (k, &i) in rows.iter().enumerate() {
            file.read_at(name, k * sums.len(), &mut sums)?;
            if !self.add_row(i as usize, &sums) {
                return Err(file.misfit());
            }
        }
        Ok(())
    }
}

/// Sums in a cache line.
const LINE: usize = 8;

/// Reads a row from end to end, which memory does at its full speed, so that what is written to it at random afterwards waits for the second-level
/// cache alone. It pays where every other line is written to.
fn bring(sums: &[f64]) {
    std::hint::black_box(sums.iter().step_by(LINE).fold(0, |bits, sum| bits ^ sum.to_bits()));
}

/// Tensors of a tile's state: which rows are alive, ascending, and their sums.
const ROWS: &str = "rows";
const SUMS: &str = "sums";

impl State for CrossTile {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let named = layout.key("first_row", self.first_row).key("n_rows", self.n_rows());
        self.lay_out_sums(named.tensor::<u32>(ROWS, &[self.n_alive]), SUMS)
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put(ROWS, &self.alive().map(|(i, _)| i as u32).collect::<Vec<u32>>())?;
        self.save_sums(file, SUMS)
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        self.load_sums(file, SUMS)
    }
}

impl Accumulator for CrossTile {
    type Batch<'a> = (&'a ByLatent, Beside<'a>);
    /// Numbers of source and of target latents.
    type Shape = (usize, usize);

    /// For each source latent in order, its rows in order.
    fn fold(&mut self, (source, target): Self::Batch<'_>) -> Result<()> {
        assert_eq!(target.d_sae(), self.d_target, "a tile is fed with its own pair");
        let firings = target.firings_per_row();
        for i in 0..self.n_rows() {
            let (rows, values) = source.latent(self.first_row + i);
            if rows.is_empty() {
                continue;
            }
            let sums = self.row_mut(i);
            if rows.len() * firings >= sums.len() / LINE / 2 {
                bring(sums);
            }
            for (&r, &x) in rows.iter().zip(values) {
                let x = f64::from(x);
                let (latents, y) = target.row(r as usize);
                for (&j, &y) in latents.iter().zip(y) {
                    sums[j as usize] += x * f64::from(y);
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &CrossTile) -> Result<()> {
        assert_eq!((self.first_row, self.n_rows(), self.d_target), (other.first_row, other.n_rows(), other.d_target));
        for (i, theirs) in other.alive() {
            assert!(self.add_row(i, theirs), "the same tile");
        }
        Ok(())
    }

    fn bytes(&(d_source, d_target): &Self::Shape) -> u64 {
        d_source as u64 * d_target as u64 * 8
    }
}

/// A tile's state file, of which rows are asked for one by one.
#[derive(Debug)]
pub struct SavedTile {
    file: StateReader,
    /// Where in the file a row's sums are.
    places: BTreeMap<u32, usize>,
}

impl SavedTile {
    /// # Errors
    /// `State` for a file that does not hold a tile.
    pub fn new(mut file: StateReader) -> Result<Self> {
        let rows: Vec<u32> = file.tensor(ROWS)?;
        Ok(SavedTile { file, places: rows.into_iter().zip(0..).collect() })
    }

    /// Σxy of row `i` of the tile with all `d_target` target latents; `None` when it never fired.
    ///
    /// # Errors
    /// `State` for a file that ends before.
    pub fn row(&mut self, i: usize, d_target: usize) -> Result<Option<Vec<f64>>> {
        let Some(&place) = self.places.get(&(i as u32)) else { return Ok(None) };
        let mut sums = vec![0.0; d_target];
        self.file.read_at(SUMS, place * d_target, &mut sums)?;
        Ok(Some(sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn csr(dense: &[Vec<f32>], d_sae: usize) -> LatentBatch {
        let mut out = LatentBatch { d_sae, row_starts: vec![0], ..Default::default() };
        for row in dense {
            for (j, &v) in row.iter().enumerate() {
                if v != 0.0 {
                    out.latents.push(j as u32);
                    out.values.push(v);
                }
            }
            out.row_starts.push(out.latents.len() as u32);
        }
        out
    }

    fn dense(n: std::ops::Range<usize>, d: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let value = prop_oneof![3 => Just(0.0f32), 1 => -2.0f32..4.0];
        prop::collection::vec(prop::collection::vec(value, d), n)
    }

    proptest! {
        /// The tile against plain triple loops, and tiles of any height against one tile, bit for bit.
        #[test]
        fn tiles_hold_the_plain_sums(rows in dense(1..12, 13), height in 1usize..14) {
            let (a, b): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
                rows.iter().map(|r| (r[..7].to_vec(), r[7..].to_vec())).unzip();
            let (source, target) = (csr(&a, 7), csr(&b, 6));
            let by = ByLatent::new(&source);
            let mut whole = CrossTile::new(0, 7, 6);
            whole.fold((&by, Beside::own(&target))).unwrap();
            for i in 0..7 {
                for j in 0..6 {
                    let plain: f64 = (0..a.len()).map(|r| f64::from(a[r][i]) * f64::from(b[r][j])).sum();
                    let got = whole.row(i).map_or(0.0, |row| row[j]);
                    prop_assert!((plain - got).abs() < 1e-12, "{i} {j}: {plain} {got}");
                }
            }
            for turn in 0..a.len() {
                let mut turned = CrossTile::new(0, 7, 6);
                let order: Vec<usize> = (0..b.len()).map(|r| (r + turn) % b.len()).collect();
                turned.fold((&by, Beside::ordered(&target, &order))).unwrap();
                let beside = |r: usize| &b[(r + turn) % b.len()];
                for i in 0..7 {
                    for j in 0..6 {
                        let plain: f64 = (0..a.len()).map(|r| f64::from(a[r][i]) * f64::from(beside(r)[j])).sum();
                        prop_assert!((plain - turned.row(i).map_or(0.0, |row| row[j])).abs() < 1e-12);
                    }
                }
            }
            for first in (0..7).step_by(height) {
                let n = height.min(7 - first);
                let mut tile = CrossTile::new(first, n, 6);
                tile.fold((&by, Beside::own(&target))).unwrap();
                for i in 0..n {
                    prop_assert_eq!(tile.row(i), whole.row(first + i));
                }
            }
        }

        /// Halves merged equal the whole when the sums are exact (small integers).
        #[test]
        fn merge_is_the_whole(rows in prop::collection::vec(prop::collection::vec(0i8..3, 8), 2..10), cut in 1usize..9) {
            let cut = cut.min(rows.len() - 1);
            let split = |r: &[Vec<i8>]| {
                let f = |s: std::ops::Range<usize>| r.iter().map(|x| x[s.clone()].iter().map(|&v| f32::from(v)).collect()).collect::<Vec<Vec<f32>>>();
                (csr(&f(0..4), 4), csr(&f(4..8), 4))
            };
            let fold = |r: &[Vec<i8>], tile: &mut CrossTile| { let (a, b) = split(r); tile.fold((&ByLatent::new(&a), Beside::own(&b))).unwrap(); };
            let mut whole = CrossTile::new(0, 4, 4);
            fold(&rows[..cut], &mut whole);
            fold(&rows[cut..], &mut whole);
            let (mut left, mut right) = (CrossTile::new(0, 4, 4), CrossTile::new(0, 4, 4));
            fold(&rows[..cut], &mut left);
            fold(&rows[cut..], &mut right);
            left.merge(&right).unwrap();
            prop_assert_eq!(left, whole);
        }
    }

    /// A sum of dyadic numbers without rounding: digits of 32 bits from 2^-298, the smallest product of two f32.
    struct Exact([i64; 24]);

    impl Exact {
        /// Adds `mantissa * 2^exponent`; fewer than 2^31 times.
        fn add(&mut self, negative: bool, mantissa: u64, exponent: i32) {
            let place = usize::try_from(exponent + 298).expect("no smaller than a product of two f32");
            let shifted = u128::from(mantissa) << (place % 32);
            for (k, digit) in self.0[place / 32..].iter_mut().take(3).enumerate() {
                let part = ((shifted >> (32 * k)) & 0xffff_ffff) as i64;
                *digit += if negative { -part } else { part };
            }
        }

        fn add_f64(&mut self, value: f64) {
            let (bits, mut exponent) = (value.abs().to_bits(), (value.abs().to_bits() >> 52) as i32 - 1075);
            let mut mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
            if value == 0.0 {
                return;
            }
            // Sums of products are multiples of 2^-298, so what is shifted out is zeros.
            while mantissa.is_multiple_of(2) && exponent < 300 {
                (mantissa, exponent) = (mantissa / 2, exponent + 1);
            }
            self.add(value < 0.0, mantissa, exponent);
        }

        fn magnitude(mut self) -> f64 {
            for turn in [1, -1] {
                let mut carry = 0;
                for digit in &mut self.0 {
                    let sum = *digit * turn + carry;
                    (*digit, carry) = (sum & 0xffff_ffff, sum >> 32);
                }
                if carry == 0 {
                    break;
                }
                *self.0.last_mut().expect("24 digits") += carry << 32;
            }
            self.0.iter().enumerate().rev().map(|(k, &digit)| digit as f64 * 2f64.powi(32 * k as i32 - 298)).sum()
        }
    }

    #[test]
    fn the_exact_sum_knows_simple_sums() {
        for values in [vec![3.0, -1.5], vec![1e30, 1.0, -1e30], vec![-1e-40, 2e-40], vec![-7.0], vec![5.0, -5.0]] {
            let mut exact = Exact([0; 24]);
            values.iter().for_each(|&v| exact.add_f64(f64::from(v as f32)));
            // exact in f64 when the large ones are taken first
            let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v as f32)).collect();
            sorted.sort_by(|a: &f64, b| b.abs().total_cmp(&a.abs()).then(a.total_cmp(b)));
            let large: f64 = sorted.iter().filter(|v| v.abs() > 1e20).sum();
            let small: f64 = sorted.iter().filter(|v| v.abs() <= 1e20).sum();
            assert_eq!(exact.magnitude(), (large + small).abs(), "{values:?}");
        }
    }

    proptest! {
        /// Totals against sums without rounding, over values of 60 powers of two that cancel: a product of two f32 is
        /// exact in f64, so the error of n terms is that of n - 1 additions, at most (n - 1) 2^-53 of the absolute sum.
        #[test]
        fn totals_are_as_near_the_exact_sums_as_f64_additions_allow(
            values in prop::collection::vec(((-1.0f32..1.0), (-30i32..30), any::<bool>()), 1..300),
        ) {
            let mut terms: Vec<(f32, f32)> =
                values.iter().map(|&(v, power, _)| (v * 2f32.powi(power), 1.0 + v.abs())).collect();
            // most of it cancels, at a distance
            terms.extend(values.iter().filter(|v| v.2).map(|&(v, power, _)| (-v * 2f32.powi(power), 1.0 + v.abs())));
            terms.retain(|t| t.0 != 0.0);
            let column = |f: fn(&(f32, f32)) -> f32| csr(&terms.iter().map(|t| vec![f(t)]).collect::<Vec<_>>(), 1);
            let mut tile = CrossTile::new(0, 1, 1);
            tile.fold((&ByLatent::new(&column(|t| t.0)), Beside::own(&column(|t| t.1)))).unwrap();
            let total = tile.row(0).map_or(0.0, |row| row[0]);
            let (mut exact, mut absolute) = (Exact([0; 24]), 0.0);
            for &(x, y) in &terms {
                exact.add_f64(f64::from(x) * f64::from(y));
                absolute += (f64::from(x) * f64::from(y)).abs();
            }
            exact.add_f64(-total);
            let limit = (terms.len() as f64 - 1.0).max(0.0) * 2f64.powi(-53) * absolute;
            prop_assert!(exact.magnitude() <= limit * 1.000_001, "{total} of {} terms", terms.len());
        }
    }

    #[test]
    fn tile_height_depends_on_widths_alone_and_covers_the_source() {
        for (a, b) in [(1, 1), (40, 64), (1024, 1024), (32768, 32768), (65536, 131072)] {
            let h = tile_rows(a, b);
            assert!(h >= 1 && h <= a);
            assert!(h == 1 || h * b * 8 <= TILE_BYTES);
        }
    }
}
