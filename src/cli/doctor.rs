//! `cognate doctor`: is every SAE read where, and as, it was trained?

use crate::cli::fetch::fetch_all;
use crate::cli::progress::Console;
use crate::doctor::{Diagnosis, Verdict, diagnose, rounded};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Purpose, Request};
use crate::spec::DataflowSpec;
use crate::units::thousands;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Prints every reading of every SAE of the dataflow file `flow` over its first `tokens` counted tokens, a verdict for each and
/// one for all.
///
/// # Errors
/// Those of reading and planning; `Gate`, naming what is wrong, when a declared reading is clearly not the best, explains less than
/// the mean does, or is contradicted by the SAE's own files.
pub fn doctor(flow: &Path, tokens: u64, json: bool) -> Result<ExitCode> {
    let (mut spec, _) = DataflowSpec::read(flow)?;
    let voice = if json { Console::Quiet } else { Console::new(false, false) };
    fetch_all(&mut spec, voice)?;
    let plan = Request { spec, purpose: Purpose::Doctor, memory_limit: u64::MAX, known_cross: None }.outline()?;
    plan.warnings_in_words().iter().for_each(|warning| voice.warn(warning));
    let found = diagnose(&plan, tokens)?;
    if json {
        let saes: Vec<_> = found.iter().map(as_json).collect();
        println!("{}", json!({ "saes": saes, "verdict": overall(&found), "warnings": plan.warnings_in_words() }));
    } else {
        found.iter().for_each(|d| print!("{}", as_text(d)));
        println!("verdict: {}", overall(&found));
    }
    let wrong: Vec<String> = found.iter().flat_map(complaints).collect();
    if wrong.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Error::new(ErrorKind::Gate, wrong.join("\n       "))) }
}

fn as_json(d: &Diagnosis) -> serde_json::Value {
    json!({
        "site": d.site.to_string(),
        "n_tokens": d.n_tokens,
        "control": d.control,
        "readings": d.readings,
        "better": d.better(),
        "contradictions": d.contradictions,
        "wrong": d.is_wrong() || !d.contradictions.is_empty(),
        "verdict": d.in_words(),
    })
}

fn as_text(d: &Diagnosis) -> String {
    let mut out = format!("{}, {} tokens\n", d.site, thousands(d.n_tokens));
    if !d.readings.is_empty() {
        let heads = ["hookpoint", "b_dec", "scale", "mean", "FVU", "L0", "dead"];
        let [place, b_dec, scale, mean, fvu, l0, dead] = heads;
        out += &format!("    {place:<18} {b_dec:<14} {scale:>8} {mean:<9} {fvu:>8} {l0:>8} {dead:>7}\n");
    }
    for r in &d.readings {
        out += &format!(
            "  {} {:<18} {:<14} {:>8} {:<9} {:>8} {:>8.1} {:>6.1}%\n",
            if r.declared { '>' } else { ' ' },
            r.hookpoint.to_string(),
            if r.subtract_b_dec { "subtracted" } else { "not subtracted" },
            rounded(r.scale),
            if r.center { "taken off" } else { "left in" },
            r.fvu.map_or("-".into(), |f| format!("{f:.3}")),
            r.l0,
            100.0 * r.dead_share
        );
    }
    for what in &d.contradictions {
        out += &format!("  contradicted: {what}\n");
    }
    out + &format!("  verdict: {}\n", d.in_words())
}

/// One line for all SAEs.
fn overall(found: &[Diagnosis]) -> String {
    let n = found.len();
    let saes = |n: usize| format!("{n} SAE{}", if n == 1 { "" } else { "s" });
    let wrong = found.iter().filter(|d| d.is_wrong() || !d.contradictions.is_empty()).count();
    if wrong > 0 {
        return format!("{wrong} of {} not read as trained; see above", saes(n));
    }
    let count = |is: fn(&Verdict) -> bool| found.iter().filter(|d| is(&d.verdict())).count();
    let parts = [
        (count(|v| matches!(v, Verdict::Fits)), "read best as declared"),
        (count(|v| matches!(v, Verdict::ExplainsLittle)), "with little explained"),
        (count(|v| matches!(v, Verdict::Control)), "read as a control"),
        (count(|v| matches!(v, Verdict::WorseThanMean)), "worse than the mean, as the dataflow file insists"),
        (count(|v| matches!(v, Verdict::NotChecked | Verdict::NoVariance)), "not checked"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|p| p.0 > 0)
        .map(|(n, what)| format!("{} {what}", saes(*n)).replacen("1 SAE read ", "1 SAE reads ", usize::from(*n == 1)))
        .collect();
    if parts.is_empty() { "there is no SAE to try".into() } else { parts.join(", ") }
}

/// What is wrong with an SAE and what to write instead; nothing where nothing is.
pub(super) fn complaints(d: &Diagnosis) -> Vec<String> {
    let contradicted = d.contradictions.iter().map(|what| format!("sae \"{}\": {what}", d.site));
    let wrong = d.is_wrong().then(|| format!("sae \"{}\" {}", d.site, d.in_words()));
    contradicted.chain(wrong).collect()
}
