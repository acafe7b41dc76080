//! Are the other processes still there, and why did one end? A second connection to each, apart from the one for batches.
//!
//! Timely closes its connection in the same way when a worker fails and when it finishes. On a line, a process sends a sign of life every
//! second, its error when it fails, and a last word when it has finished. A silence is printed after [`Patience::tell`] and ends the run after
//! [`Patience::end`]; a line that closes without a last word ends the run at once.

use crate::engine::status::RunStatus;
use crate::error::{Error, Result};
use crate::threads;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a message at most; a longer one is cut.
const MESSAGE: usize = 4096;
/// Time between two looks at the lines.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between two words that a process is there.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(1);
/// How long a process that ends lets the others read its last word.
const LINGER: Duration = Duration::from_secs(2);

/// How long a process may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until a message is printed.
    pub(super) tell: Duration,
    /// Until the run ends.
    pub(super) end: Duration,
}

/// The patience in a run, and while its processes meet.
pub(super) const PATIENCE: Patience = Patience { tell: Duration::from_secs(10), end: Duration::from_secs(60) };

/// Since when a process has been silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    since: Instant,
    told: bool,
}

impl Silence {
    /// A process that was heard at `now`.
    pub(super) fn from(now: Instant) -> Silence {
        Silence { since: now, told: false }
    }

    /// Prints once that the process `name` is silent. Returns the failure from [`Patience::end`] on, as of `now`.
    pub(super) fn look(&mut self, name: &str, now: Instant, patience: Patience, tell: &dyn Fn(&str)) -> Option<String> {
        let silent = now.duration_since(self.since);
        let (so_far, end) = (silent.as_secs(), patience.end.as_secs());
        if silent >= patience.end {
            return Some(format!(
                "{name} has been silent for {so_far} s: stopped, out of memory, or its network is down"
            ));
        }
        if silent >= patience.tell && !std::mem::replace(&mut self.told, true) {
            tell(&format!("{name} has been silent for {so_far} s; the run ends after {end} s"));
        }
        None
    }
}

/// Called with messages about the other processes, for the user.
pub(super) type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A message on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The process is there.
    Alive,
    /// It has done its part.
    Done,
    /// It ends, and why: which process failed first, with its error.
    Failed(String),
}

