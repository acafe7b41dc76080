//! How are the sums of a pair of spaces kept? Of all pairs of latents in a strip of source rows, with as many again for each null, or
//! of candidates alone. What more is to be known of pairs of latents is a field of a variant here.

use crate::error::Result;
use crate::moments::{Accumulator, Beside, ByLatent, CandidateSums, CrossTile, Null, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};

/// Σxy of a pair, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum PairSums {
    /// Of every pair of latents.
    Exact {
        /// The sums.
        tile: CrossTile,
        /// The same with rows paired otherwise, one for each null.
        nulls: Vec<(Null, CrossTile)>,
    },
    /// Of candidates.
    Candidates(CandidateSums),
}

/// What the sums of a pair are made for.
#[derive(Clone, Debug)]
pub struct PairShape {
    /// Number of source latents.
    pub d_source: usize,
    /// Number of target latents.
    pub d_target: usize,
    /// How else rows are paired, where sums are exact.
    pub nulls: Vec<Null>,
    /// Where only candidates are counted: how many of each latent, both ways.
    pub candidates: Option<usize>,
}

/// What a batch gives to a pair.
#[derive(Clone, Copy, Debug)]
pub struct PairBatch<'a> {
    /// The source's latents.
    pub source: &'a ByLatent,
    /// The target's.
    pub target: &'a LatentBatch,
    /// What the source's rows are paired with in each null.
    pub nulls: &'a [Beside<'a>],
}

impl PairSums {
    /// Nothing seen yet; `first_row`: the first source latent of the strip.
    pub fn new(first_row: usize, shape: &PairShape) -> Self {
        let tile = || CrossTile::new(first_row, shape.d_source, shape.d_target);
        match shape.candidates {
            Some(_) => PairSums::Candidates(CandidateSums::new(shape.d_source, shape.d_target)),
            None => PairSums::Exact { tile: tile(), nulls: shape.nulls.iter().map(|&null| (null, tile())).collect() },
        }
    }

    /// Σxy of every pair, unless only candidates are counted.
    pub fn exact(&self) -> Option<&CrossTile> {
        match self {
            PairSums::Exact { tile, .. } => Some(tile),
            PairSums::Candidates(_) => None,
        }
    }

    /// The sums of null number `k`, where they are kept.
    pub fn null(&self, k: usize) -> Option<&CrossTile> {
        match self {
            PairSums::Exact { nulls, .. } => nulls.get(k).map(|(_, tile)| tile),
            PairSums::Candidates(_) => None,
        }
    }

    /// What kind of state file holds it.
    pub fn kind(&self) -> &'static str {
        match self {
            PairSums::Exact { .. } => "tile",
            PairSums::Candidates(_) => "candidates",
        }
    }

    /// Bytes of each part, with what a plan calls it; as [`bytes`](Accumulator::bytes).
    pub fn parts(shape: &PairShape) -> Vec<(&'static str, u64)> {
        let cells = CrossTile::bytes(&(shape.d_source, shape.d_target));
        match shape.candidates {
            Some(keep) => vec![("candidates", CandidateSums::bytes(&(shape.d_source, shape.d_target, keep)))],
            None => {
                let nulls = shape.nulls.iter().map(|null| (null.named(), cells));
                std::iter::once(("co-moments", cells)).chain(nulls).collect()
            }
        }
    }
}

impl State for PairSums {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        match self {
            PairSums::Exact { tile, nulls } => (nulls.iter())
                .fold(tile.lay_out(layout), |layout, (null, of_null)| of_null.lay_out_sums(layout, null.tensor())),
            PairSums::Candidates(sums) => sums.lay_out(layout),
        }
    }

    /// A row of a null comes alive with its row of the tile, so both have the same.
    fn save(&self, file: &mut StateWriter) -> Result<()> {
        match self {
            PairSums::Exact { tile, nulls } => {
                tile.save(file)?;
                nulls.iter().try_for_each(|(null, of_null)| of_null.save_sums(file, null.tensor()))
            }
            PairSums::Candidates(sums) => sums.save(file),
        }
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        match self {
            PairSums::Exact { tile, nulls } => {
                tile.load(file, first_row)?;
                nulls.iter_mut().try_for_each(|(null, of_null)| of_null.load_sums(file, null.tensor()))
            }
            PairSums::Candidates(sums) => sums.load(file, first_row),
        }
    }
}

