//! From which checkpoint does a run resume? One function gathers facts; another decides and has no side effects.
//!
//! A run resumes from the newest checkpoint whose every file is whole. Where the newest is damaged, the one before is
//! taken, and a warning names what is lost. When neither is whole, or the directory belongs to another run, the run is refused.

use super::digest::look_through;
use super::layout::RunDir;
use super::manifest::{Environment, Manifest, Parsed, is_damage, not_now, other_format, read_bounded};
use super::reader::difference;
use crate::disk;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// At most this many differing parts are spelled out in a refusal.
const MAX_NAMED: usize = 8;

/// One difference from the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, relative to the run directory.
    pub path: String,
    /// What was found in its place.
    pub why: String,
}

/// One manifest file as it was found.
#[derive(Clone, Debug, PartialEq)]
pub enum FoundManifest {
    /// There is no such file.
    Missing,
    /// It is there and cannot be used; the reason.
    Unreadable(String),
    /// It is whole and of a format that this version does not read.
    OtherFormat(u64),
    /// It is whole. `damage` lists the files it names that are not; empty: this checkpoint can be resumed.
    Read {
        /// Its content.
        manifest: Box<Manifest>,
        /// What is wrong with its files.
        damage: Vec<Damage>,
    },
}

/// The facts of a run directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The run directory, for messages.
    pub root: PathBuf,
    /// `manifest.json`.
    pub current: FoundManifest,
    /// `manifest.previous.json`. Looked at only when the current one cannot be resumed, else `Missing`.
    pub previous: FoundManifest,
}

/// The run that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Digest of all that changes numbers.
    pub fingerprint: String,
    /// What it was made of.
    pub parts: BTreeMap<String, String>,
    /// What will compute it.
    pub environment: Environment,
}

/// What to do with a run directory.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Nothing was committed: begin at batch 0.
    Fresh,
    /// Resume from this checkpoint.
    Resume {
        /// The checkpoint; it may be `finished`.
        manifest: Box<Manifest>,
        /// What the user should know: a damaged newest checkpoint, another machine.
        warnings: Vec<String>,
    },
    /// The directory cannot be used for this run.
    Refuse(Error),
}

/// Gathers the facts. Reads every state file of the checkpoint once, to check its digest.
///
/// # Errors
/// None for damage (a file is missing, or of another length or digest), which is a fact; `Machine` when the directory or a file cannot be
/// read at all: that may pass, and must cost no checkpoint.
pub fn inspect(run: &RunDir) -> Result<Found> {
    disk::names_in(run.root()).map_err(|e| Error::machine(format!("read {}: {e}", run.root().display())))?;
    let current = look_at(run.root(), &run.manifest())?;
    let resumable = matches!(&current, FoundManifest::Read { damage, .. } if damage.is_empty());
    let previous = if resumable { FoundManifest::Missing } else { look_at(run.root(), &run.previous_manifest())? };
    Ok(Found { root: run.root().to_path_buf(), current, previous })
}

impl RunDir {
    /// Finds the checkpoint to resume from and brings the directory in line with it: [`inspect`], [`decide`] and
    /// [`carry_out`](RunDir::carry_out) in one. Gives back that checkpoint (`None`: start at batch 0) and
    /// warnings for the user. For the holder of the lock, before any state is written.
    ///
    /// # Errors
    /// `State` when the directory holds another run or none of its checkpoints is whole; `Machine` when the disk refuses.
    pub fn recover(&self, wanted: &Wanted) -> Result<(Option<Manifest>, Vec<String>)> {
        let decision = decide(&inspect(self)?, wanted);
        self.carry_out(&decision)?;
        match decision {
            Decision::Fresh => Ok((None, Vec::new())),
            Decision::Resume { manifest, warnings } => Ok((Some(*manifest), warnings)),
            Decision::Refuse(e) => Err(e),
        }
    }
}

fn look_at(root: &Path, path: &Path) -> Result<FoundManifest> {
    let bytes = match read_bounded(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(FoundManifest::Missing),
        Err(e) if is_damage(&e) => return Ok(FoundManifest::Unreadable(e.to_string())),
        Err(e) => return Err(not_now(path, &e)),
    };
    Ok(match Manifest::parse(&bytes) {
        Parsed::Damaged(why) => FoundManifest::Unreadable(why),
        Parsed::OtherFormat(n) => FoundManifest::OtherFormat(n),
        Parsed::Whole(manifest) => {
            let mut damage = Vec::new();
            for (path, expected) in &manifest.files {
                let file = root.join(path);
                // The length is looked at first: it is free, and most damage shows in it.
                let why = match disk::metadata(&file) {
                    Err(e) if is_damage(&e) => Some("it is missing".to_string()),
                    Err(e) => return Err(not_now(&file, &e)),
                    Ok(m) if !m.is_file() => Some("it is no file".to_string()),
                    Ok(m) if m.len() != expected.size => {
                        Some(format!("{} bytes, the manifest names {}", m.len(), expected.size))
                    }
                    Ok(_) => match look_through(&file) {
                        Ok(found) if found == *expected => None,
                        Ok(found) => Some(difference(&found, expected)),
                        Err(e) if is_damage(&e) => Some(e.to_string()),
                        Err(e) => return Err(not_now(&file, &e)),
                    },
                };
                damage.extend(why.map(|why| Damage { path: path.clone(), why }));
            }
            FoundManifest::Read { manifest, damage }
        }
    })
}

