//! Is each SAE read at the place, and in the way, it was trained for?
//!
//! The first tokens of the corpus go through every model once; each SAE reconstructs its hookpoint, the one a block
//! before and the one a block after, with and without its decoder bias taken from the input. A reading is measured by its
//! fraction of variance unexplained, `Σ‖y − ŷ‖² / Σ‖y − ȳ‖²` with ȳ the column means of what is predicted, in f64.
//! Thresholds stay as the file has them. The tokens decide the answer only in so far as they are few.

use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::ids::{Hookpoint, Site};
use crate::linalg::Matrix;
use crate::model::{Model, ModelShape};
use crate::plan::{Plan, Space};
use crate::sae::{Encode, LatentBatch, Sae};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Another reading is clearly better when its FVU is below this part of the declared one's …
pub const CLEARLY_BELOW: f64 = 0.8;
/// … and lower by at least this much, so that two readings that both explain nearly everything are not told apart …
pub const CLEARLY_LOWER_BY: f64 = 0.02;
/// … and at most this: an SAE that explains little anywhere, an untrained one above all, says nothing of where it belongs.
pub const EXPLAINS: f64 = 0.7;

/// What one way of reading an SAE gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Where the input is taken.
    pub hookpoint: Hookpoint,
    /// Whether the decoder bias is taken from the input.
    pub subtract_b_dec: bool,
    /// Whether the dataflow file says so.
    pub declared: bool,
    /// Fraction of variance unexplained, 0 or more; `None` where there is no variance.
    pub fvu: Option<f64>,
    /// Mean number of latents that fire on a token.
    pub l0: f64,
    /// Share of latents that fired on no token, in [0, 1].
    pub dead_share: f64,
}

/// All readings of one SAE.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Its place in the dataflow file.
    #[serde(serialize_with = "as_text")]
    pub site: Site,
    /// Tokens read.
    pub n_tokens: u64,
    /// Hookpoints ascending, the format's own reading of the bias first; empty where it cannot be told what is predicted.
    pub readings: Vec<Reading>,
}

fn as_text<S: serde::Serializer>(site: &Site, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_str(site)
}

impl Diagnosis {
    /// The reading that the dataflow file declares; `None` where nothing could be checked.
    pub fn declared(&self) -> Option<&Reading> {
        self.readings.iter().find(|r| r.declared)
    }

    /// The reading that is clearly better than the declared one: the lowest FVU, the first of equals, when it is below
    /// [`CLEARLY_BELOW`] of the declared FVU, lower by at least [`CLEARLY_LOWER_BY`], and at most [`EXPLAINS`].
    pub fn better(&self) -> Option<&Reading> {
        let declared = self.declared()?.fvu?;
        let best = (self.readings.iter().filter_map(|r| Some((r, r.fvu?))))
            .reduce(|best, next| if next.1 < best.1 { next } else { best })?;
        let clearly = best.1 < CLEARLY_BELOW * declared && declared - best.1 >= CLEARLY_LOWER_BY;
        (clearly && best.1 <= EXPLAINS).then_some(best.0)
    }
}

/// Reads the first `tokens` counted tokens of the plan's corpus (to the end of their batch) and tries every SAE. One model
/// and one SAE are in memory at a time, with what the hookpoints held.
///
/// # Errors
/// Those of opening and reading corpus, models and SAEs, and of forward and encode.
pub fn diagnose(plan: &Plan, tokens: u64) -> Result<Vec<Diagnosis>> {
    let model = |k: usize, wanted: &[Hookpoint]| {
        crate::model::open_for(&plan.models[k].path, plan.models[k].random_weights, wanted)
    };
    let sae = |k: usize| plan.spaces[k].sae.as_ref().expect("raw spaces are left out").open().map(Arc::new);
    try_all(plan, tokens, &model, &sae)
}

