//! Which ids are BOS, EOS and padding? Asked of the companions of a `tokenizer.json`, in a fixed order.
//!
//! The first file that names a token decides. `tokenizer_config.json` and `special_tokens_map.json` name tokens;
//! `config.json` and `generation_config.json` give ids (a list's first, as Llama 3 gives several EOS). Where none
//! names it, the names that families use are looked up.

use crate::disk;
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// What is known of one special token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Special {
    /// Its id.
    Id(u32),
    /// A file declares that there is none.
    Absent,
    /// No file names it.
    #[default]
    Unsaid,
}

impl Special {
    pub(super) fn id(self) -> Option<u32> {
        if let Special::Id(id) = self { Some(id) } else { None }
    }
}

/// The three special tokens that contexts are framed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpecialIds {
    pub(super) bos: Special,
    pub(super) eos: Special,
    pub(super) pad: Special,
}

const BOS_NAMES: [&str; 5] = ["<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]"];
const EOS_NAMES: [&str; 5] = ["</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "[EOS]"];
const PAD_NAMES: [&str; 4] = ["<pad>", "[PAD]", "<|padding|>", "<|pad|>"];

impl SpecialIds {
    /// By the names that families use; `id_of` looks a token up.
    pub(super) fn guess(id_of: impl Fn(&str) -> Option<u32>) -> SpecialIds {
        let first = |names: &[&str]| names.iter().find_map(|name| id_of(name)).map_or(Special::Unsaid, Special::Id);
        SpecialIds { bos: first(&BOS_NAMES), eos: first(&EOS_NAMES), pad: first(&PAD_NAMES) }
    }

    /// From the companions in `folder`, names guessed only for EOS and padding that no file names: a guessed BOS
    /// with companions that know none would be put before every context of a family that was trained without.
    pub(super) fn of_folder(folder: &Path, id_of: &dyn Fn(&str) -> Option<u32>) -> Result<SpecialIds> {
        let named = ["tokenizer_config.json", "special_tokens_map.json"].map(|name| read(&folder.join(name)));
        let numbered = ["config.json", "generation_config.json"].map(|name| read(&folder.join(name)));
        let (named, numbered) = (all(named)?, all(numbered)?);
        let ask = |which: &str| {
            let by_name = named.iter().map(|file| said_by_name(file.get(format!("{which}_token")), id_of));
            let by_id = numbered.iter().map(|file| said_by_id(file.get(format!("{which}_token_id"))));
            by_name.chain(by_id).find(|said| *said != Special::Unsaid).unwrap_or_default()
        };
        let guess = Self::guess(id_of);
        let or = |said: Special, guess: Special| if said == Special::Unsaid { guess } else { said };
        let nothing_said =
            named.iter().chain(&numbered).all(|file| file.get("bos_token").or(file.get("eos_token")).is_none())
                && numbered.iter().all(|file| file.get("bos_token_id").or(file.get("eos_token_id")).is_none());
        let bos = if nothing_said { guess.bos } else { ask("bos") };
        Ok(SpecialIds { bos, eos: or(ask("eos"), guess.eos), pad: or(ask("pad"), guess.pad) })
    }
}

/// A token's name, or an object that holds it. Null is an answer; a name without an id is not.
fn said_by_name(value: Option<&Value>, id_of: &dyn Fn(&str) -> Option<u32>) -> Special {
    let name = match value {
        None => return Special::Unsaid,
        Some(Value::Null) => return Special::Absent,
        Some(Value::Object(token)) => token.get("content").and_then(Value::as_str),
        Some(other) => other.as_str(),
    };
    name.and_then(id_of).map_or(Special::Unsaid, Special::Id)
}

/// An id or a list of ids. Null counts as absent: configurations are full of nulls without meaning.
fn said_by_id(value: Option<&Value>) -> Special {
    let id = match value {
        Some(Value::Array(ids)) => ids.first().and_then(Value::as_u64),
        Some(other) => other.as_u64(),
        None => None,
    };
    id.and_then(|id| u32::try_from(id).ok()).map_or(Special::Unsaid, Special::Id)
}

/// A JSON file; `None` when it is not there.
fn read(path: &Path) -> Result<Option<Value>> {
    let bytes = match disk::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path, &e)),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) => Err(Error::input(format!("read {}: {e}; expected JSON", path.display()))),
    }
}

/// The files that are there, in order.
fn all<const N: usize>(files: [Result<Option<Value>>; N]) -> Result<Vec<Value>> {
    Ok(files.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a folder with these files says; ids are places in a list of names.
    fn of(files: &[(&str, &str)]) -> SpecialIds {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        let names = ["<s>", "</s>", "<pad>", "<x>", "<y>"];
        SpecialIds::of_folder(folder.path(), &|name| names.iter().position(|n| *n == name).map(|at| at as u32)).unwrap()
    }

    const NAMED: &str = "tokenizer_config.json";
    const MAP: &str = "special_tokens_map.json";
    const CONFIG: &str = "config.json";
    const GENERATION: &str = "generation_config.json";

    #[test]
    fn the_first_file_that_speaks_of_a_token_decides() {
        let bos = |files: &[(&str, &str)]| of(files).bos;
        let named = r#"{"bos_token": "<x>"}"#;
        assert_eq!(bos(&[(NAMED, named), (MAP, r#"{"bos_token": "<y>"}"#)]), Special::Id(3));
        assert_eq!(bos(&[(NAMED, "{}"), (MAP, r#"{"bos_token": {"content": "<y>"}}"#)]), Special::Id(4));
        assert_eq!(bos(&[(NAMED, r#"{"bos_token": null}"#), (MAP, named)]), Special::Absent, "null is an answer");
        assert_eq!(bos(&[(MAP, named), (CONFIG, r#"{"bos_token_id": 1}"#)]), Special::Id(3), "names before ids");
        let unknown = (NAMED, r#"{"bos_token": "<nobody>"}"#);
        assert_eq!(bos(&[unknown, (CONFIG, r#"{"bos_token_id": 4}"#)]), Special::Id(4), "a name without an id is none");
        // an id that is null says nothing, of a list the first holds
        let generation = (GENERATION, r#"{"bos_token_id": [4, 1]}"#);
        assert_eq!(bos(&[(CONFIG, r#"{"bos_token_id": null}"#), generation]), Special::Id(4));
    }

    #[test]
    fn names_are_guessed_where_no_file_speaks_but_no_bos_beside_an_eos() {
        let (s, e, pad) = (Special::Id(0), Special::Id(1), Special::Id(2));
        assert_eq!(of(&[]), SpecialIds { bos: s, eos: e, pad });
        let one = of(&[(CONFIG, r#"{"eos_token_id": 3}"#)]);
        assert_eq!(one, SpecialIds { bos: Special::Unsaid, eos: Special::Id(3), pad });
        let none = of(&[(NAMED, r#"{"eos_token": null, "pad_token": null}"#)]);
        assert_eq!(none, SpecialIds { bos: Special::Unsaid, eos: Special::Absent, pad: Special::Absent });
    }
}
