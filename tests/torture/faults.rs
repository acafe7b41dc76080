//! Every call of the system that a piece of work makes, failed: a named error or no harm, what was there before is
//! still there, and the same command again ends with the same bytes.
//!
//! The hook is `src/disk/fault.rs`. A slice here; every call with every error with `COGNATE_TORTURE=all`, about so many faults for each
//! process with a number. Interrupted and short calls, which are no failures, come together then: a run whose every call is interrupted
//! once, one whose every read is short. `COGNATE_TORTURE_PART=K/M` takes each M-th fault from the K-th on (from 0): all takes hours.

use crate::scene::{Scene, can_fail};
use std::collections::BTreeMap;
use std::path::Path;

/// Faults of a scene in the slice.
const SLICE: usize = 12;

/// A call of the work, and how it is to fail.
#[derive(Clone, Debug)]
struct Point {
    /// Kind of call, and its number among those of the kind.
    call: String,
    n: usize,
    /// Nothing, `+` for all calls behind it too, `/2` for every second one.
    behind: &'static str,
    error: &'static str,
    /// What it was about when the calls were counted.
    path: String,
}

impl Point {
    fn wish(&self) -> String {
        format!("{}:{}{}:{}", self.call, self.n, self.behind, self.error)
    }
}

/// The errors that a kind of call can have.
fn errors_of(call: &str) -> &'static [&'static str] {
    match call {
        "read" => &["EIO", "SHORT", "EINTR"],
        "write" => &["ENOSPC", "EIO", "SHORT", "EINTR"],
        "open" => &["EMFILE", "EIO", "EACCES", "EINTR"],
        "create" | "sync" | "rename" | "make" | "link" => &["EIO", "ENOSPC", "EINTR"],
        _ => &["EIO", "EINTR"],
    }
}

/// Calls of process `victim`, in their order: kind and path.
fn calls(scene: &Scene, victim: usize) -> Vec<(String, String)> {
    let log = scene.path("calls");
    let _ = std::fs::remove_file(&log);
    scene.set();
    let more = [("COGNATE_FAULT_LOG", log.to_str().unwrap())];
    for output in scene.outputs(1, Some((victim, &more))).unwrap() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let text = std::fs::read_to_string(&log).expect("the work has files to open");
    text.lines().map(|line| line.split_once(' ').map(|(call, path)| (call.into(), path.into())).unwrap()).collect()
}

/// Every point of the work; in the slice, of calls that do the same to the same kind of file, one.
fn points(calls: &[(String, String)], slice: Option<usize>) -> Vec<Point> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all: Vec<Point> = Vec::new();
    for (call, path) in calls {
        let n = numbers.entry(call).or_default();
        *n += 1;
        let point = |error| Point { call: call.clone(), n: *n, behind: "", error, path: path.clone() };
        all.extend(errors_of(call).iter().map(|&error| point(error)));
    }
    let Some(slice) = slice else {
        all.retain(|point| !is_no_failure(point.error));
        let together = [
            ("any", 1, "/2", "EINTR"),
            ("any", 2, "/2", "EINTR"),
            ("read", 1, "+", "SHORT"),
            ("write", 1, "+", "SHORT"),
        ];
        let point = |(call, n, behind, error): (&str, _, _, _)| Point {
            call: call.into(),
            n,
            behind,
            error,
            path: "all of them".into(),
        };
        all.extend(together.map(point));
        return all;
    };
    // the last of its kind: more is there by then
    let kinds: BTreeMap<(String, String, &str), Point> = (all.into_iter())
        .map(|point| {
            let name = Path::new(&point.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name: String = name.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
            ((point.call.clone(), name, point.error), point)
        })
        .collect();
    let step = kinds.len().div_ceil(slice).max(1);
    // another phase for each, or the same errors would be met again and again
    kinds.into_values().enumerate().filter(|(k, _)| k % step == (k / step) % step).map(|(_, point)| point).collect()
}

/// An interrupted call is made again, and a short one goes on.
fn is_no_failure(error: &str) -> bool {
    matches!(error, "EINTR" | "SHORT")
}

/// What became of a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The work was done all the same.
    Harmless,
    /// It ended with a named error, and was done by the same command again.
    Named,
    /// The call was not made this time.
    NotMet,
}

/// Fails one call and looks at what is left.
fn survives(scene: &Scene, victim: usize, point: &Point) -> Result<End, String> {
    let log = scene.path("met");
    let _ = std::fs::remove_file(&log);
    scene.set();
    let before = (scene.saved(), scene.has_tables()?);
    let wish = point.wish();
    let more = [("COGNATE_FAULT", wish.as_str()), ("COGNATE_FAULT_LOG", log.to_str().unwrap())];
    let outputs = scene.outputs(1, Some((victim, &more)))?;
    let met = std::fs::read_to_string(&log).unwrap_or_default();
    let said: Vec<String> = outputs.iter().map(|o| String::from_utf8_lossy(&o.stderr).into_owned()).collect();
    let codes: Vec<Option<i32>> = outputs.iter().map(|o| o.status.code()).collect();
    let told = || format!("met {:?}, exit codes {codes:?}, said {said:?}", met.trim_end());
    let end = if codes.iter().all(|code| *code == Some(0)) {
        scene.is_as_expected().map_err(|e| format!("{e}; {}", told()))?;
        if met.is_empty() { End::NotMet } else { End::Harmless }
    } else {
        if is_no_failure(point.error) {
            return Err(format!("an interrupted or a short call is no failure: {}", told()));
        }
        // another process may have done its part by then
        if codes.iter().enumerate().any(|(i, code)| *code != Some(5) && (i == victim || *code != Some(0))) {
            return Err(format!("expected exit code 5: {}", told()));
        }
        let path = met.lines().next().and_then(|line| line.split_once(' ')).map_or("", |(_, path)| path);
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut failed = said.iter().zip(&codes).filter(|(_, code)| **code == Some(5));
        if !failed.all(|(said, _)| said.contains(&name))
            || said.iter().any(|s| s.contains("bug") || s.contains("panic"))
        {
            return Err(format!("expected the name {name:?}, and no bug: {}", told()));
        }
        End::Named
    };
    // what was there before is still there
    let after = (scene.saved(), scene.has_tables().map_err(|e| format!("{e}; {}", told()))?);
    if after.0 < before.0 || before.1 && !after.1 {
        return Err(format!("before: {before:?}, after: {after:?}; {}", told()));
    }
    scene.try_again().and_then(|()| scene.is_as_expected()).map_err(|e| format!("{e}; before that: {}", told()))?;
    Ok(end)
}

