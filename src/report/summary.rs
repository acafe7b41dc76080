//! The end of a run in one screen: what was compared, how much matched, how alike, the best pairs, how fast. Everything
//! but the speed is read back from the tables, so it can be said again at any time.

use crate::error::Result;
use crate::matching::Direction;
use crate::report::{duration, human_bytes, shown_token, thousands};
use crate::table::{HistoryRow, LatentRow, MatchRow, Pair, SimilarityRow, TableReader, TopToken};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Best pairs shown.
const BEST_SHOWN: usize = 10;
/// Top tokens shown a side.
const TOKENS_SHOWN: usize = 3;

/// How fast a run was.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Tokens counted in this stretch.
    pub tokens: u64,
    /// Seconds by the clock, from the command's start.
    pub wall_seconds: f64,
    /// Processor seconds of this process.
    pub cpu_seconds: f64,
    /// Largest resident memory of this process.
    pub peak_bytes: Option<u64>,
    /// Seconds by the clock in each stage, over all workers; the reader's overlap the others.
    pub stages: Vec<(&'static str, f64)>,
    /// SAEs that were tried at screening their latents, and how many times as fast that was found to be as encoding all of
    /// them: it stays on where that is more than 1.
    pub screening: Vec<(String, f64)>,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    tables: PathBuf,
    tokens: u64,
    snapshots: u32,
    pairs: Vec<PairSummary>,
    /// Why it ended before its corpus did.
    ending: Option<String>,
    speed: Option<Speed>,
    report: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct PairSummary {
    last: HistoryRow,
    n_source: u64,
    n_target: u64,
    kept_forward: u64,
    kept_backward: u64,
    scores: Vec<SimilarityRow>,
    best: Vec<BestPair>,
}

#[derive(Clone, Debug)]
struct BestPair {
    source: u32,
    target: u32,
    correlation: f64,
    source_top: Vec<TopToken>,
    target_top: Vec<TopToken>,
}

impl Summary {
    /// Reads the tables of a run: `tables` is the folder of the newest ones, `history` the history file.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path, history: &Path, speed: Option<Speed>) -> Result<Summary> {
        let history: Vec<HistoryRow> = TableReader::open(history)?.read_all()?;
        let snapshots = history.last().map_or(0, |h| h.snapshot);
        let tokens = history.last().map_or(0, |h| h.tokens);
        let mut pairs: BTreeMap<Arc<Pair>, PairSummary> = (history.into_iter())
            .filter(|h| h.snapshot == snapshots)
            .map(|last| {
                let empty = PairSummary {
                    last: last.clone(),
                    n_source: 0,
                    n_target: 0,
                    kept_forward: 0,
                    kept_backward: 0,
                    scores: Vec::new(),
                    best: Vec::new(),
                };
                (last.pair, empty)
            })
            .collect();
        let similarities: Vec<SimilarityRow> = TableReader::open(&tables.join("similarities.parquet"))?.read_all()?;
        for row in similarities.into_iter().filter(|s| s.subset == "all") {
            if let Some(pair) = pairs.get_mut(&row.pair) {
                pair.scores.push(row);
            }
        }
        let mut matches: TableReader<MatchRow> = TableReader::open(&tables.join("matches.parquet"))?;
        while let Some(rows) = matches.next_rows()? {
            for row in rows.into_iter().filter(|r| r.rank == 1) {
                let Some(pair) = pairs.get_mut(&row.pair) else { continue };
                let kept = u64::from(row.kept);
                match row.direction {
                    Direction::Forward => {
                        pair.n_source += 1;
                        pair.kept_forward += kept;
                        offer(&mut pair.best, &row);
                    }
                    Direction::Backward => {
                        pair.n_target += 1;
                        pair.kept_backward += kept;
                    }
                }
            }
        }
        let mut wanted: BTreeMap<(String, u32), Vec<TopToken>> = BTreeMap::new();
        for (pair, summary) in &pairs {
            for b in &summary.best {
                wanted.insert((pair.source.to_string(), b.source), Vec::new());
                wanted.insert((pair.target.to_string(), b.target), Vec::new());
            }
        }
        let mut latents: TableReader<LatentRow> = TableReader::open(&tables.join("latents.parquet"))?;
        while let Some(rows) = latents.next_rows()? {
            for row in rows {
                if let Some(top) = wanted.get_mut(&(row.site.to_string(), row.latent)) {
                    *top = row.top;
                }
            }
        }
        for (pair, summary) in &mut pairs {
            for b in &mut summary.best {
                b.source_top = wanted[&(pair.source.to_string(), b.source)].clone();
                b.target_top = wanted[&(pair.target.to_string(), b.target)].clone();
            }
        }
        let (tables, pairs) = (tables.to_path_buf(), pairs.into_values().collect());
        Ok(Summary { tables, tokens, snapshots, pairs, ending: None, speed, report: None })
    }

    /// The same with the reason why the run ended before its corpus did.
    #[must_use]
    pub fn with_ending(self, ending: Option<String>) -> Summary {
        Summary { ending, ..self }
    }

    /// With the page that tells more.
    #[must_use]
    pub fn with_report(self, page: PathBuf) -> Summary {
        Summary { report: Some(page), ..self }
    }

    /// For people.
    pub fn as_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a string takes all");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let ending = self.ending.as_ref().map_or(String::new(), |why| format!("; {why}"));
        writeln!(out, "\n{} tokens, {} snapshots{ending}", thousands(self.tokens), self.snapshots)?;
        if self.pairs.len() > 1 {
            self.write_overview(out)?;
        }
        // in full: the pair whose latents match best
        let closeness = |p: &PairSummary| p.last.mean_best_correlation_forward.unwrap_or(f64::NEG_INFINITY);
        let closest = self.pairs.iter().max_by(|a, b| closeness(a).total_cmp(&closeness(b)));
        if let Some(pair) = closest {
            pair.write(out)?;
        }
        if let Some(speed) = &self.speed {
            speed.write(out)?;
        }
        writeln!(out, "\ntables    {}", self.tables.display())?;
        let Some(page) = &self.report else { return Ok(()) };
        writeln!(out, "report    {} (open it in a browser)", page.display())?;
        let run = page.parent().unwrap_or(Path::new(".")).display();
        if let Some((site, latent)) = closest.and_then(|p| Some((&p.last.pair.source, p.best.first()?.source))) {
            writeln!(out, "next      one latent in context:      cognate show {run} {site}/{latent}")?;
            writeln!(out, "          other filters and scores:   cognate score {run} --set KEY=VALUE")?;
        }
        Ok(())
    }

    /// One line a pair, whatever their number.
    pub fn overview(&self) -> String {
        let mut out = String::new();
        self.write_overview(&mut out).expect("a string takes all");
        out
    }

    /// One line a pair.
    fn write_overview(&self, out: &mut String) -> std::fmt::Result {
        let name = |p: &PairSummary| format!("{} x {}", p.last.pair.source, p.last.pair.target);
        let width = self.pairs.iter().map(|p| name(p).chars().count()).max().unwrap_or(0);
        // a pair of raw hookpoints has no scores of decoder rows, so one pair does not tell of all
        let mut measures: Vec<(String, &'static str)> = Vec::new();
        for s in self.pairs.iter().flat_map(|p| &p.scores) {
            let column = (s.measure.clone(), s.pairing.as_str());
            if matches!(column.1, "mutual" | "activations") && !measures.contains(&column) {
                measures.push(column);
            }
        }
        measures.sort_by_key(|(_, pairing)| *pairing == "activations");
        write!(out, "\n{:<width$}   alive a, b   mean best r   kept  mutual", "pair")?;
        for (measure, pairing) in &measures {
            let header = if *pairing == "activations" { format!("{measure}*") } else { measure.clone() };
            write!(out, "  {header:>14}")?;
        }
        writeln!(out)?;
        for p in &self.pairs {
            let last = &p.last;
            let r = last.mean_best_correlation_forward.map_or("-".into(), |r| format!("{r:.3}"));
            let alive = format!("{} {}", last.n_alive_source, last.n_alive_target);
            write!(out, "{:<width$}  {alive:>11}  {r:>12}  {:>5}  {:>6}", name(p), p.kept_forward, last.n_mutual)?;
            for (measure, pairing) in &measures {
                let score = p.scores.iter().find(|s| s.measure == *measure && s.pairing.as_str() == *pairing);
                let text = match score.map(|s| (s.value, s.null_mean)) {
                    Some((Some(v), Some(null))) => format!("{v:.3} ({null:.3})"),
                    Some((Some(v), None)) => format!("{v:.3}"),
                    _ => "-".into(),
                };
                write!(out, "  {text:>14}")?;
            }
            writeln!(out)?;
        }
        writeln!(out, "kept: matches in which the source picks; in brackets the null's mean; * of the raw activations")
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        json!({
            "event": "summary",
            "tokens": self.tokens,
            "snapshots": self.snapshots,
            "ending": self.ending,
            "tables": self.tables,
            "report": self.report,
            "pairs": self.pairs.iter().map(PairSummary::as_json).collect::<Vec<_>>(),
            "speed": self.speed.as_ref().map(Speed::as_json),
        })
    }
}

