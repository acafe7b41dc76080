//! How is a model found and opened, and what does it cost?

use super::activations::Model;
use super::candle::Candle;
use super::config::Config;
use super::cpu::Cpu;
use super::decoder::blocks_needed;
use super::families;
use super::gguf;
use super::load::Checked;
use super::random::RandomWeights;
use super::shape::ModelShape;
use super::unembedding::Unembedding;
use crate::corpus::Tokenizer;
use crate::device::{BackendName, Compute, Opened};
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
    loaded(path, &model, Compute::default(), model.shape().n_layers)
}

/// All blocks of the model at `path`, computed in the way of `compute`.
///
/// # Errors
/// As [`open_for`].
pub fn open_on(path: &Path, compute: Compute) -> Result<Arc<dyn Model>> {
    let model = checked(path)?;
    loaded(path, &model, compute, model.shape().n_layers)
}

/// The model at `path`, with random weights where a seed is given, with only the blocks that `hookpoints` need.
///
/// # Errors
/// The errors of [`header`], [`Compute::check`] and [`Compute::check_here`]; `Request` when the model does not have one of the hookpoints; `Machine` when its
/// device cannot be opened.
pub fn open_for(
    path: &Path,
    random: Option<RandomWeights>,
    compute: Compute,
    hookpoints: &[Hookpoint],
) -> Result<Arc<dyn Model>> {
    let model = checked(path)?.redrawn(random);
    let shape = model.shape();
    for &hookpoint in hookpoints {
        shape.width(hookpoint).map_err(|e| e.within(format!("model {}", path.display())))?;
    }
    loaded(path, &model, compute, blocks_needed(&shape, hookpoints))
}

fn loaded(path: &Path, model: &Checked, compute: Compute, n_blocks: usize) -> Result<Arc<dyn Model>> {
    compute.check()?;
    compute.check_here()?;
    let name = path.display().to_string();
    Ok(match compute.backend {
        BackendName::Kernels => Arc::new(model.load(Cpu::of(compute.dtype), n_blocks, name)?),
        BackendName::Candle => {
            let on = Opened::of(compute)?;
            let model = model.load(Candle::new(on.clone()), n_blocks, name)?;
            // other threads will run it
            on.finish()?;
            Arc::new(model)
        }
    })
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
