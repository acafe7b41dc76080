//! The views against a plain scan, through changes and over several workers.

use super::*;
use crate::engine::results::scan::scan;
use crate::matching::{BestPartners, Partner};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use timely::dataflow::operators::vec::ToStream as _;

/// Correlations of one snapshot: `[source][target]`, in tenths; 10 targets at most.
type Grid = Vec<Vec<i8>>;

fn correlation(tenths: i8) -> Correlation {
    Correlation::new(f64::from(tenths) / 10.0).unwrap()
}

fn inputs(grid: &Grid, best: usize, workers: usize) -> Vec<BTreeSet<ViewInput>> {
    let mut out = vec![BTreeSet::new(); workers];
    let n_targets = grid[0].len();
    for (w, out) in out.iter_mut().enumerate() {
        let mut backward = vec![BestPartners::default(); n_targets];
        for (s, row) in grid.iter().enumerate().filter(|(s, _)| s % workers == w) {
            let mut forward = BestPartners::default();
            for (t, &c) in row.iter().enumerate() {
                forward.offer(Partner { latent: t as u32, correlation: correlation(c) }, best);
                backward[t].offer(Partner { latent: s as u32, correlation: correlation(c) }, best);
            }
            for (rank, p) in forward.as_slice().iter().enumerate() {
                out.insert(ViewInput::Best(BestRow {
                    direction: Direction::Forward,
                    pair: 0,
                    latent: s as u32,
                    rank: rank as u8,
                    partner: p.latent,
                    correlation: p.correlation,
                }));
            }
        }
        for (t, best) in backward.iter().enumerate() {
            for p in best.as_slice() {
                out.insert(ViewInput::Candidate {
                    pair: 0,
                    target: t as u32,
                    source: p.latent,
                    correlation: p.correlation,
                });
            }
        }
    }
    out
}

/// The same views by looking at every correlation.
fn plain(grid: &Grid, best: usize) -> BTreeSet<ViewRow> {
    let mut out = BTreeSet::new();
    let (n_sources, n_targets) = (grid.len(), grid[0].len());
    let ranked = |direction: Direction, latent: usize| -> Vec<(u32, i8)> {
        let mut all: Vec<(u32, i8)> = match direction {
            Direction::Forward => (0..n_targets).map(|t| (t as u32, grid[latent][t])).collect(),
            Direction::Backward => (0..n_sources).map(|s| (s as u32, grid[s][latent])).collect(),
        };
        all.sort_by_key(|&(i, c)| (-c, i));
        all
    };
    for (direction, n) in [(Direction::Forward, n_sources), (Direction::Backward, n_targets)] {
        for latent in 0..n {
            let all = ranked(direction, latent);
            for (rank, &(partner, c)) in all.iter().take(best).enumerate() {
                out.insert(ViewRow::Best(BestRow {
                    direction,
                    pair: 0,
                    latent: latent as u32,
                    rank: rank as u8,
                    partner,
                    correlation: correlation(c),
                }));
            }
            let t = all[0].0 as usize;
            if direction == Direction::Forward && ranked(Direction::Backward, t)[0].0 == latent as u32 {
                out.insert(ViewRow::Mutual { pair: 0, source: latent as u32, target: t as u32 });
            }
        }
    }
    out
}

fn maintained(snapshots: Vec<Vec<BTreeSet<ViewInput>>>, best: usize, workers: usize) -> Vec<BTreeSet<ViewRow>> {
    let n = snapshots.len();
    let deltas: Arc<Mutex<Vec<(ViewRow, u64, isize)>>> = Arc::default();
    let (sink, snapshots) = (deltas.clone(), Arc::new(snapshots));
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    timely::execute(config, move |worker| {
        let index = worker.index();
        let mut said: BTreeSet<ViewInput> = BTreeSet::new();
        let mut changes = Vec::new();
        for (t, snapshot) in snapshots.iter().enumerate() {
            let now = &snapshot[index];
            changes.extend(said.difference(now).map(|r| (Folded::Delta(*r, -1), t as u64)));
            changes.extend(now.difference(&said).map(|r| (Folded::Delta(*r, 1), t as u64)));
            said.clone_from(now);
        }
        let sink = sink.clone();
        worker.dataflow::<u64, _, _>(|scope| {
            let stream = changes.to_stream(scope);
            views(stream, best).inspect(move |(row, t, diff)| sink.lock().unwrap().push((*row, *t, *diff)));
        });
    })
    .unwrap();
    let deltas = deltas.lock().unwrap();
    (0..n as u64)
        .map(|t| {
            let mut net: std::collections::BTreeMap<ViewRow, isize> = Default::default();
            for (row, _, diff) in deltas.iter().filter(|d| d.1 <= t) {
                *net.entry(*row).or_default() += diff;
            }
            net.into_iter()
                .filter(|(_, n)| *n != 0)
                .map(|(row, n)| {
                    assert_eq!(n, 1, "{row:?}");
                    row
                })
                .collect()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn views_are_what_a_scan_finds_at_every_snapshot(
        grids in prop::collection::vec(prop::collection::vec(prop::collection::vec(-3i8..6, 5), 6), 1..4),
        best in 1usize..4,
        workers in 1usize..4,
    ) {
        let snapshots: Vec<_> = grids.iter().map(|g| inputs(g, best, workers)).collect();
        let got = maintained(snapshots.clone(), best, workers);
        for ((grid, got), inputs) in grids.iter().zip(got).zip(snapshots) {
            let expected = plain(grid, best);
            let found: BTreeSet<ViewRow> = scan(inputs.into_iter().flatten(), best).into_iter().collect();
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(got, expected);
        }
    }
}
