//! A small piece of work: what is in its folder before, the processes that do it, the tables that it leaves.

use crate::bench_rig::{COUNTED_TWICE, SKETCHED, cognate, fixture, run, tables};
use cognate::store::{FoundTables, Manifest, RunDir, TableSet};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// After so long a process is taken to hang.
const LONGEST: Duration = Duration::from_secs(120);

/// Environment of a process that is made to fail, by its number.
pub type Victim<'a> = Option<(usize, &'a [(&'a str, &'a str)])>;

/// Tables by file name.
pub type Tables = BTreeMap<String, Vec<u8>>;

/// A piece of work.
pub struct Scene {
    pub name: &'static str,
    folder: tempfile::TempDir,
    /// Processes that do it.
    pub n_processes: usize,
    /// Of one process, number `i`, with so many workers; the folder to write is `out`.
    command: fn(scene: &Scene, i: usize, workers: usize, hosts: &Path) -> Command,
    /// The tables of the work undisturbed.
    pub expected: Tables,
    /// How long that took.
    pub took: Duration,
}

/// A dataflow over the smallest models with SAEs that there are: four batches, two snapshots, two checkpoints, a few hundred rows.
fn flow(folder: &Path, more: &[(&str, &str)]) -> PathBuf {
    let set = fixture("e2e").display().to_string();
    let mut text = r#"format = 1
name = "tiny"
seed = 7
[corpus]
files = ["SET/corpus.jsonl"]
context_length = 32
batch_contexts = 4
max_tokens = 400
[models.A]
path = "SET/model_A"
[models.B]
path = "SET/model_B"
[saes."A/layers.0"]
path = "SET/sae_model_A/layers.0"
[saes."B/layers.1"]
path = "SET/sae_model_B/layers.1"
[compare]
pairs = "all"
[estimate]
snapshot_every = 200
filters = { min_correlation = 0.1, min_active = 3, one_to_one = true }
measures = ["cka"]
activation_measures = ["cka"]
null = { permutations = 5, activation_permutations = 2 }
[checkpoint]
every = 200
"#
    .to_string();
    for (from, to) in more.iter().chain(&[("SET", set.as_str())]) {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = folder.join("flow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn run_command(scene: &Scene, i: usize, workers: usize, hosts: &Path) -> Command {
    let mut command = cognate();
    command.args(["run", "--quiet", "--workers", &workers.to_string(), "--out"]).arg(scene.out());
    if scene.n_processes > 1 {
        let (n, i) = (scene.n_processes.to_string(), i.to_string());
        command.args(["--processes", &n, "--process", &i, "--hosts"]).arg(hosts);
    }
    command.arg(scene.path("flow.toml"));
    command
}

fn merge_command(scene: &Scene, _: usize, _: usize, _: &Path) -> Command {
    let mut command = cognate();
    command.arg("merge").args(["a", "b"].map(|name| scene.path("work").join(name))).arg("--out").arg(scene.out());
    command
}

fn score_command(scene: &Scene, _: usize, _: usize, _: &Path) -> Command {
    let mut command = cognate();
    command.arg("score").arg(scene.path("work").join("whole")).args(["--set", "estimate.best=2", "--out"]);
    command.arg(scene.out());
    command
}

impl Scene {
    fn new(
        name: &'static str,
        n_processes: usize,
        command: fn(&Scene, usize, usize, &Path) -> Command,
        prepare: impl FnOnce(&Path, &Path),
    ) -> Scene {
        let folder = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let mut scene = Scene { name, folder, n_processes, command, expected: Tables::new(), took: Duration::ZERO };
        let template = scene.path("template");
        std::fs::create_dir(&template).unwrap();
        prepare(scene.folder.path(), &template);
        scene.set();
        let since = Instant::now();
        scene.succeed("undisturbed");
        scene.took = since.elapsed();
        scene.expected = tables(&scene.out());
        scene
    }

    /// Exact sums, from nothing.
    pub fn exact() -> Scene {
        Scene::new("exact", 1, run_command, |folder, _| drop(flow(folder, &[])))
    }

    /// The same, resumed from the middle.
    pub fn resumed() -> Scene {
        Scene::new("resumed", 1, run_command, |folder, template| {
            run(&flow(folder, &[]), &template.join("out"), &["--quiet", "--max-tokens", "200"]);
        })
    }

    /// Sketches, resumed from the middle.
    pub fn sketched() -> Scene {
        Scene::new("sketched", 1, run_command, |folder, template| {
            run(&flow(folder, &[SKETCHED]), &template.join("out"), &["--quiet", "--max-tokens", "200"]);
        })
    }

    /// Sketches and a second pass.
    pub fn second_pass() -> Scene {
        Scene::new("second-pass", 1, run_command, |folder, _| drop(flow(folder, &[COUNTED_TWICE])))
    }

    /// Two processes, resumed from the middle.
    pub fn two_processes() -> Scene {
        Scene::new("two-processes", 2, run_command, |folder, template| {
            run(&flow(folder, &[]), &template.join("out"), &["--quiet", "--max-tokens", "200"]);
        })
    }

    /// The same over a corpus file of its own, `corpus.jsonl`.
    pub fn two_processes_of_own_corpus() -> Scene {
        Scene::new("own-corpus", 2, run_command, |folder, template| {
            let corpus = folder.join("corpus.jsonl");
            std::fs::copy(fixture("e2e/corpus.jsonl"), &corpus).unwrap();
            let own = corpus.display().to_string();
            let all = [("SET/corpus.jsonl", own.as_str()), ("max_tokens = 400", "max_tokens = 0")];
            run(&flow(folder, &all), &template.join("out"), &["--quiet", "--max-tokens", "200"]);
        })
    }

    /// Eight processes, resumed from the middle.
    pub fn eight_processes() -> Scene {
        Scene::new("eight-processes", 8, run_command, |folder, template| {
            run(&flow(folder, &[]), &template.join("out"), &["--quiet", "--max-tokens", "200"]);
        })
    }

    /// Two runs added up.
    pub fn merge() -> Scene {
        Scene::new("merge", 1, merge_command, |folder, template| {
            let text = std::fs::read_to_string(fixture("e2e/corpus.jsonl")).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            for (k, name) in ["a", "b"].into_iter().enumerate() {
                let (home, shard) = (folder.join(name), folder.join(format!("{name}.jsonl")));
                std::fs::create_dir(&home).unwrap();
                std::fs::write(&shard, lines[4 * k..4 * (k + 1)].join("\n")).unwrap();
                let files = format!("files = [{:?}]", shard.to_str().unwrap());
                let of_shard = [
                    ("files = [\"SET/corpus.jsonl\"]", files.as_str()),
                    ("max_tokens = 400", "max_tokens = 0"),
                    ("snapshot_every = 200", "snapshot_every = 1_000_000"),
                    ("activation_permutations = 2", "activation_permutations = 0"),
                ];
                run(&flow(&home, &of_shard), &template.join(name), &["--quiet"]);
            }
        })
    }

    /// A run's matches and scores made again.
    pub fn score() -> Scene {
        Scene::new("score", 1, score_command, |folder, template| {
            run(&flow(folder, &[]), &template.join("whole"), &["--quiet"]);
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the work writes.
    pub fn out(&self) -> PathBuf {
        self.path("work").join("out")
    }

    /// Puts everything back to what stood before.
    pub fn set(&self) {
        let _ = std::fs::remove_dir_all(self.path("work"));
        let copied = Command::new("cp").arg("-a").args(["template", "work"].map(|name| self.path(name))).status();
        assert!(copied.unwrap().success());
    }

    /// Rows that the checkpoint holds; `None` where there is none.
    pub fn saved(&self) -> Option<u64> {
        let path = self.out().join("manifest.json");
        path.exists().then(|| Manifest::read(&path).unwrap_or_else(|e| panic!("{e}")).rows)
    }

    /// Whether there are tables, whole; what is wrong where they are not.
    pub fn has_tables(&self) -> Result<bool, String> {
        let Ok(run) = RunDir::at(&self.out()) else { return Ok(false) };
        match TableSet::look(&run).map_err(|e| e.to_string())? {
            FoundTables::None => Ok(false),
            FoundTables::Whole(_) => Ok(true),
            FoundTables::Hurt { faults, .. } => Err(faults.join("; ")),
        }
    }

    /// Starts every process of the work, the victim with more in its environment.
    pub fn start(&self, workers: usize, victim: Victim) -> Vec<Child> {
        let hosts = self.path("hosts");
        if self.n_processes > 1 {
            std::fs::write(&hosts, addresses(self.n_processes).join("\n")).unwrap();
        }
        (0..self.n_processes).map(|i| self.start_one(i, workers, victim)).collect()
    }

    /// Starts process `i`, among those that were started last.
    pub fn start_one(&self, i: usize, workers: usize, victim: Victim) -> Child {
        self.start_with_hosts(i, workers, &self.path("hosts"), victim)
    }

    /// Starts process `i`, which reads the addresses of all in the file `hosts`.
    pub fn start_with_hosts(&self, i: usize, workers: usize, hosts: &Path, victim: Victim) -> Child {
        let mut command = (self.command)(self, i, workers, hosts);
        for (key, value) in victim.filter(|(of, _)| *of == i).into_iter().flat_map(|(_, more)| more) {
            command.env(key, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Does the work; what each process gave back. `Err` for the first that hangs.
    pub fn outputs(&self, workers: usize, victim: Victim) -> Result<Vec<Output>, String> {
        ended(self.start(workers, victim))
    }

    /// Does the work, which must succeed without a word of damage.
    ///
    /// # Panics
    /// Where it does not.
    pub fn succeed(&self, what: &str) {
        self.try_again().unwrap_or_else(|e| panic!("{}, {what}: {e}", self.name));
    }

    /// Does the work; what was wrong with it.
    pub fn try_again(&self) -> Result<(), String> {
        for output in self.outputs(1, None)? {
            let said = String::from_utf8_lossy(&output.stderr);
            // tables of a snapshot behind the last checkpoint are made again, which is reported
            let is_hurt = said.contains("as they were published") && !said.contains("they are of snapshot");
            if !output.status.success() || said.contains("damage") || is_hurt {
                return Err(format!("the same command again: {:?}: {said}", output.status.code()));
            }
        }
        Ok(())
    }

    /// Whether the work left the tables of the undisturbed one, and nothing unfinished.
    pub fn is_as_expected(&self) -> Result<(), String> {
        if !self.has_tables()? {
            return Err("there are no tables".to_string());
        }
        let found = tables(&self.out());
        let names = self.expected.keys().chain(found.keys());
        let differ: Vec<&String> = names.filter(|name| self.expected.get(*name) != found.get(*name)).collect();
        let unfinished = unfinished_under(&self.out());
        match (differ.is_empty(), unfinished.is_empty()) {
            (true, true) => Ok(()),
            _ => Err(format!("tables that differ: {differ:?}; unfinished files: {unfinished:?}")),
        }
    }
}

/// What processes gave back. `Err` for the first that hangs; all are ended then.
pub fn ended(mut children: Vec<Child>) -> Result<Vec<Output>, String> {
    // what they print is read while they run
    let since = Instant::now();
    while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
        if since.elapsed() > LONGEST {
            children.iter_mut().for_each(|child| drop(child.kill()));
            let said: Vec<String> = (children.into_iter().map(|child| child.wait_with_output().unwrap()))
                .map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
                .collect();
            return Err(format!("hangs: {said:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(children.into_iter().map(|child| child.wait_with_output().unwrap()).collect())
}

fn unfinished_under(dir: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(unfinished_under(&entry.path()));
        } else if entry.file_name().to_str().unwrap().starts_with(".cognate-") {
            out.push(entry.path().display().to_string());
        }
    }
    out
}

/// Free addresses of this machine, a loopback address of its own for each call where there are several.
pub fn addresses(n: usize) -> Vec<String> {
    static CALLS: AtomicU32 = AtomicU32::new(1);
    let (pid, call) = (std::process::id(), CALLS.fetch_add(1, Ordering::Relaxed));
    let own = format!("127.{}.{}.{}", 1 + (pid >> 8) % 254, pid % 256, 1 + call % 254);
    let host = if cfg!(target_os = "linux") { own } else { "127.0.0.1".to_string() };
    let held: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind((host.as_str(), 0)).unwrap()).collect();
    held.iter().map(|l| l.local_addr().unwrap().to_string()).collect()
}

/// Whether the program under test can be made to fail; the test is skipped where it cannot.
pub fn can_fail() -> bool {
    if !cfg!(debug_assertions) {
        crate::common::skip("a build without debug assertions has no calls that can be made to fail");
    }
    cfg!(debug_assertions)
}

/// splitmix64, so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }
}
