//! What was asked? The dataflow file as written: one file is one whole run, and everything that changes a number stands
//! in it. Unknown keys are refused by name.

mod names;
mod path;
mod set;

use crate::corpus::CorpusOptions;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::matching::{AROUND, Categories, Filters, Rules, TOP_STRINGS};
use crate::sae::{Encode, Format};
use crate::similarity::{Measure, MomentsMeasure, RsaRule, SvccaRule};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use path::resolve;

/// Format number of dataflow files this version reads.
pub const FORMAT: u32 = 1;

/// A dataflow file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataflowSpec {
    /// Format of the file, [`FORMAT`].
    pub format: u32,
    /// Name of the run; its directory is `runs/NAME` unless `--out` says otherwise.
    pub name: String,
    /// Seed of everything random (permutation nulls).
    #[serde(default)]
    pub seed: u64,
    /// Which tokens.
    pub corpus: CorpusOptions,
    /// Models by name.
    pub models: BTreeMap<String, ModelSpec>,
    /// SAEs by the place they read, `model/hookpoint`.
    #[serde(default)]
    pub saes: BTreeMap<Site, SaeSpec>,
    /// Which latents are held against which.
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
}

/// `[models.NAME]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A folder in Hugging Face layout, or a .gguf file.
    pub path: String,
    /// Number format of the computation.
    #[serde(default)]
    pub dtype: Dtype,
    /// Seed: the weights of linear layers are drawn anew, for a control; the model's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_weights: Option<u64>,
    /// Keys of its `config.json` that say its sizes, for a plan without the weights; held against the model when it is
    /// there. Changes no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Map<String, Value>>,
}

/// Number format of a model's computation; weights are stored as they come and widened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, for devices that multiply it.
    Bf16,
    /// 16-bit floats, for devices that multiply them.
    F16,
}

/// `[saes."model/hookpoint"]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaeSpec {
    /// Folder or file of the SAE.
    pub path: String,
    /// Insist on a format; sniffed when absent.
    #[serde(default)]
    pub format: Option<Format>,
    /// Which of its outputs is streamed.
    #[serde(default)]
    pub encode: Encode,
    /// Whether the decoder bias is taken from the input before encoding, whatever the format says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtract_b_dec: Option<bool>,
    /// Its sizes, for a plan without the weights; held against the SAE when it is there. Changes no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<SaeSizes>,
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

/// `[compare]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareSpec {
    /// Pairs of sites, source first; or `"all"`: every SAE of a model with every SAE of a model after it in the alphabet,
    /// and likewise the [`hookpoints`](Self::hookpoints). A listed site without an SAE stands for its hookpoint's
    /// dimensions as they are.
    pub pairs: PairsSpec,
    /// Sites without an SAE that `"all"` pairs: places of several models across models, as SAEs; places of one model each
    /// with every later one of the list.
    #[serde(default)]
    pub hookpoints: Vec<Site>,
    /// How Σxy is kept.
    #[serde(default)]
    pub cross: Cross,
    /// Buckets of a sketch.
    #[serde(default = "default_width")]
    pub width: usize,
    /// Best partners of every latent, by the sketch, that are then counted exactly; in both directions.
    #[serde(default = "default_candidates")]
    pub candidates: usize,
    /// When candidates are counted.
    #[serde(default)]
    pub refine: Refine,
    /// What a row is.
    #[serde(default)]
    pub align: Align,
}

/// Which pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "pairs is \"all\" or a list like [[\"a/resid_post.2\", \"b/resid_post.3\"]]")]
pub enum PairsSpec {
    /// The word `all`.
    All(AllPairs),
    /// `[[source, target], …]`
    Listed(Vec<(Site, Site)>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllPairs {
    /// Every SAE of a model with every SAE of a later one, and every listed hookpoint likewise.
    All,
}

/// How Σxy is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cross {
    /// Dense f64 tiles, allocated as rows come alive.
    #[default]
    Exact,
    /// A sketch per space; the best partners by it are counted exactly from then on.
    Sketch,
    /// Exact where that fits into memory, else a sketch; decided when the run is begun.
    Auto,
}

/// When the candidates of a sketch are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refine {
    /// From their choice on.
    #[default]
    Continue,
    /// Also, for those chosen at the end, over the whole corpus, which is read once more.
    SecondPass,
}

