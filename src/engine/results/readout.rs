//! What can be read of each latent out of the other side's activations? Saved sums in, rows of `readout` out; made at a run's end, when the sums
//! are on disk.

use crate::engine::message::Spaces;
use crate::engine::results::agreement::others_partners;
use crate::engine::results::judged::{Results, View};
use crate::engine::results::saved_tiles::SavedTiles;
use crate::engine::results::strong::Strong;
use crate::error::Result;
use crate::halt::Halt;
use crate::matching::{Direction, significance};
use crate::moments::{FOLDS, FoldMoments, LatentReadout, ReadoutSums, State};
use crate::plan::Plan;
use crate::sae::Sae;
use crate::similarity::{LatentHalf, RIDGE, Readout, direction, latent_scaling};
use crate::table::{ReadoutNumbers, ReadoutRow, Verdict};
use rayon::prelude::*;
use std::sync::Arc;

/// Latents that are solved for together.
const AT_ONCE: usize = 64;

/// What is read of one latent.
#[derive(Clone, Debug, Default)]
pub struct ReadLatent {
    /// Cross-validated R².
    pub r_squared: Option<f64>,
    /// The same of the null.
    pub null: Option<f64>,
    /// The transferred direction, `[width]`; `None` without variance.
    pub direction: Option<Vec<f64>>,
    /// Both halves together.
    whole: Option<LatentHalf>,
    /// Σx².
    sum_sq: f64,
}

/// What is read of every latent of one readout.
pub struct ReadSpace {
    /// `[d_sae]`.
    pub latents: Vec<ReadLatent>,
    n_rows: u64,
    /// Mean of the activations, `[width]`.
    pub mean: Vec<f64>,
}

impl ReadSpace {
    /// Reads readout `k` back. `None` where the documents do not fill two halves.
    ///
    /// # Errors
    /// `State` for sums that are not there or do not fit the plan; `Interrupted` where `halt` stops it between some latents and the next.
    pub fn of_saved(halt: &Halt, plan: &Plan, k: usize, saved: &SavedTiles<'_>) -> Result<Option<ReadSpace>> {
        let planned = plan.readouts()[k];
        let mut moments = FoldMoments::new(plan.readout_sites()[planned.site].width);
        moments.load(&mut saved.file(&plan.readout_moments_name(planned.site))?, 0)?;
        let Some(readout) = Readout::new(&moments.0, RIDGE)? else { return Ok(None) };
        let mut out = vec![ReadLatent::default(); plan.spaces()[planned.space].width];
        for strip in plan.strips().iter().filter(|s| s.readout == k) {
            let mut sums = ReadoutSums::new(strip.first, plan.strip_shape(strip));
            sums.load(&mut saved.file(&plan.strip_name(strip))?, 0)?;
            let alive: Vec<usize> = (0..strip.n_latents).filter(|&i| sums.latent(i).is_some()).collect();
            let found: Vec<Vec<ReadLatent>> = (alive.par_chunks(AT_ONCE))
                .map(|some| {
                    halt.check()?;
                    let sums: Vec<LatentReadout<'_>> = some.iter().filter_map(|&i| sums.latent(i)).collect();
                    read(&readout, &moments, &sums)
                })
                .collect::<Result<_>>()?;
            for (&i, latent) in alive.iter().zip(found.into_iter().flatten()) {
                out[strip.first + i] = latent;
            }
        }
        let n_rows = moments.0.iter().map(|half| half.n_rows).sum();
        Ok(Some(ReadSpace { latents: out, n_rows, mean: readout.mean() }))
    }
}

