//! Where is a text cut that is too long to be tokenized at once?
//!
//! A tokenizer holds some dozen times a text's size while it works, so texts over a limit go through it in pieces. A cut
//! may change the tokens beside it; so it lies where tokens end anyway: behind a line's end, else before white space,
//! else between two characters.

/// Length of the first piece of `text`, at most `limit` (at least 4) and more than 0, for a text longer than `limit`.
/// The upper half of the limit is searched for a line's end, then for a space or tab; failing both, the cut lies between
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
    // A character has at most four bytes; in invalid UTF-8 the search ends all the same.
    let floor = limit - 3;
    let boundary = (floor..=limit).rev().find(|&at| text[at] & 0xC0 != 0x80).unwrap_or(limit);
    if text[boundary] == b'\n' && text[boundary - 1] == b'\r' { boundary - 1 } else { boundary }
}

/// The pieces of `text`, in order: itself when it is no longer than `limit`.
pub(super) fn pieces(text: &str, limit: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let n = if rest.len() > limit { first_piece(rest.as_bytes(), limit) } else { rest.len() };
        let (piece, behind) = rest.split_at(n);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cuts_prefer_line_ends_then_spaces_then_characters() {
        let of = |text: &'static str, limit| pieces(text, limit).collect::<Vec<_>>();
        assert_eq!(of("abc", 4), ["abc"]);
        assert_eq!(of("abc\nd ef gh", 6), ["abc\n", "d ef", " gh"]);
        assert_eq!(of("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(of("ééééé", 5), ["éé", "éé", "é"]);
        assert_eq!(of("", 4), Vec::<&str>::new());
        assert_eq!(of("abc\r\nde", 4), ["abc", "\r\nde"]);
    }

    proptest! {
        #![proptest_config(crate::corpus::tests::cases(256))]

        #[test]
        fn pieces_join_to_the_text_and_keep_the_limit(text in "[a é\n🙂\r]{0,60}", limit in 4usize..20) {
            let parts: Vec<&str> = pieces(&text, limit).collect();
            prop_assert_eq!(parts.concat(), text.clone());
            prop_assert!(parts.iter().all(|p| !p.is_empty() && p.len() <= limit));
        }
    }
}
