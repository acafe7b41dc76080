//! Where does a run begin? In its directory: at the start, behind its last checkpoint, or not at all.

use crate::cli::progress::Console;
use crate::cli::score;
use crate::corpus::{Corpus, Cursor};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::spec::StopRule;
use crate::store::{
    Decision, Ended, Environment, Found, FoundManifest, Manifest, RunDir, Wanted, decide, differing_names, inspect,
};
use crate::units::thousands;
use std::path::Path;

/// Opens the run directory and finds where to begin.
pub fn open_run(
    directory: &Path,
    plan: &Plan,
    fresh: bool,
    leads: bool,
    voice: &Console,
) -> Result<(RunDir, Option<Manifest>)> {
    let run = if leads { RunDir::open_or_create(directory)? } else { RunDir::join(directory)? };
    if !leads {
        // process 0 decides and sends its decision
        return Ok((run, None));
    }
    if fresh {
        run.start_afresh()?;
    }
    let wanted = Wanted {
        fingerprint: plan.fingerprint().to_string(),
        parts: plan.fingerprint_parts().clone(),
        environment: Environment::here(),
    };
    let found = inspect(&run)?;
    let decision = decide(&found, &wanted);
    if let Decision::Refuse(error) = decision {
        return Err(with_score(error, &found, &wanted));
    }
    run.carry_out(&decision)?;
    let Decision::Resume { manifest, warnings } = decision else { return Ok((run, None)) };
    for warning in warnings {
        voice.warn(&warning);
    }
    if !manifest.is_finished() {
        voice.say(&format!("resuming after {} tokens ({})", thousands(manifest.rows), directory.display()));
    }
    Ok((run, Some(*manifest)))
}

/// The refusal of another run's directory. When all differing keys can be applied to saved sums, the message names
/// `cognate score`.
fn with_score(error: Error, found: &Found, wanted: &Wanted) -> Error {
    let FoundManifest::Read { manifest, .. } = &found.current else { return error };
    let differing = differing_names(&manifest.parts, &wanted.parts);
    if differing.is_empty() || !differing.iter().all(|key| score::is_free(key)) {
        return error;
    }
    let keys: Vec<String> = differing.iter().map(|key| format!("--set {key}=VALUE")).collect();
    Error::state(format!(
        "{error}; or score the saved sums with it: cognate score {} {}",
        found.root.display(),
        keys.join(" ")
    ))
}

pub fn open_corpus(plan: &Plan, resume: Option<&Manifest>) -> Result<Corpus> {
    let mut corpus = plan.open_corpus(plan.spec().corpus.clone())?;
    // a merge of runs has no position
    if let Some(cursor) = resume.and_then(Manifest::cursor) {
        let cursor: Cursor = serde_json::from_value(cursor.clone()).map_err(|e| {
            Error::state(format!("the manifest's corpus position cannot be read: {e}; start again with --fresh"))
        })?;
        corpus.seek(&cursor)?;
    }
    Ok(corpus)
}

/// Whether a finished run has nothing more to do: it read the whole corpus, or as many tokens as are asked for now, or
/// it converged by the rule that is asked for now.
pub fn is_done(manifest: &Manifest, plan: &Plan) -> bool {
    is_end(manifest.ended, manifest, plan)
}

/// Whether a run that has ended so, with the rows of this checkpoint, has nothing more to do.
fn is_end(ended: Ended, manifest: &Manifest, plan: &Plan) -> bool {
    let max_tokens = plan.spec().corpus.max_tokens;
    let enough = max_tokens != 0 && max_tokens <= manifest.rows;
    match ended {
        Ended::No => false,
        Ended::Corpus => enough || manifest.asked.max_tokens == 0,
        Ended::StopRule { churn_below, snapshots } => {
            enough || plan.spec().estimate.stop_when == Some(StopRule { churn_below, snapshots })
        }
    }
}

/// Where the final tables are due: if more tokens are asked for now than then, the snapshot that is due is no longer
/// the last.
pub fn look_again(manifest: &mut Manifest, plan: &Plan) {
    let Some(mut due) = manifest.due.filter(|due| due.ended != Ended::No) else { return };
    if !is_end(due.ended, manifest, plan) && manifest.second_pass().is_none() {
        due.ended = Ended::No;
        manifest.due = Some(due);
    }
}

/// Refuses a run that cannot be resumed.
///
/// # Errors
/// `Request` after a second pass, or where fewer tokens are asked for than it has; `State` for a merge.
pub fn check_can_go_on(manifest: &Manifest, plan: &Plan, directory: &Path) -> Result<()> {
    if manifest.is_all_read() {
        return Ok(());
    }
    let most = plan.spec().corpus.max_tokens;
    if most != 0 && most <= manifest.rows && manifest.second_pass().is_none() {
        return Err(Error::request(format!(
            "{} was stopped at {} tokens, and max_tokens is {}; to continue it, give a larger --max-tokens or none; else choose another --out",
            directory.display(),
            thousands(manifest.rows),
            thousands(most)
        )));
    }
    if manifest.is_finished() && manifest.second_pass().is_some() {
        return Err(Error::request(format!(
            "{} has finished its second pass (refine = \"second-pass\") and cannot be lengthened; choose another --out, \
             or --fresh to start over",
            directory.display()
        )));
    }
    if !manifest.merged().is_empty() {
        return Err(Error::state(format!(
            "{} is a merge of runs and has no position in the corpus; continue those runs and merge them again, or choose \
             another --out",
            directory.display()
        )));
    }
    Ok(())
}
