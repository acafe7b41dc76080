//! How does a GGUF file cut text? The `tokenizer.json` that its metadata describes, for the tokenizers library.
//!
//! Byte-level BPE (`gpt2`) with the named pre-tokenizers below, and SentencePiece BPE (`llama`), whose merges are rebuilt
//! from the scores: every way to cut a piece into two pieces, best score first.
//!
//! Known limitation: where two cuts of one piece compete, SentencePiece takes the leftmost and the rebuilt merges the one
//! with the longer left part; the piece that comes out is the same.

use crate::corpus::Tokenizer;
use crate::error::{Error, Result};
use crate::weights::gguf::{GgufFile, MetadataValue};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Kinds of tokens in `tokenizer.ggml.token_type`.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// The `tokenizer.json` of the model at `path`, as text.
///
/// # Errors
/// `Request` for a tokenizer or pre-tokenizer that is not supported; `Input` for a damaged file.
pub fn tokenizer_json(path: &Path) -> Result<String> {
    Ok(read(path)?.1)
}

/// The tokenizer of the model at `path`, with BOS, EOS and padding as its metadata names them.
///
/// # Errors
/// As [`tokenizer_json`].
pub fn tokenizer(path: &Path) -> Result<Tokenizer> {
    let (vocabulary, json) = read(path)?;
    let id = |id: Option<usize>| id.and_then(|id| u32::try_from(id).ok());
    let tokenizer = Tokenizer::from_bytes(&path.display().to_string(), json.as_bytes())?;
    Ok(tokenizer.with_special_ids(id(vocabulary.bos), id(vocabulary.eos), id(vocabulary.padding)))
}

fn read(path: &Path) -> Result<(Vocabulary, String)> {
    let file = GgufFile::open(path)?;
    let vocabulary = Vocabulary::read(&file)?;
    let json = match text(&file, "tokenizer.ggml.model") {
        Some("gpt2") => vocabulary.byte_level(&file)?,
        Some("llama") => vocabulary.sentence_piece(&file)?,
        other => {
            return Err(Error::request(format!(
                "gguf {}: tokenizer {:?} is not supported (gpt2 and llama are); use the folder of the model's safetensors",
                path.display(),
                other.unwrap_or("none")
            )));
        }
    };
    let json = json.to_string();
    Ok((vocabulary, json))
}

fn text<'a>(file: &'a GgufFile, key: &str) -> Option<&'a str> {
    match file.metadata.get(key) {
        Some(MetadataValue::Text(text)) => Some(text),
        _ => None,
    }
}

fn flag(file: &GgufFile, key: &str, default: bool) -> bool {
    match file.metadata.get(key) {
        Some(MetadataValue::Flag(flag)) => *flag,
        _ => default,
    }
}

struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i64>,
    bos: Option<usize>,
    eos: Option<usize>,
    unknown: Option<usize>,
    padding: Option<usize>,
    add_bos: bool,
    add_eos: bool,
}

