//! The filters as a dataflow file sets them: which best matches are kept.

use super::choice::SwitchOrNames;
use super::one_to_one::OneToOne;
use crate::matching::TokenClass;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// The filters, in the order in which the first that fails is named. With [`OneToOne::AsPublished`] `min_correlation` comes
/// last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filters {
    /// Drop latents that never fired; `false` matters under [`crate::matching::Rules::AsPublished`] only, where they have a partner.
    pub dead: bool,
    /// Both latents must have been active in at least this many rows.
    pub min_active: u64,
    /// The correlation must be greater than this (strictly, as published).
    pub min_correlation: f64,
    /// None of the [`TOP_STRINGS`] top-activating tokens of either latent may be of these classes. Written `true`, a name or a list.
    #[serde(deserialize_with = "non_concept")]
    pub non_concept: Vec<TokenClass>,
    /// The [`TOP_STRINGS`] top-activating tokens of the two must have a string in common.
    pub shared_token: bool,
    /// The correlation must be above the chance points of both latents.
    pub beyond_chance: bool,
    /// The correlation given the token must be at least this; one that is not known fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_within: Option<f64>,
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
            beyond_chance: false,
            min_within: None,
            mutual: false,
            one_to_one: OneToOne::Off,
        }
    }
}

/// Top-activating tokens of a latent that the token filters look at, as published.
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

    /// Whether the strings of top-activating tokens are needed.
    pub fn reads_tokens(&self) -> bool {
        self.shared_token || !self.non_concept.is_empty()
    }
}

/// As `key = value`, comma-separated, in the order in which they apply.
impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filters {
            dead,
            min_active,
            min_correlation,
            non_concept,
            shared_token,
            beyond_chance,
            min_within,
            mutual,
            one_to_one,
        } = self;
        let classes: Vec<&str> = non_concept.iter().map(|class| class.as_str()).collect();
        write!(
            f,
            "dead = {dead}, min_active = {min_active}, min_correlation = {min_correlation:?}, non_concept = [{}], \
             shared_token = {shared_token}, {}{}mutual = {mutual}, one_to_one = {one_to_one}",
            classes.join(", "),
            if *beyond_chance { "beyond_chance = true, " } else { "" },
            min_within.map_or(String::new(), |least| format!("min_within = {least:?}, "))
        )
    }
}

fn non_concept<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TokenClass>, D::Error> {
    let names = match SwitchOrNames::deserialize(deserializer)? {
        SwitchOrNames::Switch(false) => return Ok(Vec::new()),
        SwitchOrNames::Switch(true) => return Ok(TokenClass::CLASSES.to_vec()),
        SwitchOrNames::Name(name) => vec![name],
        SwitchOrNames::Names(names) => names,
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
        assert_eq!(
            published.to_string(),
            "dead = false, min_active = 0, min_correlation = 0.1, non_concept = [pythia], shared_token = true, mutual = false, \
             one_to_one = as_published"
        );
        assert!(
            Filters::default()
                .to_string()
                .ends_with("non_concept = [], shared_token = false, mutual = false, one_to_one = false")
        );
        assert_eq!(read(&serde_json::to_string(&published).unwrap()).unwrap(), published);
    }
}
