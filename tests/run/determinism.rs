//! The same bytes for any number of workers, processes, threads and batches in the air.

use crate::bench_rig::{COUNTED_TWICE, SKETCHED, cognate, run, same_tables, skip, small_demo, tables, wait_for};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn tables_have_the_same_bytes_for_any_workers_threads_and_batches_in_the_air() {
    let folder = tempfile::tempdir().unwrap();
    let full = ("null = {", "null = { given = { mode = \"full\" },");
    for (mode, replace) in [("exact", &[full][..]), ("sketch", &[COUNTED_TWICE])] {
        let flow = small_demo(folder.path(), replace);
        same_bytes_however_run(&folder.path().join(mode), &flow);
    }
}

fn same_bytes_however_run(folder: &Path, flow: &Path) {
    let first = folder.join("first");
    run(flow, &first, &["--quiet", "--workers", "1", "--in-flight", "1"]);
    let expected = tables(&first);
    for (workers, threads, in_flight) in [("1", "2", "8"), ("2", "1", "8"), ("3", "2", "1"), ("4", "1", "8")] {
        let out = folder.join(format!("w{workers}t{threads}i{in_flight}"));
        let status = cognate()
            .env("RAYON_NUM_THREADS", threads)
            .args(["run", "--quiet", "--workers", workers, "--in-flight", in_flight, "--out"])
            .arg(&out)
            .arg(flow)
            .status()
            .unwrap();
        assert!(status.success());
        same_tables(&expected, &out, &format!("{workers} workers, {threads} threads, {in_flight} in the air"));
    }
}

/// Free addresses `HOST:PORT` of this machine. On Linux each call has a loopback address of its own, so that nothing else can
/// take a port before the processes do; elsewhere there is 127.0.0.1 alone.
fn addresses(n: usize) -> Vec<String> {
    static CALLS: AtomicU32 = AtomicU32::new(1);
    let (pid, call) = (std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    let own = format!("127.{}.{}.{}", 1 + (pid >> 8) % 254, pid % 256, call % 255);
    let host = if cfg!(target_os = "linux") { own } else { "127.0.0.1".to_string() };
    let held: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind((host.as_str(), 0)).unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

/// Starts process `i` of `n`.
pub fn start(flow: &Path, out: &Path, hosts: &Path, n: usize, i: usize, workers: usize) -> Child {
    starting(flow, out, hosts, n, i, workers).spawn().unwrap()
}

/// What starts it.
pub fn starting(flow: &Path, out: &Path, hosts: &Path, n: usize, i: usize, workers: usize) -> Command {
    let mut command = cognate();
    command
        .args(["run", "--quiet", "--processes", &n.to_string(), "--process", &i.to_string()])
        .args(["--workers", &workers.to_string(), "--hosts"])
        .arg(hosts)
        .arg("--out")
        .arg(out)
        .arg(flow)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}

/// A hosts file for `n` processes of this machine.
pub fn hosts(folder: &Path, n: usize) -> std::path::PathBuf {
    let lines = addresses(n).join("\n");
    let path = folder.join(format!("hosts-{}", lines.replace([':', '\n'], "-")));
    std::fs::write(&path, lines).unwrap();
    path
}

#[test]
fn several_processes_give_the_bytes_of_one() {
    let folder = tempfile::tempdir().unwrap();
    for (workers, replace) in [(1, &[][..]), (2, &[SKETCHED])] {
        let flow = small_demo(folder.path(), replace);
        let alone = folder.path().join(format!("alone-{workers}"));
        run(&flow, &alone, &["--quiet"]);
        let expected = tables(&alone);
        let out = folder.path().join(format!("two-{workers}"));
        let hosts = hosts(folder.path(), 2);
        let children: Vec<Child> = (0..2).map(|i| start(&flow, &out, &hosts, 2, i, workers)).collect();
        finish(children);
        same_tables(&expected, &out, &format!("2 processes of {workers} workers"));
    }
}

#[test]
fn a_lost_process_ends_the_others_and_the_run_goes_on_with_fewer_or_more() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 30_000"), SKETCHED]);
    let alone = folder.path().join("alone");
    run(&flow, &alone, &["--quiet"]);
    let out = folder.path().join("two");
    let hosts = self::hosts(folder.path(), 2);
    let mut children: Vec<Child> = (0..2).map(|i| start(&flow, &out, &hosts, 2, i, 1)).collect();
    wait_for(&mut children[0], &out.join("manifest.json"));
    children[1].kill().unwrap();
    children[1].wait().unwrap();
    let lost = std::time::Instant::now();
    let output = children.remove(0).wait_with_output().unwrap();
    assert!(lost.elapsed().as_secs() < 10, "{:?}", lost.elapsed());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("lost contact with another process"), "{said}");
    let hosts = self::hosts(folder.path(), 3);
    finish((0..3).map(|i| start(&flow, &out, &hosts, 3, i, 1)).collect());
    same_tables(&tables(&alone), &out, "2 processes, one killed, then 3");
}

fn finish(children: Vec<Child>) {
    for child in children {
        let output = child.wait_with_output().unwrap();
        let [said, heard] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{said}");
        assert_eq!((&*said, &*heard), ("", ""), "--quiet is quiet while processes meet, too");
    }
}

/// Two network namespaces joined by a cable; gone when dropped.
struct Cable([String; 2]);

impl Cable {
    fn lay() -> Option<Cable> {
        let names = ["a", "b"].map(|end| format!("cognate-{}-{end}", std::process::id()));
        let cable = Cable(names);
        let ip = |words: &str| {
            let done = Command::new("ip").args(words.split(' ')).output();
            done.is_ok_and(|o| o.status.success()).then_some(())
        };
        let [a, b] = &cable.0;
        ip(&format!("netns add {a}"))?;
        ip(&format!("netns add {b}"))?;
        ip(&format!("-n {a} link add end type veth peer name end netns {b}"))?;
        for (name, n) in [(a, 1), (b, 2)] {
            ip(&format!("-n {name} address add 10.77.0.{n}/24 dev end"))?;
            ip(&format!("-n {name} link set end up"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        Some(cable)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

#[test]
fn two_machines_on_a_network_give_the_bytes_of_one() {
    let Some(cable) = Cable::lay() else {
        return skip("network namespaces cannot be made here");
    };
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[SKETCHED]);
    let (alone, out, hosts) = (folder.path().join("alone"), folder.path().join("two"), folder.path().join("hosts"));
    run(&flow, &alone, &["--quiet"]);
    std::fs::write(&hosts, "10.77.0.1:4100\n10.77.0.2:4100\n").unwrap();
    let start = |i: usize| {
        let arguments = ["run", "--quiet", "--processes", "2", "--process", if i == 0 { "0" } else { "1" }, "--hosts"];
        Command::new("ip")
            .current_dir(crate::bench_rig::project())
            .args(["netns", "exec", &cable.0[i], env!("CARGO_BIN_EXE_cognate")])
            .args(arguments)
            .arg(&hosts)
            .arg("--out")
            .arg(&out)
            .arg(&flow)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    finish(vec![start(0), start(1)]);
    same_tables(&tables(&alone), &out, "two network namespaces");
}
