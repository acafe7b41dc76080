//! `cognate score`: other filters, measures, pairings and nulls from the sums that a run saved, without streaming again.

use crate::cli::merge;
use crate::cli::plan::limit;
use crate::engine::Part;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::report::thousands;
use crate::spec::DataflowSpec;
use crate::store::{RunDir, write_atomic};
use crate::table::SimilarityRow;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Keys that sums do not depend on, and tables of such keys.
const FREE: [&str; 9] = [
    "estimate.filters",
    "estimate.measures",
    "estimate.activation_measures",
    "estimate.pairings",
    "estimate.categories",
    "estimate.rules",
    "estimate.best",
    "estimate.null.permutations",
    "estimate.null.documents",
];

/// Scores the run in `run` again with `settings`, into `out` (default: a folder in the run, named by the settings).
///
/// # Errors
/// `Request` for a key that changes sums, `State` when the run has no checkpoint or its SAEs have changed.
pub fn score(run: &Path, settings: &[String], out: Option<&Path>, memory_limit: Option<&str>) -> Result<ExitCode> {
    let Part { run, manifest } = merge::open(run)?;
    for setting in settings {
        let key = setting.split('=').next().unwrap_or_default().trim();
        let free = |f: &str| key == f || key.strip_prefix(f).is_some_and(|rest| rest.starts_with('.'));
        if setting.contains('=') && !FREE.iter().any(|f| free(f)) && key != "seed" {
            return Err(Error::request(format!(
                "--set {key}: that key changes the sums, which are as saved; keys that can be set: {}, seed; for others make \
                 another run",
                FREE.join(", ")
            )));
        }
    }
    let path = run.dataflow();
    let text =
        std::fs::read_to_string(&path).map_err(|e| Error::io("cannot read the run's dataflow file", &path, &e))?;
    // the file is a copy: paths that are relative to it are relative to where it was
    let home = manifest.extra["flow"].as_str().map_or_else(|| path.clone(), PathBuf::from);
    let was = DataflowSpec::parse(&text, &home)?;
    let (spec, text) = DataflowSpec::with_settings(&text, &home, settings)?;
    check_sums(&was, &spec)?;
    let mut plan = Plan::without_corpus(spec)?;
    plan.costs.retain(|c| !c.only_streaming);
    plan.check_memory(limit(memory_limit)?)?;
    plan.adopt_fingerprint(&was, &manifest.parts)?;
    let plan = Arc::new(plan);
    let saes = plan.open_saes()?;

    let default = || run.scores().join(folder_name(settings));
    let out = out.map_or_else(default, Path::to_path_buf);
    let target = RunDir::for_tables(&out)?;
    write_atomic(&target.dataflow(), text.as_bytes())?;
    let (scores, kept) = crate::engine::score(&plan, saes, plan.tokenizer(), &run, &manifest, &target)?;
    let mut lines: Vec<String> = Vec::new();
    for (p, kept) in kept.into_iter().enumerate() {
        let (source, target) = plan.pair_sites(p);
        lines.push(format!("{source} x {target}: {} forward matches kept", thousands(kept)));
    }
    lines.extend(scores.iter().map(line));
    lines.push(format!("{} tokens; tables in {}", thousands(manifest.rows), target.tables().display()));
    // the tables are there: that nobody reads on is no failure
    let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// What two files may not differ in, where the keys that were set leave it open.
fn check_sums(was: &DataflowSpec, spec: &DataflowSpec) -> Result<()> {
    let (then, now) = (&was.estimate, &spec.estimate);
    if then.activation_measures.is_empty() != now.activation_measures.is_empty() {
        return Err(Error::request(
            "estimate.activation_measures: the run kept co-moments of raw activations only if it had such measures; name others, \
             but as few as none only where there were none",
        ));
    }
    if now.null.documents && !then.null.documents {
        return Err(Error::request(
            "estimate.null.documents = true needs sums that this run did not keep; run it again with that key",
        ));
    }
    if was.seed != spec.seed && !now.activation_measures.is_empty() {
        return Err(Error::request(
            "seed: the null of activation_measures was drawn with it while the run streamed; leave it, or make another run",
        ));
    }
    Ok(())
}

/// A folder's name that tells the settings.
fn folder_name(settings: &[String]) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "_.=".contains(c) { c } else { '-' };
    let names: Vec<String> = (settings.iter())
        .map(|s| s.trim().strip_prefix("estimate.").unwrap_or(s).chars().map(plain).collect::<String>())
        .collect();
    let name: String = names.join("+").chars().take(100).collect();
    if name.is_empty() { "as-run".to_string() } else { name }
}

/// One score in one line.
fn line(row: &SimilarityRow) -> String {
    let number = |x: Option<f64>| x.map_or_else(|| "-".to_string(), |x| format!("{x:.4}"));
    let power = if row.no_power { ", no power" } else { "" };
    format!(
        "{} {} {} {}: {}, null {}, p {}, q {}, n {}{power}",
        row.pair,
        row.subset,
        row.pairing.as_str(),
        row.measure,
        number(row.value),
        number(row.null_mean),
        number(row.p_value),
        number(row.q_value),
        thousands(row.n_pairs)
    )
}
