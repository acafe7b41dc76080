//! One line per pair, however many: counts with their chance, then scores with their null. Lines stay within [`WIDTH`] where names and
//! measures let them.

use super::pair::PairSummary;
use crate::report::grid::Grid;
use crate::report::{WIDTH, given_in_words, wrapped};
use crate::units::thousands;
use std::fmt::Write;

/// Writes the pairs, grouped by their two models.
pub(super) fn write(pairs: &[PairSummary], out: &mut String) -> std::fmt::Result {
    let models = |p: &PairSummary| [&p.row.pair.source.model, &p.row.pair.target.model].map(String::clone);
    let mut sorted = pairs.to_vec();
    sorted.sort_by_key(models);
    let groups: Vec<&[PairSummary]> = sorted.chunk_by(|a, b| models(a) == models(b)).collect();
    for group in &groups {
        writeln!(out)?;
        counts_of(group).write(out)?;
    }
    let unknown = pairs.iter().any(|p| p.row.no_chance.is_some());
    writeln!(
        out,
        "in brackets: what chance gives, from rows of another document{}{}",
        own_share(pairs),
        if unknown { "; ?: chance unknown" } else { "" }
    )?;
    writeln!(out, "above: mutual matches with r above both latents' 95 % chance points; kept: picked by the source")?;
    if let Some(key) = pairs.iter().find_map(|p| p.given.as_deref()) {
        if pairs.iter().any(|p| p.row.counts.n_mutual_given > 0) {
            writeln!(out, "{}", wrapped(&given_in_words(key), 2, WIDTH))?;
        } else {
            let said = format!(
                "given-{key}: not counted, so r may be nothing but the same {key}; counting begins at the first snapshot or at \
                 16 384 tokens"
            );
            writeln!(out, "{}", wrapped(&said, 2, WIDTH))?;
        }
    }
    for group in &groups {
        for grid in scores_of(group) {
            writeln!(out)?;
            grid.write(out)?;
        }
    }
    let shown = || pairs.iter().flat_map(|p| &p.scores).filter(|s| is_shown(s.pairing.as_str()));
    let has = |raw: bool| shown().any(|s| (s.pairing.as_str() == "activations") == raw);
    let of = match (has(false), has(true)) {
        (true, true) => "scores of matched decoder rows, * of the raw activations",
        (true, false) => "scores of matched decoder rows",
        (false, true) => "* scores of the raw activations",
        (false, false) => return Ok(()),
    };
    // one SAE on both sides is no score to be judged, one without a value has nothing to compare
    let pending = shown().any(|s| s.value.is_some() && s.null_mean.is_none() && !s.one_decoder);
    let pending = if pending { "; ?: not drawn yet, or none asked for" } else { "" };
    writeln!(out, "{}", wrapped(&format!("{of}; in brackets: the mean of shuffled pairs{pending}"), 2, WIDTH))
}

/// How many rows meet their own document in the null, where it is more than one in twenty: chance is then rather too high.
fn own_share(pairs: &[PairSummary]) -> String {
    let most = pairs.iter().filter_map(|p| p.row.own_document_share).fold(0.0, f64::max);
    if most > 0.05 { format!(" ({:.0} % of them met their own)", 100.0 * most) } else { String::new() }
}

/// Pairings whose scores have a column.
fn is_shown(pairing: &str) -> bool {
    matches!(pairing, "mutual" | "activations")
}

fn head(group: &[PairSummary]) -> String {
    group.first().map_or_else(String::new, |p| format!("{} x {}", p.row.pair.source.model, p.row.pair.target.model))
}

fn name(p: &PairSummary) -> String {
    format!("{} x {}", p.row.pair.source.place(), p.row.pair.target.place())
}

fn counts_of(group: &[PairSummary]) -> Grid {
    let given = group.iter().find_map(|p| p.given.as_deref()).unwrap_or("token");
    // one word: with a space it would look like two columns where columns are close
    let given = format!("given-{given}");
    let titles = ["alive", "mean best r", "mutual", "above", &given, "kept"];
    let mut rows = vec![std::iter::once(head(group)).chain(titles.map(String::from)).collect::<Vec<String>>()];
    for p in group {
        let c = &p.row.counts;
        let or_unknown = |null: Option<String>| null.unwrap_or_else(|| "?".into());
        let count = |n: u64, null: Option<u64>| format!("{} ({})", thousands(n), or_unknown(null.map(thousands)));
        let r = c.mean_best_correlation_forward.map_or("-".into(), |r| {
            let null = c.null_mean_best_correlation_forward.map(|null| format!("{null:.3}"));
            format!("{r:.3} ({})", or_unknown(null))
        });
        let above = c.n_mutual_above_chance.map(|n| count(n, c.n_mutual_above_chance_null));
        let given = match c.n_mutual_given {
            0 => "-".to_string(),
            n => {
                format!("{} of {} ({})", thousands(c.n_mutual_within), thousands(n), thousands(c.n_mutual_within_null))
            }
        };
        rows.push(vec![
            name(p),
            format!("{}, {}", thousands(c.n_alive_source), thousands(c.n_alive_target)),
            r,
            count(c.n_mutual, c.n_mutual_null),
            or_unknown(above),
            given,
            count(c.n_kept, c.n_kept_null),
        ]);
    }
    Grid { rows }
}

/// As many tables as the measures need to fit.
fn scores_of(group: &[PairSummary]) -> Vec<Grid> {
    // a pair of raw hookpoints has no scores of decoder rows, so one pair does not tell of all
    let mut measures: Vec<(&str, &'static str)> = Vec::new();
    for s in group.iter().flat_map(|p| &p.scores) {
        let column = (s.measure.as_str(), s.pairing.as_str());
        if is_shown(column.1) && !measures.contains(&column) {
            measures.push(column);
        }
    }
    measures.sort_by_key(|(_, pairing)| *pairing == "activations");
    let grid = |measures: &[(&str, &str)]| {
        let title = |(m, pairing): &(&str, &str)| format!("{m}{}", if *pairing == "activations" { "*" } else { "" });
        let mut rows = vec![std::iter::once(head(group)).chain(measures.iter().map(title)).collect::<Vec<String>>()];
        for p in group {
            let cell = |(measure, pairing): &(&str, &str)| {
                let score = p.scores.iter().find(|s| s.measure == *measure && s.pairing.as_str() == *pairing);
                match score.map(|s| (s.value, s.null_mean)) {
                    // one SAE on both sides agrees with itself by construction
                    _ if score.is_some_and(|s| s.one_decoder) => "one decoder".into(),
                    Some((Some(v), Some(null))) => format!("{v:.3} ({null:.3})"),
                    Some((Some(v), None)) => format!("{v:.3} (?)"),
                    _ => "-".into(),
                }
            };
            rows.push(std::iter::once(name(p)).chain(measures.iter().map(cell)).collect());
        }
        Grid { rows }
    };
    // evenly, in the fewest tables whose lines fit with one space between columns
    for n in 1..=measures.len() {
        let grids: Vec<Grid> = measures.chunks(measures.len().div_ceil(n)).map(grid).collect();
        let fits = |g: &Grid| g.widths().iter().sum::<usize>() + g.widths().len().saturating_sub(1) <= WIDTH;
        if n == measures.len() || grids.iter().all(fits) {
            return grids;
        }
    }
    Vec::new()
}
