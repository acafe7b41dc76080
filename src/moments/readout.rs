//! What must be remembered to say how well a latent can be read out of another model's activations? Cross moments of the latents with the
//! other hookpoint's raw activations, in two halves of the documents.
//!
//! A document's half is a hash of its place (file, record, part), so that it is the same wherever the file comes in the corpus, and
//! the halves of merged shards add up. Per half: Σxw of each latent x with the activations w, Σx and Σx²; of w, mean and co-moment
//! ([`FoldMoments`], Chan's rule). The null has the same with each row of w taken from half of the batch's rows of the same half further on, so
//! that mean and co-moment of w are its own and Σxw alone differs.

use crate::corpus::{Document, TokenBatch};
use crate::error::Result;
use crate::linalg::Matrix;
use crate::moments::sketch::mixed;
use crate::moments::{Accumulator, ByLatent, CoMoment, CrossTile, State, document_rotation};
use crate::store::{StateLayout, StateReader, StateWriter};
use serde::{Deserialize, Serialize};

/// Number of halves.
pub const FOLDS: usize = 2;

/// The half of a document's rows.
pub fn fold_of(document: &Document) -> usize {
    let record = mixed(document.file.wrapping_add(document.record));
    (mixed(record.wrapping_add(u64::from(document.part))) >> 63) as usize
}

/// Which rows of a batch are in which half, and which row each is paired with in the null.
#[derive(Clone, Debug)]
pub struct FoldRows {
    /// The half of each row, `[n_rows]`.
    pub fold: Vec<u8>,
    /// The row whose activations a row meets in the null, of the same half, `[n_rows]`.
    pub beside: Vec<u32>,
    /// The rows of each half, ascending.
    pub rows: [Vec<usize>; FOLDS],
}

impl FoldRows {
    /// Of a batch.
    pub fn of(tokens: &TokenBatch) -> Self {
        let of_document: Vec<u8> = tokens.documents.iter().map(|d| fold_of(d) as u8).collect();
        FoldRows::by((0..tokens.n_rows()).map(|r| of_document[tokens.rows[r].document as usize]).collect())
    }

    /// From the half of each row.
    pub(super) fn by(fold: Vec<u8>) -> Self {
        let mut rows = [Vec::new(), Vec::new()];
        fold.iter().enumerate().for_each(|(r, &f)| rows[usize::from(f)].push(r));
        let mut beside = vec![0; fold.len()];
        for rows in &rows {
            let by = document_rotation(rows.len());
            for (k, &r) in rows.iter().enumerate() {
                beside[r] = rows[(k + by) % rows.len()] as u32;
            }
        }
        FoldRows { fold, beside, rows }
    }
}

/// Mean and co-moment of one hookpoint's rows, in each half.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldMoments(pub [CoMoment; FOLDS]);

impl FoldMoments {
    /// Nothing seen yet, `d` wide.
    pub fn new(d: usize) -> Self {
        FoldMoments([CoMoment::new(d), CoMoment::new(d)])
    }

    /// Of one batch, `x: [n_rows, d]`.
    pub fn of_batch(x: &Matrix<f32>, folds: &FoldRows) -> Self {
        FoldMoments([0, 1].map(|f: usize| CoMoment::of_batch(&x.gather_rows(&folds.rows[f]))))
    }
}

impl State for FoldMoments {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let d = self.0[0].mean.len();
        let named = layout.tensor::<u64>("n_rows", &[FOLDS]).tensor::<f64>("mean", &[FOLDS, d]);
        named.tensor::<f64>("c", &[FOLDS, d, d])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        file.put("n_rows", &self.0.each_ref().map(|m| m.n_rows))?;
        self.0.iter().try_for_each(|m| file.put("mean", &m.mean))?;
        self.0.iter().try_for_each(|m| file.put("c", m.c.as_slice()))
    }

    fn load(&mut self, file: &mut StateReader, _: u64) -> Result<()> {
        let d = self.0[0].mean.len();
        if file.shape("c")? != [FOLDS, d, d] || file.shape("mean")? != [FOLDS, d] {
            return Err(file.misfit());
        }
        let n_rows: Vec<u64> = file.tensor("n_rows")?;
        for (f, mine) in self.0.iter_mut().enumerate() {
            let mut read = CoMoment::new(d);
            read.n_rows = *n_rows.get(f).ok_or_else(|| file.misfit())?;
            file.read_at("mean", f * d, &mut read.mean)?;
            file.read_at("c", f * d * d, read.c.as_mut_slice())?;
            mine.merge(&read)?;
        }
        Ok(())
    }
}

