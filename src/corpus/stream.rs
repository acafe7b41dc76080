//! The corpus as a stream of batches, seekable to any batch.

use super::batch::{Document, LeftOut, TokenBatch};
use super::check::{Unpacking, check_files, check_keys};
use super::cursor::{Again, Cursor, ReaderState};
use super::facts::{CorpusFacts, Progress, most_tokens};
use super::files::{CorpusFile, list, list_here};
use super::handed::{AnyCutter, Filling, Handed};
use super::options::{CorpusOptions, OnBadRecord};
use super::parse::{Bad, Unit};
use super::prefetch::Ahead;
use super::reader::Reader;
use super::record::{FilePosition, Limits};
use super::tokenizer::Tokenizer;
use super::trail::{Chain, digest_of_raw};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of bad records whose descriptions are kept.
const FIRST_SKIPS: usize = 8;

/// A corpus being read. Which batch comes is a pure function of the options, the files and the batch's number: neither
/// threads nor restarts nor how far it reads ahead change it.
pub struct Corpus {
    options: CorpusOptions,
    /// One per view.
    tokenizers: Vec<Arc<Tokenizer>>,
    limits: Limits,
    files: Vec<CorpusFile>,
    /// Most memory that unpacking one file takes.
    window_bytes: u64,
    /// Most memory that decoding pages of a Parquet file takes.
    pages_bytes: u64,
    ahead: Ahead,
    cutter: AnyCutter,
    /// Number and first row of the next batch.
    batch: u64,
    rows: u64,
    /// Of each view, tokens that belong to a row in all batches before it.
    tokens: Vec<u64>,
    /// Before the record being cut, and after it.
    before: ReaderState,
    after: ReaderState,
    /// Contexts of that record: handed out, and waiting.
    handed_out: u64,
    waiting: VecDeque<Handed>,
    /// Position of the next batch, as of the last whole one.
    cursor: Cursor,
    /// What an earlier pass over the corpus read.
    earlier: Option<Box<Cursor>>,
    failed: Option<Error>,
}

impl Corpus {
    /// Opens the corpus at its first batch. Files are listed, Parquet schemas checked; nothing else is read.
    ///
    /// # Errors
    /// `Request` for options that fit neither each other, the tokenizer nor the files; `Input` for a damaged Parquet
    /// file unless bad records are skipped.
    pub fn open(options: CorpusOptions, tokenizer: Arc<Tokenizer>) -> Result<Corpus> {
        Self::open_within(options, vec![tokenizer], Limits::default())
    }

    /// The same for several tokenizers, whose views batches have in their order. More than one takes rows that are pieces of text
    /// ([`RowRule::Spans`](super::RowRule::Spans)).
    ///
    /// # Errors
    /// As [`Corpus::open`].
    ///
    /// # Panics
    /// Without a tokenizer.
    pub fn open_views(options: CorpusOptions, tokenizers: Vec<Arc<Tokenizer>>) -> Result<Corpus> {
        Self::open_within(options, tokenizers, Limits::default())
    }

    /// The files that exist, not opened, and the patterns that match no file. An unknown ending is an error in both.
    ///
    /// # Errors
    /// `Request` for a pattern that is malformed or an ending that names no format.
    pub fn list(options: &CorpusOptions) -> Result<(Vec<CorpusFile>, Vec<String>)> {
        list_here(&options.files, options.format)
    }

    /// The same within other bounds of memory.
    pub(super) fn open_within(
        options: CorpusOptions,
        tokenizers: Vec<Arc<Tokenizer>>,
        limits: Limits,
    ) -> Result<Corpus> {
        if options.batch_contexts == 0 {
            return Err(Error::request("[corpus] batch_contexts is 0; expected at least 1"));
        }
        if ![2, 4].contains(&options.bin_token_bytes) {
            return Err(Error::request(format!(
                "[corpus] bin_token_bytes is {}; expected 2 or 4, the bytes of one id in .bin files",
                options.bin_token_bytes
            )));
        }
        options.sample.map_or(Ok(()), |sample| sample.check())?;
        let cutter = AnyCutter::new(&options, &tokenizers)?;
        let files = list(&options.files, options.format)?;
        let Unpacking { window_bytes, pages, all_pages } = check_files(&files, &options, limits)?;
        let page_bytes = if all_pages { limits.page_bytes } else { pages.largest };
        let limits = Limits { page_bytes, ..limits };
        let mut corpus = Corpus {
            ahead: Ahead::new(0, FilePosition::default(), None, limits),
            cutter,
            batch: 0,
            rows: 0,
            tokens: vec![0; tokenizers.len()],
            before: ReaderState::default(),
            after: ReaderState::default(),
            handed_out: 0,
            waiting: VecDeque::new(),
            cursor: Cursor::default(),
            earlier: None,
            failed: None,
            options,
            tokenizers,
            limits,
            files,
            window_bytes,
            pages_bytes: pages.memory,
        };
        corpus.cursor = corpus.position();
        Ok(corpus)
    }

