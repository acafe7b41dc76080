//! Killed at random moments and resumed: the tables of an undisturbed run, byte for byte.

use crate::bench_rig::{COUNTED_TWICE, cognate, run, same_tables, small_demo, tables, wait_for};
use cognate::units::thousands;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Moments; more with `COGNATE_KILLS`.
pub fn kills() -> u64 {
    std::env::var("COGNATE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

#[test]
fn killed_at_random_moments_a_run_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    killed_and_taken_up(folder.path(), &small_demo(folder.path(), &[]), kills());
}

#[test]
fn a_sketching_run_killed_at_random_moments_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[COUNTED_TWICE]);
    killed_and_taken_up(folder.path(), &flow, kills());
}

/// Runs `flow` in `folder` undisturbed, then again with so many kills, and compares.
pub fn killed_and_taken_up(folder: &Path, flow: &Path, kills: u64) {
    let whole = folder.join("whole");
    let started = Instant::now();
    run(flow, &whole, &["--quiet"]);
    let took = started.elapsed();
    let expected = tables(&whole);

    let out = folder.join("killed");
    // splitmix64, so that a failure can be repeated
    let mut state = 11u64;
    let mut random = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let (mut killed, mut finished) = (0, 0);
    while killed < kills {
        let workers = 1 + random() % 3;
        let mut child = cognate()
            .args(["run", "--quiet", "--workers", &workers.to_string(), "--out"])
            .arg(&out)
            .arg(flow)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random() % (took.as_millis() as u64 * 9 / 10).max(1)));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
            child.wait().unwrap();
        } else {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "after {killed} kills: {}", String::from_utf8_lossy(&output.stderr));
            same_tables(&expected, &out, &format!("after {killed} kills"));
            finished += 1;
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    run(flow, &out, &["--quiet", "--workers", "2"]);
    same_tables(&expected, &out, &format!("after {killed} kills"));
    println!("{killed} kills, {} runs brought to their end", finished + 1);
}

/// Starts `flow` and kills it once a checkpoint at so many tokens is there (it may finish before).
pub fn kill_after(flow: &Path, out: &Path, tokens: u64) {
    let mut child = cognate().args(["run", "--quiet", "--out"]).arg(out).arg(flow).spawn().unwrap();
    let saved = || {
        let text = std::fs::read(out.join("manifest.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()?["rows"].as_u64()
    };
    while child.try_wait().unwrap().is_none() && saved().is_none_or(|rows| rows < tokens) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_term_signal_saves_the_state_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[("every = 1_000", "every = 1_000_000"), ("max_tokens = 12_000", "max_tokens = 40_000")],
    );
    let whole = folder.path().join("whole");
    run(&flow, &whole, &["--quiet"]);
    let stopped_by = |signal: &str| {
        let out = folder.path().join(signal);
        let mut child = cognate().args(["run", "--out"]).arg(&out).arg(&flow).stderr(Stdio::piped()).spawn().unwrap();
        // the first of thirteen snapshots
        wait_for(&mut child, &out.join("tables"));
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{signal}: {said}");
        assert!(said.contains("the state is saved"), "{signal}: {said}");
        assert!(out.join("manifest.json").exists());
        out
    };
    let out = stopped_by("-TERM");
    // fewer tokens than it has: nothing is left to do, and that is not to be stopped once more
    let fewer = cognate().args(["run", "--max-tokens", "10", "--out"]).arg(&out).arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&fewer.stderr);
    assert!(fewer.status.code() == Some(2) && said.contains("tokens, and max_tokens is 10;"), "{said}");
    run(&flow, &out, &["--quiet"]);
    same_tables(&tables(&whole), &out, "stopped by a signal");
    let out = stopped_by("-HUP");
    run(&flow, &out, &["--quiet"]);
    same_tables(&tables(&whole), &out, "stopped as its terminal closed");
    // as under nohup
    let out = folder.path().join("nohup");
    let mut child = Command::new("bash")
        .args(["-c", "trap '' HUP; exec \"$@\"", "bash"])
        .arg(cognate().get_program())
        .args(["run", "--quiet", "--out"])
        .arg(&out)
        .arg(&flow)
        .spawn()
        .unwrap();
    wait_for(&mut child, &out.join("tables"));
    assert!(Command::new("kill").args(["-HUP", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success(), "it was to be ignored");
    same_tables(&tables(&whole), &out, "no signal");
}

#[test]
fn a_long_run_saves_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(
        folder.path(),
        &[
            ("every = 1_000", "every = 1_000_000_000"),
            ("max_tokens = 12_000", "max_tokens = 0"),
            ("snapshot_every = 3_000", "snapshot_every = 1_000_000_000"),
        ],
    );
    let out = folder.path().join("run");
    let mut child = cognate().args(["run", "--quiet", "--out"]).arg(&out).arg(&flow).spawn().unwrap();
    wait_for(&mut child, &out.join("manifest.json"));
    child.kill().unwrap();
    child.wait().unwrap();
    let status = cognate().args(["status", "--json"]).arg(&out).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["state"], "stopped");
    let tokens = status["checkpoint"]["tokens"].as_u64().unwrap();
    let most = (tokens + 1_000).to_string();
    let resumed = cognate().args(["run", "--max-tokens", &most, "--out"]).arg(&out).arg(&flow).output().unwrap();
    let said = String::from_utf8_lossy(&resumed.stderr);
    let from = format!("resuming after {} tokens", thousands(tokens));
    assert!(tokens > 0 && resumed.status.success() && said.contains(&from), "{said}");
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let flow = small_demo(folder.path(), &[]);
    let whole = folder.path().join("whole");
    run(&flow, &whole, &["--quiet"]);
    let out = folder.path().join("damaged");
    run(&flow, &out, &["--quiet"]);
    let newest = std::fs::read_dir(out.join("state")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let tile = newest.join("pair-0000-tile-00000.safetensors");
    let mut bytes = std::fs::read(&tile).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let output = run(&flow, &out, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("warning") && said.contains("pair-0000-tile-00000"), "{said}");
    same_tables(&tables(&whole), &out, "after damage");
}
