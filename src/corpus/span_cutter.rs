//! Where do contexts begin and end when rows are pieces of text? Pieces that all tokenizers share come in (`align`), contexts of every
//! tokenizer go out, with the rows that end in a context of the first.
//!
//! The rules of `[corpus]` are those of `cutter`, read for several tokenizers:
//!
//! - BOS and EOS are each tokenizer's own and in no row. One without BOS begins its contexts without; `pack` needs an EOS of all.
//! - With common contexts all tokenizers' contexts end together, before the first row with which one of them would be too long. A row with
//!   more tokens than a context holds is left out, and ends a context. With own contexts each is cut when it is full, and a row may run
//!   over two.
//! - An EOS written in a text ends the document for all, whichever tokenizer's it is; its bytes are in no row.
//! - `remainder = "drop"` leaves out the short last context, and the rows in it.
//! - `shuffle` permutes the rows of a document, or blocks of them.
//! - A document, or its rest, in which a tokenizer does not say which bytes its tokens are of is left out and counted.
//!
//! A context of another tokenizer than the first may hold rows of two of the first's. It then goes out twice, with the rows of each time;
//! contexts of the first go out once.

use super::align::{Aligner, Segment};
use super::batch::{Document, LeftOut, RowText};
use super::cutter::{Counts, Open, next_part};
use super::options::{BosRule, CorpusOptions, Remainder, RowRule, SpanContexts};
use super::parse::Piece;
use super::sample::Sample;
use super::shuffle::{PlaceOfPiece, Shuffle};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

/// The rows of one context of the first tokenizer, or of several over which rows run, and every context that holds a token of theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SpanCut {
    /// Each with its document, and the number of the first tokenizer's context in which it ends.
    pub(super) rows: Vec<(Arc<Document>, RowText, u64)>,
    /// One list per tokenizer.
    pub(super) contexts: Vec<Vec<Numbered>>,
    /// What was left out since the last one.
    pub(super) left_out: LeftOut,
}

/// A context with its number among its tokenizer's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) ids: Vec<u32>,
    /// Of each position, an index into the rows that it goes out with.
    pub(super) row_of: Vec<Option<u32>>,
}

/// What is carried from one piece to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SpanCarry {
    aligner: Aligner,
    open: Option<Open>,
    /// Packed: the last document that gave a row.
    before: Option<Arc<Document>>,
    views: Vec<ViewCarry>,
    /// Rows that have not gone out.
    rows: VecDeque<Pending>,
    /// Number of the first of them.
    first_row: u64,
    /// The first context of the first tokenizer whose rows have not gone out.
    next_lead: u64,
    /// Left out since the last rows that went out, and in all.
    left_out: LeftOut,
    pub(super) all_left_out: LeftOut,
}

/// The contexts of one tokenizer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ViewCarry {
    /// Number of the context begun.
    number: u64,
    begun: Begun,
    /// Those that are full and still have rows to go out.
    full: VecDeque<(u64, Begun)>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Begun {
    ids: Vec<u32>,
    /// Number of each position's row.
    row_of: Vec<Option<u64>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    document: Arc<Document>,
    text: RowText,
    /// The contexts of its first and last token, `[n_views]`.
    first: Vec<u64>,
    last: Vec<u64>,
    /// A context that it is in was dropped.
    is_dropped: bool,
}

/// Cuts documents into contexts of several tokenizers.
pub(super) struct SpanCutter {
    context_length: usize,
    contexts: SpanContexts,
    bos: BosRule,
    /// `[n_views]`
    bos_ids: Vec<Option<u32>>,
    pack: bool,
    eos_ids: Vec<Option<u32>>,
    /// What ends a document inside a text, `[n_views]`.
    split_at: Vec<Option<u32>>,
    keep: bool,
    sample: Option<Sample>,
    shuffle: Option<(Shuffle, u64)>,
    pub(super) carry: SpanCarry,
}

