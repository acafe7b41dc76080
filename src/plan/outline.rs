//! What will a request do? Steps, shapes and bytes, with a decision for everything that the request leaves open. An outline can
//! be shown; a [`Plan`](super::Plan) can also be run.

use crate::corpus::{Corpus, CorpusOptions};
use crate::error::Result;
use crate::ids::{Hookpoint, Site, library_names};
use crate::moments::{Null, PairShape, ProfileShape, ReadoutShape, RowKey, tile_rows};
use crate::plan::choice::Choice;
use crate::plan::cost::costs;
use crate::plan::decide::decide;
use crate::plan::steps::Steps;
use crate::plan::tiles::tiles;
use crate::plan::{
    Cost, Pair, PlannedModel, PlannedReadout, PlannedSae, PlannedStitch, RawPair, RawSite, Space, Strip, Tile,
};
use crate::sae::Sae;
use crate::spec::{Cross, DataflowSpec, Refine};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A resolved request: see [`Request::outline`](super::Request::outline).
#[derive(Clone, Debug)]
pub struct Outline {
    pub(super) steps: Steps,
    pub(super) choice: Choice,
    tiles: Vec<Tile>,
    pub(super) costs: Vec<Cost>,
    pub(super) memory_limit: u64,
}

impl Outline {
    /// Decides what the steps leave open, within `memory_limit` bytes where that can be; `known` is what `cross = "auto"` came to
    /// at an earlier start.
    pub(super) fn of(steps: Steps, memory_limit: u64, known: Option<Cross>) -> Outline {
        let choice = decide(&steps, memory_limit, known);
        let (tiles, costs) = (tiles(&steps, choice.cross), costs(&steps, &choice));
        Outline { steps, choice, tiles, costs, memory_limit }
    }

    /// The dataflow file as written, with its places in their plain form. What was decided is kept apart:
    /// [`Outline::cross`].
    pub fn spec(&self) -> &DataflowSpec {
        &self.steps.spec
    }

    /// How Σxy is kept: never [`Cross::Auto`].
    pub fn cross(&self) -> Cross {
        self.choice.cross
    }

    /// Models in use, in order of name.
    pub fn models(&self) -> &[PlannedModel] {
        &self.steps.models
    }

    /// Spaces of latents in use, in order of site.
    pub fn spaces(&self) -> &[Space] {
        &self.steps.spaces
    }

    /// Spaces of SAEs with their SAE, in order of site.
    pub fn saes(&self) -> impl Iterator<Item = (&Space, &PlannedSae)> {
        self.steps.saes()
    }

    /// Pairs, in order of site: source, then target.
    pub fn pairs(&self) -> &[Pair] {
        &self.steps.pairs
    }

    /// All tiles of all pairs, in order of pair and row.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Hookpoints whose raw activations are compared.
    pub fn raw_sites(&self) -> &[RawSite] {
        &self.steps.raw_sites
    }

    /// Pairs of raw hookpoints whose cross co-moments are kept. Without an activation measure: the pairs of two raw spaces. With
    /// one: all of [`Outline::pairs`], in their order.
    pub fn raw_pairs(&self) -> &[RawPair] {
        &self.steps.raw_pairs
    }

    /// Places whose moments are kept by half: those that latents are read out of ([`Outline::is_read`]), then others that are stitched.
    pub fn readout_sites(&self) -> &[RawSite] {
        &self.steps.readout_sites
    }

    /// Which latents are read out of which of them; none unless asked for.
    pub fn readouts(&self) -> &[PlannedReadout] {
        &self.steps.readouts
    }

    /// Whether latents are read out of place `k` of [`Outline::readout_sites`].
    pub fn is_read(&self, k: usize) -> bool {
        self.steps.is_read(k)
    }

    /// Which places are mapped into each other: all pairs in their order, or none.
    pub fn stitches(&self) -> &[PlannedStitch] {
        &self.steps.stitches
    }

    /// Widths of the two places of a stitch, and whether its null is kept.
    pub fn stitch_shape(&self, stitch: &PlannedStitch) -> (usize, usize, bool) {
        self.steps.stitch_shape(stitch)
    }

    /// Name of stitch `k` in state files.
    pub fn stitch_name(&self, k: usize) -> String {
        format!("stitch-{k:04}")
    }

    /// The readout of a space's latents out of the place of another space.
    pub fn readout_of(&self, space: usize, other: usize) -> Option<usize> {
        let site = self.readout_sites().iter().position(|r| r.site == self.spaces()[other].site)?;
        self.readouts().iter().position(|r| *r == PlannedReadout { space, site })
    }

    /// All strips of all readouts, in order of readout and latent: a function of the widths alone.
    pub fn strips(&self) -> Vec<Strip> {
        let of = |(readout, r): (usize, &PlannedReadout)| {
            let width = self.spaces()[r.space].width;
            let rows = tile_rows(width, self.readout_sites()[r.site].width);
            let strip = move |(number, first): (usize, usize)| Strip {
                readout,
                number,
                first,
                n_latents: rows.min(width - first),
            };
            (0..width).step_by(rows).enumerate().map(strip)
        };
        self.readouts().iter().enumerate().flat_map(of).collect()
    }

