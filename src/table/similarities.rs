//! `similarities`: how alike two spaces are, each value with its null.

use super::column::{Columns, at, field, flags, numbers, optional, texts};
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// Which rows of the two spaces were laid side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowPairing {
    /// Decoder rows of each kept source latent and its best target.
    Forward,
    /// Decoder rows of each kept target latent and its best source.
    Backward,
    /// Decoder rows of latents that are each other's best.
    Mutual,
    /// The raw activations themselves, row by row.
    Activations,
}

impl RowPairing {
    const ALL: [RowPairing; 4] =
        [RowPairing::Forward, RowPairing::Backward, RowPairing::Mutual, RowPairing::Activations];

    /// Of such a word.
    pub(super) fn named(word: &str) -> Option<RowPairing> {
        RowPairing::ALL.into_iter().find(|p| p.as_str() == word)
    }

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            RowPairing::Forward => "forward",
            RowPairing::Backward => "backward",
            RowPairing::Mutual => "mutual",
            RowPairing::Activations => "activations",
        }
    }
}

/// One measure on one subset.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarityRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// `all`, or a category of concepts.
    pub subset: String,
    /// Which rows were laid side by side.
    pub pairing: RowPairing,
    /// `svcca`, `rsa`, `cka` …
    pub measure: String,
    /// The measure; `None` where it is undefined (too few pairs, no variance).
    pub value: Option<f64>,
    /// Pairs that entered.
    pub n_pairs: u64,
    /// Principal components kept of the source, where the measure keeps some.
    pub components_source: Option<u32>,
    /// Principal components kept of the target.
    pub components_target: Option<u32>,
    /// With so few pairs any two spaces look alike: the value means nothing.
    pub no_power: bool,
    /// Both sides are decoder rows of one SAE: the row of a latent matched with itself is equal to itself, whatever the models do.
    pub one_decoder: bool,
    /// Mean of the measure over shuffled pairings.
    pub null_mean: Option<f64>,
    /// Their standard deviation (ddof = 1).
    pub null_sd: Option<f64>,
    /// Their 95 % point; `None` with fewer than 19 shuffles.
    pub null_point: Option<f64>,
    /// How many shuffles.
    pub null_runs: u32,
    /// How far the value is above the 95 % point, as a share of the way to the measure's best.
    pub calibrated: Option<f64>,
    /// Share of shuffles at least as high as the value, itself counted in.
    pub p_value: Option<f64>,
    /// `p_value` adjusted over all rows of the table that have one, any power and two decoders (Benjamini and Hochberg).
    pub q_value: Option<f64>,
}

