//! Contents of `config.json`: typed reading of Hugging Face configurations. `rope.rs` reads the rotation; `keys.rs` decides which
//! keys are supported.
//!
//! An absent key has the default of the family's class in transformers. A null key is different: by the family's table it means
//! none, the family's own rule, or an error.

use super::activation_function::ActivationFunction;
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::refuse_pointer;
use serde_json::{Map, Value};
#[cfg(test)]
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
#[cfg(test)]
use std::sync::{Arc, Mutex};

/// A configuration, with its path for messages.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    /// Prefix of its keys in messages: nothing, or `rope_scaling.` for what is nested there.
    within: String,
    values: Map<String, Value>,
    /// Keys of the file that were asked for.
    #[cfg(test)]
    asked: Arc<Mutex<BTreeSet<String>>>,
}

/// Value of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting<'a> {
    /// The key is not there.
    Absent,
    /// The key is there and null.
    Null,
    /// Its value.
    Value(&'a Value),
}

/// No size in a configuration is larger (a product of three still fits 64 bits).
const MAX_SIZE: u64 = 1 << 21;
/// Most blocks of a model; the deepest that are known have some hundreds.
const MAX_BLOCKS: usize = 4096;
/// Largest width of a head: tables of angles grow with it.
const MAX_HEAD: usize = 1 << 16;

