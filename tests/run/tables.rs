//! The tables of a run are one set of one snapshot, whenever they are read or the run is killed; what is lost, damaged or mixed is
//! named by every reader and made again by the run.

use crate::bench_rig::{cognate, run, same_tables, small_demo, tables};
use cognate::store::{FoundTables, RunDir, TableSet};
use cognate::table::{HistoryRow, LatentRow, MatchRow, SimilarityRow, TableReader, TableRow};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

/// splitmix64, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// Snapshot and tokens that one table names; `None` where it is gone.
fn named<R: TableRow>(dir: &Path) -> Option<(String, String)> {
    let table = TableReader::<R>::open(&dir.join(format!("{}.parquet", R::TABLE))).ok()?;
    Some((table.origin()["snapshot"].clone(), table.origin()["tokens"].clone()))
}

/// The snapshot that a script finds which takes the folder once, by any table; `None` before the first, or where the folder
/// was taken away under it. Fails on a mixture.
fn read_as_a_script(out: &Path) -> Option<String> {
    let dir = out.join("tables").canonicalize().ok()?;
    let found = [
        named::<LatentRow>(&dir)?,
        named::<MatchRow>(&dir)?,
        named::<SimilarityRow>(&dir)?,
        named::<HistoryRow>(&dir)?,
    ];
    assert_eq!(BTreeSet::from(found.clone()).len(), 1, "{} mixes {found:?}", dir.display());
    let history: Vec<HistoryRow> = TableReader::open(&dir.join("history.parquet")).ok()?.read_all().ok()?;
    assert_eq!(history.last().map(|h| h.tokens.to_string()), Some(found[0].1.clone()));
    Some(found[0].0.clone())
}

/// More tries with `COGNATE_KILLS`.
#[test]
fn killed_or_read_at_random_moments_tables_are_of_one_snapshot() {
    let tries: u64 = std::env::var("COGNATE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[
            ("snapshot_every = 3_000", "snapshot_every = 600"),
            ("max_tokens = 12_000", "max_tokens = 6_000"),
            ("null = { permutations = 20,", "null = { at = \"snapshot\", permutations = 60,"),
        ],
    );
    let (whole, out) = (folder.path().join("whole"), folder.path().join("killed"));
    let started = Instant::now();
    run(&flow, &whole, &["--quiet"]);
    let (took, expected) = (started.elapsed(), tables(&whole));
    let (mut random, mut readings, mut snapshots, mut kills) = (Random(5), 0, BTreeSet::new(), 0);
    for _ in 0..tries {
        let mut child = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).spawn().unwrap();
        let until = Instant::now() + Duration::from_millis(random.below(took.as_millis() as u64));
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            if let Some(snapshot) = read_as_a_script(&out) {
                readings += 1;
                snapshots.insert(snapshot);
            }
            std::thread::sleep(Duration::from_millis(random.below(5)));
        }
        let done = child.try_wait().unwrap().is_some();
        if !done {
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        if !out.exists() {
            continue; // killed before it made its directory
        }
        read_as_a_script(&out);
        match TableSet::look(&RunDir::at(&out).unwrap()).unwrap() {
            FoundTables::None => assert!(!out.join("sets").join("000001/set.json").exists()),
            FoundTables::Whole(_) => {}
            hurt => panic!("{hurt:?}"),
        }
        let said = String::from_utf8(cognate().arg("status").arg(&out).output().unwrap().stdout).unwrap();
        assert!(!said.contains("not as they were published"), "{said}");
        if done {
            same_tables(&expected, &out, "finished");
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    run(&flow, &out, &["--quiet"]);
    same_tables(&expected, &out, "after the last kill");
    println!("{kills} kills, {readings} readings of {} snapshots while runs went on, no mixture", snapshots.len());
    assert!(kills + readings > 0);
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b).into_owned()).concat();
    (output.status.code().unwrap(), text)
}

