//! `cognate show`: one latent.

use crate::cli::kept::{Kept, marker_of, no_marker};
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::report::{LatentCard, Marker};
use crate::store::{RunDir, TableSet, read_tables};
use std::path::Path;
use std::process::ExitCode;

/// Shows latent `name` (`MODEL/HOOKPOINT/LATENT`) of the run in `directory`.
///
/// # Errors
/// `Request` when the run has no tables yet, or no such latent; `State` when its tables are
/// not as they were published; the errors of reading them.
pub fn show(directory: &Path, name: &str, json: bool) -> Result<ExitCode> {
    let run = RunDir::at(directory)?;
    let (site, latent) = parse(name)?;
    let (card, marker) = read_tables(&run, |set| {
        let card = LatentCard::read(set.dir(), &site, latent)?;
        Ok((card, marker(&run, set)))
    })?;
    if json {
        println!("{}", card.as_json(&marker));
    } else {
        print!("{}", card.as_text(&marker, console_width()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds top-activating tokens with the run's own tokenizer; gives the reason where that is not as it was.
fn marker(run: &RunDir, set: &TableSet) -> Marker {
    let (marker, fault) = match Kept::of_tables(run, set.record()) {
        Ok(kept) => marker_of(&kept.spec, &set.record().parts),
        Err(e) => (no_marker(), Some(e)),
    };
    if let Some(e) = fault {
        eprintln!("warning: {e}; strong tokens may not be marked in their contexts");
    }
    marker
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