impl Config {
    /// Reads `folder/config.json`.
    ///
    /// # Errors
    /// `Request` when there is none; `Input` when it is not a JSON object.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = disk::read_to_string(&path).map_err(|e| Error::io("read the model's configuration", &path, &e))?;
        refuse_pointer(&path, text.as_bytes())?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(values)) => Ok(Config::from_values(path, values)),
            Ok(_) => Err(Error::input(format!("config {}: expected a JSON object", path.display()))),
            Err(e) => Err(Error::input(format!("config {}: {e}; download it again", path.display()))),
        }
    }

    /// From values in Hugging Face's keys, made from another format's metadata.
    pub fn from_values(path: PathBuf, values: Map<String, Value>) -> Self {
        Config {
            path,
            within: String::new(),
            values,
            #[cfg(test)]
            asked: Arc::default(),
        }
    }

    /// The same with every key of `aliases` (another name, the family's name) under the family's name; where the file
    /// has both, the other name's value is taken, as in transformers.
    #[must_use]
    pub fn renamed(&self, aliases: &[(&str, &str)]) -> Self {
        let mut config = self.clone();
        for (other, name) in aliases {
            if let Some(value) = config.values.remove(*other) {
                config.values.insert((*name).to_string(), value);
            }
        }
        config
    }

    /// The same with `value` under `key`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.values.insert(key.to_string(), value);
        self
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keys and values, as in the file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How messages call a key.
    pub fn name(&self, key: &str) -> String {
        format!("{}{key}", self.within)
    }

    /// The nested configuration of `values` under `key`.
    pub fn inside(&self, key: &str, values: Map<String, Value>) -> Config {
        let within = format!("{}{key}.", self.within);
        Config { within, values, ..self.clone() }
    }

    /// The nested configuration under `key`; `None` when it is absent or null.
    ///
    /// # Errors
    /// `Input` when the value is no object.
    pub fn nested(&self, key: &str) -> Result<Option<Config>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(values)) => Ok(Some(self.inside(key, values.clone()))),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }

    /// Value of `key`.
    pub fn setting(&self, key: &str) -> Setting<'_> {
        #[cfg(test)]
        if self.within.is_empty() {
            self.asked.lock().expect("no test panics while it asks").insert(key.to_string());
        }
        match self.values.get(key) {
            None => Setting::Absent,
            Some(Value::Null) => Setting::Null,
            Some(value) => Setting::Value(value),
        }
    }

    /// The value of `key`; `None` when it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self.setting(key) {
            Setting::Value(value) => Some(value),
            Setting::Absent | Setting::Null => None,
        }
    }

    /// Keys that were asked for so far, of this configuration and its clones.
    #[cfg(test)]
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().expect("no test panics while it asks").clone()
    }

    /// The error of a value that is not `expected`.
    pub fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        Error::input(format!("config {}: {} is {found}, expected {expected}", self.path.display(), self.name(key)))
    }

    /// The error of a key that must be there.
    pub fn missing(&self, key: &str) -> Error {
        Error::input(format!(
            "config {}: {} is missing; is it the configuration of this checkpoint?",
            self.path.display(),
            self.name(key)
        ))
    }

    /// A size from 1 to 2^21, `None` when absent.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        self.get(key)
            .map(|value| match value.as_u64() {
                Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(n as usize),
                _ => Err(self.wrong(key, value, "a whole number from 1 to 2097152")),
            })
            .transpose()
    }

    /// A size from 1 to 2^21 that must be there.
    pub fn size(&self, key: &str) -> Result<usize> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// A number of blocks from 1 to 4096 that must be there.
    pub fn n_blocks(&self, key: &str) -> Result<usize> {
        let n = self.size(key)?;
        if n > MAX_BLOCKS {
            return Err(self.wrong(key, &Value::from(n), "a whole number from 1 to 4096"));
        }
        Ok(n)
    }

    /// A size with a default.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    /// A number from 0 to 2^21 with a default.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize> {
        self.get(key).map_or(Ok(default), |value| match value.as_u64() {
            Some(n) if n <= MAX_SIZE => Ok(n as usize),
            _ => Err(self.wrong(key, value, "a whole number from 0 to 2097152")),
        })
    }

    /// A finite number, `None` when absent.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key)
            .map(|value| value.as_f64().filter(|v| v.is_finite()).ok_or_else(|| self.wrong(key, value, "a number")))
            .transpose()
    }

    /// A finite number with a default.
    pub fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    /// A finite number: `default` when the key is absent, `None` when it is null.
    pub fn number_or_none(&self, key: &str, default: Option<f64>) -> Result<Option<f64>> {
        if self.setting(key) == Setting::Absent { Ok(default) } else { self.optional_number(key) }
    }

    /// A size: `default` when the key is absent, `None` when it is null.
    pub fn size_or_none(&self, key: &str, default: Option<usize>) -> Result<Option<usize>> {
        if self.setting(key) == Setting::Absent { Ok(default) } else { self.optional_size(key) }
    }

    /// True or false with a default.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        self.get(key)
            .map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong(key, value, "true or false")))
    }

    /// A text, `None` when absent.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, value, "a text"))).transpose()
    }

    /// The activation under `key`, or the one named by `default`.
    ///
    /// # Errors
    /// `Request` when it is not one that is supported.
    pub fn activation(&self, key: &str, default: &str) -> Result<ActivationFunction> {
        let name = self.text(key)?.unwrap_or(default);
        ActivationFunction::named(name).ok_or_else(|| {
            Error::request(format!(
                "config {}: {key} is {name:?}; supported are gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu and relu",
                self.path.display()
            ))
        })
    }

    /// Width of a head: `head_dim`, or `d_model / n_heads`, which must then be whole; at most 2^16.
    ///
    /// # Errors
    /// `Input` when the value is no size, heads do not divide the width, or a head is wider.
    pub fn head_width(&self, d_model: usize, n_heads: usize) -> Result<usize> {
        let d_head = match self.optional_size("head_dim")? {
            Some(d_head) => d_head,
            None => self.even_heads(d_model, n_heads)?,
        };
        self.possible_head(d_head)
    }

    /// The same for a family with its own default width of heads.
    ///
    /// # Errors
    /// `Input` when the value is no size, or a head is wider than that.
    pub fn head_width_or(&self, default: usize) -> Result<usize> {
        self.possible_head(self.size_or("head_dim", default)?)
    }

    fn possible_head(&self, d_head: usize) -> Result<usize> {
        if d_head > MAX_HEAD {
            return Err(Error::input(format!(
                "config {}: a head has {d_head} dimensions, expected at most {MAX_HEAD}; check head_dim, or hidden_size and \
                 the number of heads",
                self.path.display()
            )));
        }
        Ok(d_head)
    }

    /// `d_model / n_heads`, which must be whole; at most 2^16.
    ///
    /// # Errors
    /// `Input` when heads do not divide the width, or a head is wider than that.
    pub fn even_heads(&self, d_model: usize, n_heads: usize) -> Result<usize> {
        if !d_model.is_multiple_of(n_heads) {
            return Err(Error::input(format!(
                "config {}: {n_heads} heads do not divide a width of {d_model}",
                self.path.display()
            )));
        }
        self.possible_head(d_model / n_heads)
    }

    /// Number of key and value heads: `default` when the key is absent, `n_heads` when it is null. It must divide `n_heads`.
    pub fn kv_heads(&self, n_heads: usize, default: usize) -> Result<usize> {
        let n_kv_heads = self.size_or_none("num_key_value_heads", Some(default))?.unwrap_or(n_heads);
        if !n_heads.is_multiple_of(n_kv_heads) {
            let why = match self.setting("num_key_value_heads") {
                Setting::Absent => "; num_key_value_heads is missing, and that is the family's default",
                _ => "",
            };
            return Err(Error::input(format!(
                "config {}: {n_kv_heads} key heads do not divide {n_heads} query heads{why}",
                self.path.display()
            )));
        }
        Ok(n_kv_heads)
    }

    /// Whether each layer has the sliding window `window`: `layer_types` where it is given, else `default(layer)`.
    ///
    /// # Errors
    /// `Input` when `layer_types` is no list of kinds for `n_layers`, or names a window where there is none.
    pub fn sliding_layers(
        &self,
        n_layers: usize,
        default: impl Fn(usize) -> bool,
        window: Option<usize>,
    ) -> Result<Vec<bool>> {
        let Some(types) = self.get("layer_types") else { return Ok((0..n_layers).map(default).collect()) };
        let named = |value: &Value| match value.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(self.wrong("layer_types", value, "full_attention or sliding_attention")),
        };
        let types = types.as_array().ok_or_else(|| self.wrong("layer_types", types, "a list"))?;
        if types.len() != n_layers {
            return Err(Error::input(format!(
                "config {}: layer_types names {} layers, num_hidden_layers is {n_layers}",
                self.path.display(),
                types.len()
            )));
        }
        let sliding: Vec<bool> = types.iter().map(named).collect::<Result<_>>()?;
        if window.is_none() && sliding.contains(&true) {
            return Err(Error::input(format!(
                "config {}: layer_types names layers with a sliding window, but sliding_window (or use_sliding_window) gives \
                 none",
                self.path.display()
            )));
        }
        Ok(sliding)
    }
}
