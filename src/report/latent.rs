//! One latent, as its run knows it: statistics, labels, top-activating tokens in context, partners both ways.

use super::context::Marker;
use super::words::shown_token;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::matching::{Direction, Relation};
use crate::table::{GroupRow, LabelColumn, LatentRow, MatchRow, ReadoutRow, TableReader, TopTokenCell, Verdict};
use crate::units::thousands;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// Contexts shown, and tokens of a partner.
const CONTEXTS_SHOWN: usize = 10;
const TOKENS_SHOWN: usize = 4;

/// What is known of one latent.
#[derive(Clone, Debug)]
pub struct LatentCard {
    row: LatentRow,
    labels: Vec<LabelColumn>,
    /// What rows have in common with those that they are compared with.
    given: String,
    partners: Vec<Partner>,
    /// All members of its group, itself included; none where it is in none.
    group: Vec<GroupRow>,
    /// What is read of it out of other places' activations, with the place; none where nothing was read out.
    readout: Vec<(Site, ReadoutRow)>,
}

#[derive(Clone, Debug)]
struct Partner {
    site: Site,
    latent: Option<u32>,
    /// The latent shown picks; otherwise it is picked.
    picks: bool,
    row: MatchRow,
    top: Vec<TopTokenCell>,
}

impl Partner {
    /// How the latent shown and this one lie to each other by the tokens on which they fire.
    fn relation(&self) -> Option<String> {
        let listed = &self.row.listed;
        let (source, target) = (listed.target_given_source?, listed.source_given_target?);
        let is_source = self.picks == (self.row.direction == Direction::Forward);
        // of the latent shown, and of this one
        let (own, other) = if is_source { (source, target) } else { (target, source) };
        let shown = if is_source { self.row.source_latent } else { self.row.target_latent }?;
        let jaccard = listed.jaccard.map_or(String::new(), |j| format!(" (Jaccard {j:.2})"));
        let words = match Relation::of(own, other) {
            Relation::Same => format!("fires on the same tokens as {shown}"),
            Relation::SourceInTarget => format!("contains {shown}: fires on {:.0} % of {shown}'s tokens", 100.0 * own),
            Relation::TargetInSource => {
                format!("part of {shown}: {shown} fires on {:.0} % of its tokens", 100.0 * other)
            }
            Relation::Overlap => format!("fires on {:.0} % of {shown}'s tokens", 100.0 * own),
        };
        Some(words + &jaccard)
    }
}

impl LatentCard {
    /// Reads latent `latent` of `site` from the folder of a run's newest tables.
    ///
    /// # Errors
    /// `Request`, naming what exists, when the run has no such site or latent; the errors of reading a table.
    pub fn read(tables: &Path, site: &Site, latent: u32) -> Result<LatentCard> {
        let path = tables.join("latents.parquet");
        let mut reader: TableReader<LatentRow> = TableReader::open(&path)?;
        let labels = reader.shape().clone();
        let given = reader.origin().get("given").cloned().unwrap_or_else(|| "token".to_string());
        let (mut found, mut sites, mut width) = (None, BTreeSet::new(), 0);
        while let Some(rows) = reader.next_rows()? {
            for row in rows {
                if *row.site == *site {
                    width += 1;
                    if row.latent == latent {
                        found = Some(row);
                    }
                } else if !sites.contains(row.site.as_ref()) {
                    sites.insert(row.site.as_ref().clone());
                }
            }
        }
        let Some(row) = found else {
            let known: Vec<String> = sites.iter().map(Site::to_string).collect();
            return Err(Error::request(match width {
                0 => format!("this run has no {site}; it has {}", known.join(", ")),
                _ => format!("{site} has {width} latents, 0 to {}; {latent} is none of them", width - 1),
            }));
        };
        let mut partners = partners(tables, site, latent)?;
        let mut wanted: BTreeMap<(Site, u32), Vec<TopTokenCell>> =
            partners.iter().filter_map(|p| Some(((p.site.clone(), p.latent?), Vec::new()))).collect();
        let mut reader: TableReader<LatentRow> = TableReader::open(&path)?;
        while let Some(rows) = reader.next_rows()? {
            for row in rows {
                if let Some(top) = wanted.get_mut(&(row.site.as_ref().clone(), row.latent)) {
                    *top = row.top;
                }
            }
        }
        for p in &mut partners {
            let top = p.latent.and_then(|latent| wanted.get(&(p.site.clone(), latent)));
            p.top = top.cloned().unwrap_or_default();
        }
        let group = group(tables, site, latent)?;
        let readout = readout(tables, site, latent)?;
        Ok(LatentCard { row, labels, given, partners, group, readout })
    }

