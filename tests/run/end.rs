//! A run that is stopped or killed while scores are made: at its end, where everything is read, and at a snapshot in
//! the middle. It ends soon, with the tables before, and resumes to the bytes of an unbroken run.

use crate::bench_rig::{cognate, run, same_tables, small_demo, tables};
use crate::determinism::hosts;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What makes the scores of two pairs take some seconds of one thread, and the batches before them hardly any.
const LONG_END: [(&str, &str); 3] = [
    ("permutations = 20,", "permutations = 1_000,"),
    ("max_tokens = 12_000", "max_tokens = 4_000"),
    ("every = 1_000\n", "every = 1_000_000\n"),
];

/// In so long a stop is heeded: between two permutations of a few milliseconds, on a machine that may be busy.
const HEEDED: Duration = Duration::from_secs(5);

fn manifest(out: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(out.join("manifest.json")).ok()?).ok()
}

/// Whether everything is in the sums of the last checkpoint, and the tables of the end are not made.
fn is_all_read(out: &Path) -> bool {
    manifest(out).is_some_and(|m| m["due"]["ended"] == "corpus" && m["ended"] == "no")
}

fn begin(flow: &Path, out: &Path) -> Child {
    begin_with(flow, out, &[])
}

/// On one thread, or the scores would be done before the signal on a machine of many cores.
fn begin_with(flow: &Path, out: &Path, more: &[&str]) -> Child {
    let mut command = cognate();
    command.env("RAYON_NUM_THREADS", "1").args(["run", "--out"]).arg(out).args(more).arg(flow);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Both of two processes.
fn begin_two(runs: &Runs, out: &Path) -> [Child; 2] {
    let hosts = hosts(runs.folder.path(), 2);
    let hosts = hosts.to_str().unwrap();
    [0, 1].map(|i: usize| {
        let i = i.to_string();
        begin_with(&runs.flow, out, &["--quiet", "--processes", "2", "--process", &i, "--hosts", hosts])
    })
}

fn wait_until(children: &mut [Child], ready: impl Fn() -> bool) {
    let since = Instant::now();
    while !ready() {
        assert!(since.elapsed() < Duration::from_secs(300), "it never came so far");
        for child in &mut *children {
            assert!(child.try_wait().unwrap().is_none(), "a process ended before");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    // well into it
    std::thread::sleep(Duration::from_millis(150));
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits for the end of a process that was asked to stop `since`.
fn stopped(child: Child, since: Instant, what: &str) -> Output {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{what}: ended {:?} after the signal", since.elapsed());
    assert!(since.elapsed() < HEEDED, "{what}: {:?}", since.elapsed());
    assert_eq!(output.status.code(), Some(130), "{what}: {said}");
    output
}

/// Resumes, which must read nothing, and compares tables and state with those of an unbroken run.
fn resumed(flow: &Path, whole: &Path, out: &Path, what: &str) {
    let output = run(flow, out, &["--json"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("everything is read: what is left are the scores"), "{what}: {said}");
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(summary["speed"]["tokens"], 0, "{what}: {summary}");
    is_as(whole, out, what);
}

fn is_as(whole: &Path, out: &Path, what: &str) {
    same_tables(&tables(whole), out, what);
    let (expected, found) = (manifest(whole).unwrap(), manifest(out).unwrap());
    for key in ["next_batch", "rows", "snapshot", "ended", "origin", "files"] {
        assert!(!expected[key].is_null(), "there is no {key}");
        assert_eq!(found[key], expected[key], "{what}: {key}");
    }
    assert!(found["due"].is_null(), "{what}: {}", found["due"]);
    let files = std::fs::read_dir(out.join("state")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let n_files = std::fs::read_dir(files).unwrap().count();
    assert_eq!(n_files, found["files"].as_object().unwrap().len(), "{what}: nothing is left over");
}

struct Runs {
    folder: tempfile::TempDir,
    flow: PathBuf,
    whole: PathBuf,
}

impl Runs {
    fn of(replace: &[(&str, &str)]) -> Runs {
        let folder = tempfile::tempdir().unwrap();
        let flow = small_demo(folder.path(), replace);
        let whole = folder.path().join("whole");
        let since = Instant::now();
        let output = run(&flow, &whole, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("final scores of 2 pairs"), "{said}");
        eprintln!("unbroken: {:?}", since.elapsed());
        Runs { folder, flow, whole }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn a_signal_in_the_scores_of_the_end_is_heeded_and_only_they_are_made_again() {
    let runs = Runs::of(&LONG_END);
    for name in ["-TERM", "-INT", "-KILL"] {
        let out = runs.path(name);
        let mut child = [begin(&runs.flow, &out)];
        wait_until(&mut child, || is_all_read(&out));
        let before = tables(&out);
        let ([child], since) = (child, Instant::now());
        signal(&child, name);
        if name == "-KILL" {
            assert_eq!(child.wait_with_output().unwrap().status.code(), None);
        } else {
            let said = String::from_utf8_lossy(&stopped(child, since, name).stderr).into_owned();
            assert!(said.contains("stopped; the state is saved, run the same command to resume"), "{said}");
            let sets: Vec<_> = std::fs::read_dir(out.join("sets")).unwrap().collect();
            assert_eq!(sets.len(), 1, "nothing half written: {sets:?}");
        }
        assert!(is_all_read(&out));
        same_tables(&before, &out, "the tables before stand");
        resumed(&runs.flow, &runs.whole, &out, name);
    }
}

#[test]
fn a_stop_in_the_scores_of_a_snapshot_leaves_it_due_and_the_run_goes_on_with_it() {
    // 4 000 tokens: one snapshot in the middle, and no checkpoint there
    let at = ("null = {", "null = { at = \"snapshot\",");
    let runs = Runs::of(&[LONG_END[0], LONG_END[1], LONG_END[2], at]);
    let out = runs.path("stopped");
    let mut child = [begin(&runs.flow, &out)];
    wait_until(&mut child, || out.join("sets/000001").exists());
    let ([child], since) = (child, Instant::now());
    signal(&child, "-TERM");
    stopped(child, since, "in the middle");
    let saved = manifest(&out).unwrap();
    assert_eq!((&saved["due"]["snapshot"], &saved["due"]["ended"]), (&Value::from(1), &Value::from("no")), "{saved}");
    assert!(!out.join("tables").exists(), "none before");
    // once more at the same place, now where nothing is to be saved
    let mut child = [begin(&runs.flow, &out)];
    wait_until(&mut child, || out.join("sets/000001").exists());
    let ([child], since) = (child, Instant::now());
    signal(&child, "-TERM");
    stopped(child, since, "in the middle again");
    assert_eq!(manifest(&out).unwrap()["files"], saved["files"]);
    let output = run(&runs.flow, &out, &["--workers", "2"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("everything is read"));
    is_as(&runs.whole, &out, "a snapshot that was due");
}

#[test]
fn either_of_two_processes_stops_both_in_the_scores_of_the_end() {
    let runs = Runs::of(&LONG_END);
    for told in [0, 1] {
        let out = runs.path(&format!("told-{told}"));
        let mut children = begin_two(&runs, &out);
        wait_until(&mut children, || is_all_read(&out));
        let since = Instant::now();
        signal(&children[told], "-TERM");
        for (i, child) in children.into_iter().enumerate() {
            stopped(child, since, &format!("process {i}, process {told} told"));
        }
        assert!(is_all_read(&out));
        if told == 0 {
            resumed(&runs.flow, &runs.whole, &out, "one process");
        } else {
            for child in begin_two(&runs, &out) {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            is_as(&runs.whole, &out, "two processes");
        }
    }
}

#[test]
fn a_run_that_was_stopped_at_its_end_can_be_asked_for_more() {
    let runs = Runs::of(&LONG_END);
    let out = runs.path("out");
    let mut child = [begin(&runs.flow, &out)];
    wait_until(&mut child, || is_all_read(&out));
    let ([child], since) = (child, Instant::now());
    signal(&child, "-TERM");
    stopped(child, since, "at its end");
    // 6 000 tokens, as a run that was finished at 4 000 and lengthened
    let output = run(&runs.flow, &out, &["--max-tokens", "6000"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("resuming after") && !said.contains("everything is read"), "{said}");
    run(&runs.flow, &runs.whole, &["--max-tokens", "6000"]);
    let (expected, found) = (manifest(&runs.whole).unwrap(), manifest(&out).unwrap());
    for key in ["next_batch", "rows", "snapshot", "ended", "origin"] {
        assert!(!expected[key].is_null(), "there is no {key}");
        assert_eq!(found[key], expected[key], "{key}");
    }
    for table in ["latents.parquet", "matches.parquet", "similarities.parquet"] {
        assert_eq!(tables(&out)[table], tables(&runs.whole)[table], "{table}");
    }
}