/// Reads some latents.
fn read(readout: &Readout<'_>, moments: &FoldMoments, sums: &[LatentReadout<'_>]) -> Result<Vec<ReadLatent>> {
    let halves = |s: &LatentReadout<'_>, cross: [&[f64]; FOLDS]| {
        [0, 1].map(|f: usize| LatentHalf::of_sums(&moments.0[f], s.sum[f], s.sum_sq[f], cross[f]))
    };
    let own: Vec<[LatentHalf; FOLDS]> = sums.iter().map(|s| halves(s, s.cross)).collect();
    let nulls: Vec<[LatentHalf; FOLDS]> = sums.iter().filter_map(|s| Some(halves(s, s.null?))).collect();
    let (found, null) = (readout.r_squared(&own)?, readout.r_squared(&nulls)?);
    let latent = |k: usize| {
        let (_, whole) = readout.whole(&own[k]);
        ReadLatent {
            r_squared: found[k],
            null: null.get(k).copied().flatten(),
            direction: direction(&whole),
            whole: Some(whole),
            sum_sq: sums[k].sum_sq.iter().sum(),
        }
    };
    Ok((0..sums.len()).map(latent).collect())
}

/// What else is known of the latents of one side of a pair.
struct Side<'a> {
    view: &'a View,
    n_active: Vec<u64>,
    /// The other side's SAE, where its decoder rows are directions of the activations that are read.
    decoder: Option<&'a Sae>,
}

impl Results {
    /// Rows of `readout`, sorted; `results` must be judged.
    ///
    /// # Errors
    /// `State` for sums that are not there or do not fit the plan.
    pub fn readout_rows(&self, spaces: &Spaces, saved: &SavedTiles<'_>) -> Result<Vec<ReadoutRow>> {
        let mut out = Vec::new();
        for p in 0..self.plan.pairs().len() {
            self.work.at("readout", p)?;
            let pair = self.plan.pairs()[p];
            let ways =
                [(Direction::Forward, pair.source, pair.target), (Direction::Backward, pair.target, pair.source)];
            for (k, (towards, space, other)) in ways.into_iter().enumerate() {
                let Some(readout) = self.plan.readout_of(space, other) else { continue };
                let Some(read) = ReadSpace::of_saved(self.work.halt(), &self.plan, readout, saved)? else { continue };
                let side = Side {
                    view: &self.views[p][k],
                    n_active: spaces[&space].sums.n_active.clone(),
                    decoder: self.saes[other].as_deref().filter(|sae| {
                        !sae.shape().transcoder && !sae.normalises() && sae.shape().d_out == read.mean.len()
                    }),
                };
                let pair = Arc::new(self.table_pair(p));
                let rows = side.rows(&read).into_iter().zip(0u32..);
                let by_chance = self.views[p][k].by_chance.as_deref();
                out.extend(rows.map(|((partner, found, verdict), latent)| ReadoutRow {
                    pair: pair.clone(),
                    direction: towards,
                    latent,
                    partner,
                    found,
                    verdict,
                    by_chance: by_chance.map(|of| [Strong::Kept, Strong::Dropped].map(|is| of[latent as usize] == is)),
                }));
            }
        }
        Ok(out)
    }
}

impl Side<'_> {
    /// Partner, numbers and verdict of every latent.
    fn rows(&self, read: &ReadSpace) -> Vec<(Option<u32>, ReadoutNumbers, Option<Verdict>)> {
        let values: Vec<Option<f64>> = read.latents.iter().map(|l| l.r_squared).collect();
        let nulls: Vec<Option<f64>> = read.latents.iter().map(|l| l.null).collect();
        let chance = significance(&values, &nulls, &self.n_active);
        let partner = |i: usize| self.view.best[i].first().copied().flatten();
        let with_partner: Vec<(usize, u32)> = (0..values.len()).filter_map(|i| Some((i, partner(i)?.latent))).collect();
        let other = others_partners(&with_partner, values.len());
        let row = |i: usize| {
            let (latent, best) = (&read.latents[i], partner(i));
            let cosine = |partner: Option<u32>| {
                let decoder = self.decoder?.decoder_rows().row(partner? as usize);
                cosine(latent.direction.as_ref()?, decoder)
            };
            let scaling = || {
                let decoder = self.decoder?.decoder_rows().row(best?.latent as usize);
                let decoder: Vec<f64> = decoder.iter().map(|&v| f64::from(v)).collect();
                latent_scaling(read.n_rows, latent.whole.as_ref()?, &read.mean, latent.sum_sq, &decoder)
            };
            let found = ReadoutNumbers {
                r_best: best.map(|p| p.correlation.value()),
                r_squared: latent.r_squared,
                null: latent.null,
                chance_point: chance[i].point,
                p_value: chance[i].p_value.filter(|_| chance[i].point.is_some()),
                q_value: chance[i].q_value,
                norm: latent.direction.as_ref().map(|g| g.iter().map(|v| v * v).sum::<f64>().sqrt()),
                scaling: scaling(),
                cosine: cosine(best.map(|p| p.latent)),
                cosine_null: cosine(other[i]),
            };
            (best.map(|p| p.latent), found, verdict(&found, self.strong(i)))
        };
        (0..values.len()).into_par_iter().map(row).collect()
    }

    fn strong(&self, i: usize) -> Strong {
        let best = self.view.best[i].first().copied().flatten();
        Strong::of(&self.view.outcomes[i], best, self.view.significance[i].point)
    }
}

