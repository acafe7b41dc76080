//! Brings here what a request names by its repository, `hf:…`, before anything else begins.

use crate::cli::progress::Console;
use crate::error::Result;
use crate::hub::{self, DownloadStep, Reference, Want};
use crate::ids::SiteName;
use crate::spec::DataflowSpec;
use crate::units::human_bytes;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Fetches every model and SAE that a pair of the dataflow file needs, and replaces a model's path by its place on this
/// machine; an SAE keeps the name in the dataflow file, which means more than its path.
///
/// # Errors
/// Those of [`hub::fetch`], with the model's or SAE's name.
pub fn fetch_all(spec: &mut DataflowSpec, voice: Console) -> Result<()> {
    let used: BTreeSet<SiteName> = spec.pairs().into_iter().flat_map(|(a, b)| [a, b]).collect();
    for (name, model) in spec.models.iter_mut().filter(|(name, _)| used.iter().any(|site| site.model == **name)) {
        let told = |e: crate::error::Error| e.within(format!("model {name:?}"));
        if model.is_elsewhere() {
            // its weights are elsewhere, and its tokenizer is a folder
            continue;
        }
        model.path = as_text(fetch(&model.path, Want::Model, voice).map_err(told)?);
    }
    // the meaning of another library's name is known only with the model: such a name may fit any site
    let may_be = |a: &SiteName, b: &SiteName| {
        a == b || a.model == b.model && a.tag == b.tag && !(a.hookpoint.is_plain() && b.hookpoint.is_plain())
    };
    for (site, sae) in
        spec.saes.iter().filter(|(site, sae)| sae.taken().is_none() && used.iter().any(|used| may_be(used, site)))
    {
        fetch(&sae.path, Want::Sae, voice).map_err(|e| e.within(format!("sae \"{site}\"")))?;
    }
    Ok(())
}

fn as_text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// Fetches one model or SAE and returns its path. Prints a progress bar or a line for each file.
///
/// # Errors
/// Those of [`hub::fetch`].
pub fn fetch(path: &str, want: Want, voice: Console) -> Result<PathBuf> {
    let current: RefCell<Option<(String, ProgressBar)>> = RefCell::default();
    let tell = |step: &DownloadStep| {
        let mut current = current.borrow_mut();
        if current.as_ref().is_none_or(|(file, _)| file != step.file) {
            *current = Some((step.file.to_string(), begin(step, path, voice)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_position(step.done_bytes);
            if step.done_bytes == step.size_bytes {
                bar.finish_and_clear();
            }
        }
    };
    hub::fetch(path, want, &tell)
}

fn begin(step: &DownloadStep, path: &str, voice: Console) -> ProgressBar {
    let repository = Reference::parse(path).ok().flatten().map_or_else(String::new, |r| r.repository);
    if voice != Console::Terminal {
        voice.say(&format!("fetching {} of {repository}, {}", step.file, human_bytes(step.size_bytes)));
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("fetching {msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::new(step.size_bytes)
        .with_style(style.expect("the template is right"))
        .with_message(format!("{} of {repository}", step.file))
}
