//! What is done, of the request alone: which models run, what is encoded, which spaces are compared? Every header is
//! opened and every shape checked here; nothing is decided that the request leaves open.

use crate::corpus::{Corpus, CorpusOptions, Tokenizer};
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::model::Elsewhere;
use crate::moments::{Null, ProfileShape, ReadoutShape, TopOptions};
use crate::plan::models::{plan_models, size_models};
use crate::plan::sites::{Notes, check_fed, plan_space, raw_sites, readouts, stitches};
use crate::plan::tokenizers::tokenizers;
use crate::plan::used::check_used;
use crate::plan::{Pair, PlannedModel, PlannedReadout, PlannedSae, PlannedStitch, RawPair, RawSite, Space};
use crate::spec::DataflowSpec;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// The request, its names resolved and its shapes known.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// The dataflow file, places in their plain form.
    pub spec: DataflowSpec,
    pub models: Vec<PlannedModel>,
    pub spaces: Vec<Space>,
    pub pairs: Vec<Pair>,
    pub raw_sites: Vec<RawSite>,
    pub raw_pairs: Vec<RawPair>,
    /// Places whose moments are kept by half: those that latents are read out of, then others that are stitched; none unless asked for.
    pub readout_sites: Vec<RawSite>,
    pub readouts: Vec<PlannedReadout>,
    pub stitches: Vec<PlannedStitch>,
    /// One per view of a batch; empty where they are not available.
    pub tokenizers: Vec<Arc<Tokenizer>>,
    /// The corpus, as far as it is read.
    pub corpus: CorpusHere,
    pub notes: Notes,
    /// Whether batches stream through it; else results are made of saved sums alone.
    pub streams: bool,
}

/// What there is of a corpus.
#[derive(Clone, Debug, Default)]
pub(super) struct CorpusHere {
    /// Files and their sizes.
    pub files: Vec<(PathBuf, u64)>,
    /// Patterns of files for which there is none here.
    pub missing: Vec<String>,
    /// Memory that unpacking a file takes on top of what every file takes.
    pub window_bytes: u64,
    /// Memory that pages of a Parquet file take.
    pub pages_bytes: u64,
    /// Tokens of all contexts at most, where that is known.
    pub most_tokens: Option<u64>,
}

impl Steps {
    /// Resolves names, opens headers and checks shapes; the corpus is not looked for. `outline`: weights and tokenizers
    /// need not be there; what is missing is assumed as described, which is noted.
    ///
    /// # Errors
    /// `Request` for a missing artifact or a shape that does not fit, `Input` for a damaged one; each names it.
    pub fn of(spec: &DataflowSpec, outline: bool) -> Result<Steps> {
        let mut notes = Notes::default();
        if spec.pairs().is_empty() {
            return Err(Error::request(
                "compare.pairs = \"all\" finds no pair: name SAEs of at least two places under [saes.\"model/hookpoint\"], or \
                 at least two places under compare.hookpoints",
            ));
        }
        let sized = size_models(spec, outline, &mut notes.assumptions)?;
        let spec = spec.resolved(&sized.iter().map(|(name, model)| (name.clone(), model.shape.names())).collect())?;
        check_used(&spec, &spec.pairs())?;
        let mut pairs = spec.site_pairs();
        pairs.sort();
        let sites: BTreeSet<Site> = pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let mut models = plan_models(&spec, sized, &sites)?;
        let tokenizers =
            tokenizers(&mut models, spec.compare.is_of_text(), &spec.corpus, outline, &mut notes.assumptions)?;
        let mut spaces = Vec::new();
        for site in &sites {
            spaces.push(plan_space(&spec, site, &models, outline, &mut notes)?);
        }
        check_fed(&spec, &spaces)?;
        let at = |site: &Site| spaces.iter().position(|s| s.site == *site).expect("every site of a pair is a space");
        let pairs: Vec<Pair> = pairs.iter().map(|(a, b)| Pair { source: at(a), target: at(b) }).collect();
        let raw = |pair: &Pair| spaces[pair.source].is_raw() && spaces[pair.target].is_raw();
        let all = !spec.estimate.activation_measures.is_empty();
        let (raw_sites, raw_pairs) = raw_sites(&spaces, &pairs, &models, |pair| all || raw(pair));
        let read_pairs = if spec.compare.readout { pairs.as_slice() } else { &[] };
        let (mut readout_sites, readouts) = readouts(&spaces, read_pairs, &models);
        let stitched = if spec.compare.stitch { pairs.as_slice() } else { &[] };
        let stitches = stitches(&spaces, stitched, &models, &mut readout_sites);
        let corpus = CorpusHere::default();
        let steps = Steps {
            spec,
            models,
            spaces,
            pairs,
            raw_sites,
            raw_pairs,
            readout_sites,
            readouts,
            stitches,
            tokenizers,
            corpus,
            notes,
            streams: true,
        };
        steps.check_dictionary()?;
        steps.check_logits()?;
        Ok(steps)
    }

