//! What is random in a control? `[controls.NAME]`; all other keys are the real run's.

use crate::corpus::Shuffle;
use crate::model::RandomWeights;
use crate::sae::RandomSae;
use serde::{Deserialize, Serialize};

/// `[controls.NAME]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSpec {
    /// Random weights for every model: the first by name takes the seed, each further one the next number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_weights: Option<RandomWeights>,
    /// A random SAE in the place of every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random_saes: Option<RandomSae>,
    /// The tokens of each document in another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,
}
