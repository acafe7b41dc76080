//! Is each SAE read at the place, and in the way, it was trained for?
//!
//! The first tokens of the corpus go through every model once; each SAE reconstructs its hookpoint as the dataflow file has it, and
//! then with one thing changed at a time: the hookpoint a block before and after, the normed twin of the place, the decoder bias
//! taken from the input or not, the rows centred or not, another scale. Each configuration is measured by its fraction of variance
//! unexplained, `Σ‖y − ŷ‖² / Σ‖y − ȳ‖²` in f64, where ȳ is the column mean of the target. Thresholds are not changed. The choice of
//! tokens matters only because they are few.
//!
//! Three scales are tried: the registry's, `√d / mean ‖x‖` (SAELens' estimate), and, when the declared configuration explains
//! little, the best one of a search. A transcoder's input and output have the same scale.

mod trial;
mod verdict;

pub use verdict::{CLEARLY_BELOW, CLEARLY_LOWER_BY, Configuration, Diagnosis, EXPLAINS, Verdict, rounded};

use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use crate::model::Network;
use crate::plan::{Outline, PlannedSae, Space, is_written};
use crate::sae::Sae;
use std::collections::BTreeMap;
use std::sync::Arc;
use trial::{Trial, estimated_scale, searched_scale};

/// Another scale is tried when it differs from the declared one by at least this share.
const OTHER_SCALE: f64 = 0.1;

/// Reads the first `tokens` counted tokens of the plan's corpus (to the end of their batch) and tries every SAE. One model
/// and one SAE are in memory at a time, with what the hookpoints held.
///
/// # Errors
/// Those of opening and reading corpus, models and SAEs, and of forward and encode.
pub fn diagnose(plan: &Outline, tokens: u64) -> Result<Vec<Diagnosis>> {
    let model = |k: usize, wanted: &[Hookpoint]| plan.models()[k].open(wanted);
    let sae = |k: usize| plan.spaces()[k].sae().expect("raw spaces are left out").open().map(Arc::new);
    try_all(plan, tokens, &model, &sae)
}

/// The same over models and SAEs that are open already, as in the plan: `saes` one per space. One SAE is copied at a time.
///
/// # Errors
/// As [`diagnose`].
pub fn diagnose_open(
    plan: &Outline,
    models: &[Network],
    saes: &[Option<Arc<Sae>>],
    tokens: u64,
) -> Result<Vec<Diagnosis>> {
    let sae = |k: usize| Ok(saes[k].clone().expect("raw spaces are left out"));
    try_all(plan, tokens, &|k, _| Ok(models[k].clone()), &sae)
}

type OpenModel<'a> = &'a dyn Fn(usize, &[Hookpoint]) -> Result<Network>;
type OpenSae<'a> = &'a dyn Fn(usize) -> Result<Arc<Sae>>;
/// What each hookpoint held, batch by batch.
type Held = BTreeMap<Hookpoint, Vec<Matrix<f32>>>;

fn try_all(plan: &Outline, tokens: u64, open_model: OpenModel, open_sae: OpenSae) -> Result<Vec<Diagnosis>> {
    let mut options = plan.spec().corpus.clone();
    // an SAE is tried on tokens, whatever a row is
    options.rows = options.rows.of_tokens();
    options.max_tokens = if options.max_tokens == 0 { tokens } else { tokens.min(options.max_tokens) };
    // a few long batches would read far more than was asked for
    let contexts = options.max_tokens.div_ceil(options.context_length as u64);
    options.batch_contexts = options.batch_contexts.min(usize::try_from(contexts).unwrap_or(usize::MAX)).max(1);
    let mut corpus = plan.open_corpus(options)?;
    let mut batches = Vec::new();
    while let Some(batch) = corpus.next_batch()? {
        batches.push(batch);
    }
    let mut found = BTreeMap::new();
    for (k, planned) in plan.models().iter().enumerate() {
        let within = |e: Error| e.within(format!("model {:?}", planned.name));
        let wanted = plan.tried(k);
        if wanted.is_empty() {
            continue;
        }
        let model = open_model(k, &wanted).map_err(within)?;
        let mut held = Held::new();
        for batch in &batches {
            let view = &batch.views[planned.view];
            for read in model.read(0, batch, view, &wanted, &[]).map_err(within)?.activations {
                held.entry(read.hookpoint).or_default().push(read.x);
            }
        }
        drop(model);
        for (s, space) in plan.spaces().iter().enumerate().filter(|(_, s)| s.model() == k && s.sae().is_some()) {
            let diagnosis = open_sae(s).and_then(|sae| one(plan, space, &sae, &held));
            found.insert(s, diagnosis.map_err(|e| e.within(format!("sae \"{}\"", space.site)))?);
        }
    }
    Ok(found.into_values().collect())
}

