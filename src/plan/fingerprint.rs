//! Is it the same run? A digest of everything that changes a number, part by part, so that a refusal can say which.

use crate::device::{BackendName, DeviceName};
use crate::disk::File;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::model::{Elsewhere, Stored};
use crate::plan::choice::Choice;
use crate::plan::steps::Steps;
use crate::sae::{Format, Reading};
use crate::spec::{Cross, DataflowSpec};
use crate::store::digest_of;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Digest of all parts, hexadecimal.
pub(super) fn fingerprint(parts: &BTreeMap<String, String>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, value) in parts {
        for text in [name, value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Number of what state files hold; another one makes another run.
const STATE: &str = "6";

/// Name and digest of everything that changes a number in a run of these steps; every artifact is read once for its
/// digest. A model that a feed runs has none: what the feed states, which is asked here, takes its place. Where
/// activations lie in files, the files are the artifacts. Corpus files enter by name and order.
///
/// # Errors
/// Those of reading, and of opening the connection to a feed.
pub(super) fn fingerprint_parts(steps: &Steps, choice: &Choice) -> Result<BTreeMap<String, String>> {
    let mut parts = spec_parts(&steps.spec, choice.cross);
    parts.insert("state".into(), STATE.into());
    for model in &steps.models {
        let mut files = match &model.elsewhere {
            Some(Elsewhere::Files(stored)) => {
                let known =
                    stored_parts(&model.name, stored).map_err(|e| e.within(format!("model {:?}", model.name)))?;
                parts.extend(known);
                Vec::new()
            }
            Some(Elsewhere::Feed(feed)) => {
                let known = feed.known().map_err(|e| e.within(format!("model {:?}", model.name)))?;
                parts.insert(format!("models.{} feed", model.name), known);
                Vec::new()
            }
            None => crate::model::files(&model.path)?,
        };
        files.extend(crate::model::tokenizer_files(&model.path));
        file_parts(&format!("models.{}", model.name), &files, &mut parts)?;
    }
    for (space, sae) in steps.saes() {
        parts.extend(sae_parts(&space.site, &sae.path, sae.reading.format)?);
        parts.extend(settled_parts(&space.site, &sae.reading));
    }
    for (k, (path, _)) in steps.corpus.files.iter().enumerate() {
        let name = path.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        parts.insert(format!("corpus file {k:06}"), name);
    }
    Ok(parts)
}

/// What a run of these steps would have, over the sums of a run that `was` asked for: the dataflow file's parts of these, the
/// artifacts' of `saved`.
///
/// # Errors
/// Those of resolving the places of `was`.
pub(super) fn scored_parts(
    steps: &Steps,
    choice: &Choice,
    was: &DataflowSpec,
    saved: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let families = steps.models.iter().map(|m| (m.name.clone(), m.shape.names())).collect();
    let asked = spec_parts(&was.resolved(&families)?, choice.cross);
    let mut parts = spec_parts(&steps.spec, choice.cross);
    parts.extend(saved.iter().filter(|(k, _)| !asked.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())));
    Ok(parts)
}

/// The parts from the dataflow file, with `cross` for how Σxy is kept, which the file may leave open: one per key, by
/// its path. Left out are how long to read (`corpus.max_tokens`, `estimate.stop_when`), what becomes of bad input
/// (`corpus.on_bad_record`: a checkpoint lies before it), when to save (`checkpoint`), what is checked before
/// (`check`), the controls, the run's name, expected sizes; and paths, whose targets have a digest.
fn spec_parts(spec: &DataflowSpec, cross: Cross) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    let mut spec = spec.clone();
    spec.compare.cross = cross;
    // a model that runs elsewhere has a part of its own
    for model in spec.models.values_mut() {
        (model.sizes, model.feed, model.files, model.tokenizer) = (None, None, None, None);
    }
    for sae in spec.saes.values_mut() {
        // scale and centring enter as they were settled with the SAE's own files
        (sae.sizes, sae.scale, sae.center) = (None, None, None);
        sae.insist.clear();
        // a limit on what is taken, not on what counts
        sae.fed.iter_mut().for_each(|fed| fed.most = None);
        sae.stored.iter_mut().for_each(|stored| stored.most = None);
    }
    let value = serde_json::to_value(&spec).expect("a dataflow file is plain data");
    flatten("", &value, &mut parts);
    // as in runs from before there was a choice
    for (name, model) in &spec.models {
        let usual =
            [("backend", model.backend == BackendName::default()), ("device", model.device == DeviceName::default())];
        usual
            .iter()
            .filter(|(_, usual)| *usual)
            .for_each(|(key, _)| drop(parts.remove(&format!("models.{name}.{key}"))));
    }
    parts.retain(|key, _| {
        let left_out = [
            "name",
            "corpus.max_tokens",
            "corpus.on_bad_record",
            "estimate.stop_when",
            "checkpoint.",
            "check.",
            "controls.",
            "corpus.files",
            "estimate.categories",
        ]
        .iter()
        .any(|k| key.starts_with(k));
        let of_sketch = ["compare.width", "compare.candidates", "compare.refine"].contains(&key.as_str());
        !left_out && !key.ends_with(".path") && (!of_sketch || cross == Cross::Sketch)
    });
    if let Some(lists) = &spec.estimate.lists {
        let text = serde_json::to_string(lists).expect("word lists are plain data");
        parts.insert("estimate.categories".into(), blake3::hash(text.as_bytes()).to_hex().to_string());
    }
    parts
}

