//! `cognate plan --measure`: the time of a run, estimated from one batch of it.

use crate::engine::{Loaded, measure_batch, measure_choice};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::units::{duration, thousands};
use serde::Serialize;
use std::sync::Arc;

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
}

impl Measured {
    /// Loads what the plan names and runs its first batch.
    ///
    /// # Errors
    /// Those of loading, reading and running; `Input` for a corpus without a counted token.
    pub fn of(plan: &Arc<Plan>) -> Result<Measured> {
        let mut corpus = plan.open_corpus(plan.spec().corpus.clone())?;
        let batch = corpus.next_batch()?.map(Arc::new).filter(|b| b.n_rows() > 0);
        let batch = batch.ok_or_else(|| Error::input("the corpus' first batch holds no token that counts"))?;
        let tokens = batch.n_rows() as u64;
        let of_corpus = corpus.progress().bytes_total as f64 / corpus.cursor().bytes_done().max(1) as f64;
        let all = (tokens as f64 * of_corpus.max(1.0)) as u64;
        let asked = plan.spec().corpus.max_tokens;
        let expected_tokens = if asked > 0 { all.min(asked) } else { all };
        let stages = measure_batch(plan, &Loaded::open(plan)?, &batch)?;
        let seconds: f64 = stages.iter().map(|s| s.1).sum();
        let seconds_a_choice = measure_choice(plan);
        let snapshots = expected_tokens / plan.spec().estimate.snapshot_every + 1;
        let choices = if seconds_a_choice > 0.0 { snapshots.ilog2() + 1 } else { 0 };
        Ok(Measured {
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
        )
    }
}
