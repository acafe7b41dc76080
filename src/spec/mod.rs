//! What was asked? The dataflow file as written: one file is one whole run, and everything that changes a number is
//! in it. Unknown keys are refused by name.

mod compare;
mod control_runs;
mod controls;
mod effect;
mod estimate;
mod feeds;
mod here;
mod names;
mod numbers;
mod pairs;
mod path;
mod places;
mod refuse;
mod set;

use crate::corpus::{CorpusOptions, deserialize_count};
use crate::device::{BackendName, DeviceName, Dtype};
use crate::error::{Error, Result};
use crate::ids::{HookName, Site, SiteName};
use crate::matching::{Categories, Rules};
use crate::model::{FeedOptions, RandomWeights, RowFiles};
use crate::sae::{Encode, Format, RandomSae};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use compare::{Align, AllPairs, CompareSpec, Cross, PairsSpec, PoolSpec, Refine};
pub use controls::ControlSpec;
pub use estimate::{EstimateSpec, NullAt, NullSpec, Pairing, StopRule};
pub use path::resolve;
pub use set::nearest_key;

/// Format number of dataflow files this version reads.
pub const FORMAT: u32 = 1;

/// A dataflow file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataflowSpec {
    /// Format of the file, [`FORMAT`].
    pub format: u32,
    /// Name of the run; its directory is `runs/NAME` unless `--out` names another.
    pub name: String,
    /// Seed of everything random (permutation nulls).
    #[serde(default)]
    pub seed: u64,
    /// Which tokens.
    pub corpus: CorpusOptions,
    /// Models by name.
    pub models: BTreeMap<String, ModelSpec>,
    /// SAEs by the place they read, `model/hookpoint`, as written.
    #[serde(default)]
    pub saes: BTreeMap<SiteName, SaeSpec>,
    /// Which latents are compared with which.
    pub compare: CompareSpec,
    /// What is computed from the sums, and when.
    #[serde(default)]
    pub estimate: EstimateSpec,
    /// When state is saved.
    #[serde(default)]
    pub checkpoint: CheckpointSpec,
    /// What is looked at before the first batch.
    #[serde(default)]
    pub check: CheckSpec,
    /// Control runs, in which something is random.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub controls: BTreeMap<String, ControlSpec>,
    /// How the process takes part; of the command line, not of the file.
    #[serde(skip)]
    pub here: Here,
}

/// How a process takes part in a run (`here.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// It has no device: batches are encoded by other processes, and it keeps its share of the sums.
    pub folds_only: bool,
    /// Batches that a worker encodes at once, where that is given.
    pub encode_at_once: Option<usize>,
}

/// `[models.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A folder in Hugging Face layout, or a .gguf file; empty for a model that does not run here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The process that runs it, where this one does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedOptions>,
    /// The files of its activations, by hookpoint, where they lie in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<HookName, RowFiles>>,
    /// The folder of its tokenizer, of a model that does not run here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Width of the residual stream of a model that does not run here, where no configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_model: Option<usize>,
    /// Number of its blocks, where that is to be checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Number format of the computation.
    #[serde(default)]
    pub dtype: Dtype,
    /// With what it is computed.
    #[serde(default)]
    pub backend: BackendName,
    /// Where it is computed.
    #[serde(default)]
    pub device: DeviceName,
    /// In its place, each of these, batch by batch; of the command line, not of the file.
    #[serde(skip)]
    pub devices: Vec<DeviceName>,
    /// The weights of linear layers, or embeddings too, are drawn at random, for a control; the model's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_weights: Option<RandomWeights>,
    /// Keys of its `config.json` that give its sizes, for a plan without the weights; checked against the model when it is
    /// there. Changes no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Map<String, Value>>,
}

