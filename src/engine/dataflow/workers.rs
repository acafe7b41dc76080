//! The workers and processes that a run's dataflow runs in: how they start, agree on a checkpoint, and end.

use crate::corpus::Corpus;
use crate::engine::dataflow::clock::SaveClock;
use crate::engine::dataflow::cluster::Cluster;
use crate::engine::dataflow::graph::build;
use crate::engine::dataflow::line::Lines;
use crate::engine::dataflow::rendezvous::{Meeting, Peers};
use crate::engine::dataflow::schedule::Schedule;
use crate::engine::dataflow::source::{SourceParts, feed, now};
use crate::engine::job::Job;
use crate::error::{Error, Result, is_caught};
use crate::ids::BatchIndex;
use crate::store::{Manifest, differing_parts};
use crate::threads;
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Config, Hooks};
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::vec::{Broadcast, ToStream};
use timely::dataflow::operators::{Inspect, Probe};
use timely::worker::Worker;

/// A panic in one worker would leave the others waiting for ever, so it ends the process; peers see the closed socket and
/// end too. State on disk is a committed checkpoint at every moment, so nothing is lost.
pub fn abort_on_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if is_caught() {
            return;
        }
        let message = info.payload_as_str().unwrap_or("");
        // timely's own threads panic where another process is gone, or sends what is not timely's
        let speaks = std::thread::current()
            .name()
            .is_some_and(|name| name.starts_with("timely:send") || name.starts_with("timely:recv"));
        if speaks || message.contains("timely communication error") || message.contains("MergeQueue poisoned") {
            // the main thread hears the reason on the process's line, and ends with it
            std::thread::sleep(REASON_COMES);
            let _ = writeln!(
                std::io::stderr(),
                "error: lost contact with another process of this run; start all of them again to resume from the last checkpoint"
            );
            std::process::exit(i32::from(crate::error::ErrorKind::Machine.exit_code()));
        }
        if message.contains(" buzzer: ") {
            // a worker that has started waits for one that the system gave no thread for: the main thread ends the process, and says so
            std::thread::sleep(REASON_COMES);
            let _ = writeln!(std::io::stderr(), "error: not all worker threads could be started");
            std::process::exit(i32::from(crate::error::ErrorKind::Machine.exit_code()));
        }
        default(info);
        let _ =
            writeln!(std::io::stderr(), "this is a bug in cognate; the run can be resumed from its last checkpoint");
        std::process::exit(101);
    }));
}

/// How long a reason may take that another process has given for its end.
const REASON_COMES: Duration = Duration::from_secs(4);

/// Rows that an idle arrangement merges each time it is looked at.
const IDLE_EFFORT: isize = 10_000;

/// Runs the dataflow on every worker of this process and waits for the end.
///
/// # Errors
/// `Machine` when a worker cannot start or fails; the errors of the [`Meeting`].
pub fn execute(job: Job, meeting: Meeting, corpus: Option<Corpus>) -> Result<()> {
    let Some(Peers { data, encode, lines }) = meeting.wait()? else {
        job.status.request_stop();
        return Ok(());
    };
    let status = job.status.clone();
    let result = with_peers(job, data, &encode, corpus);
    if let Err(e) = &result {
        // the others hear it, and workers that have started end
        status.fail(e.clone());
    }
    lines.into_iter().for_each(Lines::leave);
    result
}

