//! Who says what a model held: a forward in this process, or a feed?

use super::activations::{ActivationBatch, Model};
use super::feed::{Feed, SparseRows};
use super::forward::forward;
use crate::corpus::{TokenBatch, TokenView};
use crate::error::Result;
use crate::ids::Hookpoint;
use std::sync::Arc;

/// What a model held in one batch.
pub struct Held {
    /// At the hookpoints that were asked for, in that order.
    pub activations: Vec<ActivationBatch>,
    /// Latents that a feed gives, in the order of the plan.
    pub latents: Vec<SparseRows>,
}

/// A model that can be asked for its activations.
#[derive(Clone)]
pub enum Network {
    /// It is loaded here.
    Forward(Arc<dyn Model>),
    /// Another process runs it.
    Feed(Arc<Feed>),
}

impl Network {
    /// What it holds at `hookpoints` for every context of `view`, which is one of `batch`: see [`forward`].
    ///
    /// # Errors
    /// As [`forward`] and [`Feed::read`].
    pub fn read(&self, batch: &TokenBatch, view: &TokenView, hookpoints: &[Hookpoint]) -> Result<Held> {
        match self {
            Network::Forward(model) => {
                Ok(Held { activations: forward(model.as_ref(), batch, view, hookpoints)?, latents: Vec::new() })
            }
            Network::Feed(feed) => {
                let (activations, latents) = feed.read(batch, view, hookpoints)?;
                Ok(Held { activations, latents })
            }
        }
    }
}
