//! What one worker holds: its tiles and its share of the per-latent memory. Batches go in, in order; there is no dataflow here.
//! `snapshot` makes the values that are published, `checkpoint` the files that are written.
//!
//! Tile k belongs to worker k mod peers, and other parts are divided in the same way. No result depends on which worker owns a
//! part. The sums per latent are small and every correlation needs them, so each worker keeps all of them.

use crate::engine::fold::beyond::Beyond;
use crate::engine::fold::file::FileOf;
use crate::engine::message::EncodedBatch;
use crate::error::Result;
use crate::matching::BestPartners;
use crate::moments::{
    Accumulator, Alignment, Beside, ByLatent, CrossCoMoment, DocumentRows, FoldCross, FoldMoments, FoldRows,
    LatentSums, Null, PairBatch, PairSums, Profiles, ReadoutBatch, ReadoutSums, RowHash, SeenContexts, SiteMoments,
    Sketch, State,
};
use crate::plan::{Plan, Strip};
use crate::sae::LatentBatch;
use rayon::prelude::*;
use std::sync::Arc;

/// A tile that this worker owns.
#[derive(Debug)]
pub struct OwnedTile {
    /// Index in the plan's list of tiles.
    pub index: usize,
    /// Index in the plan's list of pairs.
    pub pair: usize,
    /// The sums.
    pub sums: PairSums,
    /// What was last published of each row.
    pub(super) published: Vec<BestPartners>,
}

/// The per-latent memory of a space that this worker owns.
#[derive(Debug)]
pub struct OwnedSpace {
    /// Index in the plan's list of spaces.
    pub index: usize,
    /// What its latents' firings look like.
    pub profiles: Profiles,
}

/// The cross co-moment of two hookpoints that this worker owns.
#[derive(Debug)]
pub struct OwnedCross {
    /// Index in the plan's list of raw pairs.
    pub index: usize,
    /// The sums.
    pub moment: CrossCoMoment,
    /// What was last published of each source dimension, `[d_source]`; empty unless the pair is matched by this.
    pub(super) published: Vec<BestPartners>,
}

impl OwnedCross {
    /// Whether the pair is matched by these sums.
    pub(super) fn is_matched(&self) -> bool {
        !self.published.is_empty()
    }
}

/// A strip of a readout that this worker owns.
#[derive(Debug)]
pub struct OwnedReadout {
    /// Which one.
    pub strip: Strip,
    /// The sums.
    pub sums: ReadoutSums,
}

/// What one worker holds.
#[derive(Debug)]
pub struct Fold {
    pub(super) plan: Arc<Plan>,
    /// Sums of every space, `[n_spaces]`.
    pub sums: Vec<LatentSums>,
    /// Sketches of every space that has one, `[n_spaces]`: the owner of a pair needs both of its spaces'.
    pub sketches: Vec<Option<Sketch>>,
    /// How many documents the rows are of; every worker counts them.
    pub documents: DocumentRows,
    /// Whether this worker reports and saves what every worker counts.
    pub(super) leads: bool,
    /// Gives rows their buckets.
    pub row_hash: RowHash,
    /// Own tiles, in order of index.
    pub tiles: Vec<OwnedTile>,
    /// Own spaces, in order of index.
    pub spaces: Vec<OwnedSpace>,
    /// Own raw moments: (index in the plan's list, moments).
    pub moments: Vec<(usize, SiteMoments)>,
    /// Own raw cross moments, in order of index.
    pub cross_moments: Vec<OwnedCross>,
    /// Own strips of readouts, in order of index.
    pub readouts: Vec<OwnedReadout>,
    /// Own moments of the activations that are read: (index in the plan's list, moments).
    pub readout_moments: Vec<(usize, FoldMoments)>,
    /// Own cross co-moments by half: (index in the plan's list of stitches, sums).
    pub stitches: Vec<(usize, FoldCross)>,
    /// The contexts seen, on the first worker alone.
    pub contexts: Option<SeenContexts>,
    /// How tokens share the rows, on the first worker, where rows are pieces of text.
    pub alignment: Option<Alignment>,
    /// What is counted of listed partners.
    pub beyond: Beyond,
    /// What was last published of each pair's targets, `[n_pairs][d_target]`.
    pub(super) published_backward: Vec<Vec<BestPartners>>,
}