/// The line to one process.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Line {
    /// Over a connection that was greeted.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn new(stream: TcpStream) -> io::Result<Line> {
        stream.set_nonblocking(true)?;
        Ok(Line { stream, heard: Vec::new() })
    }

    /// Says a word: a number, the length of the message (u16), the message.
    ///
    /// # Errors
    /// When the other side is gone, or has not read for so long that nothing more fits.
    pub(super) fn say(&mut self, word: &Word) -> io::Result<()> {
        let (number, message) = match word {
            Word::Alive => (0u8, ""),
            Word::Done => (1, ""),
            Word::Failed(why) => (2, why.as_str()),
        };
        let message = &message.as_bytes()[..message.len().min(MESSAGE)];
        let mut bytes = vec![number];
        bytes.extend((message.len() as u16).to_le_bytes());
        bytes.extend(message);
        // a few bytes per second: they fit where the other side reads
        self.stream.write_all(&bytes)
    }

    /// The next word, if a whole one has come.
    ///
    /// # Errors
    /// When the other side is gone, or sends bytes that are no word.
    pub(super) fn hear(&mut self) -> io::Result<Option<Word>> {
        let mut buffer = [0u8; 512];
        loop {
            if let [number, low, high, rest @ ..] = &self.heard[..] {
                let length = usize::from(u16::from_le_bytes([*low, *high]));
                if length > MESSAGE || *number > 2 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if rest.len() >= length {
                    let word = match number {
                        0 => Word::Alive,
                        1 => Word::Done,
                        _ => Word::Failed(String::from_utf8_lossy(&rest[..length]).into_owned()),
                    };
                    self.heard.drain(..3 + length);
                    return Ok(Some(word));
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.heard.extend(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Sends the last word on all lines and waits until the other sides have closed them, at most [`LINGER`]. A connection that is closed
/// while words are unread may lose the last one.
#[allow(clippy::disallowed_methods, reason = "patience with other processes")]
pub(super) fn leave_all(lines: impl Iterator<Item = Line>, word: &Word) {
    let since = Instant::now();
    let says =
        |mut line: Line| line.say(word).and_then(|()| line.stream.shutdown(Shutdown::Write)).is_ok().then_some(line);
    let mut open: Vec<Line> = lines.filter_map(says).collect();
    while since.elapsed() < LINGER && !open.is_empty() {
        open.retain_mut(|line| !matches!(line.hear(), Err(_) | Ok(Some(Word::Failed(_)))));
        std::thread::sleep(LOOK_EVERY.min(Duration::from_millis(10)));
    }
}

/// The lines to all other processes, looked after by a thread.
#[derive(Debug)]
pub(super) struct Lines {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A line, and what is known of the process at its end.
struct Other {
    /// As messages name it.
    name: String,
    line: Option<Line>,
    is_done: bool,
    silence: Silence,
}

impl Lines {
    /// Watches `lines`, given with the name of each process, until [`Lines::leave`]. `own` names this process. When another
    /// process fails, this process's `status` fails; `tell` is given the name of a silent process.
    ///
    /// # Errors
    /// `Machine` when the system gives no thread. The other processes are then told so.
    #[allow(clippy::disallowed_methods, reason = "patience with other processes")]
    pub(super) fn watch(
        own: String,
        lines: Vec<(String, Line)>,
        patience: Patience,
        status: Arc<RunStatus>,
        tell: Tell,
    ) -> Result<Lines> {
        let done = Arc::new(AtomicBool::new(false));
        let of_thread = done.clone();
        let silence = Silence::from(Instant::now());
        let others: Vec<Other> =
            lines.into_iter().map(|(name, line)| Other { name, line: Some(line), is_done: false, silence }).collect();
        let (sender, receiver) = channel();
        let name = own.clone();
        let watch = move || {
            if let Ok(others) = receiver.recv() {
                watch(&own, others, patience, &status, &of_thread, &*tell);
            }
        };
        match threads::start("lines", "the thread that watches the other processes", watch) {
            Ok(thread) => {
                // a thread that has started takes them
                let _ = sender.send(others);
                Ok(Lines { done, thread: Some(thread) })
            }
            Err(e) => {
                let last = Word::Failed(format!("{name} failed: {e}"));
                leave_all(others.into_iter().filter_map(|other| other.line), &last);
                Err(e)
            }
        }
    }

    /// Tells all others that this process is done, or why it failed, and waits until they have ended as well: timely
    /// ends a dataflow here when another process fails there, and only that process' last word distinguishes this from
    /// a normal end.
    pub(super) fn leave(mut self) {
        self.done.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "patience with other processes")]
fn watch(
    own: &str,
    mut others: Vec<Other>,
    patience: Patience,
    status: &RunStatus,
    done: &AtomicBool,
    tell: &dyn Fn(&str),
) {
    let mut said = Instant::now();
    let (mut why, mut said_done) = (None, false);
    while why.is_none() && !status.failed() {
        let now = Instant::now();
        if done.load(Relaxed) && !std::mem::replace(&mut said_done, true) {
            others.iter_mut().filter_map(|o| o.line.as_mut()).for_each(|line| drop(line.say(&Word::Done)));
        }
        if said_done && others.iter().all(|o| o.is_done || o.line.is_none()) {
            return;
        }
        if now.duration_since(said) >= SAY_EVERY {
            said = now;
            // one that does not take it is found gone, or silent, below
            others.iter_mut().filter_map(|o| o.line.as_mut()).for_each(|line| drop(line.say(&Word::Alive)));
        }
        for other in &mut others {
            why = why.or(other.look(now, patience, status, tell));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let last = Word::Failed(why.unwrap_or_else(|| {
        let error = status.error().map_or_else(String::new, |error| error.to_string());
        format!("{own} failed: {error}")
    }));
    leave_all(others.into_iter().filter_map(|other| other.line), &last);
}

impl Other {
    /// Reads the new words. Returns the first failure, in the text that is sent on to the other processes.
    fn look(&mut self, now: Instant, patience: Patience, status: &RunStatus, tell: &dyn Fn(&str)) -> Option<String> {
        let line = self.line.as_mut()?;
        let ended = loop {
            match line.hear() {
                Ok(Some(Word::Failed(why))) => {
                    status.fail(Error::machine(format!(
                        "{why}; mend that, then start all processes again to resume from the last checkpoint"
                    )));
                    return Some(why);
                }
                Ok(Some(Word::Done)) => self.is_done = true,
                Ok(Some(Word::Alive)) => self.silence = Silence::from(now),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        if self.is_done {
            // a finished process sends nothing more
            self.line = if ended { None } else { self.line.take() };
            return None;
        }
        let lost = if ended {
            format!("lost contact with another process of this run, {}", self.name)
        } else {
            self.silence.look(&self.name, now, patience, tell)?
        };
        status.fail(Error::machine(format!("{lost}; start all of them again to resume from the last checkpoint")));
        Some(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Both ends of a line.
    fn line() -> (Line, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let there = listener.accept().unwrap().0;
        (Line::new(here).unwrap(), Line::new(there).unwrap())
    }

    /// A watched end, its status, what it prints, and the other end.
    fn watched(patience: Patience) -> (Lines, Arc<RunStatus>, std::sync::mpsc::Receiver<String>, Line) {
        let (here, there) = line();
        let status = Arc::<RunStatus>::default();
        let (sender, told) = std::sync::mpsc::channel();
        let tell: Tell = Arc::new(move |text: &str| drop(sender.send(text.to_string())));
        let lines = vec![("process 1 at b:1".to_string(), here)];
        (Lines::watch("process 0".into(), lines, patience, status.clone(), tell).unwrap(), status, told, there)
    }

    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "it never came");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn words_arrive_whole_and_in_order() {
        let (mut here, mut there) = line();
        let long = "why ".repeat(2000);
        for word in [Word::Alive, Word::Failed("the disk is full".into()), Word::Failed(long.clone()), Word::Done] {
            here.say(&word).unwrap();
            let expected = match word {
                Word::Failed(why) => Word::Failed(why[..why.len().min(MESSAGE)].to_string()),
                other => other,
            };
            assert_eq!(until(|| there.hear().unwrap()), expected);
        }
        assert!(there.hear().unwrap().is_none());
        here.stream.write_all(&[9, 0, 0]).unwrap();
        assert_eq!(until(|| there.hear().err()).kind(), io::ErrorKind::InvalidData);
        drop(here);
    }

    #[test]
    fn a_failure_ends_the_others_with_its_reason_and_is_passed_on() {
        let (lines, status, _told, mut there) = watched(PATIENCE);
        there.say(&Word::Failed("process 1 failed: the disk is full".into())).unwrap();
        let error = until(|| status.error());
        assert!(error.to_string().starts_with("process 1 failed: the disk is full; mend that"), "{error}");
        assert_eq!(error.kind(), crate::error::ErrorKind::Machine);
        let passed_on = until(|| there.hear().unwrap().filter(|word| *word != Word::Alive));
        assert_eq!(passed_on, Word::Failed("process 1 failed: the disk is full".into()));
        drop(there);
        lines.leave();
        // one's own
        let (lines, status, _told, mut there) = watched(PATIENCE);
        status.fail(Error::input("bad line"));
        let said = until(|| there.hear().unwrap().filter(|word| *word != Word::Alive));
        assert_eq!(said, Word::Failed("process 0 failed: bad line".into()));
        drop(there);
        lines.leave();
    }

    #[test]
    fn a_line_that_closes_is_a_loss_unless_the_process_was_done() {
        let (lines, status, _told, there) = watched(PATIENCE);
        drop(there);
        let error = until(|| status.error()).to_string();
        assert!(error.starts_with("lost contact with another process of this run, process 1 at b:1"), "{error}");
        lines.leave();
        // done here, and a failure there
        let (lines, status, _told, mut there) = watched(PATIENCE);
        let leaving = std::thread::spawn(move || lines.leave());
        assert_eq!(until(|| there.hear().unwrap().filter(|word| *word != Word::Alive)), Word::Done);
        there.say(&Word::Failed("process 1 failed: late".into())).unwrap();
        leaving.join().unwrap();
        assert!(status.error().unwrap().to_string().starts_with("process 1 failed: late"));
        let (lines, status, _told, mut there) = watched(PATIENCE);
        there.say(&Word::Done).unwrap();
        drop(there);
        std::thread::sleep(4 * LOOK_EVERY);
        assert!(!status.failed());
        lines.leave();
    }

    #[test]
    fn silence_is_told_and_then_ends_the_run() {
        let [tell, end] = [2, 4].map(Duration::from_secs);
        let (lines, status, told, mut there) = watched(Patience { tell, end });
        // a sign of life in time restarts the clock
        std::thread::sleep(Duration::from_millis(1500));
        there.say(&Word::Alive).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        assert!(told.try_recv().is_err() && !status.failed());
        let heard = told.recv_timeout(2 * end).unwrap();
        assert!(heard.starts_with("process 1 at b:1 has been silent for 2 s"), "{heard}");
        let error = until(|| status.error()).to_string();
        assert!(error.contains("process 1 at b:1 has been silent for 4 s"), "{error}");
        assert!(told.try_recv().is_err(), "it is told once");
        drop(there);
        lines.leave();
    }
}
