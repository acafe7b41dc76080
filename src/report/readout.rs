//! What can be read of latents out of the other model's activations, counted: how many are matched, dropped, readable, faint or absent, each beside what
//! chance gives. The table `readout` in; lines of the summary, JSON and figures of the page out.

use crate::disk;
use crate::error::Result;
use crate::matching::Direction;
use crate::report::grid::Grid;
use crate::report::{WIDTH, wrapped};
use crate::table::{ReadoutRow, SitePair, TableReader, Verdict};
use crate::units::thousands;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Latents of one side of a pair by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct VerdictCounts {
    /// In the order of [`Verdict::ALL`].
    pub here: [u64; 5],
    /// Without a verdict: R² or its chance is undefined.
    pub unknown: u64,
    /// The same by chance: of matched and dropped `None` where it is unknown; of readable, faint and absent what latents without a strong match get
    /// by their chance level in the place of R².
    pub by_chance: [Option<u64>; 5],
}

impl VerdictCounts {
    /// Counts one latent.
    pub fn add(&mut self, row: &ReadoutRow) {
        let place = |verdict: Verdict| Verdict::ALL.iter().position(|v| *v == verdict).expect("one of all");
        for (k, is) in row.by_chance.into_iter().flatten().enumerate() {
            *self.by_chance[k].get_or_insert(0) += u64::from(is);
        }
        self.by_chance[2..].iter_mut().for_each(|n| *n = n.or(Some(0)));
        let Some(verdict) = row.verdict else {
            self.unknown += 1;
            return;
        };
        self.here[place(verdict)] += 1;
        if !matches!(verdict, Verdict::Matched | Verdict::Dropped)
            && let (Some(null), Some(point)) = (row.found.null, row.found.chance_point)
        {
            *self.by_chance[place(Verdict::unmatched(null, point))].get_or_insert(0) += 1;
        }
    }

    /// Number of latents without a strong match that have a verdict.
    pub fn unmatched(&self) -> u64 {
        self.here[2..].iter().sum()
    }
}

/// Counts of every pair and side that picks.
#[derive(Clone, Debug)]
pub struct ReadoutSummary {
    counts: BTreeMap<(Arc<SitePair>, Direction), VerdictCounts>,
}

