//! Which ids does a text have, and which text does an id have? The home of the `tokenizers` crate.
//!
//! In: a `tokenizer.json`. For a folder in Hugging Face layout, also the files that add tokens and declare BOS, EOS and padding.
//! Out: ids without added special tokens (cutting adds them, by the rules of `[corpus]`), and texts of ids. A `truncation` or
//! `padding` block of the file is ignored: it would cut or pad documents.

use super::companions::Companions;
use super::special::{Special, SpecialIds};
use super::token_bytes::{ByteTokens, TokenBytes, byte_piece};
use super::vocab_files;
use crate::disk;
use crate::error::{Error, Result, caught};
use crate::hub::refuse_pointer;
use serde_json::Value;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokenizers::{AddedToken, DecoderWrapper, PreTokenizerWrapper, Tokenizer as Inner};

/// Ids for each token at most, and so many more: none of a published vocabulary is near it.
const MOST_APART: usize = 8;
const SOME_IDS: usize = 1 << 16;

/// Words whose ids the library keeps, in every thread that tokenizes and for as long as it lives. With the library's
/// default of 10 000, a thread takes up to 4 MiB, which fills up over the first 10⁵ tokens; with 1 000, running text
/// takes 0.05 µs per token more, of some 0.65.
const CACHED_WORDS: usize = 1_000;

/// A text's ids with the characters that each covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids: `[len]`.
    pub ids: Vec<u32>,
    /// Half-open spans in characters (Unicode scalar values) of the text: `[len]`. As the `tokenizers` library gives
    /// them: spaces may be trimmed off a span, and tokens that share a character share its span.
    pub spans: Vec<(usize, usize)>,
}

/// A tokenizer with its special ids. Cheap to share behind an `Arc`; every method takes `&self`.
#[derive(Clone)]
pub struct Tokenizer {
    pub(super) inner: Inner,
    special: SpecialIds,
    marked_special: Vec<u32>,
    vocab_size: usize,
    reading: Reading,
    /// Made when they are first asked for.
    bytes: Arc<OnceLock<TokenBytes>>,
    /// Those that must cut every text alike while it is read (`agreement`).
    pub(super) others: Vec<Other>,
}

/// The tokenizer of another model, which is used where this one is.
#[derive(Clone)]
pub(super) struct Other {
    /// The model of this tokenizer, and the other's.
    pub(super) models: [String; 2],
    pub(super) tokenizer: Arc<Tokenizer>,
    /// Ids that are not the same token in both, ascending.
    pub(super) unshared: Vec<u32>,
    /// The first difference, in words.
    pub(super) difference: String,
}

