//! Which sizes does an artifact have, and does it exist here? The sizes of an existing artifact are read from its headers and
//! checked against `sizes` of the dataflow file. Otherwise they come from its configuration in the cache, or from `sizes` alone.

use crate::disk;
use crate::error::{Error, ErrorKind, Result};
use crate::hub::{self, Want};
use crate::ids::Site;
use crate::model::ModelShape;
use crate::sae::{Activation, Declared, Reading, SaeShape};
use crate::spec::{ModelSpec, SaeSizes, SaeSpec};
use std::path::{Path, PathBuf};

/// Sizes and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sized<S> {
    /// Where the artifact is; as written when it is not there.
    pub path: PathBuf,
    pub shape: S,
    /// Where the sizes are taken from, when the weights are not at hand.
    pub unverified: Option<String>,
}

/// Sizes of a model; `outline`: its weights need not be there.
///
/// # Errors
/// As [`crate::model::header`]; `Request` when its sizes are not those of the dataflow file.
pub(super) fn of_model(name: &str, spec: &ModelSpec, outline: bool) -> Result<Sized<ModelShape>> {
    let told = |e: Error| e.within(format!("model {name:?}"));
    if spec.is_elsewhere() {
        return of_elsewhere(name, spec).map_err(told);
    }
    let place = PathBuf::from(format!("[models.{name}] sizes"));
    let expected =
        (spec.sizes.as_ref()).map(|keys| crate::model::described_by(keys, &place)).transpose().map_err(told)?;
    let want = if outline { Want::Weights } else { Want::Model };
    let found = hub::local(&spec.path, want).and_then(|path| Ok((crate::model::header(&path)?, path)));
    let not_there = match found {
        Ok((shape, path)) => {
            expected.map_or(Ok(()), |expected| same_model(&expected, &shape)).map_err(told)?;
            return Ok(Sized { path, shape, unverified: None });
        }
        // what is there and damaged stays an error
        Err(e) if !outline || e.kind() != ErrorKind::Request => return Err(told(e)),
        Err(e) => e,
    };
    let path = PathBuf::from(&spec.path);
    let folder = hub::local(&spec.path, Want::Config).unwrap_or_else(|_| path.clone());
    if disk::is_file(&folder.join("config.json")) {
        let shape = crate::model::described(&folder).map_err(told)?;
        expected.map_or(Ok(()), |expected| same_model(&expected, &shape)).map_err(told)?;
        return Ok(Sized { path, shape, unverified: Some("its config.json alone".into()) });
    }
    match expected {
        Some(shape) => Ok(Sized { path, shape, unverified: Some("the dataflow file".into()) }),
        None => Err(told(with_hint(&not_there))),
    }
}

/// Sizes of a model that does not run here: as the dataflow file gives them, or the configuration beside its tokenizer.
fn of_elsewhere(name: &str, spec: &ModelSpec) -> Result<Sized<ModelShape>> {
    let path = PathBuf::from(spec.tokenizer_path());
    let place = PathBuf::from(format!("[models.{name}] sizes"));
    let shape = match (spec.d_model, &spec.sizes) {
        (Some(d_model), _) => ModelShape::fed(d_model, spec.layers),
        (None, Some(keys)) => crate::model::described_by(keys, &place)?,
        (None, None) if disk::is_file(&path.join("config.json")) => crate::model::described(&path)?,
        (None, None) if !disk::is_dir(&path) => {
            return Err(Error::request(format!("models.{name}.tokenizer: {} is not there", path.display())));
        }
        (None, None) => {
            return Err(Error::request(format!(
                "it does not run here, and its width is not known: {} holds no config.json; write d_model = N, the width of its residual stream, or \
                 sizes = {{…}} with the keys of its config.json",
                path.display()
            )));
        }
    };
    Ok(Sized { path, shape, unverified: None })
}

/// Sizes of an SAE read as `reading` has it; `outline`: it need not be there.
///
/// # Errors
/// As [`crate::sae::header`]; `Request` when its sizes are not those of the dataflow file.
pub(super) fn of_sae(site: &Site, spec: &SaeSpec, reading: &Reading, outline: bool) -> Result<Sized<SaeShape>> {
    let told = |e: Error| e.within(format!("sae \"{site}\""));
    let found = hub::local(&spec.path, Want::Sae).and_then(|path| Ok((crate::sae::header_as(&path, reading)?, path)));
    let not_there = match found {
        Ok((shape, path)) => {
            spec.sizes.as_ref().map_or(Ok(()), |expected| same_sae(expected, &shape)).map_err(told)?;
            return Ok(Sized { path, shape, unverified: None });
        }
        Err(e) if !outline || e.kind() != ErrorKind::Request || disk::exists(Path::new(&spec.path)) => {
            return Err(told(e));
        }
        Err(e) => e,
    };
    let Some(sizes) = &spec.sizes else {
        return Err(told(with_hint(&not_there)));
    };
    let Some(format) = spec.format else {
        return Err(told(Error::request(
            "sizes are given, but it is not there to tell its format; write format = \"…\"",
        )));
    };
    let d_out = sizes.d_out.unwrap_or(sizes.d_in);
    let shape = SaeShape {
        format,
        d_in: sizes.d_in,
        d_sae: sizes.d_sae,
        d_out,
        // which of the uncounted ones it is makes no difference to a plan
        activation: sizes.k.map_or(Activation::Relu, Activation::TopK),
        transcoder: false,
        skip: false,
        declared: Declared::default(),
        files: Vec::new(),
        size_bytes: 0,
    };
    Ok(Sized { path: PathBuf::from(&spec.path), shape, unverified: Some("the dataflow file".into()) })
}

fn with_hint(e: &Error) -> Error {
    Error::new(e.kind(), format!("{e}; to plan without the weights, give their sizes under `sizes`"))
}

fn same_model(expected: &ModelShape, found: &ModelShape) -> Result<()> {
    let sizes = |s: &ModelShape| {
        [
            ("architecture", s.family.clone()),
            ("number of blocks", s.n_layers.to_string()),
            ("width", s.d_model.to_string()),
            ("width of attn_z", s.d_attn.to_string()),
            ("vocabulary", s.n_vocab.to_string()),
        ]
    };
    agree(sizes(expected), sizes(found))
}

fn same_sae(expected: &SaeSizes, found: &SaeShape) -> Result<()> {
    let k = |k: Option<usize>| k.map_or("none".to_string(), |k| k.to_string());
    let sizes = |d_in: usize, d_sae: usize, d_out: usize, count: Option<usize>| {
        [("d_in", d_in.to_string()), ("d_sae", d_sae.to_string()), ("d_out", d_out.to_string()), ("k", k(count))]
    };
    let d_out = expected.d_out.unwrap_or(expected.d_in);
    agree(
        sizes(expected.d_in, expected.d_sae, d_out, expected.k),
        sizes(found.d_in, found.d_sae, found.d_out, found.activation.k()),
    )
}

fn agree<const N: usize>(expected: [(&str, String); N], found: [(&str, String); N]) -> Result<()> {
    match expected.into_iter().zip(found).find(|(expected, found)| expected != found) {
        None => Ok(()),
        Some(((what, expected), (_, found))) => Err(Error::request(format!(
            "its {what} is {found}, `sizes` says {expected}; check the path, or mend `sizes`"
        ))),
    }
}
