//! From a dataflow file to a plan: open every header, check every shape. What it holds is added up in `cost`.

use crate::corpus::{Corpus, Tokenizer};
use crate::error::{Error, Result};
use crate::hub::{Reference, registry};
use crate::ids::Site;
use crate::model::ModelShape;
use crate::moments::tile_rows;
use crate::plan::cost::costs;
use crate::plan::declared::{Asked, settle};
use crate::plan::fingerprint::{file_parts, sae_parts, settled_parts, spec_parts};
use crate::plan::sizes::{Sized, of_model, of_sae};
use crate::plan::used::check_used;
use crate::plan::{Origin, Pair, Plan, PlannedModel, PlannedSae, RawPair, RawSite, Space, Tap, Tile};
use crate::sae::{Reading, Sae};
use crate::spec::{Cross, DataflowSpec, Insist};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Plan {
    /// Thinks a dataflow file through.
    ///
    /// # Errors
    /// `Request` for a missing artifact or a shape that does not fit, `Input` for a damaged one; each names it.
    pub fn new(spec: DataflowSpec) -> Result<Plan> {
        let plan = Plan::for_doctor(spec)?;
        plan.check_declared()?;
        Ok(plan)
    }

    /// The same where an SAE's own files may contradict the dataflow file: that is what the doctor looks into.
    ///
    /// # Errors
    /// As [`Plan::new`], but for contradictions.
    pub fn for_doctor(spec: DataflowSpec) -> Result<Plan> {
        let mut plan = Plan::without_corpus(spec)?;
        let corpus = Corpus::open(plan.spec.corpus.clone(), plan.tokenizer())?;
        corpus.check_keys()?;
        plan.corpus_files = corpus.files().iter().map(|f| (f.path.clone(), f.size_bytes)).collect();
        plan.count_windows(corpus.facts().window_bytes);
        Ok(plan)
    }

    /// Refuses what SAEs' own files contradict.
    ///
    /// # Errors
    /// `Request` naming every contradiction and what to do.
    fn check_declared(&self) -> Result<()> {
        if self.contradictions.is_empty() {
            return Ok(());
        }
        let all: Vec<String> =
            self.contradictions.iter().map(|(site, what)| format!("sae \"{site}\": {what}")).collect();
        Err(Error::request(all.join("\n       ")))
    }

    /// The same for who reads saved sums: neither the corpus is looked for, nor what was settled when the run began.
    ///
    /// # Errors
    /// As [`Plan::new`], but for contradictions.
    pub fn without_corpus(spec: DataflowSpec) -> Result<Plan> {
        Plan::resolve(spec, false)
    }

    /// The same where weights, tokenizers and corpus need not be at hand: what is not there is taken at its word, and said
    /// in [`Plan::assumptions`]. Such a plan can be shown, not run.
    ///
    /// # Errors
    /// As [`Plan::new`], and `Request` for what is neither there nor described.
    pub fn outline(spec: DataflowSpec) -> Result<Plan> {
        let mut plan = Plan::resolve(spec, true)?;
        plan.check_declared()?;
        let (here, missing) = Corpus::list(&plan.spec.corpus)?;
        let files = match &plan.tokenizer {
            Some(tokenizer) if missing.is_empty() => {
                let corpus = Corpus::open(plan.spec.corpus.clone(), tokenizer.clone())?;
                corpus.check_keys()?;
                plan.count_windows(corpus.facts().window_bytes);
                corpus.files().to_vec()
            }
            _ => here,
        };
        if !missing.is_empty() {
            plan.assumptions.push(format!("the corpus is not here, or not all of it: {}", missing.join(", ")));
        }
        plan.corpus_files = files.into_iter().map(|f| (f.path, f.size_bytes)).collect();
        plan.corpus_missing = missing;
        Ok(plan)
    }

    /// Counts what unpacking corpus files takes.
    fn count_windows(&mut self, bytes: u64) {
        self.corpus_window_bytes = bytes;
        self.costs = costs(self);
    }

    fn resolve(spec: DataflowSpec, outline: bool) -> Result<Plan> {
        let mut assumptions = Vec::new();
        if spec.pairs().is_empty() {
            return Err(Error::request(
                "compare.pairs = \"all\" finds no pair: name SAEs of at least two models under [saes.\"model/hookpoint\"], or \
                 at least two places under compare.hookpoints",
            ));
        }
        let sized = size_models(&spec, outline, &mut assumptions)?;
        let spec = spec.resolved(&sized.iter().map(|(name, model)| (name.clone(), model.shape.names())).collect())?;
        check_used(&spec, &spec.pairs())?;
        let mut pairs = spec.site_pairs();
        pairs.sort();
        let sites: BTreeSet<Site> = pairs.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        let models = plan_models(&spec, sized, &sites)?;
        let mut spaces = Vec::new();
        let mut notes = Notes { assumptions, ..Notes::default() };
        for site in &sites {
            spaces.push(plan_space(&spec, site, &models, outline, &mut notes)?);
        }
        let Notes { mut assumptions, contradictions, warnings } = notes;
        let at = |site: &Site| spaces.iter().position(|s| s.site == *site).expect("every site of a pair is a space");
        let pairs: Vec<Pair> = pairs.iter().map(|(a, b)| Pair { source: at(a), target: at(b) }).collect();
        let raw = |pair: &Pair| spaces[pair.source].is_raw() && spaces[pair.target].is_raw();
        let all = !spec.estimate.activation_measures.is_empty();
        let (raw_sites, raw_pairs) = raw_sites(&spaces, &pairs, &models, |pair| all || raw(pair));
        let tokenizer = tokenizer(&models, outline, &mut assumptions)?.map(Arc::new);
        let mut plan = Plan {
            tokenizer,
            spec,
            models,
            spaces,
            pairs,
            tiles: Vec::new(),
            raw_sites,
            raw_pairs,
            costs: Vec::new(),
            screens: false,
            corpus_files: Vec::new(),
            corpus_missing: Vec::new(),
            corpus_window_bytes: 0,
            assumptions,
            contradictions,
            warnings,
            fingerprint_parts: BTreeMap::new(),
        };
        plan.lay_out_tiles(plan.spec.compare.cross);
        Ok(plan)
    }

    /// Plans tiles and costs for Σxy kept in this way (`Auto` as if exact).
    pub fn lay_out_tiles(&mut self, cross: Cross) {
        self.spec.compare.cross = cross;
        let mut tiles = Vec::new();
        for (p, pair) in self.pairs.iter().enumerate().filter(|(_, pair)| !self.is_raw(**pair)) {
            let (d_source, d_target) = (self.spaces[pair.source].width, self.spaces[pair.target].width);
            let height = if self.is_sketched() { d_source } else { tile_rows(d_source, d_target) };
            for (number, first_row) in (0..d_source).step_by(height).enumerate() {
                tiles.push(Tile { pair: p, number, first_row, n_rows: height.min(d_source - first_row) });
            }
        }
        self.tiles = tiles;
        self.costs = costs(self);
    }

    /// Settles `cross = "auto"`: as `known` from an earlier start of the run, else exact where that fits into `limit` bytes,
    /// else a sketch. From here on the run is one whose file says so.
    pub fn decide_cross(&mut self, limit: u64, known: Option<Cross>) {
        if self.spec.compare.cross == Cross::Auto {
            let fits = self.memory_bytes() <= limit;
            self.lay_out_tiles(known.unwrap_or(if fits { Cross::Exact } else { Cross::Sketch }));
        }
    }

    /// Screens latents ([`Sae::screened`]) where what that takes fits into `limit` bytes as well. Changes no number.
    pub fn decide_screens(&mut self, limit: u64) {
        self.screens = true;
        self.costs = costs(self);
        if self.memory_bytes() > limit {
            self.screens = false;
            self.costs = costs(self);
        }
    }

    /// Bytes that screening this SAE's latents takes; 0 where they are not screened.
    pub fn screen_bytes(&self, sae: &PlannedSae) -> u64 {
        if self.screens && sae.encode == crate::sae::Encode::Sparse { sae.shape.screen_bytes() } else { 0 }
    }

    /// Reads every artifact once to take its digest; fills [`Plan::fingerprint_parts`]. Corpus files enter by name
    /// and order; what was read of them is in the corpus' cursor.
    ///
    /// # Errors
    /// Those of reading.
    pub fn take_fingerprint(&mut self) -> Result<()> {
        let mut parts = spec_parts(&self.spec);
        parts.insert("state".into(), STATE.into());
        for model in &self.models {
            let mut files = crate::model::files(&model.path)?;
            files.extend(crate::model::tokenizer_files(&model.path));
            file_parts(&format!("models.{}", model.name), &files, &mut parts)?;
        }
        for (space, sae) in self.saes() {
            parts.extend(sae_parts(&space.site, &sae.path, sae.reading.format)?);
            parts.extend(settled_parts(&space.site, &sae.reading));
        }
        for (k, (path, _)) in self.corpus_files.iter().enumerate() {
            let name = path.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
            parts.insert(format!("corpus file {k:06}"), name);
        }
        self.fingerprint_parts = parts;
        Ok(())
    }

    /// Takes over what `saved` says of artifacts, for a plan over the sums of a run that `was` asked for. Fills
    /// [`Plan::fingerprint_parts`] with what a run of this plan would have.
    ///
    /// # Errors
    /// Those of [`Plan::check_made_of`].
    pub fn adopt_fingerprint(&mut self, was: &DataflowSpec, saved: &BTreeMap<String, String>) -> Result<()> {
        self.check_made_of(saved)?;
        let families = self.models.iter().map(|m| (m.name.clone(), m.shape.names())).collect();
        let asked = spec_parts(&was.resolved(&families)?);
        let mut parts = spec_parts(&self.spec);
        parts.extend(saved.iter().filter(|(k, _)| !asked.contains_key(*k)).map(|(k, v)| (k.clone(), v.clone())));
        self.fingerprint_parts = parts;
        Ok(())
    }

    /// Opens every SAE: one per space, `None` for a raw one.
    ///
    /// # Errors
    /// Those of [`PlannedSae::open`].
    pub fn open_saes(&self) -> Result<Vec<Option<Arc<Sae>>>> {
        let open = |s: &Space| {
            let open = |sae: &PlannedSae| {
                let opened = sae.open()?;
                Ok::<_, Error>(Arc::new(if self.screen_bytes(sae) > 0 { opened.screened() } else { opened }))
            };
            s.sae().map(open).transpose().map_err(|e| e.within(format!("sae \"{}\"", s.site)))
        };
        self.spaces.iter().map(open).collect()
    }
}

