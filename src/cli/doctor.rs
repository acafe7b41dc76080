//! `cognate doctor`: is every SAE read where, and as, it was trained?

use crate::cli::fetch::fetch_all;
use crate::cli::progress::Voice;
use crate::doctor::{Diagnosis, Reading, diagnose};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::report::thousands;
use crate::spec::DataflowSpec;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Prints every reading of every SAE of the dataflow file `flow` over its first `tokens` counted tokens.
///
/// # Errors
/// Those of reading and planning; `Gate`, naming the better readings, when a declared one is clearly not the best.
pub fn doctor(flow: &Path, tokens: u64, json: bool) -> Result<ExitCode> {
    let (mut spec, _) = DataflowSpec::read(flow)?;
    fetch_all(&mut spec, if json { Voice::Quiet } else { Voice::new(false, false) })?;
    let found = diagnose(&Plan::new(spec)?, tokens)?;
    if json {
        let saes: Vec<_> = (found.iter())
            .map(|d| json!({ "site": d.site.to_string(), "n_tokens": d.n_tokens, "readings": d.readings, "better": d.better() }))
            .collect();
        println!("{}", json!({ "saes": saes }));
    } else {
        found.iter().for_each(|d| print!("{}", as_text(d)));
    }
    let wrong: Vec<String> = found.iter().filter_map(complaint).collect();
    if wrong.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Error::new(ErrorKind::Gate, wrong.join("\n       "))) }
}

fn as_text(d: &Diagnosis) -> String {
    if d.readings.is_empty() {
        return format!("{}: not checked, it is not known what this transcoder predicts\n", d.site);
    }
    let mut out = format!("{}, {} tokens\n", d.site, thousands(d.n_tokens));
    out += &format!("    {:<20} {:<14} {:>8} {:>8} {:>7}\n", "hookpoint", "b_dec", "FVU", "L0", "dead");
    for r in &d.readings {
        out += &format!(
            "  {} {:<20} {:<14} {:>8} {:>8.1} {:>6.1}%\n",
            if r.declared { '>' } else { ' ' },
            r.hookpoint.to_string(),
            if r.subtract_b_dec { "subtracted" } else { "not subtracted" },
            fvu(r),
            r.l0,
            100.0 * r.dead_share
        );
    }
    out
}

fn fvu(r: &Reading) -> String {
    r.fvu.map_or("-".into(), |f| format!("{f:.3}"))
}

/// What is wrong with the declared reading and what to write instead; `None` when nothing is.
pub(super) fn complaint(d: &Diagnosis) -> Option<String> {
    let (declared, better) = (d.declared()?, d.better()?);
    let mut write = Vec::new();
    if better.hookpoint != declared.hookpoint {
        write.push(format!("[saes.\"{}/{}\"]", d.site.model, better.hookpoint));
    }
    if better.subtract_b_dec != declared.subtract_b_dec {
        write.push(format!("subtract_b_dec = {}", better.subtract_b_dec));
    }
    Some(format!(
        "sae \"{}\" reads better at {}, b_dec {}: FVU {} against {}; write {}",
        d.site,
        better.hookpoint,
        if better.subtract_b_dec { "subtracted" } else { "not subtracted" },
        fvu(better),
        fvu(declared),
        write.join(" with ")
    ))
}
