//! Tests of the room as a whole, and what they share: a tokenizer, files of every kind, and a corpus read to its end.

mod agreement;
mod companions;
mod cutting;
mod damage;
mod id_tensors;
mod pages;
mod parquet_damage;
mod reading;
mod spans;
mod units;

use super::record::Limits;
use super::{Corpus, CorpusOptions, Progress, TextUnit, TokenBatch, Tokenizer};
use crate::error::Result;
use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, UInt32Builder};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The tokenizer of the demo models; BOS and EOS are both id 0.
pub(super) fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/data/demo/models/small-a"));
        Arc::new(Tokenizer::from_folder(folder).unwrap())
    });
    TOKENIZER.clone()
}

/// The tokenizer of a file with BOS, EOS and padding of their own: one token per byte.
pub(super) fn byte_tokenizer() -> Arc<Tokenizer> {
    let byte = |b: u8| format!("\"<0x{b:02X}>\": {}", u32::from(b) + 3);
    let vocab: Vec<String> = (0..=255).map(byte).collect();
    let special = |id: u32, name: &str| {
        format!(
            "{{\"id\": {id}, \"content\": \"{name}\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \
             \"normalized\": false, \"special\": true}}"
        )
    };
    let file = format!(
        "{{\"version\": \"1.0\", \"truncation\": {{\"direction\": \"Right\", \"max_length\": 4, \"strategy\": \
         \"LongestFirst\", \"stride\": 0}}, \"padding\": {{\"strategy\": {{\"Fixed\": 9}}, \"direction\": \"Right\", \
         \"pad_to_multiple_of\": null, \"pad_id\": 2, \"pad_type_id\": 0, \"pad_token\": \"<pad>\"}}, \"added_tokens\": \
         [{}, {}, {}], \"normalizer\": null, \"pre_tokenizer\": null, \"post_processor\": null, \"decoder\": {{\"type\": \
         \"ByteFallback\"}}, \"model\": {{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \
         \"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": true, \
         \"ignore_merges\": false, \"vocab\": {{\"<s>\": 0, \"</s>\": 1, \"<pad>\": 2, {}}}, \"merges\": []}}}}",
        special(0, "<s>"),
        special(1, "</s>"),
        special(2, "<pad>"),
        vocab.join(", ")
    );
    Arc::new(Tokenizer::from_bytes("of bytes", file.as_bytes()).unwrap())
}

/// Tries a property on this many cases; a failure is printed, not saved in a file.
pub(super) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// Options for `files`, the rest at their defaults.
pub(super) fn options(files: &[String], context_length: usize) -> CorpusOptions {
    let text = serde_json::json!({ "files": files, "context_length": context_length });
    serde_json::from_value(text).unwrap()
}

/// Bounds so small that every way out of them is taken.
pub(super) const TIGHT: Limits = Limits {
    record_bytes: 4096,
    line_bytes: 200,
    piece_bytes: 48,
    margin_bytes: 16,
    piece_ids: 16,
    look_ahead_bytes: 300,
    page_bytes: u64::MAX,
};

/// All batches to the end, and how far it came.
pub(super) fn read(options: CorpusOptions, limits: Limits) -> Result<(Vec<TokenBatch>, Progress)> {
    let mut corpus = Corpus::open_within(options, vec![tokenizer()], limits)?;
    let mut batches = Vec::new();
    while let Some(batch) = corpus.next_batch()? {
        batches.push(batch);
    }
    Ok((batches, corpus.progress()))
}

/// A kind of corpus file that tests write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Jsonl,
    Lines,
    Paragraphs,
    Files,
    Parquet,
    ParquetIds,
    Bin2,
    Bin4,
}

pub(super) const KINDS: [Kind; 8] =
    [Kind::Jsonl, Kind::Lines, Kind::Paragraphs, Kind::Files, Kind::Parquet, Kind::ParquetIds, Kind::Bin2, Kind::Bin4];

/// Writes `documents` into `folder` and gives the options that read them. `wrap` is "", ".gz" or ".zst"; compressed
/// files get a member or frame for each `member` bytes.
pub(super) fn write(folder: &Path, kind: Kind, wrap: &str, member: usize, documents: &[String]) -> CorpusOptions {
    let ids = |text: &String| tokenizer().encode(text).unwrap();
    let at = |name: &str| folder.join(format!("{name}{wrap}"));
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(at(name), wrapped(bytes, wrap, member)).unwrap();
        at(name).display().to_string()
    };
    let files = match kind {
        Kind::Jsonl => {
            let line = |text: &String| format!("{}\n", serde_json::json!({ "text": text }));
            vec![put("a.jsonl", documents.iter().map(line).collect::<String>().as_bytes())]
        }
        Kind::Lines => vec![put("a.txt", documents.join("\n").as_bytes())],
        Kind::Paragraphs => vec![put("p.txt", documents.join("\n\n").as_bytes())],
        Kind::Files => {
            documents.iter().enumerate().map(|(i, text)| put(&format!("f{i:04}.txt"), text.as_bytes())).collect()
        }
        Kind::Parquet => {
            let text: ArrayRef = Arc::new(StringArray::from_iter_values(documents));
            parquet(&folder.join("a.parquet"), vec![("text", text)]);
            vec![folder.join("a.parquet").display().to_string()]
        }
        Kind::ParquetIds => {
            let mut lists = ListBuilder::new(UInt32Builder::new());
            for text in documents {
                lists.append_value(ids(text).into_iter().map(Some));
            }
            parquet(&folder.join("i.parquet"), vec![("tokens", Arc::new(lists.finish()))]);
            vec![folder.join("i.parquet").display().to_string()]
        }
        Kind::Bin2 | Kind::Bin4 => {
            let mut bytes = Vec::new();
            for id in documents.iter().flat_map(|text| ids(text).into_iter().chain([0])) {
                let id = id.to_le_bytes();
                bytes.extend_from_slice(&id[..if kind == Kind::Bin2 { 2 } else { 4 }]);
            }
            vec![put("a.bin", &bytes)]
        }
    };
    let text_unit = match kind {
        Kind::Lines => TextUnit::Line,
        Kind::Paragraphs => TextUnit::Paragraph,
        _ => TextUnit::File,
    };
    let bin_token_bytes = if kind == Kind::Bin4 { 4 } else { 2 };
    let ids = (kind == Kind::ParquetIds).then(|| "tokens".to_string());
    CorpusOptions { text_unit, bin_token_bytes, ids, ..options(&files, 8) }
}

/// `bytes` in members or frames of `member` bytes each.
pub(super) fn wrapped(bytes: &[u8], wrap: &str, member: usize) -> Vec<u8> {
    let gzip = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    match wrap {
        "" => bytes.to_vec(),
        ".gz" => bytes.chunks(member).flat_map(gzip).collect(),
        ".zst" => bytes.chunks(member).flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect(),
        other => unreachable!("no test wraps files as {other}"),
    }
}

/// Writes columns to a Parquet file with row groups of five rows.
pub(super) fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(5)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}
