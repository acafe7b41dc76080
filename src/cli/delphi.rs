//! `cognate export --delphi`: sampled contexts of the latents of kept matches, as a latent cache that delphi reads.
//!
//! `DIR/MODEL/latents/HOOKPOINT/` holds the splits and `config.json`; `DIR/MODEL/latents` is what delphi calls the raw folder.

use crate::cli::kept::Kept;
use crate::cli::machine::limit;
use crate::cli::merge;
use crate::cli::recorded::cross_of;
use crate::disk;
use crate::engine::{Cached, Part, cache_latents};
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::plan::{Plan, Purpose, Request};
use crate::store::{RunDir, create_dir_all, differing_names, read_tables, write_atomic};
use crate::table::{MatchRow, TableReader};
use crate::units::thousands;
use crate::weights::{Firing, split_file, splits};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Splits of an SAE's latents, as many as delphi's own caches have.
const SPLITS: u32 = 5;

/// Writes the cache of the run at `path` into `out`, of at most `n_contexts` contexts; gives back lines about what was
/// written.
///
/// # Errors
/// `Request` where no latent of an SAE is in a kept match, no context is full or `out` holds a cache; `State` where the run's models, SAEs or
/// corpus are not what they were; the errors of reading, of the models and of writing.
pub fn export(path: &Path, out: &Path, n_contexts: u64, memory_limit: Option<&str>) -> Result<Vec<String>> {
    let Part { run, manifest } = merge::open(path)?;
    let Kept { spec, .. } = Kept::of_run(&run, &manifest)?;
    let known_cross = cross_of(&manifest);
    let plan = Request { spec, purpose: Purpose::Run, memory_limit: limit(memory_limit)?, known_cross }.plan(|_| {})?;
    if plan.fingerprint() != manifest.fingerprint {
        let differ: Vec<&str> =
            differing_names(&manifest.parts, plan.fingerprint_parts()).into_iter().map(String::as_str).collect();
        return Err(Error::state(format!(
            "{}: what the run was made from has changed since ({}), so its latents cannot be computed again; put it back, or \
             run it again",
            path.display(),
            differ.join(", ")
        )));
    }
    if let Some(model) = plan.models().iter().find(|m| m.elsewhere.as_ref().is_some_and(|e| e.files().is_some())) {
        return Err(Error::request(format!(
            "model {:?}: its activations lie in files, in the order of the corpus, and a latent cache is of sampled contexts; give it a path or a \
             feed in a run of its own",
            model.name
        )));
    }
    let wanted = wanted(&plan, &run)?;
    if wanted.is_empty() {
        return Err(Error::request(format!(
            "{} has no kept match of two SAEs' latents, so there is nothing to write; see dropped_by in its matches",
            path.display()
        )));
    }
    for model in plan.models() {
        let folder = folder(out, &model.name);
        if disk::exists(&folder) {
            return Err(Error::request(format!(
                "{} is there already; remove it, or choose another --delphi",
                folder.display()
            )));
        }
    }
    let found = cache_latents(&plan, &wanted, usize::try_from(n_contexts).unwrap_or(usize::MAX), manifest.rows)?;
    let length = plan.spec().corpus.context_length;
    if found.iter().any(|c| c.contexts.is_empty()) {
        return Err(Error::request(format!(
            "no context of the run is full ({length} tokens), and a latent cache has contexts of one length; run with a smaller \
             corpus.context_length"
        )));
    }
    found.iter().map(|cached| write(&plan, cached, &wanted, out)).collect()
}

fn folder(out: &Path, model: &str) -> PathBuf {
    out.join(model).join("latents")
}

/// Latents of SAEs that are in a kept match, ascending, by the index of their space.
fn wanted(plan: &Plan, run: &RunDir) -> Result<BTreeMap<usize, Vec<u32>>> {
    let of_sites: BTreeMap<Site, BTreeSet<u32>> = read_tables(run, |set| {
        let mut found: BTreeMap<Site, BTreeSet<u32>> = BTreeMap::new();
        let mut table = TableReader::<MatchRow>::open(&set.path("matches"))?;
        while let Some(rows) = table.next_rows()? {
            for row in rows.iter().filter(|row| row.kept) {
                let ends = [(&row.pair.source, row.source_latent), (&row.pair.target, row.target_latent)];
                for (site, latent) in ends {
                    found.entry(site.clone()).or_default().extend(latent);
                }
            }
        }
        Ok(found)
    })?;
    let spaces = plan.spaces().iter().enumerate().filter(|(_, space)| space.sae().is_some());
    Ok(spaces.filter_map(|(k, space)| Some((k, of_sites.get(&space.site)?.iter().copied().collect()))).collect())
}

/// Writes the SAEs of one model.
fn write(plan: &Plan, cached: &Cached, wanted: &BTreeMap<usize, Vec<u32>>, out: &Path) -> Result<String> {
    let model = &plan.models()[cached.model];
    let folder = folder(out, &model.name);
    let length = plan.spec().corpus.context_length;
    let (mut n_latents, mut n_fired) = (0, 0);
    for (&k, firings) in &cached.firings {
        let space = &plan.spaces()[k];
        let fired: BTreeSet<u32> = firings.iter().map(|f| f.latent).collect();
        (n_latents, n_fired) = (n_latents + wanted[&k].len(), n_fired + fired.len());
        let fired: Vec<u32> = fired.into_iter().collect();
        let site = space.site.to_string();
        let place = site.split_once('/').map_or(site.as_str(), |(_, place)| place);
        let own = folder.join(place);
        create_dir_all(&own)?;
        let splits = splits(space.width as u32, SPLITS, &fired);
        for &(first, last) in &splits {
            let of_split: Vec<Firing> =
                firings.iter().filter(|f| (first..=last).contains(&f.latent)).copied().collect();
            write_atomic(
                &own.join(format!("{first}_{last}.safetensors")),
                &split_file(first, &of_split, &cached.contexts)?,
            )?;
        }
        let about = json!({
            "dataset_repo": plan.spec().corpus.files.join(", "), "dataset_split": "all", "dataset_name": "",
            "dataset_column": plan.spec().corpus.text, "batch_size": plan.spec().corpus.batch_contexts,
            "ctx_len": length, "cache_ctx_len": length, "n_tokens": cached.contexts.len() * length,
            "n_splits": splits.len(), "model_name": std::path::absolute(&model.path).unwrap_or(model.path.clone()),
        });
        write_atomic(&own.join("config.json"), format!("{about:#}\n").as_bytes())?;
    }
    Ok(format!(
        "{} of {} full contexts, {} of {} latents of kept matches fire in them: {}",
        thousands(cached.contexts.len() as u64),
        thousands(cached.n_full),
        thousands(n_fired as u64),
        thousands(n_latents as u64),
        folder.display()
    ))
}
