//! Where do a model's activations come from: a forward in this process, a feed, or files?

use super::activations::{ActivationBatch, Model};
use super::feed::Feed;
use super::forward::forward;
use super::sparse::SparseRows;
use super::stored::Stored;
use crate::corpus::{TokenBatch, TokenView};
use crate::error::Result;
use crate::ids::Hookpoint;
use std::sync::Arc;

/// What a model held in one batch.
pub struct Held {
    /// At the hookpoints that were asked for, in that order.
    pub activations: Vec<ActivationBatch>,
    /// Latents that a feed or files give, in the order of the plan.
    pub latents: Vec<SparseRows>,
}

/// A model that can be asked for its activations.
#[derive(Clone)]
pub enum Network {
    /// It is loaded here, on each of some devices.
    Forward(Vec<Arc<dyn Model>>),
    /// It does not run here.
    Elsewhere(Elsewhere),
}

/// A model that does not run here. Its weights are not available, and only what is compared is read of it.
#[derive(Clone, Debug)]
pub enum Elsewhere {
    /// Another process runs it.
    Feed(Arc<Feed>),
    /// It ran before, and its activations lie in files.
    Files(Arc<Stored>),
}

impl Network {
    /// What it holds at `hookpoints` for every context of `view`, which is one of `batch`: see [`forward`]. Of several devices it
    /// takes the one whose turn it is: 0 the first, 1 the second, and round. A device keeps the rows of the hookpoints that `keep` marks.
    ///
    /// # Errors
    /// As [`forward`], [`Feed::read`] and [`Stored::read`].
    pub fn read(
        &self,
        turn: usize,
        batch: &TokenBatch,
        view: &TokenView,
        hookpoints: &[Hookpoint],
        keep: &[bool],
    ) -> Result<Held> {
        match self {
            Network::Forward(models) => {
                let model = &models[turn % models.len()];
                let activations = forward(model.as_ref(), batch, view, hookpoints, keep)?;
                Ok(Held { activations, latents: Vec::new() })
            }
            Network::Elsewhere(Elsewhere::Feed(feed)) => {
                let (activations, latents) = feed.read(batch, view, hookpoints)?;
                Ok(Held { activations, latents })
            }
            Network::Elsewhere(Elsewhere::Files(stored)) => {
                let (activations, latents) = stored.read(batch, view, hookpoints)?;
                Ok(Held { activations, latents })
            }
        }
    }
}

impl Elsewhere {
    /// Where it is, for people.
    pub fn in_words(&self) -> String {
        match self {
            Elsewhere::Feed(feed) => feed.in_words(),
            Elsewhere::Files(stored) => stored.in_words(),
        }
    }

    /// The feed, where it is one.
    pub fn feed(&self) -> Option<&Feed> {
        match self {
            Elsewhere::Feed(feed) => Some(feed),
            Elsewhere::Files(_) => None,
        }
    }

    /// Its files, where its activations lie in some.
    pub fn files(&self) -> Option<&Stored> {
        match self {
            Elsewhere::Feed(_) => None,
            Elsewhere::Files(stored) => Some(stored),
        }
    }

    /// What takes memory when a batch of `n_tokens` is asked for, and how many bytes at most, without the activations.
    pub fn memory_bytes(&self, n_tokens: u64) -> (&'static str, u64) {
        match self {
            Elsewhere::Feed(feed) => ("answer of a feed", feed.memory_bytes(n_tokens)),
            Elsewhere::Files(stored) => ("pieces of files", stored.memory_bytes(n_tokens)),
        }
    }
}
