//! How do the real run and its controls compare? Their tables are read back, put into one table, written and printed.

use crate::cli::progress::Console;
use crate::disk;
use crate::error::Result;
use crate::report::{Grid, WIDTH, given_in_words, wrapped};
use crate::store::{RunDir, read_tables};
use crate::table::{
    ControlRow, PairRow, REAL, RowPairing, ScoreCell, SimilarityRow, SitePair, TableReader, write_table,
};
use crate::units::thousands;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder of the controls of the run in `directory`.
pub fn folder(directory: &Path) -> PathBuf {
    directory.join("controls")
}

/// The table that compares them.
pub fn table(directory: &Path) -> PathBuf {
    folder(directory).join("controls.parquet")
}

/// Writes that table for the run in `directory` and the controls of these names, and prints it.
///
/// # Errors
/// Those of reading the runs' tables and of writing.
pub fn compare(directory: &Path, names: &[String], voice: Console) -> Result<()> {
    let chosen = read_tables(&RunDir::at(directory)?, |set| {
        let scores: Vec<SimilarityRow> = TableReader::open(&set.path("similarities"))?.read_all()?;
        let given = TableReader::<PairRow>::open(&set.path("pairs"))?.origin().get("given").cloned();
        Ok(Chosen { given, ..Chosen::of(&scores) })
    })?;
    let mut rows = of_run(directory, REAL, &chosen)?;
    for name in names {
        rows.extend(of_run(&folder(directory).join(name), name, &chosen)?);
    }
    rows.sort_by(crate::table::TableRow::order);
    let path = table(directory);
    write_table(&path, (), &BTreeMap::new(), rows.iter().cloned())?;
    voice.controls(&in_words(&rows, &chosen), &as_json(&rows), &path);
    Ok(())
}

/// The scores that the runs are compared by: one of decoder rows and one of activations, the same for all pairs, so
/// that a mean over pairs is a mean of one quantity.
#[derive(Debug, PartialEq)]
struct Chosen {
    rows: Option<(RowPairing, String)>,
    activations: Option<(RowPairing, String)>,
    /// What rows have in common with those that they are compared with, where that is counted.
    given: Option<String>,
}

impl Chosen {
    /// By the scores of the real run: the measure that most pairs have with a null, of these the one that is farthest above it in the mean; of decoder
    /// rows by the first pairing that has any.
    fn of(scores: &[SimilarityRow]) -> Chosen {
        let best = |pairing: RowPairing| {
            let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
            for s in scores.iter().filter(|s| s.subset == "all" && s.pairing == pairing) {
                let Some(distance) = above(s) else { continue };
                match all.iter_mut().find(|(measure, _)| *measure == s.measure) {
                    Some((_, distances)) => distances.push(distance),
                    None => all.push((&s.measure, vec![distance])),
                }
            }
            let key = |of: &[f64]| (of.len(), of.iter().sum::<f64>() / of.len() as f64);
            let best = all.into_iter().reduce(|best, next| if key(&next.1) > key(&best.1) { next } else { best });
            best.map(|(measure, _)| (pairing, measure.to_string()))
        };
        let rows = [RowPairing::Mutual, RowPairing::Forward, RowPairing::Backward];
        Chosen { rows: rows.into_iter().find_map(best), activations: best(RowPairing::Activations), given: None }
    }
}

