//! `matches`: which latents correspond, seen from either side.

use super::column::{Columns, at, field, flags, numbers, optional, texts};
use super::listed::ListedCells;
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::weights::{Numbers, RowCosines};
use crate::error::Result;
use crate::matching::{Direction, Significance};
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One latent's partner of one rank.
///
/// A latent without any defined correlation has one row: partner and correlation `None`, rank 1, `dropped_by` `dead` or
/// `constant`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// Latent of the source; always there when it picks.
    pub source_latent: Option<u32>,
    /// Latent of the target; always there when it picks.
    pub target_latent: Option<u32>,
    /// Pearson's r of their activations over the rows counted; `None` where a variance is 0.
    pub correlation: Option<f64>,
    /// Tokens of which the two latents' products were counted one by one; those of the others are estimated by a sketch.
    pub exact_tokens: u64,
    /// Of the correlation, from what is estimated: 0 where all was counted, `None` where undefined.
    pub sketch_error: Option<f64>,
    /// What more is counted of it.
    pub listed: ListedCells,
    /// How far above chance it is; all `None` but at rank 1.
    pub significance: Significance,
    /// 1 = the best partner; ties go to the lower latent.
    pub rank: u32,
    /// Which side picks.
    pub direction: Direction,
    /// Each is the other's best.
    pub mutual: bool,
    /// It passed every filter.
    pub kept: bool,
    /// The first filter it did not pass.
    pub dropped_by: Option<String>,
    /// Of their decoder and encoder rows.
    pub cosines: RowCosines,
}

impl MatchRow {
    /// The latent that picks.
    pub fn picker(&self) -> Option<u32> {
        match self.direction {
            Direction::Forward => self.source_latent,
            Direction::Backward => self.target_latent,
        }
    }
}