impl SpanCutter {
    /// A cutter by `options`, with the special ids of the tokenizers.
    ///
    /// # Errors
    /// `Request` when the options need a token that no tokenizer has, leave no room for text, or ask for rows that are no text.
    pub(super) fn new(options: &CorpusOptions, tokenizers: &[Arc<Tokenizer>]) -> Result<SpanCutter> {
        let (bos, pack) = (options.bos, options.pack);
        let RowRule::Spans(contexts) = options.rows else { unreachable!("asked for where rows are pieces of text") };
        let bos_ids: Vec<Option<u32>> = tokenizers.iter().map(|t| t.bos_or_convention()).collect();
        let eos_ids: Vec<Option<u32>> = tokenizers.iter().map(|t| t.eos_id()).collect();
        let least = 1 + usize::from(bos != BosRule::None) + usize::from(pack);
        let wrong = if options.context_length < least {
            format!(
                "context_length is {}; expected at least {least} with bos = \"{}\" and pack = {pack}, else contexts hold no text",
                options.context_length,
                bos.name()
            )
        } else if bos != BosRule::None && bos_ids.iter().all(Option::is_none) {
            format!("bos is \"{}\" but no tokenizer has a BOS token; set bos = \"none\"", bos.name())
        } else if pack && eos_ids.iter().any(Option::is_none) {
            "pack joins documents with EOS but a tokenizer has no EOS token; set pack = false".to_string()
        } else if options.count_special {
            "count_special makes rows of BOS and EOS, but with compare.align = \"span\" a row is a piece of text; take it out".to_string()
        } else {
            let split_at = eos_ids.iter().map(|id| id.filter(|_| options.split_at_eos)).collect();
            return Ok(SpanCutter {
                context_length: options.context_length,
                contexts,
                bos,
                carry: SpanCarry { views: vec![ViewCarry::default(); bos_ids.len()], ..SpanCarry::default() },
                bos_ids,
                pack,
                eos_ids,
                split_at,
                keep: options.remainder == Remainder::Keep,
                sample: options.sample,
                shuffle: options.shuffle.map(|shuffle| (shuffle, options.seed)),
            });
        };
        Err(Error::request(format!("[corpus] {wrong}")))
    }

    /// What is put before contexts or documents, of each tokenizer.
    pub(super) fn bos_ids(&self) -> Vec<Option<u32>> {
        self.bos_ids.iter().map(|id| id.filter(|_| self.bos != BosRule::None)).collect()
    }

    /// What is put between packed documents, of each tokenizer.
    pub(super) fn eos_ids(&self) -> Vec<Option<u32>> {
        self.eos_ids.iter().map(|id| id.filter(|_| self.pack)).collect()
    }

    /// Begins a document, whose number is given here. The one before it is closed.
    pub(super) fn open(&mut self, document: Document, counts: &mut Counts) {
        self.carry.open = Some(Open::begin(document, self.sample, counts));
    }

    /// Takes the next piece of the open document. What follows a bad piece of a document belongs to none and is left out.
    pub(super) fn push(&mut self, piece: &Piece, counts: &mut Counts, out: &mut Vec<SpanCut>) {
        if self.carry.open.is_none() {
            return;
        }
        if let Some(spans) = &piece.spans {
            let Some(tokens) = &spans.tokens else {
                self.leave_out(LeftOut { unaligned_documents: 1, bytes: 0 });
                return self.close(out);
            };
            let mut segments = Vec::new();
            let behind = self.carry.aligner.push(spans, tokens, piece.closes, &mut segments);
            let ends = |s: &Segment| {
                s.ids.iter().zip(&self.split_at).any(|(ids, eos)| eos.is_some_and(|eos| ids.contains(&eos)))
            };
            let is_end: Vec<bool> = segments.iter().map(ends).collect();
            let mut rest = segments.as_slice();
            for k in 0.. {
                let n = is_end[segments.len() - rest.len()..].iter().position(|end| *end).unwrap_or(rest.len());
                if k > 0 {
                    self.end_part(out);
                }
                self.put_part(&rest[..n], counts, out);
                if n == rest.len() {
                    break;
                }
                rest = &rest[n + 1..];
            }
            if behind > 0 {
                self.leave_out(LeftOut { unaligned_documents: 0, bytes: behind });
            }
        }
        if piece.closes {
            self.close(out);
        }
    }