impl Accumulator for FoldMoments {
    /// Of the batch's rows: made where the batch is encoded.
    type Batch<'a> = &'a FoldMoments;
    /// Width of the hookpoint.
    type Shape = usize;

    fn fold(&mut self, batch: &FoldMoments) -> Result<()> {
        self.merge(batch)
    }

    fn merge(&mut self, other: &FoldMoments) -> Result<()> {
        self.0.iter_mut().zip(&other.0).try_for_each(|(mine, theirs)| mine.merge(theirs))
    }

    fn bytes(&d: &usize) -> u64 {
        FOLDS as u64 * CoMoment::bytes(&d)
    }
}

/// Sums of a strip of latents with the activations of one hookpoint. A row takes memory from when its latent first fires.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadoutSums {
    /// Σxw in each half, `[n_latents, width]`.
    cross: [CrossTile; FOLDS],
    /// The same of the null, where there is one.
    null: Option<[CrossTile; FOLDS]>,
    /// Σx, `[FOLDS][n_latents]`.
    sum: [Vec<f64>; FOLDS],
    /// Σx².
    sum_sq: [Vec<f64>; FOLDS],
}

/// What the sums of a readout are made for.
#[derive(Clone, Copy, Debug)]
pub struct ReadoutShape {
    /// Number of latents.
    pub n_latents: usize,
    /// Width of the other hookpoint.
    pub width: usize,
    /// Whether the null is kept.
    pub null: bool,
}

/// What a batch gives to a readout.
#[derive(Clone, Copy, Debug)]
pub struct ReadoutBatch<'a> {
    /// The latents.
    pub latents: &'a ByLatent,
    /// The other hookpoint's activations, `[n_rows, width]`.
    pub raw: &'a Matrix<f32>,
    /// Halves of its rows.
    pub folds: &'a FoldRows,
}

/// The sums of one latent.
#[derive(Clone, Copy, Debug)]
pub struct LatentReadout<'a> {
    /// Σxw in each half, `[width]`.
    pub cross: [&'a [f64]; FOLDS],
    /// The same of the null.
    pub null: Option<[&'a [f64]; FOLDS]>,
    /// Σx in each half.
    pub sum: [f64; FOLDS],
    /// Σx².
    pub sum_sq: [f64; FOLDS],
}

const NULLS: [&str; FOLDS] = ["null.0", "null.1"];
const SECOND: &str = "sums.1";

impl ReadoutSums {
    /// Nothing seen yet; `first`: the first latent of the strip.
    pub fn new(first: usize, shape: ReadoutShape) -> Self {
        let tiles = || [0, 1].map(|_| CrossTile::new(first, shape.n_latents, shape.width));
        let zeros = || [0, 1].map(|_| vec![0.0; shape.n_latents]);
        ReadoutSums { cross: tiles(), null: shape.null.then(tiles), sum: zeros(), sum_sq: zeros() }
    }

    /// First latent.
    pub fn first(&self) -> usize {
        self.cross[0].first_row()
    }

    /// Number of latents.
    pub fn n_latents(&self) -> usize {
        self.cross[0].n_rows()
    }

    /// The sums of latent `first + i`; `None` while it never fired.
    pub fn latent(&self, i: usize) -> Option<LatentReadout<'_>> {
        let [first, second] = &self.cross;
        Some(LatentReadout {
            cross: [first.row(i)?, second.row(i)?],
            null: self.null.as_ref().and_then(|[first, second]| Some([first.row(i)?, second.row(i)?])),
            sum: [0, 1].map(|f: usize| self.sum[f][i]),
            sum_sq: [0, 1].map(|f: usize| self.sum_sq[f][i]),
        })
    }
}