fn every_call_fails(scene: fn() -> Scene) {
    if !can_fail() {
        return;
    }
    let scene = &scene();
    let slice = match std::env::var("COGNATE_TORTURE").ok().as_deref() {
        Some("all") => None,
        n => Some(n.map_or(SLICE, |n| n.parse().expect("COGNATE_TORTURE is \"all\" or a number of faults"))),
    };
    let part = std::env::var("COGNATE_TORTURE_PART").ok().map(|text| {
        let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse::<usize>().ok()?)));
        numbers.filter(|(part, of)| part < of).expect("COGNATE_TORTURE_PART is K/M, K below M")
    });
    for victim in 0..scene.n_processes {
        let calls = calls(scene, victim);
        let mut points = points(&calls, slice);
        // a process that cannot read the others' addresses can report to none, and is waited for like one that starts
        // late
        points.retain(|point| !point.path.ends_with("/hosts") || is_no_failure(point.error));
        if let Some((part, of)) = part {
            let numbers = (0..points.len()).filter(|k| k % of == part);
            points = numbers.map(|k| points[k].clone()).collect();
        }
        let (mut ends, mut wrong) = (Vec::new(), Vec::new());
        for point in &points {
            match survives(scene, victim, point) {
                Ok(end) => ends.push(end),
                Err(e) => {
                    let e = format!("{} of process {victim}, {} ({}): {e}", scene.name, point.wish(), point.path);
                    eprintln!("{e}");
                    wrong.push(e);
                }
            }
        }
        let count = |of: End| ends.iter().filter(|end| **end == of).count();
        let of_part = part.map_or(String::new(), |(part, of)| format!(" (part {part} of {of})"));
        println!(
            "faults, {} of process {victim}{of_part}: {} calls, {} faults: {} named, {} harmless, {} not met, {} wrong",
            scene.name,
            calls.len(),
            points.len(),
            count(End::Named),
            count(End::Harmless),
            count(End::NotMet),
            wrong.len()
        );
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), points.len(), wrong.join("\n"));
    }
}

/// A sync behind the rename that makes a set the newest failed, and the set was removed as one that was given up: the link led nowhere.
#[test]
fn a_set_whose_sync_failed_behind_its_rename_stays() {
    if !can_fail() {
        return;
    }
    let scene = Scene::resumed();
    let of_sets = |point: &Point| point.call == "sync" && point.path.ends_with("/sets") && point.error == "EIO";
    let points: Vec<Point> = points(&calls(&scene, 0), None).into_iter().filter(of_sets).collect();
    assert!(!points.is_empty());
    for point in &points {
        assert!(survives(&scene, 0, point).unwrap_or_else(|e| panic!("{}: {e}", point.wish())) == End::Named);
    }
}

/// A look at a file that need not be there failed once: the file was taken to be there, and its reading ended with exit code 2.
#[test]
fn a_look_that_fails_once_makes_no_file_of_none() {
    if !can_fail() {
        return;
    }
    let scene = Scene::resumed();
    let at_none = |point: &Point| point.call == "look" && point.error == "EIO" && !Path::new(&point.path).exists();
    let points: Vec<Point> = points(&calls(&scene, 0), None).into_iter().filter(at_none).collect();
    assert!(points.iter().any(|point| point.path.ends_with("/added_tokens.json")), "{points:?}");
    for point in points.iter().filter(|point| point.path.ends_with(".json")) {
        survives(&scene, 0, point).unwrap_or_else(|e| panic!("{}: {e}", point.wish()));
    }
}

#[test]
fn every_call_of_an_exact_run_fails() {
    every_call_fails(Scene::exact);
}

#[test]
fn every_call_of_a_resumed_run_fails() {
    every_call_fails(Scene::resumed);
}

#[test]
fn every_call_of_a_sketched_run_fails() {
    every_call_fails(Scene::sketched);
}

#[test]
fn every_call_of_a_second_pass_fails() {
    every_call_fails(Scene::second_pass);
}

#[test]
fn every_call_of_two_processes_fails() {
    every_call_fails(Scene::two_processes);
}

#[test]
fn every_call_of_a_merge_fails() {
    every_call_fails(Scene::merge);
}

#[test]
fn every_call_of_a_score_fails() {
    every_call_fails(Scene::score);
}
