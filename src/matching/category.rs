//! Which latents belong to one field of meaning? Word lists in, membership by top-activating tokens out.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A file of categories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Categories {
    /// How a latent is compared with the words.
    pub rule: CategoryRule,
    /// The lists, by name.
    pub categories: BTreeMap<String, Category>,
}

/// One list of words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// The words, in any case; one that is listed twice counts once.
    pub words: Vec<String>,
    /// Whether a digit in a label counts too (by substring only).
    #[serde(default)]
    pub digit: bool,
}

/// How a latent is compared with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CategoryRule {
    /// `word` of docs/method.md: one of its top-activating tokens is the word, and the word is a word of its own in the text around it.
    Word,
    /// `substring` of docs/method.md: its label holds the word anywhere.
    Substring,
}

/// Tokens before a top-activating token that the word rule reads, and after it.
pub const AROUND: [usize; 2] = [2, 1];

/// One of a latent's top-activating tokens: each token decoded by itself, put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The token.
    pub token: String,
    /// The text from [`AROUND`] tokens before it to those after it, clipped to the context.
    pub around: String,
}

/// What latents are compared with: the lists with their words in lower case.
#[derive(Clone, Debug)]
pub struct Lexicon {
    rule: CategoryRule,
    lists: Vec<(BTreeSet<String>, bool)>,
}

impl Lexicon {
    /// Of a file's categories, in order of name.
    pub fn new(categories: &Categories) -> Lexicon {
        let lower = |c: &Category| (c.words.iter().map(|w| w.to_lowercase()).collect(), c.digit);
        Lexicon { rule: categories.rule, lists: categories.categories.values().map(lower).collect() }
    }

    /// The categories that a latent with these top-activating tokens belongs to, ascending.
    pub fn categories_of(&self, top: &[Shown]) -> Vec<usize> {
        let lists = self.lists.iter().enumerate();
        match self.rule {
            CategoryRule::Word => {
                let words: Vec<String> = top.iter().filter_map(word).collect();
                lists.filter(|(_, (list, _))| words.iter().any(|w| list.contains(w))).map(|(k, _)| k).collect()
            }
            CategoryRule::Substring => {
                let mut strings: Vec<String> = Vec::new();
                for shown in top {
                    let text = shown.token.trim().to_lowercase();
                    if !strings.contains(&text) {
                        strings.push(text);
                    }
                }
                let label = strings.join(",");
                let holds = |(list, digit): &(BTreeSet<String>, bool)| {
                    list.iter().any(|w| label.contains(w.as_str())) || (*digit && label.contains(char::is_numeric))
                };
                lists.filter(|(_, list)| holds(list)).map(|(k, _)| k).collect()
            }
        }
    }
}

/// The token without its spaces, in lower case, when some piece of the text around it, cut at spaces and freed of `. , ? !`
/// and line ends, reads the same: so a fragment of a word is no word.
fn word(shown: &Shown) -> Option<String> {
    let word = shown.token.replace(' ', "").to_lowercase();
    let freed = |piece: &str| {
        // a line end is written as two characters before, and taken away as such
        let piece = piece.replace('\n', "\\n").replace(['.', ',', '?', '!'], "").replace("\\n", "");
        piece.to_lowercase()
    };
    shown.around.split(' ').any(|piece| freed(piece) == word).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &str, around: &str) -> Shown {
        Shown { token: token.into(), around: around.into() }
    }

    fn lexicon(rule: CategoryRule) -> Lexicon {
        let list = |words: &str, digit| Category { words: words.split(' ').map(String::from).collect(), digit };
        let categories = [("a", list("man Era may", false)), ("b", list("Brockman day", true))];
        Lexicon::new(&Categories { rule, categories: categories.map(|(n, c)| (n.to_string(), c)).into() })
    }

    #[test]
    fn a_word_stands_by_itself() {
        let of = |token: &str, around: &str| lexicon(CategoryRule::Word).categories_of(&[shown(token, around)]);
        assert_eq!(of(" man", "the old man said"), [0]);
        assert_eq!(of(" Man", " a Man,"), [0]);
        assert_eq!(of("man", " Brockman said"), [] as [usize; 0]);
        assert_eq!(of("man", "end.\nman"), [] as [usize; 0], "pieces are cut at spaces alone, as published");
        assert_eq!(of("day", "\nday!"), [1]);
        assert_eq!(of(" days", "two days ago"), [] as [usize; 0]);
        let both = [shown("x", "x"), shown(" day", "a day"), shown(" era", "an era of")];
        assert_eq!(lexicon(CategoryRule::Word).categories_of(&both), [0, 1]);
    }

    #[test]
    fn a_substring_is_found_anywhere_in_the_label() {
        let of = |tokens: &[&str]| {
            let top: Vec<Shown> = tokens.iter().map(|t| shown(t, "")).collect();
            lexicon(CategoryRule::Substring).categories_of(&top)
        };
        assert_eq!(of(&[" camera"]), [0]);
        assert_eq!(of(&["Maybe", " 7"]), [0, 1]);
        assert_eq!(of(&["d", "ay"]), [] as [usize; 0], "strings are joined by commas");
        assert_eq!(of(&[]), [] as [usize; 0]);
    }
}
