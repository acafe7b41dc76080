//! `cognate merge`: runs over disjoint shards of a corpus become one run directory.

use crate::cli::ended::{summary, write_report};
use crate::cli::kept::Kept;
use crate::cli::machine::limit;
use crate::cli::mend::mend_tables;
use crate::cli::progress::Console;
use crate::cli::recorded::cross_of;
use crate::disk;
use crate::engine::{Loaded, Part, bound_arenas};
use crate::error::{Error, Result};
use crate::plan::{Purpose, Request, SavedSums, is_of_stored};
use crate::spec::DataflowSpec;
use crate::store::{
    Decision, Environment, Manifest, MergedRun, RequestRecord, RunDir, Wanted, decide, differing_parts, digest_of_text,
    inspect, write_atomic,
};
use crate::units::thousands;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Merges `runs` into `out`; nothing where that was done before.
///
/// # Errors
/// `Request` for runs that do not fit together (what differs is named) or an `out` that holds another run, `State` for a damaged
/// run, or one whose SAEs, tokenizer or dataflow file are not what they were, `Machine` for too little memory or disk.
pub fn merge(runs: &[PathBuf], out: &Path, memory_limit: Option<&str>, json: bool) -> Result<ExitCode> {
    bound_arenas();
    let parts = runs.iter().map(|path| open(path)).collect::<Result<Vec<Part>>>()?;
    check_same(&parts)?;
    check_disjoint(&parts)?;
    let mut specs: Vec<DataflowSpec> =
        (parts.iter()).map(|part| Ok(Kept::of_run(&part.run, &part.manifest)?.spec)).collect::<Result<_>>()?;
    let mut spec = specs.remove(0);
    for (part, other) in parts[1..].iter().zip(&specs) {
        let told = |what| format!("{} and {}: {what}", parts[0].run.root().display(), part.run.root().display());
        spec.add_files_of(other).map_err(|what| Error::request(told(what)))?;
    }
    let text = spec.to_toml();
    let request = Request {
        spec,
        purpose: Purpose::SavedSums(SavedSums { parts: merged_parts(&parts), asked: None }),
        memory_limit: limit(memory_limit)?,
        known_cross: cross_of(&parts[0].manifest),
    };
    let plan = Arc::new(request.plan(|_| {})?);

    let name = |p: &Part| p.run.root().display().to_string();
    let merged: Vec<MergedRun> = (parts.iter())
        .map(|p| MergedRun { run: name(p), tokens: p.manifest.rows, finished: p.manifest.is_finished() })
        .collect();
    let run = RunDir::open_or_create(out)?;
    let voice = Console::new(false, json);
    if disk::exists(&run.manifest()) || disk::exists(&run.previous_manifest()) {
        let manifest = check_is_this(&run, &merged, plan.fingerprint_parts())?;
        // what a killed one left is removed, and what was lost is made again
        run.carry_out(&Decision::Resume { manifest: Box::new(manifest.clone()), warnings: Vec::new() })?;
        let run = Arc::new(run);
        mend_tables(&run, &plan, &manifest, voice)?;
        write_report(&run, voice);
        voice.say(&format!("{} is complete: it is a merge of these runs already", out.display()));
        voice.summary(&summary(&run, None)?);
        return Ok(ExitCode::SUCCESS);
    }
    run.carry_out(&Decision::Fresh)?;
    write_atomic(&run.dataflow(), text.as_bytes())?;
    let asked = RequestRecord {
        flow: parts[0].manifest.asked.flow.clone(),
        dataflow: digest_of_text(&text),
        max_tokens: 0,
        corpus_marks: parts.iter().flat_map(|p| p.manifest.asked.corpus_marks.clone()).collect(),
    };
    let run = Arc::new(run);
    crate::engine::merge(&plan, Loaded::for_publishing(&plan)?, &parts, &run, asked, merged.clone())?;
    write_report(&run, voice);
    if !json {
        say(&merged, out);
    }
    voice.summary(&summary(&run, None)?);
    Ok(ExitCode::SUCCESS)
}

fn say(merged: &[MergedRun], out: &Path) {
    for m in merged {
        let end = if m.finished { "" } else { ", not at its end" };
        println!("{}: {} tokens{end}", m.run, thousands(m.tokens));
    }
    println!("merged into {}\n", out.display());
}

