//! Which tokenizer do `vocab.json` and `merges.txt` describe? The `tokenizer.json` that transformers would make of them,
//! for the three families of byte-level BPE that were published so.

use crate::disk;
use crate::error::{Error, Result};
use crate::hub::refuse_pointer;
use serde_json::{Map, Value, json};
use std::path::Path;

/// A class of tokenizers that is read from these files.
pub(super) struct Class {
    /// Its name in transformers.
    name: &'static str,
    /// `model_type`s whose tokenizer it is where no file names a class.
    families: &'static [&'static str],
    /// Its special tokens where no file names others.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Whether texts are brought into Unicode's form NFC first.
    nfc: bool,
    /// Cuts texts into words; `None`: as GPT-2.
    words: Option<&'static str>,
}

const END: &str = "<|endoftext|>";

const CLASSES: &[Class] = &[
    Class {
        name: "GPT2Tokenizer",
        families: &["gpt2", "gpt_neo", "opt", "phi"],
        defaults: &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
        nfc: false,
        words: None,
    },
    Class {
        name: "GPTNeoXTokenizer",
        families: &["gpt_neox"],
        defaults: &[("bos_token", END), ("eos_token", END), ("unk_token", END), ("pad_token", "<|padding|>")],
        nfc: true,
        words: None,
    },
    Class {
        name: "Qwen2Tokenizer",
        families: &["qwen2", "qwen3"],
        defaults: &[("eos_token", END), ("unk_token", END), ("pad_token", END)],
        nfc: true,
        words: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    },
];

/// Whether `folder` holds the two files and no `tokenizer.json`.
pub(super) fn stand_in(folder: &Path) -> bool {
    !disk::is_file(&folder.join("tokenizer.json"))
        && disk::is_file(&folder.join("vocab.json"))
        && disk::is_file(&folder.join("merges.txt"))
}

/// Whether a class is one of those that cut words as bytes by rules of their own.
pub(super) fn is_byte_level(name: &str) -> bool {
    CLASSES.iter().any(|class| class.name == name)
}

/// The tokenizer class of `folder`: the one it names, else the default of its model's family.
///
/// # Errors
/// `Request`, naming what is read, for another one.
pub(super) fn class_of(folder: &Path, named: Option<&str>) -> Result<&'static Class> {
    let config = folder.join("config.json");
    let read = match disk::read(&config) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("read the model's configuration", &config, &e));
        }
        read => read.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()),
    };
    let family = read.and_then(|config| config.get("model_type")?.as_str().map(str::to_string));
    let found = match named {
        Some(name) => CLASSES.iter().find(|class| class.name == name),
        None => CLASSES.iter().find(|class| family.as_deref().is_some_and(|family| class.families.contains(&family))),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
        Error::request(format!(
            "the folder {} has vocab.json and merges.txt, but no tokenizer.json; they are read as {}, found {}; make a \
             tokenizer.json by AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
            folder.display(),
            names.join(", "),
            named.or(family.as_deref()).unwrap_or("no class"),
        ))
    })
}

/// The `tokenizer.json` of `folder`; `add_prefix_space`: whether a space is put before the first word.
///
/// # Errors
/// `Input`, naming the file and the line, when one is malformed.
pub(super) fn tokenizer_json(folder: &Path, class: &Class, add_prefix_space: bool) -> Result<Value> {
    let path = folder.join("vocab.json");
    let bytes = disk::read(&path).map_err(|e| Error::io("read the vocabulary", &path, &e))?;
    refuse_pointer(&path, &bytes)?;
    let vocab: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::input(format!("read the vocabulary {}: {e}; expected tokens and ids", path.display())))?;
    let bytes_only = |use_regex: bool, space: bool| json!({"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": true, "use_regex": use_regex});
    let pre_tokenizer = match class.words {
        None => bytes_only(true, add_prefix_space),
        Some(regex) => json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            bytes_only(false, add_prefix_space),
        ]}),
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": if class.nfc { json!({"type": "NFC"}) } else { Value::Null },
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": bytes_only(true, true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges(&folder.join("merges.txt"))?,
        },
    }))
}

/// The two parts of each merge; the first line may name a version.
fn merges(path: &Path) -> Result<Vec<(String, String)>> {
    let text = disk::read_to_string(path).map_err(|e| Error::io("read the merges", path, &e))?;
    refuse_pointer(path, text.as_bytes())?;
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => merges.push((left.to_string(), right.to_string())),
            _ => {
                return Err(Error::input(format!(
                    "read the merges {} line {}: expected two parts with a space between",
                    path.display(),
                    number + 1
                )));
            }
        }
    }
    Ok(merges)
}