impl Fold {
    /// Empty memory for worker `index` of `peers`.
    pub fn new(plan: Arc<Plan>, index: usize, peers: usize) -> Self {
        let mine = |k: usize| k % peers == index;
        let tiles: Vec<OwnedTile> = (plan.tiles().iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, t)| {
                let sums = PairSums::new(t.first_row, &plan.pair_shape(plan.pairs()[t.pair], t.n_rows));
                OwnedTile { index: k, pair: t.pair, sums, published: vec![BestPartners::default(); t.n_rows] }
            })
            .collect();
        let spaces = (plan.spaces().iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, s)| OwnedSpace { index: k, profiles: Profiles::new(&plan.profile_shape(s)) })
            .collect();
        let moments = (plan.raw_sites().iter().enumerate())
            .filter(|(k, _)| plan.scores_activations() && mine(*k))
            .map(|(k, s)| (k, SiteMoments::new(s.width)))
            .collect();
        let cross_moments: Vec<OwnedCross> = (plan.raw_pairs().iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, p)| {
                let (d_source, d_target) = (plan.raw_sites()[p.source].width, plan.raw_sites()[p.target].width);
                let n_published = if plan.is_raw(plan.pairs()[p.pair]) { d_source } else { 0 };
                OwnedCross {
                    index: k,
                    moment: CrossCoMoment::new(d_source, d_target, plan.co_moment_nulls(p)),
                    published: vec![BestPartners::default(); n_published],
                }
            })
            .collect();
        let published_backward = (plan.pairs().iter().enumerate())
            .map(|(p, pair)| {
                let any = tiles.iter().any(|t| t.pair == p)
                    || cross_moments.iter().any(|c| plan.raw_pairs()[c.index].pair == p && plan.is_raw(*pair));
                vec![BestPartners::default(); if any { plan.spaces()[pair.target].width } else { 0 }]
            })
            .collect();
        let sums = plan.spaces().iter().map(|s| LatentSums::new(s.width)).collect();
        let width = plan.spec().compare.width;
        let sketches = (plan.spaces().iter().enumerate())
            .map(|(k, s)| plan.has_sketch(k).then(|| Sketch::new(s.width, width)))
            .collect();
        let readouts = (plan.strips().into_iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(_, strip)| OwnedReadout { strip, sums: ReadoutSums::new(strip.first, plan.strip_shape(&strip)) })
            .collect();
        let readout_moments = (plan.readout_sites().iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, site)| (k, FoldMoments::new(site.width)))
            .collect();
        let stitches = (plan.stitches().iter().enumerate())
            .filter(|(k, _)| mine(*k))
            .map(|(k, stitch)| {
                let (d_source, d_target, null) = plan.stitch_shape(stitch);
                (k, FoldCross::new(d_source, d_target, null))
            })
            .collect();
        let row_hash = RowHash::new(plan.spec().seed, width);
        let documents = DocumentRows::default();
        let beyond = Beyond::new(&plan, mine);
        let alignment = (mine(0) && plan.spec().compare.is_of_text()).then(Alignment::default);
        Fold {
            plan,
            sums,
            sketches,
            documents,
            leads: index == 0,
            row_hash,
            tiles,
            spaces,
            moments,
            cross_moments,
            readouts,
            readout_moments,
            stitches,
            contexts: mine(0).then(SeenContexts::default),
            alignment,
            beyond,
            published_backward,
        }
    }

    /// Adds a batch. A batch that is read `again` adds only to the sums of candidate pairs, which the first such batch resets.
    /// Must be called in order of batch index.
    ///
    /// # Errors
    /// `Input` when a label takes too many values.
    pub fn apply(&mut self, batch: &EncodedBatch, again: bool) -> Result<()> {
        if again && batch.tokens.index == 0 {
            for owned in &mut self.tiles {
                if let PairSums::Candidates(sums) = &mut owned.sums {
                    sums.begin_again();
                }
            }
        }
        let sources: Vec<Option<ByLatent>> = (0..self.plan.spaces().len())
            .into_par_iter()
            .map(|s| {
                let needed = (self.sketches[s].is_some() && !again)
                    || self.tiles.iter().any(|t| self.plan.pairs()[t.pair].source == s)
                    || (!again && self.readouts.iter().any(|r| self.plan.readouts()[r.strip.readout].space == s));
                needed.then(|| ByLatent::new(&batch.latents[s]))
            })
            .collect();
        let plan = &self.plan;
        let n_rows = batch.latents.first().map_or(0, LatentBatch::n_rows);
        let given = (!again).then(|| self.beyond.next(batch));
        let orders: Vec<(Null, Vec<usize>)> = plan.nulls().into_iter().map(|null| (null, null.order(n_rows))).collect();
        self.tiles.par_iter_mut().try_for_each(|owned| {
            let pair = plan.pairs()[owned.pair];
            let source = sources[pair.source].as_ref().expect("turned round above for every pair with a tile here");
            let target = &batch.latents[pair.target];
            let nulls: Vec<Beside<'_>> = (orders.iter())
                .map(|(null, order)| match (null, &given) {
                    (Null::Given, Some(given)) => Beside::own(&given.latents[pair.target]),
                    _ => Beside::ordered(target, order),
                })
                .collect();
            owned.sums.fold(PairBatch { source, target, nulls: &nulls })
        })?;
        let Some(given) = given else { return Ok(()) };
        self.beyond.fold(plan, batch, &given)?;
        if let Some(contexts) = &mut self.contexts {
            contexts.fold(&batch.tokens.views[0])?;
        }
        if let Some(alignment) = &mut self.alignment {
            alignment.fold(&batch.tokens)?;
        }
        if plan.is_sketched() {
            let buckets = self.row_hash.next(&batch.tokens);
            self.sketches.par_iter_mut().zip(&sources).try_for_each(|(sketch, by_latent)| {
                match (sketch, by_latent) {
                    (Some(sketch), Some(by_latent)) => sketch.fold((by_latent, &buckets)),
                    _ => Ok(()),
                }
            })?;
        }
        self.sums.par_iter_mut().zip(&batch.latents).try_for_each(|(sums, latents)| sums.fold(latents))?;
        self.documents.fold(&batch.tokens)?;
        self.spaces.par_iter_mut().try_for_each(|space| {
            let view = plan.models()[plan.spaces()[space.index].model()].view;
            space.profiles.fold((&batch.tokens, &batch.tokens.views[view], &batch.latents[space.index]))
        })?;
        for (k, moments) in &mut self.moments {
            moments.fold(&batch.moments[*k])?;
        }
        self.cross_moments.par_iter_mut().try_for_each(|c| c.moment.fold(&batch.cross_moments[c.index]))?;
        self.read_out(batch, &sources)
    }

    /// Adds a batch to the readouts and stitches.
    fn read_out(&mut self, batch: &EncodedBatch, by_latent: &[Option<ByLatent>]) -> Result<()> {
        for (k, moments) in &mut self.readout_moments {
            moments.fold(&batch.raw[*k].1)?;
        }
        self.stitches.par_iter_mut().try_for_each(|(k, sums)| sums.fold(&batch.stitches[*k]))?;
        if self.readouts.is_empty() {
            return Ok(());
        }
        let (plan, folds) = (&self.plan, FoldRows::of(&batch.tokens));
        self.readouts.par_iter_mut().try_for_each(|owned| {
            let readout = plan.readouts()[owned.strip.readout];
            let latents = by_latent[readout.space].as_ref().expect("turned round for every space with a strip here");
            let raw = batch.raw[readout.site].0.as_ref().expect("activations of a place that is read travel");
            owned.sums.fold(ReadoutBatch { latents, raw, folds: &folds })
        })
    }

    /// Every state file that this worker reads, with the states in it, in their order.
    ///
    /// # Errors
    /// Those of `visit`, which end the walk.
    pub(super) fn each_file(
        &mut self,
        mut visit: impl FnMut(FileOf, &mut [&mut dyn State]) -> Result<()>,
    ) -> Result<()> {
        let file = |name: String, kind: &'static str, mine: bool| FileOf { name, kind, mine };
        visit(file("documents".to_string(), "documents", self.leads), &mut [&mut self.documents])?;
        for owned in &mut self.tiles {
            let file = file(self.plan.tile_name(owned.index), owned.sums.kind(), true);
            visit(file, &mut [&mut owned.sums])?;
        }
        for (s, sums) in self.sums.iter_mut().enumerate() {
            let owned = self.spaces.iter_mut().find(|owned| owned.index == s);
            let file = file(format!("space-{s:04}"), "space", owned.is_some());
            match owned {
                Some(owned) => visit(file, &mut [sums, &mut owned.profiles])?,
                None => visit(file, &mut [sums])?,
            }
        }
        for (s, sketch) in self.sketches.iter_mut().enumerate() {
            let mine = self.spaces.iter().any(|owned| owned.index == s);
            if let Some(sketch) = sketch {
                visit(file(format!("sketch-{s:04}"), "sketch", mine), &mut [sketch, &mut self.row_hash])?;
            }
        }
        if let Some(contexts) = &mut self.contexts {
            visit(file("contexts".to_string(), "contexts", true), &mut [contexts])?;
        }
        if let Some(alignment) = &mut self.alignment {
            visit(file("alignment".to_string(), "alignment", true), &mut [alignment])?;
        }
        self.beyond.each_file(self.leads, &mut visit)?;
        for (k, moments) in &mut self.moments {
            visit(file(format!("moments-{k:04}"), "moments", true), &mut [moments])?;
        }
        for OwnedCross { index, moment, .. } in &mut self.cross_moments {
            visit(file(format!("cross-moments-{index:04}"), "cross moments", true), &mut [moment])?;
        }
        for (k, moments) in &mut self.readout_moments {
            let name = self.plan.readout_moments_name(*k);
            visit(file(name, "readout moments", true), &mut [moments])?;
        }
        for (k, sums) in &mut self.stitches {
            visit(file(self.plan.stitch_name(*k), "stitch", true), &mut [sums])?;
        }
        for OwnedReadout { strip, sums } in &mut self.readouts {
            visit(file(self.plan.strip_name(strip), "readout", true), &mut [sums])?;
        }
        Ok(())
    }
}
