//! How alike are the spaces at a snapshot? Kept matches' decoder rows and raw co-moments in, rows of `similarities` with their
//! nulls out; no dataflow here, and nothing is written.

use crate::engine::message::{RawMoments, Spaces};
use crate::engine::results::judged::Results;
use crate::engine::results::saved_tiles::SavedTiles;
use crate::error::Result;
use crate::linalg::Matrix;
use crate::matching::assignment::first_one_to_one;
use crate::matching::{Rules, benjamini_hochberg};
use crate::plan::RawPair;
use crate::similarity::{
    Measure, Moments, MomentsMeasure, NullMoments, Permutations, Score, compare_rows_until, moments_scores,
};
use crate::spec::Pairing;
use crate::table::{SimilarityRow, TableRow};
use std::sync::Arc;

/// A score as a row, and what it was under each random pairing.
pub struct Scored {
    pub row: SimilarityRow,
    pub measure: Measure,
    /// Pairing r is the same in every pair for activations, and drawn for each pair alone for matched rows.
    pub draws: Vec<f64>,
}

impl Results {
    /// Rows of `similarities`, sorted; `with_null`: whether the matched rows' null is computed. Matching within a category
    /// (see [`Results::pairs_within`]) is made where its sums are at hand.
    ///
    /// # Errors
    /// `Input` or `State` from a score that meets a non-finite number, `State` from sums that cannot be read.
    pub fn scores(
        &self,
        spaces: &Spaces,
        raw: &RawMoments,
        with_null: bool,
        mut saved: Option<SavedTiles<'_>>,
    ) -> Result<Vec<Scored>> {
        let estimate = &self.plan.spec().estimate;
        let mut out = Vec::new();
        for p in 0..self.plan.pairs().len() {
            self.work.at("scores", p)?;
            let pair = self.plan.pairs()[p];
            let (source, target) = self.plan.pair_sites(p);
            let saes = (&self.saes[pair.source], &self.saes[pair.target]);
            for &pairing in &estimate.pairings {
                // a hookpoint's own dimensions have no decoder rows
                let (Some(a), Some(b), false) = (saes.0, saes.1, estimate.measures.is_empty()) else { break };
                let kept = self.kept(p, pairing);
                let mut subsets = vec![("all", kept.clone())];
                let names = estimate.lists.iter().flat_map(|l| l.categories.keys());
                for (k, name) in names.enumerate() {
                    subsets.extend(
                        self.pairs_within(p, pairing, k, &kept, spaces, saved.as_mut())?.map(|s| (name.as_str(), s)),
                    );
                }
                for (subset, pairs) in subsets {
                    let (rows, columns): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
                    let mut stream = format!("null/rows {source} {target} {}", pairing.as_str());
                    if subset != "all" {
                        stream = format!("{stream} {subset}");
                    }
                    let (x, y) = (widened_rows(a.decoder_rows(), &rows), widened_rows(b.decoder_rows(), &columns));
                    let runs = if with_null { estimate.null.permutations as usize } else { 0 };
                    let nulls = Permutations::Seeded { seed: self.plan.spec().seed, stream: &stream, runs };
                    let scores = compare_rows_until(self.work.halt(), &x, &y, &estimate.measures, nulls)?;
                    out.extend(scores.into_iter().map(|s| self.similarity(p, subset, pairing.into(), s)));
                }
            }
            if !estimate.activation_measures.is_empty() {
                // with activation measures there is one for every pair
                let RawPair { source: a, target: b, .. } = self.plan.raw_pairs()[p];
                let cross = &raw.cross[&p];
                let (own, other) = (&raw.own[&a], &raw.own[&b]);
                let blocks = Moments {
                    n: cross.n_rows as usize,
                    cxx: &own.co.c,
                    cyy: &other.co.c,
                    cxy: &cross.c,
                    norms: [own.norms.both, other.norms.both, cross.norms.both],
                };
                let measures: Vec<MomentsMeasure> =
                    estimate.activation_measures.iter().filter_map(|m| MomentsMeasure::of(*m)).collect();
                let nulls: Vec<NullMoments<'_>> = (cross.nulls.iter().zip(&cross.null_norms))
                    .take(self.plan.activation_nulls() as usize)
                    .map(|(cxy, norms)| NullMoments { cxy, norms: norms.both })
                    .collect();
                let scores = moments_scores(self.work.halt(), &blocks, &measures, &nulls)?;
                out.extend(
                    scores.into_iter().map(|s| self.similarity(p, "all", crate::table::RowPairing::Activations, s)),
                );
            }
        }
        out.sort_by(|a: &Scored, b: &Scored| a.row.order(&b.row));
        // nothing was tested when any two spaces reach the same value, or when a space is compared with itself
        let tested: Vec<Option<f64>> =
            out.iter().map(|s| s.row.p_value.filter(|_| !s.row.no_power && !s.row.one_decoder)).collect();
        for (scored, q_value) in out.iter_mut().zip(benjamini_hochberg(&tested)) {
            scored.row.q_value = q_value;
        }
        Ok(out)
    }

