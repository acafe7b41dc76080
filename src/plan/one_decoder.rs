//! Are two places read through one decoder, or are they places of one model? One decoder: the row of a latent matched with itself is
//! compared with itself, every score of decoder rows is 1 by construction, and says nothing of the models. One model: rows of equal width
//! are directions of one space, and their cosines mean something as they are.

use crate::plan::steps::Steps;
use crate::plan::{Outline, Pair, Plan, Space};
use std::collections::BTreeSet;

impl Plan {
    /// Whether both sides of a pair are the same SAE: weight files of the same content.
    pub fn is_one_decoder(&self, pair: Pair) -> bool {
        let sides = [pair.source, pair.target].map(|s| &self.spaces()[s]);
        // random SAEs of two places are independent, whatever SAE gave them their sizes
        if sides.iter().any(|space| space.sae().is_some_and(|sae| sae.random.is_some())) {
            return false;
        }
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

impl Steps {
    /// Whether both sides of a pair are SAEs of one model: the same weights, under whatever names.
    pub fn is_one_model(&self, pair: Pair) -> bool {
        let [ours, theirs] = [pair.source, pair.target].map(|s| &self.spaces[s]);
        let model = |space: &Space| {
            let model = &self.models[space.model()];
            // weights that are not here are its own, whosever tokenizer it has
            (model.elsewhere.as_ref().map(|_| &model.name), model.path.clone(), model.random_weights)
        };
        ours.sae().is_some() && theirs.sae().is_some() && model(ours) == model(theirs)
    }

    /// Whether the decoder rows of a pair are directions of one space.
    pub fn has_decoder_cosines(&self, pair: Pair) -> bool {
        let d_out = |s: usize| self.spaces[s].sae().map(|sae| sae.shape.d_out);
        self.is_one_model(pair) && d_out(pair.source) == d_out(pair.target)
    }

    /// Whether the encoder rows of a pair are directions of one space.
    pub fn has_encoder_cosines(&self, pair: Pair) -> bool {
        let d_in = |s: usize| self.spaces[s].sae().map(|sae| sae.shape.d_in);
        self.is_one_model(pair) && d_in(pair.source) == d_in(pair.target)
    }
}

impl Outline {
    /// Whether the decoder rows of a pair are directions of one space: two SAEs of one model, of one width.
    pub fn has_decoder_cosines(&self, pair: Pair) -> bool {
        self.steps.has_decoder_cosines(pair)
    }

    /// Whether the encoder rows of a pair are directions of one space.
    pub fn has_encoder_cosines(&self, pair: Pair) -> bool {
        self.steps.has_encoder_cosines(pair)
    }
}
