//! Do matched latents' decoder rows agree, where they have no common space? Figures for each listed partner, and for the kept matches of a pair
//! beside those with another match's partner. Known at a run's end: under maps (`maps.rs`), on the logits (`logits.rs`).

use crate::engine::results::judged::View;
use crate::error::Result;
use crate::halt::Halt;
use crate::linalg::Matrix;
use crate::table::{CosineScores, MapRow};
use rayon::prelude::*;

/// Latents that are taken together.
const AT_ONCE: usize = 64;

/// Everything of it; nothing before a run's end, or where it is not asked for.
#[derive(Debug, Default)]
pub struct Agreement {
    /// Rows of `maps`, sorted.
    pub maps: Vec<MapRow>,
    /// Under the maps, `[n_pairs]` or nothing.
    pub(super) mapped: Vec<OfPair>,
    /// On the logits, `[n_pairs]` or nothing.
    pub(super) logits: Vec<OfPair>,
}

/// The figures of a pair.
#[derive(Debug, Default)]
pub(super) struct OfPair {
    /// With each listed partner, `[n_latents][rank]`, for each side that picks; nothing where there are none.
    sides: [Vec<Vec<Option<f64>>>; 2],
    /// Of the kept matches where the source picks.
    pub scores: CosineScores,
}

/// Figures of one picking latent.
#[derive(Clone, Debug, Default)]
struct OfLatent {
    /// With each listed partner.
    partners: Vec<Option<f64>>,
    /// With the first partner of another kept match; `None` where its own is not kept.
    foreign: Option<f64>,
}

/// The figure of a picking latent and its partner of a rank, of pair `pair` where side `side` picks.
pub(super) fn figure(of: &[OfPair], pair: usize, side: usize, latent: u32, rank: usize) -> Option<f64> {
    *of.get(pair)?.sides[side].get(latent as usize)?.get(rank)?
}

impl OfPair {
    /// Fills in side `side`: `taken` gives what rows of some latents are to the other side, and `figure` that of a latent, by its row of these, with
    /// a partner.
    ///
    /// # Errors
    /// `Interrupted` where `halt` stops it between some latents and the next.
    pub fn fill(
        &mut self,
        halt: &Halt,
        side: usize,
        view: &View,
        taken: impl Fn(&[usize]) -> Matrix<f64> + Sync,
        figure: impl Fn(usize, &[f64], u32) -> Option<f64> + Sync,
    ) -> Result<()> {
        let foreign = foreign_partners(view);
        let latents: Vec<usize> = (0..view.best.len()).collect();
        let found: Vec<Vec<OfLatent>> = (latents.par_chunks(AT_ONCE))
            .map(|some| {
                halt.check()?;
                let rows = taken(some);
                let of_latent = |(k, &i): (usize, &usize)| {
                    let with = |partner: u32| figure(i, rows.row(k), partner);
                    let partners = view.best[i].iter().map(|partner| with((*partner)?.latent)).collect();
                    OfLatent { partners, foreign: foreign[i].and_then(with) }
                };
                Ok(some.iter().enumerate().map(of_latent).collect())
            })
            .collect::<Result<_>>()?;
        let found: Vec<OfLatent> = found.into_iter().flatten().collect();
        if side == 0 {
            let kept = found.iter().filter_map(|of| Some((of.partners.first().copied()??, of.foreign?)));
            let (own, null): (Vec<f64>, Vec<f64>) = kept.unzip();
            self.scores = CosineScores::of(&own, &null);
        }
        self.sides[side] = found.into_iter().map(|of| of.partners).collect();
        Ok(())
    }
}

/// For each latent with a kept best match the best partner of another such latent.
fn foreign_partners(view: &View) -> Vec<Option<u32>> {
    let kept = |i: usize| view.outcomes.get(i).and_then(|of| of.first()).is_some_and(|outcome| outcome.is_kept());
    let partner = |i: usize| view.best[i].first().copied().flatten().filter(|_| kept(i));
    let with_partner: Vec<(usize, u32)> = (0..view.best.len()).filter_map(|i| Some((i, partner(i)?.latent))).collect();
    others_partners(&with_partner, view.best.len())
}

/// For each of these latents the partner of another one, half of them further on; `None` where both have one partner, and for the other latents
/// of `n`.
pub(super) fn others_partners(with_partner: &[(usize, u32)], n: usize) -> Vec<Option<u32>> {
    let mut out = vec![None; n];
    for (k, &(i, own)) in with_partner.iter().enumerate() {
        let (_, foreign) = with_partner[(k + with_partner.len() / 2) % with_partner.len()];
        out[i] = Some(foreign).filter(|&foreign| foreign != own);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Correlation, Outcome, Partner, Reason};

    /// Latent i picks i + 1000 first and i + 2000 second; even ones are kept, but for the last, which has no partner.
    fn view(n: u32) -> View {
        let partner = |latent: u32| Some(Partner { latent, correlation: Correlation::new(0.5).unwrap() });
        let of = |i: u32| if i + 1 == n { vec![None, None] } else { vec![partner(i + 1000), partner(i + 2000)] };
        let first = |i: u32| if i.is_multiple_of(2) { Outcome::Kept } else { Outcome::Dropped(Reason::MinActive) };
        View {
            best: (0..n).map(of).collect(),
            outcomes: (0..n).map(|i| vec![first(i), Outcome::Dropped(Reason::Rank)]).collect(),
            ..View::default()
        }
    }

    #[test]
    fn kept_matches_stand_beside_the_partner_of_another_kept_match() {
        // more latents than are taken at once, so that a row is not its latent's number
        let n = 2 * AT_ONCE as u32 + 7;
        let taken = |some: &[usize]| Matrix::from_vec(some.len(), 1, some.iter().map(|&i| i as f64).collect());
        let figure = |i: usize, row: &[f64], partner: u32| {
            assert_eq!(row[0], i as f64);
            Some(1e4 * row[0] + f64::from(partner))
        };
        let mut found = OfPair::default();
        found.fill(&Halt::NEVER, 0, &view(n), taken, figure).unwrap();
        let kept: Vec<u32> = (0..n - 1).filter(|i| i.is_multiple_of(2)).collect();
        let (mut own, mut null) = (Vec::new(), Vec::new());
        for (k, &i) in kept.iter().enumerate() {
            let foreign = kept[(k + kept.len() / 2) % kept.len()];
            assert_ne!(foreign, i);
            own.push(1e4 * f64::from(i) + f64::from(i + 1000));
            null.push(1e4 * f64::from(i) + f64::from(foreign + 1000));
        }
        assert_eq!(found.scores, CosineScores::of(&own, &null));
        let all = [found];
        assert_eq!(figure_of(&all, 3, 1), Some(3e4 + 2003.0), "listed partners of dropped latents too");
        assert_eq!(figure_of(&all, n - 1, 0), None);
        assert_eq!((super::figure(&all, 0, 1, 3, 0), super::figure(&all, 1, 0, 3, 0)), (None, None));

        // the other side fills its own figures alone; a partner that both have is not counted as chance
        let [mut found] = all;
        let before = found.scores;
        found.fill(&Halt::NEVER, 1, &view(5), taken, figure).unwrap();
        assert_eq!((found.scores, found.sides[1].len()), (before, 5));
        let mut two = view(4);
        two.best[2] = two.best[0].clone();
        assert_eq!(foreign_partners(&two), [None; 4]);
    }

    fn figure_of(all: &[OfPair], latent: u32, rank: usize) -> Option<f64> {
        super::figure(all, 0, 0, latent, rank)
    }
}
