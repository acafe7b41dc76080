//! `cognate score`: other filters, measures, pairings and nulls from the sums that a run saved, without streaming again.

use crate::cli::kept::Kept;
use crate::cli::machine::limit;
use crate::cli::merge;
use crate::cli::recorded::cross_of;
use crate::engine::Part;
use crate::error::{Error, Result};
use crate::plan::{Purpose, Request, SavedSums};
use crate::report::Summary;
use crate::spec::{DataflowSpec, nearest_key};
use crate::store::{RunDir, digest_of_text, read_tables, write_atomic};
use crate::units::thousands;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Keys that sums do not depend on, and tables of such keys.
const FREE: [&str; 12] = [
    "estimate.filters",
    "estimate.measures",
    "estimate.activation_measures",
    "estimate.dictionary",
    "estimate.logits",
    "estimate.map",
    "estimate.pairings",
    "estimate.categories",
    "estimate.rules",
    "estimate.best",
    "estimate.null.permutations",
    "estimate.null.documents",
];

/// Whether saved sums can be scored again with another value of `key` (dots between its parts).
pub fn is_free(key: &str) -> bool {
    key == "seed"
        || FREE.iter().any(|f| key.strip_prefix(f).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Why `key` cannot be set: it changes sums, or there is no such key; then with the one that may be meant.
fn refused(key: &str, spec: &DataflowSpec) -> Error {
    let mut known = Vec::new();
    paths(&serde_json::to_value(spec).expect("a spec is plain data"), "", &mut known);
    let free = format!("{}, seed", FREE.join(", "));
    if known.iter().any(|k| k == key) {
        return Error::request(format!(
            "--set {key}: that key changes the sums, which are as saved; make another run for it; keys that can be set: {free}"
        ));
    }
    known.retain(|k| is_free(k));
    let meant = nearest_key(key, &known).map_or(String::new(), |k| format!(" (did you mean {k}?)"));
    Error::request(format!("--set {key}: there is no such key{meant}; keys that can be set: {free}"))
}

/// The dotted paths of all keys of `value`.
fn paths(value: &serde_json::Value, at: &str, out: &mut Vec<String>) {
    for (key, inner) in value.as_object().into_iter().flatten() {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        paths(inner, &path, out);
        out.push(path);
    }
}

/// Scores the run in `run` again with `settings`, into `out` (default: a folder in the run, named by the settings).
///
/// # Errors
/// `Request` for a key that changes sums, `State` when the run has no checkpoint, or its SAEs, tokenizer or dataflow file are
/// not what they were.
pub fn score(run: &Path, settings: &[String], out: Option<&Path>, memory_limit: Option<&str>) -> Result<ExitCode> {
    let Part { run, manifest } = merge::open(run)?;
    let Kept { spec: was, text } = Kept::of_run(&run, &manifest)?;
    for setting in settings {
        let key = setting.split('=').next().unwrap_or_default().trim();
        if setting.contains('=') && !is_free(key) {
            return Err(refused(key, &was));
        }
    }
    // the file is a copy: paths that are relative to it are relative to where it was
    let home = PathBuf::from(&manifest.asked.flow);
    let (spec, _) = DataflowSpec::with_settings(&text, &home, settings)?;
    // with every path as it was resolved: the folder of scores is read without the run's manifest
    let text = spec.to_toml();
    check_sums(&was, &spec)?;
    let request = Request {
        spec,
        purpose: Purpose::SavedSums(SavedSums { parts: manifest.parts.clone(), asked: Some(Box::new(was)) }),
        memory_limit: limit(memory_limit)?,
        known_cross: cross_of(&manifest),
    };
    let plan = Arc::new(request.plan(|_| {})?);
    let saes = plan.open_saes()?;

    let default = || run.scores().join(folder_name(settings));
    let out = out.map_or_else(default, Path::to_path_buf);
    let target = RunDir::for_tables(&out)?;
    write_atomic(&target.dataflow(), text.as_bytes())?;
    let scores = crate::engine::score(&plan, saes, &run, &manifest, &target, digest_of_text(&text))?;
    let summary = read_tables(&target, |set| Summary::read(set.dir(), &set.path("history"), None))?;
    print!("{}", summary.as_text());
    let subsets: BTreeSet<&str> = scores.iter().map(|s| s.subset.as_str()).filter(|s| *s != "all").collect();
    if !subsets.is_empty() {
        println!(
            "          {} scores of {} categories are in the table similarities",
            thousands(scores.iter().filter(|s| s.subset != "all").count() as u64),
            subsets.len()
        );
    }
    println!("page      cognate report {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// What two files may not differ in, where the keys that were set leave it open.
fn check_sums(was: &DataflowSpec, spec: &DataflowSpec) -> Result<()> {
    let (then, now) = (&was.estimate, &spec.estimate);
    if then.activation_measures.is_empty() != now.activation_measures.is_empty() {
        return Err(Error::request(
            "estimate.activation_measures: the run kept co-moments of raw activations only if it had such measures; \
             the list may change, but not become empty or cease to be empty; for that, run again",
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

/// A folder name made of the settings that needs no quotes in a shell: letters, digits, `.`, `-`, `_`. When it does not show all
/// settings, a digest makes it unique.
fn folder_name(settings: &[String]) -> String {
    const MAX_CHARS: usize = 80;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' };
    let named = |s: &String| s.trim().strip_prefix("estimate.").unwrap_or(s.trim()).replacen('=', "-", 1);
    let names: Vec<String> = settings.iter().map(named).collect();
    let whole = names.join("_");
    let name: String = whole.chars().map(plain).take(MAX_CHARS).collect();
    let name = name.trim_matches(['-', '.']);
    match settings {
        [] => "as-run".to_string(),
        [_] if name == whole => whole,
        _ => format!("{name}-{}", &digest_of_text(&settings.join("\n"))[..8]).trim_start_matches('-').to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_scores_need_no_quotes_and_tell_settings_apart() {
        let name = |settings: &[&str]| folder_name(&settings.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(name(&[]), "as-run");
        assert_eq!(name(&["estimate.filters.mutual=true"]), "filters.mutual-true");
        assert_eq!(name(&["seed=9"]), "seed-9");
        let long = format!("estimate.measures=[{}]", "\"cka\", ".repeat(40));
        let settings: [&[&str]; 8] = [
            &["estimate.measures=[\"rsa\", \"cka\"]"],
            &["estimate.measures=[\"rsa\" , \"cka\"]"],
            &["estimate.best=3", "seed=9"],
            &["estimate.best=3_seed-9"],
            &["estimate.categories=mine/ä $(x) `y` 'z' *.toml"],
            &[&long],
            &[&long, "seed=9"],
            &["-=.."],
        ];
        let names: std::collections::BTreeSet<String> = settings.iter().map(|s| name(s)).collect();
        assert_eq!(names.len(), settings.len(), "{names:?}");
        for name in names {
            let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
            assert!(fits && !name.starts_with(['-', '.']) && name.len() < 100, "{name}");
        }
    }
}
