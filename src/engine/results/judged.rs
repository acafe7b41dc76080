//! What is known of matches at a snapshot: the views, judged by the filters and compared with chance.

use crate::engine::message::{BestRow, ChanceSnapshot, Spaces, ViewRow};
use crate::engine::results::latent_facts::{facts_of, members_of};
use crate::engine::results::match_graph::{ByChance, MatchGraph};
use crate::engine::results::strong::Strong;
use crate::engine::results::work::Work;
use crate::error::Result;
use crate::matching::{
    BestPartners, Direction, HOLDS_WITHIN, LatentFacts, Listed, ListedFigures, MIN_DOCUMENTS, MatchCounts, Outcome,
    Partner, Side, Significance, Standardised, apply_filters, count_matches, kept, significance, standard_error,
};
use crate::moments::{Candidates, DocumentRows, Null};
use crate::plan::Plan;
use crate::sae::Sae;
use crate::spec::Pairing;
use crate::table::DictionaryScores;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One pair in one direction.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// `[n_latents][rank]`
    pub best: Vec<Vec<Option<Partner>>>,
    /// On each listed partner, `[n_latents][rank]`; one where there is no partner.
    pub(super) outcomes: Vec<Vec<Outcome>>,
    /// `[n_latents]`
    pub(super) significance: Vec<Significance>,
    /// The best correlation that the key alone gives each latent, and the p-value of its best against those: `[n_latents]`, or nothing
    /// where it was not counted.
    pub(super) by_key: Vec<[Option<f64>; 2]>,
    /// How strong the best match that chance gives each latent is, `[n_latents]`; `None` where that is not known, or not asked.
    pub(super) by_chance: Option<Vec<Strong>>,
}

/// What the views are judged by.
#[derive(Clone, Copy)]
pub struct MatchFacts<'a> {
    /// Every space.
    pub spaces: &'a Spaces,
    /// What the workers' parts of each pair give by chance; none where there is no chance level.
    pub chance: &'a [Arc<ChanceSnapshot>],
    /// How well the candidates of a pair are known.
    pub candidates: &'a BTreeMap<usize, Arc<Candidates>>,
    /// The figures of listed latents.
    pub listed: &'a BTreeMap<usize, Arc<ListedFigures>>,
    /// How many documents the rows are of.
    pub documents: &'a DocumentRows,
}

/// What is known of matches.
pub struct Results {
    pub(super) plan: Arc<Plan>,
    /// One per space, `None` for a raw one.
    pub(super) saes: Vec<Option<Arc<Sae>>>,
    /// `[n_pairs]`, for each direction.
    pub views: Vec<[View; 2]>,
    /// Mutual best: `[n_pairs][source] -> target`.
    pub mutual: Vec<BTreeMap<u32, u32>>,
    /// The graph that groups are made of; `None` where no groups are made.
    pub(super) graph: Option<MatchGraph>,
    /// How well the correlations of each pair are known, `[n_pairs]`.
    pub(super) known: Vec<Known>,
    /// The figures of listed latents, by pair.
    pub(super) listed: BTreeMap<usize, Arc<ListedFigures>>,
    /// Counts of each pair's matches and of those by chance, `[n_pairs]`.
    pub(super) counts: Vec<BesideChance>,
    /// How many documents the rows are of.
    pub(super) documents: DocumentRows,
    /// How the dictionaries of each pair agree, `[n_pairs]`; nothing before the first judgement.
    pub(super) dictionaries: Vec<DictionaryScores>,
    /// Latents of each category of a space, ascending: by space, then in order of the categories' names.
    pub(super) members: BTreeMap<usize, Vec<Vec<u32>>>,
    /// How far the making of tables is, and whether it is to stop.
    pub(super) work: Work,
}

/// Counts of a pair's matches, and the same of the rotated tiles; `None` where there are none.
#[derive(Clone, Debug, Default)]
pub struct BesideChance {
    pub matches: MatchCounts,
    pub by_chance: Option<MatchCounts>,
    /// Number of kept matches where the source picks, and where the target picks.
    pub n_kept: [u64; 2],
    /// Those that the same filters keep of the rotated tiles.
    pub n_kept_null: Option<[u64; 2]>,
    /// What the graph by chance needs of the pair; `None` where there is no chance level, or no groups are made.
    pub(super) graph: Option<ByChance>,
    /// Best partners by chance, of each latent of the source and of the target; `None` where there is no chance level.
    pub(super) best_null: Option<[Vec<Option<Partner>>; 2]>,
}

