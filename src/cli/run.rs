//! `cognate run`: from a dataflow file to tables, or on from where a run stopped.

use crate::cli::args::RunArgs;
use crate::cli::doctor::complaints;
use crate::cli::fetch::fetch_all;
use crate::cli::machine::limit;
use crate::cli::mend::{mend_dataflow, mend_tables};
use crate::cli::plan::{as_json, as_text, sample_in_words};
use crate::cli::progress::{Console, RunProgress};
use crate::cli::recorded::{ending, recorded_cross};
use crate::cli::{machine, report, score};
use crate::corpus::{Corpus, Cursor, Sample};
use crate::doctor::{Diagnosis, Verdict, diagnose_open};
use crate::engine::{Cluster, Event, Job, Loaded, Meeting, RunOutcome, RunStatus, Stage, abort_on_panic, bound_arenas};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Outline, Plan, Purpose, Request, corpus_mark};
use crate::report::{Speed, Summary};
use crate::spec::{CheckSpec, DataflowSpec, DoctorRule, StopRule};
use crate::store::{
    Decision, Ended, Environment, Found, FoundManifest, Manifest, RequestRecord, RunDir, Wanted, decide,
    differing_names, digest_of_text, inspect, read_tables, write_atomic,
};
use crate::units::thousands;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Runs, or goes on with, a dataflow file.
///
/// # Errors
/// Whatever stops a run; its directory then holds the last checkpoint.
#[allow(clippy::disallowed_methods, reason = "the duration is printed")]
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let started = Instant::now();
    bound_arenas();
    let voice = Console::new(args.quiet, args.json);
    let cluster = cluster(args)?;
    let leads = cluster.process == 0;
    let (mut spec, text) = DataflowSpec::read(&args.flow)?;
    if let Some(n) = args.max_tokens {
        spec.corpus.max_tokens = n;
    }
    fetch_all(&mut spec, if leads { voice } else { Console::Quiet })?;
    let directory = args.out.clone().unwrap_or_else(|| spec.default_directory());
    let request = Request {
        spec,
        purpose: Purpose::Run,
        memory_limit: limit(args.memory_limit.as_deref())?,
        known_cross: if args.fresh { None } else { recorded_cross(&directory) },
    };
    let plan = Arc::new(request.plan(|outline| show(outline, leads, voice))?);
    let (run, mut resume) = open_run(&directory, &plan, args.fresh, leads, &voice)?;
    let process = Process { args, plan, run: Arc::new(run), leads, voice };
    process.keep(&text, resume.as_mut())?;
    // before anything is said of the run: whether what it has read is still what it was
    let corpus = if leads { Some(open_corpus(&process.plan, resume.as_ref())?) } else { None };
    if let Some(manifest) = resume.as_ref().filter(|m| is_done(m, &process.plan)) {
        voice.say(&format!("{} is complete: {} tokens", directory.display(), thousands(manifest.rows)));
        write_report(&process.run, voice);
        voice.summary(&summary(&process.run, None)?);
        return Ok(ExitCode::SUCCESS);
    }
    resume.as_ref().map_or(Ok(()), |manifest| check_can_go_on(manifest, &directory))?;
    let first_rows = resume.as_ref().map_or(0, |m| m.rows);
    let Streamed { outcome, status, loaded } = process.stream(&text, cluster, resume, corpus)?;
    // whoever asked for the stop, it was for all processes
    if matches!(outcome, RunOutcome::Stopped | RunOutcome::Finished) && !reached_end(&process.run) {
        if leads {
            voice.say(&format!("stopped; the state is saved, run the same command to go on ({})", directory.display()));
        }
        return Ok(ExitCode::from(ErrorKind::Interrupted.exit_code()));
    }
    if leads {
        write_report(&process.run, voice);
        let speed = speed(started.elapsed(), first_rows, &status, loaded.screening(&process.plan));
        voice.summary(&summary(&process.run, Some(speed))?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what will be done, and what SAEs' own files have to say.
fn show(outline: &Outline, leads: bool, voice: Console) {
    if leads {
        voice.plan(&as_text(outline), &as_json(outline));
        outline.warnings_in_words().iter().for_each(|warning| voice.warn(warning));
    }
}

/// One process of a run, before it streams.
struct Process<'a> {
    args: &'a RunArgs,
    plan: Arc<Plan>,
    run: Arc<RunDir>,
    /// Whether it is the one that reads, commits and speaks.
    leads: bool,
    voice: Console,
}

/// What is left when it has streamed.
struct Streamed {
    outcome: RunOutcome,
    status: Arc<RunStatus>,
    loaded: Arc<Loaded>,
}

impl Process<'_> {
    /// Puts the dataflow file into a new run directory, or mends what of an old one is not as it was left.
    fn keep(&self, text: &str, resume: Option<&mut Manifest>) -> Result<()> {
        match resume {
            None if self.leads => drop(write_atomic(&self.run.dataflow(), text.as_bytes())?),
            None => {}
            Some(manifest) => {
                mend_dataflow(&self.run, manifest, text, self.voice)?;
                mend_tables(&self.run, &self.plan, manifest, self.voice)?;
            }
        }
        Ok(())
    }

    /// Loads what the plan names, has the doctor look at it and streams the corpus through it, until its end or a stop.
    ///
    /// # Errors
    /// Those of loading, of the doctor's check and of the run.
    fn stream(
        &self,
        text: &str,
        cluster: Cluster,
        resume: Option<Manifest>,
        corpus: Option<Corpus>,
    ) -> Result<Streamed> {
        let (plan, leads, voice) = (&self.plan, self.leads, self.voice);
        let status = Arc::new(RunStatus::default());
        listen(&status, &self.run, leads)?;
        abort_on_panic();
        let (of_process, of_run) = (status.clone(), self.run.clone());
        let stopped = move || of_process.stop_requested() || (leads && of_run.stop_requested());
        let meeting = Meeting::begin(&cluster, stopped, move |text| voice.say(text))?;
        let loaded = Arc::new(Loaded::open(plan)?);
        if leads && resume.is_none() {
            check(plan, &loaded, voice)?;
        }
        let first_rows = resume.as_ref().map_or(0, |m| m.rows);
        let dataflow = resume.as_ref().map_or_else(|| digest_of_text(text), |m| m.asked.dataflow.clone());
        let watch = RunProgress::start(voice, status.clone(), plan.spec().corpus.max_tokens, first_rows, leads);
        let teller = watch.teller();
        let job = Job {
            plan: plan.clone(),
            loaded: loaded.clone(),
            tokenizer: plan.tokenizer(),
            run: self.run.clone(),
            resume,
            in_flight: self.args.in_flight.unwrap_or_else(|| cluster.in_flight()).max(1),
            cluster,
            status: status.clone(),
            observer: Arc::new(move |event: Event| teller.tell(&event)),
            asked: asked(&self.args.flow, plan, dataflow)?,
        };
        let outcome = crate::engine::run(job, meeting, corpus);
        watch.stop();
        if leads {
            warn_of_skips(&status, voice);
            warn_of_labels(&status, &plan.spec().corpus.labels, voice);
        }
        Ok(Streamed { outcome: outcome?, status, loaded })
    }
}