/// sums += x w.
fn add_scaled(sums: &mut [f64], x: f64, w: &[f32]) {
    sums.iter_mut().zip(w).for_each(|(s, &w)| *s += x * f64::from(w));
}

impl State for ReadoutSums {
    /// A latent comes alive in all tiles at once, so that all have the same rows.
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let mut layout = self.cross[1].lay_out_sums(self.cross[0].lay_out(layout), SECOND);
        for (tile, name) in self.null.iter().flatten().zip(NULLS) {
            layout = tile.lay_out_sums(layout, name);
        }
        let n = self.n_latents();
        layout.tensor::<f64>("sum", &[FOLDS, n]).tensor::<f64>("sum_sq", &[FOLDS, n])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        self.cross[0].save(file)?;
        self.cross[1].save_sums(file, SECOND)?;
        for (tile, name) in self.null.iter().flatten().zip(NULLS) {
            tile.save_sums(file, name)?;
        }
        self.sum.iter().try_for_each(|sum| file.put("sum", sum))?;
        self.sum_sq.iter().try_for_each(|sum| file.put("sum_sq", sum))
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let n = self.n_latents();
        if file.shape("sum")? != [FOLDS, n] || file.shape("sum_sq")? != [FOLDS, n] {
            return Err(file.misfit());
        }
        self.cross[0].load(file, first_row)?;
        self.cross[1].load_sums(file, SECOND)?;
        for (tile, name) in self.null.iter_mut().flatten().zip(NULLS) {
            tile.load_sums(file, name)?;
        }
        for (name, mine) in [("sum", &mut self.sum), ("sum_sq", &mut self.sum_sq)] {
            let read: Vec<f64> = file.tensor(name)?;
            mine.iter_mut().flatten().zip(read).for_each(|(mine, theirs)| *mine += theirs);
        }
        Ok(())
    }
}

impl Accumulator for ReadoutSums {
    type Batch<'a> = ReadoutBatch<'a>;
    type Shape = ReadoutShape;

