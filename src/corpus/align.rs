//! Which pieces of a text do all tokenizers share? The finest ones between ends that are ends of tokens everywhere.
//!
//! An end is the byte behind a token (`token_bytes`); starts do not count, because tokenizers differ in whether a token
//! takes the space before a word. An end inside a character is no end: the piece continues to the next end between two
//! characters. A token belongs to the piece that holds its last byte. A token without bytes belongs to the piece that
//! ends at its position, or to the first piece.
//!
//! Tokens come as a document is read; what lies behind the last common end waits for more. A document's last piece ends with its text.

use super::token_bytes::SpanToken;
use serde::{Deserialize, Serialize};

/// A piece of text with its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    /// First byte, from the beginning of the document.
    pub(super) start: u64,
    /// The byte behind its last.
    pub(super) end: u64,
    /// Ids, one list per tokenizer.
    pub(super) ids: Vec<Vec<u32>>,
}

/// What of a document lies behind the last common end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Aligner {
    /// That end, from the beginning of the document.
    start: u64,
    /// Bytes of text behind it.
    n_bytes: u64,
    /// Tokens that are in no piece yet, one list per tokenizer, ends counted from the beginning of the document.
    tokens: Vec<Vec<SpanToken>>,
}

impl Aligner {
    /// Takes the tokens of the next piece of the document, of `n_bytes`, and puts every piece that all tokenizers share behind `out`;
    /// `is_last`: the document ends here. Returns the bytes at its end that a tokenizer has no token for.
    pub(super) fn push(
        &mut self,
        n_bytes: u64,
        tokens: &[Vec<SpanToken>],
        is_last: bool,
        out: &mut Vec<Segment>,
    ) -> u64 {
        let base = self.start + self.n_bytes;
        self.tokens.resize(tokens.len(), Vec::new());
        for (mine, more) in self.tokens.iter_mut().zip(tokens) {
            mine.extend(more.iter().map(|token| SpanToken { end: base + token.end, ..*token }));
        }
        let text_end = base + n_bytes;
        let mut taken = vec![0; self.tokens.len()];
        while let Some(end) = self.next_end(&taken).filter(|end| *end <= text_end) {
            let ids = (self.tokens.iter().zip(&mut taken))
                .map(|(tokens, taken)| {
                    let n = tokens[*taken..].partition_point(|token| token.end <= end);
                    let ids = tokens[*taken..*taken + n].iter().map(|token| token.id).collect();
                    *taken += n;
                    ids
                })
                .collect();
            out.push(Segment { start: self.start, end, ids });
            self.start = end;
        }
        self.n_bytes = text_end - self.start;
        if is_last {
            return std::mem::take(self).n_bytes;
        }
        self.tokens.iter_mut().zip(taken).for_each(|(tokens, taken)| drop(tokens.drain(..taken)));
        0
    }

    /// The next end that all tokenizers share, `taken` tokens of each being in pieces already.
    fn next_end(&self, taken: &[usize]) -> Option<u64> {
        let mut at = taken.to_vec();
        let mut end = self.start + 1;
        loop {
            let before = end;
            for (tokens, at) in self.tokens.iter().zip(&mut at) {
                *at += tokens[*at..].iter().position(|token| token.is_end && token.end >= end)?;
                end = tokens[*at].end;
            }
            let all_there = self.tokens.iter().zip(&at).all(|(tokens, at)| tokens[*at].end == end);
            if end == before || all_there {
                return Some(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::cases;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The plain rule, of a whole text: ends in every list, then each token to the smallest that is not before it.
    fn plainly(views: &[Vec<SpanToken>]) -> Vec<(u64, Vec<Vec<u32>>)> {
        let ends = |view: &Vec<SpanToken>| -> BTreeSet<u64> {
            view.iter().filter(|t| t.is_end && t.end > 0).map(|t| t.end).collect()
        };
        let shared = views.iter().map(ends).reduce(|a, b| a.intersection(&b).copied().collect()).unwrap_or_default();
        let mut before = None;
        let of = |end: u64| {
            let from = before.replace(end);
            let inside = |t: &&SpanToken| t.end <= end && from.is_none_or(|from| t.end > from);
            (end, views.iter().map(|view| view.iter().filter(inside).map(|t| t.id).collect()).collect())
        };
        shared.into_iter().map(of).collect()
    }

    fn view(n: u64) -> impl Strategy<Value = Vec<SpanToken>> {
        // every text is covered to its end; some ends lie inside characters, some tokens are empty
        prop::collection::vec((0..=n, prop::bool::weighted(0.8)), 0..14).prop_map(move |mut ends| {
            ends.push((n, true));
            ends.sort();
            let token = |(id, (end, is_end))| SpanToken { id, end, is_end: is_end || end == n };
            (0u32..).zip(ends).map(token).collect()
        })
    }

    proptest! {
        #![proptest_config(cases(256))]

        /// As by the plain rule, whole and in pieces; together they are the text.
        #[test]
        fn pieces_are_the_finest_that_all_share(a in view(12), b in view(12), c in view(12), cut in 1usize..12) {
            const N: u64 = 12;
            for views in [vec![a.clone()], vec![a.clone(), b.clone()], vec![a, b, c]] {
                let mut whole = Vec::new();
                prop_assert_eq!(Aligner::default().push(N, &views, true, &mut whole), 0);
                let expected = plainly(&views);
                let mut from = 0;
                for (segment, (end, ids)) in whole.iter().zip(&expected) {
                    prop_assert_eq!((segment.start, segment.end, &segment.ids), (from, *end, ids));
                    from = *end;
                }
                prop_assert_eq!((whole.len(), from), (expected.len(), N));
                // a piece holds the tokens that begin in it, of which the last may end behind it
                let (mut parts, mut aligner) = (Vec::new(), Aligner::default());
                let first: Vec<usize> =
                    views.iter().map(|v| v.iter().position(|t| t.end > cut as u64).unwrap_or(v.len())).collect();
                let early: Vec<Vec<SpanToken>> = views.iter().zip(&first).map(|(v, n)| v[..*n].to_vec()).collect();
                let moved = |t: &SpanToken| SpanToken { end: t.end - cut as u64, ..*t };
                let late: Vec<Vec<SpanToken>> =
                    views.iter().zip(&first).map(|(v, n)| v[*n..].iter().map(moved).collect()).collect();
                aligner.push(cut as u64, &early, false, &mut parts);
                aligner.push(N - cut as u64, &late, true, &mut parts);
                prop_assert_eq!(&parts, &whole);
            }
        }
    }

    #[test]
    fn what_a_tokenizer_has_no_token_for_is_told() {
        let view = |ends: &[u64]| ends.iter().map(|&end| SpanToken { id: 7, end, is_end: true }).collect::<Vec<_>>();
        let mut out = Vec::new();
        assert_eq!(Aligner::default().push(4, &[view(&[1, 4]), view(&[1, 2])], true, &mut out), 3);
        assert_eq!(out.len(), 1);
        assert_eq!(Aligner::default().push(4, &[view(&[4]), view(&[])], true, &mut out), 4);
    }
}