    /// What the sums of a strip are made for.
    pub fn strip_shape(&self, strip: &Strip) -> ReadoutShape {
        self.steps.readout_shape(self.readouts()[strip.readout], strip.n_latents)
    }

    /// Name of a strip in state files.
    pub fn strip_name(&self, strip: &Strip) -> String {
        format!("readout-{:04}-strip-{:05}", strip.readout, strip.number)
    }

    /// Name of the moments of place `k` of [`Outline::readout_sites`] in state files.
    pub fn readout_moments_name(&self, k: usize) -> String {
        format!("readout-moments-{k:04}")
    }

    /// What is held in memory and on disk.
    pub fn costs(&self) -> &[Cost] {
        &self.costs
    }

    /// Corpus files that are here, and their sizes; none where only saved sums are read.
    pub fn corpus_files(&self) -> &[(PathBuf, u64)] {
        &self.steps.corpus.files
    }

    /// Patterns of corpus files for which there is none here.
    pub fn corpus_missing(&self) -> &[String] {
        &self.steps.corpus.missing
    }

    /// What was taken at its word, a sentence each.
    pub fn assumptions(&self) -> &[String] {
        &self.steps.notes.assumptions
    }

    /// Where an SAE's own files contradict the dataflow file, with its site; only an outline for the doctor, or from saved sums,
    /// has any.
    pub fn contradictions(&self) -> &[(Site, String)] {
        &self.steps.notes.contradictions
    }

    /// Models that the first of them has the tokenizer for, as long as every text is cut alike by the second's: with the first difference of
    /// the two, in words.
    pub fn checked_tokenizers(&self) -> Vec<(&[String; 2], &str)> {
        self.steps.tokenizers.iter().flat_map(|tokenizer| tokenizer.checked()).collect()
    }

    /// What is worth reporting of SAEs' own files, a sentence for each statement with the SAEs it is true of; and which
    /// models' rows cannot be compared with the corpus.
    pub fn warnings_in_words(&self) -> Vec<String> {
        let named = |(what, sites): (&String, &Vec<Site>)| {
            let names: Vec<String> = sites.iter().map(|site| format!("\"{site}\"")).collect();
            format!("sae{} {}: {what}", if sites.len() == 1 { "" } else { "s" }, names.join(", "))
        };
        let unknown = self.models().iter().filter_map(|model| {
            let stored = model.elsewhere.as_ref()?.files()?;
            (!stored.has_ids().ok()?).then(|| {
                format!(
                    "model {:?}: its files do not all hold ids, so nothing shows that their rows are of this corpus' tokens; in safetensors put a tensor \"ids\" of \
                     the rows' token ids beside them (Parquet of latents has no place for ids)",
                    model.name
                )
            })
        });
        self.steps.notes.warnings.iter().map(named).chain(unknown).collect()
    }

    /// Opens the corpus with the models' tokenizer, with other options than the dataflow file's perhaps.
    ///
    /// # Errors
    /// Those of [`Corpus::open`]; `Request` where no tokenizer is at hand.
    pub fn open_corpus(&self, options: CorpusOptions) -> Result<Corpus> {
        self.steps.open_corpus(options)
    }

    /// Where an SAE is tried: what it reads, what it predicts. The declared place first; none where that cannot be tried, or
    /// the space is raw.
    pub fn places(&self, space: &Space) -> Vec<(Hookpoint, Hookpoint)> {
        self.steps.places(space)
    }

    /// Every hookpoint that some SAE of model `k` is tried at, ascending.
    pub fn tried(&self, k: usize) -> Vec<Hookpoint> {
        self.steps.tried(k)
    }

    /// Every hookpoint that a run reads of model `k`: its own and, where the doctor checks the SAEs first, those it tries.
    pub fn read_at(&self, k: usize) -> Vec<Hookpoint> {
        self.steps.read_at(k)
    }

    /// For each hookpoint of model `k` whether its rows stay on the device that made them until their moments are made.
    pub fn stays_on_device(&self, k: usize) -> Vec<bool> {
        self.steps.stays_on_device(k)
    }

    /// Whether the models of a pair are computed on one device, by the dataflow file.
    pub fn is_on_one_device(&self, p: &RawPair) -> bool {
        self.steps.is_on_one_device(p)
    }

    /// Number of blocks of model `k` that a run loads: those up to the last of [`Outline::read_at`].
    pub fn blocks_loaded(&self, k: usize) -> usize {
        self.steps.blocks_loaded(k)
    }

    /// Whether both sides of a pair are raw: then the correlations are computed from cross co-moments, not of tiles.
    pub fn is_raw(&self, pair: Pair) -> bool {
        self.steps.is_raw(pair)
    }

