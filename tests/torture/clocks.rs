//! The clock on the wall is set back and forth while a run goes, and between its parts: the same bytes.

use crate::bench_rig::cognate;
use crate::scene::{Random, Scene, ended};
use std::path::PathBuf;
use std::time::Duration;

/// Runs of each scene; more with `COGNATE_CLOCKS`.
fn runs() -> u64 {
    std::env::var("COGNATE_CLOCKS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

/// The library that lies about the time to the program that it is loaded into; the test is skipped where there is none.
fn liar() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    if found.is_none() {
        crate::common::skip("there is no libfaketime, by which a program is told another time (Debian: faketime)");
    }
    found
}

/// Years before and after today, hours, a leap of a second.
const TIMES: [&str; 6] = ["-20y", "+30y", "-3h", "+0", "+1s", "+2d"];

fn set_back_and_forth(scene: &Scene, seed: u64) {
    let Some(liar) = liar() else { return };
    let (mut random, clock) = (Random(seed), scene.path("clock"));
    let set = |random: &mut Random| {
        let written = scene.path("clock-to-be");
        std::fs::write(&written, TIMES[random.below(TIMES.len() as u64) as usize]).unwrap();
        std::fs::rename(&written, &clock).unwrap();
    };
    set(&mut random);
    let mut jumps = 0;
    for k in 0..runs() {
        scene.set();
        let env = [
            ("LD_PRELOAD", liar.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // how long something takes is asked of another clock, which is not set
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        // of two processes the other knows the right time
        let victim = scene.n_processes - 1;
        let start = || scene.start(1 + k as usize % 3, Some((victim, &env)));
        let mut children = start();
        // the first part is killed, the second sees the clock jump
        std::thread::sleep(Duration::from_millis(random.below(scene.took.as_millis() as u64 / 2)));
        children.iter_mut().for_each(|child| drop(child.kill()));
        ended(children).unwrap();
        set(&mut random);
        let mut children = start();
        while children.iter_mut().any(|child| child.try_wait().unwrap().is_none()) {
            std::thread::sleep(Duration::from_millis(10 + random.below(scene.took.as_millis() as u64 / 8)));
            set(&mut random);
            jumps += 1;
        }
        for output in ended(children).unwrap() {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}, seed {seed}, run {k}: {:?} {said}", scene.name, output.status);
        }
        scene.is_as_expected().unwrap_or_else(|e| panic!("{}, seed {seed}, run {k}: {e}", scene.name));
        let status = cognate().arg("status").arg(scene.out()).envs(env).output().unwrap();
        let said = String::from_utf8_lossy(&status.stdout);
        assert!(status.status.success() && said.contains("finished"), "{said}");
    }
    println!("clocks, {}: {} runs of two parts, {jumps} jumps of the clock, the same bytes", scene.name, runs());
}

#[test]
fn an_exact_run_is_told_other_times() {
    set_back_and_forth(&Scene::exact(), 11);
}

#[test]
fn one_of_two_processes_is_told_other_times() {
    set_back_and_forth(&Scene::two_processes(), 12);
}
