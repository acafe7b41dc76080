//! How do the real run and its controls compare? Their tables read back, set beside each other, written as one table and printed.

use crate::cli::progress::Console;
use crate::error::Result;
use crate::report::wrapped;
use crate::store::{RunDir, read_tables};
use crate::table::{
    ControlRow, PairRow, REAL, RowPairing, ScoreCell, SimilarityRow, SitePair, TableReader, write_table,
};
use crate::units::thousands;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folder of the controls of the run in `directory`.
pub fn folder(directory: &Path) -> PathBuf {
    directory.join("controls")
}

/// The table that sets them beside each other.
pub fn table(directory: &Path) -> PathBuf {
    folder(directory).join("controls.parquet")
}

/// Writes that table for the run in `directory` and the controls of these names, and says what is in it.
///
/// # Errors
/// Those of reading the runs' tables and of writing.
pub fn compare(directory: &Path, names: &[String], voice: Console) -> Result<()> {
    let mut rows = of_run(directory, REAL, &BTreeMap::new())?;
    let chosen = rows.iter().map(|r| (r.pair.clone(), [&r.rows, &r.activations].map(|s| s.measure.clone()))).collect();
    for name in names {
        rows.extend(of_run(&folder(directory).join(name), name, &chosen)?);
    }
    rows.sort_by(crate::table::TableRow::order);
    let path = table(directory);
    write_table(&path, (), &BTreeMap::new(), rows.iter().cloned())?;
    voice.controls(&in_words(&rows), &as_json(&rows), &path);
    Ok(())
}

/// The measures that were chosen in the real run, of decoder rows and of activations.
type Chosen = BTreeMap<Arc<SitePair>, [Option<String>; 2]>;

