//! Where is the process that gives a model's activations, and how long is it waited for? As the dataflow file has it.

use serde::{Deserialize, Deserializer, Serialize};

/// `[models.NAME] feed`: one of `command` and `socket`. Changes no number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedOptions {
    /// A program and its arguments, started for each process of the run; it reads requests on its standard input and answers on
    /// its standard output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// A Unix socket on which the feed listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// Seconds until it must have greeted.
    #[serde(default = "default_wait", deserialize_with = "deserialize_seconds")]
    pub wait: u64,
    /// Seconds for which it may send nothing while an answer is awaited.
    #[serde(default = "default_silence", deserialize_with = "deserialize_seconds")]
    pub silence: u64,
}

/// Seconds as a number, or as people write them: `300`, `"90s"`, `"5m"`, `"2h"`.
fn deserialize_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a number of seconds, or a time such as \"90s\", \"5m\" or \"2h\"")]
    enum Written {
        Number(u64),
        Text(String),
    }
    let wrong = |text: &str| {
        serde::de::Error::custom(format!(
            "{text:?} is no time; expected a number of seconds, or \"90s\", \"5m\" or \"2h\""
        ))
    };
    match Written::deserialize(deserializer)? {
        Written::Number(seconds) => Ok(seconds),
        Written::Text(text) => {
            let units = [('s', 1), ('m', 60), ('h', 3600)];
            let unit = units.into_iter().find(|(unit, _)| text.ends_with(*unit));
            let number = unit.map_or(text.as_str(), |(unit, _)| text.trim_end_matches(unit)).trim();
            let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit.map_or(1, |(_, each)| each)));
            seconds.ok_or_else(|| wrong(&text))
        }
    }
}

fn default_wait() -> u64 {
    600
}

fn default_silence() -> u64 {
    300
}

/// Seconds at most of either.
const MOST_SECONDS: u64 = 7 * 24 * 3600;

impl FeedOptions {
    /// What a feed's options can have wrong.
    ///
    /// # Errors
    /// The message, without the model's name.
    pub fn check(&self) -> Result<(), String> {
        if self.command.is_empty() == self.socket.is_none() {
            let found = if self.socket.is_some() { "both command and socket" } else { "neither command nor socket" };
            return Err(format!(
                "feed has {found}; write command = [\"PROGRAM\", \"ARGUMENT\", …] for a feed that the run starts, or socket = \"PATH\" \
                 for one that listens"
            ));
        }
        if self.command.first().is_some_and(String::is_empty) || self.socket.as_deref() == Some("") {
            return Err("feed names an empty program or socket; name one".into());
        }
        for (key, seconds) in [("wait", self.wait), ("silence", self.silence)] {
            if !(1..=MOST_SECONDS).contains(&seconds) {
                return Err(format!("feed.{key} is {seconds}, expected 1 to {MOST_SECONDS} seconds"));
            }
        }
        Ok(())
    }

    /// Where it is, for people.
    pub fn in_words(&self) -> String {
        match &self.socket {
            Some(socket) => format!("a feed at the socket {socket}"),
            None => format!("a feed by the command {}", self.command.join(" ")),
        }
    }
}
