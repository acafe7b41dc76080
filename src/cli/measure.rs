//! `cognate plan --measure`: the time of a run, estimated from one batch of it, here and on several machines.

use crate::corpus::Corpus;
use crate::engine::{Loaded, Stage, measure_batch, measure_choice};
use crate::error::{Error, Result};
use crate::plan::{Bound, Expected, Machines, PerToken, Plan};
use crate::units::{duration, human_bytes, thousands};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// What one batch took, and what follows from it. An estimate: other work on the machine, the corpus behind its first batch
/// and the tables are not in it.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Counted tokens of the batch.
    tokens: u64,
    /// Microseconds of wall time per token, by stage.
    microseconds_a_token: Vec<(&'static str, f64)>,
    /// Seconds for one choice of candidates, and how many there will be.
    seconds_a_choice: f64,
    choices: u32,
    /// Tokens of the whole, by the bytes that the batch took of the corpus.
    expected_tokens: u64,
    expected_seconds: f64,
    threads: usize,
    /// Seconds and bytes of one counted token, where several machines are thought of.
    per_token: PerToken,
    /// How it would go on several machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    machines: Vec<Expected>,
}

impl Measured {
    /// Loads what the plan names and runs its first batch.
    ///
    /// # Errors
    /// Those of loading, reading and running; `Input` for a corpus without a counted token.
    #[allow(clippy::disallowed_methods, reason = "how long reading takes")]
    pub fn of(plan: &Arc<Plan>, machines: Option<Machines>) -> Result<Measured> {
        let mut corpus = plan.open_corpus(plan.spec().corpus.clone())?;
        let start = Instant::now();
        let batch = corpus.next_batch()?.map(Arc::new).filter(|b| b.n_rows() > 0);
        let batch = batch.ok_or_else(|| Error::input("the corpus' first batch holds no token that counts"))?;
        let read = start.elapsed().as_secs_f64();
        let tokens = batch.n_rows() as u64;
        let all = rows_in_all(&mut corpus, tokens)?;
        let asked = plan.spec().corpus.max_tokens;
        let expected_tokens = if asked > 0 { all.min(asked) } else { all };
        let times = measure_batch(plan, &Loaded::open(plan)?, &batch)?;
        let stages = times.stages;
        let seconds: f64 = stages.iter().map(|s| s.1).sum();
        let seconds_a_choice = measure_choice(plan);
        let snapshots = expected_tokens / plan.spec().estimate.snapshot_every + 1;
        let choices = if seconds_a_choice > 0.0 { snapshots.ilog2() + 1 } else { 0 };
        let of = |names: [&str; 2]| {
            stages.iter().filter(|(name, _)| names.contains(name)).map(|(_, s)| s / tokens as f64).sum::<f64>()
        };
        let per_token = PerToken {
            encode: of([Stage::Forward.name(), Stage::Encode.name()]),
            moments: of([Stage::Moments.name(), ""]),
            fold: of([Stage::Fold.name(), ""]),
            read: read / tokens as f64,
            pack: times.pack / tokens as f64,
            unpack: times.unpack / tokens as f64,
            message: times.message as f64 / tokens as f64,
        };
        let room = plan.divided_bytes();
        let numbers = machines.map_or(Vec::new(), |m| doubled(m.n));
        let at = |n: u64| per_token.expected(Machines { n, ..machines.expect("some are thought of") }, room);
        Ok(Measured {
            per_token,
            machines: numbers.into_iter().map(at).collect(),
            tokens,
            microseconds_a_token: stages.into_iter().map(|(name, s)| (name, s * 1e6 / tokens as f64)).collect(),
            seconds_a_choice,
            choices,
            expected_tokens,
            expected_seconds: seconds / tokens as f64 * expected_tokens as f64 + seconds_a_choice * f64::from(choices),
            threads: rayon::current_num_threads(),
        })
    }

    /// For people.
    pub fn as_text(&self) -> String {
        let stages: Vec<String> = (self.microseconds_a_token.iter().filter(|s| s.1 > 0.05))
            .map(|(name, us)| format!("{name} {us:.0}"))
            .collect();
        let choices = if self.choices > 0 {
            format!(", {} choices of candidates of {} each", self.choices, duration(self.seconds_a_choice))
        } else {
            String::new()
        };
        format!(
            "  time      about {} for some {} tokens on {} threads (one batch of {}: {} µs per token{choices}); an estimate\n",
            duration(self.expected_seconds),
            thousands(self.expected_tokens),
            self.threads,
            thousands(self.tokens),
            stages.join(", ")
        ) + &self.machines_in_words()
    }

    fn machines_in_words(&self) -> String {
        let Some(one) = self.machines.first() else { return String::new() };
        let line = |e: &Expected| {
            let bound = match e.bound {
                Bound::Processors => "the processors",
                Bound::Devices => "the devices",
                Bound::Network => "the network",
                Bound::Reading => "reading the corpus",
            };
            format!(
                "  {:>3} {}  {:>9} tokens a second, {:.2} times one machine's; bound by {bound}. Each receives {} a second and \
                 takes {} of memory; a checkpoint takes {:.1} s\n",
                e.machines,
                if e.machines == 1 { "machine " } else { "machines" },
                thousands(e.tokens_a_second as u64),
                e.tokens_a_second / one.tokens_a_second,
                human_bytes(e.network as u64),
                human_bytes(e.memory),
                e.checkpoint,
            )
        };
        self.machines.iter().map(line).collect()
    }
}

/// Batches at most that are read, and not run, to learn what share of the corpus a row takes.
const LOOKED_AT: usize = 24;
/// Rows that are enough for that, where they have moved the corpus on.
const ENOUGH_ROWS: u64 = 100_000;

/// The rows of the whole corpus, of which `first` were read: counted where it is short, else by the bytes that some batches took.
fn rows_in_all(corpus: &mut Corpus, first: u64) -> Result<u64> {
    let mut rows = first;
    for _ in 0..LOOKED_AT {
        let has_moved = corpus.cursor().bytes_done().saturating_mul(256) >= corpus.progress().bytes_total;
        if rows >= ENOUGH_ROWS && has_moved {
            break;
        }
        match corpus.next_batch()? {
            Some(batch) => rows += batch.n_rows() as u64,
            None => return Ok(rows),
        }
    }
    let of_corpus = corpus.progress().bytes_total as f64 / corpus.cursor().bytes_done().max(1) as f64;
    Ok((rows as f64 * of_corpus.max(1.0)) as u64)
}

/// 1, 2, 4 and on below `n`, and `n`.
fn doubled(n: u64) -> Vec<u64> {
    let below = std::iter::successors(Some(1u64), |k| k.checked_mul(2)).take_while(|k| *k < n);
    below.chain([n]).collect()
}