    /// Refuses keys that name nothing in the files, for example a label that none of the first records has. Called once, before
    /// a run.
    ///
    /// # Errors
    /// `Request` naming the key and what exists; the errors of reading the first records.
    pub fn check_keys(&self) -> Result<()> {
        check_keys(&self.files, &self.options, self.limits)
    }

    /// The next batch: `batch_contexts` contexts, fewer in the last batch; `None` after the last batch or at `max_tokens`.
    ///
    /// # Errors
    /// `Input` naming file and line or row for a malformed record (unless such are skipped), and for a corpus that holds
    /// no context; `Machine` when reading fails. An error is given again by every later call, until [`Corpus::seek`].
    pub fn next_batch(&mut self) -> Result<Option<TokenBatch>> {
        if let Some(e) = &self.failed {
            return Err(e.clone());
        }
        if self.options.max_tokens > 0 && self.rows >= self.options.max_tokens {
            return Ok(None);
        }
        let result = self.collect();
        match &result {
            Err(e) => self.failed = Some(e.clone()),
            Ok(Some(batch)) => {
                self.batch += 1;
                self.rows += batch.n_rows() as u64;
                self.tokens = batch.views.iter().map(|view| view.token_numbers().end).collect();
                self.cursor = self.position();
            }
            Ok(None) => {}
        }
        result
    }

