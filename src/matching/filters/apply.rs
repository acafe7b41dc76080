//! The filters applied to every listed match of a pair, in one direction: first those that look at two latents, then those
//! that need the others. One plain function of best partners and facts; runs, tables and `cognate score` all call it.

use super::one_to_one::OneToOne;
use super::outcome::{LatentFacts, Outcome, Reason};
use super::settings::Filters;
use crate::error::Result;
use crate::linalg::Matrix;
use crate::matching::assignment::{ScoredColumns, Sinkhorn, hungarian_sparse, sinkhorn};
use crate::matching::{Correlation, Partner};
use std::collections::{BTreeMap, BTreeSet};

/// Latents per side that entropic transport takes: those with the largest maxima (docs/method.md).
pub const TRANSPORT_POOL: usize = 3000;

impl Filters {
    /// The outcome for two latents by themselves: every filter but `beyond_chance`, `min_within`, `mutual` and `one_to_one`, which need more. With
    /// the published one-to-one rule `min_correlation` is left out here, because it comes after that rule.
    pub fn outcome_of(&self, a: &LatentFacts, b: &LatentFacts, correlation: f64) -> Outcome {
        if self.dead && (a.dead || b.dead) {
            Outcome::Dropped(Reason::Dead)
        } else if a.n_active < self.min_active || b.n_active < self.min_active {
            Outcome::Dropped(Reason::MinActive)
        } else if self.one_to_one != OneToOne::AsPublished && correlation <= self.min_correlation {
            Outcome::Dropped(Reason::MinCorrelation)
        } else if !self.non_concept.is_empty() && (a.non_concept || b.non_concept) {
            Outcome::Dropped(Reason::TokenClass)
        } else if self.shared_token && !a.shares_token(b) {
            Outcome::Dropped(Reason::SharedToken)
        } else {
            Outcome::Kept
        }
    }
}

/// One direction of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The latents that pick.
    pub pickers: &'a [LatentFacts],
    /// Those that are picked.
    pub others: &'a [LatentFacts],
    /// `[n_pickers]`, best partner first.
    pub partners: &'a [Vec<Partner>],
    /// `[n_others]`, best partner of each of the others.
    pub first_of_other: &'a [Option<u32>],
    /// `[n_pickers]` and `[n_others]`, each latent's 95 % chance point; `None` where it has none.
    pub points: [&'a [Option<f64>]; 2],
    /// `[n_pickers]`, the correlation given the token of each listed partner; `None` where no filter looks at it.
    pub within: Option<&'a [Vec<Option<f64>>]>,
}

/// The outcome for each listed partner of each picker, best first; a picker without partners has one outcome. At most one
/// partner of a picker is kept: the first, unless [`OneToOne::may_take_second`].
///
/// # Errors
/// `Input` or `Request` from an assignment, as the assignment documents them.
pub fn apply_filters(filters: &Filters, side: Side<'_>) -> Result<Vec<Vec<Outcome>>> {
    let mut outcomes: Vec<Vec<Outcome>> = (0..side.pickers.len())
        .map(|i| match side.partners[i].as_slice() {
            [] => vec![Outcome::Dropped(side.pickers[i].why_no_partner())],
            listed => (listed.iter().enumerate())
                .map(
                    |(rank, p)| {
                        if rank == 0 { alone(filters, &side, i, (0, p)) } else { Outcome::Dropped(Reason::Rank) }
                    },
                )
                .collect(),
        })
        .collect();
    match filters.one_to_one {
        OneToOne::Off => {}
        OneToOne::Best => keep_best(&side, &mut outcomes),
        OneToOne::AsPublished => keep_first(&side, &mut outcomes, filters.min_correlation),
        OneToOne::Hungarian => {
            let pairs = hungarian_sparse(&ScoredColumns::from_rows(side.others.len(), eligible(filters, &side))?)?;
            give(&side, &mut outcomes, &pairs.into_iter().collect());
        }
        OneToOne::Transport => {
            let given = transport(&side, &eligible(filters, &side))?;
            give(&side, &mut outcomes, &given);
        }
    }
    Ok(outcomes)
}

/// The partner that is kept, with its rank from 0.
pub fn kept<'a>(outcomes: &[Outcome], partners: &'a [Partner]) -> Option<(usize, &'a Partner)> {
    outcomes.iter().position(|v| *v == Outcome::Kept).map(|rank| (rank, &partners[rank]))
}

/// The outcome for a latent and its partner of a rank from 0, `beyond_chance`, `min_within` and `mutual` included.
fn alone(filters: &Filters, side: &Side<'_>, picker: usize, (rank, partner): (usize, &Partner)) -> Outcome {
    let other = partner.latent as usize;
    let outcome = filters.outcome_of(&side.pickers[picker], &side.others[other], partner.correlation.value());
    let beyond =
        |point: Option<&Option<f64>>| point.copied().flatten().is_some_and(|p| partner.correlation.value() > p);
    let within = || side.within.and_then(|within| within[picker][rank]);
    match outcome {
        Outcome::Kept
            if filters.beyond_chance && !(beyond(side.points[0].get(picker)) && beyond(side.points[1].get(other))) =>
        {
            Outcome::Dropped(Reason::BeyondChance)
        }
        Outcome::Kept if filters.min_within.is_some_and(|least| within().is_none_or(|r| r < least)) => {
            Outcome::Dropped(Reason::MinWithin)
        }
        Outcome::Kept if filters.mutual && side.first_of_other[other] != Some(picker as u32) => {
            Outcome::Dropped(Reason::Mutual)
        }
        outcome => outcome,
    }
}

