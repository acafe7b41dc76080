//! Forward and encode: one batch in, what it gave out to every worker.

use crate::corpus::TokenView;
use crate::engine::message::EncodedBatch;
use crate::engine::status::{RunStatus, Stage};
use crate::error::Result;
use crate::ids::BatchIndex;
use crate::linalg::Matrix;
use crate::model::{ActivationBatch, Held, Network, SparseRows, recycle};
use crate::moments::{CrossCoMoment, FoldCross, FoldMoments, FoldRows, PlaceRows, SiteMoments, row_permutation};
use crate::plan::{Origin, Plan, RawPair, Tap};
use crate::sae::{LatentBatch, Sae};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything heavy that a process loads once.
pub struct Loaded {
    /// By the index of the plan's models.
    pub models: Vec<Network>,
    /// By the index of the plan's spaces; `None` for a space of raw activations.
    pub saes: Vec<Option<Arc<Sae>>>,
}

impl Loaded {
    /// Opens what the plan names: of a model only the blocks up to the last hookpoint that is read, or tried by the doctor.
    ///
    /// # Errors
    /// Those of [`PlannedModel::open`](crate::plan::PlannedModel::open) and [`Outline::open_encoders`](crate::plan::Outline::open_encoders).
    pub fn open(plan: &Plan) -> Result<Loaded> {
        let models = (plan.models().iter().enumerate())
            .map(|(k, m)| m.open(&plan.read_at(k)).map_err(|e| e.within(format!("model {:?}", m.name))))
            .collect::<Result<_>>()?;
        Ok(Loaded { models, saes: plan.open_encoders()? })
    }

    /// SAEs that were tried at screening, and how many times as fast it was found to be.
    pub fn screening(&self, plan: &Plan) -> Vec<(String, f64)> {
        let found = |(space, sae): (&crate::plan::Space, &Option<Arc<Sae>>)| {
            Some((space.site.to_string(), sae.as_ref()?.screening()?))
        };
        plan.spaces().iter().zip(&self.saes).filter_map(found).collect()
    }

    /// Only what publishing needs: no model, and SAEs where their rows are scored or compared.
    ///
    /// # Errors
    /// Those of [`Outline::open_saes`](crate::plan::Outline::open_saes).
    pub fn for_publishing(plan: &Plan) -> Result<Loaded> {
        let cosines = plan.pairs().iter().any(|p| plan.has_decoder_cosines(*p) || plan.has_encoder_cosines(*p));
        let wanted = !plan.spec().estimate.measures.is_empty()
            || cosines
            || !plan.readouts().is_empty()
            || !plan.stitches().is_empty();
        let saes = if wanted { plan.open_saes()? } else { vec![None; plan.spaces().len()] };
        Ok(Loaded { models: Vec::new(), saes })
    }
}

