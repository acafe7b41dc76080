//! Which bytes of a text does each token cover? Each token's bytes are compared with the text at its place. Where they
//! differ (a normaliser changed the text, an unknown token replaced it), the tokenizer's alignment gives the token's end.
//!
//! A byte-level token spells bytes by characters of its own, a SentencePiece token writes a space as `▁` and a byte as `<0xNN>`, an added
//! token is its text. Token i covers the bytes from the end of token i − 1 to its own end, so the spans put together are the text from its
//! beginning to the last end. A token without bytes of its own (the space put before a text) covers none.
//!
//! Own bytes count where the alignment agrees: the library gives whole characters, and may leave spaces at either side of a token out.
//! What a normaliser took out goes with the token behind it, at the end of a text with the last one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use tokenizers::{ModelWrapper, Tokenizer as Inner};

/// A text's ids with the bytes that each covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByteTokens {
    /// Token ids: `[len]`.
    pub ids: Vec<u32>,
    /// End of each token in the text, in bytes, ascending; it begins where the one before it ends. An end may lie inside a character.
    /// `[len]`
    pub ends: Vec<usize>,
}

/// A token with its end, counted from the beginning of some text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpanToken {
    pub(super) id: u32,
    /// The byte behind it.
    pub(super) end: u64,
    /// Whether that is between two characters.
    pub(super) is_end: bool,
}

/// The bytes of every token, by id.
#[derive(Debug)]
pub(super) struct TokenBytes {
    /// All bytes, one token behind the other.
    bytes: Vec<u8>,
    /// Where those of token i begin: `[n + 1]`.
    starts: Vec<u32>,
    /// Whether spaces are left out of the library's offsets.
    is_trimmed: bool,
}

/// Ids from here on have no bytes of their own here, and go by the alignment; no vocabulary is so large.
const MOST_IDS: usize = 1 << 22;

/// How the vocabulary writes bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Each byte is a character (GPT-2's table).
    ByteLevel,
    /// `▁` is a space, `<0xNN>` a byte.
    Pieces,
    /// As they are, or in a way not known here: then the alignment decides.
    Plain,
}

impl TokenBytes {
    /// Of every token of `inner`; `pieces`: `▁` and `<0xNN>` are read as SentencePiece writes them.
    pub(super) fn of(inner: &Inner, pieces: bool) -> TokenBytes {
        // the vocabulary is not written out with them: it is large, and read as it is
        let normalizer = inner.get_normalizer().and_then(|part| serde_json::to_value(part).ok());
        let pre_tokenizer = inner.get_pre_tokenizer().and_then(|part| serde_json::to_value(part).ok());
        let decoder = inner.get_decoder().and_then(|part| serde_json::to_value(part).ok());
        let post_processor = inner.get_post_processor().and_then(|part| serde_json::to_value(part).ok());
        let is_of_bytes = |part: &Value| mentions(part, "type", "ByteLevel");
        let spelling = if [normalizer, pre_tokenizer, decoder].iter().flatten().any(is_of_bytes) {
            Spelling::ByteLevel
        } else if pieces {
            Spelling::Pieces
        } else {
            Spelling::Plain
        };
        let is_trimmed = post_processor.is_some_and(|part| {
            let trims = |kind: &str| mentions(&part, "type", kind) && mentions(&part, "trim_offsets", "true");
            trims("ByteLevel") || trims("RobertaProcessing")
        });
        let unknown = match inner.get_model() {
            ModelWrapper::BPE(model) => model.unk_token.clone(),
            ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
            ModelWrapper::Unigram(_) => None,
        };
        let byte_of = byte_of_character();
        let mut table: Vec<Vec<u8>> = Vec::new();
        let mut put = |id: u32, bytes: Vec<u8>| {
            let id = id as usize;
            if id >= MOST_IDS {
                return;
            }
            if table.len() <= id {
                table.resize(id + 1, Vec::new());
            }
            table[id] = bytes;
        };
        let vocab: BTreeMap<String, u32> = inner.get_vocab(false).into_iter().collect();
        for (token, id) in vocab {
            if unknown.as_ref() == Some(&token) {
                continue;
            }
            let bytes = match spelling {
                Spelling::ByteLevel => {
                    let spelt: Option<Vec<u8>> = token.chars().map(|c| *byte_of.get(c as usize)?).collect();
                    spelt.unwrap_or_default()
                }
                Spelling::Pieces => match byte_piece(&token) {
                    Some(byte) => vec![byte],
                    None => token.replace('▁', " ").into_bytes(),
                },
                Spelling::Plain => token.into_bytes(),
            };
            put(id, bytes);
        }
        for (id, token) in inner.get_added_tokens_decoder() {
            if unknown.as_ref() != Some(&token.content) {
                put(id, token.content.into_bytes());
            }
        }
        let mut starts = vec![0];
        starts.extend(table.iter().scan(0u32, |at, bytes| {
            *at += bytes.len() as u32;
            Some(*at)
        }));
        TokenBytes { bytes: table.concat(), starts, is_trimmed }
    }

