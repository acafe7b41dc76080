//! What one worker holds: its tiles and its share of the per-latent memory. No dataflow here: batches go in, in order;
//! changed rows, notes and state files come out.
//!
//! Tile k belongs to worker k mod peers, and so does everything else that is owned; nothing that is computed depends on
//! who owns it. The sums per latent are small and every correlation needs them, so each worker keeps all of them.

use crate::engine::message::{ChanceSnapshot, EncodedBatch, Folded, Note, SpaceSnapshot, ViewInput};
use crate::error::Result;
use crate::matching::{
    BestPartners, Partner, Standardised, TileMatches, choose_candidates, match_co_moment, match_counted, match_tiles,
};
use crate::moments::{
    ByLatent, CoMoment, Counted, CrossCoMoment, CrossTile, LabelSums, LatentSums, RowHash, Sketch, TopTokens,
    document_rotation,
};
use crate::plan::Plan;
use rayon::prelude::*;
use std::sync::Arc;

/// Σxy as a tile keeps it.
#[derive(Debug)]
pub enum Held {
    /// Of every pair of latents.
    Exact(CrossTile),
    /// Of candidates.
    Counted(Counted),
}

/// A tile that this worker owns.
#[derive(Debug)]
pub struct OwnedTile {
    /// Index in the plan's list of tiles.
    pub index: usize,
    /// Index in the plan's list of pairs.
    pub pair: usize,
    /// The sums.
    pub held: Held,
    /// The same, where exact, with the target's rows turned to another document, for the chance level of a best match.
    pub null: Option<CrossTile>,
    /// What was last said of each row.
    said: Vec<BestPartners>,
}

impl OwnedTile {
    fn exact(&self) -> Option<&CrossTile> {
        match &self.held {
            Held::Exact(tile) => Some(tile),
            Held::Counted(_) => None,
        }
    }
}

/// The per-latent memory of a space that this worker owns.
#[derive(Debug)]
pub struct OwnedSpace {
    /// Index in the plan's list of spaces.
    pub index: usize,
    /// Strongest tokens.
    pub top: TopTokens,
    /// Sums by label.
    pub labels: LabelSums,
}

/// The cross co-moment of two hookpoints that this worker owns.
#[derive(Debug)]
pub struct OwnedCross {
    /// Index in the plan's list of raw pairs.
    pub index: usize,
    /// The sums.
    pub moment: CrossCoMoment,
    /// What was last said of each source dimension, `[d_source]`; empty unless the pair is matched by this.
    said: Vec<BestPartners>,
}

/// What one worker holds.
#[derive(Debug)]
pub struct Fold {
    plan: Arc<Plan>,
    /// Sums of every space, `[n_spaces]`.
    pub sums: Vec<LatentSums>,
    /// Sketches of every space that has one, `[n_spaces]`: whoever owns a pair needs both of its spaces'.
    pub sketches: Vec<Option<Sketch>>,
    /// Gives rows their buckets.
    pub row_hash: RowHash,
    /// Own tiles, in order of index.
    pub tiles: Vec<OwnedTile>,
    /// Own spaces, in order of index.
    pub spaces: Vec<OwnedSpace>,
    /// Own raw moments: (index in the plan's list, moments).
    pub moments: Vec<(usize, CoMoment)>,
    /// Own raw cross moments, in order of index.
    pub cross_moments: Vec<OwnedCross>,
    /// What was last said of each pair's targets, `[n_pairs][d_target]`.
    said_backward: Vec<Vec<BestPartners>>,
}

