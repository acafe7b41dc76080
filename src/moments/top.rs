//! The strongest tokens of every latent, with what stood around them.

use crate::corpus::{TokenBatch, TokenView};
use crate::sae::LatentBatch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many strongest tokens are kept and how much around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopOptions {
    /// Tokens kept per latent.
    pub keep: usize,
    /// Tokens of context before the strongest one.
    pub before: usize,
    /// Tokens of context after it.
    pub after: usize,
}

/// One strong firing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopToken {
    /// Activation.
    pub value: f32,
    /// Number of the row over the whole corpus.
    pub row: u64,
    /// Token ids around it, the token itself at `at`. Shared, so that a snapshot copies no contexts.
    pub context: Arc<[u32]>,
    /// Where in `context` the token stands.
    pub at: u32,
    /// Name of the document, shared with the other firings in it.
    pub document: Arc<str>,
}

impl TopToken {
    /// Id of the token itself.
    pub fn token(&self) -> u32 {
        self.context[self.at as usize]
    }

    /// Stronger first; of equal ones the earlier row.
    fn precedes(&self, value: f32, row: u64) -> bool {
        self.value > value || (self.value == value && self.row < row)
    }
}

/// Per latent, strongest first, at most `keep` entries.
#[derive(Clone, Debug, PartialEq)]
pub struct TopTokens {
    options: TopOptions,
    latents: Vec<Vec<TopToken>>,
}

impl TopTokens {
    /// Nothing seen yet, for `d_sae` latents.
    pub fn new(d_sae: usize, options: TopOptions) -> Self {
        TopTokens { options, latents: vec![Vec::new(); d_sae] }
    }

    /// The strongest firings of latent `i`, strongest first.
    pub fn latent(&self, i: usize) -> &[TopToken] {
        &self.latents[i]
    }

    /// Takes in entries of other rows, as read from a state file; `false` when they do not fit.
    #[must_use]
    pub fn add(&mut self, latents: Vec<Vec<TopToken>>) -> bool {
        let fits = latents.len() == self.latents.len()
            && latents
                .iter()
                .all(|l| l.len() <= self.options.keep && l.iter().all(|t| (t.at as usize) < t.context.len()));
        if fits {
            self.merge(&TopTokens { options: self.options, latents });
        }
        fits
    }

    /// All latents' entries.
    pub fn latents(&self) -> &[Vec<TopToken>] {
        &self.latents
    }

    /// Adds a batch; `latents` has one row for every row of `tokens`, of which `view` is what is shown: of a row of several tokens
    /// the last. Zeros and negative values are not firings.
    pub fn fold(&mut self, tokens: &TokenBatch, view: &TokenView, latents: &LatentBatch) {
        let mut shown = view.tokens().peekable();
        while let Some((r, c, p)) = shown.next() {
            if shown.peek().is_some_and(|(next, ..)| *next == r) {
                continue;
            }
            let row = tokens.first_row + r as u64;
            let (ids, values) = latents.row(r);
            for (&latent, &value) in ids.iter().zip(values) {
                let list = &mut self.latents[latent as usize];
                if value <= 0.0
                    || (list.len() == self.options.keep && list.last().is_none_or(|w| w.precedes(value, row)))
                {
                    continue;
                }
                let context = &view.contexts[c].ids;
                let from = p.saturating_sub(self.options.before);
                let to = (p + 1 + self.options.after).min(context.len());
                let entry = TopToken {
                    value,
                    row,
                    context: context[from..to].into(),
                    at: (p - from) as u32,
                    document: tokens.document_of(r).name.clone(),
                };
                insert(list, entry, self.options.keep);
            }
        }
    }

    /// Adds the firings of other rows of the same space.
    pub fn merge(&mut self, other: &TopTokens) {
        for (mine, theirs) in self.latents.iter_mut().zip(&other.latents) {
            for entry in theirs {
                insert(mine, entry.clone(), self.options.keep);
            }
        }
    }
}

fn insert(list: &mut Vec<TopToken>, entry: TopToken, keep: usize) {
    let at = list.partition_point(|t| t.precedes(entry.value, entry.row));
    list.insert(at, entry);
    list.truncate(keep);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Document;

    #[test]
    fn keeps_the_strongest_the_earlier_of_equals_and_their_surroundings() {
        let mut tokens = TokenBatch::new(0, 100);
        tokens.documents.push(Document { name: "d".into(), ..Document::default() });
        tokens.push(vec![0, 11, 12, 13, 14], &[false, true, true, true, true], &[(0, 0)]);
        let latents = LatentBatch {
            d_sae: 2,
            row_starts: vec![0, 1, 2, 3, 5],
            latents: vec![0, 0, 0, 0, 1],
            values: vec![1.0, 3.0, 1.0, 2.0, -5.0],
        };
        let mut top = TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 });
        top.fold(&tokens, &tokens.views[0], &latents);
        let got: Vec<(f32, u64, u32, Vec<u32>)> =
            top.latent(0).iter().map(|t| (t.value, t.row, t.token(), t.context.to_vec())).collect();
        assert_eq!(
            got,
            [(3.0, 101, 12, vec![11, 12, 13]), (2.0, 103, 14, vec![13, 14]), (1.0, 100, 11, vec![0, 11, 12])]
        );
        assert!(top.latent(1).is_empty(), "a negative value is no firing");
        // one row of both last tokens: the last is shown
        let mut pooled = tokens.clone();
        (pooled.rows, pooled.views[0].contexts[0].row_of) =
            (tokens.rows[..3].to_vec(), vec![None, Some(0), Some(1), Some(2), Some(2)]);
        let rows = LatentBatch { d_sae: 2, row_starts: vec![0, 0, 0, 1], latents: vec![1], values: vec![4.0] };
        let mut of_rows = TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 });
        of_rows.fold(&pooled, &pooled.views[0], &rows);
        assert_eq!(of_rows.latent(1).iter().map(|t| (t.row, t.token())).collect::<Vec<_>>(), [(102, 14)]);
        let mut twice = top.clone();
        twice.merge(&TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 }));
        assert_eq!(twice, top);
    }
}
