//! `latents`: one row per latent of every SAE.

use super::column::{Columns, at, field, flags, numbers, optional, texts};
use super::row::TableRow;
use crate::error::Result;
use crate::ids::Site;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Float32Type, Float64Type, Schema, UInt32Type, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// What was seen of one latent. Statistics are over all counted rows, the zeros where it did not fire included.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentRow {
    /// Where it lives.
    pub site: Arc<Site>,
    /// Its number in the SAE, or that of the hookpoint's dimension, from 0.
    pub latent: u32,
    /// Rows on which it fired (activation not 0).
    pub n_active: u64,
    /// `n_active` over the rows counted.
    pub frequency: f64,
    /// Mean activation.
    pub mean: f64,
    /// Population standard deviation (divided by N, ddof = 0).
    pub std: f64,
    /// Largest activation; `None` where it never fired.
    pub max: Option<f32>,
    /// It fired at least once.
    pub alive: bool,
    /// Documents in which it fired.
    pub documents: u64,
    /// Firings on rows whose token came before in another document; `None` where that is not looked at.
    pub given_rows: Option<u64>,
    /// Correlation of its activation with that on such a row: the share of its variance that the token explains.
    pub token_share: Option<f64>,
    /// Its top-activating tokens, highest activation first; ties in corpus order.
    pub top: Vec<TopTokenCell>,
    /// The semantic categories that it belongs to, in order of name; `None` where the dataflow file names none.
    pub categories: Option<Vec<String>>,
    /// Firings per label, one entry per [`LabelColumn`] of the table; `None` where no row bore the label.
    pub labels: Vec<Option<LabelSum>>,
}

/// One of the top-activating tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TopTokenCell {
    /// The token as text.
    pub token: String,
    /// Activation there.
    pub value: f32,
    /// The text around it.
    pub context: String,
    /// The document it is from.
    pub document: String,
}

/// A value of a label field, as `lang` = `de`; it makes two columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelColumn {
    /// Name of the field in the corpus.
    pub field: String,
    /// Its value.
    pub value: String,
}

/// Firings on rows of one label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelSum {
    /// Rows on which the latent fired.
    pub n_active: u64,
    /// Sum of its activations there.
    pub sum: f64,
}

const LABEL_FIELD: &str = "label_field";
const LABEL_VALUE: &str = "label_value";

impl LabelColumn {
    fn names(&self) -> [String; 2] {
        ["n_active", "sum"].map(|what| format!("label.{}.{}.{what}", self.field, self.value))
    }
}

