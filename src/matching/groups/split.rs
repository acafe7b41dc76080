//! A component with two latents of one place, cut into pieces that agree: latents of different places, connected, and each two of them
//! joined where their places are compared. Where all places are compared with each other these are cliques. The piece with the
//! largest sum of correlations is taken, then of what is left the next, until no edge is left. Latents that are left without an
//! edge are in no group.
//!
//! Up to [`EXACT_NODES`] nodes every piece is looked at, ties to more nodes and then to the lowest. Beyond, a piece begins with the
//! highest edge that is left and takes in, one after the other, the node that fits and adds most (ties: the lower).

use super::graph::{Edge, Node};
use crate::matching::Correlation;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes up to which all pieces are looked at.
const EXACT_NODES: usize = 12;

/// The edges of each piece, in the order in which they are taken. `compared`: places, the lower first.
pub(super) fn split(edges: &[Edge], compared: &BTreeSet<[u32; 2]>) -> Vec<Vec<Edge>> {
    let graph = Graph::new(edges, compared);
    let mut free: BTreeSet<Node> = graph.around.keys().copied().collect();
    let mut out = Vec::new();
    if free.len() <= EXACT_NODES {
        while let Some(piece) = graph.best_piece(&free) {
            free.retain(|node| !piece.contains(node));
            out.push(graph.inside(&piece));
        }
    } else {
        let mut order: Vec<&Edge> = edges.iter().collect();
        order.sort_by_key(|e| (Reverse(e.correlation), e.ends));
        for edge in order {
            if !edge.ends.iter().all(|node| free.contains(node)) {
                continue;
            }
            let mut piece = edge.ends.to_vec();
            while let Some(node) = graph.best_addition(&piece, &free) {
                piece.push(node);
            }
            for node in &piece {
                free.remove(node);
            }
            out.push(graph.inside(&piece));
        }
    }
    out
}

struct Graph<'a> {
    around: BTreeMap<Node, BTreeMap<Node, Correlation>>,
    compared: &'a BTreeSet<[u32; 2]>,
}

impl Graph<'_> {
    fn new<'a>(edges: &[Edge], compared: &'a BTreeSet<[u32; 2]>) -> Graph<'a> {
        let mut around: BTreeMap<Node, BTreeMap<Node, Correlation>> = BTreeMap::new();
        for Edge { ends: [a, b], correlation } in edges {
            around.entry(*a).or_default().insert(*b, *correlation);
            around.entry(*b).or_default().insert(*a, *correlation);
        }
        Graph { around, compared }
    }

    fn edge(&self, a: Node, b: Node) -> Option<Correlation> {
        self.around[&a].get(&b).copied()
    }

    /// What `node` adds to a piece: the sum of its edges to it; `None` where it does not fit.
    fn added(&self, piece: &[Node], node: Node) -> Option<f64> {
        let mut sum = 0.0;
        for &other in piece {
            match self.edge(node, other) {
                Some(r) => sum += r.value(),
                None if node.place == other.place => return None,
                None if self.compared.contains(&[node.place.min(other.place), node.place.max(other.place)]) => {
                    return None;
                }
                None => {}
            }
        }
        Some(sum)
    }

    /// The edges between these nodes.
    fn inside(&self, nodes: &[Node]) -> Vec<Edge> {
        let mut nodes = nodes.to_vec();
        nodes.sort_unstable();
        let pairs = nodes.iter().enumerate().flat_map(|(k, a)| nodes[k + 1..].iter().map(move |b| (*a, *b)));
        pairs.filter_map(|(a, b)| Some(Edge::new(a, b, self.edge(a, b)?))).collect()
    }

    /// The free node that fits into `piece` and adds most.
    fn best_addition(&self, piece: &[Node], free: &BTreeSet<Node>) -> Option<Node> {
        let around: BTreeSet<Node> = piece.iter().flat_map(|node| self.around[node].keys().copied()).collect();
        let fitting = around.into_iter().filter(|node| free.contains(node) && !piece.contains(node));
        let sums = fitting.filter_map(|node| Some((self.added(piece, node)?, node))).filter(|(sum, _)| *sum > 0.0);
        sums.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, node)| node)
    }

    /// The piece of the largest sum among the free nodes; `None` where they have no edge.
    fn best_piece(&self, free: &BTreeSet<Node>) -> Option<Vec<Node>> {
        let mut best: Option<(f64, Vec<Node>)> = None;
        for &node in free {
            self.grow(&mut vec![node], 0.0, free, &mut best);
        }
        best.map(|(_, piece)| piece)
    }

    /// Looks at `piece`, whose nodes ascend, and at everything that higher nodes make of it.
    fn grow(&self, piece: &mut Vec<Node>, sum: f64, free: &BTreeSet<Node>, best: &mut Option<(f64, Vec<Node>)>) {
        let is_better = |(other, nodes): &(f64, Vec<Node>)| {
            sum.total_cmp(other).then(piece.len().cmp(&nodes.len())).then_with(|| nodes.as_slice().cmp(piece)).is_gt()
        };
        if best.as_ref().is_none_or(is_better) && self.is_connected(piece) {
            *best = Some((sum, piece.clone()));
        }
        let last = *piece.last().expect("a piece begins with a node");
        for &node in free.range(last..).skip(1) {
            if let Some(added) = self.added(piece, node) {
                piece.push(node);
                self.grow(piece, sum + added, free, best);
                piece.pop();
            }
        }
    }

    /// Whether edges lead from the first of at least two nodes to all others.
    fn is_connected(&self, nodes: &[Node]) -> bool {
        let mut reached = vec![nodes[0]];
        let mut next = 0;
        while next < reached.len() {
            let around = &self.around[&reached[next]];
            let more: Vec<Node> =
                nodes.iter().filter(|n| around.contains_key(n) && !reached.contains(n)).copied().collect();
            reached.extend(more);
            next += 1;
        }
        nodes.len() > 1 && reached.len() == nodes.len()
    }
}
