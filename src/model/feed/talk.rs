//! How are bytes exchanged with a feed? A connection is opened, both sides greet with one line of JSON, then requests and answers are
//! record batches of one Arrow IPC stream each way, an answer for each request. What is in an answer is checked in `answer.rs`.
//!
//! A feed that is started here has one end of a socket pair as its standard input and output, so that the time it may be silent is kept
//! for both kinds in the same way.

use super::asked::Asked;
use super::options::FeedOptions;
use crate::error::{Error, Result, caught};
use crate::halt::Halt;
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use serde::Deserialize;
use serde_json::json;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Version of what is exchanged.
const PROTOCOL: u32 = 1;
/// Bytes of a greeting at most.
const GREETING_BYTES: usize = 64 << 10;
/// Characters of what a feed states of its model at most.
const STATED_CHARS: usize = 512;
/// What every message of an Arrow stream begins with.
const BEGINS: [u8; 4] = [0xff; 4];
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Milliseconds between two polls.
const LOOK_MS: u64 = 50;
/// Polls of a process that was asked to end, before it is killed.
const GRACE_LOOKS: u32 = 100;
/// How long a feed may take to answer once a stop is asked for.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// An open connection.
pub(super) struct Talk {
    stream: UnixStream,
    /// From the first request on.
    requests: Option<StreamWriter<BufWriter<UnixStream>>>,
    answers: StreamDecoder,
    /// Read and not yet decoded.
    rest: Buffer,
    /// The process, where it was started here.
    child: Option<Child>,
    silence: u64,
    states: Option<String>,
    /// Whether a stop is asked for.
    halt: Arc<Mutex<Halt>>,
}

/// The line that a feed sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    cognate_feed: u32,
    #[serde(default)]
    states: Option<String>,
}

impl Talk {
    /// Starts the feed or connects to it, and greets. `asked` is what every answer must hold.
    ///
    /// # Errors
    /// `Request` for a program that is not there; `Machine` for a feed that does not come, or ends; `Input` for a greeting that is none.
    pub fn open(model: &str, options: &FeedOptions, asked: &[Asked], halt: Arc<Mutex<Halt>>) -> Result<Talk> {
        let (stream, child) = match &options.socket {
            Some(socket) => (connect(socket, options.wait)?, None),
            None => start(model, &options.command)?,
        };
        let mut talk = Talk {
            stream,
            requests: None,
            answers: StreamDecoder::new(),
            rest: Buffer::default(),
            child,
            silence: options.silence,
            states: None,
            halt,
        };
        talk.limit_writing(options.wait)?;
        talk.greet(model, options.wait, asked)?;
        talk.limit_writing(options.silence)?;
        Ok(talk)
    }

    /// What the feed states of its model.
    pub fn states(&self) -> Option<&str> {
        self.states.as_deref()
    }

    /// One request and its answer, of at most `limit` bytes; `what` names it.
    ///
    /// # Errors
    /// `Machine` for a feed that ends or is silent for too long; `Input` for an answer that is no record batch, or a longer one.
    pub fn ask(&mut self, request: &RecordBatch, limit: u64, what: &str) -> Result<RecordBatch> {
        self.send(request, what)?;
        let (mut n_bytes, mut n_begun) = (self.rest.len() as u64, 0);
        loop {
            let mut rest = std::mem::take(&mut self.rest);
            let begins: Vec<u8> = rest.iter().copied().take(BEGINS.len() - n_begun).collect();
            if begins[..] != BEGINS[n_begun..n_begun + begins.len()] {
                // without a look at this, a text is taken for the length of a message that never comes
                return Err(no_batch(what, &format!("they begin with {:?}", in_short(&rest))));
            }
            n_begun += begins.len();
            let decoded = caught(|| self.answers.decode(&mut rest).map(|batch| (batch, rest)));
            let decoded = decoded.unwrap_or_else(|| Err(ArrowError::IpcError("its parts do not fit".into())));
            let (batch, rest) = decoded.map_err(|e| no_batch(what, &e.to_string()))?;
            self.rest = rest;
            if let Some(batch) = batch {
                return Ok(batch);
            }
            let mut chunk = vec![0; CHUNK_BYTES];
            let n = self.read(&mut chunk, self.silence, what)?;
            n_bytes += n as u64;
            if n == 0 {
                return Err(self.ended(what, n_bytes));
            }
            if n_bytes > limit {
                return Err(Error::input(format!(
                    "its feed answers {what} with more than {limit} bytes, which is more than an answer to it can have; it must answer \
                     with one row for each token and what was asked for, of latents those that fire, at most `most` of them"
                )));
            }
            chunk.truncate(n);
            self.rest = Buffer::from_vec(chunk);
        }
    }