impl TableRow for LatentRow {
    type Shape = Vec<LabelColumn>;
    const TABLE: &'static str = "latents";
    const ABOUT: &'static str =
        "Activation statistics of every SAE latent over the rows (tokens) counted, with its strongest tokens.";
    const KEY: &'static [&'static str] = &["model", "hookpoint", "latent"];

    fn fields(shape: &Self::Shape) -> Vec<Field> {
        let mut fields = vec![
            field("model", DataType::Utf8, false, "model by its name in the dataflow file"),
            field("hookpoint", DataType::Utf8, false, "where in the model the latents live, for example resid_post.3"),
            field(
                "latent",
                DataType::UInt32,
                false,
                "number of the latent in its SAE, or of the hookpoint's dimension, from 0",
            ),
            field("n_active", DataType::UInt64, false, "rows on which it fired (activation not 0)"),
            field("frequency", DataType::Float64, false, "n_active over the rows counted"),
            field("mean", DataType::Float64, false, "mean activation over all rows, zeros included"),
            field(
                "std",
                DataType::Float64,
                false,
                "population standard deviation over all rows (ddof = 0), zeros included",
            ),
            field("max", DataType::Float32, true, "largest activation; null where it never fired"),
            field("alive", DataType::Boolean, false, "it fired at least once"),
            field("documents", DataType::UInt64, false, "documents in which it fired"),
            field(
                "given_rows",
                DataType::UInt64,
                true,
                "firings on rows whose key (null.given: the token) came before in another document; null where not looked at",
            ),
            field(
                "token_share",
                DataType::Float64,
                true,
                "r of its activation with that on the last row of the same token in another document: the share of its variance that the token explains; null below 20 given_rows",
            ),
            field(
                "top",
                top_type(),
                false,
                "strongest tokens, strongest first: token, value (activation), context, document",
            ),
            field(
                "categories",
                DataType::List(category_element()),
                true,
                "semantic categories that its strongest tokens put it in; null where the dataflow file names none",
            ),
        ];
        for label in shape {
            let kinds = [
                (DataType::UInt64, "rows with it on which the latent fired"),
                (DataType::Float64, "sum of its activations on them"),
            ];
            for (name, (kind, what)) in label.names().iter().zip(kinds) {
                let description =
                    format!("label {} = {}: {what}; null where no row bears it", label.field, label.value);
                let mut labelled = field(name, kind, true, &description);
                let mut metadata = labelled.metadata().clone();
                metadata.insert(LABEL_FIELD.to_string(), label.field.clone());
                metadata.insert(LABEL_VALUE.to_string(), label.value.clone());
                labelled.set_metadata(metadata);
                fields.push(labelled);
            }
        }
        fields
    }

    fn arrays(rows: &[Self], shape: &Self::Shape) -> Vec<ArrayRef> {
        let mut arrays = vec![
            texts(rows.iter().map(|r| r.site.model.as_str())),
            texts(rows.iter().map(|r| r.site.place())),
            numbers::<UInt32Type>(rows.iter().map(|r| r.latent)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.n_active)),
            numbers::<Float64Type>(rows.iter().map(|r| r.frequency)),
            numbers::<Float64Type>(rows.iter().map(|r| r.mean)),
            numbers::<Float64Type>(rows.iter().map(|r| r.std)),
            optional::<Float32Type>(rows.iter().map(|r| r.max)),
            flags(rows.iter().map(|r| r.alive)),
            numbers::<UInt64Type>(rows.iter().map(|r| r.documents)),
            optional::<UInt64Type>(rows.iter().map(|r| r.given_rows)),
            optional::<Float64Type>(rows.iter().map(|r| r.token_share)),
            top_array(rows),
            category_array(rows),
        ];
        for k in 0..shape.len() {
            let label = |r: &LatentRow| r.labels.get(k).copied().flatten();
            arrays.push(optional::<UInt64Type>(rows.iter().map(|r| label(r).map(|l| l.n_active))));
            arrays.push(optional::<Float64Type>(rows.iter().map(|r| label(r).map(|l| l.sum))));
        }
        arrays
    }

    fn shape(schema: &Schema) -> Self::Shape {
        let labelled = schema.fields().iter().filter(|f| *f.data_type() == DataType::UInt64);
        let label = |f: &Field| {
            let get = |key: &str| f.metadata().get(key).cloned();
            Some(LabelColumn { field: get(LABEL_FIELD)?, value: get(LABEL_VALUE)? })
        };
        labelled.filter_map(|f| label(f)).collect()
    }

    fn from_columns(columns: &Columns<'_>, shape: &Self::Shape) -> Result<Vec<Self>> {
        let sites = columns.sites("model", "hookpoint")?;
        let latent = columns.numbers::<UInt32Type>("latent")?;
        let n_active = columns.numbers::<UInt64Type>("n_active")?;
        let [frequency, mean, std] = ["frequency", "mean", "std"].map(|name| columns.numbers::<Float64Type>(name));
        let (frequency, mean, std) = (frequency?, mean?, std?);
        let max = columns.numbers::<Float32Type>("max")?;
        let alive = columns.flags("alive")?;
        let documents = columns.numbers::<UInt64Type>("documents")?;
        let given_rows = columns.numbers::<UInt64Type>("given_rows")?;
        let token_share = columns.numbers::<Float64Type>("token_share")?;
        let mut top = tops(columns)?;
        let mut categories = categories(columns)?;
        let mut sums = Vec::new();
        for label in shape {
            let [n, sum] = label.names();
            sums.push((columns.numbers::<UInt64Type>(&n)?, columns.numbers::<Float64Type>(&sum)?));
        }
        let row = |(i, site)| LatentRow {
            site,
            latent: latent.value(i),
            n_active: n_active.value(i),
            frequency: frequency.value(i),
            mean: mean.value(i),
            std: std.value(i),
            max: at(max, i),
            alive: alive.value(i),
            documents: documents.value(i),
            given_rows: at(given_rows, i),
            token_share: at(token_share, i),
            top: std::mem::take(&mut top[i]),
            categories: categories.get_mut(i).and_then(Option::take),
            labels: sums.iter().map(|(n, s)| Some(LabelSum { n_active: at(n, i)?, sum: at(s, i)? })).collect(),
        };
        Ok(sites.into_iter().enumerate().map(row).collect())
    }

    fn order(&self, other: &Self) -> Ordering {
        (&self.site, self.latent).cmp(&(&other.site, other.latent))
    }

    fn name(&self) -> String {
        format!("{}/{}", self.site, self.latent)
    }

    fn fits(&self, shape: &Self::Shape) -> bool {
        self.labels.len() == shape.len()
    }
}

