//! The operator `Fold`: each worker applies the batches in order of their number, and emits what is due after them.

use crate::engine::allocator;
use crate::engine::fold::{Fold, checkpoint};
use crate::engine::job::Job;
use crate::engine::message::{Brings, EncodedPart, Folded, Note, Pass};
use crate::engine::status::{RunStatus, Stage};
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use crate::store::Manifest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

/// Changed rows and notes, each with its batch, of worker `index` of `peers`, whose memory begins as the checkpoint `resume` has it.
pub fn fold<'scope>(
    encoded: Stream<'scope, BatchIndex, Vec<EncodedPart>>,
    job: Arc<Job>,
    resume: Option<Arc<Manifest>>,
    index: usize,
    peers: usize,
) -> Stream<'scope, BatchIndex, Vec<(Folded, BatchIndex)>> {
    encoded.unary_frontier::<CapacityContainerBuilder<Vec<(Folded, BatchIndex)>>, _, _, _>(
        Exchange::new(|e: &EncodedPart| e.to),
        "Fold",
        move |_, _| {
            let mut fold = Fold::new(job.plan.clone(), index, peers);
            if let Some(manifest) = &resume {
                job.status.keep(checkpoint::add(&mut fold, &job.run, manifest, 0));
            }
            let mut expected = resume.as_ref().map_or(0, |m| m.next_batch);
            let mut waiting: BTreeMap<BatchIndex, (Capability<BatchIndex>, EncodedPart)> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|capability, data| {
                    for encoded in data.drain(..) {
                        if let Some(capability) = capability.retain_least(output.output_index()) {
                            waiting.insert(encoded.control.t, (capability, encoded));
                        }
                    }
                });
                job.status.in_flight.fetch_max(waiting.len() as u64, Relaxed);
                while let Some(first) = waiting.first_entry() {
                    // more of t may come from elsewhere, or batches before it: wait, and apply in order
                    if frontier.frontier().less_equal(first.key()) || job.status.failed() {
                        break;
                    }
                    let (t, (capability, encoded)) = first.remove_entry();
                    let is_resumed = encoded.control.brings == Brings::Resumed;
                    if t + u64::from(is_resumed) != expected {
                        job.status.fail(Error::state(format!(
                            "this process is at batch {expected}, process 0 sent batch {t}; all processes must see \
                             the same run directory: start all of them again"
                        )));
                        break;
                    }
                    expected += u64::from(!is_resumed);
                    let out = fold_one(&mut fold, &job, index, &encoded);
                    if let Some(out) = job.status.keep(out) {
                        output.session(&capability).give_iterator(out.into_iter().map(|o| (o, t)));
                    }
                }
            }
        },
    )
}

/// The notes for the publisher among what was folded.
pub fn notes_of<'scope>(
    folded: Stream<'scope, BatchIndex, Vec<(Folded, BatchIndex)>>,
) -> Stream<'scope, BatchIndex, Vec<(Note, BatchIndex)>> {
    folded.flat_map(|(out, t)| match out {
        Folded::Note(note) => Some((note, t)),
        Folded::Delta(..) => None,
    })
}

/// One batch into one worker's memory, and what is due after it.
fn fold_one(fold: &mut Fold, job: &Job, index: usize, encoded: &EncodedPart) -> Result<Vec<Folded>> {
    let status: &RunStatus = &job.status;
    let control = &encoded.control;
    if let Some(listing) = &control.listing {
        fold.beyond.list(listing);
    }
    if control.brings == Brings::Batch {
        status.timed(Stage::Fold, || fold.apply(&encoded.batch, control.pass == Pass::Second))?;
    }
    if index == 0 {
        status.rows.store(control.rows, Relaxed);
    }
    let mut out = Vec::new();
    if let Some(snapshot) = control.snapshot {
        // memory freed by batches is given back before a snapshot takes its own
        allocator::give_back();
        status.in_snapshot.fetch_add(1, Relaxed);
        status.timed(Stage::Snapshot, || {
            let (changes, notes) = fold.snapshot(snapshot.choose);
            out.extend(changes);
            out.extend(notes.into_iter().map(Folded::Note));
        });
        status.in_snapshot.fetch_sub(1, Relaxed);
    }
    if control.snapshot.is_none() && control.list {
        out.extend(status.timed(Stage::Snapshot, || fold.best_changes()));
    }
    // what the run resumes from is on disk
    if control.checkpoint.is_some() && control.brings != Brings::Resumed {
        let saved = status.timed(Stage::Checkpoint, || checkpoint::save(fold, &job.run, control.next_batch()))?;
        out.extend(saved.into_iter().map(|s| Folded::Note(Note::Saved(s))));
    }
    if index == 0 && control.is_due() {
        out.push(Folded::Note(Note::Due(control.clone())));
    }
    if control.is_due() {
        allocator::give_back();
    }
    Ok(out)
}
