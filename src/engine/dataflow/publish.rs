//! The operator `Publish`: when the views and notes of a batch are complete, worker 0 publishes and commits what is due after it.

use crate::engine::allocator;
use crate::engine::job::Job;
use crate::engine::message::{Note, ViewRow};
use crate::engine::results::{Due, Publisher};
use crate::ids::BatchIndex;
use differential_dataflow::VecCollection;
use std::collections::BTreeMap;
use std::sync::Arc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;

/// What is due after each batch, and the capabilities that keep the batch unfinished until it is done.
type Waiting = BTreeMap<BatchIndex, (Vec<Capability<BatchIndex>>, Due)>;

/// An empty stream whose frontier passes a batch when what was due after it is published and committed.
pub fn publish<'scope>(
    maintained: VecCollection<'scope, BatchIndex, ViewRow, isize>,
    notes: Stream<'scope, BatchIndex, Vec<(Note, BatchIndex)>>,
    job: Arc<Job>,
    index: usize,
) -> Stream<'scope, BatchIndex, Vec<()>> {
    maintained.inner.binary_frontier::<_, CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
        notes,
        Exchange::new(|_: &(ViewRow, BatchIndex, isize)| 0),
        Exchange::new(|_: &(Note, BatchIndex)| 0),
        "Publish",
        move |_, _| {
            let mut publisher = (index == 0).then(|| publisher(&job)).flatten();
            let mut waiting = Waiting::new();
            move |(rows, rows_frontier), (notes, notes_frontier), output| {
                rows.for_each(|capability, data| {
                    for (row, t, diff) in data.drain(..) {
                        waiting.entry(t).or_default().1.deltas.push((row, diff));
                    }
                    hold(&mut waiting, capability.retain_least(output.output_index()));
                });
                notes.for_each(|capability, data| {
                    for (note, t) in data.drain(..) {
                        waiting.entry(t).or_default().1.note(note);
                    }
                    hold(&mut waiting, capability.retain_least(output.output_index()));
                });
                while let Some(first) = waiting.first_entry() {
                    let t = *first.key();
                    if rows_frontier.frontier().less_equal(&t)
                        || notes_frontier.frontier().less_equal(&t)
                        || job.status.failed()
                    {
                        break;
                    }
                    let (_, (_held, due)) = first.remove_entry();
                    if let Some(publisher) = &mut publisher {
                        job.status.keep(publisher.finish(t, due));
                        allocator::give_back();
                    }
                }
            }
        },
    )
}

/// Keeps the capability of a message until the message is handled: the probe must not pass it earlier.
fn hold(waiting: &mut Waiting, capability: Option<Capability<BatchIndex>>) {
    if let Some(capability) = capability {
        waiting.entry(*capability.time()).or_default().0.push(capability);
    }
}

/// The publisher as the checkpoint has it; `None` after a failure, which is noted.
fn publisher(job: &Job) -> Option<Publisher> {
    let mut publisher = Publisher::new(
        job.plan.clone(),
        &job.loaded,
        job.run.clone(),
        job.status.clone(),
        job.observer.clone(),
        job.asked.clone(),
    );
    match &job.resume {
        Some(manifest) => job.status.keep(publisher.restore(manifest)).map(|()| publisher),
        None => Some(publisher),
    }
}
