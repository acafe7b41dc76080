//! What do two processes send first? A greeting that states which process calls, for which of two connections, how the run is
//! divided, and whether the process encodes batches. With a shared secret, each then proves that it knows the secret.
//!
//! A greeting is [`LENGTH`] bytes: magic, six u32 (little endian), a nonce of 32 bytes. The proof is BLAKE3, keyed by the secret,
//! of the prover's greeting followed by the other greeting. A proof is therefore valid for one connection only.

use super::cluster::{Cluster, Secret};
use crate::error::{Error, Result};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Begins every greeting.
const MAGIC: [u8; 8] = *b"cognate3";
const LENGTH: usize = MAGIC.len() + 4 * 6 + 32;
const PROOF: usize = 32;
/// Time limit of a handshake with a process that was called: it may be connecting elsewhere.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a handshake with a process that called: it sends its part at once.
const CALLER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Batches and progress: timely's own.
    Data = 0,
    /// That the process is there, that it ended, and why ([`Line`](super::line::Line)).
    Line = 1,
}

impl Kind {
    /// Both, in the order of their numbers.
    pub(super) const ALL: [Kind; 2] = [Kind::Data, Kind::Line];
}

/// The bytes of this process's greeting.
fn greeting(cluster: &Cluster, kind: Kind) -> [u8; LENGTH] {
    let numbers = [
        cluster.process as u32,
        cluster.hosts.len() as u32,
        cluster.workers as u32,
        kind as u32,
        u32::from(cluster.secret.is_some()),
        u32::from(cluster.encodes),
    ];
    let mut out = MAGIC.to_vec();
    numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
    out.extend(nonce());
    out.try_into().expect("the length of its parts")
}

/// 32 bytes that no other greeting has.
fn nonce() -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..4 {
        // keyed by the operating system's randomness
        hasher.update(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    hasher.update(&std::process::id().to_le_bytes());
    *hasher.finalize().as_bytes()
}

fn proof(secret: &Secret, of: &[u8], to: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(secret.key(), &[of, to].concat())
}

/// Who greeted, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeted {
    pub process: usize,
    pub kind: Kind,
    /// Whether it encodes batches.
    pub encodes: bool,
}

/// Who greeted, and for what. `called`: the process that was called, `None` where the other one called.
///
/// # Errors
/// `Request` when it was started for a run that is divided otherwise.
fn read(cluster: &Cluster, theirs: &[u8; LENGTH], called: Option<usize>) -> Result<Greeted> {
    let numbers: Vec<u32> = theirs[MAGIC.len()..LENGTH - 32]
        .chunks_exact(4)
        .map(|c| u32::from_le_bytes(c.try_into().expect("four bytes")))
        .collect();
    let [process, n_processes, n_workers, kind, has_secret, encodes] = numbers[..] else { unreachable!("six numbers") };
    if [n_processes as usize, n_workers as usize] != [cluster.hosts.len(), cluster.workers] {
        return Err(Error::request(format!(
            "another process was started with --process {process} --processes {n_processes} --workers {n_workers}, this one with \
             --process {} --processes {} --workers {}; start all of a run with the same numbers",
            cluster.process,
            cluster.hosts.len(),
            cluster.workers
        )));
    }
    if (has_secret != 0) != cluster.secret.is_some() {
        let (with, without) =
            if has_secret != 0 { (process as usize, cluster.process) } else { (cluster.process, process as usize) };
        return Err(Error::request(format!(
            "process {with} was started with --secret-file and process {without} without; give all processes the same file, or none"
        )));
    }
    let process = process as usize;
    if called.map_or(process <= cluster.process || process >= cluster.hosts.len(), |called| process != called) {
        return Err(Error::request(format!(
            "process {} was {} one that claims to be process {process}; give each process its own number and all the same --hosts",
            cluster.process,
            match called {
                Some(called) => format!("expecting process {called} at {}, and found", cluster.hosts[called]),
                None => "called by".to_string(),
            }
        )));
    }
    let kind = Kind::ALL.get(kind as usize).copied();
    kind.map(|kind| Greeted { process, kind, encodes: encodes != 0 })
        .ok_or_else(|| Error::request("another process is of another version of cognate"))
}

