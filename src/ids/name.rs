//! A hookpoint of a named model; and the text of a file or a flag that names one, before the model's family is known.

use super::Hookpoint;
use super::resolve::{check_known, resolve};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a hookpoint as written: plain (`resid_post.3`), or in another library's form, whose meaning depends on the
/// model's family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HookName(String);

impl HookName {
    /// Whether it is the plain name, which means the same in every family.
    pub fn is_plain(&self) -> bool {
        Hookpoint::plain(&self.0).is_some()
    }

    /// The place that it means in a model of `family`.
    ///
    /// # Errors
    /// Those of [`resolve`](super::resolve()).
    pub fn resolve(&self, family: &str) -> Result<Hookpoint> {
        resolve(&self.0, family)
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HookName {
    type Err = Error;

    /// Takes any name that some family has.
    fn from_str(text: &str) -> Result<Self> {
        check_known(text)?;
        Ok(HookName(text.to_string()))
    }
}

impl From<Hookpoint> for HookName {
    fn from(place: Hookpoint) -> Self {
        HookName(place.to_string())
    }
}

/// Tells several SAEs of one hookpoint apart: `seed1` of `resid_post.3#seed1`. A hookpoint without one has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Option<String>);

impl Tag {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |tag| write!(f, "#{tag}"))
    }
}

/// A hookpoint of a named model, written `model/hookpoint`; `model/hookpoint#tag` where it has several SAEs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site {
    /// The model's name in the dataflow file.
    pub model: String,
    /// The place in it.
    pub hookpoint: Hookpoint,
    /// Which of its SAEs.
    pub tag: Tag,
}

impl Site {
    /// The site without its model, as tables have it: `resid_post.3` or `resid_post.3#seed1`.
    pub fn place(&self) -> String {
        format!("{}{}", self.hookpoint, self.tag)
    }

    /// The site of a model at a [`place`](Self::place).
    ///
    /// # Errors
    /// `Request` where it is none.
    pub fn of(model: &str, place: &str) -> Result<Site> {
        let (hookpoint, tag) = split_tag(place)?;
        Ok(Site { model: model.to_string(), hookpoint: hookpoint.parse()?, tag })
    }
}

/// A site as it is written, `model/name` or `model/name#tag`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName {
    /// The model's name in the dataflow file.
    pub model: String,
    /// The place in it.
    pub hookpoint: HookName,
    /// Which of its SAEs.
    pub tag: Tag,
}

impl SiteName {
    /// The site, where it is written in its plain form.
    pub fn plain(&self) -> Option<Site> {
        let hookpoint = Hookpoint::plain(&self.hookpoint.0)?;
        Some(Site { model: self.model.clone(), hookpoint, tag: self.tag.clone() })
    }

    /// The site that it means where its model is of `family`.
    ///
    /// # Errors
    /// Those of [`resolve`](super::resolve()).
    pub fn resolve(&self, family: &str) -> Result<Site> {
        let hookpoint = self.hookpoint.resolve(family).map_err(|e| e.within(format!("{:?}", self.to_string())))?;
        Ok(Site { model: self.model.clone(), hookpoint, tag: self.tag.clone() })
    }
}

impl From<Site> for SiteName {
    fn from(site: Site) -> Self {
        SiteName { model: site.model, hookpoint: site.hookpoint.into(), tag: site.tag }
    }
}

fn split(text: &str) -> Result<(&str, &str)> {
    text.split_once('/').ok_or_else(|| {
        Error::request(format!("{text:?} is not of the form MODEL/HOOKPOINT, for example small-a/resid_post.2"))
    })
}

/// A place's hookpoint and tag.
fn split_tag(text: &str) -> Result<(&str, Tag)> {
    let Some((hookpoint, tag)) = text.split_once('#') else { return Ok((text, Tag(None))) };
    if tag.is_empty() || !tag.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        return Err(Error::request(format!(
            "what follows # names one of several SAEs of a hookpoint, and {tag:?} is no name; expected letters, digits, '_', '-' and '.', for \
             example resid_post.2#seed1"
        )));
    }
    Ok((hookpoint, Tag(Some(tag.to_string()))))
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.model, self.hookpoint, self.tag)
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.model, self.hookpoint, self.tag)
    }
}

impl FromStr for Site {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (model, place) = split(text)?;
        Site::of(model, place).map_err(|e| e.within(format!("{text:?}")))
    }
}

impl FromStr for SiteName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (model, place) = split(text)?;
        let within = |e: Error| e.within(format!("{text:?}"));
        let (hookpoint, tag) = split_tag(place).map_err(within)?;
        Ok(SiteName { model: model.to_string(), hookpoint: hookpoint.parse().map_err(within)?, tag })
    }
}

macro_rules! as_text {
    ($($name:ident)*) => {$(
        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    )*};
}

as_text! { HookName Site SiteName }
