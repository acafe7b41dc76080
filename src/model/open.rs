//! How is a model found and opened, and what does it cost?

use super::activations::Model;
use super::config::Config;
use super::decoder::blocks_needed;
use super::families;
use super::gguf;
use super::load::Checked;
use super::random::RandomWeights;
use super::shape::ModelShape;
use super::unembedding::Unembedding;
use crate::corpus::Tokenizer;
use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Hookpoint;
use crate::weights::{Checkpoint, Source, weight_files};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Sizes of the model at `path` (a folder in Hugging Face layout or a .gguf file), from `config.json` and the headers of
/// its safetensors files, or from the GGUF header. Every tensor that a
/// forward needs is checked for presence, shape and type; no value is read.
///
/// # Errors
/// `Request` when there is no model or its architecture is not supported; `Input`, naming file and tensor, when the
/// configuration or a checkpoint is damaged or they do not fit each other.
pub fn header(path: &Path) -> Result<ModelShape> {
    Ok(checked(path)?.shape())
}

/// Sizes of the model that a configuration alone describes: `config.json` in the folder `path`, whose weights need not be
/// there. Parameters are those that a forward needs.
///
/// # Errors
/// As [`header`], of the configuration.
pub fn described(path: &Path) -> Result<ModelShape> {
    Ok(families::describe(&Config::read(path)?)?.shape())
}

/// The same from keys of a `config.json` that are written elsewhere, in the file `place`.
///
/// # Errors
/// As [`described`].
pub fn described_by(keys: &Map<String, Value>, place: &Path) -> Result<ModelShape> {
    Ok(families::describe(&Config::from_values(place.to_path_buf(), keys.clone()))?.shape())
}

/// The name that the configuration of the model at `path` holds (`_name_or_path`); `None` where there is none.
///
/// # Errors
/// `Machine` when the configuration cannot be read just now.
pub fn name_of(path: &Path) -> Result<Option<String>> {
    let path = path.join("config.json");
    let text = match disk::read_to_string(&path).map_err(|e| Error::io("read the model's configuration", &path, &e)) {
        Err(e) if e.kind() == ErrorKind::Machine => return Err(e),
        text => text.unwrap_or_default(),
    };
    let keys: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    Ok(keys.get("_name_or_path").and_then(Value::as_str).filter(|name| !name.is_empty()).map(String::from))
}

/// The model at `path`, all blocks loaded and widened to f32. The token table stays mapped; the output head is not read.
///
/// # Errors
/// As [`header`].
pub fn open(path: &Path) -> Result<Arc<dyn Model>> {
    open_redrawn(path, None)
}

/// The same with random weights in the place of the checkpoint's where a seed is given: linear layers are drawn at random, each
/// tensor with its own mean and standard deviation, embeddings where it asks for them; norms stay.
///
/// # Errors
/// As [`header`].
pub fn open_redrawn(path: &Path, random: Option<RandomWeights>) -> Result<Arc<dyn Model>> {
    let model = checked(path)?.redrawn(random);
    Ok(Arc::new(model.load(model.shape().n_layers, path.display().to_string())?))
}

/// The model at `path`, with random weights where a seed is given, with only the blocks that `hookpoints` need.
///
/// # Errors
/// The errors of [`header`]; `Request` when the model does not have one of the hookpoints.
pub fn open_for(path: &Path, random: Option<RandomWeights>, hookpoints: &[Hookpoint]) -> Result<Arc<dyn Model>> {
    let model = checked(path)?.redrawn(random);
    let shape = model.shape();
    for &hookpoint in hookpoints {
        shape.width(hookpoint).map_err(|e| e.within(format!("model {}", path.display())))?;
    }
    Ok(Arc::new(model.load(blocks_needed(&shape, hookpoints), path.display().to_string())?))
}

/// The output head of the model at `path`; `None` where the file holds none of the stream's width.
///
/// # Errors
/// As [`header`].
pub fn unembedding(path: &Path) -> Result<Option<Unembedding>> {
    checked(path)?.unembedding()
}

/// Every file that decides what the model computes: configuration, index, weights. For digests; in a fixed order.
///
/// # Errors
/// As [`header`], for a missing or malformed index.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    match layout(path)? {
        Layout::Gguf(file) => gguf::files(file),
        Layout::Folder(folder) => {
            let mut files = vec![folder.join("config.json")];
            files.extend(weight_files(folder)?);
            Ok(files)
        }
    }
}

