//! Batches into the dataflow: a reader thread ahead, a source operator that admits as many as may be in flight.
//!
//! Worker 0 of process 0 alone reads and decides; every batch carries what is due after it.

use crate::corpus::{Corpus, TokenBatch};
use crate::engine::dataflow::clock::SaveClock;
use crate::engine::dataflow::schedule::{self, Schedule};
use crate::engine::message::{Control, Next, Pass, PendingBatch};
use crate::engine::status::{RunStatus, Stage, Unpublished};
use crate::error::Result;
use crate::ids::BatchIndex;
use crate::threads;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::source;
use timely::dataflow::{ProbeHandle, Scope, Stream};

/// A batch read ahead, with what is known only to the reader.
pub struct Fed {
    tokens: TokenBatch,
    /// Position in the corpus after it, as JSON.
    cursor: String,
    /// Whether it is the last.
    last: bool,
}

/// Reads ahead in a thread of its own, at most `ahead` batches.
///
/// # Errors
/// `Machine` when the thread cannot be started.
pub fn feed(mut corpus: Corpus, ahead: usize, status: Arc<RunStatus>) -> Result<Receiver<Result<Fed>>> {
    let (sender, receiver) = sync_channel(ahead);
    threads::start("reader", "the thread that reads the corpus", move || {
        if let Err(error) = read_all(&mut corpus, &sender, &status) {
            let _ = sender.send(Err(error));
        }
    })?;
    Ok(receiver)
}

fn read_all(corpus: &mut Corpus, sender: &SyncSender<Result<Fed>>, status: &RunStatus) -> Result<()> {
    let mut next = status.timed(Stage::Read, || corpus.next_batch())?;
    while let Some(tokens) = next {
        let cursor = serde_json::to_string(&corpus.cursor()).expect("a cursor is plain data");
        next = status.timed(Stage::Read, || corpus.next_batch())?;
        let progress = corpus.progress();
        status.bytes_done.store(progress.bytes_done, Relaxed);
        status.bytes_total.store(progress.bytes_total, Relaxed);
        status.skipped_records.store(progress.skipped_records, Relaxed);
        status.documents.store(progress.documents, Relaxed);
        *status.labelled.lock().unwrap_or_else(|e| e.into_inner()) = progress.labelled;
        status.left_out_documents.store(progress.left_out_documents, Relaxed);
        status.unaligned_documents.store(progress.in_no_row.unaligned_documents, Relaxed);
        status.dropped_bytes.store(progress.in_no_row.bytes, Relaxed);
        status.cut_units.store(progress.in_no_row.cut_units, Relaxed);
        if progress.skipped_records > 0 {
            *status.first_skips.lock().unwrap_or_else(|e| e.into_inner()) = progress.first_skips;
        }
        if let Some(first) = progress.first_surrogate {
            let found = (progress.replaced_surrogates, first);
            *status.surrogates.lock().unwrap_or_else(|e| e.into_inner()) = Some(found);
        }
        if sender.send(Ok(Fed { tokens, cursor, last: next.is_none() })).is_err() {
            return Ok(()); // the run has ended
        }
    }
    Ok(())
}

/// What the source operator needs on the worker that reads.
pub struct SourceParts {
    pub feed: Receiver<Result<Fed>>,
    pub schedule: Schedule,
    /// First batch.
    pub start: BatchIndex,
    /// A snapshot that is due before it.
    pub due: Option<Control>,
    /// Position in the corpus after the last batch, as JSON.
    pub cursor: String,
    /// Batches that may be unfinished at once.
    pub in_flight: u64,
    /// Checks for a stop request from outside this process.
    pub stop_requested: Box<dyn Fn() -> bool>,
    /// When the state is saved, however few tokens have passed.
    pub clock: SaveClock,
    /// Opens the corpus at its beginning, where it is to be read twice.
    pub reopen: Option<Box<dyn Fn() -> Result<Corpus>>>,
}

/// What reading came to.
enum Read {
    /// The reader is not that far.
    NotYet,
    /// Nothing more to read: a run that resumes at its very end.
    End,
    /// `is_last`: none comes after it.
    Batch { work: PendingBatch, is_last: bool },
}