impl TableRow for SimilarityRow {
    type Shape = ();
    const TABLE: &'static str = "similarities";
    const ABOUT: &'static str = "Similarity of two feature spaces per subset, pairing and measure, beside its null.";
    const KEY: &'static [&'static str] =
        &["source_model", "source_hookpoint", "target_model", "target_hookpoint", "subset", "pairing", "measure"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field("subset", DataType::Utf8, false, "all, or a category of concepts"),
            field(
                "pairing",
                DataType::Utf8,
                false,
                "what is laid side by side: decoder rows of kept matches (forward, backward, mutual), or activations, token by token",
            ),
            field("measure", DataType::Utf8, false, "svcca, rsa, cka, …"),
            field("value", DataType::Float64, true, "the measure; null where undefined"),
            field("n_pairs", DataType::UInt64, false, "matches that entered; of activations, tokens"),
            field(
                "components_source",
                DataType::UInt32,
                true,
                "principal components kept of the source; null where none are",
            ),
            field(
                "components_target",
                DataType::UInt32,
                true,
                "principal components kept of the target; null where none are",
            ),
            field("no_power", DataType::Boolean, false, "with so few pairs any two spaces look alike"),
            field(
                "one_decoder",
                DataType::Boolean,
                false,
                "both sides are decoder rows of one SAE, so a latent matched with itself agrees by construction",
            ),
            field("null_mean", DataType::Float64, true, "mean of the measure over shuffled pairings, of matches or of tokens"),
            field(
                "null_sd",
                DataType::Float64,
                true,
                "standard deviation of the measure over shuffled pairings (ddof = 1)",
            ),
            field(
                "null_point",
                DataType::Float64,
                true,
                "95 % point of the measure over shuffled pairings: a closer value has p at most 0.05; null below 19 of them",
            ),
            field("null_runs", DataType::UInt32, false, "shuffled pairings; 0 where no null was computed"),
            field(
                "calibrated",
                DataType::Float64,
                true,
                "max(0, (value - null_point)/(1 - null_point)); of a distance max(0, (null_point - value)/null_point): 0 is chance, 1 equal",
            ),
            field(
                "p_value",
                DataType::Float64,
                true,
                "share of shuffled pairings at least as high, the real one counted in",
            ),
            field(
                "q_value",
                DataType::Float64,
                true,
                "false-discovery rate (Benjamini-Hochberg) over all scores of the run that have a p-value, power and two decoders",
            ),
        ]);
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            texts(rows.iter().map(|r| r.subset.as_str())),
            texts(rows.iter().map(|r| r.pairing.as_str())),
            texts(rows.iter().map(|r| r.measure.as_str())),
            optional::<Float64Type>(rows.iter().map(|r| r.value)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_pairs)),
            optional::<UInt32Type>(rows.iter().map(|r| r.components_source)),
            optional::<UInt32Type>(rows.iter().map(|r| r.components_target)),
            flags(rows.iter().map(|r| r.no_power)),
            flags(rows.iter().map(|r| r.one_decoder)),
            optional::<Float64Type>(rows.iter().map(|r| r.null_mean)),
            optional::<Float64Type>(rows.iter().map(|r| r.null_sd)),
            optional::<Float64Type>(rows.iter().map(|r| r.null_point)),
            numbers::<UInt32Type>(rows.iter().map(|r| r.null_runs)),
            optional::<Float64Type>(rows.iter().map(|r| r.calibrated)),
            optional::<Float64Type>(rows.iter().map(|r| r.p_value)),
            optional::<Float64Type>(rows.iter().map(|r| r.q_value)),
        ]);
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let (subset, pairing, measure) =
            (columns.texts("subset")?, columns.texts("pairing")?, columns.texts("measure")?);
        let float = |name: &str| columns.numbers::<Float64Type>(name);
        let (value, null_mean, null_sd, p_value) =
            (float("value")?, float("null_mean")?, float("null_sd")?, float("p_value")?);
        let n_pairs = columns.numbers::<UInt64Type>("n_pairs")?;
        let count = |name: &str| columns.numbers::<UInt32Type>(name);
        let (of_source, of_target) = (count("components_source")?, count("components_target")?);
        let (null_runs, no_power) = (count("null_runs")?, columns.flags("no_power")?);
        let q_value = float("q_value")?;
        let (null_point, calibrated) = (float("null_point")?, float("calibrated")?);
        let one_decoder = columns.flags("one_decoder")?;
        let row = |(i, pair)| {
            let named = RowPairing::named(pairing.value(i));
            Ok(SimilarityRow {
                pair,
                subset: subset.value(i).to_string(),
                pairing: named.ok_or_else(|| columns.wrong("pairing", &format!("holds {:?}", pairing.value(i))))?,
                measure: measure.value(i).to_string(),
                value: at(value, i),
                n_pairs: n_pairs.value(i),
                components_source: at(of_source, i),
                components_target: at(of_target, i),
                no_power: no_power.value(i),
                one_decoder: one_decoder.value(i),
                null_mean: at(null_mean, i),
                null_sd: at(null_sd, i),
                null_point: at(null_point, i),
                null_runs: null_runs.value(i),
                calibrated: at(calibrated, i),
                p_value: at(p_value, i),
                q_value: at(q_value, i),
            })
        };
        pairs.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.subset.clone(), r.pairing, r.measure.clone());
        self.pair.cmp(&other.pair).then_with(|| key(self).cmp(&key(other)))
    }

    fn name(&self) -> String {
        format!("{} {} {} {}", self.pair, self.subset, self.pairing.as_str(), self.measure)
    }
}