    /// For people, in lines of at most `width` characters.
    pub fn as_text(&self, marker: &Marker, width: usize) -> String {
        let mut out = String::new();
        self.write(marker, width.max(40), &mut out).expect("a string takes all");
        out
    }

    fn write(&self, marker: &Marker, width: usize, out: &mut String) -> std::fmt::Result {
        let marker = marker.of(&self.row.site.model);
        let r = &self.row;
        writeln!(out, "{}/{}", r.site, r.latent)?;
        if !r.alive {
            writeln!(out, "dead: it fired on no token, so it has no top-activating tokens and no partners")?;
            return Ok(());
        }
        let documents = format!("in {} document{}", thousands(r.documents), if r.documents == 1 { "" } else { "s" });
        let fired = format!("{} tokens ({:.4} %)", thousands(r.n_active), 100.0 * r.frequency);
        write_wrapped(out, "fired on   ", &[fired, documents], width)?;
        if let Some(share) = r.token_share {
            writeln!(out, "{:<10} explains {:.1} % of its variance", self.given, 100.0 * share.max(0.0))?;
        }
        let max = r.max.map_or("-".into(), |m| format!("{m:.4}"));
        let figures = [format!("max {max}"), format!("mean {:.4e}", r.mean), format!("std {:.4e}", r.std)];
        let over_all = "over all tokens".to_string();
        write_wrapped(out, "activation ", &[figures.as_slice(), &[over_all]].concat(), width)?;
        for (field, shares) in self.shares() {
            let shares: Vec<String> = shares.iter().map(|(v, s)| format!("{} {:.1} %", plain(v), 100.0 * s)).collect();
            write_wrapped(out, &format!("{:<10} ", plain(&field)), &shares, width)?;
        }
        writeln!(out, "\nstrongest tokens")?;
        for top in r.top.iter().take(CONTEXTS_SHOWN) {
            let room = width.saturating_sub(14);
            writeln!(out, "{:>10.3}   {}", top.value, marked(top, marker, room))?;
        }
        for (picks, title) in [(true, "picks"), (false, "is the best partner of")] {
            let rows: Vec<&Partner> = self.partners.iter().filter(|p| p.picks == picks).collect();
            if rows.is_empty() {
                continue;
            }
            writeln!(out, "\n{title}")?;
            for p in rows {
                let head = match p.latent {
                    Some(latent) => format!("  {}/{latent}  ", p.site),
                    None => format!("  {}: nothing  ", p.site),
                };
                let verdict = match &p.row.dropped_by {
                    _ if p.row.kept => Some("kept".to_string()),
                    Some(by) if by != "rank" => Some(format!("dropped by {by}")),
                    _ => None,
                };
                let mut items: Vec<String> = p.row.correlation.map(|r| format!("r {r:.4}")).into_iter().collect();
                // one chance level a best match; none where rows of another document were not counted
                let unknown = p.row.rank == 1 && p.row.correlation.is_some();
                let unknown = unknown.then(|| "chance unknown".to_string());
                items.extend(p.row.significance.null_correlation.map(|r| format!("by chance {r:.4}")).or(unknown));
                items.extend(p.row.significance.point.map(|r| format!("95 % point {r:.4}")));
                items.extend(p.row.significance.q_value.map(|q| format!("q {q:.1e}")));
                items.extend(p.row.significance.margin.map(|m| format!("ahead by {m:.4}")));
                items.extend(p.row.listed.sampling_error.map(|e| format!("error {e:.4}")));
                items.extend(p.row.listed.within_correlation.map(|r| format!("given the {} {r:.4}", self.given)));
                items.extend(p.relation());
                items.extend(picks.then(|| format!("rank {}", p.row.rank)));
                items.extend(p.row.mutual.then(|| "mutual".to_string()));
                items.extend(verdict);
                let mut tokens: Vec<String> = Vec::new();
                for t in p.top.iter().map(|t| shown_token(&t.token)) {
                    if !tokens.contains(&t) && tokens.len() < TOKENS_SHOWN {
                        tokens.push(t);
                    }
                }
                items.append(&mut tokens);
                write_wrapped(out, &head, &items, width)?;
            }
        }
        self.write_readout(width, out)?;
        self.write_group(width, out)
    }

