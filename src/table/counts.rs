//! The counts of a pair, each with the same count by chance: columns that `history` has for each snapshot and `pairs` for the last.

use super::column::{Columns, at, field, numbers, optional};
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, UInt64Type};

/// Counts over the best matches of a pair. What ends in `_null`, or begins with `null_`, is the same of the tiles in which the
/// target's rows are another document's; `None` where there are none.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PairCounts {
    /// Mean over source latents of their best correlation; `None` where none is defined.
    pub mean_best_correlation_forward: Option<f64>,
    /// The same by chance.
    pub null_mean_best_correlation_forward: Option<f64>,
    /// Mean over target latents of theirs.
    pub mean_best_correlation_backward: Option<f64>,
    /// The same by chance.
    pub null_mean_best_correlation_backward: Option<f64>,
    /// Source latents that fired.
    pub n_alive_source: u64,
    /// Target latents that fired.
    pub n_alive_target: u64,
    /// Pairs of latents that are each other's best.
    pub n_mutual: u64,
    /// The same by chance.
    pub n_mutual_null: Option<u64>,
    /// Those whose correlation is above the 95 % chance points of both latents; `None` without a chance level.
    pub n_mutual_above_chance: Option<u64>,
    /// The same by chance: at most one in twenty of the latents that have a chance level.
    pub n_mutual_above_chance_null: Option<u64>,
    /// Mutual pairs of which a correlation given the token is known.
    pub n_mutual_given: u64,
    /// Those in which it is 0.3 or more.
    pub n_mutual_within: u64,
    /// The same by chance: where it is 0.3 or more with the target's rows another document's.
    pub n_mutual_within_null: u64,
    /// Target latents that are the best of some source latent.
    pub n_distinct_partners_forward: u64,
    /// The same by chance.
    pub n_distinct_partners_forward_null: Option<u64>,
    /// Source latents that are the best of some target latent.
    pub n_distinct_partners_backward: u64,
    /// The same by chance.
    pub n_distinct_partners_backward_null: Option<u64>,
    /// Matches in which the source picks that passed every filter.
    pub n_kept: u64,
    /// The same by chance.
    pub n_kept_null: Option<u64>,
    /// Matches in which the target picks that passed every filter.
    pub n_kept_backward: u64,
    /// The same by chance.
    pub n_kept_backward_null: Option<u64>,
}

/// Name, whether it may be null, and meaning of each column, in order; the first four are numbers, the others counts.
const COLUMNS: [(&str, bool, &str); 21] = [
    ("mean_best_correlation_forward", true, "mean over source latents of their best correlation"),
    (
        "null_mean_best_correlation_forward",
        true,
        "the same when the target's rows are another document's: its chance level",
    ),
    ("mean_best_correlation_backward", true, "mean over target latents of their best correlation"),
    (
        "null_mean_best_correlation_backward",
        true,
        "the same when the target's rows are another document's: its chance level",
    ),
    ("n_alive_source", false, "source latents that fired"),
    ("n_alive_target", false, "target latents that fired"),
    ("n_mutual", false, "pairs of latents that are each other's best"),
    ("n_mutual_null", true, "the same when the target's rows are another document's: what chance gives"),
    (
        "n_mutual_above_chance",
        true,
        "mutual pairs whose r is above the chance_point of both latents; null without a chance level",
    ),
    ("n_mutual_above_chance_null", true, "the same when the target's rows are another document's: what chance gives"),
    ("n_mutual_given", false, "mutual pairs whose within_correlation is known"),
    ("n_mutual_within", false, "those in which it is 0.3 or more: what holds given the token"),
    ("n_mutual_within_null", false, "those in which null_within_correlation is: what chance gives"),
    ("n_distinct_partners_forward", false, "target latents that are the best partner of some source latent"),
    ("n_distinct_partners_forward_null", true, "the same when the target's rows are another document's"),
    ("n_distinct_partners_backward", false, "source latents that are the best partner of some target latent"),
    ("n_distinct_partners_backward_null", true, "the same when the target's rows are another document's"),
    ("n_kept", false, "matches in which the source picks that passed every filter"),
    ("n_kept_null", true, "what the same filters keep when the target's rows are another document's"),
    ("n_kept_backward", false, "matches in which the target picks that passed every filter"),
    ("n_kept_backward_null", true, "what the same filters keep when the target's rows are another document's"),
];

