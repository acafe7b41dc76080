//! What one worker publishes at a snapshot: the best partners that changed, and the facts that the tables need.

use crate::engine::fold::held::{Fold, OwnedCross, OwnedTile};
use crate::engine::message::{BestRow, ChanceSnapshot, Folded, Note, SpaceSnapshot, ViewInput};
use crate::linalg::Matrix;
use crate::matching::{
    BestPartners, Direction, ListedFigures, Rules, Standardised, TileMatches, choose_candidates, match_co_moment,
    match_counted, match_tiles,
};
use crate::moments::{CrossTile, Null, PairSums};
use crate::plan::{Pair, Plan};
use rayon::prelude::*;
use std::sync::Arc;

impl Fold {
    /// Turns sums into correlations: what changed since the last time, and the notes for the publisher. Candidates are chosen again
    /// where asked for, at snapshots 1, 2, 4, 8 … and before a second pass: each choice is a product of whole sketches.
    pub fn snapshot(&mut self, choose: bool) -> (Vec<Folded>, Vec<Note>) {
        let rules = self.plan.spec().estimate.rules;
        let standardised: Vec<Standardised> = self.sums.par_iter().map(|s| Standardised::by(s, rules)).collect();
        let changes = self.changes(choose, &standardised);
        (changes, self.notes(&standardised))
    }

    /// What changed of best partners since the last time, and nothing else: for a list of partners between snapshots.
    pub fn best_changes(&mut self) -> Vec<Folded> {
        let rules = self.plan.spec().estimate.rules;
        let standardised: Vec<Standardised> = self.sums.par_iter().map(|s| Standardised::by(s, rules)).collect();
        self.changes(false, &standardised)
    }

    /// What changed of best partners since the last time. `standardised`: of every space, by the plan's rules.
    fn changes(&mut self, choose: bool, standardised: &[Standardised]) -> Vec<Folded> {
        let keep = self.plan.spec().estimate.best;
        let plan = self.plan.clone();
        if choose && plan.is_sketched() {
            // sketches hold the sums of `Rules::Meant`, whatever the rules
            let of_sketches: Vec<Standardised> = match self.plan.spec().estimate.rules {
                Rules::Meant => Vec::new(),
                Rules::AsPublished => self.sums.par_iter().map(Standardised::new).collect(),
            };
            let meant = if of_sketches.is_empty() { standardised } else { &of_sketches };
            // one pair at a time: all threads work on it, and their lists are the memory of one
            for owned in &mut self.tiles {
                let PairSums::Candidates(counted) = &mut owned.sums else { continue };
                let side = |space: usize| {
                    let sketch = self.sketches[space].as_ref().expect("both spaces of a counted pair are sketched");
                    (sketch, &meant[space])
                };
                let pair = plan.pairs()[owned.pair];
                let sides = [side(pair.source), side(pair.target)];
                *counted = choose_candidates(counted, sides, plan.spec().compare.candidates);
            }
        }
        let mut out = Vec::new();
        let mut backward: Vec<Vec<BestPartners>> =
            self.published_backward.iter().map(|published| vec![BestPartners::default(); published.len()]).collect();
        // what is found in some stretches is emitted before the next are looked at: lists of all pairs at once are long
        let mut stretches: Vec<&mut [OwnedTile]> = (self.tiles.chunk_by_mut(|a, b| a.pair == b.pair))
            .flat_map(|tiles| tiles.chunks_mut(stretch_length(tiles.len())))
            .collect();
        for some in stretches.chunks_mut(stretches_at_once()) {
            let found: Vec<TileMatches> = (some.par_iter())
                .map(|tiles| {
                    let pair = plan.pairs()[tiles[0].pair];
                    let (source, target) = (&standardised[pair.source], &standardised[pair.target]);
                    match &tiles[0].sums {
                        PairSums::Exact { .. } => {
                            match_tiles(tiles.iter().filter_map(|t| t.sums.exact()), source, target, keep)
                        }
                        PairSums::Candidates(counted) => match_counted(counted, source, target, keep),
                    }
                })
                .collect();
            for (tiles, found) in some.iter_mut().zip(found) {
                let mut rows = found.forward.into_iter();
                for owned in tiles.iter_mut() {
                    let first = owned.sums.exact().map_or(0, CrossTile::first_row);
                    emit_sources(owned.pair, first, &mut owned.published, &mut rows, &mut out);
                }
                merge_all(&mut backward[tiles[0].pair], &found.backward, keep);
            }
        }
        let found = self.match_co_moments(|owned| Some(&owned.moment.c), keep);
        for (owned, found) in self.cross_moments.iter_mut().zip(found) {
            let (at, Some(found)) = (plan.raw_pairs()[owned.index].pair, found) else { continue };
            emit_sources(at, 0, &mut owned.published, &mut found.forward.into_iter(), &mut out);
            merge_all(&mut backward[at], &found.backward, keep);
        }
        for (pair, targets) in backward.into_iter().enumerate() {
            let whole = whole_at_owner(&plan, pair);
            for (target, partners) in targets.into_iter().enumerate() {
                let published = &mut self.published_backward[pair][target];
                let (direction, pair, latent) = (Direction::Backward, pair as u32, target as u32);
                let rows = |partners: &BestPartners| -> Vec<ViewInput> {
                    let candidate = |row: BestRow| ViewInput::Candidate {
                        pair,
                        target: latent,
                        source: row.partner,
                        correlation: row.correlation,
                    };
                    let best = best_rows(direction, pair, latent, partners);
                    best.map(|row| if whole { ViewInput::Best(row) } else { candidate(row) }).collect()
                };
                if *published != partners {
                    emit_changes(rows(published), rows(&partners), &mut out);
                    *published = partners;
                }
            }
        }
        out
    }

