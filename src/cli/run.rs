//! `cognate run`: from a dataflow file to tables, or on from where a run stopped.

use crate::cli::args::RunArgs;
use crate::cli::begin::{check_can_go_on, is_done, look_again, open_corpus, open_run};
use crate::cli::check::{check, is_wanted};
use crate::cli::controls;
use crate::cli::ended::{reached_end, speed, summary, warn_of_labels, warn_of_rows, warn_of_skips, write_report};
use crate::cli::fetch::fetch_all;
use crate::cli::machine::{disk_limit, limit};
use crate::cli::mend::{mend_dataflow, mend_tables};
use crate::cli::plan::{as_json, as_text};
use crate::cli::processes::{cluster, listen};
use crate::cli::progress::{Console, RunProgress};
use crate::cli::recorded::{ending, recorded_cross};
use crate::corpus::Corpus;
use crate::disk;
use crate::engine::{Cluster, Event, Job, Loaded, Meeting, RunOutcome, RunStatus, abort_on_panic, bound_arenas};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Outline, Plan, Purpose, Request, corpus_mark};
use crate::spec::DataflowSpec;
use crate::store::{Manifest, RequestRecord, RunDir, digest_of_text, write_atomic};
use crate::units::thousands;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Runs a dataflow file, resuming from its last checkpoint, and then its controls, one after the other.
///
/// # Errors
/// Whatever stops a run; its directory then holds the last checkpoint.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    bound_arenas();
    let voice = Console::new(args.quiet, args.json);
    let cluster = cluster(args)?;
    let asked = match Wish::read(args, &cluster) {
        Ok(asked) => asked,
        Err(e) => {
            Meeting::instead(&cluster, Some(&e));
            return Err(e);
        }
    };
    let controls = asked.controls();
    let directory = asked.directory.clone();
    let stopped = ExitCode::from(ErrorKind::Interrupted.exit_code());
    let mut left = run_one(args, asked, cluster, voice)?;
    let mut names = Vec::new();
    for (name, control) in controls {
        match left {
            Left::Finished => {}
            Left::Stopped => return Ok(stopped),
            Left::FinishedBeforeStop => {
                voice.say(&format!("stopped before control {name}; the same command resumes"));
                return Ok(stopped);
            }
        }
        voice.say(&format!("\ncontrol {name} ({})", control.directory.display()));
        let within = |e: Error| e.within(format!("control {name:?}"));
        left = run_one(args, control, Cluster::local(args.workers), voice).map_err(within)?;
        names.push(name);
    }
    if left == Left::Stopped {
        return Ok(stopped);
    }
    if !names.is_empty() {
        controls::compare(&directory, &names, voice)?;
        // the page shows them beside the run
        write_report(&RunDir::at(&directory)?, voice);
    }
    Ok(ExitCode::SUCCESS)
}

/// A run that is asked for: the one of the dataflow file, or a control of it.
struct Wish {
    spec: DataflowSpec,
    /// The dataflow file that its directory keeps.
    text: String,
    directory: PathBuf,
    is_control: bool,
    /// `corpus.max_tokens` as the file has it, whatever the flag says.
    written_max_tokens: u64,
}

impl Wish {
    /// What the dataflow file asks for; its controls are planned, so that an error in one is reported before any work.
    ///
    /// # Errors
    /// Those of reading and of planning; `Request` for controls in a run of several processes.
    fn read(args: &RunArgs, cluster: &Cluster) -> Result<Wish> {
        let (mut spec, text) = DataflowSpec::read(&args.flow)?;
        let written_max_tokens = spec.corpus.max_tokens;
        if let Some(n) = args.max_tokens {
            spec.corpus.max_tokens = n;
        }
        spec.take_devices(args.devices.as_ref(), args.workers)?;
        spec.encode_at_once(args.encode_at_once)?;
        if spec.here.folds_only && cluster.hosts.len() < 2 {
            return Err(Error::request(
                "--devices none: this is the only process of the run, and no other encodes its batches; leave it out, or name devices",
            ));
        }
        let directory = args.out.clone().unwrap_or_else(|| spec.default_directory());
        let wish = Wish { spec, text, directory, is_control: false, written_max_tokens };
        if !wish.spec.controls.is_empty() && cluster.hosts.len() > 1 {
            return Err(Error::request(
                "[controls] are run by one process, and --processes gives more; leave --processes out, or write each control as a \
                 dataflow file of its own",
            ));
        }
        if !wish.spec.controls.is_empty() {
            // what is wrong with the run itself is not a control's fault
            let mut spec = wish.spec.clone();
            fetch_all(&mut spec, Console::Quiet)?;
            Request { spec, purpose: Purpose::Doctor, memory_limit: u64::MAX, known_cross: None }.outline()?;
        }
        for (name, control) in wish.controls() {
            let mut spec = control.spec;
            fetch_all(&mut spec, Console::Quiet)?;
            let request = Request { spec, purpose: Purpose::Doctor, memory_limit: u64::MAX, known_cross: None };
            request.outline().map_err(|e| e.within(format!("[controls.{name}]")))?;
        }
        Ok(wish)
    }

