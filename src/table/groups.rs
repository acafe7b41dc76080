//! `groups`: latents of several places that are one feature, a row per member.

use super::column::{Columns, at, field, flags, numbers, optional, texts};
use super::row::TableRow;
use crate::error::Result;
use crate::ids::Site;
use crate::matching::groups::GroupKind;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema, UInt32Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// A member of a group, with what is known of the group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Number of the group, from 1; those of the most models come first, then those of the highest `min_correlation`.
    pub group: u32,
    /// Its members.
    pub size: u32,
    /// Different models among them.
    pub models: u32,
    /// Its form.
    pub kind: GroupKind,
    /// Pairs of its models that a kept mutual match joins; pairs of places in a group of one model.
    pub edges: u32,
    /// Pairs of its models, or places, that the run compares.
    pub edges_possible: u32,
    /// Lowest correlation over these edges, each with its best match.
    pub min_correlation: f64,
    /// Their mean.
    pub mean_correlation: f64,
    /// Lowest correlation given the token over the same matches; `None` where one of them has none.
    pub min_within: Option<f64>,
    /// Where the member lives.
    pub site: Arc<Site>,
    /// Its number there.
    pub latent: u32,
    /// Share of rows on which it fired.
    pub frequency: f64,
    /// Its matches in the group.
    pub degree: u32,
    /// It stands for its model.
    pub best: bool,
    /// Its different strongest tokens, strongest first.
    pub top: Vec<String>,
    /// Models of the run that are not in the group, by name. The same for all members.
    pub missing: Vec<Missing>,
}

/// A model that is not in a group, and its latent that comes closest; `None` where no place of it is compared with a member's.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    /// The model.
    pub model: String,
    /// Place of the closest latent.
    pub hookpoint: Option<String>,
    /// The latent: some member's best partner there.
    pub latent: Option<u32>,
    /// Its correlation with that member.
    pub correlation: Option<f64>,
    /// Highest cross-validated R² of a member read out of the activations of a place of the model; `None` where nothing was read out.
    pub readout_r2: Option<f64>,
    /// The chance point of that reading.
    pub readout_point: Option<f64>,
}

impl TableRow for GroupRow {
    type Shape = ();
    const TABLE: &'static str = "groups";
    const ABOUT: &'static str =
        "Latents of several places that kept mutual matches join: one row per member, groups of the most models first.";
    const KEY: &'static [&'static str] = &["model", "hookpoint", "latent"];

    fn fields((): &()) -> Vec<Field> {
        let count = |name: &str, description: &str| field(name, DataType::UInt32, false, description);
        let number = |name: &str, description: &str| field(name, DataType::Float64, false, description);
        vec![
            count("group", "number of the group, from 1: most models first, then highest min_correlation"),
            count("size", "members of the group, at most one of each place"),
            count("models", "different models among them"),
            field(
                "kind",
                DataType::Utf8,
                false,
                "clique: a kept mutual match joins each two of its models; chain: it does not; conflict: a piece that agrees, cut out of latents of which two are of one place",
            ),
            count(
                "edges",
                "pairs of its models that a kept mutual match joins; pairs of places in a group of one model",
            ),
            count("edges_possible", "pairs of its models (or places) that the run compares"),
            number(
                "min_correlation",
                "lowest r over these edges; of two models with several matches the highest counts",
            ),
            number("mean_correlation", "mean r over the same"),
            field(
                "min_within",
                DataType::Float64,
                true,
                "lowest within_correlation over the same; null where one of them has none",
            ),
            field("model", DataType::Utf8, false, "model of the member, by its name in the dataflow file"),
            field("hookpoint", DataType::Utf8, false, "where in the model the member lives"),
            count("latent", "number of the latent in its SAE, or of the hookpoint's dimension, from 0"),
            number("frequency", "share of rows on which it fired"),
            count("degree", "kept mutual matches of the member in its group"),
            field(
                "best",
                DataType::Boolean,
                false,
                "it stands for its model: its r with members of other models have the largest sum among the model's members",
            ),
            field("top", DataType::List(top_element()), false, "its different strongest tokens, strongest first"),
            field(
                "missing",
                DataType::List(missing_element()),
                false,
                "models that are not in the group: model, and of its latent that is closest to a member hookpoint, latent and correlation; null where it is not compared. readout_r2: the highest R² of a member read out of the model's activations, and the chance_point of that reading; null where nothing was read out",
            ),
        ]
    }

    fn arrays(rows: &[Self], (): &()) -> Vec<ArrayRef> {
        let count = |of: fn(&Self) -> u32| numbers::<UInt32Type>(rows.iter().map(of));
        let number = |of: fn(&Self) -> f64| numbers::<Float64Type>(rows.iter().map(of));
        vec![
            count(|r| r.group),
            count(|r| r.size),
            count(|r| r.models),
            texts(rows.iter().map(|r| r.kind.as_str())),
            count(|r| r.edges),
            count(|r| r.edges_possible),
            number(|r| r.min_correlation),
            number(|r| r.mean_correlation),
            optional::<Float64Type>(rows.iter().map(|r| r.min_within)),
            texts(rows.iter().map(|r| r.site.model.as_str())),
            texts(rows.iter().map(|r| r.site.place())),
            count(|r| r.latent),
            number(|r| r.frequency),
            count(|r| r.degree),
            flags(rows.iter().map(|r| r.best)),
            top_array(rows),
            missing_array(rows),
        ]
    }

    fn shape(_: &Schema) {}

    fn from_columns(columns: &Columns<'_>, (): &()) -> Result<Vec<Self>> {
        let sites = columns.sites("model", "hookpoint")?;
        let count = |name: &str| columns.numbers::<UInt32Type>(name);
        let number = |name: &str| columns.numbers::<Float64Type>(name);
        let (group, size, models, latent) = (count("group")?, count("size")?, count("models")?, count("latent")?);
        let (edges, edges_possible, degree) = (count("edges")?, count("edges_possible")?, count("degree")?);
        let (min, mean, frequency) = (number("min_correlation")?, number("mean_correlation")?, number("frequency")?);
        let within = number("min_within")?;
        let (kind, best) = (columns.texts("kind")?, columns.flags("best")?);
        let (tops, missing) = (tops(columns)?, missing(columns)?);
        let row = |(i, (site, (top, missing)))| {
            Ok(GroupRow {
                group: group.value(i),
                size: size.value(i),
                models: models.value(i),
                kind: GroupKind::from_name(kind.value(i)).ok_or_else(|| {
                    columns.wrong("kind", &format!("holds {:?}, expected clique, chain or conflict", kind.value(i)))
                })?,
                edges: edges.value(i),
                edges_possible: edges_possible.value(i),
                min_correlation: min.value(i),
                mean_correlation: mean.value(i),
                min_within: at(within, i),
                site,
                latent: latent.value(i),
                frequency: frequency.value(i),
                degree: degree.value(i),
                best: best.value(i),
                top,
                missing,
            })
        };
        sites.into_iter().zip(tops.into_iter().zip(missing)).enumerate().map(row).collect()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |r: &Self| (r.group, r.site.clone(), r.latent);
        key(self).cmp(&key(other))
    }

    fn name(&self) -> String {
        format!("group {} {}/{}", self.group, self.site, self.latent)
    }
}