/// Of kept matches with one partner the highest correlation stays.
fn keep_best(side: &Side<'_>, outcomes: &mut [Vec<Outcome>]) {
    let mut winner: BTreeMap<u32, (Correlation, usize)> = BTreeMap::new();
    for (i, p) in claims(side, outcomes) {
        let best = winner.entry(p.latent).or_insert((p.correlation, i));
        if p.correlation > best.0 {
            *best = (p.correlation, i);
        }
    }
    let beaten: Vec<usize> =
        claims(side, outcomes).filter(|(i, p)| winner[&p.latent].1 != *i).map(|(i, _)| i).collect();
    beaten.into_iter().for_each(|i| outcomes[i][0] = Outcome::Dropped(Reason::OneToOne));
}

/// The lowest picker of each partner stays; then `min_correlation` is asked for.
fn keep_first(side: &Side<'_>, outcomes: &mut [Vec<Outcome>], min_correlation: f64) {
    let mut taken = BTreeSet::new();
    let rest: Vec<(usize, bool, bool)> = claims(side, outcomes)
        .map(|(i, p)| (i, taken.insert(p.latent), p.correlation.value() > min_correlation))
        .collect();
    for (i, first, strong) in rest {
        outcomes[i][0] = match (first, strong) {
            (false, _) => Outcome::Dropped(Reason::OneToOne),
            (true, false) => Outcome::Dropped(Reason::MinCorrelation),
            (true, true) => Outcome::Kept,
        };
    }
}

/// First choices still kept, pickers ascending.
fn claims<'a>(side: &Side<'a>, outcomes: &[Vec<Outcome>]) -> impl Iterator<Item = (usize, &'a Partner)> {
    let partners = side.partners;
    (outcomes.iter().enumerate()).filter(|(_, v)| v[0] == Outcome::Kept).map(move |(i, _)| (i, &partners[i][0]))
}

/// Every listed pair that passes the filters, by picker.
fn eligible(filters: &Filters, side: &Side<'_>) -> Vec<Vec<(u32, f64)>> {
    let fits = |i: usize, p: (usize, &Partner)| alone(filters, side, i, p) == Outcome::Kept;
    let listed = side.partners.iter().enumerate();
    let of = |(i, row): (usize, &Vec<Partner>)| {
        let fitting = row.iter().enumerate().filter(|&p| fits(i, p));
        fitting.map(|(_, p)| (p.latent, p.correlation.value())).collect()
    };
    listed.map(of).collect()
}

/// Keeps `given[picker]` where it is listed; a first choice that passed the filters and is not given is dropped by the one-to-one rule.
fn give(side: &Side<'_>, outcomes: &mut [Vec<Outcome>], given: &BTreeMap<u32, u32>) {
    for (i, outcomes) in outcomes.iter_mut().enumerate() {
        let wanted = given.get(&(i as u32));
        if outcomes[0] == Outcome::Kept {
            outcomes[0] = Outcome::Dropped(Reason::OneToOne);
        }
        if let Some(rank) = side.partners[i].iter().position(|p| Some(&p.latent) == wanted) {
            outcomes[rank] = Outcome::Kept;
        }
    }
}

/// Each picker of the pool with the other that gives it the most transport mass. A pair that is not listed counts as
/// uncorrelated.
fn transport(side: &Side<'_>, eligible: &[Vec<(u32, f64)>]) -> Result<BTreeMap<u32, u32>> {
    let pickers = pool(side.pickers, (0..eligible.len() as u32).filter(|&i| !eligible[i as usize].is_empty()));
    let others = pool(side.others, eligible.iter().flatten().map(|e| e.0));
    if pickers.is_empty() || others.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut correlations = Matrix::zeros(others.len(), pickers.len());
    for (column, &i) in pickers.iter().enumerate() {
        for &(other, r) in &eligible[i as usize] {
            if let Ok(row) = others.binary_search(&other) {
                correlations.row_mut(row)[column] = r;
            }
        }
    }
    let plan = sinkhorn(&correlations, &Sinkhorn::default())?;
    let listed = |(column, &row): (usize, &u32)| {
        let (picker, other) = (pickers[column], others[row as usize]);
        eligible[picker as usize].iter().any(|e| e.0 == other).then_some((picker, other))
    };
    Ok(plan.source_of.iter().enumerate().filter_map(listed).collect())
}

/// The latents with the largest maxima (ties: the lower), ascending.
fn pool(facts: &[LatentFacts], latents: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut all: Vec<u32> = latents.collect::<BTreeSet<u32>>().into_iter().collect();
    all.sort_by_key(|&i| (std::cmp::Reverse(facts[i as usize].max), i));
    all.truncate(TRANSPORT_POOL);
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests;