    /// Refuses `estimate.dictionary` where no pair has two dictionaries of one space.
    fn check_dictionary(&self) -> Result<()> {
        if self.spec.estimate.dictionary && !self.pairs.iter().any(|p| self.has_decoder_cosines(*p)) {
            return Err(Error::request(
                "estimate.dictionary changes nothing here: it pairs the decoder rows of two SAEs of one model and one width, and no \
                 pair has them; take it out, or pair two SAEs of one model (two of one hookpoint need names, as in \"resid_post.2#seed1\")",
            ));
        }
        Ok(())
    }

    /// Looks for the corpus, every file of which must be here.
    ///
    /// # Errors
    /// Those of [`Corpus::open`] and [`Corpus::check_keys`]; `Request` without a tokenizer.
    pub fn with_corpus(mut self) -> Result<Steps> {
        let corpus = self.open_corpus(self.spec.corpus.clone())?;
        corpus.check_keys()?;
        self.corpus.files = corpus.files().iter().map(|f| (f.path.clone(), f.size_bytes)).collect();
        let files = &self.corpus.files;
        if files.iter().all(|(path, bytes)| *bytes == 0 && disk::is_file(path)) {
            let names: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
            return Err(Error::request(format!(
                "the corpus is empty: {} 0 bytes; check [corpus] files",
                match &names[..] {
                    [one] => format!("{one} has"),
                    more => format!("{} have", more.join(", ")),
                }
            )));
        }
        let facts = corpus.facts();
        (self.corpus.window_bytes, self.corpus.pages_bytes) = (facts.window_bytes, facts.pages_bytes);
        self.corpus.most_tokens = facts.most_tokens;
        Ok(self)
    }

    /// Tokens of a batch at most.
    pub(super) fn tokens_of_a_batch(&self) -> u64 {
        let CorpusOptions { batch_contexts, context_length, .. } = &self.spec.corpus;
        let full = (*batch_contexts as u64).saturating_mul(*context_length as u64);
        self.corpus.most_tokens.map_or(full, |most| full.min(most))
    }

    /// The same where files need not be here, which is noted; they are looked into when all are, and a tokenizer is.
    ///
    /// # Errors
    /// As [`Steps::with_corpus`].
    pub fn with_what_is_here(mut self) -> Result<Steps> {
        let (here, missing) = Corpus::list(&self.spec.corpus)?;
        if missing.is_empty() && !self.tokenizers.is_empty() {
            return self.with_corpus();
        }
        if !missing.is_empty() {
            let what = format!("the corpus is not here, or not all of it: {}", missing.join(", "));
            self.notes.assumptions.push(what);
        }
        self.corpus.files = here.into_iter().map(|f| (f.path, f.size_bytes)).collect();
        self.corpus.missing = missing;
        Ok(self)
    }

    /// Looks for the files of activations, whose headers are read; `outline`: they need not be here, which is noted.
    ///
    /// # Errors
    /// `Request` for files that are not here or do not fit, `Input` for damaged ones.
    pub fn with_row_files(mut self, outline: bool) -> Result<Steps> {
        for model in &self.models {
            let Some(stored) = model.elsewhere.as_ref().and_then(Elsewhere::files) else { continue };
            let missing = if outline { stored.missing() } else { Vec::new() };
            match missing.is_empty() {
                true => stored.check().map_err(|e| e.within(format!("model {:?}", model.name)))?,
                false => {
                    let what = format!(
                        "model {:?}: files of its activations are not here: {}",
                        model.name,
                        missing.join(", ")
                    );
                    self.notes.assumptions.push(what);
                }
            }
        }
        Ok(self)
    }