    /// Its controls, by name.
    fn controls(&self) -> Vec<(String, Wish)> {
        let wish = |(name, spec): (String, DataflowSpec)| {
            let mut kept = spec.clone();
            kept.corpus.max_tokens = self.written_max_tokens;
            let (text, directory) = (kept.to_toml(), controls::folder(&self.directory).join(&name));
            (name, Wish { spec, text, directory, is_control: true, written_max_tokens: self.written_max_tokens })
        };
        self.spec.control_runs().into_iter().map(wish).collect()
    }
}

/// How a run was left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Finished,
    /// It was asked to stop, and had finished before it could.
    FinishedBeforeStop,
    Stopped,
}

/// Runs one of them.
///
/// # Errors
/// Whatever stops a run; its directory then holds the last checkpoint.
#[allow(clippy::disallowed_methods, reason = "the duration is printed")]
fn run_one(args: &RunArgs, wish: Wish, cluster: Cluster, voice: Console) -> Result<Left> {
    let started = Instant::now();
    let is_control = wish.is_control;
    // the other processes wait for this one, so its failure is sent to them
    let begun = match begin(args, wish, &cluster, voice) {
        Ok(Some(begun)) => begun,
        Ok(None) => {
            Meeting::instead(&cluster, None);
            return Ok(Left::Finished);
        }
        Err(e) => {
            Meeting::instead(&cluster, Some(&e));
            return Err(e);
        }
    };
    let Begun { process, text, resume, corpus, directory } = begun;
    let leads = process.leads;
    let first_rows = resume.as_ref().map_or(0, |m| m.rows);
    let Streamed { outcome, status, loaded } = process.stream(&text, cluster, resume, corpus)?;
    // a stop is for all processes, wherever it was asked for
    if matches!(outcome, RunOutcome::Stopped | RunOutcome::Finished) && !reached_end(&process.run)? {
        if leads {
            let state = if disk::exists(&process.run.manifest()) {
                "; the state is saved, run the same command to resume"
            } else {
                " before the first batch, so nothing is saved; the same command starts it"
            };
            voice.say(&format!("stopped{state} ({})", directory.display()));
        }
        return Ok(Left::Stopped);
    }
    if leads {
        warn_of_rows(&process.plan, &Manifest::read(&process.run.manifest())?, voice);
        write_report(&process.run, voice);
        let speed = speed(started.elapsed(), first_rows, &status, loaded.screening(&process.plan));
        if !is_control || voice == Console::Json {
            voice.summary(&summary(&process.run, Some(speed))?);
        }
    }
    Ok(if status.stop_requested() { Left::FinishedBeforeStop } else { Left::Finished })
}

/// Where a process begins to stream.
struct Begun<'a> {
    process: Process<'a>,
    /// The dataflow file as it is written.
    text: String,
    resume: Option<Manifest>,
    corpus: Option<Corpus>,
    directory: PathBuf,
}

/// Resolves the dataflow file and finds where the run begins; `None` when the run is complete.
///
/// # Errors
/// Those of the plan, of the run directory and of the corpus.
fn begin<'a>(args: &'a RunArgs, wish: Wish, cluster: &Cluster, voice: Console) -> Result<Option<Begun<'a>>> {
    let leads = cluster.process == 0;
    let Wish { mut spec, text, directory, is_control, .. } = wish;
    fetch_all(&mut spec, if leads { voice } else { Console::Quiet })?;
    let request = Request {
        spec,
        purpose: Purpose::Run,
        memory_limit: limit(args.memory_limit.as_deref())?,
        known_cross: if args.fresh { None } else { recorded_cross(&directory)? },
    };
    let plan = Arc::new(request.plan(|outline| show(outline, leads, is_control, voice))?);
    if leads {
        plan.check_disk(disk_limit(args.disk_limit.as_deref(), &directory)?, &directory)?;
    }
    let (run, mut resume) = open_run(&directory, &plan, args.fresh, leads, &voice)?;
    let process = Process { args, plan, run: Arc::new(run), leads, voice };
    process.keep(&text, resume.as_mut())?;
    resume.iter_mut().for_each(|manifest| look_again(manifest, &process.plan));
    // before anything is printed about the run: whether what it has read is unchanged
    let corpus = if leads { Some(open_corpus(&process.plan, resume.as_ref())?) } else { None };
    if let Some(manifest) = resume.as_ref().filter(|m| is_done(m, &process.plan)) {
        let asked = process.plan.spec().corpus.max_tokens;
        let why = match ending(manifest) {
            _ if asked > 0 && asked <= manifest.rows && asked != manifest.asked.max_tokens => {
                format!("as many as the {} asked for now, or more", thousands(asked))
            }
            Some(why) => why,
            None => "the whole corpus".to_string(),
        };
        let rows_are = process.plan.spec().compare.rows_are();
        voice.say(&format!("{} is complete: {} {}, {why}", directory.display(), thousands(manifest.rows), rows_are));
        write_report(&process.run, voice);
        if !is_control || voice == Console::Json {
            voice.summary(&summary(&process.run, None)?);
        }
        return Ok(None);
    }
    resume.as_ref().map_or(Ok(()), |manifest| check_can_go_on(manifest, &process.plan, &directory))?;
    if resume.as_ref().is_some_and(Manifest::is_all_read) {
        voice.say("everything is read: what is left are the scores and tables of the end");
    }
    Ok(Some(Begun { process, text, resume, corpus, directory }))
}

