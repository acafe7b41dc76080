//! A small run for the tests of this room: checkpoints of two state files each.

use super::commit::{Step, perform};
use super::*;
use crate::ids::BatchIndex;
use std::collections::BTreeMap;
use std::path::Path;

pub fn parts() -> BTreeMap<String, String> {
    BTreeMap::from([("seed".to_string(), "0".to_string()), ("saes.\"a/embed\"".to_string(), "12ab".to_string())])
}

pub fn wanted() -> Wanted {
    Wanted { fingerprint: "f00d".into(), parts: parts(), environment: Environment::here() }
}

/// Writes the state files before `next_batch` and gives back the manifest that names them, not yet committed.
pub fn write_generation(run: &RunDir, next_batch: BatchIndex) -> Manifest {
    let mut manifest = Manifest::new("f00d".into(), parts());
    (manifest.next_batch, manifest.rows) = (next_batch, next_batch * 100);
    for name in ["exact a/embed tile 0", "latents"] {
        let layout = StateLayout::new(serde_json::json!(next_batch)).tensor::<f64>("xy", &[8]);
        let mut w = run.write_state(next_batch, name, layout).unwrap();
        w.put("xy", &[next_batch as f64; 8]).unwrap();
        let done = w.finish().unwrap();
        manifest.files.insert(done.path, done.record);
    }
    manifest
}

pub fn checkpoint(run: &RunDir, next_batch: BatchIndex) -> Manifest {
    let manifest = write_generation(run, next_batch);
    run.commit(&manifest).unwrap();
    manifest
}

/// Every file under `dir`, relative, sorted.
pub fn files_under(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, prefix: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap()) {
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() { walk(&entry.path(), &format!("{name}/"), out) } else { out.push(name) }
        }
    }
    let mut out = Vec::new();
    walk(dir, "", &mut out);
    out.sort();
    out
}

/// A copy with its links, as they are.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
        #[cfg(unix)]
        if let Ok(linked) = std::fs::read_link(entry.path()) {
            std::os::unix::fs::symlink(linked, target).unwrap();
            continue;
        }
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The manifest that the directory resumes from; panics on a refusal or a fresh start.
pub fn resumed(root: &Path) -> (Manifest, Vec<String>) {
    match decide(&inspect(&RunDir::at(root).unwrap()).unwrap(), &wanted()) {
        Decision::Resume { manifest, warnings } => (*manifest, warnings),
        other => panic!("{other:?}"),
    }
}

/// Disk states that a power cut after the first `n` steps can leave: what was synced is there, of the rest any part.
/// `mask` selects which of the unsynced changes the disk remembers; content that was not synced is cut in half.
pub fn crash(template: &Path, to: &Path, steps: &[Step], n: usize, mask: u64) -> usize {
    copy_tree(template, to);
    let done = &steps[..n];
    let mut unsynced = 0;
    for (k, step) in done.iter().enumerate() {
        let later = &done[k + 1..];
        let dir_synced = |path: &str| {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            later.iter().any(|s| matches!(s, Step::SyncDir { path } if path == dir))
        };
        let name = match step {
            Step::Write { path, .. } | Step::Remove { path } => path,
            Step::Rename { to, .. } => to,
            Step::SyncFile { .. } | Step::SyncDir { .. } => continue,
        };
        if !dir_synced(name) {
            unsynced += 1;
            if mask >> (unsynced - 1) & 1 == 0 {
                continue;
            }
        }
        match step {
            Step::Write { path, bytes } => {
                let synced = later.iter().any(|s| matches!(s, Step::SyncFile { path: p } if p == path));
                let bytes = if synced { &bytes[..] } else { &bytes[..bytes.len() / 2] };
                std::fs::write(to.join(path), bytes).unwrap();
            }
            Step::Rename { from, to: new } => drop(std::fs::rename(to.join(from), to.join(new))),
            other => perform(to, std::slice::from_ref(other)).unwrap(),
        }
    }
    unsynced
}

/// Every power cut during `steps`, with every subset of the unsynced changes (of the first six) that the disk may remember: the first for
/// which `broken`, given the directory and the number of steps done, describes what is wrong.
pub fn first_broken(
    template: &Path,
    steps: &[Step],
    mut broken: impl FnMut(&Path, usize) -> Option<String>,
) -> Option<String> {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("run");
    for n in 0..=steps.len() {
        let mut mask = 0;
        loop {
            let _ = std::fs::remove_dir_all(&root);
            let unsynced = crash(template, &root, steps, n, mask);
            let cut =
                format!("crash after {n} of {} steps, disk remembers {mask:b} of {unsynced} changes", steps.len());
            if let Some(what) = broken(&root, n) {
                return Some(format!("{cut}: {what}"));
            }
            mask += 1;
            if unsynced == 0 || mask >> unsynced.min(6) != 0 {
                break;
            }
        }
    }
    None
}