/// How the text of a single token is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The decoder of the file, given one token, gives what a person reads (byte-level BPE).
    Decoder,
    /// The decoder strips leading spaces or joins bytes over tokens (SentencePiece): `▁` is a space, `<0xNN>` a byte.
    Pieces,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. BOS and EOS are guessed from the names of its special tokens, as no companion is read.
    ///
    /// # Errors
    /// `Request` when there is no such file, `Input` when it is not a tokenizer.
    pub fn from_file(path: &Path) -> Result<Tokenizer> {
        let bytes = disk::read(path).map_err(|e| Error::io("read the tokenizer", path, &e))?;
        refuse_pointer(path, &bytes)?;
        Self::from_bytes(&path.display().to_string(), &bytes)
    }

    /// The same from memory; `name` is what errors call it.
    ///
    /// # Errors
    /// `Input` when the bytes are not a tokenizer.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Tokenizer> {
        let inner = read(name, bytes)?;
        let special = SpecialIds::guess(|token| inner.token_to_id(token));
        Ok(Self::new(inner, special))
    }

    /// Reads the tokenizer of a folder in Hugging Face layout: its `tokenizer.json`, or `vocab.json` and `merges.txt` where
    /// there is none, and the tokens that its companions add (`companions.rs`). BOS, EOS and padding are of the first of
    /// `tokenizer_config.json`, `special_tokens_map.json`, `config.json`, `generation_config.json` that names each.
    /// `"bos_token": null` in `tokenizer_config.json` is an answer: the family has none (Qwen).
    ///
    /// Known limitation: how words are cut is decided by `tokenizer.json` alone, as in the tokenizers library and in transformers
    /// 4; version 5 puts the rules of some classes in its place, which differ for some texts that begin with spaces (Llama).
    ///
    /// # Errors
    /// `Request` when the folder has no tokenizer that is read, `Input` when a file is malformed.
    pub fn from_folder(folder: &Path) -> Result<Tokenizer> {
        let path = folder.join("tokenizer.json");
        let name = path.display().to_string();
        let (mut inner, companions) = if disk::is_file(&path) {
            let bytes = disk::read(&path).map_err(|e| Error::io("read the tokenizer", &path, &e))?;
            refuse_pointer(&path, &bytes)?;
            let mut inner = read(&name, &bytes)?;
            let present: Vec<AddedToken> = inner.get_added_tokens_decoder().into_values().collect();
            let companions = Companions::of(folder, &present, &[])?;
            if let (Some(space), Some(class)) = (companions.add_prefix_space, &companions.class)
                && vocab_files::is_byte_level(class)
            {
                set_prefix_space(&mut inner, space);
            }
            (inner, companions)
        } else if vocab_files::stand_in(folder) {
            let companions = Companions::of(folder, &[], &[])?;
            let class = vocab_files::class_of(folder, companions.class.as_deref())?;
            let space = companions.add_prefix_space.unwrap_or(false);
            let json = vocab_files::tokenizer_json(folder, class, space)?;
            let inner = read(&folder.join("vocab.json").display().to_string(), json.to_string().as_bytes())?;
            (inner, Companions::of(folder, &[], class.defaults)?)
        } else {
            return Err(Error::request(format!(
                "the folder {} has no tokenizer.json; a SentencePiece tokenizer.model is converted into one by \
                 AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
                folder.display()
            )));
        };
        in_library(|| inner.add_tokens(companions.tokens))
            .map_err(|e| Error::input(format!("add the tokens of the files in the folder of {name}: {e}")))?;
        inner.set_encode_special_tokens(companions.split_special);
        let special = SpecialIds::of_folder(folder, &|token| inner.token_to_id(token))?;
        Ok(Self::new(inner, special))
    }

    /// Names of the files that may decide which ids a text has.
    pub const FILES: [&str; 7] = [
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "generation_config.json",
    ];

    /// Every file of `folder` that decides which ids a text has, as far as they are there; none where there is no tokenizer.
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        let older = vocab_files::stand_in(folder);
        let (whole, pair, beside) = (&Self::FILES[..1], &Self::FILES[1..3], &Self::FILES[3..]);
        if !older && !disk::is_file(&folder.join(whole[0])) {
            return Vec::new();
        }
        let names = if older { pair } else { whole }.iter().chain(beside);
        names.map(|name| folder.join(name)).filter(|path| disk::is_file(path)).collect()
    }

    fn new(inner: Inner, special: SpecialIds) -> Tokenizer {
        let vocab_size = inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        let mut marked_special: Vec<u32> =
            inner.get_added_tokens_decoder().iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        marked_special.sort_unstable();
        let reading = match inner.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_) | DecoderWrapper::WordPiece(_)) | None => Reading::Decoder,
            Some(decoder) => match serde_json::to_string(decoder) {
                Ok(text) if text.contains("ByteFallback") || text.contains("Metaspace") || text.contains('▁') => {
                    Reading::Pieces
                }
                _ => Reading::Decoder,
            },
        };
        Tokenizer { inner, special, marked_special, vocab_size, reading, bytes: Arc::default(), others: Vec::new() }
    }

    /// The same with special ids that are known from elsewhere (the metadata of a GGUF file). Where no id is given, nothing
    /// names BOS, and EOS and padding stay as the names of the special tokens have them.
    #[must_use]
    pub fn with_special_ids(mut self, bos: Option<u32>, eos: Option<u32>, pad: Option<u32>) -> Tokenizer {
        let known = |id: Option<u32>, otherwise: Special| id.map_or(otherwise, Special::Id);
        let guess = self.special;
        self.special =
            SpecialIds { bos: known(bos, Special::Unsaid), eos: known(eos, guess.eos), pad: known(pad, guess.pad) };
        self
    }

    /// Ids of `text`, no special token put in. Special tokens that are written out in the text are found in it.
    ///
    /// # Errors
    /// `Input` when the tokenizer's own model fails on the text (it has no token for unknown characters).
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match in_library(|| self.inner.encode_fast(text, false)) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(e) => Err(Error::input(format!("tokenize {}: {e}", shortened(text)))),
        }
    }

    /// Ids of `text` and the characters they cover.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_offsets(&self, text: &str) -> Result<Encoded> {
        match in_library(|| self.inner.encode_char_offsets(text, false)) {
            Ok(encoding) => Ok(Encoded { ids: encoding.get_ids().to_vec(), spans: encoding.get_offsets().to_vec() }),
            Err(e) => Err(Error::input(format!("tokenize {}: {e}", shortened(text)))),
        }
    }

    /// Ids of `text`, each with the byte at which its token begins.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(super) fn encode_with_starts(&self, text: &str) -> Result<Vec<(u32, usize)>> {
        let (ids, offsets) = self.encode_with_offsets_in_bytes(text)?;
        Ok(ids.into_iter().zip(offsets.into_iter().map(|(start, _)| start)).collect())
    }

    /// Ids of `text` and the bytes they cover, as [`Tokenizer::encode`] cuts it. `None` where the tokenizer's alignment
    /// does not give the bytes of a token.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_with_bytes(&self, text: &str) -> Result<Option<ByteTokens>> {
        let (ids, offsets) = self.encode_with_offsets_in_bytes(text)?;
        Ok(self.token_bytes().ends(text, &ids, &offsets).map(|ends| ByteTokens { ids, ends }))
    }

    /// Ids of `text`, each with its bytes by the library's alignment.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(super) fn encode_with_offsets_in_bytes(&self, text: &str) -> Result<(Vec<u32>, Vec<(usize, usize)>)> {
        match in_library(|| self.inner.encode(text, false)) {
            Ok(encoding) => Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec())),
            Err(e) => Err(Error::input(format!("tokenize {}: {e}", shortened(text)))),
        }
    }

    /// The bytes of every token.
    pub(super) fn token_bytes(&self) -> &TokenBytes {
        self.bytes.get_or_init(|| TokenBytes::of(&self.inner, self.reading == Reading::Pieces))
    }

    /// Text of a run of ids, special tokens written out; ids without a token are left out.
    ///
    /// # Errors
    /// `Input` when the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        in_library(|| self.inner.decode(ids, false)).map_err(|e| Error::input(format!("decode {} ids: {e}", ids.len())))
    }

    /// Tokens that a byte of text gives at most: one where bytes are what is cut; three where a space becomes `▁`, whose bytes may be tokens;
    /// more where texts are rewritten first (a ligature of three bytes is 33 in NFKC).
    pub(super) fn most_tokens_of_a_byte(&self) -> u64 {
        let is_of_bytes = matches!(self.inner.get_pre_tokenizer(), Some(PreTokenizerWrapper::ByteLevel(_)));
        match self.inner.get_normalizer() {
            None if is_of_bytes => 1,
            None => 3,
            Some(_) => 12,
        }
    }

    /// What a person reads at one token: decoded alone, a leading space kept, `U+FFFD` for parts of a character; an id
    /// without a token reads `<id N>`.
    pub fn token_text(&self, id: u32) -> String {
        let Some(token) = self.inner.id_to_token(id) else { return format!("<id {id}>") };
        if self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id) {
            return token;
        }
        match self.reading {
            Reading::Decoder => in_library(|| self.inner.decode(&[id], false)).unwrap_or(token),
            Reading::Pieces => match byte_piece(&token) {
                Some(byte) if byte < 0x80 => char::from(byte).to_string(),
                Some(_) => "\u{FFFD}".to_string(),
                None => token.replace('▁', " "),
            },
        }
    }

    /// Largest id + 1, added tokens included. A model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The token put before texts; `None` where the family has none or no file names one.
    pub fn bos_id(&self) -> Option<u32> {
        self.special.bos.id()
    }

    /// The token put after texts.
    pub fn eos_id(&self) -> Option<u32> {
        self.special.eos.id()
    }

    /// The token that fills short rows.
    pub fn pad_id(&self) -> Option<u32> {
        self.special.pad.id()
    }

    /// Token before a context when `bos` is not "none": BOS; or `<|endoftext|>`, which in its families (GPT-2,
    /// GPT-NeoX, Pythia) begins and ends documents alike, when no file declares that there is no BOS.
    pub fn bos_or_convention(&self) -> Option<u32> {
        match (self.special.bos, self.special.eos) {
            (Special::Id(id), _) => Some(id),
            (Special::Unsaid, Special::Id(id)) if self.inner.id_to_token(id).as_deref() == Some("<|endoftext|>") => {
                Some(id)
            }
            _ => None,
        }
    }

    /// Whether `id` is BOS, EOS or padding, or is marked special in the tokenizer.
    pub fn is_special(&self, id: u32) -> bool {
        self.is_frame(id) || self.marked_special.binary_search(&id).is_ok()
    }

    /// Whether `id` is BOS, EOS or padding.
    pub(super) fn is_frame(&self, id: u32) -> bool {
        [self.bos_id(), self.eos_id(), self.pad_id()].contains(&Some(id))
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size).field("special", &self.special).finish()
    }
}

