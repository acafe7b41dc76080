//! The rows of one place over all its files, in order: which files, how many rows, and what are some of them?

use super::options::RowFiles;
use crate::corpus::{TokenBatch, TokenView, matching_files};
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::BatchIndex;
use crate::weights::RowFile;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The files of a place.
#[derive(Debug)]
pub(super) struct Rows {
    /// Each with the number of its first row.
    files: Vec<(u64, RowFile)>,
    /// Rows in all of them.
    pub n_rows: u64,
}

impl Rows {
    /// Opens the files of `place`, which is `width` wide: their headers are read, and no row.
    ///
    /// # Errors
    /// `Request` for a pattern without files, a file that is named twice, names whose order is not clear, another width; those of
    /// [`RowFile::open`].
    pub fn open(key: &str, place: &str, width: usize, written: &RowFiles) -> Result<Rows> {
        let mut rows = Rows { files: Vec::new(), n_rows: 0 };
        let mut named: BTreeMap<PathBuf, &String> = BTreeMap::new();
        for pattern in &written.paths {
            let paths = matching_files(key, "acts/*.safetensors", pattern)?;
            check_order(key, pattern, &paths)?;
            for path in paths {
                let real = disk::canonicalize(&path).map_err(|e| Error::io("look at", &path, &e))?;
                if let Some(before) = named.insert(real, pattern) {
                    return Err(Error::request(format!(
                        "{key} names {} twice, by {before:?} and by {pattern:?}; its rows would be taken twice: name it once",
                        path.display()
                    )));
                }
                let file = RowFile::open(&path, place, written.tensor.as_deref())?;
                if file.width() != width {
                    return Err(Error::request(format!(
                        "{}: tensor {:?} is {} wide, {place} is {width} wide; check the files, or the model's sizes in the dataflow file",
                        path.display(),
                        file.tensor(),
                        file.width()
                    )));
                }
                let first = rows.n_rows;
                rows.n_rows = first
                    .checked_add(file.n_rows())
                    .ok_or_else(|| Error::input(format!("{key}: the files claim more rows than can be counted")))?;
                rows.files.push((first, file));
            }
        }
        Ok(rows)
    }

    /// The files, in order.
    pub fn files(&self) -> impl Iterator<Item = &RowFile> {
        self.files.iter().map(|(_, file)| file)
    }

    /// Which file holds row `row`, and as which of its own; the last one where they end before.
    pub fn place_of(&self, row: u64) -> (&Path, u64) {
        let at = self.files.partition_point(|(first, _)| *first <= row).max(1) - 1;
        let (first, file) = &self.files[at];
        (file.path(), row - first)
    }

    /// The rows of some tokens in their files: (file, its first row, which of these).
    fn spans(&self, tokens: Range<u64>) -> impl Iterator<Item = (&RowFile, u64, Range<usize>)> {
        let (first, end) = (tokens.start, tokens.end);
        let begin = self.files.partition_point(|(own, file)| own + file.n_rows() <= first);
        self.files[begin..].iter().take_while(move |(own, _)| *own < end).filter_map(move |(own, file)| {
            let (from, to) = (first.max(*own), end.min(own + file.n_rows()));
            (from < to).then(|| (file, from - own, (from - first) as usize..(to - first) as usize))
        })
    }

    /// Refuses rows that are not there; `wanted`: how many the corpus has up to and with batch `index`.
    ///
    /// # Errors
    /// `Input` naming the last file and how many rows there are.
    pub fn check_reach(&self, place: &str, wanted: u64, index: BatchIndex) -> Result<()> {
        if wanted <= self.n_rows {
            return Ok(());
        }
        let last = self.files.last().map_or(Path::new(""), |(_, file)| file.path());
        let n = self.files.len();
        Err(Error::input(format!(
            "the {n} file{} of {place} end{} with row {} of {}: they hold {} rows together, and the corpus has more (batch {} goes to row \
             {wanted}); they are of another corpus, context_length or bos, or some are missing; corpus.max_tokens may end the run before",
            if n == 1 { "" } else { "s" },
            if n == 1 { "s" } else { "" },
            self.n_rows.saturating_sub(self.files.last().map_or(0, |(first, _)| *first)),
            last.display(),
            self.n_rows,
            index,
        )))
    }

