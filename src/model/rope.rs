//! Which rotation does a configuration ask for? `rope_parameters` (transformers 5), or `rope_theta`, `rotary_pct` and
//! `rope_scaling` (transformers 4), put together as transformers 5.24 does (`modeling_rope_utils.py`):
//!
//! - `rope_scaling`, where it is given, takes the place of `rope_parameters`;
//! - a base or a rotated fraction that is not inside is taken from the top level, else from the family's default;
//! - a scaling that needs the original context length takes `original_max_position_embeddings` from the top level, else
//!   from inside, else `max_position_embeddings`.
//!
//! Two keys may contradict each other, and transformers may use one while other libraries use the other. Such a configuration
//! is refused; the message names both keys.

use super::config::{Config, Setting};
use super::rotary::{Rope, Scaling};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// Which keys of a family describe its rotation, and the defaults where they are absent.
#[derive(Clone, Copy, Debug)]
pub struct RopeKeys {
    /// Key of the base at the top level.
    pub theta: &'static str,
    /// The base where none is given.
    pub default_theta: f64,
    /// `max_position_embeddings` of the family's class.
    pub max_positions: usize,
    /// How much of a head is rotated; `None`: whole heads, whatever the configuration.
    pub fraction: Option<Fraction>,
}

/// How much of a head is rotated.
#[derive(Clone, Copy, Debug)]
pub struct Fraction {
    /// Its key at the top level.
    pub key: &'static str,
    /// The fraction where none is given.
    pub default: f64,
    /// Whether an odd width is rotated, the feature behind it with it (GPT-NeoX), or refused.
    pub odd: bool,
}

impl RopeKeys {
    /// Rotation of whole heads, base 10 000 under `rope_theta`; `max_positions` is the default of the family's class.
    pub const fn whole(max_positions: usize) -> Self {
        RopeKeys { theta: "rope_theta", default_theta: 10_000.0, max_positions, fraction: None }
    }
}

/// Keys inside `rope_parameters` that some scaling reads, and those that change nothing.
const INSIDE: &[&str] = &[
    "rope_theta",
    "rope_type",
    "type",
    "partial_rotary_factor",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "short_factor",
    "long_factor",
    "low_freq_factor",
    "high_freq_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
    // Positions of text are the same in all sections.
    "mrope_section",
    "finetuned",
    // Our own, of GGUF files.
    "factors",
];

const LAYER_TYPES: [&str; 2] = ["full_attention", "sliding_attention"];

impl Config {
    /// The rotation of every layer, for heads `d_head` wide.
    ///
    /// # Errors
    /// `Request` for a scaling or a key inside that is not supported, and for keys that contradict each other; `Input` for
    /// values that are missing or impossible.
    pub fn rope(&self, keys: &RopeKeys, d_head: usize) -> Result<Rope> {
        let inside = match self.full_object("rope_scaling")? {
            Some(scaling) => scaling,
            None => match self.full_object("rope_parameters")? {
                Some(parameters) => parameters,
                None => self.inside("rope_parameters", Map::new()),
            },
        };
        if let Some((name, _)) = inside.entries().find(|(name, _)| LAYER_TYPES.contains(name)) {
            return Err(Error::request(format!(
                "config {}: {} is split by types of layers, which this family has not got; move its keys one level up",
                self.path().display(),
                inside.name(name)
            )));
        }
        let theta = self.theta(&inside, keys.theta, keys.default_theta)?;
        for other in ["rope_theta", "rotary_emb_base"].into_iter().filter(|other| *other != keys.theta) {
            self.agree(other, keys.theta, theta)?;
        }
        let d_rotated = self.d_rotated(&inside, keys, d_head)?;
        let original = match self.setting("original_max_position_embeddings") {
            Setting::Absent => Original::Inside,
            _ => Original::Beside,
        };
        let truncate = match inside.setting("truncate") {
            Setting::Absent => true,
            Setting::Null => false,
            Setting::Value(_) => inside.flag_or("truncate", true)?,
        };
        let scaling = self.scaling(&inside, keys, d_rotated, original, truncate)?;
        Ok(Rope { theta, d_rotated, scaling })
    }

