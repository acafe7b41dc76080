//! What is a feed asked? One record batch, a row for each context.

use crate::corpus::{TokenBatch, TokenView};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, BooleanArray, ListArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// The contexts of `view`, in order: `batch` (u64, number of the batch), `first_row` (u64, rows of the corpus before the batch), `document`
/// (text, of the context's first row; null for a context without rows) `ids` (list of u32) and `counted`
/// (list of booleans: which of these tokens belong to a row).
///
/// # Errors
/// `Machine` where they cannot be laid out.
pub(super) fn request(batch: &TokenBatch, view: &TokenView) -> Result<RecordBatch> {
    let n = view.contexts.len();
    let constant = |value: u64| -> ArrayRef { Arc::new(UInt64Array::from(vec![value; n])) };
    let documents: StringArray = (view.contexts.iter())
        .map(|context| context.tokens().next().map(|(row, _)| batch.document_of(row).name.to_string()))
        .collect();
    let of_list = Arc::new(Field::new_list_field(DataType::UInt32, false));
    let ids: Vec<u32> = view.contexts.iter().flat_map(|context| context.ids.iter().copied()).collect();
    let lengths = OffsetBuffer::from_lengths(view.contexts.iter().map(|context| context.ids.len()));
    let of_flags = Arc::new(Field::new_list_field(DataType::Boolean, false));
    let flags: Vec<bool> =
        view.contexts.iter().flat_map(|context| context.row_of.iter().map(Option::is_some)).collect();
    let schema = Schema::new(vec![
        Field::new("batch", DataType::UInt64, false),
        Field::new("first_row", DataType::UInt64, false),
        Field::new("document", DataType::Utf8, true),
        Field::new("ids", DataType::List(of_list.clone()), false),
        Field::new("counted", DataType::List(of_flags.clone()), false),
    ]);
    let columns: Result<_, arrow::error::ArrowError> = (|| {
        let counted = ListArray::try_new(of_flags, lengths.clone(), Arc::new(BooleanArray::from(flags)), None)?;
        let ids = ListArray::try_new(of_list, lengths, Arc::new(UInt32Array::from(ids)), None)?;
        let columns: Vec<ArrayRef> = vec![
            constant(batch.index),
            constant(batch.first_row),
            Arc::new(documents),
            Arc::new(ids),
            Arc::new(counted),
        ];
        RecordBatch::try_new(Arc::new(schema), columns)
    })();
    columns.map_err(|e| Error::machine(format!("lay out batch {} for a feed: {e}", batch.index)))
}
