//! Which tokens are no concept? The published lists by name, and classes of tokens.

use serde::{Deserialize, Serialize};

/// A list or a class of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Neither letters nor digits: punctuation and symbols, spaces around them allowed.
    Punctuation,
    /// Nothing but spaces, tabs, line ends; or nothing at all.
    Whitespace,
    /// Digits alone, spaces around them allowed.
    Digits,
    /// BOS, EOS, padding and whatever the tokenizer marks as special.
    Special,
    /// The list of the Pythia one-to-one and reverse runs.
    Pythia,
    /// Of the Pythia many-to-one run.
    #[serde(rename = "pythia_many_to_1")]
    PythiaManyTo1,
    /// Of Pythia-160m with 410m.
    PythiaMlp,
    /// Of the Gemma notebooks as cleaned up.
    Gemma,
    /// Of the Gemma many-to-one run.
    #[serde(rename = "gemma_many_to_1")]
    GemmaManyTo1,
    /// Of the Gemma one-to-one run.
    #[serde(rename = "gemma_1_to_1")]
    Gemma1To1,
    /// Of the later command-line pipeline.
    Pipeline,
}

/// The base list: exact strings, a newline also as the two characters that the notebooks write for it.
const BASE: [&str; 11] = [".", "\\n", "\n", "", " ", "-", "<bos>", ",", "!", "?", "<|endoftext|>"];

impl TokenClass {
    /// All of them.
    pub const ALL: [TokenClass; 11] = [
        TokenClass::Punctuation,
        TokenClass::Whitespace,
        TokenClass::Digits,
        TokenClass::Special,
        TokenClass::Pythia,
        TokenClass::PythiaManyTo1,
        TokenClass::PythiaMlp,
        TokenClass::Gemma,
        TokenClass::GemmaManyTo1,
        TokenClass::Gemma1To1,
        TokenClass::Pipeline,
    ];

    /// Meaning of `non_concept = true`.
    pub const CLASSES: [TokenClass; 3] = [TokenClass::Punctuation, TokenClass::Whitespace, TokenClass::Special];

    /// As written in a dataflow file.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenClass::Punctuation => "punctuation",
            TokenClass::Whitespace => "whitespace",
            TokenClass::Digits => "digits",
            TokenClass::Special => "special",
            TokenClass::Pythia => "pythia",
            TokenClass::PythiaManyTo1 => "pythia_many_to_1",
            TokenClass::PythiaMlp => "pythia_mlp",
            TokenClass::Gemma => "gemma",
            TokenClass::GemmaManyTo1 => "gemma_many_to_1",
            TokenClass::Gemma1To1 => "gemma_1_to_1",
            TokenClass::Pipeline => "pipeline",
        }
    }

    /// By that name.
    pub fn named(name: &str) -> Option<TokenClass> {
        Self::ALL.into_iter().find(|n| n.as_str() == name)
    }

    /// Whether a token that reads `text` (decoded alone, a leading space kept) belongs to it; `special` as the tokenizer
    /// says. A part of a character, `U+FFFD`, is no punctuation.
    pub fn holds(self, text: &str, special: bool) -> bool {
        let bare = text.trim();
        match self {
            TokenClass::Punctuation => {
                !special && !bare.is_empty() && !bare.contains(|c: char| c.is_alphanumeric() || c == '\u{FFFD}')
            }
            TokenClass::Whitespace => bare.is_empty(),
            TokenClass::Digits => !bare.is_empty() && bare.chars().all(char::is_numeric),
            TokenClass::Special => special,
            TokenClass::PythiaManyTo1 => BASE.contains(&text),
            TokenClass::Pythia | TokenClass::GemmaManyTo1 => BASE.contains(&text) || text == "|bos|",
            TokenClass::Gemma | TokenClass::Pipeline => BASE.contains(&text) || ["|bos|", "<pad>"].contains(&text),
            TokenClass::Gemma1To1 => [".", " \n", " ", "-", "<bos>", ",", "!", "?"].contains(&text),
            TokenClass::PythiaMlp => ["\\n", "\n", "", " ", "<bos>", "<|endoftext|>", "|bos|"].contains(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_exact_strings_and_classes_are_not() {
        for (list, inside, outside) in [
            (TokenClass::PythiaManyTo1, vec![".", "\\n", "\n", "", " "], vec![" .", "|bos|", "<pad>", ":", "  "]),
            (TokenClass::Pythia, vec!["|bos|", "<|endoftext|>"], vec!["<pad>", "<eos>", "|BOS|"]),
            (TokenClass::Gemma, vec!["|bos|", "<pad>", "<bos>"], vec!["<eos>", " \n"]),
            (TokenClass::Gemma1To1, vec![" \n", "?"], vec!["\n", "\\n", "", "<|endoftext|>"]),
            (TokenClass::PythiaMlp, vec!["\n", ""], vec![".", ",", "-"]),
            (TokenClass::Punctuation, vec![".", " ,", "\");", " →", "\n."], vec!["", " ", "a.", "7", "\u{FFFD}", "を"]),
            (TokenClass::Whitespace, vec!["", "\n\n", "\t "], vec!["\\n", ".", "<bos>"]),
            (TokenClass::Digits, vec!["1", " 2024", "３"], vec!["", "1a", ".", "two"]),
        ] {
            inside.iter().for_each(|t| assert!(list.holds(t, false), "{list:?} {t:?}"));
            outside.iter().for_each(|t| assert!(!list.holds(t, false), "{list:?} {t:?}"));
        }
        assert!(TokenClass::Special.holds("<|im_end|>", true) && !TokenClass::Punctuation.holds("<>", true));
        for n in TokenClass::ALL {
            assert_eq!(serde_json::to_value(n).unwrap(), n.as_str());
        }
    }
}
