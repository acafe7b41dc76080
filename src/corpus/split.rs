//! How is a text tokenized that is too long to be tokenized at once?
//!
//! A tokenizer needs some hundred times a text's size in memory, so a text over a limit is tokenized in pieces. A piece ends
//! where tokens mostly end anyway: after a line's end, else before white space, else between two characters.
//!
//! Whether a token ends at the cut is checked. The text around the cut, with a margin on both sides, is tokenized by itself,
//! and the pieces meet where one of its tokens begins. Both pieces are tokenized with the margin beyond their cuts. When their
//! tokens around the cut equal the tokens of the margin's text, the pieces together give the tokens of the whole text, because
//! a token depends only on its surroundings. When they differ (one letter repeated thousands of times), the document is
//! counted as split.

use super::token_bytes::SpanToken;
use super::tokenizer::Tokenizer;
use crate::error::Result;
use std::ops::Range;

/// Length of the first piece of `text`, at most `limit` (at least 4) and more than 0, for a text longer than `limit`.
/// The upper half of the limit is searched for a line's end, then for a space or tab; failing both, the cut is between
/// two characters and never between `\r` and `\n`.
pub(super) fn first_piece(text: &[u8], limit: usize) -> usize {
    debug_assert!(text.len() > limit && limit >= 4, "only a text longer than the limit is cut");
    let least = limit / 2;
    if let Some(at) = text[least..limit].iter().rposition(|&b| b == b'\n') {
        return least + at + 1;
    }
    if let Some(at) = text[least..limit].iter().rposition(|&b| b == b' ' || b == b'\t') {
        return (least + at).max(1);
    }
    boundary(text, limit)
}

/// The last position at or before `at` that is between two characters, and not between `\r` and `\n`.
pub(super) fn boundary(text: &[u8], at: usize) -> usize {
    if at >= text.len() {
        return text.len();
    }
    // A character has at most four bytes; in invalid UTF-8 the search ends all the same.
    let floor = at.saturating_sub(3);
    let at = (floor..=at).rev().find(|&at| text[at] & 0xC0 != 0x80).unwrap_or(at);
    if at > 0 && text[at] == b'\n' && text[at - 1] == b'\r' { at - 1 } else { at }
}

/// Bytes of the margin before a cut of `text` at `cut`.
pub(super) fn margin_before(text: &[u8], cut: usize, margin: usize) -> usize {
    cut - boundary(text, cut.saturating_sub(margin))
}

/// A piece of a text with the margins beyond its cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Windowed<'a> {
    /// Margin, piece, margin; no margin where the text begins or ends.
    pub(super) text: &'a str,
    /// The piece in it.
    pub(super) piece: Range<usize>,
    /// End of the margin after the first cut, and start of the margin before the last cut; `None` at the text's own start
    /// or end.
    pub(super) behind_first: Option<usize>,
    pub(super) before_last: Option<usize>,
}

/// Token ids of a piece, and whether they are known to equal the ids of the whole text there.
///
/// # Errors
/// Those of the tokenizer.
pub(super) fn ids_of(piece: &Windowed<'_>, margin: usize, tokenizer: &Tokenizer) -> Result<(Vec<u32>, bool)> {
    if piece.behind_first.is_none() && piece.before_last.is_none() {
        return Ok((tokenizer.encode(piece.text)?, true));
    }
    let all = tokenizer.encode_with_starts(piece.text)?;
    let (own, agree) = own_tokens(piece, margin, tokenizer, &all)?;
    Ok((all.into_iter().filter(|(_, at)| own.contains(at)).map(|(id, _)| id).collect(), agree))
}

/// The same with the end of each token, from the beginning of the piece; `None` where the tokenizer's alignment does not give them.
///
/// # Errors
/// Those of the tokenizer.
pub(super) fn tokens_of(
    piece: &Windowed<'_>,
    margin: usize,
    tokenizer: &Tokenizer,
) -> Result<(Option<Vec<SpanToken>>, bool)> {
    let (ids, offsets) = tokenizer.encode_with_offsets_in_bytes(piece.text)?;
    let all: Vec<(u32, usize)> = ids.iter().copied().zip(offsets.iter().map(|(start, _)| *start)).collect();
    let (own, agree) = own_tokens(piece, margin, tokenizer, &all)?;
    let Some(ends) = tokenizer.token_bytes().ends(piece.text, &ids, &offsets) else { return Ok((None, agree)) };
    let token = |((id, _), end): ((u32, usize), usize)| SpanToken {
        id,
        end: end.saturating_sub(piece.piece.start) as u64,
        is_end: piece.text.is_char_boundary(end),
    };
    let own = all.into_iter().zip(ends).filter(|((_, at), _)| own.contains(at)).map(token);
    Ok((Some(own.collect()), agree))
}

/// Where the tokens of a piece begin, of `all` tokens of its text with its margins; and whether they are known to be those of the whole
/// text.
fn own_tokens(
    piece: &Windowed<'_>,
    margin: usize,
    tokenizer: &Tokenizer,
    all: &[(u32, usize)],
) -> Result<(Range<usize>, bool)> {
    let Windowed { text, piece, behind_first, before_last } = piece;
    let mut agree = true;
    let mut divide = |window: Range<usize>, cut: usize| -> Result<usize> {
        let around = tokenizer.encode_with_starts(&text[window.clone()])?;
        let moved: Vec<(u32, usize)> = around.into_iter().map(|(id, at)| (id, at + window.start)).collect();
        // the first token that begins at the cut or behind it, apart from the one before it
        let at = moved.windows(2).map(|pair| [pair[0].1, pair[1].1]).find(|[a, b]| *b >= cut && a < b).map(|[_, b]| b);
        let near = |tokens: &[(u32, usize)]| -> Vec<(u32, usize)> {
            let close = |(_, at): &&(u32, usize)| at.abs_diff(cut) <= margin / 2;
            tokens.iter().filter(close).copied().collect()
        };
        agree &= at.is_some_and(|at| at - cut <= margin / 2) && near(&moved) == near(all);
        Ok(at.unwrap_or(cut))
    };
    let first = behind_first.map(|end| divide(0..end, piece.start)).transpose()?.unwrap_or(0);
    let last = before_last.map(|start| divide(start..text.len(), piece.end)).transpose()?.unwrap_or(usize::MAX);
    Ok((first..last, agree))
}

