//! `cognate diff`: do two runs hold the same numbers? Table by table, what differs and where the most.

use crate::disk;
use crate::error::{Error, Result};
use crate::store::{FoundTables, Manifest, RunDir, TableSet, check_in_set, read_tables};
use crate::table::{ColumnDiff, TableDiff, compare};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// At most this many differing parts of two fingerprints are spelled out.
const MAX_PARTS: usize = 8;

/// Compares two run directories, or two Parquet files, and prints to `out` what differs. `true`: the same tables with the
/// same numbers. How far the runs are and what they were asked is printed too, and decides nothing.
///
/// # Errors
/// `Request` when there is nothing to compare, `State` when tables are not as they were published, `Input` when one cannot be
/// read, `Machine` when `out` cannot be written.
pub fn diff(a: &Path, b: &Path, out: &mut dyn Write) -> Result<bool> {
    for path in [a, b] {
        if !disk::exists(path) {
            return Err(Error::request(format!(
                "{} does not exist; give two run directories or two Parquet files",
                path.display()
            )));
        }
    }
    if disk::is_file(a) && disk::is_file(b) {
        check_in_set(a)?;
        check_in_set(b)?;
        let found = compare(a, b)?;
        say_table(out, "tables", &found)?;
        return Ok(found.same_numbers());
    }
    if disk::is_file(a) || disk::is_file(b) {
        return Err(Error::request(format!(
            "{} and {}: give two run directories, or two Parquet files",
            a.display(),
            b.display()
        )));
    }
    say_runs(out, a, b)?;
    let [run_a, run_b] = [RunDir::at(a)?, RunDir::at(b)?];
    let found = with_tables(&run_a, |set_a| with_tables(&run_b, |set_b| compare_sets([a, b], [set_a, set_b])))?;
    if found.is_empty() {
        return Err(Error::request(format!("neither {} nor {} holds a table yet", a.display(), b.display())));
    }
    let mut same = true;
    for (name, found) in &found {
        match found {
            Ok(found) => say_table(out, name, found)?,
            Err(only_in) => say(out, format!("{name}: only in {}", only_in.display()))?,
        }
        same &= found.as_ref().is_ok_and(TableDiff::same_numbers);
    }
    let [x, y] = [a, b].map(crate::cli::controls::table);
    if disk::is_file(&x) && disk::is_file(&y) {
        let found = compare(&x, &y)?;
        say_table(out, "controls/controls.parquet", &found)?;
        same &= found.same_numbers();
    }
    say(out, if same { "same numbers" } else { "not the same" }.to_string())?;
    Ok(same)
}

/// Reads the newest tables of a run; an error where there are none.
fn with_tables<T>(run: &RunDir, read: impl Fn(Option<&TableSet>) -> Result<T>) -> Result<T> {
    match TableSet::look(run)? {
        FoundTables::None => read(None),
        _ => read_tables(run, |set| read(Some(set))),
    }
}

/// A table's name, and how it differs or in which run alone it is.
type Compared = (String, std::result::Result<TableDiff, PathBuf>);

fn compare_sets(roots: [&Path; 2], sets: [Option<&TableSet>; 2]) -> Result<Vec<Compared>> {
    let names = sets.map(|set| set.map(|s| s.record().tables.keys().collect::<BTreeSet<_>>()).unwrap_or_default());
    let all: BTreeSet<&String> = names.iter().flatten().copied().collect();
    (all.into_iter())
        .map(|name| {
            let paths = [0, 1].map(|k: usize| sets[k].filter(|_| names[k].contains(name)).map(|s| s.dir().join(name)));
            let found = match &paths {
                [Some(x), Some(y)] => Ok(compare(x, y)?),
                [first, _] => Err(roots[usize::from(first.is_none())].to_path_buf()),
            };
            Ok((format!("tables/{name}"), found))
        })
        .collect()
}

/// Contents of the manifests, where both can be read.
fn say_runs(out: &mut dyn Write, a: &Path, b: &Path) -> Result<()> {
    let manifest = |root: &Path| RunDir::at(root).and_then(|run| Manifest::read(&run.manifest())).ok();
    let (Some(x), Some(y)) = (manifest(a), manifest(b)) else { return Ok(()) };
    if x.rows != y.rows {
        say(out, format!("saved sums: of {} rows in {}, of {} in {}", x.rows, a.display(), y.rows, b.display()))?;
    }
    let names: BTreeSet<&String> = x.parts.keys().chain(y.parts.keys()).collect();
    let differing: Vec<&String> = names.into_iter().filter(|n| x.parts.get(*n) != y.parts.get(*n)).collect();
    // of a digest its beginning is enough to see that it is another
    let short = |part: &String| match part.len() {
        64 if part.bytes().all(|b| b.is_ascii_hexdigit()) => format!("{}…", &part[..12]),
        _ => part.clone(),
    };
    let side = |m: &Manifest, name: &str| m.parts.get(name).map_or_else(|| "nothing".to_string(), short);
    for name in differing.iter().take(MAX_PARTS) {
        say(out, format!("asked: {name} is {} in the first, {} in the second", side(&x, name), side(&y, name)))?;
    }
    if differing.len() > MAX_PARTS {
        say(out, format!("asked: {} more differ", differing.len() - MAX_PARTS))?;
    }
    Ok(())
}

