//! `cognate report`: a run as one page.

use super::controls;
use super::kept::{Kept, marker_of, no_marker};
use super::recorded::ending;
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::{self, Want};
use crate::ids::{Site, SiteName};
use crate::linalg::Matrix;
use crate::plan::check_sae;
use crate::report::{Decoders, OtherRun, RunFacts, page};
use crate::sae;
use crate::spec::{DataflowSpec, ModelSpec, SaeSpec};
use crate::store::{FileRecord, Manifest, RunDir, TableSet, read_tables, write_atomic};
use crate::units::{human_bytes, thousands};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// Writes the page of the run in `directory` to `out`, or to its place in the run, with the run `beside` next to it.
///
/// # Errors
/// `Request` when a run has no tables yet, or the two have no pair in common; `State` when tables are not as they were
/// published; the errors of reading tables and of writing the file.
pub fn report(directory: &Path, out: Option<&Path>, beside: Option<&Path>) -> Result<ExitCode> {
    let run = with_history(directory)?;
    let beside = beside.map(with_history).transpose()?;
    let to = out.map_or_else(|| run.report(), Path::to_path_buf);
    let (written, faults) = write(&run, beside.as_ref(), &to)?;
    faults.iter().for_each(|fault| eprintln!("warning: {fault}"));
    println!("{}  {}", to.display(), human_bytes(written.size));
    Ok(ExitCode::SUCCESS)
}

/// A folder of a run, or of scores; scores of an earlier version have no history to show.
fn with_history(directory: &Path) -> Result<RunDir> {
    let run = RunDir::at(directory)?;
    let set = TableSet::open(&run)?;
    if !disk::exists(&set.path("history")) {
        return Err(Error::request(format!(
            "{} holds scores without the table history, as an earlier version wrote them; make them again with `cognate score`",
            run.root().display()
        )));
    }
    Ok(run)
}

/// Writes the page, and warns of what is not on it and why: nothing is drawn from files that are not what the run read.
///
/// # Errors
/// Those of opening and reading tables and of writing the file.
pub(super) fn write(run: &RunDir, beside: Option<&RunDir>, to: &Path) -> Result<(FileRecord, Vec<String>)> {
    let (page, faults) = read_tables(run, |set| match beside {
        None => compose(run, set, None),
        Some(other) => read_tables(other, |theirs| compose(run, set, Some((other, theirs)))),
    })?;
    Ok((write_atomic(to, page.as_bytes())?, faults))
}

fn compose(run: &RunDir, set: &TableSet, beside: Option<(&RunDir, &TableSet)>) -> Result<(String, Vec<String>)> {
    let mut faults = Vec::new();
    let kept = Kept::of_tables(run, set.record()).map_err(|e| {
        faults.push(format!("{e}; the page has no map and may not mark tokens in their contexts"));
    });
    let kept = kept.ok();
    let saved = &set.record().parts;
    let (marker, fault) = kept.as_ref().map_or_else(|| (no_marker(), None), |kept| marker_of(&kept.spec, saved));
    faults.extend(fault.map(|e| format!("{e}; the page may not mark tokens in their contexts")));
    // before the first checkpoint there is none; one that cannot be read does not show how the run ended
    let manifest = disk::exists(&run.manifest()).then(|| Manifest::read(&run.manifest())).transpose();
    let finished = manifest.as_ref().map(|m| m.as_ref().is_some_and(Manifest::is_finished)).ok();
    let manifest = manifest.unwrap_or_else(|e| {
        faults.push(format!("{e}; the page does not show whether the run has finished"));
        None
    });
    let facts = facts(kept.as_ref().map(|k| &k.spec), kept.as_ref().map_or("", |k| &k.text), manifest.as_ref());
    let finished = if run.is_of_scores() { Some(true) } else { finished };
    let facts = RunFacts { finished, ..facts };
    let undrawn = RefCell::new(Vec::new());
    let decoders = |site: &Site, latents: &[usize]| {
        let Some(kept) = &kept else { return Err(Error::state("the run's dataflow file is not what it was")) };
        let rows = decoder_rows(&kept.spec, saved, site, latents);
        rows.inspect_err(|e| undrawn.borrow_mut().push(format!("{e}; the page has no map of {site}")))
    };
    let decoders: Decoders<'_> = &decoders;
    let history = set.path("history");
    let controls = controls::table(run.root());
    let controls = disk::is_file(&controls).then_some(controls.as_path());
    let page = match beside {
        None => page(set.dir(), &history, &facts, &marker, decoders, None, controls)?,
        Some((other, theirs)) => {
            let root = other.root().display().to_string();
            let name = Kept::of_tables(other, theirs.record()).map_or(root, |kept| kept.spec.name);
            let history_of_theirs = theirs.path("history");
            let beside = OtherRun { name: &name, tables: theirs.dir(), history: &history_of_theirs };
            page(set.dir(), &history, &facts, &marker, decoders, Some(beside), controls)?
        }
    };
    faults.extend(undrawn.into_inner());
    Ok((page, faults))
}