/// The pieces of `text`, in order, with their margins: itself when it is no longer than `limit`.
pub(super) fn pieces(text: &str, limit: usize, margin: usize) -> impl Iterator<Item = Windowed<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        if rest.is_empty() {
            return None;
        }
        let n = if rest.len() > limit { first_piece(rest.as_bytes(), limit) } else { rest.len() };
        let from = if start > 0 { boundary(text.as_bytes(), start.saturating_sub(margin)) } else { 0 };
        let end = start + n;
        let to = if end < text.len() { boundary(text.as_bytes(), end + margin) } else { end };
        let piece = start - from..end - from;
        start = end;
        Some(windowed(&text[from..to], piece, margin))
    })
}

/// A piece at `piece` of `text`, what is before and behind it being its margins.
pub(super) fn windowed(text: &str, piece: Range<usize>, margin: usize) -> Windowed<'_> {
    let bytes = text.as_bytes();
    let behind_first = (piece.start > 0).then(|| boundary(bytes, piece.start + margin));
    let before_last = (piece.end < text.len()).then(|| boundary(bytes, piece.end.saturating_sub(margin)));
    Windowed { text, piece, behind_first, before_last }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::{byte_tokenizer, cases, tokenizer};
    use proptest::prelude::*;
    use std::path::Path;

    fn plain(text: &str, limit: usize) -> Vec<&str> {
        pieces(text, limit, 0).map(|p| &p.text[p.piece.clone()]).collect()
    }

    #[test]
    fn cuts_prefer_line_ends_then_spaces_then_characters() {
        assert_eq!(plain("abc", 4), ["abc"]);
        assert_eq!(plain("abc\nd ef gh", 6), ["abc\n", "d ef", " gh"]);
        assert_eq!(plain("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(plain("ééééé", 5), ["éé", "éé", "é"]);
        assert_eq!(plain("", 4), Vec::<&str>::new());
        assert_eq!(plain("abc\r\nde", 4), ["abc", "\r\nde"]);
    }

    /// Ids by pieces, and whether all agree.
    fn by_pieces(text: &str, limit: usize, margin: usize, tokenizer: &Tokenizer) -> (Vec<u32>, bool) {
        let (mut ids, mut agree) = (Vec::new(), true);
        for piece in pieces(text, limit, margin) {
            let (more, agrees) = ids_of(&piece, margin, tokenizer).unwrap();
            ids.extend(more);
            agree &= agrees;
        }
        (ids, agree)
    }

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn pieces_join_to_the_text_and_keep_the_limit(text in "[a é\n🙂\r]{0,60}", limit in 4usize..20, margin in 0usize..12) {
            let parts: Vec<&str> = plain(&text, limit);
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert!(parts.iter().all(|p| !p.is_empty() && p.len() <= limit));
            // the two pieces at a cut see the same text around it
            let all: Vec<Windowed> = pieces(&text, limit, margin).collect();
            for pair in all.windows(2) {
                let last = &pair[0].text[pair[0].before_last.unwrap_or(0)..];
                let first = &pair[1].text[..pair[1].behind_first.unwrap_or(0)];
                prop_assert!(margin < 4 || last == first, "{:?} {:?}", last, first);
            }
        }
    }

    #[test]
    fn ids_by_pieces_are_those_of_the_whole_text_for_every_kind_of_tokenizer() {
        let kinds = ["gemma_sp", "gpt2_bpe", "llama3_bpe", "llama_sp", "neox_bpe", "opt_bpe", "qwen_bpe"];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
        let mut tokenizers: Vec<(&str, std::sync::Arc<Tokenizer>)> =
            vec![("demo", tokenizer()), ("bytes", byte_tokenizer())];
        for kind in kinds {
            tokenizers.push((kind, std::sync::Arc::new(Tokenizer::from_folder(&folder.join(kind)).unwrap())));
        }
        let lines = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/demo/corpus.jsonl")).unwrap();
        // five languages and two programming languages, without the line ends that would make cuts easy
        let text = |join: &str| -> String {
            let of = |line: &str| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_string()
            };
            lines.lines().step_by(29).take(24).map(of).collect::<Vec<_>>().join(join)
        };
        let (running, solid) = (text(" "), text("").replace(['\n', ' ', '\t'], ""));
        for (name, tokenizer) in &tokenizers {
            for (text, limit) in [(&running, 3000), (&solid, 2500)] {
                let (ids, agree) = by_pieces(text, limit, 512, tokenizer);
                assert!(agree, "{name}: the pieces do not agree");
                assert!(ids == tokenizer.encode(text).unwrap(), "{name}: other ids than those of the whole");
            }
            // cut plainly, most of them are not
            let cut: Vec<u32> = plain(&solid, 2500).into_iter().flat_map(|p| tokenizer.encode(p).unwrap()).collect();
            assert!(*name == "bytes" || cut != tokenizer.encode(&solid).unwrap(), "{name}: nothing is shown");
        }
    }
}
