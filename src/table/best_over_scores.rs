//! `best_over_scores`: which two places of two models are closest by each measure, beside the closest by chance over as many.

use super::column::{Columns, at, field, numbers, texts};
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::similarities::RowPairing;
use super::weights::{Column, Numbers};
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// The closest pair of places by one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct BestOverScore {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// `all`, or a category of concepts.
    pub subset: String,
    /// Which rows were laid side by side.
    pub pairing: RowPairing,
    /// `svcca`, `rsa`, `cka` …
    pub measure: String,
    /// How many pairs of places compete.
    pub place_pairs: u32,
    /// Permutations of the rows, of activations the same in every pair; 0 where none are drawn.
    pub null_runs: u32,
    /// The value and what chance gives.
    pub numbers: OverScore,
}

/// A score and the best of as many by chance; `None` where undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OverScore {
    /// The measure.
    pub value: Option<f64>,
    /// Mean over the permutations of the best of all pairs.
    pub null_mean: Option<f64>,
    /// Their 95 % point.
    pub null_point: Option<f64>,
    /// How far the value is above the point, as a share of the way to the measure's best.
    pub calibrated: Option<f64>,
    /// Share of permutations whose best pair is as close, the real one counted in.
    pub p_value: Option<f64>,
    /// The p-value adjusted over the table.
    pub q_value: Option<f64>,
}

impl Numbers for OverScore {
    const COLUMNS: &'static [Column<Self>] = &[
        ("value", "the measure of the two closest places: the highest, of a distance the lowest", |r| &mut r.value),
        (
            "null_mean",
            "mean over permutations of the value of the closest places under each; null where none are drawn",
            |r| &mut r.null_mean,
        ),
        ("null_point", "95 % point of the same; null with fewer than 19 permutations", |r| &mut r.null_point),
        (
            "calibrated",
            "max(0, (value - null_point)/(1 - null_point)); of a distance max(0, (null_point - value)/null_point)",
            |r| &mut r.calibrated,
        ),
        ("p_value", "share of permutations whose closest places are as close, the real one counted in", |r| {
            &mut r.p_value
        }),
        ("q_value", "false-discovery rate (Benjamini-Hochberg) over the rows of this table", |r| &mut r.q_value),
    ];
}

impl TableRow for BestOverScore {
    type Shape = ();
    const TABLE: &'static str = "best_over_scores";
    const ABOUT: &'static str = "The two closest places of each two models per subset, pairing and measure, beside the closest by chance over as many pairs.";
    const KEY: &'static [&'static str] = &["source_model", "target_model", "subset", "pairing", "measure"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field("subset", DataType::Utf8, false, "all, or a category of concepts"),
            field(
                "pairing",
                DataType::Utf8,
                false,
                "what is laid side by side: decoder rows of kept matches, or activations",
            ),
            field("measure", DataType::Utf8, false, "svcca, rsa, cka, …"),
            field(
                "place_pairs",
                DataType::UInt32,
                false,
                "pairs of places that compete: those that have power and two decoders",
            ),
            field(
                "null_runs",
                DataType::UInt32,
                false,
                "permutations: of activations the same in every pair, of decoder rows each pair's own; 0 where none are drawn",
            ),
        ]);
        fields.extend(OverScore::fields());
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            texts(rows.iter().map(|r| r.subset.as_str())),
            texts(rows.iter().map(|r| r.pairing.as_str())),
            texts(rows.iter().map(|r| r.measure.as_str())),
            numbers::<UInt32Type>(rows.iter().map(|r| r.place_pairs)),
            numbers::<UInt32Type>(rows.iter().map(|r| r.null_runs)),
        ]);
        arrays.extend(OverScore::arrays(rows.iter().map(|r| r.numbers)));
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let (subset, pairing, measure) =
            (columns.texts("subset")?, columns.texts("pairing")?, columns.texts("measure")?);
        let count = |name: &str| columns.numbers::<UInt32Type>(name);
        let (place_pairs, null_runs) = (count("place_pairs")?, count("null_runs")?);
        let numbers = OverScore::from_columns(columns)?;
        let row = |(i, pair)| {
            let named = RowPairing::named(pairing.value(i));
            Ok(BestOverScore {
                pair,
                subset: subset.value(i).to_string(),
                pairing: named.ok_or_else(|| columns.wrong("pairing", &format!("holds {:?}", pairing.value(i))))?,
                measure: measure.value(i).to_string(),
                place_pairs: at(place_pairs, i).unwrap_or(0),
                null_runs: at(null_runs, i).unwrap_or(0),
                numbers: numbers[i],
            })
        };
        pairs(columns)?.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| {
            let SitePair { source, target } = r.pair.as_ref();
            (source.model.clone(), target.model.clone(), r.subset.clone(), r.pairing, r.measure.clone())
        };
        key(self).cmp(&key(other))
    }

    fn name(&self) -> String {
        format!("{} {} {} {}", self.pair, self.subset, self.pairing.as_str(), self.measure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::round_trip;

    #[test]
    fn rows_come_back_and_stand_by_models_not_by_places() {
        let row = |source: &str, measure: &str, value: Option<f64>| BestOverScore {
            pair: Arc::new(SitePair { source: source.parse().unwrap(), target: "b/embed".parse().unwrap() }),
            subset: "all".into(),
            pairing: RowPairing::Activations,
            measure: measure.into(),
            place_pairs: 4,
            null_runs: 9,
            numbers: OverScore { value, null_mean: Some(0.25), ..OverScore::default() },
        };
        round_trip((), vec![row("a/resid_post.3", "cka", Some(0.5)), row("a/resid_post.1", "svcca", None)]).unwrap();
    }
}