/// `[saes."model/hookpoint"]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeSpec {
    /// Folder or file of the SAE; empty where its latents are not computed here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The model's feed gives its latents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fed: Option<FedLatents>,
    /// Its latents were computed before, and lie in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<FiledLatents>,
    /// Insist on a format; sniffed when absent.
    #[serde(default)]
    pub format: Option<Format>,
    /// Which of its outputs is streamed.
    #[serde(default)]
    pub encode: Encode,
    /// Whether the decoder bias is subtracted from the input before encoding, whatever the format's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtract_b_dec: Option<bool>,
    /// Factor on activations before the SAE; that of its files or of the registry when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Whether each row's mean over dimensions is subtracted first; as its files or the registry have it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub center: Option<bool>,
    /// A random SAE of the same sizes in its place, for a control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<RandomSae>,
    /// What may differ from the SAE's own files or the registry. Changes no number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub insist: Vec<Insist>,
    /// Its sizes, for a plan without the weights; checked against the SAE when it is there. Changes no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<SaeSizes>,
}

/// A statement of an SAE's files that the dataflow file overrules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Insist {
    /// Another hookpoint than its files name.
    Hookpoint,
    /// Weights of other sizes than its configuration gives.
    Width,
    /// Another factor than its files hold.
    Scale,
    /// Centring that contradicts its files.
    Center,
    /// An FVU of 1 or more in the doctor's check.
    Fvu,
}

/// `[saes."model/hookpoint"] fed = {…}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FedLatents {
    /// Number of latents.
    pub d_sae: usize,
    /// Latents that fire on a token at most; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

/// `[saes."model/hookpoint"] stored = {…}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FiledLatents {
    /// Folder of a latent cache, or Parquet files of (row, latent, value).
    pub path: String,
    /// Number of latents.
    pub d_sae: usize,
    /// Latents that fire on a token at most; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<usize>,
}

impl FedLatents {
    /// Latents that fire on a token at most.
    pub fn most(&self) -> usize {
        self.most.unwrap_or(self.d_sae)
    }
}

/// `[saes."model/hookpoint"] sizes = {…}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeSizes {
    /// Width of what it reads.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// Width of what it predicts; that of its input when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_out: Option<usize>,
    /// Latents that a counted selection keeps; none for ReLU, thresholds and gates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// Tokens between checkpoints.
    #[serde(deserialize_with = "deserialize_count")]
    pub every: u64,
    /// Minutes between checkpoints, 0 for none by the clock; the first comes sooner.
    #[serde(deserialize_with = "deserialize_count")]
    pub minutes: u64,
}

/// `[check]`: changes no number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    /// What becomes of an SAE that clearly reads better at a neighbouring hookpoint, or with its bias the other way.
    pub doctor: DoctorRule,
    /// Counted tokens that are tried.
    #[serde(deserialize_with = "deserialize_count")]
    pub tokens: u64,
}

/// What a run does about its doctor's findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoctorRule {
    /// It does not start.
    #[default]
    Refuse,
    /// A warning; the run continues.
    Warn,
    /// Nothing is tried.
    Off,
}

impl Default for CheckSpec {
    fn default() -> Self {
        CheckSpec { doctor: DoctorRule::default(), tokens: 2048 }
    }
}

impl Default for CheckpointSpec {
    fn default() -> Self {
        CheckpointSpec { every: 1_000_000, minutes: 4 }
    }
}

impl DataflowSpec {
    /// Reads a dataflow file, or standard input where `path` is `-`; paths in it are made relative to the working directory (see [`resolve`]).
    ///
    /// # Errors
    /// `Request` naming file, line and key; also for a path that leads somewhere from the dataflow file's folder only.
    pub fn read(path: &Path) -> Result<(DataflowSpec, String)> {
        let text = path::text_of(path)?;
        let spec = Self::parse(&text, path)?;
        path::check_beside(&spec.paths(), path)?;
        Ok((spec, text))
    }

    /// Every path in the file, with its key.
    fn paths(&self) -> Vec<(String, &str)> {
        let files = self.corpus.files.iter().map(|file| ("corpus.files".to_string(), file.as_str()));
        let models = self.models.iter().map(|(name, model)| (format!("models.{name}.path"), model.path.as_str()));
        let rows = self.models.iter().flat_map(|(name, model)| model.row_files(name));
        let saes = self.saes.iter().map(|(site, sae)| (format!("saes.\"{site}\".path"), sae.path.as_str()));
        let stored = self.saes.iter().filter_map(|(site, sae)| Some((site, sae.stored.as_ref()?)));
        let stored = stored.map(|(site, stored)| (format!("saes.\"{site}\".stored.path"), stored.path.as_str()));
        files.chain(models).chain(rows).chain(saes).chain(stored).collect()
    }

