//! What is known of one latent: the tables read for it. How that is shown is left to `text.rs` and `json.rs`.

use super::group::GroupCard;
use crate::disk;
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::matching::{Direction, Relation};
use crate::report::AgreementSummary;
use crate::table::{LabelColumn, LatentRow, MatchRow, ReadoutRow, TableReader, TopTokenCell};
use crate::units::thousands;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How two latents relate is stated only from so many rows on, on which at least one of them fires.
const FEW_FIRINGS: f64 = 20.0;

/// What is known of one latent.
#[derive(Clone, Debug)]
pub struct LatentCard {
    pub(super) row: LatentRow,
    labels: Vec<LabelColumn>,
    /// What rows have in common with those that they are compared with.
    pub(super) given: String,
    pub(super) partners: Vec<Partner>,
    /// Its group; `None` where it is in none.
    pub(super) group: Option<GroupCard>,
    /// What is read of it out of other places' activations, with the place; none where nothing was read out.
    pub(super) readout: Vec<(Site, ReadoutRow)>,
    /// How decoder rows of each pair's matches agree; `None` where that was not asked for.
    pub(super) agreement: Option<AgreementSummary>,
}

#[derive(Clone, Debug)]
pub(super) struct Partner {
    pub site: Site,
    pub latent: Option<u32>,
    /// The latent shown picks; otherwise it is picked.
    pub picks: bool,
    pub row: MatchRow,
    pub top: Vec<TopTokenCell>,
}

impl Partner {
    /// How the latent shown and this one lie to each other by the tokens on which they fire.
    pub fn relation(&self) -> Option<String> {
        let listed = &self.row.listed;
        let (source, target) = (listed.target_given_source?, listed.source_given_target?);
        let is_source = self.picks == (self.row.direction == Direction::Forward);
        // of the latent shown, and of this one
        let (own, other) = if is_source { (source, target) } else { (target, source) };
        let shown = if is_source { self.row.source_latent } else { self.row.target_latent }?;
        let [both, rows] = [listed.n_both?, listed.counted_rows?];
        let over = format!("both on {} of {} rows", thousands(both), thousands(rows));
        let figures = listed.jaccard.map_or(format!(" ({over})"), |j| format!(" (Jaccard {j:.2}, {over})"));
        // rows on which one of them fires at least
        let either = listed.jaccard.filter(|&j| j > 0.0).map_or(0.0, |j| both as f64 / j);
        if either < FEW_FIRINGS {
            return Some(format!("too few firings to tell how the two relate{figures}"));
        }
        let words = match Relation::of(own, other) {
            Relation::Same => format!("fires on the same tokens as {shown}"),
            Relation::SourceInTarget => format!("contains {shown}: fires on {:.0} % of {shown}'s tokens", 100.0 * own),
            Relation::TargetInSource => {
                format!("part of {shown}: {shown} fires on {:.0} % of its tokens", 100.0 * other)
            }
            Relation::Overlap => format!("fires on {:.0} % of {shown}'s tokens", 100.0 * own),
        };
        Some(words + &figures)
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
        let (group, readout) = (GroupCard::read(tables, site, latent)?, readout(tables, site, latent)?);
        let agreement = AgreementSummary::read(tables)?;
        Ok(LatentCard { row, labels, given, partners, group, readout, agreement })
    }

    /// Per label field, shares of this latent's labelled firings, largest first; ties by value.
    pub(super) fn shares(&self) -> Vec<(String, Vec<(String, f64)>)> {
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
}

/// What is read of a latent out of other places' activations, in the table's order; none where the run reads nothing out.
fn readout(tables: &Path, site: &Site, latent: u32) -> Result<Vec<(Site, ReadoutRow)>> {
    let path = tables.join("readout.parquet");
    let mut out = Vec::new();
    if !disk::exists(&path) {
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
