//! One of two processes fails in an orderly way, in eight kinds: all are gone within seconds, the other with exit code
//! 5 and the reason, and what is mended resumes to the same bytes. And one that is stopped and does not continue: the
//! other reports it, and ends by its deadline.

use crate::bench_rig::{cognate, end};
use crate::scene::{Scene, addresses, can_fail, ended};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Times each kind; more with `COGNATE_ORDERLY`.
fn times() -> u32 {
    std::env::var("COGNATE_ORDERLY").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// In so long the other one is gone.
const GONE: Duration = Duration::from_secs(10);

/// What one process is given that the other is not.
#[derive(Default)]
struct Change {
    /// In the dataflow file.
    flow: Option<(&'static str, &'static str)>,
    out: Option<&'static str>,
    /// `COGNATE_FAULT`.
    fault: Option<&'static str>,
    /// A record of the corpus behind the checkpoint is no JSON; of both processes, one of which reads.
    bad_record: bool,
}

/// The process that fails, how, and the word of its reason that both say.
fn kinds() -> [(&'static str, usize, Change, &'static str); 8] {
    let change = Change::default;
    let missing = Some(("model_B", "model_Z"));
    [
        (
            "another dataflow",
            1,
            Change { flow: Some(("min_active = 3", "min_active = 4")), ..change() },
            "min_active is 3",
        ),
        ("another folder", 1, Change { out: Some("elsewhere"), ..change() }, "does not see the run directory"),
        ("a missing model of the one that follows", 1, Change { flow: missing, ..change() }, "model_Z"),
        ("a missing model of the one that leads", 0, Change { flow: missing, ..change() }, "model_Z"),
        ("a bad record", 0, Change { bad_record: true, ..change() }, "corpus.jsonl:"),
        ("a full disk of the one that follows", 1, Change { fault: Some("full:600"), ..change() }, "No space"),
        ("a full disk of the one that leads", 0, Change { fault: Some("full:3000"), ..change() }, "No space"),
        ("a disk that refuses the commit", 0, Change { fault: Some("rename:1+:EIO"), ..change() }, "nput/output error"),
    ]
}

/// Process `i`, changed.
fn start(scene: &Scene, i: usize, change: &Change) -> Child {
    let text = std::fs::read_to_string(scene.path("flow.toml")).unwrap();
    let (from, to) = change.flow.unwrap_or_default();
    assert!(text.contains(from), "{from}");
    let flow = scene.path(&format!("flow-{i}.toml"));
    std::fs::write(&flow, if from.is_empty() { text } else { text.replace(from, to) }).unwrap();
    let out = change.out.map_or(scene.out(), |name| scene.path("work").join(name));
    let mut command: Command = cognate();
    command.args(["run", "--quiet", "--processes", "2", "--process", &i.to_string(), "--hosts"]);
    command.arg(scene.path("hosts")).arg("--out").arg(out).arg(flow);
    change.fault.map(|fault| command.env("COGNATE_FAULT", fault));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn spoil(corpus: &Path, whole: &str, bad: bool) {
    let mut lines: Vec<&str> = whole.lines().collect();
    if bad {
        lines[20] = "{\"text\": ";
    }
    std::fs::write(corpus, lines.join("\n")).unwrap();
}

#[test]
fn one_process_fails_in_order_and_the_other_says_why() {
    if !can_fail() {
        return;
    }
    let scene = Scene::two_processes_of_own_corpus();
    let corpus = scene.path("corpus.jsonl");
    let whole = std::fs::read_to_string(&corpus).unwrap();
    for (kind, failing, change, reason) in kinds() {
        let mut longest = Duration::ZERO;
        for k in 0..times() {
            let what = format!("{kind}, time {k}");
            scene.set();
            spoil(&corpus, &whole, change.bad_record);
            std::fs::write(scene.path("hosts"), addresses(2).join("\n")).unwrap();
            let mut children: Vec<Option<Child>> = Vec::new();
            for i in 0..2 {
                let own = if i == failing { &change } else { &Change::default() };
                children.push(Some(start(&scene, i, own)));
            }
            let mut take = |i: usize| children[i].take().expect("each is waited for once");
            let failed = end(take(failing), Duration::from_secs(120), &what);
            let since = Instant::now();
            let other = end(take(1 - failing), GONE, &what);
            longest = longest.max(since.elapsed());
            let [said, heard] = [&failed, &other].map(|o| String::from_utf8_lossy(&o.stderr).into_owned());
            assert!(!failed.status.success() && said.contains(reason), "{what}: {:?} {said}", failed.status);
            assert_eq!(other.status.code(), Some(5), "{what}: {heard}");
            assert!(
                heard.contains(&format!("process {failing} failed: ")) && heard.contains(reason),
                "{what}: {heard}"
            );
            assert!(![said, heard].iter().any(|s| s.contains("bug") || s.contains("panic")), "{what}");
            spoil(&corpus, &whole, false);
            scene.succeed(&what);
            scene.is_as_expected().unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        println!("orderly, {kind}: {} of {0}, the other gone within {longest:.1?}, then the same bytes", times());
    }
}

#[test]
fn a_process_that_is_stopped_for_good_is_told_and_left() {
    // reported after 10 seconds, left after 60
    let scene = Scene::two_processes_of_own_corpus();
    scene.set();
    let slow = [("COGNATE_FAULT", "slow:3000")];
    let mut children = scene.start(1, can_fail().then_some((0, &slow[..])));
    // Stopped when they have met: one that has not come is waited for without limit. The template holds one checkpoint.
    let checkpoints = || std::fs::read_dir(scene.out().join("state")).unwrap().count();
    while checkpoints() < 2 {
        assert!(children.iter_mut().all(|child| child.try_wait().unwrap().is_none()), "ended before it was stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    let stopped = children.pop().unwrap();
    let signal = |name: &str| Command::new("kill").args([name, &stopped.id().to_string()]).status().unwrap();
    if stopped.id() > 0 {
        signal("-STOP");
    }
    let since = Instant::now();
    let output = end(children.pop().unwrap(), Duration::from_secs(75), "a stopped peer");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let took = since.elapsed();
    signal("-KILL");
    let _ = ended(vec![stopped]);
    assert!(output.status.code() == Some(5) && said.contains("silent"), "{:?} {said}", output.status);
    scene.succeed("a stopped peer");
    scene.is_as_expected().unwrap_or_else(|e| panic!("a stopped peer: {e}"));
    println!("orderly, a process stopped for good: left after {took:.1?}, then the same bytes");
}