fn say_table(out: &mut dyn Write, name: &str, found: &TableDiff) -> Result<()> {
    let [n_a, n_b] = found.n_rows;
    if found.identical_bytes {
        return say(out, format!("{name}: identical bytes, {n_a} rows"));
    }
    if found.same_numbers() {
        return say(out, format!("{name}: same numbers, {n_a} rows (bytes differ)"));
    }
    say(out, format!("{name}: {} rows differ ({n_a} and {n_b} rows)", found.n_rows_differ))?;
    for (side, word) in ["first", "second"].iter().enumerate() {
        if let Some(key) = &found.first_only[side] {
            say(out, format!("  {} rows only in the {word}, for example {key}", found.n_only[side]))?;
        }
        if !found.columns_only[side].is_empty() {
            say(
                out,
                format!("  columns only in the {word}, or of another type: {}", found.columns_only[side].join(", ")),
            )?;
        }
    }
    found.columns.iter().try_for_each(|column| say(out, format!("  {}", column_line(column))))
}

fn column_line(column: &ColumnDiff) -> String {
    let ColumnDiff { name, n_differ, first, largest } = column;
    match largest {
        Some(l) => {
            format!(
                "{name}: {n_differ} differ, most by {:.3e} at {}: {} against {}",
                l.difference, l.key, l.values[0], l.values[1]
            )
        }
        None => format!("{name}: {n_differ} differ, first at {}: {} against {}", first.0, first.1, first.2),
    }
}

fn say(out: &mut dyn Write, line: String) -> Result<()> {
    writeln!(out, "{line}").map_err(|e| Error::machine(format!("write the comparison: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Direction, Significance};
    use crate::table::{MatchRow, SitePair, write_into};
    use std::sync::Arc;

    fn run(dir: &Path, correlation: f64, n: u32) {
        let run = RunDir::open_or_create(dir).unwrap();
        let pair = Arc::new(SitePair { source: "a/embed".parse().unwrap(), target: "b/embed".parse().unwrap() });
        let rows = (0..n).map(|i| MatchRow {
            cosines: Default::default(),
            listed: Default::default(),
            pair: pair.clone(),
            source_latent: Some(i),
            target_latent: Some(i),
            correlation: Some(correlation),
            significance: Significance::default(),
            exact_tokens: 9,
            sketch_error: Some(0.0),
            rank: 1,
            direction: Direction::Forward,
            mutual: true,
            kept: true,
            dropped_by: None,
        });
        let mut set = run.new_set().unwrap();
        write_into(&mut set, (), &Default::default(), rows).unwrap();
        set.publish(Default::default(), true).unwrap();
        let mut manifest = Manifest::new("f".into(), [("seed".to_string(), n.to_string())].into());
        manifest.rows = u64::from(n);
        run.commit(&manifest).unwrap();
    }

    fn said(a: &Path, b: &Path) -> (bool, String) {
        let mut out = Vec::new();
        let same = diff(a, b, &mut out).unwrap();
        (same, String::from_utf8(out).unwrap())
    }

    #[test]
    fn two_runs_are_compared_table_by_table() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        run(&a, 0.5, 3);
        run(&b, 0.5, 3);
        run(&c, 0.75, 4);
        assert_eq!(said(&a, &b), (true, "tables/matches.parquet: identical bytes, 3 rows\nsame numbers\n".to_string()));
        let (same, text) = said(&a, &c);
        assert!(!same);
        for line in [
            "asked: seed is 3 in the first, 4 in the second",
            "tables/matches.parquet: 3 rows differ (3 and 4 rows)",
            "1 rows only in the second, for example a embed b embed forward 3 3",
            "correlation: 3 differ, most by 2.500e-1 at a embed b embed forward 0 0: 0.5 against 0.75",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let tables = [&a, &c].map(|run| run.join("tables/matches.parquet"));
        assert!(!said(&tables[0], &tables[1]).0);
        std::fs::remove_file(&tables[1]).unwrap();
        let hurt = diff(&a, &c, &mut Vec::new()).unwrap_err().to_string();
        assert!(hurt.contains("matches.parquet is missing"), "{hurt}");
        std::fs::remove_file(c.join("tables")).unwrap();
        std::fs::remove_dir_all(c.join("sets")).unwrap();
        let (same, text) = said(&a, &c);
        assert!(!same && text.contains("only in") && text.contains("not the same"), "{text}");
        for (x, y) in [(&a, &tables[0]), (&a, &dir.path().join("none")), (&c, &c)] {
            assert!(diff(x, y, &mut Vec::new()).is_err());
        }
    }
}
