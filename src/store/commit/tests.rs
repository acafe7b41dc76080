use super::super::testing::*;
use super::super::{decide, inspect};
use super::*;
use crate::store::Ended;

/// Runs `steps` against every crash and every memory of the disk; the first outcome that breaks the promise, if any.
fn first_broken_promise(template: &Path, steps: &[Step], before: &Manifest, after: &Manifest) -> Option<String> {
    first_broken(template, steps, |root, n| {
        let run = RunDir::at(root).unwrap();
        let decision = decide(&inspect(&run).unwrap(), &wanted());
        let Decision::Resume { manifest, .. } = &decision else { return Some(format!("{decision:?}")) };
        if manifest.as_ref() != before && manifest.as_ref() != after {
            return Some(format!("resumes from batch {}", manifest.next_batch));
        }
        if n == steps.len() && manifest.as_ref() != after {
            return Some("the commit had returned and is lost".into());
        }
        if n == steps.len() && before.next_batch != after.next_batch {
            // The generation before is there to fall back to.
            let newest = after.files.keys().next().unwrap();
            std::fs::write(root.join(newest), b"hurt").unwrap();
            match decide(&inspect(&run).unwrap(), &wanted()) {
                Decision::Resume { manifest, .. } if manifest.as_ref() == before => {}
                other => return Some(format!("no fallback: {other:?}")),
            }
            std::fs::copy(template.join(newest), root.join(newest)).unwrap();
        }
        run.carry_out(&decision).unwrap();
        let manifests = [MANIFEST, PREVIOUS].map(|name| run.whole(name).unwrap());
        let named =
            |f: &String| manifests.iter().flatten().any(|m| m.files.contains_key(f)) || f.starts_with("manifest");
        if let Some(stray) = files_under(root).iter().find(|f| !named(f)) {
            return Some(format!("{stray} is left over"));
        }
        (resumed(root).0 != **manifest).then(|| "settling changed the checkpoint".into())
    })
}

/// A run with checkpoints before batches 10 and 20, and the files of one before 30 written but not committed.
fn about_to_commit() -> (tempfile::TempDir, Vec<Step>, Manifest, Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let oldest = checkpoint(&run, 10);
    let before = checkpoint(&run, 20);
    let after = write_generation(&run, 30);
    let steps = commit_steps(&after, Some(&before), Some(&oldest), &run.state_listing());
    (dir, steps, before, after)
}

#[test]
fn a_crash_between_any_two_steps_leaves_a_checkpoint_to_resume_from() {
    let (dir, steps, before, after) = about_to_commit();
    assert!(steps.iter().any(|s| matches!(s, Step::Remove { .. })), "the oldest generation is swept: {steps:?}");
    assert_eq!(first_broken_promise(dir.path(), &steps, &before, &after), None);
}

#[test]
fn every_step_of_the_commit_earns_its_place() {
    let (dir, steps, before, after) = about_to_commit();
    for (i, step) in steps.iter().enumerate() {
        if matches!(step, Step::Remove { .. }) {
            continue;
        }
        let mut without = steps.clone();
        without.remove(i);
        assert!(first_broken_promise(dir.path(), &without, &before, &after).is_some(), "not missed: {step:?}");
    }
    // Sweeping before the commit is durable: what the surviving manifest names may be gone.
    let (mut early, rest): (Vec<_>, Vec<_>) = steps.into_iter().partition(|s| matches!(s, Step::Remove { .. }));
    early.extend(before.files.keys().map(|f| Step::Remove { path: f.clone() }));
    early.extend(rest);
    assert!(first_broken_promise(dir.path(), &early, &before, &after).is_some());
}

#[test]
fn the_first_commit_and_a_second_one_of_the_same_batch_survive_crashes_too() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let first = write_generation(&run, 10);
    let steps = commit_steps(&first, None, None, &run.state_listing());
    for n in 0..=steps.len() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("run");
        crash(dir.path(), &root, &steps, n, u64::MAX);
        match decide(&inspect(&RunDir::at(&root).unwrap()).unwrap(), &wanted()) {
            Decision::Fresh => assert!(n < steps.len()),
            Decision::Resume { manifest, .. } => assert_eq!(*manifest, first),
            other => panic!("{other:?}"),
        }
    }
    run.commit(&first).unwrap();
    let before = checkpoint(&run, 20);
    let mut finished = before.clone();
    finished.ended = Ended::Corpus;
    let steps = commit_steps(&finished, Some(&before), Some(&first), &run.state_listing());
    assert_eq!(first_broken_promise(dir.path(), &steps, &before, &finished), None);
    run.commit(&finished).unwrap();
    assert_eq!(run.whole(PREVIOUS).unwrap(), Some(first), "still the generation before, not the same one again");
}

#[test]
fn a_fallback_is_carried_out_crash_by_crash_and_the_run_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let before = checkpoint(&run, 10);
    let hurt = checkpoint(&run, 20);
    std::fs::remove_file(dir.path().join(hurt.files.keys().next().unwrap())).unwrap();
    let steps = steps_of(Some(&before), Some(&hurt), Some(&before), &run.state_listing());
    assert_eq!(first_broken_promise(dir.path(), &steps, &before, &before), None);

    let decision = decide(&inspect(&run).unwrap(), &wanted());
    run.carry_out(&decision).unwrap();
    assert_eq!(resumed(dir.path()), (before.clone(), vec![]), "the second start has nothing to warn of");
    let again = checkpoint(&run, 20);
    assert_eq!(resumed(dir.path()).0, again);
    assert_eq!(run.whole(PREVIOUS).unwrap(), Some(before), "never the damaged one");
}

#[test]
fn a_commit_refuses_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let first = checkpoint(&run, 10);
    let mut manifest = write_generation(&run, 20);
    manifest.files.values_mut().next().unwrap().size += 1;
    let refused = run.commit(&manifest).unwrap_err();
    assert!(refused.to_string().contains("should have"), "{refused}");
    assert_eq!(resumed(dir.path()).0, first);
}

#[test]
fn two_generations_are_kept_and_fresh_forgets_all_but_foreign_files() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::open_or_create(dir.path()).unwrap();
    let foreign = ["notes.txt", "state/README", "tables/notes.txt"];
    std::fs::create_dir(dir.path().join("tables")).unwrap();
    foreign.iter().for_each(|f| std::fs::write(dir.path().join(f), b"mine").unwrap());
    for f in ["state/.cognate-x.tmp", ".cognate-manifest.json.tmp", "tables/latents.parquet"] {
        std::fs::write(dir.path().join(f), b"half").unwrap();
    }
    for batch in 1..=5 {
        checkpoint(&run, batch);
    }
    let generations: BTreeSet<String> =
        files_under(&dir.path().join("state")).iter().filter_map(|f| Some(f.split_once('/')?.0.to_string())).collect();
    assert_eq!(generations.into_iter().collect::<Vec<_>>(), ["000000000004", "000000000005"]);
    run.start_afresh().unwrap();
    assert_eq!(files_under(dir.path()), ["lock", "notes.txt", "state/README", "tables/notes.txt"]);
    assert!(matches!(decide(&inspect(&run).unwrap(), &wanted()), Decision::Fresh));
}
