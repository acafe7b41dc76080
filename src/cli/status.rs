//! `cognate status`: the status of a run. Read from the lock, the manifest and the tables; nothing is written.
//!
//! Figures of the checkpoint come from the manifest. Matches and scores come from the newest tables, which may be newer.

use crate::cli::recorded::ending;
use crate::corpus::Cursor;
use crate::disk;
use crate::error::{Error, Result};
use crate::report::Summary;
use crate::spec::DataflowSpec;
use crate::store::{FoundTables, Holder, Manifest, MergedRun, RunDir, TableSet, bytes_under, read_tables};
use crate::units::{duration, human_bytes, thousands};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// A process holds the directory.
    Running,
    /// The corpus was read to its end, or to the number of tokens asked for.
    Finished,
    /// No process holds it; the same command resumes from the last checkpoint.
    Stopped,
    /// It was made of other runs.
    Merge,
    /// Tables that were made from the sums of a run.
    Scores,
}

/// The last commit.
#[derive(Clone, Debug, Serialize)]
struct Checkpoint {
    tokens: u64,
    batches: u64,
    /// The larger of two shares: bytes of the corpus read, tokens of the request counted; `None` when neither is known, as of a checkpoint from before
    /// the process that holds the run, which may be asked for more.
    share: Option<f64>,
    seconds_ago: Option<u64>,
    /// Whether everything is read, and the scores and tables of the end are left.
    all_read: bool,
    /// Between the last two checkpoints, when the process that wrote the last wrote both.
    tokens_per_second: Option<f64>,
    fingerprint: String,
}

/// How far a run has come at least.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Read {
    tokens: u64,
    share: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Status {
    run: String,
    state: State,
    /// Who holds it, or held it last.
    holder: Option<Holder>,
    seconds_held: Option<u64>,
    checkpoint: Option<Checkpoint>,
    /// Tokens that were certainly read: those of the last checkpoint, or of newer tables; and the share of what is asked for, where known.
    read: Option<Read>,
    /// When the state is saved: tokens and minutes between checkpoints, 0 for none by the clock; `None` where the run's dataflow file
    /// cannot be read.
    checkpoint_every: Option<[u64; 2]>,
    /// Seconds since the newest tables were written.
    tables_seconds_ago: Option<u64>,
    disk_bytes: u64,
    /// Why it ended before its corpus did.
    ending: Option<String>,
    /// The runs that it was made of.
    merged: Vec<MergedRun>,
    /// As at the end of `cognate run --json`; `None` before the first snapshot.
    newest: Option<serde_json::Value>,
    /// What is wrong with the newest tables, and what to do.
    tables_fault: Option<String>,
    /// Its controls, by name, and whether each is finished.
    controls: Vec<(String, bool)>,
}

/// Prints the status of the run in `directory`.
///
/// # Errors
/// `Request` when there is no run; `State` when its manifest is damaged; the errors of reading its tables.
#[allow(clippy::disallowed_methods, reason = "how long ago something was written is printed")]
pub fn status(directory: &Path, json: bool) -> Result<ExitCode> {
    let run = RunDir::at(directory)?;
    let now = SystemTime::now();
    let (status, summary) = gather(&run, now)?;
    if json {
        println!("{}", serde_json::to_string(&status).expect("a status is JSON"));
    } else {
        print!("{}", as_text(&status, summary.as_ref()));
    }
    Ok(ExitCode::SUCCESS)
}

