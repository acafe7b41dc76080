//! Columns, in and out: fields that carry their description, typed access that names the column it misses.

use crate::error::{Error, Result};
use crate::ids::Site;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, PrimitiveBuilder, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Field};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Key of a column's and a table's description.
pub(super) const DESCRIPTION: &str = "description";

/// A column with its meaning.
pub(super) fn field(name: &str, kind: DataType, nullable: bool, description: &str) -> Field {
    let metadata = HashMap::from([(DESCRIPTION.to_string(), description.to_string())]);
    Field::new(name, kind, nullable).with_metadata(metadata)
}

/// A text column without nulls.
pub(super) fn texts<S: AsRef<str>>(values: impl Iterator<Item = S>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A number column without nulls.
pub(super) fn numbers<T: ArrowPrimitiveType>(values: impl Iterator<Item = T::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}

/// A number column where undefined is null.
pub(super) fn optional<T: ArrowPrimitiveType>(values: impl Iterator<Item = Option<T::Native>>) -> ArrayRef {
    let mut builder = PrimitiveBuilder::<T>::new();
    values.for_each(|v| builder.append_option(v));
    Arc::new(builder.finish())
}

/// A column of yes and no.
pub(super) fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(values.map(Some)))
}

/// A batch of a file that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) path: &'a Path,
}

impl<'a> Columns<'a> {
    pub(super) fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub(super) fn array(&self, name: &str) -> Result<&'a ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// Whether there is such a column.
    pub(super) fn has(&self, name: &str) -> bool {
        self.batch.column_by_name(name).is_some()
    }

    pub(super) fn texts(&self, name: &str) -> Result<&'a StringArray> {
        let array = self.array(name)?;
        array.as_string_opt::<i32>().ok_or_else(|| self.wrong_type(name, array, "Utf8"))
    }

    pub(super) fn numbers<T: ArrowPrimitiveType>(&self, name: &str) -> Result<&'a PrimitiveArray<T>> {
        let array = self.array(name)?;
        array.as_primitive_opt::<T>().ok_or_else(|| self.wrong_type(name, array, &T::DATA_TYPE.to_string()))
    }

    pub(super) fn flags(&self, name: &str) -> Result<&'a BooleanArray> {
        let array = self.array(name)?;
        array.as_boolean_opt().ok_or_else(|| self.wrong_type(name, array, "Boolean"))
    }

    /// The site of each row from its two columns; neighbours that are equal share one.
    pub(super) fn sites(&self, model: &str, hookpoint: &str) -> Result<Vec<Arc<Site>>> {
        let (models, hookpoints) = (self.texts(model)?, self.texts(hookpoint)?);
        let mut out: Vec<Arc<Site>> = Vec::with_capacity(self.len());
        for i in 0..self.len() {
            let same =
                i > 0 && models.value(i) == models.value(i - 1) && hookpoints.value(i) == hookpoints.value(i - 1);
            if let (true, Some(last)) = (same, out.last()) {
                out.push(last.clone());
                continue;
            }
            let site = Site::of(models.value(i), hookpoints.value(i));
            out.push(Arc::new(site.map_err(|e| self.wrong(hookpoint, &e.to_string()))?));
        }
        Ok(out)
    }

    /// An error about one column of this file.
    pub(super) fn wrong(&self, column: &str, what: &str) -> Error {
        Error::input(format!("table {}: column {column:?} {what}; write the table again", self.path.display()))
    }

    pub(super) fn wrong_type(&self, name: &str, array: &ArrayRef, expected: &str) -> Error {
        self.wrong(name, &format!("is {}, expected {expected}", array.data_type()))
    }
}

/// The value at `i`, `None` where it is null.
pub(super) fn at<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, i: usize) -> Option<T::Native> {
    array.is_valid(i).then(|| array.value(i))
}
