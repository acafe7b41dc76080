//! Do two tables hold the same numbers? If not: which rows differ, how far, and where the most.
//!
//! Rows of a Cognate table are compared by key columns, rows of any other table by row number. Tables are read batch by batch, and
//! only rows whose partner has not come yet are held: two tables with the same keys are compared in little memory.

use super::reader::{Opened, next_batch, open};
use crate::disk::File;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, UInt32Type, UInt64Type};
use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

/// What two tables differ in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableDiff {
    /// The files are the same byte for byte.
    pub identical_bytes: bool,
    /// Rows of each.
    pub n_rows: [u64; 2],
    /// Rows in both of which some column differs.
    pub n_rows_differ: u64,
    /// Rows that only one side has.
    pub n_only: [u64; 2],
    /// Key of the first such row.
    pub first_only: [Option<String>; 2],
    /// Columns that only one side has, or that have another type there.
    pub columns_only: [Vec<String>; 2],
    /// Columns whose values differ, in the first table's order.
    pub columns: Vec<ColumnDiff>,
}

/// What one column differs in.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDiff {
    /// Its name.
    pub name: String,
    /// Rows in which it differs.
    pub n_differ: u64,
    /// Key and values, as text, of the first such row.
    pub first: (String, String, String),
    /// The largest difference of two numbers; `None` for other columns and where only nulls met numbers.
    pub largest: Option<LargestDiff>,
}

/// The row in which a column differs most.
#[derive(Clone, Debug, PartialEq)]
pub struct LargestDiff {
    /// Absolute difference.
    pub difference: f64,
    /// The row's key.
    pub key: String,
    /// The value on either side.
    pub values: [f64; 2],
}

impl TableDiff {
    /// Whether every row, column and number is the same (0.0 and -0.0 are).
    pub fn same_numbers(&self) -> bool {
        let none = [0, 0];
        let columns_agree = self.columns_only.iter().all(Vec::is_empty) && self.columns.is_empty();
        self.identical_bytes || (self.n_only == none && self.n_rows_differ == 0 && columns_agree)
    }
}

/// Compares the Parquet files `a` and `b`.
///
/// # Errors
/// `Request` when one is missing, `Input` when one cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<TableDiff> {
    let mut sides = [open(a)?, open(b)?];
    let mut diff = TableDiff { n_rows: [sides[0].n_rows, sides[1].n_rows], ..TableDiff::default() };
    if same_bytes(a, b)? {
        diff.identical_bytes = true;
        return Ok(diff);
    }
    let key = key_columns(&sides);
    let (common, columns_only) = columns(&sides);
    diff.columns_only = columns_only;
    let mut meeting = Meeting { diff, common, waiting: [HashMap::new(), HashMap::new()] };
    let mut n_read = [0u64; 2];
    loop {
        let mut next = |side: usize, path: &Path| next_batch(&mut sides[side].batches, path);
        let batches = [next(0, a)?, next(1, b)?];
        if batches.iter().all(Option::is_none) {
            break;
        }
        match &batches {
            [Some(x), Some(y)] if same_keys(x, y, &key) && (n_read[0] == n_read[1] || !key.is_empty()) => {
                meeting.aligned(x, y, &|row| key_of(x, &key, row, n_read[0]));
            }
            _ => {
                for (side, batch) in batches.iter().enumerate() {
                    if let Some(batch) = batch {
                        meeting.arrive(side, batch, &|row| key_of(batch, &key, row, n_read[side]), n_read[side]);
                    }
                }
            }
        }
        for (n, batch) in n_read.iter_mut().zip(&batches) {
            *n += batch.as_ref().map_or(0, |b| b.num_rows() as u64);
        }
    }
    Ok(meeting.close())
}

struct Meeting {
    diff: TableDiff,
    /// Names of the columns that both sides have with one type.
    common: Vec<String>,
    /// Rows whose partner has not come yet: key to batch, row and place in the file.
    waiting: [HashMap<String, (RecordBatch, usize, u64)>; 2],
}

