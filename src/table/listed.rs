//! What more is known of listed partners: columns of `matches`, null for partners of which no more is counted.

use super::column::{Columns, at, field, optional};
use crate::error::Result;
use crate::matching::Listed;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, UInt64Type};

/// The figures of a listed partner, each over the rows since it was listed; all `None` where it is not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ListedCells {
    /// Rows since it was listed.
    pub counted_rows: Option<u64>,
    /// Rows on which both fire.
    pub n_both: Option<u64>,
    /// The fewer of the two latents' firings on rows that have a partner of their token.
    pub given_rows: Option<u64>,
    /// Standard error of the correlation, by leaving groups of documents out.
    pub sampling_error: Option<f64>,
    /// Rows on which both fire over rows on which one does.
    pub jaccard: Option<f64>,
    /// Share of the source's firings on which the target fires.
    pub target_given_source: Option<f64>,
    /// Share of the target's firings on which the source fires.
    pub source_given_target: Option<f64>,
    /// Pearson's r of firing or not.
    pub phi: Option<f64>,
    /// What the token alone gives.
    pub token_correlation: Option<f64>,
    /// What is left given the token.
    pub within_correlation: Option<f64>,
    /// The same by chance.
    pub null_within_correlation: Option<f64>,
    /// The highest correlation that the token alone gives the picking latent with any; of best partners, where it was counted.
    pub token_best_correlation: Option<f64>,
    /// The p-value of the correlation against those.
    pub token_p_value: Option<f64>,
}

impl From<&Listed> for ListedCells {
    fn from(listed: &Listed) -> Self {
        ListedCells {
            counted_rows: Some(listed.n_rows),
            n_both: Some(listed.n_both),
            given_rows: Some(listed.given_rows),
            sampling_error: listed.sampling_error,
            jaccard: listed.jaccard(),
            target_given_source: listed.share_of(0),
            source_given_target: listed.share_of(1),
            phi: listed.phi(),
            token_correlation: listed.token_correlation,
            within_correlation: listed.within_correlation,
            null_within_correlation: listed.within_null,
            ..ListedCells::default()
        }
    }
}

/// Name and meaning of each column, in order; the first three are counts, the others numbers.
const COLUMNS: [(&str, &str); 13] = [
    ("counted_rows", "rows since the two are listed; null for partners that are not, and so are the columns to within"),
    ("n_both", "of these, rows on which both fire"),
    (
        "given_rows",
        "the fewer of the two latents' firings on rows whose key (null.given: the token) came before in another document",
    ),
    ("sampling_error", "standard error of r, a jackknife over 16 groups of documents; null where r needs one of them"),
    ("jaccard", "rows on which both fire over rows on which at least one does"),
    (
        "target_given_source",
        "share of the source's firings on which the target fires; near 1: the source is a part of it",
    ),
    ("source_given_target", "share of the target's firings on which the source fires"),
    ("phi", "Pearson's r of firing or not"),
    (
        "token_correlation",
        "r of the source with the target on the last row of the same token in another document: what the token alone gives; null below 20 given_rows",
    ),
    (
        "within_correlation",
        "r of what is left given the token; null below 20 given_rows, and where the token decides one side alone",
    ),
    ("null_within_correlation", "the same when the target's rows are another document's: its chance level"),
    (
        "token_best_correlation",
        "highest r of the picking latent with any latent on the last row of the same token in another document; rank 1 only, null.given mode full only",
    ),
    (
        "token_p_value",
        "(c + 1) / (n + 1), c of n token_best_correlation among latents that fire about as often reaching this r; likewise",
    ),
];

const N_COUNTS: usize = 3;

impl ListedCells {
    fn counts(&self) -> [Option<u64>; N_COUNTS] {
        [self.counted_rows, self.n_both, self.given_rows]
    }

    fn numbers(&self) -> [Option<f64>; COLUMNS.len() - N_COUNTS] {
        [
            self.sampling_error,
            self.jaccard,
            self.target_given_source,
            self.source_given_target,
            self.phi,
            self.token_correlation,
            self.within_correlation,
            self.null_within_correlation,
            self.token_best_correlation,
            self.token_p_value,
        ]
    }

    pub(super) fn fields() -> impl Iterator<Item = Field> {
        COLUMNS.iter().enumerate().map(|(k, &(name, description))| {
            field(name, if k < N_COUNTS { DataType::UInt64 } else { DataType::Float64 }, true, description)
        })
    }

    pub(super) fn arrays<'a>(rows: impl Iterator<Item = &'a ListedCells> + Clone) -> Vec<ArrayRef> {
        let count = |k: usize| optional::<UInt64Type>(rows.clone().map(move |r| r.counts()[k]));
        let number = |k: usize| optional::<Float64Type>(rows.clone().map(move |r| r.numbers()[k]));
        (0..N_COUNTS).map(count).chain((0..COLUMNS.len() - N_COUNTS).map(number)).collect()
    }

    pub(super) fn from_columns(columns: &Columns<'_>) -> Result<Vec<ListedCells>> {
        let names = COLUMNS.map(|(name, _)| name);
        let counts =
            names[..N_COUNTS].iter().map(|name| columns.numbers::<UInt64Type>(name)).collect::<Result<Vec<_>>>()?;
        let numbers =
            names[N_COUNTS..].iter().map(|name| columns.numbers::<Float64Type>(name)).collect::<Result<Vec<_>>>()?;
        let row = |i: usize| {
            let (count, number) = (|k: usize| at(counts[k], i), |k: usize| at(numbers[k], i));
            ListedCells {
                counted_rows: count(0),
                n_both: count(1),
                given_rows: count(2),
                sampling_error: number(0),
                jaccard: number(1),
                target_given_source: number(2),
                source_given_target: number(3),
                phi: number(4),
                token_correlation: number(5),
                within_correlation: number(6),
                null_within_correlation: number(7),
                token_best_correlation: number(8),
                token_p_value: number(9),
            }
        };
        Ok((0..columns.len()).map(row).collect())
    }
}
