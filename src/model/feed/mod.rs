//! A model that another process runs. It is asked batch by batch, over a pipe or a Unix socket; its answers are checked
//! and become the same activations that a forward gives, or latents of SAEs that it has.
//!
//! An answer depends on its request alone. So a run resumes by asking for its next batch, and may ask for one again. What cannot
//! be known is whether the feed's model is the one it was: the feed may state a digest of it, which enters the fingerprint.

mod answer;
mod asked;
mod options;
mod request;
mod talk;
#[cfg(test)]
mod tests;

pub use asked::{Asked, Holds};
pub use options::FeedOptions;

use crate::corpus::{TokenBatch, TokenView};
use crate::error::{Error, Result};
use crate::halt::Halt;
use crate::ids::Hookpoint;
use crate::linalg::Matrix;
use crate::model::activations::ActivationBatch;
use crate::model::sparse::SparseRows;
use std::sync::{Arc, Mutex, PoisonError};
use talk::Talk;

/// A model that another process runs. Nothing is started before the first question; then one connection serves all workers of a process,
/// one after the other.
pub struct Feed {
    model: String,
    options: FeedOptions,
    asked: Vec<Asked>,
    line: Mutex<Line>,
    halt: Arc<Mutex<Halt>>,
}

enum Line {
    NotYet,
    Open(Box<Talk>),
    /// It broke, and is not opened again.
    Broken(Error),
}

impl Feed {
    /// The feed of `model`, whose answers hold what is `asked`.
    pub fn new(model: &str, options: FeedOptions, asked: Vec<Asked>) -> Feed {
        Feed { model: model.to_string(), options, asked, line: Mutex::new(Line::NotYet), halt: Arc::default() }
    }

    /// From here on an answer is awaited no longer than some seconds once `halt` is asked for.
    pub fn heed(&self, halt: Halt) {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner) = halt;
    }

    /// Where it is, for people.
    pub fn in_words(&self) -> String {
        self.options.in_words()
    }

    /// Bytes that an answer about `n_tokens` takes at most, with its request.
    pub fn memory_bytes(&self, n_tokens: u64) -> u64 {
        answer::most_bytes(&self.asked, n_tokens).saturating_add(n_tokens.saturating_mul(8))
    }

    /// What is known of its model, for the fingerprint: what the feed states.
    ///
    /// # Errors
    /// Those of opening the connection.
    pub fn known(&self) -> Result<String> {
        self.talk(|talk| {
            Ok(match talk.states() {
                Some(stated) => format!("its weights cannot be known; the feed states {stated}"),
                None => "its weights cannot be known; the feed states nothing".into(),
            })
        })
    }

    /// What the model holds at `hookpoints`, each of which is asked for, as [`forward`](crate::model::forward) gives it; and the latents of
    /// all places that it is asked for latents of, in the order in which it is asked.
    ///
    /// # Errors
    /// Those of the connection and of the answer, which name the batch.
    pub fn read(
        &self,
        batch: &TokenBatch,
        view: &TokenView,
        hookpoints: &[Hookpoint],
    ) -> Result<(Vec<ActivationBatch>, Vec<SparseRows>)> {
        let asked = |hookpoint: &Hookpoint| {
            let found = self.asked.iter().find_map(|a| match a.holds {
                Holds::Activations { hookpoint: here, width } if here == *hookpoint => {
                    Some((a.name.as_str(), here, width))
                }
                _ => None,
            });
            found.ok_or_else(|| Error::request(format!("its feed is not asked for {hookpoint}")))
        };
        let wanted = hookpoints.iter().map(asked).collect::<Result<Vec<_>>>()?;
        let latents = self.asked.iter().filter_map(|a| match a.holds {
            Holds::Latents { d_sae, most } => Some((a.name.as_str(), (d_sae, most))),
            Holds::Activations { .. } => None,
        });
        let n_tokens: usize = view.contexts.iter().map(|context| context.ids.len()).sum();
        if n_tokens == 0 {
            let empty =
                |&(_, hookpoint, width): &_| ActivationBatch { hookpoint, x: Matrix::zeros(0, width), there: None };
            return Ok((wanted.iter().map(empty).collect(), latents.map(|_| SparseRows::default()).collect()));
        }
        let request = request::request(batch, view)?;
        let limit = answer::most_bytes(&self.asked, n_tokens as u64);
        let answer = self.talk(|talk| {
            let answer = talk.ask(&request, limit, &format!("batch {}", batch.index))?;
            answer::check(&answer, &self.asked, batch, view)?;
            Ok(answer)
        })?;
        let read = |&(name, hookpoint, width): &_| {
            let x = answer::activations(&answer, (name, width), batch, view)?;
            Ok(ActivationBatch { hookpoint, x, there: None })
        };
        let activations = wanted.iter().map(read).collect::<Result<_>>()?;
        let latents = latents.map(|(name, sizes)| answer::latents(&answer, name, sizes, batch, view));
        Ok((activations, latents.collect::<Result<_>>()?))
    }

    /// Uses the connection, which is opened first where that was not done.
    fn talk<T>(&self, act: impl FnOnce(&mut Talk) -> Result<T>) -> Result<T> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Line::NotYet = *line {
            *line = match Talk::open(&self.model, &self.options, &self.asked, self.halt.clone()) {
                Ok(talk) => Line::Open(Box::new(talk)),
                Err(e) => Line::Broken(e),
            };
        }
        let done = match &mut *line {
            Line::Open(talk) => act(talk),
            Line::Broken(e) => return Err(e.clone()),
            Line::NotYet => unreachable!("it was opened above"),
        };
        if let Err(e) = &done {
            *line = Line::Broken(e.clone());
        }
        done
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("model", &self.model)
            .field("options", &self.options)
            .field("asked", &self.asked)
            .finish()
    }
}