impl Vocabulary {
    fn read(file: &GgufFile) -> Result<Self> {
        let wrong = |key: &str| Error::input(format!("gguf {}: {key} is missing or malformed", file.path().display()));
        let key = "tokenizer.ggml.tokens";
        let tokens = file.texts(key).ok_or_else(|| wrong(key))?;
        let tokens: Vec<String> = tokens.into_iter().map(String::from).collect();
        let key = "tokenizer.ggml.token_type";
        let types = match file.metadata.get(key) {
            None => vec![1; tokens.len()],
            Some(_) => file.wholes(key).filter(|list| list.len() == tokens.len()).ok_or_else(|| wrong(key))?,
        };
        let id = |name: &str| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            match file.metadata.get(&key) {
                None => Ok(None),
                Some(MetadataValue::Whole(id)) if (0..tokens.len() as i128).contains(id) => Ok(Some(*id as usize)),
                Some(_) => Err(wrong(&key)),
            }
        };
        let (bos, eos, unknown, padding) = (id("bos")?, id("eos")?, id("unknown")?, id("padding")?);
        // By default SentencePiece models put BOS first, byte-level ones do not.
        let default = text(file, "tokenizer.ggml.model") == Some("llama");
        let add_bos = flag(file, "tokenizer.ggml.add_bos_token", default);
        let add_eos = flag(file, "tokenizer.ggml.add_eos_token", false);
        Ok(Vocabulary { tokens, types, bos, eos, unknown, padding, add_bos, add_eos })
    }

    /// Whether a token is found in the text before anything else is done.
    fn is_added(&self, id: usize) -> bool {
        matches!(self.types[id], CONTROL | USER_DEFINED) || self.unknown == Some(id)
    }

    fn added(&self) -> Vec<Json> {
        let entry = |id: usize| {
            json!({
                "id": id, "content": self.tokens[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": self.types[id] != USER_DEFINED,
            })
        };
        (0..self.tokens.len()).filter(|&id| self.is_added(id)).map(entry).collect()
    }

    /// Tokens put around a text.
    fn template(&self) -> Option<Json> {
        let bos = self.bos.filter(|_| self.add_bos);
        let eos = self.eos.filter(|_| self.add_eos);
        if bos.is_none() && eos.is_none() {
            return None;
        }
        let special = |id: usize, side: usize| json!({"SpecialToken": {"id": self.tokens[id], "type_id": side}});
        let around = |name: &str, side: usize| {
            let middle = json!({"Sequence": {"id": name, "type_id": side}});
            bos.map(|id| special(id, side))
                .into_iter()
                .chain([middle])
                .chain(eos.map(|id| special(id, side)))
                .collect::<Vec<_>>()
        };
        let pair: Vec<Json> = around("A", 0).into_iter().chain(around("B", 1)).collect();
        let tokens: BTreeMap<&str, Json> = bos
            .into_iter()
            .chain(eos)
            .map(|id| {
                (self.tokens[id].as_str(), json!({"id": self.tokens[id], "ids": [id], "tokens": [self.tokens[id]]}))
            })
            .collect();
        Some(json!({"type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": tokens}))
    }

    /// Token to id, the added ones left out where `without_added`.
    fn map(&self, without_added: bool) -> BTreeMap<&str, usize> {
        // The first of two equal tokens keeps its id.
        let kept = (0..self.tokens.len()).rev().filter(|&id| !(without_added && self.is_added(id)));
        kept.map(|id| (self.tokens[id].as_str(), id)).collect()
    }

    fn byte_level(&self, file: &GgufFile) -> Result<Json> {
        let key = "tokenizer.ggml.merges";
        let wrong = || Error::input(format!("gguf {}: {key} is missing or malformed", file.path().display()));
        let list = file.texts(key).ok_or_else(wrong)?;
        let merges: Vec<(&str, &str)> =
            list.into_iter().map(|merge| merge.split_once(' ')).collect::<Option<_>>().ok_or_else(wrong)?;
        let whole = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let split = |digits: &str| {
            let regex = format!(
                "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{{L}}\\p{{N}}]?\\p{{L}}+|{digits}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
            );
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false}, bytes,
            ]})
        };
        let pre = text(file, "tokenizer.ggml.pre").unwrap_or("gpt-2");
        let (normalizer, pre_tokenizer) = match pre {
            "llama-bpe" | "llama3" | "llama-v3" => (Json::Null, split("\\p{N}{1,3}")),
            "qwen2" => (json!({"type": "NFC"}), split("\\p{N}")),
            "gpt-2" | "default" => (Json::Null, whole),
            "olmo" => (json!({"type": "NFC"}), whole),
            "smollm" => {
                let digits = json!({"type": "Digits", "individual_digits": true});
                (Json::Null, json!({"type": "Sequence", "pretokenizers": [digits, whole]}))
            }
            other => {
                return Err(Error::request(format!(
                    "gguf {}: pre-tokenizer {other:?} is not supported (llama-bpe, qwen2, gpt-2, default, olmo and smollm are)",
                    file.path().display()
                )));
            }
        };
        let offsets = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let post = match self.template() {
            Some(template) => json!({"type": "Sequence", "processors": [offsets, template]}),
            None => json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
        };
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post, "decoder": offsets,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                // Llama 3's library takes a whole word that is in the vocabulary before it merges.
                "ignore_merges": pre.starts_with("llama"), "vocab": self.map(true), "merges": merges,
            },
        }))
    }

    fn sentence_piece(&self, file: &GgufFile) -> Result<Json> {
        let vocabulary = self.map(false);
        let scores = file.numbers("tokenizer.ggml.scores").unwrap_or_default();
        let score = |id: usize| scores.get(id).copied().unwrap_or(0.0);
        let mut merges: Vec<(f64, usize, usize, &str, &str)> = Vec::new();
        for (id, token) in self.tokens.iter().enumerate().filter(|&(id, _)| !self.is_added(id)) {
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if vocabulary.contains_key(left) && vocabulary.contains_key(right) {
                    merges.push((score(id), id, at, left, right));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(b.2.cmp(&a.2)));
        let merges: Vec<(&str, &str)> = merges.into_iter().map(|(_, _, _, left, right)| (left, right)).collect();
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
        let unspace = json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "});
        let (bytes, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
        let (normalizer, decoders) = if flag(file, "tokenizer.ggml.add_space_prefix", true) {
            let prefix = json!({"type": "Prepend", "prepend": "\u{2581}"});
            let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
            (json!({"type": "Sequence", "normalizers": [prefix, space]}), json!([unspace, bytes, fuse, strip]))
        } else {
            (space, json!([unspace, bytes, fuse]))
        };
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": self.added(),
            "normalizer": normalizer, "pre_tokenizer": null, "post_processor": self.template(),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": self.unknown.map(|id| self.tokens[id].as_str()),
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                "ignore_merges": false, "vocab": vocabulary, "merges": merges,
            },
        }))
    }
}