/// Decides from the facts alone.
pub fn decide(found: &Found, wanted: &Wanted) -> Decision {
    let root = found.root.display();
    let manifest_path = found.root.join(super::layout::MANIFEST);
    let current_fault = match &found.current {
        FoundManifest::Missing if found.previous == FoundManifest::Missing => return Decision::Fresh,
        FoundManifest::OtherFormat(n) => return Decision::Refuse(other_format(&manifest_path, *n)),
        FoundManifest::Read { manifest, damage } if damage.is_empty() => {
            return resume(found, manifest, wanted, Vec::new());
        }
        fault => describe(fault),
    };
    match &found.previous {
        FoundManifest::Read { manifest, damage } if damage.is_empty() => {
            let lost = match &found.current {
                FoundManifest::Read { manifest: newest, .. } => {
                    format!("{} rows are read again", newest.rows.saturating_sub(manifest.rows))
                }
                _ => "the rows since then are read again".to_string(),
            };
            let warning = format!(
                "the newest checkpoint of {root} is damaged ({current_fault}); resuming from the one before it, at batch {} \
                 ({} rows): {lost}",
                manifest.next_batch, manifest.rows
            );
            resume(found, manifest, wanted, vec![warning])
        }
        FoundManifest::OtherFormat(n) => Decision::Refuse(other_format(&manifest_path, *n)),
        previous_fault => Decision::Refuse(Error::state(format!(
            "no checkpoint of {root} can be resumed: newest: {current_fault}; the one before: {}; --fresh starts over",
            describe(previous_fault)
        ))),
    }
}

fn resume(found: &Found, manifest: &Manifest, wanted: &Wanted, mut warnings: Vec<String>) -> Decision {
    if manifest.fingerprint != wanted.fingerprint {
        return Decision::Refuse(another_run(found, manifest, wanted));
    }
    if manifest.environment != wanted.environment {
        let (then, now) = (&manifest.environment, &wanted.environment);
        warnings.push(format!(
            "until here computed by cognate {} on {} [{}], from here by cognate {} on {} [{}]: the last bits may differ from \
             those of an unbroken run",
            then.version,
            then.arch,
            then.cpu_features.join(" "),
            now.version,
            now.arch,
            now.cpu_features.join(" ")
        ));
    }
    Decision::Resume { manifest: Box::new(manifest.clone()), warnings }
}

/// The refusal of another run's directory, naming every part that differs.
fn another_run(found: &Found, manifest: &Manifest, wanted: &Wanted) -> Error {
    let mut said = differing_parts(&manifest.parts, &wanted.parts);
    if said.is_empty() {
        let (there, here) = (shorten(&manifest.fingerprint), shorten(&wanted.fingerprint));
        said.push(format!("fingerprint is {there} there, {here} here"));
    }
    Error::state(format!(
        "{} holds another run: {}; choose another --out, or --fresh to start over there",
        found.root.display(),
        said.join("; ")
    ))
}

/// The names of the parts in which two fingerprints differ, in order.
pub fn differing_names<'a>(there: &'a BTreeMap<String, String>, here: &'a BTreeMap<String, String>) -> Vec<&'a String> {
    let names: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    names.into_iter().filter(|n| there.get(*n) != here.get(*n)).collect()
}

/// The first few parts in which two fingerprints differ, in words; `there` comes first.
pub fn differing_parts(there: &BTreeMap<String, String>, here: &BTreeMap<String, String>) -> Vec<String> {
    let differing = differing_names(there, here);
    let both = |name: &String| {
        let [there, here] = [there, here].map(|parts| parts.get(name).map_or("nothing", String::as_str));
        let [there, here] = shortened([there, here]);
        format!("{name} is {there} there, {here} here")
    };
    let mut said: Vec<String> = differing.iter().take(MAX_NAMED).map(|name| both(name)).collect();
    if differing.len() > MAX_NAMED {
        said.push(format!("and {} more", differing.len() - MAX_NAMED));
    }
    said
}

fn describe(found: &FoundManifest) -> String {
    match found {
        FoundManifest::Missing => "its manifest is missing".to_string(),
        FoundManifest::Unreadable(why) => format!("its manifest is unreadable: {why}"),
        FoundManifest::OtherFormat(n) => format!("it is of format {n}"),
        FoundManifest::Read { damage, .. } => {
            let more = if damage.len() > 1 { format!(", and {} files more", damage.len() - 1) } else { String::new() };
            damage.first().map_or_else(|| "it is whole".to_string(), |d| format!("{}: {}{more}", d.path, d.why))
        }
    }
}

/// Two values short enough for one line, from a little before where they differ.
fn shortened(values: [&str; 2]) -> [String; 2] {
    /// Characters before the difference.
    const BEFORE: usize = 12;
    let same = values[0].chars().zip(values[1].chars()).take_while(|(a, b)| a == b).count();
    let is_long = values.iter().any(|v| v.chars().count() > MAX_CHARS);
    let from = if is_long { same.saturating_sub(BEFORE) } else { 0 };
    values.map(|value| {
        let rest: String = value.chars().skip(from).collect();
        if from > 0 { format!("…{}", shorten(&rest)) } else { shorten(&rest) }
    })
}

/// Characters of a value that are shown.
const MAX_CHARS: usize = 40;

/// A value short enough for one line.
fn shorten(value: &str) -> String {
    let cut: String = value.chars().take(MAX_CHARS).collect();
    if cut.len() < value.len() { format!("{cut}…") } else { cut }
}

#[cfg(test)]
mod tests;