/// Number of what state files hold; another one makes another run.
const STATE: &str = "3";

/// The tokenizer of the first model, after it is known that all cut texts alike.
fn common_tokenizer(models: &[&PlannedModel]) -> Result<Tokenizer> {
    let mut first: Option<(&PlannedModel, Tokenizer)> = None;
    for (k, &model) in models.iter().enumerate() {
        if models[..k].iter().any(|m| m.path == model.path) {
            continue;
        }
        let tokenizer =
            crate::model::tokenizer(&model.path).map_err(|e| e.within(format!("model {:?}", model.name)))?;
        if tokenizer.vocab_size() > model.shape.n_vocab {
            return Err(Error::request(format!(
                "model {:?}: its tokenizer has {} tokens, its embedding {} rows; give the tokenizer that the model was \
                 trained with",
                model.name,
                tokenizer.vocab_size(),
                model.shape.n_vocab
            )));
        }
        match &first {
            None => first = Some((model, tokenizer)),
            Some((other, expected)) if !tokenizer.cuts_as(expected) => {
                return Err(Error::request(format!(
                    "models {:?} and {:?} have different tokenizers, and align = \"token\" needs one for all: token i \
                     must be the same text everywhere; give models of one tokenizer",
                    other.name, model.name
                )));
            }
            Some(_) => {}
        }
    }
    Ok(first.expect("a pair has models").1)
}

