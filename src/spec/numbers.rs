//! Which numbers may a dataflow file hold? Ranges that keep later products from overflowing and NaN out of comparisons.

use super::DataflowSpec;
use std::ops::RangeInclusive;

/// Positions of a context at most.
const MAX_CONTEXT: u64 = 1 << 20;
/// Tokens of a batch at most: rows inside a batch are counted in 32 bits.
const MAX_BATCH_TOKENS: u64 = 1 << 31;

impl DataflowSpec {
    /// Every number against its range.
    ///
    /// # Errors
    /// The message.
    pub(super) fn check_numbers(&self) -> Result<(), String> {
        let (corpus, estimate) = (&self.corpus, &self.estimate);
        let [before, after] = estimate.top_context;
        let counts: [(&str, u64, RangeInclusive<u64>); 11] = [
            ("corpus.context_length", corpus.context_length as u64, 2..=MAX_CONTEXT),
            ("corpus.batch_contexts", corpus.batch_contexts as u64, 1..=MAX_CONTEXT),
            ("estimate.best", estimate.best as u64, 1..=250),
            ("estimate.listed", estimate.listed as u64, 0..=estimate.best as u64),
            ("estimate.top_tokens", estimate.top_tokens as u64, 0..=1000),
            ("estimate.top_context (before)", before as u64, 0..=10_000),
            ("estimate.top_context (after)", after as u64, 0..=10_000),
            ("estimate.snapshot_every", estimate.snapshot_every, 1..=u64::MAX),
            ("checkpoint.every", self.checkpoint.every, 1..=u64::MAX),
            ("checkpoint.minutes", self.checkpoint.minutes, 0..=10_000),
            ("check.tokens", self.check.tokens, 1..=u64::MAX),
        ];
        if let Some((key, value, range)) = counts.into_iter().find(|(_, value, range)| !range.contains(value)) {
            let (least, most) = (range.start(), range.end());
            let expected = if *most == u64::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
            return Err(format!("{key} is {value}, expected {expected}"));
        }
        let in_a_batch = corpus.context_length as u64 * corpus.batch_contexts as u64;
        if in_a_batch > MAX_BATCH_TOKENS {
            return Err(format!(
                "corpus.batch_contexts × corpus.context_length is {in_a_batch} tokens, expected at most {MAX_BATCH_TOKENS} in a \
                 batch; lower batch_contexts"
            ));
        }
        let least = estimate.filters.min_correlation;
        // a NaN is in no range
        if !(-1.0..1.0).contains(&least) {
            return Err(format!(
                "estimate.filters.min_correlation is {least}, expected -1 or more and below 1: a correlation must be greater than it"
            ));
        }
        if let Some(least) = estimate.filters.min_within.filter(|least| !(-1.0..=1.0).contains(least)) {
            return Err(format!("estimate.filters.min_within is {least}, expected -1 to 1, a correlation"));
        }
        let ridge = estimate.map.ridge;
        if !(ridge > 0.0 && ridge <= 1.0) {
            return Err(format!(
                "estimate.map.ridge is {ridge}, expected a share of the mean variance, above 0 and at most 1"
            ));
        }
        if let Some(rule) = estimate.stop_when {
            let share = rule.churn_below;
            if !(share > 0.0 && share <= 1.0) || rule.snapshots == 0 {
                return Err(format!(
                    "estimate.stop_when is churn_below = {share}, snapshots = {}; expected a share above 0, at most 1, and at least \
                     1 snapshot",
                    rule.snapshots
                ));
            }
        }
        Ok(())
    }
}