impl Fold {
    /// Empty memory for worker `index` of `peers`.
    pub fn new(plan: Arc<Plan>, index: usize, peers: usize) -> Self {
        let mine = |k: usize| k % peers == index;
        let tiles: Vec<OwnedTile> = (plan.tiles.iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, t)| {
                let d_target = plan.spaces[plan.pairs[t.pair].target].width;
                let tile = || CrossTile::new(t.first_row, t.n_rows, d_target);
                let sketched = plan.is_sketched();
                let held = if sketched { Held::Counted(Counted::new(t.n_rows, d_target)) } else { Held::Exact(tile()) };
                let null = (plan.spec.estimate.null.documents && !sketched).then(tile);
                OwnedTile { index: k, pair: t.pair, held, null, said: vec![BestPartners::default(); t.n_rows] }
            })
            .collect();
        let spaces = (plan.spaces.iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, s)| OwnedSpace {
                index: k,
                top: TopTokens::new(s.width, plan.top_options()),
                labels: LabelSums::new(s.width),
            })
            .collect();
        let moments = (plan.raw_sites.iter().enumerate())
            .filter(|(k, _)| plan.scores_activations() && mine(*k))
            .map(|(k, s)| (k, CoMoment::new(s.width)))
            .collect();
        let cross_moments: Vec<OwnedCross> = (plan.raw_pairs.iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, p)| {
                let (d_source, d_target) = (plan.raw_sites[p.source].width, plan.raw_sites[p.target].width);
                let n_said = if plan.is_raw(plan.pairs[p.pair]) { d_source } else { 0 };
                OwnedCross {
                    index: k,
                    moment: CrossCoMoment::new(d_source, d_target, plan.co_moment_nulls(p)),
                    said: vec![BestPartners::default(); n_said],
                }
            })
            .collect();
        let said_backward = (plan.pairs.iter().enumerate())
            .map(|(p, pair)| {
                let any = tiles.iter().any(|t| t.pair == p)
                    || cross_moments.iter().any(|c| plan.raw_pairs[c.index].pair == p && plan.is_raw(*pair));
                vec![BestPartners::default(); if any { plan.spaces[pair.target].width } else { 0 }]
            })
            .collect();
        let sums = plan.spaces.iter().map(|s| LatentSums::new(s.width)).collect();
        let width = plan.spec.compare.width;
        let sketches = (plan.spaces.iter().enumerate())
            .map(|(k, s)| plan.has_sketch(k).then(|| Sketch::new(s.width, width)))
            .collect();
        let row_hash = RowHash::new(plan.spec.seed, width, plan.corpus_names());
        Fold { plan, sums, sketches, row_hash, tiles, spaces, moments, cross_moments, said_backward }
    }

    /// What it was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Adds a batch; one that is read `again` to the counts of candidates alone, which the first of them begins anew. Must be
    /// called in order of batch index.
    ///
    /// # Errors
    /// `Input` when a label takes too many values.
    pub fn apply(&mut self, batch: &EncodedBatch, again: bool) -> Result<()> {
        if again && batch.tokens.index == 0 {
            for owned in &mut self.tiles {
                if let Held::Counted(counted) = &mut owned.held {
                    counted.begin_again();
                }
            }
        }
        let sources: Vec<Option<ByLatent>> = (0..self.plan.spaces.len())
            .into_par_iter()
            .map(|s| {
                let needed = (self.sketches[s].is_some() && !again)
                    || self.tiles.iter().any(|t| self.plan.pairs[t.pair].source == s);
                needed.then(|| ByLatent::new(&batch.latents[s]))
            })
            .collect();
        let plan = &self.plan;
        self.tiles.par_iter_mut().for_each(|owned| {
            let pair = plan.pairs[owned.pair];
            let source = sources[pair.source].as_ref().expect("turned round above for every pair with a tile here");
            let target = &batch.latents[pair.target];
            match &mut owned.held {
                Held::Exact(tile) => tile.fold(source, target),
                Held::Counted(counted) => counted.fold(source, target),
            }
            if let Some(null) = &mut owned.null {
                null.fold_rotated(source, target, document_rotation(target.n_rows()));
            }
        });
        if again {
            return Ok(());
        }
        if plan.is_sketched() {
            let buckets = self.row_hash.next(&batch.tokens);
            self.sketches.par_iter_mut().zip(&sources).for_each(|(sketch, by_latent)| {
                if let (Some(sketch), Some(by_latent)) = (sketch, by_latent) {
                    sketch.fold(by_latent, &buckets);
                }
            });
        }
        self.sums.par_iter_mut().zip(&batch.latents).for_each(|(sums, latents)| sums.fold(latents));
        let fields = &plan.spec.corpus.labels;
        self.spaces.par_iter_mut().try_for_each(|space| {
            let latents = &batch.latents[space.index];
            space.top.fold(&batch.tokens, latents);
            space.labels.fold(&batch.tokens, latents, fields)
        })?;
        for (k, moments) in &mut self.moments {
            moments.merge(&batch.moments[*k]);
        }
        self.cross_moments.par_iter_mut().for_each(|c| c.moment.merge(&batch.cross_moments[c.index]));
        Ok(())
    }

    /// Turns sums into correlations and says what changed since the last time. Candidates are chosen anew
    /// where asked for, at snapshots 1, 2, 4, 8 … and before a second pass: each choice is a product of whole sketches.
    pub fn snapshot(&mut self, choose: bool) -> Vec<Folded> {
        let keep = self.plan.spec.estimate.best;
        let rules = self.plan.spec.estimate.rules;
        let standardised: Vec<Standardised> = self.sums.par_iter().map(|s| Standardised::by(s, rules)).collect();
        let (plan, sums) = (self.plan.clone(), &self.sums);
        if choose && plan.is_sketched() {
            let meant: Vec<Standardised> = self.sums.par_iter().map(Standardised::new).collect();
            // one pair at a time: all threads work on it, and their lists are the memory of one
            for owned in &mut self.tiles {
                let Held::Counted(counted) = &mut owned.held else { continue };
                let side = |space: usize| {
                    let sketch = self.sketches[space].as_ref().expect("both spaces of a counted pair are sketched");
                    (sketch, &meant[space])
                };
                let pair = plan.pairs[owned.pair];
                let sides = [side(pair.source), side(pair.target)];
                *counted = choose_candidates(counted, sides, plan.spec.compare.candidates);
            }
        }
        let mut out = Vec::new();
        let mut backward: Vec<Vec<BestPartners>> =
            self.said_backward.iter().map(|said| vec![BestPartners::default(); said.len()]).collect();
        // what is found in some stretches is said before the next are looked at: lists of all pairs at once are long
        let mut stretches: Vec<&mut [OwnedTile]> = (self.tiles.chunk_by_mut(|a, b| a.pair == b.pair))
            .flat_map(|tiles| tiles.chunks_mut(stretch_length(tiles.len())))
            .collect();
        for some in stretches.chunks_mut(stretches_at_once()) {
            let found: Vec<TileMatches> = (some.par_iter())
                .map(|tiles| {
                    let pair = plan.pairs[tiles[0].pair];
                    let (source, target) = (&standardised[pair.source], &standardised[pair.target]);
                    match &tiles[0].held {
                        Held::Exact(_) => match_tiles(tiles.iter().filter_map(OwnedTile::exact), source, target, keep),
                        Held::Counted(counted) => match_counted(counted, source, target, keep),
                    }
                })
                .collect();
            for (tiles, found) in some.iter_mut().zip(found) {
                let mut rows = found.forward.into_iter();
                for owned in tiles.iter_mut() {
                    let first = owned.exact().map_or(0, CrossTile::first_row);
                    say_sources(owned.pair, first, &mut owned.said, &mut rows, &mut out);
                }
                merge_all(&mut backward[tiles[0].pair], &found.backward, keep);
            }
        }
        for owned in self.cross_moments.iter_mut().filter(|owned| !owned.said.is_empty()) {
            let at = plan.raw_pairs[owned.index].pair;
            let pair = plan.pairs[at];
            let constant = |space: usize| move |i: usize| sums[space].is_constant(i);
            let found = match_co_moment(
                &owned.moment,
                &owned.moment.c,
                constant(pair.source),
                constant(pair.target),
                rules,
                keep,
            );
            say_sources(at, 0, &mut owned.said, &mut found.forward.into_iter(), &mut out);
            merge_all(&mut backward[at], &found.backward, keep);
        }
        for (pair, targets) in backward.into_iter().enumerate() {
            for (target, partners) in targets.into_iter().enumerate() {
                let said = &mut self.said_backward[pair][target];
                let (target, whole) = (target as u32, whole_at_owner(&plan, pair));
                let row = |rank: usize, p: &Partner| {
                    let (pair, rank, source, correlation) = (pair as u32, rank as u8, p.latent, p.correlation);
                    if whole {
                        ViewInput::RankedBackward { pair, target, rank, source, correlation }
                    } else {
                        ViewInput::Backward { pair, target, source, correlation }
                    }
                };
                let rows = |partners: &BestPartners| -> Vec<ViewInput> {
                    partners.as_slice().iter().enumerate().map(|(rank, p)| row(rank, p)).collect()
                };
                if *said != partners {
                    say_changes(rows(said), rows(&partners), &mut out);
                    *said = partners;
                }
            }
        }
        out
    }

    /// The chance level of best correlations, as far as this worker's tiles and co-moments give it.
    fn chances(&self) -> Vec<Note> {
        let (plan, rules) = (&self.plan, self.plan.spec.estimate.rules);
        if !plan.spec.estimate.null.documents {
            return Vec::new();
        }
        let standardised: Vec<Standardised> = self.sums.par_iter().map(|s| Standardised::by(s, rules)).collect();
        let stretches: Vec<&[OwnedTile]> = (self.tiles.chunk_by(|a, b| a.pair == b.pair))
            .flat_map(|tiles| tiles.chunks(stretch_length(tiles.len())))
            .filter(|tiles| tiles[0].null.is_some())
            .collect();
        let best = |p: &BestPartners| p.as_slice().first().map(|p| p.correlation.value());
        // (pair, highest of sources, highest of each target)
        type Highest = (usize, Vec<(u32, f64)>, Vec<Option<f64>>);
        let highest = |pair: usize, sources: &mut dyn Iterator<Item = usize>, found: TileMatches| -> Highest {
            let forward = sources.zip(&found.forward).filter_map(|(i, p)| Some((i as u32, best(p)?))).collect();
            (pair, forward, found.backward.iter().map(best).collect())
        };
        let mut found: Vec<Highest> = (stretches.par_iter())
            .map(|tiles| {
                let pair = plan.pairs[tiles[0].pair];
                let (source, target) = (&standardised[pair.source], &standardised[pair.target]);
                let nulls = || tiles.iter().filter_map(|t| t.null.as_ref());
                let mut sources = nulls().flat_map(|t| t.first_row()..t.first_row() + t.n_rows());
                highest(tiles[0].pair, &mut sources, match_tiles(nulls(), source, target, 1))
            })
            .collect();
        found.extend(self.cross_moments.iter().filter(|owned| !owned.said.is_empty()).filter_map(|owned| {
            let at = plan.raw_pairs[owned.index].pair;
            let pair = plan.pairs[at];
            let constant = |space: usize| move |i: usize| self.sums[space].is_constant(i);
            let c = owned.moment.nulls.last()?;
            let found = match_co_moment(&owned.moment, c, constant(pair.source), constant(pair.target), rules, 1);
            Some(highest(at, &mut (0..), found))
        }));
        let mut out: Vec<ChanceSnapshot> = Vec::new();
        for (pair, forward, backward) in found {
            if out.last().is_none_or(|last| last.pair != pair) {
                out.push(ChanceSnapshot { pair, forward: vec![], backward: vec![None; backward.len()] });
            }
            let last = out.last_mut().expect("just pushed");
            last.forward.extend(forward);
            for (all, of_stretch) in last.backward.iter_mut().zip(backward) {
                *all = all.iter().copied().chain(of_stretch).max_by(f64::total_cmp);
            }
        }
        out.into_iter().map(|c| Note::Chance(Arc::new(c))).collect()
    }

    /// Everything the publisher's tables need of what this worker owns.
    pub fn notes(&self) -> Vec<Note> {
        let mut notes: Vec<Note> = (self.spaces.iter())
            .map(|space| {
                Note::Space(Arc::new(SpaceSnapshot {
                    space: space.index,
                    sums: self.sums[space.index].clone(),
                    top: space.top.latents().to_vec(),
                    labels: space.labels.clone(),
                }))
            })
            .collect();
        notes.extend(self.tiles.iter().filter_map(|owned| match &owned.held {
            Held::Counted(counted) => Some(Note::Candidates(owned.pair, counted.candidates().clone())),
            Held::Exact(_) => None,
        }));
        if self.plan.scores_activations() {
            notes.extend(self.moments.iter().map(|(k, m)| Note::Moments(*k, Arc::new(m.clone()))));
            let crosses = self.cross_moments.iter();
            notes.extend(crosses.map(|c| Note::CrossMoments(c.index, Arc::new(c.moment.clone()))));
        }
        notes.extend(self.chances());
        notes
    }
}

