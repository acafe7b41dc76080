//! When is the state saved by the clock? Soon after a start, then at a steady interval, and never so often that saving is the work.
//!
//! A checkpoint changes no number, so the clock decides only what a killed run loses.

use std::time::{Duration, Instant};

/// The first checkpoint of a process comes this long after its first batch, or after the interval where that is shorter.
const FIRST: Duration = Duration::from_secs(20);
/// Between two checkpoints lies at least this many times what the last one took.
const TIMES_ITS_OWN: u32 = 10;

/// The clock of one process that reads.
#[derive(Debug)]
pub struct SaveClock {
    /// Between the end of one checkpoint and the next; zero: never by the clock.
    every: Duration,
    next: Instant,
    began: Option<Instant>,
}

impl SaveClock {
    /// From now on, every so many minutes; 0: never.
    pub fn new(minutes: u64, now: Instant) -> Self {
        let every = Duration::from_secs(minutes.saturating_mul(60));
        SaveClock { every, next: now + every.min(FIRST), began: None }
    }

    /// Whether one is due.
    pub fn is_due(&self, now: Instant) -> bool {
        !self.every.is_zero() && now >= self.next
    }

    /// A checkpoint has begun, due by whatever rule.
    pub fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// What was begun, if anything was, is done.
    pub fn end(&mut self, now: Instant) {
        if let Some(began) = self.began.take() {
            let took = now.saturating_duration_since(began);
            self.next = now + self.every.max(took.saturating_mul(TIMES_ITS_OWN));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any instant will do")]
    fn the_first_is_early_the_next_wait_and_slow_ones_are_rare() {
        let start = std::time::Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut clock = SaveClock::new(4, start);
        assert!(!clock.is_due(at(19)) && clock.is_due(at(20)));
        clock.begin(at(20));
        clock.end(at(21));
        assert!(!clock.is_due(at(260)) && clock.is_due(at(261)));
        // due by tokens at 100, it counts all the same; it takes a minute
        clock.begin(at(300));
        clock.end(at(360));
        clock.end(at(900));
        assert!(!clock.is_due(at(959)) && clock.is_due(at(960)));
        let never = SaveClock::new(0, start);
        assert!(!never.is_due(at(1_000_000)));
        // as long as can be written
        assert!(!SaveClock::new(10_000, start).is_due(at(19)));
    }
}
