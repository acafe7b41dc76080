//! Every listed match of a pair, in one direction, judged at once: the filters that look at two latents, then those that
//! need the others. One plain function of best partners and facts; runs, tables and `cognate score` all ask it.

use super::assignment::{Candidates, Sinkhorn, hungarian_sparse, sinkhorn};
use super::filters::{Filters, OneToOne};
use super::verdict::{LatentFacts, Verdict};
use super::{Correlation, Partner};
use crate::error::Result;
use crate::linalg::Matrix;
use std::collections::{BTreeMap, BTreeSet};

/// Latents per side that entropic transport takes, those with the largest maxima (docs/method.md).
pub const TRANSPORT_POOL: usize = 3000;

/// One direction of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The latents that pick.
    pub pickers: &'a [LatentFacts],
    /// Those that are picked.
    pub others: &'a [LatentFacts],
    /// `[n_pickers]`, best partner first.
    pub partners: &'a [Vec<Partner>],
    /// `[n_others]`, whom each of the others likes best.
    pub first_of_other: &'a [Option<u32>],
}

/// The verdict on each listed partner of each picker, best first; a picker without partners has one verdict. At most one
/// partner of a picker is kept, the first but under [`OneToOne::may_take_second`].
///
/// # Errors
/// `Input` or `Request` from an assignment that meets what it cannot take.
pub fn judge(filters: &Filters, side: Side<'_>) -> Result<Vec<Vec<Verdict>>> {
    let mut verdicts: Vec<Vec<Verdict>> = (0..side.pickers.len())
        .map(|i| match side.partners[i].as_slice() {
            [] => vec![side.pickers[i].without_partner()],
            listed => (listed.iter().enumerate())
                .map(|(rank, p)| if rank == 0 { alone(filters, &side, i, p) } else { Verdict::Rank })
                .collect(),
        })
        .collect();
    match filters.one_to_one {
        OneToOne::Off => {}
        OneToOne::Best => keep_best(&side, &mut verdicts),
        OneToOne::AsPublished => keep_first(&side, &mut verdicts, filters.min_correlation),
        OneToOne::Hungarian => {
            let pairs = hungarian_sparse(&Candidates::from_rows(side.others.len(), eligible(filters, &side))?)?;
            give(&side, &mut verdicts, &pairs.into_iter().collect());
        }
        OneToOne::Transport => {
            let given = transport(&side, &eligible(filters, &side))?;
            give(&side, &mut verdicts, &given);
        }
    }
    Ok(verdicts)
}

/// The partner that is kept, with its rank from 0.
pub fn kept<'a>(verdicts: &[Verdict], partners: &'a [Partner]) -> Option<(usize, &'a Partner)> {
    verdicts.iter().position(|v| *v == Verdict::Kept).map(|rank| (rank, &partners[rank]))
}

/// What two latents are by themselves, `mutual` included.
fn alone(filters: &Filters, side: &Side<'_>, picker: usize, partner: &Partner) -> Verdict {
    let other = partner.latent as usize;
    let verdict = filters.judge(&side.pickers[picker], &side.others[other], partner.correlation.value());
    match verdict {
        Verdict::Kept if filters.mutual && side.first_of_other[other] != Some(picker as u32) => Verdict::Mutual,
        verdict => verdict,
    }
}

/// Of kept matches with one partner the highest correlation stays.
fn keep_best(side: &Side<'_>, verdicts: &mut [Vec<Verdict>]) {
    let mut winner: BTreeMap<u32, (Correlation, usize)> = BTreeMap::new();
    for (i, p) in claims(side, verdicts) {
        let best = winner.entry(p.latent).or_insert((p.correlation, i));
        if p.correlation > best.0 {
            *best = (p.correlation, i);
        }
    }
    let beaten: Vec<usize> =
        claims(side, verdicts).filter(|(i, p)| winner[&p.latent].1 != *i).map(|(i, _)| i).collect();
    beaten.into_iter().for_each(|i| verdicts[i][0] = Verdict::OneToOne);
}

/// The lowest picker of each partner stays; then `min_correlation` is asked for.
fn keep_first(side: &Side<'_>, verdicts: &mut [Vec<Verdict>], min_correlation: f64) {
    let mut taken = BTreeSet::new();
    let rest: Vec<(usize, bool, bool)> = claims(side, verdicts)
        .map(|(i, p)| (i, taken.insert(p.latent), p.correlation.value() > min_correlation))
        .collect();
    for (i, first, strong) in rest {
        verdicts[i][0] = match (first, strong) {
            (false, _) => Verdict::OneToOne,
            (true, false) => Verdict::MinCorrelation,
            (true, true) => Verdict::Kept,
        };
    }
}

/// First choices still kept, pickers ascending.
fn claims<'a>(side: &Side<'a>, verdicts: &[Vec<Verdict>]) -> impl Iterator<Item = (usize, &'a Partner)> {
    let partners = side.partners;
    (verdicts.iter().enumerate()).filter(|(_, v)| v[0] == Verdict::Kept).map(move |(i, _)| (i, &partners[i][0]))
}

/// Every listed pair that no filter is against, by picker.
fn eligible(filters: &Filters, side: &Side<'_>) -> Vec<Vec<(u32, f64)>> {
    let fits = |i: usize, p: &&Partner| alone(filters, side, i, p) == Verdict::Kept;
    let listed = side.partners.iter().enumerate();
    listed
        .map(|(i, row)| row.iter().filter(|p| fits(i, p)).map(|p| (p.latent, p.correlation.value())).collect())
        .collect()
}

/// Keeps `given[picker]` where it is listed; first choices that were free to be kept and are not go to another.
fn give(side: &Side<'_>, verdicts: &mut [Vec<Verdict>], given: &BTreeMap<u32, u32>) {
    for (i, verdicts) in verdicts.iter_mut().enumerate() {
        let wanted = given.get(&(i as u32));
        if verdicts[0] == Verdict::Kept {
            verdicts[0] = Verdict::OneToOne;
        }
        if let Some(rank) = side.partners[i].iter().position(|p| Some(&p.latent) == wanted) {
            verdicts[rank] = Verdict::Kept;
        }
    }
}

/// Each picker of the pool with the other that gives it most. A pair that is not listed counts as uncorrelated.
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
