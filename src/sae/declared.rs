//! What does an SAE say of itself? Its place, sizes, model, contexts and scale, as its files (or a registry) write them.
//!
//! Nothing is judged here: `plan` checks it against the dataflow file and the model. What a format does not write down is
//! `None`, never a default.

use crate::error::Result;
use crate::ids::{Hookpoint, resolve};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt;

/// A hookpoint as a file or a folder's name writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the words of the file, for example `blocks.3.hook_resid_pre`.
    pub written: String,
    /// The hookpoint by the format's own rule; `None` when the words are another library's, whose meaning depends on the
    /// model's family.
    pub known: Option<Hookpoint>,
}

impl Place {
    /// A name that the model's family gives its meaning.
    pub fn named(written: impl Into<String>) -> Place {
        Place { written: written.into(), known: None }
    }

    /// A place that the format's own rule knows.
    pub fn known(written: impl Into<String>, hookpoint: Hookpoint) -> Place {
        Place { written: written.into(), known: Some(hookpoint) }
    }

    /// A place known from the path of the files.
    pub fn of_path(hookpoint: Hookpoint) -> Place {
        Place::known(hookpoint.to_string(), hookpoint)
    }

    /// The hookpoint that is meant in a model of `family` (see [`resolve`]).
    ///
    /// # Errors
    /// `Request` when the family has no such place, or the name fits more than one place.
    pub fn hookpoint(&self, family: &str) -> Result<Hookpoint> {
        match self.known {
            Some(hookpoint) => Ok(hookpoint),
            None => resolve(&self.written, family),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        to.serialize_str(&self.written)
    }
}

/// What activations are multiplied by before the SAE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The files name none.
    #[default]
    Unsaid,
    /// By this factor, which the files hold.
    Factor(f64),
    /// By a factor that the files do not hold (SAELens' `expected_average_only_in`).
    Missing,
}

/// What the files declare. Every field is `None` (or empty) where they do not.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Declared {
    /// Where it reads.
    pub input: Option<Place>,
    /// What it predicts, where that is another place.
    pub output: Option<Place>,
    /// The one attention head that it reads of the place.
    pub head: Option<u64>,
    /// Width of what it reads, by the configuration.
    pub d_in: Option<usize>,
    /// Number of latents, by the configuration.
    pub d_sae: Option<usize>,
    /// The model it was trained on.
    pub model: Option<String>,
    /// Tokens of a context it was trained on.
    pub context_size: Option<usize>,
    /// Whether contexts began with BOS.
    pub prepend_bos: Option<bool>,
    /// Whether the rows of special tokens were left out in training.
    pub excludes_special: Option<bool>,
    /// Positions that training was confined to, as written; `None` also where it was all of them.
    pub positions: Option<String>,
    /// How the model's weights were processed before its activations were read (`model_from_pretrained_kwargs`).
    pub processing: Map<String, Value>,
    /// What its input is multiplied by.
    pub scale: Scale,
}

impl Declared {
    /// Whether the weights that write to the residual stream were centred: the mean over dimensions is 0 there.
    pub fn centers(&self) -> Option<bool> {
        self.processing.get("center_writing_weights").and_then(Value::as_bool)
    }
}

/// Positions of SAELens' `seqpos_slice` unless they are all.
pub(super) fn positions(slice: &Value) -> Option<String> {
    let bounds: Vec<&Value> = slice.as_array()?.iter().collect();
    let all = match bounds.as_slice() {
        [] => true,
        // one bound is the end, two are start and end
        [end] => end.is_null(),
        [start, end, rest @ ..] => {
            let first = start.is_null() || start.as_i64() == Some(0);
            first && end.is_null() && rest.iter().all(|step| step.is_null() || step.as_i64() == Some(1))
        }
    };
    (!all).then(|| slice.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slice_of_all_positions_says_nothing() {
        for all in
            [json!([null]), json!([null, null]), json!([0, null]), json!([null, null, 1]), json!([]), json!(null)]
        {
            assert_eq!(positions(&all), None, "{all}");
        }
        for part in [json!([5, null]), json!([null, -1]), json!([128]), json!([0, null, 2])] {
            assert_eq!(positions(&part), Some(part.to_string()));
        }
    }
}
