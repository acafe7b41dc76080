//! `history`: how much the answers still change, a row per snapshot and pair.

use super::column::{Columns, at, field, numbers, optional};
use super::counts::PairCounts;
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One pair at one snapshot.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HistoryRow {
    /// Number of the snapshot, from 1.
    pub snapshot: u32,
    /// Rows (tokens) counted by then.
    pub tokens: u64,
    /// The two places.
    pub pair: Arc<SitePair>,
    /// Counts with their chance.
    pub counts: PairCounts,
    /// Share of the contexts that were seen before, by their first tokens; `None` before the first context. The same for all pairs.
    pub repeated_contexts: Option<f64>,
    /// Its standard error; 0 where it is exact.
    pub repeated_contexts_error: Option<f64>,
    /// Share of latents whose best partner changed since the snapshot before; `None` at the first.
    pub churn: Option<f64>,
    /// One value per measure of the table; `None` where undefined or not computed at this snapshot.
    pub measures: Vec<Option<f64>>,
}

const MEASURE: &str = "measure";

/// What a column of a measure holds; its name is `PAIRING.MEASURE`.
fn about_measure(name: &str) -> String {
    match name.split_once('.') {
        Some(("activations", measure)) => format!("{measure} of the two hookpoints' raw activations, over all tokens"),
        Some(("mutual", measure)) => format!("{measure} of the decoder rows of all kept mutual matches"),
        Some(("forward", measure)) => {
            format!("{measure} of the decoder rows of all kept matches in which the source picks")
        }
        Some(("backward", measure)) => {
            format!("{measure} of the decoder rows of all kept matches in which the target picks")
        }
        _ => format!("similarity measure {name}"),
    }
}

impl TableRow for HistoryRow {
    /// Names of the measures; each is a column.
    type Shape = Vec<String>;
    const TABLE: &'static str = "history";
    const ABOUT: &'static str =
        "Every pair at every snapshot: how the matches and measures moved while tokens streamed past.";
    const KEY: &'static [&'static str] =
        &["snapshot", "source_model", "source_hookpoint", "target_model", "target_hookpoint"];

    fn fields(shape: &Self::Shape) -> Vec<Field> {
        let mut fields = vec![
            field("snapshot", DataType::UInt32, false, "number of the snapshot, from 1"),
            field("tokens", DataType::UInt64, false, "rows (tokens) counted by then"),
        ];
        fields.extend(pair_fields());
        fields.extend(PairCounts::fields());
        fields.extend([
            field(
                "repeated_contexts",
                DataType::Float64,
                true,
                "share of the contexts whose first tokens were seen before; the same for all pairs",
            ),
            field(
                "repeated_contexts_error",
                DataType::Float64,
                true,
                "standard error of repeated_contexts; 0 where it is exact",
            ),
        ]);
        fields.push(field(
            "churn",
            DataType::Float64,
            true,
            "share of latents, both ways, whose best partner changed since the snapshot before; null at the first",
        ));
        for name in shape {
            let description = format!("{}; null where undefined or not computed at this snapshot", about_measure(name));
            let mut measure = field(name, DataType::Float64, true, &description);
            let mut metadata = measure.metadata().clone();
            metadata.insert(MEASURE.to_string(), name.clone());
            measure.set_metadata(metadata);
            fields.push(measure);
        }
        fields
    }

    fn arrays(rows: &[Self], shape: &Self::Shape) -> Vec<ArrayRef> {
        let mut arrays = vec![
            numbers::<UInt32Type>(rows.iter().map(|r| r.snapshot)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.tokens)),
        ];
        arrays.extend(pair_arrays(rows.iter().map(|r| r.pair.as_ref())));
        arrays.extend(PairCounts::arrays(rows.iter().map(|r| &r.counts)));
        arrays.push(optional::<Float64Type>(rows.iter().map(|r| r.repeated_contexts)));
        arrays.push(optional::<Float64Type>(rows.iter().map(|r| r.repeated_contexts_error)));
        arrays.push(optional::<Float64Type>(rows.iter().map(|r| r.churn)));
        for k in 0..shape.len() {
            arrays.push(optional::<Float64Type>(rows.iter().map(|r| r.measures.get(k).copied().flatten())));
        }
        arrays
    }

    fn shape(schema: &Schema) -> Self::Shape {
        schema.fields().iter().filter_map(|f| f.metadata().get(MEASURE).cloned()).collect()
    }

    fn from_columns(columns: &Columns<'_>, shape: &Self::Shape) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let snapshot = columns.numbers::<UInt32Type>("snapshot")?;
        let float = |name: &str| columns.numbers::<Float64Type>(name);
        let tokens = columns.numbers::<UInt64Type>("tokens")?;
        let counts = PairCounts::from_columns(columns)?;
        let (repeated, repeated_error) = (float("repeated_contexts")?, float("repeated_contexts_error")?);
        let churn = float("churn")?;
        let measures = shape.iter().map(|name| float(name)).collect::<Result<Vec<_>>>()?;
        let row = |(i, (pair, counts))| HistoryRow {
            snapshot: snapshot.value(i),
            tokens: tokens.value(i),
            pair,
            counts,
            repeated_contexts: at(repeated, i),
            repeated_contexts_error: at(repeated_error, i),
            churn: at(churn, i),
            measures: measures.iter().map(|m| at(m, i)).collect(),
        };
        Ok(pairs.into_iter().zip(counts).enumerate().map(row).collect())
    }

    fn order(&self, other: &Self) -> Ordering {
        (self.snapshot, &self.pair).cmp(&(other.snapshot, &other.pair))
    }

    fn name(&self) -> String {
        format!("snapshot {} {}", self.snapshot, self.pair)
    }

    fn fits(&self, shape: &Self::Shape) -> bool {
        self.measures.len() == shape.len()
    }
}
