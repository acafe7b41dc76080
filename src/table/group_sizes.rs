//! `group_sizes`: how many groups there are of so many models and places, beside chance. `cycles`: how many latents return to themselves
//! over three places, beside chance.

use super::column::{Columns, at, field, numbers, optional, texts};
use super::row::TableRow;
use crate::error::Result;
use crate::ids::Site;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::cmp::Reverse;
use std::sync::Arc;

/// Groups of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSizeRow {
    /// Different models of the group.
    pub models: u32,
    /// Different places: members.
    pub places: u32,
    /// Groups with so many.
    pub groups: u64,
    /// The same by chance; `None` where a pair has no chance level.
    pub null_groups: Option<u64>,
    /// Those of them in which a match joins each two models, or places in a group of one model.
    pub complete: u64,
    /// The same by chance.
    pub null_complete: Option<u64>,
}

impl TableRow for GroupSizeRow {
    type Shape = ();
    const TABLE: &'static str = "group_sizes";
    const ABOUT: &'static str = "How many groups of latents there are of each size, beside what chance gives.";
    const KEY: &'static [&'static str] = &["models", "places"];

    fn fields((): &()) -> Vec<Field> {
        vec![
            field("models", DataType::UInt32, false, "different models of a group"),
            field("places", DataType::UInt32, false, "different places of a group, which is its size"),
            field("groups", DataType::UInt64, false, "groups with so many, whatever their kind"),
            field(
                "null_groups",
                DataType::UInt64,
                true,
                "the same of the graph whose matches are those of another document's rows: what chance gives",
            ),
            field(
                "complete",
                DataType::UInt64,
                false,
                "those in which a kept mutual match joins each two models (places in a group of one model)",
            ),
            field("null_complete", DataType::UInt64, true, "the same by chance"),
        ]
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        vec![
            numbers::<UInt32Type>(rows.iter().map(|r| r.models)),
            numbers::<UInt32Type>(rows.iter().map(|r| r.places)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.groups)),
            optional::<UInt64Type>(rows.iter().map(|r| r.null_groups)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.complete)),
            optional::<UInt64Type>(rows.iter().map(|r| r.null_complete)),
        ]
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let size = |name: &str| columns.numbers::<UInt32Type>(name);
        let count = |name: &str| columns.numbers::<UInt64Type>(name);
        let (models, places) = (size("models")?, size("places")?);
        let (groups, null_groups) = (count("groups")?, count("null_groups")?);
        let (complete, null_complete) = (count("complete")?, count("null_complete")?);
        let row = |i: usize| GroupSizeRow {
            models: models.value(i),
            places: places.value(i),
            groups: groups.value(i),
            null_groups: at(null_groups, i),
            complete: complete.value(i),
            null_complete: at(null_complete, i),
        };
        Ok((0..columns.len()).map(row).collect())
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (Reverse(r.models), Reverse(r.places));
        key(self).cmp(&key(other))
    }

    fn name(&self) -> String {
        format!("{} models {} places", self.models, self.places)
    }
}

/// One way round three places.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleRow {
    /// The three places in the order in which they are gone through, the first lowest.
    pub sites: [Arc<Site>; 3],
    /// Latents of the first from which the way leads all round.
    pub latents: u64,
    /// Those that it leads back to.
    pub returned: u64,
    /// The same over best partners by chance; `None` where a pair has no chance level.
    pub null_latents: Option<u64>,
    /// Those that return by chance.
    pub null_returned: Option<u64>,
}

/// Share of `returned` in `latents`; `None` of none.
fn share(latents: u64, returned: u64) -> Option<f64> {
    (latents > 0).then(|| returned as f64 / latents as f64)
}

impl CycleRow {
    /// Share that returns; `None` where no way leads round.
    pub fn share(&self) -> Option<f64> {
        share(self.latents, self.returned)
    }

    /// The same by chance.
    pub fn null_share(&self) -> Option<f64> {
        share(self.null_latents?, self.null_returned?)
    }
}

const SITES: [[&str; 2]; 3] =
    [["first_model", "first_hookpoint"], ["second_model", "second_hookpoint"], ["third_model", "third_hookpoint"]];

impl TableRow for CycleRow {
    type Shape = ();
    const TABLE: &'static str = "cycles";
    const ABOUT: &'static str =
        "Latents that return to themselves over the best partners of three places, without any filter, beside chance.";
    const KEY: &'static [&'static str] =
        &["first_model", "first_hookpoint", "second_model", "second_hookpoint", "third_model", "third_hookpoint"];

    fn fields((): &()) -> Vec<Field> {
        let whats = ["place where the way begins and ends", "place gone through second", "place gone through third"];
        let mut fields: Vec<Field> = Vec::new();
        for ([model, hookpoint], what) in SITES.iter().zip(whats) {
            fields.push(field(model, DataType::Utf8, false, &format!("model of the {what}")));
            fields.push(field(hookpoint, DataType::Utf8, false, &format!("hookpoint of the {what}")));
        }
        let chance = "the same over best partners by chance";
        fields.extend([
            field(
                "latents",
                DataType::UInt64,
                false,
                "latents of the first place from which best partners lead all round",
            ),
            field("returned", DataType::UInt64, false, "those of them that they lead back to"),
            field("share", DataType::Float64, true, "returned over latents"),
            field("null_latents", DataType::UInt64, true, chance),
            field("null_returned", DataType::UInt64, true, chance),
            field("null_share", DataType::Float64, true, chance),
        ]);
        fields
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let mut arrays = Vec::new();
        for k in 0..3 {
            arrays.push(texts(rows.iter().map(|r| r.sites[k].model.as_str())));
            arrays.push(texts(rows.iter().map(|r| r.sites[k].place())));
        }
        arrays.extend([
            numbers::<UInt64Type>(rows.iter().map(|r| r.latents)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.returned)),
            optional::<Float64Type>(rows.iter().map(CycleRow::share)),
            optional::<UInt64Type>(rows.iter().map(|r| r.null_latents)),
            optional::<UInt64Type>(rows.iter().map(|r| r.null_returned)),
            optional::<Float64Type>(rows.iter().map(CycleRow::null_share)),
        ]);
        arrays
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let [first, second, third] = SITES.map(|[model, hookpoint]| columns.sites(model, hookpoint));
        let (first, second, third) = (first?, second?, third?);
        let count = |name: &str| columns.numbers::<UInt64Type>(name);
        let (latents, returned) = (count("latents")?, count("returned")?);
        let (null_latents, null_returned) = (count("null_latents")?, count("null_returned")?);
        let row = |i: usize| CycleRow {
            sites: [first[i].clone(), second[i].clone(), third[i].clone()],
            latents: latents.value(i),
            returned: returned.value(i),
            null_latents: at(null_latents, i),
            null_returned: at(null_returned, i),
        };
        Ok((0..columns.len()).map(row).collect())
    }

    fn order(&self, other: &Self) -> Ordering {
        self.sites.cmp(&other.sites)
    }

    fn name(&self) -> String {
        self.sites.iter().map(|s| s.to_string()).collect::<Vec<String>>().join(" → ")
    }
}