/// The rows of one run.
fn of_run(directory: &Path, name: &str, chosen: &Chosen) -> Result<Vec<ControlRow>> {
    read_tables(&RunDir::at(directory)?, |set| {
        let reader = TableReader::<PairRow>::open(&set.path("pairs"))?;
        let control = reader.origin().get("control").cloned().filter(|_| name != REAL);
        let pairs = reader.read_all()?;
        let scores: Vec<SimilarityRow> = TableReader::open(&set.path("similarities"))?.read_all()?;
        let cell = |pair: &SitePair, chosen: &Option<(RowPairing, String)>| {
            let (pairing, measure) = chosen.clone()?;
            let is_it = |s: &&SimilarityRow| {
                *s.pair == *pair && s.subset == "all" && s.pairing == pairing && s.measure == measure
            };
            let (value, null_mean) = scores.iter().find(is_it).map_or((None, None), |s| (s.value, s.null_mean));
            Some(ScoreCell { pairing, measure, value, null_mean })
        };
        let row = |row: PairRow| ControlRow {
            rows: cell(&row.pair, &chosen.rows),
            activations: cell(&row.pair, &chosen.activations),
            pair: row.pair,
            run: name.to_string(),
            // a real run that is one itself has no other control's place
            control: control.clone().or_else(|| (name != REAL).then(String::new)),
            tokens: row.tokens,
            counts: row.counts,
        };
        Ok(pairs.into_iter().map(row).collect())
    })
}

/// How far a score is above its null, as a share of the way to 1; `None` where that means nothing.
fn above(score: &SimilarityRow) -> Option<f64> {
    let (value, null) = (score.value?, score.null_mean?);
    let counts = !score.no_power && !score.one_decoder && null < 1.0 && score.measure != "procrustes_rmse";
    counts.then(|| (value - null) / (1.0 - null))
}

/// Of one pair in one run: a figure, what chance gives, and of how many it is counted; `None` where that is not known, or not asked.
type Figures = [Option<f64>; 3];

/// A column of the printed table.
struct Column {
    title: String,
    /// Printed as a whole number; otherwise with three digits behind the point.
    is_count: bool,
    of: fn(&ControlRow) -> Figures,
}

impl Column {
    fn new(title: &str, is_count: bool, of: fn(&ControlRow) -> Figures) -> Column {
        Column { title: title.to_string(), is_count, of }
    }

    /// Means over the pairs of a run, in words; a mean is known where it is of every pair.
    fn in_words(&self, pairs: &[&ControlRow]) -> String {
        let mean = |k: usize| {
            let all: Vec<f64> = pairs.iter().filter_map(|row| (self.of)(row)[k]).collect();
            (all.len() == pairs.len()).then(|| all.iter().sum::<f64>() / all.len() as f64)
        };
        let number = |v: f64| if self.is_count { thousands(v.round() as u64) } else { format!("{v:.3}") };
        let [value, chance, of] = [0, 1, 2].map(|k| mean(k).map(number));
        let Some(value) = value else { return "-".to_string() };
        let of = of.map_or(String::new(), |of| format!(" of {of}"));
        let chance = chance.map_or(String::new(), |chance| format!(" ({chance})"));
        value + &of + &chance
    }
}

/// The columns: counts, then the scores that the runs are compared by.
fn columns(chosen: &Chosen) -> Vec<Column> {
    fn whole(n: u64) -> Option<f64> {
        Some(n as f64)
    }
    fn score(cell: Option<&ScoreCell>) -> Figures {
        [cell.and_then(|s| s.value), cell.and_then(|s| s.null_mean), None]
    }
    let mut out = vec![
        Column::new("alive", true, |r| [whole(r.counts.n_alive_source), None, None]),
        Column::new("mean best r", false, |r| {
            [r.counts.mean_best_correlation_forward, r.counts.null_mean_best_correlation_forward, None]
        }),
        Column::new("mutual", true, |r| [whole(r.counts.n_mutual), r.counts.n_mutual_null.and_then(whole), None]),
        Column::new("above", true, |r| {
            let c = &r.counts;
            [c.n_mutual_above_chance, c.n_mutual_above_chance_null, None].map(|n| n.and_then(whole))
        }),
    ];
    out.extend(chosen.given.as_ref().map(|key| {
        Column::new(&format!("given-{key}"), true, |r| {
            let c = &r.counts;
            // of a pair whose matches have no r given the token nothing is counted
            let known = c.n_mutual_given > 0;
            [c.n_mutual_within, c.n_mutual_within_null, c.n_mutual_given].map(|n| whole(n).filter(|_| known))
        })
    }));
    out.push(Column::new("kept", true, |r| [whole(r.counts.n_kept), r.counts.n_kept_null.and_then(whole), None]));
    out.extend(chosen.rows.iter().map(|(_, measure)| Column::new(measure, false, |r| score(r.rows.as_ref()))));
    let raw = |(_, measure): &(RowPairing, String)| {
        Column::new(&format!("{measure}*"), false, |r| score(r.activations.as_ref()))
    };
    out.extend(chosen.activations.iter().map(raw));
    out
}

