//! What does SAELens' registry declare about a published SAE? Its place on the hub, its hook, its scale, its Neuronpedia id.
//!
//! The registry is the file `pretrained_saes.yaml` of the `sae-lens` package; `benches/peers/registry.py` makes
//! `data/sae-lens.tsv.zst` of it, which is part of this program. Lines: the version; then for each release
//! `>name, repository, model, conversion function, config_overrides (JSON)`, followed by its SAEs:
//! `id, path (empty: as the id), hook, hook of the output, norm_scaling_factor, Neuronpedia id`.

use super::Reference;
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::LazyLock;

/// Prefix of a release and an id.
pub(super) const SCHEME: &str = "sae_lens:";

static TABLE: LazyLock<String> = LazyLock::new(|| {
    let packed = include_bytes!("../../data/sae-lens.tsv.zst");
    let bytes = zstd::decode_all(packed.as_slice()).expect("the table is part of the program");
    String::from_utf8(bytes).expect("the table is text")
});

static RELEASES: LazyLock<Vec<Release>> = LazyLock::new(|| read(&TABLE));

/// SAEs that were published together.
struct Release {
    name: &'static str,
    repository: &'static str,
    model: &'static str,
    conversion: &'static str,
    overrides: &'static str,
    saes: Vec<[&'static str; 6]>,
}

/// The registry's entry for one SAE.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// `release/id`
    pub name: String,
    /// `owner/name`
    pub repository: String,
    /// Folder or file in it.
    pub path: String,
    /// The model it was trained on.
    pub model: String,
    /// Where it reads; `None` where only its own file has it.
    pub hook: Option<String>,
    /// What it predicts, of a transcoder.
    pub hook_out: Option<String>,
    /// Factor on activations, for SAEs whose file has `expected_average_only_in`.
    pub scale: Option<f64>,
    /// `model/layer-source`
    pub neuronpedia: Option<String>,
    /// Keys that replace keys of its `cfg.json`.
    pub overrides: Map<String, Value>,
}

/// Which registry it is, for example `sae-lens 6.54.12`.
pub fn version() -> &'static str {
    TABLE.lines().next().unwrap_or_default()
}

/// The registry's entry for the SAE that `path` names: by its release and id (`sae_lens:…`), else by repository and path,
/// also where `path` is a place in the cache. `None` for one that is not in it. An SAE that is in several releases has the
/// first's facts, with the shortest Neuronpedia id.
pub fn facts(path: &str) -> Option<Facts> {
    if let Some(name) = path.strip_prefix(SCHEME) {
        return of_name(name).ok();
    }
    let (repository, inside) = place(path)?;
    let inside = inside.as_str();
    let of_repository = RELEASES.iter().filter(|release| release.repository == repository);
    let found = of_repository.flat_map(|release| release.saes.iter().map(move |row| (release, row)));
    let same = found.filter(|(_, row)| path_of(row) == inside).map(|(release, row)| release.facts(row));
    same.reduce(|first, next| {
        let ids = [&first.neuronpedia, &next.neuronpedia];
        let neuronpedia = ids.into_iter().flatten().min_by_key(|id| id.len()).cloned();
        Facts { neuronpedia, ..first }
    })
}

/// Repository and path inside that `path` names, as a reference or as a place in the cache; `None` for other places.
pub fn place(path: &str) -> Option<(String, String)> {
    match Reference::parse(path) {
        Ok(Some(reference)) => Some((reference.repository, reference.inside)),
        _ => in_cache(Path::new(path)),
    }
}

/// All SAEs of the registry, in its order.
pub fn all() -> impl Iterator<Item = Facts> {
    RELEASES.iter().flat_map(|release| release.saes.iter().map(|row| release.facts(row)))
}

/// Conversion functions whose files are not read here.
const NOT_READ: [&str; 4] = ["mwhanna_transcoder", "mntss_clt_layer_transcoder", "connor_rob_hook_z", "temporal"];

impl Reference {
    /// The reference that `text` is; `None` when it begins with neither `hf:` nor `sae_lens:`.
    ///
    /// # Errors
    /// `Request` when it begins so and is malformed, or names an SAE that is not in the registry.
    pub fn parse(text: &str) -> Result<Option<Reference>> {
        match text.strip_prefix(SCHEME) {
            Some(name) => reference(name).map(Some),
            None => Reference::parse_hub(text),
        }
    }
}