/// Says what will be done, and what SAEs' own files have to say.
fn show(outline: &Outline, leads: bool, is_control: bool, voice: Console) {
    if is_control && voice != Console::Json {
        // the plan is the real run's but for this
        outline.control().iter().for_each(|control| voice.say(control));
    } else if leads {
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

    /// Loads what the plan names, of a run that has read everything its SAEs alone; the doctor looks at it where the run is new.
    fn load(&self, resume: Option<&Manifest>) -> Result<Loaded> {
        if resume.is_some_and(Manifest::is_all_read) {
            return Loaded::for_publishing(&self.plan);
        }
        if self.plan.spec().here.folds_only {
            if self.leads && resume.is_none() && is_wanted(&self.plan) {
                return Err(Error::request(
                    "--devices none: process 0 tries the SAEs before the first batch and needs a device for it; give it one and another \
                     process none, or write doctor = \"off\" under [check]",
                ));
            }
            return Loaded::for_publishing(&self.plan);
        }
        let loaded = Loaded::open(&self.plan)?;
        if self.leads && resume.is_none() {
            check(&self.plan, &loaded, self.voice)?;
        }
        Ok(loaded)
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
        let feeds = plan.models().iter().filter_map(|model| model.elsewhere.as_ref()?.feed());
        feeds.for_each(|feed| feed.heed(status.halt()));
        abort_on_panic();
        let dataflow = resume.as_ref().map_or_else(|| digest_of_text(text), |m| m.asked.dataflow.clone());
        let begun = (|| {
            listen(&status, &self.run, leads, cluster.hosts.len() > 1)?;
            let asked = asked(&self.args.flow, plan, dataflow)?;
            let (of_process, of_run) = (status.clone(), self.run.clone());
            let stopped = move || of_process.stop_requested() || (leads && of_run.stop_requested());
            Ok((asked, Meeting::begin(&cluster, &status, stopped, move |text| voice.say(text))?))
        })();
        let (asked, meeting) = begun.inspect_err(|e| Meeting::instead(&cluster, Some(e)))?;
        let first_rows = resume.as_ref().map_or(0, |m| m.rows);
        let loaded = self.load(resume.as_ref()).map(Arc::new);
        let ready = loaded.and_then(|l| Ok((l, RunProgress::start(voice, status.clone(), plan, first_rows, leads)?)));
        let (loaded, watch) = match ready {
            Ok(ready) => ready,
            Err(e) => {
                meeting.fail(&cluster, &status, &e);
                return Err(e);
            }
        };
        let teller = watch.teller();
        let job = Job {
            plan: plan.clone(),
            loaded: loaded.clone(),
            run: self.run.clone(),
            resume,
            in_flight: self.args.in_flight.unwrap_or_else(|| cluster.in_flight()).max(1),
            cluster,
            status: status.clone(),
            observer: Arc::new(move |event: Event| teller.tell(&event)),
            asked,
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

/// What is asked, for the manifest and the commands that come after.
///
/// # Errors
/// `Request` for a path that is not UTF-8; the errors of reading the ends of corpus files.
fn asked(flow: &Path, plan: &Plan, dataflow: String) -> Result<RequestRecord> {
    let corpus_marks =
        plan.corpus_files().iter().map(|(path, _)| corpus_mark(path)).collect::<Result<Vec<String>>>()?;
    let flow = flow.to_str().ok_or_else(|| {
        Error::request(format!("the path of the dataflow file {} is not UTF-8; rename it", flow.display()))
    })?;
    Ok(RequestRecord { flow: flow.to_string(), dataflow, max_tokens: plan.spec().corpus.max_tokens, corpus_marks })
}