/// One line per run, means over its pairs, then what each control is.
fn in_words(rows: &[ControlRow], chosen: &Chosen) -> String {
    // the real run first, then the controls by name
    let mut runs: BTreeMap<(bool, &str), Vec<&ControlRow>> = BTreeMap::new();
    for row in rows {
        runs.entry((row.control.is_some(), &row.run)).or_default().push(row);
    }
    let n_pairs = rows.iter().filter(|r| r.control.is_none()).count();
    let columns = columns(chosen);
    let mut grid = Grid { rows: vec![vec![format!("mean of {n_pairs} pair{}", if n_pairs == 1 { "" } else { "s" })]] };
    grid.rows[0].extend(columns.iter().map(|c| c.title.clone()));
    for ((_, run), pairs) in &runs {
        let cells = columns.iter().map(|column| column.in_words(pairs));
        grid.rows.push(std::iter::once(run.to_string()).chain(cells).collect());
    }
    let mut out = String::from("\n");
    grid.write(&mut out).expect("a string takes all");
    let mut said =
        "in brackets: chance; above and mean best r are high without training too, so compare a row with the real one"
            .to_string();
    said.extend(chosen.given.as_deref().map(|key| format!("; {}", given_in_words(key))));
    if let Some((pairing, measure)) = &chosen.rows {
        said += &format!("; {measure}: of decoder rows of {} matches", pairing.as_str());
    }
    if let Some((_, measure)) = &chosen.activations {
        said += &format!("; {measure}*: of the raw activations");
    }
    if chosen.rows.is_some() || chosen.activations.is_some() {
        said += "; the measures are those farthest above their null in the real run; rows paired wrongly reach the bracket, so only the distance to it counts";
    }
    out += &wrapped(&said, 2, WIDTH);
    out.push('\n');
    for ((_, run), pairs) in &runs {
        if let Some(control) = pairs[0].control.as_ref().filter(|control| !control.is_empty()) {
            out += &wrapped(&format!("{run}: {control}"), 2, WIDTH);
            out.push('\n');
        }
    }
    out
}

fn as_json(rows: &[ControlRow]) -> serde_json::Value {
    let score = |s: &Option<ScoreCell>| {
        s.as_ref().map(|s| {
            serde_json::json!({
                "pairing": s.pairing.as_str(), "measure": s.measure, "value": s.value, "null_mean": s.null_mean,
            })
        })
    };
    let row = |r: &ControlRow| {
        serde_json::json!({
            "source": r.pair.source.to_string(),
            "target": r.pair.target.to_string(),
            "run": r.run,
            "control": r.control,
            "tokens": r.tokens,
            "counts": r.counts,
            "rows": score(&r.rows),
            "activations": score(&r.activations),
        })
    };
    rows.iter().map(row).collect()
}

