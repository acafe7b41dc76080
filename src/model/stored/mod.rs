//! What were the activations of a model that ran elsewhere? They are read from safetensors files with a row for each
//! counted token of the corpus, as the model's own tokenizer cuts it, in its order; batch by batch their rows become
//! the same activations that a forward gives.
//!
//! A view of a batch has the number of counted tokens before it, and rows are read by their position. So nothing is
//! read twice, a run resumes anywhere, and the workers need no order. The files may hold the ids of their tokens too,
//! which are compared with the corpus'; without ids nothing shows that a row is of the token that it is taken for.

mod latents;
mod options;
mod rows;
mod table;
#[cfg(test)]
mod tests;

pub use latents::StoredLatents;
pub use options::RowFiles;

use crate::corpus::{TokenBatch, TokenView};
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use crate::model::activations::ActivationBatch;
use crate::model::pool::buffer;
use crate::model::sparse::SparseRows;
use crate::weights::RowFile;
use latents::Latents;
use rayon::prelude::*;
use rows::{Rows, is_here, whose};
use std::path::Path;
use std::sync::OnceLock;

/// A model whose activations lie in files. They are looked for at the first question.
#[derive(Debug)]
pub struct Stored {
    model: String,
    /// By hookpoint, ascending.
    places: Vec<StoredPlace>,
    latents: Vec<StoredLatents>,
    open: OnceLock<Result<Opened>>,
}

/// What was found.
#[derive(Debug)]
struct Opened {
    /// By place.
    rows: Vec<Rows>,
    /// By place of latents.
    latents: Vec<Latents>,
}

/// A hookpoint whose rows lie in files.
#[derive(Clone, Debug)]
pub struct StoredPlace {
    /// Which.
    pub hookpoint: Hookpoint,
    /// Values of a row.
    pub width: usize,
    /// Where they are.
    pub files: RowFiles,
}

impl Stored {
    /// The files of `model`.
    pub fn new(model: &str, places: Vec<StoredPlace>, latents: Vec<StoredLatents>) -> Stored {
        Stored { model: model.to_string(), places, latents, open: OnceLock::new() }
    }

    /// Where they are, for people.
    pub fn in_words(&self) -> String {
        let of = |place: &StoredPlace| format!("{} in {}", place.hookpoint, place.files.paths.join(", "));
        let latents = self.latents.iter().map(|l| format!("latents of {} in {}", l.name, l.path));
        self.places.iter().map(of).chain(latents).collect::<Vec<_>>().join("; ")
    }

    /// Paths and patterns for which there is no file here.
    pub fn missing(&self) -> Vec<&str> {
        let all = self.places.iter().flat_map(|place| &place.files.paths).map(String::as_str);
        let is_there =
            |l: &&StoredLatents| if l.is_table() { is_here(&l.path) } else { disk::is_dir(Path::new(&l.path)) };
        let latents = self.latents.iter().filter(|l| !is_there(l)).map(|l| l.path.as_str());
        all.filter(|path| !is_here(path)).chain(latents).collect()
    }

    /// Looks for the files and reads their headers, where that was not done.
    ///
    /// # Errors
    /// `Request` for files that are not here or do not fit the model, `Input` for damaged ones; each is named.
    pub fn check(&self) -> Result<()> {
        self.opened().map(|_| ())
    }

    /// Number of files of activations and of rows in them, the same at every place.
    ///
    /// # Errors
    /// As [`Stored::check`].
    pub fn sizes(&self) -> Result<(usize, u64)> {
        let rows = &self.opened()?.rows;
        Ok((rows.iter().map(|rows| rows.files().count()).sum(), rows.first().map_or(0, |rows| rows.n_rows)))
    }

    /// Whether every file holds the token ids of its rows.
    ///
    /// # Errors
    /// As [`Stored::check`].
    pub fn has_ids(&self) -> Result<bool> {
        Ok(!self.latents.iter().any(StoredLatents::is_table)
            && self.opened()?.rows.iter().flat_map(Rows::files).all(|file| file.ids_tensor().is_some()))
    }

    /// What lies in which files, in words; each file with the tensor that is read of it, where one is chosen.
    ///
    /// # Errors
    /// As [`Stored::check`].
    pub fn files(&self) -> Result<Vec<(String, Vec<(&Path, &str)>)>> {
        let opened = self.opened()?;
        let rows = self.places.iter().zip(&opened.rows).map(|(place, rows)| {
            (place.hookpoint.to_string(), rows.files().map(|file| (file.path(), file.tensor())).collect())
        });
        let caches = self.latents.iter().zip(&opened.latents).map(|(of, latents)| {
            (format!("latents of {}", of.name), latents.paths().into_iter().map(|path| (path, "")).collect())
        });
        Ok(rows.chain(caches).collect())
    }

