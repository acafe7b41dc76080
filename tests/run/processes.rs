//! One process of two fails: both end within seconds, the other one with the reason; mended, the run gives the bytes of one process.

use crate::bench_rig::{cognate, end, run, same_tables, small_demo, tables};
use crate::determinism::{hosts, start};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A small run of two processes, and the tables of one process.
struct Two {
    folder: tempfile::TempDir,
    flow: PathBuf,
}

impl Two {
    fn new(name: &str, replace: &[(&str, &str)]) -> Two {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let flow = small_demo(folder.path(), replace);
        Two { folder, flow }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flow with something else in it, under another name.
    fn other_flow(&self, from: &str, to: &str) -> PathBuf {
        let text = std::fs::read_to_string(&self.flow).unwrap();
        assert!(text.contains(from), "{text}");
        let path = self.path("other.toml");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path
    }

    /// `failing` fails with a message that holds `reason`; the other process ends with exit code 5 and the same words. Then both run as
    /// they should.
    fn fails(&self, failing: usize, children: [Child; 2], reason: &str) {
        let what = format!("{reason}, process {failing}");
        let since = Instant::now();
        let mut outputs: Vec<Option<Output>> = vec![None, None];
        let [zero, one] = children;
        let mut children = [Some(zero), Some(one)];
        // the one that fails takes the time that it needs to come so far
        outputs[failing] = children[failing].take().map(|child| end(child, Duration::from_secs(120), &what));
        let failed = Instant::now();
        outputs[1 - failing] = children[1 - failing].take().map(|child| end(child, Duration::from_secs(10), &what));
        eprintln!("{what}: failed after {:?}, the other ended {:?} later", failed - since, failed.elapsed());
        let outputs: Vec<Output> = outputs.into_iter().flatten().collect();
        let said = |i: usize| String::from_utf8_lossy(&outputs[i].stderr).into_owned();
        assert!(said(failing).contains(reason), "{what}: {:?} {} {}", outputs, said(failing), said(1 - failing));
        let other = said(1 - failing);
        assert!(other.contains(&format!("process {failing} failed: ")) && other.contains(reason), "{what}: {other}");
        assert_eq!(outputs[1 - failing].status.code(), Some(5), "{what}: {other}");
        assert!(!other.contains("bug") && !said(failing).contains("bug"), "{what}");
    }

    /// The run resumes to the bytes of one process.
    fn goes_on(&self, flow: &Path, out: &Path) {
        let alone = self.path("alone");
        run(flow, &alone, &["--quiet"]);
        let hosts = hosts(self.folder.path(), 2);
        for child in [0, 1].map(|i| start(flow, out, &hosts, 2, i, 1)) {
            let output = end(child, Duration::from_secs(300), "mended");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        same_tables(&tables(&alone), out, "two processes, one failed, then both");
    }
}

#[test]
fn another_flow_another_folder_a_model_that_is_not_there() {
    let two = Two::new("orderly", &[]);
    let out = two.path("out");
    let both = |flow: &Path, other_out: &Path| {
        let hosts = hosts(two.folder.path(), 2);
        [start(&two.flow, &out, &hosts, 2, 0, 1), start(flow, other_out, &hosts, 2, 1, 1)]
    };
    let other = two.other_flow("min_active = 3", "min_active = 4");
    two.fails(1, both(&other, &out), "estimate.filters.min_active is 3 there, 4 here");
    two.fails(1, both(&two.flow, &two.path("elsewhere")), "does not see the run directory of process 0");
    let missing = two.other_flow("models/small-b\"", "models/small-z\"");
    two.fails(1, both(&missing, &out), "small-z");
    // the same, of the process that reads
    let hosts = hosts(two.folder.path(), 2);
    let children = [start(&missing, &out, &hosts, 2, 0, 1), start(&two.flow, &out, &hosts, 2, 1, 1)];
    two.fails(0, children, "small-z");
    two.goes_on(&two.flow, &out);
}

#[test]
fn a_bad_record_ends_both_and_a_disk_that_is_full_ends_both() {
    let two = Two::new("midway", &[]);
    // a copy of the corpus with a bad line behind the first batches
    let text = std::fs::read_to_string(&two.flow).unwrap();
    let corpus = text.lines().find_map(|l| l.strip_prefix("files = [\"")).and_then(|l| l.split('"').next()).unwrap();
    let corpus = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(corpus)).unwrap();
    let mut lines: Vec<&str> = corpus.lines().collect();
    let copy = two.path("corpus.jsonl");
    std::fs::write(&copy, lines.join("\n")).unwrap();
    let whole =
        two.other_flow(text.lines().find(|l| l.starts_with("files = [")).unwrap(), &format!("files = [{copy:?}]"));
    lines[8] = "{\"text\": ";
    std::fs::write(&copy, lines.join("\n")).unwrap();
    let out = two.path("out");
    let hosts_of = || hosts(two.folder.path(), 2);
    let at = hosts_of();
    two.fails(0, [0, 1].map(|i| start(&whole, &out, &at, 2, i, 1)), "corpus.jsonl:9");
    std::fs::write(&copy, corpus.lines().collect::<Vec<_>>().join("\n")).unwrap();
    // files of process 1 may not grow over 64 KiB: its part of the first checkpoint does not fit
    let at = hosts_of();
    let full = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "bash"])
        .arg(cognate().get_program())
        .args(["run", "--quiet", "--processes", "2", "--process", "1", "--hosts"])
        .arg(&at)
        .arg("--out")
        .args([&out, &whole])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    two.fails(1, [start(&whole, &out, &at, 2, 0, 1), full], "File too large");
    two.goes_on(&whole, &out);
}
