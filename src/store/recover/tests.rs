use super::super::testing::*;
use super::*;
use crate::error::ErrorKind;
use proptest::prelude::*;

fn two_checkpoints() -> (tempfile::TempDir, Manifest, Manifest) {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    let before = checkpoint(&run, 10);
    let newest = checkpoint(&run, 20);
    (dir, before, newest)
}

fn decision(root: &Path, wanted: &Wanted) -> Decision {
    decide(&inspect(&RunDir::at(root).unwrap()).unwrap(), wanted)
}

fn refusal(root: &Path, wanted: &Wanted) -> Error {
    match decision(root, wanted) {
        Decision::Refuse(e) => e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_committed_is_a_fresh_start_and_a_whole_run_resumes() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::join(dir.path()).unwrap();
    write_generation(&run, 10);
    assert!(
        matches!(decision(dir.path(), &wanted()), Decision::Fresh),
        "files that no manifest names count for nothing"
    );
    let (dir, _, newest) = two_checkpoints();
    assert_eq!(resumed(dir.path()), (newest.clone(), vec![]));
    let mut r = RunDir::at(dir.path()).unwrap().read_state(&newest, "latents").unwrap();
    assert_eq!(r.tensor::<f64>("xy").unwrap(), [20.0; 8]);
}

#[test]
fn a_damaged_newest_checkpoint_falls_back_and_says_what_it_costs() {
    for hurt in ["missing", "cut", "flipped", "manifest"] {
        let (dir, before, newest) = two_checkpoints();
        let file = dir.path().join(newest.files.keys().next_back().unwrap());
        let mut bytes = std::fs::read(&file).unwrap();
        match hurt {
            "missing" => std::fs::remove_file(&file).unwrap(),
            "cut" => std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap(),
            "flipped" => {
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(&file, &bytes).unwrap();
            }
            _ => std::fs::write(dir.path().join("manifest.json"), b"{").unwrap(),
        }
        let (manifest, warnings) = resumed(dir.path());
        assert_eq!(manifest, before, "{hurt}");
        let said = warnings.join("\n");
        let cost = if hurt == "manifest" { "rows since then are read again" } else { "1000 rows are read again" };
        assert!(said.contains(cost) && said.contains("batch 10"), "{said}");
        assert!(said.contains(if hurt == "manifest" { "manifest" } else { "latents.safetensors" }), "{said}");
    }
}

#[test]
fn two_damaged_checkpoints_are_refused_with_the_way_out() {
    let (dir, before, newest) = two_checkpoints();
    for m in [before, newest] {
        std::fs::remove_file(dir.path().join(m.files.keys().next().unwrap())).unwrap();
    }
    let e = refusal(dir.path(), &wanted());
    assert_eq!(e.kind(), ErrorKind::State);
    assert!(e.to_string().contains("--fresh"), "{e}");
}

#[test]
fn another_run_is_refused_by_the_parts_that_differ() {
    let (dir, ..) = two_checkpoints();
    let mut other = wanted();
    other.fingerprint = "beef".into();
    other.parts.insert("saes.\"a/embed\"".into(), "34cd".into());
    other.parts.remove("seed");
    other.parts.insert("context_length".into(), "128".into());
    let e = refusal(dir.path(), &other);
    assert_eq!(e.kind(), ErrorKind::State);
    for part in [
        "saes.\"a/embed\" is 12ab there, 34cd here",
        "seed is 0 there, nothing here",
        "context_length is nothing there",
    ] {
        assert!(e.to_string().contains(part), "{part}: {e}");
    }
    other.parts = parts();
    assert!(refusal(dir.path(), &other).to_string().contains("fingerprint is f00d there, beef here"));
    // A fallback is no way around it.
    std::fs::write(dir.path().join("manifest.json"), b"{").unwrap();
    assert!(refusal(dir.path(), &other).to_string().contains("another run"));
}

#[test]
fn another_format_is_refused_and_another_machine_is_warned_of() {
    let (dir, _, newest) = two_checkpoints();
    let mut elsewhere = wanted();
    elsewhere.environment.version = "9.9.9".into();
    match decision(dir.path(), &elsewhere) {
        Decision::Resume { warnings, .. } => assert!(warnings[0].contains("9.9.9"), "{warnings:?}"),
        other => panic!("{other:?}"),
    }
    let mut later = newest;
    later.format = 7;
    std::fs::write(dir.path().join("manifest.json"), later.to_bytes()).unwrap();
    let e = refusal(dir.path(), &wanted());
    assert!(e.to_string().contains("format 7") && e.to_string().contains("reads formats 2 to 3"), "{e}");
}

/// One way to hurt one file of a run.
#[derive(Clone, Debug)]
enum Hurt {
    Delete,
    Cut(usize),
    Flip(usize),
    Append(u8),
    Overwrite(Vec<u8>),
    CopyFrom(usize),
    MakeDirectory,
}

fn hurt() -> impl Strategy<Value = Hurt> {
    prop_oneof![
        Just(Hurt::Delete),
        any::<usize>().prop_map(Hurt::Cut),
        any::<usize>().prop_map(Hurt::Flip),
        any::<u8>().prop_map(Hurt::Append),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Hurt::Overwrite),
        any::<usize>().prop_map(Hurt::CopyFrom),
        Just(Hurt::MakeDirectory),
    ]
}

