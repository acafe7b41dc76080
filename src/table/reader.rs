//! How is a table read back? Batch by batch, as the structs it was written from.

use super::column::Columns;
use super::row::{TABLE_FORMAT, TableRow};
use crate::disk::Ranges;
use crate::error::{Error, Result, caught};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ColumnChunkMetaData;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows read at once.
pub(super) const BATCH_ROWS: usize = 8192;

/// An open table of `R`s.
pub struct TableReader<R: TableRow> {
    path: PathBuf,
    batches: ParquetRecordBatchReader,
    n_rows: u64,
    origin: BTreeMap<String, String>,
    shape: R::Shape,
}

impl<R: TableRow> TableReader<R> {
    /// Opens the table at `path`.
    ///
    /// # Errors
    /// `Request` when there is none; `Input` when it is no Parquet file, or of another kind or format.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = open(path)?;
        let get = |key: &str| opened.about.get(key).map(String::as_str);
        if get("cognate.table") != Some(R::TABLE) || get("cognate.format") != Some(&TABLE_FORMAT.to_string()) {
            return Err(Error::input(format!(
                "table {} is {} of format {}, expected {} of format {TABLE_FORMAT}; give the table of a run of this version",
                path.display(),
                get("cognate.table").unwrap_or("a foreign table"),
                get("cognate.format").unwrap_or("none"),
                R::TABLE
            )));
        }
        let shape = R::shape(&opened.schema);
        let origin = opened
            .about
            .iter()
            .filter_map(|(k, v)| Some((k.strip_prefix("cognate.")?.to_string(), v.clone())))
            .collect();
        Ok(TableReader { path: path.to_path_buf(), batches: opened.batches, n_rows: opened.n_rows, origin, shape })
    }

    /// The table's origin, as given to [`TableWriter::create`](super::TableWriter::create), with its own
    /// `table`, `format` and `key`.
    pub fn origin(&self) -> &BTreeMap<String, String> {
        &self.origin
    }

    /// The columns that differ from run to run.
    pub fn shape(&self) -> &R::Shape {
        &self.shape
    }

    /// Rows in the whole table.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The next few thousand rows, in order; `None` at the end.
    ///
    /// # Errors
    /// `Input` naming file and column.
    pub fn next_rows(&mut self) -> Result<Option<Vec<R>>> {
        let Some(batch) = next_batch(&mut self.batches, &self.path)? else { return Ok(None) };
        R::from_columns(&Columns { batch: &batch, path: &self.path }, &self.shape).map(Some)
    }

    /// All rows, in order.
    ///
    /// # Errors
    /// `Input` naming file and column.
    pub fn read_all(mut self) -> Result<Vec<R>> {
        let mut rows = Vec::new();
        while let Some(more) = self.next_rows()? {
            rows.extend(more);
        }
        Ok(rows)
    }
}

/// Any Parquet file, opened.
pub(super) struct Opened {
    pub batches: ParquetRecordBatchReader,
    pub schema: Schema,
    pub about: BTreeMap<String, String>,
    pub n_rows: u64,
}

pub(super) fn open(path: &Path) -> Result<Opened> {
    let file = Ranges::open(path).map_err(|e| Error::io("read the table", path, &e))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(path, &e.to_string()))?;
    // the library asserts this where it reads a column, and a flipped bit must not end the program
    let mut columns = builder.metadata().row_groups().iter().flat_map(|group| group.columns());
    let lies_before = |c: &ColumnChunkMetaData| c.dictionary_page_offset().unwrap_or_else(|| c.data_page_offset()) < 0;
    if columns.any(|c| lies_before(c) || c.compressed_size() < 0) {
        return Err(damaged(path, "a column's place or size is negative"));
    }
    let metadata = builder.metadata().file_metadata();
    let about = metadata.key_value_metadata().into_iter().flatten();
    let about = about.filter_map(|kv| Some((kv.key.clone(), kv.value.clone()?))).collect();
    let (schema, n_rows) = (builder.schema().as_ref().clone(), u64::try_from(metadata.num_rows()).unwrap_or(0));
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(|e| damaged(path, &e.to_string()))?;
    Ok(Opened { batches, schema, about, n_rows })
}

/// The next batch; `None` at the end. A damaged length inside a page makes the parquet crate panic, which is damage too.
pub(super) fn next_batch(batches: &mut ParquetRecordBatchReader, path: &Path) -> Result<Option<RecordBatch>> {
    match caught(|| batches.next()) {
        Some(next) => next.transpose().map_err(|e| damaged(path, &e.to_string())),
        None => Err(damaged(path, "a page does not hold what its header declares")),
    }
}

/// The error of the Parquet crate, in which only the text distinguishes a failed read from damage.
pub(super) fn damaged(path: &Path, why: &str) -> Error {
    if why.contains("(os error ") {
        return Error::machine(format!("read the table {}: {why}; give the same command again", path.display()));
    }
    Error::input(format!("table {} cannot be read: {why}; write it again", path.display()))
}
