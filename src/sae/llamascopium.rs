//! Llamascopium (the later Llama Scope, R1 distillations too): `config.json` with `sae_weights.safetensors`.
//!
//! With `sparsity_include_decoder_norm`, latents are selected by their value times the norm of their decoder row; the value is
//! given without the norm. Top-k follows a ReLU. Thresholds are stored as logarithms. Written from the authors' description
//! and not compared with a file of theirs: run `cognate doctor` on such an SAE first.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place, Scale};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Rescale, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::weights::safetensors;
use serde::Deserialize;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

#[derive(Deserialize)]
struct Config {
    hook_point_in: String,
    hook_point_out: Option<String>,
    d_model: Option<usize>,
    act_fn: Option<String>,
    top_k: Option<usize>,
    norm_activation: Option<String>,
    #[serde(default)]
    sparsity_include_decoder_norm: bool,
    #[serde(default)]
    use_glu_encoder: bool,
}

/// Reads the headers.
///
/// # Errors
/// `Request` for an activation or normalisation that is not known, `Input` for files that contradict each other.
pub(super) fn recipe(folder: &Folder) -> Result<Recipe> {
    let config: Config = folder.json(CONFIG)?;
    let (config_path, weights) = (folder.path.join(CONFIG), folder.weights(WEIGHTS));
    let wrong = |what: String| Error::request(format!("{}: {what}", config_path.display()));
    let tensors = safetensors::tensors(&weights)?;
    if config.use_glu_encoder || tensors.has("W_E_glu") {
        return Err(wrong("SAEs with a gated linear encoder (use_glu_encoder) are not read".into()));
    }
    let linear = tensors.has("encoder.weight");
    let (w_enc, w_dec) = if linear {
        (StoredMatrix::as_is("encoder.weight"), StoredMatrix::transposed("decoder.weight"))
    } else {
        (StoredMatrix::transposed("W_E"), StoredMatrix::as_is("W_D"))
    };
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    let b_enc = tensors.first_of(&["b_E", "encoder.bias"])?;
    let b_dec = ["b_D", "decoder.bias"].into_iter().find(|name| tensors.has(name)).map(String::from);
    let logs = ["log_jumprelu_threshold", "activation_function.log_jumprelu_threshold"];
    let (activation, selection) = match (config.act_fn.as_deref().unwrap_or("jumprelu"), config.top_k) {
        ("relu", _) => (Activation::Relu, Selection::Bias { b_enc }),
        ("topk", Some(k)) => (Activation::TopK(k), Selection::Bias { b_enc }),
        ("jumprelu", _) => {
            (Activation::JumpRelu, Selection::LogThresholds { b_enc, log_threshold: tensors.first_of(&logs)? })
        }
        (other, _) => {
            return Err(wrong(format!("act_fn {other:?} is not read; expected relu, jumprelu or topk with top_k")));
        }
    };
    let mut rescales = Vec::new();
    if config.sparsity_include_decoder_norm {
        rescales.push(Rescale::SelectByDecoderNorm);
    }
    let mut normalise = Normalise::Nothing;
    let mut declared_scale = Scale::Unsaid;
    match config.norm_activation.as_deref() {
        None | Some("none" | "inference") => {}
        Some("token-wise") => normalise = Normalise::ConstantNorm,
        Some("dataset-wise") => {
            let scale = |hook: &str, d: usize| -> Result<f32> {
                let name = format!("dataset_average_activation_norm.{hook}");
                let scale = (d as f32).sqrt() / tensors.scalar(&name)?;
                let usable = scale.is_finite() && scale > 0.0;
                usable.then_some(scale).ok_or_else(|| tensors.wrong(&name, "is no positive number"))
            };
            let input = scale(&config.hook_point_in, d_in)?;
            let output = config.hook_point_out.as_deref().map_or(Ok(input), |hook| scale(hook, d_out))?;
            declared_scale = Scale::Factor(f64::from(input));
            rescales.push(Rescale::Scaled { input, output, threshold: 1.0 });
        }
        Some(other) => {
            return Err(wrong(format!(
                "norm_activation {other:?} is not read; expected none, inference, dataset-wise or token-wise"
            )));
        }
    }
    let files = vec![config_path, weights];
    Ok(Recipe {
        shape: SaeShape {
            format: Format::Llamascopium,
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
                scale: declared_scale,
                ..Declared::default()
            },
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec,
        subtract_b_dec: false,
        normalise,
        selection,
        rescales,
        decoder_scale: None,
        skip: None,
        trust_weights: false,
        tensors,
    })
}