    /// Whether hookpoints are scored, which takes their own co-moments and a null.
    pub fn scores_activations(&self) -> bool {
        self.steps.scores_activations()
    }

    /// Null versions kept of each cross co-moment.
    pub fn activation_nulls(&self) -> u32 {
        self.steps.activation_nulls()
    }

    /// How else rows are paired, for the chance level of matches.
    pub fn nulls(&self) -> Vec<Null> {
        self.steps.nulls()
    }

    /// Those of [`Outline::nulls`] that the rows of a batch alone decide.
    pub fn batch_nulls(&self) -> Vec<Null> {
        self.steps.batch_nulls()
    }

    /// Number of null versions kept of one cross co-moment: those for scores first, then one per entry of [`Outline::batch_nulls`] when
    /// the pair's matches come from the co-moment.
    pub fn co_moment_nulls(&self, raw: &RawPair) -> usize {
        self.steps.co_moment_nulls(raw)
    }

    /// What rows have in common with their partners in other documents, and how many keys are remembered; `None` where no partner is
    /// looked for.
    pub fn given_slots(&self) -> Option<(RowKey, usize)> {
        self.steps.given_slots()
    }

    /// Pairs of latents that are listed at most of a pair of spaces.
    pub fn most_listed(&self, pair: Pair) -> u64 {
        self.steps.most_listed(pair)
    }

    /// Whether Σxy of pairs is sketched, and counted for candidates only.
    pub fn is_sketched(&self) -> bool {
        self.choice.is_sketched()
    }

    /// Whether the corpus is read a second time.
    pub fn reads_twice(&self) -> bool {
        self.is_sketched() && self.spec().compare.refine == Refine::SecondPass && !self.tiles.is_empty()
    }

    /// Whether a space has a sketch: it is in a pair that has tiles.
    pub fn has_sketch(&self, space: usize) -> bool {
        self.choice.has_sketch(&self.steps, space)
    }

    /// Partners that are kept of each latent in the nulls: as many as the filters look at.
    pub fn null_partners(&self) -> usize {
        let estimate = &self.spec().estimate;
        if estimate.filters.one_to_one.may_take_second() { estimate.best } else { 1 }
    }

    /// What the sums of `d_source` source latents of a pair are made for.
    pub fn pair_shape(&self, pair: Pair, d_source: usize) -> PairShape {
        self.choice.pair_shape(&self.steps, pair, d_source)
    }

    /// What the profiles of a space are made for.
    pub fn profile_shape(&self, space: &Space) -> ProfileShape {
        self.steps.profile_shape(space)
    }

    /// Name of tile `k` in state files: a function of what it is, not of the worker that holds it.
    pub fn tile_name(&self, k: usize) -> String {
        let tile = self.tiles[k];
        format!("pair-{:04}-tile-{:05}", tile.pair, tile.number)
    }

    /// What TransformerLens and transformers call the hookpoints: JSON, `{"model/hookpoint": names}`, as
    /// [`LibraryNames`](crate::ids::LibraryNames) has them.
    pub fn library_names(&self) -> String {
        let names = |s: &Space| {
            let family = self.models()[s.model()].shape.names();
            (s.site.to_string(), library_names(s.site.hookpoint, &family))
        };
        let by_site: BTreeMap<_, _> = self.spaces().iter().map(names).collect();
        serde_json::to_string(&by_site).expect("names are plain data")
    }

    /// The site names of a pair, source first.
    pub fn pair_sites(&self, pair: usize) -> (&Site, &Site) {
        let Pair { source, target } = self.pairs()[pair];
        (&self.spaces()[source].site, &self.spaces()[target].site)
    }

    /// Opens every SAE for its directions, of encoders as they are multiplied: one per space, `None` for a raw one.
    ///
    /// # Errors
    /// Those of [`PlannedSae::open`].
    pub fn open_saes(&self) -> Result<Vec<Option<Arc<Sae>>>> {
        let rounded = |sae: &PlannedSae| Ok(if sae.is_in_bf16() { sae.open()?.in_bf16() } else { sae.open()? });
        self.each_sae(rounded)
    }

    /// Opens every SAE to encode: one per space, `None` for a raw one. They screen their latents ([`Sae::screened`]) where that was
    /// decided.
    ///
    /// # Errors
    /// Those of [`PlannedSae::encoder`].
    pub fn open_encoders(&self) -> Result<Vec<Option<Arc<Sae>>>> {
        self.each_sae(|sae| {
            let opened = sae.encoder()?;
            Ok(if self.choice.screen_bytes(sae) > 0 { opened.screened() } else { opened })
        })
    }

    fn each_sae(&self, open: impl Fn(&PlannedSae) -> Result<Sae>) -> Result<Vec<Option<Arc<Sae>>>> {
        let of_space = |s: &Space| {
            let opened = s.sae().map(|sae| open(sae).map(Arc::new)).transpose();
            opened.map_err(|e| e.within(format!("sae \"{}\"", s.site)))
        };
        self.spaces().iter().map(of_space).collect()
    }
}
