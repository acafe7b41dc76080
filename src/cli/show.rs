//! `cognate show`: one latent.

use crate::error::{Error, Result};
use crate::ids::Site;
use crate::model;
use crate::report::{LatentCard, Marker};
use crate::spec::DataflowSpec;
use crate::store::RunDir;
use std::path::Path;
use std::process::ExitCode;

/// Shows latent `name` (`MODEL/HOOKPOINT/LATENT`) of the run in `directory`.
///
/// # Errors
/// `Request` when the run has no tables yet, or no such latent; those of reading its tables.
pub fn show(directory: &Path, name: &str, json: bool) -> Result<ExitCode> {
    let run = RunDir::at(directory)?;
    let (site, latent) = parse(name)?;
    if !run.table("latents").exists() {
        return Err(Error::request(format!(
            "{} has no tables yet; they come with the first snapshot",
            run.root().display()
        )));
    }
    let card = LatentCard::read(&run.tables(), &site, latent)?;
    let marker = marker(&run);
    if json {
        println!("{}", card.as_json(&marker));
    } else {
        print!("{}", card.as_text(&marker, console_width()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds strong tokens with the run's own tokenizer, where its models are still at hand.
fn marker(run: &RunDir) -> Marker {
    DataflowSpec::read(&run.dataflow()).map_or_else(|_| Marker::new(None, [0, 0]), |(spec, _)| marker_of(&spec))
}

/// The same of a dataflow file that is read already.
pub(super) fn marker_of(spec: &DataflowSpec) -> Marker {
    let first = spec.models.values().next();
    let tokenizer = first.and_then(|m| model::tokenizer(Path::new(&m.path)).ok());
    Marker::new(tokenizer, spec.estimate.top_context)
}

/// Columns of the terminal; 100 where there is none.
fn console_width() -> usize {
    console::Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns))
}

fn parse(name: &str) -> Result<(Site, u32)> {
    let form = || {
        Error::request(format!(
            "{name:?} is not of the form MODEL/HOOKPOINT/LATENT, for example small-a/resid_post.2/129"
        ))
    };
    let (site, latent) = name.rsplit_once('/').ok_or_else(form)?;
    let latent = latent.parse().map_err(|_| form())?;
    Ok((site.parse().map_err(|e: Error| e.within(format!("{name:?}")))?, latent))
}