/// The tokenizer of the model at `path`. For a folder: its `tokenizer.json` and the files that complete it. For a GGUF file: the
/// tokenizer that its metadata describes.
///
/// # Errors
/// `Request` when there is none or its kind is not supported; `Input` when it is damaged.
pub fn tokenizer(path: &Path) -> Result<Tokenizer> {
    match layout(path)? {
        Layout::Folder(folder) => Tokenizer::from_folder(folder),
        Layout::Gguf(file) => gguf::tokenizer(file),
    }
}

/// The files that hold the tokenizer of the model at `path` alone, as far as they are there; a GGUF file holds its own.
pub fn tokenizer_files(path: &Path) -> Vec<PathBuf> {
    if disk::is_dir(path) { Tokenizer::files(path) } else { Vec::new() }
}

/// Bytes that a model holds when `n_blocks` blocks are loaded: the blocks, the final norm and a projection after the token
/// embedding, in f32. Token and position embeddings stay memory-mapped.
pub fn memory_bytes(shape: &ModelShape, n_blocks: usize) -> u64 {
    let (d_model, d_token) = (shape.d_model as u64, shape.d_token as u64);
    let project = if d_token == d_model { 0 } else { d_token * d_model };
    4 * (n_blocks as u64 * shape.n_block_parameters + project + 2 * d_model)
}

/// Bytes that one context of `n_tokens` holds while it runs, the activations read at `hookpoints` included; as many
/// contexts run at once as there are threads. The MLP is taken as eight times `d_model` (gate and up of four each), and
/// what is laid out for the products as five; where a place inside the MLP is read, its layers go one after the other and
/// four of its width are alive.
pub fn context_bytes(shape: &ModelShape, n_tokens: usize, hookpoints: &[Hookpoint]) -> u64 {
    let (n, d, d_attn) = (n_tokens as u64, shape.d_model as u64, shape.d_attn as u64);
    let inside = |h: &&Hookpoint| {
        matches!(h, Hookpoint::MlpPre(_) | Hookpoint::MlpUp(_) | Hookpoint::MlpGateAct(_) | Hookpoint::MlpAct(_))
    };
    let hidden = if hookpoints.iter().any(|h| inside(&h)) { 4 * shape.d_mlp as u64 } else { 0 };
    4 * n * (8 * d + 5 * d + 6 * d + 5 * d_attn + 64 + hidden + 2 * width_of(shape, hookpoints))
}

/// Values per row at all `hookpoints` together. The model must have every hookpoint.
pub fn width_of(shape: &ModelShape, hookpoints: &[Hookpoint]) -> u64 {
    hookpoints.iter().map(|&h| shape.width(h).unwrap_or(shape.d_model) as u64).sum()
}

/// The two layouts a model has on disk.
enum Layout<'a> {
    Folder(&'a Path),
    Gguf(&'a Path),
}

fn layout(path: &Path) -> Result<Layout<'_>> {
    if disk::is_dir(path) {
        return Ok(Layout::Folder(path));
    }
    if path.extension().is_some_and(|ending| ending == "gguf") && disk::is_file(path) {
        return Ok(Layout::Gguf(path));
    }
    let what = if disk::exists(path) {
        "is a file; expected a folder in Hugging Face layout or a .gguf file".to_string()
    } else {
        let instead = disk::instead_of(path);
        format!(
            "does not exist{instead}; check the path (one without ./ or ../ before it is relative to the working directory)"
        )
    };
    let repository = path
        .to_str()
        .filter(|text| !disk::exists(path) && text.split('/').filter(|part| !part.is_empty()).count() == 2);
    let tip = repository.filter(|text| !text.starts_with(['.', '/', '~']));
    let tip = tip.map_or(String::new(), |text| format!("; a repository of the Hugging Face hub is written hf:{text}"));
    Err(Error::request(format!("model {} {what}{tip}", path.display())))
}

/// The model at `path`; its configuration is checked against the headers of its weights.
fn checked(path: &Path) -> Result<Checked> {
    let (config, source): (Config, Arc<dyn Source>) = match layout(path)? {
        Layout::Folder(folder) => {
            // the configuration first: its errors explain more than those of the weights
            let config = Config::read(folder)?;
            (config, Arc::new(Checkpoint::open(folder)?))
        }
        Layout::Gguf(file) => gguf::open(file)?,
    };
    Checked::new(families::describe(&config)?, source)
}
