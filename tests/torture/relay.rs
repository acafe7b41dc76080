//! Eight processes whose every connection goes through a relay: what passes is delayed, held up, or cut. The same bytes, or
//! an end as stated and then the same bytes.

use crate::scene::{Random, Scene, ended};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What passes comes so much later.
const DELAY: Duration = Duration::from_millis(50);
/// All are gone so long after a connection was cut.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Runs of each kind; more with `COGNATE_RELAYED`.
fn runs() -> u64 {
    std::env::var("COGNATE_RELAYED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// The network between the processes of a scene.
struct Relay {
    /// Of each process, the file that it reads others' addresses from.
    hosts: Vec<PathBuf>,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    is_held: AtomicBool,
    is_over: AtomicBool,
    bytes: AtomicU64,
    /// Both ends of each connection.
    connections: Mutex<Vec<[TcpStream; 2]>>,
}

impl Relay {
    /// Between the processes of `scene`, whose own addresses are free ones.
    fn new(scene: &Scene) -> Relay {
        let network = Arc::new(Network::default());
        let own = crate::scene::addresses(scene.n_processes);
        // a process calls those with lower numbers
        let hosts = (0..own.len()).map(|i| {
            let through = |j: usize| if j < i { network.clone().listen(own[j].clone()) } else { own[j].clone() };
            let lines: Vec<String> = (0..own.len()).map(through).collect();
            let path = scene.path(&format!("hosts-{i}"));
            std::fs::write(&path, lines.join("\n")).unwrap();
            path
        });
        Relay { hosts: hosts.collect(), network }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.network.is_over.store(true, Relaxed);
        self.network.cut_all();
    }
}

impl Network {
    /// An address that leads to `to`.
    fn listen(self: Arc<Network>, to: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            while !self.is_over.load(Relaxed) {
                match listener.accept() {
                    Ok((caller, _)) => self.clone().connect(caller, &to),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        address
    }

    /// Joins a caller to the process it calls; hangs up where that is not there yet.
    fn connect(self: Arc<Network>, caller: TcpStream, to: &str) {
        caller.set_nonblocking(false).unwrap();
        let Ok(called) = TcpStream::connect(to) else { return };
        let twice = |stream: &TcpStream| stream.try_clone().unwrap();
        for (from, to) in [(twice(&caller), twice(&called)), (twice(&called), twice(&caller))] {
            let (sender, receiver) = channel();
            std::thread::spawn(move || takes(from, &sender));
            let network = self.clone();
            std::thread::spawn(move || network.passes_on(&receiver, to));
        }
        self.connections.lock().unwrap().push([caller, called]);
    }

    fn passes_on(&self, receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        while let Ok((came, bytes)) = receiver.recv() {
            std::thread::sleep(DELAY.saturating_sub(came.elapsed()));
            while self.is_held.load(Relaxed) && !self.is_over.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            self.bytes.fetch_add(bytes.len() as u64, Relaxed);
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn cut_all(&self) {
        for stream in self.connections.lock().unwrap().drain(..).flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts one connection of those there are, if there are any.
    fn cut_one(&self, random: &mut Random) {
        let mut connections = self.connections.lock().unwrap();
        if !connections.is_empty() {
            let at = random.below(connections.len() as u64) as usize;
            connections.swap_remove(at).iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }
}

/// Reads what comes, with the time at which it came.
fn takes(mut from: TcpStream, sender: &Sender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now(), buffer[..n].to_vec())).is_err() {
            return;
        }
    }
}

fn start(scene: &Scene, relay: &Relay) -> Vec<std::process::Child> {
    (0..scene.n_processes).map(|i| scene.start_with_hosts(i, 1, &relay.hosts[i], None)).collect()
}

#[test]
fn eight_processes_over_a_slow_network_give_the_same_bytes() {
    let scene = Scene::eight_processes();
    let (mut bytes, mut longest, mut held) = (0, Duration::ZERO, 0);
    for run in 0..2 * runs() {
        let mut random = Random(run);
        scene.set();
        let relay = Relay::new(&scene);
        let since = Instant::now();
        let mut children = start(&scene, &relay);
        // in every second run nothing passes for a while, again and again
        while run % 2 == 1 && children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
            std::thread::sleep(Duration::from_millis(random.below(400)));
            relay.network.is_held.store(true, Relaxed);
            std::thread::sleep(Duration::from_millis(500 + random.below(2_500)));
            relay.network.is_held.store(false, Relaxed);
            held += 1;
        }
        for output in ended(children).unwrap_or_else(|e| panic!("run {run}: {e}")) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "run {run}: {:?} {said}", output.status.code());
        }
        longest = longest.max(since.elapsed());
        bytes += relay.network.bytes.load(Relaxed);
        scene.is_as_expected().unwrap_or_else(|e| panic!("run {run}: {e}"));
    }
    assert!(bytes > 0 && held > 0);
    println!(
        "relay: {} runs of 8 processes, {} ms each way, held up {held} times, {} KB passed, the longest {:.1} s, the same bytes",
        2 * runs(),
        DELAY.as_millis(),
        bytes / 1000,
        longest.as_secs_f64()
    );
}

#[test]
fn a_connection_that_is_cut_ends_all_eight_and_they_resume_to_the_same_bytes() {
    let scene = Scene::eight_processes();
    let (mut ends, mut unharmed, mut longest) = (0, 0, Duration::ZERO);
    // how long it takes over this network
    scene.set();
    let (relay, since) = (Relay::new(&scene), Instant::now());
    let whole = ended(start(&scene, &relay)).unwrap_or_else(|e| panic!("uncut: {e}"));
    assert!(whole.iter().all(|output| output.status.success()), "uncut: {whole:?}");
    let took = since.elapsed();
    drop(relay);
    for run in 0..3 * runs() {
        let mut random = Random(100 + run);
        scene.set();
        let relay = Relay::new(&scene);
        let children = start(&scene, &relay);
        std::thread::sleep(Duration::from_millis(random.below(took.as_millis() as u64)));
        relay.network.cut_one(&mut random);
        let since = Instant::now();
        let outputs = ended(children).unwrap_or_else(|e| panic!("run {run}: {e}"));
        let gone = since.elapsed();
        let codes: Vec<Option<i32>> = outputs.iter().map(|o| o.status.code()).collect();
        let said: Vec<String> = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
        let what = || format!("run {run}: {codes:?} {said:?}");
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 5))), "{}", what());
        assert!(!said.iter().any(|s| s.contains("panic") || s.contains("bug") || s.contains("damage")), "{}", what());
        if codes.contains(&Some(5)) {
            let told =
                codes.iter().zip(&said).filter(|(code, _)| **code == Some(5)).all(|(_, s)| s.contains("process"));
            assert!(told && gone < GONE_WITHIN, "after {gone:?}: {}", what());
            (ends, longest) = (ends + 1, longest.max(gone));
        } else {
            unharmed += 1;
        }
        scene.has_tables().unwrap_or_else(|e| panic!("{e}; {}", what()));
        scene.succeed(&what());
        scene.is_as_expected().unwrap_or_else(|e| panic!("{e}; {}", what()));
    }
    println!(
        "relay: a connection of 8 processes cut {} times: {ends} ends by all within {:.1} s, {unharmed} before or behind the run, the same bytes",
        3 * runs(),
        longest.as_secs_f64()
    );
}
