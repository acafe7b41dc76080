//! The operator `Encode`: one worker runs models and SAEs on a batch; the encoded batch goes to all workers.

use crate::engine::encode::encode_batch;
use crate::engine::job::Job;
use crate::engine::message::{Brings, EncodedBatch, EncodedPart, Pass, PendingBatch};
use crate::ids::BatchIndex;
use std::collections::VecDeque;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, Stream};

/// What every batch gives, once for each of `peers` workers, of which this is number `index`. Batch t is encoded on worker (t + 1) mod `peers`.
pub fn encode<'scope>(
    scope: Scope<'scope, BatchIndex>,
    work: Stream<'scope, BatchIndex, Vec<PendingBatch>>,
    job: Arc<Job>,
    [index, peers]: [usize; 2],
) -> Stream<'scope, BatchIndex, Vec<EncodedPart>> {
    // workers of a process take its devices in turn
    let turn = index % job.cluster.workers;
    work.unary::<CapacityContainerBuilder<Vec<EncodedPart>>, _, _, _>(
        // the worker that reads has the last of each round: the others have theirs before it begins
        Exchange::new(|w: &PendingBatch| w.control.t + 1),
        "Encode",
        move |_, info| {
            let activator = scope.activator_for(info.address);
            let mut waiting: VecDeque<(Capability<BatchIndex>, PendingBatch)> = VecDeque::new();
            move |input, output| {
                input.for_each(|capability, data| {
                    for work in data.drain(..) {
                        if let Some(capability) = capability.retain_least(output.output_index()) {
                            waiting.push_back((capability, work));
                        }
                    }
                });
                // one at a time, so that what follows it, and admitting others, need not wait for all
                let Some((capability, work)) = waiting.pop_front() else { return };
                if !waiting.is_empty() {
                    activator.activate();
                }
                if job.status.failed() {
                    return;
                }
                let batch = if work.control.brings == Brings::Batch {
                    let first = work.control.pass == Pass::First;
                    encode_batch(&job.plan, &job.loaded, &work.tokens, &job.status, first, turn)
                } else {
                    Ok(EncodedBatch::default())
                };
                let Some(batch) = job.status.keep(batch).map(Arc::new) else { return };
                let mut session = output.session(&capability);
                for to in 0..peers as u64 {
                    session.give(EncodedPart { to, control: work.control.clone(), batch: batch.clone() });
                }
            }
        },
    )
}