    fn send(&mut self, request: &RecordBatch, what: &str) -> Result<()> {
        let write = |requests: &mut Option<StreamWriter<_>>, stream: &UnixStream| -> Result<(), ArrowError> {
            let mut writer = match requests.take() {
                Some(writer) => writer,
                None => StreamWriter::try_new(BufWriter::new(stream.try_clone()?), &request.schema())?,
            };
            writer.write(request)?;
            writer.flush()?;
            *requests = Some(writer);
            Ok(())
        };
        write(&mut self.requests, &self.stream).map_err(|e| match e {
            ArrowError::IoError(_, e) if is_timeout(e.kind()) => silent(&format!("did not read {what}"), self.silence),
            ArrowError::IoError(..) => self.ended(what, 0),
            e => Error::machine(format!("{what} cannot be written for its feed: {e}")),
        })
    }

    fn greet(&mut self, model: &str, wait: u64, asked: &[Asked]) -> Result<()> {
        let asks: Vec<_> = asked.iter().map(Asked::as_json).collect();
        let line = json!({ "cognate_feed": PROTOCOL, "model": model, "asks": asks });
        const WHAT: &str = "the greeting";
        let sent = writeln!(&self.stream, "{line}");
        sent.map_err(|e| {
            if is_timeout(e.kind()) { silent("did not read the greeting", wait) } else { self.ended(WHAT, 0) }
        })?;
        let mut said: Vec<u8> = Vec::new();
        let end = loop {
            if let Some(end) = said.iter().position(|b| *b == b'\n') {
                break end;
            }
            if said.len() > GREETING_BYTES {
                return Err(no_greeting(&said));
            }
            let mut chunk = [0; 4096];
            let n = self.read(&mut chunk, wait, WHAT)?;
            if n == 0 {
                return Err(if said.is_empty() { self.ended(WHAT, 0) } else { no_greeting(&said) });
            }
            said.extend_from_slice(&chunk[..n]);
        };
        let greeting: Greeting = serde_json::from_slice(&said[..end]).map_err(|_| no_greeting(&said[..end]))?;
        if greeting.cognate_feed != PROTOCOL {
            return Err(Error::input(format!(
                "its feed speaks version {} of the protocol, this program version {PROTOCOL}; install the package of this version \
                 where the feed runs",
                greeting.cognate_feed
            )));
        }
        if let Some(n) = greeting.states.as_ref().map(|s| s.chars().count()).filter(|n| *n > STATED_CHARS) {
            return Err(Error::input(format!(
                "its feed states {n} characters of its model, expected {STATED_CHARS} at most; state a digest"
            )));
        }
        self.states = greeting.states;
        self.rest = Buffer::from_slice_ref(&said[end + 1..]);
        Ok(())
    }

    /// Reads what is there, up to the length of `into`; 0 at the end.
    #[allow(clippy::disallowed_methods, reason = "patience with another process")]
    fn read(&mut self, into: &mut [u8], seconds: u64, what: &str) -> Result<usize> {
        let since = Instant::now();
        let mut asked_to_stop: Option<Instant> = None;
        loop {
            match self.stream.read(into) {
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_timeout(e.kind()) => {
                    if since.elapsed() >= Duration::from_secs(seconds) {
                        return Err(silent(&format!("sent nothing while {what} was awaited"), seconds));
                    }
                    if self.halt.lock().unwrap_or_else(PoisonError::into_inner).is_asked()
                        && asked_to_stop.get_or_insert_with(Instant::now).elapsed() >= LAST_ANSWER
                    {
                        return Err(stopped(what));
                    }
                }
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(e) => return Err(Error::machine(format!("{what} cannot be read from its feed: {e}"))),
            }
        }
    }

    /// Reading is looked at more often ([`Talk::read`]).
    fn limit_writing(&self, seconds: u64) -> Result<()> {
        let [look, limit] = [Duration::from_millis(LOOK_MS), Duration::from_secs(seconds)].map(Some);
        let set = self.stream.set_read_timeout(look).and_then(|()| self.stream.set_write_timeout(limit));
        set.map_err(|e| Error::machine(format!("the connection to its feed takes no limit of time: {e}")))
    }

