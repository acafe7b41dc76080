//! Exports of the maps between two places: the maps themselves as a safetensors file, and the dictionary of one place
//! as a SAELens folder of the other.

use crate::disk;
use crate::engine::Stitched;
use crate::error::{Error, Result};
use crate::hub::registry;
use crate::ids::{Site, library_names};
use crate::plan::Plan;
use crate::sae::{SaeLensFolder, transported};
use crate::similarity::LinearMap;
use crate::store::{create_dir_all, write_atomic};
use serde_json::{Value, json};
use std::path::Path;

/// Tensors of a safetensors file and its metadata: of pair k `k.forward.weight` `[d_target, d_source]`, `k.forward.bias` and the same backward, F32.
pub fn tensors(plan: &Plan, found: &[Stitched]) -> (Vec<(String, Vec<usize>, Vec<f32>)>, Value) {
    let names: Value = serde_json::from_str(&plan.library_names()).expect("names are plain data");
    let fit = plan.spec().estimate.map;
    let (mut out, mut about) = (Vec::new(), json!({ "run": plan.spec().name, "fingerprint": plan.fingerprint() }));
    for (k, stitched) in found.iter().enumerate() {
        let sites = [stitched.source.to_string(), stitched.target.to_string()];
        let r_squared = stitched.maps.least_squares.map(|score| score.r_squared);
        let text = json!({
            "source": sites[0], "target": sites[1], "units": fit.units, "ridge": fit.ridge,
            "map_r2": { "forward": r_squared[0], "backward": r_squared[1] },
            "names": { "source": names[&sites[0]], "target": names[&sites[1]] },
        });
        about[k.to_string()] = json!(text.to_string());
        for (map, word) in stitched.maps.maps.iter().zip(["forward", "backward"]) {
            let Some(LinearMap { weight, bias, .. }) = map else { continue };
            let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let shape = vec![weight.n_rows(), weight.n_cols()];
            out.push((format!("{k}.{word}.weight"), shape, narrow(weight.as_slice())));
            out.push((format!("{k}.{word}.bias"), vec![bias.len()], narrow(bias)));
        }
    }
    (out, about)
}

/// Writes the dictionary of `from` as one of `into` into the folder `dir`, which must be empty; gives back a line about
/// it.
///
/// # Errors
/// `Request` for places that the run has no map between, a place without an SAE, one that no map carries over, and a folder that holds
/// something; `Machine` where it cannot be written.
pub fn dictionary(plan: &Plan, found: &[Stitched], from: &str, into: &str, dir: &Path) -> Result<String> {
    let site = |text: &str, option: &str| -> Result<Site> {
        text.parse().map_err(|_| {
            Error::request(format!("{option} {text:?}: expected MODEL/HOOKPOINT, for example a/resid_post.2"))
        })
    };
    let (from, into) = (site(from, "--from")?, site(into, "--into")?);
    let towards = found.iter().find_map(|s| match () {
        () if (&s.source, &s.target) == (&from, &into) => Some((s, 0)),
        () if (&s.target, &s.source) == (&from, &into) => Some((s, 1)),
        () => None,
    });
    let Some((stitched, side)) = towards else {
        let known: Vec<String> = found.iter().map(|s| format!("{} and {}", s.source, s.target)).collect();
        return Err(Error::request(format!(
            "no map from {from} into {into}; the run has maps between {}, each way",
            known.join(", ")
        )));
    };
    let space = plan.spaces().iter().find(|s| s.site == from).expect("a place of a pair");
    let Some(sae) = space.sae() else {
        return Err(Error::request(format!("{from} has no SAE in this run, so there is no dictionary to take over")));
    };
    let Some(map) = &stitched.maps.maps[side] else {
        return Err(Error::request(format!("the activations of {from} do not vary in this run, so nothing maps them")));
    };
    if !sae.shape.transcoder && sae.shape.d_in != map.weight.n_cols() {
        return Err(Error::request(format!(
            "sae \"{from}\" reads {} of the {} dimensions there, and the map is of all of them",
            sae.shape.d_in,
            map.weight.n_cols()
        )));
    }
    if disk::names_in(dir).is_ok_and(|names| !names.is_empty()) {
        return Err(Error::request(format!(
            "--dictionary {}: the folder holds something; name a new one",
            dir.display()
        )));
    }
    let score = stitched.maps.least_squares[side];
    let model = plan.models().iter().find(|m| m.name == into.model).expect("a place of the plan");
    let names = library_names(into.hookpoint, &model.shape.names());
    let hook = names.transformer_lens_3.or(names.hugging_face).unwrap_or_else(|| into.hookpoint.to_string());
    let metadata = json!({
        "model_name": model_name(plan, &into.model),
        "hook_name": hook,
        "transported_from_model": model_name(plan, &from.model),
        "transported_from": from.hookpoint.to_string(),
        "map_r2": score.r_squared,
        "map_null_r2": score.null,
    });
    let written = transported(&sae.open()?, &map.weight, &map.bias, &metadata)
        .map_err(|e| e.within(format!("sae \"{from}\"")))?;
    create_dir_all(dir)?;
    for (name, bytes) in SaeLensFolder::NAMES.iter().zip([written.config.as_bytes(), &written.weights]) {
        write_atomic(&dir.join(name), bytes)?;
    }
    let said = |value: Option<f64>| value.map_or_else(|| "not known".to_string(), |v| format!("{v:.3}"));
    Ok(format!(
        "the {} latents of {from} as a SAELens folder of {into} in {}; R² of the map {}, by chance {}",
        sae.shape.d_sae,
        dir.display(),
        said(score.r_squared),
        said(score.null)
    ))
}

/// The repository of a model, or the name of its folder.
fn model_name(plan: &Plan, name: &str) -> String {
    let path = &plan.spec().models[name].path;
    let last = || Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    registry::place(path).map(|(repository, _)| repository).or_else(last).unwrap_or_else(|| name.to_string())
}
