//! What can be run: an outline of things that are all here, known by their content.

use crate::corpus::Tokenizer;
use crate::plan::Outline;
use crate::plan::fingerprint::fingerprint;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// A resolved run: see [`Request::plan`](super::Request::plan). Has all methods of its [`Outline`].
#[derive(Clone, Debug)]
pub struct Plan {
    outline: Outline,
    tokenizers: Vec<Arc<Tokenizer>>,
    parts: BTreeMap<String, String>,
    fingerprint: String,
}

impl Plan {
    pub(super) fn new(outline: Outline, tokenizers: Vec<Arc<Tokenizer>>, parts: BTreeMap<String, String>) -> Plan {
        let fingerprint = fingerprint(&parts);
        Plan { outline, tokenizers, parts, fingerprint }
    }

    /// The models' tokenizers, one per view of a batch.
    pub fn tokenizers(&self) -> Vec<Arc<Tokenizer>> {
        self.tokenizers.clone()
    }

    /// The tokenizer of a space's model.
    pub fn tokenizer_of(&self, space: usize) -> &Arc<Tokenizer> {
        &self.tokenizers[self.models()[self.spaces()[space].model()].view]
    }

    /// Name and digest of everything that changes a number. Corpus files enter by name and order; digests of the records read are
    /// in the corpus' cursor.
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
