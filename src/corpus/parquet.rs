//! Rows of a .parquet file, row group by row group: a text or a list of ready-made ids, with name and labels.
//!
//! Only the columns asked for are read, some rows at a time, so a row group may be larger than memory; a page is decoded whole
//! (`pages`), and a row that is long is handed on piece by piece.
//! Reading from a row on passes over the pages before it in its row group alone. Damage, a type and a compression that are not
//! read are three things: rows that cannot be decoded are lost one page at a time and counted, the others refuse the file.

use super::columns::{DecodedRows, FieldColumns, ids_at, text_at, utf8};
use super::options::CorpusOptions;
use super::pages::{MOST_HEADERS_IN_A_GROUP, Pages, SMALL_PAGE, pages_of};
use super::record::{FilePosition, Limits, Opening, Raw, RawBody};
use super::split::{boundary, first_piece};
use crate::disk::Ranges;
use crate::error::{Error, Result, caught};
use crate::units::human_bytes;
use arrow::array::{Array, StringArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use std::path::Path;

/// Rows decoded at once; few, because a text may be long. In each row group, reading begins at a multiple of this number.
/// Damage is then met at the same row wherever reading began.
const STEP: u64 = 16;
/// Average bytes per row from which rows are decoded one by one.
const LONG_ROW: u64 = 64 << 10;

/// Why rows were not decoded.
enum Fault {
    /// Their pages are damaged: what, in a few words.
    Damage(String),
    /// They are whole, but not read here.
    Unsupported(String),
    /// The machine failed to read.
    Machine(String),
}

impl Fault {
    /// The library's message; it distinguishes kinds by words alone.
    fn of(what: String) -> Fault {
        let not_read = ["NYI", "not yet implemented", "not supported", "Disabled feature"];
        if what.contains("(os error ") {
            Fault::Machine(what)
        } else if not_read.iter().any(|words| what.contains(words)) {
            Fault::Unsupported(what)
        } else {
            Fault::Damage(what)
        }
    }
}

/// Reads rows from a place on.
pub(super) struct ParquetReader {
    name: String,
    path: std::path::PathBuf,
    columns: FieldColumns,
    limits: Limits,
    place: FilePosition,
    meta: Option<ArrowReaderMetadata>,
    group: Option<ParquetRecordBatchReader>,
    rows: Option<DecodedRows>,
    /// The row group whose pages were looked at last, and how large they are.
    pages: Option<(u64, Pages)>,
    /// What was wrong with the file itself.
    bad: Option<String>,
}

impl ParquetReader {
    /// Opens `path` at `place` (a row group and a row in it).
    ///
    /// # Errors
    /// `Request` when the file or a column asked for is not there, of another type or compressed in a way that is not read; a
    /// damaged file comes as a bad record.
    pub(super) fn open(
        path: &Path,
        options: &CorpusOptions,
        place: FilePosition,
        limits: Limits,
    ) -> Result<ParquetReader> {
        let file = Ranges::open(path).map_err(|e| Error::io("open the corpus file", path, &e))?;
        let mut columns = FieldColumns::new(options);
        let name = path.display().to_string();
        let (meta, bad) = match ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()) {
            Ok(meta) => (Some(meta), None),
            Err(e) => match Fault::of(e.to_string()) {
                Fault::Machine(what) => return Err(Error::machine(format!("read the corpus file {name}: {what}"))),
                _ => (None, Some(format!("{name}: not a readable Parquet file ({e}); the file is lost"))),
            },
        };
        if let Some(meta) = &meta {
            columns.check(&name, meta.schema())?;
            columns.note_uuids(meta.parquet_schema());
            check_codecs(&name, &mut columns, meta)?;
        }
        let bad = bad.filter(|_| !place.is_end());
        let path = path.to_path_buf();
        Ok(ParquetReader { name, path, columns, limits, place, meta, group: None, rows: None, pages: None, bad })
    }

    /// What is wrong with the file itself, asked on opening a corpus.
    pub(super) fn take_damage(&mut self) -> Option<String> {
        self.bad.take()
    }

    /// How large pages of the columns are in this file, `headers` of them looked at; `so_far`: in the files before.
    ///
    /// # Errors
    /// `Machine` when the file cannot be read.
    pub(super) fn pages(&self, headers: &mut u64, so_far: Pages) -> Result<Pages> {
        let Some(meta) = &self.meta else { return Ok(so_far) };
        let groups = 0..meta.metadata().num_row_groups();
        groups
            .map(|group| self.pages_in(meta, group, headers, so_far.largest))
            .try_fold(so_far, |all, pages| Ok(all.or(pages?)))
    }

    fn pages_in(&self, meta: &ArrowReaderMetadata, group: usize, headers: &mut u64, largest: u64) -> Result<Pages> {
        let failed =
            |e: parquet::errors::ParquetError| Error::machine(format!("read the corpus file {}: {e}", self.name));
        let file = Ranges::open(&self.path).map_err(|e| Error::io("open the corpus file", &self.path, &e))?;
        let mask = ProjectionMask::roots(meta.parquet_schema(), self.columns.roots(meta.schema(), true));
        let group = meta.metadata().row_group(group);
        let leaves = (0..group.num_columns()).filter(|leaf| mask.leaf_included(*leaf));
        pages_of(&file, group, leaves, headers, largest).map_err(failed)
    }

    /// Looks at the pages of the row group that is read next, before one of them is decoded.
    ///
    /// # Errors
    /// `Request` for a page that is larger than what was counted; `Machine` when the file cannot be read.
    fn look_at_pages(&mut self, meta: &ArrowReaderMetadata) -> Result<()> {
        let group = self.place.frame;
        if self.pages.is_some_and(|(known, _)| known == group) {
            return Ok(());
        }
        let mut headers = MOST_HEADERS_IN_A_GROUP;
        let pages = self.pages_in(meta, group as usize, &mut headers, 0)?;
        if pages.largest > self.limits.page_bytes {
            return Err(Error::request(format!(
                "the corpus file {}: row group {group} has a page of {}, and pages of {} were planned for, as the headers of not all pages \
                 could be read before; write the file again with smaller pages, for example with pyarrow's write_batch_size = 16",
                self.name,
                human_bytes(pages.largest),
                human_bytes(self.limits.page_bytes)
            )));
        }
        self.pages = Some((group, pages));
        Ok(())
    }

    /// The next row, or piece of one; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Raw>> {
        if let Some(message) = self.bad.take() {
            self.place = self.place.end();
            return Ok(Some(Raw {
                after: self.place,
                file_bytes: 0,
                body: RawBody::Bad { what: message, records: 1 },
            }));
        }
        let Some(meta) = self.meta.clone() else { return Ok(None) };
        while self.place.frame < meta.metadata().num_row_groups() as u64 {
            if let Some(rows) = &self.rows {
                if rows.next < rows.content.len() {
                    let at = rows.next;
                    return Ok(Some(self.row(&meta, at)));
                }
                self.rows = None;
            }
            self.look_at_pages(&meta)?;
            match self.decode(&meta, self.first(&meta), true) {
                Ok(Some(rows)) => self.rows = Some(rows),
                Ok(None) => {
                    self.group = None;
                    let frame = self.place.frame + 1;
                    self.place = FilePosition { frame, skip: 0, line: 0, inside: false, ..self.place };
                }
                Err(Fault::Machine(what)) => {
                    return Err(Error::machine(format!("read the corpus file {}: {what}", self.name)));
                }
                Err(Fault::Unsupported(what)) => {
                    return Err(Error::request(format!(
                        "read the corpus file {}: {what}; write the file again, for example with pandas or DuckDB and zstd",
                        self.name
                    )));
                }
                Err(Fault::Damage(what)) => {
                    if let Some(raw) = self.pass_damage(&meta, &what) {
                        return Ok(Some(raw));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Rows of the row group before those decoded next.
    fn first(&self, meta: &ArrowReaderMetadata) -> u64 {
        self.place.skip / self.step(meta) * self.step(meta)
    }

    /// Rows decoded at once in the row group: one by one where they are long, or lie in large pages.
    fn step(&self, meta: &ArrowReaderMetadata) -> u64 {
        let group = meta.metadata().row_group(self.place.frame as usize);
        let size = u64::try_from(group.total_byte_size()).unwrap_or(0);
        let are_long = size / self.rows_of(meta).max(1) >= LONG_ROW;
        let are_large = self.pages.is_some_and(|(_, pages)| pages.largest > SMALL_PAGE);
        if are_long || are_large { 1 } else { STEP }
    }

    /// Decodes the next rows of the row group, from row `first` of it on; `None` at its end. `named`: with their names.
    fn decode(&mut self, meta: &ArrowReaderMetadata, first: u64, named: bool) -> Result<Option<DecodedRows>, Fault> {
        let group = self.group.take();
        // a damaged length inside a page makes the library panic, which is damage too
        let decoded = caught(|| self.decoded(meta, group, first, named));
        let (group, rows) =
            decoded.unwrap_or_else(|| Err(Fault::Damage("a page does not hold what its header declares".into())))?;
        self.group = Some(group);
        Ok(rows)
    }

    fn decoded(
        &self,
        meta: &ArrowReaderMetadata,
        group: Option<ParquetRecordBatchReader>,
        first: u64,
        named: bool,
    ) -> Result<(ParquetRecordBatchReader, Option<DecodedRows>), Fault> {
        let mut reader = match group {
            Some(reader) => reader,
            None => {
                let file = Ranges::open(&self.path).map_err(|e| Fault::of(e.to_string()))?;
                let wanted = self.columns.roots(meta.schema(), named);
                ParquetRecordBatchReaderBuilder::new_with_metadata(file, meta.clone())
                    .with_projection(ProjectionMask::roots(meta.parquet_schema(), wanted))
                    .with_row_groups(vec![self.place.frame as usize])
                    .with_offset(first as usize)
                    .with_batch_size(self.step(meta) as usize)
                    .build()
                    .map_err(|e| Fault::of(e.to_string()))?
            }
        };
        match reader.next() {
            None => Ok((reader, None)),
            Some(Err(e)) => Err(Fault::of(e.to_string())),
            Some(Ok(batch)) => {
                // what has no text form was refused on opening
                let rows = self.columns.rows(&batch, named).map_err(|e| Fault::Unsupported(e.to_string()))?;
                Ok((reader, Some(DecodedRows { next: self.place.skip.saturating_sub(first) as usize, ..rows })))
            }
        }
    }

    /// The rows at the place cannot be decoded: without their names if that helps, else they are lost, up to the next that can.
    fn pass_damage(&mut self, meta: &ArrowReaderMetadata, what: &str) -> Option<Raw> {
        let (first, step, n_rows) = (self.first(meta), self.step(meta), self.rows_of(meta));
        if let Ok(Some(rows)) = self.decode(meta, first, false) {
            self.rows = Some(rows);
            // names are tried again behind these
            self.group = None;
            return None;
        }
        let good = self.next_good(meta, first, step, n_rows);
        let lost = good.saturating_sub(self.place.skip);
        let message = format!(
            "{}: row group {} is damaged behind row {} ({what}); {lost} row{} lost",
            self.name,
            self.place.frame,
            self.place.record,
            if lost == 1 { " is" } else { "s are" }
        );
        self.group = None;
        // one that was begun is counted already
        let record = self.place.record + lost - u64::from(self.place.inside).min(lost);
        let place = FilePosition { record, line: 0, inside: false, ..self.place };
        self.place = match good < n_rows {
            true => FilePosition { skip: good, ..place },
            false => FilePosition { frame: place.frame + 1, skip: 0, ..place },
        };
        let file_bytes = self.file_bytes(meta);
        Some(Raw { after: self.place, file_bytes, body: RawBody::Bad { what: message, records: lost.max(1) } })
    }

    /// The next row after `bad` that can be decoded, or the end of the row group. The search takes strides that double, then
    /// bisects the last one. It finds where the next whole page begins, for which a file need not have an index.
    fn next_good(&mut self, meta: &ArrowReaderMetadata, mut bad: u64, step: u64, n_rows: u64) -> u64 {
        let is_good = |reader: &mut Self, at: u64| {
            reader.group = None;
            matches!(reader.decode(meta, at, false), Ok(Some(_)))
        };
        let mut stride = step;
        let mut good = loop {
            let at = bad + stride;
            if at >= n_rows {
                break n_rows.next_multiple_of(step);
            }
            if is_good(self, at) {
                break at;
            }
            (bad, stride) = (at, 2 * stride);
        };
        while good - bad > step {
            let at = bad + (good - bad) / step / 2 * step;
            if at < n_rows && is_good(self, at) { good = at } else { bad = at }
        }
        good.min(n_rows)
    }

    /// Row `at` of the decoded ones, or the next piece of it.
    fn row(&mut self, meta: &ArrowReaderMetadata, at: usize) -> Raw {
        let (begun, record) = (self.place.inside, self.place.record + u64::from(!self.place.inside));
        let from = if begun { usize::try_from(self.place.line).unwrap_or(usize::MAX) } else { 0 };
        let rows = self.rows.as_mut().expect("the row is one of the decoded ones");
        let text_of =
            |column: &Option<StringArray>| column.as_ref().filter(|c| c.is_valid(at)).map(|c| c.value(at).to_string());
        let opening = (!begun).then(|| Opening {
            name: text_of(&rows.id).unwrap_or_else(|| format!("{}:{record}", self.name)),
            labels: rows.labels.iter().map(text_of).collect(),
        });
        let found = match self.columns.ready_made {
            true => ids_at(&rows.content, at, from, self.limits.piece_ids)
                .map(|(ids, closes)| (from + ids.len(), RawBody::Ids { opening, ids, closes })),
            false => text_at(&rows.content, at).and_then(|text| piece(text, from, opening, &self.limits)),
        };
        let (to, body) = found.unwrap_or_else(|what| {
            let what = format!("{}:{record}: column {:?} {what}", self.name, self.columns.content);
            (0, RawBody::Bad { what, records: 1 })
        });
        let goes_on = matches!(body, RawBody::Ids { closes: false, .. } | RawBody::Long { closes: false, .. });
        self.place = match goes_on {
            true => FilePosition { line: to as u64, inside: true, record, ..self.place },
            false => FilePosition { skip: self.place.skip + 1, line: 0, inside: false, record, ..self.place },
        };
        rows.next += usize::from(!goes_on);
        Raw { after: self.place, file_bytes: self.file_bytes(meta), body }
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

/// A text, or the piece of a long one that begins at byte `from`, with its margins; and where it ends.
fn piece(text: &[u8], from: usize, opening: Option<Opening>, limits: &Limits) -> Result<(usize, RawBody), String> {
    let Limits { record_bytes, line_bytes, piece_bytes, margin_bytes, .. } = *limits;
    if text.len() > record_bytes {
        return Err(format!("holds {} bytes; expected at most {record_bytes}", text.len()));
    }
    if let Some(opening) = opening.as_ref().filter(|_| text.len() <= line_bytes) {
        let row = RawBody::Row { opening: opening.clone(), text: utf8(text)?.to_string() };
        return Ok((text.len(), row));
    }
    if opening.is_some() {
        // what is wrong with it is known before a part of it is read
        utf8(text)?;
    }
    if from > text.len() {
        return Err("is not what it was when it was begun".to_string());
    }
    let rest = &text[from..];
    let end = from + if rest.len() > piece_bytes { first_piece(rest, piece_bytes) } else { rest.len() };
    let begin = if from > 0 { boundary(text, from.saturating_sub(margin_bytes)) } else { 0 };
    let margin_end = boundary(text, end.saturating_add(margin_bytes).min(text.len()));
    let body = RawBody::Long {
        opening,
        text: utf8(&text[begin..margin_end])?.to_string(),
        piece: from - begin..end - begin,
        surrogates: 0,
        closes: end == text.len(),
    };
    Ok((end, body))
}

/// Refuses columns whose compression is not read; names that nobody asked for are passed over then.
fn check_codecs(name: &str, columns: &mut FieldColumns, meta: &ArrowReaderMetadata) -> Result<()> {
    let unread = |columns: &FieldColumns| {
        let mask = ProjectionMask::roots(meta.parquet_schema(), columns.roots(meta.schema(), true));
        meta.metadata().row_groups().iter().enumerate().find_map(|(k, group)| {
            let is_unread = |codec| matches!(codec, Compression::LZO | Compression::BROTLI(_));
            let wanted = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
            wanted.map(|(_, column)| column).find(|column| is_unread(column.compression())).map(|column| (k, column))
        })
    };
    if unread(columns).is_some() {
        columns.pass_over_id();
    }
    match unread(columns) {
        None => Ok(()),
        Some((k, column)) => Err(Error::request(format!(
            "the corpus file {name}: column {} is compressed by {} in row group {k}, which is not read; write the file again, for \
             example with zstd",
            column.column_path(),
            column.compression()
        ))),
    }
}