fn gather(run: &RunDir, now: SystemTime) -> Result<(Status, Option<Summary>)> {
    let holder = run.holder()?;
    let manifest = if disk::exists(&run.manifest()) { Some(Manifest::read(&run.manifest())?) } else { None };
    if holder.is_none() && manifest.is_none() && !run.is_of_scores() {
        return Err(Error::request(format!(
            "{} holds no run (neither lock nor manifest.json); give the --out of a run",
            run.root().display()
        )));
    }
    let held = holder.as_ref().is_some_and(|h| h.1);
    let state = match &manifest {
        _ if run.is_of_scores() => State::Scores,
        _ if held => State::Running,
        Some(m) if !m.merged().is_empty() => State::Merge,
        Some(m) if m.is_finished() => State::Finished,
        _ => State::Stopped,
    };
    let (summary, tables_fault) = match TableSet::look(run)? {
        FoundTables::None => (None, None),
        FoundTables::Hurt { .. } => (None, TableSet::open(run).err().map(|e| e.to_string())),
        FoundTables::Whole(_) => {
            (Some(read_tables(run, |set| Summary::read(set.dir(), &set.path("history"), None))?), None)
        }
    };
    let started = holder.as_ref().map(|h| UNIX_EPOCH + Duration::from_secs(h.0.started_unix));
    let newest = summary.as_ref().map(Summary::as_json);
    // a process that has saved nothing yet may be asked for other tokens than the one before it
    let is_older = held && started.zip(written(&run.manifest())).is_some_and(|(started, saved)| saved < started);
    let mut checkpoint = manifest.as_ref().map(|m| checkpoint(run, m, started, now));
    checkpoint.iter_mut().filter(|_| is_older).for_each(|c| c.share = None);
    let spec = DataflowSpec::read(&run.dataflow()).ok().map(|(spec, _)| spec);
    let asked = manifest.as_ref().map_or(spec.as_ref().map(|s| s.corpus.max_tokens), |m| Some(m.asked.max_tokens));
    let asked = asked.filter(|_| !is_older);
    let status = Status {
        read: read(checkpoint.as_ref(), newest.as_ref(), asked),
        checkpoint_every: spec.map(|spec| [spec.checkpoint.every, spec.checkpoint.minutes]),
        run: run.root().display().to_string(),
        state,
        seconds_held: started.filter(|_| held).and_then(|s| now.duration_since(s).ok()).map(|d| d.as_secs()),
        holder: holder.map(|h| h.0),
        ending: manifest.as_ref().and_then(ending),
        merged: manifest.as_ref().map(|m| m.merged().to_vec()).unwrap_or_default(),
        checkpoint,
        tables_seconds_ago: written(&run.tables()).and_then(|t| now.duration_since(t).ok()).map(|d| d.as_secs()),
        disk_bytes: bytes_under(run.root()),
        newest,
        tables_fault,
        controls: crate::cli::controls::found(run.root()),
    };
    Ok((status, summary))
}

fn checkpoint(run: &RunDir, manifest: &Manifest, started: Option<SystemTime>, now: SystemTime) -> Checkpoint {
    let at = written(&run.manifest());
    let before = Manifest::read(&run.previous_manifest()).ok();
    let rate = before.filter(|b| b.rows < manifest.rows).and_then(|b| {
        // the folder of a generation is as old as its last file
        let [from, to] = [&b, manifest].map(|m| written(&run.generation(m.next_batch)));
        let (from, to) = (from.filter(|f| started.is_some_and(|s| *f >= s))?, to?);
        let seconds = to.duration_since(from).ok()?.as_secs_f64();
        (seconds > 0.0).then(|| (manifest.rows - b.rows) as f64 / seconds)
    });
    Checkpoint {
        tokens: manifest.rows,
        batches: manifest.next_batch,
        share: share(manifest),
        seconds_ago: at.and_then(|t| now.duration_since(t).ok()).map(|d| d.as_secs()),
        all_read: manifest.is_all_read(),
        tokens_per_second: rate,
        fingerprint: manifest.fingerprint.clone(),
    }
}