    /// The rotations of layers with full attention and of those with a window, where a family has two (Gemma 3):
    /// `rope_parameters` by type of layer, or `rope_theta` and `rope_scaling` for full attention and `rope_local_base_freq`
    /// for the window.
    ///
    /// # Errors
    /// As [`Config::rope`].
    pub fn rope_by_layer(&self, keys: &RopeKeys, d_head: usize) -> Result<(Rope, Rope)> {
        let parameters = self.nested("rope_parameters")?;
        let parameters = parameters.unwrap_or_else(|| self.inside("rope_parameters", Map::new()));
        if let Some((name, _)) =
            parameters.entries().find(|(name, value)| !LAYER_TYPES.contains(name) && !value.is_null())
        {
            return Err(Error::request(format!(
                "config {}: {} is at the level of the types of layers, where nothing is read; move it into \
                 rope_parameters.full_attention or rope_parameters.sliding_attention",
                self.path().display(),
                parameters.name(name)
            )));
        }
        let of_type = |layer_type: &str| -> Result<Config> {
            let inside = parameters.nested(layer_type)?;
            Ok(inside.unwrap_or_else(|| {
                parameters.inside(layer_type, Map::from_iter([("rope_type".into(), json!("default"))]))
            }))
        };
        let (mut full, sliding) = (of_type("full_attention")?, of_type("sliding_attention")?);
        if let Some(scaling) = self.nested("rope_scaling")? {
            let kind = full.entries().any(|(name, _)| name == "rope_type");
            if kind
                && scaling.setting("rope_type") == Setting::Absent
                && scaling.text("type")?.is_some_and(|t| t != "default")
            {
                return Err(Error::request(format!(
                    "config {}: rope_scaling.type is not read in this family, where transformers would not scale at all; \
                     write rope_scaling.rope_type, or remove rope_scaling",
                    self.path().display()
                )));
            }
            let merged = full.entries().chain(scaling.entries()).map(|(name, value)| (name.to_string(), value.clone()));
            full = self.inside("rope_scaling", merged.collect());
        }
        let one = |inside: &Config, theta: &str, default: f64| -> Result<Rope> {
            let theta = self.theta(inside, theta, default)?;
            let d_rotated = self.d_rotated(inside, keys, d_head)?;
            if inside.setting("truncate") != Setting::Absent {
                return Err(Error::request(format!(
                    "config {}: {} is not read where rotations are split by types of layers; remove it",
                    self.path().display(),
                    inside.name("truncate")
                )));
            }
            let scaling = self.scaling(inside, keys, d_rotated, Original::Inside, true)?;
            Ok(Rope { theta, d_rotated, scaling })
        };
        Ok((one(&full, keys.theta, keys.default_theta)?, one(&sliding, "rope_local_base_freq", 10_000.0)?))
    }

    /// The object under `key`; `None` when it is absent, null or empty.
    fn full_object(&self, key: &str) -> Result<Option<Config>> {
        Ok(self.nested(key)?.filter(|inside| inside.entries().next().is_some()))
    }

    fn theta(&self, inside: &Config, key: &str, default: f64) -> Result<f64> {
        match (inside.setting("rope_theta"), self.setting(key)) {
            (Setting::Absent, Setting::Absent) => Ok(default),
            (Setting::Absent, _) => self.positive(key),
            _ => inside.positive("rope_theta"),
        }
    }

    /// Refuses a value under `other`, which this family does not read, when it differs from the value of `key`.
    fn agree(&self, other: &str, key: &str, value: f64) -> Result<()> {
        match self.optional_number(other)? {
            Some(found) if found != value => Err(Error::request(format!(
                "config {}: {other} is {found}, but this family reads {key}, which gives {value}; remove the wrong one",
                self.path().display()
            ))),
            _ => Ok(()),
        }
    }