    fn write_readout(&self, width: usize, out: &mut String) -> std::fmt::Result {
        if self.readout.is_empty() {
            return Ok(());
        }
        writeln!(out, "\nread out of other activations")?;
        for (site, row) in &self.readout {
            let found = &row.found;
            let mut items: Vec<String> = found.r_squared.map(|r2| format!("R² {r2:.4}")).into_iter().collect();
            items.extend(found.null.map(|null| format!("by chance {null:.4}")));
            items.push(found.chance_point.map_or("chance unknown".into(), |p| format!("95 % point {p:.4}")));
            items.extend(found.q_value.map(|q| format!("q {q:.1e}")));
            items.extend(row.verdict.map_or(&["undecided"][..], Verdict::in_words).iter().map(|w| (*w).to_string()));
            write_wrapped(out, &format!("  {site}  "), &items, width)?;
        }
        Ok(())
    }

    fn write_group(&self, width: usize, out: &mut String) -> std::fmt::Result {
        let Some(g) = self.group.first() else { return Ok(()) };
        let models = if g.models == 1 { "1 model".to_string() } else { format!("{} models", g.models) };
        writeln!(out, "\nis in group {}", g.group)?;
        let figures = [
            format!("{} of {} latents of {models}", g.kind.as_str(), g.size),
            format!("edges {} of {} compared", g.edges, g.edges_possible),
            format!("lowest r {:.4}", g.min_correlation),
            format!("mean r {:.4}", g.mean_correlation),
        ];
        let within = g.min_within.map(|r| format!("lowest r given the token {r:.4}"));
        let figures: Vec<String> = figures.into_iter().chain(within).collect();
        write_wrapped(out, "  ", &figures, width)?;
        for m in self.group.iter().filter(|m| *m.site != *self.row.site || m.latent != self.row.latent) {
            let mut items = vec![format!("{} of its matches", m.degree)];
            items.extend((!m.best).then(|| "another place stands for its model".to_string()));
            items.extend(m.top.iter().take(TOKENS_SHOWN).map(|t| shown_token(t)));
            write_wrapped(out, &format!("  {}/{}  ", m.site, m.latent), &items, width)?;
        }
        for m in &g.missing {
            let closest = m.hookpoint.as_ref().zip(m.latent).zip(m.correlation);
            let mut items = match closest {
                Some(((hookpoint, latent), r)) => vec![format!("closest {hookpoint}/{latent}"), format!("r {r:.4}")],
                None => vec!["not compared with any of them".to_string()],
            };
            items.extend(
                m.readout_r2
                    .map(|r2| {
                        let point = m.readout_point.map_or("chance unknown".into(), |p| format!("95 % point {p:.4}"));
                        [format!("read out of it R² {r2:.4}"), point]
                    })
                    .into_iter()
                    .flatten(),
            );
            write_wrapped(out, &format!("  lacks {}  ", m.model), &items, width)?;
        }
        Ok(())
    }

    /// Per label field, shares of this latent's labelled firings, largest first; ties by value.
    fn shares(&self) -> Vec<(String, Vec<(String, f64)>)> {
        let mut fields: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
        for (column, sum) in self.labels.iter().zip(&self.row.labels) {
            fields.entry(&column.field).or_default().push((&column.value, sum.map_or(0, |s| s.n_active)));
        }
        let share = |(field, mut values): (&str, Vec<(&str, u64)>)| {
            let total: u64 = values.iter().map(|v| v.1).sum();
            values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
            let shown = values.iter().filter(|v| v.1 > 0);
            let shares = shown.map(|v| (v.0.to_string(), v.1 as f64 / total as f64)).collect();
            (field.to_string(), shares)
        };
        fields.into_iter().map(share).collect()
    }

