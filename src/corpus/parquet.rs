//! Rows of a .parquet file, row group by row group: a text or a list of ready-made ids, with name and labels.
//!
//! Only the columns asked for are read, some rows at a time, so a row group may be larger than memory. Reading from a
//! row on passes over the pages before it in its row group alone.

use super::columns::{Columns, Rows, ids_at, text_at};
use super::options::CorpusOptions;
use super::record::{Limits, Opening, Place, Raw, RawBody};
use crate::error::{Error, Result, caught};
use arrow::array::{Array, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::fs::File;
use std::path::Path;

/// Rows decoded at once, few because a text may be long. Reading begins at a multiple of it in each row group, so that damage is met at the same row
/// wherever reading began.
const STEP: u64 = 16;

/// Reads rows from a place on.
pub(super) struct ParquetReader {
    name: String,
    path: std::path::PathBuf,
    columns: Columns,
    limits: Limits,
    place: Place,
    meta: Option<ArrowReaderMetadata>,
    group: Option<ParquetRecordBatchReader>,
    rows: Option<Rows>,
    /// What was wrong with the file itself.
    bad: Option<String>,
}

impl ParquetReader {
    /// Opens `path` at `place` (a row group and a row in it).
    ///
    /// # Errors
    /// `Request` when the file or a column asked for is not there or of another type; a damaged file comes as a bad record.
    pub(super) fn open(path: &Path, options: &CorpusOptions, place: Place, limits: Limits) -> Result<ParquetReader> {
        let file = File::open(path).map_err(|e| Error::io("open the corpus file", path, &e))?;
        let columns = Columns {
            content: options.ids.clone().unwrap_or_else(|| options.text.clone()),
            ready_made: options.ids.is_some(),
            id: options.id.clone(),
            labels: options.labels.clone(),
        };
        let name = path.display().to_string();
        let (meta, bad) = match ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()) {
            Ok(meta) => (Some(meta), None),
            Err(e) => (None, Some(format!("{name}: not a readable Parquet file ({e}); the file is lost"))),
        };
        if let Some(meta) = &meta {
            columns.check(&name, meta.schema())?;
        }
        let bad = bad.filter(|_| !place.is_end());
        let path = path.to_path_buf();
        Ok(ParquetReader { name, path, columns, limits, place, meta, group: None, rows: None, bad })
    }

    /// What is wrong with the file itself, asked on opening a corpus.
    pub(super) fn take_damage(&mut self) -> Option<String> {
        self.bad.take()
    }

    /// The next row; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(message) = self.bad.take() {
            self.place = self.place.end();
            return Ok(Some(Raw { after: self.place, file_bytes: 0, body: RawBody::Bad(message) }));
        }
        let Some(meta) = self.meta.clone() else { return Ok(None) };
        while self.place.frame < meta.metadata().num_row_groups() as u64 {
            if let Some(rows) = &mut self.rows {
                if rows.next < rows.content.len() {
                    let at = rows.next;
                    rows.next += 1;
                    return self.row(&meta, at).map(Some);
                }
                self.rows = None;
            }
            // a damaged length inside a page makes the library panic, which is damage too
            let decoded = caught(|| self.decode(&meta));
            match decoded.unwrap_or_else(|| Err("a page does not hold what it says".into())) {
                Ok(Some(rows)) => self.rows = Some(rows),
                Ok(None) => {
                    self.group = None;
                    self.place = Place { frame: self.place.frame + 1, skip: 0, ..self.place };
                }
                Err(what) => {
                    let (group, left) = (self.place.frame, self.rows_of(&meta).saturating_sub(self.place.skip));
                    let message = format!(
                        "{}: row group {group} is damaged behind row {} ({what}); its other {left} rows are lost",
                        self.name, self.place.record
                    );
                    self.group = None;
                    let record = self.place.record + left;
                    self.place = Place { frame: group + 1, skip: 0, record, ..self.place };
                    return Ok(Some(Raw {
                        after: self.place,
                        file_bytes: self.file_bytes(&meta),
                        body: RawBody::Bad(message),
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Decodes the next rows of the row group; `None` at its end, the damage in words.
    fn decode(&mut self, meta: &ArrowReaderMetadata) -> Result<Option<Rows>, String> {
        let (group, first) = (self.place.frame as usize, self.place.skip / STEP * STEP);
        let reader = match &mut self.group {
            Some(reader) => reader,
            None => {
                let file = File::open(&self.path).map_err(|e| e.to_string())?;
                let wanted = self.columns.roots(meta.schema());
                let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, meta.clone())
                    .with_projection(ProjectionMask::roots(meta.parquet_schema(), wanted))
                    .with_row_groups(vec![group])
                    .with_offset(first as usize)
                    .with_batch_size(STEP as usize)
                    .build()
                    .map_err(|e| e.to_string())?;
                self.group.insert(reader)
            }
        };
        match reader.next() {
            None => Ok(None),
            Some(Err(e)) => Err(e.to_string()),
            Some(Ok(batch)) => {
                let mut rows = self.columns.rows(&batch).map_err(|e| e.to_string())?;
                rows.next = (self.place.skip - first) as usize;
                Ok(Some(rows))
            }
        }
    }

    /// Row `at` of the decoded ones.
    fn row(&mut self, meta: &ArrowReaderMetadata, at: usize) -> Result<Raw> {
        let record = self.place.record + 1;
        self.place = Place { skip: self.place.skip + 1, record, ..self.place };
        let rows = self.rows.as_ref().expect("the row is one of the decoded ones");
        let text_of =
            |column: &Option<StringArray>| column.as_ref().filter(|c| c.is_valid(at)).map(|c| c.value(at).to_string());
        let opening = Opening {
            name: text_of(&rows.id).unwrap_or_else(|| format!("{}:{record}", self.name)),
            labels: rows.labels.iter().map(text_of).collect(),
        };
        let here = format!("{}:{record}: column {:?}", self.name, self.columns.content);
        let content = if self.columns.ready_made {
            ids_at(&rows.content, at).map(|ids| RawBody::Ids { opening: Some(opening), ids, closes: true })
        } else {
            match text_at(&rows.content, at) {
                Ok(text) if text.len() > self.limits.record_bytes => {
                    Err(format!("holds {} bytes; expected at most {}", text.len(), self.limits.record_bytes))
                }
                Ok(text) => Ok(RawBody::Row { opening, text: text.to_string() }),
                Err(what) => Err(what),
            }
        };
        let body = content.unwrap_or_else(|what| RawBody::Bad(format!("{here} {what}")));
        Ok(Raw { after: self.place, file_bytes: self.file_bytes(meta), body })
    }

    fn rows_of(&self, meta: &ArrowReaderMetadata) -> u64 {
        u64::try_from(meta.metadata().row_group(self.place.frame as usize).num_rows()).unwrap_or(0)
    }

    /// Bytes of the file behind the place: whole row groups, and the rows' share of the one it is in.
    fn file_bytes(&self, meta: &ArrowReaderMetadata) -> u64 {
        let groups = meta.metadata().row_groups();
        let done = groups.iter().take(self.place.frame as usize);
        let before: u64 = done.map(|g| u64::try_from(g.compressed_size()).unwrap_or(0)).fold(0, u64::saturating_add);
        let inside = groups.get(self.place.frame as usize).map_or(0, |g| {
            let size = u64::try_from(g.compressed_size()).unwrap_or(0);
            (u128::from(size) * u128::from(self.place.skip) / u128::from(self.rows_of(meta).max(1))) as u64
        });
        before.saturating_add(inside)
    }
}