/// The manifest of a directory that holds the merge of these runs; refuses any other.
///
/// # Errors
/// `Request`, naming what differs; `State` when its manifest or a file of it is damaged.
fn check_is_this(run: &RunDir, merged: &[MergedRun], parts: &BTreeMap<String, String>) -> Result<Manifest> {
    let other = |why: String| {
        Err(Error::request(format!("{} holds a run already: {why}; choose another --out", run.root().display())))
    };
    let manifest = Manifest::read(&run.manifest())?;
    let there = manifest.merged();
    if there.is_empty() {
        return other("one that read a corpus, and is no merge".to_string());
    }
    let in_words = |runs: &[MergedRun]| {
        let one = |m: &MergedRun| format!("{} ({} tokens)", m.run, thousands(m.tokens));
        runs.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    if there != merged {
        return other(format!("the merge of {}, and not of {}", in_words(there), in_words(merged)));
    }
    let differ = differing_parts(&manifest.parts, parts);
    if !differ.is_empty() {
        return other(format!("a merge of these runs as they were before: {}", differ.join("; ")));
    }
    Ok(manifest)
}

/// The newest whole checkpoint of a run that no process is writing.
pub fn open(path: &Path) -> Result<Part> {
    let run = RunDir::at(path)?;
    if let Some((holder, true)) = run.holder()? {
        return Err(Error::request(format!(
            "{} is running (process {} on {}); stop it with Ctrl-C first",
            path.display(),
            holder.pid,
            holder.host
        )));
    }
    let found = inspect(&run)?;
    let known = match Manifest::whole_at(&run.manifest())? {
        None => Manifest::whole_at(&run.previous_manifest())?,
        newest => newest,
    };
    let known = known
        .ok_or_else(|| Error::request(format!("{} holds no checkpoint; give the --out of a run", path.display())))?;
    let wanted =
        Wanted { fingerprint: known.fingerprint.clone(), parts: known.parts.clone(), environment: Environment::here() };
    match decide(&found, &wanted) {
        Decision::Resume { manifest, .. } if !manifest.is_finished() && manifest.second_pass().is_some() => {
            Err(Error::request(format!(
                "{} is in its second pass over the corpus, so its counts are not complete; let it finish first",
                path.display()
            )))
        }
        Decision::Resume { manifest, warnings } => {
            warnings.iter().for_each(|w| eprintln!("warning: {w}"));
            Ok(Part { run, manifest: *manifest })
        }
        Decision::Refuse(e) => Err(e),
        Decision::Fresh => Err(Error::request(format!("{} holds no checkpoint", path.display()))),
    }
}

const CORPUS_FILE: &str = "corpus file ";

/// What a run was asked for without the files of its shard, and the names of its corpus files.
fn split(manifest: &Manifest) -> (BTreeMap<String, String>, Vec<String>) {
    let (files, mut asked): (BTreeMap<_, _>, BTreeMap<_, _>) =
        manifest.parts.clone().into_iter().partition(|(name, _)| name.starts_with(CORPUS_FILE));
    asked.iter_mut().filter(|(name, _)| is_of_stored(name)).for_each(|(_, digest)| digest.clear());
    (asked, files.into_values().collect())
}

fn check_same(parts: &[Part]) -> Result<()> {
    let (first, _) = split(&parts[0].manifest);
    for part in &parts[1..] {
        let differ = differing_parts(&split(&part.manifest).0, &first);
        if !differ.is_empty() {
            return Err(Error::request(format!(
                "{} and {} were asked for different things and cannot be added: {} (here: {})",
                part.run.root().display(),
                parts[0].run.root().display(),
                differ.join("; "),
                parts[0].run.root().display()
            )));
        }
    }
    Ok(())
}

/// Refuses runs that read the same file of the corpus, or the same files of activations. Two files are the same when size, first bytes and last bytes agree, whatever their
/// names. For a run that did not record these bytes: when name and size agree.
fn check_disjoint(parts: &[Part]) -> Result<()> {
    for (k, b) in parts.iter().enumerate() {
        for a in &parts[..k] {
            let of = |p: &Part| (split(&p.manifest).1, p.manifest.asked.corpus_marks.clone());
            let [(files, marks), (others, other_marks)] = [b, a].map(of);
            let known = marks.len() == files.len() && other_marks.len() == others.len();
            let shared = (0..files.len())
                .find(|&i| if known { other_marks.contains(&marks[i]) } else { others.contains(&files[i]) });
            if let Some(i) = shared {
                return Err(Error::request(format!(
                    "{} and {} both read the corpus file {}; its tokens would count twice: merge runs over different files",
                    a.run.root().display(),
                    b.run.root().display(),
                    files[i]
                )));
            }
            let shared = |(name, digest): &(&String, &String)| a.manifest.parts.get(*name) == Some(*digest);
            if let Some((name, _)) = b.manifest.parts.iter().filter(|(name, _)| is_of_stored(name)).find(shared) {
                return Err(Error::request(format!(
                    "{} and {} both read the {name}; they are of the rows of one corpus: give each run those of its own",
                    a.run.root().display(),
                    b.run.root().display()
                )));
            }
        }
    }
    Ok(())
}

/// What the merge was asked for: the same, with the corpus files of all runs, and of files of activations the digests
/// of all, joined.
fn merged_parts(parts: &[Part]) -> BTreeMap<String, String> {
    let (mut asked, _) = split(&parts[0].manifest);
    for (name, digests) in asked.iter_mut().filter(|(name, _)| is_of_stored(name)) {
        let of_each: Vec<&str> = parts.iter().map(|part| part.manifest.parts[name].as_str()).collect();
        *digests = of_each.join(" ");
    }
    let files = parts.iter().flat_map(|p| split(&p.manifest).1);
    asked.extend(files.enumerate().map(|(k, text)| (format!("{CORPUS_FILE}{k:06}"), text)));
    asked
}