/// The larger of what was saved and what the newest tables are of; nothing before either.
fn read(saved: Option<&Checkpoint>, newest: Option<&serde_json::Value>, asked: Option<u64>) -> Option<Read> {
    let shown = newest.and_then(|n| n["tokens"].as_u64()).unwrap_or(0);
    let asked = asked.filter(|n| *n > 0);
    match saved {
        Some(saved) if saved.tokens >= shown => Some(Read { tokens: saved.tokens, share: saved.share }),
        _ if shown == 0 => None,
        saved => {
            // as many tokens per byte as up to the checkpoint
            let by_saved = saved.and_then(|s| Some(s.share? * shown as f64 / s.tokens.max(1) as f64));
            let share = asked.map(|n| shown as f64 / n as f64).or(by_saved).map(|share| share.min(1.0));
            Some(Read { tokens: shown, share })
        }
    }
}

/// How much is done, in [0, 1].
fn share(manifest: &Manifest) -> Option<f64> {
    // a mark begins with the file's size
    let size = |mark: &String| mark.split_once(' ')?.0.parse::<u64>().ok();
    let total = manifest.asked.corpus_marks.iter().map(size).sum::<Option<u64>>().filter(|n| *n > 0);
    let done = manifest.cursor().and_then(|c| serde_json::from_value::<Cursor>(c.clone()).ok()).map(|c| c.bytes_done());
    let of_bytes = done.zip(total).map(|(done, total)| done as f64 / total as f64);
    let asked = Some(manifest.asked.max_tokens).filter(|n| *n > 0);
    let of_tokens = asked.map(|n| manifest.rows as f64 / n as f64);
    if let Some(pass) = manifest.second_pass().filter(|_| !manifest.is_finished()) {
        return Some(0.5 + 0.5 * pass.counted as f64 / pass.rows.max(1) as f64);
    }
    let share = match (of_bytes, of_tokens) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    };
    share.map(|s| if manifest.is_finished() { 1.0 } else { s.min(1.0) })
}

fn as_text(status: &Status, summary: Option<&Summary>) -> String {
    let mut out = String::new();
    write(status, summary, &mut out).expect("a string takes all");
    out
}

