use super::super::fs::write_atomic;
use super::super::testing::{copy_tree, files_under};
use super::*;

/// Writes a set of `snapshot`, not yet published: two tables that tell which.
fn begun(run: &RunDir, snapshot: u32) -> NewSet {
    let mut set = run.new_set().unwrap();
    for name in ["latents", "matches"] {
        let record = write_atomic(&set.path(name), format!("{name} of {snapshot}").as_bytes()).unwrap();
        set.add(name, record);
    }
    set
}

fn about(snapshot: u32) -> SetRecord {
    SetRecord { snapshot, tokens: u64::from(snapshot) * 100, fingerprint: "f00d".into(), ..SetRecord::default() }
}

fn publish(run: &RunDir, snapshot: u32, last: bool) -> SetRecord {
    begun(run, snapshot).publish(about(snapshot), last).unwrap()
}

/// The snapshot whose tables are read; panics where they are not all of one.
fn read(run: &RunDir) -> u32 {
    let set = TableSet::open(run).unwrap();
    let snapshot = set.record().snapshot;
    for name in ["latents", "matches"] {
        assert_eq!(std::fs::read_to_string(set.path(name)).unwrap(), format!("{name} of {snapshot}"));
    }
    snapshot
}

#[test]
fn tables_are_published_together_and_the_set_before_stays_for_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    assert!(matches!(TableSet::look(&run).unwrap(), FoundTables::None));
    assert!(TableSet::open(&run).unwrap_err().to_string().contains("no tables yet"));
    publish(&run, 1, false);
    let reader = TableSet::open(&run).unwrap();
    drop(begun(&run, 9));
    assert_eq!(read(&run), 1, "a set that was given up is nobody's");
    publish(&run, 2, false);
    assert_eq!(read(&run), 2);
    assert_eq!(
        std::fs::read_to_string(reader.path("matches")).unwrap(),
        "matches of 1",
        "still there for who reads it"
    );
    assert_eq!(std::fs::read_to_string(dir.path().join("tables/matches.parquet")).unwrap(), "matches of 2");
    let record = publish(&run, 3, true);
    assert_eq!(TableSet::open(&run).unwrap().record(), &record);
    assert_eq!(files_under(&dir.path().join("sets")).len(), 3, "the last set stands alone");
    run.forget_sets().unwrap();
    assert!(matches!(TableSet::look(&run).unwrap(), FoundTables::None) && !dir.path().join("sets").exists());
}

/// A kill after any step, with links and without: the set before or the new one, whole, and the next start puts it in place.
#[test]
fn a_kill_between_any_two_steps_leaves_one_whole_set() {
    for (links_before, links_now) in [(true, true), (true, false), (false, false), (false, true)] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("begun");
        let run = RunDir::join(&root).unwrap();
        publish(&run, 1, false);
        if !links_before {
            // as where the file system has none, or after a copy that followed them
            std::fs::remove_file(root.join(TABLES)).unwrap();
            copy_tree(&root.join("sets/000001"), &root.join(TABLES));
            std::fs::remove_dir_all(root.join("sets/000001")).unwrap();
        }
        assert_eq!(read(&run), 1);
        let mut set = begun(&run, 2);
        let tables = std::mem::take(&mut set.tables);
        let record = SetRecord { format: SET_FORMAT, tables, ..about(2) };
        let steps = publish_steps(set.number, &record, links_now, is_folder(&root));
        let renamed = steps.iter().position(|s| matches!(s, Step::Rename { .. } | Step::Remove { .. })).unwrap();
        for n in 0..=steps.len() {
            let copy = dir.path().join(format!("killed-{n}"));
            copy_whole(&root, &copy);
            let killed = RunDir::at(&copy).unwrap();
            assert!(!links_now || link(&copy, set.number));
            perform(&copy, &steps[..n]).unwrap();
            let place = format!("links {links_before} {links_now}, after step {n} of {}", steps.len());
            let found = read(&killed);
            // where it takes two renames, the new set is found by its number in between
            assert_eq!(found, if n > renamed { 2 } else { 1 }, "{place}");
            killed.settle_sets().unwrap();
            assert_eq!(read(&killed), found, "{place}");
            let linked = copy.join(TABLES).is_symlink();
            assert_eq!(numbers(&copy).len(), usize::from(linked), "{place}: what is not the newest is swept");
            let tables = std::fs::read_to_string(copy.join("tables/latents.parquet")).unwrap();
            assert_eq!(tables, format!("latents of {found}"), "{place}");
            publish(&killed, 3, true);
            assert_eq!(read(&killed), 3, "{place}");
        }
    }
}

/// A copy with its links, as they are.
fn copy_whole(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[test]
fn every_flipped_bit_every_lost_and_every_foreign_table_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    publish(&run, 1, false);
    std::fs::copy(dir.path().join("tables/matches.parquet"), dir.path().join("older")).unwrap();
    publish(&run, 2, false);
    let faults = |run: &RunDir| match TableSet::look(run).unwrap() {
        FoundTables::Hurt { faults, .. } => faults.join("; "),
        other => panic!("{other:?}"),
    };
    for name in ["latents.parquet", "matches.parquet", SET_FILE] {
        let path = dir.path().join(TABLES).join(name);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..8 * whole.len() {
            let mut hurt = whole.clone();
            hurt[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, hurt).unwrap();
            assert!(faults(&run).contains(name), "{name} bit {bit}");
            if name != SET_FILE {
                assert!(check_in_set(&path).unwrap_err().to_string().contains(name));
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(faults(&run).contains(name), "{name} is lost");
        std::fs::write(&path, whole).unwrap();
    }
    let matches = dir.path().join("tables/matches.parquet");
    std::fs::rename(dir.path().join("older"), &matches).unwrap();
    let error = TableSet::open(&run).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    for part in ["matches.parquet is damaged, or of another snapshot", "give the same `cognate"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Somebody reads while sets come and go as fast as they can: never two snapshots in one reading.
#[test]
fn a_reader_sees_one_snapshot_while_others_are_published() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    publish(&run, 1, false);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (2..200).for_each(|snapshot| drop(publish(&run, snapshot, false)));
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let other = RunDir::at(dir.path()).unwrap();
        let (mut seen, mut told) = (std::collections::BTreeSet::new(), 0);
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let read = read_tables(&other, |set| {
                let text =
                    |name| std::fs::read_to_string(set.path(name)).map_err(|e| Error::io("read", dir.path(), &e));
                Ok((set.record().snapshot, text("latents")?, text("matches")?))
            });
            match read {
                Ok((n, latents, matches)) => {
                    assert_eq!((latents, matches), (format!("latents of {n}"), format!("matches of {n}")));
                    seen.insert(n);
                }
                // renewed twice within one reading: said
                Err(_) => told += 1,
            }
        }
        println!("{} sets seen, {told} times told that they moved", seen.len());
        assert!(!seen.is_empty());
    });
}
