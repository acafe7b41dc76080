//! The group that a latent is in, for its card: every member with its neighbours, the r of each beside its chance point; what lacks it.

use super::lines::{few_tokens, write_wrapped};
use crate::disk;
use crate::error::Result;
use crate::ids::Site;
use crate::matching::Direction;
use crate::report::{GroupCounts, GroupSummary};
use crate::table::{GroupRow, LatentRow, MatchRow, TableReader};
use crate::units::thousands;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Neighbours of a member that are shown.
const NEIGHBOURS_SHOWN: usize = 3;

/// A latent's group.
#[derive(Clone, Debug)]
pub(super) struct GroupCard {
    /// Its members, the latent itself included, in the table's order; one at least.
    members: Vec<Member>,
    /// Groups over as many models (of one model: places), and those of them that are complete; each with the same by chance.
    of_this_size: Option<GroupCounts>,
    /// What a size counts: models or places.
    what: &'static str,
}

#[derive(Clone, Debug)]
struct Member {
    row: GroupRow,
    /// Members that a kept mutual match joins it with, the highest r first.
    neighbours: Vec<Neighbour>,
}

#[derive(Clone, Debug)]
struct Neighbour {
    site: Site,
    latent: u32,
    correlation: f64,
    /// Chance point of the match's source latent.
    point: Option<f64>,
}