const N_NUMBERS: usize = 4;

impl PairCounts {
    /// The numbers that are no counts, in order of the columns.
    pub fn numbers_mut(&mut self) -> [&mut Option<f64>; N_NUMBERS] {
        [
            &mut self.mean_best_correlation_forward,
            &mut self.null_mean_best_correlation_forward,
            &mut self.mean_best_correlation_backward,
            &mut self.null_mean_best_correlation_backward,
        ]
    }

    fn counts(&self) -> [Option<u64>; COLUMNS.len() - N_NUMBERS] {
        [
            Some(self.n_alive_source),
            Some(self.n_alive_target),
            Some(self.n_mutual),
            self.n_mutual_null,
            self.n_mutual_above_chance,
            self.n_mutual_above_chance_null,
            Some(self.n_mutual_given),
            Some(self.n_mutual_within),
            Some(self.n_mutual_within_null),
            Some(self.n_distinct_partners_forward),
            self.n_distinct_partners_forward_null,
            Some(self.n_distinct_partners_backward),
            self.n_distinct_partners_backward_null,
            Some(self.n_kept),
            self.n_kept_null,
            Some(self.n_kept_backward),
            self.n_kept_backward_null,
        ]
    }

    pub(super) fn fields() -> impl Iterator<Item = Field> {
        COLUMNS.iter().enumerate().map(|(k, &(name, nullable, description))| {
            let kind = if k < N_NUMBERS { DataType::Float64 } else { DataType::UInt64 };
            field(name, kind, nullable, description)
        })
    }

    pub(super) fn arrays<'a>(rows: impl Iterator<Item = &'a PairCounts> + Clone) -> Vec<ArrayRef> {
        let number = |k: usize| optional::<Float64Type>(rows.clone().map(|r| *r.clone().numbers_mut()[k]));
        let count = |k: usize| {
            let (_, nullable, _) = COLUMNS[N_NUMBERS + k];
            let values = rows.clone().map(move |r| r.counts()[k]);
            if nullable {
                optional::<UInt64Type>(values)
            } else {
                numbers::<UInt64Type>(values.map(|v| v.expect("a count that is always there")))
            }
        };
        (0..N_NUMBERS).map(number).chain((0..COLUMNS.len() - N_NUMBERS).map(count)).collect()
    }

    pub(super) fn from_columns(columns: &Columns<'_>) -> Result<Vec<PairCounts>> {
        let names = COLUMNS.map(|(name, ..)| name);
        let floats =
            names[..N_NUMBERS].iter().map(|name| columns.numbers::<Float64Type>(name)).collect::<Result<Vec<_>>>()?;
        let counts =
            names[N_NUMBERS..].iter().map(|name| columns.numbers::<UInt64Type>(name)).collect::<Result<Vec<_>>>()?;
        let row = |i: usize| {
            let mut out = PairCounts::default();
            for (place, column) in out.numbers_mut().into_iter().zip(&floats) {
                *place = at(column, i);
            }
            let value = |k: usize| at(counts[k], i);
            let count = |k: usize| value(k).unwrap_or(0);
            PairCounts {
                n_alive_source: count(0),
                n_alive_target: count(1),
                n_mutual: count(2),
                n_mutual_null: value(3),
                n_mutual_above_chance: value(4),
                n_mutual_above_chance_null: value(5),
                n_mutual_given: count(6),
                n_mutual_within: count(7),
                n_mutual_within_null: count(8),
                n_distinct_partners_forward: count(9),
                n_distinct_partners_forward_null: value(10),
                n_distinct_partners_backward: count(11),
                n_distinct_partners_backward_null: value(12),
                n_kept: count(13),
                n_kept_null: value(14),
                n_kept_backward: count(15),
                n_kept_backward_null: value(16),
                ..out
            }
        };
        Ok((0..columns.len()).map(row).collect())
    }
}