/// Where the SAE `RELEASE/ID` is.
///
/// # Errors
/// `Request`, with the nearest names, for a release or id that is not in the registry, and for files that are not read here.
fn reference(name: &str) -> Result<Reference> {
    let facts = of_name(name)?;
    let conversion =
        RELEASES.iter().find(|r| facts.name.strip_prefix(r.name).is_some_and(|rest| rest.starts_with('/')));
    if let Some(release) = conversion.filter(|release| NOT_READ.contains(&release.conversion)) {
        return Err(Error::request(format!(
            "{SCHEME}{name}: SAEs of release {:?} are stored in a way that is not read (SAELens: {}); the formats that are read \
             are in dataflows/README.md",
            release.name, release.conversion
        )));
    }
    Ok(Reference { repository: facts.repository, revision: "main".to_string(), inside: facts.path })
}

fn of_name(name: &str) -> Result<Facts> {
    let (release, id) = name.split_once('/').unwrap_or((name, ""));
    let wrong = |what: String| Error::request(format!("{SCHEME}{name}: {what}"));
    let Some(found) = RELEASES.iter().find(|r| r.name == release) else {
        let near = nearest(release, RELEASES.iter().map(|r| r.name));
        return Err(wrong(format!("{} has no release {release:?}; the nearest: {near}", version())));
    };
    let row = found.saes.iter().find(|row| row[0] == id);
    row.map(|row| found.facts(row)).ok_or_else(|| {
        let near = nearest(id, found.saes.iter().map(|row| row[0]));
        wrong(format!("release {release:?} has no SAE {id:?}; write sae_lens:RELEASE/SAE_ID, the nearest ids: {near}"))
    })
}

/// The three names that are most like `name` (Jaro-Winkler), the most like first.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    let mut known: Vec<(f64, &str)> = known.map(|k| (strsim::jaro_winkler(name, k), k)).collect();
    known.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    known.iter().take(3).map(|k| k.1).collect::<Vec<_>>().join(", ")
}

/// Repository and path inside of a place in the cache, `…/models--OWNER--NAME/snapshots/COMMIT/…`.
fn in_cache(path: &Path) -> Option<(String, String)> {
    let names: Vec<&str> = path.components().filter_map(|c| c.as_os_str().to_str()).collect();
    let at = names.windows(2).position(|w| w[0].starts_with("models--") && w[1] == "snapshots")?;
    let repository = names[at].strip_prefix("models--")?.replacen("--", "/", 1);
    Some((repository, names.get(at + 3..)?.join("/")))
}

fn path_of(row: &[&'static str; 6]) -> &'static str {
    if row[1].is_empty() { row[0] } else { row[1] }
}

impl Release {
    fn facts(&self, row: &[&'static str; 6]) -> Facts {
        let some = |cell: &str| Some(cell.to_string()).filter(|cell| !cell.is_empty());
        Facts {
            name: format!("{}/{}", self.name, row[0]),
            repository: self.repository.to_string(),
            path: path_of(row).to_string(),
            model: self.model.to_string(),
            hook: some(row[2]),
            hook_out: some(row[3]),
            scale: row[4].parse().ok(),
            neuronpedia: some(row[5]),
            overrides: serde_json::from_str(self.overrides).expect("the table holds JSON"),
        }
    }
}

fn read(table: &'static str) -> Vec<Release> {
    let mut releases: Vec<Release> = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        match (line.strip_prefix('>'), cells.as_slice()) {
            (Some(_), [name, repository, model, conversion, overrides]) => {
                let name = &name[1..];
                releases.push(Release { name, repository, model, conversion, overrides, saes: Vec::new() });
            }
            (None, &[id, path, hook, hook_out, scale, neuronpedia]) => {
                let release = releases.last_mut().expect("an SAE stands under its release");
                release.saes.push([id, path, hook, hook_out, scale, neuronpedia]);
            }
            _ => panic!("a line of the table has other cells: {line:?}"),
        }
    }
    releases
}

#[cfg(test)]
mod tests;
