//! dictionary_learning: `ae.pt`, a pickled state dict, and `config.json` with the class's name.
//!
//! `AutoEncoder` is read as the library's loader does: decoder columns are scaled to norm 1, and the encoder is multiplied by the
//! old norms. BatchTopK and Matryoshka use their stored threshold, as at inference. TopK uses its k, which dictionaries of 2024 keep
//! only in `config.json`. JumpReLU and `AutoEncoderNew` do not subtract the decoder bias from the input. Without a configuration
//! the class follows from the names of the tensors; only TopK and BatchTopK, with the same names, need the configuration.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Rescale, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::weights::StateDict;
use crate::weights::Tensors;
use serde::Deserialize;
use std::path::PathBuf;

pub(super) const WEIGHTS: &str = "ae.pt";
const CONFIG: &str = "config.json";

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    trainer: Trainer,
    #[serde(default)]
    buffer: Buffer,
}

#[derive(Default, Deserialize)]
struct Trainer {
    dict_class: Option<String>,
    submodule_name: Option<String>,
    k: Option<usize>,
    activation_dim: Option<usize>,
    dict_size: Option<usize>,
    lm_name: Option<String>,
}

#[derive(Default, Deserialize)]
struct Buffer {
    ctx_len: Option<usize>,
}

/// Reads the headers; `weights` is the file that `dict` was read from.
///
/// # Errors
/// `Request` for a class that is not known or cannot be determined, `Input` for files that contradict each other.
pub(super) fn recipe(folder: &Folder, weights: PathBuf, dict: StateDict) -> Result<Recipe> {
    let has_config = folder.names.contains(CONFIG);
    let Config { trainer, buffer } = if has_config { folder.json(CONFIG)? } else { Config::default() };
    let tensors = dict.tensors;
    let class = match &trainer.dict_class {
        Some(class) => class.as_str(),
        None => class_of(&tensors)?,
    };
    let matrices = tensors.has("W_enc");
    let (w_enc, w_dec) = if matrices {
        (StoredMatrix::transposed("W_enc"), StoredMatrix::as_is("W_dec"))
    } else {
        (StoredMatrix::as_is("encoder.weight"), StoredMatrix::transposed("decoder.weight"))
    };
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    let first_of = |name: &str| tensors.first_of(&[name]);
    let b_enc = || first_of(if matrices { "b_enc" } else { "encoder.bias" });
    let (activation, selection, bias, subtract_b_dec) = match class {
        "AutoEncoder" => (Activation::Relu, Selection::Bias { b_enc: b_enc()? }, "bias", true),
        "AutoEncoderNew" => (Activation::Relu, Selection::Bias { b_enc: b_enc()? }, "decoder.bias", false),
        "GatedAutoEncoder" => {
            let [gate, bias, log_scale] = ["gate_bias", "mag_bias", "r_mag"].map(first_of);
            let selection = Selection::Gated { gate: gate?, bias: bias?, log_scale: log_scale? };
            (Activation::Gated, selection, "decoder_bias", true)
        }
        "JumpReluAutoEncoder" => {
            let selection = Selection::Thresholds { b_enc: b_enc()?, threshold: first_of("threshold")? };
            (Activation::JumpRelu, selection, "b_dec", false)
        }
        "AutoEncoderTopK" => {
            (Activation::TopK(k_of(&tensors, trainer.k)?), Selection::Bias { b_enc: b_enc()? }, "b_dec", true)
        }
        "BatchTopKSAE" | "MatryoshkaBatchTopKSAE" => {
            let threshold = tensors.scalar("threshold")?;
            (Activation::JumpRelu, Selection::Threshold { b_enc: b_enc()?, threshold }, "b_dec", true)
        }
        other => {
            return Err(Error::request(format!(
                "{}: dict_class {other:?} is not read; expected AutoEncoder, AutoEncoderNew, GatedAutoEncoder, \
                 JumpReluAutoEncoder, AutoEncoderTopK, BatchTopKSAE or MatryoshkaBatchTopKSAE",
                folder.path.join(CONFIG).display()
            )));
        }
    };
    let files = if has_config { vec![folder.path.join(CONFIG), weights] } else { vec![weights] };
    Ok(Recipe {
        shape: SaeShape {
            format: Format::DictionaryLearning,
            d_in,
            d_sae,
            d_out,
            activation,
            transcoder: false,
            skip: false,
            declared: Declared {
                input: trainer.submodule_name.map(|written| Place { known: site(&written), written }),
                d_in: trainer.activation_dim,
                d_sae: trainer.dict_size,
                model: trainer.lm_name,
                context_size: buffer.ctx_len,
                ..Declared::default()
            },
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec: Some(first_of(bias)?),
        subtract_b_dec,
        normalise: Normalise::Nothing,
        selection,
        rescales: if class == "AutoEncoder" { vec![Rescale::UnitDecoder] } else { Vec::new() },
        decoder_scale: None,
        skip: None,
        trust_weights: false,
        tensors,
    })
}

/// k of a TopK dictionary: a tensor, or the configuration's where there is none.
///
/// # Errors
/// `Input` when neither has it, or they contradict each other.
fn k_of(tensors: &Tensors, declared: Option<usize>) -> Result<usize> {
    let stored = if tensors.has("k") { Some(tensors.scalar("k")? as usize) } else { None };
    match (stored, declared) {
        (Some(stored), Some(declared)) if stored != declared => Err(Error::input(format!(
            "{}: k is {stored}, trainer.k of config.json is {declared}; the two files do not belong together",
            tensors.path().display()
        ))),
        (Some(k), _) | (None, Some(k)) => Ok(k),
        (None, None) => Err(Error::input(format!(
            "{}: k of this TopK dictionary is given nowhere; put its config.json, with trainer.k, into the same folder",
            tensors.path().display()
        ))),
    }
}

/// The class whose state dict has these names.
fn class_of(tensors: &Tensors) -> Result<&'static str> {
    let has = |name: &str| tensors.has(name);
    Ok(match () {
        () if has("r_mag") => "GatedAutoEncoder",
        () if has("W_enc") && tensors.is_scalar("threshold") => "MatryoshkaBatchTopKSAE",
        () if has("W_enc") && has("threshold") => "JumpReluAutoEncoder",
        () if has("k") && !has("threshold") => "AutoEncoderTopK",
        () if has("encoder.weight") && has("bias") => "AutoEncoder",
        () if has("encoder.weight") && has("decoder.bias") => "AutoEncoderNew",
        () => {
            return Err(Error::request(format!(
                "{}: the class of this dictionary cannot be determined from its tensors; put its config.json into the same folder, with \
                 trainer.dict_class",
                tensors.path().display()
            )));
        }
    })
}

/// `resid_post_layer_3`, or a module's path.
fn site(written: &str) -> Option<Hookpoint> {
    if let Some((place, layer)) = written.rsplit_once("_layer_") {
        let layer = layer.parse().ok()?;
        return match place {
            "resid_post" => Some(Hookpoint::ResidPost(layer)),
            "mlp_out" | "mlp" => Some(Hookpoint::MlpOut(layer)),
            "attn_out" | "attention" | "attn" => Some(Hookpoint::AttnOut(layer)),
            _ => None,
        };
    }
    None
}
