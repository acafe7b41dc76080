//! Groups against plain ones, laws that they keep, and how many there are by chance.

use super::*;
use crate::linalg::Stream;
use crate::matching::{BestPartners, Correlation, Partner};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn node(place: u32, latent: u32) -> Node {
    Node { place, latent }
}

fn edge(a: (u32, u32), b: (u32, u32), r: f64) -> Edge {
    Edge::new(node(a.0, a.1), node(b.0, b.1), Correlation::new(r).unwrap())
}

/// Every place with every other, a model each.
fn all_of(n: u32) -> Places {
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| [a, b])).collect();
    Places { model_of: (0..n).collect(), pairs }
}

fn found(edges: &[Edge], places: &Places) -> Vec<Group> {
    let lowest = components(edges.iter().map(|e| e.ends));
    groups(edges.to_vec(), |n| lowest[&n], places)
}

/// Kind, members, edges, possible edges, lowest and mean correlation.
fn told(g: &Group) -> (&'static str, Vec<(u32, u32)>, u32, u32, f64, f64) {
    let members = g.members.iter().map(|m| (m.node.place, m.node.latent)).collect();
    (g.kind.as_str(), members, g.edges, g.edges_possible, g.min_correlation, g.mean_correlation)
}

#[test]
fn a_clique_a_chain_and_a_conflict() {
    let places = all_of(3);
    let clique = [edge((0, 5), (1, 6), 0.9), edge((1, 6), (2, 7), 0.5), edge((0, 5), (2, 7), 0.7)];
    let chain = [edge((0, 1), (1, 1), 0.75), edge((1, 1), (2, 1), 0.25)];
    // 0/2 - 1/2 - 2/2 - 0/3: two latents of place 0
    let conflict = [edge((0, 2), (1, 2), 0.5), edge((1, 2), (2, 2), 0.75), edge((2, 2), (0, 3), 0.625)];
    let got = found(&[&clique[..], &chain[..], &conflict[..]].concat(), &places);
    let got: Vec<_> = got.iter().map(told).collect();
    assert_eq!(
        got,
        [
            ("clique", vec![(0, 5), (1, 6), (2, 7)], 3, 3, 0.5, (0.9 + 0.7 + 0.5) / 3.0),
            ("chain", vec![(0, 1), (1, 1), (2, 1)], 2, 3, 0.25, 0.5),
            // the highest edge of the conflict; nothing is left beside it
            ("conflict", vec![(1, 2), (2, 2)], 1, 1, 0.75, 0.75),
        ]
    );
}

#[test]
fn a_star_is_no_clique_where_two_places_are_not_compared() {
    let places = Places { pairs: vec![[0, 1], [2, 0]], ..all_of(3) };
    let got = found(&[edge((0, 0), (1, 0), 0.5), edge((0, 0), (2, 0), 0.5)], &places);
    assert_eq!(told(&got[0]), ("chain", vec![(0, 0), (1, 0), (2, 0)], 2, 2, 0.5, 0.5));
    assert!(!got[0].is_complete());
}