impl SourceParts {
    /// What is read next, as batch `t`, with what is due after it.
    ///
    /// # Errors
    /// Those of the corpus.
    fn read(&mut self, t: BatchIndex, status: &Arc<RunStatus>) -> Result<Read> {
        let fed = match self.feed.try_recv() {
            Err(TryRecvError::Empty) => return Ok(Read::NotYet),
            Err(TryRecvError::Disconnected) => return Ok(Read::End),
            Ok(fed) => fed?,
        };
        let stop = status.stop_requested() || (self.stop_requested)();
        debug_assert_eq!(fed.tokens.index + self.schedule.batches_before(), t, "batches come in order");
        let n_rows = fed.tokens.n_rows() as u64;
        self.cursor.clone_from(&fed.cursor);
        let read = schedule::Read { t, n_rows, is_last: fed.last, cursor: fed.cursor };
        let mut control = self.schedule.next(read, status.converged(), stop || self.clock.is_due(now()));
        if control.checkpoint.is_some() {
            self.clock.begin(now());
        }
        if let (Next::SecondPass, Some(checkpoint)) = (control.next, &mut control.checkpoint) {
            checkpoint.cursor = self.begin_again(status, &checkpoint.cursor)?;
        }
        if control.pass == Pass::First {
            control.listing = status.take_listing();
        }
        let is_last = control.is_last() || stop;
        Ok(Read::Batch { work: PendingBatch { control, tokens: Arc::new(fed.tokens) }, is_last })
    }

    /// Saves the state before batch `t`, with the snapshot that was left unpublished; nothing where that is done.
    fn stop(&self, t: BatchIndex, left: Unpublished) -> Option<Control> {
        (!left.is_saved).then(|| self.schedule.stop(t, left.due, self.cursor.clone()))
    }

    /// Goes back to the corpus' first batch, `end` being the position after the first pass; gives the position there.
    fn begin_again(&mut self, status: &Arc<RunStatus>, end: &str) -> Result<String> {
        let reopen = self.reopen.as_ref().expect("asked for where the corpus is read twice");
        let mut corpus = reopen()?;
        corpus.follow(serde_json::from_str(end).expect("the cursor of a batch is plain data"));
        let cursor = serde_json::to_string(&corpus.cursor()).expect("a cursor is plain data");
        self.feed = feed(corpus, self.in_flight.clamp(1, 8) as usize, status.clone())?;
        Ok(cursor)
    }
}

#[allow(clippy::disallowed_methods, reason = "when state is saved changes no number")]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The stream of batches; `parts` on the reading worker, `None` on the others.
pub fn batches<'scope>(
    scope: Scope<'scope, BatchIndex>,
    parts: Option<SourceParts>,
    probe: ProbeHandle<BatchIndex>,
    status: Arc<RunStatus>,
) -> Stream<'scope, BatchIndex, Vec<PendingBatch>> {
    source::<_, CapacityContainerBuilder<Vec<PendingBatch>>, _, _>(scope, "Batches", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut state = parts.map(|p| (p, capability));
        let mut held_until: Option<BatchIndex> = None;
        let mut next: BatchIndex = state.as_ref().map_or(0, |(p, _)| p.start);
        let alone = |control: Control| PendingBatch { control, tokens: Arc::default() };
        move |output| {
            if let Some((parts, capability)) = state.as_mut()
                && let Some(control) = parts.due.take()
            {
                let is_last = control.is_last();
                held_until = Some(control.t);
                capability.downgrade(&control.t);
                output.session(&*capability).give(alone(control));
                if is_last {
                    state = None;
                } else {
                    capability.downgrade(&next);
                }
            }
            // as many batches as may be in flight: the other workers have work while this one encodes
            while let Some((parts, capability)) = state.as_mut() {
                if status.failed() {
                    state = None;
                    return;
                }
                let again = Duration::from_micros(200);
                let open = |t: BatchIndex| probe.less_than(&(t + 1)); // t is not finished
                let full = next >= parts.start + parts.in_flight && open(next - parts.in_flight);
                if full || held_until.is_some_and(open) {
                    return activator.activate_after(again);
                }
                if held_until.take().is_some() {
                    parts.clock.end(now());
                }
                if let Some(left) = status.unpublished() {
                    if let Some(control) = parts.stop(next, left) {
                        capability.downgrade(&next);
                        output.session(&*capability).give(alone(control));
                    }
                    state = None;
                    return;
                }
                match status.keep(parts.read(next, &status)) {
                    None | Some(Read::End) => state = None,
                    Some(Read::NotYet) => return activator.activate_after(again),
                    Some(Read::Batch { work, is_last }) => {
                        // due work is done before the next batch is read: a commit must be alone, and the memory of a
                        // snapshot is not needed at the same time as the memory of batches in flight
                        if work.control.is_due() {
                            held_until = Some(next);
                        }
                        capability.downgrade(&next);
                        output.session(&*capability).give(work);
                        next += 1;
                        if is_last {
                            state = None;
                        } else {
                            capability.downgrade(&next);
                        }
                    }
                }
            }
        }
    })
}
