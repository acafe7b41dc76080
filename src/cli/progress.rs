//! What is printed during a run: a bar on a terminal, plain lines or JSON elsewhere.

use crate::cli::machine;
use crate::engine::{Event, Making, RunStatus};
use crate::error::Result;
use crate::plan::Plan;
use crate::report::Summary;
use crate::threads;
use crate::units::{duration, human_bytes, thousands};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Errors only.
    Quiet,
    /// One JSON object per line, on standard output.
    Json,
    /// A bar and words.
    Terminal,
    /// Words.
    Plain,
}

impl Console {
    /// By the flags; a terminal if standard error is one.
    pub fn new(quiet: bool, json: bool) -> Self {
        match (quiet, json) {
            (true, _) => Console::Quiet,
            (_, true) => Console::Json,
            _ if std::io::stderr().is_terminal() => Console::Terminal,
            _ => Console::Plain,
        }
    }

    /// The plan, before work starts.
    pub fn plan(self, text: &str, json: &serde_json::Value) {
        match self {
            Console::Quiet => {}
            Console::Json => println!("{}", json!({ "event": "plan", "plan": json })),
            Console::Terminal | Console::Plain => eprint!("{text}"),
        }
    }

    /// A sentence.
    pub fn say(self, text: &str) {
        match self {
            Console::Quiet => {}
            Console::Json => println!("{}", json!({ "event": "note", "text": text })),
            Console::Terminal | Console::Plain => eprintln!("{text}"),
        }
    }

    /// A sentence that should not be missed.
    pub fn warn(self, text: &str) {
        match self {
            Console::Json => println!("{}", json!({ "event": "warning", "text": text })),
            _ => eprintln!("warning: {text}"),
        }
    }

    /// A run compared with its controls.
    pub fn controls(self, text: &str, json: &serde_json::Value, table: &std::path::Path) {
        match self {
            Console::Quiet => {}
            Console::Json => println!("{}", json!({ "event": "controls", "table": table, "rows": json })),
            Console::Terminal | Console::Plain => println!("{text}\ncontrols  {}", table.display()),
        }
    }

    /// Prints the summary of the run.
    pub fn summary(self, summary: &Summary) {
        match self {
            Console::Quiet => {}
            Console::Json => println!("{}", summary.as_json()),
            Console::Terminal | Console::Plain => print!("{}", summary.as_text()),
        }
    }
}

/// Watches a run and prints its progress.
pub struct RunProgress {
    voice: Console,
    /// What a row is called: of tokens, or of pieces of text.
    rows_are: &'static str,
    bar: ProgressBar,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    unchanged: Arc<AtomicU64>,
}

/// Prints events; runs on a worker's thread.
pub struct EventPrinter {
    voice: Console,
    rows_are: &'static str,
    bar: ProgressBar,
    unchanged: Arc<AtomicU64>,
    last: Mutex<Instant>,
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Time between two lines of JSON about progress: what reads them draws a bar.
const JSON_EVERY: Duration = Duration::from_secs(1);

impl RunProgress {
    /// Starts to watch a run of `plan` behind its first rows; `leads` is false in processes that print nothing.
    ///
    /// # Errors
    /// `Machine` when the system gives no thread.
    pub fn start(
        voice: Console,
        status: Arc<RunStatus>,
        plan: &Plan,
        first_rows: u64,
        leads: bool,
    ) -> Result<RunProgress> {
        let max_tokens = plan.spec().corpus.max_tokens;
        let rows_are = plan.spec().compare.rows_are();
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::hidden());
        if voice == Console::Terminal && leads {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
            let style =
                ProgressStyle::with_template("{bar:24} {percent:>3} % {msg}").expect("the template is well formed");
            bar.set_style(style.progress_chars("=> "));
        }
        let done = Arc::new(AtomicBool::new(false));
        let unchanged = Arc::new(AtomicU64::new(u64::MAX));
        let thread = leads.then(|| {
            let (bar, done, unchanged) = (bar.clone(), done.clone(), unchanged.clone());
            threads::start("progress", "the thread that shows progress", move || {
                watch(voice, &status, [max_tokens, first_rows], rows_are, &bar, &done, &unchanged)
            })
        });
        Ok(RunProgress { voice, rows_are, bar, done, thread: thread.transpose()?, unchanged })
    }

    /// The printer of events.
    #[allow(clippy::disallowed_methods, reason = "progress is by the clock")]
    pub fn teller(&self) -> EventPrinter {
        EventPrinter {
            voice: self.voice,
            rows_are: self.rows_are,
            bar: self.bar.clone(),
            unchanged: self.unchanged.clone(),
            last: Mutex::new(Instant::now()),
        }
    }

