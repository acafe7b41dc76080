//! `cognate export`: what a run found, for other tools. Transferred directions as a safetensors file, one of them as a control vector; maps, and a
//! dictionary taken over by one (`transport.rs`).

use crate::cli::delphi;
use crate::cli::kept::Kept;
use crate::cli::machine::limit;
use crate::cli::merge;
use crate::cli::recorded::cross_of;
use crate::cli::transport;
use crate::disk;
use crate::engine::{Part, Transferred, stitched, transferred};
use crate::error::{Error, Result};
use crate::ids::{Hookpoint, Site};
use crate::plan::{Plan, Purpose, Request, SavedSums};
use crate::store::write_atomic;
use crate::weights::{control_vector, safetensors};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked for.
pub struct Wanted<'a> {
    /// Every direction, into this file; the inner `None`: into the run's folder.
    pub directions: Option<Option<&'a Path>>,
    /// One of them as a control vector.
    pub control_vector: Option<&'a Path>,
    /// Whose.
    pub latent: Option<&'a str>,
    /// Into which place, where there are several; and of a dictionary.
    pub into: Option<&'a str>,
    /// Every map, into this file; the inner `None`: into the run's folder.
    pub maps: Option<Option<&'a Path>>,
    /// A dictionary taken over, into this folder.
    pub dictionary: Option<&'a Path>,
    /// Whose.
    pub from: Option<&'a str>,
    /// A latent cache, into this folder, of at most so many contexts.
    pub delphi: Option<(&'a Path, u64)>,
}

/// Writes what is wanted of the run at `path`.
///
/// # Errors
/// `Request` for a run without readout or maps, a latent without a direction, or a place that a control vector cannot name; `State` where the run has no
/// whole checkpoint, or its files are not what they were; `Machine` where a file cannot be written.
pub fn export(path: &Path, wanted: &Wanted<'_>, memory_limit: Option<&str>) -> Result<ExitCode> {
    let of_readout = wanted.directions.is_some() || wanted.control_vector.is_some();
    let of_maps = wanted.maps.is_some() || wanted.dictionary.is_some();
    if !of_readout && !of_maps && wanted.delphi.is_none() {
        return Err(Error::request(
            "nothing to export: give --directions for all transferred directions, or --control-vector FILE --latent \
             MODEL/HOOKPOINT/LATENT for one; --maps for all maps, or --dictionary DIR --from MODEL/HOOKPOINT --into MODEL/HOOKPOINT \
             for an SAE; --delphi DIR for contexts of the latents of kept matches",
        ));
    }
    if wanted.into.is_some() && wanted.control_vector.is_none() && wanted.dictionary.is_none() {
        return Err(Error::request("--into has no effect here: give --control-vector or --dictionary with it"));
    }
    let cache = || wanted.delphi.map_or(Ok(Vec::new()), |(out, n)| delphi::export(path, out, n, memory_limit));
    if !of_readout && !of_maps {
        let _ = writeln!(std::io::stdout(), "{}", cache()?.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    for out in [wanted.directions.flatten(), wanted.control_vector, wanted.maps.flatten()].into_iter().flatten() {
        if disk::exists(out) {
            return Err(Error::request(format!("{} is there already; name a file that is not", out.display())));
        }
        if let Some(folder) = out.parent().filter(|f| !f.as_os_str().is_empty() && !disk::is_dir(f)) {
            return Err(Error::request(format!("there is no folder {} for {}", folder.display(), out.display())));
        }
    }
    let Part { run, manifest } = merge::open(path)?;
    let Kept { spec, .. } = Kept::of_run(&run, &manifest)?;
    if of_maps && !spec.compare.stitch {
        return Err(Error::request(format!(
            "{} kept no sums that maps are made from; run it again with compare.stitch = true",
            path.display()
        )));
    }
    if of_readout && !spec.compare.readout {
        return Err(Error::request(format!(
            "{} kept no cross moments of latents and activations, from which directions are made; run it again with \
             compare.readout = true",
            path.display()
        )));
    }
    let purpose = Purpose::SavedSums(SavedSums { parts: manifest.parts.clone(), asked: None });
    let known_cross = cross_of(&manifest);
    let plan = Request { spec, purpose, memory_limit: limit(memory_limit)?, known_cross }.plan(|_| {})?;
    let found = if of_readout { transferred(&plan, &run, &manifest)? } else { Vec::new() };
    let mut lines = Vec::new();
    if let Some(out) = wanted.directions {
        let out = out.map_or_else(|| run.root().join("directions.safetensors"), Path::to_path_buf);
        write_atomic(&out, &bundle(&plan, &found))?;
        let n: usize = found.iter().map(|t| t.latents.len()).sum();
        lines.push(format!("{n} transferred directions in {}", out.display()));
    }
    if let Some(out) = wanted.control_vector {
        lines.push(one(&plan, &found, wanted, out)?);
    }
    if of_maps {
        let stitched = stitched(&plan, &run, &manifest)?;
        if let Some(out) = wanted.maps {
            let out = out.map_or_else(|| run.root().join("maps.safetensors"), Path::to_path_buf);
            let (tensors, about) = transport::tensors(&plan, &stitched);
            write_atomic(&out, &safetensors::written(&tensors, &about))?;
            lines.push(format!("maps between the places of {} pairs in {}", stitched.len(), out.display()));
        }
        if let (Some(dir), Some(from), Some(into)) = (wanted.dictionary, wanted.from, wanted.into) {
            lines.push(transport::dictionary(&plan, &stitched, from, into, dir)?);
        }
    }
    lines.extend(cache()?);
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// A safetensors file: for readout k `k.latents` I64, `k.directions` and `k.mean` F32; the metadata say under `k` which places they are.
fn bundle(plan: &Plan, found: &[Transferred]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    let mut about = serde_json::Map::new();
    let names: serde_json::Value = serde_json::from_str(&plan.library_names()).expect("names are plain data");
    about.insert("run".into(), json!(plan.spec().name));
    about.insert("fingerprint".into(), json!(plan.fingerprint()));
    let mut put = |name: String, dtype: &str, shape: &[usize], bytes: Vec<u8>| {
        let start = data.len();
        data.extend(bytes);
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, data.len()] }));
    };
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    for (k, t) in found.iter().enumerate() {
        let (source, target) = (t.source.to_string(), t.target.to_string());
        let text = json!({ "latents_of": source, "directions_in": target, "names": names[&target] }).to_string();
        about.insert(k.to_string(), json!(text));
        let latents = t.latents.iter().flat_map(|&l| i64::from(l).to_le_bytes()).collect();
        let (n, width) = (t.directions.n_rows(), t.directions.n_cols());
        put(format!("{k}.latents"), "I64", &[n], latents);
        put(format!("{k}.directions"), "F32", &[n, width], floats(t.directions.as_slice()));
        put(format!("{k}.mean"), "F32", &[width], floats(&t.mean));
    }
    header.insert("__metadata__".into(), about.into());
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes(), text.as_slice(), data.as_slice()].concat()
}

