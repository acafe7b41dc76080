//! Sketches in place of tiles: compared with the exact run, added up, chosen by the memory there is.

use crate::bench_rig::{
    COUNTED_TWICE, SKETCHED, by_rank, cognate, matches, run, same_tables, small_demo, tables, wait_for,
};
use cognate::matching::Direction;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 2] = ["small-a/resid_post.1", "small-a/resid_post.2"];
const TARGET: &str = "small-b/resid_post.3";

fn flow(folder: &Path, name: &str, replace: &[(&str, &str)]) -> PathBuf {
    std::fs::create_dir_all(folder.join(name)).unwrap();
    small_demo(&folder.join(name), replace)
}

#[test]
fn partners_are_those_of_the_exact_run_within_the_error_that_is_stated() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let width = ("width = 128", "width = 512");
    run(&flow(folder.path(), "e", &[]), &path("exact"), &["--quiet"]);
    run(&flow(folder.path(), "s", &[SKETCHED, width]), &path("sketch"), &["--quiet"]);
    let (exact, sketch) = (matches(&path("exact")), matches(&path("sketch")));
    assert!(exact.iter().all(|m| m.correlation.is_none() || m.sketch_error == Some(0.0)));
    let (mut strong, mut found, mut squares, mut n) = (0, 0, 0.0, 0);
    for source in SOURCES {
        for direction in [Direction::Forward, Direction::Backward] {
            let [exact, sketch] = [&exact, &sketch].map(|rows| by_rank(rows, source, TARGET, direction));
            for ((latent, _), want) in exact.iter().filter(|((_, rank), m)| *rank == 1 && m.correlation.is_some()) {
                let partner = |m: &cognate::table::MatchRow| (m.source_latent, m.target_latent);
                let same = sketch.values().find(|m| partner(m) == partner(want) && m.picker() == Some(*latent));
                if want.correlation.unwrap() > 0.3 {
                    strong += 1;
                    found += usize::from(same.is_some());
                }
                if let Some(got) = same.filter(|m| m.sketch_error.unwrap() > 0.0) {
                    let off = got.correlation.unwrap() - want.correlation.unwrap();
                    squares += (off / got.sketch_error.unwrap()).powi(2);
                    n += 1;
                    assert!(got.exact_tokens < got_tokens(&path("sketch")));
                }
            }
        }
    }
    println!("{found} of {strong} partners above 0.3, errors {:.2} of those stated", (squares / f64::from(n)).sqrt());
    assert!(found as f64 > 0.98 * f64::from(strong) && strong > 1000, "{found} of {strong}");
    // the stated error is the right one: not half, not double
    assert!((0.5..1.5).contains(&(squares / f64::from(n)).sqrt()), "{squares} {n}");
}

#[test]
fn a_second_pass_counts_every_partner_over_every_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    run(&flow(folder.path(), "e", &[]), &path("exact"), &["--quiet"]);
    let twice = flow(folder.path(), "t", &[COUNTED_TWICE]);
    run(&twice, &path("twice"), &["--quiet"]);
    let (exact, twice_rows, tokens) = (matches(&path("exact")), matches(&path("twice")), got_tokens(&path("exact")));
    assert_eq!(got_tokens(&path("twice")), tokens);
    let mut same = 0;
    for source in SOURCES {
        for direction in [Direction::Forward, Direction::Backward] {
            let [exact, twice] = [&exact, &twice_rows].map(|rows| by_rank(rows, source, TARGET, direction));
            for (key, got) in &twice {
                assert!(got.exact_tokens == tokens && got.sketch_error.is_none_or(|e| e == 0.0), "{got:?}");
                // the pair itself has the exact run's correlation, to the last bit, wherever that has it
                let pair = (got.source_latent, got.target_latent);
                let ranks = (1..=5).filter_map(|rank| exact.get(&(key.0, rank)));
                if let Some(want) = ranks.into_iter().find(|m| (m.source_latent, m.target_latent) == pair) {
                    assert_eq!(got.correlation, want.correlation, "{got:?}");
                    same += 1;
                }
            }
        }
    }
    assert!(same > 2000, "{same}");
    // it cannot be lengthened, and says so
    let output =
        cognate().args(["run", "--quiet", "--max-tokens", "20000", "--out"]).arg(path("twice")).arg(&twice).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be lengthened"));
}

fn got_tokens(run: &Path) -> u64 {
    let text = std::fs::read(run.join("manifest.json")).unwrap();
    serde_json::from_slice::<serde_json::Value>(&text).unwrap()["rows"].as_u64().unwrap()
}

