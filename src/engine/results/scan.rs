//! The rows of the match views from all of their input at once: for sums that are read back, and the oracle of the views that a
//! dataflow maintains.

use crate::engine::message::{BestRow, Folded, ViewInput, ViewRow};
use crate::matching::{Correlation, Direction};
use crate::plan::Plan;
use std::collections::BTreeMap;

/// The rows of the views that follow from the first changes of a fold that holds all tiles.
pub fn scanned_views(published: Vec<Folded>, plan: &Plan) -> Vec<(ViewRow, isize)> {
    let inputs = published.into_iter().filter_map(|folded| match folded {
        Folded::Delta(row, _) => Some(row),
        Folded::Note(_) => None,
    });
    scan(inputs, plan.spec().estimate.best).into_iter().map(|row| (row, 1)).collect()
}

/// All rows of the views, from all rows of all workers at once.
pub fn scan(inputs: impl IntoIterator<Item = ViewInput>, best: usize) -> Vec<ViewRow> {
    let mut out = Vec::new();
    let mut candidates: BTreeMap<(u32, u32), Vec<(std::cmp::Reverse<Correlation>, u32)>> = BTreeMap::new();
    // by pair and source
    let mut first: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for input in inputs {
        match input {
            ViewInput::Best(row) if row.direction == Direction::Forward => {
                if row.rank == 0 {
                    first.insert((row.pair, row.latent), row.partner);
                }
                out.push(ViewRow::Best(row));
            }
            ViewInput::Candidate { pair, target, source, correlation }
            | ViewInput::Best(BestRow { pair, latent: target, partner: source, correlation, .. }) => {
                candidates.entry((pair, target)).or_default().push((std::cmp::Reverse(correlation), source));
            }
        }
    }
    for ((pair, target), mut sources) in candidates {
        sources.sort_unstable();
        for (rank, &(std::cmp::Reverse(correlation), source)) in sources.iter().take(best).enumerate() {
            let (direction, rank) = (Direction::Backward, rank as u8);
            out.push(ViewRow::Best(BestRow { direction, pair, latent: target, rank, partner: source, correlation }));
        }
        if first.get(&(pair, sources[0].1)) == Some(&target) {
            out.push(ViewRow::Mutual { pair, source: sources[0].1, target });
        }
    }
    out
}
