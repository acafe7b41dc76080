//! Which rows go out with which contexts, where rows are pieces of text? Tokens come in with the number of their row, and the rows; out go
//! the rows of one context of the first tokenizer, or of several over which rows run, with every context that holds a token of theirs.
//!
//! A context of another tokenizer than the first may hold rows of two of the first's. It then goes out twice, with the rows of each time;
//! contexts of the first go out once.

use super::batch::{Document, LeftOut, RowText};
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
    /// As how many of a batch's contexts it counts, at least 1.
    pub(super) counts_as: usize,
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

/// Contexts and rows that have not gone out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RowContexts {
    views: Vec<ViewContexts>,
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
struct ViewContexts {
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

impl RowContexts {
    /// Empty, for this many tokenizers.
    pub(super) fn new(n_views: usize) -> RowContexts {
        RowContexts { views: vec![ViewContexts::default(); n_views], ..RowContexts::default() }
    }

    /// Notes what is in no row, or a unit in several.
    pub(super) fn leave_out(&mut self, what: LeftOut) {
        self.left_out.add(what);
        self.all_left_out.add(what);
    }

    /// Number of the context begun of a tokenizer.
    pub(super) fn number(&self, view: usize) -> u64 {
        self.views[view].number
    }

    /// Tokens in it.
    pub(super) fn n_begun(&self, view: usize) -> usize {
        self.views[view].begun.ids.len()
    }

    /// Whether a token of a row is in it.
    pub(super) fn has_row(&self, view: usize) -> bool {
        self.views[view].begun.row_of.iter().any(Option::is_some)
    }

    /// Whether a token of a row is in the context begun of any tokenizer.
    pub(super) fn any_has_row(&self) -> bool {
        (0..self.views.len()).any(|view| self.has_row(view))
    }

    /// Number of the row that comes next.
    pub(super) fn next_row(&self) -> u64 {
        self.first_row + self.rows.len() as u64
    }

    /// Puts a token into the context begun of a tokenizer, behind `bos` where it is empty.
    pub(super) fn push(&mut self, view: usize, bos: Option<u32>, id: u32, row: Option<u64>) {
        let begun = &mut self.views[view].begun;
        if begun.ids.is_empty() {
            begun.ids.extend(bos);
            begun.row_of.resize(begun.ids.len(), None);
        }
        begun.ids.push(id);
        begun.row_of.push(row);
    }

    /// Adds a row whose tokens are all there; `first`, `last`: the contexts of its first and last token, `[n_views]`.
    pub(super) fn add_row(&mut self, document: Arc<Document>, text: RowText, first: Vec<u64>, last: Vec<u64>) {
        self.rows.push_back(Pending { document, text, first, last, is_dropped: false });
    }

    /// Ends the context begun of a tokenizer, where one is.
    pub(super) fn end(&mut self, view: usize) {
        let view = &mut self.views[view];
        let begun = std::mem::take(&mut view.begun);
        if !begun.ids.is_empty() {
            view.full.push_back((view.number, begun));
            view.number += 1;
        }
    }

    /// Ends the contexts begun; rows in one that is not kept are dropped.
    pub(super) fn end_all(&mut self, keep: bool) {
        let mut bytes = 0;
        for v in 0..self.views.len() {
            if !keep {
                let number = self.views[v].number;
                for row in self.rows.iter_mut().rev().take_while(|row| row.last[v] >= number) {
                    bytes += if row.is_dropped { 0 } else { row.text.end - row.text.start };
                    row.is_dropped = true;
                }
            }
            self.end(v);
        }
        if bytes > 0 {
            self.leave_out(LeftOut { bytes, ..LeftOut::default() });
        }
    }

    /// Hands on the rows of every context of the first tokenizer whose rows are whole; `by_contexts`: they count as many contexts as
    /// they are in.
    pub(super) fn hand_on(&mut self, by_contexts: bool, out: &mut Vec<SpanCut>) {
        while self.next_lead < self.views[0].number {
            let n = self.rows.iter().take_while(|row| row.last[0] <= self.next_lead).count();
            if self.rows.get(n).is_some_and(|row| row.first[0] <= self.next_lead) {
                // a row runs on: this context goes out with the one behind it, once
                self.next_lead += 1;
                continue;
            }
            let is_whole = |row: &Pending| row.last.iter().zip(&self.views).all(|(last, view)| *last < view.number);
            if n > 0 && !is_whole(&self.rows[n - 1]) {
                return;
            }
            let first = self.first_row;
            let rows: Vec<Pending> = self.rows.drain(..n).collect();
            self.first_row += n as u64;
            self.next_lead += 1;
            out.extend(self.cut(&rows, first, by_contexts));
            for (v, view) in self.views.iter_mut().enumerate() {
                let wanted = self.rows.front().map_or(view.number, |row| row.first[v]);
                view.full.retain(|(number, _)| *number >= wanted);
            }
        }
    }

    /// Those of `rows` that are kept with their contexts; `first`: number of the first.
    fn cut(&mut self, rows: &[Pending], first: u64, by_contexts: bool) -> Option<SpanCut> {
        let kept: Vec<&Pending> = rows.iter().filter(|row| !row.is_dropped).collect();
        let (from, to) = (kept.first()?, kept.last()?);
        let mut index = 0;
        let index_of: Vec<Option<u32>> = (rows.iter())
            .map(|row| {
                index += u32::from(!row.is_dropped);
                (!row.is_dropped).then(|| index - 1)
            })
            .collect();
        let index_of = |row: u64| *index_of.get(usize::try_from(row.checked_sub(first)?).ok()?)?;
        let contexts: Vec<Vec<Numbered>> = (self.views.iter().enumerate())
            .map(|(v, view)| {
                let here = view.full.iter().filter(|(number, _)| (from.first[v]..=to.last[v]).contains(number));
                let numbered = |(number, begun): &(u64, Begun)| Numbered {
                    number: *number,
                    ids: begun.ids.clone(),
                    row_of: begun.row_of.iter().map(|row| index_of((*row)?)).collect(),
                };
                here.map(numbered).collect()
            })
            .collect();
        Some(SpanCut {
            counts_as: if by_contexts { contexts[0].len().max(1) } else { 1 },
            contexts,
            rows: kept.iter().map(|row| (row.document.clone(), row.text, row.last[0])).collect(),
            left_out: std::mem::take(&mut self.left_out),
        })
    }
}