    /// Number of rotated features of a head of `d_head`.
    fn d_rotated(&self, inside: &Config, keys: &RopeKeys, d_head: usize) -> Result<usize> {
        let impossible = |fraction: f64| {
            Error::input(format!(
                "config {}: {fraction} of {d_head} features of a head cannot be rotated in pairs; check the number of heads, \
                 head_dim and the rotated fraction",
                self.path().display()
            ))
        };
        let inner = "partial_rotary_factor";
        let Some(fraction) = keys.fraction else {
            let stated = if inside.get(inner).is_some() { inside } else { self };
            for (place, key) in [(stated, inner), (self, "rotary_pct")] {
                if let Some(part) = place.optional_number(key)?.filter(|part| *part != 1.0) {
                    return Err(Error::request(format!(
                        "config {}: {} is {part}, but this family rotates whole heads; remove it where that is right",
                        self.path().display(),
                        place.name(key)
                    )));
                }
            }
            return if d_head.is_multiple_of(2) { Ok(d_head) } else { Err(impossible(1.0)) };
        };
        let value = match (inside.setting(inner), self.setting(fraction.key)) {
            (Setting::Absent, Setting::Absent) => fraction.default,
            (Setting::Absent, _) => self.optional_number(fraction.key)?.ok_or_else(|| self.missing(fraction.key))?,
            _ => inside.optional_number(inner)?.ok_or_else(|| inside.missing(inner))?,
        };
        for other in [inner, "rotary_pct"].into_iter().filter(|other| *other != fraction.key) {
            self.agree(other, fraction.key, value)?;
        }
        let width = (d_head as f64 * value) as usize;
        let fits = (0.0..=1.0).contains(&value) && width.next_multiple_of(2) <= d_head;
        if fits && (fraction.odd || width.is_multiple_of(2)) { Ok(width) } else { Err(impossible(value)) }
    }

