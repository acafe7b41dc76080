//! `pairs`: what is known of each pair as a whole, every count with its chance, and whether there is enough text.

use super::column::{Columns, at, field, flags, numbers, optional};
use super::counts::PairCounts;
use super::row::{PAIR_KEY, SitePair, TableRow, pair_arrays, pair_fields, pairs};
use super::weights::{CosineScores, DictionaryScores, LogitScores, Numbers};
use crate::error::Result;
use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// One pair at the last snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRow {
    /// The two places.
    pub pair: Arc<SitePair>,
    /// Rows (tokens) counted.
    pub tokens: u64,
    /// Documents that they are of.
    pub documents: u64,
    /// Share of rows that are paired with their own document where the chance level is counted; `None` before the first row.
    pub own_document_share: Option<f64>,
    /// Why there is too little text, in words; `None` where there is enough.
    pub too_few: Option<String>,
    /// Why there is no chance level, in words; `None` where there is one.
    pub no_chance: Option<String>,
    /// Both sides are one SAE: scores of its decoder rows mean nothing.
    pub one_decoder: bool,
    /// Source latents whose best partner is themselves; `None` unless both sides are one SAE.
    pub n_own_partner: Option<u64>,
    /// The same by chance.
    pub n_own_partner_null: Option<u64>,
    /// Latents of the source.
    pub n_latents_source: u64,
    /// Latents of the target.
    pub n_latents_target: u64,
    /// Counts with their chance.
    pub counts: PairCounts,
    /// How two dictionaries of one model agree.
    pub dictionary: DictionaryScores,
    /// How decoder rows of kept matches agree under the map between the two places.
    pub mapped: CosineScores,
    /// How their effects on the logits agree.
    pub logits: LogitScores,
}

impl TableRow for PairRow {
    type Shape = ();
    const TABLE: &'static str = "pairs";
    const ABOUT: &'static str = "Every pair as a whole: counts of its matches, each beside what chance gives, and whether there is enough \
                                 text to tell.";
    const KEY: &'static [&'static str] = &PAIR_KEY;

    fn fields((): &()) -> Vec<Field> {
        let mut fields = pair_fields();
        fields.extend([
            field("tokens", DataType::UInt64, false, "rows (tokens) counted"),
            field("documents", DataType::UInt64, false, "documents that they are of"),
            field(
                "own_document_share",
                DataType::Float64,
                true,
                "share of rows beside their own document where the chance level is counted; above 0.5 it is too high",
            ),
            field("too_few", DataType::Utf8, true, "why the figures say too little; null where there is enough text"),
            field("no_chance", DataType::Utf8, true, "why there is no chance level; null where there is one"),
            field(
                "one_decoder",
                DataType::Boolean,
                false,
                "both sides are one SAE: scores of its decoder rows say nothing",
            ),
            field(
                "n_own_partner",
                DataType::UInt64,
                true,
                "source latents whose best partner is themselves; null unless both sides are one SAE",
            ),
            field(
                "n_own_partner_null",
                DataType::UInt64,
                true,
                "the same when the target's rows are another document's: what chance gives",
            ),
            field("n_latents_source", DataType::UInt64, false, "latents of the source"),
            field("n_latents_target", DataType::UInt64, false, "latents of the target"),
        ]);
        fields.extend(PairCounts::fields());
        fields.extend(DictionaryScores::fields());
        fields.extend(CosineScores::fields());
        fields.extend(LogitScores::fields());
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let words = |of: fn(&Self) -> Option<&str>| Arc::new(rows.iter().map(of).collect::<StringArray>()) as ArrayRef;
        let mut arrays = pair_arrays(rows.iter().map(|r| r.pair.as_ref()));
        arrays.extend([
            numbers::<UInt64Type>(rows.iter().map(|r| r.tokens)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.documents)),
            optional::<Float64Type>(rows.iter().map(|r| r.own_document_share)),
            words(|r| r.too_few.as_deref()),
            words(|r| r.no_chance.as_deref()),
            flags(rows.iter().map(|r| r.one_decoder)),
            optional::<UInt64Type>(rows.iter().map(|r| r.n_own_partner)),
            optional::<UInt64Type>(rows.iter().map(|r| r.n_own_partner_null)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_latents_source)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_latents_target)),
        ]);
        arrays.extend(PairCounts::arrays(rows.iter().map(|r| &r.counts)));
        arrays.extend(DictionaryScores::arrays(rows.iter().map(|r| r.dictionary)));
        arrays.extend(CosineScores::arrays(rows.iter().map(|r| r.mapped)));
        arrays.extend(LogitScores::arrays(rows.iter().map(|r| r.logits)));
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let pairs = pairs(columns)?;
        let count = |name: &str| columns.numbers::<UInt64Type>(name);
        let (tokens, documents) = (count("tokens")?, count("documents")?);
        let (n_source, n_target) = (count("n_latents_source")?, count("n_latents_target")?);
        let one_decoder = columns.flags("one_decoder")?;
        let (own, own_null) = (count("n_own_partner")?, count("n_own_partner_null")?);
        let share = columns.numbers::<Float64Type>("own_document_share")?;
        let (too_few, no_chance) = (columns.texts("too_few")?, columns.texts("no_chance")?);
        let text = |array: &StringArray, i: usize| array.is_valid(i).then(|| array.value(i).to_string());
        let counts = PairCounts::from_columns(columns)?;
        let dictionaries = DictionaryScores::from_columns(columns)?;
        let mapped = CosineScores::from_columns(columns)?;
        let logits = LogitScores::from_columns(columns)?;
        let row = |(i, (pair, counts))| PairRow {
            pair,
            tokens: tokens.value(i),
            documents: documents.value(i),
            own_document_share: at(share, i),
            too_few: text(too_few, i),
            no_chance: text(no_chance, i),
            one_decoder: one_decoder.value(i),
            n_own_partner: at(own, i),
            n_own_partner_null: at(own_null, i),
            n_latents_source: n_source.value(i),
            n_latents_target: n_target.value(i),
            counts,
            dictionary: dictionaries[i],
            mapped: mapped[i],
            logits: logits[i],
        };
        Ok(pairs.into_iter().zip(counts).enumerate().map(row).collect())
    }

    fn order(&self, other: &Self) -> Ordering {
        self.pair.cmp(&other.pair)
    }

    fn name(&self) -> String {
        self.pair.to_string()
    }
}