/// Greets process `called` at the other end of a connection that was just made, and says whether it encodes; `None` when it is no process of a run, or hung up.
///
/// # Errors
/// `Request` when it belongs to a run that is divided otherwise, or does not know the secret.
pub(super) fn call(
    cluster: &Cluster,
    mut stream: TcpStream,
    called: usize,
    kind: Kind,
) -> Result<Option<(TcpStream, bool)>> {
    let mine = greeting(cluster, kind);
    let mut theirs = [0u8; LENGTH];
    let exchange = |stream: &mut TcpStream, theirs: &mut [u8; LENGTH]| -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
        stream.write_all(&mine)?;
        stream.read_exact(theirs)
    };
    if exchange(&mut stream, &mut theirs).is_err() || !theirs.starts_with(&MAGIC) {
        return Ok(None);
    }
    let Greeted { encodes, .. } = read(cluster, &theirs, Some(called))?;
    if let Some(secret) = &cluster.secret {
        let mut given = [0u8; PROOF];
        let proved = stream
            .write_all(proof(secret, &mine, &theirs).as_bytes())
            .and_then(|()| stream.read_exact(&mut given))
            .is_ok_and(|()| proof(secret, &theirs, &mine) == given);
        if !proved {
            return Err(Error::request(format!(
                "process {called} at {} has another secret; give all processes the same --secret-file",
                cluster.hosts[called]
            )));
        }
    }
    Ok(stream.set_read_timeout(None).is_ok().then_some((stream, encodes)))
}

/// A caller whose greeting is not complete yet. It is polled, never waited for.
pub(super) struct Caller {
    stream: TcpStream,
    since: Instant,
    heard: Vec<u8>,
    mine: Option<[u8; LENGTH]>,
}

/// What has become of a [`Caller`].
pub(super) enum Heard {
    /// It may still greet.
    Nothing,
    /// It is no process of a run, hung up, or took too long.
    Stranger,
    /// It was started for a run that is divided otherwise, or does not know the secret.
    Refused(Error),
    /// It is this process.
    Met(Greeted),
}

impl Caller {
    #[allow(clippy::disallowed_methods, reason = "patience with other processes")]
    pub(super) fn new(stream: TcpStream) -> Option<Caller> {
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
        Some(Caller { stream, since: Instant::now(), heard: Vec::new(), mine: None })
    }

    /// Reads what the caller has sent since the last look.
    pub(super) fn look(&mut self, cluster: &Cluster) -> Heard {
        let wanted = LENGTH + if cluster.secret.is_some() { PROOF } else { 0 };
        let mut buffer = [0u8; LENGTH + PROOF];
        loop {
            // bytes after the greeting are left for the next reader of the connection
            let until = if self.mine.is_none() { LENGTH } else { wanted };
            if self.heard.len() < until {
                match self.stream.read(&mut buffer[..until - self.heard.len()]) {
                    Ok(0) => return Heard::Stranger,
                    Ok(n) => self.heard.extend(&buffer[..n]),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        let late = self.since.elapsed() > CALLER_TIMEOUT;
                        return if late { Heard::Stranger } else { Heard::Nothing };
                    }
                    Err(_) => return Heard::Stranger,
                }
            }
            let magic = self.heard.len().min(MAGIC.len());
            if self.heard[..magic] != MAGIC[..magic] {
                return Heard::Stranger;
            }
            if self.heard.len() < until {
                continue;
            }
            let theirs: [u8; LENGTH] = self.heard[..LENGTH].try_into().expect("as long");
            let Some(mine) = self.mine else {
                // the answer names the caller's kind of connection: both prove the same one
                let met = read(cluster, &theirs, None);
                let mine = greeting(cluster, met.as_ref().map_or(Kind::Data, |met| met.kind));
                // one that is refused hears why: it reads the numbers
                if self.stream.write_all(&mine).is_err() {
                    return Heard::Stranger;
                }
                match met {
                    Err(e) => return Heard::Refused(e),
                    Ok(met) if cluster.secret.is_none() => return Heard::Met(met),
                    Ok(_) => self.mine = Some(mine),
                }
                continue;
            };
            let secret = cluster.secret.as_ref().expect("a proof is waited for only with a secret");
            let Ok(met) = read(cluster, &theirs, None) else { return Heard::Stranger };
            if proof(secret, &theirs, &mine) != self.heard[LENGTH..] {
                return Heard::Refused(Error::request(format!(
                    "one that claims to be process {} has another secret; give all processes the same --secret-file",
                    met.process
                )));
            }
            let proved = self.stream.write_all(proof(secret, &mine, &theirs).as_bytes());
            return if proved.is_ok() { Heard::Met(met) } else { Heard::Stranger };
        }
    }

    /// The connection.
    pub(super) fn into_stream(self) -> Option<TcpStream> {
        self.stream.set_nonblocking(false).ok().map(|()| self.stream)
    }
}
