//! Which tokens do the files in the folder of a `tokenizer.json` add? `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json`, read as transformers 5.24 reads them (`PreTrainedTokenizerBase._from_pretrained`):
//!
//! - `added_tokens_decoder` of `tokenizer_config.json`, where there is one, in the order of its ids;
//! - else `special_tokens_map.json` over `tokenizer_config.json`, and `added_tokens.json`;
//! - then named special tokens (`bos_token` … `mask_token`, then a model's own `…_token`), then those of
//!   `additional_special_tokens` or `extra_special_tokens`, as far as they are not there yet.
//!
//! A token that the vocabulary has keeps its id; a new one takes the next free id, whatever id the file gives, as in
//! transformers.

use crate::disk;
use crate::error::{Error, Result};
use crate::hub::refuse_pointer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::AddedToken;

/// Special tokens that have names in every family, in the order in which they are added.
const NAMED: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Classes that take a `tokenizer.json` as it is; another class has settings of its own.
const PLAIN: [&str; 3] = ["PreTrainedTokenizerFast", "TokenizersBackend", "PreTrainedTokenizer"];

/// Contents of the companions.
#[derive(Clone, Debug, Default)]
pub(super) struct Companions {
    /// Tokens in the order in which they are added; some may be there already.
    pub tokens: Vec<AddedToken>,
    /// Special tokens written out in a text are cut as any text.
    pub split_special: bool,
    /// Whether a space is put before the first word; a class that takes files as they are does not ask.
    pub add_prefix_space: Option<bool>,
    /// Name of the class, without `Fast`; `None` where it takes files as they are.
    pub class: Option<String>,
}

impl Companions {
    /// Those of `folder`. `present`: the added tokens of its `tokenizer.json`; `defaults`: named tokens of a class that
    /// has some where no file names them.
    ///
    /// # Errors
    /// `Input`, naming the file, when one is malformed.
    pub(super) fn of(folder: &Path, present: &[AddedToken], defaults: &[(&str, &str)]) -> Result<Self> {
        let file = |name: &str| Companion::read(folder, name);
        let config = file("tokenizer_config.json")?;
        let mut named: BTreeMap<usize, AddedToken> = BTreeMap::new();
        let mut own: Vec<(String, AddedToken)> = Vec::new();
        let mut extra: Vec<AddedToken> = Vec::new();
        for (name, content) in defaults {
            if config.get(name).is_none() {
                place(name, special(content), &mut named, &mut own);
            }
        }
        config.special_tokens(&mut named, &mut own, &mut extra)?;
        let mut stored: BTreeMap<u64, AddedToken> = BTreeMap::new();
        match config.get("added_tokens_decoder") {
            Some(Value::Object(decoder)) => {
                for (id, token) in decoder {
                    let wrong = || config.wrong("added_tokens_decoder", "ids with their tokens");
                    stored.insert(id.parse().map_err(|_| wrong())?, token_of(token, false).ok_or_else(wrong)?);
                }
            }
            Some(Value::Null) | None => {
                file("special_tokens_map.json")?.special_tokens(&mut named, &mut own, &mut extra)?;
                let added = file("added_tokens.json")?;
                for (content, id) in &added.entries {
                    if present.iter().any(|token| token.content == *content) {
                        continue; // tokenizer.json has the fuller entry
                    }
                    let is_special = named.values().chain(&extra).any(|token| token.content == *content);
                    let id = id.as_u64().ok_or_else(|| added.wrong(content, "an id"))?;
                    stored.insert(id, AddedToken::from(content.clone(), is_special));
                }
            }
            Some(_) => return Err(config.wrong("added_tokens_decoder", "an object")),
        }
        let known: BTreeMap<&str, &AddedToken> =
            present.iter().chain(stored.values()).map(|token| (token.content.as_str(), token)).collect();
        // A named token is the stored one of its name, with that one's flags.
        let of_name = |token: AddedToken| known.get(token.content.as_str()).map_or(token, |stored| (*stored).clone());
        let named: Vec<AddedToken> =
            named.into_values().chain(own.into_iter().map(|(_, token)| token)).map(of_name).collect();
        let mut tokens: Vec<AddedToken> = stored.into_values().collect();
        for token in named.iter().chain(&extra) {
            let there = |other: &AddedToken| other.content == token.content;
            if !present.iter().any(there) && !tokens.iter().any(there) {
                tokens.push(token.clone());
            }
        }
        for token in &mut tokens {
            token.special |= named.iter().any(|other| other.content == token.content);
        }
        let class = config.get("tokenizer_class").and_then(Value::as_str);
        let class = class.filter(|class| !PLAIN.contains(class));
        Ok(Companions {
            tokens,
            split_special: config.flag("split_special_tokens")?.unwrap_or(false),
            add_prefix_space: config.flag("add_prefix_space")?,
            class: class.map(|class| class.trim_end_matches("Fast").to_string()),
        })
    }
}