/// How well the correlations of a pair are known.
pub(super) struct Known {
    n_rows: u64,
    /// Where Σxy is sketched its candidates, and the sums of both sides.
    counted: Option<(Arc<Candidates>, [Arc<Standardised>; 2])>,
}

impl Known {
    /// Tokens whose products of these two latents were counted, and the standard error that the others leave.
    pub(super) fn how_well(&self, latents: Option<(u32, u32)>) -> (u64, Option<f64>) {
        let Some((source, target)) = latents else { return (self.n_rows, None) };
        let Some((candidates, [of_source, of_target])) = &self.counted else { return (self.n_rows, Some(0.0)) };
        let entry = candidates.find(source, target).expect("partners are candidates");
        let error = standard_error(candidates, entry, (of_source, source as usize), (of_target, target as usize));
        (self.n_rows - candidates.sketched_rows[entry], error)
    }
}

impl Results {
    /// Nothing is known yet.
    pub fn new(plan: Arc<Plan>, saes: Vec<Option<Arc<Sae>>>) -> Self {
        let view = |space: usize| View {
            best: vec![vec![None; plan.spec().estimate.best]; plan.spaces()[space].width],
            ..View::default()
        };
        let views = plan.pairs().iter().map(|pair| [view(pair.source), view(pair.target)]).collect();
        let mutual = vec![BTreeMap::new(); plan.pairs().len()];
        let graph = MatchGraph::of(&plan);
        Results {
            plan,
            saes,
            views,
            mutual,
            graph,
            known: Vec::new(),
            listed: BTreeMap::new(),
            counts: Vec::new(),
            documents: DocumentRows::default(),
            dictionaries: Vec::new(),
            members: BTreeMap::new(),
            work: Work::default(),
        }
    }

    /// Brings the views up to date.
    pub fn update(&mut self, deltas: Vec<(ViewRow, isize)>) {
        let mut net: BTreeMap<ViewRow, isize> = BTreeMap::new();
        for (row, diff) in deltas {
            *net.entry(row).or_default() += diff;
        }
        // removals first: a row that changed then ends with its new value
        for wanted in [-1, 1] {
            for (row, _) in net.iter().filter(|(_, diff)| diff.signum() == wanted) {
                self.apply(row, wanted > 0);
            }
        }
    }

    fn apply(&mut self, row: &ViewRow, come: bool) {
        match *row {
            ViewRow::Best(BestRow { direction, pair, latent, rank, partner, correlation }) => {
                self.views[pair as usize][side(direction)].best[latent as usize][rank as usize] =
                    come.then_some(Partner { latent: partner, correlation });
            }
            ViewRow::Mutual { pair, source, target } => {
                let mutual = &mut self.mutual[pair as usize];
                if come {
                    mutual.insert(source, target);
                } else {
                    mutual.remove(&source);
                }
            }
        }
    }

