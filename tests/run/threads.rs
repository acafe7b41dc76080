//! A system that gives few threads: whatever is met, it is said in a sentence, with exit code 5.

use crate::bench_rig::{project, skip, small_demo};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user that nothing else runs as, whose threads are counted.
const USER: &str = "--reuid=61713";

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
    let mode = if from.is_dir() { 0o777 } else { 0o755 };
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The program and the demo, where any user reads them.
struct Place(tempfile::TempDir);

impl Place {
    /// `None`, and the test is skipped, where threads cannot be bounded.
    fn new() -> Option<Place> {
        let tried = Command::new("setpriv").args([USER, "--clear-groups", "prlimit", "--nproc=8", "true"]).output();
        if !cfg!(target_os = "linux") || !tried.is_ok_and(|t| t.status.success()) {
            skip("threads cannot be bounded here (root on Linux can, with setpriv and prlimit of util-linux)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        copy(Path::new(env!("CARGO_BIN_EXE_cognate")), &folder.path().join("cognate"));
        std::fs::create_dir(folder.path().join("data")).unwrap();
        copy(&project().join("data/demo"), &folder.path().join("data/demo"));
        std::fs::set_permissions(folder.path().join("data"), std::fs::Permissions::from_mode(0o755)).unwrap();
        Some(Place(folder))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command, as a user that may have `n` threads; two of them compute.
    fn with(&self, n: usize, args: &[&str]) -> Output {
        Command::new("setpriv")
            .args([USER, "--clear-groups", "prlimit", &format!("--nproc={n}"), "./cognate"])
            .args(args)
            .current_dir(self.0.path())
            .env("RAYON_NUM_THREADS", "2")
            .output()
            .unwrap()
    }
}

/// The sentence of a refusal.
fn refusal(output: &Output, what: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{what}: {said}");
    let line = said.lines().find(|l| l.starts_with("error: ")).unwrap_or_else(|| panic!("{what}: {said}"));
    assert!(line.contains("cannot start the ") && line.contains("thread"), "{what}: {said}");
    assert!(line.contains("ulimit -u") && line.contains("RAYON_NUM_THREADS"), "{what}: {said}");
    for raw in ["panicked", "Os {", "os error", "this is a bug"] {
        assert!(!said.contains(raw), "{what}: {said}");
    }
    line.to_string()
}

#[test]
fn too_few_threads_are_said_in_a_sentence() {
    let Some(place) = Place::new() else { return };
    let changes =
        [("max_tokens = 12_000", "max_tokens = 1_000"), ("[checkpoint]", "[check]\ndoctor = \"off\"\n[checkpoint]")];
    let flow = small_demo(place.0.path(), &changes);
    let flow = flow.to_str().unwrap();
    let mut refusals = Vec::new();
    let enough = (1..=12).find(|&n| {
        let output = place.with(n, &["run", flow, "--out", "o", "--quiet", "--workers", "2"]);
        if !output.status.success() {
            refusals.push(refusal(&output, &format!("run with {n} threads")));
        }
        output.status.success()
    });
    let enough = enough.unwrap_or_else(|| panic!("{refusals:#?}"));
    assert!(enough > 6, "{enough} threads are enough");
    // each kind of thread was the one too many
    for what in
        ["2 threads that compute", "waits for signals", "shows progress", "reads the corpus", "2 worker threads"]
    {
        assert!(refusals.iter().any(|r| r.contains(what)), "{what}: {refusals:#?}");
    }
    // what computes needs its threads, what looks needs none
    for args in [
        &["plan", flow][..],
        &["score", "o", "--set", "estimate.filters.min_active=4"],
        &["report", "o"],
        &["merge", "o", "o", "--out", "m"],
    ] {
        refusal(&place.with(1, args), &args.join(" "));
        refusal(&place.with(2, args), &args.join(" "));
    }
    for args in [&["status", "o"][..], &["show", "o", "small-a/resid_post.2/129"], &["diff", "o", "o"]] {
        let output = place.with(1, args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{args:?}: {said}");
    }
    for command in [&["plan", flow][..], &["report", "o"]] {
        let output = place.with(3, command);
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!place.path("m").exists());
}
