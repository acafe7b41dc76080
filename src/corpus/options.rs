//! The `[corpus]` table of a dataflow file.

use super::count::deserialize_count;
use super::sample::Sample;
use super::shuffle::Shuffle;
use serde::{Deserialize, Serialize};

/// Everything about the corpus that changes a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusOptions {
    /// Paths or globs, in the order given; matches of one glob in lexicographic order. By ending: .jsonl/.ndjson/.json, .txt,
    /// .parquet, .bin, each but .parquet also .gz or .zst.
    pub files: Vec<String>,
    /// What the files are, whatever their endings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<CorpusFormat>,
    /// Which documents are read; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// Whether the tokens of each document come in another order, for a control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,
    /// The run's seed, which decides that order.
    #[serde(skip)]
    pub seed: u64,
    /// What a row is, as `[compare]` says.
    #[serde(skip)]
    pub rows: RowRule,
    /// Field or column that holds the text.
    #[serde(default = "default_text")]
    pub text: String,
    /// Field or column that names a document.
    #[serde(default = "default_id")]
    pub id: String,
    /// Fields or columns that label a document: texts, numbers or booleans.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What one document is in a .txt file.
    #[serde(default)]
    pub text_unit: TextUnit,
    /// Column with ready-made token ids (pre-tokenized Parquet); the text is then not read. A BOS that comes before a
    /// document's ids makes room for the one that `bos` puts there.
    #[serde(default)]
    pub ids: Option<String>,
    /// Bytes of one token id in .bin files: 2 or 4, little-endian.
    #[serde(default = "default_bin_bytes")]
    pub bin_token_bytes: u8,
    /// Positions of a full context, BOS included.
    pub context_length: usize,
    /// Where BOS is put.
    #[serde(default)]
    pub bos: BosRule,
    /// Whether rows of BOS, EOS and padding enter the sums. In texts these are the positions that `bos` and `pack` put
    /// there (a special token written out in a text is text), in ready-made ids all that hold BOS, EOS or padding.
    #[serde(default)]
    pub count_special: bool,
    /// Whether a short last context is kept.
    #[serde(default)]
    pub remainder: Remainder,
    /// Whether contexts cross documents (joined with EOS).
    #[serde(default)]
    pub pack: bool,
    /// Whether EOS ends a document where it is written in a text or is in a .bin file; else it is a token like any other.
    #[serde(default = "yes")]
    pub split_at_eos: bool,
    /// Contexts in a batch.
    #[serde(default = "default_batch_contexts")]
    pub batch_contexts: usize,
    /// Stop after the batch that reaches this many counted rows; 0 = the whole corpus.
    #[serde(default, deserialize_with = "deserialize_count")]
    pub max_tokens: u64,
    /// Whether a malformed record is an error or left out.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
}

impl CorpusOptions {
    /// Whether nobody asked for names of documents: those of the usual field are taken where they can be.
    pub(super) fn id_is_by_default(&self) -> bool {
        self.id == default_id()
    }

    /// These files at this length, every other key at its default.
    pub fn of_files(files: Vec<String>, context_length: usize) -> CorpusOptions {
        CorpusOptions {
            files,
            format: None,
            sample: None,
            shuffle: None,
            seed: 0,
            rows: RowRule::default(),
            text: default_text(),
            id: default_id(),
            labels: Vec::new(),
            text_unit: TextUnit::default(),
            ids: None,
            bin_token_bytes: default_bin_bytes(),
            context_length,
            bos: BosRule::default(),
            count_special: false,
            remainder: Remainder::default(),
            pack: false,
            split_at_eos: true,
            batch_contexts: default_batch_contexts(),
            max_tokens: 0,
            on_bad_record: OnBadRecord::default(),
        }
    }
}

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowRule {
    /// A token of the one tokenizer.
    #[default]
    Tokens,
    /// A piece of text between two byte ends that all tokenizers share, and no less than a unit.
    Spans(SpanContexts, RowUnit),
}

impl RowRule {
    /// The same where rows are no more than the pieces that all tokenizers share.
    pub fn of_tokens(self) -> RowRule {
        match self {
            RowRule::Tokens => RowRule::Tokens,
            RowRule::Spans(contexts, _) => RowRule::Spans(contexts, RowUnit::Token),
        }
    }

    /// What a row holds at least.
    pub fn unit(self) -> RowUnit {
        match self {
            RowRule::Tokens => RowUnit::Token,
            RowRule::Spans(_, unit) => unit,
        }
    }
}

/// The keys of `[compare]` that ask for it.
impl std::fmt::Display for RowRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowRule::Tokens => f.write_str("compare.align = \"token\""),
            RowRule::Spans(_, RowUnit::Token) => f.write_str("compare.align = \"span\""),
            RowRule::Spans(_, unit) => write!(f, "compare.unit = \"{}\"", unit.as_str()),
        }
    }
}

/// What a row of text holds at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowUnit {
    /// A token of every tokenizer.
    #[default]
    Token,
    /// A word (Unicode Standard Annex #29), with the white space before it.
    Word,
    /// A sentence (Unicode Standard Annex #29), with the white space before it.
    Sentence,
    /// A document.
    Document,
}

impl RowUnit {
    /// The unit of that name.
    pub fn named(word: &str) -> Option<RowUnit> {
        let all = [RowUnit::Token, RowUnit::Word, RowUnit::Sentence, RowUnit::Document];
        all.into_iter().find(|unit| unit.as_str() == word)
    }

    /// As it is written in a dataflow file.
    pub fn as_str(self) -> &'static str {
        match self {
            RowUnit::Token => "token",
            RowUnit::Word => "word",
            RowUnit::Sentence => "sentence",
            RowUnit::Document => "document",
        }
    }
}

/// Where contexts end when rows are pieces of text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanContexts {
    /// At ends that all tokenizers share: all models read the same text at once, and the tokenizer with most tokens
    /// decides how much.
    #[default]
    Common,
    /// Each tokenizer's contexts are full of its own tokens.
    Own,
}

/// What is inside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorpusFormat {
    /// One JSON record a line.
    Jsonl,
    /// Plain text.
    Text,
    /// Parquet.
    Parquet,
    /// Token ids.
    Bin,
    /// Token ids, a sequence for each document.
    Safetensors,
}

fn default_text() -> String {
    "text".into()
}
fn default_id() -> String {
    "id".into()
}
fn yes() -> bool {
    true
}
fn default_bin_bytes() -> u8 {
    2
}
fn default_batch_contexts() -> usize {
    16
}

/// Where BOS is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BosRule {
    /// Before every context; it takes one of the positions.
    #[default]
    Context,
    /// Once before each document, which is then cut.
    Document,
    /// Nowhere.
    None,
}

impl BosRule {
    /// As it is written in a dataflow file.
    pub fn name(self) -> &'static str {
        match self {
            BosRule::Context => "context",
            BosRule::Document => "document",
            BosRule::None => "none",
        }
    }
}

/// Whether a short last context is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remainder {
    /// It is used as it is.
    #[default]
    Keep,
    /// It is left out.
    Drop,
}

/// What one document is in a .txt file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextUnit {
    /// The whole file.
    #[default]
    File,
    /// Lines up to an empty one.
    Paragraph,
    /// Each line.
    Line,
}

/// Whether a malformed record is an error or left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// The run stops with an error naming file and line.
    #[default]
    Error,
    /// It is counted, named in the log and left out; of a file whose compression or Parquet pages are damaged, what
    /// comes before the damage is used, and the rest (of the row group, in Parquet) is one such record.
    Skip,
}
