//! What makes a struct a row of a table: its columns, their meaning, its key and its order.

use super::column::{Columns, field, texts};
use crate::error::Result;
use crate::ids::Site;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema};
use std::cmp::Ordering;
use std::fmt::Debug;
use std::sync::Arc;

/// Number of the tables' format, written to each file as `cognate.format`; raised when a column changes its meaning.
pub const TABLE_FORMAT: u32 = 5;

/// A row of one kind of table. Implemented by the kinds here; others only use it.
pub trait TableRow: Sized {
    /// The columns that differ from run to run (labels, measures); `()` where none do.
    type Shape: Clone + Debug + Default + PartialEq;
    /// Name of the table, and of its file without the suffix.
    const TABLE: &'static str;
    /// What the table holds, for readers of the file.
    const ABOUT: &'static str;
    /// Columns that identify a row.
    const KEY: &'static [&'static str];

    /// The columns with their types and descriptions.
    fn fields(shape: &Self::Shape) -> Vec<Field>;
    /// The values, one array per field.
    fn arrays(rows: &[Self], shape: &Self::Shape) -> Vec<ArrayRef>;
    /// The shape of a file that was written before.
    fn shape(schema: &Schema) -> Self::Shape;
    /// The rows of a batch.
    ///
    /// # Errors
    /// `Input` naming file and column.
    fn from_columns(columns: &Columns<'_>, shape: &Self::Shape) -> Result<Vec<Self>>;
    /// Order in the file.
    fn order(&self, other: &Self) -> Ordering;
    /// The row's key in words.
    fn name(&self) -> String;
    /// Whether the extra values fit the shape.
    fn fits(&self, _shape: &Self::Shape) -> bool {
        true
    }
}

/// Two places that are compared. Shared by the rows of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct SitePair {
    /// The one whose latents are matched.
    pub source: Site,
    /// The one they are matched to.
    pub target: Site,
}

impl std::fmt::Display for SitePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {}", self.source, self.target)
    }
}

/// The four columns that name a pair.
pub(super) const PAIR_KEY: [&str; 4] = ["source_model", "source_hookpoint", "target_model", "target_hookpoint"];

pub(super) fn pair_fields() -> Vec<Field> {
    let docs = [
        "model whose latents are matched, by its name in the dataflow file",
        "where in the source model the latents live, for example resid_post.3",
        "model that they are matched to",
        "where in the target model",
    ];
    PAIR_KEY.iter().zip(docs).map(|(name, doc)| field(name, DataType::Utf8, false, doc)).collect()
}

pub(super) fn pair_arrays<'a>(pairs: impl Iterator<Item = &'a SitePair> + Clone) -> Vec<ArrayRef> {
    vec![
        texts(pairs.clone().map(|p| p.source.model.as_str())),
        texts(pairs.clone().map(|p| p.source.place())),
        texts(pairs.clone().map(|p| p.target.model.as_str())),
        texts(pairs.map(|p| p.target.place())),
    ]
}

/// The pair of each row; neighbours that are equal share one.
pub(super) fn pairs(columns: &Columns<'_>) -> Result<Vec<Arc<SitePair>>> {
    let sources = columns.sites("source_model", "source_hookpoint")?;
    let targets = columns.sites("target_model", "target_hookpoint")?;
    let mut out: Vec<Arc<SitePair>> = Vec::with_capacity(sources.len());
    for (source, target) in sources.into_iter().zip(targets) {
        match out.last() {
            Some(last) if last.source == *source && last.target == *target => out.push(last.clone()),
            _ => out.push(Arc::new(SitePair { source: (*source).clone(), target: (*target).clone() })),
        }
    }
    Ok(out)
}
