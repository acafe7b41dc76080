//! Where do contexts begin and end when rows are pieces of text? Pieces of documents come in, contexts of every tokenizer go out, with the
//! rows that end in a context of the first.
//!
//! On the way: `align` finds the pieces that all tokenizers share, `gather` puts them together to rows, contexts are cut here, and
//! `row_contexts` hands them on when their rows are whole. The rules of `[corpus]` are those of `cutter`, read for several tokenizers:
//!
//! - BOS and EOS are each tokenizer's own and in no row. One without BOS begins its contexts without; `pack` needs an EOS of all.
//! - With common contexts all tokenizers' contexts end together, before the first row with which one of them would be too long. A piece with
//!   more tokens than a context holds is left out, and ends a context.
//! - With own contexts each is cut when it is full, and a row may run over two. Rows of whole units (`compare.unit`) begin a context where
//!   what is left of the last is too short for them.
//! - A row of a whole unit that fits no context begins one and runs over several, which are cut between its pieces where contexts are
//!   common, and else when they are full.
//! - An EOS written in a text ends the document for all, whichever tokenizer's it is; its bytes are in no row.
//! - `remainder = "drop"` leaves out the short last context, and the rows in it.
//! - `shuffle` permutes the rows of a document, or blocks of them.
//! - A document, or its rest, in which a tokenizer does not say which bytes its tokens are of is left out and counted.

use super::align::Aligner;
use super::batch::{Document, LeftOut};
use super::cutter::{Counts, Open, next_part};
use super::gather::{Gatherer, Gathering, Pieces, Room, TextRow};
use super::options::{BosRule, CorpusOptions, Remainder, RowRule, RowUnit, SpanContexts};
use super::parse::Piece;
use super::row_contexts::{RowContexts, SpanCut};
use super::sample::Sample;
use super::shuffle::{PlaceOfPiece, Shuffle};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is carried from one piece to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SpanCarry {
    aligner: Aligner,
    gathering: Gathering,
    open: Option<Open>,
    /// Packed: the last document that gave a row.
    before: Option<Arc<Document>>,
    pub(super) contexts: RowContexts,
}