fn default_width() -> usize {
    512
}

fn default_candidates() -> usize {
    10
}

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// A token; both models have the same tokenizer.
    #[default]
    Token,
}

/// `[estimate]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EstimateSpec {
    /// Tokens between snapshots.
    pub snapshot_every: u64,
    /// Partners kept per latent and direction.
    pub best: usize,
    /// Which reading of the paper is followed; sets other defaults for filters, measures and pairings (see
    /// [`EstimateSpec::fill_published`]).
    pub rules: Rules,
    /// Which best matches are kept for the scores.
    pub filters: Filters,
    /// Scores of the kept matches' decoder rows.
    #[serde(with = "names")]
    pub measures: Vec<Measure>,
    /// Scores of the hookpoints' raw activations, from streamed moments: `svcca…` and `cka`.
    #[serde(with = "names")]
    pub activation_measures: Vec<Measure>,
    /// Which kept matches are scored.
    pub pairings: Vec<Pairing>,
    /// A file of word lists; every row measure is made for each besides.
    pub categories: Option<String>,
    /// What stands in that file.
    #[serde(skip)]
    pub lists: Option<Categories>,
    /// Permutation nulls.
    pub null: NullSpec,
    /// Strongest tokens remembered per latent.
    pub top_tokens: usize,
    /// Tokens of context remembered before and after each.
    pub top_context: [usize; 2],
    /// End the run before the corpus does, when the matches have settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_when: Option<StopRule>,
}

/// `[estimate] stop_when = {…}`
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopRule {
    /// The churn of every pair must be below this.
    pub churn_below: f64,
    /// In so many snapshots on end.
    #[serde(default = "one")]
    pub snapshots: u32,
}

fn one() -> u32 {
    1
}

impl Default for EstimateSpec {
    fn default() -> Self {
        EstimateSpec {
            snapshot_every: 50_000,
            best: 5,
            rules: Rules::Meant,
            filters: Filters::default(),
            measures: Vec::new(),
            activation_measures: Vec::new(),
            pairings: vec![Pairing::Mutual],
            categories: None,
            lists: None,
            null: NullSpec::default(),
            top_tokens: 10,
            top_context: [12, 4],
            stop_when: None,
        }
    }
}

impl EstimateSpec {
    /// Under `rules = "as_published"`: what the authors' code does stands for every key that `written`, the file's
    /// `[estimate]`, leaves out.
    fn fill_published(&mut self, written: &toml::Table) {
        let has = |key: &str| written.contains_key(key);
        let has_filter = |key: &str| written.get("filters").and_then(|f| f.get(key)).is_some();
        let published = Filters::as_published();
        let filters = &mut self.filters;
        if !has_filter("dead") {
            filters.dead = published.dead;
        }
        if !has_filter("min_correlation") {
            filters.min_correlation = published.min_correlation;
        }
        if !has_filter("non_concept") {
            filters.non_concept = published.non_concept;
        }
        if !has_filter("shared_token") {
            filters.shared_token = published.shared_token;
        }
        if !has_filter("one_to_one") {
            filters.one_to_one = published.one_to_one;
        }
        if !has("measures") {
            self.measures = vec![Measure::Svcca(SvccaRule::AsPublished), Measure::Rsa(RsaRule::Centred)];
        }
        if !has("pairings") {
            self.pairings = vec![Pairing::Backward];
        }
    }
}

/// A set of matches whose decoder rows are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairing {
    /// Kept matches in which the source picks.
    Forward,
    /// Kept matches in which the target picks.
    Backward,
    /// Kept matches that are each other's best.
    Mutual,
}

