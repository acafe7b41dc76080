//! Columns that come from weights alone: cosines of two latents' rows in `matches`, agreement of whole dictionaries in
//! `pairs`.

use super::column::{Columns, at, field, optional};
use crate::error::Result;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type};

/// A column of numbers: its name, its meaning, and where it is in a row.
pub(super) type Column<T> = (&'static str, &'static str, fn(&mut T) -> &mut Option<f64>);

/// Columns of numbers that may be null, as part of a table's.
pub(super) trait Numbers: Copy + Default + 'static {
    /// The columns, in order.
    const COLUMNS: &'static [Column<Self>];

    /// As the table describes them.
    fn fields() -> impl Iterator<Item = Field> {
        Self::COLUMNS.iter().map(|(name, about, _)| field(name, DataType::Float64, true, about))
    }

    /// Of these rows.
    fn arrays(rows: impl Iterator<Item = Self> + Clone) -> impl Iterator<Item = ArrayRef> {
        Self::COLUMNS
            .iter()
            .map(move |(_, _, number)| optional::<Float64Type>(rows.clone().map(|mut row| *number(&mut row))))
    }

    /// Of every row of a table.
    ///
    /// # Errors
    /// `Input` for a table without one of the columns.
    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>> {
        let mut out = vec![Self::default(); columns.len()];
        for (name, _, number) in Self::COLUMNS {
            let array = columns.numbers::<Float64Type>(name)?;
            out.iter_mut().enumerate().for_each(|(i, row)| *number(row) = at(array, i));
        }
        Ok(out)
    }
}

/// Cosines of two latents' rows, signed; `None` unless both are directions of one space: SAEs of one model, of one width.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowCosines {
    /// Of their decoder rows.
    pub decoder: Option<f64>,
    /// Of their encoder rows.
    pub encoder: Option<f64>,
    /// Of the picker's decoder row, mapped into the other side's activations, with the partner's; `None` without a map.
    pub mapped: Option<f64>,
    /// Correlation of the effects of both decoder rows on the logits; `None` unless asked for.
    pub logits: Option<f64>,
}

impl Numbers for RowCosines {
    const COLUMNS: &'static [Column<Self>] = &[
        (
            "decoder_cosine",
            "cosine of the two decoder rows; null unless both SAEs are of one model and one width",
            |r| &mut r.decoder,
        ),
        (
            "encoder_cosine",
            "cosine of the two encoder rows; null unless both SAEs are of one model and one width",
            |r| &mut r.encoder,
        ),
        (
            "mapped_decoder_cosine",
            "cosine of the picking latent's decoder row, taken into the other side by the least-squares map, with the partner's; null \
             without maps",
            |r| &mut r.mapped,
        ),
        (
            "logit_cosine",
            "correlation over the vocabulary of what both decoder rows do to the logits; null unless asked for, and where that is undefined",
            |r| &mut r.logits,
        ),
    ];
}

/// The cosines of a pair's kept matches where the source picks, and those with another match's partner; `None` without
/// any.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CosineScores {
    /// Their mean.
    pub mean: Option<f64>,
    /// The same with the partners of other kept matches.
    pub null_mean: Option<f64>,
    /// 95 % point of the cosines with such partners.
    pub null_point: Option<f64>,
    /// Share of the matches above it.
    pub share_above: Option<f64>,
}

impl CosineScores {
    /// Of each match's figure and the same with another partner; the point is the lowest of these above which there are at most 5 % of them.
    pub fn of(found: &[f64], null: &[f64]) -> Self {
        let mean = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        let mut sorted = null.to_vec();
        sorted.sort_by(f64::total_cmp);
        let null_point = sorted.len().checked_sub(sorted.len() / 20 + 1).map(|at| sorted[at]);
        let share = |point: f64| found.iter().filter(|&&v| v > point).count() as f64 / found.len() as f64;
        CosineScores {
            mean: mean(found),
            null_mean: mean(null),
            null_point,
            share_above: null_point.filter(|_| !found.is_empty()).map(share),
        }
    }
}

impl Numbers for CosineScores {
    const COLUMNS: &'static [Column<Self>] = &[
        ("mapped_cosine_mean", "mean mapped_decoder_cosine of the kept matches where the source picks", |r| {
            &mut r.mean
        }),
        ("mapped_cosine_null_mean", "the same with the partners of other kept matches: the chance level", |r| {
            &mut r.null_mean
        }),
        ("mapped_cosine_null_point", "95 % point of the cosines with such partners", |r| &mut r.null_point),
        ("mapped_cosine_above", "share of the kept matches above that point; by chance at most 5 %", |r| {
            &mut r.share_above
        }),
    ];
}

/// The same of the effects on the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogitScores(pub CosineScores);

impl Numbers for LogitScores {
    const COLUMNS: &'static [Column<Self>] = &[
        ("logit_cosine_mean", "mean logit_cosine of the kept matches where the source picks", |r| &mut r.0.mean),
        ("logit_cosine_null_mean", "the same with the partners of other kept matches: the chance level", |r| {
            &mut r.0.null_mean
        }),
        ("logit_cosine_null_point", "95 % point of the figures with such partners", |r| &mut r.0.null_point),
        ("logit_cosine_above", "share of the kept matches above that point; by chance at most 5 %", |r| {
            &mut r.0.share_above
        }),
    ];
}

/// How two dictionaries of one model agree, each figure beside the same with the target's coordinates permuted; `None` unless asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DictionaryScores {
    /// Mean cosine over the one-to-one pairing of decoder rows with the largest sum, over the narrower side's latents.
    pub pw_mcc: Option<f64>,
    /// The same by chance.
    pub pw_mcc_null: Option<f64>,
    /// Mean over source latents of their decoder row's highest cosine.
    pub mean_max_forward: Option<f64>,
    /// The same by chance.
    pub mean_max_forward_null: Option<f64>,
    /// Mean over target latents of theirs.
    pub mean_max_backward: Option<f64>,
    /// The same by chance.
    pub mean_max_backward_null: Option<f64>,
    /// Share of the narrower side's latents whose decoder and encoder cosine with their partner in that pairing are both 0.7 or more.
    pub shared: Option<f64>,
    /// The same by chance.
    pub shared_null: Option<f64>,
}

impl Numbers for DictionaryScores {
    const COLUMNS: &'static [Column<Self>] = &[
        (
            "decoder_pw_mcc",
            "mean cosine over the one-to-one pairing of decoder rows (PW-MCC); null unless asked for, within one model",
            |r| &mut r.pw_mcc,
        ),
        ("decoder_pw_mcc_null", "the same with the target's coordinates permuted", |r| &mut r.pw_mcc_null),
        ("decoder_mean_max_forward", "mean over source latents of their decoder row's highest cosine (MMCS)", |r| {
            &mut r.mean_max_forward
        }),
        ("decoder_mean_max_forward_null", "the same with the target's coordinates permuted", |r| {
            &mut r.mean_max_forward_null
        }),
        ("decoder_mean_max_backward", "mean over target latents of theirs", |r| &mut r.mean_max_backward),
        ("decoder_mean_max_backward_null", "the same with the target's coordinates permuted", |r| {
            &mut r.mean_max_backward_null
        }),
        (
            "shared_rows",
            "share of the narrower side's latents whose decoder and encoder cosine in that pairing are both 0.7 or more",
            |r| &mut r.shared,
        ),
        ("shared_rows_null", "the same with the target's coordinates permuted", |r| &mut r.shared_null),
    ];
}