    /// The end.
    pub fn stop(mut self) {
        self.done.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

#[allow(clippy::disallowed_methods, reason = "progress is by the clock")]
fn watch(
    voice: Console,
    status: &RunStatus,
    [max_tokens, first_rows]: [u64; 2],
    rows_are: &str,
    bar: &ProgressBar,
    done: &AtomicBool,
    unchanged: &AtomicU64,
) {
    let started = Instant::now();
    let mut spoke = Instant::now();
    let mut first_share: Option<f64> = None;
    while !done.load(Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let rows = status.rows.load(Relaxed);
        let elapsed = started.elapsed().as_secs_f64();
        let rate = (rows - first_rows.min(rows)) as f64 / elapsed.max(1e-9);
        let total = status.bytes_total.load(Relaxed);
        let read = if total > 0 { status.bytes_done.load(Relaxed) as f64 / total as f64 } else { 0.0 };
        let share = if max_tokens > 0 { read.max((rows as f64 / max_tokens as f64).min(1.0)) } else { read };
        if rows > first_rows && first_share.is_none() {
            first_share = Some(if max_tokens > 0 { first_rows as f64 / max_tokens as f64 } else { 0.0 });
        }
        let left = (rows > first_rows && share > 0.0).then(|| {
            if max_tokens > 0 {
                (max_tokens.saturating_sub(rows)) as f64 / rate
            } else {
                rows as f64 * (1.0 - share) / share / rate
            }
        });
        let unchanged = match unchanged.load(Relaxed) {
            u64::MAX => String::new(),
            bits => format!(", {:.1} % of matches unchanged", 100.0 * f64::from_bits(bits)),
        };
        let speed = format!("{} {rows_are}/s", thousands(rate as u64));
        let making = status.making().map(|making| in_words(&making));
        let doing = match left {
            _ if making.is_some() => making.unwrap_or_default(),
            _ if status.in_snapshot.load(Relaxed) > 0 => "taking a snapshot".into(),
            _ if share >= 1.0 => format!("{speed}, all read: the last batches, then scores, tables and page"),
            None => "starting".into(),
            Some(s) => format!("{speed}, {} left", duration(s)),
        };
        let message = format!("{} {rows_are}, {doing}{unchanged}", thousands(rows));
        bar.set_position((share * 1000.0) as u64);
        bar.set_message(message.clone());
        if voice == Console::Plain && spoke.elapsed() >= LINE_EVERY {
            spoke = Instant::now();
            eprintln!("{:>3.0} %  {message}", 100.0 * share);
        }
        if voice == Console::Json && spoke.elapsed() >= JSON_EVERY {
            spoke = Instant::now();
            println!(
                "{}",
                json!({ "event": "progress", "tokens": rows, "tokens_per_second": rate, "seconds_left": left, "share": share })
            );
        }
    }
}

/// Which tables are being made, how far that is, and how long it has taken.
fn in_words(making: &Making) -> String {
    let Making { is_last, part, done, pairs, since } = *making;
    let what = if is_last { "final scores" } else { "scores of the snapshot" };
    let s = if pairs == 1 { "" } else { "s" };
    format!("{what}: {done} of {pairs} pair{s} ({part}), {}", duration(since.elapsed().as_secs_f64()))
}

impl EventPrinter {
    /// Prints one event.
    #[allow(clippy::disallowed_methods, reason = "progress is by the clock")]
    pub fn tell(&self, event: &Event) {
        match event {
            Event::Snapshot(facts) => {
                let churns: Vec<f64> = facts.pairs.iter().filter_map(|p| p.churn).collect();
                let churn = (!churns.is_empty()).then(|| churns.iter().sum::<f64>() / churns.len() as f64);
                if let Some(churn) = churn {
                    self.unchanged.store((1.0 - churn).to_bits(), Relaxed);
                }
                let kept: u64 = facts.pairs.iter().map(|p| p.counts.n_kept).sum();
                let kept_by_chance: Option<u64> = facts.pairs.iter().map(|p| p.counts.n_kept_null).sum();
                let chance = |n: Option<u64>| n.map_or("unknown".into(), thousands);
                let mutual: u64 = facts.pairs.iter().map(|p| p.counts.n_mutual).sum();
                let by_chance: Option<u64> = facts.pairs.iter().map(|p| p.counts.n_mutual_null).sum();
                match self.voice {
                    Console::Plain => eprintln!(
                        "snapshot {:>3} at {} {}{}: {} matches kept (chance {}), {} mutual (chance {}){}",
                        facts.snapshot,
                        thousands(facts.tokens),
                        self.rows_are,
                        if facts.pairs.len() > 1 {
                            format!(", {} pairs together", facts.pairs.len())
                        } else {
                            String::new()
                        },
                        thousands(kept),
                        chance(kept_by_chance),
                        thousands(mutual),
                        chance(by_chance),
                        churn.map_or(String::new(), |c| format!(", {:.1} % changed since the last", 100.0 * c)),
                    ),
                    Console::Json => println!(
                        "{}",
                        json!({ "event": "snapshot", "snapshot": facts.snapshot, "tokens": facts.tokens, "n_kept": kept,
                                "n_kept_null": kept_by_chance, "n_mutual": mutual, "n_mutual_null": by_chance, "churn": churn })
                    ),
                    Console::Terminal | Console::Quiet => {}
                }
            }
            Event::FinalScores { tokens, pairs } => match self.voice {
                Console::Json => println!("{}", json!({ "event": "final_scores", "tokens": tokens, "pairs": pairs })),
                Console::Plain => {
                    let s = if *pairs == 1 { "" } else { "s" };
                    eprintln!("all {} {} read; final scores of {pairs} pair{s}", thousands(*tokens), self.rows_are);
                }
                _ => self.bar.tick(),
            },
            Event::Checkpoint { tokens, finished } => match self.voice {
                Console::Json => {
                    println!("{}", json!({ "event": "checkpoint", "tokens": tokens, "finished": finished }))
                }
                Console::Plain if !finished => {
                    let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
                    if last.elapsed() >= LINE_EVERY {
                        *last = Instant::now();
                        let peak = machine::peak_bytes()
                            .map_or(String::new(), |b| format!(", peak memory {}", human_bytes(b)));
                        eprintln!("state saved at {} {}{peak}", thousands(*tokens), self.rows_are);
                    }
                }
                _ => self.bar.tick(),
            },
        }
    }
}
