//! `alignment`: how each model's tokens share the rows, where rows are pieces of text.

use super::column::{Columns, at, field, numbers, optional, texts};
use super::row::TableRow;
use crate::corpus::RowUnit;
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt64Type};
use std::cmp::Ordering;

/// One model.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignmentRow {
    /// Its name in the dataflow file.
    pub model: String,
    /// What a row holds at least.
    pub unit: RowUnit,
    /// Rows of the run.
    pub rows: u64,
    /// Share of them of which every model has one token; `None` without rows.
    pub one_to_one: Option<f64>,
    /// The model's tokens in rows.
    pub tokens: u64,
    /// The same for each row; `None` without rows.
    pub tokens_per_row: Option<f64>,
    /// Bytes of the rows.
    pub bytes: u64,
    /// Bytes of text that are in no row.
    pub dropped_bytes: u64,
    /// Documents, or rests of documents, that are in no row.
    pub unaligned_documents: u64,
    /// Words, sentences or documents that are several rows.
    pub cut_units: u64,
}

impl TableRow for AlignmentRow {
    type Shape = ();
    const TABLE: &'static str = "alignment";
    const ABOUT: &'static str = "How each model's tokens share the rows, where a row is a piece of text between ends that all tokenizers share.";
    const KEY: &'static [&'static str] = &["model"];

    fn fields((): &()) -> Vec<Field> {
        vec![
            field("model", DataType::Utf8, false, "name of the model in the dataflow file"),
            field(
                "unit",
                DataType::Utf8,
                false,
                "what a row holds at least: \"token\" (of every tokenizer), \"word\", \"sentence\" or \"document\"",
            ),
            field("rows", DataType::UInt64, false, "rows of the run, the same for all models"),
            field(
                "one_to_one",
                DataType::Float64,
                true,
                "share of rows of which every model has one token; null without rows",
            ),
            field("tokens", DataType::UInt64, false, "the model's tokens in rows"),
            field(
                "tokens_per_row",
                DataType::Float64,
                true,
                "mean number of the model's tokens in a row; null without rows",
            ),
            field("bytes", DataType::UInt64, false, "bytes of text in rows"),
            field(
                "dropped_bytes",
                DataType::UInt64,
                false,
                "bytes of text in no row: in pieces longer than a context, and in short contexts with remainder = \"drop\"",
            ),
            field(
                "unaligned_documents",
                DataType::UInt64,
                false,
                "documents, or rests of them, left out because a tokenizer does not say which bytes its tokens are of",
            ),
            field(
                "cut_units",
                DataType::UInt64,
                false,
                "words, sentences or documents that are several rows: longer than batch_contexts contexts, or than 16 KiB (words, sentences)",
            ),
        ]
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let count = |of: fn(&Self) -> u64| numbers::<UInt64Type>(rows.iter().map(of));
        let mean = |of: fn(&Self) -> Option<f64>| optional::<Float64Type>(rows.iter().map(of));
        vec![
            texts(rows.iter().map(|r| r.model.as_str())),
            texts(rows.iter().map(|r| r.unit.as_str())),
            count(|r| r.rows),
            mean(|r| r.one_to_one),
            count(|r| r.tokens),
            mean(|r| r.tokens_per_row),
            count(|r| r.bytes),
            count(|r| r.dropped_bytes),
            count(|r| r.unaligned_documents),
            count(|r| r.cut_units),
        ]
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let count = |name: &str| columns.numbers::<UInt64Type>(name);
        let mean = |name: &str| columns.numbers::<Float64Type>(name);
        let (model, rows, one_to_one) = (columns.texts("model")?, count("rows")?, mean("one_to_one")?);
        let (tokens, tokens_per_row, bytes) = (count("tokens")?, mean("tokens_per_row")?, count("bytes")?);
        let (dropped, unaligned) = (count("dropped_bytes")?, count("unaligned_documents")?);
        let (unit, cut_units) = (columns.texts("unit")?, count("cut_units")?);
        let row = |i: usize| -> Result<AlignmentRow> {
            let word = unit.value(i);
            Ok(AlignmentRow {
                model: model.value(i).to_string(),
                unit: RowUnit::named(word).ok_or_else(|| columns.wrong("unit", &format!("holds {word:?}")))?,
                rows: rows.value(i),
                one_to_one: at(one_to_one, i),
                tokens: tokens.value(i),
                tokens_per_row: at(tokens_per_row, i),
                bytes: bytes.value(i),
                dropped_bytes: dropped.value(i),
                unaligned_documents: unaligned.value(i),
                cut_units: cut_units.value(i),
            })
        };
        (0..columns.len()).map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        self.model.cmp(&other.model)
    }

    fn name(&self) -> String {
        self.model.clone()
    }
}
