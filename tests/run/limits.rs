//! The machine's limits: memory that does not grow with the corpus, a disk that is full.

use crate::bench_rig::{cognate, run, same_tables, small_demo, tables};
use std::path::Path;
use std::process::Command;

/// Peak resident memory of a run over the same text `times` times, in bytes, from its JSON summary. One snapshot, at the
/// end: what many of them add is told in ARCHITECTURE.md.
fn peak(folder: &Path, times: usize) -> f64 {
    let files = vec!["\"data/demo/corpus.jsonl\""; times].join(", ");
    let tokens = format!("max_tokens = {}", 60_000 * times);
    let files = format!("files = [{files}]");
    let changes = [
        ("files = [\"data/demo/corpus.jsonl\"]", files.as_str()),
        ("max_tokens = 12_000", tokens.as_str()),
        ("snapshot_every = 3_000", "snapshot_every = 1_000_000"),
        ("\nevery = 1_000", "\nevery = 1_000_000"),
    ];
    let flow = small_demo(folder, &changes);
    let output = run(&flow, &folder.join(format!("run-{times}")), &["--json"]);
    let summary: serde_json::Value = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .find(|v: &serde_json::Value| v["event"] == "summary")
        .expect("a summary is printed");
    assert!(summary["tokens"].as_f64().unwrap() >= 60_000.0 * times as f64);
    summary["speed"]["peak_bytes"].as_f64().expect("this machine tells")
}

#[test]
fn memory_does_not_grow_with_the_corpus() {
    if !cfg!(target_os = "linux") {
        return println!("skipped: peak memory is read where Linux keeps it");
    }
    let folder = tempfile::tempdir().unwrap();
    let (once, four) = (peak(folder.path(), 1), peak(folder.path(), 4));
    println!("peak memory: {:.1} MB once, {:.1} MB four times", once / 1e6, four / 1e6);
    assert!(four < once * 1.05, "{once} and {four}");
}

#[test]
fn a_full_disk_is_named_and_the_run_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|m| m.status.success()) {
        return println!("skipped: a small file system cannot be mounted here");
    }
    let flow = small_demo(folder.path(), &[]);
    let out = disk.join("run");
    let output = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let leftovers = |dir: &Path| -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![dir.to_path_buf()];
        while let Some(d) = waiting.pop() {
            for e in std::fs::read_dir(d).into_iter().flatten().flatten() {
                if e.path().is_dir() {
                    waiting.push(e.path())
                } else {
                    found.push(e.file_name().to_string_lossy().into_owned())
                }
            }
        }
        found
    };
    let code = output.status.code();
    let names = leftovers(&out);
    let larger = Command::new("mount").args(["-o", "remount,size=200m"]).arg(&disk).output().unwrap().status.success();
    let resumed = larger.then(|| cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).output().unwrap());
    let kept = folder.path().join("kept");
    let copied = Command::new("cp").arg("-r").arg(&out).arg(&kept).status().unwrap().success();
    assert!(Command::new("umount").arg(&disk).status().unwrap().success());
    assert_eq!(code, Some(5), "{said}");
    let line = said.lines().next().unwrap();
    assert!(line.starts_with("error: ") && line.contains("space") && line.contains("free"), "{said}");
    assert!(!names.is_empty());
    let resumed = resumed.expect("the file system can be made larger");
    assert!(resumed.status.success() && copied, "{}", String::from_utf8_lossy(&resumed.stderr));
    let whole = folder.path().join("whole");
    run(&flow, &whole, &["--quiet"]);
    same_tables(&tables(&whole), &kept, "after the disk was full");
}
