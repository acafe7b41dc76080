//! How is an SAE to be read, where its files do not decide it? The keys of a dataflow file and the facts of a registry.

use super::autoencoder::Sae;
use super::declared::Scale;
use super::format::Format;
use super::recipe::{Recipe, Rescale};
use super::rule::Normalise;
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// How an SAE is read; by default as its files declare.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The format to insist on; recognised from the files when `None`.
    pub format: Option<Format>,
    /// Whether the decoder bias is subtracted from the input; the format's default when `None`.
    pub subtract_b_dec: Option<bool>,
    /// Factor on activations, in place of the files' own. The latents belong to the scaled input; the output is divided
    /// by the factor.
    pub scale: Option<f64>,
    /// Whether the mean over the dimensions of each row is subtracted from the input and added to the output.
    pub center: bool,
    /// Whether a size in the configuration that differs from the weights is ignored.
    pub trust_weights: bool,
    /// Keys that replace those of a SAELens `cfg.json`, as SAELens' registry does (`config_overrides`).
    pub overrides: Map<String, Value>,
}

impl Reading {
    /// As the files declare, in `format` where that is given.
    pub fn of(format: Option<Format>) -> Reading {
        Reading { format, ..Reading::default() }
    }

    /// The recipe, read this way. The bias is decided when it is built.
    ///
    /// # Errors
    /// `Request` for a scale that is no positive number, or that would change nothing.
    pub(super) fn apply(&self, mut recipe: Recipe) -> Result<Recipe> {
        if let Some(scale) = self.scale {
            let own = if let Scale::Factor(own) = recipe.shape.declared.scale { own } else { 1.0 };
            let place = recipe.shape.files.last().map(|f| f.display().to_string()).unwrap_or_default();
            if !(scale.is_finite() && scale > 0.0) {
                return Err(Error::request(format!("scale is {scale}; expected a positive number")));
            }
            if recipe.normalise != Normalise::Nothing && scale != 1.0 {
                return Err(Error::request(format!(
                    "scale = {scale} would change nothing: the SAE in {place} normalises every row itself; take the key out"
                )));
            }
            if scale != own {
                // as SAELens rescales it; in front of decoder norms, which are then those of the scaled decoder
                let by = (scale / own) as f32;
                let rescale = Rescale::Scaled { input: by, output: by, threshold: 1.0 };
                let at = recipe.rescales.iter().position(|f| matches!(f, Rescale::UnitDecoder));
                recipe.rescales.insert(at.unwrap_or(recipe.rescales.len()), rescale);
            }
        }
        if self.center {
            recipe.normalise = recipe.normalise.centered();
        }
        Ok(recipe)
    }

    /// The SAE of the recipe with the bias read this way.
    ///
    /// # Errors
    /// `Request` when `subtract_b_dec` is set for a transcoder; the errors of building.
    pub(super) fn build(&self, recipe: Recipe) -> Result<Sae> {
        let sae = self.apply(recipe)?.build()?;
        match self.subtract_b_dec {
            Some(subtract) if subtract != sae.subtracts_bias() => sae.with_bias_subtracted(subtract).ok_or_else(|| {
                Error::request(
                    "subtract_b_dec is set, but this is a transcoder: its decoder bias is in another space than its \
                     input; take the key out",
                )
            }),
            _ => Ok(sae),
        }
    }
}
