//! The latents of one place that lie in files: which fired on the tokens of a batch?
//!
//! In Parquet an entry names its row. Of a latent cache the sequences are the documents of the corpus, each one context, in order: the document's number is that of its sequence. Their token
//! ids are compared with the context's, so a corpus of other texts, or of texts cut otherwise, ends the run.

use super::rows::check_order;
use super::table::LatentTable;
use crate::corpus::{TokenBatch, TokenView, matching_files};
use crate::error::{Error, Result};
use crate::model::sparse::SparseRows;
use crate::weights::LatentCache;
use std::collections::BTreeMap;
use std::path::Path;

/// A place whose latents lie in files.
#[derive(Clone, Debug)]
pub struct StoredLatents {
    /// What it is called: the hookpoint, with the tag of its SAE.
    pub name: String,
    /// The folder of a latent cache, or Parquet files: a path or a pattern that ends in `.parquet`.
    pub path: String,
    /// Number of latents.
    pub d_sae: usize,
    /// Latents that fire on a token at most.
    pub most: usize,
}

/// What lies there, opened.
#[derive(Debug)]
pub(super) enum Latents {
    Cache(LatentCache),
    Table(LatentTable),
}

/// Where the tokens of a batch that count are.
struct Counted {
    /// By the number of their document: their context.
    contexts: BTreeMap<u64, usize>,
    /// By context and position: the number of the token among those that count.
    token_of: Vec<Vec<Option<u32>>>,
    /// A document of two contexts.
    cut: Option<u64>,
}

impl StoredLatents {
    /// Whether they lie in Parquet files.
    pub(super) fn is_table(&self) -> bool {
        self.path.to_ascii_lowercase().ends_with(".parquet")
    }

    /// Opens what lies there; every entry of a cache is looked through. `key` is what the dataflow file calls it.
    ///
    /// # Errors
    /// Those of [`LatentCache::open`] and [`LatentTable::open`]; `Request` where a cache is of another number of latents.
    pub(super) fn open(&self, key: &str) -> Result<Latents> {
        if self.is_table() {
            let paths = matching_files(key, "latents/*.parquet", &self.path)?;
            check_order(key, &self.path, &paths)?;
            return Ok(Latents::Table(LatentTable::open(paths)?));
        }
        let cache = LatentCache::open(Path::new(&self.path))?;
        match cache.last_latent() as usize {
            last if last >= self.d_sae => Err(Error::request(format!(
                "{} goes to latent {last}, and {} has d_sae = {}; write the number of the SAE's latents",
                self.path, self.name, self.d_sae
            ))),
            last if last + 1 < self.d_sae => Err(Error::request(format!(
                "{} ends with latent {last}, and {} has d_sae = {}; write d_sae = {}, or copy the splits that are missing",
                self.path,
                self.name,
                self.d_sae,
                last + 1
            ))),
            _ => Ok(Latents::Cache(cache)),
        }
    }

    /// Bytes that a batch of `n_tokens` takes at most while it is read from `latents`, where that is here.
    pub(super) fn memory_bytes(&self, latents: Option<&Latents>, n_tokens: u64) -> u64 {
        // an entry with its token
        let entries = n_tokens.saturating_mul(self.most as u64).saturating_mul(16);
        let reading = match latents {
            Some(Latents::Table(table)) => table.reading_bytes(),
            Some(Latents::Cache(_)) | None => LatentCache::reading_bytes(),
        };
        entries.saturating_add(reading).saturating_add(n_tokens.saturating_mul(16 + 8))
    }

