//! The same bytes for any number of workers, processes, threads and batches in the air.

use crate::bench_rig::{cognate, run, same_tables, small_demo, tables};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;

#[test]
fn tables_have_the_same_bytes_for_any_workers_threads_and_batches_in_the_air() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let first = folder.path().join("first");
    run(&flow, &first, &["--quiet", "--workers", "1", "--in-flight", "1"]);
    let expected = tables(&first);
    for (workers, threads, in_flight) in [("1", "2", "8"), ("2", "1", "8"), ("3", "2", "1"), ("4", "1", "8")] {
        let out = folder.path().join(format!("w{workers}t{threads}i{in_flight}"));
        let status = cognate()
            .env("RAYON_NUM_THREADS", threads)
            .args(["run", "--quiet", "--workers", workers, "--in-flight", in_flight, "--out"])
            .arg(&out)
            .arg(&flow)
            .status()
            .unwrap();
        assert!(status.success());
        same_tables(&expected, &out, &format!("{workers} workers, {threads} threads, {in_flight} in the air"));
    }
}

/// Free ports of this machine, for a moment.
fn ports(n: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().port()).collect()
}

/// Starts process `i` of `n`.
pub fn start(flow: &Path, out: &Path, hosts: &Path, n: usize, i: usize, workers: usize) -> Child {
    cognate()
        .args(["run", "--quiet", "--processes", &n.to_string(), "--process", &i.to_string()])
        .args(["--workers", &workers.to_string(), "--hosts"])
        .arg(hosts)
        .arg("--out")
        .arg(out)
        .arg(flow)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// A hosts file for `n` processes of this machine.
pub fn hosts(folder: &Path, n: usize) -> std::path::PathBuf {
    let path = folder.join(format!("hosts-{n}-{}", ports(1)[0]));
    let lines: Vec<String> = ports(n).iter().map(|p| format!("127.0.0.1:{p}")).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn several_processes_give_the_bytes_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let alone = folder.path().join("alone");
    run(&flow, &alone, &["--quiet"]);
    let expected = tables(&alone);
    for workers in [1, 2] {
        let out = folder.path().join(format!("two-{workers}"));
        let hosts = hosts(folder.path(), 2);
        let children: Vec<Child> = (0..2).map(|i| start(&flow, &out, &hosts, 2, i, workers)).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        same_tables(&expected, &out, &format!("2 processes of {workers} workers"));
    }
}

#[test]
fn a_lost_process_ends_the_others_and_the_run_goes_on_with_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 30_000")]);
    let alone = folder.path().join("alone");
    run(&flow, &alone, &["--quiet"]);
    let out = folder.path().join("two");
    let hosts = hosts(folder.path(), 2);
    let mut children: Vec<Child> = (0..2).map(|i| start(&flow, &out, &hosts, 2, i, 1)).collect();
    let patience = std::time::Instant::now();
    while !out.join("manifest.json").exists() && patience.elapsed().as_secs() < 120 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    children[1].kill().unwrap();
    children[1].wait().unwrap();
    let output = children.remove(0).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("lost contact with another process"), "{said}");
    run(&flow, &out, &["--quiet", "--workers", "3"]);
    same_tables(&tables(&alone), &out, "2 processes, one killed, then 3 workers");
}
