//! What of the files is refused before anything is read?

use super::files::{CorpusFile, Format, kind_of};
use super::options::{CorpusOptions, OnBadRecord};
use super::parquet::ParquetReader;
use super::record::{Limits, Place};
use crate::error::{Error, Result};

/// Refuses early what reading would stumble over: formats that cannot give what is asked, columns that are not there.
pub(super) fn check_files(files: &[CorpusFile], options: &CorpusOptions, limits: Limits) -> Result<()> {
    let mut has_fields = false;
    for file in files {
        let (format, _) = kind_of(&file.path)?;
        has_fields |= matches!(format, Format::Jsonl | Format::Parquet);
        match (format, &options.ids) {
            (Format::Parquet, _) => {
                let mut reader = ParquetReader::open(&file.path, options, Place::default(), limits)?;
                if let (Some(what), OnBadRecord::Error) = (reader.take_damage(), options.on_bad_record) {
                    return Err(Error::input(format!(
                        "read the corpus: {what}; mend it, or leave it out with on_bad_record = \"skip\""
                    )));
                }
            }
            (Format::Jsonl | Format::Text, Some(column)) => {
                return Err(Error::request(format!(
                    "[corpus] ids = {column:?} names a column of .parquet files, but {} is none; leave ids out to read text",
                    file.path.display()
                )));
            }
            (Format::Jsonl | Format::Text | Format::Bin, _) => {}
        }
    }
    if !has_fields && !options.labels.is_empty() {
        return Err(Error::request(format!(
            "[corpus] labels asks for {}, but only .jsonl and .parquet files label their documents; leave labels out",
            options.labels.join(", ")
        )));
    }
    Ok(())
}
