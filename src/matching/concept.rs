//! Which tokens stand for no concept? The published lists by name, and classes of tokens.

use serde::{Deserialize, Serialize};

/// A list or a class of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonConcept {
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
    /// Of Pythia-160m beside 410m.
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

impl NonConcept {
    /// All of them.
    pub const ALL: [NonConcept; 11] = [
        NonConcept::Punctuation,
        NonConcept::Whitespace,
        NonConcept::Digits,
        NonConcept::Special,
        NonConcept::Pythia,
        NonConcept::PythiaManyTo1,
        NonConcept::PythiaMlp,
        NonConcept::Gemma,
        NonConcept::GemmaManyTo1,
        NonConcept::Gemma1To1,
        NonConcept::Pipeline,
    ];

    /// What `non_concept = true` stands for.
    pub const CLASSES: [NonConcept; 3] = [NonConcept::Punctuation, NonConcept::Whitespace, NonConcept::Special];

    /// As written in a dataflow file.
    pub fn as_str(self) -> &'static str {
        match self {
            NonConcept::Punctuation => "punctuation",
            NonConcept::Whitespace => "whitespace",
            NonConcept::Digits => "digits",
            NonConcept::Special => "special",
            NonConcept::Pythia => "pythia",
            NonConcept::PythiaManyTo1 => "pythia_many_to_1",
            NonConcept::PythiaMlp => "pythia_mlp",
            NonConcept::Gemma => "gemma",
            NonConcept::GemmaManyTo1 => "gemma_many_to_1",
            NonConcept::Gemma1To1 => "gemma_1_to_1",
            NonConcept::Pipeline => "pipeline",
        }
    }

    /// By that name.
    pub fn named(name: &str) -> Option<NonConcept> {
        Self::ALL.into_iter().find(|n| n.as_str() == name)
    }

    /// Whether a token that reads `text` (decoded alone, a leading space kept) belongs to it; `special` as the tokenizer
    /// says. A part of a character, `U+FFFD`, is no punctuation.
    pub fn holds(self, text: &str, special: bool) -> bool {
        let bare = text.trim();
        match self {
            NonConcept::Punctuation => {
                !special && !bare.is_empty() && !bare.contains(|c: char| c.is_alphanumeric() || c == '\u{FFFD}')
            }
            NonConcept::Whitespace => bare.is_empty(),
            NonConcept::Digits => !bare.is_empty() && bare.chars().all(char::is_numeric),
            NonConcept::Special => special,
            NonConcept::PythiaManyTo1 => BASE.contains(&text),
            NonConcept::Pythia | NonConcept::GemmaManyTo1 => BASE.contains(&text) || text == "|bos|",
            NonConcept::Gemma | NonConcept::Pipeline => BASE.contains(&text) || ["|bos|", "<pad>"].contains(&text),
            NonConcept::Gemma1To1 => [".", " \n", " ", "-", "<bos>", ",", "!", "?"].contains(&text),
            NonConcept::PythiaMlp => ["\\n", "\n", "", " ", "<bos>", "<|endoftext|>", "|bos|"].contains(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_exact_strings_and_classes_are_not() {
        for (list, inside, outside) in [
            (NonConcept::PythiaManyTo1, vec![".", "\\n", "\n", "", " "], vec![" .", "|bos|", "<pad>", ":", "  "]),
            (NonConcept::Pythia, vec!["|bos|", "<|endoftext|>"], vec!["<pad>", "<eos>", "|BOS|"]),
            (NonConcept::Gemma, vec!["|bos|", "<pad>", "<bos>"], vec!["<eos>", " \n"]),
            (NonConcept::Gemma1To1, vec![" \n", "?"], vec!["\n", "\\n", "", "<|endoftext|>"]),
            (NonConcept::PythiaMlp, vec!["\n", ""], vec![".", ",", "-"]),
            (NonConcept::Punctuation, vec![".", " ,", "\");", " →", "\n."], vec!["", " ", "a.", "7", "\u{FFFD}", "を"]),
            (NonConcept::Whitespace, vec!["", "\n\n", "\t "], vec!["\\n", ".", "<bos>"]),
            (NonConcept::Digits, vec!["1", " 2024", "３"], vec!["", "1a", ".", "two"]),
        ] {
            inside.iter().for_each(|t| assert!(list.holds(t, false), "{list:?} {t:?}"));
            outside.iter().for_each(|t| assert!(!list.holds(t, false), "{list:?} {t:?}"));
        }
        assert!(NonConcept::Special.holds("<|im_end|>", true) && !NonConcept::Punctuation.holds("<>", true));
        for n in NonConcept::ALL {
            assert_eq!(serde_json::to_value(n).unwrap(), n.as_str());
        }
    }
}
