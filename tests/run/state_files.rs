//! What is in a checkpoint: which state files, with which keys and tensors. A change here is another state format, and
//! raises the part `state` of the fingerprint.

use crate::bench_rig::{SKETCHED, run, small_demo};
use cognate::store::StateReader;
use std::collections::BTreeSet;
use std::path::Path;

/// Files by kind, numbers left out: name, keys, and tensors in their order with dtype and number of dimensions.
const FILES: &str = "\
alignment: alignment, kind;
contexts: contexts, kind; hashes U64 1, registers U8 1
cross-moments: kind, n_rows; mean_x F64 1, mean_y F64 1, xx F64 1, yy F64 1, c F64 2, nulls F64 3, norms F64 2
documents: kind, rows;
listed: kind; starts U64 1, since U64 2, counts U64 2, sums F64 2, targets U32 1, moments U32 1
moments: kind, n_rows; mean F64 1, c F64 2, norms F64 1
pair-tile candidates: kind; starts U64 1, sums F64 1, sketched_rows U64 1, targets U32 1, error F32 1
pair-tile: first_row, kind, n_rows; rows U32 1, sums F64 2, null F64 2
partner-rows: given_rows, kind; memory.cells U32 1, memory.lengths U32 1, memory.latents U32 1, memory.values F32 1, given.n_active U64 1, given.x F64 1, given.xx F64 1, given.y F64 1, given.yy F64 1, given.xy F64 1
partners: document, kind, token; slots U64 2
readout-moments: kind; n_rows U64 1, mean F64 2, c F64 3
readout-strip: first_row, kind, n_rows; rows U32 1, sums F64 2, sums.1 F64 2, null.0 F64 2, null.1 F64 2, sum F64 2, sum_sq F64 2
sketch: document, kind, rows; ones F64 1, latents U32 1, buckets F32 2
space: kind, labels, n_rows; n_active U64 1, sum F64 1, sum_sq F64 1, max F32 1, min F32 1, top.counts U32 1, top.value F32 1, top.row U64 1, top.at U32 1, top.context_lengths U32 1, top.context U32 1, top.document_lengths U32 1, top.documents U8 1, labels.n_active U64 2, labels.sum F64 2, documents.last U64 1, documents.n U32 1
stitch: kind; n_rows U64 1, mean_x F64 2, mean_y F64 2, c F64 3, null F64 3
";

/// A line of [`FILES`] for each state file of a run's newest checkpoint, but what the publisher writes.
fn found(run: &Path) -> BTreeSet<String> {
    let newest = std::fs::read_dir(run.join("state")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let mut out = BTreeSet::new();
    for path in std::fs::read_dir(newest).unwrap().map(|e| e.unwrap().path()) {
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "published" {
            continue;
        }
        let reader = StateReader::open(&path, None).unwrap();
        let keys: Vec<&str> = reader.metadata().as_object().unwrap().keys().map(String::as_str).collect();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let named = |name: &String| {
            let tensor = tensors.tensor(name).unwrap();
            format!(" {name} {:?} {}", tensor.dtype(), tensor.shape().len())
        };
        let words: Vec<&str> = name.split('-').filter(|word| word.parse::<u32>().is_err()).collect();
        let kind = if reader.metadata()["kind"] == "candidates" { " candidates" } else { "" };
        let tensors: Vec<String> = reader.names().iter().map(named).collect();
        out.insert(format!("{}{kind}: {};{}", words.join("-"), keys.join(", "), tensors.join(",")));
    }
    out
}

#[test]
fn state_files_hold_what_their_format_says() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str, replace: &[(&str, &str)]| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        run(&small_demo(&folder, replace), &folder.join("out"), &["--max-tokens", "4000"]);
        found(&folder.join("out"))
    };
    let all: BTreeSet<String> = of("exact", &[("pairs = \"all\"", "pairs = \"all\"\nreadout = true\nstitch = true")])
        .union(&of("sketched", &[SKETCHED]))
        .chain(&of("spans", &[("pairs = \"all\"", "pairs = \"all\"\nalign = \"span\"")]))
        .cloned()
        .collect();
    let wanted: BTreeSet<String> = FILES.lines().map(str::to_string).collect();
    assert_eq!(all, wanted);
}