fn state(run: &Path, name: &str) -> Vec<u8> {
    let newest = std::fs::read_dir(run.join("state")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    std::fs::read(newest.join(name)).unwrap()
}

/// A tensor of a state file, in f64.
fn tensor(bytes: &[u8], name: &str) -> Vec<f64> {
    let all = SafeTensors::deserialize(bytes).unwrap();
    let t = all.tensor(name).unwrap();
    let n = t.data().len() / t.shape().iter().product::<usize>().max(1);
    let number = |b: &[u8]| match n {
        4 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
        _ => f64::from_le_bytes(b.try_into().unwrap()),
    };
    t.data().chunks_exact(n).map(number).collect()
}

#[test]
fn sketches_of_shards_add_up_to_the_sketch_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let files = crate::merge::shards(folder.path(), 3);
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let sketched = |text: String| text.replace(SKETCHED.0, SKETCHED.1).replace("1_000_000", "1_500");
    for (name, files) in [("a", &files[..1]), ("b", &files[1..2]), ("c", &files[2..]), ("whole", &files[..])] {
        let flow = crate::merge::flow(folder.path(), &format!("flow-{name}"), files);
        std::fs::write(&flow, sketched(std::fs::read_to_string(&flow).unwrap())).unwrap();
        run(&flow, &path(name), &["--quiet"]);
    }
    for (parts, out) in [(&["a", "b", "c"][..], "abc"), (&["a", "b"], "ab"), (&["ab", "c"], "ab-c")] {
        let parts: Vec<PathBuf> = parts.iter().map(|p| path(p)).collect();
        assert_eq!(crate::merge::merge(&parts.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &path(out)).0, 0);
    }
    same_tables(&tables(&path("abc")), &path("ab-c"), "a merge of a merge");
    for k in 0..3 {
        let name = format!("sketch-{k:04}.safetensors");
        let (got, want) = (state(&path("abc"), &name), state(&path("whole"), &name));
        assert_eq!(tensor(&got, "ones"), tensor(&want, "ones"));
        let (got, want) = (tensor(&got, "buckets"), tensor(&want, "buckets"));
        assert!(got.len() == want.len() && want.iter().any(|v| *v != 0.0));
        let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-6 * largest), "f32 sums of some hundred terms");
    }
    // what all shards count is counted in the merge, of some tokens of each
    let (merged, whole) = (matches(&path("abc")), matches(&path("whole")));
    assert!(merged.iter().any(|m| m.exact_tokens > 0) && merged.iter().any(|m| m.exact_tokens == 0));
    let best = |rows: &[cognate::table::MatchRow]| by_rank(rows, SOURCES[1], TARGET, Direction::Forward);
    let (merged, whole) = (best(&merged), best(&whole));
    let (mut near, mut n) = (0, 0);
    for (key, want) in whole.iter().filter(|((_, rank), m)| *rank == 1 && m.correlation > Some(0.6)) {
        let Some(got) = (1..=5).find_map(|r| merged.get(&(key.0, r)).filter(|g| g.target_latent == want.target_latent))
        else {
            continue;
        };
        let error = got.sketch_error.unwrap().hypot(want.sketch_error.unwrap());
        near += usize::from((got.correlation.unwrap() - want.correlation.unwrap()).abs() < 3.0 * error + 1e-9);
        n += 1;
    }
    // a latent that fires a few times has errors that are often none and seldom large
    assert!(n > 50 && near as f64 > 0.9 * n as f64, "{near} of {n}");
}

#[test]
fn auto_is_exact_or_a_sketch_by_the_limit_and_the_run_keeps_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let auto = (SKETCHED.0, "pairs = \"all\"\ncross = \"auto\"\nwidth = 64");
    let sketch = flow(folder.path(), "s", &[SKETCHED, ("width = 128", "width = 64")]);
    let (exact, auto) = (flow(folder.path(), "e", &[]), flow(folder.path(), "a", &[auto]));
    let needed = |flow: &Path| {
        let output = cognate().args(["plan", "--json"]).arg(flow).output().unwrap();
        let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        // what screening takes is done without where it does not fit
        let screens =
            plan["costs"].as_array().unwrap().iter().filter(|c| c["what"].as_str().unwrap().starts_with("screen "));
        let screens: u64 = screens.map(|c| c["memory_bytes"].as_u64().unwrap()).sum();
        plan["memory_bytes"].as_u64().unwrap() - screens
    };
    let (exact_bytes, sketch_bytes) = (needed(&exact), needed(&sketch));
    assert!(sketch_bytes < exact_bytes, "{sketch_bytes} {exact_bytes}");
    let (roomy, tight) = ((exact_bytes + 1).to_string(), (exact_bytes - 1).to_string());
    run(&exact, &path("exact"), &["--quiet"]);
    run(&sketch, &path("sketch"), &["--quiet"]);
    run(&auto, &path("auto-exact"), &["--quiet", "--memory-limit", &roomy]);
    same_tables(&tables(&path("exact")), &path("auto-exact"), "with room");
    // a sketch is begun and killed; with room for more it resumes as a sketch
    let mut child = cognate()
        .args(["run", "--quiet", "--memory-limit", &tight, "--out"])
        .arg(path("auto-sketch"))
        .arg(&auto)
        .spawn()
        .unwrap();
    wait_for(&mut child, &path("auto-sketch").join("manifest.json"));
    let _ = child.kill();
    child.wait().unwrap();
    run(&auto, &path("auto-sketch"), &["--quiet", "--memory-limit", &roomy]);
    same_tables(&tables(&path("sketch")), &path("auto-sketch"), "begun tight");
    // what was decided then holds for every later reader of the sums, fingerprint included
    for (run, other) in [("exact", "auto-exact"), ("sketch", "auto-sketch")] {
        let scored = [run, other].map(|name| {
            let out = path(&format!("scored-{name}"));
            let output = cognate().arg("score").arg(path(name)).arg("--out").arg(&out).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            ["latents", "matches", "pairs", "similarities"]
                .map(|table| std::fs::read(out.join(format!("tables/{table}.parquet"))).unwrap())
        });
        assert!(scored[0] == scored[1], "{other}");
    }
    // what does not fit is refused, with what would fit
    let refused = |flow: &Path, limit: u64| {
        let output = cognate().args(["plan", "--memory-limit", &limit.to_string()]).arg(flow).output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = refused(&exact, exact_bytes - 1);
    assert!(said.contains("compare.cross = \"sketch\" with width = "), "{said}");
    let said = refused(&auto, 1 << 20);
    assert!(!said.contains("with width") && said.contains("raise --memory-limit"), "{said}");
}
