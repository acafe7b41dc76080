//! A dataflow file with some keys replaced, as `cognate score --set` does.

use super::DataflowSpec;
use super::path::titled;
use crate::corpus::parse_count;
use crate::error::{Error, Result};
use std::path::Path;

impl DataflowSpec {
    /// The file `text` with each `key=value` of `settings` in its place, and the text it then is. A key is written with
    /// dots, `estimate.filters.one_to_one`; a value as in TOML, or a bare word for a text.
    ///
    /// # Errors
    /// `Request` for what is no `key=value`, and as [`DataflowSpec::parse`].
    pub fn with_settings(text: &str, path: &Path, settings: &[String]) -> Result<(DataflowSpec, String)> {
        let wrong = |what: String| Error::request(format!("{}: {what}", titled(path)));
        let mut file: toml::Table = toml::from_str(text).map_err(|e| wrong(e.message().to_string()))?;
        for setting in settings {
            let Some((key, value)) = setting.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
                return Err(Error::request(format!(
                    "--set {setting:?} is no key=value; write for example --set estimate.filters.one_to_one=hungarian"
                )));
            };
            put(&mut file, key.trim(), read_value(value.trim()))?;
        }
        let text = toml::to_string(&file).map_err(|e| wrong(e.to_string()))?;
        // the file was read before: what is wrong now, a setting made so, and its lines are not the file's
        let spec = Self::parse(&text, path).map_err(|e| {
            let what = e.to_string();
            let prefix = titled(path);
            let rest = what.strip_prefix(&prefix).unwrap_or(&what);
            let rest = rest.strip_prefix(" line ").map_or(rest, |r| r.trim_start_matches(|c: char| c.is_ascii_digit()));
            Error::request(format!("--set {}: {}", settings.join(" --set "), rest.trim_start_matches([':', ' '])))
        })?;
        Ok((spec, text))
    }
}

/// The dotted key of `known` that is meant by a misspelt one, or by one that lacks the tables before it.
pub fn nearest_key<'a>(key: &str, known: &'a [String]) -> Option<&'a String> {
    let leaf = |k: &str| k.rsplit('.').next().unwrap_or(k).to_owned();
    let likeness = |k: &str| strsim::jaro_winkler(k, key).max(strsim::jaro_winkler(&leaf(k), &leaf(key)));
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(nearest) >= MISSPELT_KEY).then_some(nearest)
}

/// Likeness (Jaro-Winkler) above which a dotted key is taken for a misspelt other.
const MISSPELT_KEY: f64 = 0.85;

/// A value as in TOML; where it is none, or a float without a point, a whole number as people write it (50k, 1e6); else a text.
fn read_value(text: &str) -> toml::Value {
    let table: std::result::Result<toml::Table, _> = toml::from_str(&format!("value = {text}"));
    let value = table.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    let count = || parse_count(text).ok().and_then(|n| i64::try_from(n).ok()).map(toml::Value::Integer);
    match value {
        // a key that takes any number takes whole ones
        Some(toml::Value::Float(float)) if !text.contains('.') => count().unwrap_or(toml::Value::Float(float)),
        Some(value) => value,
        None => count().unwrap_or_else(|| toml::Value::String(text.to_string())),
    }
}

fn put(file: &mut toml::Table, key: &str, value: toml::Value) -> Result<()> {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().expect("a split gives one part at least");
    let mut at = file;
    for part in parts {
        let next = at.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        at = next.as_table_mut().ok_or_else(|| Error::request(format!("--set {key}: {part} is no table")))?;
    }
    at.insert(last.to_string(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_toml_and_numbers_as_people_write_them() {
        use toml::Value::{Boolean, Float, Integer, String};
        for (text, value) in [
            ("12", Integer(12)),
            ("50_000", Integer(50_000)),
            ("1e6", Integer(1_000_000)),
            ("50k", Integer(50_000)),
            ("2.5M", Integer(2_500_000)),
            ("1e-3", Float(1e-3)),
            ("0.5", Float(0.5)),
            ("1.0", Float(1.0)),
            ("true", Boolean(true)),
            ("hungarian", String("hungarian".into())),
            ("\"50k\"", String("50k".into())),
            ("", String("".into())),
        ] {
            assert_eq!(read_value(text), value, "{text}");
        }
    }
}
