//! Groups of latents over several places as a whole: how many over how many models, how many latents return over three places, each
//! beside chance. Tables in; two lines of the summary, JSON and figures of the page out.

use crate::disk;
use crate::error::Result;
use crate::report::{WIDTH, wrapped};
use crate::table::{CycleRow, GroupSizeRow, TableReader};
use crate::units::thousands;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// What the tables of groups hold in all.
#[derive(Clone, Debug)]
pub struct GroupSummary {
    sizes: Vec<GroupSizeRow>,
    cycles: Vec<CycleRow>,
}

/// Counts of groups and of those that are complete, each with its chance.
pub type GroupCounts = [(u64, Option<u64>); 2];

impl GroupSummary {
    /// Reads them from the folder of the newest tables; `None` where the run has no groups.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path) -> Result<Option<GroupSummary>> {
        let [sizes, cycles] = ["group_sizes", "cycles"].map(|name| tables.join(format!("{name}.parquet")));
        if !disk::exists(&sizes) {
            return Ok(None);
        }
        let (sizes, cycles) = (TableReader::open(&sizes)?.read_all()?, TableReader::open(&cycles)?.read_all()?);
        Ok(Some(GroupSummary { sizes, cycles }))
    }

    /// Groups by their number of models, or of places where there is one model; the largest first.
    pub fn by_size(&self) -> (&'static str, Vec<(u32, GroupCounts)>) {
        let one_model = self.sizes.iter().all(|s| s.models < 2);
        let size = |s: &GroupSizeRow| if one_model { s.places } else { s.models };
        let mut out: Vec<(u32, GroupCounts)> = Vec::new();
        for s in &self.sizes {
            let here = [(s.groups, s.null_groups), (s.complete, s.null_complete)];
            match out.last_mut().filter(|last| last.0 == size(s)) {
                Some((_, sums)) => {
                    for (sum, more) in sums.iter_mut().zip(here) {
                        *sum = (sum.0 + more.0, sum.1.zip(more.1).map(|(a, b)| a + b));
                    }
                }
                None => out.push((size(s), here)),
            }
        }
        (if one_model { "places" } else { "models" }, out)
    }

    /// Share of latents that return over three places, and the same by chance; `None` where no way leads round.
    pub fn returned(&self) -> Option<(f64, Option<f64>)> {
        let share = |of: &dyn Fn(&CycleRow) -> Option<[u64; 2]>| -> Option<f64> {
            let all = self.cycles.iter().map(of).collect::<Option<Vec<[u64; 2]>>>()?;
            let [returned, latents] = [0, 1].map(|k| all.iter().map(|c| c[k]).sum::<u64>());
            (latents > 0).then(|| returned as f64 / latents as f64)
        };
        let by_chance = share(&|c| Some([c.null_returned?, c.null_latents?]));
        Some((share(&|c| Some([c.returned, c.latents]))?, by_chance))
    }

    /// For people.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        let (what, sizes) = self.by_size();
        let count = |(n, null): (u64, Option<u64>)| {
            format!("{} ({})", thousands(n), null.map_or_else(|| "?".to_string(), thousands))
        };
        let words = |(k, (size, [all, complete])): (usize, &(u32, GroupCounts))| {
            let over = if k == 0 { format!("over {size} {what}") } else { format!("over {size}") };
            let complete = if *size > 2 { format!(", {} all matched", count(*complete)) } else { String::new() };
            format!("{} {over}{complete}", count(*all))
        };
        let sizes: Vec<String> = sizes.iter().enumerate().map(words).collect();
        let sizes = if sizes.is_empty() { "none".to_string() } else { sizes.join("; ") };
        writeln!(out, "\n{}", wrapped(&format!("groups of latents (in brackets: by chance): {sizes}"), 2, WIDTH))?;
        let Some((share, null)) = self.returned() else { return Ok(()) };
        let percent = |x: f64| format!("{:.1} %", 100.0 * x);
        let null = null.map_or_else(|| "?".to_string(), percent);
        writeln!(out, "best partners over three places lead back for {} of latents ({null})", percent(share))
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let site = |c: &CycleRow| c.sites.iter().map(|s| s.to_string()).collect::<Vec<String>>();
        json!({
            "sizes": self.sizes.iter().map(|s| json!({
                "models": s.models, "places": s.places, "groups": s.groups, "null_groups": s.null_groups,
                "complete": s.complete, "null_complete": s.null_complete,
            })).collect::<Vec<_>>(),
            "cycles": self.cycles.iter().map(|c| json!({
                "places": site(c), "latents": c.latents, "returned": c.returned, "share": c.share(),
                "null_latents": c.null_latents, "null_returned": c.null_returned, "null_share": c.null_share(),
            })).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn size(models: u32, places: u32, groups: u64, null: Option<u64>) -> GroupSizeRow {
        GroupSizeRow { models, places, groups, null_groups: null, complete: groups / 2, null_complete: null }
    }

    #[test]
    fn sizes_are_added_up_by_models_and_by_places_where_there_is_one() {
        let mut summary = GroupSummary {
            sizes: vec![size(3, 4, 10, Some(1)), size(3, 3, 30, Some(2)), size(2, 2, 2000, Some(900))],
            cycles: Vec::new(),
        };
        let text = |s: &GroupSummary| {
            let mut out = String::new();
            s.write(&mut out).unwrap();
            out
        };
        assert_eq!(
            text(&summary),
            "\ngroups of latents (in brackets: by chance): 40 (3) over 3 models, 20 (3) all matched; 2 000 (900)\n  over 2\n"
        );
        assert_eq!(summary.as_json()["sizes"][2]["groups"], 2000);
        let place = |name: &str| Arc::new(format!("{name}/embed").parse().unwrap());
        let cycle = CycleRow {
            sites: ["a", "b", "c"].map(place),
            latents: 100,
            returned: 25,
            null_latents: Some(50),
            null_returned: Some(1),
        };
        summary.cycles = vec![cycle.clone(), CycleRow { returned: 50, ..cycle }];
        assert!(text(&summary).ends_with("lead back for 37.5 % of latents (2.0 %)\n"), "{}", text(&summary));
        summary.sizes = vec![size(1, 3, 7, None)];
        assert!(text(&summary).contains("7 (?) over 3 places, 3 (?) all matched\n"), "{}", text(&summary));
        summary.sizes.clear();
        assert!(text(&summary).contains("by chance): none\n"));
    }
}