/// Whether one worker knows all sums of a pair: the one tile of candidates, or the one cross co-moment.
fn whole_at_owner(plan: &Plan, pair: usize) -> bool {
    plan.is_sketched() || plan.is_raw(plan.pairs[pair])
}

/// Tiles of one pair that are looked at in one go, of `n_tiles`: as many stretches as threads.
fn stretch_length(n_tiles: usize) -> usize {
    n_tiles.div_ceil(rayon::current_num_threads())
}

/// Stretches whose lists are held at once.
fn stretches_at_once() -> usize {
    4 * rayon::current_num_threads()
}

/// What changed for the sources `first..` of pair `at`, as many as `said` of them; takes as many from `found`.
fn say_sources(
    at: usize,
    first: usize,
    said: &mut [BestPartners],
    found: &mut impl Iterator<Item = BestPartners>,
    out: &mut Vec<Folded>,
) {
    for (i, (said, partners)) in said.iter_mut().zip(found).enumerate() {
        let (pair, source) = (at as u32, (first + i) as u32);
        let rows = |partners: &BestPartners| -> Vec<ViewInput> {
            let row = |(rank, p): (usize, &Partner)| ViewInput::Forward {
                pair,
                source,
                rank: rank as u8,
                target: p.latent,
                correlation: p.correlation,
            };
            partners.as_slice().iter().enumerate().map(row).collect()
        };
        if *said != partners {
            say_changes(rows(said), rows(&partners), out);
            *said = partners;
        }
    }
}

fn merge_all(all: &mut [BestPartners], more: &[BestPartners], keep: usize) {
    for (all, more) in all.iter_mut().zip(more) {
        all.merge(more, keep);
    }
}

/// −1 for each row that is gone, +1 for each that is new; rows in both are not mentioned.
fn say_changes(old: Vec<ViewInput>, new: Vec<ViewInput>, out: &mut Vec<Folded>) {
    let gone = old.iter().filter(|r| !new.contains(r)).cloned().map(|r| Folded::Delta(r, -1));
    let come = new.iter().filter(|r| !old.contains(r)).cloned().map(|r| Folded::Delta(r, 1));
    out.extend(gone.chain(come));
}