/// In a word: by a strong match; else by R² and the chance point of latents that fire about as often.
fn verdict(found: &ReadoutNumbers, strong: Strong) -> Option<Verdict> {
    Some(match strong {
        Strong::Kept => Verdict::Matched,
        Strong::Dropped => Verdict::Dropped,
        Strong::No => Verdict::unmatched(found.r_squared?, found.chance_point?),
    })
}

/// Cosine of a direction with a decoder row; `None` where one of them is 0.
fn cosine(a: &[f64], b: &[f32]) -> Option<f64> {
    let along: f64 = a.iter().zip(b).map(|(x, &y)| x * f64::from(y)).sum();
    let norms = a.iter().map(|x| x * x).sum::<f64>() * b.iter().map(|&y| f64::from(y).powi(2)).sum::<f64>();
    (norms > 0.0).then(|| (along / norms.sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Correlation, Outcome, Partner, Reason, Significance};

    #[test]
    fn a_match_is_kept_strong_and_above_its_chance_point() {
        let partner = |latent: u32, r: f64| vec![Some(Partner { latent, correlation: Correlation::new(r).unwrap() })];
        let point = |point: f64| Significance { point: Some(point), ..Significance::default() };
        let view = View {
            best: vec![
                partner(0, 0.5),
                partner(1, 0.75),
                partner(2, 0.75),
                partner(3, 0.25),
                vec![None],
                partner(5, 0.75),
            ],
            outcomes: [Outcome::Kept, Outcome::Dropped(Reason::MinActive), Outcome::Kept, Outcome::Kept]
                .into_iter()
                .chain([Outcome::Dropped(Reason::Dead), Outcome::Kept])
                .map(|outcome| vec![outcome])
                .collect(),
            significance: vec![
                point(0.25),
                point(0.5),
                point(0.875),
                point(0.125),
                Significance::default(),
                Significance::default(),
            ],
            ..View::default()
        };
        let side = Side { view: &view, n_active: vec![9; 6], decoder: None };
        use Strong::{Dropped, Kept, No};
        // strong; dropped; below its point; weak; alone; without a chance level
        assert_eq!([0, 1, 2, 3, 4, 5].map(|i| side.strong(i)), [Kept, Dropped, No, No, No, Kept]);
    }

    #[test]
    fn a_verdict_needs_a_chance_level_unless_the_latent_is_matched() {
        let of = |r_squared, chance_point, strong| {
            verdict(&ReadoutNumbers { r_squared, chance_point, ..ReadoutNumbers::default() }, strong)
        };
        assert_eq!(of(Some(0.1), None, Strong::Kept), Some(Verdict::Matched));
        assert_eq!(of(Some(0.6), Some(0.01), Strong::Dropped), Some(Verdict::Dropped));
        assert_eq!(of(Some(0.6), Some(0.01), Strong::No), Some(Verdict::Readable));
        assert_eq!(of(Some(0.25), Some(0.3), Strong::No), Some(Verdict::Absent));
        assert_eq!(of(Some(0.2), Some(0.01), Strong::No), Some(Verdict::Faint));
        assert_eq!(of(Some(-0.02), Some(-0.01), Strong::No), Some(Verdict::Absent));
        assert_eq!(of(Some(0.6), None, Strong::No), None);
        assert_eq!(of(None, Some(0.1), Strong::No), None);
    }
}
