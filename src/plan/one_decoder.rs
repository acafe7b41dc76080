//! Are two places read through one decoder? Then the row of a latent matched with itself is compared with itself, every score of decoder
//! rows is 1 by construction, and says nothing of the models.

use crate::plan::{Pair, Plan, Space};
use std::collections::BTreeSet;

impl Plan {
    /// Whether both sides of a pair are the same SAE: weight files of the same content.
    pub fn is_one_decoder(&self, pair: Pair) -> bool {
        let sides = [pair.source, pair.target].map(|s| &self.spaces()[s]);
        let [ours, theirs] = sides.map(|space| self.weight_digests(space));
        !ours.is_empty() && ours == theirs
    }

    /// Digests of an SAE's files that hold weights.
    fn weight_digests(&self, space: &Space) -> BTreeSet<&str> {
        let of_this = format!("saes.\"{}\" ", space.site);
        let parts =
            self.fingerprint_parts().range(of_this.clone()..).take_while(|(name, _)| name.starts_with(&of_this));
        let says = [".json", ".yaml", ".yml", ".txt"];
        parts
            .filter(|(name, _)| !says.iter().any(|end| name.ends_with(end)))
            .map(|(_, digest)| digest.as_str())
            .collect()
    }
}
