//! What is cut, by what a row is: contexts of one tokenizer, or rows with the contexts of several. The stream treats
//! both alike.

use super::batch::{Row, TokenBatch, TokenView};
use super::cursor::ReaderState;
use super::cutter::{Counts, Cut, Cutter};
use super::options::{CorpusOptions, RowRule};
use super::parse::Piece;
use super::row_contexts::SpanCut;
use super::span_cutter::SpanCutter;
use super::tokenizer::Tokenizer;
use super::{Context, Document};
use crate::error::Result;
use std::sync::Arc;

/// Cuts documents, by what a row is.
pub(super) enum AnyCutter {
    Tokens(Box<Cutter>),
    Spans(Box<SpanCutter>),
}

/// What is handed out at once.
pub(super) enum Handed {
    /// A context whose tokens are rows.
    Context(Cut),
    /// Rows that end in one context of the first tokenizer.
    Rows(SpanCut),
}

impl Handed {
    /// As how many of a batch's contexts it counts.
    pub(super) fn counts_as(&self) -> usize {
        match self {
            Handed::Context(_) => 1,
            Handed::Rows(cut) => cut.counts_as,
        }
    }
}

impl AnyCutter {
    /// A cutter by `options`.
    ///
    /// # Errors
    /// As [`Cutter::new`] and [`SpanCutter::new`].
    pub(super) fn new(options: &CorpusOptions, tokenizers: &[Arc<Tokenizer>]) -> Result<AnyCutter> {
        Ok(match options.rows {
            RowRule::Tokens => AnyCutter::Tokens(Box::new(Cutter::new(options, &tokenizers[0])?)),
            RowRule::Spans(..) => AnyCutter::Spans(Box::new(SpanCutter::new(options, tokenizers)?)),
        })
    }

    /// What is put before contexts or documents, of each tokenizer.
    pub(super) fn bos_ids(&self) -> Vec<Option<u32>> {
        match self {
            AnyCutter::Tokens(cutter) => vec![cutter.bos_id()],
            AnyCutter::Spans(cutter) => cutter.bos_ids(),
        }
    }

    /// What is put between packed documents, of each tokenizer.
    pub(super) fn eos_ids(&self) -> Vec<Option<u32>> {
        match self {
            AnyCutter::Tokens(cutter) => vec![cutter.eos_id()],
            AnyCutter::Spans(cutter) => cutter.eos_ids(),
        }
    }

    /// Begins a document.
    pub(super) fn open(&mut self, document: Document, counts: &mut Counts) {
        match self {
            AnyCutter::Tokens(cutter) => cutter.open(document, counts),
            AnyCutter::Spans(cutter) => cutter.open(document, counts),
        }
    }

    /// Takes the next piece of the open document.
    pub(super) fn push(&mut self, piece: &Piece, counts: &mut Counts, out: &mut Vec<Handed>) {
        match self {
            AnyCutter::Tokens(cutter) => contexts(out, |cuts| cutter.push(piece, counts, cuts)),
            AnyCutter::Spans(cutter) => rows(out, |cuts| cutter.push(piece, counts, cuts)),
        }
    }

    /// Ends the open document, if one is.
    pub(super) fn close(&mut self, counts: &mut Counts, out: &mut Vec<Handed>) {
        match self {
            AnyCutter::Tokens(cutter) => contexts(out, |cuts| cutter.close(cuts)),
            AnyCutter::Spans(cutter) => rows(out, |cuts| cutter.close(counts, cuts)),
        }
    }

    /// Ends the corpus.
    pub(super) fn finish(&mut self, counts: &mut Counts, out: &mut Vec<Handed>) {
        match self {
            AnyCutter::Tokens(cutter) => contexts(out, |cuts| cutter.finish(cuts)),
            AnyCutter::Spans(cutter) => rows(out, |cuts| cutter.finish(counts, cuts)),
        }
    }