    /// Applies the filters to every match and tests it against the null; to be called when the views are up to date.
    ///
    /// # Errors
    /// Those of the one-to-one rules; `Interrupted` when it is to stop.
    pub fn judge(&mut self, facts: MatchFacts<'_>) -> Result<()> {
        let MatchFacts { spaces, chance, candidates, listed: figures, documents } = facts;
        self.listed.clone_from(figures);
        self.documents = documents.clone();
        if self.dictionaries.is_empty() {
            self.dictionaries = self.dictionaries()?;
        }
        // a chance level needs rows of other documents
        let chance = if documents.n_documents < MIN_DOCUMENTS { &[] } else { chance };
        // of the spaces whose pairs are counted
        let mut standardised: BTreeMap<usize, Arc<Standardised>> = BTreeMap::new();
        self.known = (self.plan.pairs().iter().enumerate())
            .map(|(p, pair)| {
                let mut of = |space: usize| {
                    let new = || Arc::new(Standardised::new(&spaces[&space].sums));
                    standardised.entry(space).or_insert_with(new).clone()
                };
                let counted = candidates.get(&p).map(|c| (c.clone(), [pair.source, pair.target].map(&mut of)));
                Known { n_rows: spaces[&pair.source].sums.n_rows, counted }
            })
            .collect();
        let filters = &self.plan.spec().estimate.filters;
        let facts = facts_of(spaces, filters, &self.plan);
        if let Some(lists) = &self.plan.spec().estimate.lists {
            self.members = members_of(spaces, lists, &self.plan);
        }
        let (pairs, keep) = (self.plan.pairs().to_vec(), self.plan.null_partners());
        let (has_groups, has_readouts) = (self.graph.is_some(), !self.plan.readouts().is_empty());
        let halt = self.work.halt();
        self.counts = (self.views.par_iter_mut().zip(&pairs).enumerate())
            .map(|(p, (views, pair))| {
                halt.check()?;
                let facts: [&[LatentFacts]; 2] = [&facts[&pair.source], &facts[&pair.target]];
                let partners: [Vec<Vec<Partner>>; 2] = [0, 1].map(|d: usize| listed(&views[d]));
                let null = by_chance(
                    chance.iter().filter(|c| c.pair == p && c.null == Null::Rotated),
                    facts.map(<[_]>::len),
                    keep,
                );
                let best = firsts(&partners);
                let best_null = null.as_ref().map(firsts);
                for d in [0, 1] {
                    let n_active: Vec<u64> = facts[d].iter().map(|f| f.n_active).collect();
                    let level = best_null.as_ref().map_or_else(|| vec![None; n_active.len()], |b| values(&b[d]));
                    views[d].significance = significance(&values(&best[d]), &level, &n_active);
                }
                let points = [0, 1].map(|d: usize| views[d].significance.iter().map(|c| c.point).collect::<Vec<_>>());
                let within = filters.min_within.and(figures.get(&p)).map(|of| within_of(of, &partners));
                let judged = |partners: &[Vec<Vec<Partner>>; 2],
                              within: Option<&[Vec<Vec<Option<f64>>>; 2]>|
                 -> Result<[Vec<Vec<Outcome>>; 2]> {
                    let first = [0, 1].map(|d: usize| {
                        partners[d].iter().map(|l| l.first().map(|p| p.latent)).collect::<Vec<Option<u32>>>()
                    });
                    let side = |d: usize| Side {
                        pickers: facts[d],
                        others: facts[1 - d],
                        partners: &partners[d],
                        first_of_other: &first[1 - d],
                        points: [&points[d], &points[1 - d]],
                        within: within.map(|of| of[d].as_slice()),
                    };
                    Ok([apply_filters(filters, side(0))?, apply_filters(filters, side(1))?])
                };
                let of_key = by_chance(
                    chance.iter().filter(|c| c.pair == p && c.null == Null::Given),
                    facts.map(<[_]>::len),
                    keep,
                );
                halt.check()?;
                for (d, outcomes) in judged(&partners, within.as_ref())?.into_iter().enumerate() {
                    views[d].outcomes = outcomes;
                    let n_active: Vec<u64> = facts[d].iter().map(|f| f.n_active).collect();
                    views[d].by_key = of_key.as_ref().map_or_else(Vec::new, |of_key| {
                        let level = values(&firsts(of_key)[d]);
                        let p_values = significance(&values(&best[d]), &level, &n_active);
                        level.into_iter().zip(p_values).map(|(level, s)| [level, s.p_value]).collect()
                    });
                    for (of_best, listed) in views[d].significance.iter_mut().zip(&partners[d]) {
                        if let [first, second, ..] = listed.as_slice() {
                            of_best.margin = Some(first.correlation.value() - second.correlation.value());
                        }
                    }
                }
                let known = best_null.is_some().then_some([&points[0][..], &points[1][..]]);
                let count = |best: &[Vec<Option<Partner>>; 2]| count_matches([&best[0], &best[1]], known);
                // of pairs that chance puts together it is not known what is left given the token
                let null_is_known = filters.min_within.is_none();
                let of_null = null.as_ref().filter(|_| null_is_known);
                let outcomes_null = of_null.map(|null| judged(null, None)).transpose()?;
                let n_kept_null = outcomes_null.as_ref().map(|of| of.each_ref().map(|v| n_kept(v)));
                for d in [0, 1] {
                    let of = outcomes_null.as_ref().zip(best_null.as_ref()).filter(|_| has_readouts);
                    let of = of.map(|(outcomes, best)| outcomes[d].iter().zip(&best[d]).zip(&points[d]));
                    views[d].by_chance =
                        of.map(|of| of.map(|((outcomes, best), point)| Strong::of(outcomes, *best, *point)).collect());
                }
                let by_chance = null.as_ref().zip(outcomes_null).filter(|_| has_groups);
                Ok(BesideChance {
                    matches: count(&best),
                    by_chance: best_null.as_ref().map(count),
                    n_kept: [0, 1].map(|d: usize| n_kept(&views[d].outcomes)),
                    n_kept_null,
                    graph: by_chance.map(|(null, [forward, _])| ByChance::new(null, &forward)),
                    best_null,
                })
            })
            .collect::<Result<Vec<BesideChance>>>()?;
        Ok(())
    }

    /// The figures of two latents of pair `p`, source and target, where they are listed.
    pub(super) fn listed(&self, p: usize, (source, target): (u32, u32)) -> Option<&Listed> {
        self.listed.get(&p)?.find(source, target)
    }