impl TableRow for MatchRow {
    type Shape = ();
    const TABLE: &'static str = "matches";
    const ABOUT: &'static str = "Best partners of every latent by correlation of activations: forward rows, then backward rows, each by picking latent and rank.";
    const KEY: &'static [&'static str] = &[
        "source_model",
        "source_hookpoint",
        "target_model",
        "target_hookpoint",
        "direction",
        "source_latent",
        "target_latent",
    ];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field(
                "source_latent",
                DataType::UInt32,
                true,
                "latent of the source; null where the target latent found no partner",
            ),
            field(
                "target_latent",
                DataType::UInt32,
                true,
                "latent of the target; null where the source latent found no partner",
            ),
            field(
                "correlation",
                DataType::Float64,
                true,
                "Pearson's r of the two activations over all rows; null where undefined",
            ),
            field(
                "exact_tokens",
                DataType::UInt64,
                false,
                "tokens of which products were counted one by one; those of the others are estimated by a sketch",
            ),
            field(
                "sketch_error",
                DataType::Float64,
                true,
                "standard error that the sketch leaves in the correlation, no sampling error; 0 where all tokens were counted",
            ),
            field(
                "null_correlation",
                DataType::Float64,
                true,
                "highest r of the picking latent when the target's rows are another document's: the chance level; rank 1 only",
            ),
            field(
                "chance_point",
                DataType::Float64,
                true,
                "95 % point of the chance levels among latents that fire about as often; rank 1 only",
            ),
            field(
                "p_value",
                DataType::Float64,
                true,
                "(c + 1) / (n + 1), c of n chance levels among latents that fire about as often reaching this r; rank 1 only",
            ),
            field(
                "q_value",
                DataType::Float64,
                true,
                "false-discovery rate (Benjamini-Hochberg) over all best matches of the pair and direction; rank 1 only",
            ),
            field("margin", DataType::Float64, true, "r less the runner-up's; rank 1 only, null without a runner-up"),
        ]);
        fields.extend(ListedCells::fields());
        fields.extend([
            field(
                "rank",
                DataType::UInt32,
                false,
                "1 = best partner of the picking latent; ties go to the lower latent",
            ),
            field(
                "direction",
                DataType::Utf8,
                false,
                "forward: the source latent picks; backward: the target latent picks",
            ),
            field("mutual", DataType::Boolean, false, "each is the other's best partner; false behind rank 1"),
            field("kept", DataType::Boolean, false, "it passed every filter and enters the similarities"),
            field(
                "dropped_by",
                DataType::Utf8,
                true,
                "rank (not the best partner), dead, constant, no_partner, or the first filter it did not pass; null where kept",
            ),
        ]);
        fields.extend(RowCosines::fields());
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            optional::<UInt32Type>(rows.iter().map(|r| r.source_latent)),
            optional::<UInt32Type>(rows.iter().map(|r| r.target_latent)),
            optional::<Float64Type>(rows.iter().map(|r| r.correlation)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.exact_tokens)),
            optional::<Float64Type>(rows.iter().map(|r| r.sketch_error)),
            optional::<Float64Type>(rows.iter().map(|r| r.significance.null_correlation)),
            optional::<Float64Type>(rows.iter().map(|r| r.significance.point)),
            optional::<Float64Type>(rows.iter().map(|r| r.significance.p_value)),
            optional::<Float64Type>(rows.iter().map(|r| r.significance.q_value)),
            optional::<Float64Type>(rows.iter().map(|r| r.significance.margin)),
        ]);
        arrays.extend(ListedCells::arrays(rows.iter().map(|r| &r.listed)));
        arrays.extend([
            numbers::<UInt32Type>(rows.iter().map(|r| r.rank)),
            texts(rows.iter().map(|r| r.direction.as_str())),
            flags(rows.iter().map(|r| r.mutual)),
            flags(rows.iter().map(|r| r.kept)),
            Arc::new(rows.iter().map(|r| r.dropped_by.as_deref()).collect::<StringArray>()) as ArrayRef,
        ]);
        arrays.extend(RowCosines::arrays(rows.iter().map(|r| r.cosines)));
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let source = columns.numbers::<UInt32Type>("source_latent")?;
        let target = columns.numbers::<UInt32Type>("target_latent")?;
        let correlation = columns.numbers::<Float64Type>("correlation")?;
        let exact_tokens = columns.numbers::<UInt64Type>("exact_tokens")?;
        let sketch_error = columns.numbers::<Float64Type>("sketch_error")?;
        let float = |name: &str| columns.numbers::<Float64Type>(name);
        let (null_correlation, point) = (float("null_correlation")?, float("chance_point")?);
        let (p_value, q_value, margin) = (float("p_value")?, float("q_value")?, float("margin")?);
        let listed = ListedCells::from_columns(columns)?;
        let rank = columns.numbers::<UInt32Type>("rank")?;
        let direction = columns.texts("direction")?;
        let (mutual, kept) = (columns.flags("mutual")?, columns.flags("kept")?);
        let dropped_by = columns.texts("dropped_by")?;
        let cosines = RowCosines::from_columns(columns)?;
        let row = |(i, pair)| {
            Ok(MatchRow {
                pair,
                source_latent: at(source, i),
                target_latent: at(target, i),
                correlation: at(correlation, i),
                exact_tokens: exact_tokens.value(i),
                sketch_error: at(sketch_error, i),
                significance: Significance {
                    null_correlation: at(null_correlation, i),
                    point: at(point, i),
                    p_value: at(p_value, i),
                    q_value: at(q_value, i),
                    margin: at(margin, i),
                },
                listed: listed[i],
                rank: rank.value(i),
                direction: match direction.value(i) {
                    "forward" => Direction::Forward,
                    "backward" => Direction::Backward,
                    other => {
                        return Err(
                            columns.wrong("direction", &format!("holds {other:?}, expected forward or backward"))
                        );
                    }
                },
                mutual: mutual.value(i),
                kept: kept.value(i),
                dropped_by: dropped_by.is_valid(i).then(|| dropped_by.value(i).to_string()),
                cosines: cosines[i],
            })
        };
        pairs.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.direction, r.picker(), r.rank);
        self.pair.cmp(&other.pair).then_with(|| key(self).cmp(&key(other)))
    }

    fn name(&self) -> String {
        let latent = self.picker().map_or_else(|| "none".to_string(), |l| l.to_string());
        format!("{} {} latent {latent} rank {}", self.pair, self.direction.as_str(), self.rank)
    }
}
