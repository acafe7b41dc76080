//! Forward and encode: one batch in, what it gave out to every worker.

use crate::corpus::TokenView;
use crate::engine::message::EncodedBatch;
use crate::engine::status::{RunStatus, Stage};
use crate::error::Result;
use crate::model::{ActivationBatch, Model, forward, recycle};
use crate::moments::{CoMoment, CrossCoMoment, row_permutation};
use crate::plan::{Origin, Plan, RawPair, Tap};
use crate::sae::{LatentBatch, Pool, Sae};
use rayon::prelude::*;
use std::sync::Arc;

/// Everything heavy that a process loads once.
pub struct Loaded {
    /// By the index of the plan's models.
    pub models: Vec<Arc<dyn Model>>,
    /// By the index of the plan's spaces; `None` for a space of raw activations.
    pub saes: Vec<Option<Arc<Sae>>>,
}

impl Loaded {
    /// Opens what the plan names: of a model only the blocks up to the last hookpoint that is read, or tried by the doctor.
    ///
    /// # Errors
    /// Those of [`crate::model::open_for`] and [`Outline::open_saes`](crate::plan::Outline::open_saes).
    pub fn open(plan: &Plan) -> Result<Loaded> {
        let models = (plan.models().iter().enumerate())
            .map(|(k, m)| {
                crate::model::open_for(&m.path, m.random_weights, &plan.read_at(k))
                    .map_err(|e| e.within(format!("model {:?}", m.name)))
            })
            .collect::<Result<_>>()?;
        Ok(Loaded { models, saes: plan.open_saes()? })
    }

    /// SAEs that were tried at screening, and how many times as fast it was found to be.
    pub fn screening(&self, plan: &Plan) -> Vec<(String, f64)> {
        let found = |(space, sae): (&crate::plan::Space, &Option<Arc<Sae>>)| {
            Some((space.site.to_string(), sae.as_ref()?.screening()?))
        };
        plan.spaces().iter().zip(&self.saes).filter_map(found).collect()
    }

    /// Only what publishing needs: no model, and SAEs where their decoder rows are scored.
    ///
    /// # Errors
    /// Those of [`Outline::open_saes`](crate::plan::Outline::open_saes).
    pub fn for_publishing(plan: &Plan) -> Result<Loaded> {
        let wanted = !plan.spec().estimate.measures.is_empty();
        let saes = if wanted { plan.open_saes()? } else { vec![None; plan.spaces().len()] };
        Ok(Loaded { models: Vec::new(), saes })
    }
}

/// What a batch gives, co-moments of raw activations only `with_moments`: a pure function of its tokens and the plan.
///
/// # Errors
/// Those of the forward and the encode, which name the place of a non-finite value.
pub fn encode_batch(
    plan: &Plan,
    loaded: &Loaded,
    tokens: &Arc<crate::corpus::TokenBatch>,
    shared: &RunStatus,
    with_moments: bool,
) -> Result<EncodedBatch> {
    let activations: Vec<Vec<ActivationBatch>> = shared.timed(Stage::Forward, || {
        (plan.models().iter().zip(&loaded.models))
            .map(|(planned, model)| {
                forward(model.as_ref(), tokens, &tokens.views[planned.view], &planned.hookpoints)
                    .map_err(|e| e.within(format!("model {:?}", planned.name)))
            })
            .collect::<Result<_>>()
    })?;
    let held = |tap: &Tap| &activations[tap.model][tap.slot].x;
    let row_of: Vec<Vec<u32>> = tokens.views.iter().map(TokenView::rows_of_tokens).collect();
    let latents = shared.timed(Stage::Encode, || {
        (plan.spaces().iter().zip(&loaded.saes))
            .map(|(space, sae)| {
                let (tap, of_tokens) = match &space.origin {
                    Origin::Sae { tap, sae: planned } => {
                        let sae = sae.as_ref().expect("every SAE of the plan is open");
                        let encoded = sae.encode(held(tap), planned.encode);
                        (tap, encoded.map_err(|e| e.within(format!("sae \"{}\"", space.site)))?)
                    }
                    Origin::Raw { tap } => (tap, LatentBatch::of_dimensions(held(tap))),
                };
                Ok(of_tokens.pooled(&row_of[plan.models()[tap.model].view], tokens.n_rows(), Pool::Max))
            })
            .collect::<Result<_>>()
    })?;
    let (moments, cross_moments) = shared.timed(Stage::Moments, || {
        let raw = |k: usize| held(&plan.raw_sites()[k].tap);
        if !with_moments {
            return (Vec::new(), Vec::new());
        }
        let own = if plan.scores_activations() { plan.raw_sites().len() } else { 0 };
        let moments: Vec<CoMoment> = (0..own).into_par_iter().map(|k| CoMoment::of_batch(raw(k))).collect();
        let runs = u64::from(plan.activation_nulls());
        let cross: Vec<CrossCoMoment> = (plan.raw_pairs().par_iter())
            .map(|p| {
                let &RawPair { source: a, target: b, .. } = p;
                let stream = format!("activations {} {}", plan.raw_sites()[a].site, plan.raw_sites()[b].site);
                let n = raw(a).n_rows();
                let mut permutations: Vec<Vec<usize>> =
                    (0..runs).map(|run| row_permutation(plan.spec().seed, &stream, tokens.index, run, n)).collect();
                // behind those of the scores, where the pair's matches are made of it
                if plan.is_raw(plan.pairs()[p.pair]) {
                    permutations.extend(plan.nulls().into_iter().map(|null| null.order(n)));
                }
                CrossCoMoment::of_batch(raw(a), raw(b), &permutations)
            })
            .collect();
        (moments, cross)
    });
    activations.into_iter().for_each(recycle);
    Ok(EncodedBatch { tokens: tokens.clone(), latents, moments, cross_moments })
}
