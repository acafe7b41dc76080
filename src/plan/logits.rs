//! Of which pairs can the effects of decoder rows on the logits be compared? Both sides' rows must be added to the residual stream of models that
//! read one vocabulary.

use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::plan::steps::Steps;
use crate::plan::{Outline, Pair, Space};

impl Steps {
    /// Whether the decoder rows of a space are directions of its model's residual stream.
    fn writes_the_stream(&self, space: &Space) -> bool {
        let model = &self.models[space.model()];
        let normed = |l: usize| model.shape.width(Hookpoint::AttnOutNormed(l)).is_ok();
        let in_stream = match space.site.hookpoint {
            Hookpoint::Embed | Hookpoint::ResidPre(_) | Hookpoint::ResidMid(_) | Hookpoint::ResidPost(_) => true,
            // what is added to the stream: behind the norm where there is one
            Hookpoint::AttnOut(l) | Hookpoint::MlpOut(l) => !normed(l),
            Hookpoint::AttnOutNormed(_) | Hookpoint::MlpOutNormed(_) => true,
            _ => false,
        };
        let fits = |shape: &crate::sae::SaeShape| !shape.transcoder && shape.d_out == model.shape.d_model;
        in_stream
            && model.random_weights.is_none()
            && model.elsewhere.is_none()
            && space.sae().is_some_and(|sae| fits(&sae.shape))
    }

    /// Whether the effects of both sides' decoder rows on the logits can be compared.
    pub fn has_logit_effects(&self, pair: Pair) -> bool {
        let sides = [pair.source, pair.target].map(|s| &self.spaces[s]);
        let [ours, theirs] = sides.map(|space| self.models[space.model()].view);
        ours == theirs && sides.iter().all(|space| self.writes_the_stream(space))
    }

    /// Refuses `estimate.logits` where no pair has effects to compare.
    pub fn check_logits(&self) -> Result<()> {
        if self.spec.estimate.logits && !self.pairs.iter().any(|p| self.has_logit_effects(*p)) {
            return Err(Error::request(
                "estimate.logits changes nothing here: it compares what decoder rows do to the logits, and no pair has two SAEs at \
                 places of the residual stream (embed, resid_…, or what is added to it) of models with one tokenizer and their own \
                 weights; take it out",
            ));
        }
        Ok(())
    }
}

impl Outline {
    /// Whether the effects of both sides' decoder rows on the logits can be compared: rows of the residual stream, one vocabulary.
    pub fn has_logit_effects(&self, pair: Pair) -> bool {
        self.steps.has_logit_effects(pair)
    }
}