/// Decoder rows of `latents`, of the SAE that the run read and no other; `None` for a place without an SAE.
fn decoder_rows(
    spec: &DataflowSpec,
    saved: &BTreeMap<String, String>,
    site: &Site,
    latents: &[usize],
) -> Result<Option<Matrix<f32>>> {
    // decoder rows of latents that are not computed here are elsewhere
    let Some(planned) = spec.sae(site).filter(|sae| sae.taken().is_none()) else { return Ok(None) };
    let path = hub::local(&planned.path, Want::Sae)?;
    check_sae(saved, site, &path, planned.format)?;
    let reading = sae::Reading { trust_weights: true, ..sae::Reading::of(planned.format) };
    let sae = match planned.random {
        Some(random) => random.open(&path, &reading, &site.to_string())?,
        None => sae::open_as(&path, &reading)?,
    };
    let rows = sae.decoder_rows();
    match latents.iter().find(|l| **l >= rows.n_rows()) {
        Some(l) => Err(Error::input(format!(
            "{} has {} latents, the run's tables name latent {l}; it is not the SAE of the run",
            planned.path,
            rows.n_rows()
        ))),
        None => Ok(Some(rows.gather_rows(latents))),
    }
}

fn model_line((name, model): (&String, &ModelSpec)) -> String {
    let drawn = model.random_weights.map_or(String::new(), |random| format!(", weights drawn at random ({random})"));
    format!("{name}: {}{drawn}", model.in_words())
}

fn sae_line((site, sae): (&SiteName, &SaeSpec)) -> String {
    let drawn = sae.random.map_or(String::new(), |random| format!(", drawn at random ({random})"));
    let path = match &sae.stored {
        Some(stored) => format!("latents in {}", stored.path),
        None if sae.fed.is_some() => "latents of its model's feed".to_string(),
        None => sae.path.clone(),
    };
    format!("{site}: {path}{drawn}")
}

fn facts(spec: Option<&DataflowSpec>, text: &str, manifest: Option<&Manifest>) -> RunFacts {
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(m) = manifest {
        let state = match (m.is_finished(), ending(m)) {
            (true, Some(why)) => why,
            (false, _) => "not finished; figures are those of the newest snapshot".to_string(),
            (true, None) => "the corpus was read to its end".to_string(),
        };
        facts.push((
            "Tokens",
            format!("{} at the last checkpoint, {} snapshots; {state}", thousands(m.rows), m.snapshot),
        ));
    }
    if let Some(spec) = spec {
        let lines = |items: Vec<String>| items.join("\n");
        facts.push(("Corpus", lines(spec.corpus.files.clone())));
        facts.push(("Contexts", format!("{} tokens", spec.corpus.context_length)));
        if !spec.corpus.labels.is_empty() {
            facts.push(("Labels", spec.corpus.labels.join(", ")));
        }
        facts.push(("Models", lines(spec.models.iter().map(model_line).collect())));
        if !spec.saes.is_empty() {
            facts.push(("SAEs", lines(spec.saes.iter().map(sae_line).collect())));
        }
        facts.push(("Filters", spec.estimate.filters.to_string()));
        facts.push(("Seed", spec.seed.to_string()));
    }
    if let Some(m) = manifest {
        let features = m.environment.cpu_features.join(", ");
        facts
            .push(("Computed by", format!("cognate {} on {} ({features})", m.environment.version, m.environment.arch)));
        facts.push(("Fingerprint", m.fingerprint.clone()));
    }
    RunFacts {
        name: spec.map_or_else(|| "run".to_string(), |s| s.name.clone()),
        finished: None,
        facts: facts.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        dataflow: text.to_string(),
    }
}
