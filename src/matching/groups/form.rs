//! From edges and components to groups: the form of each, the member that stands for a model, and their order.

use super::components::components;
use super::graph::{Edge, Node, Places};
use super::group::{Group, GroupKind, Member};
use super::split::split;
use crate::matching::Correlation;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The groups of `edges`: those of the most models first, of equals the one with the highest `min_correlation`, then
/// the lower members. `component` names the component of a node by one of its nodes; it may join nodes that no edge of
/// `edges` connects any more, which are then separated here.
pub fn groups(edges: Vec<Edge>, component: impl Fn(Node) -> Node, places: &Places) -> Vec<Group> {
    let compared = places.compared();
    let mut parts: BTreeMap<Node, Vec<Edge>> = BTreeMap::new();
    for edge in edges {
        debug_assert_eq!(component(edge.ends[0]), component(edge.ends[1]), "{edge:?} lies in one component");
        parts.entry(component(edge.ends[0])).or_default().push(edge);
    }
    let mut out: Vec<Group> = Vec::new();
    for part in parts.into_values() {
        let mut within = Vec::new();
        connected(part, &mut within);
        for mut edges in within {
            edges.sort_unstable();
            edges.dedup_by_key(|e| e.ends);
            if holds_a_place_twice(&edges) {
                out.extend(split(&edges, &compared).into_iter().map(|piece| group(&piece, true, places, &compared)));
            } else {
                out.push(group(&edges, false, places, &compared));
            }
        }
    }
    let nodes = |g: &Group| g.members.iter().map(|m| m.node).collect::<Vec<Node>>();
    out.sort_by_cached_key(|g| (Reverse(g.models), Reverse(Correlation::new(g.min_correlation)), nodes(g)));
    out
}

/// The connected parts of `edges`.
fn connected(edges: Vec<Edge>, out: &mut Vec<Vec<Edge>>) {
    if edges.len() == 1 {
        return out.push(edges);
    }
    let root = components(edges.iter().map(|e| e.ends));
    let mut parts: BTreeMap<Node, Vec<Edge>> = BTreeMap::new();
    edges.into_iter().for_each(|edge| parts.entry(root[&edge.ends[0]]).or_default().push(edge));
    out.extend(parts.into_values());
}

fn holds_a_place_twice(edges: &[Edge]) -> bool {
    let nodes: BTreeSet<Node> = edges.iter().flat_map(|e| e.ends).collect();
    nodes.iter().zip(nodes.iter().skip(1)).any(|(a, b)| a.place == b.place)
}

/// The group of connected edges in which no place has two nodes.
fn group(edges: &[Edge], was_cut: bool, places: &Places, compared: &BTreeSet<[u32; 2]>) -> Group {
    let nodes: BTreeSet<Node> = edges.iter().flat_map(|e| e.ends).collect();
    let models: BTreeSet<u32> = nodes.iter().map(|n| places.model_of[n.place as usize]).collect();
    let party = |place: u32| if models.len() > 1 { places.model_of[place as usize] } else { place };
    let between = |a: u32, b: u32| {
        let (a, b) = (party(a), party(b));
        (a != b).then(|| [a.min(b), a.max(b)])
    };
    let mut highest: BTreeMap<[u32; 2], Edge> = BTreeMap::new();
    let mut degree: BTreeMap<Node, u32> = BTreeMap::new();
    let mut to_others: BTreeMap<Node, f64> = nodes.iter().map(|n| (*n, 0.0)).collect();
    for edge @ Edge { ends, correlation } in edges {
        ends.iter().for_each(|end| *degree.entry(*end).or_default() += 1);
        if let Some(parties) = between(ends[0].place, ends[1].place) {
            let highest = highest.entry(parties).or_insert(*edge);
            if *correlation > highest.correlation {
                *highest = *edge;
            }
            ends.iter().for_each(|end| *to_others.entry(*end).or_default() += correlation.value());
        }
    }
    let counted: Vec<Edge> = highest.into_values().collect();
    let mut best: BTreeMap<u32, Node> = BTreeMap::new();
    for node in &nodes {
        let place = best.entry(party(node.place)).or_insert(*node);
        if to_others[node] > to_others[place] {
            *place = *node;
        }
    }
    let there: Vec<u32> = nodes.iter().map(|n| n.place).collect();
    let possible: BTreeSet<[u32; 2]> = (there.iter().enumerate())
        .flat_map(|(k, a)| there[k + 1..].iter().map(move |b| [*a, *b]))
        .filter(|pair| compared.contains(pair))
        .filter_map(|[a, b]| between(a, b))
        .collect();
    let mut group = Group {
        kind: GroupKind::Chain,
        members: (nodes.iter())
            .map(|n| Member { node: *n, degree: degree[n], best: best[&party(n.place)] == *n })
            .collect(),
        models: models.len() as u32,
        edges: counted.len() as u32,
        edges_possible: possible.len() as u32,
        min_correlation: counted.iter().map(|e| e.correlation).min().map_or(0.0, Correlation::value),
        mean_correlation: counted.iter().map(|e| e.correlation.value()).sum::<f64>() / counted.len().max(1) as f64,
        counted,
    };
    group.kind = match (was_cut, group.is_complete()) {
        (true, _) => GroupKind::Conflict,
        (false, true) => GroupKind::Clique,
        (false, false) => GroupKind::Chain,
    };
    group
}