/// The library's tokenizer of a `tokenizer.json`; `name` is what errors call it.
fn read(name: &str, bytes: &[u8]) -> Result<Inner> {
    let wrong = |what: &dyn std::fmt::Display| {
        Error::input(format!(
            "read the tokenizer {name}: {what}; expected the tokenizer.json of the tokenizers library"
        ))
    };
    // the library panics on some files: on a decoder that is no JSON, on a damaged table of characters
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| wrong(&e))?;
    let read = caught(|| Inner::from_bytes(bytes));
    let mut inner = read.ok_or_else(|| wrong(&"its parts do not fit each other"))?.map_err(|e| wrong(&e))?;
    if let Some(far) = far_id(&inner) {
        return Err(wrong(&far));
    }
    inner.with_padding(None);
    inner.with_truncation(None).expect("no truncation is always a valid truncation");
    let mut model = inner.get_model().clone();
    model.resize_cache(CACHED_WORDS);
    inner.with_model(model);
    Ok(inner)
}

/// In words, a token whose id is far above the number of tokens: the library lists all ids below it when it writes a vocabulary out.
fn far_id(inner: &Inner) -> Option<String> {
    let tokens = inner.get_vocab(true);
    let most = MOST_APART * tokens.len() + SOME_IDS;
    let (token, id) = tokens.iter().max_by_key(|(_, id)| **id)?;
    (*id as usize > most).then(|| format!("token {token:?} has id {id}, and there are {} tokens", tokens.len()))
}

/// Puts a space before the first word, or does not, where words are cut as bytes.
fn set_prefix_space(inner: &mut Inner, space: bool) {
    fn set(part: &mut Value, space: bool) {
        if part["type"] == "ByteLevel" {
            part["add_prefix_space"] = space.into();
        }
        part["pretokenizers"].as_array_mut().into_iter().flatten().for_each(|part| set(part, space));
    }
    let Some(mut part) = inner.get_pre_tokenizer().and_then(|part| serde_json::to_value(part).ok()) else { return };
    let before = part.clone();
    set(&mut part, space);
    if part != before
        && let Ok(part) = serde_json::from_value::<PreTokenizerWrapper>(part)
    {
        inner.with_pre_tokenizer(Some(part));
    }
}

/// The library's message; some of its parts panic on the values of a damaged or odd file (a decoder that strips from an
/// empty token).
fn in_library<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    caught(call).unwrap_or_else(|| Err("the parts of tokenizer.json do not fit each other".into()))
}

/// The beginning of a text, quoted, for an error.
fn shortened(text: &str) -> Cow<'static, str> {
    let head: String = text.chars().take(40).collect();
    format!("{head:?}{}", if head.len() < text.len() { " …" } else { "" }).into()
}