fn top_fields() -> Fields {
    Fields::from(vec![
        Field::new("token", DataType::Utf8, false),
        Field::new("value", DataType::Float32, false),
        Field::new("context", DataType::Utf8, false),
        Field::new("document", DataType::Utf8, false),
    ])
}

/// `element` is the name that the Parquet format asks for inside lists.
fn top_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Struct(top_fields()), false))
}

fn top_type() -> DataType {
    DataType::List(top_element())
}

fn top_array(rows: &[LatentRow]) -> ArrayRef {
    let tops = || rows.iter().flat_map(|r| &r.top);
    let values: Vec<ArrayRef> = vec![
        texts(tops().map(|t| t.token.as_str())),
        numbers::<Float32Type>(tops().map(|t| t.value)),
        texts(tops().map(|t| t.context.as_str())),
        texts(tops().map(|t| t.document.as_str())),
    ];
    let values = StructArray::new(top_fields(), values, None);
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.top.len()));
    Arc::new(ListArray::new(top_element(), offsets, Arc::new(values), None))
}

fn category_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, false))
}

fn category_array(rows: &[LatentRow]) -> ArrayRef {
    let values = texts(rows.iter().flat_map(|r| r.categories.iter().flatten()));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|r| r.categories.as_ref().map_or(0, Vec::len)));
    let known = NullBuffer::from_iter(rows.iter().map(|r| r.categories.is_some()));
    Arc::new(ListArray::new(category_element(), offsets, values, Some(known)))
}

/// Of each row; empty for a table of before, which has no such column.
fn categories(columns: &Columns<'_>) -> Result<Vec<Option<Vec<String>>>> {
    const NAME: &str = "categories";
    if !columns.has(NAME) {
        return Ok(Vec::new());
    }
    let array = columns.array(NAME)?;
    let wrong = || columns.wrong_type(NAME, array, &DataType::List(category_element()).to_string());
    let list = array.as_list_opt::<i32>().ok_or_else(wrong)?;
    let values = list.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    let range = |i: usize| list.value_offsets()[i] as usize..list.value_offsets()[i + 1] as usize;
    let names = |i: usize| range(i).map(|k| values.value(k).to_string()).collect();
    Ok((0..list.len()).map(|i| list.is_valid(i).then(|| names(i))).collect())
}

fn tops(columns: &Columns<'_>) -> Result<Vec<Vec<TopTokenCell>>> {
    let array = columns.array("top")?;
    let wrong = || columns.wrong_type("top", array, &top_type().to_string());
    let list = array.as_list_opt::<i32>().ok_or_else(wrong)?;
    let values = list.values().as_struct_opt().ok_or_else(wrong)?;
    let text = |name: &str| values.column_by_name(name).and_then(|a| a.as_string_opt::<i32>()).ok_or_else(wrong);
    let (token, context, document) = (text("token")?, text("context")?, text("document")?);
    let value = values.column_by_name("value").and_then(|a| a.as_primitive_opt::<Float32Type>()).ok_or_else(wrong)?;
    let one = |k: usize| TopTokenCell {
        token: token.value(k).to_string(),
        value: value.value(k),
        context: context.value(k).to_string(),
        document: document.value(k).to_string(),
    };
    let range = |i: usize| list.value_offsets()[i] as usize..list.value_offsets()[i + 1] as usize;
    Ok((0..list.len()).map(|i| range(i).map(one).collect()).collect())
}
