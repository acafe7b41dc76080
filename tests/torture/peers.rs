//! Strangers at the ports of both processes, from before they meet until the end: the run is as without them.

use crate::scene::{Random, Scene, ended};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Runs; more with `COGNATE_PEERS`.
fn runs() -> u64 {
    std::env::var("COGNATE_PEERS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// Calls `address` until `is_over`: silent, with noise, with pieces of noise, or with what the other side sent itself.
fn pester(address: &str, seed: u64, is_over: &AtomicBool, calls: &AtomicU64) {
    let mut random = Random(seed);
    let mut held = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(address) else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        calls.fetch_add(1, Ordering::Relaxed);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        let _ = stream.set_write_timeout(Some(Duration::from_millis(20)));
        let noise: Vec<u8> = (0..random.below(4096)).map(|_| random.below(256) as u8).collect();
        match random.below(4) {
            0 => {}
            1 => drop(stream.write_all(&noise)),
            2 => noise.chunks(7).take(8).for_each(|piece| {
                let _ = stream.write_all(piece);
                std::thread::sleep(Duration::from_millis(1));
            }),
            _ => {
                let mut said = [0; 256];
                let n = stream.read(&mut said).unwrap_or(0);
                let _ = stream.write_all(&said[..n]);
            }
        }
        if random.below(2) == 0 {
            held.push(stream);
        }
        held.drain(..held.len().saturating_sub(8));
        std::thread::sleep(Duration::from_millis(random.below(10)));
    }
}

#[test]
fn strangers_at_both_ports_change_nothing() {
    let scene = Scene::two_processes();
    let calls = Arc::new(AtomicU64::new(0));
    for run in 0..runs() {
        scene.set();
        let is_over = Arc::new(AtomicBool::new(false));
        let children = scene.start(1, None);
        let hosts = std::fs::read_to_string(scene.path("hosts")).unwrap();
        let addresses = hosts.lines().flat_map(|host| [host, host]).map(String::from).enumerate();
        let strangers: Vec<_> = addresses
            .map(|(k, host)| {
                let (is_over, calls) = (is_over.clone(), calls.clone());
                std::thread::spawn(move || pester(&host, run * 4 + k as u64, &is_over, &calls))
            })
            .collect();
        let outputs = ended(children);
        is_over.store(true, Ordering::Relaxed);
        strangers.into_iter().for_each(|stranger| stranger.join().unwrap());
        for output in outputs.unwrap_or_else(|e| panic!("run {run}: {e}")) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "run {run}: {said}");
        }
        scene.is_as_expected().unwrap_or_else(|e| panic!("run {run}: {e}"));
    }
    println!("peers: {} runs, {} calls of strangers, the same bytes", runs(), calls.load(Ordering::Relaxed));
}
