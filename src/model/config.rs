//! What does `config.json` say? Typed reading of Hugging Face configurations, in the key names of transformers 4
//! (`rotary_pct`, `rope_theta`, `rope_scaling` …) and of transformers 5 (`rope_parameters`, `layer_types`).
//!
//! A key that is absent and one that is null mean the same: the default.

use super::layers::Activation;
use super::layers::rotary::{Rope, Scaling};
use crate::error::{Error, Result};
use crate::hub::refuse_pointer;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A configuration, with its path for messages.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    values: Map<String, Value>,
}

/// No size in a configuration is larger (a product of three still fits 64 bits).
const MAX_SIZE: u64 = 1 << 21;
/// Largest width of a head: tables of angles grow with it.
const MAX_HEAD: usize = 1 << 16;

impl Config {
    /// Reads `folder/config.json`.
    ///
    /// # Errors
    /// `Request` when there is none; `Input` when it is not a JSON object.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text =
            std::fs::read_to_string(&path).map_err(|e| Error::io("read the model's configuration", &path, &e))?;
        refuse_pointer(&path, text.as_bytes())?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(values)) => Ok(Config { path, values }),
            Ok(_) => Err(Error::input(format!("config {}: expected a JSON object", path.display()))),
            Err(e) => Err(Error::input(format!("config {}: {e}; download it again", path.display()))),
        }
    }

    /// From values in Hugging Face's keys, made from another format's metadata.
    pub fn from_values(path: PathBuf, values: Map<String, Value>) -> Self {
        Config { path, values }
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The nested configuration under `key`, if there is one.
    pub fn nested(&self, key: &str) -> Option<Config> {
        match self.get(key) {
            Some(Value::Object(values)) => Some(Config { path: self.path.clone(), values: values.clone() }),
            _ => None,
        }
    }

    /// The value of `key`; `None` when it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, found: &Value, expected: &str) -> Error {
        Error::input(format!("config {}: {key} is {found}, expected {expected}", self.path.display()))
    }

    fn missing(&self, key: &str) -> Error {
        Error::input(format!(
            "config {}: {key} is missing; is it the configuration of this checkpoint?",
            self.path.display()
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

    /// A size with a default.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(key)?.unwrap_or(default))
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
    pub fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        let name = self.text(key)?.unwrap_or(default);
        Activation::named(name).ok_or_else(|| {
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

    /// The same where the family has a width of its own for heads that nothing is said of.
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

    fn even_heads(&self, d_model: usize, n_heads: usize) -> Result<usize> {
        if !d_model.is_multiple_of(n_heads) {
            return Err(Error::input(format!(
                "config {}: {n_heads} heads do not divide a width of {d_model}",
                self.path.display()
            )));
        }
        Ok(d_model / n_heads)
    }

    /// Number of key and value heads; `default` where it is not said. It must divide `n_heads`.
    pub fn kv_heads(&self, n_heads: usize, default: usize) -> Result<usize> {
        let n_kv_heads = self.size_or("num_key_value_heads", default)?;
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(Error::input(format!(
                "config {}: {n_kv_heads} key heads do not divide {n_heads} query heads",
                self.path.display()
            )));
        }
        Ok(n_kv_heads)
    }

    /// Whether each layer has a sliding window: `layer_types` where it is given, else `default(layer)`.
    pub fn sliding_layers(&self, n_layers: usize, default: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
        let Some(types) = self.get("layer_types") else { return Ok((0..n_layers).map(default).collect()) };
        let named = |value: &Value| match value.as_str() {
            Some("sliding_attention") => Ok(true),
            Some("full_attention") => Ok(false),
            _ => Err(self.wrong("layer_types", value, "full_attention or sliding_attention")),
        };
        let types = types.as_array().ok_or_else(|| self.wrong("layer_types", types, "a list"))?;
        if types.len() != n_layers {
            return Err(Error::input(format!(
                "config {}: layer_types names {} layers, the model has {n_layers}",
                self.path.display(),
                types.len()
            )));
        }
        types.iter().map(named).collect()
    }

    /// The rotary settings: `rope_parameters` (transformers 5; of `layer_type` where it is split by type), else
    /// `rope_theta` or `rotary_emb_base` and `rope_scaling`.
    ///
    /// # Errors
    /// `Request` when the scaling is not one that is supported.
    pub fn rope(&self, layer_type: &str, default_theta: f64) -> Result<Rope> {
        if let Some(parameters) = self.nested("rope_parameters") {
            let parameters = parameters.nested(layer_type).unwrap_or(parameters);
            let theta = parameters.number_or("rope_theta", default_theta)?;
            return Ok(Rope { theta, scaling: parameters.scaling()? });
        }
        let theta = match self.optional_number("rope_theta")? {
            Some(theta) => theta,
            None => self.number_or("rotary_emb_base", default_theta)?,
        };
        let scaling = self.nested("rope_scaling").map_or(Ok(Scaling::None), |scaling| scaling.scaling())?;
        Ok(Rope { theta, scaling })
    }

    fn scaling(&self) -> Result<Scaling> {
        let positive = |key: &str| {
            let value = self.optional_number(key)?.ok_or_else(|| self.missing(key))?;
            if value > 0.0 { Ok(value) } else { Err(self.wrong(key, &value.into(), "a positive number")) }
        };
        match self.text("rope_type")?.or(self.text("type")?).unwrap_or("default") {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(positive("factor")?)),
            "llama3" => Ok(Scaling::Llama3 {
                factor: positive("factor")?,
                low: positive("low_freq_factor")?,
                high: positive("high_freq_factor")?,
                original_context: positive("original_max_position_embeddings")?,
            }),
            // Our own word for the factors that GGUF files hold as a tensor.
            "divided" => {
                let factors = self.get("factors").and_then(Value::as_array).ok_or_else(|| self.missing("factors"))?;
                Ok(Scaling::Divided(factors.iter().map(|f| f.as_f64().unwrap_or(1.0) as f32).collect()))
            }
            other => Err(Error::request(format!(
                "config {}: rotary scaling {other:?} is not supported; supported are default, linear and llama3",
                self.path.display()
            ))),
        }
    }

    /// Number of rotated features of a head of `d_head`: the fraction under `rope_parameters`, `rotary_pct` or
    /// `partial_rotary_factor`, or `default`.
    pub fn rotated(&self, d_head: usize, default: f64) -> Result<usize> {
        let nested = self.nested("rope_parameters").map_or(Ok(None), |p| p.optional_number("partial_rotary_factor"))?;
        let fraction =
            match nested.or(self.optional_number("rotary_pct")?).or(self.optional_number("partial_rotary_factor")?) {
                Some(fraction) => fraction,
                None => default,
            };
        let rotated = (d_head as f64 * fraction) as usize;
        if !(0.0..=1.0).contains(&fraction) || !rotated.is_multiple_of(2) {
            return Err(Error::input(format!(
                "config {}: {fraction} of {d_head} features cannot be rotated in pairs",
                self.path.display()
            )));
        }
        Ok(rotated)
    }
}
