//! SAELens: `cfg.json` and `sae_weights.safetensors`, of version 6 and of the flat configurations before it.
//!
//! `u = N(x) - b_dec` when `apply_b_dec_to_input` (default true; transcoders never). `topk` takes the k largest
//! pre-activations, then a ReLU. With `rescale_acts_by_decoder_norm`, selection and latents are in units of the decoder rows.
//! `jumprelu` is strict and follows a ReLU. `gated` multiplies the products by `exp(r_mag)`. `expected_average_only_in` (before
//! version 6 also a plain `true`) is one factor for all activations. The file does not hold the factor: without it the input is
//! taken unscaled, as SAELens does, and [`Scale::Missing`] records the fact. BatchTopK is saved as jumprelu.
//! `reshape_activations = hook_z` is the flattening that `attn_z` already has.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place, Scale, positions};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Rescale, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::weights::safetensors;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

#[derive(Deserialize)]
struct Config {
    architecture: Option<String>,
    apply_b_dec_to_input: Option<bool>,
    /// A word, or the boolean it was before version 3.
    normalize_activations: Option<Value>,
    #[serde(default)]
    rescale_acts_by_decoder_norm: bool,
    k: Option<f64>,
    activation_fn_str: Option<String>,
    activation_fn: Option<String>,
    activation_fn_kwargs: Option<Arguments>,
    d_in: Option<usize>,
    d_sae: Option<usize>,
    /// Of the flat configurations before version 6; later ones keep it under `metadata`.
    #[serde(flatten)]
    flat: Metadata,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Arguments {
    k: Option<f64>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    hook_name: Option<String>,
    /// Its name before version 3.
    hook_point: Option<String>,
    hook_name_out: Option<String>,
    hook_head_index: Option<u64>,
    hook_point_head_index: Option<u64>,
    model_name: Option<String>,
    context_size: Option<usize>,
    prepend_bos: Option<bool>,
    /// A boolean, or the ids that were left out.
    exclude_special_tokens: Option<Value>,
    seqpos_slice: Option<Value>,
    model_from_pretrained_kwargs: Option<Map<String, Value>>,
}

impl Config {
    /// Value in the file; a flat key before one of `metadata`, because overrides are flat.
    fn declared(self, transcoder: bool, scale: Scale) -> Declared {
        let Config { d_in, d_sae, flat, metadata, .. } = self;
        let metadata = metadata.unwrap_or_default();
        let head = flat.hook_head_index.or(flat.hook_point_head_index).or(metadata.hook_head_index);
        let excluded = flat.exclude_special_tokens.or(metadata.exclude_special_tokens);
        let slice = flat.seqpos_slice.or(metadata.seqpos_slice);
        let processing = flat.model_from_pretrained_kwargs.or(metadata.model_from_pretrained_kwargs);
        Declared {
            input: flat.hook_name.or(flat.hook_point).or(metadata.hook_name).map(Place::named),
            output: flat.hook_name_out.or(metadata.hook_name_out).filter(|_| transcoder).map(Place::named),
            head,
            d_in,
            d_sae,
            model: flat.model_name.or(metadata.model_name),
            context_size: flat.context_size.or(metadata.context_size),
            prepend_bos: flat.prepend_bos.or(metadata.prepend_bos),
            excludes_special: excluded.map(|v| v.as_bool().unwrap_or(v.as_array().is_some_and(|ids| !ids.is_empty()))),
            positions: slice.and_then(|slice| positions(&slice)),
            processing: processing.unwrap_or_default(),
            scale,
        }
    }
}

/// Reads the headers; `overrides` are keys in the place of the file's.
///
/// # Errors
/// `Request` for an architecture or normalisation that is not known, `Input` for files that contradict each other.
pub(super) fn recipe(folder: &Folder, overrides: &Map<String, Value>) -> Result<Recipe> {
    let (config_path, weights) = (folder.path.join(CONFIG), folder.weights(WEIGHTS));
    let mut keys: Map<String, Value> = folder.json(CONFIG)?;
    keys.extend(overrides.clone());
    let config: Config = serde_json::from_value(Value::Object(keys))
        .map_err(|e| Error::input(format!("{}: {e}", config_path.display())))?;
    let unknown = |key: &str, value: &str, expected: &str| {
        Error::request(format!("{}: {key} {value:?} is not read; expected {expected}", config_path.display()))
    };
    let tensors = safetensors::tensors(&weights)?;
    let (w_enc, w_dec) = (StoredMatrix::transposed("W_enc"), StoredMatrix::as_is("W_dec"));
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    let architecture = config.architecture.as_deref().unwrap_or("standard");
    let (transcoder, core) = match architecture {
        "transcoder" | "skip_transcoder" => (true, "standard"),
        "jumprelu_transcoder" | "jumprelu_skip_transcoder" => (true, "jumprelu"),
        other => (false, other),
    };
    let function = config.activation_fn_str.as_deref().or(config.activation_fn.as_deref()).unwrap_or("relu");
    let b_enc = || tensors.first_of(&["b_enc"]);
    let counted = || {
        let k = config.k.or(config.activation_fn_kwargs.as_ref().and_then(|a| a.k));
        k.filter(|k| *k >= 1.0).map(|k| k as usize).ok_or_else(|| {
            Error::input(format!("{}: a top-k SAE without k; add \"k\" to the file", config_path.display()))
        })
    };
    let (activation, selection) = match (core, function) {
        ("topk", _) | ("standard", "topk") => (Activation::TopK(counted()?), Selection::Bias { b_enc: b_enc()? }),
        ("abstopk", _) => (Activation::AbsTopK(counted()?), Selection::Bias { b_enc: b_enc()? }),
        ("standard", "relu") => (Activation::Relu, Selection::Bias { b_enc: b_enc()? }),
        ("standard", other) => return Err(unknown("activation_fn_str", other, "relu or topk")),
        ("jumprelu" | "batchtopk" | "matryoshka_batchtopk", _) => {
            let threshold = tensors.first_of(&["threshold"])?;
            (Activation::JumpRelu, Selection::Thresholds { b_enc: b_enc()?, threshold })
        }
        ("gated", _) => {
            let [gate, bias, log_scale] = ["b_gate", "b_mag", "r_mag"].map(|name| tensors.first_of(&[name]));
            (Activation::Gated, Selection::Gated { gate: gate?, bias: bias?, log_scale: log_scale? })
        }
        (other, _) => {
            let known = "standard, gated, jumprelu, topk, abstopk, or one of the transcoders of these";
            return Err(unknown("architecture", other, known));
        }
    };
    let (normalise, scale) = match &config.normalize_activations {
        None | Some(Value::Null | Value::Bool(false)) => (Normalise::Nothing, Scale::Unsaid),
        Some(Value::Bool(true)) => (Normalise::Nothing, Scale::Missing),
        Some(word) => match word.as_str() {
            Some("none") => (Normalise::Nothing, Scale::Unsaid),
            Some("expected_average_only_in") => (Normalise::Nothing, Scale::Missing),
            Some("layer_norm") => (Normalise::LayerNorm, Scale::Unsaid),
            Some("constant_norm_rescale") => (Normalise::ConstantNorm, Scale::Unsaid),
            _ => {
                let known = "none, expected_average_only_in, layer_norm or constant_norm_rescale";
                return Err(unknown("normalize_activations", &word.to_string(), known));
            }
        },
    };
    let skip =
        architecture.contains("skip").then(|| tensors.first_of(&["W_skip"]).map(StoredMatrix::as_is)).transpose()?;
    let files = vec![config_path, weights];
    let subtract_b_dec = !transcoder && config.apply_b_dec_to_input.unwrap_or(true);
    let rescales =
        if config.rescale_acts_by_decoder_norm && core == "topk" { vec![Rescale::UnitDecoder] } else { Vec::new() };
    Ok(Recipe {
        shape: SaeShape {
            format: Format::SaeLens,
            d_in,
            d_sae,
            d_out,
            activation,
            transcoder,
            skip: skip.is_some(),
            declared: config.declared(transcoder, scale),
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec: Some(tensors.first_of(&["b_dec"])?),
        subtract_b_dec,
        normalise,
        selection,
        rescales,
        // Of a finetuning that ended with version 4: it multiplies what is decoded.
        decoder_scale: tensors.has("scaling_factor").then(|| "scaling_factor".to_string()),
        skip,
        trust_weights: false,
        tensors,
    })
}
