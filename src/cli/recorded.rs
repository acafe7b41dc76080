//! What a run's checkpoint records for the commands that come after it.

use crate::error::Result;
use crate::spec::Cross;
use crate::store::{Ended, Manifest, RunDir};
use crate::units::thousands;
use std::path::Path;

/// How the run in the directory keeps Σxy: what `cross = "auto"` was resolved to; `None` where there is no run.
///
/// # Errors
/// `Machine` when its manifest cannot be read just now: decided again, it might differ.
pub fn recorded_cross(directory: &Path) -> Result<Option<Cross>> {
    let Ok(run) = RunDir::at(directory) else { return Ok(None) };
    Ok(Manifest::whole_at(&run.manifest())?.as_ref().and_then(cross_of))
}

/// How the run of a manifest keeps Σxy.
pub fn cross_of(manifest: &Manifest) -> Option<Cross> {
    serde_json::from_str(manifest.parts.get("compare.cross")?).ok()
}

/// Why a finished run ended before its corpus did, in words.
pub fn ending(manifest: &Manifest) -> Option<String> {
    let most = manifest.asked.max_tokens;
    match manifest.ended {
        Ended::StopRule { churn_below, snapshots: n } => {
            let s = if n == 1 { "" } else { "s" };
            Some(format!("converged: churn below {churn_below} in {n} snapshot{s} in a row"))
        }
        Ended::Corpus if most > 0 && manifest.rows >= most => {
            let rows = thousands(manifest.rows);
            Some(format!("ended at max_tokens = {}; a --max-tokens above {rows} reads on", thousands(most)))
        }
        Ended::Corpus | Ended::No => None,
    }
}
