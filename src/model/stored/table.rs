//! Which latents fired on some rows, as Parquet files of (row, latent, value) have it? Files in order of their rows, read by row groups: their
//! statistics say which rows a group holds, so one begins anywhere, and holds a group at a time.

use crate::disk::Ranges;
use crate::error::{Error, Result, caught};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Int32Type, Int64Type, UInt16Type, UInt32Type, UInt64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Its columns.
const COLUMNS: [&str; 3] = ["row", "latent", "value"];
/// Bytes of a decoded entry: row, latent, value.
const ENTRY_BYTES: u64 = 16;
/// Entries decoded at once.
const STEP: usize = 1 << 14;

/// Files of entries, known from their footers.
#[derive(Debug)]
pub(super) struct LatentTable {
    files: Vec<TableFile>,
    /// The group that was read last: a batch mostly begins where the one before ended.
    last: Mutex<Option<Arc<Group>>>,
}

#[derive(Debug)]
struct TableFile {
    path: PathBuf,
    meta: ArrowReaderMetadata,
    /// First and last row of each group.
    groups: Vec<(u64, u64)>,
}

/// A row group, decoded.
#[derive(Debug)]
struct Group {
    /// Which: file and number in it.
    of: (usize, usize),
    rows: Vec<u64>,
    latents: Vec<u32>,
    values: Vec<f32>,
}

impl LatentTable {
    /// The files `paths`, in order of their rows; footers are read, and no entry.
    ///
    /// # Errors
    /// `Request` for a file without these columns or statistics of its rows, `Input` for a damaged one and for rows that are not in order over
    /// groups and files.
    pub fn open(paths: Vec<PathBuf>) -> Result<LatentTable> {
        let files = paths.into_iter().map(TableFile::open).collect::<Result<Vec<TableFile>>>()?;
        let mut before: Option<(u64, &Path)> = None;
        for file in &files {
            for &(first, last) in &file.groups {
                if let Some((end, path)) = before.filter(|(end, _)| first < *end) {
                    return Err(Error::input(format!(
                        "{}: a row group begins with row {first}, and {} goes to row {end} before it; write entries in order of their rows",
                        file.path.display(),
                        path.display()
                    )));
                }
                before = Some((last, &file.path));
            }
        }
        Ok(LatentTable { files, last: Mutex::default() })
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Bytes that reading takes at most: a group that is kept, and the next.
    pub fn reading_bytes(&self) -> u64 {
        let groups = self.files.iter().flat_map(|file| file.meta.metadata().row_groups());
        2 * ENTRY_BYTES * groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).max().unwrap_or(0)
    }

    /// Gives every entry (row, latent, value) of rows `first` to `first + n`, in their order.
    ///
    /// # Errors
    /// `Input` naming file and entry for rows that are not in order; those of reading and of `take`.
    pub fn entries(&self, first: u64, n: u64, mut take: impl FnMut(u64, u32, f32) -> Result<()>) -> Result<()> {
        for (f, file) in self.files.iter().enumerate() {
            let groups = file.groups.iter().enumerate();
            for (g, _) in groups.filter(|(_, (from, to))| *to >= first && *from < first + n) {
                let group = self.group((f, g))?;
                let from = group.rows.partition_point(|row| *row < first);
                let own = group.rows[from..].iter().take_while(|row| **row < first + n);
                for (k, &row) in own.enumerate() {
                    take(row, group.latents[from + k], group.values[from + k])?;
                }
            }
        }
        Ok(())
    }

    fn group(&self, of: (usize, usize)) -> Result<Arc<Group>> {
        let kept = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(group) = kept.filter(|group| group.of == of) {
            return Ok(group);
        }
        let group = Arc::new(self.files[of.0].read(of)?);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(group.clone());
        Ok(group)
    }
}

