//! Is each SAE read at the place, and in the way, it was trained for?
//!
//! The first tokens of the corpus go through every model once; each SAE reconstructs its hookpoint, the one a block
//! before and the one a block after, with and without its decoder bias taken from the input. A reading is measured by its
//! fraction of variance unexplained, `Σ‖y − ŷ‖² / Σ‖y − ȳ‖²` with ȳ the column means of what is predicted, in f64.
//! Thresholds stay as the file has them. The tokens decide the answer only in so far as they are few.

use crate::corpus::Corpus;
use crate::error::Result;
use crate::ids::{Hookpoint, Site};
use crate::linalg::Matrix;
use crate::model::ModelShape;
use crate::plan::{Plan, Space};
use crate::sae::{Encode, LatentBatch, Sae};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Another reading is clearly better when its FVU is below this part of the declared one's …
pub const CLEARLY_BELOW: f64 = 0.8;
/// … and lower by at least this much, so that two readings that both explain nearly everything are not told apart.
pub const CLEARLY_LOWER_BY: f64 = 0.02;

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
    /// [`CLEARLY_BELOW`] of the declared FVU and lower by at least [`CLEARLY_LOWER_BY`].
    pub fn better(&self) -> Option<&Reading> {
        let declared = self.declared()?.fvu?;
        let best = (self.readings.iter().filter_map(|r| Some((r, r.fvu?))))
            .reduce(|best, next| if next.1 < best.1 { next } else { best })?;
        (best.1 < CLEARLY_BELOW * declared && declared - best.1 >= CLEARLY_LOWER_BY).then_some(best.0)
    }
}

/// Reads the first `tokens` counted tokens of the plan's corpus (to the end of their batch) and tries every SAE.
///
/// # Errors
/// Those of opening and reading corpus, models and SAEs, and of forward and encode.
pub fn diagnose(plan: &Plan, tokens: u64) -> Result<Vec<Diagnosis>> {
    let mut options = plan.spec.corpus.clone();
    options.max_tokens = if options.max_tokens == 0 { tokens } else { tokens.min(options.max_tokens) };
    // a few long batches would read far more than was asked for
    let contexts = options.max_tokens.div_ceil(options.context_length as u64);
    options.batch_contexts = options.batch_contexts.min(usize::try_from(contexts).unwrap_or(usize::MAX)).max(1);
    let mut corpus = Corpus::open(options, plan.tokenizer.clone())?;
    let mut patients = Vec::new();
    for space in plan.spaces.iter().filter(|s| !s.is_raw()) {
        patients.push(Patient::open(plan, space).map_err(|e| e.within(format!("sae \"{}\"", space.site)))?);
    }
    let mut wanted: Vec<BTreeSet<Hookpoint>> = vec![BTreeSet::new(); plan.models.len()];
    for patient in &patients {
        wanted[patient.model].extend(patient.trials.iter().flat_map(|t| [t.input, t.target]));
    }
    let wanted: Vec<Vec<Hookpoint>> = wanted.into_iter().map(|w| w.into_iter().collect()).collect();
    let mut models = Vec::new();
    for (planned, wanted) in plan.models.iter().zip(&wanted) {
        let within = |e: crate::error::Error| e.within(format!("model {:?}", planned.name));
        models.push(crate::model::open_for(&planned.path, planned.random_weights, wanted).map_err(within)?);
    }
    while let Some(batch) = corpus.next_batch()? {
        for (k, model) in models.iter().enumerate().filter(|(k, _)| !wanted[*k].is_empty()) {
            let x: BTreeMap<Hookpoint, Matrix<f32>> = crate::model::forward(model.as_ref(), &batch, &wanted[k])
                .map_err(|e| e.within(format!("model {:?}", plan.models[k].name)))?
                .into_iter()
                .map(|a| (a.hookpoint, a.x))
                .collect();
            for patient in patients.iter_mut().filter(|p| p.model == k) {
                patient.read(&x).map_err(|e| e.within(format!("sae \"{}\"", patient.site)))?;
            }
        }
    }
    Ok(patients.into_iter().map(Patient::diagnosis).collect())
}

/// One SAE and what is tried with it.
struct Patient {
    site: Site,
    model: usize,
    /// Both ways of treating the bias, the declared one first; one for a transcoder.
    ways: Vec<Sae>,
    trials: Vec<Trial>,
}

/// One reading, being summed.
struct Trial {
    way: usize,
    input: Hookpoint,
    target: Hookpoint,
    declared: bool,
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

impl Patient {
    fn open(plan: &Plan, space: &Space) -> Result<Patient> {
        let planned = space.sae.as_ref().expect("raw spaces are left out");
        let declared = planned.open()?;
        let other = declared.with_bias_subtracted(!declared.subtracts_bias());
        let (shape, d_out) = (&plan.models[space.model].shape, declared.shape().d_out);
        let transcoder = declared.shape().transcoder;
        let ways: Vec<Sae> = std::iter::once(declared).chain(other).collect();
        let mut trials = Vec::new();
        for input in neighbours(space.site.hookpoint, shape) {
            let target = if transcoder { predicted(input, shape) } else { Some(input) };
            let Some(target) = target.filter(|&t| shape.width(t).is_ok_and(|w| w == d_out)) else { continue };
            for (way, sae) in ways.iter().enumerate() {
                let declared = way == 0 && input == space.site.hookpoint;
                let fired = vec![false; sae.shape().d_sae];
                let columns = Vec::with_capacity(d_out);
                trials.push(Trial { way, input, target, declared, n: 0, residual: 0.0, columns, entries: 0, fired });
            }
        }
        Ok(Patient { site: space.site.clone(), model: space.model, ways, trials })
    }

    fn read(&mut self, x: &BTreeMap<Hookpoint, Matrix<f32>>) -> Result<()> {
        for trial in &mut self.trials {
            let sae = &self.ways[trial.way];
            let input = &x[&trial.input];
            let latents = sae.encode(input, Encode::Sparse)?;
            trial.add(&latents, &sae.decode(&latents, input)?, &x[&trial.target]);
        }
        Ok(())
    }

    fn diagnosis(self) -> Diagnosis {
        let n_tokens = self.trials.first().map_or(0, |t| t.n);
        let readings = (self.trials.iter())
            .map(|t| Reading {
                hookpoint: t.input,
                subtract_b_dec: self.ways[t.way].subtracts_bias(),
                declared: t.declared,
                fvu: t.fvu(),
                l0: t.entries as f64 / t.n.max(1) as f64,
                dead_share: t.fired.iter().filter(|f| !**f).count() as f64 / t.fired.len().max(1) as f64,
            })
            .collect();
        Diagnosis { site: self.site, n_tokens, readings }
    }
}

impl Trial {
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
        Hookpoint::MlpIn(l) if shape.has_post_norms => Some(Hookpoint::MlpOutNormed(l)),
        Hookpoint::MlpIn(l) => Some(Hookpoint::MlpOut(l)),
        _ => None,
    }
}
