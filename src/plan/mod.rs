//! What will be done, and what will it cost? Steps, shapes, bytes and the fingerprint, from headers alone.
//!
//! Shared work is merged here: one forward per model for all its hookpoints, one encode per SAE, however many pairs use
//! them. Everything after the plan trusts its shapes.

mod cost;
mod declared;
mod fingerprint;
mod made_of;
mod make;
mod one_decoder;
mod places;
mod sizes;
mod space;
mod used;

use crate::corpus::Tokenizer;
use crate::ids::{Hookpoint, Site, library_names};
use crate::model::ModelShape;
use crate::moments::{Null, PairShape, ProfileShape, TopOptions};
use crate::spec::{Cross, DataflowSpec, Refine};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use cost::grouped;
pub use declared::is_written;
pub use fingerprint::{corpus_mark, fingerprint};
pub use made_of::{check_sae, check_tokenizer};
pub use make::resolved;
pub use space::{Origin, PlannedSae, Space, Tap};

/// A run, thought through.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The dataflow file, places in their plain form.
    pub spec: DataflowSpec,
    /// Models in use, in order of name.
    pub models: Vec<PlannedModel>,
    /// Spaces of latents in use, in order of site.
    pub spaces: Vec<Space>,
    /// Pairs, in order of site: source, then target.
    pub pairs: Vec<Pair>,
    /// All tiles of all pairs, in order of pair and row.
    pub tiles: Vec<Tile>,
    /// Hookpoints whose raw activations are compared.
    pub raw_sites: Vec<RawSite>,
    /// Pairs of them whose cross co-moments are kept: those of two raw spaces, or all of `pairs`, in their order, when an
    /// activation measure is asked for.
    pub raw_pairs: Vec<RawPair>,
    /// The tokenizer of all models; an outline may have none.
    pub tokenizer: Option<Arc<Tokenizer>>,
    /// What is held in memory and on disk.
    pub costs: Vec<Cost>,
    /// Whether SAEs screen their latents, where a trial finds that faster.
    pub screens: bool,
    /// Corpus files and their sizes.
    pub corpus_files: Vec<(PathBuf, u64)>,
    /// Patterns of corpus files for which there is none here; only of an outline.
    pub corpus_missing: Vec<String>,
    /// Memory that unpacking a corpus file takes beside what every file takes.
    pub corpus_window_bytes: u64,
    /// What an outline took at its word, a sentence each; a plan that can be run has none.
    pub assumptions: Vec<String>,
    /// Where an SAE's own files contradict the dataflow file, with its site; only a plan for the doctor has any.
    pub contradictions: Vec<(Site, String)>,
    /// What an SAE's own files say that is worth a word, with the sites it is true of.
    pub warnings: BTreeMap<String, Vec<Site>>,
    /// Name and digest of everything that changes a number; the run's fingerprint is their digest.
    pub fingerprint_parts: BTreeMap<String, String>,
}

/// One thing that takes memory or disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// What kind of thing it is.
    pub kind: &'static str,
    /// Which one; empty where there is but one.
    pub of: String,
    /// Bytes of memory at most.
    pub memory_bytes: u64,
    /// Bytes on disk per checkpoint at most; two checkpoints are kept.
    pub disk_bytes: u64,
    /// Whether it is needed only while batches stream, not for what is published from sums.
    pub only_streaming: bool,
}

impl Cost {
    /// What it is, in words.
    pub fn what(&self) -> String {
        format!("{} {}", self.kind, self.of).trim_end().to_string()
    }
}

/// A model to be run.
#[derive(Clone, Debug)]
pub struct PlannedModel {
    /// Its name in the dataflow file.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it is fed: index into the views of a batch ([`TokenBatch::views`](crate::corpus::TokenBatch::views)). Models of one
    /// tokenizer share one.
    pub view: usize,
    /// Seed of the random weights that stand for its own; `None` for its own.
    pub random_weights: Option<u64>,
    /// Its sizes.
    pub shape: ModelShape,
    /// Every hookpoint to be read, ascending; the forward stops after the last.
    pub hookpoints: Vec<Hookpoint>,
}

/// Two spaces held against each other: indices into [`Plan::spaces`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Index of the source space.
    pub source: usize,
    /// Index of the target space.
    pub target: usize,
}

/// Source rows of a pair that are owned together; all of them where Σxy is sketched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Index into [`Plan::pairs`].
    pub pair: usize,
    /// Number of the tile in its pair.
    pub number: usize,
    /// First source latent.
    pub first_row: usize,
    /// Number of source latents.
    pub n_rows: usize,
}

/// A hookpoint whose raw activations are compared.
#[derive(Clone, Debug)]
pub struct RawSite {
    /// What it is called.
    pub site: Site,
    /// Where it is read.
    pub tap: Tap,
    /// Width of the hookpoint.
    pub width: usize,
}

/// Two hookpoints whose raw activations are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPair {
    /// Index into [`Plan::pairs`].
    pub pair: usize,
    /// The source: index into [`Plan::raw_sites`].
    pub source: usize,
    /// The target.
    pub target: usize,
}

