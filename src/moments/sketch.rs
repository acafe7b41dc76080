//! One CountSketch per space (Charikar, Chen and Farach-Colton 2002): every row of the corpus is thrown into one of `width`
//! buckets with a sign, and a latent's sketch holds its signed sums by bucket. The inner product of two latents' sketches, of
//! whatever space and model, then estimates Σxy, with an error of about √(Σx² Σy² / width); so one pass and memory linear in
//! the spaces serve every pair of them.
//!
//! A row's bucket is a hash of the run's seed and of the token's place: its file (name, first record, and how many
//! of that name came before), its document in the file, its number among the document's counted rows. It does not depend on where in the
//! corpus the file comes, so sketches of shards add up to the sketch of the whole, and rows of different shards meet only by
//! chance. (With the row's number in place of that, row r of one shard would always meet row r of the other, and a merge would
//! count their products.)
//!
//! Sums are f32: a bucket's rounding error is below n·2⁻²⁴ of the sum of its n absolute values, far below the sketch's own error
//! for any corpus that can be read.

use crate::corpus::TokenBatch;
use crate::error::Result;
use crate::linalg::Stream;
use crate::moments::{Accumulator, ByLatent, State};
use crate::store::{StateLayout, StateReader, StateWriter};
use rayon::prelude::*;

/// Bucket and sign of each row of a batch: `bucket << 1 | negative`.
pub type Buckets = Vec<u32>;

/// Gives rows their buckets, in corpus order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowHash {
    width: u32,
    seed: u64,
    /// The document of the last row, and its counted rows so far.
    document: u64,
    rows: u64,
}

impl RowHash {
    /// Before the first row of a run with this seed.
    pub fn new(seed: u64, width: usize) -> Self {
        RowHash { width: width as u32, seed: Stream::new(seed, "sketch", 0).next_u64(), document: u64::MAX, rows: 0 }
    }

    /// Of every row of the batch. Batches must come in order.
    pub fn next(&mut self, tokens: &TokenBatch) -> Buckets {
        let mut out = Vec::with_capacity(tokens.n_rows());
        for r in 0..tokens.n_rows() {
            let document = tokens.document_of(r);
            if document.number != self.document {
                (self.document, self.rows) = (document.number, 0);
            }
            let record = mixed((self.seed ^ document.file).wrapping_add(document.record));
            let h = mixed(mixed(record.wrapping_add(u64::from(document.part))).wrapping_add(self.rows));
            let bucket = (((h >> 32) * u64::from(self.width)) >> 32) as u32;
            out.push(bucket << 1 | (h & 1) as u32);
            self.rows += 1;
        }
        out
    }
}

/// Its position is saved with every sketch; a merge continues at that of its last part.
impl State for RowHash {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        layout.key("document", self.document).key("rows", self.rows)
    }

    fn save(&self, _: &mut StateWriter) -> Result<()> {
        Ok(())
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        (self.document, self.rows) = (file.number("document")?, file.number("rows")?);
        Ok(())
    }
}

/// The finisher of splitmix64 (Steele, Lea and Flood 2014), a bijection; with an odd constant before, so that 0 is no fixed point.
pub(super) fn mixed(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Signed sums by bucket of every latent of one space.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    width: usize,
    /// `[d_sae, width]` f32.
    buckets: Vec<f32>,
    /// Latents that fired, `[d_sae]`; of the others all buckets are 0.
    alive: Vec<bool>,
    /// Of the constant 1, for centring: `[width]`, whole numbers.
    ones: Vec<f64>,
}

/// Latents whose sums one task adds.
const LATENTS_A_TASK: usize = 512;

impl Sketch {
    /// Nothing seen yet.
    pub fn new(d_sae: usize, width: usize) -> Self {
        Sketch { width, buckets: vec![0.0; d_sae * width], alive: vec![false; d_sae], ones: vec![0.0; width] }
    }

    /// Buckets.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of latents.
    pub fn d_sae(&self) -> usize {
        self.buckets.len() / self.width
    }

    /// Of latent `i`, `[width]`.
    pub fn latent(&self, i: usize) -> &[f32] {
        &self.buckets[i * self.width..][..self.width]
    }

    /// Of the constant 1, `[width]`.
    pub fn ones(&self) -> &[f64] {
        &self.ones
    }

