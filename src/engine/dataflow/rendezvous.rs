//! How do the processes of one run find each other? A process calls the processes with lower numbers and is called by those with
//! higher numbers, while it opens its weights.
//!
//! Every connection begins with a greeting both ways ([`greeting`](super::greeting)). Callers are polled and never waited for, so
//! a stranger causes no delay. A process of another run is refused and named, and the meeting continues without it. A process that has
//! not come is waited for without limit, and named; one that came and has been silent for as long as in a run ends the meeting.

use crate::engine::dataflow::Cluster;
use crate::engine::dataflow::greeting::{Caller, Greeted, Heard, Kind, call};
use crate::engine::dataflow::line::{Line, Lines, PATIENCE, Patience, SAY_EVERY, Silence, Tell, Word, leave_all};
use crate::engine::status::RunStatus;
use crate::error::{Error, Result};
use crate::threads;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at incoming connections.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// When the missing processes are named: the first time, and from then on.
const NAME_MISSING: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// How long a process that fails looks for those that it has not met.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Most callers that are polled at once; a new one replaces the oldest.
const CALLERS: usize = 64;

/// The processes that were met.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// Connections for timely, to every process in order, `None` for this one; empty for one process alone.
    pub(super) data: Vec<Option<TcpStream>>,
    /// Of every process whether it encodes batches; empty for one process alone.
    pub(super) encode: Vec<bool>,
    /// The lines to the other processes, watched from the moment when all have met.
    pub(super) lines: Option<Lines>,
}

type Last = Arc<Mutex<Option<Word>>>;

/// The meeting of a run's processes, under way.
pub struct Meeting {
    thread: Option<JoinHandle<Result<Option<Peers>>>>,
    /// The last word of this process, where it ends before all have met.
    last: Last,
}

impl Meeting {
    /// Listens for the other processes of `cluster`, if there are any, and starts a thread that meets them. The meeting ends early
    /// when `stopped` is true. `tell` is given messages that name missing, refused or silent processes. After all have met, a
    /// failure of another process fails `status`.
    ///
    /// # Errors
    /// `Machine` when this process's address cannot be listened at, or the system gives no thread.
    pub fn begin(
        cluster: &Cluster,
        status: &Arc<RunStatus>,
        stopped: impl Fn() -> bool + Send + 'static,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Meeting> {
        Meeting::begin_with(cluster, PATIENCE, status, Last::default(), stopped, Arc::new(tell))
    }

    fn begin_with(
        cluster: &Cluster,
        patience: Patience,
        status: &Arc<RunStatus>,
        last: Last,
        stopped: impl Fn() -> bool + Send + 'static,
        tell: Tell,
    ) -> Result<Meeting> {
        if cluster.hosts.len() < 2 {
            return Ok(Meeting { thread: None, last });
        }
        let (cluster, listener, word) = (cluster.clone(), listen(cluster)?, last.clone());
        let ended = move || word.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let status = status.clone();
        let thread = threads::start("meeting", "the thread that meets the other processes", move || {
            let Some(found) = meet(&cluster, &listener, patience, &stopped, &ended, &*tell)? else { return Ok(None) };
            let mut peers = Peers::default();
            let mut lines = Vec::new();
            for (j, Found { data, line, encodes, .. }) in found.into_iter().enumerate() {
                peers.data.push(data);
                peers.encode.push(encodes);
                lines.extend(line.map(|line| (format!("process {j} at {}", cluster.hosts[j]), line)));
            }
            peers.lines = Some(Lines::watch(format!("process {}", cluster.process), lines, patience, status, tell)?);
            Ok(Some(peers))
        })?;
        Ok(Meeting { thread: Some(thread), last })
    }

    /// Waits until all processes have met; `None` when the meeting was stopped. A single process meets no other.
    ///
    /// # Errors
    /// `Request` when another process was started for a run that is divided otherwise; `Machine` when one that was met fails.
    pub(super) fn wait(self) -> Result<Option<Peers>> {
        match self.thread {
            Some(thread) => thread.join().map_err(|_| Error::machine("the thread that meets other processes ended"))?,
            None => Ok(Some(Peers::default())),
        }
    }

