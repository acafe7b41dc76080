//! The end of a run: what was left out, the summary, the page.

use crate::cli::machine;
use crate::cli::plan::sample_in_words;
use crate::cli::progress::Console;
use crate::cli::recorded::ending;
use crate::cli::report;
use crate::corpus::{RowRule, Sample};
use crate::disk;
use crate::engine::{RunStatus, Stage};
use crate::error::Result;
use crate::plan::Plan;
use crate::report::{Speed, Summary};
use crate::store::{Ended, Manifest, RunDir, read_tables};
use crate::units::thousands;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reports files that hold more rows than the corpus has tokens, where it was read to its end: they may be of another corpus.
pub fn warn_of_rows(plan: &Plan, manifest: &Manifest, voice: Console) {
    let corpus = &plan.spec().corpus;
    let is_whole = corpus.max_tokens == 0 && corpus.sample.is_none() && manifest.ended == Ended::Corpus;
    if !is_whole || corpus.rows != RowRule::Tokens {
        return;
    }
    for model in plan.models() {
        let rows = model.elsewhere.as_ref().and_then(|e| e.files()).and_then(|stored| stored.sizes().ok());
        if let Some((_, n)) = rows.filter(|(_, n)| *n > manifest.rows) {
            voice.warn(&format!(
                "the files of model {:?} hold {} rows, and the corpus has {} counted tokens: what is behind them was not read; are the \
                 files of this corpus?",
                model.name,
                thousands(n),
                thousands(manifest.rows)
            ));
        }
    }
}

/// Warns of records and documents that were left out, and of what was read as something else.
pub fn warn_of_skips(status: &RunStatus, voice: Console) {
    let n = status.skipped_records.load(Ordering::Relaxed);
    if n > 0 {
        let first = status.first_skips.lock().unwrap_or_else(|e| e.into_inner()).join("; ");
        voice.warn(&format!(
            "{} record{} left out as malformed; the first: {first}",
            thousands(n),
            if n == 1 { " was" } else { "s were" }
        ));
    }
    let left_out = status.left_out_documents.load(Ordering::Relaxed);
    if left_out > 0 {
        let kept = status.documents.load(Ordering::Relaxed);
        voice.say(&format!("corpus.sample kept {} of {} documents", thousands(kept), thousands(kept + left_out)));
    }
    let unaligned = status.unaligned_documents.load(Ordering::Relaxed);
    if unaligned > 0 {
        voice.warn(&format!(
            "{} document{} left out, or the rest of {}: a tokenizer does not say which bytes its tokens are of",
            thousands(unaligned),
            if unaligned == 1 { " was" } else { "s were" },
            if unaligned == 1 { "it" } else { "them" }
        ));
    }
    let dropped = status.dropped_bytes.load(Ordering::Relaxed);
    if dropped > 0 {
        voice.warn(&format!(
            "{} bytes of text are in no row: pieces between ends that all tokenizers share are longer than a context there, or their \
             context was short and remainder = \"drop\"",
            thousands(dropped)
        ));
    }
    let cut = status.cut_units.load(Ordering::Relaxed);
    if cut > 0 {
        let be = if cut == 1 { " is" } else { "s are" };
        voice.warn(&format!(
            "{} unit{be} too long for one row and made several: a row fills corpus.batch_contexts contexts at most, a word or sentence has 16 \
             KiB at most; more batch_contexts make room",
            thousands(cut)
        ));
    }
    if let Some((n, first)) = status.surrogates.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
        voice.warn(&format!(
            "{} {} of a surrogate pair stood alone in the texts (\\ud83d without its other half) and became U+FFFD; the first: {first}",
            thousands(*n),
            if *n == 1 { "half" } else { "halves" }
        ));
    }
}

/// A warning is printed when a smaller share of the documents has a value of a label.
const FEW_LABELLED: f64 = 0.5;

/// Warns of labels that most documents had no value of.
pub fn warn_of_labels(status: &RunStatus, labels: &[String], voice: Console) {
    let documents = status.documents.load(Ordering::Relaxed);
    let labelled = status.labelled.lock().unwrap_or_else(|e| e.into_inner());
    for (field, n) in labels.iter().zip(labelled.iter()) {
        if (*n as f64) < FEW_LABELLED * documents as f64 {
            let n = if *n == 0 { "none".to_string() } else { thousands(*n) };
            voice.warn(&format!(
                "{n} of {} documents had a value of the label {field:?} ([corpus] labels); the columns label.{field}.… are of those alone",
                thousands(documents)
            ));
        }
    }
}

pub fn summary(run: &RunDir, speed: Option<Speed>) -> Result<Summary> {
    let summary = read_tables(run, |set| Summary::read(set.dir(), &set.path("history"), speed.clone()))?;
    let manifest = Manifest::whole_at(&run.manifest())?;
    let summary = summary.with_sample(manifest.as_ref().and_then(sample));
    let summary = summary.with_ending(manifest.and_then(|m| ending(&m)));
    Ok(if disk::exists(&run.report()) { summary.with_report(run.report()) } else { summary })
}

/// The page is for people; a run whose page cannot be written is whole nevertheless.
pub fn write_report(run: &RunDir, voice: Console) {
    match report::write(run, None, &run.report()) {
        Ok((_, faults)) => faults.iter().for_each(|fault| voice.warn(fault)),
        Err(e) => voice.warn(&format!("the report was not written: {e}; `cognate report` tries again")),
    }
}

/// Whether the run in the directory has finished.
///
/// # Errors
/// `Machine` when its manifest cannot be read just now.
pub fn reached_end(run: &RunDir) -> Result<bool> {
    Ok(Manifest::whole_at(&run.manifest())?.is_some_and(|m| m.is_finished()))
}

/// Which share of the documents a run reads, in words, where it does not read all.
fn sample(manifest: &Manifest) -> Option<String> {
    let part = |key: &str| manifest.parts.get(&format!("corpus.sample.{key}"));
    let sample = Sample { fraction: part("fraction")?.parse().ok()?, seed: part("seed")?.parse().ok()? };
    sample_in_words(Some(sample))
}

/// What the rows behind the first `first_rows` took.
pub fn speed(wall: Duration, first_rows: u64, status: &RunStatus, screening: Vec<(String, f64)>) -> Speed {
    Speed {
        tokens: status.rows.load(Ordering::Relaxed) - first_rows,
        wall_seconds: wall.as_secs_f64(),
        cpu_seconds: machine::cpu_seconds(),
        peak_bytes: machine::peak_bytes(),
        stages: Stage::ALL.map(|s| (s.name(), status.seconds(s))).to_vec(),
        screening,
    }
}