    /// Puts rows of the open document, or of the next part of its record where it has ended.
    fn put_part(&mut self, rows: &[Segment], counts: &mut Counts, out: &mut Vec<SpanCut>) {
        let Some(open) = self.carry.open.as_ref().filter(|_| !rows.is_empty()) else { return };
        if open.has_ended {
            let before = open.document.clone();
            self.open(next_part(&before), counts);
        }
        let open = self.carry.open.as_mut().expect("one is open or was opened just now");
        let (document, begins) = (open.document.clone(), !std::mem::replace(&mut open.has_begun, true));
        let piece = open.pieces;
        open.pieces += 1;
        if !open.is_kept {
            return;
        }
        let one = |ids: &[Option<u32>]| ids.iter().map(|id| id.iter().copied().collect()).collect::<Vec<Vec<u32>>>();
        if begins {
            if self.pack && self.carry.before.replace(document.clone()).is_some() {
                self.put(&one(&self.eos_ids), None, out);
            }
            if self.bos == BosRule::Document {
                self.put(&one(&self.bos_ids), None, out);
            }
        }
        let order: Vec<u32> = (0..rows.len() as u32).collect();
        let order = match self.shuffle {
            Some((shuffle, seed)) => {
                let Document { file, record, part, .. } = *document;
                shuffle.permuted(&order, seed, PlaceOfPiece { file, record, part, piece })
            }
            None => order,
        };
        for k in order {
            let Segment { text, ids } = &rows[k as usize];
            self.put(ids, Some((&document, *text)), out);
        }
    }

    /// An EOS in the text: the document ends, unless it has not begun.
    fn end_part(&mut self, out: &mut Vec<SpanCut>) {
        let Some(open) = self.carry.open.as_mut().filter(|open| open.has_begun) else { return };
        open.has_ended = true;
        if !self.pack {
            self.end_contexts(self.keep);
            self.hand_on(out);
        }
    }

    /// Ends the open document, if one is.
    pub(super) fn close(&mut self, out: &mut Vec<SpanCut>) {
        self.carry.aligner = Aligner::default();
        if self.carry.open.take().is_some() && !self.pack {
            self.end_contexts(self.keep);
            self.hand_on(out);
        }
    }

    /// Ends the corpus.
    pub(super) fn finish(&mut self, out: &mut Vec<SpanCut>) {
        self.close(out);
        self.end_contexts(self.keep);
        self.hand_on(out);
        let all_left_out = self.carry.all_left_out;
        self.go_back(None);
        self.carry.all_left_out = all_left_out;
    }

    /// Goes back to what was carried at some place; to the beginning for none.
    pub(super) fn go_back(&mut self, carry: Option<SpanCarry>) {
        let views = vec![ViewCarry::default(); self.bos_ids.len()];
        self.carry = carry.unwrap_or(SpanCarry { views, ..SpanCarry::default() });
    }

    fn leave_out(&mut self, what: LeftOut) {
        self.carry.left_out.add(what);
        self.carry.all_left_out.add(what);
    }

    /// Tokens that a context of each tokenizer begins with.
    fn at_the_beginning(&self, view: usize) -> usize {
        usize::from(self.bos == BosRule::Context && self.bos_ids[view].is_some())
    }

    /// Puts a row behind what is there, or tokens that belong to none.
    fn put(&mut self, ids: &[Vec<u32>], row: Option<(&Arc<Document>, RowText)>, out: &mut Vec<SpanCut>) {
        if self.contexts == SpanContexts::Common {
            let fits = |view: usize, held: usize| held + ids[view].len() <= self.context_length;
            let views = 0..ids.len();
            if !views.clone().all(|view| fits(view, self.at_the_beginning(view))) {
                self.end_contexts(true);
                if let Some((_, text)) = row {
                    self.leave_out(LeftOut { unaligned_documents: 0, bytes: text.end - text.start });
                }
                return self.hand_on(out);
            }
            if !views.clone().all(|view| fits(view, self.carry.views[view].begun.ids.len())) {
                self.end_contexts(true);
            }
        }
        let number = row.map(|_| self.carry.first_row + self.carry.rows.len() as u64);
        let (mut first, mut last) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for (view, ids) in ids.iter().enumerate() {
            let (bos, own) =
                (self.bos_ids[view].filter(|_| self.at_the_beginning(view) > 0), &mut self.carry.views[view]);
            first.push(own.number);
            for &id in ids {
                if own.begun.ids.is_empty() {
                    own.begun.ids.extend(bos);
                    own.begun.row_of.resize(own.begun.ids.len(), None);
                }
                own.begun.ids.push(id);
                own.begun.row_of.push(number);
                last.truncate(view);
                last.push(own.number);
                if self.contexts == SpanContexts::Own && own.begun.ids.len() == self.context_length {
                    own.end_context();
                }
            }
            // a row has tokens of every tokenizer
            last.resize(view + 1, own.number);
        }
        if let Some((document, text)) = row {
            self.carry.rows.push_back(Pending { document: document.clone(), text, first, last, is_dropped: false });
        }
        let full = |view: &ViewCarry| view.begun.ids.len() == self.context_length;
        if self.contexts == SpanContexts::Common && self.carry.views.iter().any(full) {
            self.end_contexts(true);
        }
        self.hand_on(out);
    }