fn apply(root: &Path, files: &[String], target: usize, hurt: &Hurt) {
    let path = root.join(&files[target % files.len()]);
    let Ok(mut bytes) = std::fs::read(&path) else { return };
    match hurt {
        Hurt::Delete => return std::fs::remove_file(&path).unwrap(),
        Hurt::MakeDirectory => {
            std::fs::remove_file(&path).unwrap();
            return std::fs::create_dir(&path).unwrap();
        }
        Hurt::Cut(n) => bytes.truncate(n % (bytes.len() + 1)),
        Hurt::Flip(n) if !bytes.is_empty() => {
            let n = n % (bytes.len() * 8);
            bytes[n / 8] ^= 1 << (n % 8);
        }
        Hurt::Flip(_) => {}
        Hurt::Append(b) => bytes.push(*b),
        Hurt::Overwrite(with) => bytes = with.clone(),
        Hurt::CopyFrom(other) => match std::fs::read(root.join(&files[other % files.len()])) {
            Ok(other) => bytes = other,
            Err(_) => return,
        },
    }
    std::fs::write(&path, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to the files: no panic, and what is resumed is one of the two checkpoints with every byte as written.
    #[test]
    fn no_damage_is_ever_resumed_from(damage in proptest::collection::vec((any::<usize>(), hurt()), 1..5)) {
        // One run is written and synced for all cases, each hurts a copy.
        static TEMPLATE: std::sync::LazyLock<(tempfile::TempDir, Manifest, Manifest)> = std::sync::LazyLock::new(two_checkpoints);
        let (before, newest) = (TEMPLATE.1.clone(), TEMPLATE.2.clone());
        let dir = tempfile::tempdir().unwrap();
        copy_tree(TEMPLATE.0.path(), dir.path());
        let files = files_under(dir.path());
        let intact: BTreeMap<String, Vec<u8>> =
            files.iter().map(|f| (f.clone(), std::fs::read(dir.path().join(f)).unwrap())).collect();
        for (target, how) in &damage {
            apply(dir.path(), &files, *target, how);
        }
        let run = RunDir::at(dir.path()).unwrap();
        let decided = decision(dir.path(), &wanted());
        match &decided {
            Decision::Refuse(e) => prop_assert_eq!(e.kind(), ErrorKind::State),
            Decision::Fresh => prop_assert!(!run.manifest().exists() && !run.previous_manifest().exists()),
            Decision::Resume { manifest, warnings } => {
                prop_assert!(**manifest == before || **manifest == newest);
                let lost = **manifest == before;
                // Only a copy of the older manifest over the newest is silent: it is a whole checkpoint.
                prop_assert!(!lost || !warnings.is_empty() || std::fs::read(run.manifest()).ok() == Some(before.to_bytes()));
                for file in manifest.files.keys() {
                    prop_assert_eq!(&std::fs::read(dir.path().join(file)).unwrap(), &intact[file]);
                }
                match run.carry_out(&decided) {
                    Ok(()) => prop_assert_eq!(&resumed(dir.path()).0, manifest.as_ref()),
                    // Nothing can be renamed over a directory; saying so is all there is to do.
                    Err(e) => prop_assert!(run.manifest().is_dir() && e.kind() == ErrorKind::Machine),
                }
            }
        }
    }
}

/// Too many open files, a server that does not answer and the like were taken for damage, and the newest checkpoint was
/// deleted. A link to itself is used for them: it is there, and the system refuses to read it.
#[cfg(unix)]
#[test]
fn a_failure_that_may_pass_costs_no_checkpoint() {
    let (dir, _, newest) = two_checkpoints();
    let run = RunDir::at(dir.path()).unwrap();
    let state = newest.files.keys().next_back().unwrap().clone();
    for name in ["manifest.json".to_string(), state, newest.files.keys().next().unwrap().clone()] {
        let (file, aside) = (dir.path().join(&name), dir.path().join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        let before = files_under(dir.path());
        let e = inspect(&run).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Machine);
        for word in [name.rsplit('/').next().unwrap(), "nothing was changed", "checkpoint before is used"] {
            assert!(e.to_string().contains(word), "{word}: {e}");
        }
        let e = run.recover(&wanted()).unwrap_err();
        assert_eq!((e.kind(), files_under(dir.path())), (ErrorKind::Machine, before), "{name}");
        std::fs::remove_file(&file).unwrap();
        std::fs::rename(&aside, &file).unwrap();
        assert_eq!(resumed(dir.path()), (newest.clone(), vec![]), "{name}");
    }
    // nor does a commit take a manifest that it cannot look at for one that is not there
    let (file, aside) = (dir.path().join("manifest.json"), dir.path().join("aside"));
    let next = write_generation(&run, 30);
    std::fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    assert_eq!(run.commit(&next).unwrap_err().kind(), ErrorKind::Machine);
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(resumed(dir.path()), (newest, vec![]));
}

#[test]
fn values_that_begin_alike_are_shown_where_they_differ() {
    let long = |end: &str| format!("its weights cannot be known; the feed states small-a, {end}");
    let parts = |value: String| BTreeMap::from([("models.a feed".to_string(), value)]);
    let said = differing_parts(&parts(long("first weights")), &parts(long("other weights, and more that is cut off")));
    assert_eq!(
        said,
        ["models.a feed is …es small-a, first weights there, …es small-a, other weights, and more that… here"]
    );
    // short ones are whole
    let said = differing_parts(&parts("seed 1".into()), &parts("seed 2".into()));
    assert_eq!(said, ["models.a feed is seed 1 there, seed 2 here"]);
    assert!(differing_parts(&parts("x".repeat(50)), &BTreeMap::new())[0].ends_with("… there, nothing here"));
}
