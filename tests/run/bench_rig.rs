//! What every test of the binary needs: a folder, a dataflow file, the command, the tables.

pub use crate::common::{fixture, project, skip};
use cognate::matching::Direction;
use cognate::store::{RunDir, TableSet};
use cognate::table::{LatentRow, MatchRow, TableReader};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// What leaves the demo one SAE of small-a fewer, for [`small_demo`].
pub const WITHOUT_LAYER_1: (&str, &str) =
    ("[saes.\"small-a/resid_post.1\"]\npath = \"data/demo/saes/small-a/layers.1\"\n", "");

/// The command, with the project as working directory.
pub fn cognate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cognate"));
    command.current_dir(project());
    command
}

/// Runs `flow` into `out` with more arguments; must succeed.
pub fn run(flow: &Path, out: &Path, more: &[&str]) -> Output {
    let output = cognate().arg("run").arg(flow).arg("--out").arg(out).args(more).output().unwrap();
    assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The demo's dataflow, shortened to one pair and many snapshots, with `replace`d parts.
pub fn small_demo(folder: &Path, replace: &[(&str, &str)]) -> PathBuf {
    let mut text = r#"format = 1
name = "small"
seed = 7
[corpus]
files = ["data/demo/corpus.jsonl"]
labels = ["lang"]
context_length = 64
batch_contexts = 8
max_tokens = 12_000
[models.small-a]
path = "data/demo/models/small-a"
[models.small-b]
path = "data/demo/models/small-b"
[saes."small-a/resid_post.1"]
path = "data/demo/saes/small-a/layers.1"
[saes."small-a/resid_post.2"]
path = "data/demo/saes/small-a/layers.2"
[saes."small-b/resid_post.3"]
path = "data/demo/saes/small-b/layers.3"
[compare]
pairs = "all"
[estimate]
snapshot_every = 3_000
filters = { min_correlation = 0.1, min_active = 3, one_to_one = true }
measures = ["svcca_k10", "cka"]
pairings = ["forward", "backward", "mutual"]
activation_measures = ["svcca_k10", "cka"]
null = { permutations = 20, activation_permutations = 2 }
[checkpoint]
every = 1_000
"#
    .to_string();
    for (from, to) in replace {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let path = folder.join("flow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What makes a [`small_demo`] keep sketches: the first two snapshots and then every other one choose candidates.
pub const SKETCHED: (&str, &str) = ("pairs = \"all\"", "pairs = \"all\"\ncross = \"sketch\"\nwidth = 128");

/// The same with a second pass.
pub const COUNTED_TWICE: (&str, &str) =
    (SKETCHED.0, "pairs = \"all\"\ncross = \"sketch\"\nwidth = 128\nrefine = \"second-pass\"");

/// Every newest table of a run with its bytes, by file name.
pub fn tables(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let set = TableSet::open(&RunDir::at(run).unwrap()).unwrap();
    let names = set.record().tables.keys();
    let out: BTreeMap<_, _> =
        names.map(|name| (name.clone(), std::fs::read(run.join("tables").join(name)).unwrap())).collect();
    for table in ["history", "latents", "matches", "pairs", "similarities"] {
        assert!(out.contains_key(&format!("{table}.parquet")), "{table}: {:?}", out.keys());
    }
    out
}

/// Waits until `path` is there.
///
/// # Panics
/// When `child` ends before it is.
pub fn wait_for(child: &mut Child, path: &Path) {
    while !path.exists() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() || path.exists(), "{ended:?} before {}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the end of `child`, which must come within `limit`.
///
/// # Panics
/// Where it does not; the child is killed then.
pub fn end(mut child: Child, limit: Duration, what: &str) -> Output {
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > limit {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("{what}: still there after {limit:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// Fails with the names of the tables that differ, or that only one of both has.
pub fn same_tables(expected: &BTreeMap<String, Vec<u8>>, run: &Path, what: &str) {
    let found = tables(run);
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let differ: Vec<&String> = names.into_iter().filter(|name| found.get(*name) != expected.get(*name)).collect();
    assert!(differ.is_empty(), "{what}: {differ:?} differ");
}

/// All latents of a run.
pub fn latents(run: &Path) -> Vec<LatentRow> {
    TableReader::open(&run.join("tables/latents.parquet")).unwrap().read_all().unwrap()
}

/// All matches of a run.
pub fn matches(run: &Path) -> Vec<MatchRow> {
    TableReader::open(&run.join("tables/matches.parquet")).unwrap().read_all().unwrap()
}

/// Matches of one pair and direction, by (picking latent, rank).
pub fn by_rank(rows: &[MatchRow], source: &str, target: &str, direction: Direction) -> BTreeMap<(u32, u32), MatchRow> {
    rows.iter()
        .filter(|m| {
            m.pair.source.to_string() == source && m.pair.target.to_string() == target && m.direction == direction
        })
        .map(|m| ((m.picker().unwrap(), m.rank), m.clone()))
        .collect()
}
