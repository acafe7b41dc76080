//! The best over all places of a model: each latent's best partner, and the closest two places by each score. Judged matches and scores in, rows
//! of `best_over`, `best_over_counts` and `best_over_scores` out.

use crate::engine::message::Spaces;
use crate::engine::results::judged::Results;
use crate::engine::results::scores::Scored;
use crate::ids::Site;
use crate::matching::{BestOver, OverPlaces, Partner, PlacePair, benjamini_hochberg, best_over, count_over};
use crate::similarity::{Candidate, closest_of};
use crate::table::{BestOverCounts, BestOverRow, BestOverScore, OverScore, RowPairing, TableRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every latent's choice over all places of each model.
pub struct Choices {
    all: BestOver,
    /// Number of each place's model, in order of names.
    model_of: Vec<u32>,
    names: Vec<Arc<str>>,
}

impl Results {
    /// The choices, to be asked for when matches are judged.
    pub fn choices(&self, spaces: &Spaces) -> Choices {
        let model = |place: usize| self.plan.spaces()[place].site.model.as_str();
        let places = 0..self.plan.spaces().len();
        let names: BTreeSet<&str> = places.clone().map(model).collect();
        let model_of: Vec<u32> = places.clone().map(|p| names.range(..model(p)).count() as u32).collect();
        let firsts = |p: usize| {
            let of = |d: usize| self.views[p][d].best.iter().map(|ranks| ranks[0]).collect::<Vec<Option<Partner>>>();
            [of(0), of(1)]
        };
        // a place compared with itself chooses nothing
        let compared = self.plan.pairs().iter().enumerate().filter(|(_, pair)| pair.source != pair.target);
        let best: Vec<(usize, [u32; 2], [Vec<Option<Partner>>; 2])> =
            compared.map(|(p, pair)| (p, [pair.source as u32, pair.target as u32], firsts(p))).collect();
        let pairs: Vec<PlacePair<'_>> = (best.iter())
            .map(|(p, places, [forward, backward])| PlacePair {
                places: *places,
                best: [forward, backward],
                null: self.counts[*p].best_null.as_ref().map(|null| null.each_ref().map(Vec::as_slice)),
            })
            .collect();
        let n_active: Vec<&[u64]> = places.map(|s| spaces[&s].sums.n_active.as_slice()).collect();
        let names = names.into_iter().map(Arc::from).collect();
        Choices { all: best_over(&pairs, &model_of, &n_active), model_of, names }
    }

    /// Rows of `best_over`, sorted.
    pub fn best_over_rows<'a>(&'a self, choices: &'a Choices) -> impl Iterator<Item = BestOverRow> + 'a {
        let sites: Vec<Arc<Site>> = self.plan.spaces().iter().map(|s| Arc::new(s.site.clone())).collect();
        choices.all.iter().flat_map(move |(&[place, model], over)| {
            let sites = sites.clone();
            let site = sites[place as usize].clone();
            (0u32..).zip(&over.best).zip(&over.significance).map(move |((latent, chosen), significance)| BestOverRow {
                site: site.clone(),
                latent,
                target_model: choices.names[model as usize].clone(),
                places: over.n_places,
                best: chosen.map(|c| (sites[c.place as usize].clone(), c.latent, c.correlation.value())),
                significance: *significance,
                mutual: chosen
                    .is_some_and(|c| choices.chosen_back([c.place, c.latent], place) == Some([place, latent])),
            })
        })
    }

    /// Rows of `best_over_counts`, sorted: of each two models the side that is the source where only one is, else the first by name.
    pub fn best_over_counts(&self, choices: &Choices) -> Vec<BestOverCounts> {
        let models = |pair: &crate::plan::Pair| [pair.source, pair.target].map(|place| choices.model_of[place]);
        let directions: BTreeSet<[u32; 2]> =
            self.plan.pairs().iter().filter(|pair| pair.source != pair.target).map(models).collect();
        let row = |&[a, b]: &[u32; 2]| BestOverCounts {
            models: [a, b].map(|m| choices.names[m as usize].to_string()),
            counts: count_over(&choices.all, &choices.model_of, [a, b]),
        };
        directions.iter().filter(|&&[a, b]| a <= b || !directions.contains(&[b, a])).map(row).collect()
    }

    /// Rows of `best_over_scores`, sorted. The rows of activations are tokens, which are permuted alike in every pair; matched rows are
    /// other matches in every pair, each permuted by itself.
    pub fn best_over_scores(&self, scored: &[Scored]) -> Vec<BestOverScore> {
        type Key<'a> = (&'a str, &'a str, &'a str, RowPairing, &'a str);
        let mut grids: BTreeMap<Key<'_>, Vec<(&Scored, f64)>> = BTreeMap::new();
        for of in scored {
            let row = &of.row;
            let (source, target) = (&row.pair.source.model, &row.pair.target.model);
            let grid = grids.entry((source, target, &row.subset, row.pairing, &row.measure)).or_default();
            // without power, or with one decoder on both sides, a value says nothing
            grid.extend(row.value.filter(|_| !row.no_power && !row.one_decoder).map(|value| (of, value)));
        }
        let mut out: Vec<BestOverScore> = (grids.values())
            .filter_map(|grid| {
                let candidates: Vec<Candidate<'_>> =
                    grid.iter().map(|(of, value)| Candidate { value: *value, draws: &of.draws }).collect();
                let (at, score) = closest_of(grid.first()?.0.measure, &candidates)?;
                let row = &grid[at].0.row;
                Some(BestOverScore {
                    pair: row.pair.clone(),
                    subset: row.subset.clone(),
                    pairing: row.pairing,
                    measure: row.measure.clone(),
                    place_pairs: grid.len() as u32,
                    null_runs: score.null.map_or(0, |n| n.runs as u32),
                    numbers: OverScore {
                        value: score.value,
                        null_mean: score.null.map(|n| n.mean),
                        null_point: score.null.and_then(|n| n.point),
                        calibrated: score.calibrated(),
                        p_value: score.null.map(|n| n.p_value),
                        q_value: None,
                    },
                })
            })
            .collect();
        out.sort_by(TableRow::order);
        let q_values = benjamini_hochberg(&out.iter().map(|row| row.numbers.p_value).collect::<Vec<_>>());
        out.iter_mut().zip(q_values).for_each(|(row, q)| row.numbers.q_value = q);
        out
    }
}

impl Choices {
    /// What a latent of another place chooses among the places of the model of `place`.
    fn chosen_back(&self, [there, latent]: [u32; 2], place: u32) -> Option<[u32; 2]> {
        let over: &OverPlaces = self.all.get(&[there, self.model_of[place as usize]])?;
        over.best[latent as usize].map(|c| [c.place, c.latent])
    }
}