impl Meeting {
    /// Two batches with the same keys in the same order.
    fn aligned(&mut self, x: &RecordBatch, y: &RecordBatch, key: &dyn Fn(usize) -> String) {
        let mut differs = vec![false; x.num_rows()];
        for name in self.common.clone() {
            let (Some(xs), Some(ys)) = (x.column_by_name(&name), y.column_by_name(&name)) else { continue };
            if xs == ys {
                continue;
            }
            for (row, differs) in differs.iter_mut().enumerate() {
                *differs |= self.cell(&name, (xs, row), (ys, row), &|| key(row));
            }
        }
        self.diff.n_rows_differ += differs.iter().filter(|d| **d).count() as u64;
    }

    /// Rows that may find their partner among those waiting on the other side, or wait themselves.
    fn arrive(&mut self, side: usize, batch: &RecordBatch, key: &dyn Fn(usize) -> String, first_row: u64) {
        for row in 0..batch.num_rows() {
            let key = key(row);
            let Some((other, other_row, _)) = self.waiting[1 - side].remove(&key) else {
                let place = first_row + row as u64;
                if self.waiting[side].insert(key.clone(), (batch.clone(), row, place)).is_some() {
                    // The key is there twice, so it identifies no row: the earlier one stays without a partner.
                    self.alone(side, &key);
                }
                continue;
            };
            let mut differs = false;
            for name in self.common.clone() {
                let (Some(own), Some(theirs)) = (batch.column_by_name(&name), other.column_by_name(&name)) else {
                    continue;
                };
                let (own, theirs) = ((own, row), (theirs, other_row));
                let (x, y) = if side == 0 { (own, theirs) } else { (theirs, own) };
                differs |= self.cell(&name, x, y, &|| key.clone());
            }
            self.diff.n_rows_differ += u64::from(differs);
        }
    }

    /// Notes whether one cell differs.
    fn cell(
        &mut self,
        name: &str,
        (xs, i): (&ArrayRef, usize),
        (ys, j): (&ArrayRef, usize),
        key: &dyn Fn() -> String,
    ) -> bool {
        let (x, y) = (number(xs, i), number(ys, j));
        let same = match (x, y) {
            (Some(x), Some(y)) if xs.data_type().is_floating() => x == y || (x.is_nan() && y.is_nan()),
            _ => xs.slice(i, 1).as_ref() == ys.slice(j, 1).as_ref(),
        };
        if same {
            return false;
        }
        let index = self.diff.columns.iter().position(|c| c.name == name).unwrap_or_else(|| {
            let first = (shown(&key()), text(xs, i), text(ys, j));
            self.diff.columns.push(ColumnDiff { name: name.to_string(), n_differ: 0, first, largest: None });
            self.diff.columns.len() - 1
        });
        let column = &mut self.diff.columns[index];
        column.n_differ += 1;
        if let (Some(x), Some(y)) = (x, y) {
            let difference = (x - y).abs();
            if column.largest.as_ref().is_none_or(|l| difference > l.difference) {
                column.largest = Some(LargestDiff { difference, key: shown(&key()), values: [x, y] });
            }
        }
        true
    }

    fn alone(&mut self, side: usize, key: &str) {
        self.diff.n_only[side] += 1;
        self.diff.first_only[side].get_or_insert_with(|| shown(key));
    }

    fn close(mut self) -> TableDiff {
        for side in 0..2 {
            let mut left: Vec<(u64, String)> =
                self.waiting[side].drain().map(|(key, (_, _, place))| (place, key)).collect();
            left.sort();
            left.iter().for_each(|(_, key)| self.alone(side, key));
        }
        let place = |name: &str| self.common.iter().position(|c| c == name);
        self.diff.columns.sort_by_key(|c| place(&c.name));
        self.diff
    }
}

