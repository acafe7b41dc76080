//! sparsify (EleutherAI): `cfg.json` and `sae.safetensors` in a folder named after the hookpoint.
//!
//! `u = x - b_dec` (a transcoder: `u = x`), ReLU before the selection, `W_dec` as stored (`normalize_decoder` matters in
//! training only), `W_skip` on the raw input. `signed` of the first releases: the k largest magnitudes, without ReLU.

use super::autoencoder::SaeShape;
use super::declared::{Declared, Place};
use super::folder::{Folder, total_bytes};
use super::format::Format;
use super::recipe::{Recipe, Selection, StoredMatrix};
use super::rule::{Activation, Normalise};
use crate::error::{Error, Result};
use crate::ids::HookName;
use crate::weights::safetensors;
use serde::Deserialize;

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae.safetensors";

#[derive(Deserialize)]
struct Config {
    d_in: Option<usize>,
    k: usize,
    #[serde(default)]
    num_latents: usize,
    #[serde(default)]
    expansion_factor: usize,
    activation: Option<String>,
    #[serde(default)]
    transcode: bool,
    #[serde(default)]
    skip_connection: bool,
    #[serde(default)]
    signed: bool,
}

/// `config.json` of the run that trained it, one folder up.
#[derive(Default, Deserialize)]
struct Training {
    model: Option<String>,
    ctx_len: Option<usize>,
}

/// Reads the headers.
///
/// # Errors
/// `Request` for a missing file or an activation that is not known, `Input` for files that contradict each other.
pub(super) fn recipe(folder: &Folder) -> Result<Recipe> {
    let config: Config = folder.json(CONFIG)?;
    let (config_path, weights) = (folder.path.join(CONFIG), folder.weights(WEIGHTS));
    let tensors = safetensors::tensors(&weights)?;
    let w_enc = StoredMatrix::as_is("encoder.weight");
    let (d_sae, d_in) = w_enc.sides(&tensors)?;
    // The first releases stored the decoder as a linear layer, [d_out, d_sae].
    let w_dec = match tensors.first_of(&["W_dec", "decoder.weight"])? {
        name if name == "W_dec" => StoredMatrix::as_is(name),
        name => StoredMatrix::transposed(name),
    };
    let (_, d_out) = w_dec.sides(&tensors)?;
    let promised =
        if config.num_latents > 0 { config.num_latents } else { config.expansion_factor.saturating_mul(d_in) };
    for (key, promised, found) in [("num_latents", promised, d_sae), ("d_in", config.d_in.unwrap_or(d_in), d_in)] {
        if promised != found && promised > 0 {
            return Err(Error::input(format!(
                "{}: {key} is {promised}, but \"encoder.weight\" of {} is [{d_sae}, {d_in}]; the two files do not belong together",
                config_path.display(),
                weights.display()
            )));
        }
    }
    let activation = match config.activation.as_deref() {
        None | Some("topk") if config.signed => Activation::AbsTopK(config.k),
        None | Some("topk") => Activation::TopK(config.k),
        Some("groupmax") => Activation::GroupMax(config.k),
        Some(other) => {
            return Err(Error::request(format!(
                "{}: activation {other:?} is not known; expected \"topk\" or \"groupmax\"",
                config_path.display()
            )));
        }
    };
    let skip = if config.skip_connection { Some(StoredMatrix::as_is(tensors.first_of(&["W_skip"])?)) } else { None };
    let site = folder.path.file_name().and_then(|n| n.to_str()).map(String::from);
    // only a folder named after a module gives the hookpoint
    let site = site.filter(|site| site.parse::<HookName>().is_ok());
    let training = folder.beside::<Training>("config.json")?.unwrap_or_default();
    let files = vec![config_path, weights];
    Ok(Recipe {
        shape: SaeShape {
            format: Format::Sparsify,
            d_in,
            d_sae,
            d_out,
            activation,
            transcoder: config.transcode,
            skip: skip.is_some(),
            declared: Declared {
                // a transcoder's folder is called after the module, whose input it reads
                input: site
                    .as_ref()
                    .map(|s| Place::named(if config.transcode { format!("{s}.input") } else { s.clone() })),
                output: site.filter(|_| config.transcode).map(Place::named),
                model: training.model,
                context_size: training.ctx_len,
                ..Declared::default()
            },
            size_bytes: total_bytes(&files)?,
            files,
        },
        w_enc,
        w_dec,
        b_dec: Some(tensors.first_of(&["b_dec"])?),
        subtract_b_dec: !config.transcode,
        normalise: Normalise::Nothing,
        selection: Selection::Bias { b_enc: tensors.first_of(&["encoder.bias"])? },
        rescales: Vec::new(),
        decoder_scale: None,
        skip,
        trust_weights: false,
        tensors,
    })
}