fn planned(space: &Space) -> &PlannedSae {
    space.sae().expect("raw spaces are left out")
}

/// All readings of one SAE over what the hookpoints held.
fn one(plan: &Outline, space: &Space, sae: &Sae, held: &Held) -> Result<Diagnosis> {
    let (model, planned) = (&plan.models()[space.model()], planned(space));
    let contradictions =
        plan.contradictions().iter().filter(|(site, _)| *site == space.site).map(|(_, what)| what.clone());
    let mut diagnosis = Diagnosis {
        site: space.site.clone(),
        n_tokens: 0,
        control: model.random_weights.is_some() || planned.random.is_some() || plan.spec().corpus.shuffle.is_some(),
        random: planned.random.is_some(),
        any_fvu: planned.any_fvu,
        contradictions: contradictions.collect(),
        readings: Vec::new(),
    };
    let places = plan.places(space);
    let Some(&(input, target)) = places.first() else { return Ok(diagnosis) };
    let own = planned.scale();
    let declared = Configuration {
        hookpoint: input,
        subtract_b_dec: sae.subtracts_bias(),
        scale: own,
        center: planned.reading.center,
        declared: true,
        fvu: None,
        l0: 0.0,
        dead_share: 0.0,
    };
    let (x, y) = (&held[&input], &held[&target]);
    let trial = Trial::over(sae, 1.0, x, y)?;
    diagnosis.n_tokens = trial.n();
    let declared = trial.reading(declared);
    let changed = Configuration { declared: false, ..declared.clone() };
    let fvu = declared.fvu;
    diagnosis.readings.push(declared);

    if diagnosis.random {
        // nothing was learned that another reading could fit better
        return Ok(diagnosis);
    }
    for &(hookpoint, target) in &places[1..] {
        let trial = Trial::over(sae, 1.0, &held[&hookpoint], &held[&target])?;
        diagnosis.readings.push(trial.reading(Configuration { hookpoint, ..changed.clone() }));
    }
    let subtract_b_dec = !changed.subtract_b_dec;
    if let Some(other) = sae.with_bias_subtracted(subtract_b_dec) {
        let trial = Trial::over(&other, 1.0, x, y)?;
        diagnosis.readings.push(trial.reading(Configuration { subtract_b_dec, ..changed.clone() }));
    }
    if model.shape.layer_norm && is_written(input) && !sae.takes_mean_off() || changed.center {
        let center = !changed.center;
        let trial = Trial::over(&sae.centered(center), 1.0, x, y)?;
        diagnosis.readings.push(trial.reading(Configuration { center, ..changed.clone() }));
    }
    if !sae.normalises() {
        let mut scales = vec![planned.registered_scale, estimated_scale(x, changed.center), Some(1.0)];
        if fvu.is_some_and(|f| f > EXPLAINS) && !diagnosis.control {
            scales.push(searched_scale(sae, x, y).map(|by| by * own));
        }
        let mut tried = vec![own];
        for scale in scales.into_iter().flatten() {
            if tried.iter().all(|t| (scale / t - 1.0).abs() >= OTHER_SCALE) {
                tried.push(scale);
                // what overflows is no reading
                if let Ok(trial) = Trial::over(sae, scale / own, x, y) {
                    diagnosis.readings.push(trial.reading(Configuration { scale, ..changed.clone() }));
                }
            }
        }
    }
    Ok(diagnosis)
}
