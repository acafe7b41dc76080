//! `controls`: the real run and its controls beside each other, a row for each pair and run.

use super::column::{Columns, at, field, numbers, optional, texts};
use super::counts::PairCounts;
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::similarities::RowPairing;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// A score with its null.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreCell {
    /// Which rows were laid side by side: decoder rows of which matches, or activations.
    pub pairing: RowPairing,
    /// Which measure.
    pub measure: String,
    /// Its value; `None` where it is undefined in this run.
    pub value: Option<f64>,
    /// Mean of its null.
    pub null_mean: Option<f64>,
}

/// One pair in one run.
#[derive(Clone, Debug, PartialEq)]
pub struct ControlRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// `real`, or the name of the control.
    pub run: String,
    /// What is random in it, in words; `None` for the real run.
    pub control: Option<String>,
    /// Rows (tokens) counted.
    pub tokens: u64,
    /// Counts with their chance, as in `pairs`.
    pub counts: PairCounts,
    /// The score of matches' decoder rows: of the measure that is farthest above its null in the real run, over all pairs, so that it is the same
    /// in every row. `None` where no such score was asked for.
    pub rows: Option<ScoreCell>,
    /// The same of raw activations.
    pub activations: Option<ScoreCell>,
}

/// What the real run is called.
pub const REAL: &str = "real";

impl TableRow for ControlRow {
    type Shape = ();
    const TABLE: &'static str = "controls";
    const ABOUT: &'static str = "The real run and its controls beside each other: counts with their chance, and a score of decoder rows and one of \
                                 activations, each by the measure that is farthest above its null in the real run.";
    const KEY: &'static [&'static str] =
        &["source_model", "source_hookpoint", "target_model", "target_hookpoint", "run"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field("run", DataType::Utf8, false, "real, or the name of the control"),
            field("control", DataType::Utf8, true, "what is random in it; null for the real run"),
            field("tokens", DataType::UInt64, false, "rows (tokens) counted"),
        ]);
        fields.extend(PairCounts::fields());
        fields.extend([
            field(
                "row_pairing",
                DataType::Utf8,
                true,
                "whose decoder rows: mutual, forward or backward matches, the first of these that are scored; null where none are",
            ),
            field(
                "row_measure",
                DataType::Utf8,
                true,
                "measure of these rows that is farthest above its null in the real run, over all pairs; the same in every row",
            ),
            field("row_value", DataType::Float64, true, "its value in this run; null where undefined"),
            field("row_null_mean", DataType::Float64, true, "mean of its null in this run"),
            field("activation_measure", DataType::Utf8, true, "measure of raw activations, chosen likewise; null without any"),
            field("activation_value", DataType::Float64, true, "its value in this run; null where undefined"),
            field("activation_null_mean", DataType::Float64, true, "mean of its null in this run"),
        ]);
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let words = |of: fn(&Self) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            texts(rows.iter().map(|r| r.run.as_str())),
            words(|r| r.control.as_deref()),
            numbers::<UInt64Type>(rows.iter().map(|r| r.tokens)),
        ]);
        arrays.extend(PairCounts::arrays(rows.iter().map(|r| &r.counts)));
        arrays.extend([
            words(|r| Some(r.rows.as_ref()?.pairing.as_str())),
            words(|r| Some(&r.rows.as_ref()?.measure)),
            optional::<Float64Type>(rows.iter().map(|r| r.rows.as_ref()?.value)),
            optional::<Float64Type>(rows.iter().map(|r| r.rows.as_ref()?.null_mean)),
            words(|r| Some(&r.activations.as_ref()?.measure)),
            optional::<Float64Type>(rows.iter().map(|r| r.activations.as_ref()?.value)),
            optional::<Float64Type>(rows.iter().map(|r| r.activations.as_ref()?.null_mean)),
        ]);
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let (run, control) = (columns.texts("run")?, columns.texts("control")?);
        let tokens = columns.numbers::<UInt64Type>("tokens")?;
        let counts = PairCounts::from_columns(columns)?;
        let float = |name: &str| columns.numbers::<Float64Type>(name);
        let numbers =
            |kind: &str| Ok::<_, Error>((float(&format!("{kind}_value"))?, float(&format!("{kind}_null_mean"))?));
        let (of_rows, of_activations) = (numbers("row")?, numbers("activation")?);
        let (row_pairing, row_measure) = (columns.texts("row_pairing")?, columns.texts("row_measure")?);
        let activation_measure = columns.texts("activation_measure")?;
        let text = |array: &StringArray, i: usize| array.is_valid(i).then(|| array.value(i).to_string());
        let row = |(i, (pair, counts))| {
            let named = text(row_pairing, i).map(|word| {
                let wrong =
                    || columns.wrong("row_pairing", &format!("holds {word:?}, expected mutual, forward or backward"));
                RowPairing::named(&word).filter(|p| *p != RowPairing::Activations).ok_or_else(wrong)
            });
            let cell =
                |pairing: RowPairing, measure: &StringArray, (value, null_mean): (&Float64Array, &Float64Array)| {
                    let (value, null_mean) = (at(value, i), at(null_mean, i));
                    text(measure, i).map(|measure| ScoreCell { pairing, measure, value, null_mean })
                };
            let rows = named.transpose()?.and_then(|pairing| cell(pairing, row_measure, of_rows));
            Ok(ControlRow {
                pair,
                run: run.value(i).to_string(),
                control: text(control, i),
                tokens: tokens.value(i),
                counts,
                rows,
                activations: cell(RowPairing::Activations, activation_measure, of_activations),
            })
        };
        pairs.into_iter().zip(counts).enumerate().map(row).collect()
    }

    /// The real run first, then the controls by name.
    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.control.is_some(), r.run.clone());
        self.pair.cmp(&other.pair).then_with(|| key(self).cmp(&key(other)))
    }

    fn name(&self) -> String {
        format!("{} {}", self.pair, self.run)
    }
}