/// The common tokenizer; of an outline, of the models that have theirs at hand.
fn tokenizer(models: &[PlannedModel], outline: bool, assumptions: &mut Vec<String>) -> Result<Option<Tokenizer>> {
    let (here, not_here): (Vec<&PlannedModel>, Vec<&PlannedModel>) =
        models.iter().partition(|m| !outline || m.path.is_file() || !crate::model::tokenizer_files(&m.path).is_empty());
    for model in &not_here {
        assumptions
            .push(format!("the tokenizer of model {:?} is not here; it is taken to be that of the others", model.name));
    }
    if here.is_empty() { Ok(None) } else { common_tokenizer(&here).map(Some) }
}

/// The sizes of every model, by its name.
fn size_models(
    spec: &DataflowSpec,
    outline: bool,
    assumptions: &mut Vec<String>,
) -> Result<BTreeMap<String, Sized<ModelShape>>> {
    let pairs = spec.pairs();
    let mut out = BTreeMap::new();
    for (name, model) in &spec.models {
        if !pairs.iter().any(|(a, b)| a.model == *name || b.model == *name) {
            return Err(Error::request(format!(
                "[models.{name}] is in no pair; take it out, or name a site of it in compare.pairs"
            )));
        }
        let sized = of_model(name, model, outline)?;
        if let Some(source) = &sized.unverified {
            assumptions.push(format!("model {name:?} is not here ({}): its sizes are those of {source}", model.path));
        }
        out.insert(name.clone(), sized);
    }
    Ok(out)
}

