//! Opening and text of one line of JSON: only the fields asked for are kept, the others are passed over, whatever they hold.

use super::lenient::mended;
use super::options::CorpusOptions;
use super::record::Opening;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The longest name of a document that is kept as it is where no name is asked for, in bytes.
const LONGEST_NAME: usize = 4096;
/// What is kept of a longer one, in bytes: enough for messages.
pub(super) const NAME_BEGINS: usize = 64;

/// The beginning of a long name.
pub(super) fn cut(name: &str) -> String {
    let most = (0..=NAME_BEGINS.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &name[..most])
}

/// A record as read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) opening: Opening,
    pub(super) text: String,
    /// Halves of surrogate pairs in the line that became U+FFFD.
    pub(super) surrogates: u64,
}

/// Opening and text of a line of JSON. `NaN` and `Infinity` are read as null, half of a surrogate pair alone as U+FFFD.
pub(super) fn json(line: &[u8], name: &str, number: u64, options: &CorpusOptions) -> Result<Record, String> {
    if let Some(at) = line.iter().position(|&b| b == 0) {
        return Err(format!("a NUL byte at byte {}; expected JSON (was the file cut off by a crash?)", at + 1));
    }
    let line = std::str::from_utf8(line)
        .map_err(|e| format!("byte {} is not UTF-8; expected JSON in UTF-8", e.valid_up_to() + 1))?;
    let (fields, mended) = match fields_of(line, options) {
        Ok(fields) => (fields, None),
        Err(e) => match mended(line) {
            Some(mended) => (fields_of(&mended.line, options).map_err(|e| not_json(&e))?, Some(mended)),
            None => return Err(not_json(&e)),
        },
    };
    let text = match fields.text {
        Some(Field::Text(text)) => text,
        Some(Field::Null) if mended.as_ref().is_some_and(|m| m.numbers > 0) => {
            return Err(format!("field {:?} is null or NaN; expected a text", options.text));
        }
        Some(other) => return Err(format!("field {:?} is {}; expected a text", options.text, other.kind())),
        None => {
            let have = if fields.others.is_empty() { "no field".to_string() } else { fields.others.join(", ") };
            return Err(format!("no field {:?} ([corpus] text); the record has {have}", options.text));
        }
    };
    let mut labels = Vec::with_capacity(options.labels.len());
    for (label, value) in options.labels.iter().zip(fields.labels) {
        labels.push(match value {
            None | Some(Field::Null) => None,
            Some(Field::Text(text) | Field::Scalar(text)) => Some(text),
            Some(other) => {
                return Err(format!(
                    "label field {label:?} is {}; expected a text, a number or a boolean",
                    other.kind()
                ));
            }
        });
    }
    let name = match fields.id {
        Some(Field::Text(id)) if id.len() > LONGEST_NAME && options.id_is_by_default() => cut(&id),
        Some(Field::Text(id) | Field::Scalar(id)) if !id.is_empty() => id,
        _ => format!("{name}:{number}"),
    };
    let surrogates = mended.map_or(0, |m| m.surrogates);
    Ok(Record { opening: Opening { name, labels }, text, surrogates })
}

fn fields_of(line: &str, options: &CorpusOptions) -> Result<Fields, serde_json::Error> {
    let mut parser = serde_json::Deserializer::from_str(line);
    let fields = RecordSeed(options).deserialize(&mut parser)?;
    parser.end().map(|()| fields)
}

/// What is wrong with a line. It is parsed alone, so serde's own "at line 1" would mislead.
fn not_json(e: &serde_json::Error) -> String {
    let what = e.to_string().replace(" at line 1 column ", " at column ");
    let hint = if e.is_eof() {
        "; a record is one line: where it is written over several, jq -c . FILE > LINES.jsonl makes lines"
    } else {
        ""
    };
    format!("not a JSON record ({what}){hint}")
}

/// The value of a field that was asked for.
#[derive(Clone)]
enum Field {
    Null,
    Text(String),
    /// A number or a boolean, as written.
    Scalar(String),
    List,
    Object,
}

impl Field {
    fn kind(&self) -> &'static str {
        match self {
            Field::Null => "null",
            Field::Text(_) => "a text",
            Field::Scalar(_) => "a number or a boolean",
            Field::List => "a list",
            Field::Object => "an object",
        }
    }
}

/// The fields of a record that were asked for; of the others the first few names.
struct Fields {
    text: Option<Field>,
    id: Option<Field>,
    labels: Vec<Option<Field>>,
    others: Vec<String>,
}

struct RecordSeed<'a>(&'a CorpusOptions);

impl<'de> DeserializeSeed<'de> for RecordSeed<'_> {
    type Value = Fields;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RecordSeed<'_> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a text field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let options = self.0;
        let mut fields = Fields { text: None, id: None, labels: vec![None; options.labels.len()], others: Vec::new() };
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let labels: Vec<usize> = (0..options.labels.len()).filter(|&l| options.labels[l] == key).collect();
            let (is_text, is_id) = (key == options.text, key == options.id);
            if !is_text && fields.others.len() < 12 {
                fields.others.push(key.chars().take(40).collect());
            }
            if !is_text && !is_id && labels.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value_seed(FieldSeed)?;
            for label in labels {
                fields.labels[label] = Some(value.clone());
            }
            if is_id {
                fields.id = Some(value.clone());
            }
            if is_text {
                fields.text = Some(value);
            }
        }
        Ok(fields)
    }
}

struct FieldSeed;

impl<'de> DeserializeSeed<'de> for FieldSeed {
    type Value = Field;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Field, E> {
        Ok(Field::Scalar(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Field, E> {
        Ok(Field::Scalar(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Field, E> {
        Ok(Field::Scalar(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Field, E> {
        Ok(Field::Scalar(serde_json::Number::from_f64(value).map_or_else(|| value.to_string(), |n| n.to_string())))
    }
    fn visit_str<E>(self, value: &str) -> Result<Field, E> {
        Ok(Field::Text(value.to_string()))
    }
    fn visit_string<E>(self, value: String) -> Result<Field, E> {
        Ok(Field::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Field, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::List)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Object)
    }
}
