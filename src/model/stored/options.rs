//! Which files hold the rows of a place? As the dataflow file has it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `[models.NAME.files]` `"HOOKPOINT" = …`: a path or a pattern, a list of these, or a table `{ paths, tensor }`.
#[derive(Clone, Debug, PartialEq)]
pub struct RowFiles {
    /// Paths and patterns, in the order of their rows.
    pub paths: Vec<String>,
    /// What the tensor of the rows is called; as the hookpoint, or the only one, when absent.
    pub tensor: Option<String>,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a path or pattern, a list of them, or a table { paths = [\"PATTERN\"], tensor = \"NAME\" }"
)]
enum Written {
    One(String),
    List(Vec<String>),
    Table(Table),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    paths: Paths,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tensor: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Paths {
    One(String),
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for RowFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::One(path) => RowFiles { paths: vec![path], tensor: None },
            Written::List(paths) => RowFiles { paths, tensor: None },
            Written::Table(Table { paths: Paths::One(path), tensor }) => RowFiles { paths: vec![path], tensor },
            Written::Table(Table { paths: Paths::List(paths), tensor }) => RowFiles { paths, tensor },
        })
    }
}

impl Serialize for RowFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Table { paths: Paths::List(self.paths.clone()), tensor: self.tensor.clone() }.serialize(serializer)
    }
}

impl RowFiles {
    /// What can be wrong of it by itself.
    ///
    /// # Errors
    /// The message, without the place.
    pub fn check(&self) -> Result<(), String> {
        if self.paths.is_empty() || self.paths.iter().any(String::is_empty) {
            return Err("it names no file, or an empty path; write a path or a pattern".into());
        }
        if self.tensor.as_deref() == Some("") {
            return Err("tensor is empty; name one, or leave it out".into());
        }
        Ok(())
    }
}
