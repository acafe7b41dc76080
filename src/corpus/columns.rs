//! Which columns of a Parquet file are read, and what a row of them holds.

use super::options::CorpusOptions;
use super::texts::{has_text_form, texts};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::error::ArrowError;
use parquet::basic::LogicalType;
use parquet::schema::types::SchemaDescriptor;

/// The columns asked for, by name.
#[derive(Clone)]
pub(super) struct FieldColumns {
    /// Text, or ids where `ready_made`.
    pub(super) content: String,
    pub(super) ready_made: bool,
    /// Names of documents.
    id: String,
    /// Whether the file asks for that column by its own name, not by the default one.
    id_is_asked_for: bool,
    pub(super) labels: Vec<String>,
    /// Whether the column of names is passed over although it is there: it cannot be read, and nobody asked for it.
    id_is_passed_over: bool,
    /// Columns whose 16 bytes are UUIDs.
    uuids: Vec<String>,
}

/// Some decoded rows, and the index of the next row to hand on.
pub(super) struct DecodedRows {
    pub(super) content: ArrayRef,
    pub(super) id: Option<StringArray>,
    pub(super) labels: Vec<Option<StringArray>>,
    pub(super) next: usize,
}

impl FieldColumns {
    /// Those that `options` ask for.
    pub(super) fn new(options: &CorpusOptions) -> FieldColumns {
        FieldColumns {
            content: options.ids.clone().unwrap_or_else(|| options.text.clone()),
            ready_made: options.ids.is_some(),
            id: options.id.clone(),
            id_is_asked_for: !options.id_is_by_default(),
            labels: options.labels.clone(),
            id_is_passed_over: false,
            uuids: Vec::new(),
        }
    }

    /// Passes over the column of names where the file does not ask for it.
    pub(super) fn pass_over_id(&mut self) {
        self.id_is_passed_over = !self.id_is_asked_for;
    }

    /// Takes over which columns hold UUIDs.
    pub(super) fn note_uuids(&mut self, schema: &SchemaDescriptor) {
        let is_uuid = |f: &&parquet::schema::types::TypePtr| {
            matches!(f.get_basic_info().logical_type_ref(), Some(LogicalType::Uuid))
        };
        self.uuids = schema.root_schema().get_fields().iter().filter(is_uuid).map(|f| f.name().to_string()).collect();
    }

    /// Refuses a file without the columns, or with other types.
    pub(super) fn check(&self, name: &str, schema: &Schema) -> Result<()> {
        let have = || schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ");
        let key = if self.ready_made { "ids" } else { "text" };
        for (key, column) in std::iter::once((key, &self.content)).chain(self.labels.iter().map(|l| ("labels", l))) {
            if schema.index_of(column).is_err() {
                return Err(Error::request(format!(
                    "the corpus file {name} has no column {column:?} ([corpus] {key}); its columns are {}",
                    have()
                )));
            }
        }
        let kind = |column: &str| schema.field_with_name(column).map_or(DataType::Null, |f| f.data_type().clone());
        let (found, expected, fits) = if self.ready_made {
            (
                kind(&self.content),
                "a list of integers",
                list_item(&kind(&self.content)).is_some_and(DataType::is_integer),
            )
        } else {
            (kind(&self.content), "text", is_text(&kind(&self.content)))
        };
        if !fits {
            return Err(Error::request(format!(
                "the corpus file {name}: column {:?} ([corpus] {key}) is {found}; expected {expected}",
                self.content
            )));
        }
        if self.id_is_asked_for && schema.index_of(&self.id).is_err() {
            return Err(Error::request(format!(
                "the corpus file {name} has no column {:?} ([corpus] id); its columns are {}",
                self.id,
                have()
            )));
        }
        let shown = self.labels.iter().map(|l| ("label column", l));
        let named = self.id_is_asked_for.then_some(("id column", &self.id));
        match shown.chain(named).find(|(_, column)| !has_text_form(&kind(column))) {
            Some((what, column)) => Err(Error::request(format!(
                "the corpus file {name}: {what} {column:?} is {}, which has no plain text form; expected texts, numbers, booleans, \
                 times or bytes",
                kind(column)
            ))),
            None => Ok(()),
        }
    }

    /// Numbers of the top-level columns to read. With `named`, also the column of names, if it exists and has a text form.
    pub(super) fn roots(&self, schema: &Schema, named: bool) -> Vec<usize> {
        let id = schema.field_with_name(&self.id).is_ok_and(|f| has_text_form(f.data_type()));
        let id = id && named && !self.id_is_passed_over;
        let wanted = self.labels.iter().chain([&self.content]).chain(id.then_some(&self.id));
        wanted.filter_map(|column| schema.index_of(column).ok()).collect()
    }

    pub(super) fn rows(&self, batch: &RecordBatch, named: bool) -> Result<DecodedRows, ArrowError> {
        let shown = |column: &str| -> Result<Option<StringArray>, ArrowError> {
            let values = batch.column_by_name(column).filter(|values| has_text_form(values.data_type()));
            values.map(|values| texts(values, self.uuids.iter().any(|u| u == column))).transpose()
        };
        let content = batch.column_by_name(&self.content).expect("the schema was checked on opening");
        let content = match content.data_type() {
            kind if self.ready_made => {
                cast(content, &DataType::new_large_list(DataType::Int64, list_is_nullable(kind)))?
            }
            DataType::Binary | DataType::LargeBinary => cast(content, &DataType::LargeBinary)?,
            DataType::BinaryView => cast(content, &DataType::LargeBinary)?,
            _ => cast(content, &DataType::LargeUtf8)?,
        };
        let labels = self.labels.iter().map(|l| shown(l)).collect::<Result<_, _>>()?;
        let id = if named { shown(&self.id)? } else { None };
        Ok(DecodedRows { content, id, labels, next: 0 })
    }
}

/// The text of a row as bytes, or what it is instead.
pub(super) fn text_at(column: &ArrayRef, at: usize) -> Result<&[u8], String> {
    if column.is_null(at) {
        return Err("is null; expected a text".to_string());
    }
    Ok(match column.as_binary_opt::<i64>() {
        Some(bytes) => bytes.value(at),
        None => column.as_string::<i64>().value(at).as_bytes(),
    })
}

/// Bytes of a column as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("is not UTF-8 ({e})"))
}

/// The ids of a row from number `from` on, `most` of them, and whether these are the last; or what it holds instead, which is found
/// with the first of them.
pub(super) fn ids_at(column: &ArrayRef, at: usize, from: usize, most: usize) -> Result<(Vec<u32>, bool), String> {
    let lists = column.as_list::<i64>();
    if lists.is_null(at) {
        return Err("is null; expected a list of token ids".to_string());
    }
    let id = |id: Option<i64>| match id {
        Some(id) => u32::try_from(id).map_err(|_| format!("holds {id}; expected token ids")),
        None => Err("holds a null; expected token ids".to_string()),
    };
    let values = lists.value(at);
    let values = values.as_primitive::<Int64Type>();
    let from = from.min(values.len());
    let n = most.min(values.len() - from);
    if from == 0 && n < values.len() {
        values.iter().try_for_each(|value| id(value).map(drop))?;
    }
    let ids = values.slice(from, n).iter().map(id).collect::<Result<_, _>>()?;
    Ok((ids, from + n == values.len()))
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn list_item(kind: &DataType) -> Option<&DataType> {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

fn list_is_nullable(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.is_nullable(),
        _ => true,
    }
}
