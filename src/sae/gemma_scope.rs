//! Gemma Scope: `params.npz` of the first release, `params.safetensors` with `config.json` of the second.
//!
//! JumpReLU, strict and after a ReLU; the decoder bias is not subtracted from the input. The site is written into the path
//! (first release) or into `config.json` (second). SAEs of the embedding were trained on the embedding before its
//! multiplication by `√d`. Block 0 receives the multiplied embedding, so the encoder is divided and the decoder multiplied by `√d`.
//! Crosscoders and cross-layer transcoders (a decoder of three dimensions) are not read.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Rescale, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::Result;
use crate::ids::Hookpoint;
use crate::weights::Tensors;
use crate::weights::npz;
use crate::weights::safetensors;
use serde::Deserialize;

pub(super) const ARCHIVE: &str = "params.npz";
pub(super) const WEIGHTS: &str = "params.safetensors";
const CONFIG: &str = "config.json";

#[derive(Default, Deserialize)]
struct Config {
    hf_hook_point_in: Option<String>,
    hf_hook_point_out: Option<String>,
    model_name: Option<String>,
}

/// Reads the headers of a first release's SAE.
///
/// # Errors
/// `Input` for a damaged archive or shapes that contradict each other.
pub(super) fn recipe_of_archive(folder: &Folder) -> Result<Recipe> {
    let path = folder.weights(ARCHIVE);
    let tensors = npz::tensors(&path)?;
    let components: Vec<String> = folder.components().collect();
    let named = |part: &str| components.iter().find(|c| c.ends_with(part));
    let layer = components.iter().find_map(|c| c.strip_prefix("layer_")?.parse().ok());
    let transcoder = named("-transcoders").is_some();
    let site = if components.iter().any(|c| c == "embedding") {
        Some(Hookpoint::Embed)
    } else {
        let at = |place: fn(usize) -> Hookpoint| layer.map(place);
        match () {
            () if named("-res").is_some() => at(Hookpoint::ResidPost),
            () if named("-mlp").is_some() => at(Hookpoint::MlpOutNormed),
            () if named("-att").is_some() => at(Hookpoint::AttnZ),
            () if transcoder => at(Hookpoint::MlpIn),
            () => None,
        }
    };
    let mut recipe = recipe(Format::GemmaScope, tensors, vec![path])?;
    if site == Some(Hookpoint::Embed) {
        let scale = 1.0 / (recipe.shape.d_in as f32).sqrt();
        recipe.rescales.push(Rescale::Scaled { input: scale, output: scale, threshold: 1.0 });
    }
    recipe.shape.transcoder = transcoder;
    recipe.shape.declared.input = site.map(Place::of_path);
    if let (true, Some(layer)) = (transcoder, layer) {
        recipe.shape.declared.output = Some(Place::of_path(Hookpoint::MlpOutNormed(layer)));
    }
    Ok(recipe)
}

/// Reads the headers of a second release's SAE or transcoder.
///
/// # Errors
/// As [`recipe_of_archive`].
pub(super) fn recipe_of_second(folder: &Folder) -> Result<Recipe> {
    let path = folder.weights(WEIGHTS);
    let tensors = safetensors::tensors(&path)?;
    let told = folder.names.contains(CONFIG);
    let config: Config = if told { folder.json(CONFIG)? } else { Config::default() };
    let files = if told { vec![folder.path.join(CONFIG), path] } else { vec![path] };
    let mut recipe = recipe(Format::GemmaScope2, tensors, files)?;
    let components: Vec<String> = folder.components().collect();
    let in_path = |part: &str| components.iter().any(|c| c.starts_with(part));
    recipe.shape.transcoder = match (&config.hf_hook_point_in, &config.hf_hook_point_out) {
        (Some(from), Some(to)) => from != to,
        _ => in_path("transcoder"),
    };
    // layer_L_width_W_l0_X in resid_post, attn_out, mlp_out or transcoder, perhaps with `_all`
    let layer = components.iter().find_map(|c| c.strip_prefix("layer_")?.split('_').next()?.parse().ok());
    let of_path = layer.and_then(|l| match () {
        () if in_path("resid_post") => Some([Hookpoint::ResidPost(l); 2]),
        () if in_path("attn_out") => Some([Hookpoint::AttnZ(l); 2]),
        () if in_path("mlp_out") => Some([Hookpoint::MlpOutNormed(l); 2]),
        () if in_path("transcoder") => Some([Hookpoint::MlpIn(l), Hookpoint::MlpOutNormed(l)]),
        () => None,
    });
    let declared = &mut recipe.shape.declared;
    declared.input = config.hf_hook_point_in.map(place).or(of_path.map(|[input, _]| Place::of_path(input)));
    if recipe.shape.transcoder {
        declared.output = config.hf_hook_point_out.map(place).or(of_path.map(|[_, output]| Place::of_path(output)));
    }
    declared.model = config.model_name;
    if let Some(skip) = ["affine_skip_connection", "w_skip", "W_skip"].into_iter().find(|name| recipe.tensors.has(name))
    {
        // Stored [d_in, d_out]: the output gets x · skip.
        recipe.skip = Some(StoredMatrix::transposed(skip));
        recipe.shape.skip = true;
    }
    Ok(recipe)
}

fn recipe(format: Format, tensors: Tensors, files: Vec<std::path::PathBuf>) -> Result<Recipe> {
    let w_enc = StoredMatrix::transposed(tensors.first_of(&["W_enc", "w_enc"])?);
    let w_dec = StoredMatrix::as_is(tensors.first_of(&["W_dec", "w_dec"])?);
    let ((d_sae, d_in), (_, d_out)) = (w_enc.sides(&tensors)?, w_dec.sides(&tensors)?);
    Ok(Recipe {
        shape: SaeShape {
            format,
            d_in,
            d_sae,
            d_out,
            activation: Activation::JumpRelu,
            transcoder: false,
            skip: false,
            declared: Declared::default(),
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec: Some(tensors.first_of(&["b_dec"])?),
        subtract_b_dec: false,
        normalise: Normalise::Nothing,
        selection: Selection::Thresholds {
            b_enc: tensors.first_of(&["b_enc"])?,
            threshold: tensors.first_of(&["threshold"])?,
        },
        rescales: Vec::new(),
        decoder_scale: None,
        skip: None,
        trust_weights: false,
        tensors,
    })
}

/// The place that `config.json` names.
fn place(written: String) -> Place {
    let known = site(&written);
    Place { written, known }
}

/// A module's input or output in the words of `config.json`: `model.layers.2.output`, `….self_attn.o_proj.input`.
fn site(written: &str) -> Option<Hookpoint> {
    let layer = written.split("layers.").nth(1)?.split('.').next()?.parse().ok()?;
    let module = written.split_once(&format!("layers.{layer}."))?.1;
    Some(match module {
        "output" => Hookpoint::ResidPost(layer),
        "input" => Hookpoint::ResidPre(layer),
        "self_attn.o_proj.input" => Hookpoint::AttnZ(layer),
        "self_attn.o_proj.output" => Hookpoint::AttnOut(layer),
        "pre_feedforward_layernorm.output" | "mlp.input" => Hookpoint::MlpIn(layer),
        "mlp.output" => Hookpoint::MlpOut(layer),
        "post_feedforward_layernorm.output" => Hookpoint::MlpOutNormed(layer),
        "post_attention_layernorm.output" => Hookpoint::AttnOutNormed(layer),
        _ => return None,
    })
}