impl Pairing {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Pairing::Forward => "forward",
            Pairing::Backward => "backward",
            Pairing::Mutual => "mutual",
        }
    }
}

impl From<Pairing> for crate::table::Pairing {
    fn from(pairing: Pairing) -> Self {
        match pairing {
            Pairing::Forward => crate::table::Pairing::Forward,
            Pairing::Backward => crate::table::Pairing::Backward,
            Pairing::Mutual => crate::table::Pairing::Mutual,
        }
    }
}

/// `[estimate] null = {…}`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NullSpec {
    /// Permutations of the matched rows.
    pub permutations: u32,
    /// Permutations of the tokens inside each batch, for measures on raw activations; each costs a product per batch.
    pub activation_permutations: u32,
    /// When the matched rows' null is computed.
    pub at: NullAt,
    /// Whether the chance level of best matches is counted: the sums once more, with the target's rows beside those of
    /// another document.
    pub documents: bool,
}

/// When a null is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullAt {
    /// With the last snapshot.
    #[default]
    End,
    /// With every snapshot.
    Snapshot,
}

impl Default for NullSpec {
    fn default() -> Self {
        NullSpec { permutations: 1000, activation_permutations: 9, at: NullAt::End, documents: true }
    }
}

/// `[checkpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSpec {
    /// Tokens between checkpoints.
    pub every: u64,
}

/// `[check]`: changes no number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckSpec {
    /// What becomes of an SAE that clearly reads better at a neighbouring hookpoint, or with its bias the other way.
    pub doctor: DoctorRule,
    /// Counted tokens that are tried.
    pub tokens: u64,
}

/// What a run does about its doctor's findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoctorRule {
    /// It does not start.
    #[default]
    Refuse,
    /// It says so and goes on.
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
        CheckpointSpec { every: 1_000_000 }
    }
}

