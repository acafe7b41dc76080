//! What does a plan take in all, and does it fit into the memory that the request allows?

use crate::error::{Error, Result};
use crate::plan::cost::{grouped, memory_of};
use crate::plan::decide::suggestion;
use crate::plan::{Cost, Outline};
use crate::units::human_bytes;

impl Outline {
    /// Bytes of memory at most.
    pub fn memory_bytes(&self) -> u64 {
        memory_of(&self.costs)
    }

    /// Bytes on disk at most: two checkpoints and the tables.
    pub fn disk_bytes(&self) -> u64 {
        self.costs.iter().fold(0, |sum: u64, c| sum.saturating_add(c.disk_bytes)).saturating_mul(2)
    }

    /// Bytes of memory of each kind of thing, largest first, with what it is: one thing by its name, several by their number.
    pub fn costs_by_kind(&self) -> Vec<(u64, String)> {
        let named = |(kind, of): (&str, Vec<&Cost>)| {
            let bytes = of.iter().map(|c| c.memory_bytes).sum();
            (bytes, if let [one] = of[..] { one.what() } else { format!("{} x {kind}", of.len()) })
        };
        let mut kinds: Vec<(u64, String)> =
            grouped(self.costs.iter().map(|c| (c.kind, c))).into_iter().map(named).collect();
        kinds.sort_by_key(|(sum, _)| std::cmp::Reverse(*sum));
        kinds
    }

    /// Refuses what is over the request's limit of memory, naming the largest parts.
    ///
    /// # Errors
    /// `Machine`.
    pub fn check_memory(&self) -> Result<()> {
        let (needed, limit) = (self.memory_bytes(), self.memory_limit);
        if needed <= limit {
            return Ok(());
        }
        let parts: Vec<String> = (self.costs_by_kind().into_iter().take(3))
            .map(|(bytes, what)| format!("{what} {}", human_bytes(bytes)))
            .collect();
        let suggestion =
            suggestion(&self.steps, &self.choice, limit).map_or(String::new(), |way| format!("{way}; or "));
        Err(Error::machine(format!(
            "the plan needs up to {} of memory, the limit is {}: {}; {suggestion}compare fewer pairs, lower corpus.batch_contexts, \
             or raise --memory-limit; `cognate plan` lists all of it",
            human_bytes(needed),
            human_bytes(limit),
            parts.join(", ")
        )))
    }
}