    /// For each latent in order, its rows in order.
    fn fold(&mut self, ReadoutBatch { latents, raw, folds }: ReadoutBatch<'_>) -> Result<()> {
        let first = self.first();
        for i in 0..self.n_latents() {
            let (rows, values) = latents.latent(first + i);
            if rows.is_empty() {
                continue;
            }
            for f in 0..FOLDS {
                let of_fold = || {
                    let all = rows.iter().zip(values).map(|(&r, &x)| (r as usize, f64::from(x)));
                    all.filter(move |&(r, _)| usize::from(folds.fold[r]) == f)
                };
                let sums = self.cross[f].row_mut(i);
                of_fold().for_each(|(r, x)| add_scaled(sums, x, raw.row(r)));
                if let Some(null) = &mut self.null {
                    let sums = null[f].row_mut(i);
                    of_fold().for_each(|(r, x)| add_scaled(sums, x, raw.row(folds.beside[r] as usize)));
                }
                for (_, x) in of_fold() {
                    self.sum[f][i] += x;
                    self.sum_sq[f][i] += x * x;
                }
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &ReadoutSums) -> Result<()> {
        self.cross.iter_mut().zip(&other.cross).try_for_each(|(mine, theirs)| mine.merge(theirs))?;
        let nulls = self.null.iter_mut().flatten().zip(other.null.iter().flatten());
        nulls.into_iter().try_for_each(|(mine, theirs)| mine.merge(theirs))?;
        for (mine, theirs) in [(&mut self.sum, &other.sum), (&mut self.sum_sq, &other.sum_sq)] {
            mine.iter_mut().flatten().zip(theirs.iter().flatten()).for_each(|(mine, theirs)| *mine += theirs);
        }
        Ok(())
    }

    fn bytes(shape: &ReadoutShape) -> u64 {
        let times = FOLDS as u64 * (1 + u64::from(shape.null));
        times * CrossTile::bytes(&(shape.n_latents, shape.width)) + 16 * (FOLDS * shape.n_latents) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;
    use crate::sae::LatentBatch;

    const SHAPE: ReadoutShape = ReadoutShape { n_latents: 2, width: 2, null: true };

    /// Row r fires latent r mod 2; the halves take turns by two rows.
    fn of(x: &[f32], w: &[[f32; 2]]) -> ReadoutSums {
        let latents = LatentBatch {
            d_sae: 2,
            row_starts: (0..=x.len() as u32).collect(),
            latents: (0..x.len()).map(|r| (r % 2) as u32).collect(),
            values: x.to_vec(),
            ..LatentBatch::default()
        };
        let folds = FoldRows::by((0..x.len()).map(|r| (r / 2 % 2) as u8).collect());
        let raw = Matrix::from_vec(w.len(), 2, w.concat());
        let mut sums = ReadoutSums::new(0, SHAPE);
        sums.fold(ReadoutBatch { latents: &ByLatent::new(&latents), raw: &raw, folds: &folds }).unwrap();
        sums
    }

    #[test]
    fn sums_by_half_and_of_the_rotated_rows() {
        let w = [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0], [5.0, 0.0], [6.0, 1.0], [7.0, 0.0], [8.0, 1.0]];
        let sums = of(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &w);
        // half 0: rows 0, 1, 4, 5; each meets the one two places on among them
        let latent = sums.latent(0).unwrap();
        assert_eq!(latent.cross, [&[1.0 + 25.0, 0.0][..], &[9.0 + 49.0, 0.0][..]]);
        assert_eq!(latent.null.unwrap(), [&[5.0 + 5.0, 0.0][..], &[21.0 + 21.0, 0.0][..]]);
        assert_eq!((latent.sum, latent.sum_sq), ([6.0, 10.0], [26.0, 58.0]));
        let odd = sums.latent(1).unwrap();
        assert_eq!(odd.cross[0], [4.0 + 36.0, 8.0]);
        assert_eq!(odd.null.unwrap()[0], [12.0 + 12.0, 8.0]);
        let part = of(&[9.0], &[[0.5, 2.0]]);
        assert!(part.latent(1).is_none());
        let empty = ReadoutSums::new(0, SHAPE);
        for [a, b] in [[&sums, &part], [&part, &sums]] {
            keeps_the_contract(&empty, [a, b], Some(&ReadoutSums::new(0, ReadoutShape { n_latents: 1, ..SHAPE })));
        }
        assert_eq!(ReadoutSums::bytes(&SHAPE), 2 * 2 * 32 + 64);
    }

    #[test]
    fn moments_of_halves_are_those_of_their_rows() {
        let x = Matrix::from_vec(5, 2, vec![1.0, 2.0, 0.0, 5.0, 4.0, 1.0, 3.0, 3.0, 9.0, 1.0f32]);
        let folds = FoldRows::by(vec![0, 1, 0, 1, 1]);
        assert_eq!(folds.beside, [2, 3, 0, 4, 1]);
        let both = FoldMoments::of_batch(&x, &folds);
        assert_eq!(both.0[0], CoMoment::of_batch(&x.gather_rows(&[0, 2])));
        assert_eq!(both.0[1], CoMoment::of_batch(&x.gather_rows(&[1, 3, 4])));
        let more = FoldMoments::of_batch(&x, &FoldRows::by(vec![1; 5]));
        keeps_the_contract(&FoldMoments::new(2), [&both, &more], Some(&FoldMoments::new(1)));
    }

    /// The half depends on the place alone, and about half of the documents are in each.
    #[test]
    fn halves_are_of_documents_and_about_even() {
        let document = |file, record, part| Document { file, record, part, ..Document::default() };
        let n: usize = (0..2000).map(|record| fold_of(&document(77, record, 0))).sum();
        assert!((900..1100).contains(&n), "{n}");
        let named = Document { number: 5, name: "x".into(), ..document(77, 3, 1) };
        assert_eq!(fold_of(&named), fold_of(&document(77, 3, 1)));
        let differ = |a: Document, b: Document| fold_of(&a) != fold_of(&b);
        assert!((0..64).any(|part| differ(document(7, 3, part), document(7, 3, part + 1))));
    }
}
