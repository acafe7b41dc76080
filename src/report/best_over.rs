//! The best over layers: how many latents have a best partner above chance among all places of the other model, which two places are closest by
//! each score, each beside the best by chance of as many. Tables in; lines of the summary, JSON and figures of the page out.

use crate::disk;
use crate::error::Result;
use crate::report::{WIDTH, wrapped};
use crate::table::{BestOverCounts, BestOverScore, RowPairing, TableReader};
use crate::units::thousands;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// What the tables of the best over places hold of each two models.
#[derive(Clone, Debug)]
pub struct BestOverSummary {
    counts: Vec<BestOverCounts>,
    scores: Vec<BestOverScore>,
}

impl BestOverSummary {
    /// Reads them from the folder of the newest tables; `None` where no two models have places to choose from.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path) -> Result<Option<BestOverSummary>> {
        let [counts, scores] =
            ["best_over_counts", "best_over_scores"].map(|name| tables.join(format!("{name}.parquet")));
        if !disk::exists(&counts) {
            return Ok(None);
        }
        let counts: Vec<BestOverCounts> = TableReader::open(&counts)?.read_all()?;
        let counts: Vec<BestOverCounts> =
            counts.into_iter().filter(|row| row.counts.n_places.iter().any(|&n| n > 1)).collect();
        let scores: Vec<BestOverScore> = TableReader::open(&scores)?.read_all()?;
        let scores = scores.into_iter().filter(|s| s.subset == "all" && s.place_pairs > 1).collect();
        Ok((!counts.is_empty()).then_some(BestOverSummary { counts, scores }))
    }

    /// Scores of two models: of mutual matches' decoder rows, and of activations.
    fn scores_of<'a>(&'a self, models: &'a [String; 2]) -> impl Iterator<Item = &'a BestOverScore> {
        self.scores.iter().filter(move |s| {
            [&s.pair.source.model, &s.pair.target.model] == [&models[0], &models[1]]
                && matches!(s.pairing, RowPairing::Mutual | RowPairing::Activations)
        })
    }

    /// Of each two models the counts, and the closest places by each score.
    pub fn rows(&self) -> impl Iterator<Item = (&BestOverCounts, Vec<&BestOverScore>)> {
        self.counts.iter().map(|row| (row, self.scores_of(&row.models).collect()))
    }

    /// For people.
    pub fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nbest over all places (in brackets: by chance, the best of as many)")?;
        let unknown = |n: Option<String>| n.unwrap_or_else(|| "?".into());
        for BestOverCounts { models, counts: c } in &self.counts {
            let count = |n: Option<u64>, null: Option<u64>| {
                format!("{} ({})", unknown(n.map(thousands)), unknown(null.map(thousands)))
            };
            let of = |d: usize| count(c.n_above_chance[d], c.n_above_chance_null[d]);
            let r = c.mean_best[0].map_or("-".to_string(), |r| {
                format!("{r:.3} ({})", unknown(c.mean_best_null[0].map(|r| format!("{r:.3}"))))
            });
            let line = format!(
                "{} x {}, {} x {} places: latents above chance {} and {}; mutual {}, above both chance points {}; mean best r {r}",
                models[0],
                models[1],
                c.n_places[0],
                c.n_places[1],
                of(0),
                of(1),
                count(Some(c.n_mutual), c.n_mutual_null),
                count(c.n_mutual_above_chance, c.n_mutual_above_chance_null),
            );
            writeln!(out, "  {}", wrapped(&line, 4, WIDTH - 2))?;
            let closest = |s: &BestOverScore| {
                let null = s.numbers.null_mean.map_or("?".into(), |v| format!("{v:.3}"));
                let value = unknown(s.numbers.value.map(|v| format!("{v:.3}")));
                let star = if s.pairing == RowPairing::Activations { "*" } else { "" };
                let (source, target) = (s.pair.source.place(), s.pair.target.place());
                format!("{}{star} {source} x {target} {value} ({null})", s.measure)
            };
            let closest: Vec<String> = self.scores_of(models).map(closest).collect();
            if !closest.is_empty() {
                writeln!(out, "  {}", wrapped(&format!("closest places: {}", closest.join("; ")), 4, WIDTH - 2))?;
            }
        }
        Ok(())
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        let row = |BestOverCounts { models, counts: c }: &BestOverCounts| {
            json!({
                "models": models, "places": c.n_places, "n_best": c.n_best,
                "n_above_chance": c.n_above_chance, "n_above_chance_null": c.n_above_chance_null,
                "n_mutual": c.n_mutual, "n_mutual_null": c.n_mutual_null,
                "n_mutual_above_chance": c.n_mutual_above_chance, "n_mutual_above_chance_null": c.n_mutual_above_chance_null,
                "mean_best_correlation": c.mean_best, "null_mean_best_correlation": c.mean_best_null,
                "closest": self.scores_of(models).map(|s| json!({
                    "measure": s.measure, "pairing": s.pairing.as_str(), "source": s.pair.source.place(),
                    "target": s.pair.target.place(), "place_pairs": s.place_pairs, "value": s.numbers.value,
                    "null_mean": s.numbers.null_mean, "null_point": s.numbers.null_point, "null_runs": s.null_runs,
                    "p_value": s.numbers.p_value,
                })).collect::<Vec<_>>(),
            })
        };
        self.counts.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::OverCounts;
    use crate::table::{OverScore, SitePair};
    use std::sync::Arc;

    #[test]
    fn every_figure_has_its_chance_in_brackets_and_lines_fit() {
        let counts = OverCounts {
            n_places: [2, 3],
            n_best: [1600, 2400],
            n_above_chance: [Some(1500), Some(2211)],
            n_above_chance_null: [Some(70), Some(95)],
            mean_best: [Some(0.5125), Some(0.5)],
            mean_best_null: [Some(0.0625), None],
            n_mutual: 700,
            n_mutual_null: Some(655),
            n_mutual_above_chance: Some(690),
            n_mutual_above_chance_null: Some(3),
        };
        let score = |pairing, measure: &str, null_mean| BestOverScore {
            pair: Arc::new(SitePair {
                source: "small-a/resid_post.1".parse().unwrap(),
                target: "small-b/resid_post.3".parse().unwrap(),
            }),
            subset: "all".into(),
            pairing,
            measure: measure.into(),
            place_pairs: 6,
            null_runs: 9,
            numbers: OverScore { value: Some(0.75), null_mean, ..OverScore::default() },
        };
        let summary = BestOverSummary {
            counts: vec![BestOverCounts { models: ["small-a".into(), "small-b".into()], counts }],
            scores: vec![
                score(RowPairing::Mutual, "svcca_k20", None),
                score(RowPairing::Forward, "svcca_k20", None),
                score(RowPairing::Activations, "cka", Some(0.125)),
            ],
        };
        let mut text = String::new();
        summary.write(&mut text).unwrap();
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "small-a x small-b, 2 x 3 places: latents above chance 1 500 (70) and 2 211 (95); mutual 700 (655), above both chance points 690 (3); mean \
             best r 0.512 (0.062)",
            "closest places: svcca_k20 resid_post.1 x resid_post.3 0.750 (?); cka* resid_post.1 x resid_post.3 0.750 (0.125)",
        ] {
            assert!(flat.contains(part), "{part}\n{flat}");
        }
        assert_eq!(summary.as_json()[0]["closest"][1]["null_mean"], 0.125);
    }
}
