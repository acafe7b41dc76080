//! Which corpus files are refused before anything is read?

use super::fields::first_records;
use super::files::{CorpusFile, kind_of};
use super::frame::allowed;
use super::options::{BosRule, CorpusFormat, CorpusOptions, OnBadRecord, RowRule};
use super::pages::{MOST_HEADERS, Pages};
use super::parquet::ParquetReader;
use super::record::{FilePosition, Limits};
use super::sniff::sniff;
use crate::error::{Error, Result};
use crate::weights::IdFile;
use std::collections::BTreeMap;
use std::path::Path;

/// What unpacking files takes.
pub(super) struct Unpacking {
    /// Most memory that one file takes, in bytes: the window of zstd.
    pub(super) window_bytes: u64,
    /// Pages of Parquet files.
    pub(super) pages: Pages,
    /// Whether all of them were looked at.
    pub(super) all_pages: bool,
}

/// Refuses early what reading would fail at: formats that lack what is asked, missing columns, files whose content does not
/// match their ending. Returns what unpacking them takes.
pub(super) fn check_files(files: &[CorpusFile], options: &CorpusOptions, limits: Limits) -> Result<Unpacking> {
    let (mut has_fields, mut window_bytes) = (false, 0);
    let (mut pages, mut headers) = (Pages::default(), MOST_HEADERS);
    let mut splits: BTreeMap<&Path, &Path> = BTreeMap::new();
    for file in files {
        let (format, wrapping) = kind_of(&file.path, options.format)?;
        sniff(file, format, wrapping)?;
        window_bytes = allowed(&file.path, wrapping)?.bytes.max(window_bytes);
        if options.rows != RowRule::Tokens && (is_of_ids(format) || options.ids.is_some()) {
            return Err(Error::request(format!(
                "{} holds ready-made ids of one tokenizer, but with {} rows are pieces of text; give texts, or take that out",
                file.path.display(),
                options.rows
            )));
        }
        has_fields |= matches!(format, CorpusFormat::Jsonl | CorpusFormat::Parquet);
        match (format, &options.ids) {
            (CorpusFormat::Parquet, _) => {
                let mut reader = ParquetReader::open(&file.path, options, FilePosition::default(), limits)?;
                if let (Some(what), OnBadRecord::Error) = (reader.take_damage(), options.on_bad_record) {
                    return Err(Error::input(format!(
                        "read the corpus: {what}; mend it, or leave it out with on_bad_record = \"skip\""
                    )));
                }
                pages = reader.pages(&mut headers, pages)?;
            }
            (CorpusFormat::Safetensors, named) => {
                let found = IdFile::open(&file.path, named.as_deref()).map_err(|e| e.within("read the corpus"))?;
                let folder = file.path.parent().unwrap_or(Path::new(""));
                if found.is_split()
                    && let Some(other) = splits.insert(folder, &file.path)
                {
                    return Err(Error::request(format!(
                        "{} and {} are splits of one latent cache, every one of which holds the same tokens, which would count twice; name one of them",
                        other.display(),
                        file.path.display()
                    )));
                }
            }
            (CorpusFormat::Jsonl | CorpusFormat::Text, Some(column)) => {
                return Err(Error::request(format!(
                    "[corpus] ids = {column:?} names a column of .parquet files or a tensor of .safetensors files, but {} is neither; leave ids out to read text",
                    file.path.display()
                )));
            }
            (CorpusFormat::Jsonl | CorpusFormat::Text | CorpusFormat::Bin, _) => {}
        }
    }
    if !has_fields && !options.labels.is_empty() {
        return Err(Error::request(format!(
            "[corpus] labels asks for {}, but only .jsonl and .parquet files label their documents; leave labels out",
            options.labels.join(", ")
        )));
    }
    Ok(Unpacking { window_bytes, pages, all_pages: headers > 0 })
}

/// Whether files of that format hold ids whatever else is asked.
fn is_of_ids(format: CorpusFormat) -> bool {
    matches!(format, CorpusFormat::Bin | CorpusFormat::Safetensors)
}

/// Refuses keys of `[corpus]` that nothing in the files answers to: a label that no first record has, a key about a kind of file
/// that is not there. A key at its default asks for nothing.
///
/// # Errors
/// `Request` naming the key and what exists; the errors of reading the first records.
pub(super) fn check_keys(files: &[CorpusFile], options: &CorpusOptions, limits: Limits) -> Result<()> {
    let formats =
        files.iter().map(|f| Ok(kind_of(&f.path, options.format)?.0)).collect::<Result<Vec<CorpusFormat>>>()?;
    let any = |format: CorpusFormat| formats.contains(&format);
    let reads_ids = options.ids.is_some();
    let usual = CorpusOptions::of_files(Vec::new(), options.context_length);
    let idle = [
        (
            "text",
            options.text != usual.text && !(any(CorpusFormat::Jsonl) || any(CorpusFormat::Parquet) && !reads_ids),
            "names the text's field, but no .jsonl or .parquet file is read as text",
        ),
        (
            "id",
            options.id != usual.id && !(any(CorpusFormat::Jsonl) || any(CorpusFormat::Parquet)),
            "names a field of .jsonl and .parquet files, but there is none",
        ),
        (
            "text_unit",
            options.text_unit != usual.text_unit && !any(CorpusFormat::Text),
            "is about .txt files, but there is none",
        ),
        (
            "ids",
            reads_ids && !any(CorpusFormat::Parquet) && !any(CorpusFormat::Safetensors),
            "names a column of .parquet files or a tensor of .safetensors files, but there is neither",
        ),
        (
            "bin_token_bytes",
            options.bin_token_bytes != usual.bin_token_bytes && !any(CorpusFormat::Bin),
            "is about .bin files, but there is none",
        ),
        (
            "count_special",
            options.count_special
                && options.bos == BosRule::None
                && !options.pack
                && !(reads_ids || formats.iter().copied().any(is_of_ids)),
            "counts the special tokens that bos and pack put into texts, but bos = \"none\" and pack = false put none",
        ),
    ];
    if let Some((key, _, why)) = idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
        return Err(Error::request(format!("[corpus] {key} changes nothing here: it {why}; take it out")));
    }
    // a Parquet file without the column was refused already
    if any(CorpusFormat::Parquet) || !any(CorpusFormat::Jsonl) {
        return Ok(());
    }
    let first = first_records(files, options, limits)?;
    let records = if first.n == 1 { "the one record".to_string() } else { format!("the first {} records", first.n) };
    if first.n > 0 && !first.has_text {
        let names = if first.names.is_empty() {
            "no field".to_string()
        } else {
            format!("the fields {}", first.names.join(", "))
        };
        return Err(Error::request(format!(
            "no field {:?} ([corpus] text) in {records} of the corpus; they have {names}; set [corpus] text to the field that \
             holds the text",
            options.text
        )));
    }
    if let Some(k) = first.has.iter().position(|has| !has).filter(|_| first.n > 0) {
        return Err(Error::request(format!(
            "no field {:?} ([corpus] labels) in {records} of the corpus; they have {}",
            options.labels[k],
            first.names.join(", ")
        )));
    }
    Ok(())
}
