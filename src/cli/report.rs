//! `cognate report`: a run as one page.

use super::run::ending;
use super::show::marker_of;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::linalg::Matrix;
use crate::plan::resolved;
use crate::report::{Beside, Decoders, Marker, RunFacts, human_bytes, page, thousands};
use crate::sae;
use crate::spec::{DataflowSpec, ModelSpec};
use crate::store::{FileRecord, Manifest, RunDir, write_atomic};
use std::path::Path;
use std::process::ExitCode;

/// Writes the page of the run in `directory` to `out`, or to its place in the run, with the run `beside` beside it.
///
/// # Errors
/// `Request` when a run has no tables yet, or the two have no pair in common; those of reading tables and of writing the
/// file.
pub fn report(directory: &Path, out: Option<&Path>, beside: Option<&Path>) -> Result<ExitCode> {
    let run = with_tables(directory)?;
    let beside = beside.map(with_tables).transpose()?;
    let read = dataflow(&run);
    if let Err(e) = &read {
        eprintln!("warning: {e}; the page will have no map and may not mark tokens in their contexts");
    }
    let read = read.ok();
    let to = out.map_or_else(|| run.report(), Path::to_path_buf);
    let source = read.as_ref().map(|(spec, text)| (spec, text.as_str()));
    let written = write(&run, source, beside.as_ref(), &to)?;
    println!("{}  {}", to.display(), human_bytes(written.size));
    Ok(ExitCode::SUCCESS)
}

/// The run's dataflow file; paths that begin with `./` are relative to where it lay when the run began.
fn dataflow(run: &RunDir) -> Result<(DataflowSpec, String)> {
    let (spec, text) = DataflowSpec::read(&run.dataflow())?;
    let manifest = Manifest::read(&run.manifest()).ok();
    match manifest.as_ref().and_then(|m| m.extra["flow"].as_str()) {
        Some(flow) => Ok((resolved(&DataflowSpec::parse(&text, Path::new(flow))?)?, text)),
        None => Ok((resolved(&spec)?, text)),
    }
}

fn with_tables(directory: &Path) -> Result<RunDir> {
    let run = RunDir::at(directory)?;
    if !run.history("history").exists() {
        return Err(Error::request(format!(
            "{} has no tables yet; they come with the first snapshot",
            run.root().display()
        )));
    }
    Ok(run)
}

/// Writes the page. `source` is the dataflow file, read and as text; without it there is less on the page.
///
/// # Errors
/// Those of reading tables and of writing the file.
pub(super) fn write(
    run: &RunDir,
    source: Option<(&DataflowSpec, &str)>,
    beside: Option<&RunDir>,
    to: &Path,
) -> Result<FileRecord> {
    let spec = source.map(|s| s.0);
    let marker = spec.map_or_else(|| Marker::new(None, [0, 0]), marker_of);
    let manifest = Manifest::read(&run.manifest()).ok();
    let facts = facts(spec, source.map_or("", |s| s.1), manifest.as_ref());
    let decoders = |site: &Site, latents: &[usize]| decoder_rows(spec, site, latents);
    let decoders: Decoders<'_> = &decoders;
    let (tables, history) = (run.tables(), run.history("history"));
    let page = match beside {
        None => page(&tables, &history, &facts, &marker, decoders, None)?,
        Some(other) => {
            let root = other.root().display().to_string();
            let name = DataflowSpec::read(&other.dataflow()).map_or(root, |(spec, _)| spec.name);
            let (theirs, history_of_theirs) = (other.tables(), other.history("history"));
            let beside = Beside { name: &name, tables: &theirs, history: &history_of_theirs };
            page(&tables, &history, &facts, &marker, decoders, Some(beside))?
        }
    };
    write_atomic(to, page.as_bytes())
}

/// Decoder rows of `latents`; `None` for a place without an SAE.
fn decoder_rows(spec: Option<&DataflowSpec>, site: &Site, latents: &[usize]) -> Result<Option<Matrix<f32>>> {
    let spec = spec.ok_or_else(|| Error::request("the run's dataflow file cannot be read"))?;
    let Some(planned) = spec.sae(site) else { return Ok(None) };
    let sae = sae::open(Path::new(&planned.path), planned.format)?;
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
    let drawn = model.random_weights.map_or(String::new(), |seed| format!(", weights drawn at random (seed {seed})"));
    format!("{name}: {}{drawn}", model.path)
}

fn facts(spec: Option<&DataflowSpec>, text: &str, manifest: Option<&Manifest>) -> RunFacts {
    let mut facts: Vec<(&str, String)> = Vec::new();
    if let Some(m) = manifest {
        let asked = m.extra["max_tokens"].as_u64().unwrap_or(0);
        let state = match (m.finished, asked) {
            (true, _) if ending(m).is_some() => ending(m).unwrap_or_default(),
            (false, _) => "not finished; figures are those of the newest snapshot".to_string(),
            (true, 0) => "the corpus was read to its end".to_string(),
            (true, n) => format!("finished; {} were asked for at most", thousands(n)),
        };
        facts.push((
            "Tokens",
            format!("{} at the last checkpoint, {} snapshots; {state}", thousands(m.rows), m.snapshot),
        ));
    }
    if let Some(spec) = spec {
        let lines = |items: Vec<String>| items.join("\n");
        let plain = |key: &str| serde_json::to_value(spec).ok().and_then(|v| Some(v.pointer(key)?.to_string()));
        facts.push(("Corpus", lines(spec.corpus.files.clone())));
        facts.push(("Contexts", format!("{} tokens", spec.corpus.context_length)));
        if !spec.corpus.labels.is_empty() {
            facts.push(("Labels", spec.corpus.labels.join(", ")));
        }
        facts.push(("Models", lines(spec.models.iter().map(model_line).collect())));
        if !spec.saes.is_empty() {
            facts.push(("SAEs", lines(spec.saes.iter().map(|(site, s)| format!("{site}: {}", s.path)).collect())));
        }
        if let Some(filters) = plain("/estimate/filters") {
            facts.push((
                "Filters",
                filters.trim_matches(['{', '}']).replace('"', "").replace(',', ", ").replace(':', " = "),
            ));
        }
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
        finished: manifest.is_some_and(|m| m.finished),
        facts: facts.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        dataflow: text.to_string(),
    }
}