impl TableFile {
    fn open(path: PathBuf) -> Result<TableFile> {
        let file = Ranges::open(&path).map_err(|e| Error::io("open", &path, &e))?;
        let loaded = caught(|| ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()));
        let meta = loaded.ok_or_else(|| damaged(&path, "its footer makes no sense"))?;
        let meta = meta.map_err(|e| damaged(&path, &e.to_string()))?;
        let mut columns = meta.metadata().row_groups().iter().flat_map(|group| group.columns());
        // the library asserts this where it reads a column
        if columns
            .any(|c| c.dictionary_page_offset().unwrap_or_else(|| c.data_page_offset()) < 0 || c.compressed_size() < 0)
        {
            return Err(damaged(&path, "a column's place or size is negative"));
        }
        for (name, types) in COLUMNS.into_iter().zip([&WHOLE[..], &WHOLE, &[DataType::Float32]]) {
            let found = meta.schema().field_with_name(name).map(|field| field.data_type());
            if !found.as_ref().is_ok_and(|found| types.contains(found)) {
                let found = found.map_or("not there".to_string(), |found| format!("of {found}"));
                let types: Vec<String> = types.iter().map(DataType::to_string).collect();
                return Err(Error::request(format!(
                    "{}: column {name:?} is {found}, expected {}; a file of latents has the columns row, latent and value",
                    path.display(),
                    types.join(" or ")
                )));
            }
        }
        let groups = meta.metadata().row_groups().iter().filter(|group| group.num_rows() > 0).map(rows_of);
        let groups = groups.collect::<Option<Vec<_>>>().ok_or_else(|| {
            Error::request(format!(
                "{}: a row group has no statistics of its column row, which say where a row lies; write the file with statistics",
                path.display()
            ))
        })?;
        if meta.metadata().row_groups().iter().any(|group| group.num_rows() == 0) {
            return Err(damaged(&path, "a row group is empty"));
        }
        Ok(TableFile { path, meta, groups })
    }

    fn read(&self, of: (usize, usize)) -> Result<Group> {
        let decoded = caught(|| self.decoded(of));
        decoded.unwrap_or_else(|| Err(damaged(&self.path, "a page does not hold what its header declares")))
    }

    fn decoded(&self, of: (usize, usize)) -> Result<Group> {
        let told = |e: &dyn std::fmt::Display| damaged(&self.path, &e.to_string());
        let file = Ranges::open(&self.path).map_err(|e| Error::io("open", &self.path, &e))?;
        let mask = ProjectionMask::columns(self.meta.parquet_schema(), COLUMNS);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.meta.clone())
            .with_projection(mask)
            .with_row_groups(vec![of.1])
            .with_batch_size(STEP)
            .build()
            .map_err(|e| told(&e))?;
        let mut group = Group { of, rows: Vec::new(), latents: Vec::new(), values: Vec::new() };
        for batch in reader {
            self.take(&batch.map_err(|e| told(&e))?, &mut group)?;
        }
        Ok(group)
    }

    /// Appends decoded entries to their group.
    fn take(&self, batch: &RecordBatch, group: &mut Group) -> Result<()> {
        let before = group.rows.len();
        let entry = |k: usize| format!("{}: entry {} of row group {}", self.path.display(), before + k, group.of.1);
        let column = |name: &str| {
            let column = batch.column_by_name(name).expect("the columns are checked");
            match column.null_count() {
                0 => Ok(column),
                n => Err(Error::input(format!("{}: column {name} has {n} nulls, expected none", self.path.display()))),
            }
        };
        let (rows, latents) = (whole(column(COLUMNS[0])?.as_ref()), whole(column(COLUMNS[1])?.as_ref()));
        let values = column(COLUMNS[2])?.as_primitive::<Float32Type>().values();
        let (first, last) = self.groups[group.of.1];
        let mut previous = group.rows.last().copied().map_or(i128::from(first), i128::from);
        let mut kept: Vec<(u64, u32)> = Vec::with_capacity(rows.len());
        for (k, (&row, &latent)) in rows.iter().zip(&latents).enumerate() {
            if row < previous || row > i128::from(last) {
                return Err(Error::input(format!(
                    "{} is of row {row}, expected {previous} to {last}: entries must be in order of their rows; sort the file by row",
                    entry(k)
                )));
            }
            let Ok(latent) = u32::try_from(latent) else {
                return Err(Error::input(format!("{} is of latent {latent}, expected 0 or more", entry(k))));
            };
            previous = row;
            kept.push((row as u64, latent));
        }
        group.rows.extend(kept.iter().map(|(row, _)| row));
        group.latents.extend(kept.iter().map(|(_, latent)| latent));
        group.values.extend_from_slice(values);
        Ok(())
    }
}

/// Types of whole numbers that are read.
const WHOLE: [DataType; 5] = [DataType::UInt64, DataType::Int64, DataType::UInt32, DataType::Int32, DataType::UInt16];

