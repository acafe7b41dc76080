//! On which other rows are listed partners compared, and how many keys of rows are remembered?

use crate::corpus::RowUnit;
use crate::moments::{Accumulator, GivenSums, ListedSums, PartnerIndex, RowKey, RowMemory};
use crate::plan::steps::Steps;
use crate::plan::{Origin, Pair, Space};

/// Bytes that the remembered rows of one space may take; rows with more latents leave room for fewer keys.
const SPACE_BYTES: u64 = 256 << 20;

/// Bigrams that are remembered where rows are short.
const BIGRAMS: usize = 1 << 18;

/// Rows of text that are remembered for each token of the vocabularies.
const TEXTS_A_TOKEN: usize = 4;

/// Tokens of the words that are remembered, on average at most.
const TOKENS_A_WORD: usize = 4;

/// What a listed pair's figures take in addition to its sums, on their way to the tables.
const FIGURES_BYTES: u64 = 128;

impl Steps {
    /// What rows have in common with their partners, and how many keys are remembered; `None` where no partner is looked for.
    pub fn given_slots(&self) -> Option<(RowKey, usize)> {
        let key = self.spec.estimate.null.given.key()?;
        let longest = self.spaces.iter().map(|space| self.entries_remembered(space)).max().unwrap_or(0);
        let fit = (SPACE_BYTES / RowMemory::bytes(1, longest)).max(1) as usize;
        Some((
            key,
            match key {
                RowKey::Bigram => 1 << fit.min(BIGRAMS).ilog2(),
                RowKey::Token | RowKey::Position => fit.min(self.n_keys(key)),
            },
        ))
    }

    /// Latents of a remembered row that are not 0, at most: those of its tokens, each other ones.
    fn entries_remembered(&self, space: &Space) -> usize {
        let corpus = &self.spec.corpus;
        let tokens = match corpus.rows.unit() {
            RowUnit::Token => 1,
            RowUnit::Word => TOKENS_A_WORD,
            RowUnit::Sentence | RowUnit::Document => corpus.batch_contexts.saturating_mul(corpus.context_length),
        };
        entries_per_row(space).saturating_mul(tokens).min(space.width)
    }

    /// Keys that there can be.
    fn n_keys(&self, key: RowKey) -> usize {
        match key {
            RowKey::Position => self.spec.corpus.context_length,
            RowKey::Token | RowKey::Bigram => {
                let of_models = self.models.iter().map(|m| m.shape.n_vocab).max().unwrap_or(0);
                let of_tokenizers = self.tokenizers.iter().map(|t| t.vocab_size()).sum::<usize>();
                // a row of text is known by its bytes, of which there are more than tokens
                let known = if of_tokenizers > 0 { of_tokenizers } else { of_models };
                if self.spec.compare.is_of_text() { TEXTS_A_TOKEN * known } else { known }.max(1)
            }
        }
    }

    /// Bytes of a space's remembered rows, with what they are found by and what its tokens explain of it; 0 where none are.
    pub fn given_bytes(&self, space: &Space) -> u64 {
        self.given_slots().map_or(0, |(key, n_slots)| {
            let found_by = PartnerIndex::bytes(n_slots, self.n_keys(key)) / self.spaces.len().max(1) as u64;
            RowMemory::bytes(n_slots, self.entries_remembered(space)) + 2 * GivenSums::bytes(&space.width) + found_by
        })
    }

    /// Pairs of latents that are listed at most of a pair of spaces.
    pub fn most_listed(&self, pair: Pair) -> u64 {
        let latents = self.spaces[pair.source].width + self.spaces[pair.target].width;
        latents as u64 * self.spec.estimate.listed.min(self.spec.estimate.best) as u64
    }

    /// Bytes of what is counted of them.
    pub fn listed_bytes(&self, pair: Pair) -> u64 {
        let most = self.most_listed(pair);
        ListedSums::bytes(&most) + most * FIGURES_BYTES
    }

    /// Bytes for each row of a batch of what listed pairs are folded from: own, partner's and differing entries, by row and by latent.
    pub fn turned_bytes(&self) -> u64 {
        if self.spec.estimate.listed == 0 {
            return 0;
        }
        let entries: u64 = self.spaces.iter().map(|s| entries_per_row(s) as u64).sum();
        let given = self.spec.estimate.null.given.key().is_some();
        entries * if given { 56 } else { 8 }
    }
}

/// Latents of a row that are not 0, at most.
fn entries_per_row(space: &Space) -> usize {
    match &space.origin {
        Origin::Sae { sae, .. } => sae.shape.entries_per_row(sae.encode),
        Origin::Fed { most, .. } => *most,
        Origin::Raw { .. } => space.width,
    }
}