/// Refuses a run that stands at its end for good.
///
/// # Errors
/// `Request` behind a second pass, `State` for a merge.
fn check_can_go_on(manifest: &Manifest, directory: &Path) -> Result<()> {
    if manifest.is_finished() && manifest.second_pass().is_some() {
        return Err(Error::request(format!(
            "{} has come to the end of its second pass (refine = \"second-pass\") and cannot be lengthened; choose another --out, \
             or --fresh to start over",
            directory.display()
        )));
    }
    if !manifest.merged().is_empty() {
        return Err(Error::state(format!(
            "{} is a merge of runs and stands at no place of the corpus; go on with those runs and merge them again, or choose \
             another --out",
            directory.display()
        )));
    }
    Ok(())
}

/// What the rows behind the first `first_rows` took.
fn speed(wall: Duration, first_rows: u64, status: &RunStatus, screening: Vec<(String, f64)>) -> Speed {
    Speed {
        tokens: status.rows.load(Ordering::Relaxed) - first_rows,
        wall_seconds: wall.as_secs_f64(),
        cpu_seconds: machine::cpu_seconds(),
        peak_bytes: machine::peak_bytes(),
        stages: Stage::ALL.map(|s| (s.name(), status.seconds(s))).to_vec(),
        screening,
    }
}

