//! One file as a stream of records, whatever its kind.

use super::bin::BinReader;
use super::files::kind_of;
use super::id_tensor::IdTensorReader;
use super::jsonl::JsonlReader;
use super::options::{CorpusFormat, CorpusOptions};
use super::parquet::ParquetReader;
use super::record::{FilePosition, Limits, Raw};
use super::text::TextReader;
use crate::error::Result;
use std::path::Path;

/// Reads the records of one file in order.
pub(super) enum Reader {
    Jsonl(Box<JsonlReader>),
    Text(TextReader),
    Parquet(Box<ParquetReader>),
    Bin(BinReader),
    Safetensors(IdTensorReader),
}

impl Reader {
    /// Opens `path` at `place`; `eos` splits the documents of .bin files.
    ///
    /// # Errors
    /// `Request` or `Machine` when the file cannot be opened, or lacks what the options ask for.
    pub(super) fn open(
        path: &Path,
        options: &CorpusOptions,
        eos: Option<u32>,
        place: FilePosition,
        limits: Limits,
    ) -> Result<Reader> {
        let (format, wrapping) = kind_of(path, options.format)?;
        Ok(match format {
            CorpusFormat::Jsonl => Reader::Jsonl(Box::new(JsonlReader::open(path, wrapping, options, place, limits)?)),
            CorpusFormat::Text => Reader::Text(TextReader::open(path, wrapping, options.text_unit, place, limits)?),
            CorpusFormat::Parquet => Reader::Parquet(Box::new(ParquetReader::open(path, options, place, limits)?)),
            CorpusFormat::Bin => {
                let (width, n_labels) = (options.bin_token_bytes, options.labels.len());
                Reader::Bin(BinReader::open(path, wrapping, width, eos, n_labels, place, limits)?)
            }
            CorpusFormat::Safetensors => {
                let (named, n_labels) = (options.ids.as_deref(), options.labels.len());
                Reader::Safetensors(IdTensorReader::open(path, named, n_labels, place, limits)?)
            }
        })
    }

    /// The next record or piece; `None` at the end of the file.
    ///
    /// # Errors
    /// `Machine` or `Input` when reading itself fails. What is wrong with the content comes as a bad record.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        match self {
            Reader::Jsonl(reader) => reader.next(),
            Reader::Text(reader) => reader.next(),
            Reader::Parquet(reader) => reader.next(),
            Reader::Bin(reader) => reader.next(),
            Reader::Safetensors(reader) => reader.next(),
        }
    }
}