/// The key columns both files state; none when they state different ones.
fn key_columns(sides: &[Opened; 2]) -> Vec<String> {
    let stated = sides.each_ref().map(|s| s.about.get("cognate.key").cloned().unwrap_or_default());
    let names: Vec<String> = stated[0].split(',').filter(|n| !n.is_empty()).map(str::to_string).collect();
    let known = |name: &String| sides.iter().all(|s| s.schema.column_with_name(name).is_some());
    if stated[0] == stated[1] && names.iter().all(known) { names } else { Vec::new() }
}

/// Columns of one name and type on both sides, and what only one has.
fn columns(sides: &[Opened; 2]) -> (Vec<String>, [Vec<String>; 2]) {
    let has = |side: usize, name: &str, kind: &DataType| {
        sides[side].schema.column_with_name(name).is_some_and(|(_, f)| f.data_type() == kind)
    };
    let split = |side: usize| {
        let fields = sides[side].schema.fields().iter();
        let (both, only): (Vec<_>, Vec<_>) = fields.partition(|f| has(1 - side, f.name(), f.data_type()));
        let names = |fields: Vec<&std::sync::Arc<arrow::datatypes::Field>>| {
            fields.into_iter().map(|f| f.name().clone()).collect::<Vec<String>>()
        };
        (names(both), names(only))
    };
    let ((common, only_a), (_, only_b)) = (split(0), split(1));
    (common, [only_a, only_b])
}

/// Separates the parts of a key: no text of a corpus or a name holds it.
const BETWEEN: char = '\u{1f}';

/// The key of a row in one text; its number in the file where there are no key columns.
fn key_of(batch: &RecordBatch, key: &[String], row: usize, n_before: u64) -> String {
    if key.is_empty() {
        return format!("row {}", n_before + row as u64);
    }
    let parts: Vec<String> = key.iter().filter_map(|name| batch.column_by_name(name)).map(|a| text(a, row)).collect();
    parts.join(&BETWEEN.to_string())
}

fn same_keys(x: &RecordBatch, y: &RecordBatch, key: &[String]) -> bool {
    x.num_rows() == y.num_rows() && key.iter().all(|name| x.column_by_name(name) == y.column_by_name(name))
}

fn shown(key: &str) -> String {
    key.replace(BETWEEN, " ")
}

/// A number as f64; `None` for nulls and for columns of other types.
fn number(array: &ArrayRef, i: usize) -> Option<f64> {
    if array.is_null(i) {
        return None;
    }
    match array.data_type() {
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(i)),
        DataType::Float32 => Some(f64::from(array.as_primitive::<Float32Type>().value(i))),
        DataType::UInt32 => Some(f64::from(array.as_primitive::<UInt32Type>().value(i))),
        // Only for the size of a difference: above 2^53 f64 no longer distinguishes neighbours.
        DataType::UInt64 => Some(array.as_primitive::<UInt64Type>().value(i) as f64),
        _ => None,
    }
}

/// A value in words; lists and the like are not spelled out.
fn text(array: &ArrayRef, i: usize) -> String {
    if array.is_null(i) {
        return "null".to_string();
    }
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(i).to_string(),
        DataType::Boolean => array.as_boolean().value(i).to_string(),
        DataType::List(_) => format!("a list of {}", array.as_list::<i32>().value_length(i)),
        kind => number(array, i).map_or_else(|| format!("a value of {kind}"), |x| x.to_string()),
    }
}

/// Whether two files are the same byte for byte.
fn same_bytes(a: &Path, b: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).map_err(|e| Error::io("read", path, &e));
    let length = |file: &File, path: &Path| file.length().map_err(|e| Error::io("read", path, &e));
    let (x, y) = (open(a)?, open(b)?);
    if length(&x, a)? != length(&y, b)? {
        return Ok(false);
    }
    let (mut x, mut y) = (BufReader::with_capacity(1 << 16, x), BufReader::with_capacity(1 << 16, y));
    let (mut p, mut q) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let n = x.read(&mut p).map_err(|e| Error::io("read", a, &e))?;
        if n == 0 {
            return Ok(true);
        }
        y.read_exact(&mut q[..n]).map_err(|e| Error::io("read", b, &e))?;
        if p[..n] != q[..n] {
            return Ok(false);
        }
    }
}
