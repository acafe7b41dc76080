//! What does a run make of the doctor's findings, before its first batch?

use crate::cli::doctor::complaints;
use crate::cli::progress::Console;
use crate::doctor::{Diagnosis, Verdict, diagnose_open};
use crate::engine::Loaded;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Plan;
use crate::spec::{CheckSpec, DoctorRule};
use crate::units::thousands;

/// The doctor's check in short, over what is loaded anyway.
///
/// # Errors
/// Those of reading and of the forward; `Gate`, naming the better readings, when a declared one is clearly not the best.
pub fn check(plan: &Plan, loaded: &Loaded, voice: Console) -> Result<()> {
    let CheckSpec { doctor: rule, tokens } = plan.spec().check;
    if !is_wanted(plan) {
        return Ok(());
    }
    let found = diagnose_open(plan, &loaded.models, &loaded.saes, tokens)?;
    let wrong: Vec<String> = found.iter().flat_map(complaints).collect();
    match rule {
        _ if wrong.is_empty() => voice.say(&checked(&found)),
        DoctorRule::Refuse => {
            let insist = if found.iter().any(|d| d.is_wrong() && d.verdict() == Verdict::WorseThanMean) {
                "insist = [\"fvu\"] for that SAE, or "
            } else {
                ""
            };
            return Err(Error::new(
                ErrorKind::Gate,
                format!(
                    "{}; if this is intended, write {insist}doctor = \"warn\" under [check]",
                    wrong.join("\n       ")
                ),
            ));
        }
        _ => wrong.iter().for_each(|complaint| voice.warn(complaint)),
    }
    Ok(())
}

/// Whether there is something to try.
pub fn is_wanted(plan: &Plan) -> bool {
    plan.spec().check.doctor != DoctorRule::Off && plan.saes().next().is_some()
}

/// One line on SAEs that nothing is wrong with.
fn checked(found: &[Diagnosis]) -> String {
    let n_tokens = found.iter().map(|d| d.n_tokens).max().unwrap_or(0);
    let fvus = |of: fn(&Diagnosis) -> bool| {
        let all: Vec<f64> = found.iter().filter(|d| of(d)).filter_map(|d| d.declared()?.fvu).collect();
        let ends = (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max));
        match all.len() {
            0 => String::new(),
            1 => format!(" (FVU {:.2})", ends.0),
            _ => format!(" (FVU {:.2} to {:.2})", ends.0, ends.1),
        }
    };
    let s = if found.len() == 1 { "" } else { "s" };
    let head = format!("doctor: {} SAE{s} checked on {} tokens", found.len(), thousands(n_tokens));
    let trained = format!("hookpoints look right{}", fvus(|d| !d.control));
    let control = format!("of a control, not judged{}", fvus(|d| d.control));
    match (found.iter().any(|d| !d.control), found.iter().any(|d| d.control)) {
        (true, true) => format!("{head}: {trained}; {control}"),
        (false, true) => format!("{head}: {control}"),
        _ => format!("{head}: {trained}"),
    }
}