fn flatten(path: &str, value: &Value, parts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // keys that hold a '/' or a '.' are names, not tables: quote them as TOML does
                let key = if key.contains(['/', '.']) { format!("\"{key}\"") } else { key.clone() };
                flatten(&if path.is_empty() { key } else { format!("{path}.{key}") }, value, parts);
            }
        }
        _ => {
            parts.insert(path.to_string(), value.to_string());
        }
    }
}

/// Bytes at either end of a corpus file that distinguish it from another of the same size.
const MARK_BYTES: u64 = 64 << 10;

/// What distinguishes a corpus file from another without reading all of it: size, and a digest of its first and last
/// bytes.
///
/// # Errors
/// Those of reading.
pub fn corpus_mark(path: &Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let size = file.length()?;
        let mut hasher = blake3::Hasher::new();
        for start in [0, size.saturating_sub(MARK_BYTES)] {
            file.seek(SeekFrom::Start(start))?;
            hasher.update_reader((&mut file).take(MARK_BYTES))?;
        }
        Ok(format!("{size} {}", hasher.finalize().to_hex()))
    };
    read().map_err(|e| Error::io("read the corpus file", path, &e))
}

/// Digests of files, whole; `name` is how a refusal calls them.
///
/// # Errors
/// Those of reading.
pub(super) fn file_parts(name: &str, files: &[PathBuf], parts: &mut BTreeMap<String, String>) -> Result<()> {
    for file in files {
        let record = digest_of(file)?;
        let base = file.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        parts.insert(format!("{name} {base}"), record.blake3);
    }
    Ok(())
}

/// The parts of a model whose activations lie in files: for each place a digest of the files' digests in their order, with what the tensors are
/// called.
///
/// # Errors
/// Those of opening and reading them.
fn stored_parts(model: &str, stored: &Stored) -> Result<BTreeMap<String, String>> {
    // all headers before any digest, which may take minutes
    let places = stored.files()?;
    let mut digests: BTreeMap<&Path, String> = BTreeMap::new();
    let mut parts = BTreeMap::new();
    for (what, files) in places {
        let mut hasher = blake3::Hasher::new();
        for (path, tensor) in files {
            if !digests.contains_key(path) {
                digests.insert(path, digest_of(path)?.blake3);
            }
            for text in [digests[path].as_str(), tensor] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
        parts.insert(format!("models.{model} files of {what}"), hasher.finalize().to_hex().to_string());
    }
    Ok(parts)
}

/// Whether that is the part of activations or latents in files, which are others for every shard of a corpus.
pub fn is_of_stored(part: &str) -> bool {
    // no model's name holds a space
    part.starts_with("models.") && part.split_once(' ').is_some_and(|(_, what)| what.starts_with("files of "))
}

/// The parts of an SAE: a digest for each of its files.
///
/// # Errors
/// Those of reading.
pub(super) fn sae_parts(site: &Site, path: &Path, format: Option<Format>) -> Result<BTreeMap<String, String>> {
    let mut parts = BTreeMap::new();
    file_parts(&sae_name(site), &crate::sae::files(path, format)?, &mut parts)?;
    Ok(parts)
}

/// How an SAE is read, as its own files, the registry and the dataflow file decided it.
pub(super) fn settled_parts(site: &Site, reading: &Reading) -> BTreeMap<String, String> {
    let overrides = serde_json::to_string(&reading.overrides).expect("JSON is plain data");
    let parts = [
        ("scale", reading.scale.filter(|&scale| scale != 1.0).map(|scale| scale.to_string())),
        ("center", reading.center.then(|| "true".to_string())),
        ("overrides", Some(overrides).filter(|_| !reading.overrides.is_empty())),
    ];
    parts.into_iter().filter_map(|(key, value)| Some((format!("{}.{key}", sae_name(site)), value?))).collect()
}

/// How a refusal calls an SAE.
pub(super) fn sae_name(site: &Site) -> String {
    format!("saes.\"{site}\"")
}