    /// The pairs of a pair of SAEs inside category `k`: kept matches with both latents in it. As published (docs/method.md), but
    /// for `mutual`: each member picks among the members of the other side, the lowest picker of each keeps it, and no other
    /// filter is asked; `None` until the sums are saved, at the end.
    fn pairs_within(
        &self,
        p: usize,
        pairing: Pairing,
        k: usize,
        kept: &[(usize, usize)],
        spaces: &Spaces,
        saved: Option<&mut SavedTiles<'_>>,
    ) -> Result<Option<Vec<(usize, usize)>>> {
        let pair = self.plan.pairs()[p];
        let (sources, targets) = (&self.members[&pair.source][k], &self.members[&pair.target][k]);
        if self.plan.spec().estimate.rules == Rules::Meant || pairing == Pairing::Mutual {
            let within = |list: &[u32], latent: usize| list.binary_search(&(latent as u32)).is_ok();
            let inside = |&&(i, j): &&(usize, usize)| within(sources, i) && within(targets, j);
            return Ok(Some(kept.iter().filter(inside).copied().collect()));
        }
        let Some(saved) = saved else { return Ok(None) };
        if sources.len() <= 2 || targets.len() <= 2 {
            return Ok(Some(Vec::new()));
        }
        let r = saved.correlations(p, sources, targets, spaces)?;
        let best =
            |n: usize, of: &dyn Fn(usize) -> f64| (1..n).fold(0, |b, i| if of(i) > of(b) { i } else { b }) as u32;
        let (n_sources, n_targets) = (sources.len(), targets.len());
        let picks: Vec<u32> = match pairing {
            Pairing::Forward => (0..n_sources).map(|i| best(n_targets, &|j| r.row(i)[j])).collect(),
            _ => (0..n_targets).map(|j| best(n_sources, &|i| r.row(i)[j])).collect(),
        };
        let pairs = first_one_to_one(&picks, &vec![true; picks.len()]);
        let latents = |(picked, picker): (u32, u32)| {
            let (i, j) = if pairing == Pairing::Forward { (picker, picked) } else { (picked, picker) };
            (sources[i as usize] as usize, targets[j as usize] as usize)
        };
        Ok(Some(pairs.into_iter().map(latents).collect()))
    }

    fn similarity(&self, p: usize, subset: &str, pairing: crate::table::RowPairing, score: Score) -> Scored {
        let rules = self.plan.spec().estimate.rules;
        let row = SimilarityRow {
            pair: Arc::new(self.table_pair(p)),
            subset: subset.to_string(),
            pairing,
            measure: score.measure.to_string(),
            value: score.value,
            n_pairs: score.n_pairs as u64,
            components_source: score.components.map(|c| c.0 as u32),
            components_target: score.components.map(|c| c.1 as u32),
            no_power: score.no_power,
            one_decoder: pairing != crate::table::RowPairing::Activations
                && self.plan.is_one_decoder(self.plan.pairs()[p]),
            null_mean: score.null.map(|n| n.mean),
            null_sd: score.null.and_then(|n| n.sd),
            null_point: score.null.and_then(|n| n.point),
            calibrated: score.calibrated(),
            null_runs: score.null.map_or(0, |n| n.runs as u32),
            p_value: score.null.map(|n| match rules {
                Rules::Meant => n.p_value,
                Rules::AsPublished => n.as_close as f64 / n.runs as f64,
            }),
            q_value: None,
        };
        Scored { row, measure: score.measure, draws: score.draws }
    }
}

/// The rows named by `index`, in f64.
fn widened_rows(rows: &Matrix<f32>, index: &[usize]) -> Matrix<f64> {
    let data = index.iter().flat_map(|&i| rows.row(i).iter().map(|&v| f64::from(v))).collect();
    Matrix::from_vec(index.len(), rows.n_cols(), data)
}