    /// Ends the contexts begun; rows in one that is not kept are dropped.
    fn end_contexts(&mut self, keep: bool) {
        let mut bytes = 0;
        for (v, view) in self.carry.views.iter_mut().enumerate() {
            if !keep {
                for row in self.carry.rows.iter_mut().rev().take_while(|row| row.last[v] >= view.number) {
                    bytes += if row.is_dropped { 0 } else { row.text.end - row.text.start };
                    row.is_dropped = true;
                }
            }
            view.end_context();
        }
        if bytes > 0 {
            self.leave_out(LeftOut { unaligned_documents: 0, bytes });
        }
    }

    /// Hands on the rows of every context of the first tokenizer whose rows are whole.
    fn hand_on(&mut self, out: &mut Vec<SpanCut>) {
        let carry = &mut self.carry;
        while carry.next_lead < carry.views[0].number {
            let n = carry.rows.iter().take_while(|row| row.last[0] <= carry.next_lead).count();
            if carry.rows.get(n).is_some_and(|row| row.first[0] <= carry.next_lead) {
                // a row runs on: this context goes out with the one behind it, once
                carry.next_lead += 1;
                continue;
            }
            let is_whole = |row: &Pending| row.last.iter().zip(&carry.views).all(|(last, view)| *last < view.number);
            if n > 0 && !is_whole(&carry.rows[n - 1]) {
                return;
            }
            let first = carry.first_row;
            let rows: Vec<Pending> = carry.rows.drain(..n).collect();
            carry.first_row += n as u64;
            carry.next_lead += 1;
            let kept: Vec<&Pending> = rows.iter().filter(|row| !row.is_dropped).collect();
            if let (Some(from), Some(to)) = (kept.first(), kept.last()) {
                let mut index = 0;
                let index_of: Vec<Option<u32>> = (rows.iter())
                    .map(|row| {
                        index += u32::from(!row.is_dropped);
                        (!row.is_dropped).then(|| index - 1)
                    })
                    .collect();
                let index_of = |row: u64| *index_of.get(usize::try_from(row.checked_sub(first)?).ok()?)?;
                let contexts = carry.views.iter().enumerate().map(|(v, view)| {
                    let here = view.full.iter().filter(|(number, _)| (from.first[v]..=to.last[v]).contains(number));
                    let numbered = |(number, begun): &(u64, Begun)| Numbered {
                        number: *number,
                        ids: begun.ids.clone(),
                        row_of: begun.row_of.iter().map(|row| index_of((*row)?)).collect(),
                    };
                    here.map(numbered).collect()
                });
                out.push(SpanCut {
                    contexts: contexts.collect(),
                    rows: kept.iter().map(|row| (row.document.clone(), row.text, row.last[0])).collect(),
                    left_out: std::mem::take(&mut carry.left_out),
                });
            }
            for (v, view) in carry.views.iter_mut().enumerate() {
                let wanted = carry.rows.front().map_or(view.number, |row| row.first[v]);
                view.full.retain(|(number, _)| *number >= wanted);
            }
        }
    }
}

impl ViewCarry {
    /// Ends the context begun, where one is.
    fn end_context(&mut self) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.ids.is_empty() {
            self.full.push_back((self.number, begun));
            self.number += 1;
        }
    }
}