impl Plan {
    /// What SAEs' own files say that is worth a word, a sentence for each statement with the SAEs it is true of.
    pub fn warnings_in_words(&self) -> Vec<String> {
        let named = |(what, sites): (&String, &Vec<Site>)| {
            let names: Vec<String> = sites.iter().map(|site| format!("\"{site}\"")).collect();
            format!("sae{} {}: {what}", if sites.len() == 1 { "" } else { "s" }, names.join(", "))
        };
        self.warnings.iter().map(named).collect()
    }

    /// Spaces of SAEs with their SAE, in order of site.
    pub fn saes(&self) -> impl Iterator<Item = (&Space, &PlannedSae)> {
        self.spaces.iter().filter_map(|space| Some((space, space.sae()?)))
    }

    /// The tokenizer of all models.
    ///
    /// # Panics
    /// On an outline without one; only [`Plan::new`] makes plans that are run.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone().expect("a plan that is run has its tokenizer")
    }

    /// Whether both sides of a pair are raw: then the correlations come of cross co-moments, not of tiles.
    pub fn is_raw(&self, pair: Pair) -> bool {
        self.spaces[pair.source].is_raw() && self.spaces[pair.target].is_raw()
    }

    /// Whether hookpoints are scored, which takes their own co-moments and a null.
    pub fn scores_activations(&self) -> bool {
        !self.spec.estimate.activation_measures.is_empty()
    }

    /// Whether Σxy of pairs is sketched, and counted for candidates only.
    pub fn is_sketched(&self) -> bool {
        self.spec.compare.cross == Cross::Sketch
    }

    /// Whether the corpus is read a second time.
    pub fn reads_twice(&self) -> bool {
        self.is_sketched() && self.spec.compare.refine == Refine::SecondPass && !self.tiles.is_empty()
    }

    /// Whether a space has a sketch: it stands in a pair that has tiles.
    pub fn has_sketch(&self, space: usize) -> bool {
        let in_it = |p: &Pair| p.source == space || p.target == space;
        self.is_sketched() && self.pairs.iter().any(|p| in_it(p) && !self.is_raw(*p))
    }

    /// Null versions kept of each cross co-moment.
    pub fn activation_nulls(&self) -> u32 {
        if self.scores_activations() { self.spec.estimate.null.activation_permutations } else { 0 }
    }

    /// How else rows are paired, for the chance level of matches.
    pub fn nulls(&self) -> Vec<Null> {
        if self.spec.estimate.null.documents { vec![Null::Rotated] } else { Vec::new() }
    }

    /// Null versions kept of one cross co-moment: those of the scores, and behind them one for each of [`nulls`](Self::nulls)
    /// when the pair's matches are made of it.
    pub fn co_moment_nulls(&self, raw: &RawPair) -> usize {
        let of_matches = if self.is_raw(self.pairs[raw.pair]) { self.nulls().len() } else { 0 };
        self.activation_nulls() as usize + of_matches
    }

    /// What the sums of `d_source` source latents of a pair are made for.
    pub fn pair_shape(&self, pair: Pair, d_source: usize) -> PairShape {
        PairShape {
            d_source,
            d_target: self.spaces[pair.target].width,
            nulls: self.nulls(),
            candidates: self.is_sketched().then_some(self.spec.compare.candidates),
        }
    }

    /// Partners that are kept of each latent in the nulls: as many as the filters look at.
    pub fn null_partners(&self) -> usize {
        let estimate = &self.spec.estimate;
        if estimate.filters.one_to_one.may_take_second() { estimate.best } else { 1 }
    }

    /// What the profiles of a space are made for.
    pub fn profile_shape(&self, space: &Space) -> ProfileShape {
        let [before, after] = self.spec.estimate.top_context;
        let top = TopOptions { keep: self.spec.estimate.top_tokens, before, after };
        ProfileShape { d_sae: space.width, top, labels: self.spec.corpus.labels.clone().into() }
    }

    /// Name of tile `k` in state files: a function of what it is, not of who holds it.
    pub fn tile_name(&self, k: usize) -> String {
        let tile = self.tiles[k];
        format!("pair-{:04}-tile-{:05}", tile.pair, tile.number)
    }

    /// What TransformerLens and transformers call the hookpoints of this plan: JSON, `{"model/hookpoint": names}`, as
    /// [`LibraryNames`](crate::ids::LibraryNames) has them.
    pub fn library_names(&self) -> String {
        let names = |s: &Space| {
            let family = self.models[s.tap().model].shape.names();
            (s.site.to_string(), library_names(s.site.hookpoint, &family))
        };
        let by_site: BTreeMap<_, _> = self.spaces.iter().map(names).collect();
        serde_json::to_string(&by_site).expect("names are plain data")
    }

    /// The site names of a pair, source first.
    pub fn pair_sites(&self, pair: usize) -> (&Site, &Site) {
        let Pair { source, target } = self.pairs[pair];
        (&self.spaces[source].site, &self.spaces[target].site)
    }
}
