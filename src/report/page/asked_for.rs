//! The optional tables (readouts, maps, the best over places, controls) as figures of the page.

use super::data::{AgreementData, ControlData, OverData, PageData, VerdictsData, digits};
use crate::error::Result;
use crate::matching::Direction;
use crate::report::{AgreementSummary, PairAgreement, ReadoutSummary};
use crate::table::{
    BestOverCounts, BestOverScore, ControlRow, CosineScores, ReadoutRow, ScoreCell, SitePair, TableReader, Verdict,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Fills what was read out of activations, where anything was: of the latents that pick in the matches shown, and counts of all.
pub(super) fn read_readout(tables: &Path, pairs: &[Arc<SitePair>], data: &mut PageData) -> Result<()> {
    let Some(summary) = ReadoutSummary::read(tables)? else { return Ok(()) };
    data.readouts = Verdict::ALL.map(Verdict::as_str).to_vec();
    let mut place: Vec<[BTreeMap<u32, usize>; 2]> = Vec::new();
    for (pair, sides) in pairs.iter().zip(&mut data.matches) {
        place.push([0, 1].map(|d: usize| {
            let pickers = if d == 0 { &sides[d].source } else { &sides[d].target };
            pickers.iter().copied().zip(0..).collect()
        }));
        for (matches, direction) in sides.iter_mut().zip([Direction::Forward, Direction::Backward]) {
            let Some(counts) = summary.of(pair, direction) else { continue };
            let (here, unknown, by_chance) = (counts.here, counts.unknown, counts.by_chance);
            matches.readout_counts = Some(VerdictsData { here, unknown, by_chance });
            let n = matches.source.len();
            (matches.readout, matches.readout_point, matches.readable) = (vec![None; n], vec![None; n], vec![-1; n]);
        }
    }
    let mut reader: TableReader<ReadoutRow> = TableReader::open(&tables.join("readout.parquet"))?;
    while let Some(rows) = reader.next_rows()? {
        for row in rows {
            let Some(p) = pairs.iter().position(|pair| *pair == row.pair) else { continue };
            let d = usize::from(row.direction == Direction::Backward);
            let Some(&k) = place[p][d].get(&row.latent) else { continue };
            let matches = &mut data.matches[p][d];
            matches.readout[k] = row.found.r_squared.map(|r2| digits(r2, 4));
            matches.readout_point[k] = row.found.chance_point.map(|r2| digits(r2, 4));
            matches.readable[k] =
                row.verdict.map_or(-1, |v| Verdict::ALL.iter().position(|w| *w == v).unwrap_or(0) as i8);
        }
    }
    Ok(())
}

/// Fills how activations map and decoder rows agree, where either was asked for.
///
/// # Errors
/// Those of reading a table.
pub(super) fn read_agreement(tables: &Path, pairs: &[Arc<SitePair>], data: &mut PageData) -> Result<()> {
    let Some(summary) = AgreementSummary::read(tables)? else { return Ok(()) };
    let short = |x: Option<f64>| x.map(|x| digits(x, 4));
    let cosines = |s: CosineScores| s.mean.map(|_| [s.mean, s.null_mean, s.null_point, s.share_above].map(short));
    let of = |p: &PairAgreement| AgreementData {
        maps: (p.maps.iter())
            .map(|m| {
                let back = u8::from(m.direction == Direction::Backward);
                (m.kind.as_str(), back, short(m.score.r_squared), short(m.score.null))
            })
            .collect(),
        units: p.maps.first().map(|m| m.units.as_str()),
        mapped: cosines(p.mapped),
        logits: cosines(p.logits),
    };
    data.agreement = pairs.iter().map(|pair| summary.of(pair).map(of)).collect();
    Ok(())
}

/// The best over places of two models as the page shows it.
pub(super) fn over_data(
    (BestOverCounts { models, counts: c }, scores): (&BestOverCounts, Vec<&BestOverScore>),
) -> OverData {
    let short = |x: Option<f64>| x.map(|x| digits(x, 4));
    OverData {
        models: models.clone(),
        places: c.n_places,
        above: [0, 1].map(|d: usize| [c.n_above_chance[d], c.n_above_chance_null[d]]),
        of: c.n_best,
        mutual: [Some(c.n_mutual), c.n_mutual_null],
        mutual_above: [c.n_mutual_above_chance, c.n_mutual_above_chance_null],
        mean: [short(c.mean_best[0]), short(c.mean_best_null[0])],
        closest: (scores.into_iter())
            .map(|s| {
                let places = format!("{} × {}", s.pair.source.place(), s.pair.target.place());
                let (value, null) = (short(s.numbers.value), short(s.numbers.null_mean));
                (s.measure.clone(), s.pairing.as_str(), places, value, null, s.place_pairs, s.numbers.p_value)
            })
            .collect(),
    }
}

/// Fills the controls from the table that compares them with the run.
///
/// # Errors
/// Those of reading it.
pub(super) fn read_controls(path: &Path, data: &mut PageData) -> Result<()> {
    let name = |s: usize| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint);
    let names: Vec<[String; 2]> = data.pairs.iter().map(|pair| pair.map(name)).collect();
    let short = |x: Option<f64>| x.map(|x| digits(x, 4));
    let cell = |s: Option<ScoreCell>| s.map(|s| (s.measure, s.pairing.as_str(), short(s.value), short(s.null_mean)));
    for row in TableReader::<ControlRow>::open(path)?.read_all()? {
        let of = [row.pair.source.to_string(), row.pair.target.to_string()];
        let Some(pair) = names.iter().position(|pair| *pair == of) else { continue };
        let c = row.counts;
        data.controls.push(ControlData {
            pair,
            name: Some(row.run).filter(|_| row.control.is_some()),
            what: row.control,
            tokens: row.tokens,
            alive: [c.n_alive_source, c.n_alive_target],
            mean: [short(c.mean_best_correlation_forward), short(c.null_mean_best_correlation_forward)],
            mutual: [Some(c.n_mutual), c.n_mutual_null],
            above: [c.n_mutual_above_chance, c.n_mutual_above_chance_null],
            given: (c.n_mutual_given > 0).then_some([c.n_mutual_within, c.n_mutual_within_null]),
            kept: [Some(c.n_kept), c.n_kept_null],
            scores: [cell(row.rows), cell(row.activations)],
        });
    }
    // the run itself first
    data.controls.sort_by_key(|c| (c.pair, c.name.is_some()));
    Ok(())
}
