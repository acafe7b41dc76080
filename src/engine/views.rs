//! The match views, maintained by differential dataflow: best per source, best per target, mutual best, the filters.
//!
//! Only rows that changed since the last snapshot come in, so between snapshots the views cost what changed. The argmax of
//! a source latent is already known in its tile; a target's is put together here from the workers' candidates. A plain
//! scan of the same rows is the test's oracle.
//!
//! Every collection has the same key and value type, three and three integers: differential's arrangements are generic,
//! and one set of them compiles in a fifth of the time of eight.

use crate::engine::message::{Folded, ViewInput, ViewRow};
use crate::ids::BatchIndex;
use crate::matching::{Correlation, Direction, Filters, LatentFlags, Verdict};
use crate::plan::Plan;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::Stream;
use timely::dataflow::operators::vec::Map;

/// What the views need to know of the plan.
#[derive(Clone, Debug)]
pub struct ViewRules {
    /// (source space, target space) of each pair.
    pub pairs: Vec<(u32, u32)>,
    /// Partners kept per latent.
    pub best: usize,
    /// The filters.
    pub filters: Filters,
}

impl ViewRules {
    /// Those of a plan.
    pub fn of(plan: &Plan) -> Self {
        ViewRules {
            pairs: plan.pairs.iter().map(|p| (p.source as u32, p.target as u32)).collect(),
            best: plan.spec.estimate.best,
            filters: plan.spec.estimate.filters.clone(),
        }
    }
}

type Key = [u32; 3];
type Value = [u64; 3];
type Rows<'scope> = VecCollection<'scope, BatchIndex, (Key, Value), isize>;
type Spine = ValSpine<Key, Value, BatchIndex, isize>;

/// Maintains all views from the fold's changed rows.
pub fn views<'scope>(
    folded: Stream<'scope, BatchIndex, Vec<(Folded, BatchIndex)>>,
    rules: ViewRules,
) -> VecCollection<'scope, BatchIndex, ViewRow, isize> {
    let input = folded
        .flat_map(|(out, t)| match out {
            Folded::Delta(row, diff) => Some((row, t, diff as isize)),
            Folded::Note(_) => None,
        })
        .as_collection();

    let flags: Rows = input.clone().flat_map(|row| match row {
        ViewInput::Flags { space, latent, flags } => Some(([space, latent, 0], [pack_flags(flags), 0, 0])),
        _ => None,
    });
    // key: direction, pair, picking latent; value: rank, partner, correlation
    let forward: Rows = input.clone().flat_map(|row| match row {
        ViewInput::Forward { pair, source, rank, target, correlation } => {
            Some(([FORWARD, pair, source], [u64::from(rank), u64::from(target), correlation.value().to_bits()]))
        }
        _ => None,
    });
    let candidates: Rows = input.flat_map(|row| match row {
        // ascending values are then: best correlation first, of equals the lower source
        ViewInput::Backward { pair, target, source, correlation } => Some((
            [BACKWARD, pair, target],
            [descending(correlation), u64::from(source), correlation.value().to_bits()],
        )),
        _ => None,
    });
    let keep = rules.best;
    let backward = reduce(candidates, move |candidates, out| {
        for (rank, candidate) in candidates.iter().take(keep).enumerate() {
            let [_, source, correlation] = **candidate;
            out.push([rank as u64, source, correlation]);
        }
    });
    let best = forward.concat(backward);

    // a mutual match is the first choice of both sides: key pair, source, target
    let first = best.clone().filter(|(_, [rank, ..])| *rank == 0);
    let chosen = |wanted: u32| -> Rows<'scope> {
        first.clone().flat_map(move |([direction, pair, latent], [_, partner, _])| {
            let (source, target) =
                if direction == FORWARD { (latent, partner as u32) } else { (partner as u32, latent) };
            (direction == wanted).then_some(([pair, source, target], [0, 0, 0]))
        })
    };
    let mutual = join(chosen(FORWARD), arrange(chosen(BACKWARD)), |key, _, _| (*key, [0, 0, 0]))
        .map(|([pair, source, target], _)| ViewRow::Mutual { pair, source, target });

    // verdicts: the flags of both latents are joined to each first choice
    let flags = arrange(flags);
    let pairs = rules.pairs.clone();
    let by_own = first.map(move |([direction, pair, latent], [_, partner, correlation])| {
        let (source_space, target_space) = pairs[pair as usize];
        let own = if direction == FORWARD { source_space } else { target_space };
        ([own, latent, 0], [two(direction, pair), partner, correlation])
    });
    let pairs = rules.pairs.clone();
    let by_other =
        join(by_own, flags.clone(), move |&[_, latent, _], &[place, partner, correlation], &[own_flags, ..]| {
            let [direction, pair] = halves(place);
            let (source_space, target_space) = pairs[pair as usize];
            let other = if direction == FORWARD { target_space } else { source_space };
            ([other, partner as u32, 0], [place, two(latent, own_flags as u32), correlation])
        });
    let filters = rules.filters.clone();
    let judged = join(by_other, flags, move |&[_, partner, _], &[place, own, correlation], &[other_flags, ..]| {
        let ([direction, pair], [latent, own_flags]) = (halves(place), halves(own));
        let verdict =
            filters.judge(unpack_flags(u64::from(own_flags)), unpack_flags(other_flags), f64::from_bits(correlation));
        let correlation = Correlation::new(f64::from_bits(correlation)).expect("it was one");
        // kept ones sort first, the best correlation first among them, of equals the lower latent
        ([pair, direction, partner], [verdict as u64, descending(correlation), u64::from(latent)])
    });
    let judged = if rules.filters.one_to_one {
        reduce(judged, |claims, out| {
            for (place, claim) in claims.iter().enumerate() {
                let [verdict, order, latent] = **claim;
                let beaten = verdict == Verdict::Kept as u64 && place > 0;
                out.push([if beaten { Verdict::OneToOne as u64 } else { verdict }, order, latent]);
            }
        })
    } else {
        judged
    };
    let judged = judged.map(|([pair, direction, _], [verdict, _, latent])| ViewRow::Judged {
        direction: side(direction),
        pair,
        latent: latent as u32,
        verdict: Verdict::ALL[verdict as usize],
    });

    best.map(|([direction, pair, latent], [rank, partner, correlation])| ViewRow::Best {
        direction: side(direction),
        pair,
        latent,
        rank: rank as u8,
        partner: partner as u32,
        correlation: Correlation::new(f64::from_bits(correlation)).expect("it was one"),
    })
    .concat(mutual)
    .concat(judged)
}

const FORWARD: u32 = 0;
const BACKWARD: u32 = 1;

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

fn two(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(both: u64) -> [u32; 2] {
    [(both >> 32) as u32, both as u32]
}

fn pack_flags(flags: LatentFlags) -> u64 {
    u64::from(flags.dead) | u64::from(flags.constant) << 1 | u64::from(flags.rare) << 2
}

fn unpack_flags(bits: u64) -> LatentFlags {
    LatentFlags { dead: bits & 1 != 0, constant: bits & 2 != 0, rare: bits & 4 != 0 }
}

#[cfg(test)]
mod tests;