    /// For programs; `strong` is the byte range of the token in its context.
    pub fn as_json(&self, marker: &Marker) -> Value {
        let r = &self.row;
        let marker = marker.of(&r.site.model);
        let top = |t: &TopTokenCell| {
            json!({ "token": t.token, "value": t.value, "context": t.context, "document": t.document,
                    "strong": marker.place(t).map(|p| [p.start, p.end]) })
        };
        json!({
            "site": r.site.to_string(), "latent": r.latent, "alive": r.alive, "n_active": r.n_active,
            "documents": r.documents, "given_rows": r.given_rows, "token_share": r.token_share,
            "frequency": r.frequency, "mean": r.mean, "std": r.std, "max": r.max,
            "labels": self.shares().into_iter().map(|(f, s)| (f, json!(s))).collect::<serde_json::Map<_, _>>(),
            "top": r.top.iter().map(top).collect::<Vec<_>>(),
            "partners": self.partners.iter().map(|p| json!({
                "site": p.site.to_string(), "latent": p.latent, "picks": p.picks,
                "direction": p.row.direction.as_str(), "correlation": p.row.correlation, "null_correlation": p.row.significance.null_correlation,
                "chance_point": p.row.significance.point, "p_value": p.row.significance.p_value, "q_value": p.row.significance.q_value, "margin": p.row.significance.margin,
                "rank": p.row.rank, "sampling_error": p.row.listed.sampling_error, "n_both": p.row.listed.n_both,
                "token_correlation": p.row.listed.token_correlation, "within_correlation": p.row.listed.within_correlation,
                "target_given_source": p.row.listed.target_given_source, "source_given_target": p.row.listed.source_given_target,
                "jaccard": p.row.listed.jaccard,
                "mutual": p.row.mutual, "kept": p.row.kept, "dropped_by": p.row.dropped_by,
                "top": p.top.iter().map(|t| &t.token).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "readout": self.readout.iter().map(|(site, row)| json!({
                "site": site.to_string(), "readout_r2": row.found.r_squared, "null_r2": row.found.null,
                "chance_point": row.found.chance_point, "p_value": row.found.p_value, "q_value": row.found.q_value,
                "verdict": row.verdict.map(Verdict::as_str),
            })).collect::<Vec<_>>(),
            "group": self.group.first().map(|g| json!({
                "group": g.group, "kind": g.kind.as_str(), "size": g.size, "models": g.models, "edges": g.edges,
                "edges_possible": g.edges_possible, "min_correlation": g.min_correlation, "mean_correlation": g.mean_correlation,
                "min_within": g.min_within,
                "members": self.group.iter().map(|m| json!({
                    "site": m.site.to_string(), "latent": m.latent, "frequency": m.frequency, "degree": m.degree, "best": m.best,
                    "top": m.top,
                })).collect::<Vec<_>>(),
                "missing": g.missing.iter().map(|m| json!({
                    "model": m.model, "hookpoint": m.hookpoint, "latent": m.latent, "correlation": m.correlation,
                    "readout_r2": m.readout_r2, "readout_chance_point": m.readout_point,
                })).collect::<Vec<_>>(),
            })),
        })
    }
}

/// The members of a latent's group, in the table's order; none where it is in none or the run makes no groups.
fn group(tables: &Path, site: &Site, latent: u32) -> Result<Vec<GroupRow>> {
    let path = tables.join("groups.parquet");
    if !path.exists() {
        return Ok(Vec::new());
    }
    // rows of a group stand together, so one is held at a time
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

/// What is read of a latent out of other places' activations, in the table's order; none where the run reads nothing out.
fn readout(tables: &Path, site: &Site, latent: u32) -> Result<Vec<(Site, ReadoutRow)>> {
    let path = tables.join("readout.parquet");
    let mut out = Vec::new();
    if !path.exists() {
        return Ok(out);
    }
    let mut reader: TableReader<ReadoutRow> = TableReader::open(&path)?;
    while let Some(rows) = reader.next_rows()? {
        for row in rows.into_iter().filter(|row| row.latent == latent) {
            let (own, other) = match row.direction {
                Direction::Forward => (&row.pair.source, &row.pair.target),
                Direction::Backward => (&row.pair.target, &row.pair.source),
            };
            if own == site {
                out.push((other.clone(), row));
            }
        }
    }
    Ok(out)
}

/// Rows where the latent picks, and rows of rank 1 where it is picked, in the table's order.
fn partners(tables: &Path, site: &Site, latent: u32) -> Result<Vec<Partner>> {
    let mut out = Vec::new();
    let mut reader: TableReader<MatchRow> = TableReader::open(&tables.join("matches.parquet"))?;
    while let Some(rows) = reader.next_rows()? {
        for row in rows {
            let sides = [(&row.pair.source, row.source_latent), (&row.pair.target, row.target_latent)];
            for (own, other, picks_when) in [(0, 1, Direction::Forward), (1, 0, Direction::Backward)] {
                let picks = row.direction == picks_when;
                let is_it = sides[own].0 == site && sides[own].1 == Some(latent);
                if is_it && (picks || row.rank == 1) {
                    let (site, latent) = (sides[other].0.clone(), sides[other].1);
                    out.push(Partner { site, latent, picks, row: row.clone(), top: Vec::new() });
                }
            }
        }
    }
    Ok(out)
}

/// The context with the strong token in brackets, cut to `room` characters around it.
fn marked(top: &TopTokenCell, marker: &Marker, room: usize) -> String {
    let Some(place) = marker.place(top) else {
        let text: String = plain(&top.context).chars().take(room.saturating_sub(30).max(10)).collect();
        return format!("{} in {text}", shown_token(&top.token));
    };
    let (before, after) = (plain(&top.context[..place.start]), plain(&top.context[place.end..]));
    let strong = plain(&top.context[place]);
    let left = room.saturating_sub(strong.chars().count() + 2);
    let n_before = before.chars().count();
    let keep = n_before.min((left * 2 / 3).max(left.saturating_sub(after.chars().count())));
    let before: String = before.chars().skip(n_before - keep).collect();
    let after: String = after.chars().take(left - keep).collect();
    format!("{before}[{strong}]{after}")
}

/// Text that a terminal may be given: control characters and those that turn the direction of writing spelt out.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\n' => out.push('⏎'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Items behind a head, on as many lines as they need.
fn write_wrapped(out: &mut String, head: &str, items: &[String], width: usize) -> std::fmt::Result {
    let mut line = head.to_string();
    let mut is_empty = true;
    for item in items {
        if !is_empty && line.chars().count() + item.chars().count() + 1 > width {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(head.chars().count().min(width / 2));
        }
        line.push_str(item);
        line.push_str("  ");
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::Significance;
    use crate::matching::groups::GroupKind;
    use crate::table::{LabelSum, Missing, ReadoutNumbers, SitePair, write_table};
    use std::sync::Arc;

    fn tables(dir: &Path) {
        let pair = Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: "b/embed".parse().unwrap() });
        let latent = |site: &Site, latent: u32, alive: bool, token: &str| LatentRow {
            documents: 2,
            given_rows: Some(30),
            token_share: Some(0.25),
            site: Arc::new(site.clone()),
            latent,
            n_active: 4 * u64::from(alive),
            frequency: 0.5,
            mean: 1.0,
            std: 2.0,
            max: alive.then_some(3.0),
            alive,
            top: if alive {
                vec![TopTokenCell {
                    token: token.into(),
                    value: 3.0,
                    context: format!("left\x1b[31m{token}\u{202e}right"),
                    document: "d".into(),
                }]
            } else {
                vec![]
            },
            categories: None,
            labels: vec![Some(LabelSum { n_active: 1, sum: 1.0 }), Some(LabelSum { n_active: 3, sum: 1.0 })],
        };
        let labels = ["de", "en"].map(|v| LabelColumn { field: "lang".into(), value: v.into() }).to_vec();
        let rows =
            [(&pair.source, 0, true), (&pair.source, 1, false), (&pair.target, 0, true), (&pair.target, 1, true)]
                .map(|(s, l, alive)| latent(s, l, alive, &format!(" w{}{l}", s.model)));
        write_table(&dir.join("latents.parquet"), labels, &Default::default(), rows).unwrap();
        let row = |s, t, r, rank, direction, dropped: Option<&str>| MatchRow {
            cosines: Default::default(),
            listed: Default::default(),
            pair: pair.clone(),
            source_latent: s,
            target_latent: t,
            correlation: r,
            significance: Significance::default(),
            exact_tokens: 9,
            sketch_error: Some(0.0),
            rank,
            direction,
            mutual: rank == 1 && t == Some(1) && s == Some(0),
            kept: dropped.is_none(),
            dropped_by: dropped.map(String::from),
        };
        let rows = [
            row(Some(0), Some(1), Some(0.75), 1, Direction::Forward, None),
            row(Some(0), Some(0), Some(0.25), 2, Direction::Forward, Some("rank")),
            row(Some(1), None, None, 1, Direction::Forward, Some("dead")),
            row(Some(0), Some(0), Some(0.25), 1, Direction::Backward, Some("min_correlation")),
            row(Some(0), Some(1), Some(0.75), 1, Direction::Backward, None),
        ];
        write_table(&dir.join("matches.parquet"), (), &Default::default(), rows).unwrap();
        let member = |group: u32, site: &Site, latent: u32, missing: Vec<Missing>| GroupRow {
            group,
            size: 2,
            models: 2,
            kind: GroupKind::Clique,
            edges: 1,
            edges_possible: 1,
            min_correlation: 0.75,
            mean_correlation: 0.75,
            min_within: Some(0.5),
            site: Arc::new(site.clone()),
            latent,
            frequency: 0.5,
            degree: 1,
            best: true,
            top: vec![" wb1".into()],
            missing,
        };
        let missing = vec![
            Missing {
                model: "c".into(),
                hookpoint: Some("embed".into()),
                latent: Some(3),
                correlation: Some(0.125),
                readout_r2: Some(0.375),
                readout_point: Some(0.0625),
            },
            Missing {
                model: "d".into(),
                hookpoint: None,
                latent: None,
                correlation: None,
                readout_r2: None,
                readout_point: None,
            },
        ];
        let rows = [
            member(1, &pair.source, 7, vec![]),
            member(1, &pair.target, 7, vec![]),
            member(2, &pair.source, 0, missing.clone()),
            member(2, &pair.target, 1, missing),
        ];
        write_table(&dir.join("groups.parquet"), (), &Default::default(), rows).unwrap();
        let read = |direction, latent, r_squared, point, verdict| ReadoutRow {
            pair: pair.clone(),
            direction,
            latent,
            partner: None,
            found: ReadoutNumbers { r_squared, chance_point: point, ..ReadoutNumbers::default() },
            verdict,
        };
        let rows = [
            read(Direction::Forward, 0, Some(0.5), Some(0.0625), Some(Verdict::Readable)),
            read(Direction::Forward, 1, None, None, None),
            read(Direction::Backward, 0, Some(0.25), None, None),
        ];
        write_table(&dir.join("readout.parquet"), (), &Default::default(), rows).unwrap();
    }

    #[test]
    fn a_card_has_both_directions_and_nothing_that_drives_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        tables(dir.path());
        let (site, marker) = ("a/embed".parse().unwrap(), Marker::new(None, [12, 4]));
        let card = LatentCard::read(dir.path(), &site, 0).unwrap();
        let text = card.as_text(&marker, 80);
        for part in [
            "fired on   4 tokens",
            "lang       en 75.0 %  de 25.0 %",
            "left\\u{1b}[31m[ wa0]\\u{202e}right",
            "b/embed/1  r 0.7500  chance unknown  rank 1  mutual  kept  \" wb1\"",
            "b/embed/0  r 0.2500  rank 2  \" wb0\"",
            "is the best partner of\n  b/embed/0  r 0.2500  chance unknown  dropped by min_correlation",
            "is in group 2\n  clique of 2 latents of 2 models  edges 1 of 1 compared  lowest r 0.7500",
            "  b/embed/1  1 of its matches  \" wb1\"\n  lacks c  closest embed/3  r 0.1250  read out of it R² 0.3750\n           95 % point 0.0625\n  lacks d  not compared with any of them",
            "read out of other activations\n  b/embed  R² 0.5000  95 % point 0.0625  readable  the other model has it\n           its SAE has no such latent\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
        let narrow = card.as_text(&marker, 48);
        assert!(narrow.lines().all(|l| l.chars().count() <= 48) && narrow.lines().count() >= text.lines().count());
        let json = card.as_json(&marker);
        assert_eq!(json["top"][0]["strong"], json!([9, 13]));
        assert_eq!(json["partners"].as_array().unwrap().len(), 4);
        assert_eq!(json["group"]["members"][1]["site"], "b/embed");
        assert_eq!(json["group"]["missing"][0]["correlation"], 0.125);
        assert_eq!((&json["readout"][0]["verdict"], &json["readout"][1]), (&json!("readable"), &Value::Null));
        let other = LatentCard::read(dir.path(), &"b/embed".parse().unwrap(), 0).unwrap().as_text(&marker, 80);
        assert!(other.contains("  a/embed  R² 0.2500  chance unknown  undecided\n"), "{other}");

        assert!(LatentCard::read(dir.path(), &site, 1).unwrap().as_text(&marker, 80).contains("dead: it fired on no"));
        let far = LatentCard::read(dir.path(), &site, 2).unwrap_err().to_string();
        assert!(far.contains("has 2 latents, 0 to 1"), "{far}");
        let none = LatentCard::read(dir.path(), &"c/embed".parse().unwrap(), 0).unwrap_err().to_string();
        assert!(none.contains("this run has no c/embed; it has a/embed, b/embed"), "{none}");
    }
}
