//! A run directory among real processes: killed at any moment, fought over, on a disk that fills up.

use cognate::error::{ErrorKind, Result};
use cognate::store::{
    AtomicFile, Environment, Manifest, RunDir, SetRecord, StateFile, StateLayout, Wanted, read_tables, write_atomic,
};
use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

mod common;
#[path = "common/matches.rs"]
mod matches;

use matches::write_matches;

const CHILD: &str = "COGNATE_TEST_STORE_CHILD";
const TILES: usize = 4;
const CELLS: usize = 5000;
const BATCHES_PER_CHECKPOINT: u64 = 3;

fn wanted() -> Wanted {
    Wanted { fingerprint: "f00d".into(), parts: [("seed".into(), "0".into())].into(), environment: Environment::here() }
}

/// What a tile holds after the batches before `next_batch`: the sum of `batch + cell`.
fn tile_after(next_batch: u64) -> Vec<f64> {
    (0..CELLS).map(|c| (0..next_batch).map(|b| (b + c as u64) as f64).sum()).collect()
}

fn write_tiles(run: &RunDir, next_batch: u64, tiles: &[Vec<f64>]) -> Result<Vec<StateFile>> {
    let one = |(k, tile): (usize, &Vec<f64>)| {
        let layout = StateLayout::new(serde_json::json!({ "tile": k })).tensor::<f64>("xy", &[CELLS]);
        let mut w = run.write_state(next_batch, &format!("tile {k}"), layout)?;
        w.put("xy", tile)?;
        w.finish()
    };
    tiles.iter().enumerate().map(one).collect()
}

/// Opens a run, restores its tiles and checks every cell against the plain sum.
fn restore(run: &RunDir) -> (u64, Vec<Vec<f64>>, Vec<String>) {
    match run.recover(&wanted()).unwrap() {
        (None, warnings) => (0, vec![vec![0.0; CELLS]; TILES], warnings),
        (Some(manifest), warnings) => {
            let read = |k: usize| run.read_state(&manifest, &format!("tile {k}")).unwrap().tensor("xy").unwrap();
            let tiles: Vec<Vec<f64>> = (0..TILES).map(read).collect();
            assert!(
                tiles.iter().all(|t| *t == tile_after(manifest.next_batch)),
                "state of batch {}",
                manifest.next_batch
            );
            (manifest.next_batch, tiles, warnings)
        }
    }
}

/// Not a test of its own: the process that the next test starts and kills.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let run = RunDir::open_or_create(Path::new(&dir)).unwrap();
    let (mut batch, mut tiles, warnings) = restore(&run);
    assert!(warnings.is_empty(), "a kill damages nothing: {warnings:?}");
    loop {
        for tile in &mut tiles {
            tile.iter_mut().enumerate().for_each(|(c, sum)| *sum += (batch + c as u64) as f64);
        }
        batch += 1;
        if batch.is_multiple_of(BATCHES_PER_CHECKPOINT) {
            let mut manifest = Manifest::new(wanted().fingerprint, wanted().parts);
            (manifest.next_batch, manifest.rows) = (batch, batch * 100);
            manifest.files =
                write_tiles(&run, batch, &tiles).unwrap().into_iter().map(|f| (f.path, f.record)).collect();
            run.commit(&manifest).unwrap();
            println!("committed {batch}");
        }
    }
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { files_under(&p) } else { vec![p] }).collect()
}

#[test]
fn killed_at_any_moment_a_run_resumes_from_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let mut promised = 0;
    for round in 0..25u64 {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, &root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        // After its first commit the process is let live for another moment each time.
        let reader = std::thread::spawn(move || {
            let commits = lines.lines().map_while(std::result::Result::ok);
            let mut commits = commits.filter_map(|l| l.split_once("committed ")?.1.trim().parse::<u64>().ok());
            let first = commits.next();
            (first, commits)
        });
        let (first, rest) = reader.join().unwrap();
        assert!(first.is_some_and(|b| b > promised), "round {round}: got on from {promised}: {first:?}");
        std::thread::sleep(Duration::from_micros(round * 1_731 % 9_000));
        process.kill().unwrap();
        process.wait().unwrap();
        promised = rest.last().or(first).unwrap();

        let run = RunDir::open_or_create(&root).expect("the lock died with its holder");
        let (batch, _, warnings) = restore(&run);
        assert!(batch >= promised, "round {round}: commit {promised} had returned, found {batch}");
        assert!(warnings.is_empty(), "{warnings:?}");
        promised = batch;
        let strays = files_under(&root).into_iter().filter(|p| p.to_string_lossy().contains(".cognate-"));
        assert_eq!(strays.count(), 0);
    }
}

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let _held = RunDir::open_or_create(&root).unwrap();
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, &root)
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).to_string() + &String::from_utf8_lossy(&second.stdout);
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
}

