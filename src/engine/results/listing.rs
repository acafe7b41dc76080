//! For which pairs of latents are more sums kept? For the best partners of every latent, either way, as the views have
//! them at some moment. What is listed is counted from the next batch on; the list is kept over checkpoints.

use crate::engine::message::Listing;
use crate::engine::results::judged::{Results, View};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::store::{StateLayout, StateReader, StateWriter};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is listed at present.
pub struct Listed {
    now: Arc<Listing>,
}

impl Listed {
    /// Nothing is.
    pub fn new(n_pairs: usize) -> Self {
        Listed { now: Arc::new(vec![Vec::new(); n_pairs]) }
    }

    /// As it is now, where anything is.
    pub fn now(&self) -> Option<Arc<Listing>> {
        self.now.iter().any(|pairs| !pairs.is_empty()).then(|| self.now.clone())
    }

    /// Lists the best partners that `results` hold. A pair that was listed stays for as long as room is left, so that two partners that
    /// change places are not restarted each time; what is listed does not depend on how many partners tables show.
    pub fn choose(&mut self, results: &Results, plan: &Plan) -> Arc<Listing> {
        let chosen = (plan.pairs().iter().enumerate()).map(|(p, pair)| {
            let most = plan.most_listed(*pair) as usize;
            let of_ranks = |ranks: usize| -> BTreeSet<(u32, u32)> {
                let [forward, backward] = &results.views[p];
                let of = |view: &View, turn: bool| -> Vec<(u32, u32)> {
                    let each = (0u32..).zip(&view.best).flat_map(|(latent, best)| {
                        best.iter().take(ranks).map_while(|p| *p).map(move |p| (latent, p.latent))
                    });
                    each.map(|(a, b)| if turn { (b, a) } else { (a, b) }).collect()
                };
                of(forward, false).into_iter().chain(of(backward, true)).collect()
            };
            let mut listed = of_ranks(plan.spec().estimate.listed);
            for pair in &self.now[p] {
                if listed.len() == most {
                    break;
                }
                listed.insert(*pair);
            }
            listed.into_iter().collect()
        });
        self.now = Arc::new(chosen.collect());
        self.now.clone()
    }

    /// Its tensors, behind those of a layout.
    pub fn lay_out(&self, layout: StateLayout) -> StateLayout {
        (self.now.iter().enumerate())
            .fold(layout, |layout, (p, pairs)| layout.tensor::<u32>(&format!("listed.{p}"), &[pairs.len(), 2]))
    }

    /// Writes them.
    ///
    /// # Errors
    /// `Machine` when the disk refuses.
    pub fn save(&self, file: &mut StateWriter) -> Result<()> {
        self.now.iter().enumerate().try_for_each(|(p, pairs)| {
            let flat: Vec<u32> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
            file.put(&format!("listed.{p}"), &flat)
        })
    }

    /// Reads back what a checkpoint holds of it.
    ///
    /// # Errors
    /// `State` when the file is not what the plan expects.
    pub fn restore(&mut self, file: &mut StateReader, plan: &Plan) -> Result<()> {
        let mut now = Vec::new();
        for (p, pair) in plan.pairs().iter().enumerate() {
            let flat: Vec<u32> = file.tensor(&format!("listed.{p}"))?;
            let pairs: Vec<(u32, u32)> = flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            let widths = [pair.source, pair.target].map(|s| plan.spaces()[s].width);
            let inside = pairs.iter().all(|&(a, b)| (a as usize) < widths[0] && (b as usize) < widths[1]);
            if !inside || !pairs.is_sorted_by(|a, b| a < b) {
                return Err(Error::state(format!("the checkpoint lists pairs of latents that pair {p} does not have")));
            }
            now.push(pairs);
        }
        self.now = Arc::new(now);
        Ok(())
    }
}
