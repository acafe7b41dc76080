//! Which pieces of a text make a row together? Pieces that all tokenizers share come in (`align`), rows go out: the finest that hold whole
//! units (`compare.unit`).
//!
//! - A row ends where a piece ends at the end of a word or sentence, or in the white space behind it (`unit_ends`). An
//!   end inside a token of some tokenizer does not count: the row continues to the next end that all share.
//! - A row is not white space alone: it continues to the next end. So white space belongs to the row behind it, as
//!   tokens have it; only where nothing is behind it, at the end of a document, it is a row.
//! - A document's row ends with it. So does every row, and at an EOS in the text, which is in none.
//! - A row fills as many contexts as a batch holds, at most. One that is longer ends at the last piece before, and the rest of the unit is
//!   another row; likewise before and behind a piece that fits no context. Such units are counted.
//!
//! The bytes of the rows put together are the text but for EOS. What is not decided waits: some 16 KiB of text, and the row begun.

use super::align::Segment;
use super::batch::RowText;
use super::options::RowUnit;
use super::unit_ends::{MOST_BYTES, UnitEnd, first_end};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Tokens of every tokenizer, in pieces that begin and end together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pieces {
    /// Ids, one list per tokenizer.
    ids: Vec<Vec<u32>>,
    /// How many of them are in the pieces up to the end of each but the last: `[n_pieces - 1][n_views]`.
    stops: Vec<Vec<u32>>,
}

impl Pieces {
    /// One piece of these ids.
    pub(super) fn one(ids: Vec<Vec<u32>>) -> Pieces {
        Pieces { ids, stops: Vec::new() }
    }

    /// Pieces.
    pub(super) fn n(&self) -> usize {
        self.stops.len() + 1
    }

    /// Tokens of a tokenizer in all pieces.
    pub(super) fn n_tokens(&self, view: usize) -> usize {
        self.ids[view].len()
    }

    /// The ids of one piece.
    pub(super) fn of(&self, piece: usize, view: usize) -> &[u32] {
        let from = piece.checked_sub(1).map_or(0, |before| self.stops[before][view] as usize);
        let to = self.stops.get(piece).map_or(self.ids[view].len(), |stop| stop[view] as usize);
        &self.ids[view][from..to]
    }

    fn push(&mut self, ids: Vec<Vec<u32>>) {
        self.stops.push(self.ids.iter().map(|ids| ids.len() as u32).collect());
        self.ids.iter_mut().zip(ids).for_each(|(mine, more)| mine.extend(more));
    }
}

/// A row of text with its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextRow {
    pub(super) text: RowText,
    pub(super) pieces: Pieces,
    /// It is the first row of a unit that continues in the next row.
    pub(super) cuts: bool,
}

/// How much a row may hold.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// Tokens of an empty context, `[n_views]`: a piece with more is in no row. `None` where contexts end anywhere.
    pub(super) of_piece: Option<Vec<usize>>,
    /// The same with every special token in it that may occur: `[n_views]`, at least 1.
    pub(super) of_context: Vec<usize>,
    /// Contexts of a row, at least 1.
    pub(super) contexts: usize,
}

/// Puts pieces of a document together to rows.
pub(super) struct Gatherer {
    pub(super) unit: RowUnit,
    pub(super) room: Room,
    /// What ends a document inside a text, `[n_views]`.
    pub(super) split_at: Vec<Option<u32>>,
}

/// What of a document is in no row yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gathering {
    /// The text from `start` on, as far as it is still to be looked at or to be taken.
    text: String,
    start: u64,
    /// The end of the last piece that was taken.
    taken: u64,
    /// Where the first unit begins whose end is not known.
    next: u64,
    /// Ends that no piece has passed, ascending.
    ends: VecDeque<UnitEnd>,
    /// Pieces of which it is not known whether a row ends with them.
    waiting: VecDeque<Segment>,
    row: Option<Begun>,
    /// The next row is the rest of a unit that was cut.
    is_rest: bool,
}

/// A row begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    start: u64,
    end: u64,
    /// State of the hash of its bytes.
    hash: u64,
    is_blank: bool,
    pieces: Pieces,
    /// Tokens in the last of its contexts where they end together, `[n_views]`, and their number.
    filled: Vec<usize>,
    contexts: usize,
}

impl Gatherer {
    /// Takes the next piece of the document and gives its rows as far as they are decided, those behind each EOS apart.
    pub(super) fn push(
        &self,
        gathering: &mut Gathering,
        text: &str,
        segments: Vec<Segment>,
        is_last: bool,
    ) -> Vec<Vec<TextRow>> {
        let mut parts = vec![Vec::new()];
        gathering.text.push_str(text);
        gathering.waiting.extend(segments);
        self.look(gathering, is_last);
        while let Some(segment) = gathering.waiting.pop_front() {
            if !is_last && self.by_rule() && segment.end > gathering.next {
                gathering.waiting.push_front(segment);
                break;
            }
            gathering.taken = segment.end;
            let is_eos = |(ids, eos): (&Vec<u32>, &Option<u32>)| eos.is_some_and(|eos| ids.contains(&eos));
            let out = parts.last_mut().expect("one is there");
            if segment.ids.iter().zip(&self.split_at).any(is_eos) {
                gathering.end_row(false, out);
                parts.push(Vec::new());
            } else {
                self.take(gathering, segment, out);
            }
        }
        if is_last {
            gathering.end_row(false, parts.last_mut().expect("one is there"));
            *gathering = Gathering::default();
        } else {
            let keep = if self.by_rule() { gathering.taken.min(gathering.next) } else { gathering.taken };
            gathering.text.drain(..(keep - gathering.start) as usize);
            gathering.start = keep;
        }
        parts
    }

