//! What was a run asked for, and are the files that it read still what they were? For every command on an existing run:
//! files that changed since are named and not used.

use crate::corpus::Tokenizer;
use crate::disk;
use crate::error::{Error, Result};
use crate::hub::{self, Want};
use crate::model;
use crate::plan::{check_tokenizer, resolved};
use crate::report::Marker;
use crate::spec::{DataflowSpec, ModelSpec};
use crate::store::{Manifest, RunDir, SetRecord, digest_of_text};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The dataflow file that a run directory keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    pub spec: DataflowSpec,
    pub text: String,
}

impl Kept {
    /// Reads the dataflow file of a run whose checkpoint is `manifest`.
    ///
    /// # Errors
    /// `State` when the file is not the one that the manifest names; the errors of reading.
    pub fn of_run(run: &RunDir, manifest: &Manifest) -> Result<Kept> {
        Kept::read(run, &[Some(manifest.asked.dataflow.clone())], Some(manifest))
    }

    /// The same for readers of tables. Tables may exist before the first checkpoint, or without one. Hookpoints are in their
    /// plain form, as in the tables.
    ///
    /// # Errors
    /// The errors of [`Kept::of_run`] and of [`resolved`].
    pub fn of_tables(run: &RunDir, tables: &SetRecord) -> Result<Kept> {
        let manifest = Manifest::whole_at(&run.manifest())?;
        let known = [tables.dataflow.clone(), manifest.as_ref().map(|m| m.asked.dataflow.clone())];
        let kept = Kept::read(run, &known, manifest.as_ref())?;
        Ok(Kept { spec: resolved(&kept.spec)?, ..kept })
    }

    fn read(run: &RunDir, known: &[Option<String>], manifest: Option<&Manifest>) -> Result<Kept> {
        let path = run.dataflow();
        let text = disk::read_to_string(&path).map_err(|e| Error::io("read the run's dataflow file", &path, &e))?;
        let digest = Some(digest_of_text(&text));
        if !known.contains(&digest) {
            let found = match known.iter().any(Option::is_some) {
                true => "was changed since the run wrote it; put it back, or give",
                false => "has no digest in the run's manifest, so it cannot be checked that it is the run's own; give",
            };
            return Err(Error::state(format!(
                "{} {found} `cognate run` with the run's own file and --out {} again, which writes it again",
                path.display(),
                run.root().display()
            )));
        }
        // the file is a copy: paths that are relative to it are relative to where it was
        let given = manifest.map_or(path, |m| PathBuf::from(&m.asked.flow));
        Ok(Kept { spec: DataflowSpec::parse(&text, &given)?, text })
    }
}

/// A marker that finds strong tokens in their contexts with the run's own tokenizer. When the tokenizer has changed or is
/// missing, the marker finds only tokens that occur once, and the error says why. `saved` are the parts of the run's fingerprint.
pub fn marker_of(spec: &DataflowSpec, saved: &BTreeMap<String, String>) -> (Marker, Option<Error>) {
    let read = |(name, m): (&String, &ModelSpec)| {
        let path = match &m.tokenizer {
            Some(folder) => PathBuf::from(folder),
            None => hub::local(&m.path, Want::Model)?,
        };
        check_tokenizer(saved, name, &path)?;
        model::tokenizer(&path)
    };
    if spec.compare.is_of_text() {
        let all = spec.models.iter().map(|model| Ok((model.0.clone(), read(model)?)));
        return match all.collect::<Result<BTreeMap<String, Tokenizer>>>() {
            Ok(tokenizers) => (Marker::of_models(tokenizers, spec.estimate.top_context), None),
            Err(e) => (Marker::new(None, spec.estimate.top_context), Some(e)),
        };
    }
    let (tokenizer, fault) = match spec.models.iter().next().map(read).transpose() {
        Ok(tokenizer) => (tokenizer, None),
        Err(e) => (None, Some(e)),
    };
    (Marker::new(tokenizer, spec.estimate.top_context), fault)
}

/// Finds no token exactly.
pub fn no_marker() -> Marker {
    Marker::new(None, [0, 0])
}