/// What is asked, for the manifest and the commands that come after.
///
/// # Errors
/// `Request` for a path that is not UTF-8, those of reading the ends of corpus files.
fn asked(flow: &Path, plan: &Plan, dataflow: String) -> Result<RequestRecord> {
    let corpus_marks =
        plan.corpus_files().iter().map(|(path, _)| corpus_mark(path)).collect::<Result<Vec<String>>>()?;
    let flow = flow.to_str().ok_or_else(|| {
        Error::request(format!("the path of the dataflow file {} is not UTF-8; rename it", flow.display()))
    })?;
    Ok(RequestRecord { flow: flow.to_string(), dataflow, max_tokens: plan.spec().corpus.max_tokens, corpus_marks })
}

/// The doctor's check in short, over what is loaded anyway.
///
/// # Errors
/// Those of reading and of the forward; `Gate`, naming the better readings, when a declared one is clearly not the best.
fn check(plan: &Plan, loaded: &Loaded, voice: Console) -> Result<()> {
    let CheckSpec { doctor: rule, tokens } = plan.spec().check;
    if rule == DoctorRule::Off || plan.saes().next().is_none() {
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
                    "{}; if it is meant so, write {insist}doctor = \"warn\" under [check]",
                    wrong.join("\n       ")
                ),
            ));
        }
        _ => wrong.iter().for_each(|complaint| voice.warn(complaint)),
    }
    Ok(())
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
    let head = format!("doctor: {} SAE{s} tried on {} tokens", found.len(), thousands(n_tokens));
    let trained = format!("none reads clearly better elsewhere{}", fvus(|d| !d.control));
    let control = format!("models of random weights, as a control{}", fvus(|d| d.control));
    match (found.iter().any(|d| !d.control), found.iter().any(|d| d.control)) {
        (true, true) => format!("{head}: {trained}; {control}"),
        (false, true) => format!("{head}: {control}"),
        _ => format!("{head}: {trained}"),
    }
}

/// The refusal of another run's directory; where it differs in nothing but what saved sums can be scored with, with that way.
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

/// Says which records and documents were left out, and what was read as something else.
fn warn_of_skips(status: &RunStatus, voice: Console) {
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
    if let Some((n, first)) = status.surrogates.lock().unwrap_or_else(|e| e.into_inner()).as_ref() {
        voice.warn(&format!(
            "{} {} of a surrogate pair stood alone in the texts (\\ud83d without its other half) and became U+FFFD; the first: {first}",
            thousands(*n),
            if *n == 1 { "half" } else { "halves" }
        ));
    }
}

/// Share of documents below which it is said how few of them had a value of a label.
const FEW_LABELLED: f64 = 0.5;

