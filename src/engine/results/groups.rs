//! Groups of latents over several places, and the same by chance: kept mutual matches in, rows of
//! `groups`, `group_sizes` and `cycles` out. A run that compares fewer than three places has none.

use crate::engine::message::{SpaceSnapshot, Spaces};
use crate::engine::results::judged::{Results, View, side};
use crate::engine::results::match_graph::{ByChance, MatchGraph};
use crate::matching::groups::{Cycle, Edge, Group, Node, components, cycles, groups};
use crate::matching::{Correlation, Direction, TOP_STRINGS};
use crate::spec::Pairing;
use crate::table::{CycleRow, GroupRow, GroupSizeRow, Missing, ReadoutNumbers, ReadoutRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows of the three tables.
pub struct GroupTables {
    pub rows: Vec<GroupRow>,
    pub sizes: Vec<GroupSizeRow>,
    pub cycles: Vec<CycleRow>,
}

impl Results {
    /// What the tables of groups hold, to be asked for when matches are judged; `None` where the run makes no groups.
    /// `readout`: rows of that table, sorted; none where nothing was read out.
    pub fn groups(&self, spaces: &Spaces, readout: &[ReadoutRow]) -> Option<GroupTables> {
        let graph = self.graph.as_ref()?;
        let edges = self.edges(graph);
        let lowest = components(edges.iter().map(|e| e.ends));
        let found = groups(edges, |node| lowest[&node], &graph.places);
        let by_chance: Option<Vec<&ByChance>> = self.counts.iter().map(|c| c.graph.as_ref()).collect();
        let null = by_chance.as_ref().map(|pairs| {
            let edge = |p: usize, &(source, target, r): &(u32, u32, Correlation)| {
                graph.edge(p as u32, source, target).map(|[a, b]| Edge::new(a, b, r))
            };
            let edges: Vec<Edge> =
                pairs.iter().enumerate().flat_map(|(p, of)| of.edges.iter().filter_map(move |e| edge(p, e))).collect();
            let lowest = components(edges.iter().map(|e| e.ends));
            groups(edges, |node| lowest[&node], &graph.places)
        });
        let best: Vec<[Vec<Option<u32>>; 2]> = self.views.iter().map(|views| views.each_ref().map(firsts)).collect();
        let best_null: Option<Vec<[Vec<Option<u32>>; 2]>> =
            by_chance.map(|pairs| pairs.iter().map(|of| of.best.clone()).collect());
        Some(GroupTables {
            rows: self.group_rows(&found, spaces, &self.read_out(readout)),
            sizes: sizes(&found, null.as_deref()),
            cycles: self.cycle_rows(&cycles(&graph.places, &best), best_null.map(|b| cycles(&graph.places, &b))),
        })
    }

    /// Kept mutual matches of all pairs.
    fn edges(&self, graph: &MatchGraph) -> Vec<Edge> {
        let mut out = Vec::new();
        for (p, views) in self.views.iter().enumerate() {
            for (source, target) in self.kept(p, Pairing::Mutual) {
                let partner = views[0].best[source][0].expect("a kept match has a partner");
                let ends = graph.edge(p as u32, source as u32, target as u32);
                out.extend(ends.map(|[a, b]| Edge::new(a, b, partner.correlation)));
            }
        }
        out
    }

    /// Rows of `readout` by pair and side that picks.
    fn read_out<'a>(&self, readout: &'a [ReadoutRow]) -> BTreeMap<(usize, usize), &'a [ReadoutRow]> {
        let pairs: Vec<crate::table::SitePair> = (0..self.plan.pairs().len()).map(|p| self.table_pair(p)).collect();
        (readout.chunk_by(|a, b| a.direction == b.direction && a.pair == b.pair))
            .filter_map(|rows| {
                let p = pairs.iter().position(|pair| *pair == *rows[0].pair)?;
                Some(((p, side(rows[0].direction)), rows))
            })
            .collect()
    }

    fn group_rows(
        &self,
        found: &[Group],
        spaces: &Spaces,
        readout: &BTreeMap<(usize, usize), &[ReadoutRow]>,
    ) -> Vec<GroupRow> {
        let sites: Vec<Arc<crate::ids::Site>> = self.plan.spaces().iter().map(|s| Arc::new(s.site.clone())).collect();
        let mut out = Vec::new();
        for (group, number) in found.iter().zip(1..) {
            let (missing, min_within) = (self.missing(group, readout), self.min_within(group));
            for member in &group.members {
                let Node { place, latent } = member.node;
                let known = &spaces[&(place as usize)];
                out.push(GroupRow {
                    group: number,
                    size: group.members.len() as u32,
                    models: group.models,
                    kind: group.kind,
                    edges: group.edges,
                    edges_possible: group.edges_possible,
                    min_correlation: group.min_correlation,
                    mean_correlation: group.mean_correlation,
                    min_within,
                    site: sites[place as usize].clone(),
                    latent,
                    frequency: known.sums.n_active[latent as usize] as f64 / known.sums.n_rows.max(1) as f64,
                    degree: member.degree,
                    best: member.best,
                    top: self.strongest(known, latent as usize),
                    missing: missing.clone(),
                });
            }
        }
        out
    }

    /// The latent's first few different strongest tokens.
    fn strongest(&self, known: &SpaceSnapshot, latent: usize) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for token in &known.top[latent] {
            let text = self.plan.tokenizer_of(known.space).token_text(token.token());
            if out.len() < TOP_STRINGS && !out.contains(&text) {
                out.push(text);
            }
        }
        out
    }

    /// Lowest correlation given the token over a group's counted edges; `None` where one of them has none.
    fn min_within(&self, group: &Group) -> Option<f64> {
        let of_edge = |edge: &Edge| -> Option<f64> {
            let [a, b] = edge.ends;
            let places = |source: &Node, target: &Node| {
                self.plan
                    .pairs()
                    .iter()
                    .position(|p| [p.source as u32, p.target as u32] == [source.place, target.place])
            };
            let listed = match places(&a, &b) {
                Some(p) => self.listed(p, (a.latent, b.latent)),
                None => self.listed(places(&b, &a)?, (b.latent, a.latent)),
            };
            listed?.within_correlation
        };
        let all = group.counted.iter().map(of_edge).collect::<Option<Vec<f64>>>()?;
        all.into_iter().reduce(f64::min)
    }

    /// Models that are not in a group, each with its latent that some member picks at the highest correlation, and with the highest R² at
    /// which a member is read out of its activations.
    fn missing(&self, group: &Group, readout: &BTreeMap<(usize, usize), &[ReadoutRow]>) -> Vec<Missing> {
        let spaces = self.plan.spaces();
        let model = |place: usize| spaces[place].site.model.as_str();
        let there: BTreeSet<&str> = group.members.iter().map(|m| model(m.node.place as usize)).collect();
        let mut closest: BTreeMap<&str, Option<(Correlation, usize, u32)>> =
            spaces.iter().map(|s| (s.site.model.as_str(), None)).filter(|(name, _)| !there.contains(name)).collect();
        let mut best_read: BTreeMap<&str, ReadoutNumbers> = BTreeMap::new();
        for (p, (pair, views)) in self.plan.pairs().iter().zip(&self.views).enumerate() {
            let sides =
                [(pair.source, pair.target, Direction::Forward), (pair.target, pair.source, Direction::Backward)];
            for (own, other, direction) in sides {
                let Some(best) = closest.get_mut(model(other)) else { continue };
                let read = readout.get(&(p, side(direction)));
                for member in group.members.iter().filter(|m| m.node.place as usize == own) {
                    if let Some(found) = read.map(|rows| rows[member.node.latent as usize].found) {
                        let best = best_read.entry(model(other)).or_default();
                        if found.r_squared.is_some_and(|r2| best.r_squared.is_none_or(|best| r2 > best)) {
                            *best = found;
                        }
                    }
                    let view: &View = &views[side(direction)];
                    let Some(partner) = view.best[member.node.latent as usize][0] else { continue };
                    if best.is_none_or(|(r, ..)| partner.correlation > r) {
                        *best = Some((partner.correlation, other, partner.latent));
                    }
                }
            }
        }
        (closest.into_iter())
            .map(|(model, best)| Missing {
                model: model.to_string(),
                hookpoint: best.map(|(_, place, _)| spaces[place].site.place()),
                latent: best.map(|(.., latent)| latent),
                correlation: best.map(|(r, ..)| r.value()),
                readout_r2: best_read.get(model).and_then(|of| of.r_squared),
                readout_point: best_read.get(model).and_then(|of| of.r_squared.and(of.chance_point)),
            })
            .collect()
    }

    fn cycle_rows(&self, found: &BTreeMap<[u32; 3], Cycle>, null: Option<BTreeMap<[u32; 3], Cycle>>) -> Vec<CycleRow> {
        let site = |place: u32| Arc::new(self.plan.spaces()[place as usize].site.clone());
        let row = |(triple, cycle): (&[u32; 3], &Cycle)| {
            let by_chance = null.as_ref().map(|null| null[triple]);
            CycleRow {
                sites: triple.map(site),
                latents: cycle.latents,
                returned: cycle.returned,
                null_latents: by_chance.map(|c| c.latents),
                null_returned: by_chance.map(|c| c.returned),
            }
        };
        found.iter().map(row).collect()
    }
}

/// The best partner of each latent.
fn firsts(view: &View) -> Vec<Option<u32>> {
    view.best.iter().map(|ranks| ranks[0].map(|p| p.latent)).collect()
}

/// Groups by models and places, the largest first; every size that is there or is there by chance.
fn sizes(found: &[Group], null: Option<&[Group]>) -> Vec<GroupSizeRow> {
    // groups, and those that are complete, of the real graph and of the one by chance
    let mut counts: BTreeMap<(u32, u32), [[u64; 2]; 2]> = BTreeMap::new();
    for (k, groups) in [Some(found), null].into_iter().enumerate() {
        for group in groups.unwrap_or_default() {
            let [all, complete] = &mut counts.entry((group.models, group.members.len() as u32)).or_default()[k];
            *all += 1;
            *complete += u64::from(group.is_complete());
        }
    }
    (counts.into_iter().rev())
        .map(|((models, places), [here, by_chance])| GroupSizeRow {
            models,
            places,
            groups: here[0],
            null_groups: null.map(|_| by_chance[0]),
            complete: here[1],
            null_complete: null.map(|_| by_chance[1]),
        })
        .collect()
}
