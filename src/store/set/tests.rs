use super::super::fs::write_atomic;
use super::super::testing::{copy_tree, files_under, first_broken};
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

/// A run with the tables of snapshot 1 published and those of 2 about to be, by the steps that are given. `links`: whether the file system
/// had links when 1 was published, and has them now.
fn about_to_publish(root: &Path, links: (bool, bool)) -> (NewSet, Vec<Step>) {
    let run = RunDir::join(root).unwrap();
    publish(&run, 1, false);
    if !links.0 {
        // as where the file system has none, or after a copy that followed them
        std::fs::remove_file(root.join(TABLES)).unwrap();
        copy_tree(&root.join("sets/000001"), &root.join(TABLES));
        std::fs::remove_dir_all(root.join("sets/000001")).unwrap();
    }
    assert_eq!(read(&run), 1);
    let mut set = begun(&run, 2);
    let tables = std::mem::take(&mut set.tables);
    let record = SetRecord { format: SET_FORMAT, tables, ..about(2) };
    assert!(!links.1 || link(root, set.number).unwrap());
    let steps = publish_steps(set.number, &record, links.1, is_folder(root).unwrap());
    (set, steps)
}

const LINKS: [(bool, bool); 4] = [(true, true), (true, false), (false, false), (false, true)];

/// A kill after any step, with links and without: the set before or the new one, whole, and the next start puts it in place.
#[test]
fn a_kill_between_any_two_steps_leaves_one_whole_set() {
    for links in LINKS {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("begun");
        let (_set, steps) = about_to_publish(&root, links);
        let renamed = steps.iter().position(|s| matches!(s, Step::Rename { .. } | Step::Remove { .. })).unwrap();
        for n in 0..=steps.len() {
            let copy = dir.path().join(format!("killed-{n}"));
            copy_tree(&root, &copy);
            let killed = RunDir::at(&copy).unwrap();
            perform(&copy, &steps[..n]).unwrap();
            let place = format!("links {links:?}, after step {n} of {}", steps.len());
            let found = read(&killed);
            // where it takes two renames, the new set is found by its number in between
            assert_eq!(found, if n > renamed { 2 } else { 1 }, "{place}");
            killed.tidy_sets().unwrap();
            assert_eq!(read(&killed), found, "{place}");
            let linked = copy.join(TABLES).is_symlink();
            assert_eq!(numbers(&copy).unwrap().len(), usize::from(linked), "{place}: what is not the newest is swept");
            let tables = std::fs::read_to_string(copy.join("tables/latents.parquet")).unwrap();
            assert_eq!(tables, format!("latents of {found}"), "{place}");
            publish(&killed, 3, true);
            assert_eq!(read(&killed), 3, "{place}");
        }
    }
}

/// The first power cut after which there is not one whole set, or not the new one though all steps were done.
fn first_mixture(template: &Path, steps: &[Step]) -> Option<String> {
    first_broken(template, steps, |root, n| match TableSet::look(&RunDir::at(root).unwrap()).unwrap() {
        FoundTables::Whole(set) => {
            let found = set.record().snapshot;
            let right = if n == steps.len() { found == 2 } else { (1..=2).contains(&found) };
            (!right).then(|| format!("snapshot {found}"))
        }
        other => Some(format!("{other:?}")),
    })
}

#[test]
fn a_power_cut_leaves_one_whole_set_and_what_was_published_stays() {
    for links in LINKS {
        let dir = tempfile::tempdir().unwrap();
        let (set, steps) = about_to_publish(dir.path(), links);
        assert_eq!(first_mixture(dir.path(), &steps), None, "links {links:?}");
        // What names the set and its place is written, synced and renamed, each of which is missed. Where a folder was moved out of
        // the way, the set is found by its number too.
        let needed = |step: &Step| match step {
            Step::SyncDir { path } => path.is_empty() && links.0 || *path == set_path(set.number),
            Step::Rename { to, .. } => to != TABLES || links == (true, true),
            Step::Remove { .. } => false,
            _ => true,
        };
        for (k, step) in steps.iter().enumerate().filter(|(_, step)| needed(step)) {
            let mut without = steps.clone();
            without.remove(k);
            assert!(first_mixture(dir.path(), &without).is_some(), "links {links:?}, not missed: {step:?}");
        }
    }
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
                // renewed twice within one reading: an error that says so, or that digests were of another set
                Err(e) => {
                    let said = e.to_string();
                    assert!(said.contains("renewed twice") || e.kind() == ErrorKind::State, "{said}");
                    told += 1;
                }
            }
        }
        println!("{} sets seen, {told} times told that they moved", seen.len());
        assert!(!seen.is_empty());
    });
}

#[test]
fn a_set_of_another_format_is_named_and_an_empty_folder_holds_no_tables() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    std::fs::create_dir(dir.path().join(TABLES)).unwrap();
    assert!(matches!(TableSet::look(&run).unwrap(), FoundTables::None), "nothing was published there");
    std::fs::remove_dir(dir.path().join(TABLES)).unwrap();
    let record = publish(&run, 1, false);
    let set_file = dir.path().join(TABLES).join(SET_FILE);
    std::fs::write(&set_file, sealed(&SetRecord { format: 9, ..record.clone() })).unwrap();
    let FoundTables::Hurt { faults, .. } = TableSet::look(&run).unwrap() else { panic!("format 9 is read") };
    assert_eq!(faults, [format!("{SET_FILE} is of format 9, this version reads {SET_FORMAT}")]);
    std::fs::write(&set_file, sealed(&record)).unwrap();
    assert_eq!(read(&run), 1);
}

#[test]
fn forgetting_tables_leaves_what_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    publish(&run, 1, true);
    // a copy that followed the link, in which somebody keeps notes
    let tables = dir.path().join(TABLES);
    std::fs::remove_file(&tables).unwrap();
    copy_tree(&dir.path().join("sets/000001"), &tables);
    std::fs::write(tables.join("notes.txt"), "mine").unwrap();
    run.forget_sets().unwrap();
    assert_eq!(
        files_under(dir.path()).into_iter().filter(|f| !f.starts_with("lock")).collect::<Vec<_>>(),
        ["tables/notes.txt"]
    );
}