/// The same over models and SAEs that are open already, as in the plan: `saes` one per space. One SAE is copied at a time.
///
/// # Errors
/// As [`diagnose`].
pub fn diagnose_open(
    plan: &Plan,
    models: &[Arc<dyn Model>],
    saes: &[Option<Arc<Sae>>],
    tokens: u64,
) -> Result<Vec<Diagnosis>> {
    let sae = |k: usize| Ok(saes[k].clone().expect("raw spaces are left out"));
    try_all(plan, tokens, &|k, _| Ok(models[k].clone()), &sae)
}

type OpenModel<'a> = &'a dyn Fn(usize, &[Hookpoint]) -> Result<Arc<dyn Model>>;
type OpenSae<'a> = &'a dyn Fn(usize) -> Result<Arc<Sae>>;

fn try_all(plan: &Plan, tokens: u64, open_model: OpenModel, open_sae: OpenSae) -> Result<Vec<Diagnosis>> {
    let mut options = plan.spec.corpus.clone();
    options.max_tokens = if options.max_tokens == 0 { tokens } else { tokens.min(options.max_tokens) };
    // a few long batches would read far more than was asked for
    let contexts = options.max_tokens.div_ceil(options.context_length as u64);
    options.batch_contexts = options.batch_contexts.min(usize::try_from(contexts).unwrap_or(usize::MAX)).max(1);
    let mut corpus = Corpus::open(options, plan.tokenizer())?;
    let mut batches = Vec::new();
    while let Some(batch) = corpus.next_batch()? {
        batches.push(batch);
    }
    let mut found = BTreeMap::new();
    for (k, planned) in plan.models.iter().enumerate() {
        let within = |e: Error| e.within(format!("model {:?}", planned.name));
        let wanted = wanted(plan, k);
        if wanted.is_empty() {
            continue;
        }
        let model = open_model(k, &wanted).map_err(within)?;
        let mut x: BTreeMap<Hookpoint, Vec<Matrix<f32>>> = BTreeMap::new();
        for batch in &batches {
            for read in crate::model::forward(model.as_ref(), batch, &wanted).map_err(within)? {
                x.entry(read.hookpoint).or_default().push(read.x);
            }
        }
        drop(model);
        for (s, space) in plan.spaces.iter().enumerate().filter(|(_, s)| s.model == k && !s.is_raw()) {
            let diagnosis = open_sae(s).and_then(|sae| one(plan, space, &sae, &x));
            found.insert(s, diagnosis.map_err(|e| e.within(format!("sae \"{}\"", space.site)))?);
        }
    }
    Ok(found.into_values().collect())
}

/// Every hookpoint that some SAE of model `k` is tried at, ascending.
fn wanted(plan: &Plan, k: usize) -> Vec<Hookpoint> {
    let spaces = plan.spaces.iter().filter(|s| s.model == k && !s.is_raw());
    let all: BTreeSet<Hookpoint> =
        spaces.flat_map(|s| places(plan, s)).flat_map(|(input, target)| [input, target]).collect();
    all.into_iter().collect()
}

/// Where an SAE is tried: what it reads, what it predicts.
fn places(plan: &Plan, space: &Space) -> Vec<(Hookpoint, Hookpoint)> {
    let (shape, sae) = (&plan.models[space.model].shape, &space.sae.as_ref().expect("raw spaces are left out").shape);
    let fits = |&target: &Hookpoint| shape.width(target).is_ok_and(|w| w == sae.d_out);
    let target = |input| if sae.transcoder { predicted(input, shape) } else { Some(input) };
    let inputs = neighbours(space.site.hookpoint, shape).into_iter();
    inputs.filter_map(|input| Some((input, target(input).filter(fits)?))).collect()
}

/// All readings of one SAE over what the hookpoints held, batch by batch.
fn one(plan: &Plan, space: &Space, sae: &Sae, x: &BTreeMap<Hookpoint, Vec<Matrix<f32>>>) -> Result<Diagnosis> {
    let places = places(plan, space);
    let mut readings = Vec::new();
    let mut n_tokens = 0;
    for declared in [true, false] {
        let other = if declared { None } else { sae.with_bias_subtracted(!sae.subtracts_bias()) };
        let Some(sae) = (if declared { Some(sae) } else { other.as_ref() }) else { continue };
        for &(input, target) in &places {
            let mut trial = Trial::new(sae);
            for (x, y) in x[&input].iter().zip(&x[&target]) {
                let latents = sae.encode(x, Encode::Sparse)?;
                trial.add(&latents, &sae.decode(&latents, x)?, y);
            }
            n_tokens = trial.n;
            readings.push(trial.reading(input, sae.subtracts_bias(), declared && input == space.site.hookpoint));
        }
    }
    // hookpoints ascending, at each the format's own reading first
    readings.sort_by_key(|r| places.iter().position(|p| p.0 == r.hookpoint));
    Ok(Diagnosis { site: space.site.clone(), n_tokens, readings })
}

