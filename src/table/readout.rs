//! `readout`: can the other model's activations tell a latent, whether or not its SAE has one like it?

use super::column::{Columns, at, field, numbers, optional, texts};
use super::row::{SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::weights::{Column, Numbers};
use crate::error::Result;
use crate::matching::Direction;
use arrow::array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One latent of one side of a pair, read out of the other side's activations.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadoutRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// Forward: a latent of the source.
    pub direction: Direction,
    /// The latent.
    pub latent: u32,
    /// Its best partner.
    pub partner: Option<u32>,
    /// What is found.
    pub found: ReadoutNumbers,
    /// In a word; `None` where R² or its chance is undefined.
    pub verdict: Option<Verdict>,
    /// Whether the best match that chance gives it would be called matched, or dropped; `None` where chance is unknown.
    pub by_chance: Option<[bool; 2]>,
}

/// What is found of one latent; `None` where undefined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReadoutNumbers {
    /// Correlation with its best partner.
    pub r_best: Option<f64>,
    /// Cross-validated R² of the best linear prediction.
    pub r_squared: Option<f64>,
    /// The same of rows of other documents.
    pub null: Option<f64>,
    /// 95 % point of the latents that fire about as often.
    pub chance_point: Option<f64>,
    /// Share of their nulls that reach R², itself counted in.
    pub p_value: Option<f64>,
    /// The p-value adjusted over the pair and direction.
    pub q_value: Option<f64>,
    /// Length of the transferred direction.
    pub norm: Option<f64>,
    /// Latent scaling β with the best partner's decoder row.
    pub scaling: Option<f64>,
    /// Cosine of the transferred direction with the best partner's decoder row.
    pub cosine: Option<f64>,
    /// The same with another latent's best partner.
    pub cosine_null: Option<f64>,
}

impl Numbers for ReadoutNumbers {
    const COLUMNS: &'static [Column<Self>] = &[
        ("r_best", "Pearson's r with the best partner; null where undefined", |r| &mut r.r_best),
        (
            "readout_r2",
            "R² of the best linear prediction from the other side's activations, fitted on one half of the documents and judged on \
             the other, both ways; below 0 where it is worse than the mean",
            |r| &mut r.r_squared,
        ),
        ("null_r2", "the same when the activations are another document's: the chance level", |r| &mut r.null),
        ("chance_point", "95 % point of the chance levels among latents that fire about as often", |r| {
            &mut r.chance_point
        }),
        ("p_value", "(c + 1) / (n + 1), c of n such chance levels reaching readout_r2", |r| &mut r.p_value),
        ("q_value", "false-discovery rate (Benjamini-Hochberg) over the pair and direction", |r| &mut r.q_value),
        (
            "direction_norm",
            "length of the transferred direction: change of the activations per unit of the latent",
            |r| &mut r.norm,
        ),
        (
            "latent_scaling",
            "β: by how much the best partner's decoder row is to be scaled to fit the latent's activations",
            |r| &mut r.scaling,
        ),
        ("direction_cosine", "cosine of the transferred direction with the best partner's decoder row", |r| {
            &mut r.cosine
        }),
        ("direction_cosine_null", "the same with the best partner of another latent", |r| &mut r.cosine_null),
    ];
}

/// What R² and matches together say of a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The other SAE has it.
    Matched,
    /// The other SAE has one like it, but the filters drop the match.
    Dropped,
    /// The other model has it, its SAE has no such latent.
    Readable,
    /// A little of it can be read, more than chance gives.
    Faint,
    /// No more can be read than chance gives.
    Absent,
}

/// R² from which an unmatched latent is readable: the square of an r of 0.5.
pub const READABLE: f64 = 0.25;

/// Verdicts by a match, which chance gives too.
const BY_CHANCE: [Verdict; 2] = [Verdict::Matched, Verdict::Dropped];

impl Verdict {
    /// Every one, the best first.
    pub const ALL: [Verdict; 5] =
        [Verdict::Matched, Verdict::Dropped, Verdict::Readable, Verdict::Faint, Verdict::Absent];

    /// Of a latent without a strong match, by R² and the chance point of latents that fire about as often; below 0 nothing can be read.
    pub fn unmatched(r_squared: f64, point: f64) -> Verdict {
        match () {
            () if r_squared <= point.max(0.0) => Verdict::Absent,
            () if r_squared >= READABLE => Verdict::Readable,
            () => Verdict::Faint,
        }
    }

