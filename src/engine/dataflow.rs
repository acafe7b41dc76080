//! One worker's dataflow, put together: batches in, encoded, folded in order, viewed and published.

use crate::engine::encode::encode_batch;
use crate::engine::fold::Fold;
use crate::engine::memory;
use crate::engine::message::{Encoded, Folded, Note, ViewRow, Work};
use crate::engine::publish::{Due, Publisher};
use crate::engine::shared::{Shared, Stage};
use crate::engine::source::{SourceParts, batches};
use crate::engine::views::views;
use crate::engine::{Job, keep_or_fail, state};
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use crate::store::Manifest;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Capability, Probe};
use timely::worker::Worker;

/// Puts together one worker's dataflow.
pub(super) fn build(
    worker: &mut Worker,
    job: &Arc<Job>,
    resume: Option<Arc<Manifest>>,
    parts: Option<SourceParts>,
    probe: &ProbeHandle<BatchIndex>,
) {
    let (index, peers) = (worker.index(), worker.peers());
    worker.dataflow::<BatchIndex, _, _>(|scope| {
        let work = batches(scope, parts, probe.clone(), job.shared.clone());

        let of_job = job.clone();
        let encoded = work.unary::<CapacityContainerBuilder<Vec<Encoded>>, _, _, _>(
            // the worker that reads has the last of each round: the others have theirs before it begins
            Exchange::new(|w: &Work| w.control.t + 1),
            "Encode",
            move |_, info| {
                let activator = scope.activator_for(info.address);
                let mut waiting: VecDeque<(Capability<BatchIndex>, Work)> = VecDeque::new();
                move |input, output| {
                    input.for_each(|capability, data| {
                        for work in data.drain(..) {
                            if let Some(capability) = capability.retain_least(output.output_index()) {
                                waiting.push_back((capability, work));
                            }
                        }
                    });
                    // one at a time: what comes after it, and letting others in, does not wait for all
                    let Some((capability, work)) = waiting.pop_front() else { return };
                    if !waiting.is_empty() {
                        activator.activate();
                    }
                    if of_job.shared.failed() {
                        return;
                    }
                    let batch =
                        encode_batch(&of_job.plan, &of_job.loaded, &work.tokens, &of_job.shared, !work.control.again);
                    let Some(batch) = keep_or_fail(&of_job.shared, batch).map(Arc::new) else { return };
                    let mut session = output.session(&capability);
                    for to in 0..peers as u64 {
                        session.give(Encoded { to, control: work.control.clone(), batch: batch.clone() });
                    }
                }
            },
        );

        let (of_job, of_resume) = (job.clone(), resume.clone());
        let folded = encoded.unary_frontier::<CapacityContainerBuilder<Vec<(Folded, BatchIndex)>>, _, _, _>(
            Exchange::new(|e: &Encoded| e.to),
            "Fold",
            move |_, _| {
                let mut fold = Fold::new(of_job.plan.clone(), index, peers);
                if let Some(manifest) = &of_resume {
                    let plan = of_job.plan.clone();
                    keep_or_fail(
                        &of_job.shared,
                        state::add(&mut fold, &of_job.run, manifest, 0, |k| plan.tile_name(k)),
                    );
                }
                let mut expected = of_resume.as_ref().map_or(0, |m| m.next_batch);
                let mut waiting: BTreeMap<BatchIndex, (Capability<BatchIndex>, Encoded)> = BTreeMap::new();
                move |(input, frontier), output| {
                    input.for_each(|capability, data| {
                        for encoded in data.drain(..) {
                            if let Some(capability) = capability.retain_least(output.output_index()) {
                                waiting.insert(encoded.control.t, (capability, encoded));
                            }
                        }
                    });
                    of_job.shared.in_flight.fetch_max(waiting.len() as u64, Relaxed);
                    while let Some(first) = waiting.first_entry() {
                        // more of t may come from elsewhere, or batches before it: wait, and apply in order
                        if frontier.frontier().less_equal(first.key()) || of_job.shared.failed() {
                            break;
                        }
                        let (t, (capability, encoded)) = first.remove_entry();
                        if t != expected {
                            of_job.shared.fail(Error::state(format!(
                                "this process stands before batch {expected}, process 0 sent batch {t}; all processes must see \
                                 the same run directory: start all of them again"
                            )));
                            break;
                        }
                        expected += 1;
                        let out = fold_one(&mut fold, &of_job, index, &encoded);
                        if let Some(out) = keep_or_fail(&of_job.shared, out) {
                            output.session(&capability).give_iterator(out.into_iter().map(|o| (o, t)));
                        }
                    }
                }
            },
        );

        let maintained = views(folded.clone(), job.plan.spec.estimate.best).inner;
        let notes = folded.flat_map(|(out, t)| match out {
            Folded::Note(note) => Some((note, t)),
            Folded::Delta(..) => None,
        });

        let of_job = job.clone();
        maintained
            .binary_frontier::<_, CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
                notes,
                Exchange::new(|_: &(ViewRow, BatchIndex, isize)| 0),
                Exchange::new(|_: &(Note, BatchIndex)| 0),
                "Publish",
                move |_, _| {
                    let mut publisher = (index == 0).then(|| publisher(&of_job)).flatten();
                    let mut due: BTreeMap<BatchIndex, (Vec<Capability<BatchIndex>>, Due)> = BTreeMap::new();
                    move |(rows, rows_frontier), (notes, notes_frontier), output| {
                        rows.for_each(|capability, data| {
                            for (row, t, diff) in data.drain(..) {
                                due.entry(t).or_default().1.deltas.push((row, diff));
                            }
                            hold(&mut due, capability.retain_least(output.output_index()));
                        });
                        notes.for_each(|capability, data| {
                            for (note, t) in data.drain(..) {
                                due.entry(t).or_default().1.note(note);
                            }
                            hold(&mut due, capability.retain_least(output.output_index()));
                        });
                        while let Some(first) = due.first_entry() {
                            let t = *first.key();
                            if rows_frontier.frontier().less_equal(&t)
                                || notes_frontier.frontier().less_equal(&t)
                                || of_job.shared.failed()
                            {
                                break;
                            }
                            let (_, (_held, due)) = first.remove_entry();
                            if let Some(publisher) = &mut publisher {
                                keep_or_fail(&of_job.shared, publisher.settle(t, due));
                                memory::give_back();
                            }
                        }
                    }
                },
            )
            .probe_with(probe);
    });
}

