//! How is a place on the hub written? `hf:owner/name`, with `@revision` and a path inside where they are wanted; or, for an
//! SAE, `sae_lens:RELEASE/SAE_ID` in the words of SAELens' registry.

use crate::error::{Error, Result};
use std::fmt;

/// Prefix of a reference.
const SCHEME: &str = "hf:";

/// A place in a repository of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `owner/name`
    pub repository: String,
    /// A branch, a tag or a commit of 40 hexadecimal digits; `main` by default.
    pub revision: String,
    /// Folder or file in the repository, with `/` between names; empty for the whole repository.
    pub inside: String,
}

impl Reference {
    /// The reference that `text` is; `None` when it does not begin with `hf:`.
    ///
    /// # Errors
    /// `Request` when it begins so and is malformed.
    pub(super) fn parse_hub(text: &str) -> Result<Option<Reference>> {
        let Some(rest) = text.strip_prefix(SCHEME) else { return Ok(None) };
        let wrong = |what: &str| {
            Error::request(format!(
                "{text:?}: {what}; write hf:owner/name, hf:owner/name@revision or hf:owner/name/folder"
            ))
        };
        let mut parts = rest.splitn(3, '/');
        let owner = parts.next().unwrap_or_default();
        let named = parts.next().ok_or_else(|| wrong("the owner or the name is missing"))?;
        let inside = parts.next().unwrap_or_default().trim_end_matches('/');
        let (name, revision) = named.split_once('@').unwrap_or((named, "main"));
        // each becomes the name of a file or folder, and must not lead out of the cache
        let plain = |part: &str| {
            let safe = part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            safe && !part.is_empty() && part.chars().any(|c| c != '.')
        };
        if !plain(owner) || !plain(name) {
            return Err(wrong("owner and name are letters, digits, '-', '_' and '.'"));
        }
        if !plain(revision) {
            return Err(wrong("the revision is not the name of a branch or tag, or a commit"));
        }
        if !inside.is_empty() && inside.split('/').any(|part| part.contains('\\') || matches!(part, "" | "." | "..")) {
            return Err(wrong("the path inside is not one of plain names"));
        }
        Ok(Some(Reference {
            repository: format!("{owner}/{name}"),
            revision: revision.to_string(),
            inside: inside.to_string(),
        }))
    }

    /// Whether the revision is a commit itself.
    pub fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.chars().all(|c| c.is_ascii_hexdigit())
    }

    /// A name inside the place, as the repository writes it.
    pub fn within(&self, name: &str) -> String {
        if self.inside.is_empty() { name.to_string() } else { format!("{}/{name}", self.inside) }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        if self.inside.is_empty() { Ok(()) } else { write!(f, "/{}", self.inside) }
    }
}
