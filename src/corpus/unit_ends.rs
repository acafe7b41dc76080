//! Where does a word or a sentence of a text end? By the default rules of Unicode Standard Annex #29.
//!
//! A unit begins where the one before it ended, so its end is a function of the text behind that place: of 16 KiB of it at most. A unit
//! that has no end there ends with them. So ends do not depend on the pieces in which a text is read, and a text without any white space
//! takes no more memory than another.

use super::options::RowUnit;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// Bytes of a word or a sentence at most, and how far is looked ahead for its end.
pub(super) const MOST_BYTES: usize = 16 << 10;

/// The end of a word or sentence. A row may end anywhere from `text_end` to `end`: between them is white space alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnitEnd {
    /// The byte behind its last character that is no white space; where it begins if it is white space alone.
    pub(super) text_end: u64,
    /// The byte behind it.
    pub(super) end: u64,
    /// It is longer than that, and continues.
    pub(super) is_cut: bool,
}

/// The end of the word or sentence that `text` begins with; `None` where more text must be known. `is_last`: no more text comes;
/// `most`: bytes that are looked at, at least 4.
///
/// # Panics
/// For units that no rule of text ends.
pub(super) fn first_end(unit: RowUnit, text: &str, is_last: bool, most: usize) -> Option<UnitEnd> {
    if text.is_empty() || (text.len() <= most && !is_last) {
        return None;
    }
    let seen = &text[..text.floor_char_boundary(most)];
    let first = match unit {
        RowUnit::Word => seen.split_word_bounds().next(),
        RowUnit::Sentence => seen.split_sentence_bounds().next(),
        RowUnit::Token | RowUnit::Document => unreachable!("these end with tokens and with documents"),
    };
    let first = first.unwrap_or(seen);
    Some(UnitEnd {
        text_end: first.trim_end().len() as u64,
        end: first.len() as u64,
        is_cut: first.len() == seen.len() && seen.len() < text.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::tests::cases;
    use proptest::prelude::*;

    /// Ends of all units of `text`, one behind the other.
    fn ends(unit: RowUnit, text: &str, most: usize) -> Vec<u64> {
        let (mut at, mut out) = (0, Vec::new());
        while let Some(end) = first_end(unit, &text[at..], true, most) {
            at += end.end as usize;
            out.push(at as u64);
        }
        out
    }

    /// The bounds of whole texts that uniseg found in Python (`benches/peers/unit_ends.py`).
    #[test]
    fn ends_are_those_of_uniseg() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/unit_ends.json");
        let said: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let texts = said["texts"].as_array().unwrap();
        for said in texts {
            let text = said["text"].as_str().unwrap();
            for (unit, key) in [(RowUnit::Word, "words"), (RowUnit::Sentence, "sentences")] {
                let expected: Vec<u64> = said[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
                assert_eq!(ends(unit, text, MOST_BYTES), expected, "{key} of {text:?}");
            }
        }
        assert!(texts.len() > 100);
    }

    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-cA-C ]{0,9}",
            "[.,!?'\")(:_ \r\n\t]{0,4}",
            "[0-9]{1,3}[.,][0-9]",
            "[a-c]\\.[ ]?[a-cA-C]",
            Just("e\u{301}\u{200D}".to_string()),
            Just("👩‍👩‍👧🇫🇷🇩🇪".to_string()),
            Just("日本語カタカナ".to_string()),
            Just("א\"ב".to_string()),
        ];
        prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(cases(512))]

        /// One behind the other, units are those of the whole text: none looks back over the end before it.
        #[test]
        fn units_one_by_one_are_those_of_the_whole_text(text in text()) {
            let behind = |parts: Vec<&str>| -> Vec<u64> {
                parts.iter().scan(0, |at, part| { *at += part.len() as u64; Some(*at) }).collect()
            };
            prop_assert_eq!(ends(RowUnit::Word, &text, 1 << 20), behind(text.split_word_bounds().collect()));
            prop_assert_eq!(ends(RowUnit::Sentence, &text, 1 << 20), behind(text.split_sentence_bounds().collect()));
        }

        /// How much of the text has come changes no end, only whether it is known yet.
        #[test]
        fn an_end_does_not_depend_on_how_much_of_the_text_has_come(text in text(), most in 4usize..24) {
            for unit in [RowUnit::Word, RowUnit::Sentence] {
                let whole = first_end(unit, &text, true, most);
                for cut in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                    let found = first_end(unit, &text[..cut], false, most);
                    prop_assert_eq!(found.is_some(), cut > most);
                    prop_assert!(found.is_none() || found == whole, "{:?} {:?}", found, whole);
                }
                if let Some(end) = whole {
                    let (text_end, end) = (end.text_end as usize, end.end as usize);
                    prop_assert!(text_end <= end && end <= most && end > 0);
                    prop_assert!(text[text_end..end].chars().all(char::is_whitespace));
                }
            }
        }
    }

    #[test]
    fn a_unit_without_an_end_is_cut() {
        let text = "a".repeat(10);
        let cut = |most| first_end(RowUnit::Word, &text, true, most).unwrap();
        assert_eq!(cut(4), UnitEnd { text_end: 4, end: 4, is_cut: true });
        assert_eq!(cut(10), UnitEnd { text_end: 10, end: 10, is_cut: false });
        assert_eq!(first_end(RowUnit::Sentence, "", true, 4), None);
        // between two characters, however wide
        assert_eq!(first_end(RowUnit::Sentence, "éé🙂", true, 5), Some(UnitEnd { text_end: 4, end: 4, is_cut: true }));
    }
}
