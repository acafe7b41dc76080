//! Connected components by union-find, of the real graph and of the one by chance.

use super::graph::Node;
use std::collections::BTreeMap;

/// The lowest node of each node's component, of every node that has an edge.
pub fn components(edges: impl IntoIterator<Item = [Node; 2]>) -> BTreeMap<Node, Node> {
    let mut sets = Sets::default();
    for [a, b] in edges {
        let (a, b) = (sets.number(a), sets.number(b));
        sets.join(a, b);
    }
    let Sets { numbers, mut above } = sets;
    // nodes ascend, so the first of a set that is met is its lowest
    let mut lowest: BTreeMap<usize, Node> = BTreeMap::new();
    (numbers.into_iter()).map(|(node, k)| (node, *lowest.entry(root(&mut above, k)).or_insert(node))).collect()
}

#[derive(Default)]
struct Sets {
    numbers: BTreeMap<Node, usize>,
    /// Another node of the same set, the set's own root at the end.
    above: Vec<usize>,
}

impl Sets {
    fn number(&mut self, node: Node) -> usize {
        let next = self.above.len();
        let k = *self.numbers.entry(node).or_insert(next);
        if k == next {
            self.above.push(next);
        }
        k
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (root(&mut self.above, a), root(&mut self.above, b));
        self.above[a.max(b)] = a.min(b);
    }
}

/// The root of a node's set; paths are halved on the way.
fn root(above: &mut [usize], mut k: usize) -> usize {
    while above[k] != k {
        above[k] = above[above[k]];
        k = above[k];
    }
    k
}
