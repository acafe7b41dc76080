//! A pair as a whole: its counts and those by chance, and whether there is enough text. Filtered matches in,
//! counts for `pairs` and `history` out.

use crate::engine::message::Spaces;
use crate::engine::results::agreement::Agreement;
use crate::engine::results::judged::{BesideChance, Results};
use crate::matching::{MIN_DOCUMENTS, NoChance, too_few};
use crate::table::{LogitScores, PairCounts, PairRow};
use std::sync::Arc;

impl Results {
    /// The counts of pair `p`, to be asked for when its matches are judged.
    pub fn pair_counts(&self, p: usize, spaces: &Spaces) -> PairCounts {
        let pair = self.plan.pairs()[p];
        let alive = |s: usize| (0..spaces[&s].sums.d_sae()).filter(|&i| spaces[&s].sums.is_alive(i)).count() as u64;
        let BesideChance { matches, by_chance, n_kept, n_kept_null, .. } = &self.counts[p];
        let null = by_chance.as_ref();
        debug_assert_eq!(
            matches.n_mutual,
            self.mutual[p].len() as u64,
            "the maintained view has the same mutual matches"
        );
        let [n_mutual_given, n_mutual_within, n_mutual_within_null] = self.beyond_the_token(p);
        PairCounts {
            n_mutual_given,
            n_mutual_within,
            n_mutual_within_null,
            mean_best_correlation_forward: matches.mean_best_correlation[0],
            null_mean_best_correlation_forward: null.and_then(|n| n.mean_best_correlation[0]),
            mean_best_correlation_backward: matches.mean_best_correlation[1],
            null_mean_best_correlation_backward: null.and_then(|n| n.mean_best_correlation[1]),
            n_alive_source: alive(pair.source),
            n_alive_target: alive(pair.target),
            n_mutual: matches.n_mutual,
            n_mutual_null: null.map(|n| n.n_mutual),
            n_mutual_above_chance: matches.n_mutual_above_chance,
            n_mutual_above_chance_null: null.and_then(|n| n.n_mutual_above_chance),
            n_distinct_partners_forward: matches.n_distinct_partners[0],
            n_distinct_partners_forward_null: null.map(|n| n.n_distinct_partners[0]),
            n_distinct_partners_backward: matches.n_distinct_partners[1],
            n_distinct_partners_backward_null: null.map(|n| n.n_distinct_partners[1]),
            n_kept: n_kept[0],
            n_kept_null: n_kept_null.map(|n| n[0]),
            n_kept_backward: n_kept[1],
            n_kept_backward_null: n_kept_null.map(|n| n[1]),
        }
    }

    /// Rows of `pairs`.
    pub fn pair_rows(&self, spaces: &Spaces, agreement: &Agreement) -> Vec<PairRow> {
        let row = |p: usize| {
            let pair = self.plan.pairs()[p];
            let (no_chance, tokens) = (self.no_chance(p), self.documents.n_rows);
            let share = self.documents.own_document_share();
            PairRow {
                pair: Arc::new(self.table_pair(p)),
                tokens,
                documents: self.documents.n_documents,
                own_document_share: share,
                too_few: too_few(tokens, self.documents.n_documents, share, no_chance.is_none()),
                no_chance: no_chance.map(|why| why.as_str().to_string()),
                one_decoder: self.plan.is_one_decoder(pair),
                n_own_partner: self.plan.is_one_decoder(pair).then(|| self.counts[p].matches.n_own),
                n_own_partner_null: (self.counts[p].by_chance.as_ref())
                    .filter(|_| self.plan.is_one_decoder(pair))
                    .map(|null| null.n_own),
                n_latents_source: self.plan.spaces()[pair.source].width as u64,
                n_latents_target: self.plan.spaces()[pair.target].width as u64,
                counts: self.pair_counts(p, spaces),
                dictionary: self.dictionaries[p],
                mapped: agreement.mapped.get(p).map(|of| of.scores).unwrap_or_default(),
                logits: LogitScores(agreement.logits.get(p).map(|of| of.scores).unwrap_or_default()),
            }
        };
        (0..self.plan.pairs().len()).map(row).collect()
    }

    /// Why the chance levels of pair `p` are not known.
    fn no_chance(&self, p: usize) -> Option<NoChance> {
        let raw = self.plan.is_raw(self.plan.pairs()[p]);
        match () {
            () if !self.plan.spec().estimate.null.documents => Some(NoChance::NotAsked),
            () if self.plan.is_sketched() && !raw => Some(NoChance::Sketch),
            () if self.documents.n_documents < MIN_DOCUMENTS => Some(NoChance::OneDocument),
            () => None,
        }
    }
}