    /// Position of the next batch: what a manifest remembers.
    pub fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }

    /// Goes to a position that [`Corpus::cursor`] gave, of this corpus or of one opened with the same options on the
    /// same files. Of what is behind, at most the compressed member or frame, or the pages of the row group, is read; files that
    /// were touched since are read up to the position, to see that they are what they were. What lies behind it may have been mended.
    ///
    /// # Errors
    /// `State` naming a file that is not what it was; `Request` or `Machine` when a file cannot be read.
    pub fn seek(&mut self, cursor: &Cursor) -> Result<()> {
        for file in &mut self.files {
            *file = CorpusFile::look(file.path.clone())?;
        }
        if let Some(earlier) = &cursor.earlier {
            self.find(earlier)?;
        }
        let place = self.find(cursor)?;
        let standing = ReaderState { place, ..cursor.standing.clone() };
        self.ahead = Ahead::new(standing.file, place, standing.key, self.limits);
        self.cutter.load(&standing);
        (self.batch, self.rows) = (cursor.batch, cursor.rows);
        // where they were not counted each token was a row, or nothing asks for them: runs over files of tokens are counted
        self.tokens = match cursor.tokens.len() == self.tokenizers.len() {
            true => cursor.tokens.clone(),
            false => vec![cursor.rows; self.tokenizers.len()],
        };
        (self.before, self.after) = (standing.clone(), standing);
        self.handed_out = 0;
        self.waiting.clear();
        self.failed = None;
        self.earlier = cursor.earlier.clone();
        if cursor.handed_out > 0 {
            self.cut_next()?;
            if (self.waiting.len() as u64) < cursor.handed_out || self.after.trail.here != cursor.with_record {
                return Err(Error::state(format!(
                    "the corpus file {} is not what it was in record {}, where the run is; restore it, or restart with --fresh: only \
                     what lies behind may be mended",
                    self.files[cursor.standing.file.min(self.files.len() - 1)].path.display(),
                    self.after.place.record
                )));
            }
            self.waiting.drain(..cursor.handed_out as usize);
            self.handed_out = cursor.handed_out;
        }
        self.cursor = self.position();
        Ok(())
    }

    /// Notes what an earlier pass over the same files read. When this pass resumes, it must read the same records.
    pub fn follow(&mut self, earlier: Cursor) {
        self.earlier = Some(Box::new(earlier));
        self.cursor = self.position();
    }

    /// Where the place of a cursor lies now.
    fn find(&self, cursor: &Cursor) -> Result<FilePosition> {
        let (options, tokenizer) = (&self.options, &self.tokenizers[0]);
        cursor.find(&self.files, &mut |file, steps| {
            let eos = tokenizer.eos_id().filter(|_| options.split_at_eos);
            let name = self.files[file].path.display().to_string();
            let mut reader = Reader::open(&self.files[file].path, options, eos, FilePosition::default(), self.limits)?;
            let mut again = Again { chain: Chain::default(), place: FilePosition::default(), at_end: false };
            while again.chain.steps < steps {
                let Some(raw) = reader.next()? else { break };
                again.chain.add(digest_of_raw(&raw, &name, options));
                again.place = raw.after;
            }
            again.at_end = reader.next()?.is_none();
            Ok(again)
        })
    }

    /// How far the batches handed out have come.
    pub fn progress(&self) -> Progress {
        let bytes_total = self.files.iter().map(|f| f.size_bytes).sum();
        let files_done = &self.files[..self.after.file.min(self.files.len())];
        let before: u64 = files_done.iter().map(|f| f.size_bytes).sum();
        let inside = self.files.get(self.after.file).map_or(0, |f| self.after.file_bytes.min(f.size_bytes));
        Progress {
            bytes_done: before + inside,
            bytes_total,
            documents: self.after.counts.documents,
            left_out_documents: self.after.counts.left_out,
            skipped_records: self.after.skipped_records,
            split_documents: self.after.split_documents,
            in_no_row: self.after.spans.as_ref().map_or(LeftOut::default(), |spans| spans.contexts.all_left_out),
            labelled: self.after.labelled.clone(),
            first_skips: self.after.first_skips.clone(),
            replaced_surrogates: self.after.replaced_surrogates,
            first_surrogate: self.after.first_surrogate.clone(),
        }
    }

    /// The files, in reading order.
    pub fn files(&self) -> &[CorpusFile] {
        &self.files
    }

    /// The options it was opened with.
    pub fn options(&self) -> &CorpusOptions {
        &self.options
    }

    /// The tokenizers it was opened with, one per view.
    pub fn tokenizers(&self) -> &[Arc<Tokenizer>] {
        &self.tokenizers
    }

    /// Facts about the corpus that a plan prints.
    pub fn facts(&self) -> CorpusFacts {
        let read = |ids: Vec<Option<u32>>| {
            let text = |(id, tokenizer): (Option<u32>, &Arc<Tokenizer>)| Some((id?, tokenizer.token_text(id?)));
            ids.into_iter().zip(&self.tokenizers).map(text).collect()
        };
        CorpusFacts {
            n_files: self.files.len(),
            size_bytes: self.files.iter().map(|f| f.size_bytes).sum(),
            window_bytes: self.window_bytes,
            pages_bytes: self.pages_bytes,
            most_tokens: most_tokens(&self.files, &self.options, &self.tokenizers),
            vocab_size: self.tokenizers.iter().map(|t| t.vocab_size()).collect(),
            bos: read(self.cutter.bos_ids()),
            eos: read(self.cutter.eos_ids()),
        }
    }

    fn collect(&mut self) -> Result<Option<TokenBatch>> {
        let mut filling = Filling::new(self.batch, self.rows, &self.tokens);
        let mut n_contexts = 0;
        while n_contexts < self.options.batch_contexts {
            if let Some(cut) = self.waiting.pop_front() {
                // rows of several contexts stay together, and a batch within its contexts
                if n_contexts > 0 && n_contexts + cut.counts_as() > self.options.batch_contexts {
                    self.waiting.push_front(cut);
                    break;
                }
                self.handed_out += 1;
                n_contexts += cut.counts_as();
                filling.add(cut);
            } else if self.after.is_through {
                break;
            } else {
                self.cut_next()?;
            }
        }
        if n_contexts > 0 {
            return Ok(Some(filling.batch));
        }
        if self.batch == 0 { Err(self.nothing_there()) } else { Ok(None) }
    }

    /// Cuts the next record into contexts that wait to be handed out.
    fn cut_next(&mut self) -> Result<()> {
        self.before = self.after.clone();
        self.handed_out = 0;
        let mut cuts = Vec::new();
        match self.ahead.next(&self.files, &self.options, &self.tokenizers)? {
            Some((file, Unit { after, file_bytes, digest, key, body })) => {
                let now = &mut self.after;
                (now.file, now.place, now.file_bytes, now.key) = (file, after, file_bytes, Some(key));
                now.trail.reach(file, &self.files);
                now.trail.here.add(digest);
                match body {
                    Ok(piece) => {
                        if let Some(opening) = &piece.opening {
                            now.labelled.resize(opening.labels.len(), 0);
                            for (n, value) in now.labelled.iter_mut().zip(&opening.labels) {
                                *n += u64::from(value.is_some());
                            }
                            let (name, labels) = (opening.name.as_str().into(), opening.labels.clone());
                            let document =
                                Document { file: key, record: after.record, name, labels, ..Document::default() };
                            self.cutter.open(document, &mut now.counts);
                        }
                        // counted once, at the first cut where it shows
                        now.split_here &= piece.opening.is_none();
                        now.split_documents += u64::from(piece.split && !now.split_here);
                        now.split_here |= piece.split;
                        if let Some((halves, place)) = &piece.surrogates {
                            now.replaced_surrogates += halves;
                            now.first_surrogate.get_or_insert_with(|| place.clone());
                        }
                        self.cutter.push(&piece, &mut now.counts, &mut cuts);
                    }
                    Err(Bad { what, .. }) if self.options.on_bad_record == OnBadRecord::Error => {
                        return Err(Error::input(format!(
                            "read the corpus: {what}; mend it, or leave such records out with on_bad_record = \"skip\", then run \
                             the same command again"
                        )));
                    }
                    Err(Bad { what, records }) => {
                        now.skipped_records += records;
                        if now.first_skips.len() < FIRST_SKIPS {
                            now.first_skips.push(what.chars().take(400).collect());
                        }
                        self.cutter.close(&mut now.counts, &mut cuts);
                    }
                }
            }
            None => {
                self.cutter.finish(&mut self.after.counts, &mut cuts);
                self.after.file = self.files.len();
                self.after.trail.reach(self.files.len(), &self.files);
                self.after.place = FilePosition::default();
                self.after.key = None;
                self.after.file_bytes = 0;
                self.after.is_through = true;
            }
        }
        self.cutter.save(&mut self.after);
        self.waiting.extend(cuts);
        Ok(())
    }

    /// Where the next batch begins: behind a record where all its contexts are handed out, else before it.
    fn position(&self) -> Cursor {
        let whole = self.waiting.is_empty();
        let standing = if whole { &self.after } else { &self.before };
        let handed_out = if whole { 0 } else { self.handed_out };
        let counts = [self.batch, self.rows, handed_out];
        let tokens = self.tokens.clone();
        Cursor::new(counts, tokens, standing.clone(), self.after.trail.here, &self.files, self.earlier.clone())
    }

    fn nothing_there(&self) -> Error {
        if let (Some(sample), 1.., 0) = (self.options.sample, self.after.counts.left_out, self.after.counts.documents) {
            return Error::input(format!(
                "[corpus] sample with fraction = {} and seed = {} keeps none of the {} documents of the corpus ({}); keep more",
                sample.fraction,
                sample.seed,
                self.after.counts.left_out,
                self.options.files.join(", ")
            ));
        }
        let (documents, skipped) = (self.after.counts.documents, self.after.skipped_records);
        let files = self.options.files.join(", ");
        Error::input(match (documents, self.after.first_skips.first()) {
            (0, None) => format!("the corpus ({files}) holds no document; check [corpus] files"),
            (0, Some(first)) => {
                format!(
                    "the corpus ({files}) holds no good document: {skipped} records were skipped, the first as {first}"
                )
            }
            _ => format!(
                "the corpus ({files}) gives no context: its {documents} documents are empty or, with remainder = \"drop\", \
                 shorter than context_length = {}",
                self.options.context_length
            ),
        })
    }
}
