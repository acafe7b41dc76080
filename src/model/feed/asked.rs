//! What must every answer of a feed hold of one place?

use crate::ids::Hookpoint;
use serde_json::{Value, json};

/// A place that a feed is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// What it is called: the hookpoint, of latents with the tag of their SAE.
    pub name: String,
    /// What is asked for there.
    pub holds: Holds,
}

/// What a feed gives of a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Holds {
    /// What the model holds.
    Activations {
        /// Where.
        hookpoint: Hookpoint,
        /// Values of a token.
        width: usize,
    },
    /// The latents of an SAE that the feed has.
    Latents {
        /// Number of latents.
        d_sae: usize,
        /// Latents that fire on a token at most.
        most: usize,
    },
}

impl Asked {
    /// What its columns are called.
    pub(super) fn columns(&self) -> Vec<String> {
        match self.holds {
            Holds::Activations { .. } => vec![self.name.clone()],
            Holds::Latents { .. } => [INDEX, VALUE].map(|end| format!("{}{end}", self.name)).to_vec(),
        }
    }

    /// As the greeting has it.
    pub(super) fn as_json(&self) -> Value {
        match self.holds {
            Holds::Activations { width, .. } => {
                json!({ "hookpoint": self.name, "holds": "activations", "width": width })
            }
            Holds::Latents { d_sae, most } => {
                json!({ "hookpoint": self.name, "holds": "latents", "width": d_sae, "most": most })
            }
        }
    }

    /// Bytes of a token at most.
    pub(super) fn bytes_a_token(&self) -> u64 {
        match self.holds {
            Holds::Activations { width, .. } => 4 * width as u64,
            Holds::Latents { most, .. } => 8 + 8 * most as u64,
        }
    }
}

/// What the columns of latents are called behind the place's name.
pub(super) const INDEX: &str = ".index";
pub(super) const VALUE: &str = ".value";