    /// Bytes that reading a batch of `n_tokens` takes at most, beside the activations.
    pub fn memory_bytes(&self, n_tokens: u64) -> u64 {
        /// Of a file's header that are kept, with room.
        const FILE_BYTES: u64 = 1 << 10;
        /// Of a row's id, as it is stored and as it is compared.
        const ID_BYTES: u64 = 8 + 16;
        let threads = rayon::current_num_threads() as u64;
        let widest = self.places.iter().map(|place| place.width).max().unwrap_or(0);
        let n_files = self.sizes().map_or(self.places.len(), |(n_files, _)| n_files) as u64;
        let ids = n_tokens.saturating_mul(ID_BYTES);
        let opened = self.opened().ok();
        let latents = self.latents.iter().enumerate();
        let latents =
            latents.map(|(k, l)| l.memory_bytes(opened.map(|opened| &opened.latents[k]), n_tokens)).sum::<u64>();
        RowFile::reading_bytes(widest, threads)
            .saturating_add(latents)
            .saturating_add(ids)
            .saturating_add(n_files * FILE_BYTES)
    }

    /// What the files hold at `hookpoints`, each of which is among theirs, as [`forward`](crate::model::forward) gives it, and all latents
    /// that lie in some. Ids are compared with those of the batch first.
    ///
    /// # Errors
    /// As [`Stored::check`]; `Input` naming file and row where the files end, an id differs or a value
    /// is not finite; those of reading.
    pub fn read(
        &self,
        batch: &TokenBatch,
        view: &TokenView,
        hookpoints: &[Hookpoint],
    ) -> Result<(Vec<ActivationBatch>, Vec<SparseRows>)> {
        let opened = self.opened()?;
        let tokens = view.token_numbers();
        let n = (tokens.end - tokens.start) as usize;
        let read = |&hookpoint: &Hookpoint| {
            let at = self.places.iter().position(|place| place.hookpoint == hookpoint);
            let at = at.ok_or_else(|| Error::request(format!("no files are named for {hookpoint}")))?;
            let (rows, width, name) = (&opened.rows[at], self.places[at].width, hookpoint.to_string());
            rows.check_reach(&name, tokens.end, batch.index)?;
            rows.check_ids(batch, view)?;
            let mut out = buffer(n * width);
            rows.read(&tokens, width, &mut out)?;
            check_finite(rows, &out, width, (batch, view))?;
            Ok(ActivationBatch { hookpoint, x: Matrix::from_vec(n, width, out), there: None })
        };
        let activations = hookpoints.iter().map(read).collect::<Result<_>>()?;
        let latents = self.latents.iter().zip(&opened.latents).map(|(of, latents)| of.read(latents, batch, view));
        Ok((activations, latents.collect::<Result<_>>()?))
    }

    fn opened(&self) -> Result<&Opened> {
        self.open.get_or_init(|| self.open_all()).as_ref().map_err(Clone::clone)
    }

    fn open_all(&self) -> Result<Opened> {
        let open = |place: &StoredPlace| {
            let name = place.hookpoint.to_string();
            Rows::open(&format!("models.{}.files.{name:?}", self.model), &name, place.width, &place.files)
        };
        let all = self.places.iter().map(open).collect::<Result<Vec<Rows>>>()?;
        for (place, rows) in self.places.iter().zip(&all).skip(1) {
            if rows.n_rows != all[0].n_rows {
                return Err(Error::request(format!(
                    "its files hold {} rows of {} and {} of {}; rows are the counted tokens of one corpus, as many at every place: check \
                     that no file is missing",
                    all[0].n_rows, self.places[0].hookpoint, rows.n_rows, place.hookpoint
                )));
            }
        }
        let open = |l: &StoredLatents| l.open(&format!("saes.\"{}/{}\".stored.path", self.model, l.name));
        Ok(Opened { rows: all, latents: self.latents.iter().map(open).collect::<Result<_>>()? })
    }
}

/// Refuses a value that is not finite.
///
/// # Errors
/// `Input` naming file, row, feature and token.
fn check_finite(rows: &Rows, x: &[f32], width: usize, (batch, view): (&TokenBatch, &TokenView)) -> Result<()> {
    let finite = |x: &[f32]| x.iter().all(|v| v.is_finite());
    let Some(token) = x.par_chunks_exact(width).position_first(|x| !finite(x)) else { return Ok(()) };
    let x = &x[token * width..(token + 1) * width];
    let feature = x.iter().position(|v| !v.is_finite()).expect("the row was found to hold one");
    let (file, own) = rows.place_of(view.first_token + token as u64);
    let (row, context, position) = view.tokens().nth(token).expect("each row of the files is a token");
    Err(Error::input(format!(
        "{}: activation {} of feature {feature} in row {own} is not finite ({})",
        file.display(),
        x[feature],
        whose(batch, row, context, position)
    )))
}
