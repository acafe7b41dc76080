//! The match views, maintained by differential dataflow: best per source, best per target, mutual best.
//!
//! Only rows that changed since the last snapshot come in, so between snapshots the views cost what changed. The argmax of
//! a source latent is already known in its tile; a target's is put together here from the workers' candidates. `results::scan`
//! makes the same rows by looking at everything: for sums that are read back, and as the test's oracle.
//!
//! The filters are not maintained here. `matching::apply_filters` reads a whole pair at once, as the one-to-one rules require, and
//! costs less than writing the pair's rows.
//!
//! All collections have the same key and value types, three integers each. Differential's arrangements are generic: one set
//! of types compiles in a fifth of the time of eight.

use crate::engine::message::{BestRow, Folded, ViewInput, ViewRow};
use crate::ids::BatchIndex;
use crate::matching::{Correlation, Direction};
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::Stream;
use timely::dataflow::operators::vec::Map;

type Key = [u32; 3];
type Value = [u64; 3];
type Rows<'scope> = VecCollection<'scope, BatchIndex, (Key, Value), isize>;
type Spine = ValSpine<Key, Value, BatchIndex, isize>;

/// Maintains all views from the fold's changed rows; `best` partners are kept per latent.
pub fn views<'scope>(
    folded: Stream<'scope, BatchIndex, Vec<(Folded, BatchIndex)>>,
    best: usize,
) -> VecCollection<'scope, BatchIndex, ViewRow, isize> {
    let input = folded
        .flat_map(|(out, t)| match out {
            Folded::Delta(row, diff) => Some((row, t, diff as isize)),
            Folded::Note(_) => None,
        })
        .as_collection();

    // key: direction, pair, picking latent; value: rank, partner, correlation
    let whole: Rows = input.clone().flat_map(|row| match row {
        ViewInput::Best(BestRow { direction, pair, latent, rank, partner, correlation }) => Some((
            [number(direction), pair, latent],
            [u64::from(rank), u64::from(partner), correlation.value().to_bits()],
        )),
        ViewInput::Candidate { .. } => None,
    });
    let candidates: Rows = input.flat_map(|row| match row {
        // ascending values are then: best correlation first, of equals the lower source
        ViewInput::Candidate { pair, target, source, correlation } => Some((
            [BACKWARD, pair, target],
            [descending(correlation), u64::from(source), correlation.value().to_bits()],
        )),
        ViewInput::Best(_) => None,
    });
    let backward = reduce(candidates, move |candidates, out| {
        for (rank, candidate) in candidates.iter().take(best).enumerate() {
            let [_, source, correlation] = **candidate;
            out.push([rank as u64, source, correlation]);
        }
    });
    let best_rows = whole.concat(backward);

    // a mutual match is the first choice of both sides: key pair, source, target
    let first = best_rows.clone().filter(|(_, [rank, ..])| *rank == 0);
    let chosen = |wanted: u32| -> Rows<'scope> {
        first.clone().flat_map(move |([direction, pair, latent], [_, partner, _])| {
            let (source, target) =
                if direction == FORWARD { (latent, partner as u32) } else { (partner as u32, latent) };
            (direction == wanted).then_some(([pair, source, target], [0, 0, 0]))
        })
    };
    let mutual = join(chosen(FORWARD), arrange(chosen(BACKWARD)), |key, _, _| (*key, [0, 0, 0]))
        .map(|([pair, source, target], _)| ViewRow::Mutual { pair, source, target });

    best_rows
        .map(|([direction, pair, latent], [rank, partner, correlation])| {
            let correlation = Correlation::new(f64::from_bits(correlation)).expect("it was one");
            let (direction, rank, partner) = (side(direction), rank as u8, partner as u32);
            ViewRow::Best(BestRow { direction, pair, latent, rank, partner, correlation })
        })
        .concat(mutual)
}

const FORWARD: u32 = 0;
const BACKWARD: u32 = 1;

fn number(direction: Direction) -> u32 {
    match direction {
        Direction::Forward => FORWARD,
        Direction::Backward => BACKWARD,
    }
}

fn side(direction: u32) -> Direction {
    if direction == FORWARD { Direction::Forward } else { Direction::Backward }
}

fn arrange<'scope>(rows: Rows<'scope>) -> Arranged<'scope, TraceAgent<Spine>> {
    rows.arrange_by_key()
}

fn join<'scope>(
    rows: Rows<'scope>,
    with: Arranged<'scope, TraceAgent<Spine>>,
    logic: impl Fn(&Key, &Value, &Value) -> (Key, Value) + 'static,
) -> Rows<'scope> {
    let logic: Box<dyn Fn(&Key, &Value, &Value) -> (Key, Value)> = Box::new(logic);
    arrange(rows).join_core(with, move |key, value, other| Some(logic(key, value, other)))
}

fn reduce<'scope>(rows: Rows<'scope>, logic: impl Fn(&[&Value], &mut Vec<Value>) + 'static) -> Rows<'scope> {
    let logic: Box<dyn Fn(&[&Value], &mut Vec<Value>)> = Box::new(logic);
    rows.reduce(move |_key, values, out: &mut Vec<(Value, isize)>| {
        let values: Vec<&Value> = values.iter().map(|(value, _)| *value).collect();
        let mut made = Vec::new();
        logic(&values, &mut made);
        out.extend(made.into_iter().map(|value| (value, 1)));
    })
}

/// A number that is smaller for a higher correlation.
fn descending(correlation: Correlation) -> u64 {
    let bits = correlation.value().to_bits();
    let ascending = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    !ascending
}

#[cfg(test)]
mod tests;