    /// Whether a rule of text says where units end.
    fn by_rule(&self) -> bool {
        matches!(self.unit, RowUnit::Word | RowUnit::Sentence)
    }

    /// Finds the ends that the text allows to know.
    fn look(&self, gathering: &mut Gathering, is_last: bool) {
        while self.by_rule() {
            let rest = &gathering.text[(gathering.next - gathering.start) as usize..];
            let Some(found) = first_end(self.unit, rest, is_last, MOST_BYTES) else { return };
            let from = gathering.next;
            gathering.ends.push_back(UnitEnd {
                text_end: from + found.text_end,
                end: from + found.end,
                is_cut: found.is_cut,
            });
            gathering.next = from + found.end;
        }
    }

    /// Puts a piece into the row begun, and ends it where it must or may end.
    fn take(&self, gathering: &mut Gathering, segment: Segment, out: &mut Vec<TextRow>) {
        let bytes = (segment.start - gathering.start) as usize..(segment.end - gathering.start) as usize;
        let Segment { start, end, ids } = segment;
        if self.unit == RowUnit::Token {
            let key = finished(hashed(FIRST_HASH, &gathering.text[bytes]));
            return out.push(TextRow { text: RowText { start, end, key }, pieces: Pieces::one(ids), cuts: false });
        }
        let counts: Vec<usize> = ids.iter().map(Vec::len).collect();
        let fits_none =
            self.room.of_piece.as_ref().is_some_and(|room| counts.iter().zip(room).any(|(n, room)| n > room));
        if gathering.row.as_ref().is_some_and(|row| fits_none || self.is_full(row, &counts)) {
            gathering.end_row(true, out);
        }
        let text = &gathering.text[bytes];
        let is_blank = text.chars().all(char::is_whitespace);
        match &mut gathering.row {
            Some(row) => {
                (row.end, row.hash, row.is_blank) = (end, hashed(row.hash, text), row.is_blank && is_blank);
                row.pieces.push(ids);
                self.fill(row, &counts);
            }
            none => {
                *none = Some(Begun {
                    start,
                    end,
                    hash: hashed(FIRST_HASH, text),
                    is_blank,
                    pieces: Pieces::one(ids),
                    filled: counts,
                    contexts: 1,
                })
            }
        }
        let is_blank = gathering.row.as_ref().is_some_and(|row| row.is_blank);
        match self.end_at(gathering, end) {
            Some(is_cut) if !is_blank => gathering.end_row(is_cut, out),
            _ if fits_none => gathering.end_row(true, out),
            _ => {}
        }
    }

    /// Whether a word or sentence ends at `at`, or in the white space around it, and whether it continues behind `at`.
    /// A unit that is cut may end at the first end of a piece.
    fn end_at(&self, gathering: &mut Gathering, at: u64) -> Option<bool> {
        let mut was_cut = false;
        while gathering.ends.front().is_some_and(|end| end.end < at) {
            was_cut |= gathering.ends.pop_front().is_some_and(|end| end.is_cut);
        }
        let here = gathering.ends.front_mut().filter(|unit| unit.text_end <= at);
        // a cut is made once
        here.map(|unit| std::mem::take(&mut unit.is_cut)).or(was_cut.then_some(true))
    }

    /// Whether a piece with these numbers of tokens would be one too many.
    fn is_full(&self, row: &Begun, counts: &[usize]) -> bool {
        let Room { of_piece, of_context, contexts } = &self.room;
        match of_piece {
            Some(_) => row.contexts == *contexts && !fits(&row.filled, counts, of_context),
            None => (0..counts.len())
                .any(|view| row.pieces.n_tokens(view) + counts[view] > of_context[view].saturating_mul(*contexts)),
        }
    }

    /// Notes a piece with these numbers of tokens in the contexts of a row.
    fn fill(&self, row: &mut Begun, counts: &[usize]) {
        if fits(&row.filled, counts, &self.room.of_context) {
            row.filled.iter_mut().zip(counts).for_each(|(filled, n)| *filled += n);
        } else {
            row.filled = counts.to_vec();
            row.contexts += 1;
        }
    }
}

/// Whether `more` tokens fit beside those that are there.
fn fits(filled: &[usize], more: &[usize], room: &[usize]) -> bool {
    filled.iter().zip(more).zip(room).all(|((filled, more), room)| filled + more <= *room)
}

impl Gathering {
    /// Ends the row begun, if one is; `is_cut`: its unit continues.
    fn end_row(&mut self, is_cut: bool, out: &mut Vec<TextRow>) {
        if let Some(Begun { start, end, hash, pieces, .. }) = self.row.take() {
            out.push(TextRow {
                text: RowText { start, end, key: finished(hash) },
                pieces,
                cuts: is_cut && !self.is_rest,
            });
        }
        self.is_rest = is_cut;
    }
}

/// The state of a hash before the first byte: FNV-1a (Fowler, Noll and Vo), the same everywhere.
const FIRST_HASH: u64 = 0xCBF2_9CE4_8422_2325;

fn hashed(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// The hash, by the finisher of splitmix64.
fn finished(hash: u64) -> u64 {
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