    /// Reads the text of a dataflow file; `path` names it in errors and anchors paths that begin with `./`.
    ///
    /// # Errors
    /// As [`DataflowSpec::read`].
    pub fn parse(text: &str, path: &Path) -> Result<DataflowSpec> {
        let wrong = |(line, what): (Option<usize>, String)| {
            let place = line.map_or(String::new(), |line| format!(" line {line}"));
            // what is no TOML is not about keys
            let of_keys = what.contains("field `") || what.contains("unknown variant");
            let help = if of_keys { "; dataflows/README.md lists every key" } else { "" };
            Error::request(format!("{}{place}: {what}{help}", path::titled(path)))
        };
        let mut spec: DataflowSpec = from_toml(text).map_err(wrong)?;
        // its whole numbers are signed, those of `spec` are not
        let written: toml::Table = from_toml(text).map_err(wrong)?;
        if spec.estimate.rules == Rules::AsPublished {
            let estimate = written.get("estimate").and_then(|e| e.as_table());
            spec.estimate.fill_published(estimate.expect("it names rules"));
        }
        spec.compare.without_defaults();
        (spec.corpus.seed, spec.corpus.rows) = (spec.seed, spec.compare.rows());
        spec.check(path, &written)?;
        let home = path.parent().unwrap_or(Path::new(""));
        for file in &mut spec.corpus.files {
            *file = resolve(file, home);
        }
        for model in spec.models.values_mut() {
            model.paths().for_each(|path| *path = resolve(path, home));
        }
        for sae in spec.saes.values_mut() {
            sae.paths().for_each(|path| *path = resolve(path, home));
        }
        if let Some(file) = &mut spec.estimate.categories {
            *file = resolve(file, home);
            spec.estimate.lists = Some(read_categories(Path::new(file))?);
        }
        Ok(spec)
    }

    /// The file's text, paths as resolved.
    pub fn to_toml(&self) -> String {
        let mut file = toml::Table::try_from(self).expect("a dataflow file is plain data with text keys");
        // a default that a sketch cannot honour was not asked for
        if self.compare.cross == Cross::Sketch
            && self.estimate.null.documents
            && let Some(null) = file.get_mut("estimate").and_then(|e| e.get_mut("null")).and_then(|n| n.as_table_mut())
        {
            null.remove("documents");
        }
        file.to_string()
    }

    /// The SAE at `site`, of a file whose places are [`resolved`](Self::resolved).
    pub fn sae(&self, site: &Site) -> Option<&SaeSpec> {
        self.saes.get(&SiteName::from(site.clone()))
    }

    /// Default run directory.
    pub fn default_directory(&self) -> PathBuf {
        Path::new("runs").join(&self.name)
    }
}

/// Reads TOML; an error has its line, its key (`estimate.null.given.key`), and the known name that was most likely
/// meant.
fn from_toml<T: DeserializeOwned>(text: &str) -> std::result::Result<T, (Option<usize>, String)> {
    let told = |e: &toml::de::Error, key: &str| {
        let line = e.span().map(|s| text[..s.start.min(text.len())].matches('\n').count() + 1);
        let what = in_plain_words(with_nearest(e.message().replace('\n', " ")), key.ends_with("command"));
        // a key that is a name is in the message about the name
        let named = what.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let key = named.and_then(|(name, _)| key.strip_suffix(name)).map_or(key, |tables| tables.trim_end_matches('.'));
        let leaf = key.rsplit('.').next().unwrap_or_default();
        let what = match what.strip_prefix(leaf) {
            _ if leaf.is_empty() => what,
            // it names its key itself
            Some(rest) if rest.starts_with(' ') => format!("{key}{rest}"),
            _ => format!("{key}: {what}"),
        };
        (line, what)
    };
    let reader = toml::Deserializer::parse(text).map_err(|e| told(&e, ""))?;
    serde_path_to_error::deserialize(reader).map_err(|e| told(e.inner(), &e.path().to_string()))
}

