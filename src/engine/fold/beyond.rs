//! What one worker holds of listed partners, in addition to the sums that matches are made of: which earlier row each
//! row is compared with, what the latents were there, and the sums of the pairs that are listed.
//!
//! Every worker decides the partners of rows; of a space it remembers rows where it needs them, for its own pairs or because the space is its
//! own. A space's file is written by its owner.

use crate::engine::fold::file::FileOf;
use crate::engine::message::{EncodedBatch, Listing};
use crate::error::Result;
use crate::moments::{
    Accumulator, ByLatent, GivenSums, ListedBatch, ListedSide, ListedSums, Null, PartnerIndex, Partners, RowMemory,
    State, differences, groups_of_rows,
};
use crate::plan::Plan;
use crate::sae::LatentBatch;
use rayon::prelude::*;

/// What is held of listed partners.
#[derive(Debug)]
pub struct Beyond {
    /// Which row is each row's partner; `None` where rows have no partners.
    index: Option<PartnerIndex>,
    /// Remembered rows, `[n_spaces]`; `None` where they are not needed here.
    memories: Vec<Option<RowMemory>>,
    /// What tokens explain of the latents of own spaces, or of all where tiles need them, `[n_spaces]`.
    given: Vec<Option<GivenSums>>,
    /// Which spaces are the worker's own, `[n_spaces]`.
    owns: Vec<bool>,
    /// Own pairs: (index in the plan's list, sums), ascending.
    listed: Vec<(usize, ListedSums)>,
}

/// The rows that a batch's rows are compared with.
pub struct BesideGiven {
    partners: Partners,
    /// What each space's latents are there, `[n_spaces]`; a row without any where there is none.
    pub latents: Vec<LatentBatch>,
}

/// A batch's latents of one space in the forms that listed pairs are folded from.
struct Turned {
    own: ByLatent,
    partner: ByLatent,
    difference: ByLatent,
}

impl Beyond {
    /// Empty memory; `mine`: which spaces and pairs are the worker's own, by index.
    pub fn new(plan: &Plan, mine: impl Fn(usize) -> bool) -> Self {
        let lists = plan.spec().estimate.listed > 0;
        let index = plan.given_slots().map(|(key, n_slots)| PartnerIndex::new(key, n_slots));
        // a worker's tiles may be of any pair
        let full = plan.nulls().contains(&Null::Given);
        let own_pair = |p: usize| lists && mine(p);
        let needs = |s: usize| {
            let in_pair =
                |(p, pair): (usize, &crate::plan::Pair)| own_pair(p) && [pair.source, pair.target].contains(&s);
            full || mine(s) || plan.pairs().iter().enumerate().any(in_pair)
        };
        let spaces = || plan.spaces().iter().enumerate();
        let memory = |(s, width): (usize, usize)| {
            index.as_ref().filter(|_| needs(s)).map(|index| RowMemory::new(width, index.n_cells()))
        };
        Beyond {
            memories: spaces().map(|(s, space)| memory((s, space.width))).collect(),
            given: spaces()
                .map(|(s, space)| (index.is_some() && (full || mine(s))).then(|| GivenSums::new(space.width)))
                .collect(),
            listed: (plan.pairs().iter().enumerate())
                .filter(|(p, _)| own_pair(*p))
                .map(|(p, pair)| {
                    (p, ListedSums::new(plan.spaces()[pair.source].width, plan.spaces()[pair.target].width))
                })
                .collect(),
            owns: (0..plan.spaces().len()).map(mine).collect(),
            index,
        }
    }

    /// Lists these pairs of latents and no others.
    pub fn list(&mut self, listing: &Listing) {
        self.listed.par_iter_mut().for_each(|(p, sums)| sums.list(&listing[*p]));
    }

    /// What tokens explain of the latents of an own space.
    pub fn given(&self, space: usize) -> Option<&GivenSums> {
        self.given[space].as_ref()
    }

