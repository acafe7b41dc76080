//! A small run for the tests of this room: checkpoints of two state files each.

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

pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|e| e.unwrap()) {
        let target = to.join(entry.file_name());
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
