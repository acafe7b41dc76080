//! Releases that are one torch file without a configuration: Qwen-Scope, Goodfire, OpenAI's GPT-2 SAEs.
//!
//! - Qwen-Scope `layerN.sae.pt`: `W_enc` [d_sae, d_in], `W_dec` [d_in, d_sae]; k is written into the repository's name
//!   (`…-L0_50`). Top-k of the pre-activations, nothing taken from the input.
//! - Goodfire: `encoder_linear.*`, `decoder_linear.*`; ReLU, nothing taken from the input.
//! - OpenAI: `pre_bias`, `latent_bias`. With `activation` TopK the input is layer-normalised, as in their loader; otherwise a ReLU on
//!   the unchanged input.
//!
//! Written from the authors' loaders and not compared with a file of theirs.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::ids::Hookpoint;
use crate::weights::StateDict;
use crate::weights::Tensors;
use std::path::PathBuf;

/// Reads the headers of `layerN.sae.pt`.
///
/// # Errors
/// `Request` when no folder above the file gives k, `Input` for shapes that contradict each other.
pub(super) fn qwen_scope(folder: &Folder, weights: PathBuf, dict: StateDict) -> Result<Recipe> {
    let k = folder.components().find_map(|c| c.rsplit_once("L0_").and_then(|(_, rest)| leading_number(rest)));
    let k = k.ok_or_else(|| {
        Error::request(format!(
            "{}: k of this SAE is written into its repository's name; keep the file in a folder named as the repository, …-L0_K",
            weights.display()
        ))
    })?;
    let name = weights.file_name().and_then(|n| n.to_str()).unwrap_or("");
    let site = name.strip_prefix("layer").and_then(leading_number).map(Hookpoint::ResidPost);
    let matrices = (StoredMatrix::as_is("W_enc"), StoredMatrix::transposed("W_dec"));
    let mut recipe = plain(Format::QwenScope, weights, dict.tensors, matrices, ["b_enc", "b_dec"], site)?;
    recipe.shape.activation = Activation::TopK(k);
    Ok(recipe)
}

/// Reads the headers of a Goodfire file.
///
/// # Errors
/// `Input` for shapes that contradict each other.
pub(super) fn goodfire(folder: &Folder, weights: PathBuf, dict: StateDict) -> Result<Recipe> {
    // Llama-3.1-8B-Instruct-SAE-l19
    let in_name = |c: &str| c.rsplit_once("SAE-l").and_then(|(_, rest)| leading_number(rest));
    let own = weights.file_name().and_then(|n| n.to_str()).and_then(in_name);
    let site = own.or_else(|| folder.components().find_map(|c| in_name(&c))).map(Hookpoint::ResidPost);
    let matrices = (StoredMatrix::as_is("encoder_linear.weight"), StoredMatrix::transposed("decoder_linear.weight"));
    plain(Format::Goodfire, weights, dict.tensors, matrices, ["encoder_linear.bias", "decoder_linear.bias"], site)
}

/// Reads the headers of one of OpenAI's GPT-2 SAEs.
///
/// # Errors
/// `Request` for an activation that is not known, `Input` for shapes that contradict each other.
pub(super) fn openai(folder: &Folder, weights: PathBuf, dict: StateDict) -> Result<Recipe> {
    let StateDict { tensors, texts, numbers } = dict;
    let unknown = |what: &str| {
        Error::request(format!("{}: {what}; expected ReLU, or TopK with a ReLU behind it", weights.display()))
    };
    let activation = match texts.get("activation").map_or("ReLU", String::as_str) {
        "ReLU" => Activation::Relu,
        "TopK" => {
            let after = texts.get("activation_state_dict.postact_fn").map_or("ReLU", String::as_str);
            if after != "ReLU" {
                return Err(unknown(&format!("TopK is followed by {after:?}")));
            }
            let k = match numbers.get("activation_state_dict.k") {
                Some(&k) => k,
                None => f64::from(tensors.scalar("activation_state_dict.k")?),
            };
            Activation::TopK(k as usize)
        }
        other => return Err(unknown(&format!("activation {other:?} is not read"))),
    };
    let layer = weights.file_stem().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
    let layer = layer.or_else(|| folder.components().find_map(|c| c.strip_prefix("layer_")?.parse().ok()));
    let site = layer.and_then(|l| {
        folder.components().find_map(|c| match c.as_str() {
            "resid_delta_attn" => Some(Hookpoint::AttnOut(l)),
            "resid_delta_mlp" => Some(Hookpoint::MlpOut(l)),
            "resid_post_mlp" => Some(Hookpoint::ResidPost(l)),
            _ => None,
        })
    });
    let matrices = (StoredMatrix::as_is("encoder.weight"), StoredMatrix::transposed("decoder.weight"));
    let mut recipe = plain(Format::OpenAi, weights, tensors, matrices, ["latent_bias", "pre_bias"], site)?;
    if matches!(activation, Activation::TopK(_)) {
        recipe.normalise = Normalise::LayerNorm;
    }
    recipe.subtract_b_dec = true;
    recipe.shape.activation = activation;
    Ok(recipe)
}

/// A ReLU SAE that takes nothing from its input: what the three have in common. `biases`: encoder's and decoder's.
fn plain(
    format: Format,
    weights: PathBuf,
    tensors: Tensors,
    (w_enc, w_dec): (StoredMatrix, StoredMatrix),
    [b_enc, b_dec]: [&str; 2],
    site: Option<Hookpoint>,
) -> Result<Recipe> {
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    let files = vec![weights];
    Ok(Recipe {
        shape: SaeShape {
            format,
            d_in,
            d_sae,
            d_out,
            activation: Activation::Relu,
            transcoder: false,
            skip: false,
            declared: Declared { input: site.map(Place::of_path), ..Declared::default() },
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec: Some(tensors.first_of(&[b_dec])?),
        subtract_b_dec: false,
        normalise: Normalise::Nothing,
        selection: Selection::Bias { b_enc: tensors.first_of(&[b_enc])? },
        rescales: Vec::new(),
        decoder_scale: None,
        skip: None,
        trust_weights: false,
        tensors,
    })
}

/// The number that `text` begins with.
fn leading_number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests;
