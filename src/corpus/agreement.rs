//! Do two tokenizers cut texts alike? Decided from their parts before a run. Where only tokens differ that texts may
//! never hold (an added `<pad>`, vocabulary behind the other's), checked again on every text that is read.
//!
//! What comes in: the tokenizers of two models. What goes out: that they are one for every text; or that they are one as long as each text
//! is cut alike by both, which [`Tokenizer::beside`] then has checked; or the first difference in words.
//!
//! The check tokenizes each text by both, which costs what tokenizing costs (0.65 µs per token, against 50 to 1000 µs
//! of a forward). No proof of which strings an added token can be found in is needed, and normalisers, `lstrip` and
//! `single_word` need no case of their own.

use super::tokenizer::{Other, Tokenizer};
use crate::error::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where two tokenizers cut a text differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Disagreement {
    models: [String; 2],
    /// The byte of the text at which the first token that differs begins.
    pub(super) byte: usize,
    /// The tokens of each from there to the next byte at which both begin a token; empty where one has no tokens left.
    tokens: [Vec<(u32, String)>; 2],
}

/// Tokens that are shown of a difference.
const SHOWN: usize = 6;

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.models;
        let shown = |tokens: &Vec<(u32, String)>| {
            let texts: Vec<String> = tokens.iter().take(SHOWN).map(|(_, text)| format!("{text:?}")).collect();
            let ids: Vec<String> = tokens.iter().take(SHOWN).map(|(id, _)| id.to_string()).collect();
            match &ids[..] {
                [] => "no token".to_string(),
                [id] => format!("{} (id {id})", texts[0]),
                _ => format!(
                    "{} (ids {}{})",
                    texts.join(" "),
                    ids.join(", "),
                    if tokens.len() > SHOWN { ", …" } else { "" }
                ),
            }
        };
        let [mine, theirs] = self.tokens.each_ref().map(shown);
        write!(
            f,
            "the tokenizers of models {a:?} and {b:?} give {mine} and {theirs}, and with align = \"token\" token i must be the same \
             text in both; compare.align = \"span\" takes both as they are"
        )
    }
}

impl Tokenizer {
    /// Whether `other` gives the same ids for every text: normalizer, pre-tokenizer, model and added tokens are equal, as
    /// the tokenizers library writes them. What is put around a text and how ids are read back may differ.
    pub fn cuts_as(&self, other: &Tokenizer) -> bool {
        self.first_difference(other).is_none()
    }

    /// In words, the first thing in which the cutting of texts differs from another tokenizer's.
    pub fn first_difference(&self, other: &Tokenizer) -> Option<String> {
        let both = [parts(self), parts(other)];
        if let Some(difference) = difference_of_splitting(&both) {
            return Some(difference);
        }
        let by_id = |t: &Tokenizer| -> BTreeMap<u32, String> {
            t.inner.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect()
        };
        let [mine, theirs] = [by_id(self), by_id(other)];
        if let Some(id) = mine.keys().chain(theirs.keys()).filter(|id| mine.get(id) != theirs.get(id)).min() {
            let text =
                |of: &BTreeMap<u32, String>| of.get(id).map_or("no token".to_string(), |token| format!("{token:?}"));
            let (n, m) = (mine.len(), theirs.len());
            return Some(format!("of their {n} and {m} tokens, id {id} is {} and {}", text(&mine), text(&theirs)));
        }
        let others = ["model", "added_tokens"].into_iter().find(|part| both[0][part] != both[1][part]);
        match others {
            Some("model") => Some("they merge tokens by different rules".to_string()),
            Some(_) => Some("their added tokens have different settings".to_string()),
            None => {
                let split = |t: &Tokenizer| t.inner.get_encode_special_tokens();
                (split(self) != split(other))
                    .then(|| "one of them splits special tokens that are written in a text".to_string())
            }
        }
    }

    /// Whether both differ at most in what a text may never show: added tokens and their settings, and vocabulary or merges that one has
    /// behind the other's. Such tokenizers mostly cut texts alike; whether they cut one alike is seen when both cut it.
    pub fn may_cut_as(&self, other: &Tokenizer) -> bool {
        let both = [parts(self), parts(other)];
        difference_of_splitting(&both).is_none() && continues(&both[0]["model"], &both[1]["model"])
    }

    /// This tokenizer, which from now on is used for `other`'s model as well: corpora read with it check that both cut every text alike, and
    /// that ready-made ids are the same tokens in both. `models`: what messages call the two. One that cuts as a tokenizer that is checked
    /// already is not checked again.
    #[must_use]
    pub fn beside(mut self, models: [&str; 2], other: Arc<Tokenizer>) -> Tokenizer {
        let difference = self.first_difference(&other);
        let is_known = |known: &Other| known.tokenizer.cuts_as(&other);
        if let Some(difference) = difference.filter(|_| !self.others.iter().any(is_known)) {
            let most = self.vocab_size().max(other.vocab_size()) as u32;
            let token = |t: &Tokenizer, id: u32| t.inner.id_to_token(id);
            let unshared = (0..most).filter(|&id| token(&self, id) != token(&other, id)).collect();
            let models = models.map(String::from);
            self.others.push(Other { models, tokenizer: other, unshared, difference });
        }
        self
    }

    /// Of the tokenizers that are checked: the two models, and the first difference in words.
    pub fn checked(&self) -> impl Iterator<Item = (&[String; 2], &str)> {
        self.others.iter().map(|other| (&other.models, other.difference.as_str()))
    }

    /// Ids from 0 up to, not including, this one are the same tokens in every tokenizer that is checked; all ids where
    /// no other is checked.
    pub fn shared_vocabulary(&self) -> usize {
        let first = self.others.iter().filter_map(|other| other.unshared.first());
        first.fold(self.vocab_size(), |most, &id| most.min(id as usize))
    }