#[test]
fn damaged_lost_and_mixed_tables_are_named_by_every_reader_and_made_again_by_the_run() {
    let folder = tempfile::tempdir().unwrap();
    // the last snapshot has nulls, the one before has none
    let flow = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 4_000")]);
    let (out, other) = (folder.path().join("run"), folder.path().join("other"));
    run(&flow, &out, &["--quiet"]);
    run(&flow, &other, &["--quiet", "--max-tokens", "2000"]);
    let expected = tables(&out);
    let set_file = std::fs::read(out.join("tables/set.json")).unwrap();
    let dir = RunDir::at(&out).unwrap();

    // a sample of 200 single bits, by the share of each file
    let mut files: Vec<(String, Vec<u8>)> = expected.clone().into_iter().collect();
    files.push(("set.json".into(), set_file.clone()));
    let n_bits: u64 = files.iter().map(|f| 8 * f.1.len() as u64).sum();
    let mut random = Random(3);
    for k in 0..200 {
        // every tenth one in a small file, which a share by size would hardly meet
        let mut bit = if k % 10 == 0 { n_bits - 1 - random.below(4000) } else { random.below(n_bits) };
        let (name, bytes) = files
            .iter()
            .find(|f| {
                let within = bit < 8 * f.1.len() as u64;
                bit -= if within { 0 } else { 8 * f.1.len() as u64 };
                within
            })
            .unwrap();
        let mut hurt = bytes.clone();
        hurt[bit as usize / 8] ^= 1 << (bit % 8);
        let path = out.join("tables").join(name);
        std::fs::write(&path, hurt).unwrap();
        let FoundTables::Hurt { faults, .. } = TableSet::look(&dir).unwrap() else {
            panic!("{name}, bit {bit}: unseen")
        };
        assert!(faults.join("; ").contains(name.as_str()), "{faults:?}");
        if k % 50 == 0 {
            for (args, code) in
                [(&["status"][..], 0), (&["report"], 4), (&["show", "small-a/resid_post.2/5"], 4), (&["diff"], 4)]
            {
                let (command, more) = (args[0], if args[0] == "diff" { other.to_str() } else { args.get(1).copied() });
                let (found, text) = said(&cognate().arg(command).arg(&out).args(more).output().unwrap());
                assert!(found == code && text.contains(name.as_str()), "{command}: {found} {text}");
                assert!(text.contains("cognate run"), "{command} says what to do: {text}");
            }
            if name != "set.json" {
                let files = [path.clone(), other.join("tables").join(name)];
                let (code, text) = said(&cognate().arg("diff").args(files).output().unwrap());
                assert!(code == 4 && text.contains(name.as_str()), "{text}");
            }
        }
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(matches!(TableSet::look(&dir).unwrap(), FoundTables::Whole(_)));

    // whatever happened to them, the finished run makes them again, byte for byte, and reports it
    let table = |name: &str| out.join("tables").join(name);
    type Harm<'a> = (&'a str, &'a dyn Fn(), &'a str);
    let harms: [Harm<'_>; 6] = [
        ("lost", &|| std::fs::remove_file(table("similarities.parquet")).unwrap(), "similarities.parquet is missing"),
        (
            "mixed",
            &|| {
                std::fs::copy(other.join("tables/matches.parquet"), table("matches.parquet")).unwrap();
            },
            "matches.parquet",
        ),
        ("set file lost", &|| std::fs::remove_file(table("set.json")).unwrap(), "set.json"),
        ("link lost and its set", &|| std::fs::remove_dir_all(out.join("sets")).unwrap(), "set.json"),
        (
            "all lost",
            &|| {
                std::fs::remove_file(out.join("tables")).unwrap();
                std::fs::remove_dir_all(out.join("sets")).unwrap();
            },
            "they are not there",
        ),
        (
            "those of an earlier moment",
            &|| {
                std::fs::remove_file(out.join("tables")).unwrap();
                let status = std::process::Command::new("cp")
                    .args(["-rL"])
                    .args([other.join("tables"), out.join("tables")])
                    .status();
                assert!(status.unwrap().success());
            },
            "they are of snapshot 1",
        ),
    ];
    for (what, harm, word) in harms {
        harm();
        let (_, text) = said(&run(&flow, &out, &[]));
        assert!(text.contains(word) && text.contains("made again from the saved sums"), "{what}: {text}");
        assert!(!text.contains("other bytes"), "{what}: {text}");
        same_tables(&expected, &out, what);
        assert_eq!(std::fs::read(out.join("tables/set.json")).unwrap(), set_file, "{what}");
        let (_, text) = said(&run(&flow, &out, &[]));
        assert!(!text.contains("made again"), "{what}, once: {text}");
    }

    // a copy that followed the link is a run like any other, and resumes
    let copy = folder.path().join("copy");
    assert!(std::process::Command::new("cp").args(["-rL"]).args([&out, &copy]).status().unwrap().success());
    assert!(!copy.join("tables").is_symlink());
    let (code, text) = said(&cognate().arg("diff").args([&out, &copy]).output().unwrap());
    assert!(code == 0 && text.contains("identical bytes"), "{text}");
    run(&flow, &copy, &["--quiet", "--max-tokens", "6000"]);
    run(&flow, &out, &["--quiet", "--max-tokens", "6000"]);
    same_tables(&tables(&out), &copy, "the copy went on");
}

#[test]
fn a_stopped_run_mends_its_tables_where_the_checkpoint_was_taken_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[("snapshot_every = 3_000", "snapshot_every = 1_000"), ("max_tokens = 12_000", "max_tokens = 40_000")],
    );
    let out = folder.path().join("run");
    crate::kill::kill_after(&flow, &out, 3_000);
    std::fs::remove_file(out.join("tables/latents.parquet")).unwrap();
    let child = cognate().args(["run", "--out"]).arg(&out).arg(&flow).output();
    let (_, text) = said(&child.unwrap());
    let mended = text.contains("made again from the saved sums") || text.contains("made again at the next snapshot");
    assert!(text.contains("latents.parquet is missing") && mended, "{text}");
    run(&flow, &folder.path().join("whole"), &["--quiet"]);
    same_tables(&tables(&folder.path().join("whole")), &out, "after a table was lost");
}

#[test]
fn a_reader_that_closes_the_output_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[("max_tokens = 12_000", "max_tokens = 4_000")]);
    let out = folder.path().join("out");
    run(&flow, &out, &["--quiet"]);
    let [out, flow] = [&out, &flow].map(|path| path.to_str().unwrap());
    let commands: [&[&str]; 6] = [
        &["diff", out, out],
        &["status", out],
        &["status", "--json", out],
        &["show", out, "small-a/resid_post.1/0"],
        &["plan", flow],
        &["report", out],
    ];
    for words in commands {
        let mut child = cognate().args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{words:?}: {:?} {said}", output.status);
    }
}