#[test]
fn a_full_disk_is_named_and_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("disk");
    std::fs::create_dir(&dir).unwrap();
    let Some(_disk) = common::SmallDisk::mount(&dir, "1m") else { return };
    let run = RunDir::open_or_create(&dir.join("run")).unwrap();
    let tiles = vec![tile_after(3); TILES];
    let mut manifest = Manifest::new(wanted().fingerprint, wanted().parts);
    manifest.next_batch = 3;
    manifest.files = write_tiles(&run, 3, &tiles).unwrap().into_iter().map(|f| (f.path, f.record)).collect();
    run.commit(&manifest).unwrap();
    let before = files_under(&dir);

    let layout = StateLayout::new(serde_json::Value::Null).tensor::<f64>("xy", &[1 << 18]);
    let mut w = run.write_state(6, "tile 0", layout).unwrap();
    let full = w.put("xy", &vec![1.0f64; 1 << 18]).unwrap_err();
    drop(w);
    assert_eq!(full.kind(), ErrorKind::Machine);
    for part in ["tile%200.safetensors", "bytes)", "free some space", "resume"] {
        assert!(full.to_string().contains(part), "{full}");
    }
    let table = write_matches(&run.root().join("matches.parquet"), 2_000_000).unwrap_err();
    assert!(table.kind() == ErrorKind::Machine && table.to_string().contains("free some space"), "{table}");

    // The rest of the disk is filled to the last byte: then not even a manifest can be written.
    let mut filler = AtomicFile::create(&dir.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).and_then(|()| filler.flush()).is_ok() {}
    manifest.next_batch = 6;
    manifest.asked.flow = "x".repeat(100_000);
    let commit = run.commit(&manifest).unwrap_err();
    assert!(commit.kind() == ErrorKind::Machine && commit.to_string().contains("bytes)"), "{commit}");
    drop(filler);
    assert_eq!(files_under(&dir), before, "nothing half is left, nothing is lost");
    assert_eq!(restore(&run).0, 3);
}

/// A newer set leaves the one that is read; two take it away, and the reader reads once more, or reports it when that
/// happens again.
#[test]
fn a_reader_whose_tables_are_taken_away_reads_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let publish = |snapshot: u32| {
        let mut set = run.new_set().unwrap();
        let record = write_atomic(&set.path("latents"), format!("latents of {snapshot}").as_bytes()).unwrap();
        set.add("latents", record);
        set.publish(SetRecord { snapshot, ..SetRecord::default() }, false).unwrap();
    };
    publish(1);
    // in each of the first `readings` readings so many newer sets come
    let read = |readings: u32, newer: u32| {
        let left = Cell::new(readings);
        let found = read_tables(&run, |set| {
            let text = std::fs::read_to_string(set.path("latents")).unwrap();
            let snapshot = set.record().snapshot;
            assert_eq!(text, format!("latents of {snapshot}"));
            if left.get() > 0 {
                left.set(left.get() - 1);
                (1..=newer).for_each(|k| publish(snapshot + k));
            }
            Ok(snapshot)
        });
        found.map_err(|e| e.to_string())
    };
    assert_eq!(read(0, 0), Ok(1));
    assert_eq!(read(1, 1), Ok(1), "it still stands");
    assert_eq!(read(1, 2), Ok(4));
    let said = read(2, 2).unwrap_err();
    assert!(said.contains("were renewed twice while they were read"), "{said}");
}
