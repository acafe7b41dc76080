//! Llama Scope: `hyperparams.json` with `checkpoints/final.safetensors`.
//!
//! Trained on `c x`, `c = √d / dataset_average_activation_norm`; the one threshold is in raw units. When the file has no key for
//! decoder norms, it is read as SAELens does since May 2025: latents `ReLU(c W x + b)` above `c θ`. With
//! `sparsity_include_decoder_norm` it is read as the authors do: latents in units of their decoder rows, in raw units, above `θ`.
//! Which one is right is an open question upstream (Llamascopium#128). The threshold was chosen to give 50 active latents, so the
//! L0 that `cognate doctor` measures decides.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place, Scale};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Rescale, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::weights::safetensors;
use serde::Deserialize;

pub(super) const CONFIG: &str = "hyperparams.json";
pub(super) const WEIGHTS: &str = "checkpoints/final.safetensors";

#[derive(Deserialize)]
struct Config {
    hook_point_in: String,
    hook_point_out: Option<String>,
    d_model: Option<usize>,
    d_sae: Option<usize>,
    act_fn: Option<String>,
    jump_relu_threshold: Option<f32>,
    top_k: Option<usize>,
    norm_activation: Option<String>,
    dataset_average_activation_norm: Option<AverageNorm>,
    #[serde(default)]
    sparsity_include_decoder_norm: bool,
    #[serde(default)]
    apply_decoder_bias_to_pre_encoder: bool,
    #[serde(default)]
    use_glu_encoder: bool,
}

#[derive(Deserialize)]
struct AverageNorm {
    #[serde(rename = "in")]
    input: f32,
    #[serde(rename = "out")]
    output: f32,
}

/// Reads the headers.
///
/// # Errors
/// `Request` for an activation that is not known, `Input` for files that contradict each other.
pub(super) fn recipe(folder: &Folder) -> Result<Recipe> {
    let config: Config = folder.json(CONFIG)?;
    let (config_path, weights) = (folder.path.join(CONFIG), folder.weights(WEIGHTS));
    let wrong = |what: &str| Error::request(format!("{}: {what}", config_path.display()));
    if config.use_glu_encoder {
        return Err(wrong("use_glu_encoder is true; SAEs with a gated linear encoder are not read"));
    }
    let tensors = safetensors::tensors(&weights)?;
    let (w_enc, w_dec) = (StoredMatrix::as_is("encoder.weight"), StoredMatrix::transposed("decoder.weight"));
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    let b_enc = tensors.first_of(&["encoder.bias"])?;
    let (activation, selection) = match (config.act_fn.as_deref(), config.jump_relu_threshold, config.top_k) {
        (None | Some("jumprelu"), Some(threshold), _) if threshold.is_finite() => {
            (Activation::JumpRelu, Selection::Threshold { b_enc, threshold })
        }
        (Some("topk"), _, Some(k)) => (Activation::TopK(k), Selection::Bias { b_enc }),
        (Some("relu"), ..) => (Activation::Relu, Selection::Bias { b_enc }),
        _ => {
            return Err(wrong(
                "expected act_fn \"jumprelu\" with jump_relu_threshold, \"topk\" with top_k, or \"relu\"",
            ));
        }
    };
    let mut normalise = Normalise::Nothing;
    let mut rescales = Vec::new();
    let mut scale = Scale::Unsaid;
    match (config.norm_activation.as_deref(), &config.dataset_average_activation_norm) {
        (None | Some("dataset-wise"), Some(norm)) => {
            let (input, output) = ((d_in as f32).sqrt() / norm.input, (d_out as f32).sqrt() / norm.output);
            if !(input.is_finite() && output.is_finite() && input > 0.0 && output > 0.0) {
                return Err(Error::input(format!(
                    "{}: dataset_average_activation_norm is {} and {}; expected positive numbers",
                    config_path.display(),
                    norm.input,
                    norm.output
                )));
            }
            let own = config.sparsity_include_decoder_norm;
            scale = Scale::Factor((d_in as f64).sqrt() / f64::from(norm.input));
            rescales.push(Rescale::Scaled { input, output, threshold: if own { 1.0 } else { input } });
        }
        (Some("token-wise"), _) => normalise = Normalise::ConstantNorm,
        (None | Some("none" | "inference"), _) => {}
        _ => {
            return Err(wrong(
                "norm_activation needs dataset_average_activation_norm; expected \"in\" and \"out\" in it",
            ));
        }
    }
    if config.sparsity_include_decoder_norm {
        rescales.push(Rescale::UnitDecoder);
    }
    let b_dec = tensors.has("decoder.bias").then(|| "decoder.bias".to_string());
    let files = vec![config_path, weights];
    Ok(Recipe {
        shape: SaeShape {
            format: Format::LlamaScope,
            d_in,
            d_sae,
            d_out,
            activation,
            transcoder: config.hook_point_out.as_ref().is_some_and(|out| *out != config.hook_point_in),
            skip: false,
            declared: Declared {
                output: config.hook_point_out.filter(|out| *out != config.hook_point_in).map(Place::named),
                input: Some(Place::named(config.hook_point_in)),
                d_in: config.d_model,
                d_sae: config.d_sae,
                scale,
                ..Declared::default()
            },
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        subtract_b_dec: config.apply_decoder_bias_to_pre_encoder && b_dec.is_some(),
        b_dec,
        normalise,
        selection,
        rescales,
        decoder_scale: None,
        skip: None,
        trust_weights: false,
        tensors,
    })
}