/// Says which labels most documents had no value of.
fn warn_of_labels(status: &RunStatus, labels: &[String], voice: Console) {
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

fn summary(run: &RunDir, speed: Option<Speed>) -> Result<Summary> {
    let summary = read_tables(run, |set| Summary::read(set.dir(), &set.path("history"), speed.clone()))?;
    let manifest = Manifest::read(&run.manifest()).ok();
    let summary = summary.with_sample(manifest.as_ref().and_then(sample));
    let summary = summary.with_ending(manifest.and_then(|m| ending(&m)));
    Ok(if run.report().exists() { summary.with_report(run.report()) } else { summary })
}

/// The page is for people; a run whose page cannot be written is whole nevertheless.
fn write_report(run: &RunDir, voice: Console) {
    match report::write(run, None, &run.report()) {
        Ok((_, faults)) => faults.iter().for_each(|fault| voice.warn(fault)),
        Err(e) => voice.warn(&format!("the report was not written: {e}; `cognate report` tries again")),
    }
}

fn reached_end(run: &RunDir) -> bool {
    Manifest::read(&run.manifest()).is_ok_and(|m| m.is_finished())
}

/// Whether a finished run has nothing more to do: it read the whole corpus, or as many tokens as are asked for now, or it
/// settled by the rule that is asked for now.
fn is_done(manifest: &Manifest, plan: &Plan) -> bool {
    let max_tokens = plan.spec().corpus.max_tokens;
    let enough = max_tokens != 0 && max_tokens <= manifest.rows;
    match manifest.ended {
        Ended::No => false,
        Ended::Corpus => enough || manifest.asked.max_tokens == 0,
        Ended::StopRule { churn_below, snapshots } => {
            enough || plan.spec().estimate.stop_when == Some(StopRule { churn_below, snapshots })
        }
    }
}

/// Which share of the documents a run reads, in words, where it does not read all.
fn sample(manifest: &Manifest) -> Option<String> {
    let part = |key: &str| manifest.parts.get(&format!("corpus.sample.{key}"));
    let sample = Sample { fraction: part("fraction")?.parse().ok()?, seed: part("seed")?.parse().ok()? };
    sample_in_words(Some(sample))
}

fn cluster(args: &RunArgs) -> Result<Cluster> {
    if args.workers == 0 || args.workers > 1024 {
        return Err(Error::request(format!("--workers is {}, expected 1 to 1024", args.workers)));
    }
    let (Some(n), Some(process), Some(file)) = (args.processes, args.process, &args.hosts) else {
        return Ok(Cluster::local(args.workers));
    };
    let text = std::fs::read_to_string(file).map_err(|e| Error::io("cannot read the file of hosts", file, &e))?;
    let hosts: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(String::from).collect();
    if hosts.len() != n {
        return Err(Error::request(format!(
            "--processes is {n}, but {} names {} hosts; write one HOST:PORT a line for each process",
            file.display(),
            hosts.len()
        )));
    }
    if let Some(host) = hosts.iter().find(|h| h.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err())) {
        return Err(Error::request(format!("{}: {host:?} is not of the form HOST:PORT", file.display())));
    }
    if process >= n {
        return Err(Error::request(format!("--process is {process}, expected 0 to {}", n - 1)));
    }
    Ok(Cluster { workers: args.workers, process, hosts })
}

/// Opens the run directory and finds where to begin.
fn open_run(
    directory: &Path,
    plan: &Plan,
    fresh: bool,
    leads: bool,
    voice: &Console,
) -> Result<(RunDir, Option<Manifest>)> {
    let run = if leads { RunDir::open_or_create(directory)? } else { RunDir::join(directory)? };
    if !leads {
        // process 0 finds out and tells
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

fn open_corpus(plan: &Plan, resume: Option<&Manifest>) -> Result<Corpus> {
    let mut corpus = plan.open_corpus(plan.spec().corpus.clone())?;
    // a merge of runs stands at no place
    if let Some(cursor) = resume.and_then(Manifest::cursor) {
        let cursor: Cursor = serde_json::from_value(cursor.clone()).map_err(|e| {
            Error::state(format!("the manifest's corpus position cannot be read: {e}; start afresh with --fresh"))
        })?;
        corpus.seek(&cursor)?;
    }
    Ok(corpus)
}

/// Ctrl-C and SIGTERM ask for a checkpoint and the end; a second one ends at once.
fn listen(status: &Arc<RunStatus>, run: &Arc<RunDir>, leads: bool) -> Result<()> {
    let wish = Arc::new(AtomicBool::new(false));
    let interrupted = i32::from(ErrorKind::Interrupted.exit_code());
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, interrupted, wish.clone())
            .and_then(|_| signal_hook::flag::register(signal, wish.clone()))
            .map_err(|e| Error::machine(format!("cannot listen for signals: {e}")))?;
    }
    let (status, run) = (Arc::downgrade(status), run.clone());
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let Some(status) = status.upgrade() else { return };
            if wish.load(Ordering::Relaxed) {
                status.request_stop();
                if !leads {
                    // process 0 decides; it looks for this file
                    let _ = run.request_stop();
                }
                return;
            }
        }
    });
    Ok(())
}
