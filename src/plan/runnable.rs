//! What can be run: an outline of things that are all here, known by their content.

use crate::corpus::Tokenizer;
use crate::plan::Outline;
use crate::plan::fingerprint::fingerprint;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A resolved run: see [`Request::plan`](super::Request::plan). Whatever can be asked of its [`Outline`] can be asked of it.
#[derive(Clone, Debug)]
pub struct Plan {
    outline: Outline,
    tokenizer: Arc<Tokenizer>,
    parts: BTreeMap<String, String>,
    fingerprint: String,
}

impl Plan {
    pub(super) fn new(outline: Outline, tokenizer: Arc<Tokenizer>, parts: BTreeMap<String, String>) -> Plan {
        let fingerprint = fingerprint(&parts);
        Plan { outline, tokenizer, parts, fingerprint }
    }

    /// The tokenizer of all models.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        self.tokenizer.clone()
    }

    /// Name and digest of everything that changes a number. Corpus files enter by name and order; what was read of them is in the
    /// corpus' cursor.
    pub fn fingerprint_parts(&self) -> &BTreeMap<String, String> {
        &self.parts
    }

    /// Digest of [`Plan::fingerprint_parts`], hexadecimal: the same for the same run.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl Deref for Plan {
    type Target = Outline;

    fn deref(&self) -> &Outline {
        &self.outline
    }
}