    /// Ends the meeting because this process has failed, and sends the error to the others. Processes that have not come yet are
    /// waited for, at most five seconds.
    pub fn fail(self, cluster: &Cluster, status: &RunStatus, error: &Error) {
        *self.last.lock().unwrap_or_else(|e| e.into_inner()) = Some(failure(cluster, error));
        status.fail(error.clone());
        if let Ok(Some(Peers { lines: Some(lines), .. })) = self.wait() {
            lines.leave();
        }
    }

    /// The same for a process that ends before its meeting has begun: because of `error`, or because nothing is left to do.
    pub fn instead(cluster: &Cluster, error: Option<&Error>) {
        let word = error.map_or(Word::Done, |error| failure(cluster, error));
        if cluster.hosts.len() > 1
            && let Ok(listener) = listen(cluster)
        {
            let _ = meet(cluster, &listener, PATIENCE, &|| false, &|| Some(word.clone()), &|_| ());
        }
    }
}

fn failure(cluster: &Cluster, error: &Error) -> Word {
    Word::Failed(format!("process {} failed: {error}", cluster.process))
}

fn listen(cluster: &Cluster) -> Result<TcpListener> {
    let own = &cluster.hosts[cluster.process];
    TcpListener::bind(own).and_then(|l| l.set_nonblocking(true).map(|()| l)).map_err(|e| {
        Error::machine(format!(
            "cannot listen at {own} as process {}: {e}; its line of --hosts must be a free address of this machine",
            cluster.process
        ))
    })
}

/// What is there of a process.
#[derive(Default)]
struct Found {
    data: Option<TcpStream>,
    line: Option<Line>,
    /// Whether it has sent on the line that it stays in the run; one that only connected to send its error has not.
    stays: bool,
    /// Whether it encodes batches.
    encodes: bool,
    /// On the line.
    silence: Option<Silence>,
    /// Why the last call did not go through.
    trouble: Option<io::Error>,
}

impl Found {
    fn is_whole(&self) -> bool {
        self.data.is_some() && self.line.is_some() && self.stays
    }

    /// A process that calls again was restarted before its end was noticed. If this process stays in the run, it is
    /// sent that.
    #[allow(clippy::disallowed_methods, reason = "patience with other processes")]
    fn put(&mut self, kind: Kind, (stream, encodes): (TcpStream, bool), stay: bool) {
        self.encodes = encodes;
        match kind {
            Kind::Data => self.data = Some(stream),
            Kind::Line => {
                self.stays = false;
                self.line = Line::new(stream).ok();
                self.silence = Some(Silence::from(Instant::now()));
                self.line.iter_mut().filter(|_| stay).for_each(|line| drop(line.say(&Word::Alive)));
            }
        }
    }

    /// Drops connections that were closed. Returns the last word of a process that has ended.
    #[allow(clippy::disallowed_methods, reason = "patience with other processes")]
    fn look(&mut self) -> Option<Word> {
        self.data.take_if(|data| is_gone(data));
        while let Some(line) = &mut self.line {
            match line.hear() {
                Ok(None) => break,
                Ok(Some(Word::Alive)) => {
                    self.stays = true;
                    self.silence = Some(Silence::from(Instant::now()));
                }
                Ok(Some(word)) => return Some(word),
                Err(_) => self.line = None,
            }
        }
        None
    }
}

