//! The filters of a dataflow file: which best matches are kept.

use super::token_class::TokenClass;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The filters, in the order in which the first that fails is named. With [`OneToOne::AsPublished`] `min_correlation` comes
/// last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    /// Drop latents that never fired; `false` matters under [`super::Rules::AsPublished`] only, where they have a partner.
    pub dead: bool,
    /// Both latents must have been active in at least this many rows.
    pub min_active: u64,
    /// The correlation must be greater than this (strictly, as published).
    pub min_correlation: f64,
    /// None of the [`TOP_STRINGS`] strongest tokens of either latent may be one of these. Written `true`, a name or a list.
    #[serde(deserialize_with = "non_concept")]
    pub non_concept: Vec<TokenClass>,
    /// The [`TOP_STRINGS`] strongest tokens of the two must have a string in common.
    pub shared_token: bool,
    /// Each must be the other's best.
    pub mutual: bool,
    /// How often a partner may be taken.
    pub one_to_one: OneToOne,
}

impl Default for Filters {
    fn default() -> Self {
        Filters {
            dead: true,
            min_active: 0,
            min_correlation: 0.0,
            non_concept: Vec::new(),
            shared_token: false,
            mutual: false,
            one_to_one: OneToOne::Off,
        }
    }
}

/// Strongest tokens of a latent that the token filters look at, as published.
pub const TOP_STRINGS: usize = 5;

impl Filters {
    /// What the paper's one-to-one runs filter by (docs/method.md): the Pythia list, a shared string, the lowest index, then
    /// r > 0.1.
    pub fn as_published() -> Filters {
        Filters {
            dead: false,
            min_correlation: 0.1,
            non_concept: vec![TokenClass::Pythia],
            shared_token: true,
            one_to_one: OneToOne::AsPublished,
            ..Filters::default()
        }
    }

    /// Whether the strings of strongest tokens are needed.
    pub fn reads_tokens(&self) -> bool {
        self.shared_token || !self.non_concept.is_empty()
    }
}

/// How often a partner may be taken, and who gets it.
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
    /// The partner that receives most of a latent in entropic optimal transport (docs/method.md); several latents may share it.
    Transport,
}

impl OneToOne {
    const NAMES: [(OneToOne, &'static str); 4] = [
        (OneToOne::Best, "best"),
        (OneToOne::AsPublished, "as_published"),
        (OneToOne::Hungarian, "hungarian"),
        (OneToOne::Transport, "transport"),
    ];

    /// Whether someone else than the first choice may be the one kept.
    pub fn may_take_second(self) -> bool {
        matches!(self, OneToOne::Hungarian | OneToOne::Transport)
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

/// A switch, a name or a list of names.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, false, a name or a list of names")]
enum Choice {
    Switch(bool),
    Name(String),
    Names(Vec<String>),
}

impl<'de> Deserialize<'de> for OneToOne {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |found: String| {
            serde::de::Error::custom(format!(
                "one_to_one is {found}; there are false, true (\"best\"), \"best\", \"as_published\", \"hungarian\" and \
                 \"transport\""
            ))
        };
        match Choice::deserialize(deserializer)? {
            Choice::Switch(on) => Ok(if on { OneToOne::Best } else { OneToOne::Off }),
            Choice::Name(name) => {
                let found = Self::NAMES.iter().find(|n| n.1 == name).map(|n| n.0);
                found.ok_or_else(|| wrong(format!("{name:?}")))
            }
            Choice::Names(names) => Err(wrong(format!("{names:?}"))),
        }
    }
}

fn non_concept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TokenClass>, D::Error> {
    let names = match Choice::deserialize(deserializer)? {
        Choice::Switch(false) => return Ok(Vec::new()),
        Choice::Switch(true) => return Ok(TokenClass::CLASSES.to_vec()),
        Choice::Name(name) => vec![name],
        Choice::Names(names) => names,
    };
    let one = |name: &String| {
        TokenClass::named(name).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "non_concept names {name:?}; there are {}",
                TokenClass::ALL.map(TokenClass::as_str).join(", ")
            ))
        })
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_forms_are_read_and_written_back() {
        let read = |text: &str| serde_json::from_str::<Filters>(text);
        assert_eq!(read("{}").unwrap(), Filters::default());
        let one = |text: &str| read(&format!("{{\"one_to_one\": {text}}}")).map(|f| f.one_to_one);
        for (text, kind) in [
            ("true", OneToOne::Best),
            ("false", OneToOne::Off),
            ("\"best\"", OneToOne::Best),
            ("\"hungarian\"", OneToOne::Hungarian),
        ] {
            assert_eq!(one(text).unwrap(), kind);
        }
        assert!(one("\"first\"").unwrap_err().to_string().contains("as_published"));
        assert!(one("[\"best\"]").is_err());
        let junk = |text: &str| read(&format!("{{\"non_concept\": {text}}}")).map(|f| f.non_concept);
        assert_eq!(junk("\"gemma\"").unwrap(), [TokenClass::Gemma]);
        assert_eq!(junk("[\"pythia\", \"digits\"]").unwrap(), [TokenClass::Pythia, TokenClass::Digits]);
        assert_eq!(junk("true").unwrap(), TokenClass::CLASSES);
        assert!(junk("\"x\"").unwrap_err().to_string().contains("punctuation"));
        let published = Filters::as_published();
        assert_eq!(read(&serde_json::to_string(&published).unwrap()).unwrap(), published);
    }
}