fn plan_models(
    spec: &DataflowSpec,
    sized: BTreeMap<String, Sized<ModelShape>>,
    sites: &BTreeSet<Site>,
) -> Result<Vec<PlannedModel>> {
    let mut out = Vec::new();
    for (name, Sized { path, shape, .. }) in sized {
        let hookpoints: BTreeSet<_> = sites.iter().filter(|s| s.model == name).map(|s| s.hookpoint).collect();
        if let Some(max) = shape.max_context
            && spec.corpus.context_length > max
        {
            return Err(Error::request(format!(
                "model {name:?} takes at most {max} positions, corpus.context_length is {}; lower it",
                spec.corpus.context_length
            )));
        }
        for &h in &hookpoints {
            shape.width(h).map_err(|e| e.within(format!("model {name:?}")))?;
        }
        let random_weights = spec.models[&name].random_weights;
        let hookpoints = hookpoints.into_iter().collect();
        // align = "token": one tokenizer, one view
        out.push(PlannedModel { name, path, view: 0, random_weights, shape, hookpoints });
    }
    Ok(out)
}

/// The dataflow file with every place in its plain form ([`DataflowSpec::resolved`]), for who reads tables and no more:
/// models are looked at only where a place is written in another library's words.
///
/// # Errors
/// As [`Plan::new`], of the models' headers.
pub fn resolved(spec: &DataflowSpec) -> Result<DataflowSpec> {
    let mut families: BTreeMap<String, String> = spec.models.keys().map(|name| (name.clone(), String::new())).collect();
    let other: BTreeSet<&str> =
        spec.written_places().filter(|name| name.plain().is_none()).map(|name| name.model.as_str()).collect();
    for name in other {
        let family = of_model(name, &spec.models[name], true)?.shape.names();
        families.insert(name.to_string(), family);
    }
    spec.resolved(&families)
}

/// What is to be said of a plan.
#[derive(Default)]
struct Notes {
    assumptions: Vec<String>,
    contradictions: Vec<(Site, String)>,
    warnings: BTreeMap<String, Vec<Site>>,
}

