//! Groups over six places of 32 768 latents: components maintained by differential dataflow, and by union-find at each snapshot; then
//! the groups of all of them.

use cognate::linalg::Stream;
use cognate::matching::Correlation;
use cognate::matching::groups::{Edge, Node, Places, components, groups};
use differential_dataflow::algorithms::graphs::propagate::propagate;
use differential_dataflow::input::Input;
use std::collections::BTreeMap;
use std::time::Instant;
use timely::dataflow::ProbeHandle;

const PLACES: u32 = 6;
const LATENTS: usize = 32_768;
const SNAPSHOTS: u64 = 6;

/// Target of each source, `None` without a mutual match: a share of the latents is the same feature everywhere, of the others half
/// have a partner by chance.
type Matching = Vec<Option<(u32, f64)>>;

fn shuffled(stream: &mut Stream) -> Vec<u32> {
    let mut out: Vec<u32> = (0..LATENTS as u32).collect();
    for i in (1..LATENTS).rev() {
        out.swap(i, (stream.unit() * (i + 1) as f64) as usize);
    }
    out
}

fn matching(stream: &mut Stream, shared: usize) -> Matching {
    let mut free: Vec<u32> = shuffled(stream).into_iter().filter(|j| *j as usize >= shared).collect();
    (0..LATENTS)
        .map(|i| match i < shared {
            true => Some((i as u32, 0.5 + 0.5 * stream.unit())),
            false => free.pop().filter(|_| stream.unit() < 0.5).map(|j| (j, 0.5 * stream.unit())),
        })
        .collect()
}

/// Two of a hundred sources change with the partner of another.
fn change(stream: &mut Stream, all: &mut [Matching]) {
    for matching in all {
        for _ in 0..LATENTS / 100 {
            let [a, b] = [0, 1].map(|_| (stream.unit() * LATENTS as f64) as usize);
            matching.swap(a, b);
        }
    }
}

fn edges(pairs: &[[u32; 2]], all: &[Matching]) -> Vec<Edge> {
    let of = |(&[a, b], matching): (&[u32; 2], &Matching)| -> Vec<Edge> {
        let node = |place: u32, latent: u32| Node { place, latent };
        let edge = |(i, m): (usize, &Option<(u32, f64)>)| {
            let (j, r) = (*m)?;
            Some(Edge::new(node(a, i as u32), node(b, j), Correlation::new(r).expect("it is finite")))
        };
        matching.iter().enumerate().filter_map(edge).collect()
    };
    pairs.iter().zip(all).flat_map(of).collect()
}

/// Resident memory of this process in MiB, where the system gives it.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Prints the time of every snapshot either way, and fails where the two differ.
pub fn groups_at_full_size() {
    for (name, shared) in [("a tenth shared", LATENTS / 10), ("two thirds shared", 2 * LATENTS / 3)] {
        let pairs: Vec<[u32; 2]> = (0..PLACES).flat_map(|a| (a + 1..PLACES).map(move |b| [a, b])).collect();
        let places = Places { model_of: (0..PLACES).collect(), pairs: pairs.clone() };
        let mut stream = Stream::new(1, "groups at full size", shared as u64);
        let mut all: Vec<Matching> = pairs.iter().map(|_| matching(&mut stream, shared)).collect();
        let mut snapshots = vec![edges(&pairs, &all)];
        for _ in 1..SNAPSHOTS {
            change(&mut stream, &mut all);
            snapshots.push(edges(&pairs, &all));
        }
        println!("{name}: {} edges in {PLACES} places of {LATENTS} latents", snapshots[0].len());
        let plain: Vec<BTreeMap<Node, Node>> = (snapshots.iter())
            .map(|edges| {
                let start = Instant::now();
                let found = components(edges.iter().map(|e| e.ends));
                println!("  union-find  {:7.1} ms", 1e3 * start.elapsed().as_secs_f64());
                found
            })
            .collect();
        for (edges, lowest) in snapshots.iter().zip(&plain).take(1) {
            let start = Instant::now();
            let found = groups(edges.clone(), |node| lowest[&node], &places);
            println!("  groups      {:7.1} ms, {} of them", 1e3 * start.elapsed().as_secs_f64(), found.len());
        }
        maintained(&snapshots, &plain);
    }
}

fn maintained(snapshots: &[Vec<Edge>], plain: &[BTreeMap<Node, Node>]) {
    let (snapshots, plain) = (snapshots.to_vec(), plain.to_vec());
    timely::execute_directly(move |worker| {
        let before = memory();
        let mut now: BTreeMap<Node, Node> = BTreeMap::new();
        let (send, receive) = std::sync::mpsc::channel();
        let probe = ProbeHandle::new();
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, edges) = scope.new_collection::<[Node; 2], isize>();
            let both = edges.flat_map(|[a, b]| [(a, b), (b, a)]);
            let nodes = both.clone().map(|(node, _)| (node, node));
            propagate(both, nodes)
                .inspect(move |(row, _, diff)| send.send((*row, *diff)).expect("it is received"))
                .probe_with(&probe);
            input
        });
        let mut said: std::collections::BTreeSet<[Node; 2]> = Default::default();
        for (t, edges) in (1u64..).zip(&snapshots) {
            let next: std::collections::BTreeSet<[Node; 2]> = edges.iter().map(|e| e.ends).collect();
            let start = Instant::now();
            said.difference(&next).for_each(|e| input.remove(*e));
            next.difference(&said).for_each(|e| input.insert(*e));
            input.advance_to(t);
            input.flush();
            while probe.less_than(&t) {
                worker.step();
            }
            let mut net: BTreeMap<(Node, Node), isize> = BTreeMap::new();
            receive.try_iter().for_each(|(row, diff)| *net.entry(row).or_default() += diff);
            for wanted in [-1, 1] {
                for ((node, lowest), _) in net.iter().filter(|(_, diff)| **diff == wanted) {
                    if wanted > 0 {
                        now.insert(*node, *lowest)
                    } else {
                        now.remove(node)
                    };
                }
            }
            println!(
                "  maintained  {:7.1} ms, {} rows changed, {:.0} MiB",
                1e3 * start.elapsed().as_secs_f64(),
                net.values().filter(|n| **n != 0).count(),
                memory() - before
            );
            assert!(now == plain[t as usize - 1], "snapshot {t}: the two differ");
            said = next;
        }
    });
}