    /// Writes down what the next piece needs.
    pub(super) fn save(&self, state: &mut ReaderState) {
        match self {
            AnyCutter::Tokens(cutter) => state.carry = cutter.carry.clone(),
            AnyCutter::Spans(cutter) => state.spans = Some(Box::new(cutter.carry.clone())),
        }
    }

    /// Goes back to what was written down.
    pub(super) fn load(&mut self, state: &ReaderState) {
        match self {
            AnyCutter::Tokens(cutter) => cutter.carry = state.carry.clone(),
            AnyCutter::Spans(cutter) => cutter.go_back(state.spans.as_deref().cloned()),
        }
    }
}

fn contexts(out: &mut Vec<Handed>, cut: impl FnOnce(&mut Vec<Cut>)) {
    let mut cuts = Vec::new();
    cut(&mut cuts);
    out.extend(cuts.into_iter().map(Handed::Context));
}

fn rows(out: &mut Vec<Handed>, cut: impl FnOnce(&mut Vec<SpanCut>)) {
    let mut cuts = Vec::new();
    cut(&mut cuts);
    out.extend(cuts.into_iter().map(Handed::Rows));
}

/// A batch that is being filled.
pub(super) struct Filling {
    pub(super) batch: TokenBatch,
    /// Number of the last context of each view, where contexts are numbered.
    last: Vec<Option<u64>>,
}

impl Filling {
    /// Nothing in it yet; `first_tokens`: how many tokens of each view belong to a row before it.
    pub(super) fn new(index: u64, first_row: u64, first_tokens: &[u64]) -> Filling {
        let views = first_tokens.iter().map(|&first_token| TokenView { first_token, contexts: Vec::new() }).collect();
        let batch = TokenBatch { index, first_row, views, ..TokenBatch::default() };
        Filling { batch, last: vec![None; first_tokens.len()] }
    }

    /// Puts what was cut behind what is there, its documents by their number in the batch.
    pub(super) fn add(&mut self, handed: Handed) {
        let batch = &mut self.batch;
        let documents = &mut batch.documents;
        let mut at = |document: &Arc<Document>| {
            if documents.last().is_none_or(|last| last.number != document.number) {
                documents.push((**document).clone());
            }
            documents.len() as u32 - 1
        };
        match handed {
            Handed::Context(cut) => {
                let starts: Vec<(u32, u32)> = cut.documents.iter().map(|(position, d)| (*position, at(d))).collect();
                batch.push(cut.ids, &cut.counted, &starts);
            }
            Handed::Rows(cut) => {
                let offset = batch.rows.len() as u32;
                // rows with their document, and for now the number of their context
                let rows: Vec<_> =
                    cut.rows.iter().map(|(document, text, number)| (at(document), *text, *number)).collect();
                let mut numbers = Vec::new();
                for ((view, last), contexts) in batch.views.iter_mut().zip(&mut self.last).zip(cut.contexts) {
                    let mut places = Vec::with_capacity(contexts.len());
                    for context in contexts {
                        let row_of: Vec<Option<u32>> =
                            context.row_of.iter().map(|row| Some((*row)? + offset)).collect();
                        if last.replace(context.number) == Some(context.number) {
                            // its earlier rows went out before
                            let there = view.contexts.last_mut().expect("its number is remembered");
                            there.row_of.iter_mut().zip(row_of).for_each(|(mine, more)| *mine = more.or(*mine));
                        } else {
                            view.contexts.push(Context { ids: context.ids, row_of });
                        }
                        places.push((context.number, view.contexts.len() as u32 - 1));
                    }
                    numbers.push(places);
                }
                let context = |number: u64| {
                    let place = numbers[0].iter().find(|(n, _)| *n == number);
                    place.expect("a row goes out with its contexts").1
                };
                let row = |(document, text, number)| Row { document, context: context(number), text: Some(text) };
                batch.rows.extend(rows.into_iter().map(row));
                batch.left_out.add(cut.left_out);
            }
        }
    }
}