    /// Of one token; none where they are not known.
    fn of_token(&self, id: u32) -> &[u8] {
        match self.starts.get(id as usize..).and_then(|rest| rest.get(..2)) {
            Some(&[from, to]) => &self.bytes[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Where each of `ids` ends in `text`, by the offsets that the library gives, in bytes: `[ids.len()]`. `None` where the
    /// alignment leads back or out of the text.
    pub(super) fn ends(&self, text: &str, ids: &[u32], offsets: &[(usize, usize)]) -> Option<Vec<usize>> {
        let (mut at, mut ends) = (0, Vec::with_capacity(ids.len()));
        for (&id, &(_, aligned)) in ids.iter().zip(offsets) {
            let own = self.of_token(id);
            let aligned = next_character(text, aligned)?;
            // spaces at its end that the library may have left out
            let spaces = if self.is_trimmed { own.iter().rev().take_while(|byte| **byte == b' ').count() } else { 0 };
            let rest = &text.as_bytes()[at..];
            let laid = |own: &[u8]| {
                let end = Some(at + own.len()).filter(|_| rest.starts_with(own))?;
                let whole = next_character(text, end)?;
                let is_trimmed = || (1..=spaces).any(|n| aligned + n == end);
                (whole == aligned || is_trimmed()).then_some(end)
            };
            let agreed = match own {
                [] => None,
                // a space that the tokenizer put before the text is in no text; the library counts it to the first character
                [b' '] if ends.is_empty() && (!rest.starts_with(own) || offsets.get(1).is_some_and(|of| of.0 == 0)) => {
                    Some(at)
                }
                [b' ', behind @ ..] => laid(own).or_else(|| laid(behind)),
                _ => laid(own),
            };
            // back to the beginning of the character at hand is no way back
            let begun = (0..=at).rev().find(|&b| text.is_char_boundary(b)).unwrap_or(0);
            if agreed.is_none() && aligned < begun {
                return None;
            }
            at = agreed.unwrap_or_else(|| {
                // of a token of spaces alone the end is left where it is
                let left_out = &own[own.len() - if spaces < own.len() { spaces } else { 0 }..];
                let behind = if text.as_bytes()[aligned..].starts_with(left_out) { left_out.len() } else { 0 };
                (aligned + behind).max(at)
            });
            ends.push(at);
        }
        ends.last_mut().into_iter().for_each(|last| *last = text.len());
        Some(ends)
    }
}

/// The byte of a byte-fallback piece `<0xNN>`.
pub(super) fn byte_piece(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// The first position at or behind `at` that is between two characters; `None` behind the text.
pub(super) fn next_character(text: &str, at: usize) -> Option<usize> {
    (at..=text.len()).find(|&b| text.is_char_boundary(b))
}

/// Whether a part of a tokenizer.json, or a part of it, has this value under this key.
fn mentions(part: &Value, key: &str, value: &str) -> bool {
    let is = |found: &Value| found.as_str() == Some(value) || found.as_bool().is_some_and(|b| b.to_string() == value);
    match part {
        Value::Object(map) => map.get(key).is_some_and(is) || map.values().any(|part| mentions(part, key, value)),
        Value::Array(parts) => parts.iter().any(|part| mentions(part, key, value)),
        _ => false,
    }
}

/// The byte that each character below U+0144 stands for in byte-level vocabularies (Radford et al. 2019): printable bytes of Latin-1 are
/// themselves, the others follow from U+0100 in order.
fn byte_of_character() -> Vec<Option<u8>> {
    let is_itself = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut table = vec![None; 0x144];
    let mut next = 0x100;
    for b in 0..=255u8 {
        if is_itself(b) {
            table[usize::from(b)] = Some(b);
        } else {
            table[next] = Some(b);
            next += 1;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Tokenizer;
    use crate::corpus::tests::{byte_tokenizer, cases, tokenizer};
    use proptest::prelude::*;
    use std::path::Path;
    use std::sync::{Arc, LazyLock};

    const KINDS: [&str; 7] = ["gemma_sp", "gpt2_bpe", "llama3_bpe", "llama_sp", "neox_bpe", "opt_bpe", "qwen_bpe"];

    /// Every kind of the fixtures, the demo's, one of bytes, and one that lowers letters and takes accents off.
    fn all() -> &'static [(&'static str, Arc<Tokenizer>)] {
        static ALL: LazyLock<Vec<(&'static str, Arc<Tokenizer>)>> = LazyLock::new(|| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
            let mut all = vec![("demo", tokenizer()), ("bytes", byte_tokenizer()), ("lowered", lowered())];
            for kind in KINDS {
                all.push((kind, Arc::new(Tokenizer::from_folder(&folder.join(kind)).unwrap())));
            }
            all
        });
        &ALL
    }

    /// A tokenizer whose normaliser changes letters and takes characters out, and that knows few of them.
    fn lowered() -> Arc<Tokenizer> {
        let file = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]},
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {"?": 0, "a": 1, "b": 2, "e": 3, " ": 4, "ab": 5}, "merges": ["a b"]}}"#;
        Arc::new(Tokenizer::from_bytes("lowered", file.as_bytes()).unwrap())
    }

    fn nasty() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-e ]{0,6}",
            "[ \\t\n\r]{1,4}",
            "[0-9]{1,5}",
            Just("\r\n".to_string()),
            Just("e\u{301}".to_string()),
            Just("é".to_string()),
            Just("A\u{30A}ngstro\u{308}m".to_string()),
            Just("👩‍👩‍👧".to_string()),
            Just("日本語".to_string()),
            Just("▁".to_string()),
            Just("<0x41>".to_string()),
            Just("<|endoftext|>".to_string()),
            Just("</s>".to_string()),
            Just("\u{fb01}".to_string()),
            Just("\u{a0}".to_string()),
            Just("가\u{1100}\u{1161}".to_string()),
            ".{0,4}",
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(cases(192))]

        /// The spans put together are the text, and the ids are those without spans.
        #[test]
        fn spans_of_every_kind_put_together_are_the_text(text in nasty()) {
            for (name, tokenizer) in all() {
                let found = tokenizer.encode_with_bytes(&text).unwrap();
                let found = found.unwrap_or_else(|| panic!("{name}: {text:?} is not aligned"));
                prop_assert_eq!(&found.ids, &tokenizer.encode(&text).unwrap());
                prop_assert!(found.ends.is_sorted(), "{} {:?} {:?}", name, text, found.ends);
                // a tokenizer that takes characters out may take all
                let is_covered = found.ends.last().copied().unwrap_or(0) == text.len();
                prop_assert!(is_covered || found.ids.is_empty() && *name == "lowered", "{} {:?} {:?}", name, text, found);
                // the library's own characters, where it leaves no spaces out
                let chars = tokenizer.encode_with_offsets(&text).unwrap().spans;
                let byte_of: Vec<usize> = text.char_indices().map(|(b, _)| b).chain([text.len()]).collect();
                let before_last = found.ends.len().saturating_sub(1);
                let mut most = 0;
                for (end, (_, to)) in found.ends[..before_last].iter().zip(chars) {
                    most = byte_of[to].max(most);
                    let here = next_character(&text, *end).unwrap();
                    let behind = &text[most.min(here)..here];
                    prop_assert!(behind.chars().all(|c| c == ' '), "{} {:?} {:?}", name, text, behind);
                    let is_space_before_text = *end == 0;
                    prop_assert!(here >= most || is_space_before_text, "{} {:?} {} {}", name, text, here, most);
                }
            }
        }

        /// The slow way: where text is its own normal form, the bytes of the tokens are the text, one behind the other.
        #[test]
        fn ends_are_those_of_the_bytes_written_out(text in "[a-z0-9 .,é日👩\n]{0,40}") {
            for (name, tokenizer) in all().iter().filter(|(name, _)| *name != "lowered") {
                let found = tokenizer.encode_with_bytes(&text).unwrap().unwrap();
                let bytes: Vec<Vec<u8>> = found.ids.iter().map(|&id| tokenizer.token_bytes().of_token(id).to_vec()).collect();
                let whole = bytes.concat();
                // a space before the text is the tokenizer's
                let by = whole.len() - text.len();
                prop_assert!(by <= 1 && &whole[by..] == text.as_bytes(), "{} {:?}", name, text);
                let ends: Vec<usize> = bytes.iter().scan(0, |at, b| { *at += b.len(); Some(at.saturating_sub(by)) }).collect();
                prop_assert_eq!(&found.ends, &ends, "{} {:?}", name, text);
            }
        }
    }

    #[test]
    fn tokens_inside_a_character_end_inside_it_and_changed_text_goes_by_the_alignment() {
        let ends = |name: &str, text: &str| {
            let (_, tokenizer) = all().iter().find(|(n, _)| *n == name).unwrap();
            tokenizer.encode_with_bytes(text).unwrap().unwrap().ends
        };
        assert_eq!(ends("bytes", "aé"), [1, 2, 3]);
        assert_eq!(ends("llama_sp", "\n"), [0, 1], "the space before a text covers no byte");
        // NFC makes two bytes of three: the pieces of the one character end with it, or at it
        assert_eq!(ends("qwen_bpe", "e\u{301}").last(), Some(&3));
        // an accent taken out goes with the letter behind it, at the end with the one before
        assert_eq!(ends("lowered", "e\u{301}AB"), [1, 5]);
        assert_eq!(ends("lowered", "abe\u{301}"), [2, 5]);
        assert_eq!(ends("lowered", "xÉ日"), [1, 3, 6], "unknown tokens cover what they stand for");
        assert_eq!(ends("neox_bpe", "a    b"), [1, 5, 6]);
    }

    /// The offsets that the library gives in Python, in characters, for the texts of the fixture.
    #[test]
    fn ends_are_those_of_the_library_elsewhere() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/crosstok");
        let texts = std::fs::read_to_string(folder.join("corpus.jsonl")).unwrap();
        let said: Vec<Value> =
            serde_json::from_str(&std::fs::read_to_string(folder.join("tokens.json")).unwrap()).unwrap();
        assert!(texts.lines().count() == said.len() && !said.is_empty(), "{}", said.len());
        for (line, said) in texts.lines().zip(&said) {
            let text = serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_string();
            let byte_of: Vec<usize> = text.char_indices().map(|(b, _)| b).chain([text.len()]).collect();
            for (side, kind) in [("L", "llama_sp"), ("N", "neox_bpe")] {
                let (_, tokenizer) = all().iter().find(|(name, _)| *name == kind).unwrap();
                let found = tokenizer.encode_with_bytes(&text).unwrap().unwrap();
                let list = |key: &str| said[format!("{side}_{key}")].as_array().unwrap().clone();
                assert!(
                    found.ids.iter().map(|&id| u64::from(id)).eq(list("ids").iter().map(|id| id.as_u64().unwrap()))
                );
                let offsets = list("offsets");
                let ends = offsets.iter().scan(0, |most, of| {
                    *most = byte_of[of[1].as_u64().unwrap() as usize].max(*most);
                    Some(*most)
                });
                let ends: Vec<usize> = ends.collect();
                let whole = found.ends.iter().map(|&end| next_character(&text, end).unwrap());
                assert_eq!(found.ends.len(), ends.len(), "{kind} {text:?}");
                for (k, (mine, theirs)) in whole.zip(&ends).enumerate().take(ends.len().saturating_sub(1)) {
                    // the library counts a space before the text to the first character
                    assert!(mine == *theirs || k == 0 && mine == 0, "{kind} {text:?} {k}: {mine} {theirs}");
                }
            }
        }
    }

    #[test]
    fn an_alignment_that_leads_back_is_no_alignment() {
        let table = TokenBytes { bytes: b"xy".to_vec(), starts: vec![0, 1, 2], is_trimmed: false };
        assert_eq!(table.ends("xy", &[0, 1], &[(0, 1), (1, 2)]), Some(vec![1, 2]));
        assert_eq!(table.ends("yx", &[0, 1], &[(1, 2), (0, 1)]), None);
        assert_eq!(table.ends("xy", &[0, 1], &[(0, 1), (1, 3)]), None, "behind the text");
    }
}
