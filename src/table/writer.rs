//! How is a table written? In order, in row groups of bounded size, under its final name only when whole.

use super::column::DESCRIPTION;
use super::row::{TABLE_FORMAT, TableRow};
use crate::error::{Error, Result};
use crate::store::{AtomicFile, FileRecord, NewSet, write_error};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Rows of a row group at most: the bound of what a writer holds, and a good unit for readers that skip.
pub const MAX_ROW_GROUP_ROWS: usize = 100_000;

/// Rows made into arrays at once.
const CHUNK_ROWS: usize = 8192;

/// Stays the same from version to version of this program and of the Parquet crate: the same rows, the same bytes.
const CREATED_BY: &str = "cognate version 1.0.0 (build tables)";

/// A table being written. Dropped before [`finish`](TableWriter::finish), it leaves nothing behind.
pub struct TableWriter<R: TableRow> {
    writer: ArrowWriter<AtomicFile>,
    schema: SchemaRef,
    shape: R::Shape,
    waiting: Vec<R>,
    last: Option<R>,
}

impl<R: TableRow> TableWriter<R> {
    /// Starts the table at `path`. `origin`: where it comes from; `KEY` becomes the file's key `cognate.KEY`.
    ///
    /// # Errors
    /// `Machine` when the disk refuses; `Request` when an extra column has the name of another.
    pub fn create(path: &Path, shape: R::Shape, origin: &BTreeMap<String, String>) -> Result<Self> {
        let schema = Arc::new(Schema::new(R::fields(&shape)));
        let mut names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::request(format!(
                "table {} would have two columns {:?}; rename one",
                path.display(),
                twice[0]
            )));
        }
        let mut about: BTreeMap<String, String> =
            origin.iter().map(|(k, v)| (format!("cognate.{k}"), v.clone())).collect();
        about.insert(DESCRIPTION.to_string(), R::ABOUT.to_string());
        about.insert("cognate.table".to_string(), R::TABLE.to_string());
        about.insert("cognate.format".to_string(), TABLE_FORMAT.to_string());
        about.insert("cognate.key".to_string(), R::KEY.join(","));
        // Twice, for readers that look into the Arrow schema (pyarrow) and for those that do not (DuckDB).
        let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), HashMap::from_iter(about.clone())));
        let about = about.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(CREATED_BY.to_string())
            .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
            .set_key_value_metadata(Some(about));
        for f in schema.fields().iter().filter(|f| *f.data_type() == DataType::Float64) {
            // Sums hardly ever repeat: a dictionary of them is work for nothing.
            properties = properties.set_column_dictionary_enabled(ColumnPath::new(vec![f.name().clone()]), false);
        }
        let file = AtomicFile::create(path)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build()))
            .map_err(|e| Error::machine(format!("start table {}: {e}", path.display())))?;
        Ok(TableWriter { writer, schema, shape, waiting: Vec::new(), last: None })
    }

    /// Appends a row, which must come after the one before.
    ///
    /// # Errors
    /// `State` when it does not, when its extra values do not fit the table or when a number is not finite (all of them
    /// bugs); `Machine` when the disk is full.
    pub fn push(&mut self, row: R) -> Result<()> {
        let before = self.waiting.last().or(self.last.as_ref());
        if let Some(before) = before.filter(|before| before.order(&row) != Ordering::Less) {
            return Err(self.bug(&format!("row {} comes after {}", row.name(), before.name())));
        }
        if !row.fits(&self.shape) {
            return Err(self.bug(&format!("row {} has another number of extra values than the table", row.name())));
        }
        self.waiting.push(row);
        if self.waiting.len() >= CHUNK_ROWS { self.write_waiting() } else { Ok(()) }
    }

    /// Makes the table durable under its name.
    ///
    /// # Errors
    /// As [`push`](TableWriter::push).
    pub fn finish(mut self) -> Result<FileRecord> {
        self.write_waiting()?;
        let path = self.writer.inner().path().to_path_buf();
        self.writer.into_inner().map_err(|e| failed(&path, &e))?.commit()
    }

    fn write_waiting(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let arrays = R::arrays(&self.waiting, &self.shape);
        for (array, field) in arrays.iter().zip(self.schema.fields()) {
            if let Some(row) = first_not_finite(array) {
                let name = self.waiting.get(row).map_or_else(String::new, R::name);
                return Err(self.bug(&format!("row {name}, column {:?} is not a finite number", field.name())));
            }
        }
        let batch = RecordBatch::try_new(self.schema.clone(), arrays).map_err(|e| self.bug(&e.to_string()))?;
        self.writer.write(&batch).map_err(|e| failed(self.writer.inner().path(), &e))?;
        self.last = self.waiting.pop();
        self.waiting.clear();
        Ok(())
    }

    fn bug(&self, what: &str) -> Error {
        let path = self.writer.inner().path().display();
        Error::state(format!("table {path}: {what}; this is a bug, the previous table is unchanged"))
    }
}

/// The sentence for a failed write; a full disk is found inside the Parquet crate's error.
fn failed(path: &Path, e: &ParquetError) -> Error {
    if let ParquetError::External(inner) = e
        && let Some(io) = inner.downcast_ref::<std::io::Error>()
    {
        return write_error(path, None, io);
    }
    Error::machine(format!("write table {}: {e}", path.display()))
}

/// Writes a whole table from rows in order.
///
/// # Errors
/// As [`TableWriter::push`].
pub fn write_table<R: TableRow>(
    path: &Path,
    shape: R::Shape,
    origin: &BTreeMap<String, String>,
    rows: impl IntoIterator<Item = R>,
) -> Result<FileRecord> {
    let mut writer = TableWriter::create(path, shape, origin)?;
    rows.into_iter().try_for_each(|row| writer.push(row))?;
    writer.finish()
}

/// Writes a whole table into a set that is being made, under the name of its kind.
///
/// # Errors
/// As [`TableWriter::push`].
pub fn write_into<R: TableRow>(
    set: &mut NewSet,
    shape: R::Shape,
    origin: &BTreeMap<String, String>,
    rows: impl IntoIterator<Item = R>,
) -> Result<()> {
    let record = write_table(&set.path(R::TABLE), shape, origin, rows)?;
    set.add(R::TABLE, record);
    Ok(())
}

/// The first row with a NaN or an infinity, looked for inside lists too.
fn first_not_finite(array: &ArrayRef) -> Option<usize> {
    match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().position(|v| v.is_some_and(|v| !v.is_finite())),
        DataType::Float32 => array.as_primitive::<Float32Type>().iter().position(|v| v.is_some_and(|v| !v.is_finite())),
        DataType::Struct(_) => array.as_struct().columns().iter().filter_map(first_not_finite).min(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let inside = first_not_finite(list.values())?;
            (0..list.len()).find(|&row| (list.value_offsets()[row + 1] as usize) > inside)
        }
        _ => None,
    }
}
