//! Are the files that sums were made from still what they were? One check for every command that reads sums or draws
//! from weights: it compares what is there now with the parts of the fingerprint that were saved with the sums.

use crate::corpus::Tokenizer;
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::plan::fingerprint::{file_parts, sae_name, sae_parts, settled_parts};
use crate::plan::steps::Steps;
use crate::sae::Format;
use std::collections::BTreeMap;
use std::path::Path;

/// Checks every SAE and tokenizer of these steps: decoder rows are scored again, and token ids made into text again.
/// `saved` are the parts of the fingerprint in the run's manifest.
///
/// # Errors
/// `State` naming a file that is not what it was, those of reading.
pub(super) fn check_made_of(steps: &Steps, saved: &BTreeMap<String, String>) -> Result<()> {
    for (space, sae) in steps.saes() {
        check_sae(saved, &space.site, &sae.path, sae.reading.format)?;
        let settled = settled_parts(&space.site, &sae.reading);
        if let Some((part, now)) = settled.iter().find(|(part, now)| saved.get(*part) != Some(now)) {
            let then = saved.get(part).map_or("not set", String::as_str);
            return Err(Error::state(format!(
                "{part} was {then} when the run's sums were made and is {now} now; write it into the dataflow file as it \
                 was, or make another run"
            )));
        }
    }
    steps.models.iter().try_for_each(|model| check_tokenizer(saved, &model.name, &model.path))
}

/// Checks the SAE at `path` for `site`: the same files with the same bytes.
///
/// # Errors
/// `State` naming a file that is not what it was, those of reading.
pub fn check_sae(saved: &BTreeMap<String, String>, site: &Site, path: &Path, format: Option<Format>) -> Result<()> {
    let now = sae_parts(site, path, format)?;
    let name = format!("{} ", sae_name(site));
    let gone = saved.keys().find(|part| part.starts_with(&name) && !now.contains_key(*part));
    match gone {
        Some(part) => Err(not_there_now(part)),
        None => same(saved, &now),
    }
}

fn not_there_now(part: &str) -> Error {
    Error::state(format!("{part} was read when the run's sums were made and is not there now; {WAY_OUT}"))
}

/// Checks the tokenizer of the model called `name` at `path`; of a GGUF file the whole file, since its tokenizer lies in it.
///
/// # Errors
/// `State` naming a file that is not what it was, those of reading.
pub fn check_tokenizer(saved: &BTreeMap<String, String>, name: &str, path: &Path) -> Result<()> {
    let files = if disk::is_dir(path) { crate::model::tokenizer_files(path) } else { crate::model::files(path)? };
    let mut now = BTreeMap::new();
    file_parts(&format!("models.{name}"), &files, &mut now)?;
    let gone = Tokenizer::FILES.iter().map(|file| format!("models.{name} {file}"));
    match gone.into_iter().find(|part| saved.contains_key(part) && !now.contains_key(part)) {
        Some(part) => Err(not_there_now(&part)),
        None => same(saved, &now),
    }
}

const WAY_OUT: &str = "put the file back, or make another run";

fn same(saved: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Result<()> {
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    match now.iter().find(|(part, digest)| saved.get(*part) != Some(digest)) {
        None => Ok(()),
        Some((part, digest)) => {
            let then = saved.get(part).map_or("not there".to_string(), |then| format!("blake3 {}…", short(then)));
            Err(Error::state(format!(
                "{part} is not what it was when the run's sums were made ({then} then, {}… now); {WAY_OUT}",
                short(digest)
            )))
        }
    }
}