impl DataflowSpec {
    /// Reads a dataflow file; paths in it are made relative to the working directory (see [`resolve`]).
    ///
    /// # Errors
    /// `Request` naming file, line and key.
    pub fn read(path: &Path) -> Result<(DataflowSpec, String)> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read the dataflow file", path, &e))?;
        let spec = Self::parse(&text, path)?;
        Ok((spec, text))
    }

    /// Reads the text of a dataflow file; `path` names it in errors and anchors paths that begin with `./`.
    ///
    /// # Errors
    /// As [`DataflowSpec::read`].
    pub fn parse(text: &str, path: &Path) -> Result<DataflowSpec> {
        let mut spec: DataflowSpec = toml::from_str(text).map_err(|e| {
            let place = e.span().map_or(String::new(), |s| {
                let before = &text[..s.start.min(text.len())];
                format!(" line {}", before.matches('\n').count() + 1)
            });
            let what = e.message().replace('\n', " ");
            Error::request(format!(
                "dataflow file {}{place}: {what}; dataflows/README.md lists every key",
                path.display()
            ))
        })?;
        if spec.estimate.rules == Rules::AsPublished {
            let file: toml::Table = toml::from_str(text).expect("it was read above");
            let written = file.get("estimate").and_then(|e| e.as_table());
            spec.estimate.fill_published(written.expect("it names rules"));
        }
        spec.check(path)?;
        let home = path.parent().unwrap_or(Path::new(""));
        for file in &mut spec.corpus.files {
            *file = resolve(file, home);
        }
        for model in spec.models.values_mut() {
            model.path = resolve(&model.path, home);
        }
        for sae in spec.saes.values_mut() {
            sae.path = resolve(&sae.path, home);
        }
        if let Some(file) = &mut spec.estimate.categories {
            *file = resolve(file, home);
            spec.estimate.lists = Some(read_categories(Path::new(file))?);
        }
        Ok(spec)
    }

    /// The file's text, paths as resolved.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a dataflow file is plain data with text keys")
    }

    /// What a value alone can have wrong.
    fn check(&self, path: &Path) -> Result<()> {
        let fail = |what: String| Err(Error::request(format!("dataflow file {}: {what}", path.display())));
        if self.format != FORMAT {
            return fail(format!(
                "format is {}, this version reads format {FORMAT}; write format = {FORMAT}",
                self.format
            ));
        }
        if self.name.is_empty()
            || !self.name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
            || self.name.starts_with('.')
        {
            return fail(format!(
                "name is {:?}; use letters, digits, '-', '_' and '.', for it names the run's folder",
                self.name
            ));
        }
        if self.corpus.context_length < 2 {
            return fail(format!("corpus.context_length is {}, expected at least 2", self.corpus.context_length));
        }
        if self.corpus.batch_contexts == 0 {
            return fail("corpus.batch_contexts is 0, expected at least 1".into());
        }
        if self.estimate.best == 0 || self.estimate.best > 250 {
            return fail(format!("estimate.best is {}, expected 1 to 250 partners per latent", self.estimate.best));
        }
        let (estimate, top) = (&self.estimate, self.estimate.top_tokens);
        if (estimate.filters.reads_tokens() || estimate.categories.is_some()) && top < TOP_STRINGS {
            return fail(format!(
                "estimate.top_tokens is {top}, but categories and the filters non_concept and shared_token look at the \
                 {TOP_STRINGS} strongest tokens; remember at least {TOP_STRINGS}"
            ));
        }
        let [before, after] = estimate.top_context;
        if estimate.categories.is_some() && (before < AROUND[0] || after < AROUND[1]) {
            return fail(format!(
                "estimate.top_context is [{before}, {after}], but categories look at {} tokens before a strongest one and {} after",
                AROUND[0], AROUND[1]
            ));
        }
        if self.estimate.categories.is_some() && self.compare.cross != Cross::Exact {
            return fail(
                "estimate.categories pairs latents inside each category, which takes the sums of all of them; write \
                 compare.cross = \"exact\""
                    .into(),
            );
        }
        let CompareSpec { width, candidates, .. } = self.compare;
        let few = candidates < self.estimate.best && self.compare.cross != Cross::Exact;
        if !(16..=1 << 20).contains(&width) || few || !(1..=1000).contains(&candidates) {
            return fail(format!(
                "compare.width is {width} and compare.candidates {candidates}; expected 16 to 1048576 buckets and estimate.best \
                 ({}) to 1000 candidates",
                self.estimate.best
            ));
        }
        if self.estimate.snapshot_every == 0 {
            return fail("estimate.snapshot_every is 0, expected a number of tokens such as 50_000".into());
        }
        if let Some(m) = self.estimate.activation_measures.iter().find(|m| MomentsMeasure::of(**m).is_none()) {
            return fail(format!(
                "estimate.activation_measures holds {m}, which needs the rows themselves; expected svcca… or cka"
            ));
        }
        if let Some(rule) = self.estimate.stop_when
            && (rule.snapshots == 0 || rule.churn_below.is_nan() || rule.churn_below <= 0.0)
        {
            return fail(format!(
                "estimate.stop_when is churn_below = {}, snapshots = {}; expected a share above 0 and at least 1 snapshot",
                rule.churn_below, rule.snapshots
            ));
        }
        if self.checkpoint.every == 0 {
            return fail("checkpoint.every is 0, expected a number of tokens such as 1_000_000".into());
        }
        if self.check.tokens == 0 {
            return fail("check.tokens is 0, expected a number such as 2048; doctor = \"off\" tries nothing".into());
        }
        if let PairsSpec::Listed(pairs) = &self.compare.pairs
            && pairs.is_empty()
        {
            return fail("compare.pairs is empty; name at least one pair, or write pairs = \"all\"".into());
        }
        for name in self.models.keys() {
            if name.is_empty() || name.contains('/') {
                return fail(format!("model name {name:?} is empty or holds a '/'; sites are written MODEL/HOOKPOINT"));
            }
        }
        if let Some((name, model)) = self.models.iter().find(|(_, m)| m.dtype != Dtype::F32) {
            let dtype = if model.dtype == Dtype::Bf16 { "bf16" } else { "f16" };
            return fail(format!(
                "models.{name}.dtype is \"{dtype}\", but models run on the CPU here, which multiplies f32 only: {dtype} would be \
                 widened for every product, slower and with fewer digits; write dtype = \"f32\" (weights stored in {dtype} are read \
                 as they are)"
            ));
        }
        for site in self.saes.keys() {
            self.model_of(site, "saes", path)?;
        }
        self.check_hookpoints(path)?;
        for (a, b) in self.listed_pairs() {
            for site in [a, b] {
                self.model_of(site, "compare.pairs", path)?;
            }
        }
        Ok(())
    }

    /// What `compare.hookpoints` can have wrong.
    fn check_hookpoints(&self, path: &Path) -> Result<()> {
        let fail = |what: String| Err(Error::request(format!("dataflow file {}: {what}", path.display())));
        let listed = &self.compare.hookpoints;
        if !listed.is_empty() && !self.listed_pairs().is_empty() {
            return fail(
                "compare.hookpoints says what pairs = \"all\" is to pair, but the pairs are listed; write pairs = \"all\", or \
                 leave hookpoints out: a listed pair may name any place"
                    .into(),
            );
        }
        for (k, site) in listed.iter().enumerate() {
            self.model_of(site, "compare.hookpoints", path)?;
            if listed[..k].contains(site) {
                return fail(format!("compare.hookpoints names {site} twice; name it once"));
            }
            if self.saes.contains_key(site) {
                return fail(format!(
                    "compare.hookpoints names {site}, which has an SAE in [saes.\"{site}\"]; a place is compared by its SAE's \
                     latents or as it is, not both: take one of them out"
                ));
            }
        }
        Ok(())
    }

    fn model_of(&self, site: &Site, place: &str, path: &Path) -> Result<()> {
        if self.models.contains_key(&site.model) {
            return Ok(());
        }
        let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
        Err(Error::request(format!(
            "dataflow file {}: {place} names {site}, but there is no [models.{}]; models here: {}",
            path.display(),
            site.model,
            known.join(", ")
        )))
    }

    fn listed_pairs(&self) -> &[(Site, Site)] {
        match &self.compare.pairs {
            PairsSpec::Listed(pairs) => pairs,
            PairsSpec::All(_) => &[],
        }
    }

    /// Every pair asked for, source first, in order.
    pub fn pairs(&self) -> Vec<(Site, Site)> {
        match &self.compare.pairs {
            PairsSpec::Listed(pairs) => pairs.clone(),
            PairsSpec::All(_) => {
                let mut out = across_models(self.saes.keys());
                let raw = &self.compare.hookpoints;
                if raw.iter().any(|site| site.model != raw[0].model) {
                    out.extend(across_models(raw.iter()));
                } else {
                    out.extend(
                        (0..raw.len()).flat_map(|k| raw[k + 1..].iter().map(move |b| (raw[k].clone(), b.clone()))),
                    );
                }
                out
            }
        }
    }

    /// Where the run's directory is when nothing else is said.
    pub fn default_directory(&self) -> PathBuf {
        Path::new("runs").join(&self.name)
    }
}

/// The word lists of a file.
///
/// # Errors
/// `Request` naming file and key.
fn read_categories(path: &Path) -> Result<Categories> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("cannot read estimate.categories", path, &e))?;
    toml::from_str(&text).map_err(|e| {
        let what = e.message().replace('\n', " ");
        Error::request(format!(
            "estimate.categories {}: {what}; expected rule = \"word\" or \"substring\" and tables [categories.NAME] with words",
            path.display()
        ))
    })
}

/// Every site of a model with every site of a model after it in the alphabet.
fn across_models<'a>(sites: impl Iterator<Item = &'a Site> + Clone) -> Vec<(Site, Site)> {
    let later = |a: &'a Site| sites.clone().filter(|b| a.model < b.model).map(move |b| (a.clone(), b.clone()));
    sites.clone().flat_map(later).collect()
}

#[cfg(test)]
mod tests;