/// Keeps the capability of what just arrived until it is dealt with, so that the probe tells the truth.
fn hold(
    due: &mut BTreeMap<BatchIndex, (Vec<Capability<BatchIndex>>, Due)>,
    capability: Option<Capability<BatchIndex>>,
) {
    if let Some(capability) = capability {
        due.entry(*capability.time()).or_default().0.push(capability);
    }
}

fn publisher(job: &Job) -> Option<Publisher> {
    let mut publisher = Publisher::new(
        job.plan.clone(),
        &job.loaded,
        job.tokenizer.clone(),
        job.run.clone(),
        job.shared.clone(),
        job.observer.clone(),
        job.extra.clone(),
    );
    match &job.resume {
        Some(manifest) => keep_or_fail(&job.shared, publisher.restore(manifest)).map(|()| publisher),
        None => Some(publisher),
    }
}

/// One batch into one worker's memory, and what is due after it.
fn fold_one(fold: &mut Fold, job: &Job, index: usize, encoded: &Encoded) -> Result<Vec<Folded>> {
    let shared: &Shared = &job.shared;
    let control = &encoded.control;
    shared.timed(Stage::Fold, || fold.apply(&encoded.batch, control.again))?;
    if index == 0 {
        shared.rows.store(control.rows, Relaxed);
    }
    let mut out = Vec::new();
    if control.snapshot.is_some() {
        // what batches left free must not stand beside what a snapshot takes
        memory::give_back();
        shared.in_snapshot.fetch_add(1, Relaxed);
        shared.timed(Stage::Snapshot, || {
            out.extend(fold.snapshot(control.choose));
            out.extend(fold.notes().into_iter().map(Folded::Note));
        });
        shared.in_snapshot.fetch_sub(1, Relaxed);
    }
    if control.checkpoint {
        let saved = shared
            .timed(Stage::Checkpoint, || state::save(fold, &job.run, control.t + 1, |k| job.plan.tile_name(k)))?;
        out.extend(saved.into_iter().map(|s| Folded::Note(Note::Saved(s))));
    }
    if index == 0 && (control.snapshot.is_some() || control.checkpoint) {
        out.push(Folded::Note(Note::Due(control.clone())));
    }
    if control.snapshot.is_some() || control.checkpoint {
        memory::give_back();
    }
    Ok(out)
}