#[test]
fn a_model_has_what_any_of_its_places_has_and_the_best_stands_for_it() {
    // model 0 at places 0 and 1, model 1 at 2, model 2 at 3
    let places = Places { model_of: vec![0, 0, 1, 2], pairs: vec![[0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] };
    let edges = [edge((0, 1), (2, 1), 0.5), edge((1, 9), (3, 1), 0.75), edge((2, 1), (3, 1), 0.25)];
    let got = found(&edges, &places);
    assert_eq!(told(&got[0]), ("clique", vec![(0, 1), (1, 9), (2, 1), (3, 1)], 3, 3, 0.25, 0.5));
    assert_eq!(got[0].models, 3);
    assert_eq!(got[0].members.iter().map(|m| m.best).collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(got[0].members.iter().map(|m| m.degree).collect::<Vec<_>>(), [1, 1, 2, 2]);
    // the better of two edges between the same models counts
    let got = found(&[edge((0, 1), (2, 1), 0.5), edge((1, 9), (2, 1), 0.75)], &places);
    assert_eq!(told(&got[0]), ("clique", vec![(0, 1), (1, 9), (2, 1)], 1, 1, 0.75, 0.75));
}

#[test]
fn pieces_of_a_conflict_keep_places_that_are_not_compared() {
    // models 0 and 1 with two places each, compared across models
    let places = Places { model_of: vec![0, 0, 1, 1], pairs: vec![[0, 2], [0, 3], [1, 2], [1, 3]] };
    let whole =
        [edge((0, 1), (2, 1), 0.5), edge((0, 1), (3, 1), 0.5), edge((1, 1), (2, 1), 0.5), edge((1, 1), (3, 1), 0.5)];
    // second latents of places 0 and 3, joined to the others through place 1
    let more = [edge((0, 2), (3, 2), 0.75), edge((1, 1), (3, 2), 0.375)];
    let cut: Vec<Edge> = [&whole[..3], &more[..]].concat();
    let got: Vec<_> = found(&cut, &places).iter().map(told).collect();
    assert_eq!(
        got,
        [
            ("conflict", vec![(0, 2), (1, 1), (3, 2)], 1, 1, 0.75, 0.75),
            ("conflict", vec![(0, 1), (2, 1), (3, 1)], 1, 1, 0.5, 0.5),
        ]
    );
    let got: Vec<_> = found(&whole, &places).iter().map(told).collect();
    assert_eq!(got, [("clique", vec![(0, 1), (1, 1), (2, 1), (3, 1)], 1, 1, 0.5, 0.5)]);
}

#[test]
fn places_of_one_model_are_counted_as_places() {
    let places = Places { model_of: vec![0; 3], ..all_of(3) };
    let got = found(&[edge((0, 1), (1, 1), 0.5), edge((1, 1), (2, 1), 0.75)], &places);
    assert_eq!((got[0].models, told(&got[0])), (1, ("chain", vec![(0, 1), (1, 1), (2, 1)], 2, 3, 0.5, 0.625)));
    assert!(got[0].members.iter().all(|m| m.best));
}

#[test]
fn dictionaries_that_are_the_same_make_a_clique_of_every_latent() {
    for n in [3u32, 4, 6] {
        let places = all_of(n);
        let edges: Vec<Edge> =
            (0..50).flat_map(|i| places.pairs.iter().map(move |&[a, b]| edge((a, i), (b, i), 1.0))).collect();
        let got = found(&edges, &places);
        assert_eq!(got.len(), 50);
        assert!(got.iter().all(|g| g.kind == GroupKind::Clique && g.models == n && g.min_correlation == 1.0));
        let back = vec![[(0..50).map(Some).collect::<Vec<_>>(), (0..50).map(Some).collect()]; places.pairs.len()];
        let round = cycles(&places, &back);
        assert_eq!(round.len() as u32, n * (n - 1) * (n - 2) / 3, "both ways round each three places");
        assert!(round.values().all(|c| *c == Cycle { latents: 50, returned: 50 }));
    }
}

/// Components by spreading the lowest label until nothing changes.
fn spread(edges: &[[Node; 2]]) -> BTreeMap<Node, Node> {
    let mut label: BTreeMap<Node, Node> = edges.iter().flatten().map(|n| (*n, *n)).collect();
    loop {
        let before = label.clone();
        for [a, b] in edges {
            let lowest = label[a].min(label[b]);
            label.insert(*a, lowest);
            label.insert(*b, lowest);
        }
        if label == before {
            return label;
        }
    }
}

/// Whether nodes of different places are connected, each two of compared places by an edge.
fn agrees(nodes: &[Node], inside: &[Edge], compared: &BTreeSet<[u32; 2]>) -> bool {
    let pairs = nodes.iter().enumerate().flat_map(|(k, a)| nodes[k + 1..].iter().map(move |b| [*a, *b]));
    let joined = |ends: [Node; 2]| inside.iter().any(|e| e.ends == ends);
    let fit =
        pairs.clone().all(|[a, b]| a.place != b.place && (!compared.contains(&[a.place, b.place]) || joined([a, b])));
    let label = spread(&inside.iter().map(|e| e.ends).collect::<Vec<_>>());
    fit && label.len() == nodes.len() && label.values().collect::<BTreeSet<_>>().len() == 1
}

/// The piece of the largest sum by looking at every set of nodes, then of what is left, and so on.
fn split_plainly(edges: &[Edge], compared: &BTreeSet<[u32; 2]>) -> Vec<Vec<Edge>> {
    let mut left: Vec<Edge> = edges.to_vec();
    let mut out = Vec::new();
    while !left.is_empty() {
        let nodes: Vec<Node> = left.iter().flat_map(|e| e.ends).collect::<BTreeSet<_>>().into_iter().collect();
        let sets = (1u32..1 << nodes.len()).map(|bits| {
            let chosen: Vec<Node> = (0..nodes.len()).filter(|k| bits >> k & 1 == 1).map(|k| nodes[k]).collect();
            let inside: Vec<Edge> =
                left.iter().filter(|e| e.ends.iter().all(|n| chosen.contains(n))).copied().collect();
            (chosen, inside)
        });
        let pieces = sets.filter(|(nodes, inside)| agrees(nodes, inside, compared));
        let sum = |inside: &[Edge]| inside.iter().map(|e| e.correlation.value()).sum::<f64>();
        let better = |a: &(Vec<Node>, Vec<Edge>), b: &(Vec<Node>, Vec<Edge>)| {
            sum(&a.1).total_cmp(&sum(&b.1)).then(a.0.len().cmp(&b.0.len())).then_with(|| b.0.cmp(&a.0))
        };
        let (chosen, inside) = pieces.max_by(better).unwrap();
        left.retain(|e| !e.ends.iter().any(|n| chosen.contains(n)));
        out.push(inside);
    }
    out
}

/// Mutual matches of places with few latents: for each two places a partial matching, correlations in sixteenths (their sums are exact).
fn matchings(n_places: u32, n_latents: u32) -> impl Strategy<Value = Vec<Edge>> {
    let pairs: Vec<[u32; 2]> = all_of(n_places).pairs;
    let one = (
        Just((0..n_latents).collect::<Vec<u32>>()).prop_shuffle(),
        prop::collection::vec((0u8..3, 1u8..16), n_latents as usize),
    );
    prop::collection::vec(one, pairs.len()).prop_map(move |all| {
        let of = |([a, b], (order, there)): (&[u32; 2], (Vec<u32>, Vec<(u8, u8)>))| {
            let (a, b) = (*a, *b);
            let edges = order.into_iter().zip(there).zip(0..).filter(|((_, (is, _)), _)| *is > 0);
            edges.map(|((j, (_, r)), i)| edge((a, i), (b, j), f64::from(r) / 16.0)).collect::<Vec<Edge>>()
        };
        pairs.iter().zip(all).flat_map(of).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn components_are_what_labels_spread_to(edges in matchings(4, 6)) {
        let ends: Vec<[Node; 2]> = edges.iter().map(|e| e.ends).collect();
        prop_assert_eq!(components(ends.iter().copied()), spread(&ends));
    }

    #[test]
    fn conflicts_are_cut_as_all_sets_of_nodes_say(edges in matchings(4, 3), left_out in 0usize..12) {
        // two of the six pairs of places are not compared, or one, or none
        let mut places = all_of(4);
        let gone = |k: usize| k == left_out || k + 3 == left_out;
        places.pairs = (0..6).filter(|k| !gone(*k)).map(|k| places.pairs[k]).collect();
        let compared = places.compared();
        let edges: Vec<Edge> = edges.into_iter().filter(|e| compared.contains(&e.ends.map(|n| n.place))).collect();
        let lowest = components(edges.iter().map(|e| e.ends));
        let mut parts: BTreeMap<Node, Vec<Edge>> = BTreeMap::new();
        for e in &edges {
            parts.entry(lowest[&e.ends[0]]).or_default().push(*e);
        }
        for part in parts.values() {
            let sorted = |cliques: Vec<Vec<Edge>>| -> Vec<Vec<Edge>> {
                cliques.into_iter().map(|mut c| { c.sort_unstable(); c }).collect()
            };
            prop_assert_eq!(sorted(split::split(part, &compared)), sorted(split_plainly(part, &compared)));
        }
    }

    /// Beyond twelve nodes too: pieces are cliques, no node is in two, no two nodes of a place in one, and no edge is left.
    #[test]
    fn groups_are_apart_and_nothing_is_left(edges in matchings(5, 12)) {
        let places = all_of(5);
        let all = found(&edges, &places);
        let mut seen: BTreeSet<Node> = BTreeSet::new();
        for g in &all {
            let at: BTreeSet<u32> = g.members.iter().map(|m| m.node.place).collect();
            prop_assert_eq!(at.len(), g.members.len());
            prop_assert!(g.kind != GroupKind::Conflict || g.is_complete());
            prop_assert!(g.min_correlation <= g.mean_correlation + 1e-15 && g.edges <= g.edges_possible);
            for m in &g.members {
                prop_assert!(seen.insert(m.node), "{:?} is in two groups", m.node);
            }
        }
        prop_assert!(edges.iter().all(|e| e.ends.iter().any(|n| seen.contains(n))), "an edge between two nodes without a group");
    }

    /// Other numbers for the places, and another order of the edges: the same groups.
    #[test]
    fn names_and_order_change_nothing(edges in matchings(4, 6), order in Just([0u32, 1, 2, 3]).prop_shuffle()) {
        // different correlations, so that no tie asks for the lower node
        let edges: Vec<Edge> = edges.iter().enumerate().map(|(k, e)| {
            let r = e.correlation.value() + k as f64 / 4096.0;
            Edge { correlation: Correlation::new(r).unwrap(), ..*e }
        }).collect();
        let places = all_of(4);
        let renamed = |n: Node| node(order[n.place as usize], n.latent);
        let mut others: Vec<Edge> =
            edges.iter().map(|e| Edge::new(renamed(e.ends[0]), renamed(e.ends[1]), e.correlation)).collect();
        others.reverse();
        let small = |g: &Group| g.members.len() <= 12;
        let told = |all: Vec<Group>, name: &dyn Fn(Node) -> Node| -> BTreeSet<(Vec<Node>, GroupKind, u32, u64)> {
            all.iter().filter(|g| small(g)).map(|g| {
                let members: BTreeSet<Node> = g.members.iter().map(|m| name(m.node)).collect();
                (members.into_iter().collect(), g.kind, g.edges, g.min_correlation.to_bits())
            }).collect()
        };
        prop_assert_eq!(told(found(&edges, &places), &renamed), told(found(&others, &places), &|n| n));
    }
}

/// Mutual best matches of independent noise over `n` places of `latents` latents each.
fn noise(n: u32, latents: u32, draw: u64) -> Vec<Edge> {
    let mut stream = Stream::new(7, "groups of noise", draw);
    let mut out = Vec::new();
    for [a, b] in all_of(n).pairs {
        let (mut of_a, mut of_b) =
            (vec![BestPartners::default(); latents as usize], vec![BestPartners::default(); latents as usize]);
        for i in 0..latents {
            for j in 0..latents {
                let correlation = Correlation::new(stream.unit()).unwrap();
                of_a[i as usize].offer(Partner { latent: j, correlation }, 1);
                of_b[j as usize].offer(Partner { latent: i, correlation }, 1);
            }
        }
        for (i, best) in (0..).zip(&of_a) {
            let p = best.as_slice()[0];
            if of_b[p.latent as usize].as_slice()[0].latent == i {
                out.push(edge((a, i), (b, p.latent), p.correlation.value()));
            }
        }
    }
    out
}

/// Of independent noise F/2 pairs of latents are mutual, 1/8 of a triangle is there, and no latent returns.
#[test]
fn noise_has_the_cliques_that_theory_says() {
    let (latents, draws) = (60, 200);
    let places = all_of(3);
    let (mut pairs, mut cliques) = (0usize, 0usize);
    for draw in 0..draws {
        let edges = noise(3, latents, draw);
        pairs += edges.len();
        cliques += found(&edges, &places).iter().filter(|g| g.models == 3 && g.is_complete()).count();
    }
    // F²/(2F − 1) for each of three pairs of places; sd of a draw some 2.6 each, so of the mean 0.32
    let theory = 3.0 * 60.0 * 60.0 / 119.0;
    assert!(
        (pairs as f64 / draws as f64 - theory).abs() < 1.3,
        "{pairs} pairs in {draws} draws, {theory} in one by theory"
    );
    // F³/(2F − 1)³ = 0.128 a draw: 25.6 are expected, with a sd of 5
    assert!((11..=41).contains(&cliques), "{cliques} cliques, 25.6 by theory");
}
