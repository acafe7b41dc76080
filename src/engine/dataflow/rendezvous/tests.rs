use super::*;
use crate::engine::dataflow::Secret;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Process `process` of a run on free ports of this machine.
fn cluster(hosts: &[String], process: usize, workers: usize) -> Cluster {
    Cluster { workers, process, hosts: hosts.to_vec(), secret: None, encodes: true }
}

fn hosts(n: usize) -> Vec<String> {
    let held: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

fn begin(cluster: &Cluster) -> Meeting {
    Meeting::begin(cluster, &Arc::default(), || false, |_| ()).unwrap()
}

/// Whether all meet. No process hangs up before the last has met: one that finds a connection closed would call again,
/// for ever.
fn all_meet<const N: usize>(meetings: [Meeting; N]) -> bool {
    meetings.map(|meeting| meeting.wait().unwrap()).iter().all(Option::is_some)
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
        for (j, peer) in peers.data.iter_mut().enumerate() {
            assert_eq!(peer.is_none(), j == *i);
            if let Some(peer) = peer {
                peer.write_all(&[*i as u8, j as u8]).unwrap();
            }
        }
    }
    for (i, peers) in &mut met {
        for (j, peer) in peers.data.iter_mut().enumerate().filter_map(|(j, peer)| Some((j, peer.as_mut()?))) {
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
    let gone =
        Meeting::begin(&cluster(&hosts, 1, 1), &Arc::default(), move || of_stopped.load(Relaxed), |_| ()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    stopped.store(true, Relaxed);
    assert!(gone.wait().unwrap().is_none(), "stopped before all were there");
    let [one, two] = [1, 2].map(|i| begin(&cluster(&hosts, i, 1)));
    let [mut zero, mut one, _two] = [zero, one, two].map(|meeting| meeting.wait().unwrap().unwrap());
    one.data[0].as_mut().unwrap().write_all(b"here").unwrap();
    let mut words = [0; 4];
    zero.data[1].as_mut().unwrap().read_exact(&mut words).unwrap();
    assert_eq!(&words, b"here");
}

/// It was: where its last word came a moment after both connections stood, the other one began to stream, and lost it.
#[test]
fn a_process_with_nothing_left_to_do_is_not_taken_for_one_that_stays() {
    for leaving in (0..40).map(|k| k % 2) {
        let hosts = hosts(2);
        let other = begin(&cluster(&hosts, 1 - leaving, 1));
        Meeting::instead(&cluster(&hosts, leaving, 1), None);
        assert!(other.wait().unwrap().is_none(), "process {leaving} left");
    }
}

#[test]
fn processes_of_runs_that_are_divided_otherwise_say_so_on_both_sides() {
    let hosts = hosts(2);
    // the one that calls ends; the one that is called names it and waits for the right one
    let (sender, told) = std::sync::mpsc::channel();
    let zero = Meeting::begin(
        &cluster(&hosts, 0, 1),
        &Arc::default(),
        || false,
        move |text| drop(sender.send(text.to_string())),
    )
    .unwrap();
    let error = begin(&cluster(&hosts, 1, 2)).wait().unwrap_err().to_string();
    for (said, mine) in [(error, "--workers 2"), (told.recv().unwrap(), "--workers 1")] {
        let (theirs, ours) = said.split_once("this one with").unwrap();
        assert!(ours.contains(mine) && !theirs.contains(mine), "{said}");
    }
    let one = begin(&cluster(&hosts, 1, 1));
    assert!(all_meet([zero, one]));
    // one number twice: the address is taken
    let hosts = self::hosts(2);
    let _first = begin(&cluster(&hosts, 0, 1));
    let error = Meeting::begin(&cluster(&hosts, 0, 1), &Arc::default(), || false, |_| ()).err().unwrap().to_string();
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
        &Arc::default(),
        move || of_stopped.load(Relaxed),
        move |text| sender.send(text.to_string()).unwrap(),
    )
    .unwrap();
    let told = receiver.recv_timeout(NAME_MISSING[0] * 3).unwrap();
    assert!(told.starts_with(&format!("waiting for process 0 at {} (", hosts[0])), "{told}");
    stopped.store(true, Relaxed);
    assert!(meeting.wait().unwrap().is_none());
}

#[test]
fn strangers_delay_nothing_and_end_nothing() {
    let hosts = hosts(2);
    let zero = begin(&cluster(&hosts, 0, 1));
    let greeting = |more: &[u8]| [&b"cognate3"[..], more].concat();
    // silent, dripping, of another protocol, of another run, right to begin with
    let said: Vec<Vec<u8>> = (0..40)
        .map(|k| match k % 5 {
            0 => Vec::new(),
            1 => b"cog".to_vec(),
            2 => vec![0; 200],
            3 => greeting(&[7; 56]),
            _ => greeting(&[1, 0, 0]),
        })
        .collect();
    let strangers: Vec<TcpStream> = said
        .iter()
        .map(|words| {
            let mut stranger = TcpStream::connect(&hosts[0]).unwrap();
            // one that was hung up on may find out here
            let _ = stranger.write_all(words);
            stranger
        })
        .collect();
    let begun = Instant::now();
    let one = begin(&cluster(&hosts, 1, 1));
    assert!(all_meet([zero, one]));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(strangers);
}

#[test]
fn a_secret_is_proved_both_ways_and_another_one_is_refused() {
    let secret = |text: &str| Some(Secret::of(text.as_bytes()).unwrap());
    let with = |hosts: &[String], process, secret| Cluster { secret, ..cluster(hosts, process, 1) };
    let words = "sixteen bytes or more";
    let hosts = hosts(2);
    let meetings = [0, 1].map(|i| begin(&with(&hosts, i, secret(words))));
    assert!(all_meet(meetings));
    // a line's end at the end of the file is none of it
    assert_eq!(secret(words), secret(&format!("{words}\n")));
    assert!(Secret::of(b"short").unwrap_err().to_string().contains("5 bytes"));
    assert!(!format!("{:?}", secret(words)).contains("sixteen"));
    for (mine, theirs, expected) in [
        (secret(words), secret("another of sixteen"), "has another secret"),
        (secret(words), None, "process 0 was started with --secret-file and process 1 without"),
        (None, secret(words), "process 1 was started with --secret-file and process 0 without"),
    ] {
        let hosts = self::hosts(2);
        let (sender, told) = std::sync::mpsc::channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let of_zero = stopped.clone();
        let tell = move |text: &str| drop(sender.send(text.to_string()));
        let zero =
            Meeting::begin(&with(&hosts, 0, mine), &Arc::default(), move || of_zero.load(Relaxed), tell).unwrap();
        let error = begin(&with(&hosts, 1, theirs)).wait().unwrap_err().to_string();
        let told = told.recv().unwrap();
        assert!(error.contains(expected) && told.contains(expected), "{error}\n{told}");
        stopped.store(true, Relaxed);
        assert!(zero.wait().unwrap().is_none(), "the one that is called goes on waiting");
    }
}

#[test]
fn one_that_cannot_go_on_tells_those_it_has_met() {
    let hosts = hosts(3);
    let [zero, one] = [0, 1].map(|i| begin(&cluster(&hosts, i, 1)));
    // 2 never comes; 1 waits for 0 before it ends
    one.fail(&cluster(&hosts, 1, 1), &RunStatus::default(), &Error::input("the SAE is damaged"));
    let error = zero.wait().unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Machine);
    assert!(error.to_string().starts_with("process 1 failed: the SAE is damaged; "), "{error}");
}

#[test]
fn one_that_fails_or_has_nothing_to_do_before_it_meets_ends_those_that_wait() {
    for process in [0, 1] {
        let hosts = hosts(2);
        let status = Arc::<RunStatus>::default();
        let begin = || Meeting::begin(&cluster(&hosts, 1 - process, 1), &status, || false, |_| ()).unwrap();
        let other = begin();
        Meeting::instead(&cluster(&hosts, process, 1), None);
        assert!(other.wait().is_ok_and(|peers| peers.is_none_or(|peers| peers.lines.is_some())) && !status.failed());
        // heard while it meets, or by the lines just after
        let other = begin();
        Meeting::instead(&cluster(&hosts, process, 1), Some(&Error::input("no such model")));
        let error = match other.wait() {
            Err(error) => error,
            Ok(_) => {
                while !status.failed() {
                    std::thread::sleep(LOOK_EVERY);
                }
                status.error().unwrap()
            }
        };
        assert!(error.to_string().starts_with(&format!("process {process} failed: no such model; ")), "{error}");
    }
}

#[test]
fn one_that_came_and_is_silent_ends_the_meeting() {
    let hosts = hosts(3);
    let (sender, told) = std::sync::mpsc::channel();
    let tell: Tell = Arc::new(move |text: &str| drop(sender.send(text.to_string())));
    let patience = Patience { tell: SAY_EVERY * 2, end: SAY_EVERY * 4 };
    let status = Arc::<RunStatus>::default();
    let zero = Meeting::begin_with(&cluster(&hosts, 0, 1), patience, &status, Last::default(), || false, tell).unwrap();
    let other = begin(&cluster(&hosts, 2, 1));
    // process 1 greets, and says no word on its line
    let stream = connect(&hosts[0]).unwrap();
    let line = call(&cluster(&hosts, 1, 1), stream, 0, Kind::Line).unwrap().expect("it is the run's process 0");
    let named = format!("process 1 at {} has been silent for ", hosts[1]);
    let error = zero.wait().unwrap_err().to_string();
    assert!(error.starts_with(&named) && error.contains("4 s: stopped"), "{error}");
    let told: Vec<String> = told.try_iter().collect();
    assert!(told.iter().filter(|t| t.starts_with(&named)).count() == 1, "{told:?}");
    assert!(!told.iter().any(|t| t.contains("process 2")), "2 is not there, and not silent: {told:?}");
    // the one that was met and does speak hears why
    let error = other.wait().unwrap_err().to_string();
    assert!(error.starts_with(&named), "{error}");
    drop(line);
}

#[test]
fn all_know_who_encodes() {
    let hosts = hosts(3);
    let with = |process| Cluster { encodes: process != 1, ..cluster(&hosts, process, 2) };
    let meetings = [0, 1, 2].map(|i| begin(&with(i)));
    for peers in meetings.map(|meeting| meeting.wait().unwrap()) {
        assert_eq!(peers.unwrap().encode, [true, false, true]);
    }
    // nobody
    let hosts = self::hosts(2);
    let meetings = [0, 1].map(|i| begin(&Cluster { encodes: false, ..cluster(&hosts, i, 1) }));
    for meeting in meetings {
        let error = meeting.wait().unwrap_err();
        assert!(error.to_string().contains("--devices none"), "{error}");
    }
}
