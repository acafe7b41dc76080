//! The strongest tokens of every latent, with the text around them.

use crate::corpus::{TokenBatch, TokenView};
use crate::error::Result;
use crate::moments::{Accumulator, State};
use crate::sae::LatentBatch;
use crate::store::{StateLayout, StateReader, StateWriter};
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
    /// Position of the token in `context`.
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

    /// All latents' entries.
    pub fn latents(&self) -> &[Vec<TopToken>] {
        &self.latents
    }

    fn entries(&self) -> impl Iterator<Item = &TopToken> {
        self.latents.iter().flatten()
    }
}

impl State for TopTokens {
    fn lay_out(&self, layout: StateLayout) -> StateLayout {
        let n = self.entries().count();
        let total = |length: fn(&TopToken) -> usize| self.entries().map(length).sum::<usize>();
        layout
            .tensor::<u32>("top.counts", &[self.latents.len()])
            .tensor::<f32>("top.value", &[n])
            .tensor::<u64>("top.row", &[n])
            .tensor::<u32>("top.at", &[n])
            .tensor::<u32>("top.context_lengths", &[n])
            .tensor::<u32>("top.context", &[total(|t| t.context.len())])
            .tensor::<u32>("top.document_lengths", &[n])
            .tensor::<u8>("top.documents", &[total(|t| t.document.len())])
    }

    fn save(&self, file: &mut StateWriter) -> Result<()> {
        let words = |of: fn(&TopToken) -> u32| self.entries().map(of).collect::<Vec<u32>>();
        file.put("top.counts", &self.latents.iter().map(|l| l.len() as u32).collect::<Vec<u32>>())?;
        file.put("top.value", &self.entries().map(|t| t.value).collect::<Vec<f32>>())?;
        file.put("top.row", &self.entries().map(|t| t.row).collect::<Vec<u64>>())?;
        file.put("top.at", &words(|t| t.at))?;
        file.put("top.context_lengths", &words(|t| t.context.len() as u32))?;
        self.entries().try_for_each(|t| file.put("top.context", &t.context))?;
        file.put("top.document_lengths", &words(|t| t.document.len() as u32))?;
        self.entries().try_for_each(|t| file.put("top.documents", t.document.as_bytes()))
    }

    fn load(&mut self, file: &mut StateReader, first_row: u64) -> Result<()> {
        let counts: Vec<u32> = file.tensor("top.counts")?;
        let (values, rows): (Vec<f32>, Vec<u64>) = (file.tensor("top.value")?, file.tensor("top.row")?);
        let (at, lengths): (Vec<u32>, Vec<u32>) = (file.tensor("top.at")?, file.tensor("top.context_lengths")?);
        let (context, names): (Vec<u32>, Vec<u8>) = (file.tensor("top.context")?, file.tensor("top.documents")?);
        let name_lengths: Vec<u32> = file.tensor("top.document_lengths")?;
        let n = values.len();
        let total = |v: &[u32]| v.iter().map(|&x| x as usize).sum::<usize>();
        if [rows.len(), at.len(), lengths.len(), name_lengths.len(), total(&counts)] != [n; 5]
            || total(&lengths) != context.len()
            || total(&name_lengths) != names.len()
            || counts.len() != self.latents.len()
            || counts.iter().any(|&c| c as usize > self.options.keep)
            || at.iter().zip(&lengths).any(|(at, length)| at >= length)
        {
            return Err(file.misfit());
        }
        let (mut next_context, mut next_name) = (0, 0);
        let mut entries = (0..n).map(|k| {
            let span = next_context..next_context + lengths[k] as usize;
            let name = next_name..next_name + name_lengths[k] as usize;
            (next_context, next_name) = (span.end, name.end);
            let document = String::from_utf8_lossy(&names[name]).into();
            TopToken { value: values[k], row: first_row + rows[k], context: context[span].into(), at: at[k], document }
        });
        let latents = counts.iter().map(|&c| entries.by_ref().take(c as usize).collect()).collect();
        self.merge(&TopTokens { options: self.options, latents })
    }
}

impl Accumulator for TopTokens {
    /// The latents have one row for every row of the tokens, of which the view is what is shown: of a row of several tokens
    /// the one on which the latent is greatest, where the latents say it, else the last.
    type Batch<'a> = (&'a TokenBatch, &'a TokenView, &'a LatentBatch);
    /// Number of latents, and how much is kept of each.
    type Shape = (usize, TopOptions);

    /// Zeros and negative values are not firings.
    fn fold(&mut self, (tokens, view, latents): Self::Batch<'_>) -> Result<()> {
        let places: Vec<(usize, usize)> =
            if latents.peaks.is_empty() { Vec::new() } else { view.tokens().map(|(_, c, p)| (c, p)).collect() };
        let mut shown = view.tokens().peekable();
        while let Some((r, c, p)) = shown.next() {
            if shown.peek().is_some_and(|(next, ..)| *next == r) {
                continue;
            }
            let row = tokens.first_row + r as u64;
            let (ids, values) = latents.row(r);
            let first = latents.row_starts[r] as usize;
            for (e, (&latent, &value)) in ids.iter().zip(values).enumerate() {
                let list = &mut self.latents[latent as usize];
                if value <= 0.0
                    || (list.len() == self.options.keep && list.last().is_none_or(|w| w.precedes(value, row)))
                {
                    continue;
                }
                let (c, p) = latents.peaks.get(first + e).map_or((c, p), |token| places[*token as usize]);
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
        Ok(())
    }

    fn merge(&mut self, other: &TopTokens) -> Result<()> {
        for (mine, theirs) in self.latents.iter_mut().zip(&other.latents) {
            for entry in theirs {
                insert(mine, entry.clone(), self.options.keep);
            }
        }
        Ok(())
    }

    /// Names of documents are shared, and short.
    fn bytes(&(d_sae, options): &Self::Shape) -> u64 {
        let context = (options.before + options.after + 1) as u64;
        d_sae as u64 * (8 + options.keep as u64 * (96 + 4 * context))
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
            ..LatentBatch::default()
        };
        let mut top = TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 });
        top.fold((&tokens, &tokens.views[0], &latents)).unwrap();
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
        // or, where the latents say it, the one on which the latent is greatest
        for (peaks, token) in [(vec![], 14), (vec![2], 13)] {
            let rows =
                LatentBatch { d_sae: 2, row_starts: vec![0, 0, 0, 1], latents: vec![1], values: vec![4.0], peaks };
            let mut of_rows = TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 });
            of_rows.fold((&pooled, &pooled.views[0], &rows)).unwrap();
            assert_eq!(of_rows.latent(1).iter().map(|t| (t.row, t.token())).collect::<Vec<_>>(), [(102, token)]);
        }
        let mut twice = top.clone();
        twice.merge(&TopTokens::new(2, TopOptions { keep: 3, before: 1, after: 1 })).unwrap();
        assert_eq!(twice, top);
    }
}