fn plan_space(
    spec: &DataflowSpec,
    site: &Site,
    models: &[PlannedModel],
    outline: bool,
    notes: &mut Notes,
) -> Result<Space> {
    let model = models.iter().position(|m| m.name == site.model).expect("the spec knows every site's model");
    let slot = models[model].hookpoints.iter().position(|h| *h == site.hookpoint).expect("gathered above");
    let tap = Tap { model, slot };
    let width = models[model].shape.width(site.hookpoint)?;
    let Some(sae) = spec.sae(site) else {
        let entries = (spec.corpus.batch_contexts as u64)
            .saturating_mul(spec.corpus.context_length as u64)
            .saturating_mul(width as u64);
        if entries > u64::from(u32::MAX) {
            return Err(Error::request(format!(
                "a batch of {} contexts of {} tokens is {entries} values at {site}, more than {} can be handed on at once; \
                 lower corpus.batch_contexts",
                spec.corpus.batch_contexts,
                spec.corpus.context_length,
                u32::MAX
            )));
        }
        return Ok(Space { site: site.clone(), width, origin: Origin::Raw { tap } });
    };
    // a name that no registry knows is wrong wherever the files lie
    Reference::parse(&sae.path).map_err(|e| e.within(format!("sae \"{site}\"")))?;
    let facts = registry::facts(&sae.path);
    let overrides = facts.as_ref().map(|facts| facts.overrides.clone()).unwrap_or_default();
    let trust_weights = sae.insist.contains(&Insist::Width);
    let base = Reading { subtract_b_dec: sae.subtract_b_dec, trust_weights, overrides, ..Reading::of(sae.format) };
    let Sized { path, shape, unverified } = of_sae(site, sae, &base, outline)?;
    let here = unverified.is_none();
    if let Some(source) = unverified {
        notes.assumptions.push(format!("sae \"{site}\" is not here ({}): its sizes are those of {source}", sae.path));
    }
    let settled = settle(
        &Asked {
            site,
            spec: sae,
            sae: &shape,
            facts: facts.as_ref(),
            model: &models[model].shape,
            model_names: &model_names(&models[model], &spec.models[&site.model].path),
            corpus: &spec.corpus,
        },
        base,
    );
    notes.contradictions.extend(settled.contradictions.into_iter().map(|what| (site.clone(), what)));
    for warning in settled.warnings {
        notes.warnings.entry(warning).or_default().push(site.clone());
    }
    if shape.d_in != width && shape.declared.head.is_none() {
        return Err(Error::request(format!(
            "sae \"{site}\": its encoder takes {} dimensions, hookpoint {} of model {:?} is {width} wide; check the SAE's path \
             ({}) and the hookpoint",
            shape.d_in, site.hookpoint, site.model, sae.path
        )));
    }
    if here && settled.reading.scale.is_some() {
        crate::sae::header_as(&path, &settled.reading).map_err(|e| e.within(format!("sae \"{site}\"")))?;
    }
    let planned = PlannedSae {
        path,
        reading: settled.reading,
        shape: shape.clone(),
        encode: sae.encode,
        output: settled.output,
        registered_scale: facts.as_ref().and_then(|facts| facts.scale),
        neuronpedia: facts.and_then(|facts| facts.neuronpedia),
        any_fvu: sae.insist.contains(&Insist::Fvu),
    };
    Ok(Space { site: site.clone(), width: shape.d_sae, origin: Origin::Sae { tap, sae: Box::new(planned) } })
}

/// What a model is called: by the repository that the dataflow file or the cache names, else by its folder; and by the name that
/// its configuration holds.
fn model_names(model: &PlannedModel, written: &str) -> Vec<String> {
    let last = || model.path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<String> =
        registry::place(written).map(|(repository, _)| repository).or_else(last).into_iter().collect();
    names.extend(crate::model::name_of(&model.path));
    names
}

fn raw_sites(
    spaces: &[Space],
    pairs: &[Pair],
    models: &[PlannedModel],
    wanted: impl Fn(&Pair) -> bool,
) -> (Vec<RawSite>, Vec<RawPair>) {
    let mut sites: Vec<RawSite> = Vec::new();
    let mut index = |space: &Space| -> usize {
        if let Some(k) = sites.iter().position(|r| r.site == space.site) {
            return k;
        }
        let tap = space.tap();
        let width = models[tap.model].shape.width(space.site.hookpoint).expect("checked with the model");
        sites.push(RawSite { site: space.site.clone(), tap, width });
        sites.len() - 1
    };
    let raw_pairs = (pairs.iter().enumerate().filter(|(_, p)| wanted(p)))
        .map(|(pair, p)| RawPair { pair, source: index(&spaces[p.source]), target: index(&spaces[p.target]) })
        .collect();
    (sites, raw_pairs)
}