    /// The latents of each token of `view` that counts.
    ///
    /// # Errors
    /// `Input` naming file, document and token where sequences are not the corpus', or a latent is wrong; those of reading.
    pub(super) fn read(&self, latents: &Latents, batch: &TokenBatch, view: &TokenView) -> Result<SparseRows> {
        let mut entries: Vec<(u32, u32, f32)> = Vec::new();
        let tokens = view.token_numbers();
        let n_tokens = (tokens.end - tokens.start) as u32;
        let mut n_of_token = vec![0usize; n_tokens as usize];
        let mut take = |token: u32, latent: u32, activation: f32| {
            if activation != 0.0 {
                n_of_token[token as usize] += 1;
                // no more is held than was planned for
                if n_of_token[token as usize] > self.most {
                    let what = format!("more than {} latents fire; raise `most`", self.most);
                    return Err(self.wrong(&what, token, batch, view));
                }
                entries.push((token, latent, activation));
            }
            Ok(())
        };
        match latents {
            Latents::Table(table) => {
                let first = tokens.start;
                table.entries(first, u64::from(n_tokens), |row, latent, value| {
                    take((row - first) as u32, latent, value)
                })?;
            }
            Latents::Cache(cache) => {
                let counted = Counted::of(batch, view);
                self.check_tokens(cache, batch, view, &counted)?;
                let ends = [counted.contexts.keys().next(), counted.contexts.keys().next_back()];
                if let [Some(&first), Some(&last)] = ends {
                    cache.entries(first..last + 1, |firing| {
                        let context = counted.contexts.get(&u64::from(firing.sequence));
                        let token =
                            context.and_then(|&c| counted.token_of[c].get(firing.position as usize).copied()?);
                        token.map_or(Ok(()), |token| take(token, firing.latent, firing.activation))
                    })?;
                }
            }
        }
        entries.sort_by_key(|(token, latent, _)| (*token, *latent));
        let mut out = SparseRows::default();
        let (mut rest, mut row) = (entries.as_slice(), Vec::new());
        for token in 0..n_tokens {
            let (own, after) = rest.split_at(rest.partition_point(|(of, ..)| *of == token));
            row.clear();
            row.extend(own.iter().map(|(_, latent, value)| (*latent, *value)));
            out.push(&mut row, (self.d_sae, self.most)).map_err(|what| self.wrong(&what, token, batch, view))?;
            rest = after;
        }
        Ok(out)
    }

    /// Refuses contexts that are not the sequences of their number.
    fn check_tokens(&self, cache: &LatentCache, batch: &TokenBatch, view: &TokenView, counted: &Counted) -> Result<()> {
        let way = "make the corpus of the cache's tokens, a document for each sequence, with their length as context_length and bos as they have it";
        if let Some(document) = counted.cut {
            return Err(Error::input(format!(
                "{}: document {document} of the corpus is cut into several contexts, and a sequence of the cache is one; {way}",
                self.path
            )));
        }
        for (&sequence, &context) in &counted.contexts {
            let ids = &view.contexts[context].ids;
            let row = view.contexts[context].tokens().next().map_or(0, |(row, _)| row);
            let document = &batch.document_of(row).name;
            let told = |what: String| {
                Err(Error::input(format!(
                    "{}: {what} (document {document}, batch {}, context {context}); {way}",
                    self.path, batch.index
                )))
            };
            if sequence >= cache.n_sequences() {
                return told(format!(
                    "it has {} sequences, and the corpus has a document {sequence}",
                    cache.n_sequences()
                ));
            }
            if ids.len() != cache.length() {
                return told(format!(
                    "its sequences have {} tokens, and the corpus has a context of {} as its document {sequence}",
                    cache.length(),
                    ids.len()
                ));
            }
            if let Some((file, position, id)) = cache.first_difference(sequence, ids)? {
                let (file, here) = (file.display(), ids[position]);
                return told(format!(
                    "sequence {sequence} of {file} has token {id} at position {position}, and the corpus has {here} there"
                ));
            }
        }
        Ok(())
    }

    fn wrong(&self, what: &str, token: u32, batch: &TokenBatch, view: &TokenView) -> Error {
        let (row, context, position) = view.tokens().nth(token as usize).expect("a token that counts");
        Error::input(format!(
            "{}: {what}, document {}, batch {}, context {context}, position {position}",
            self.path,
            batch.document_of(row).name,
            batch.index
        ))
    }
}

impl Latents {
    /// Its files.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Latents::Cache(cache) => cache.paths().collect(),
            Latents::Table(table) => table.paths().collect(),
        }
    }
}

impl Counted {
    fn of(batch: &TokenBatch, view: &TokenView) -> Counted {
        let mut out = Counted { contexts: BTreeMap::new(), token_of: Vec::new(), cut: None };
        let mut n_tokens = 0;
        for (k, context) in view.contexts.iter().enumerate() {
            let mut token_of = vec![None; context.ids.len()];
            for (row, position) in context.tokens() {
                token_of[position] = Some(n_tokens);
                n_tokens += 1;
                let number = batch.document_of(row).number;
                if out.contexts.insert(number, k).is_some_and(|before| before != k) {
                    out.cut = Some(number);
                }
            }
            out.token_of.push(token_of);
        }
        out
    }
}