/// Runs the dataflow with the processes that were met, of which those encode that `encode` marks.
fn with_peers(job: Job, peers: Vec<Option<TcpStream>>, encode: &[bool], corpus: Option<Corpus>) -> Result<()> {
    let n = job.cluster.workers.max(1);
    let encoders = job.cluster.encoders(encode);
    let (workers, connections) = workers_of(&job.cluster, peers)?;
    let mut worker = timely::WorkerConfig::default();
    // arrangements are compacted between snapshots: their memory does not grow with the number of snapshots
    differential_dataflow::configure(
        &mut worker,
        &differential_dataflow::Config::default().idle_merge_effort(Some(IDLE_EFFORT)),
    );
    let status = job.status.clone();
    let first = job.resume.as_ref().map_or(0, |m| m.next_batch);
    let source = corpus.map(|corpus| -> Result<_> {
        let (every, twice) = (job.plan.spec().checkpoint.every, job.plan.reads_twice());
        let estimate = &job.plan.spec().estimate;
        let mut schedule = Schedule::new(estimate.snapshot_every, every, twice, estimate.listed > 0);
        schedule = match &job.resume {
            Some(manifest) => schedule.resumed(manifest.rows, manifest.snapshot, manifest.second_pass()),
            None => schedule,
        };
        let cursor = job.resume.as_ref().and_then(Manifest::cursor).map(ToString::to_string).unwrap_or_default();
        let due = job.resume.as_ref().and_then(|m| m.due);
        let due = due.map(|due| schedule.due(first.saturating_sub(1), due, cursor.clone()));
        let feed = feed(corpus, job.in_flight.clamp(1, 8) as usize, status.clone())?;
        Ok((feed, schedule, job.run.clone(), due, cursor))
    });
    let source = source.transpose()?;
    status.rows.store(job.resume.as_ref().map_or(0, |m| m.rows), Relaxed);
    // handed to the one worker that reads
    let source = Mutex::new(source);
    let several_processes = job.cluster.hosts.len() > 1;
    let job = Arc::new(job);
    let of_job = job.clone();
    let guards = timely::execute::execute_from(workers, connections, worker, move |worker| {
        let parts = (worker.index() == 0).then(|| source.lock().unwrap_or_else(|e| e.into_inner()).take()).flatten();
        let plan = of_job.plan.clone();
        let reopen = move || plan.open_corpus(plan.spec().corpus.clone());
        let parts = parts.map(|(feed, schedule, run, due, cursor)| SourceParts {
            reopen: of_job.plan.reads_twice().then(|| Box::new(reopen) as Box<dyn Fn() -> Result<Corpus>>),
            feed,
            schedule,
            start: first,
            due,
            cursor,
            in_flight: of_job.in_flight,
            stop_requested: Box::new(move || run.stop_requested()),
            clock: SaveClock::new(of_job.plan.spec().checkpoint.minutes, now()),
        });
        let probe = ProbeHandle::new();
        let Some(resume) = of_job.status.keep(agree(worker, &of_job)) else {
            return;
        };
        build(worker, &of_job, encoders.clone(), resume, parts, &probe);
        while !probe.done() && !of_job.status.failed() {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        if of_job.status.failed() {
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        }
    });
    // all that timely does here itself is to start threads, and its reason is a debug text
    let guards = guards.map_err(|_| threads::refused(&workers_in_words(n), None))?;
    if several_processes {
        // after a failure the peers would wait for us and we for them: leave, and they see the closed sockets
        while !status.failed() && guards.guards().iter().any(|g| !g.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if status.failed() {
            std::mem::forget(guards);
            return Ok(());
        }
    }
    for result in guards.join() {
        result.map_err(|e| Error::machine(format!("a worker ended badly: {e}")))?;
    }
    Ok(())
}

/// What timely's workers of this process are made of: threads alone, or threads and the connections to all `peers`.
fn workers_of(
    cluster: &Cluster,
    peers: Vec<Option<TcpStream>>,
) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>)> {
    let n = cluster.workers.max(1);
    if peers.is_empty() {
        let config = if n == 1 { Config::Thread } else { Config::Process(n) };
        config.try_build().map_err(|e| Error::machine(format!("cannot start the workers: {e}")))
    } else {
        let hooks = Hooks::default();
        let threads = ProcessBuilder::new_typed_vector(n, hooks.refill.clone(), hooks.spill.clone());
        initialize_networking_from_sockets(threads, peers, cluster.process, n, hooks)
            .map(|(workers, guard)| {
                let workers = workers.into_iter().map(AllocatorBuilder::Tcp).collect();
                (workers, Box::new(guard) as Box<dyn Any + Send>)
            })
            .map_err(|e| match e.kind() {
                ErrorKind::WouldBlock => threads::refused("the threads that send to the other processes", Some(&e)),
                _ => Error::machine(format!("cannot start the workers: {e}")),
            })
    }
}

fn workers_in_words(n: usize) -> String {
    if n == 1 { "the worker thread".to_string() } else { format!("the {n} worker threads") }
}

/// What process 0 sends to the others: the parts of the fingerprint, the batch to begin at, the holder of the run
/// directory.
type Agreed = (BTreeMap<String, String>, Option<BatchIndex>, Option<(u32, String, u64)>);

/// Who holds the run directory, as this process sees it.
fn holder(job: &Job) -> Result<Option<(u32, String, u64)>> {
    Ok(job.run.holder()?.map(|(holder, _)| (holder.pid, holder.host, holder.started_unix)))
}

/// Where the run begins. Process 0 alone examines and repairs the run directory, then sends the result to the other processes.
/// They read the manifest only after they have received it.
///
/// # Errors
/// `State` when a process has other files than process 0, or sees another run directory.
fn agree(worker: &mut Worker, job: &Job) -> Result<Option<Arc<Manifest>>> {
    if job.cluster.hosts.len() < 2 {
        return Ok(job.resume.clone().map(Arc::new));
    }
    let mine = job.plan.fingerprint_parts();
    let word = match worker.index() {
        0 => Some((mine.clone(), job.resume.as_ref().map(|m| m.next_batch), holder(job)?)),
        _ => None,
    };
    let heard: Rc<RefCell<Option<Agreed>>> = Rc::default();
    let (sink, probe) = (heard.clone(), ProbeHandle::new());
    worker.dataflow::<BatchIndex, _, _>(|scope| {
        word.to_stream(scope)
            .broadcast()
            .inspect(move |word| *sink.borrow_mut() = Some(word.clone()))
            .probe_with(&probe);
    });
    while !probe.done() {
        if job.status.failed() {
            return Ok(None);
        }
        worker.step_or_park(Some(Duration::from_millis(1)));
    }
    let (theirs, next, holder) =
        heard.borrow_mut().take().expect("process 0 sends to every worker before the dataflow ends");
    if theirs != *mine {
        return Err(Error::state(format!(
            "process {} is not to do what process 0 does: {}; give every process the same files",
            job.cluster.process,
            differing_parts(&theirs, mine).join("; ")
        )));
    }
    if job.cluster.process == 0 {
        return Ok(job.resume.clone().map(Arc::new));
    }
    // the lock of the run directory names process 0, where both see one folder
    if self::holder(job)? != holder {
        return Err(Error::state(format!(
            "process {} does not see the run directory of process 0 at {}; --out must be one folder that all processes share",
            job.cluster.process,
            job.run.root().display()
        )));
    }
    let Some(next) = next else { return Ok(None) };
    let manifest = Manifest::read(&job.run.manifest())?;
    if manifest.next_batch != next {
        return Err(Error::state(format!(
            "process {} sees a run directory at batch {}, process 0 one at batch {next}; --out must be one \
             shared folder",
            job.cluster.process, manifest.next_batch
        )));
    }
    Ok(Some(Arc::new(manifest)))
}
