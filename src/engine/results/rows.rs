//! Rows of `latents` and `matches`, made of what is known at a snapshot.

use crate::engine::message::{SpaceSnapshot, Spaces};
use crate::engine::results::agreement::{Agreement, figure};
use crate::engine::results::judged::{Results, side};
use crate::ids::Site;
use crate::matching::{Direction, Outcome, Significance};
use crate::moments::LabelKey;
use crate::plan::Plan;
use crate::table::{LabelColumn, LabelSum, LatentRow, ListedCells, MatchRow, RowCosines, TopTokenCell};
use rayon::prelude::*;
use std::sync::Arc;

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

impl Results {
    /// Rows of `latents`.
    pub fn latent_rows<'a>(&'a self, spaces: &'a Spaces) -> impl Iterator<Item = LatentRow> + 'a {
        let columns = label_columns(&self.plan, spaces);
        let fields = &self.plan.spec().corpus.labels;
        let keys: Vec<LabelKey> = (columns.iter())
            .map(|c| (fields.iter().position(|f| *f == c.field).expect("a column of a field"), c.value.clone()))
            .collect();
        spaces.iter().flat_map(move |(s, known)| {
            let site = Arc::new(self.plan.spaces()[*s].site.clone());
            let keys = keys.clone();
            let n = known.sums.d_sae();
            // decoding the contexts is most of the work, so a stretch of latents is done by all threads at once
            (0..n).step_by(LATENTS_AT_ONCE).flat_map(move |from| {
                let stretch = from..(from + LATENTS_AT_ONCE).min(n);
                stretch.into_par_iter().map(|i| self.latent_row(*s, &site, known, i, &keys)).collect::<Vec<LatentRow>>()
            })
        })
    }

    fn latent_row(
        &self,
        s: usize,
        site: &Arc<Site>,
        known: &SpaceSnapshot,
        i: usize,
        labels: &[LabelKey],
    ) -> LatentRow {
        let sums = &known.sums;
        let categories = self.plan.spec().estimate.lists.as_ref().zip(self.members.get(&s)).map(|(lists, members)| {
            let of = lists.categories.keys().zip(members);
            of.filter(|(_, members)| members.binary_search(&(i as u32)).is_ok()).map(|(name, _)| name.clone()).collect()
        });
        let tokenizer = self.plan.tokenizer_of(s);
        let top = |t: &crate::moments::TopToken| TopTokenCell {
            token: tokenizer.token_text(t.token()),
            value: t.value,
            context: tokenizer.decode(&t.context).unwrap_or_default(),
            document: t.document.to_string(),
        };
        let label = |key| known.labels.get(key).map(|c| LabelSum { n_active: c.n_active[i], sum: c.sum[i] });
        LatentRow {
            site: site.clone(),
            latent: i as u32,
            n_active: sums.n_active[i],
            frequency: sums.n_active[i] as f64 / sums.n_rows.max(1) as f64,
            mean: sums.mean(i).unwrap_or(0.0),
            std: sums.std(i).unwrap_or(0.0),
            max: sums.is_alive(i).then(|| sums.max[i]),
            alive: sums.is_alive(i),
            documents: u64::from(known.documents[i]),
            given_rows: known.given.as_ref().map(|g| g.n_active[i]),
            token_share: known.given.as_ref().and_then(|g| g.share(i)),
            top: known.top[i].iter().map(top).collect(),
            categories,
            labels: labels.iter().map(label).collect(),
        }
    }

    /// Rows of `matches`.
    pub fn match_rows<'a>(&'a self, agreement: &'a Agreement) -> impl Iterator<Item = MatchRow> + 'a {
        (0..self.plan.pairs().len()).flat_map(move |p| {
            let pair = Arc::new(self.table_pair(p));
            DIRECTIONS.into_iter().flat_map(move |direction| {
                let pair = pair.clone();
                let n = self.views[p][side(direction)].best.len() as u32;
                (0..n).flat_map(move |latent| self.matches_of(&pair, p, direction, latent, agreement))
            })
        })
    }

    /// The rows of one picking latent.
    fn matches_of(
        &self,
        pair: &Arc<crate::table::SitePair>,
        p: usize,
        direction: Direction,
        latent: u32,
        agreement: &Agreement,
    ) -> Vec<MatchRow> {
        let view = &self.views[p][side(direction)];
        let partners = &view.best[latent as usize];
        let row = |(rank, &outcome): (usize, &Outcome)| {
            let partner = partners[rank];
            let other = partner.map(|p| p.latent);
            let (source_latent, target_latent) = match direction {
                Direction::Forward => (Some(latent), other),
                Direction::Backward => (other, Some(latent)),
            };
            let (exact_tokens, sketch_error) = self.known[p].how_well(source_latent.zip(target_latent));
            let by_key = view.by_key.get(latent as usize).filter(|_| rank == 0).copied().unwrap_or_default();
            let listed = source_latent.zip(target_latent).and_then(|of| self.listed(p, of));
            let cells = listed.map_or_else(ListedCells::default, ListedCells::from);
            MatchRow {
                pair: pair.clone(),
                source_latent,
                target_latent,
                exact_tokens,
                sketch_error,
                correlation: partner.map(|p| p.correlation.value()),
                listed: ListedCells { token_best_correlation: by_key[0], token_p_value: by_key[1], ..cells },
                significance: if rank == 0 { view.significance[latent as usize] } else { Significance::default() },
                rank: rank as u32 + 1,
                direction,
                mutual: rank == 0 && other.is_some_and(|o| self.is_mutual(p, direction, latent, o)),
                kept: outcome.is_kept(),
                dropped_by: outcome.dropped_by().map(str::to_string),
                cosines: RowCosines {
                    mapped: figure(&agreement.mapped, p, side(direction), latent, rank),
                    logits: figure(&agreement.logits, p, side(direction), latent, rank),
                    ..self.cosines(p, source_latent.zip(target_latent))
                },
            }
        };
        view.outcomes[latent as usize].iter().enumerate().map(row).collect()
    }
}

/// Latents whose rows are made together.
const LATENTS_AT_ONCE: usize = 4096;

/// Every (field, value) seen in any space, in order of field as listed and value.
pub fn label_columns(plan: &Plan, spaces: &Spaces) -> Vec<LabelColumn> {
    let keys: std::collections::BTreeSet<_> =
        spaces.values().flat_map(|s| s.labels.labels().map(|(k, _)| k.clone())).collect();
    keys.into_iter()
        .map(|(field, value)| LabelColumn { field: plan.spec().corpus.labels[field].clone(), value })
        .collect()
}
