//! Measures are written by name.

use crate::similarity::Measure;
use serde::{Deserialize, Deserializer, Serializer};

pub fn serialize<S: Serializer>(measures: &[Measure], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(measures.iter().map(Measure::to_string))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Measure>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|n| n.parse().map_err(serde::de::Error::custom)).collect()
}