    /// Adds a latent's sums, as read from a state file; `false` when they do not fit.
    #[must_use]
    pub fn add_latent(&mut self, i: usize, sums: &[f32]) -> bool {
        let fits = i < self.d_sae() && sums.len() == self.width;
        if fits {
            self.alive[i] = true;
            self.buckets[i * self.width..][..self.width].iter_mut().zip(sums).for_each(|(a, b)| *a += b);
        }
        fits
    }

    /// Adds the sums of the constant 1; `false` when they do not fit.
    #[must_use]
    pub fn add_ones(&mut self, ones: &[f64]) -> bool {
        self.ones.iter_mut().zip(ones).for_each(|(a, b)| *a += b);
        ones.len() == self.width
    }

    fn alive(&self) -> Vec<u32> {
        (0u32..).zip(&self.alive).filter(|(_, alive)| **alive).map(|(i, _)| i).collect()
    }
}

impl State for Sketch {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let n = self.alive().len();
        layout
            .tensor::<f64>("ones", &[self.width])
            .tensor::<u32>("latents", &[n])
            .tensor::<f32>("buckets", &[n, self.width])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        let alive = self.alive();
        file.put("ones", &self.ones)?;
        file.put("latents", &alive)?;
        alive.iter().try_for_each(|&i| file.put("buckets", self.latent(i as usize)))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let (ones, latents): (Vec<f64>, Vec<u32>) = (file.tensor("ones")?, file.tensor("latents")?);
        if file.shape("buckets")? != [latents.len(), self.width] || !self.add_ones(&ones) {
            return Err(file.misfit());
        }
        let mut buckets = vec![0f32; self.width];
        for (k, &i) in latents.iter().enumerate() {
            file.read_at("buckets", k * buckets.len(), &mut buckets)?;
            if !self.add_latent(i as usize, &buckets) {
                return Err(file.misfit());
            }
        }
        Ok(())
    }
}

impl Accumulator for Sketch {
    /// The batch's latents, and the bucket of each of its rows.
    type Batch<'a> = (&'a ByLatent, &'a [u32]);
    /// Numbers of latents and of buckets.
    type Shape = (usize, usize);

    /// For each latent its rows in order.
    fn fold(&mut self, (latents, rows): Self::Batch<'_>) -> Result<()> {
        for &place in rows {
            self.ones[(place >> 1) as usize] += if place & 1 == 0 { 1.0 } else { -1.0 };
        }
        let width = self.width;
        let chunks = self.buckets.par_chunks_mut(LATENTS_A_TASK * width);
        chunks.zip(self.alive.par_chunks_mut(LATENTS_A_TASK)).enumerate().for_each(|(task, (chunk, alive))| {
            for (k, (sums, alive)) in chunk.chunks_exact_mut(width).zip(alive).enumerate() {
                let (at, values) = latents.latent(task * LATENTS_A_TASK + k);
                *alive |= !at.is_empty();
                for (&r, &x) in at.iter().zip(values) {
                    let place = rows[r as usize];
                    sums[(place >> 1) as usize] += if place & 1 == 0 { x } else { -x };
                }
            }
        });
        Ok(())
    }

    fn merge(&mut self, other: &Sketch) -> Result<()> {
        assert!(self.add_ones(&other.ones), "sketches of one width");
        for i in other.alive() {
            assert!(self.add_latent(i as usize, other.latent(i as usize)), "sketches of one space");
        }
        Ok(())
    }