    /// Opens the corpus with the models' tokenizers, with other options perhaps.
    ///
    /// # Errors
    /// Those of [`Corpus::open`]; `Request` where no tokenizer is at hand.
    pub fn open_corpus(&self, options: CorpusOptions) -> Result<Corpus> {
        Corpus::open_views(options, self.tokenizers()?)
    }

    /// The models' tokenizers, one per view of a batch.
    ///
    /// # Errors
    /// `Request` where there is none.
    pub fn tokenizers(&self) -> Result<Vec<Arc<Tokenizer>>> {
        if self.tokenizers.is_empty() {
            return Err(Error::request(
                "no tokenizer of a model is here, and texts are read with it; give a model's path, or fetch it",
            ));
        }
        Ok(self.tokenizers.clone())
    }

    /// Spaces of SAEs with their SAE, in order of site.
    pub fn saes(&self) -> impl Iterator<Item = (&Space, &PlannedSae)> {
        self.spaces.iter().filter_map(|space| Some((space, space.sae()?)))
    }

    /// Whether both sides of a pair are raw: then the correlations are computed from cross co-moments, not of tiles.
    pub fn is_raw(&self, pair: Pair) -> bool {
        self.spaces[pair.source].is_raw() && self.spaces[pair.target].is_raw()
    }

    /// Whether hookpoints are scored, which takes their own co-moments and a null.
    pub fn scores_activations(&self) -> bool {
        !self.spec.estimate.activation_measures.is_empty()
    }

    /// Null versions kept of each cross co-moment.
    pub fn activation_nulls(&self) -> u32 {
        if self.scores_activations() { self.spec.estimate.null.activation_permutations } else { 0 }
    }

    /// How else rows are paired, for the chance level of matches.
    pub fn nulls(&self) -> Vec<Null> {
        let null = &self.spec.estimate.null;
        let both = [(Null::Rotated, null.documents), (Null::Given, null.given.is_full())];
        both.into_iter().filter(|(_, asked)| *asked).map(|(null, _)| null).collect()
    }

    /// Those that the rows of a batch alone decide.
    pub fn batch_nulls(&self) -> Vec<Null> {
        self.nulls().into_iter().filter(|null| null.is_of_batch()).collect()
    }

    /// Number of null versions kept of one cross co-moment: those for scores first, then one per entry of [`Steps::batch_nulls`] when
    /// the pair's matches come from the co-moment.
    pub fn co_moment_nulls(&self, raw: &RawPair) -> usize {
        let of_matches = if self.is_raw(self.pairs[raw.pair]) { self.batch_nulls().len() } else { 0 };
        self.activation_nulls() as usize + of_matches
    }

    /// What the sums of `n_latents` latents of a readout are made for.
    pub fn readout_shape(&self, readout: PlannedReadout, n_latents: usize) -> ReadoutShape {
        let null = self.nulls().contains(&Null::Rotated);
        ReadoutShape { n_latents, width: self.readout_sites[readout.site].width, null }
    }

    /// What the cross co-moments of a stitch are made for.
    pub fn stitch_shape(&self, stitch: &PlannedStitch) -> (usize, usize, bool) {
        let width = |k: usize| self.readout_sites[k].width;
        (width(stitch.source), width(stitch.target), self.nulls().contains(&Null::Rotated))
    }

    /// Whether latents are read out of place `k` of the readout's, so that its activations travel with a batch.
    pub fn is_read(&self, k: usize) -> bool {
        self.readouts.iter().any(|r| r.site == k)
    }

    /// What the profiles of a space are made for.
    pub fn profile_shape(&self, space: &Space) -> ProfileShape {
        let [before, after] = self.spec.estimate.top_context;
        let top = TopOptions { keep: self.spec.estimate.top_tokens, before, after };
        ProfileShape { d_sae: space.width, top, labels: self.spec.corpus.labels.clone().into() }
    }
}