/// Names of the controls that lie in the run directory, by name, with whether each is finished.
pub fn found(directory: &Path) -> Vec<(String, bool)> {
    let folder = folder(directory);
    let names = disk::names_in(&folder).unwrap_or_default().into_iter();
    let names: Vec<String> =
        names.filter(|name| disk::is_dir(&folder.join(name))).filter_map(|name| name.into_string().ok()).collect();
    let finished = |name: &String| {
        RunDir::at(&folder.join(name))
            .and_then(|run| crate::store::Manifest::read(&run.manifest()))
            .is_ok_and(|m| m.is_finished())
    };
    names.into_iter().map(|name| (name.clone(), finished(&name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::PairCounts;
    use std::sync::Arc;

    fn pair(target: &str) -> Arc<SitePair> {
        Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: target.parse().unwrap() })
    }

    fn score(target: &str, pairing: RowPairing, measure: &str, value: f64, null: f64) -> SimilarityRow {
        SimilarityRow {
            pair: pair(target),
            subset: "all".into(),
            pairing,
            measure: measure.into(),
            value: Some(value),
            n_pairs: 9,
            components_source: None,
            components_target: None,
            no_power: false,
            one_decoder: false,
            null_mean: Some(null),
            null_sd: None,
            null_point: None,
            calibrated: None,
            null_runs: 9,
            p_value: None,
            q_value: None,
        }
    }

    #[test]
    fn one_measure_stands_for_all_pairs_and_is_named() {
        use RowPairing::{Activations, Backward, Forward, Mutual};
        let scores = [
            // farthest in one pair, but not in the mean over both
            score("b/embed", Mutual, "svcca", 0.75, 0.5),
            score("c/embed", Mutual, "svcca", 0.5, 0.5),
            score("b/embed", Mutual, "cka", 0.375, 0.0),
            score("c/embed", Mutual, "cka", 0.375, 0.0),
            // farther, but of one pair alone
            score("b/embed", Mutual, "rsa", 0.9, 0.0),
            SimilarityRow { no_power: true, ..score("c/embed", Mutual, "rsa", 0.9, 0.0) },
            SimilarityRow { subset: "time".into(), ..score("c/embed", Mutual, "rsa", 0.9, 0.0) },
            score("b/embed", Forward, "svcca", 0.99, 0.0),
        ];
        let chosen = Chosen::of(&scores);
        assert_eq!(chosen, Chosen { rows: Some((Mutual, "cka".into())), activations: None, given: None });
        let others = [
            score("b/embed", Backward, "cka", 0.5, 0.25),
            score("b/embed", Activations, "svcca", 0.5, 0.25),
            SimilarityRow { null_mean: None, ..score("b/embed", Forward, "cka", 0.5, 0.25) },
        ];
        let found = Chosen::of(&others);
        assert_eq!(found.rows, Some((Backward, "cka".into())), "what has no null is not compared with one");
        assert_eq!(found.activations, Some((Activations, "svcca".into())));
        assert_eq!(Chosen::of(&[]), Chosen { rows: None, activations: None, given: None });

        let row = |run: &str, control: Option<&str>, value: Option<f64>| ControlRow {
            pair: pair("b/embed"),
            run: run.into(),
            control: control.map(String::from),
            tokens: 9,
            counts: PairCounts {
                n_mutual_given: if value.is_some() { 9 } else { 0 },
                n_mutual_within: 7,
                n_mutual_within_null: 1,
                ..PairCounts::default()
            },
            rows: Some(ScoreCell { pairing: Backward, measure: "cka".into(), value, null_mean: Some(0.25) }),
            activations: None,
        };
        let rows = [row("real", None, Some(0.5)), row("drawn", Some("weights"), None)];
        let text = in_words(&rows, &Chosen { activations: None, given: Some("bigram".into()), ..found });
        for part in [
            "above  given-bigram",
            "7 of 9 (1)",
            "kept            cka\n",
            "0.500 (0.250)\n",
            "cka: of decoder rows of backward matches",
            "drawn: weights",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains('*') && text.lines().all(|l| l.chars().count() <= 100), "{text}");
        assert_eq!(as_json(&rows)[1]["rows"]["pairing"], "backward");
        assert_eq!(as_json(&rows)[1]["rows"]["value"], serde_json::Value::Null);
    }
}