    fn bytes(&(d_sae, width): &Self::Shape) -> u64 {
        (d_sae * width) as u64 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;
    use crate::moments::accumulator::tests::{keeps_the_contract, through_a_file};
    use crate::sae::LatentBatch;
    use std::sync::Arc;

    /// `n` counted rows of document `record` of file `file`, after one that is not counted.
    fn batch(number: u64, file: u64, record: u64, n: usize) -> TokenBatch {
        let mut batch = TokenBatch::new(0, 0);
        batch.documents.push(Document { number, file, record, name: Arc::from("d"), ..Document::default() });
        let counted: Vec<bool> = (0..=n).map(|p| p > 0).collect();
        batch.push(vec![0; n + 1], &counted, &[(0, 0)]);
        batch
    }

    #[test]
    fn a_rows_bucket_depends_on_its_place_in_its_file_and_on_nothing_else() {
        let hash = || RowHash::new(3, 64);
        let whole = hash().next(&batch(0, 1, 4, 40));
        // in two batches, and continued in the middle by another
        let mut first = hash();
        let begun = first.next(&batch(0, 1, 4, 15));
        let mut second = hash();
        through_a_file(&[&first], &mut [&mut second], 0).unwrap();
        let rest = second.next(&batch(0, 1, 4, 25));
        assert_eq!([begun, rest].concat(), whole);
        // alone, with another number over the corpus
        assert_eq!(hash().next(&batch(9, 1, 4, 40)), whole);
        // a record, a part of it, a file, a seed: other buckets
        let mut part = batch(0, 1, 4, 40);
        part.documents[0].part = 1;
        for other in [
            hash().next(&batch(0, 1, 5, 40)),
            hash().next(&part),
            hash().next(&batch(0, 0, 4, 40)),
            RowHash::new(4, 64).next(&batch(0, 1, 4, 40)),
        ] {
            assert!(other.iter().zip(&whole).filter(|(a, b)| a == b).count() < 10);
        }
    }

    #[test]
    fn buckets_and_signs_are_even() {
        let places = RowHash::new(1, 100).next(&batch(0, 0, 1, 100_000));
        let mut counts = [0u32; 200];
        places.iter().for_each(|&p| counts[p as usize] += 1);
        // 500 ± 22.4 each; five standard deviations
        assert!(counts.iter().all(|&n| (388..612).contains(&n)), "{counts:?}");
    }

    #[test]
    fn sums_are_the_plain_signed_ones_and_inner_products_estimate_without_bias() {
        let n = 60;
        let value = |r: usize, i: usize| if (r * 7 + i * 3) % 5 < 2 { (r % 4 + i) as f32 + 0.5 } else { 0.0 };
        let mut latents = LatentBatch { d_sae: 3, row_starts: vec![0], ..Default::default() };
        for r in 0..n {
            for i in (0..3).filter(|&i| value(r, i) != 0.0) {
                latents.latents.push(i as u32);
                latents.values.push(value(r, i));
            }
            latents.row_starts.push(latents.latents.len() as u32);
        }
        let exact: f64 = (0..n).map(|r| f64::from(value(r, 0)) * f64::from(value(r, 2))).sum();
        let norms: [f64; 2] = [0, 2].map(|i| (0..n).map(|r| f64::from(value(r, i)).powi(2)).sum());
        let (mut total, mut squares) = (0.0, 0.0);
        let seeds = 2000;
        for seed in 0..seeds {
            let places = RowHash::new(seed, 16).next(&batch(0, 0, 1, n));
            let mut sketch = Sketch::new(3, 16);
            sketch.fold((&ByLatent::new(&latents), &places)).unwrap();
            let mut plain = vec![0.0f32; 16];
            for (r, place) in places.iter().enumerate() {
                plain[(place >> 1) as usize] += value(r, 1) * if place & 1 == 0 { 1.0 } else { -1.0 };
            }
            assert_eq!(sketch.latent(1), plain);
            let dot: f64 =
                sketch.latent(0).iter().zip(sketch.latent(2)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            total += dot;
            squares += (dot - exact).powi(2);
        }
        let (mean, error) = (total / seeds as f64, (squares / seeds as f64).sqrt());
        // the stated error: (Σx²Σy² + (Σxy)² − 2Σx²y²) / width, at most twice the first term
        let bound = (2.0 * norms[0] * norms[1] / 16.0).sqrt();
        assert!(error < bound && error > bound / 3.0, "{error} {bound}");
        assert!((mean - exact).abs() < 4.0 * error / (seeds as f64).sqrt(), "{mean} {exact} ± {error}");
    }

    #[test]
    fn buckets_go_through_a_file_even_where_they_cancel() {
        let of = |places: &[u32]| {
            let latents = LatentBatch {
                d_sae: 3,
                row_starts: vec![0, 1, 3],
                latents: vec![1, 0, 1],
                values: vec![2.0, 0.5, 2.0],
                ..LatentBatch::default()
            };
            let mut sketch = Sketch::new(3, 2);
            sketch.fold((&ByLatent::new(&latents), places)).unwrap();
            sketch
        };
        // latent 1 fires twice in one bucket, with both signs
        let (a, b) = (of(&[0, 1]), of(&[2, 0]));
        assert_eq!((a.latent(1), a.alive()), (&[0.0, 0.0][..], vec![0, 1]));
        keeps_the_contract(&Sketch::new(3, 2), [&a, &b], Some(&Sketch::new(1, 2)));
    }
}
