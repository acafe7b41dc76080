//! What the corpus hands on.

use crate::ids::BatchIndex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A batch of contexts; `index` is its timestamp for the rest of its life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenBatch {
    /// Number of the batch, from 0 in corpus order.
    pub index: BatchIndex,
    /// Rows counted (see [`Context::counted`]) in all batches before this one: the number of the first counted row here.
    pub first_row: u64,
    /// The contexts, in corpus order.
    pub contexts: Vec<Context>,
    /// The documents that the contexts come from, in corpus order.
    pub documents: Vec<Document>,
}

/// One context: what a model sees at once, positions from 0, no padding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Token ids, BOS included where the options put one: `[len]`, 1 ≤ len ≤ context_length.
    pub ids: Vec<u32>,
    /// Whether position i enters the sums: false for BOS, EOS and padding unless `count_special`. `[len]`.
    pub counted: Vec<bool>,
    /// Where documents begin inside the context: (first position, index into [`TokenBatch::documents`]), ascending;
    /// exactly one entry unless `pack` is set.
    pub documents: Vec<(u32, u32)>,
}

/// A document as far as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Running number over the whole corpus, from 0.
    pub number: u64,
    /// A key of the file it stands in: of its name and first record, the same wherever the file stands in the list.
    pub file: u64,
    /// Number of its record in the file.
    pub record: u64,
    /// Number of the document in its record: more than 0 behind an EOS that is written in the record's text.
    pub part: u32,
    /// Its `id` field where it has one, else `FILE:RECORD` (record from 1); `#2`, `#3` … behind it for further parts. Shared with
    /// what remembers it.
    pub name: Arc<str>,
    /// Values of the label fields, in the order of `labels` in the options; `None` where the record has none.
    pub labels: Vec<Option<String>>,
}

impl TokenBatch {
    /// Number of counted rows in the batch.
    pub fn n_rows(&self) -> usize {
        self.contexts.iter().map(|c| c.counted.iter().filter(|&&k| k).count()).sum()
    }

    /// Every counted row in order: (context, position in it).
    pub fn rows(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.contexts
            .iter()
            .enumerate()
            .flat_map(|(c, context)| (0..context.ids.len()).filter(|&p| context.counted[p]).map(move |p| (c, p)))
    }

    /// The document that position `p` of context `c` belongs to.
    pub fn document_of(&self, c: usize, p: usize) -> &Document {
        let starts = &self.contexts[c].documents;
        let at = starts.partition_point(|&(first, _)| first as usize <= p).max(1) - 1;
        &self.documents[starts[at].1 as usize]
    }
}
