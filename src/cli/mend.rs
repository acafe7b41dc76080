//! Files of a resumed run, other than its state, that are not as it left them. The dataflow file that it keeps is written
//! again, and tables that are lost, damaged or of another snapshot are made again from the sums. Both are reported.

use crate::cli::progress::Console;
use crate::disk;
use crate::engine::{Loaded, remake};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::store::{FoundTables, Manifest, RunDir, SetRecord, TableSet, digest_of_text, write_atomic};
use std::io::ErrorKind;
use std::sync::Arc;

/// Writes the dataflow file again where it is not the one that `manifest` names; `text` is the file that the run was given now,
/// which asks for the same.
///
/// # Errors
/// `Machine` when the directory cannot be read or written.
pub fn mend_dataflow(run: &RunDir, manifest: &mut Manifest, text: &str, voice: Console) -> Result<()> {
    let kept = match disk::read_to_string(&run.dataflow()) {
        Ok(kept) => Some(digest_of_text(&kept)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::IsADirectory) => None,
        Err(e) => return Err(Error::io("read the run's dataflow file", &run.dataflow(), &e)),
    };
    if kept.is_some_and(|kept| kept == manifest.asked.dataflow) {
        return Ok(());
    }
    voice.warn(&format!(
        "{} is lost or was changed since the run wrote it; it is written again from the file given",
        run.dataflow().display()
    ));
    write_atomic(&run.dataflow(), text.as_bytes())?;
    manifest.asked.dataflow = digest_of_text(text);
    run.commit(manifest)
}

/// Makes the tables again where they are not those that the run of `manifest` published. Between a snapshot and the next
/// checkpoint that cannot be done; then the next snapshot does it.
///
/// # Errors
/// Those of reading tables and sums, of scoring and of writing.
pub fn mend_tables(run: &Arc<RunDir>, plan: &Arc<Plan>, manifest: &Manifest, voice: Console) -> Result<()> {
    let (faults, published) = match TableSet::look(run)? {
        FoundTables::None if manifest.snapshot == 0 => return Ok(()),
        FoundTables::None => (vec!["they are not there".to_string()], None),
        FoundTables::Hurt { faults, record } => (faults, record),
        FoundTables::Whole(set) => match stale(set.record(), manifest) {
            None => return Ok(()),
            Some(fault) => (vec![fault], None),
        },
    };
    let what = format!("the tables of {} are not as they were published: {}", run.root().display(), faults.join("; "));
    let Some(made) = remake(plan, &Loaded::for_publishing(plan)?, run, manifest)? else {
        voice.warn(&format!("{what}; all are made again at the next snapshot"));
        return Ok(());
    };
    voice.warn(&format!("{what}; all were made again from the saved sums"));
    let other: Vec<&str> = published.iter().flat_map(|before| differing(before, &made)).collect();
    if !other.is_empty() {
        voice.warn(&format!(
            "{} have other bytes than before: another version or another processor made them",
            other.join(", ")
        ));
    }
    Ok(())
}

/// Why undamaged tables do not belong to the run, if so. They may be newer than its checkpoint, but not older.
fn stale(tables: &SetRecord, manifest: &Manifest) -> Option<String> {
    if tables.fingerprint != manifest.fingerprint {
        return Some("they are of another run".to_string());
    }
    let (found, last) = ((tables.snapshot, tables.tokens), (manifest.snapshot, manifest.rows));
    let older = tables.snapshot < manifest.snapshot || (manifest.is_finished() && found != last);
    older.then(|| format!("they are of snapshot {} ({} tokens), the run's last is {}", found.0, found.1, last.0))
}

/// Tables of a moment that were made again with other bytes.
fn differing<'a>(before: &'a SetRecord, made: &SetRecord) -> Vec<&'a str> {
    let same_moment = before.fingerprint == made.fingerprint && before.snapshot == made.snapshot;
    let tables = before.tables.iter().filter(|(name, record)| same_moment && made.tables.get(*name) != Some(record));
    tables.map(|(name, _)| name.as_str()).collect()
}