    /// Mutual matches of pair `p` whose correlation given the token is known; of these those in which it holds, and those by chance.
    pub(super) fn beyond_the_token(&self, p: usize) -> [u64; 3] {
        let mut out = [0; 3];
        for (&source, &target) in &self.mutual[p] {
            let Some(listed) = self.listed(p, (source, target)) else { continue };
            let Some(within) = listed.within_correlation else { continue };
            let holds = [true, within >= HOLDS_WITHIN, listed.within_null.is_some_and(|null| null >= HOLDS_WITHIN)];
            out.iter_mut().zip(holds).for_each(|(n, holds)| *n += u64::from(holds));
        }
        out
    }

    pub(super) fn is_mutual(&self, pair: usize, direction: Direction, latent: u32, partner: u32) -> bool {
        let (source, target) = match direction {
            Direction::Forward => (latent, partner),
            Direction::Backward => (partner, latent),
        };
        self.mutual[pair].get(&source) == Some(&target)
    }

    /// A pair as tables name it.
    pub fn table_pair(&self, p: usize) -> crate::table::SitePair {
        let (source, target) = self.plan.pair_sites(p);
        crate::table::SitePair { source: source.clone(), target: target.clone() }
    }

    /// Kept matches of a pair as (source, target), in order of the picking latent.
    pub(super) fn kept(&self, pair: usize, pairing: Pairing) -> Vec<(usize, usize)> {
        let direction = if pairing == Pairing::Backward { Direction::Backward } else { Direction::Forward };
        let view = &self.views[pair][side(direction)];
        let partners = listed(view);
        (view.outcomes.iter().zip(&partners).enumerate())
            .filter_map(|(i, (outcomes, listed))| Some((i as u32, kept(outcomes, listed)?.1.latent)))
            .filter(|&(i, j)| pairing != Pairing::Mutual || self.is_mutual(pair, direction, i, j))
            .map(|(i, j)| match direction {
                Direction::Forward => (i as usize, j as usize),
                Direction::Backward => (j as usize, i as usize),
            })
            .collect()
    }
}

/// Index of a direction.
pub fn side(direction: Direction) -> usize {
    match direction {
        Direction::Forward => 0,
        Direction::Backward => 1,
    }
}

/// Partners of each latent, best first.
fn listed(view: &View) -> Vec<Vec<Partner>> {
    view.best.iter().map(|ranks| ranks.iter().map_while(|p| *p).collect()).collect()
}

/// Best partners of both sides in the null, put together from the workers' parts in the same way as the views; `None` when
/// nothing was counted.
fn by_chance<'a>(
    parts: impl Iterator<Item = &'a Arc<ChanceSnapshot>>,
    widths: [usize; 2],
    keep: usize,
) -> Option<[Vec<Vec<Partner>>; 2]> {
    let mut out: Option<[Vec<BestPartners>; 2]> = None;
    for part in parts {
        let [forward, backward] = out.get_or_insert_with(|| widths.map(|n| vec![BestPartners::default(); n]));
        for (latent, partners) in &part.forward {
            forward[*latent as usize].clone_from(partners);
        }
        for (all, more) in backward.iter_mut().zip(&part.backward) {
            all.merge(more, keep);
        }
    }
    Some(out?.map(|side| side.into_iter().map(|p| p.as_slice().to_vec()).collect()))
}

/// The correlation given the token of each listed partner, both ways.
fn within_of(figures: &ListedFigures, partners: &[Vec<Vec<Partner>>; 2]) -> [Vec<Vec<Option<f64>>>; 2] {
    let of = |d: usize| {
        let one = |i: u32, p: &Partner| {
            let (source, target) = if d == 0 { (i, p.latent) } else { (p.latent, i) };
            figures.find(source, target)?.within_correlation
        };
        (0u32..).zip(&partners[d]).map(|(i, listed)| listed.iter().map(|p| one(i, p)).collect()).collect()
    };
    [of(0), of(1)]
}

/// The best partner of each latent, both ways.
fn firsts(partners: &[Vec<Vec<Partner>>; 2]) -> [Vec<Option<Partner>>; 2] {
    [0, 1].map(|d: usize| partners[d].iter().map(|listed| listed.first().copied()).collect())
}

fn values(best: &[Option<Partner>]) -> Vec<Option<f64>> {
    best.iter().map(|p| p.map(|p| p.correlation.value())).collect()
}

/// Number of latents that have a kept partner.
fn n_kept(outcomes: &[Vec<Outcome>]) -> u64 {
    outcomes.iter().filter(|v| v.contains(&Outcome::Kept)).count() as u64
}
