//! What does a plan take in all, and does it fit into the memory and onto the disk that there is?

use crate::device::DeviceName;
use crate::error::{Error, Result};
use crate::plan::choice::Choice;
use crate::plan::cost::{grouped, memory_of};
use crate::plan::decide::suggestion;
use crate::plan::{Cost, Outline, PlannedSae};
use crate::units::human_bytes;
use std::collections::BTreeMap;
use std::path::Path;

impl Outline {
    /// Bytes of memory at most.
    pub fn memory_bytes(&self) -> u64 {
        memory_of(&self.costs)
    }

    /// Devices with memory of their own, and bytes of it at most.
    pub fn device_bytes(&self) -> BTreeMap<DeviceName, u64> {
        self.steps.device_bytes()
    }

    /// Bytes on disk at most: two checkpoints and the tables, and as much again for each control.
    pub fn disk_bytes(&self) -> u64 {
        let runs = 1 + self.spec().controls.len() as u64;
        self.costs.iter().fold(0, |sum: u64, c| sum.saturating_add(c.disk_bytes)).saturating_mul(2).saturating_mul(runs)
    }

    /// Bytes of memory that screening the SAEs' latents would take, where it is done without because that does not fit.
    pub fn screens_left_out(&self) -> Option<u64> {
        let screened = Choice { screens: true, ..self.choice };
        let bytes = |sae: &PlannedSae| screened.screen_bytes(sae) - self.choice.screen_bytes(sae);
        let all: u64 = self.spaces().iter().filter_map(|s| s.sae()).map(bytes).sum();
        Some(all).filter(|bytes| self.steps.streams && *bytes > 0)
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

    /// Bytes of memory that things of these kinds take together.
    pub fn bytes_of(&self, kinds: &[&str]) -> u64 {
        self.costs.iter().filter(|c| kinds.contains(&c.kind)).map(|c| c.memory_bytes).sum()
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

    /// Refuses what is over `limit` bytes of disk in `directory`.
    ///
    /// # Errors
    /// `Machine`.
    pub fn check_disk(&self, limit: u64, directory: &Path) -> Result<()> {
        let needed = self.disk_bytes();
        if needed <= limit {
            return Ok(());
        }
        Err(Error::machine(format!(
            "two checkpoints and the tables take up to {} in {}, the limit is {}; choose another --out, free some space, or raise \
             --disk-limit: on a disk that becomes full a run stops, and resumes when there is room",
            human_bytes(needed),
            directory.display(),
            human_bytes(limit)
        )))
    }
}
