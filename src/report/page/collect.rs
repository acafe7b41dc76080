//! Which matches of one direction does the page show, and what are their counts? Rows of `matches` in, one after
//! the other, however many; counts, histograms and the best rows out.

use super::data::{Counter, LEVEL, MatchesData, digits, significant};
use crate::table::MatchRow;
use std::collections::BTreeMap;

/// The matches of one direction while they are read.
#[derive(Default)]
pub(super) struct Collector {
    quota: usize,
    observed: Counter,
    null: Counter,
    total: u64,
    significant: Option<u64>,
    verdicts: BTreeMap<String, u64>,
    shown: Vec<MatchRow>,
}

impl Collector {
    /// Room for `quota` matches.
    pub fn new(quota: usize) -> Self {
        Collector { quota, ..Collector::default() }
    }

    /// Takes a row of `matches`; those behind the best partner are left out.
    pub fn take(&mut self, row: MatchRow) {
        if row.rank != 1 {
            return;
        }
        self.total += 1;
        let verdict = if row.kept { "kept" } else { row.dropped_by.as_deref().unwrap_or("not kept") };
        *self.verdicts.entry(verdict.to_string()).or_default() += 1;
        let Some(r) = row.correlation else { return };
        self.observed.add(r);
        if let Some(null) = row.significance.null_correlation {
            self.null.add(null);
        }
        if let Some(q) = row.significance.q_value {
            *self.significant.get_or_insert(0) += u64::from(q <= LEVEL);
        }
        self.shown.push(row);
        if self.shown.len() > 2 * self.quota.max(64) {
            self.cut();
        }
    }

    /// Keeps the best: kept before dropped, then by correlation, then by latent.
    fn cut(&mut self) {
        let r = |m: &MatchRow| m.correlation.unwrap_or(f64::NEG_INFINITY);
        self.shown.sort_by(|a, b| b.kept.cmp(&a.kept).then(r(b).total_cmp(&r(a))).then(a.picker().cmp(&b.picker())));
        self.shown.truncate(self.quota);
    }

    /// The direction's counts on the page, and the rows that it shows.
    pub fn close(mut self) -> (MatchesData, Vec<MatchRow>) {
        self.cut();
        let mut out = MatchesData {
            total: self.total,
            matched: self.observed.n(),
            verdicts: self.verdicts,
            mean: self.observed.mean().map(|r| digits(r, 4)),
            null_mean: self.null.mean().map(|r| digits(r, 4)),
            exact_means: [self.observed.mean(), self.null.mean()],
            significant: self.significant,
            histogram: self.observed.histogram(),
            null_histogram: (self.null.n() > 0).then(|| self.null.histogram()),
            ..MatchesData::default()
        };
        for m in &self.shown {
            out.source.push(m.source_latent.unwrap_or(0));
            out.target.push(m.target_latent.unwrap_or(0));
            out.r.push(digits(m.correlation.unwrap_or(0.0), 4));
            out.margin.push(m.significance.margin.map(|x| digits(x, 4)));
            out.null.push(m.significance.null_correlation.map(|r| digits(r, 4)));
            out.point.push(m.significance.point.map(|r| digits(r, 4)));
            out.q.push(m.significance.q_value.map(|q| significant(q, 3)));
            let short = |x: Option<f64>| x.map(|x| digits(x, 4));
            out.token.push(short(m.listed.token_correlation));
            out.within.push(short(m.listed.within_correlation));
            out.within_null.push(short(m.listed.null_within_correlation));
            out.jaccard.push(short(m.listed.jaccard));
            out.shares[0].push(short(m.listed.target_given_source));
            out.shares[1].push(short(m.listed.source_given_target));
            out.error.push(short(m.listed.sampling_error));
            out.mapped.push(short(m.cosines.mapped));
            out.logits.push(short(m.cosines.logits));
            out.mutual.push(u8::from(m.mutual));
            let reason = m.dropped_by.as_deref().filter(|_| !m.kept);
            out.dropped.push(reason.map_or(-1, |name| {
                let known = out.reasons.iter().position(|r| r == name);
                known.unwrap_or_else(|| {
                    out.reasons.push(name.to_string());
                    out.reasons.len() - 1
                }) as i32
            }));
        }
        // a run without maps or effects has nothing of them
        for column in [&mut out.mapped, &mut out.logits] {
            if column.iter().all(Option::is_none) {
                column.clear();
            }
        }
        (out, self.shown)
    }
}
