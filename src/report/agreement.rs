//! Are matched directions the same direction? How well the activations of a pair's places map into each other, and how decoder rows of its kept matches
//! agree under the map and on the logits, each beside chance. Tables `maps` and `pairs` in; lines of the summary, JSON and figures of the page out.

use crate::disk;
use crate::error::Result;
use crate::matching::Direction;
use crate::report::grid::Grid;
use crate::report::{WIDTH, wrapped};
use crate::similarity::{MapKind, Units};
use crate::table::{CosineScores, MapNumbers, MapRow, PairRow, SitePair, TableReader};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// Share of other matches' partners that lie above their own 95 % point, at most.
const BY_CHANCE: &str = "5 %";

/// What is known of one pair; nothing of what was not asked for.
#[derive(Clone, Debug)]
pub struct PairAgreement {
    pair: Arc<SitePair>,
    /// Its maps, forward, then backward.
    pub maps: Vec<MapRow>,
    /// Cosines of kept matches' decoder rows under the map, where the source picks.
    pub mapped: CosineScores,
    /// Correlations of what they do to the logits.
    pub logits: CosineScores,
}

impl PairAgreement {
    /// R² of a map and its chance; `None` where there is no such map.
    pub fn map(&self, kind: MapKind, direction: Direction) -> Option<MapNumbers> {
        self.maps.iter().find(|m| (m.kind, m.direction) == (kind, direction)).map(|m| m.score)
    }

    fn is_known(&self) -> bool {
        !self.maps.is_empty() || self.mapped.mean.is_some() || self.logits.mean.is_some()
    }
}

/// Every pair of which something of it is known.
#[derive(Clone, Debug)]
pub struct AgreementSummary {
    pairs: Vec<PairAgreement>,
}

impl AgreementSummary {
    /// Reads it from the folder of the newest tables; `None` where neither maps nor effects on the logits were asked for, or not yet made.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path) -> Result<Option<AgreementSummary>> {
        let path = tables.join("maps.parquet");
        let maps: Vec<MapRow> = if disk::exists(&path) { TableReader::open(&path)?.read_all()? } else { Vec::new() };
        let rows: Vec<PairRow> = TableReader::open(&tables.join("pairs.parquet"))?.read_all()?;
        let of = |row: PairRow| PairAgreement {
            maps: maps.iter().filter(|m| m.pair == row.pair).cloned().collect(),
            pair: row.pair,
            mapped: row.mapped,
            logits: row.logits.0,
        };
        let mut pairs: Vec<PairAgreement> = rows.into_iter().map(of).filter(PairAgreement::is_known).collect();
        // pairs of the same two models are adjacent
        pairs.sort_by_key(|p| models(&p.pair).map(String::clone));
        Ok((!pairs.is_empty()).then_some(AgreementSummary { pairs }))
    }

    /// Of one pair; `None` where nothing is known.
    pub fn of(&self, pair: &SitePair) -> Option<&PairAgreement> {
        self.pairs.iter().find(|p| *p.pair == *pair)
    }

    /// For people: a line for each pair in either table.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        let units = self.pairs.iter().flat_map(|p| &p.maps).map(|m| m.units).next();
        if let Some(units) = units {
            let has_rotation = self.pairs.iter().flat_map(|p| &p.maps).any(|m| m.kind == MapKind::Orthogonal);
            let mut columns = vec![("map", MapKind::LeastSquares)];
            columns.extend(has_rotation.then_some(("rotation", MapKind::Orthogonal)));
            let titles = columns.iter().flat_map(|(title, _)| [(*title).to_string(), format!("{title} back")]);
            let cells = |p: &PairAgreement| -> Vec<String> {
                let both = |kind| [Direction::Forward, Direction::Backward].map(|d| map_cell(p.map(kind, d)));
                columns.iter().flat_map(|&(_, kind)| both(kind)).collect()
            };
            self.write_grids(&titles.collect::<Vec<_>>(), &cells, out)?;
            let rotation = if has_rotation { "; rotation: the best rotation with one scale in its place" } else { "" };
            let unit = if units == Units::Std { ", each dimension in units of its deviation" } else { "" };
            let said = format!(
                "map: R², the share of the target's activations that a linear map of the source's explains, on documents that it was \
                 not fitted on{unit}; back: the other way{rotation}; in brackets: with rows of another document"
            );
            writeln!(out, "{}", wrapped(&said, 2, WIDTH))?;
        }
        let has = |of: fn(&PairAgreement) -> CosineScores| self.pairs.iter().any(|p| of(p).mean.is_some());
        let kinds: [(&str, &str, fn(&PairAgreement) -> CosineScores); 2] = [
            ("mapped cosine", "mean cosine of kept matches' decoder rows, the source's taken over by the map", |p| {
                p.mapped
            }),
            ("logit cosine", "mean correlation of what the two rows do to the logits", |p| p.logits),
        ];
        let kinds: Vec<_> = kinds.into_iter().filter(|(.., of)| has(*of)).collect();
        if kinds.is_empty() {
            return Ok(());
        }
        let titles: Vec<String> = kinds.iter().flat_map(|(title, ..)| [(*title).to_string(), "above".into()]).collect();
        self.write_grids(&titles, &|p| kinds.iter().flat_map(|(.., of)| cosine_cells(of(p))).collect(), out)?;
        let words: Vec<String> = kinds.iter().map(|(title, what, _)| format!("{title}: {what}")).collect();
        let said = format!(
            "{}; in brackets: with the partner of another kept match; above: the share of kept matches above the 95 % point of such partners",
            words.join("; ")
        );
        writeln!(out, "{}", wrapped(&said, 2, WIDTH))
    }

    /// A table for each two models.
    fn write_grids(
        &self,
        titles: &[String],
        cells: &dyn Fn(&PairAgreement) -> Vec<String>,
        out: &mut String,
    ) -> std::fmt::Result {
        for group in self.pairs.chunk_by(|a, b| models(&a.pair) == models(&b.pair)) {
            let [a, b] = models(&group[0].pair);
            let head = format!("{a} x {b}");
            let mut grid = Grid { rows: vec![[std::slice::from_ref(&head), titles].concat()] };
            for p in group {
                let name = format!("{} x {}", p.pair.source.place(), p.pair.target.place());
                grid.rows.push([vec![name], cells(p)].concat());
            }
            writeln!(out)?;
            grid.write(out)?;
        }
        Ok(())
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let cosines = |s: &CosineScores| {
            s.mean.map(|mean| {
                json!({ "mean": mean, "null_mean": s.null_mean, "null_point": s.null_point, "above": s.share_above })
            })
        };
        let row = |p: &PairAgreement| {
            json!({
                "source": p.pair.source.to_string(), "target": p.pair.target.to_string(),
                "maps": p.maps.iter().map(|m| json!({
                    "direction": m.direction.as_str(), "map": m.kind.as_str(), "units": m.units.as_str(), "tokens": m.tokens,
                    "map_r2": m.score.r_squared, "null_r2": m.score.null,
                })).collect::<Vec<_>>(),
                "mapped_cosine": cosines(&p.mapped), "logit_cosine": cosines(&p.logits),
            })
        };
        self.pairs.iter().map(row).collect()
    }
}