/// The mutual best matches of highest correlation, best first; ties to the lower source latent.
fn offer(best: &mut Vec<BestPair>, row: &MatchRow) {
    let (Some(source), Some(target), Some(correlation)) = (row.source_latent, row.target_latent, row.correlation)
    else {
        return;
    };
    if !row.mutual || !row.kept {
        return;
    }
    let at = best.partition_point(|b| b.correlation >= correlation);
    if at < BEST_SHOWN {
        best.insert(at, BestPair { source, target, correlation, source_top: Vec::new(), target_top: Vec::new() });
        best.truncate(BEST_SHOWN);
    }
}

impl PairSummary {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (pair, last) = (&self.last.pair, &self.last);
        writeln!(out, "\n{} x {}", pair.source, pair.target)?;
        writeln!(
            out,
            "  alive     {} of {} and {} of {} latents",
            thousands(last.n_alive_source),
            thousands(self.n_source),
            thousands(last.n_alive_target),
            thousands(self.n_target)
        )?;
        let mean = |m: Option<f64>| m.map_or("-".into(), |m| format!("{m:.3}"));
        writeln!(
            out,
            "  matched   {} forward (mean best r {}), {} backward ({}), {} mutual{}",
            thousands(self.kept_forward),
            mean(last.mean_best_correlation_forward),
            thousands(self.kept_backward),
            mean(last.mean_best_correlation_backward),
            thousands(last.n_mutual),
            last.churn.map_or(String::new(), |c| format!("; {:.1} % changed since the last snapshot", 100.0 * c)),
        )?;
        for s in &self.scores {
            let null = match (s.null_mean, s.null_sd, s.p_value) {
                (Some(mean), sd, Some(p)) => {
                    let sd = sd.map_or(String::new(), |sd| format!(" ± {sd:.3}"));
                    format!("null {mean:.3}{sd}, p = {}", shown_p(p))
                }
                _ => "no null".into(),
            };
            let name = format!("{} ({})", s.measure, s.pairing.as_str());
            let power = if s.no_power { "; too few pairs to tell" } else { "" };
            let value = s.value.map_or("undefined".into(), |v| format!("{v:.3}"));
            writeln!(out, "  {name:<28} {value:>9}   {null}, n = {}{power}", thousands(s.n_pairs))?;
        }
        if !self.best.is_empty() {
            writeln!(out, "  best mutual pairs        r   top tokens")?;
        }
        for b in &self.best {
            let tokens = |top: &[TopToken]| {
                let mut seen: Vec<String> = Vec::new();
                for t in top {
                    let t = shown_token(&t.token);
                    if !seen.contains(&t) && seen.len() < TOKENS_SHOWN {
                        seen.push(t);
                    }
                }
                seen.join(" ")
            };
            let ids = format!("{} ~ {}", b.source, b.target);
            writeln!(
                out,
                "  {ids:>17}    {:.4}   {}  ~  {}",
                b.correlation,
                tokens(&b.source_top),
                tokens(&b.target_top)
            )?;
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        let last = &self.last;
        json!({
            "source": last.pair.source.to_string(),
            "target": last.pair.target.to_string(),
            "n_alive": [last.n_alive_source, last.n_alive_target],
            "n_latents": [self.n_source, self.n_target],
            "n_kept": [self.kept_forward, self.kept_backward],
            "n_mutual": last.n_mutual,
            "mean_best_correlation": [last.mean_best_correlation_forward, last.mean_best_correlation_backward],
            "churn": last.churn,
            "scores": self.scores.iter().map(|s| json!({
                "measure": s.measure, "pairing": s.pairing.as_str(), "value": s.value, "n_pairs": s.n_pairs,
                "null_mean": s.null_mean, "null_sd": s.null_sd, "null_runs": s.null_runs, "p_value": s.p_value,
                "no_power": s.no_power,
            })).collect::<Vec<_>>(),
            "best": self.best.iter().map(|b| json!({
                "source_latent": b.source, "target_latent": b.target, "correlation": b.correlation,
                "source_top": b.source_top.iter().map(|t| &t.token).collect::<Vec<_>>(),
                "target_top": b.target_top.iter().map(|t| &t.token).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

fn shown_p(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

impl Speed {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let tokens = self.tokens.max(1) as f64;
        writeln!(
            out,
            "\nspeed     {} tokens/s; {} by the clock, {:.1} CPU seconds ({:.1} a million tokens){}",
            thousands((tokens / self.wall_seconds.max(1e-9)) as u64),
            duration(self.wall_seconds),
            self.cpu_seconds,
            self.cpu_seconds / tokens * 1e6,
            self.peak_bytes.map_or(String::new(), |b| format!("; peak memory {}", human_bytes(b)))
        )?;
        let total: f64 = self.stages.iter().map(|s| s.1).sum();
        let shares: Vec<String> =
            self.stages.iter().map(|(name, s)| format!("{name} {:.1} %", 100.0 * s / total.max(1e-9))).collect();
        writeln!(out, "stages    {}", shares.join(", "))?;
        if let Some(told) = self.screened() {
            writeln!(out, "screened  {told}")?;
        }
        Ok(())
    }

    /// How many SAEs screen their latents, and what that gains.
    fn screened(&self) -> Option<String> {
        let on: Vec<f64> = self.screening.iter().map(|s| s.1).filter(|times| *times > 1.0).collect();
        let n = self.screening.len();
        let (least, most) = (on.iter().copied().fold(f64::INFINITY, f64::min), on.iter().copied().fold(0.0, f64::max));
        Some(match on.len() {
            _ if n == 0 => return None,
            0 => format!("none of {n} SAEs: to rule latents out before they are computed was tried, and no faster"),
            1 => format!("1 of {n} SAEs: latents ruled out before they are computed, {most:.1} times as fast"),
            k => format!(
                "{k} of {n} SAEs: latents ruled out before they are computed, {least:.1} to {most:.1} times as fast"
            ),
        })
    }

    fn as_json(&self) -> Value {
        json!({
            "tokens": self.tokens, "wall_seconds": self.wall_seconds, "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
            "stage_seconds": self.stages.iter().map(|(n, s)| (n.to_string(), json!(s))).collect::<serde_json::Map<_, _>>(),
            "screening": self.screening.iter().map(|(s, t)| (s.clone(), json!(t))).collect::<serde_json::Map<_, _>>(),
        })
    }
}
