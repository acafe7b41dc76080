//! The batches of a corpus. Rows are compared; views hold the tokens that each model is given.

use crate::ids::BatchIndex;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// A batch of the corpus: its rows, and the tokens that models are given for them. `index` is the batch's timestamp in the
/// dataflow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenBatch {
    /// Number of the batch, from 0 in corpus order.
    pub index: BatchIndex,
    /// Number of rows in all batches before this one: the number of the first row here.
    pub first_row: u64,
    /// What is compared, in corpus order: `[n_rows]`.
    pub rows: Vec<Row>,
    /// The documents that the rows come from, in corpus order.
    pub documents: Vec<Document>,
    /// What models are fed: one view per tokenizer.
    pub views: Vec<TokenView>,
    /// What is in no row of this batch or the batches before it, and in that of none of those. Nothing where each token is a row.
    pub left_out: LeftOut,
}

/// What was read and is in no row, because not all tokenizers share it, or in more rows than was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Documents, or rests of documents, in which a tokenizer does not say which bytes its tokens are of.
    pub unaligned_documents: u64,
    /// Bytes of text, those documents' not counted: in pieces between common ends that are longer than a context, and with
    /// remainder = "drop" in short contexts.
    pub bytes: u64,
    /// Words, sentences or documents that are several rows, because they are too long for one.
    #[serde(default)]
    pub cut_units: u64,
}

impl LeftOut {
    /// Adds what was left out elsewhere.
    pub fn add(&mut self, other: LeftOut) {
        self.unaligned_documents += other.unaligned_documents;
        self.bytes += other.bytes;
        self.cut_units += other.cut_units;
    }
}

/// A row of every sum: a piece of text that all models have read. With one tokenizer it is a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Index into [`TokenBatch::documents`].
    pub document: u32,
    /// Number of its context in the batch, as the first view has it; of a row that runs over contexts the last.
    pub context: u32,
    /// Which text it is, where rows are pieces of text; `None` where a row is a token.
    pub text: Option<RowText>,
}

/// The piece of text of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowText {
    /// First byte in the text of its record.
    pub start: u64,
    /// The byte behind its last.
    pub end: u64,
    /// A hash of its bytes, the same for the same bytes.
    pub key: u64,
}

/// A batch as one tokenizer cuts it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenView {
    /// Number of its tokens that belong to a row in all batches before this one: the number of the first such token here.
    pub first_token: u64,
    /// The contexts, in corpus order.
    pub contexts: Vec<Context>,
}

/// One context: what a model sees at once, positions from 0, no padding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Token ids, BOS included where the options put one: `[len]`, 1 ≤ len ≤ context_length.
    pub ids: Vec<u32>,
    /// The row that position i belongs to, an index into [`TokenBatch::rows`], ascending; `None` for BOS, EOS and padding
    /// unless `count_special`. `[len]`.
    pub row_of: Vec<Option<u32>>,
}

/// A document as far as it is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Running number over the whole corpus, from 0.
    pub number: u64,
    /// A key of its file: of the file's name and first record, the same wherever the file comes in the list.
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
    /// A batch without rows, to be filled by [`TokenBatch::push`], for one tokenizer.
    pub fn new(index: BatchIndex, first_row: u64) -> Self {
        let view = TokenView { first_token: first_row, contexts: Vec::new() };
        TokenBatch { index, first_row, views: vec![view], ..TokenBatch::default() }
    }

    /// Appends a context; each counted token is a row. `counted: [len]`; `starts`: where documents begin in it, as
    /// (first position, index into [`TokenBatch::documents`]), ascending, the first at position 0.
    ///
    /// # Panics
    /// When the lengths differ, or the batch has more than one view.
    pub fn push(&mut self, ids: Vec<u32>, counted: &[bool], starts: &[(u32, u32)]) {
        assert_eq!((ids.len(), self.views.len()), (counted.len(), 1), "one view, a flag for each id");
        let context = self.views[0].contexts.len() as u32;
        let mut later = starts.iter().peekable();
        let mut document = 0;
        let row_of = (0u32..)
            .zip(counted)
            .map(|(position, counted)| {
                while let Some(&(_, begun)) = later.next_if(|(first, _)| *first <= position) {
                    document = begun;
                }
                counted.then(|| {
                    self.rows.push(Row { document, context, text: None });
                    self.rows.len() as u32 - 1
                })
            })
            .collect();
        self.views[0].contexts.push(Context { ids, row_of });
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.rows.len()
    }

    /// The document that row `r` comes from.
    pub fn document_of(&self, r: usize) -> &Document {
        &self.documents[self.rows[r].document as usize]
    }
}

impl TokenView {
    /// Every token that belongs to a row, in order: (row, context, position in it).
    pub fn tokens(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        self.contexts.iter().enumerate().flat_map(|(c, context)| context.tokens().map(move |(r, p)| (r, c, p)))
    }

    /// The numbers of its tokens that belong to a row, among all of the corpus.
    pub fn token_numbers(&self) -> Range<u64> {
        self.first_token..self.first_token + self.tokens().count() as u64
    }

    /// The rows that tokens belong to, in order of token: `[n_tokens]`, where n_tokens counts tokens that belong to one.
    pub fn rows_of_tokens(&self) -> Vec<u32> {
        self.tokens().map(|(r, _, _)| r as u32).collect()
    }
}

impl Context {
    /// Every position that belongs to a row, ascending: (row, position).
    pub fn tokens(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.row_of.iter().enumerate().filter_map(|(p, r)| Some(((*r)? as usize, p)))
    }
}