/// A companion file: its keys in their order; none when it is not there.
struct Companion {
    place: String,
    entries: Vec<(String, Value)>,
}

impl Companion {
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(name);
        let place = path.display().to_string();
        let bytes = match disk::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Companion { place, entries: Vec::new() }),
            Err(e) => return Err(Error::io("read the tokenizer's companion", &path, &e)),
        };
        refuse_pointer(&path, &bytes)?;
        match serde_json::from_slice::<Ordered>(&bytes) {
            Ok(Ordered(entries)) => Ok(Companion { place, entries }),
            Err(e) => Err(Error::input(format!("read {place}: {e}; expected a JSON object"))),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::input(format!("read {}: {key} is not {expected}", self.place))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| self.wrong(key, "true or false")),
        }
    }

    /// Adds the special tokens that this file names. A token that another file named too is replaced.
    fn special_tokens(
        &self,
        named: &mut BTreeMap<usize, AddedToken>,
        own: &mut Vec<(String, AddedToken)>,
        extra: &mut Vec<AddedToken>,
    ) -> Result<()> {
        for (name, value) in self.entries.iter().filter(|(name, _)| name.ends_with("_token")) {
            // A flag such as `add_bos_token` ends so too.
            if value.is_string() || value.is_object() {
                let token = token_of(value, true).ok_or_else(|| self.wrong(name, "a token"))?;
                place(name, token, named, own);
            }
        }
        let lists = ["extra_special_tokens", "additional_special_tokens"];
        let Some((key, value)) = lists.iter().filter_map(|&key| Some((key, self.get(key)?))).find(|(_, v)| !empty(v))
        else {
            return Ok(());
        };
        let token = |value: &Value| token_of(value, true).ok_or_else(|| self.wrong(key, "a list of tokens"));
        match value {
            Value::Array(list) => {
                for token in list.iter().map(token) {
                    let token = token?;
                    if !extra.iter().any(|other| other.content == token.content) {
                        extra.push(token);
                    }
                }
            }
            Value::Object(by_name) => {
                for (name, value) in by_name {
                    place(name, token(value)?, named, own);
                }
            }
            _ => return Err(self.wrong(key, "a list of tokens")),
        }
        Ok(())
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Puts a token under its name.
fn place(name: &str, token: AddedToken, named: &mut BTreeMap<usize, AddedToken>, own: &mut Vec<(String, AddedToken)>) {
    match NAMED.iter().position(|known| *known == name) {
        Some(at) => {
            named.insert(at, token);
        }
        None => {
            own.retain(|(other, _)| other != name);
            own.push((name.to_string(), token));
        }
    }
}

fn special(content: &str) -> AddedToken {
    AddedToken::from(content, true)
}

/// A token, given as text or as an object with flags. `is_special` is the default of the flag `special`; the default of
/// `normalized` is true, except for a special token.
fn token_of(value: &Value, is_special: bool) -> Option<AddedToken> {
    if let Value::String(content) = value {
        return Some(AddedToken::from(content.clone(), is_special));
    }
    let flag = |name: &str, default: bool| value.get(name).map_or(Some(default), Value::as_bool);
    let special = flag("special", is_special)?;
    Some(AddedToken {
        content: value.get("content")?.as_str()?.to_string(),
        single_word: flag("single_word", false)?,
        lstrip: flag("lstrip", false)?,
        rstrip: flag("rstrip", false)?,
        normalized: flag("normalized", !special)?,
        special,
    })
}

/// A JSON object's keys and values in the order of the file.
struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