impl Accumulator for PairSums {
    type Batch<'a> = PairBatch<'a>;
    type Shape = PairShape;

    fn fold(&mut self, batch: PairBatch<'_>) -> Result<()> {
        let own = Beside::own(batch.target);
        match self {
            PairSums::Exact { tile, nulls } => {
                assert_eq!(nulls.len(), batch.nulls.len(), "a batch says what lies beside its rows in every null");
                tile.fold((batch.source, own))?;
                let mut both = nulls.iter_mut().zip(batch.nulls);
                both.try_for_each(|((_, of_null), beside)| of_null.fold((batch.source, *beside)))
            }
            PairSums::Candidates(sums) => sums.fold((batch.source, own)),
        }
    }

    fn merge(&mut self, other: &PairSums) -> Result<()> {
        match (self, other) {
            (PairSums::Exact { tile, nulls }, PairSums::Exact { tile: more, nulls: of_nulls }) => {
                tile.merge(more)?;
                nulls.iter_mut().zip(of_nulls).try_for_each(|((_, mine), (_, theirs))| mine.merge(theirs))
            }
            (PairSums::Candidates(sums), PairSums::Candidates(more)) => sums.merge(more),
            _ => unreachable!("sums of one pair are kept in one way"),
        }
    }

    fn bytes(shape: &PairShape) -> u64 {
        PairSums::parts(shape).into_iter().map(|(_, bytes)| bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moments::accumulator::tests::keeps_the_contract;

    fn shape(d_source: usize) -> PairShape {
        PairShape { d_source, d_target: 3, nulls: vec![Null::Rotated], candidates: None }
    }

    /// Row r of the source fires `x[r]` on latent r mod 2, of the target `y[r]` on latent r mod 3.
    fn of(x: &[f32], y: &[f32]) -> PairSums {
        let csr = |values: &[f32], d_sae: usize| LatentBatch {
            d_sae,
            row_starts: (0..=values.len() as u32).collect(),
            latents: (0..values.len()).map(|r| (r % d_sae) as u32).collect(),
            values: values.to_vec(),
            ..LatentBatch::default()
        };
        let (source, target) = (ByLatent::new(&csr(x, 2)), csr(y, 3));
        let order = Null::Rotated.order(y.len());
        let mut sums = PairSums::new(0, &shape(2));
        let nulls = [Beside::ordered(&target, &order)];
        sums.fold(PairBatch { source: &source, target: &target, nulls: &nulls }).unwrap();
        sums
    }

    #[test]
    fn a_null_is_the_same_sums_of_other_rows_and_both_go_through_a_file() {
        let sums = of(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 30.0, 40.0]);
        let (tile, null) = (sums.exact().unwrap(), sums.null(0).unwrap());
        assert_eq!(tile.row(0), Some(&[10.0, 0.0, 90.0][..]));
        assert_eq!(tile.row(1), Some(&[160.0, 40.0, 0.0][..]));
        // rows 2, 3, 0, 1 beside rows 0, 1, 2, 3
        assert_eq!(null.row(0), Some(&[30.0, 0.0, 30.0][..]));
        assert_eq!(null.row(1), Some(&[80.0, 80.0, 0.0][..]));
        assert!(sums.null(1).is_none());
        // a strip in which only one latent has fired
        let part = of(&[5.0], &[7.0]);
        let empty = PairSums::new(0, &shape(2));
        for [a, b] in [[&sums, &part], [&part, &sums]] {
            keeps_the_contract(&empty, [a, b], None);
        }
        keeps_the_contract(&empty, [&sums, &part], Some(&PairSums::new(0, &shape(1))));
    }

    #[test]
    fn a_plan_counts_a_tile_for_each_null_and_candidates_alone_where_they_are_counted() {
        assert_eq!(PairSums::parts(&shape(2)), [("co-moments", 48), (Null::Rotated.named(), 48)]);
        assert_eq!(PairSums::bytes(&shape(2)), 96);
        let candidates = PairShape { candidates: Some(10), ..shape(2) };
        assert_eq!(PairSums::parts(&candidates), [("candidates", 5 * 10 * 24)]);
        assert_eq!(PairSums::new(0, &candidates).kind(), "candidates");
    }
}
