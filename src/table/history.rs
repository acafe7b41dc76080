//! `history`: how far the answers have settled, a row per snapshot and pair.

use super::column::{Columns, at, field, numbers, optional};
use super::row::{Pair, Row, pair_arrays, pair_fields, pairs};
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
    pub pair: Arc<Pair>,
    /// Mean over source latents of their best correlation; `None` where none is defined.
    pub mean_best_correlation_forward: Option<f64>,
    /// Mean over target latents of theirs.
    pub mean_best_correlation_backward: Option<f64>,
    /// Source latents that fired.
    pub n_alive_source: u64,
    /// Target latents that fired.
    pub n_alive_target: u64,
    /// Pairs of latents that are each other's best.
    pub n_mutual: u64,
    /// Matches that passed every filter.
    pub n_kept: u64,
    /// Share of latents whose best partner changed since the snapshot before; `None` at the first.
    pub churn: Option<f64>,
    /// One value per measure of the table; `None` where undefined or not computed at this snapshot.
    pub measures: Vec<Option<f64>>,
}

const MEASURE: &str = "measure";

impl Row for HistoryRow {
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
        fields.extend([
            field(
                "mean_best_correlation_forward",
                DataType::Float64,
                true,
                "mean over source latents of their best correlation",
            ),
            field(
                "mean_best_correlation_backward",
                DataType::Float64,
                true,
                "mean over target latents of their best correlation",
            ),
            field("n_alive_source", DataType::UInt64, false, "source latents that fired"),
            field("n_alive_target", DataType::UInt64, false, "target latents that fired"),
            field("n_mutual", DataType::UInt64, false, "pairs of latents that are each other's best"),
            field("n_kept", DataType::UInt64, false, "matches that passed every filter"),
            field(
                "churn",
                DataType::Float64,
                true,
                "share of latents whose best partner changed since the snapshot before",
            ),
        ]);
        for name in shape {
            let description =
                format!("similarity measure {name} over all kept matches; null where undefined or not computed");
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
        arrays.extend([
            optional::<Float64Type>(rows.iter().map(|r| r.mean_best_correlation_forward)),
            optional::<Float64Type>(rows.iter().map(|r| r.mean_best_correlation_backward)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_alive_source)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_alive_target)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_mutual)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_kept)),
            optional::<Float64Type>(rows.iter().map(|r| r.churn)),
        ]);
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
        let count = |name: &str| columns.numbers::<UInt64Type>(name);
        let (forward, backward) = (float("mean_best_correlation_forward")?, float("mean_best_correlation_backward")?);
        let (tokens, n_mutual, n_kept) = (count("tokens")?, count("n_mutual")?, count("n_kept")?);
        let (n_alive_source, n_alive_target) = (count("n_alive_source")?, count("n_alive_target")?);
        let churn = float("churn")?;
        let measures = shape.iter().map(|name| float(name)).collect::<Result<Vec<_>>>()?;
        let row = |(i, pair)| HistoryRow {
            snapshot: snapshot.value(i),
            tokens: tokens.value(i),
            pair,
            mean_best_correlation_forward: at(forward, i),
            mean_best_correlation_backward: at(backward, i),
            n_alive_source: n_alive_source.value(i),
            n_alive_target: n_alive_target.value(i),
            n_mutual: n_mutual.value(i),
            n_kept: n_kept.value(i),
            churn: at(churn, i),
            measures: measures.iter().map(|m| at(m, i)).collect(),
        };
        Ok(pairs.into_iter().enumerate().map(row).collect())
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
