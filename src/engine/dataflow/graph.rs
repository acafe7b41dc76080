//! One worker's dataflow, put together: batches in, encoded, folded in order, viewed and published.

use crate::engine::dataflow::encode::encode;
use crate::engine::dataflow::fold::{fold, notes_of};
use crate::engine::dataflow::publish::publish;
use crate::engine::dataflow::source::{SourceParts, batches};
use crate::engine::dataflow::views::views;
use crate::engine::job::Job;
use crate::ids::BatchIndex;
use crate::store::Manifest;
use std::sync::Arc;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::Probe;
use timely::worker::Worker;

/// Puts together one worker's dataflow, from the checkpoint `resume` on; the workers `encoders` encode. `parts` on the worker that reads; `probe` shows which
/// batches are finished.
pub fn build(
    worker: &mut Worker,
    job: &Arc<Job>,
    encoders: Vec<u64>,
    resume: Option<Arc<Manifest>>,
    parts: Option<SourceParts>,
    probe: &ProbeHandle<BatchIndex>,
) {
    let (index, peers) = (worker.index(), worker.peers());
    worker.dataflow::<BatchIndex, _, _>(|scope| {
        let work = batches(scope, parts, probe.clone(), job.status.clone());
        let encoded = encode(scope, work, job.clone(), encoders, [index, peers]);
        let folded = fold(encoded, job.clone(), resume, index, peers);
        let maintained = views(folded.clone(), job.plan.spec().estimate.best);
        publish(maintained, notes_of(folded), job.clone(), index).probe_with(probe);
    });
}