    /// The word and what it means, in short pieces.
    pub fn in_words(self) -> &'static [&'static str] {
        match self {
            Verdict::Matched => &["matched", "the other SAE has it"],
            Verdict::Dropped => &["the other SAE has one like it", "whose match is dropped"],
            Verdict::Readable => &["readable", "the other model has it", "its SAE has no such latent"],
            Verdict::Faint => &["faint", "a little can be read"],
            Verdict::Absent => &["absent", "no more than chance gives"],
        }
    }

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Matched => "matched",
            Verdict::Dropped => "dropped",
            Verdict::Readable => "readable",
            Verdict::Faint => "faint",
            Verdict::Absent => "absent",
        }
    }
}

impl TableRow for ReadoutRow {
    type Shape = ();
    const TABLE: &'static str = "readout";
    const ABOUT: &'static str =
        "Every latent read out of the other side's raw activations: forward rows, then backward rows, each by latent.";
    const KEY: &'static [&'static str] =
        &["source_model", "source_hookpoint", "target_model", "target_hookpoint", "direction", "latent"];

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field(
                "direction",
                DataType::Utf8,
                false,
                "forward: a latent of the source, out of the target's activations; backward: the other way",
            ),
            field("latent", DataType::UInt32, false, "the latent that is read out"),
            field("partner", DataType::UInt32, true, "its best partner; null without one"),
        ]);
        fields.extend(ReadoutNumbers::fields());
        fields.push(field(
            "verdict",
            DataType::Utf8,
            true,
            "matched, dropped (the SAE has one like it, the filters drop the match), readable (the model has it, its SAE does not), faint, absent; null where R² or its chance is undefined",
        ));
        for verdict in BY_CHANCE {
            let about = format!(
                "whether the best match in the null (the target's rows are another document's) would be called {}; null where chance is unknown",
                verdict.as_str()
            );
            fields.push(field(&format!("{}_by_chance", verdict.as_str()), DataType::Boolean, true, &about));
        }
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            texts(rows.iter().map(|r| r.direction.as_str())),
            numbers::<UInt32Type>(rows.iter().map(|r| r.latent)),
            optional::<UInt32Type>(rows.iter().map(|r| r.partner)),
        ]);
        arrays.extend(ReadoutNumbers::arrays(rows.iter().map(|r| r.found)));
        arrays.push(Arc::new(rows.iter().map(|r| r.verdict.map(Verdict::as_str)).collect::<StringArray>()));
        for k in 0..BY_CHANCE.len() {
            arrays.push(Arc::new(rows.iter().map(|r| r.by_chance.map(|of| of[k])).collect::<BooleanArray>()));
        }
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let (latent, partner) = (columns.numbers::<UInt32Type>("latent")?, columns.numbers::<UInt32Type>("partner")?);
        let (direction, verdict) = (columns.texts("direction")?, columns.texts("verdict")?);
        let [matched, dropped] = [columns.flags("matched_by_chance")?, columns.flags("dropped_by_chance")?];
        let found = ReadoutNumbers::from_columns(columns)?;
        let row = |(i, pair)| {
            let named = Verdict::ALL.into_iter().find(|v| verdict.is_valid(i) && v.as_str() == verdict.value(i));
            if verdict.is_valid(i) && named.is_none() {
                return Err(columns.wrong("verdict", &format!("holds {:?}", verdict.value(i))));
            }
            let direction = match direction.value(i) {
                "forward" => Direction::Forward,
                "backward" => Direction::Backward,
                other => {
                    return Err(columns.wrong("direction", &format!("holds {other:?}, expected forward or backward")));
                }
            };
            Ok(ReadoutRow {
                pair,
                direction,
                latent: latent.value(i),
                partner: at(partner, i),
                found: found[i],
                verdict: named,
                by_chance: (matched.is_valid(i) && dropped.is_valid(i)).then(|| [matched.value(i), dropped.value(i)]),
            })
        };
        pairs.into_iter().enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        self.pair.cmp(&other.pair).then_with(|| (self.direction, self.latent).cmp(&(other.direction, other.latent)))
    }

    fn name(&self) -> String {
        format!("{} {} latent {}", self.pair, self.direction.as_str(), self.latent)
    }
}
