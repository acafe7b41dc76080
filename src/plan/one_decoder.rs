//! Are two places read through one decoder? Then the row of a latent matched with itself lies beside itself, every score of decoder
//! rows is 1 by construction, and says nothing of the models.

use crate::plan::{Pair, Plan, Space};
use std::collections::BTreeSet;

impl Plan {
    /// Whether both sides of a pair are the same SAE: weight files of the same content, or, before digests were taken, the same
    /// path.
    pub fn is_one_decoder(&self, pair: Pair) -> bool {
        let [source, target] = [pair.source, pair.target].map(|s| &self.spaces[s]);
        let (Some(a), Some(b)) = (source.sae(), target.sae()) else { return false };
        let [ours, theirs] = [source, target].map(|space| self.weight_digests(space));
        if ours.is_empty() || theirs.is_empty() {
            let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            return real(&a.path) == real(&b.path);
        }
        ours == theirs
    }

    /// Digests of an SAE's files that hold weights.
    fn weight_digests(&self, space: &Space) -> BTreeSet<&str> {
        let of_this = format!("saes.\"{}\" ", space.site);
        let parts = self.fingerprint_parts.range(of_this.clone()..).take_while(|(name, _)| name.starts_with(&of_this));
        let says = [".json", ".yaml", ".yml", ".txt"];
        parts
            .filter(|(name, _)| !says.iter().any(|end| name.ends_with(end)))
            .map(|(_, digest)| digest.as_str())
            .collect()
    }
}
