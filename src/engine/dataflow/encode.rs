//! The operator `Encode`: a worker runs models and SAEs on a batch; the encoded batch goes to all workers.

use crate::engine::dataflow::lanes::Lanes;
use crate::engine::encode::encode_batch;
use crate::engine::job::Job;
use crate::engine::message::{Brings, EncodedBatch, EncodedPart, Pass, PendingBatch};
use crate::error::Result;
use crate::ids::BatchIndex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, Stream};

/// How soon a worker looks again for a batch that is encoded beside it.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// What every batch gives, once for each of `peers` workers, of which this is number `index`. Batch t is encoded on number (t + 1) of
/// the workers `encoders`, round and round.
pub fn encode<'scope>(
    scope: Scope<'scope, BatchIndex>,
    work: Stream<'scope, BatchIndex, Vec<PendingBatch>>,
    job: Arc<Job>,
    encoders: Vec<u64>,
    [index, peers]: [usize; 2],
) -> Stream<'scope, BatchIndex, Vec<EncodedPart>> {
    // the worker that reads, if it encodes, has the last of each round: the others have theirs before it begins
    let encoder = move |t: BatchIndex| encoders[(t as usize + 1) % encoders.len()];
    work.unary::<CapacityContainerBuilder<Vec<EncodedPart>>, _, _, _>(
        Exchange::new(move |w: &PendingBatch| encoder(w.control.t)),
        "Encode",
        move |_, info| {
            let activator = scope.activator_for(info.address);
            let mut waiting: VecDeque<(Capability<BatchIndex>, PendingBatch)> = VecDeque::new();
            let mut held: VecDeque<Capability<BatchIndex>> = VecDeque::new();
            let mut lanes: Option<Lanes<PendingBatch, Result<EncodedBatch>>> = None;
            move |input, output| {
                input.for_each(|capability, data| {
                    for work in data.drain(..) {
                        if let Some(capability) = capability.retain_least(output.output_index()) {
                            waiting.push_back((capability, work));
                        }
                    }
                });
                if (waiting.is_empty() && held.is_empty()) || job.status.failed() {
                    return;
                }
                if lanes.is_none() {
                    lanes = job.status.keep(start(&job, index));
                }
                let Some(lanes) = &mut lanes else { return };
                // with one lane one at a time, so that what follows it, and admitting others, need not wait for all
                let mut done = Vec::new();
                while lanes.has_room() && done.is_empty() {
                    let Some((capability, work)) = waiting.pop_front() else { break };
                    held.push_back(capability);
                    done.extend(lanes.put(work));
                }
                done.extend(lanes.take());
                for (work, batch) in done {
                    let capability = held.pop_front().expect("one for each that was put in");
                    let Some(batch) = job.status.keep(batch).map(Arc::new) else { return };
                    let mut session = output.session(&capability);
                    for to in 0..peers as u64 {
                        session.give(EncodedPart { to, control: work.control.clone(), batch: batch.clone() });
                    }
                }
                if lanes.is_busy() {
                    activator.activate_after(LOOK_AGAIN);
                } else if !waiting.is_empty() {
                    activator.activate();
                }
            }
        },
    )
}

/// The lanes of worker `index`; it has work.
fn start(job: &Arc<Job>, index: usize) -> Result<Lanes<PendingBatch, Result<EncodedBatch>>> {
    // workers of a process take its devices in turn
    let turn = index % job.cluster.workers;
    let of_lane = job.clone();
    Lanes::start(job.plan.spec().encoded_at_once(), index, move |work: &PendingBatch| {
        let job = &of_lane;
        // what another batch has made of the run need not be waited for
        if work.control.brings != Brings::Batch || job.status.failed() {
            return Ok(EncodedBatch::default());
        }
        let first = work.control.pass == Pass::First;
        encode_batch(&job.plan, &job.loaded, &work.tokens, &job.status, first, turn)
    })
}