    /// Ids of the vocabularies of the tokenizers that are checked.
    pub fn checked_vocabulary(&self) -> usize {
        self.others.iter().map(|other| other.tokenizer.vocab_size()).sum()
    }

    /// Whether `id` is the same token in `other`.
    pub fn shares(&self, other: &Tokenizer, id: u32) -> bool {
        self.inner.id_to_token(id) == other.inner.id_to_token(id)
    }

    /// Where one of the tokenizers that are checked cuts `text` differently.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(super) fn disagreement(&self, text: &str) -> Result<Option<Disagreement>> {
        if self.others.is_empty() {
            return Ok(None);
        }
        let mine = self.encode(text)?;
        for other in &self.others {
            let theirs = other.tokenizer.encode(text)?;
            if mine != theirs || first_of(&other.unshared, &mine).is_some() {
                return self.first_apart(other, text);
            }
        }
        Ok(None)
    }

    fn first_apart(&self, other: &Other, text: &str) -> Result<Option<Disagreement>> {
        let [mine, theirs] = [self, &*other.tokenizer].map(|t| t.encode_with_starts(text));
        let both = [mine?, theirs?];
        let at = |side: usize, k: usize| both[side].get(k).copied();
        let is_apart = |k: &usize| {
            let pair = [at(0, *k), at(1, *k)];
            pair[0] != pair[1] || pair[0].is_some_and(|(id, _)| other.unshared.binary_search(&id).is_ok())
        };
        let Some(k) = (0..both[0].len().max(both[1].len())).find(is_apart) else { return Ok(None) };
        let start = |side: usize, k: usize| at(side, k).map_or(text.len(), |(_, byte)| byte);
        let byte = start(0, k).min(start(1, k));
        // where both begin a token again
        let mut ends = [0, 1].map(|side: usize| (k + 1).min(both[side].len()));
        while start(0, ends[0]) != start(1, ends[1]) || start(0, ends[0]) <= byte && ends[0] < both[0].len() {
            let side = usize::from(start(0, ends[0]) > start(1, ends[1]));
            ends[side] += 1;
        }
        let shown = |side: usize, t: &Tokenizer| -> Vec<(u32, String)> {
            let tokens = both[side].get(k..ends[side]).unwrap_or_default();
            tokens.iter().map(|(id, _)| (*id, t.token_text(*id))).collect()
        };
        let tokens = [shown(0, self), shown(1, &other.tokenizer)];
        Ok(Some(Disagreement { models: other.models.clone(), byte, tokens }))
    }

    /// The first of ready-made ids that is another token, or none, in one of the tokenizers that are checked: its position, and a message.
    pub(super) fn unshared_id(&self, ids: &[u32]) -> Option<(usize, String)> {
        self.others.iter().find_map(|other| {
            let at = first_of(&other.unshared, ids)?;
            let id = ids[at];
            let name = |t: &Tokenizer| t.inner.id_to_token(id).map_or("no token".to_string(), |text| format!("{text:?}"));
            let [a, b] = &other.models;
            let (mine, theirs) = (name(self), name(&other.tokenizer));
            Some((
                at,
                format!(
                    "is {mine} of model {a:?} and {theirs} of model {b:?}; ids can be given to both only where they are the same tokens"
                ),
            ))
        })
    }
}

/// Position of the first of `ids` that is among `unshared`, which ascend.
fn first_of(unshared: &[u32], ids: &[u32]) -> Option<usize> {
    ids.iter().position(|id| unshared.binary_search(id).is_ok())
}

fn parts(tokenizer: &Tokenizer) -> Value {
    serde_json::to_value(&tokenizer.inner).unwrap_or_default()
}

/// In words, how texts are normalised or split into words by different rules.
fn difference_of_splitting(both: &[Value; 2]) -> Option<String> {
    for (part, name) in [("normalizer", "normaliser"), ("pre_tokenizer", "pre-tokenizer")] {
        let [a, b] = [&both[0][part], &both[1][part]];
        if a != b {
            let kind = |part: &Value| part["type"].as_str().unwrap_or("none").to_string();
            let kinds = [kind(a), kind(b)];
            return Some(match kinds[0] == kinds[1] {
                true => format!("their {name}s, {}, have different settings", kinds[0]),
                false => format!("their {name}s are {} and {}", kinds[0], kinds[1]),
            });
        }
    }
    None
}

/// Whether one model is the other, or extends it: the same settings, no id with two tokens, no token with two ids, one
/// list of merges or pieces the beginning of the other.
fn continues(a: &Value, b: &Value) -> bool {
    let begins = |a: &[Value], b: &[Value]| a.iter().zip(b).all(|(a, b)| a == b);
    let (Some(mine), Some(theirs)) = (a.as_object(), b.as_object()) else { return a == b };
    let keys = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<Vec<_>>();
    keys(mine) == keys(theirs)
        && mine.iter().all(|(key, mine)| match (key.as_str(), mine, &theirs[key]) {
            ("vocab", Value::Object(mine), Value::Object(theirs)) => {
                let by_id: BTreeMap<u64, &String> =
                    theirs.iter().filter_map(|(token, id)| Some((id.as_u64()?, token))).collect();
                mine.iter().all(|(token, id)| {
                    theirs.get(token).is_none_or(|other| other == id)
                        && id.as_u64().and_then(|id| by_id.get(&id)).is_none_or(|other| *other == token)
                })
            }
            ("vocab" | "merges", Value::Array(mine), Value::Array(theirs)) => begins(mine, theirs),
            (_, mine, theirs) => mine == theirs,
        })
}
