//! `maps`: how well do the activations of one place map into the other's, by which kind of map?

use super::column::{Columns, field, numbers, texts};
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::weights::{Column, Numbers};
use crate::error::Result;
use crate::matching::Direction;
use crate::similarity::{MapKind, Units};
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One map of one pair in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// Forward: from the source's activations into the target's.
    pub direction: Direction,
    /// Which map.
    pub kind: MapKind,
    /// Units it is fitted and judged in.
    pub units: Units,
    /// λ as a share of the mean variance; 0 of an orthogonal map.
    pub ridge: f64,
    /// Rows of both halves.
    pub tokens: u64,
    /// Cross-validated R² and its chance.
    pub score: MapNumbers,
}

/// What is found of a map; `None` where undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MapNumbers {
    /// Cross-validated R².
    pub r_squared: Option<f64>,
    /// The same of rows of other documents.
    pub null: Option<f64>,
}

impl Numbers for MapNumbers {
    const COLUMNS: &'static [Column<Self>] = &[
        (
            "map_r2",
            "R² over all dimensions, fitted on one half of the documents and judged on the other, both ways; below 0 where it is \
             worse than the mean",
            |r| &mut r.r_squared,
        ),
        ("null_r2", "the same when the target's rows are another document's: the chance level", |r| &mut r.null),
    ];
}

impl TableRow for MapRow {
    type Shape = ();
    const TABLE: &'static str = "maps";
    const ABOUT: &'static str = "Linear maps between the raw activations of each pair's places: forward, then backward, each least squares, then \
                                 orthogonal where the widths are equal.";
    const KEY: &'static [&'static str] =
        &["source_model", "source_hookpoint", "target_model", "target_hookpoint", "direction", "map"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field(
                "direction",
                DataType::Utf8,
                false,
                "forward: from the source's activations into the target's; backward: the other way",
            ),
            field(
                "map",
                DataType::Utf8,
                false,
                "least_squares (any linear map) or orthogonal (a rotation with a scale)",
            ),
            field("units", DataType::Utf8, false, "raw: activations as they are; std: each dimension by its deviation"),
            field("ridge", DataType::Float64, false, "λ as a share of the mean variance; 0 of an orthogonal map"),
            field("tokens", DataType::UInt64, false, "rows (tokens) of both halves"),
        ]);
        fields.extend(MapNumbers::fields());
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            texts(rows.iter().map(|r| r.direction.as_str())),
            texts(rows.iter().map(|r| r.kind.as_str())),
            texts(rows.iter().map(|r| r.units.as_str())),
            numbers::<Float64Type>(rows.iter().map(|r| r.ridge)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.tokens)),
        ]);
        arrays.extend(MapNumbers::arrays(rows.iter().map(|r| r.score)));
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let (direction, map, units) = (columns.texts("direction")?, columns.texts("map")?, columns.texts("units")?);
        let (ridge, tokens) = (columns.numbers::<Float64Type>("ridge")?, columns.numbers::<UInt64Type>("tokens")?);
        let scores = MapNumbers::from_columns(columns)?;
        let row = |(i, pair)| {
            let wrong = |name: &str, found: &str, expected: &str| {
                columns.wrong(name, &format!("holds {found:?}, expected {expected}"))
            };
            let named =
                [Direction::Forward, Direction::Backward].into_iter().find(|d| d.as_str() == direction.value(i));
            let kind = [MapKind::LeastSquares, MapKind::Orthogonal].into_iter().find(|k| k.as_str() == map.value(i));
            let unit = [Units::Raw, Units::Std].into_iter().find(|u| u.as_str() == units.value(i));
            Ok(MapRow {
                pair,
                direction: named.ok_or_else(|| wrong("direction", direction.value(i), "forward or backward"))?,
                kind: kind.ok_or_else(|| wrong("map", map.value(i), "least_squares or orthogonal"))?,
                units: unit.ok_or_else(|| wrong("units", units.value(i), "raw or std"))?,
                ridge: ridge.value(i),
                tokens: tokens.value(i),
                score: scores[i],
            })
        };
        pairs.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |row: &Self| (row.direction, row.kind);
        self.pair.cmp(&other.pair).then_with(|| key(self).cmp(&key(other)))
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.pair, self.direction.as_str(), self.kind.as_str())
    }
}