    fn positive(&self, key: &str) -> Result<f64> {
        if self.setting(key) == Setting::Absent {
            return Err(self.missing(key));
        }
        let value = self.get(key).unwrap_or(&Value::Null);
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(self.wrong(key, value, "a positive number")),
        }
    }

    fn scaling(
        &self,
        inside: &Config,
        keys: &RopeKeys,
        d_rotated: usize,
        original: Original,
        truncate: bool,
    ) -> Result<Scaling> {
        if let Some((name, value)) = inside.entries().find(|(name, value)| !INSIDE.contains(name) && !value.is_null()) {
            return Err(Error::request(format!(
                "config {}: {} ({value}) is not supported: no scaling of rotations reads it here",
                self.path().display(),
                inside.name(name)
            )));
        }
        let kind_key = if inside.setting("rope_type") == Setting::Absent { "type" } else { "rope_type" };
        let kind = match inside.setting(kind_key) {
            Setting::Absent => "default",
            _ => inside.text(kind_key)?.ok_or_else(|| inside.missing(kind_key))?,
        };
        // With null no scaling has a width; unscaled rotations of whole heads do not ask for it.
        if kind != "default" && inside.setting("partial_rotary_factor") == Setting::Null {
            return Err(inside.wrong("partial_rotary_factor", &Value::Null, "a number"));
        }
        let max_positions =
            || -> Result<f64> { Ok(self.size_or("max_position_embeddings", keys.max_positions)? as f64) };
        let original = || match (original, inside.setting("original_max_position_embeddings")) {
            (Original::Beside, _) => self.positive("original_max_position_embeddings"),
            (Original::Inside, Setting::Absent) => max_positions(),
            (Original::Inside, _) => inside.positive("original_max_position_embeddings"),
        };
        // Null means the ratio of the two lengths in yarn and longrope.
        let ratio = |original: f64| match inside.get("factor") {
            Some(_) => inside.positive("factor"),
            None => Ok(max_positions()? / original),
        };
        Ok(match kind {
            "default" => Scaling::None,
            "linear" => Scaling::Linear(inside.positive("factor")?),
            "dynamic" if d_rotated <= 2 => {
                return Err(Error::input(format!(
                    "config {}: dynamic scaling is not defined for {d_rotated} rotated features",
                    self.path().display()
                )));
            }
            "dynamic" => Scaling::Dynamic { factor: inside.positive("factor")?, max_positions: max_positions()? },
            "llama3" => Scaling::Llama3 {
                factor: inside.positive("factor")?,
                low: inside.positive("low_freq_factor")?,
                high: inside.positive("high_freq_factor")?,
                original_context: original()?,
            },
            "yarn" => {
                let original_context = original()?;
                if inside.setting("factor") == Setting::Absent {
                    return Err(inside.missing("factor"));
                }
                let factor = ratio(original_context)?;
                let or = |key: &str, default: f64| -> Result<f64> {
                    Ok(inside.optional_number(key)?.filter(|v| *v != 0.0).unwrap_or(default))
                };
                let of_scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
                let attention =
                    match (inside.optional_number("attention_factor")?, or("mscale", 0.0)?, or("mscale_all_dim", 0.0)?)
                    {
                        (Some(attention), _, _) => attention,
                        (None, m, all) if m != 0.0 && all != 0.0 => of_scale(m) / of_scale(all),
                        _ => of_scale(1.0),
                    };
                let (fast, slow) = (or("beta_fast", 32.0)?, or("beta_slow", 1.0)?);
                Scaling::Yarn { factor, original_context, fast, slow, truncate, attention }
            }
            "longrope" => {
                let original_context = original()?;
                let factor = ratio(original_context)?;
                let attention = match inside.optional_number("attention_factor")? {
                    Some(attention) => attention,
                    None if factor <= 1.0 => 1.0,
                    None if original_context <= 1.0 => {
                        return Err(inside.wrong(
                            "original_max_position_embeddings",
                            &original_context.into(),
                            "more than 1",
                        ));
                    }
                    None => (1.0 + factor.ln() / original_context.ln()).sqrt(),
                };
                let n_pairs = d_rotated.div_ceil(2);
                let (short, long) = (inside.factors("short_factor", n_pairs)?, inside.factors("long_factor", n_pairs)?);
                Scaling::Long { short: short.into(), long: long.into(), original_context, attention }
            }
            "divided" => Scaling::Divided(inside.factors("factors", d_rotated.div_ceil(2))?.into()),
            other => {
                return Err(Error::request(format!(
                    "config {}: {} is {other:?}, a rotary scaling that is not supported; supported are default, linear, \
                     dynamic, llama3, yarn and longrope",
                    self.path().display(),
                    inside.name(kind_key)
                )));
            }
        })
    }

    /// A list of one positive factor for each of `n_pairs`.
    fn factors(&self, key: &str, n_pairs: usize) -> Result<Vec<f32>> {
        let list = self.get(key).ok_or_else(|| self.missing(key))?;
        let factors: Option<Vec<f32>> = list.as_array().and_then(|list| {
            list.iter().map(|v| v.as_f64().map(|v| v as f32).filter(|v| v.is_finite() && *v > 0.0)).collect()
        });
        match factors {
            Some(factors) if factors.len() == n_pairs => Ok(factors),
            _ => Err(Error::input(format!(
                "config {}: {} is not a list of {n_pairs} positive numbers, one for each rotated pair",
                self.path().display(),
                self.name(key)
            ))),
        }
    }
}

/// Where the context length before a stretch is taken from.
#[derive(Clone, Copy)]
enum Original {
    /// From the top level.
    Beside,
    /// From inside, else the longest context.
    Inside,
}

#[cfg(test)]
mod tests;