/// What was expected, where the reader names it by its type.
/// `of_words`: a text in the place of a list is a line of words.
fn in_plain_words(what: String, of_words: bool) -> String {
    if what == "u64 value was too large" {
        return format!("the number is above {}, the largest that a TOML file may hold", i64::MAX);
    }
    let words = |expected: &str| {
        Some(match expected {
            "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
            "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
            "f32" | "f64" => "a number",
            "a boolean" => "true or false",
            "a map" => "a table",
            other if other.starts_with("struct ") => "a table",
            _ => return None,
        })
    };
    let Some((told, expected)) = what.rsplit_once("expected ") else { return what };
    if let Some(most) = largest(told, expected) {
        return format!("{told}expected a whole number of at most {most}");
    }
    if let Some(list) = list_in_words(told, expected, of_words) {
        return format!("{told}expected {list}");
    }
    match words(expected) {
        Some(expected) => format!("{told}expected {expected}"),
        None => what,
    }
}

/// The largest number of a type, where the value that was found is above it.
fn largest(told: &str, expected: &str) -> Option<u64> {
    let found: i128 = told.strip_prefix("invalid value: integer `")?.split('`').next()?.parse().ok()?;
    let most = match expected {
        "u8" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        _ => return None,
    };
    (found > i128::from(most)).then_some(most)
}

/// The words for an expected list, with an example made of the value that was found.
fn list_in_words(told: &str, expected: &str, of_words: bool) -> Option<String> {
    let length = expected.strip_prefix("an array of length ").map(str::parse::<usize>);
    if expected != "a sequence" && length.is_none() {
        return None;
    }
    // invalid type: string "x", or: invalid type: integer `3`,
    let found = told.trim_end_matches([' ', ',']).rsplit_once(": ").map_or("", |(_, found)| found);
    let value = match found.split_once(' ') {
        // several in one text: one each
        Some(("string", text)) if length.is_none() && text.contains(',') => {
            let each = |part: &str| format!("\"{}\"", part.trim());
            text.trim_matches('"').split(',').map(each).collect::<Vec<_>>().join(", ")
        }
        Some(("string", text)) if of_words => {
            let each = |word: &str| format!("\"{word}\"");
            text.trim_matches('"').split_whitespace().map(each).collect::<Vec<_>>().join(", ")
        }
        Some(("string", text)) => text.to_string(),
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_string(),
        Some(("floating", rest)) => rest.trim_start_matches("point ").trim_matches('`').to_string(),
        _ => {
            return Some(format!(
                "an array, in brackets{}",
                length.map_or(String::new(), |n| format!(" and of length {}", n.unwrap_or(0)))
            ));
        }
    };
    let example = vec![value; length.and_then(Result::ok).unwrap_or(1).clamp(1, 8)].join(", ");
    Some(format!("an array, for example [{example}]"))
}

/// Likeness (Jaro-Winkler) above which a name is taken for a misspelt other.
const MISSPELT: f64 = 0.75;

/// The TOML reader's message about an unknown name, with the known one that was most likely meant.
fn with_nearest(what: String) -> String {
    // unknown field `a`, expected one of `b`, `c`
    let mut names = what.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next().filter(|_| what.starts_with("unknown ")) else { return what };
    let likeness = |name: &str| strsim::jaro_winkler(unknown, name);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|name| likeness(name) >= MISSPELT);
    match nearest {
        Some(name) => what.replacen(&format!("`{unknown}`"), &format!("`{unknown}` (did you mean `{name}`?)"), 1),
        None => what,
    }
}

/// The word lists of a file.
///
/// # Errors
/// `Request` naming file and key.
fn read_categories(path: &Path) -> Result<Categories> {
    let text = crate::disk::read_to_string(path).map_err(|e| Error::io("cannot read estimate.categories", path, &e))?;
    from_toml(&text).map_err(|(line, what)| {
        let place = line.map_or(String::new(), |line| format!(" line {line}"));
        Error::request(format!(
            "estimate.categories {}{place}: {what}; expected rule = \"word\" or \"substring\" and tables [categories.NAME] with words",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests;
