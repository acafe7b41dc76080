//! Any process killed or stopped at any moment, resumed with other numbers of workers: the same bytes.

use crate::scene::{Random, Scene, ended};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Kills of each scene; more with `COGNATE_KILLS`.
fn kills() -> u64 {
    std::env::var("COGNATE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(4)
}

/// After so long the others are taken to wait for the one that was killed.
const ALONE: Duration = Duration::from_secs(10);

fn signal(child: &Child, name: &str) {
    // it may have ended
    let _ = Command::new("kill").args([name, &child.id().to_string()]).output().unwrap();
}

fn killed_and_taken_up(scene: &Scene, seed: u64) {
    let mut random = Random(seed);
    let (mut killed, mut stopped, mut done) = (0, 0, 0);
    scene.set();
    while killed < kills() {
        let workers = 1 + random.below(3) as usize;
        let mut children = scene.start(workers, None);
        std::thread::sleep(Duration::from_millis(random.below(scene.took.as_millis() as u64 * 9 / 10)));
        let victim = random.below(children.len() as u64) as usize;
        // a process that sleeps for a moment, and continues
        if random.below(3) == 0 && children[victim].try_wait().unwrap().is_none() {
            signal(&children[victim], "-STOP");
            std::thread::sleep(Duration::from_millis(random.below(300)));
            signal(&children[victim], "-CONT");
            stopped += 1;
        }
        let dies = random.below(4) > 0 && children[victim].try_wait().unwrap().is_none();
        if dies {
            children[victim].kill().unwrap();
            killed += 1;
        }
        let what = format!("{}, seed {seed}, kill {killed}", scene.name);
        let gone = dies.then(|| children.remove(victim).wait_with_output().unwrap());
        let waited = Instant::now();
        let is_there = |child: &mut Child| child.try_wait().unwrap().is_none();
        while dies && waited.elapsed() < ALONE && children.iter_mut().any(is_there) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // before they have met, the others wait for it
        let is_awaited = dies && children.iter_mut().any(is_there);
        if is_awaited {
            children.push(scene.start_one(victim, workers, None));
        }
        let outputs = ended(children).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut is_done = gone.is_none() || is_awaited;
        for output in &outputs {
            let said = String::from_utf8_lossy(&output.stderr);
            let is_right = match output.status.code() {
                Some(0) => true,
                // another one of them was killed
                Some(5) => dies && !is_awaited && said.contains("process"),
                _ => false,
            };
            is_done &= output.status.code() != Some(5);
            assert!(
                is_right && !said.contains("damage") && !said.contains("panic"),
                "{what}: {:?} {said}",
                output.status
            );
        }
        scene.has_tables().unwrap_or_else(|e| panic!("{what}: {e}"));
        if is_done {
            scene.is_as_expected().unwrap_or_else(|e| panic!("{what}: {e}"));
            scene.set();
            done += 1;
        }
    }
    scene.succeed("after the last kill");
    scene.is_as_expected().unwrap_or_else(|e| panic!("{}: {e}", scene.name));
    println!(
        "kills, {}: {killed} kills, {stopped} stops, {} times brought to its end with the same bytes",
        scene.name,
        done + 1
    );
}

#[test]
fn an_exact_run_is_killed() {
    killed_and_taken_up(&Scene::exact(), 1);
}

#[test]
fn a_second_pass_is_killed() {
    killed_and_taken_up(&Scene::second_pass(), 2);
}

#[test]
fn two_processes_are_killed() {
    killed_and_taken_up(&Scene::two_processes(), 3);
}

#[test]
fn a_merge_is_killed() {
    killed_and_taken_up(&Scene::merge(), 4);
}

#[test]
fn a_score_is_killed() {
    killed_and_taken_up(&Scene::score(), 5);
}