impl ReadoutSummary {
    /// Reads them from the folder of the newest tables; `None` where nothing was read out, or not yet.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path) -> Result<Option<ReadoutSummary>> {
        let path = tables.join("readout.parquet");
        if !disk::exists(&path) {
            return Ok(None);
        }
        let mut counts: BTreeMap<(Arc<SitePair>, Direction), VerdictCounts> = BTreeMap::new();
        let mut reader: TableReader<ReadoutRow> = TableReader::open(&path)?;
        while let Some(rows) = reader.next_rows()? {
            for row in rows {
                counts.entry((row.pair.clone(), row.direction)).or_default().add(&row);
            }
        }
        Ok((!counts.is_empty()).then_some(ReadoutSummary { counts }))
    }

    /// Of one pair and side; `None` where its latents were not read out.
    pub fn of(&self, pair: &SitePair, direction: Direction) -> Option<&VerdictCounts> {
        self.counts.iter().find(|((p, d), _)| **p == *pair && *d == direction).map(|(_, counts)| counts)
    }

    /// For people.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out)?;
        let head = ["read out of activations", "matched", "dropped", "readable", "faint", "absent", "undecided"];
        let mut grid = Grid { rows: vec![head.map(String::from).to_vec()] };
        for ((pair, direction), c) in &self.counts {
            let (own, other) = match direction {
                Direction::Forward => (&pair.source, &pair.target),
                Direction::Backward => (&pair.target, &pair.source),
            };
            let mut row = vec![format!("{own} out of {other}")];
            let chance = |k: usize| c.by_chance[k].map_or("?".into(), thousands);
            row.extend((0..5).map(|k: usize| format!("{} ({})", thousands(c.here[k]), chance(k))));
            row.push(thousands(c.unknown));
            grid.rows.push(row);
        }
        grid.write(out)?;
        let unknown = self.counts.values().any(|c| c.by_chance[0].is_none());
        let unknown = if unknown { "; ?: chance unknown" } else { "" };
        let said = format!(
            "in brackets: by chance, from rows of another document{unknown}; dropped: r >= 0.5 with the best partner, but the filters \
             drop the match; readable: neither, and R² of 0.25 or more; faint: less, but above chance; undecided: R² or its chance is \
             undefined"
        );
        writeln!(out, "{}", wrapped(&said, 2, WIDTH))
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let row = |((pair, direction), c): (&(Arc<SitePair>, Direction), &VerdictCounts)| {
            json!({
                "source": pair.source.to_string(), "target": pair.target.to_string(), "direction": direction.as_str(),
                "matched": c.here[0], "dropped": c.here[1], "readable": c.here[2], "faint": c.here[3], "absent": c.here[4], "undecided": c.unknown,
                "matched_null": c.by_chance[0], "dropped_null": c.by_chance[1], "readable_null": c.by_chance[2],
                "faint_null": c.by_chance[3], "absent_null": c.by_chance[4],
            })
        };
        self.counts.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{ReadoutNumbers, write_table};

    #[test]
    fn unmatched_latents_stand_beside_the_verdicts_of_their_chance() {
        let pair =
            Arc::new(SitePair { source: "a/resid_post.1".parse().unwrap(), target: "b/resid_post.3".parse().unwrap() });
        let row = |direction, latent, r_squared, null, verdict| ReadoutRow {
            pair: pair.clone(),
            direction,
            latent,
            partner: None,
            found: ReadoutNumbers { r_squared, null, chance_point: Some(0.05), ..ReadoutNumbers::default() },
            verdict,
            by_chance: (direction == Direction::Forward).then_some([latent == 3, latent == 1]),
        };
        let forward = Direction::Forward;
        let rows = [
            row(forward, 0, Some(0.75), Some(0.5), Some(Verdict::Matched)),
            row(forward, 1, Some(0.5), Some(0.01), Some(Verdict::Readable)),
            row(forward, 2, Some(0.1), Some(0.0625), Some(Verdict::Faint)),
            row(forward, 3, Some(0.0), Some(-0.5), Some(Verdict::Absent)),
            row(forward, 4, None, None, None),
            row(forward, 5, Some(0.25), Some(0.125), Some(Verdict::Dropped)),
            row(Direction::Backward, 0, Some(0.3), Some(0.25), Some(Verdict::Readable)),
        ];
        let dir = tempfile::tempdir().unwrap();
        assert!(ReadoutSummary::read(dir.path()).unwrap().is_none());
        write_table(&dir.path().join("readout.parquet"), (), &Default::default(), rows).unwrap();
        let summary = ReadoutSummary::read(dir.path()).unwrap().unwrap();
        let of = summary.of(&pair, forward).unwrap();
        assert_eq!((of.here, of.unknown, of.by_chance, of.unmatched()), ([1; 5], 1, [1, 1, 0, 1, 2].map(Some), 3));
        let mut text = String::new();
        summary.write(&mut text).unwrap();
        assert_eq!(
            text,
            "\nread out of activations               matched  dropped  readable  faint  absent  undecided\n\
             a/resid_post.1 out of b/resid_post.3    1 (1)    1 (1)     1 (0)  1 (1)   1 (2)          1\n\
             b/resid_post.3 out of a/resid_post.1    0 (?)    0 (?)     1 (1)  0 (0)   0 (0)          0\n\
             in brackets: by chance, from rows of another document; ?: chance unknown; dropped: r >= 0.5 with the\n\
             \x20 best partner, but the filters drop the match; readable: neither, and R² of 0.25 or more; faint:\n\
             \x20 less, but above chance; undecided: R² or its chance is undefined\n"
        );
        assert_eq!(summary.as_json()[0]["faint_null"], 1);
    }
}