impl GroupCard {
    /// Reads the group of latent `latent` of `site`; `None` where it is in none or the run makes no groups.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path, site: &Site, latent: u32) -> Result<Option<GroupCard>> {
        let rows = rows(tables, site, latent)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (mut of_this_size, mut what) = (None, "models");
        if let Some(summary) = GroupSummary::read(tables)? {
            let (named, sizes) = summary.by_size();
            what = named;
            let size = if what == "places" { first.size } else { first.models };
            of_this_size = sizes.into_iter().find(|(n, _)| *n == size).map(|(_, counts)| counts);
        }
        let mut members: Vec<Member> = rows.into_iter().map(|row| Member { row, neighbours: Vec::new() }).collect();
        let mut reader: TableReader<MatchRow> = TableReader::open(&tables.join("matches.parquet"))?;
        while let Some(rows) = reader.next_rows()? {
            // a mutual match has a row either way; one is enough
            for row in rows.into_iter().filter(|r| r.kept && r.mutual && r.direction == Direction::Forward) {
                join(&mut members, &row);
            }
        }
        for member in &mut members {
            member.neighbours.sort_by(|a, b| b.correlation.total_cmp(&a.correlation));
        }
        Ok(Some(GroupCard { members, of_this_size, what }))
    }

    /// For people, with `shown` the latent that the card is of.
    pub fn write(&self, shown: &LatentRow, width: usize, out: &mut String) -> std::fmt::Result {
        let g = &self.members[0].row;
        let models = if g.models == 1 { "1 model".to_string() } else { format!("{} models", g.models) };
        writeln!(out, "\nis in group {}", g.group)?;
        let what = if g.models == 1 { "places" } else { "models" };
        let mut figures = vec![format!("{} of {} latents of {models}", g.kind.as_str(), g.size)];
        figures.extend(self.of_this_size.map(|[(n, null), _]| {
            let size = if self.what == "places" { g.size } else { g.models };
            let null = null.map_or("chance unknown".into(), |null| format!("chance {}", thousands(null)));
            format!("one of {} groups over {size} {} ({null})", thousands(n), self.what)
        }));
        figures.extend([
            format!("{} of {} compared pairs of {what} match", g.edges, g.edges_possible),
            format!("best r between two {what}: lowest {:.4}", g.min_correlation),
            format!("mean {:.4}", g.mean_correlation),
        ]);
        figures.extend(g.min_within.map(|r| format!("lowest r given the token {r:.4}")));
        write_wrapped(out, "  ", &figures, width)?;
        for Member { row: m, neighbours } in &self.members {
            let is_it = *m.site == *shown.site && m.latent == shown.latent;
            let mut items: Vec<String> =
                neighbours.iter().take(NEIGHBOURS_SHOWN).flat_map(Neighbour::in_words).collect();
            if neighbours.len() > NEIGHBOURS_SHOWN {
                items.push(format!("and {} more", neighbours.len() - NEIGHBOURS_SHOWN));
            }
            items.extend((!m.best).then(|| "not its model's best member".to_string()));
            items.extend(few_tokens(m.top.iter().filter(|_| !is_it)));
            write_wrapped(out, &format!("  {}/{}  ", m.site, m.latent), &items, width)?;
        }
        for m in &g.missing {
            let closest = m.hookpoint.as_ref().zip(m.latent).zip(m.correlation);
            let mut items = match closest {
                Some(((hookpoint, latent), r)) => vec![format!("closest {hookpoint}/{latent}"), format!("r {r:.4}")],
                None => vec!["not compared with any of them".to_string()],
            };
            if let Some(r2) = m.readout_r2 {
                items.push(format!("read out of it R² {r2:.4}"));
                items.push(m.readout_point.map_or("chance unknown".into(), |p| format!("95 % point {p:.4}")));
            }
            write_wrapped(out, &format!("  lacks {}  ", m.model), &items, width)?;
        }
        Ok(())
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let g = &self.members[0].row;
        let neighbour = |n: &Neighbour| json!({ "site": n.site.to_string(), "latent": n.latent, "correlation": n.correlation, "chance_point": n.point });
        json!({
            "group": g.group, "kind": g.kind.as_str(), "size": g.size, "models": g.models, "edges": g.edges,
            "edges_possible": g.edges_possible, "min_correlation": g.min_correlation, "mean_correlation": g.mean_correlation,
            "min_within": g.min_within,
            "groups_of_this_size": self.of_this_size.map(|[(n, _), _]| n),
            "groups_of_this_size_null": self.of_this_size.and_then(|[(_, null), _]| null),
            "members": self.members.iter().map(|Member { row: m, neighbours }| json!({
                "site": m.site.to_string(), "latent": m.latent, "frequency": m.frequency, "degree": m.degree, "best": m.best,
                "top": m.top, "neighbours": neighbours.iter().map(neighbour).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "missing": g.missing.iter().map(|m| json!({
                "model": m.model, "hookpoint": m.hookpoint, "latent": m.latent, "correlation": m.correlation,
                "readout_r2": m.readout_r2, "readout_chance_point": m.readout_point,
            })).collect::<Vec<_>>(),
        })
    }
}

impl Neighbour {
    fn in_words(&self) -> [String; 2] {
        let with = format!("r {:.4} with {}/{}", self.correlation, self.site, self.latent);
        [with, self.point.map_or("chance unknown".into(), |p| format!("95 % point {p:.4}"))]
    }
}

/// Makes the two ends of a match neighbours, where both are members.
fn join(members: &mut [Member], row: &MatchRow) {
    let (Some(source), Some(target), Some(correlation)) = (row.source_latent, row.target_latent, row.correlation)
    else {
        return;
    };
    let ends = [(&row.pair.source, source), (&row.pair.target, target)];
    let at = ends.map(|(site, latent)| members.iter().position(|m| *m.row.site == *site && m.row.latent == latent));
    let [Some(a), Some(b)] = at else { return };
    // a latent matched with itself is no edge
    if a == b {
        return;
    }
    for (own, (site, latent)) in [(a, ends[1]), (b, ends[0])] {
        let point = row.significance.point;
        members[own].neighbours.push(Neighbour { site: site.clone(), latent, correlation, point });
    }
}

/// The members of a latent's group, in the table's order; none where it is in none or the run makes no groups.
fn rows(tables: &Path, site: &Site, latent: u32) -> Result<Vec<GroupRow>> {
    let path = tables.join("groups.parquet");
    if !disk::exists(&path) {
        return Ok(Vec::new());
    }
    // rows of a group are adjacent, so one group is held at a time
    let mut members: Vec<GroupRow> = Vec::new();
    let is_it = |m: &GroupRow| *m.site == *site && m.latent == latent;
    let mut reader: TableReader<GroupRow> = TableReader::open(&path)?;
    while let Some(rows) = reader.next_rows()? {
        for row in rows {
            if members.first().is_some_and(|m| m.group != row.group) {
                if members.iter().any(is_it) {
                    return Ok(members);
                }
                members.clear();
            }
            members.push(row);
        }
    }
    Ok(if members.iter().any(is_it) { members } else { Vec::new() })
}
