//! Is there enough text for an answer, and is there a chance level at all? Counts of tokens and documents in, a rule's answer in
//! words out.
//!
//! Three rules. Fewer than [`MIN_TOKENS`] tokens are too few: the best of a thousand unrelated partners reaches about
//! √(2 ln 1000 / N), 0.12 at N = 1 000, 0.37 at 100, and with two tokens every correlation is 1 or −1. With fewer than
//! [`MIN_DOCUMENTS`] documents there is no row of another document, so no chance level. Where more than [`MAX_OWN_SHARE`] of the
//! rows are paired with their own document in the rotated batches (documents longer than half a batch), a chance level holds what one
//! document's tokens have in common, and is too high.

/// Tokens below which there is no answer.
pub const MIN_TOKENS: u64 = 1000;
/// Documents below which there is no chance level.
pub const MIN_DOCUMENTS: u64 = 2;
/// Share of rotated rows paired with their own document above which chance levels are too high.
pub const MAX_OWN_SHARE: f64 = 0.5;

/// Why the chance levels of a pair are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChance {
    /// The dataflow file leaves them out.
    NotAsked,
    /// Sums over all pairs of latents are sketched.
    Sketch,
    /// All tokens are of one document.
    OneDocument,
}

impl NoChance {
    /// As written in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            NoChance::NotAsked => "null.documents = false",
            NoChance::Sketch => "a sketch has no rotated rows",
            NoChance::OneDocument => "1 document",
        }
    }
}

/// Why there is too little text: every rule that is not met, in words; `None` where all are. `has_chance`: whether a
/// chance level was asked for and counted.
pub fn too_few(n_tokens: u64, n_documents: u64, own_document_share: Option<f64>, has_chance: bool) -> Option<String> {
    let mut reasons = Vec::new();
    if n_tokens < MIN_TOKENS {
        reasons.push(format!("{}: too few to say anything", counted(n_tokens, "token")));
    }
    if n_documents < MIN_DOCUMENTS {
        reasons.push(format!("{}: no chance level", counted(n_documents, "document")));
    } else if let Some(share) = own_document_share.filter(|share| has_chance && *share > MAX_OWN_SHARE) {
        reasons.push(format!(
            "{:.0} % of the rotated rows lie beside their own document: chance levels are too high",
            100.0 * share
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn counted(n: u64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_says_its_reason() {
        let said = |tokens, documents, share, has_chance| {
            too_few(tokens, documents, Some(share), has_chance).unwrap_or_default()
        };
        assert_eq!(said(1000, 2, 0.5, true), "");
        assert_eq!(said(2, 2, 0.0, true), "2 tokens: too few to say anything");
        assert_eq!(said(50_000, 1, 1.0, true), "1 document: no chance level");
        assert_eq!(said(1, 1, 1.0, true), "1 token: too few to say anything; 1 document: no chance level");
        assert_eq!(said(0, 0, 0.0, true), "0 tokens: too few to say anything; 0 documents: no chance level");
        assert!(said(9000, 3, 0.981, true).starts_with("98 % of the rotated rows lie beside their own document"));
        assert_eq!(said(9000, 3, 0.981, false), "", "no chance level, so none that is too high");
        assert_eq!(too_few(1000, 2, None, true), None);
    }
}