/// Cuts documents into contexts of several tokenizers.
pub(super) struct SpanCutter {
    context_length: usize,
    contexts: SpanContexts,
    gatherer: Gatherer,
    bos: BosRule,
    /// `[n_views]`
    bos_ids: Vec<Option<u32>>,
    pack: bool,
    eos_ids: Vec<Option<u32>>,
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
        let RowRule::Spans(contexts, unit) = options.rows else {
            unreachable!("asked for where rows are pieces of text")
        };
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
            format!(
                "count_special makes rows of BOS and EOS, but with {} a row is a piece of text; take it out",
                options.rows
            )
        } else {
            let split_at = eos_ids.iter().map(|id| id.filter(|_| options.split_at_eos)).collect();
            let own = |id: &Option<u32>| usize::from(bos == BosRule::Context && id.is_some());
            let of_piece = bos_ids.iter().map(|id| options.context_length - own(id)).collect();
            let room = Room {
                of_piece: (contexts == SpanContexts::Common).then_some(of_piece),
                of_context: vec![options.context_length + 1 - least; bos_ids.len()],
                contexts: options.batch_contexts,
            };
            return Ok(SpanCutter {
                context_length: options.context_length,
                contexts,
                gatherer: Gatherer { unit, room, split_at },
                bos,
                carry: SpanCarry { contexts: RowContexts::new(bos_ids.len()), ..SpanCarry::default() },
                bos_ids,
                pack,
                eos_ids,
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
                self.carry.contexts.leave_out(LeftOut { unaligned_documents: 1, ..LeftOut::default() });
                return self.close(counts, out);
            };
            let mut segments = Vec::new();
            let behind = self.carry.aligner.push(spans.text.len() as u64, tokens, piece.closes, &mut segments);
            let parts = self.gatherer.push(&mut self.carry.gathering, &spans.text, segments, piece.closes);
            self.put_parts(parts, counts, out);
            if behind > 0 {
                self.carry.contexts.leave_out(LeftOut { bytes: behind, ..LeftOut::default() });
            }
        }
        if piece.closes {
            self.close(counts, out);
        }
    }

    /// Puts rows, those behind each EOS apart.
    fn put_parts(&mut self, parts: Vec<Vec<TextRow>>, counts: &mut Counts, out: &mut Vec<SpanCut>) {
        for (k, rows) in parts.iter().enumerate() {
            if k > 0 {
                self.end_part(out);
            }
            self.put_part(rows, counts, out);
        }
    }

    /// Puts rows of the open document, or of the next part of its record where it has ended.
    fn put_part(&mut self, rows: &[TextRow], counts: &mut Counts, out: &mut Vec<SpanCut>) {
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
        let order: Vec<u32> = (0..rows.len() as u32).collect();
        let order = match self.shuffle {
            Some((shuffle, seed)) => {
                let Document { file, record, part, .. } = *document;
                shuffle.permuted(&order, seed, PlaceOfPiece { file, record, part, piece })
            }
            None => order,
        };
        if begins {
            self.begin(&document, &rows[order[0] as usize], out);
        }
        for k in order {
            self.put_row(&rows[k as usize], &document, out);
        }
    }

    /// Puts what stands between packed documents and before each.
    fn begin(&mut self, document: &Arc<Document>, first: &TextRow, out: &mut Vec<SpanCut>) {
        let one = |ids: &[Option<u32>]| Pieces::one(ids.iter().map(|id| id.iter().copied().collect()).collect());
        let (eos, bos) = (one(&self.eos_ids), one(&self.bos_ids));
        if self.pack && self.carry.before.replace(document.clone()).is_some() {
            self.put(&eos, None);
            self.carry.contexts.hand_on(self.is_whole_units(), out);
        }
        if self.bos == BosRule::Document {
            if self.is_whole_units() {
                self.make_room(&first.pieces, 1);
            }
            self.put(&bos, None);
            self.carry.contexts.hand_on(self.is_whole_units(), out);
        }
    }

    /// An EOS in the text: the document ends, unless it has not begun.
    fn end_part(&mut self, out: &mut Vec<SpanCut>) {
        let Some(open) = self.carry.open.as_mut().filter(|open| open.has_begun) else { return };
        open.has_ended = true;
        if !self.pack {
            self.end_contexts(out);
        }
    }

    /// Ends the open document, if one is: what was read of it and waits comes first.
    pub(super) fn close(&mut self, counts: &mut Counts, out: &mut Vec<SpanCut>) {
        let parts = self.gatherer.push(&mut self.carry.gathering, "", Vec::new(), true);
        self.put_parts(parts, counts, out);
        self.carry.aligner = Aligner::default();
        if self.carry.open.take().is_some() && !self.pack {
            self.end_contexts(out);
        }
    }

    /// Ends the corpus.
    pub(super) fn finish(&mut self, counts: &mut Counts, out: &mut Vec<SpanCut>) {
        self.close(counts, out);
        self.end_contexts(out);
        let all_left_out = self.carry.contexts.all_left_out;
        self.go_back(None);
        self.carry.contexts.all_left_out = all_left_out;
    }

    /// Goes back to what was carried at some place; to the beginning for none.
    pub(super) fn go_back(&mut self, carry: Option<SpanCarry>) {
        let contexts = RowContexts::new(self.bos_ids.len());
        self.carry = carry.unwrap_or(SpanCarry { contexts, ..SpanCarry::default() });
    }

    fn end_contexts(&mut self, out: &mut Vec<SpanCut>) {
        self.carry.contexts.end_all(self.keep);
        self.carry.contexts.hand_on(self.is_whole_units(), out);
    }

    /// Whether rows are more than the pieces that all tokenizers share.
    fn is_whole_units(&self) -> bool {
        self.gatherer.unit != RowUnit::Token
    }

    /// Tokens that a context of each tokenizer begins with.
    fn at_the_beginning(&self, view: usize) -> usize {
        usize::from(self.bos == BosRule::Context && self.bos_ids[view].is_some())
    }

    /// Whether `more` tokens of each tokenizer fit behind those that are there.
    fn fits(&self, more: impl Fn(usize) -> usize) -> bool {
        (0..self.bos_ids.len()).all(|view| self.carry.contexts.n_begun(view) + more(view) <= self.context_length)
    }

    /// Ends contexts in which a row of whole units would not fit, with `before` tokens before it.
    fn make_room(&mut self, pieces: &Pieces, before: usize) {
        match self.contexts {
            SpanContexts::Common => {
                if !self.fits(|view| before + pieces.n_tokens(view)) && self.carry.contexts.any_has_row() {
                    self.carry.contexts.end_all(true);
                }
            }
            SpanContexts::Own => {
                for view in 0..self.bos_ids.len() {
                    let contexts = &mut self.carry.contexts;
                    let n = contexts.n_begun(view) + before + pieces.n_tokens(view);
                    if n > self.context_length && contexts.has_row(view) {
                        contexts.end(view);
                    }
                }
            }
        }
    }

    /// Puts a row behind what is there.
    fn put_row(&mut self, row: &TextRow, document: &Arc<Document>, out: &mut Vec<SpanCut>) {
        if row.cuts {
            self.carry.contexts.leave_out(LeftOut { cut_units: 1, ..LeftOut::default() });
        }
        if self.is_whole_units() {
            self.make_room(&row.pieces, 0);
        }
        self.put(&row.pieces, Some((document, row)));
        self.carry.contexts.hand_on(self.is_whole_units(), out);
    }

    /// Puts tokens of a row, or of none, behind what is there. A single piece that fits no common context is left out.
    fn put(&mut self, pieces: &Pieces, row: Option<(&Arc<Document>, &TextRow)>) {
        let number = row.map(|_| self.carry.contexts.next_row());
        let n_views = self.bos_ids.len();
        let (mut first, mut last) = (vec![0; n_views], vec![0; n_views]);
        for piece in 0..pieces.n() {
            if self.contexts == SpanContexts::Common {
                let n = |view: usize| pieces.of(piece, view).len();
                if pieces.n() == 1
                    && !(0..n_views).all(|view| self.at_the_beginning(view) + n(view) <= self.context_length)
                {
                    self.carry.contexts.end_all(true);
                    if let Some((_, row)) = row {
                        let bytes = row.text.end - row.text.start;
                        self.carry.contexts.leave_out(LeftOut { bytes, ..LeftOut::default() });
                    }
                    return;
                }
                if !self.fits(n) {
                    self.carry.contexts.end_all(true);
                }
            }
            for view in 0..n_views {
                let bos = self.bos_ids[view].filter(|_| self.at_the_beginning(view) > 0);
                if piece == 0 {
                    first[view] = self.carry.contexts.number(view);
                }
                // a row has tokens of every tokenizer
                last[view] = self.carry.contexts.number(view);
                for &id in pieces.of(piece, view) {
                    last[view] = self.carry.contexts.number(view);
                    self.carry.contexts.push(view, bos, id, number);
                    if self.contexts == SpanContexts::Own && self.carry.contexts.n_begun(view) == self.context_length {
                        self.carry.contexts.end(view);
                    }
                }
            }
            let is_full = |view: usize| self.carry.contexts.n_begun(view) == self.context_length;
            if self.contexts == SpanContexts::Common && (0..n_views).any(is_full) {
                self.carry.contexts.end_all(true);
            }
        }
        if let Some((document, row)) = row {
            self.carry.contexts.add_row(document.clone(), row.text, first, last);
        }
    }
}
