//! Which matches are edges of the graph that groups are made of? Those of the views, by a plan's places, and those by chance.

use crate::matching::groups::{MIN_PLACES, Node, Places};
use crate::matching::{Correlation, Outcome, Partner, kept};
use crate::plan::Plan;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The graph whose nodes are latents of places, and whose edges are mutual matches.
#[derive(Clone, Debug)]
pub struct MatchGraph {
    /// The places and how they are compared.
    pub places: Arc<Places>,
}

impl MatchGraph {
    /// Of a plan; `None` where it compares fewer than [`MIN_PLACES`].
    pub fn of(plan: &Plan) -> Option<MatchGraph> {
        let models: Vec<&str> = plan.spaces().iter().map(|s| s.site.model.as_str()).collect();
        let names: BTreeSet<&str> = models.iter().copied().collect();
        let model_of = models.iter().map(|m| names.range(..*m).count() as u32).collect();
        let pairs = plan.pairs().iter().map(|p| [p.source as u32, p.target as u32]).collect();
        let places = Arc::new(Places { model_of, pairs });
        (plan.spaces().len() >= MIN_PLACES).then_some(MatchGraph { places })
    }

    /// The two ends of a match of pair `pair`; `None` where both sides are one place.
    pub fn edge(&self, pair: u32, source: u32, target: u32) -> Option<[Node; 2]> {
        let [a, b] = self.places.joined(pair as usize)?;
        Some([Node { place: a, latent: source }, Node { place: b, latent: target }])
    }
}

/// What the graph by chance needs of a pair.
#[derive(Clone, Debug, Default)]
pub struct ByChance {
    /// Mutual matches by chance that the filters keep: source, target, correlation.
    pub edges: Vec<(u32, u32, Correlation)>,
    /// The best partner by chance, of each latent of the source and of the target.
    pub best: [Vec<Option<u32>>; 2],
}

impl ByChance {
    /// Of a pair's best partners by chance, and the outcomes of those in which the source picks.
    pub fn new(partners: &[Vec<Vec<Partner>>; 2], forward: &[Vec<Outcome>]) -> ByChance {
        let best = partners.each_ref().map(|side| side.iter().map(|p| p.first().map(|p| p.latent)).collect::<Vec<_>>());
        let edge = |(i, listed): (usize, &Vec<Partner>)| {
            let (_, partner) = kept(&forward[i], listed)?;
            let first = best[0][i] == Some(partner.latent);
            let back = best[1][partner.latent as usize] == Some(i as u32);
            (first && back).then_some((i as u32, partner.latent, partner.correlation))
        };
        let edges = partners[0].iter().enumerate().filter_map(edge).collect();
        ByChance { edges, best }
    }
}