/// Writes one direction as a control vector; gives back a line about it.
fn one(plan: &Plan, found: &[Transferred], wanted: &Wanted<'_>, out: &Path) -> Result<String> {
    let name = wanted.latent.unwrap_or_default();
    let wrong = || {
        Error::request(format!("--latent {name:?}: expected MODEL/HOOKPOINT/LATENT, for example a/resid_post.2/129"))
    };
    let (site, latent) = name.rsplit_once('/').ok_or_else(wrong)?;
    let (site, latent): (Site, u32) = (site.parse().map_err(|_| wrong())?, latent.parse().map_err(|_| wrong())?);
    let into: Option<Site> = wanted.into.map(str::parse).transpose()?;
    let mut of_site = found.iter().filter(|t| t.source == site && into.as_ref().is_none_or(|into| t.target == *into));
    let (Some(t), more) = (of_site.next(), of_site.next()) else {
        let known: Vec<String> = found.iter().map(|t| format!("{} into {}", t.source, t.target)).collect();
        return Err(Error::request(format!("--latent {name}: not read out there; the run has {}", known.join(", "))));
    };
    if let Some(more) = more {
        return Err(Error::request(format!(
            "--latent {name} was read out of {} and {}, perhaps more; name one with --into",
            t.target, more.target
        )));
    }
    let Hookpoint::ResidPost(layer @ 1..) = t.target.hookpoint else {
        return Err(Error::request(format!(
            "{}: a control vector is added to the output of a block behind the first (resid_post.1 and on); take the direction \
             from --directions",
            t.target
        )));
    };
    let at = t
        .latents
        .binary_search(&latent)
        .map_err(|_| Error::request(format!("--latent {name}: it never varied in this run, so it has no direction")))?;
    let model = plan.models().iter().find(|m| m.name == t.target.model).expect("a place of the plan");
    write_atomic(out, &control_vector(&model.shape.family, layer, t.directions.row(at)))?;
    Ok(format!("{name} as direction.{layer} of {} in {}", t.target.model, PathBuf::from(out).display()))
}