    /// The error of a feed that is gone.
    fn ended(&mut self, what: &str, n_bytes: u64) -> Error {
        let how = self
            .child
            .as_mut()
            .and_then(|child| ended(child, GRACE_LOOKS))
            .map(|how| format!(" ({how})"))
            .unwrap_or_default();
        let part = if n_bytes > 0 { format!(", {n_bytes} bytes into it") } else { String::new() };
        let remedy = match (n_bytes, how.contains("exit status: 0")) {
            (0, true) => "a feed answers until the run closes the connection: let its loop run to the end",
            _ => "see what it said, mend that, and give the same command again",
        };
        Error::machine(format!("its feed ended{how} while {what} was awaited{part}; {remedy}"))
    }
}

impl Drop for Talk {
    /// Closes the connection, which ends the requests, and waits for a feed that was started here.
    fn drop(&mut self) {
        // a connection that is lost is closed already
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(child) = &mut self.child
            && ended(child, GRACE_LOOKS).is_none()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a process ended, after at most this many polls; `None` while it runs.
fn ended(child: &mut Child, looks: u32) -> Option<String> {
    (0..looks).find_map(|look| {
        if look > 0 {
            sleep(Duration::from_millis(LOOK_MS));
        }
        child.try_wait().ok().flatten().map(|status| status.to_string())
    })
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn silent(how: &str, seconds: u64) -> Error {
    Error::machine(format!(
        "its feed {how}, for {seconds} s; if it needs longer, raise feed.wait (until it has greeted) or feed.silence (for an answer), then give \
         the same command again"
    ))
}

/// The error of a stop that a feed's answer kept waiting.
fn stopped(what: &str) -> Error {
    Error::new(
        crate::error::ErrorKind::Interrupted,
        format!(
            "stopped as asked; its feed had not answered {what} {} s later, so what was read since the last checkpoint is read again when \
             the same command resumes",
            LAST_ANSWER.as_secs()
        ),
    )
}

fn in_short(said: &[u8]) -> String {
    String::from_utf8_lossy(&said[..said.len().min(60)]).into_owned()
}

fn no_batch(what: &str, why: &str) -> Error {
    Error::input(format!(
        "its feed answers {what} with bytes that are no Arrow record batch ({why}); it must write nothing else to where it answers"
    ))
}

fn no_greeting(said: &[u8]) -> Error {
    let said = in_short(said);
    Error::input(format!(
        "its feed began with {said:?}, expected one line of JSON, {{\"cognate_feed\": {PROTOCOL}, \"states\": TEXT or null}}; it must write \
         nothing else to where it answers (cognate.Feed sees to that)"
    ))
}

/// Connects to a socket, which may take a while to appear.
fn connect(socket: &str, wait: u64) -> Result<UnixStream> {
    let looks = wait.saturating_mul(1000 / LOOK_MS);
    for look in 0.. {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) && look < looks => {
                sleep(Duration::from_millis(LOOK_MS));
            }
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                return Err(Error::request(format!(
                    "feed.socket {socket:?} cannot be a socket ({e}); choose a shorter path"
                )));
            }
            Err(e) => {
                return Err(Error::machine(format!(
                    "no feed listens at {socket}, which was tried for {wait} s ({e}); start it, or raise feed.wait"
                )));
            }
        }
    }
    unreachable!("the loop ends by itself")
}

/// Starts the feed.
fn start(model: &str, command: &[String]) -> Result<(UnixStream, Option<Child>)> {
    let machine = |e: std::io::Error| Error::machine(format!("its feed cannot be connected: {e}"));
    let (ours, theirs) = UnixStream::pair().map_err(machine)?;
    let end = || theirs.try_clone().map(|end| Stdio::from(OwnedFd::from(end))).map_err(machine);
    let program = command.first().map_or("", String::as_str);
    let child = Command::new(program)
        .args(command.iter().skip(1))
        .stdin(end()?)
        .stdout(end()?)
        .env("COGNATE_FEED", model)
        // Ctrl-C in a terminal is for the run, which closes the connection when its state is saved
        .process_group(0)
        .spawn()
        .map_err(|e| {
            Error::request(format!(
                "its feed cannot be started: {program}: {e}; check feed.command (a program and its arguments)"
            ))
        })?;
    Ok((ours, Some(child)))
}