/// One reading, being summed.
struct Trial {
    n: u64,
    /// Σ‖y − ŷ‖²
    residual: f64,
    /// Σy and Σy² of each column of what is predicted, less its first row: f64 keeps its digits where means are large.
    columns: Vec<Column>,
    entries: u64,
    fired: Vec<bool>,
}

#[derive(Clone, Copy)]
struct Column {
    first: f64,
    sum: f64,
    squares: f64,
}

impl Trial {
    fn new(sae: &Sae) -> Self {
        let columns = Vec::with_capacity(sae.shape().d_out);
        Trial { n: 0, residual: 0.0, columns, entries: 0, fired: vec![false; sae.shape().d_sae] }
    }

    fn reading(&self, hookpoint: Hookpoint, subtract_b_dec: bool, declared: bool) -> Reading {
        Reading {
            hookpoint,
            subtract_b_dec,
            declared,
            fvu: self.fvu(),
            l0: self.entries as f64 / self.n.max(1) as f64,
            dead_share: self.fired.iter().filter(|f| !**f).count() as f64 / self.fired.len().max(1) as f64,
        }
    }

    fn add(&mut self, latents: &LatentBatch, predicted: &Matrix<f32>, y: &Matrix<f32>) {
        self.entries += latents.latents.len() as u64;
        latents.latents.iter().for_each(|&l| self.fired[l as usize] = true);
        for (y, predicted) in y.rows().zip(predicted.rows()) {
            if self.n == 0 {
                let column = |&y: &f32| Column { first: f64::from(y), sum: 0.0, squares: 0.0 };
                self.columns.extend(y.iter().map(column));
            }
            self.n += 1;
            for ((column, &y), &predicted) in self.columns.iter_mut().zip(y).zip(predicted) {
                self.residual += (f64::from(y) - f64::from(predicted)).powi(2);
                let moved = f64::from(y) - column.first;
                column.sum += moved;
                column.squares += moved * moved;
            }
        }
    }

    fn fvu(&self) -> Option<f64> {
        let variance: f64 = self.columns.iter().map(|c| c.squares - c.sum * c.sum / self.n as f64).sum();
        (variance > 0.0).then(|| self.residual / variance)
    }
}

/// A hookpoint with the one a block before and the one a block after, as far as the model has them, in that order. Before
/// the first block's output stands what enters it.
fn neighbours(hookpoint: Hookpoint, shape: &ModelShape) -> Vec<Hookpoint> {
    let before = match hookpoint {
        Hookpoint::ResidPost(0) => Some(Hookpoint::ResidPre(0)),
        other => other.shifted(-1),
    };
    let after = match hookpoint {
        Hookpoint::Embed => Some(Hookpoint::ResidPost(0)),
        Hookpoint::ResidPre(l) if l + 1 == shape.n_layers => Some(Hookpoint::ResidPost(l)),
        other => other.shifted(1),
    };
    let width = shape.width(hookpoint).ok();
    [before, Some(hookpoint), after].into_iter().flatten().filter(|&h| shape.width(h).ok() == width).collect()
}

/// What a transcoder at `input` predicts; `None` where that is not known.
fn predicted(input: Hookpoint, shape: &ModelShape) -> Option<Hookpoint> {
    match input {
        Hookpoint::MlpIn(l) if shape.block.has_post_norms() => Some(Hookpoint::MlpOutNormed(l)),
        Hookpoint::MlpIn(l) => Some(Hookpoint::MlpOut(l)),
        _ => None,
    }
}