    /// Best partners by the co-moment that `which` picks, of each cross co-moment whose pair is matched by it,
    /// `[n_cross_moments]`; all at once.
    fn match_co_moments(
        &self,
        which: impl Fn(&OwnedCross) -> Option<&Matrix<f64>> + Sync,
        keep: usize,
    ) -> Vec<Option<TileMatches>> {
        let rules = self.plan.spec().estimate.rules;
        let constant = |space: usize| move |i: usize| self.sums[space].is_constant(i);
        (self.cross_moments.par_iter())
            .map(|owned| {
                let pair = self.plan.pairs()[self.plan.raw_pairs()[owned.index].pair];
                let c = which(owned).filter(|_| owned.is_matched())?;
                Some(match_co_moment(&owned.moment, c, constant(pair.source), constant(pair.target), rules, keep))
            })
            .collect()
    }

    /// Best partners in each null, as far as this worker's tiles and co-moments give them: as many per latent as the filters look at.
    fn chances(&self, standardised: &[Standardised]) -> Vec<Note> {
        let nulls = self.plan.nulls().into_iter().enumerate();
        nulls.flat_map(|(k, null)| self.chances_in(k, null, standardised)).collect()
    }

    /// The same in null number `k`.
    fn chances_in(&self, k: usize, null: Null, standardised: &[Standardised]) -> Vec<Note> {
        let plan = &self.plan;
        let stretches: Vec<&[OwnedTile]> = (self.tiles.chunk_by(|a, b| a.pair == b.pair))
            .flat_map(|tiles| tiles.chunks(stretch_length(tiles.len())))
            .filter(|tiles| tiles[0].sums.null(k).is_some())
            .collect();
        let keep = plan.null_partners();
        // rows without a partner are left out on both sides
        let given: Option<Vec<[Standardised; 2]>> = (null == Null::Given).then(|| {
            let of = |s: usize| self.beyond.given(s).expect("kept of every space where tiles need it").sides();
            (0..plan.spaces().len()).into_par_iter().map(|s| of(s).map(|side| Standardised::new(&side))).collect()
        });
        let sides = |pair: Pair| match &given {
            Some(given) => (&given[pair.source][0], &given[pair.target][1]),
            None => (&standardised[pair.source], &standardised[pair.target]),
        };
        let part = |pair: usize, sources: &mut dyn Iterator<Item = usize>, found: TileMatches| {
            let forward = sources.zip(found.forward).map(|(i, partners)| (i as u32, partners));
            ChanceSnapshot { pair, null, forward: forward.collect(), backward: found.backward }
        };
        let mut found: Vec<ChanceSnapshot> = (stretches.par_iter())
            .map(|tiles| {
                let pair = plan.pairs()[tiles[0].pair];
                let (source, target) = sides(pair);
                let of_null = || tiles.iter().filter_map(|t| t.sums.null(k));
                let mut sources = of_null().flat_map(|t| t.first_row()..t.first_row() + t.n_rows());
                part(tiles[0].pair, &mut sources, match_tiles(of_null(), source, target, keep))
            })
            .collect();
        let behind_scores = plan.activation_nulls() as usize + k;
        let of_co_moments =
            self.match_co_moments(|owned| owned.moment.nulls.get(behind_scores).filter(|_| null.is_of_batch()), keep);
        found.extend(
            (self.cross_moments.iter().zip(of_co_moments))
                .filter_map(|(owned, found)| Some(part(plan.raw_pairs()[owned.index].pair, &mut (0..), found?))),
        );
        let mut out: Vec<ChanceSnapshot> = Vec::new();
        for part in found {
            match out.last_mut() {
                Some(last) if last.pair == part.pair => {
                    last.forward.extend(part.forward);
                    merge_all(&mut last.backward, &part.backward, keep);
                }
                _ => out.push(part),
            }
        }
        out.into_iter().map(|c| Note::Chance(Arc::new(c))).collect()
    }

