//! How do the processes of one run find each other? Each calls those before it and is called by those behind it, while it
//! continues to open its weights.
//!
//! Every call begins with a greeting both ways: who calls, and how the run is divided. A connection from any other program is closed, and
//! processes that were started for different runs fail with a message instead of waiting for ever.

use crate::engine::dataflow::Cluster;
use crate::error::{Error, Result};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Begins every greeting.
const MAGIC: [u8; 8] = *b"cognate1";
/// Time between two looks at incoming connections.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Time limit of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of a handshake with a process that was called: it may be connecting elsewhere.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a handshake with a process that called: it sends its part at once.
const CALLER_TIMEOUT: Duration = Duration::from_secs(2);
/// When the missing processes are named: the first time, and from then on.
const NAME_MISSING: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];

/// Connections to every process in order, `None` for this one.
pub(super) type Peers = Vec<Option<TcpStream>>;

/// The meeting of a run's processes, under way.
pub struct Meeting {
    thread: Option<JoinHandle<Result<Option<Peers>>>>,
}

impl Meeting {
    /// Listens for the other processes of `cluster`, if there are any, and begins to meet them in a thread of its own. It ends
    /// without them when `stopped` is true; `tell` is given a message that names the missing ones.
    ///
    /// # Errors
    /// `Machine` when this process's address cannot be listened at.
    pub fn begin(
        cluster: &Cluster,
        stopped: impl Fn() -> bool + Send + 'static,
        tell: impl Fn(&str) + Send + 'static,
    ) -> Result<Meeting> {
        if cluster.hosts.len() < 2 {
            return Ok(Meeting { thread: None });
        }
        let (cluster, listener) = (cluster.clone(), listen(cluster)?);
        Ok(Meeting { thread: Some(std::thread::spawn(move || meet(&cluster, &listener, &stopped, &tell))) })
    }