    /// Own pairs with their sums.
    pub fn listed(&self) -> impl Iterator<Item = (usize, &ListedSums)> {
        self.listed.iter().map(|(p, sums)| (*p, sums))
    }

    /// Which rows a batch's rows are compared with, and what the latents are there. Called once for each batch, in order.
    pub fn next(&mut self, batch: &EncodedBatch) -> BesideGiven {
        let n_rows = batch.tokens.n_rows();
        let partners = match &mut self.index {
            Some(index) => index.next(&batch.tokens, &batch.tokens.views[0]),
            None => Partners::none(n_rows),
        };
        let latents = (self.memories.par_iter_mut().zip(&batch.latents))
            .map(|(memory, own)| match memory {
                Some(memory) => memory.next(&partners, own),
                None => LatentBatch { d_sae: own.d_sae, row_starts: vec![0; n_rows + 1], ..LatentBatch::default() },
            })
            .collect();
        BesideGiven { partners, latents }
    }

    /// Adds a batch. `beside_given`: what [`next`](Self::next) gave for it.
    ///
    /// # Errors
    /// None but those of sums.
    pub fn fold(&mut self, plan: &Plan, batch: &EncodedBatch, beside_given: &BesideGiven) -> Result<()> {
        let n_rows = batch.tokens.n_rows();
        let BesideGiven { partners, latents } = beside_given;
        let listed = &self.listed;
        let in_listed = |s: usize| {
            let has = |p: usize| [plan.pairs()[p].source, plan.pairs()[p].target].contains(&s);
            listed.iter().any(|(p, sums)| !sums.is_empty() && has(*p))
        };
        let turned: Vec<Option<Turned>> = (self.given.par_iter_mut().zip(&batch.latents).zip(latents).enumerate())
            .map(|(s, ((given, own), partner))| {
                if let Some(given) = given {
                    given.fold((partners, own, partner))?;
                }
                Ok(in_listed(s).then(|| Turned {
                    own: ByLatent::new(own),
                    difference: ByLatent::new(&differences(own, partner, partners)),
                    partner: ByLatent::new(partner),
                }))
            })
            .collect::<Result<_>>()?;
        let groups = groups_of_rows(&batch.tokens);
        let given: Vec<bool> = partners.of_rows.iter().map(Option::is_some).collect();
        let mut beside = vec![0u32; n_rows];
        (0u32..).zip(Null::Rotated.order(n_rows)).for_each(|(source, target)| beside[target] = source);
        self.listed.par_iter_mut().try_for_each(|(p, sums)| {
            let pair = plan.pairs()[*p];
            let side = |s: usize| {
                turned[s].as_ref().map(|t| ListedSide { own: &t.own, partner: &t.partner, difference: &t.difference })
            };
            let (Some(source), Some(target)) = (side(pair.source), side(pair.target)) else { return Ok(()) };
            sums.fold(ListedBatch { sides: [source, target], groups: &groups, given: &given, beside: &beside })
        })
    }

    /// Every state file of it, as [`Fold::each_file`](super::Fold) has them; `leads`: what every worker holds is this one's to write.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(super) fn each_file(
        &mut self,
        leads: bool,
        mut visit: impl FnMut(FileOf, &mut [&mut dyn State]) -> Result<()>,
    ) -> Result<()> {
        if let Some(index) = &mut self.index {
            visit(FileOf { name: "partners".to_string(), kind: "partners", mine: leads }, &mut [index])?;
        }
        for (s, (memory, given)) in self.memories.iter_mut().zip(&mut self.given).enumerate() {
            let file = FileOf { name: format!("partner-rows-{s:04}"), kind: "partner rows", mine: self.owns[s] };
            match (memory, given) {
                (Some(memory), Some(given)) => visit(file, &mut [memory, given])?,
                (Some(memory), None) => visit(file, &mut [memory])?,
                (None, _) => {}
            }
        }
        for (p, sums) in &mut self.listed {
            visit(FileOf { name: format!("listed-{p:04}"), kind: "listed", mine: true }, &mut [sums])?;
        }
        Ok(())
    }
}
