//! A hookpoint of a named model; and the text of a file or a flag that names one, before the model's family is known.

use super::Hookpoint;
use super::resolve::{check_known, resolve};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of a hookpoint as it is written: plain (`resid_post.3`), or as another library has it. What it means is known
/// with the model's family.
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

/// A hookpoint of a named model, written `model/hookpoint`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Site {
    /// The model's name in the dataflow file.
    pub model: String,
    /// The place in it.
    pub hookpoint: Hookpoint,
}

/// A site as it is written, `model/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SiteName {
    /// The model's name in the dataflow file.
    pub model: String,
    /// The place in it.
    pub hookpoint: HookName,
}

impl SiteName {
    /// The site, where it is written in its plain form.
    pub fn plain(&self) -> Option<Site> {
        let hookpoint = Hookpoint::plain(&self.hookpoint.0)?;
        Some(Site { model: self.model.clone(), hookpoint })
    }

    /// The site that it means where its model is of `family`.
    ///
    /// # Errors
    /// Those of [`resolve`](super::resolve()).
    pub fn resolve(&self, family: &str) -> Result<Site> {
        let hookpoint = self.hookpoint.resolve(family).map_err(|e| e.within(format!("{:?}", self.to_string())))?;
        Ok(Site { model: self.model.clone(), hookpoint })
    }
}

impl From<Site> for SiteName {
    fn from(site: Site) -> Self {
        SiteName { model: site.model, hookpoint: site.hookpoint.into() }
    }
}

fn split(text: &str) -> Result<(&str, &str)> {
    text.split_once('/').ok_or_else(|| {
        Error::request(format!("{text:?} is not of the form MODEL/HOOKPOINT, for example small-a/resid_post.2"))
    })
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.hookpoint)
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.model, self.hookpoint)
    }
}

impl FromStr for Site {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (model, hookpoint) = split(text)?;
        Ok(Site {
            model: model.to_string(),
            hookpoint: hookpoint.parse().map_err(|e: Error| e.within(format!("{text:?}")))?,
        })
    }
}

impl FromStr for SiteName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (model, hookpoint) = split(text)?;
        Ok(SiteName {
            model: model.to_string(),
            hookpoint: hookpoint.parse().map_err(|e: Error| e.within(format!("{text:?}")))?,
        })
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