/// The rows of one run.
fn of_run(directory: &Path, name: &str, chosen: &Chosen) -> Result<Vec<ControlRow>> {
    read_tables(&RunDir::at(directory)?, |set| {
        let reader = TableReader::<PairRow>::open(&set.path("pairs"))?;
        let control = reader.origin().get("control").cloned().filter(|_| name != REAL);
        let pairs = reader.read_all()?;
        let scores: Vec<SimilarityRow> = TableReader::open(&set.path("similarities"))?.read_all()?;
        let cell = |pair: &Arc<SitePair>, pairing: RowPairing, of: usize| {
            let mine = scores.iter().filter(|s| s.pair == *pair && s.subset == "all" && s.pairing == pairing);
            let best = match chosen.get(pair) {
                Some(measures) => mine.clone().find(|s| Some(&s.measure) == measures[of].as_ref()),
                None => (mine.filter_map(|s| Some((above(s)?, s))))
                    .reduce(|best, next| if next.0 > best.0 { next } else { best })
                    .map(|best| best.1),
            };
            best.map_or_else(ScoreCell::default, |s| ScoreCell {
                measure: Some(s.measure.clone()),
                value: s.value,
                null_mean: s.null_mean,
            })
        };
        let row = |row: PairRow| ControlRow {
            rows: cell(&row.pair, RowPairing::Mutual, 0),
            activations: cell(&row.pair, RowPairing::Activations, 1),
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

/// How far a score is above its null, as a share of the way to 1; `None` where that says nothing.
fn above(score: &SimilarityRow) -> Option<f64> {
    let (value, null) = (score.value?, score.null_mean?);
    let counts = !score.no_power && !score.one_decoder && null < 1.0 && score.measure != "procrustes_rmse";
    counts.then(|| (value - null) / (1.0 - null))
}

/// Means over the pairs of a run.
struct Means<'a> {
    run: &'a str,
    control: Option<&'a str>,
    /// Alive source latents, mean best r, mutual, above chance, kept, decoder rows, activations: each with its chance.
    cells: [[Option<f64>; 2]; 7],
}

fn means(rows: &[ControlRow]) -> Vec<Means<'_>> {
    let mut runs: Vec<(bool, &str)> = rows.iter().map(|r| (r.control.is_some(), r.run.as_str())).collect();
    runs.sort_unstable();
    runs.dedup();
    runs.into_iter()
        .map(|(_, run)| {
            let mine: Vec<&ControlRow> = rows.iter().filter(|r| r.run == run).collect();
            let mean = |of: &dyn Fn(&ControlRow) -> Option<f64>| {
                let all: Vec<f64> = mine.iter().filter_map(|r| of(r)).collect();
                (all.len() == mine.len()).then(|| all.iter().sum::<f64>() / all.len() as f64)
            };
            let count = |n: u64| Some(n as f64);
            let cells = [
                [mean(&|r| count(r.counts.n_alive_source)), None],
                [
                    mean(&|r| r.counts.mean_best_correlation_forward),
                    mean(&|r| r.counts.null_mean_best_correlation_forward),
                ],
                [mean(&|r| count(r.counts.n_mutual)), mean(&|r| r.counts.n_mutual_null.and_then(count))],
                [
                    mean(&|r| r.counts.n_mutual_above_chance.and_then(count)),
                    mean(&|r| r.counts.n_mutual_above_chance_null.and_then(count)),
                ],
                [mean(&|r| count(r.counts.n_kept)), mean(&|r| r.counts.n_kept_null.and_then(count))],
                [mean(&|r| r.rows.value), mean(&|r| r.rows.null_mean)],
                [mean(&|r| r.activations.value), mean(&|r| r.activations.null_mean)],
            ];
            Means { run, control: mine.iter().find_map(|r| r.control.as_deref()), cells }
        })
        .collect()
}

const HEADS: [&str; 7] = ["alive", "mean best r", "mutual", "above", "kept", "rows", "activations"];

/// One line a run, means over its pairs, then what each control is.
fn in_words(rows: &[ControlRow]) -> String {
    let all = means(rows);
    let n_pairs = rows.iter().filter(|r| r.control.is_none()).count();
    let number =
        |k: usize, v: f64| if [1, 5, 6].contains(&k) { format!("{v:.3}") } else { thousands(v.round() as u64) };
    let cell = |k: usize, [value, chance]: [Option<f64>; 2]| match (value, chance) {
        (None, _) => "-".to_string(),
        (Some(v), None) => number(k, v),
        (Some(v), Some(c)) => format!("{} ({})", number(k, v), number(k, c)),
    };
    let mut grid = vec![vec![format!("mean of {n_pairs} pair{}", if n_pairs == 1 { "" } else { "s" })]];
    grid[0].extend(HEADS.map(String::from));
    for run in &all {
        let mut line = vec![run.run.to_string()];
        line.extend(run.cells.iter().enumerate().map(|(k, &c)| cell(k, c)));
        grid.push(line);
    }
    let width = |k: usize| grid.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
    let mut out = String::from("\n");
    for row in &grid {
        let cells = (row.iter().enumerate()).map(|(k, text)| match k {
            0 => format!("{text:<0$}", width(k)),
            _ => format!("  {text:>0$}", width(k)),
        });
        out += cells.collect::<String>().trim_end();
        out.push('\n');
    }
    out += "in brackets: chance; rows, activations: the score that is farthest above its null in the real run\n";
    for run in &all {
        if let Some(control) = run.control.filter(|control| !control.is_empty()) {
            out += &wrapped(&format!("{}: {control}", run.run), 2, crate::report::WIDTH);
            out.push('\n');
        }
    }
    out
}

fn as_json(rows: &[ControlRow]) -> serde_json::Value {
    let score = |s: &ScoreCell| serde_json::json!({ "measure": s.measure, "value": s.value, "null_mean": s.null_mean });
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
    let Ok(entries) = std::fs::read_dir(folder(directory)) else { return Vec::new() };
    let mut names: Vec<String> = (entries.filter_map(std::result::Result::ok))
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    let finished = |name: &String| {
        RunDir::at(&folder(directory).join(name))
            .and_then(|run| crate::store::Manifest::read(&run.manifest()))
            .is_ok_and(|m| m.is_finished())
    };
    names.into_iter().map(|name| (name.clone(), finished(&name))).collect()
}