    /// Compares the ids stored with the rows of a batch with those of its tokens.
    ///
    /// # Errors
    /// `Input` naming file, row and both ids of the first that differs; those of reading.
    pub fn check_ids(&self, batch: &TokenBatch, view: &TokenView) -> Result<()> {
        let mut tokens = view.tokens();
        for (file, first, rows) in self.spans(view.token_numbers()) {
            let Some(ids) = file.ids(first, rows.len())? else {
                tokens.by_ref().take(rows.len()).for_each(drop);
                continue;
            };
            for (k, (stored, (row, context, position))) in ids.into_iter().zip(tokens.by_ref()).enumerate() {
                let id = view.contexts[context].ids[position];
                if stored != i128::from(id) {
                    return Err(Error::input(format!(
                        "{}: row {} is of token {stored} by its tensor {:?}, and the corpus has token {id} there ({}); the rows are of \
                         another corpus, tokenizer, context_length or bos",
                        file.path().display(),
                        first + k as u64,
                        file.ids_tensor().unwrap_or_default(),
                        whose(batch, row, context, position)
                    )));
                }
            }
        }
        Ok(())
    }

    /// The rows of some tokens: `out` is `[n_tokens, width]`.
    ///
    /// # Errors
    /// Those of [`RowFile::read`].
    pub fn read(&self, tokens: &Range<u64>, width: usize, out: &mut [f32]) -> Result<()> {
        for (file, first, rows) in self.spans(tokens.clone()) {
            file.read(first, &mut out[rows.start * width..rows.end * width])?;
        }
        Ok(())
    }
}

/// Whether there is a file of that path or pattern.
pub(super) fn is_here(pattern: &str) -> bool {
    matching_files("", "", pattern).is_ok()
}

/// Where a token of a batch is, for messages.
pub(super) fn whose(batch: &TokenBatch, row: usize, context: usize, position: usize) -> String {
    format!(
        "row {} of the corpus: document {}, batch {}, context {context}, position {position}",
        batch.first_row + row as u64,
        batch.document_of(row).name,
        batch.index
    )
}

/// Refuses names that count without leading zeros: their byte order is not the order that is meant.
pub(super) fn check_order(key: &str, pattern: &str, paths: &[PathBuf]) -> Result<()> {
    let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    match names.windows(2).find(|pair| as_counted(&pair[0], &pair[1]) == Ordering::Greater) {
        None => Ok(()),
        Some(pair) => Err(Error::request(format!(
            "{key}: of the files of {pattern:?}, which are read in byte order, {} comes before {}, and by their numbers it would come \
             after; give the numbers leading zeros, or list the files in order",
            pair[0], pair[1]
        ))),
    }
}

/// How two names compare where runs of digits are numbers.
fn as_counted(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let number = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let ([m, n], trimmed) = ([number(a), number(b)], |text: &'_ str| text.trim_start_matches('0').len());
        if m > 0 && n > 0 {
            let (x, y) = (&a[..m], &b[..n]);
            let by_value =
                trimmed(x).cmp(&trimmed(y)).then_with(|| x.trim_start_matches('0').cmp(y.trim_start_matches('0')));
            if by_value != Ordering::Equal {
                return by_value;
            }
            (a, b) = (&a[m..], &b[n..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let order = |paths: &[&str]| check_order("k", "*", &paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        for fine in [
            &["a", "b", "c"][..],
            &["acts-00", "acts-01", "acts-10"],
            &["s-00001-of-00003", "s-00002-of-00003", "s-00003-of-00003"],
            &["0_9.x", "10_19.x", "20_29.x"],
            &["v2/part-1", "v2/part-2", "v2b"],
            &[],
        ] {
            order(fine).unwrap_or_else(|e| panic!("{fine:?}: {e}"));
        }
        for wrong in [&["acts-1", "acts-10", "acts-2"][..], &["a", "p10x", "p9x"], &["x/10/a", "x/9/a"]] {
            let said = order(wrong).unwrap_err().to_string();
            assert!(said.contains("leading zeros") && said.contains(wrong[wrong.len() - 1]), "{said}");
        }
    }
}