/// `element` is the name that the Parquet format asks for inside lists.
fn top_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, false))
}

fn missing_fields() -> Fields {
    Fields::from(vec![
        Field::new("model", DataType::Utf8, false),
        Field::new("hookpoint", DataType::Utf8, true),
        Field::new("latent", DataType::UInt32, true),
        Field::new("correlation", DataType::Float64, true),
        Field::new("readout_r2", DataType::Float64, true),
        Field::new("chance_point", DataType::Float64, true),
    ])
}

fn missing_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(missing_fields()), false))
}

fn top_array(rows: &[GroupRow]) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.top.len()));
    Arc::new(ListArray::new(top_element(), offsets, texts(rows.iter().flat_map(|r| &r.top)), None))
}

fn missing_array(rows: &[GroupRow]) -> ArrayRef {
    let all = || rows.iter().flat_map(|r| &r.missing);
    let values: Vec<ArrayRef> = vec![
        texts(all().map(|m| m.model.as_str())),
        Arc::new(all().map(|m| m.hookpoint.as_deref()).collect::<StringArray>()),
        optional::<UInt32Type>(all().map(|m| m.latent)),
        optional::<Float64Type>(all().map(|m| m.correlation)),
        optional::<Float64Type>(all().map(|m| m.readout_r2)),
        optional::<Float64Type>(all().map(|m| m.readout_point)),
    ];
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.missing.len()));
    Arc::new(ListArray::new(
        missing_element(),
        offsets,
        Arc::new(StructArray::new(missing_fields(), values, None)),
        None,
    ))
}

/// The list column `name`, and what its elements are of.
fn list<'a>(columns: &Columns<'a>, name: &str, element: Arc<Field>) -> Result<&'a ListArray> {
    let array = columns.array(name)?;
    let kind = DataType::List(element).to_string();
    array.as_list_opt::<i32>().ok_or_else(|| columns.wrong_type(name, array, &kind))
}

fn ranges(list: &ListArray) -> impl Iterator<Item = std::ops::Range<usize>> {
    list.value_offsets().windows(2).map(|w| w[0] as usize..w[1] as usize)
}

fn tops(columns: &Columns<'_>) -> Result<Vec<Vec<String>>> {
    let list = list(columns, "top", top_element())?;
    let texts = list.values().as_string_opt::<i32>().ok_or_else(|| columns.wrong("top", "is no list of texts"))?;
    Ok(ranges(list).map(|range| range.map(|k| texts.value(k).to_string()).collect()).collect())
}

fn missing(columns: &Columns<'_>) -> Result<Vec<Vec<Missing>>> {
    let list = list(columns, "missing", missing_element())?;
    let wrong =
        || columns.wrong("missing", "is no list of model, hookpoint, latent, correlation, readout_r2, chance_point");
    let values = list.values().as_struct_opt().ok_or_else(wrong)?;
    let text = |name: &str| values.column_by_name(name).and_then(|a| a.as_string_opt::<i32>()).ok_or_else(wrong);
    let (model, hookpoint) = (text("model")?, text("hookpoint")?);
    let latent = values.column_by_name("latent").and_then(|a| a.as_primitive_opt::<UInt32Type>()).ok_or_else(wrong)?;
    let number =
        |name: &str| values.column_by_name(name).and_then(|a| a.as_primitive_opt::<Float64Type>()).ok_or_else(wrong);
    let (correlation, r2, point) = (number("correlation")?, number("readout_r2")?, number("chance_point")?);
    let one = |k: usize| Missing {
        model: model.value(k).to_string(),
        hookpoint: hookpoint.is_valid(k).then(|| hookpoint.value(k).to_string()),
        latent: at(latent, k),
        correlation: at(correlation, k),
        readout_r2: at(r2, k),
        readout_point: at(point, k),
    };
    Ok(ranges(list).map(|range| range.map(one).collect()).collect())
}