#[allow(clippy::disallowed_methods, reason = "patience with other processes")]
fn meet(
    cluster: &Cluster,
    listener: &TcpListener,
    patience: Patience,
    stopped: &dyn Fn() -> bool,
    ended: &dyn Fn() -> Option<Word>,
    tell: &dyn Fn(&str),
) -> Result<Option<Vec<Found>>> {
    let (me, hosts) = (cluster.process, &cluster.hosts);
    let mut found: Vec<Found> = hosts.iter().map(|_| Found::default()).collect();
    found[me].encodes = cluster.encodes;
    let mut callers: Vec<Caller> = Vec::new();
    let (begun, mut tell_at) = (Instant::now(), NAME_MISSING[0]);
    let (mut ending, mut said) = (None, begun);
    loop {
        if stopped() {
            return Ok(None);
        }
        let last = ended();
        let stay = last.is_none();
        for (j, found) in found.iter_mut().enumerate().take(me) {
            for kind in Kind::ALL {
                let is_there = if kind == Kind::Data { found.data.is_some() } else { found.line.is_some() };
                if is_there {
                    continue;
                }
                match connect(&hosts[j]) {
                    Ok(stream) => {
                        call(cluster, stream, j, kind)?.into_iter().for_each(|met| found.put(kind, met, stay))
                    }
                    Err(e) => {
                        found.trouble = Some(e);
                        break;
                    }
                }
            }
        }
        while let Ok((stream, _)) = listener.accept() {
            callers.extend(Caller::new(stream));
            if callers.len() > CALLERS {
                callers.remove(0);
            }
        }
        let mut waiting = Vec::new();
        for mut caller in callers {
            match caller.look(cluster) {
                Heard::Nothing => waiting.push(caller),
                Heard::Stranger => {}
                Heard::Refused(error) => tell(&format!("refused a process that called: {error}")),
                Heard::Met(Greeted { process: j, kind, encodes }) => {
                    caller.into_stream().into_iter().for_each(|stream| found[j].put(kind, (stream, encodes), stay))
                }
            }
        }
        callers = waiting;
        if let Some(word) = found.iter_mut().find_map(Found::look) {
            say_to_all(found, &word);
            return match word {
                Word::Failed(why) => Err(Error::machine(format!("{why}; mend that, then start all processes again"))),
                // there is nothing to do
                Word::Done | Word::Alive => Ok(None),
            };
        }
        for (j, other) in found.iter_mut().enumerate().filter(|(_, other)| other.line.is_some()) {
            let (name, now) = (format!("process {j} at {}", hosts[j]), Instant::now());
            if let Some(lost) = other.silence.as_mut().and_then(|s| s.look(&name, now, patience, tell)) {
                say_to_all(found, &Word::Failed(lost.clone()));
                return Err(Error::machine(format!("{lost}; start all processes again")));
            }
        }
        let are_lined = (0..hosts.len()).all(|j| j == me || found[j].line.is_some());
        if let Some(word) = last {
            if are_lined || ending.get_or_insert_with(Instant::now).elapsed() > TOLD_WITHIN {
                say_to_all(found, &word);
                return Ok(None);
            }
        } else if (0..hosts.len()).all(|j| j == me || found[j].is_whole()) {
            if !found.iter().any(|found| found.encodes) {
                let error = Error::request(
                    "all processes were started with --devices none, and none encodes batches; name devices for one of them at least",
                );
                // one that has not seen all of them yet would call for ever
                say_to_all(found, &failure(cluster, &error));
                return Err(error);
            }
            return Ok(Some(found));
        }
        if stay && said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            found.iter_mut().filter_map(|f| f.line.as_mut()).for_each(|line| drop(line.say(&Word::Alive)));
        }
        if begun.elapsed() > tell_at {
            let missing = (0..hosts.len()).filter(|&j| j != me && !found[j].is_whole());
            let missing: Vec<String> = missing
                .map(|j| match &found[j].trouble {
                    Some(e) => format!("process {j} at {} ({e})", hosts[j]),
                    None => format!("process {j} at {}", hosts[j]),
                })
                .collect();
            tell(&format!("waiting for {}", missing.join(", ")));
            tell_at += NAME_MISSING[1];
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Tells every process that was met that the run ends, and why.
fn say_to_all(found: Vec<Found>, word: &Word) {
    leave_all(found.into_iter().filter_map(|f| f.line), word);
}

fn connect(host: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Whether the other side has hung up.
fn is_gone(stream: &TcpStream) -> bool {
    let seen = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let back = stream.set_nonblocking(false);
    back.is_err() || !matches!(seen, Ok(1..)) && !seen.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests;