fn models(pair: &SitePair) -> [&String; 2] {
    [&pair.source.model, &pair.target.model]
}

/// Three digits, and no sign before 0.
fn three(x: f64) -> String {
    let shown = format!("{x:.3}");
    if shown == "-0.000" { "0.000".into() } else { shown }
}

fn with_chance(value: Option<f64>, null: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{} ({})", three(v), null.map_or("?".into(), three)))
}

fn map_cell(score: Option<MapNumbers>) -> String {
    with_chance(score.and_then(|s| s.r_squared), score.and_then(|s| s.null))
}

fn cosine_cells(s: CosineScores) -> [String; 2] {
    let above = s.share_above.map_or("-".into(), |share| format!("{:.0} % ({BY_CHANCE})", 100.0 * share));
    [with_chance(s.mean, s.null_mean), above]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &str, target: &str) -> PairAgreement {
        PairAgreement {
            pair: Arc::new(SitePair { source: source.parse().unwrap(), target: target.parse().unwrap() }),
            maps: Vec::new(),
            mapped: CosineScores::default(),
            logits: CosineScores::default(),
        }
    }

    fn map(p: &PairAgreement, kind: MapKind, direction: Direction, r_squared: f64, null: Option<f64>) -> MapRow {
        let score = MapNumbers { r_squared: Some(r_squared), null };
        MapRow { pair: p.pair.clone(), direction, kind, units: Units::Raw, ridge: 1e-3, tokens: 900, score }
    }

    #[test]
    fn every_figure_has_its_chance_in_brackets_and_lines_fit() {
        let mut one = of("small-a/resid_post.10", "small-b/resid_post.11");
        let mut two = of("small-a/resid_post.10", "small-c/resid_post.3");
        let least = MapKind::LeastSquares;
        one.maps = vec![
            map(&one, least, Direction::Forward, 0.6125, Some(-0.000_4)),
            map(&one, least, Direction::Backward, 0.5, None),
        ];
        one.mapped = CosineScores {
            mean: Some(0.4375),
            null_mean: Some(0.0625),
            null_point: Some(0.25),
            share_above: Some(0.925),
        };
        two.logits = CosineScores { mean: Some(0.25), null_mean: Some(-0.0625), ..CosineScores::default() };
        let mut summary = AgreementSummary { pairs: vec![one, two] };
        let text = |s: &AgreementSummary| {
            let mut out = String::new();
            s.write(&mut out).unwrap();
            assert!(out.lines().all(|l| l.chars().count() <= WIDTH), "{out}");
            out
        };
        let said = text(&summary);
        for part in [
            "small-a x small-b                        map   map back\nresid_post.10 x resid_post.11  0.613 (0.000)  0.500 (?)\n",
            "small-a x small-c             map  map back\nresid_post.10 x resid_post.3    -         -\n",
            "mapped cosine       above  logit cosine  above\nresid_post.10 x resid_post.11  0.438 (0.062)  92 % (5 %)             -      -\n",
            "0.250 (-0.062)      -\n",
            "fitted on; back: the other way; in brackets",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
        assert!(!said.contains("rotation"), "{said}");
        let turned = map(&summary.pairs[1], MapKind::Orthogonal, Direction::Backward, 0.5, Some(0.125));
        summary.pairs[1].maps.push(turned);
        let said = text(&summary);
        assert!(said.contains("rotation  rotation back") && said.contains("0.500 (0.125)"), "{said}");
        let json = summary.as_json();
        assert_eq!((&json[0]["mapped_cosine"]["null_point"], &json[0]["logit_cosine"]), (&json!(0.25), &Value::Null));
        assert_eq!((&json[0]["maps"][1]["map_r2"], &json[0]["maps"][1]["null_r2"]), (&json!(0.5), &Value::Null));
        assert_eq!(json[1]["maps"][0]["map"], "orthogonal");
        summary.pairs.remove(0);
        summary.pairs[0].maps.clear();
        let said = text(&summary);
        assert!(!said.contains("map") && said.contains("logit cosine: mean correlation"), "{said}");
    }
}
