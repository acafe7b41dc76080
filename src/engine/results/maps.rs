//! How do the activations of each pair's places map into each other, and how well do matched decoder rows agree under
//! the map? Saved sums in, rows of `maps` and cosines of matches out; made at a run's end, when the sums are on disk.

use crate::engine::results::agreement::OfPair;
use crate::engine::results::judged::Results;
use crate::engine::results::saved_tiles::SavedTiles;
use crate::error::Result;
use crate::halt::Halt;
use crate::matching::Direction;
use crate::moments::{FoldCross, FoldMoments, State};
use crate::plan::{Plan, PlannedStitch};
use crate::sae::Sae;
use crate::similarity::{MapKind, PairMaps, wide};
use crate::table::{MapNumbers, MapRow};
use std::sync::Arc;

/// Reads the sums of a stitch back and fits its maps.
///
/// # Errors
/// `State` for sums that are not there or do not fit the plan.
pub fn fitted(halt: &Halt, plan: &Plan, k: usize, saved: &SavedTiles<'_>) -> Result<PairMaps> {
    let stitch = plan.stitches()[k];
    let (d_source, d_target, null) = plan.stitch_shape(&stitch);
    let mut cross = FoldCross::new(d_source, d_target, null);
    cross.load(&mut saved.file(&plan.stitch_name(k))?, 0)?;
    let moments = |site: usize| {
        let mut moments = FoldMoments::new(plan.readout_sites()[site].width);
        moments.load(&mut saved.file(&plan.readout_moments_name(site))?, 0)?;
        Ok(moments)
    };
    let sides = [moments(stitch.source)?, moments(stitch.target)?];
    PairMaps::of(halt, [&sides[0], &sides[1]], &cross, plan.spec().estimate.map)
}

impl Results {
    /// Fits the maps of every pair: rows of `maps`, and figures of matches; `results` must be judged.
    ///
    /// # Errors
    /// `State` for sums that are not there or do not fit the plan.
    pub(super) fn mapped(&self, saved: &SavedTiles<'_>) -> Result<(Vec<MapRow>, Vec<OfPair>)> {
        let (mut rows, mut out) = (Vec::new(), Vec::new());
        for (k, stitch) in self.plan.stitches().iter().enumerate() {
            self.work.at("maps", k)?;
            let maps = fitted(self.work.halt(), &self.plan, k, saved)?;
            rows.extend(self.map_rows(stitch, &maps));
            let pair = self.plan.pairs()[stitch.pair];
            let sides =
                [(pair.source, stitch.source), (pair.target, stitch.target)].map(|(s, k)| self.directions(s, k));
            let mut of_pair = OfPair::default();
            for towards in [0, 1] {
                let (Some(map), Some(own), Some(other)) = (&maps.maps[towards], sides[towards], sides[1 - towards])
                else {
                    continue;
                };
                of_pair.fill(
                    self.work.halt(),
                    towards,
                    &self.views[stitch.pair][towards],
                    |some| map.directions(&wide(own.decoder_rows(), some)),
                    |_, mapped, partner| map.cosine(mapped, other.decoder_rows().row(partner as usize)),
                )?;
            }
            out.push(of_pair);
        }
        Ok((rows, out))
    }

    /// The SAE of a space where its decoder rows are directions of the activations of place `site` of the readout's.
    fn directions(&self, space: usize, site: usize) -> Option<&Sae> {
        let width = self.plan.readout_sites()[site].width;
        let is_of_place = |sae: &&Sae| !sae.shape().transcoder && !sae.normalises() && sae.shape().d_out == width;
        self.saes[space].as_deref().filter(is_of_place)
    }

    fn map_rows(&self, stitch: &PlannedStitch, maps: &PairMaps) -> Vec<MapRow> {
        let (pair, fit) = (Arc::new(self.table_pair(stitch.pair)), self.plan.spec().estimate.map);
        let kinds = [(MapKind::LeastSquares, Some(maps.least_squares)), (MapKind::Orthogonal, maps.orthogonal)];
        let mut out = Vec::new();
        for (towards, direction) in [Direction::Forward, Direction::Backward].into_iter().enumerate() {
            for (kind, scores) in kinds {
                let Some(score) = scores.map(|scores| scores[towards]) else { continue };
                out.push(MapRow {
                    pair: pair.clone(),
                    direction,
                    kind,
                    units: fit.units,
                    ridge: if kind == MapKind::LeastSquares { fit.ridge } else { 0.0 },
                    tokens: maps.n_rows,
                    score: MapNumbers { r_squared: score.r_squared, null: score.null },
                });
            }
        }
        out
    }
}
