//! What is a dataflow file asked for, and within which limits? A request becomes an [`Outline`], which can be shown, or a [`Plan`],
//! which can be run.

use crate::error::{Error, Result};
use crate::plan::fingerprint::{fingerprint_parts, scored_parts};
use crate::plan::made_of::check_made_of;
use crate::plan::steps::Steps;
use crate::plan::{Outline, Plan};
use crate::spec::{Cross, DataflowSpec, ModelSpec};
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The dataflow file as written.
    pub spec: DataflowSpec,
    /// What for.
    pub purpose: Purpose,
    /// Bytes of memory that may be taken.
    pub memory_limit: u64,
    /// What `cross = "auto"` came to at an earlier start of the run.
    pub known_cross: Option<Cross>,
}

/// What a request is made for, and so what must be here.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To show it: weights, tokenizers and corpus need not be at hand. What is not there is assumed as described, and listed in
    /// [`Outline::assumptions`].
    Outline,
    /// To stream the corpus: everything is here, and no SAE's own files contradict the dataflow file.
    Run,
    /// To try the SAEs: everything is here, and contradictions are what the doctor looks into.
    Doctor,
    /// To make results of sums that are saved: neither the corpus is looked for, nor what was settled when the run began, and
    /// nothing streams.
    SavedSums(SavedSums),
}

/// What was written down with the sums of a run.
#[derive(Clone, Debug)]
pub struct SavedSums {
    /// Parts of the run's fingerprint.
    pub parts: BTreeMap<String, String>,
    /// The dataflow file that the run was asked for, where the request asks for something else of its sums.
    pub asked: Option<Box<DataflowSpec>>,
}

impl Request {
    /// Thinks it through: names are resolved, headers opened, shapes checked, and what the file leaves open is decided. That it
    /// fits into memory is asked with [`Outline::check_memory`].
    ///
    /// # Errors
    /// `Request` for a missing artifact, a shape that does not fit, a contradiction, or numbers that this processor does not multiply;
    /// `Input` for a damaged file; each names it.
    pub fn outline(&self) -> Result<Outline> {
        if !matches!(self.purpose, Purpose::SavedSums(_)) {
            self.check_processor()?;
        }
        let steps = Steps::of(&self.spec, matches!(self.purpose, Purpose::Outline))?;
        let steps = match self.purpose {
            Purpose::Outline => {
                check_declared(&steps)?;
                steps.with_row_files(true)?.with_what_is_here()?
            }
            Purpose::Run => {
                let steps = steps.with_row_files(false)?.with_corpus()?;
                check_declared(&steps)?;
                steps
            }
            Purpose::Doctor => steps.with_row_files(false)?.with_corpus()?,
            Purpose::SavedSums(_) => Steps { streams: false, ..steps },
        };
        Ok(Outline::of(steps, self.memory_limit, self.known_cross))
    }

    /// Refuses numbers that the kernels multiply only on another processor. Sums that are saved are read on any.
    fn check_processor(&self) -> Result<()> {
        let check = |(name, model): (&String, &ModelSpec)| {
            model.compute().check_here().map_err(|e| e.within(format!("models.{name}")))
        };
        self.spec.models.iter().try_for_each(check)
    }

    /// A plan that can be run. `show` is called once all is decided and known to fit, before every artifact is read through for its
    /// digest, which may take minutes.
    ///
    /// # Errors
    /// As [`Request::outline`]; `Machine` when it does not fit into memory; `Request` for what is not here or is contradicted,
    /// whatever the purpose; `State` for files that are not what they were when sums were saved; those of reading.
    pub fn plan(&self, show: impl FnOnce(&Outline)) -> Result<Plan> {
        let outline = self.outline()?;
        outline.check_memory()?;
        if let Some(assumed) = outline.assumptions().first() {
            return Err(Error::request(format!("{assumed}; a run needs it here")));
        }
        let tokenizers = outline.steps.tokenizers()?;
        show(&outline);
        let (steps, choice) = (&outline.steps, &outline.choice);
        let parts = match &self.purpose {
            Purpose::SavedSums(SavedSums { parts, asked }) => {
                check_made_of(steps, parts)?;
                match asked {
                    Some(asked) => scored_parts(steps, choice, asked, parts)?,
                    None => parts.clone(),
                }
            }
            Purpose::Outline | Purpose::Run | Purpose::Doctor => {
                check_declared(steps)?;
                fingerprint_parts(steps, choice)?
            }
        };
        Ok(Plan::new(outline, tokenizers, parts))
    }
}

/// Refuses what SAEs' own files contradict.
///
/// # Errors
/// `Request` naming every contradiction and what to do.
fn check_declared(steps: &Steps) -> Result<()> {
    let all: Vec<String> =
        steps.notes.contradictions.iter().map(|(site, what)| format!("sae \"{site}\": {what}")).collect();
    if all.is_empty() { Ok(()) } else { Err(Error::request(all.join("\n       "))) }
}