fn write(status: &Status, summary: Option<&Summary>, out: &mut String) -> std::fmt::Result {
    let ago = |seconds: Option<u64>| seconds.map_or(String::new(), |s| format!(", {} ago", duration(s as f64)));
    match (status.state, &status.holder) {
        (State::Running, Some(h)) => {
            let since = status.seconds_held.map_or(String::new(), |s| format!(" for {}", duration(s as f64)));
            writeln!(out, "{}: running{since}, process {} on {}", status.run, h.pid, h.host)?;
        }
        (State::Running, None) => writeln!(out, "{}: running", status.run)?,
        (State::Finished, _) => {
            let ending = status.ending.as_ref().map_or(String::new(), |why| format!(", {why}"));
            writeln!(out, "{}: finished{ending}", status.run)?;
        }
        (State::Merge, _) => {
            writeln!(out, "{}: a merge of {} runs", status.run, status.merged.len())?;
            for m in &status.merged {
                let end = if m.finished { "" } else { ", not at its end" };
                writeln!(out, "  {}: {} tokens{end}", m.run, thousands(m.tokens))?;
            }
        }
        (State::Scores, _) => writeln!(out, "{}: scores, made from the sums of a run", status.run)?,
        (State::Stopped, _) => {
            let from = match &status.checkpoint {
                Some(c) if c.all_read => "makes the scores and tables of the end, for which everything is read",
                Some(_) => "resumes from the last checkpoint",
                None => "starts again, as there is no checkpoint yet",
            };
            writeln!(out, "{}: stopped; the same `cognate run` {from}", status.run)?;
        }
    }
    match &status.checkpoint {
        Some(c) => {
            let share = c.share.map_or(String::new(), |s| format!(" ({:.1} %)", 100.0 * s));
            let rate = c
                .tokens_per_second
                .map_or(String::new(), |r| format!("; {} tokens/s between the last two", thousands(r as u64)));
            writeln!(out, "checkpoint  {} tokens{share}{}{rate}", thousands(c.tokens), ago(c.seconds_ago))?;
        }
        None if status.state == State::Scores => {}
        None => writeln!(out, "checkpoint  none yet")?,
    }
    if status.state == State::Running {
        if let Some(read) = status.read.filter(|r| status.checkpoint.as_ref().is_none_or(|c| c.tokens < r.tokens)) {
            let share = read.share.map_or(String::new(), |s| format!(" ({:.1} %)", 100.0 * s));
            writeln!(out, "read        {} tokens{share} at least, by the newest tables", thousands(read.tokens))?;
        }
        if let Some([tokens, minutes]) = status.checkpoint_every {
            let minutes = match minutes {
                0 => String::new(),
                1 => " or each minute".to_string(),
                n => format!(" or {n} minutes"),
            };
            writeln!(out, "saved       every {} tokens{minutes}; the first time sooner", thousands(tokens))?;
        }
    }
    for (name, finished) in &status.controls {
        writeln!(out, "control     {name}: {}", if *finished { "finished" } else { "not at its end" })?;
    }
    writeln!(out, "disk        {}", human_bytes(status.disk_bytes))?;
    match (summary, &status.newest) {
        (Some(summary), Some(newest)) => {
            let figure = |name: &str| thousands(newest[name].as_u64().unwrap_or(0));
            writeln!(
                out,
                "snapshot    {} at {} tokens{}",
                figure("snapshots"),
                figure("tokens"),
                ago(status.tables_seconds_ago)
            )?;
            out.push_str(&summary.overview());
            Ok(())
        }
        _ => match &status.tables_fault {
            Some(fault) => writeln!(out, "snapshot    {fault}"),
            None => writeln!(out, "snapshot    none yet"),
        },
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    disk::metadata(path).and_then(|m| m.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Ended;
    use crate::table::{HistoryRow, PairCounts, PairRow, SimilarityRow, SitePair, write_into};
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn a_run_is_empty_running_stopped_finished() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now() + Duration::from_secs(5);
        let refused = gather(&RunDir::at(dir.path()).unwrap(), now).unwrap_err();
        assert!(refused.to_string().contains("holds no run"), "{refused}");

        let run = RunDir::open_or_create(dir.path()).unwrap();
        let (status, summary) = gather(&run, now).unwrap();
        assert_eq!((status.state, status.checkpoint.is_none(), summary.is_none()), (State::Running, true, true));
        let text = as_text(&status, None);
        assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("none yet"), "{text}");
        assert_eq!((status.read, status.checkpoint_every), (None, None), "nothing is known yet, and nothing is said");

        let mut manifest = Manifest::new("f".into(), [("corpus file 000000".into(), "a b.txt".into())].into());
        manifest.asked.corpus_marks = vec!["200 0a1b".into()];
        manifest.rows = 50;
        manifest.asked.max_tokens = 200;
        run.commit(&manifest).unwrap();
        drop(run);
        let run = RunDir::at(dir.path()).unwrap();
        let (status, _) = gather(&run, now).unwrap();
        assert_eq!(status.state, State::Stopped);
        let checkpoint = status.checkpoint.unwrap();
        assert_eq!((checkpoint.tokens, checkpoint.share), (50, Some(0.25)));
        assert!(
            checkpoint.seconds_ago.is_some_and(|s| (4..600).contains(&s)) && checkpoint.tokens_per_second.is_none()
        );

        manifest.ended = Ended::Corpus;
        RunDir::open_or_create(dir.path()).unwrap().commit(&manifest).unwrap();
        let pair = Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: "b/embed".parse().unwrap() });
        let counts = PairCounts {
            mean_best_correlation_forward: Some(0.5),
            n_alive_source: 7,
            n_alive_target: 8,
            n_mutual: 2,
            n_kept: 4,
            ..PairCounts::default()
        };
        let whole = PairRow {
            dictionary: Default::default(),
            mapped: Default::default(),
            logits: Default::default(),
            pair: pair.clone(),
            tokens: 1234,
            documents: 1,
            own_document_share: Some(1.0),
            too_few: Some("1 document: no chance level".into()),
            no_chance: Some("1 document".into()),
            one_decoder: false,
            n_own_partner: None,
            n_own_partner_null: None,
            n_latents_source: 9,
            n_latents_target: 9,
            counts: counts.clone(),
        };
        let row = HistoryRow {
            snapshot: 3,
            tokens: 1234,
            pair,
            counts,
            repeated_contexts: None,
            repeated_contexts_error: None,
            churn: None,
            measures: vec![],
        };
        let about = Default::default();
        let mut set = run.new_set().unwrap();
        write_into(&mut set, vec![], &about, [row]).unwrap();
        write_into(&mut set, (), &about, [whole]).unwrap();
        write_into(&mut set, (), &about, std::iter::empty::<SimilarityRow>()).unwrap();
        write_into(&mut set, (), &about, std::iter::empty::<crate::table::MatchRow>()).unwrap();
        write_into(&mut set, vec![], &about, std::iter::empty::<crate::table::LatentRow>()).unwrap();
        set.publish(Default::default(), true).unwrap();
        let (status, summary) = gather(&run, now).unwrap();
        let text = as_text(&status, summary.as_ref());
        assert!(text.contains(": finished") && text.contains("50 tokens (100.0 %)"), "{text}");
        assert!(text.contains("snapshot    3 at 1 234 tokens") && text.contains("embed x embed"), "{text}");
        assert!(text.contains("caution: 1 document: no chance level") && text.contains(" 2 (?)"), "{text}");
        assert!(status.disk_bytes > 1000);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!((&json["state"], &json["newest"]["pairs"][0]["n_mutual"]), (&json!("finished"), &json!(2)));

        // between checkpoints: the tables tell how far it is, and the dataflow file when it saves
        manifest.ended = Ended::No;
        let held = RunDir::open_or_create(dir.path()).unwrap();
        held.commit(&manifest).unwrap();
        let flow = "format = 1\nname = \"t\"\n[corpus]\nfiles = [\"x.txt\"]\ncontext_length = 8\n[models.a]\npath = \"a\"\n\
                    [compare]\npairs = \"all\"\n[checkpoint]\nevery = 2000\nminutes = 1\n";
        std::fs::write(held.dataflow(), flow).unwrap();
        let (status, summary) = gather(&run, now).unwrap();
        let text = as_text(&status, summary.as_ref());
        assert_eq!(status.read, Some(Read { tokens: 1234, share: Some(1.0) }), "of the 200 tokens asked for");
        assert!(text.contains("read        1 234 tokens (100.0 %) at least, by the newest tables"), "{text}");
        assert!(text.contains("saved       every 2 000 tokens or each minute; the first time sooner"), "{text}");
        // lengthened, and nothing saved yet: of how many tokens it is a share is not known
        (manifest.ended, manifest.rows) = (Ended::Corpus, 200);
        held.commit(&manifest).unwrap();
        let share = |run: &RunDir| gather(run, now).unwrap().0.checkpoint.unwrap().share;
        assert_eq!(share(&run), Some(1.0));
        let file = std::fs::File::options().write(true).open(run.manifest()).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        assert_eq!(share(&run), None);
        let text = as_text(&gather(&run, now).unwrap().0, None);
        assert!(text.contains("checkpoint  200 tokens, ") && !text.contains('%'), "{text}");
        drop(held);
        assert_eq!(share(&run), Some(1.0), "nobody is at it");

        std::fs::remove_file(run.tables().join("matches.parquet")).unwrap();
        let (status, summary) = gather(&run, now).unwrap();
        let text = as_text(&status, summary.as_ref());
        assert!(text.contains("matches.parquet is missing"), "{text}");
    }
}