    /// Everything the publisher's tables need of what this worker owns.
    fn notes(&self, standardised: &[Standardised]) -> Vec<Note> {
        let mut notes: Vec<Note> = (self.spaces.iter())
            .map(|space| {
                Note::Space(Arc::new(SpaceSnapshot {
                    space: space.index,
                    sums: self.sums[space.index].clone(),
                    top: space.profiles.top.latents().to_vec(),
                    labels: space.profiles.labels.clone(),
                    documents: space.profiles.documents.counts().to_vec(),
                    given: self.beyond.given(space.index).cloned(),
                }))
            })
            .collect();
        notes.extend(self.tiles.iter().filter_map(|owned| match &owned.sums {
            PairSums::Candidates(counted) => Some(Note::Candidates(owned.pair, counted.candidates().clone())),
            PairSums::Exact { .. } => None,
        }));
        if self.plan.scores_activations() {
            notes.extend(self.moments.iter().map(|(k, m)| Note::Moments(*k, Arc::new(m.clone()))));
            let crosses = self.cross_moments.iter();
            notes.extend(crosses.map(|c| Note::CrossMoments(c.index, Arc::new(c.moment.clone()))));
        }
        notes.extend(self.chances(standardised));
        let figures = |(p, sums)| Note::Listed(p, Arc::new(ListedFigures::of(sums)));
        notes.extend(self.beyond.listed().map(figures));
        if self.leads {
            notes.push(Note::Documents(self.documents.clone()));
        }
        notes.extend(self.alignment.clone().map(Note::Alignment));
        notes.extend(self.contexts.as_ref().and_then(|c| c.repeated()).map(Note::Contexts));
        notes
    }
}

/// Whether one worker knows all sums of a pair: the one tile of candidates, or the one cross co-moment.
fn whole_at_owner(plan: &Plan, pair: usize) -> bool {
    plan.is_sketched() || plan.is_raw(plan.pairs()[pair])
}

/// Tiles of one pair that are looked at in one go, of `n_tiles`: as many stretches as threads.
fn stretch_length(n_tiles: usize) -> usize {
    n_tiles.div_ceil(rayon::current_num_threads())
}

/// Stretches whose lists are held at once.
fn stretches_at_once() -> usize {
    4 * rayon::current_num_threads()
}

/// Emits the changes of pair `at` for as many sources from `first` on as `published` has; takes the same number from `found`.
fn emit_sources(
    at: usize,
    first: usize,
    published: &mut [BestPartners],
    found: &mut impl Iterator<Item = BestPartners>,
    out: &mut Vec<Folded>,
) {
    for (i, (published, partners)) in published.iter_mut().zip(found).enumerate() {
        let (pair, source) = (at as u32, (first + i) as u32);
        let rows = |partners: &BestPartners| -> Vec<ViewInput> {
            best_rows(Direction::Forward, pair, source, partners).map(ViewInput::Best).collect()
        };
        if *published != partners {
            emit_changes(rows(published), rows(&partners), out);
            *published = partners;
        }
    }
}

/// A latent's partners as rows of the views, best first.
fn best_rows(
    direction: Direction,
    pair: u32,
    latent: u32,
    partners: &BestPartners,
) -> impl Iterator<Item = BestRow> + '_ {
    (partners.as_slice().iter().enumerate()).map(move |(rank, p)| {
        let (rank, partner, correlation) = (rank as u8, p.latent, p.correlation);
        BestRow { direction, pair, latent, rank, partner, correlation }
    })
}

fn merge_all(all: &mut [BestPartners], more: &[BestPartners], keep: usize) {
    for (all, more) in all.iter_mut().zip(more) {
        all.merge(more, keep);
    }
}

/// −1 for each row that is gone, +1 for each that is new; rows in both are not mentioned.
fn emit_changes(old: Vec<ViewInput>, new: Vec<ViewInput>, out: &mut Vec<Folded>) {
    let gone = old.iter().filter(|r| !new.contains(r)).copied().map(|r| Folded::Delta(r, -1));
    let come = new.iter().filter(|r| !old.contains(r)).copied().map(|r| Folded::Delta(r, 1));
    out.extend(gone.chain(come));
}
