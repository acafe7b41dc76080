//! The one-to-one rule as a dataflow file sets it: how often a partner may be taken.

use super::choice::SwitchOrNames;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// How often a partner may be taken, and by which latent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OneToOne {
    /// As often as it is picked.
    #[default]
    Off,
    /// Once, by the highest correlation; ties go to the lower latent.
    Best,
    /// Once, by the lowest latent that passes the filters before, whatever the correlations (docs/method.md).
    AsPublished,
    /// Once, so that the sum of correlations over all listed partners is largest; a latent may get its second choice.
    Hungarian,
    /// The partner that receives the most mass of a latent in entropic optimal transport (docs/method.md); several latents may
    /// share it.
    Transport,
}

impl OneToOne {
    const NAMES: [(OneToOne, &'static str); 4] = [
        (OneToOne::Best, "best"),
        (OneToOne::AsPublished, "as_published"),
        (OneToOne::Hungarian, "hungarian"),
        (OneToOne::Transport, "transport"),
    ];

    /// Whether a partner other than the first choice may be kept.
    pub fn may_take_second(self) -> bool {
        matches!(self, OneToOne::Hungarian | OneToOne::Transport)
    }
}

/// As a dataflow file writes it.
impl fmt::Display for OneToOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAMES.iter().find(|n| n.0 == *self).map_or("false", |n| n.1))
    }
}

impl Serialize for OneToOne {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Self::NAMES.iter().find(|n| n.0 == *self) {
            Some((_, name)) => serializer.serialize_str(name),
            None => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for OneToOne {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found: String| {
            serde::de::Error::custom(format!(
                "one_to_one is {found}; there are false, true (\"best\"), \"best\", \"as_published\", \"hungarian\" and \
                 \"transport\""
            ))
        };
        match SwitchOrNames::deserialize(deserializer)? {
            SwitchOrNames::Switch(on) => Ok(if on { OneToOne::Best } else { OneToOne::Off }),
            SwitchOrNames::Name(name) => {
                let found = Self::NAMES.iter().find(|n| n.1 == name).map(|n| n.0);
                found.ok_or_else(|| wrong(format!("{name:?}")))
            }
            SwitchOrNames::Names(names) => Err(wrong(format!("{names:?}"))),
        }
    }
}