/// What a batch gives, co-moments of raw activations only `with_moments`: a pure function of its tokens and the plan. `turn` says
/// which of several devices computes it.
///
/// # Errors
/// Those of the forward, of a feed and of the encode, which name the place of a non-finite value.
pub fn encode_batch(
    plan: &Plan,
    loaded: &Loaded,
    tokens: &Arc<crate::corpus::TokenBatch>,
    shared: &RunStatus,
    with_moments: bool,
    turn: usize,
) -> Result<EncodedBatch> {
    let mut read: Vec<Held> = shared.timed(Stage::Forward, || {
        (plan.models().iter().zip(&loaded.models).enumerate())
            .map(|(k, (planned, model))| {
                // rows stay where they were made until their moments are made
                let keep = if with_moments { plan.stays_on_device(k) } else { Vec::new() };
                (model.read(turn, tokens, &tokens.views[planned.view], &planned.hookpoints, &keep))
                    .map_err(|e| e.within(format!("model {:?}", planned.name)))
            })
            .collect::<Result<_>>()
    })?;
    let mut fed: Vec<Vec<SparseRows>> = read.iter_mut().map(|held| std::mem::take(&mut held.latents)).collect();
    let activations: Vec<Vec<ActivationBatch>> = read.into_iter().map(|held| held.activations).collect();
    let held = |tap: &Tap| &activations[tap.model][tap.slot].x;
    let row_of: Vec<Vec<u32>> = tokens.views.iter().map(TokenView::rows_of_tokens).collect();
    let (pool, n_rows) = (plan.spec().compare.pools(), tokens.n_rows());
    let row_of_tap = |tap: &Tap| &row_of[plan.models()[tap.model].view];
    // activations as they are, by rows; as they were held where each token is a row
    let raw_taps: BTreeSet<(usize, usize)> = (plan.spaces().iter())
        .filter(|space| space.is_raw())
        .filter_map(|space| space.tap())
        .chain(plan.raw_sites().iter().chain(plan.readout_sites()).map(|site| site.tap))
        .map(|tap| (tap.model, tap.slot))
        .collect();
    let by_rows: BTreeMap<(usize, usize), Matrix<f32>> = (raw_taps.into_par_iter())
        .filter(|(model, _)| !is_each_token(&row_of[plan.models()[*model].view], n_rows))
        .map(|(model, slot)| {
            let of_tokens = &row_of[plan.models()[model].view];
            ((model, slot), pool.activations.rows(&activations[model][slot].x, of_tokens, n_rows))
        })
        .collect();
    let by_row = |tap: &Tap| by_rows.get(&(tap.model, tap.slot)).unwrap_or_else(|| held(tap));
    let latents = shared.timed(Stage::Encode, || {
        (plan.spaces().iter().zip(&loaded.saes))
            .map(|(space, sae)| match &space.origin {
                Origin::Sae { tap, sae: planned } => {
                    let sae = sae.as_ref().expect("every SAE of the plan is open");
                    let encoded = sae.encode_in_turn(turn, held(tap), planned.encode);
                    let of_tokens = encoded.map_err(|e| e.within(format!("sae \"{}\"", space.site)))?;
                    Ok(of_tokens.pooled(row_of_tap(tap), n_rows, pool.latents))
                }
                Origin::Fed { model, nth, .. } => {
                    let SparseRows { row_starts, latents, values } = std::mem::take(&mut fed[*model][*nth]);
                    let of_tokens = LatentBatch { d_sae: space.width, row_starts, latents, values, peaks: Vec::new() };
                    Ok(of_tokens.pooled(&row_of[plan.models()[*model].view], n_rows, pool.latents))
                }
                Origin::Raw { tap } => Ok(LatentBatch::of_dimensions(by_row(tap))),
            })
            .collect::<Result<_>>()
    })?;
    let there = |tap: &Tap| activations[tap.model][tap.slot].there.as_ref();
    // pooled rows are this machine's alone
    let rows_of = |tap: &Tap| match by_rows.get(&(tap.model, tap.slot)) {
        Some(here) => PlaceRows { here, there: None },
        None => PlaceRows { here: held(tap), there: there(tap) },
    };
    let (moments, cross_moments) = match with_moments {
        true => {
            shared.timed(Stage::Moments, || raw_moments(plan, tokens.index, |k| rows_of(&plan.raw_sites()[k].tap)))?
        }
        false => (Vec::new(), Vec::new()),
    };
    let (raw, stitches) = shared.timed(Stage::Moments, || {
        if !with_moments || plan.readout_sites().is_empty() {
            return (Vec::new(), Vec::new());
        }
        let folds = FoldRows::of(tokens);
        let raw = (plan.readout_sites().par_iter().enumerate())
            .map(|(k, site)| {
                let x = by_row(&site.tap);
                (plan.is_read(k).then(|| x.clone()), FoldMoments::of_batch(x, &folds))
            })
            .collect();
        let place = |k: usize| by_row(&plan.readout_sites()[k].tap);
        let stitches = (plan.stitches().par_iter())
            .map(|stitch| {
                let (.., null) = plan.stitch_shape(stitch);
                FoldCross::of_batch(place(stitch.source), place(stitch.target), &folds, null)
            })
            .collect();
        (raw, stitches)
    });
    activations.into_iter().for_each(recycle);
    Ok(EncodedBatch { tokens: tokens.clone(), latents, moments, cross_moments, raw, stitches })
}

/// Moments of raw activations that are compared, of their places and of pairs of them. `rows` gives those of a place.
///
/// # Errors
/// `Machine` when a device fails.
fn raw_moments<'a>(
    plan: &Plan,
    batch: BatchIndex,
    rows: impl Fn(usize) -> PlaceRows<'a> + Sync,
) -> Result<(Vec<SiteMoments>, Vec<CrossCoMoment>)> {
    let own = if plan.scores_activations() { plan.raw_sites().len() } else { 0 };
    let moments = (0..own).into_par_iter().map(|k| SiteMoments::of_place(rows(k))).collect::<Result<_>>()?;
    let runs = u64::from(plan.activation_nulls());
    // the same for all pairs, so that the best of several pairs has a null: the best of the same permutation
    let n = plan.raw_sites().first().map_or(0, |_| rows(0).here.n_rows());
    let orders: Vec<Vec<usize>> =
        (0..runs).map(|run| row_permutation(plan.spec().seed, "activations", batch, run, n)).collect();
    let cross = |p: &RawPair| {
        let mut permutations = orders.clone();
        // after the null versions of the scores, when the pair's matches use the co-moment
        if plan.is_raw(plan.pairs()[p.pair]) {
            permutations.extend(plan.batch_nulls().into_iter().map(|null| null.order(n)));
        }
        let [x, y] = [p.source, p.target].map(|k| match plan.is_on_one_device(p) {
            true => rows(k),
            false => PlaceRows { there: None, ..rows(k) },
        });
        CrossCoMoment::of_places(x, y, &permutations)
    };
    Ok((moments, plan.raw_pairs().par_iter().map(cross).collect::<Result<_>>()?))
}

/// Whether each token is a row of its own.
fn is_each_token(row_of: &[u32], n_rows: usize) -> bool {
    row_of.len() == n_rows && (0u32..).zip(row_of).all(|(token, row)| token == *row)
}
