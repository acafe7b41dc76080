//! What can other tools take from a run? The transferred directions of its latents and the maps between places, from saved sums; nothing is streamed.

use crate::engine::results::{ReadSpace, SavedTiles, fitted};
use crate::error::Result;
use crate::halt::Halt;
use crate::ids::Site;
use crate::linalg::Matrix;
use crate::plan::Plan;
use crate::similarity::PairMaps;
use crate::store::{Manifest, RunDir};

/// The directions of a space's latents in another place's activations.
#[derive(Clone, Debug)]
pub struct Transferred {
    /// Where the latents live.
    pub source: Site,
    /// Whose activations the directions are of.
    pub target: Site,
    /// Latents that vary, ascending.
    pub latents: Vec<u32>,
    /// Change of the activations per unit of each, `[n_latents, width]`.
    pub directions: Matrix<f32>,
    /// Mean of the activations, `[width]`.
    pub mean: Vec<f32>,
}

/// The directions of every readout of a plan, in order; one without two halves of documents has none.
///
/// # Errors
/// `State` for sums that are not there or do not fit the plan.
pub fn transferred(plan: &Plan, run: &RunDir, manifest: &Manifest) -> Result<Vec<Transferred>> {
    let saved = SavedTiles::of_manifest(run, plan, manifest);
    let mut out = Vec::new();
    for (k, planned) in plan.readouts().iter().enumerate() {
        let Some(read) = ReadSpace::of_saved(&Halt::NEVER, plan, k, &saved)? else { continue };
        let target = &plan.readout_sites()[planned.site];
        let (mut latents, mut data) = (Vec::new(), Vec::new());
        for (latent, found) in (0u32..).zip(&read.latents) {
            if let Some(direction) = &found.direction {
                latents.push(latent);
                data.extend(direction.iter().map(|&v| v as f32));
            }
        }
        out.push(Transferred {
            source: plan.spaces()[planned.space].site.clone(),
            target: target.site.clone(),
            directions: Matrix::from_vec(latents.len(), target.width, data),
            latents,
            mean: read.mean.iter().map(|&v| v as f32).collect(),
        });
    }
    Ok(out)
}

/// The maps between the two places of a pair.
#[derive(Clone, Debug)]
pub struct Stitched {
    /// Where forward maps begin.
    pub source: Site,
    /// Where they end.
    pub target: Site,
    /// Forward and backward.
    pub maps: PairMaps,
}

/// The maps of every pair of a plan, in order.
///
/// # Errors
/// `State` for sums that are not there or do not fit the plan.
pub fn stitched(plan: &Plan, run: &RunDir, manifest: &Manifest) -> Result<Vec<Stitched>> {
    let saved = SavedTiles::of_manifest(run, plan, manifest);
    let of = |k: usize| {
        let (source, target) = plan.pair_sites(plan.stitches()[k].pair);
        Ok(Stitched { source: source.clone(), target: target.clone(), maps: fitted(&Halt::NEVER, plan, k, &saved)? })
    };
    (0..plan.stitches().len()).map(of).collect()
}
