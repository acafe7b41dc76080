//! Disks of every size: full after so many bytes, the work ends with that error; with room, the same command ends with
//! the same bytes.

use crate::scene::{Scene, can_fail};

/// Sizes of each scene; more with `COGNATE_DISKS`.
fn sizes() -> u64 {
    std::env::var("COGNATE_DISKS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// Whether the work fits into `bytes`; what was wrong with how it ended.
fn fills(scene: &Scene, victim: usize, bytes: u64) -> Result<bool, String> {
    scene.set();
    let before = (scene.saved(), scene.has_tables()?);
    let fault = format!("full:{bytes}");
    let outputs = scene.outputs(1, Some((victim, &[("COGNATE_FAULT", fault.as_str())])))?;
    let told: Vec<String> = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
    let fits = outputs.iter().all(|o| o.status.success());
    if !fits {
        let right = |(o, said): (&std::process::Output, &String)| {
            o.status.code() == Some(5) && said.contains("free some space") && said.contains("No space left")
        };
        if !outputs.iter().zip(&told).all(right) {
            return Err(format!("expected exit code 5 and a full disk: {told:?}"));
        }
        let after = (scene.saved(), scene.has_tables()?);
        if after.0 < before.0 || before.1 && !after.1 {
            return Err(format!("before: {before:?}, after: {after:?}; {told:?}"));
        }
        scene.try_again()?;
    }
    scene.is_as_expected().map_err(|e| format!("{e}; {told:?}"))?;
    Ok(fits)
}

fn disks_of_every_size(scene: fn() -> Scene) {
    if !can_fail() {
        return;
    }
    let scene = &scene();
    for victim in 0..scene.n_processes {
        // doubled until it fits, then evenly below that
        let what = |bytes: u64| format!("{} of process {victim}, a disk of {bytes} bytes", scene.name);
        let fits = |bytes: u64| fills(scene, victim, bytes).unwrap_or_else(|e| panic!("{}: {e}", what(bytes)));
        let mut enough = 1 << 14;
        while !fits(enough) {
            enough *= 4;
        }
        let mut full = 0;
        for k in 0..sizes() {
            full += u64::from(!fits(enough * k / sizes()));
        }
        println!("disks, {} of process {victim}: {} sizes up to {enough} bytes, full in {full}", scene.name, sizes());
    }
}

#[test]
fn an_exact_run_fills_disks() {
    disks_of_every_size(Scene::exact);
}

#[test]
fn two_processes_fill_disks() {
    disks_of_every_size(Scene::two_processes);
}

#[test]
fn a_score_fills_disks() {
    disks_of_every_size(Scene::score);
}

#[test]
fn a_merge_fills_disks() {
    disks_of_every_size(Scene::merge);
}

/// A folder on a slow file system: every call takes two milliseconds.
#[test]
fn a_slow_disk_changes_nothing() {
    if !can_fail() {
        return;
    }
    for scene in [Scene::exact(), Scene::two_processes(), Scene::score()] {
        scene.set();
        let outputs = scene.outputs(1, Some((0, &[("COGNATE_FAULT", "slow:2000")]))).unwrap();
        assert!(outputs.iter().all(|output| output.status.success()), "{}: {outputs:?}", scene.name);
        scene.is_as_expected().unwrap_or_else(|e| panic!("{}: {e}", scene.name));
        println!("disks, {} on a slow one: the same bytes", scene.name);
    }
}
