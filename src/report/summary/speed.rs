//! How fast was a run? Tokens, seconds, memory, and where the time went.

use crate::report::{WIDTH, wrapped};
use crate::units::{duration, human_bytes, thousands};
use serde_json::{Value, json};
use std::fmt::Write;

/// How fast a run was.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Tokens counted in this stretch.
    pub tokens: u64,
    /// Seconds by the clock, from the command's start.
    pub wall_seconds: f64,
    /// Processor seconds of this process.
    pub cpu_seconds: f64,
    /// Largest resident memory of this process.
    pub peak_bytes: Option<u64>,
    /// Seconds by the clock in each stage, over all workers; the reader's overlap the others.
    pub stages: Vec<(&'static str, f64)>,
    /// SAEs that were tried at screening their latents, and how many times as fast that was found to be as encoding all of
    /// them: it stays on where that is more than 1.
    pub screening: Vec<(String, f64)>,
}

impl Speed {
    /// `rows_are`: what its rows are called.
    pub(super) fn write(&self, out: &mut String, rows_are: &str) -> std::fmt::Result {
        let tokens = self.tokens.max(1) as f64;
        let speed = format!(
            "speed     {} {rows_are}s/s; {} by the clock, {:.1} CPU seconds ({:.1} a million {rows_are}s){}",
            thousands((tokens / self.wall_seconds.max(1e-9)) as u64),
            duration(self.wall_seconds),
            self.cpu_seconds,
            self.cpu_seconds / tokens * 1e6,
            self.peak_bytes.map_or(String::new(), |b| format!("; peak memory {}", human_bytes(b)))
        );
        writeln!(out, "\n{}", wrapped(&speed, 10, WIDTH))?;
        let total: f64 = self.stages.iter().map(|s| s.1).sum();
        let shares: Vec<String> =
            self.stages.iter().map(|(name, s)| format!("{name} {:.1} %", 100.0 * s / total.max(1e-9))).collect();
        writeln!(out, "{}", wrapped(&format!("stages    {}", shares.join(", ")), 10, WIDTH))?;
        if let Some(told) = self.screened() {
            writeln!(out, "screened  {told}")?;
        }
        Ok(())
    }

    /// How many SAEs screen their latents, and what that gains.
    fn screened(&self) -> Option<String> {
        let on: Vec<f64> = self.screening.iter().map(|s| s.1).filter(|times| *times > 1.0).collect();
        let n = self.screening.len();
        let (least, most) = (on.iter().copied().fold(f64::INFINITY, f64::min), on.iter().copied().fold(0.0, f64::max));
        Some(match on.len() {
            _ if n == 0 => return None,
            0 => format!("0 of {n} SAEs: leaving out latents that cannot fire was tried, and was not faster"),
            1 => format!("1 of {n} SAEs: latents ruled out before they are computed, {most:.1} times as fast"),
            k => format!(
                "{k} of {n} SAEs: latents ruled out before they are computed, {least:.1} to {most:.1} times as fast"
            ),
        })
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "tokens": self.tokens, "wall_seconds": self.wall_seconds, "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
            "stage_seconds": self.stages.iter().map(|(n, s)| (n.to_string(), json!(s))).collect::<serde_json::Map<_, _>>(),
            "screening": self.screening.iter().map(|(s, t)| (s.clone(), json!(t))).collect::<serde_json::Map<_, _>>(),
        })
    }
}