    /// Waits until all are there; `None` when it was stopped. A single process meets no other.
    ///
    /// # Errors
    /// `Request` when another process was started for a run that is divided otherwise.
    pub(super) fn wait(self) -> Result<Option<Peers>> {
        match self.thread {
            Some(thread) => thread.join().map_err(|_| Error::machine("the thread that meets other processes ended"))?,
            None => Ok(Some(Vec::new())),
        }
    }
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

#[allow(clippy::disallowed_methods, reason = "patience with other processes")]
fn meet(
    cluster: &Cluster,
    listener: &TcpListener,
    stopped: &dyn Fn() -> bool,
    tell: &dyn Fn(&str),
) -> Result<Option<Peers>> {
    let (me, hosts) = (cluster.process, &cluster.hosts);
    let mut peers: Peers = hosts.iter().map(|_| None).collect();
    // why a call did not go through
    let mut trouble: Vec<Option<io::Error>> = hosts.iter().map(|_| None).collect();
    let (begun, mut tell_at) = (Instant::now(), NAME_MISSING[0]);
    loop {
        if stopped() {
            return Ok(None);
        }
        for j in 0..me {
            if peers[j].is_none() {
                match call(&hosts[j]) {
                    Ok(stream) => peers[j] = greet(cluster, stream, Some(j))?.map(|(_, stream)| stream),
                    Err(e) => trouble[j] = Some(e),
                }
            }
        }
        while let Ok((stream, _)) = listener.accept() {
            // one that calls again was started again, before it was seen to be gone
            if let Some((j, stream)) = greet(cluster, stream, None)? {
                peers[j] = Some(stream);
            }
        }
        peers.iter_mut().filter(|peer| peer.as_ref().is_some_and(is_gone)).for_each(|peer| *peer = None);
        let missing: Vec<String> = (0..hosts.len())
            .filter(|&j| j != me && peers[j].is_none())
            .map(|j| match &trouble[j] {
                Some(e) => format!("process {j} at {} ({e})", hosts[j]),
                None => format!("process {j} at {}", hosts[j]),
            })
            .collect();
        if missing.is_empty() {
            return Ok(Some(peers));
        }
        if begun.elapsed() > tell_at {
            tell(&format!("waiting for {}", missing.join(", ")));
            tell_at += NAME_MISSING[1];
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn call(host: &str) -> io::Result<TcpStream> {
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

/// Greets the process at the other end: `called` is the one that was called, `None` where it called. `None` when it is no process
/// of Cognate's, or hung up.
fn greet(cluster: &Cluster, mut stream: TcpStream, called: Option<usize>) -> Result<Option<(usize, TcpStream)>> {
    let mine = [cluster.process, cluster.hosts.len(), cluster.workers].map(|n| n as u32);
    let exchange = |stream: &mut TcpStream| -> io::Result<Option<[u32; 3]>> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(if called.is_some() { HANDSHAKE_TIMEOUT } else { CALLER_TIMEOUT }))?;
        let mut out = MAGIC.to_vec();
        mine.iter().for_each(|n| out.extend(n.to_le_bytes()));
        let mut greeting = [0u8; MAGIC.len() + 12];
        if called.is_some() {
            stream.write_all(&out)?;
            stream.read_exact(&mut greeting)?;
        } else {
            // nobody else is told anything
            stream.read_exact(&mut greeting)?;
            if greeting.starts_with(&MAGIC) {
                stream.write_all(&out)?;
            }
        }
        stream.set_read_timeout(None)?;
        let (numbers, _) = greeting[MAGIC.len()..].as_chunks::<4>();
        Ok(greeting.starts_with(&MAGIC).then(|| std::array::from_fn(|i| u32::from_le_bytes(numbers[i]))))
    };
    let Ok(Some([process, n_processes, n_workers])) = exchange(&mut stream) else { return Ok(None) };
    if [n_processes, n_workers] != mine[1..] {
        return Err(Error::request(format!(
            "another process was started with --process {process} --processes {n_processes} --workers {n_workers}, this one with \
             --process {} --processes {} --workers {}; start all of a run with the same numbers",
            mine[0], mine[1], mine[2]
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
    Ok(Some((process, stream)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// Process `process` of a run on free ports of this machine.
    fn cluster(hosts: &[String], process: usize, workers: usize) -> Cluster {
        Cluster { workers, process, hosts: hosts.to_vec() }
    }

    fn hosts(n: usize) -> Vec<String> {
        let held: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        held.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
    }

    fn begin(cluster: &Cluster) -> Meeting {
        Meeting::begin(cluster, || false, |_| ()).unwrap()
    }

    #[test]
    fn processes_meet_in_whatever_order_they_start_and_whoever_else_calls() {
        let hosts = hosts(3);
        let first = begin(&cluster(&hosts, 1, 2));
        let strangers: Vec<TcpStream> = [&b"GET / HTTP/1.1\r\nHost: nobody"[..], b"x"]
            .into_iter()
            .map(|words| {
                let mut stranger = loop {
                    match TcpStream::connect(&hosts[1]) {
                        Ok(stream) => break stream,
                        Err(_) => std::thread::sleep(LOOK_EVERY),
                    }
                };
                stranger.write_all(words).unwrap();
                stranger
            })
            .collect();
        let rest: Vec<Meeting> = [2, 0].into_iter().map(|i| begin(&cluster(&hosts, i, 2))).collect();
        let mut met: Vec<(usize, Peers)> = [1, 2, 0]
            .into_iter()
            .zip(std::iter::once(first).chain(rest))
            .map(|(i, meeting)| (i, meeting.wait().unwrap().unwrap()))
            .collect();
        drop(strangers);
        met.sort_by_key(|(i, _)| *i);
        for (i, peers) in &mut met {
            for (j, peer) in peers.iter_mut().enumerate() {
                assert_eq!(peer.is_none(), j == *i);
                if let Some(peer) = peer {
                    peer.write_all(&[*i as u8, j as u8]).unwrap();
                }
            }
        }
        for (i, peers) in &mut met {
            for (j, peer) in peers.iter_mut().enumerate().filter_map(|(j, peer)| Some((j, peer.as_mut()?))) {
                let mut words = [0; 2];
                peer.read_exact(&mut words).unwrap();
                assert_eq!(words, [j as u8, *i as u8], "who wrote, to whom");
            }
        }
    }

    #[test]
    fn one_that_was_started_again_while_others_were_waited_for_takes_its_place() {
        let hosts = hosts(3);
        let zero = begin(&cluster(&hosts, 0, 1));
        // process 1 comes, and is gone before process 2 is there
        let stopped = Arc::new(AtomicBool::new(false));
        let of_stopped = stopped.clone();
        let gone = Meeting::begin(&cluster(&hosts, 1, 1), move || of_stopped.load(Relaxed), |_| ()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        stopped.store(true, Relaxed);
        assert!(gone.wait().unwrap().is_none(), "stopped before all were there");
        let [one, two] = [1, 2].map(|i| begin(&cluster(&hosts, i, 1)));
        let [mut zero, mut one, _two] = [zero, one, two].map(|meeting| meeting.wait().unwrap().unwrap());
        one[0].as_mut().unwrap().write_all(b"here").unwrap();
        let mut words = [0; 4];
        zero[1].as_mut().unwrap().read_exact(&mut words).unwrap();
        assert_eq!(&words, b"here");
    }

    #[test]
    fn processes_of_runs_that_are_divided_otherwise_say_so_on_both_sides() {
        let hosts = hosts(2);
        let meetings = [(0, 1), (1, 2)].map(|(i, workers)| begin(&cluster(&hosts, i, workers)));
        for (meeting, mine) in meetings.into_iter().zip(["--workers 1", "--workers 2"]) {
            let error = meeting.wait().unwrap_err().to_string();
            let (theirs, ours) = error.split_once("this one with").unwrap();
            assert!(ours.contains(mine) && !theirs.contains(mine), "{error}");
        }
        // one number twice: the address is taken
        let hosts = self::hosts(2);
        let _first = begin(&cluster(&hosts, 0, 1));
        let error = Meeting::begin(&cluster(&hosts, 0, 1), || false, |_| ()).err().unwrap().to_string();
        assert!(error.contains(&hosts[0]) && error.contains("process 0"), "{error}");
        // files of hosts in another order
        let hosts = self::hosts(3);
        let _one = begin(&cluster(&hosts, 1, 1));
        let swapped = [hosts[1].clone(), hosts[0].clone(), hosts[2].clone()];
        let error = begin(&cluster(&swapped, 2, 1)).wait().unwrap_err().to_string();
        assert!(error.contains("expecting process 0") && error.contains("process 1;"), "{error}");
    }

    #[test]
    fn who_is_waited_for_is_told() {
        let hosts = hosts(2);
        let (sender, receiver) = std::sync::mpsc::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let of_stopped = stopped.clone();
        let meeting = Meeting::begin(
            &cluster(&hosts, 1, 1),
            move || of_stopped.load(Relaxed),
            move |text| sender.send(text.to_string()).unwrap(),
        )
        .unwrap();
        let told = receiver.recv_timeout(NAME_MISSING[0] * 3).unwrap();
        assert!(told.starts_with(&format!("waiting for process 0 at {} (", hosts[0])), "{told}");
        stopped.store(true, Relaxed);
        assert!(meeting.wait().unwrap().is_none());
    }
}
