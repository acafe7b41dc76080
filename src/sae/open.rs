//! Which format does an SAE have, and what does it hold? Formats are recognised here; the entry points are [`header`] and [`open`].

use super::autoencoder::{Sae, SaeShape};
use super::folder::Folder;
use super::format::Format;
use super::reading::Reading;
use super::recipe::Recipe;
use super::{dictionary_learning, gemma_scope, llama_scope, llamascopium, sae_lens, sparsify, state_dicts};
use crate::error::{Error, Result};
use crate::weights::torch;
use std::path::{Path, PathBuf};

/// Sizes and origin of the SAE at `path` (a folder, or its weight file), from headers alone.
///
/// # Errors
/// `Request` when there is nothing at `path` or no format is recognised, `Input` when the files are damaged or contradict
/// each other.
pub fn header(path: &Path, format: Option<Format>) -> Result<SaeShape> {
    header_as(path, &Reading::of(format))
}

/// The same, read as `reading` has it.
///
/// # Errors
/// As [`header`], and `Request` for a reading that has no meaning.
pub fn header_as(path: &Path, reading: &Reading) -> Result<SaeShape> {
    Ok(recipe_as(path, reading)?.shape)
}

/// Everything but the values, every shape checked.
pub(super) fn recipe_as(path: &Path, reading: &Reading) -> Result<Recipe> {
    let recipe = reading.apply(recipe(path, reading)?)?;
    recipe.check()?;
    Ok(recipe)
}

/// The SAE at `path` (a folder, or its weight file), ready to encode. Takes memory for the weights as f32 once.
///
/// # Errors
/// The errors of [`header`]; `Input` for a value that is not finite; `Machine` when memory is short.
pub fn open(path: &Path, format: Option<Format>) -> Result<Sae> {
    open_as(path, &Reading::of(format))
}

/// The same, read as `reading` has it.
///
/// # Errors
/// As [`open`], and `Request` for a reading that has no meaning.
pub fn open_as(path: &Path, reading: &Reading) -> Result<Sae> {
    reading.build(recipe(path, reading)?)
}

/// The files that define the SAE at `path`, configuration first: what a digest has to cover.
///
/// # Errors
/// As [`header`].
pub fn files(path: &Path, format: Option<Format>) -> Result<Vec<PathBuf>> {
    Ok(header_as(path, &Reading { trust_weights: true, ..Reading::of(format) })?.files)
}

fn recipe(path: &Path, reading: &Reading) -> Result<Recipe> {
    let mut recipe = stored(path, reading)?;
    recipe.trust_weights = reading.trust_weights;
    Ok(recipe)
}

/// What is stored at `path`.
fn stored(path: &Path, reading: &Reading) -> Result<Recipe> {
    let folder = Folder::at(path)?;
    match reading.format.or_else(|| by_names(&folder)) {
        Some(Format::Sparsify) => sparsify::recipe(&folder),
        Some(Format::SaeLens) => sae_lens::recipe(&folder, &reading.overrides),
        Some(Format::GemmaScope) => gemma_scope::recipe_of_archive(&folder),
        Some(Format::GemmaScope2) => gemma_scope::recipe_of_second(&folder),
        Some(Format::LlamaScope) => llama_scope::recipe(&folder),
        Some(Format::Llamascopium) => llamascopium::recipe(&folder),
        torch_file => {
            let Some(weights) = torch_weights(&folder) else { return Err(unknown(&folder)) };
            let dict = torch::state_dict(&weights)?;
            match torch_file.or_else(|| by_tensors(&weights, &dict)) {
                Some(Format::QwenScope) => state_dicts::qwen_scope(&folder, weights, dict),
                Some(Format::Goodfire) => state_dicts::goodfire(&folder, weights, dict),
                Some(Format::OpenAi) => state_dicts::openai(&folder, weights, dict),
                _ => dictionary_learning::recipe(&folder, weights, dict),
            }
        }
    }
}

/// Formats recognised by file names.
fn by_names(folder: &Folder) -> Option<Format> {
    let named = |name: &str| folder.file.as_ref().is_none_or(|file| file.ends_with(name));
    let has = |name: &str| folder.names.contains(name);
    let weights = |name: &str| has(name) && named(name);
    match () {
        () if weights(gemma_scope::ARCHIVE) => Some(Format::GemmaScope),
        () if weights(gemma_scope::WEIGHTS) => Some(Format::GemmaScope2),
        () if has(llama_scope::CONFIG) && named(llama_scope::CONFIG) => Some(Format::LlamaScope),
        () if weights(sparsify::WEIGHTS) && has(sparsify::CONFIG) => Some(Format::Sparsify),
        () if weights(sae_lens::WEIGHTS) && has(sae_lens::CONFIG) => Some(Format::SaeLens),
        () if weights(llamascopium::WEIGHTS) && has(llamascopium::CONFIG) => Some(Format::Llamascopium),
        () => None,
    }
}

/// The torch file that is meant: the one named, `ae.pt`, or the only one in the folder.
fn torch_weights(folder: &Folder) -> Option<PathBuf> {
    let is_torch = |name: &str| name.ends_with(".pt") || name.ends_with(".pth");
    if let Some(file) = &folder.file {
        return is_torch(folder.last_name()).then(|| file.clone());
    }
    if folder.names.contains(dictionary_learning::WEIGHTS) {
        return Some(folder.path.join(dictionary_learning::WEIGHTS));
    }
    let mut found = folder.names.iter().filter(|name| is_torch(name));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(folder.path.join(only)),
        _ => None,
    }
}

/// Torch files recognised by their tensors' names.
fn by_tensors(weights: &Path, dict: &torch::StateDict) -> Option<Format> {
    let has = |name: &str| dict.tensors.has(name);
    let name = weights.file_name().and_then(|n| n.to_str()).unwrap_or("");
    match () {
        () if name.starts_with("layer") && name.ends_with(".sae.pt") && has("W_enc") => Some(Format::QwenScope),
        () if has("encoder_linear.weight") => Some(Format::Goodfire),
        () if has("pre_bias") && has("latent_bias") => Some(Format::OpenAi),
        () => None,
    }
}

fn unknown(folder: &Folder) -> Error {
    let place = folder.file.as_ref().unwrap_or(&folder.path);
    let several = folder.names.iter().filter(|name| name.ends_with(".pt") || name.ends_with(".pth")).count();
    let hint =
        if several > 1 { "; there are several torch files: name one of them" } else { "; name the folder of one SAE" };
    Error::request(format!(
        "{} holds no SAE that is known; looked for params.npz (gemma_scope), params.safetensors (gemma_scope_2), \
         hyperparams.json with checkpoints/final.safetensors (llama_scope), cfg.json with sae.safetensors (sparsify), \
         cfg.json with sae_weights.safetensors (sae_lens), config.json with sae_weights.safetensors (llamascopium), ae.pt \
         (dictionary_learning), layerN.sae.pt (qwen_scope), or one .pt or .pth file (goodfire, openai){hint}",
        place.display()
    ))
}