/// Whole numbers of a column of one of these types.
fn whole(column: &dyn Array) -> Vec<i128> {
    match column.data_type() {
        DataType::UInt64 => column.as_primitive::<UInt64Type>().values().iter().map(|v| i128::from(*v)).collect(),
        DataType::Int64 => column.as_primitive::<Int64Type>().values().iter().map(|v| i128::from(*v)).collect(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().values().iter().map(|v| i128::from(*v)).collect(),
        DataType::Int32 => column.as_primitive::<Int32Type>().values().iter().map(|v| i128::from(*v)).collect(),
        _ => column.as_primitive::<UInt16Type>().values().iter().map(|v| i128::from(*v)).collect(),
    }
}

/// First and last row of a group, by its statistics; `None` without.
fn rows_of(group: &RowGroupMetaData) -> Option<(u64, u64)> {
    let column = group.columns().iter().find(|column| column.column_path().string() == COLUMNS[0])?;
    // unsigned numbers are kept in signed ones
    match column.statistics()? {
        Statistics::Int64(s) => Some((*s.min_opt()? as u64, *s.max_opt()? as u64)),
        Statistics::Int32(s) => Some((u64::from(*s.min_opt()? as u32), u64::from(*s.max_opt()? as u32))),
        _ => None,
    }
}

/// The error of the Parquet crate, in which only the text distinguishes a failed read from damage.
fn damaged(path: &Path, why: &str) -> Error {
    if why.contains("(os error ") {
        return Error::machine(format!("read {}: {why}; give the same command again", path.display()));
    }
    Error::input(format!("{} cannot be read: {why}; write it again", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float32Array, UInt32Array, UInt64Array};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    fn write(path: &Path, entries: &[(u64, u32, f32)], group: usize, statistics: bool) -> PathBuf {
        let columns: [(&str, ArrayRef); 3] = [
            ("row", Arc::new(UInt64Array::from_iter_values(entries.iter().map(|e| e.0)))),
            ("latent", Arc::new(UInt32Array::from_iter_values(entries.iter().map(|e| e.1)))),
            ("value", Arc::new(Float32Array::from_iter_values(entries.iter().map(|e| e.2)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let kept = if statistics { EnabledStatistics::Chunk } else { EnabledStatistics::None };
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(group)).set_statistics_enabled(kept).build();
        let mut writer =
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path.to_path_buf()
    }

    /// Up to three entries of each row, none of some.
    fn entries(rows: std::ops::Range<u64>) -> Vec<(u64, u32, f32)> {
        rows.flat_map(|row| (0..(row * 7) % 4).map(move |k| (row, (row * 3 + k * 11) as u32 % 40, row as f32 + 0.25)))
            .collect()
    }

    #[test]
    fn entries_of_some_rows_are_those_of_all_that_are_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let all = entries(0..100);
        // a row that continues in the next file
        let (one, two) = all.split_at(71);
        let paths =
            vec![write(&folder.path().join("a"), one, 10, true), write(&folder.path().join("b"), two, 1000, true)];
        let table = LatentTable::open(paths).unwrap();
        for (first, n) in [(0, 100), (0, 1), (90, 50), (13, 4), (30, 40), (7, 0), (60, 3), (200, 9)] {
            let mut found = Vec::new();
            let take = |row, latent, value| {
                found.push((row, latent, value));
                Ok(())
            };
            table.entries(first, n, take).unwrap();
            let expected: Vec<_> = all.iter().filter(|e| (first..first + n).contains(&e.0)).copied().collect();
            assert_eq!(found, expected, "{n} from {first}");
        }
    }

    #[test]
    fn files_that_are_not_in_order_are_refused_by_file_and_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let told = |paths: Vec<PathBuf>, words: &[&str]| {
            let read = |table: LatentTable| table.entries(0, 100, |_, _, _| Ok(()));
            let said = LatentTable::open(paths).and_then(read).unwrap_err().to_string();
            words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
        };
        let two = [write(&path("a"), &entries(0..50), 20, true), write(&path("b"), &entries(49..60), 20, true)];
        told(
            vec![two[1].clone(), two[0].clone()],
            &["a: a row group begins with row 1, and", "b goes to row 59 before it"],
        );
        told(vec![write(&path("c"), &entries(0..50), 20, false)], &["no statistics of its column row"]);
        let unsorted = [(1, 0, 1.0), (5, 0, 1.0), (3, 0, 1.0), (9, 1, 1.0)];
        told(vec![write(&path("d"), &unsorted, 20, true)], &["d: entry 2 of row group 0 is of row 3, expected 5 to 9"]);
        std::fs::write(path("e"), b"PAR1 and no more").unwrap();
        told(vec![path("e")], &["e cannot be read"]);
    }
}
