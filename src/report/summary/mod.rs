//! The end of a run in one screen: what was compared, what matched and what matches by chance, how alike, the best pairs, how fast.
//! Everything but the speed is read back from the tables, so it can be printed again at any time.

mod overview;
mod pair;
mod speed;

use crate::error::Result;
use crate::matching::Direction;
use crate::report::{
    AgreementSummary, BestOverSummary, Closeness, GroupSummary, ReadoutSummary, WIDTH, alignment_words, closest,
    read_alignment, repeated_words, wrapped,
};
use crate::table::{
    AlignmentRow, HistoryRow, LatentRow, MatchRow, PairRow, SimilarityRow, SitePair, TableReader, TopTokenCell,
};
use crate::units::thousands;
use pair::{BestPair, MinWithin, PairSummary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use speed::Speed;

/// Best pairs shown.
const BEST_SHOWN: usize = 10;

/// The results of a run that the summary prints.
#[derive(Clone, Debug)]
pub struct Summary {
    tables: PathBuf,
    tokens: u64,
    documents: u64,
    snapshots: u32,
    pairs: Vec<PairSummary>,
    /// Groups over several places; `None` where the run makes none.
    groups: Option<GroupSummary>,
    /// The best over places; `None` where there are none to choose from.
    best_over: Option<BestOverSummary>,
    /// How tokens share the rows, by model; none where a row is a token.
    alignment: Vec<AlignmentRow>,
    /// What was read out of activations; `None` where nothing was.
    readout: Option<ReadoutSummary>,
    /// How activations map and decoder rows agree; `None` where that was not asked for.
    agreement: Option<AgreementSummary>,
    /// What was drawn at random in it, in words.
    control: Option<String>,
    /// Models whose weights were drawn at random, with their seeds.
    random_weights: Option<String>,
    /// The caution about contexts that were seen before.
    repeated: Option<String>,
    /// Why it ended before its corpus did.
    ending: Option<String>,
    /// Which share of the documents was read, where not all were.
    sample: Option<String>,
    speed: Option<Speed>,
    report: Option<PathBuf>,
}

impl Summary {
    /// Reads the tables of a run: `tables` is the folder of the newest ones, `history` the history file.
    ///
    /// # Errors
    /// Those of reading a table.
    pub fn read(tables: &Path, history: &Path, speed: Option<Speed>) -> Result<Summary> {
        let history: Vec<HistoryRow> = TableReader::open(history)?.read_all()?;
        let snapshots = history.last().map_or(0, |h| h.snapshot);
        let repeated = history.last().and_then(|h| repeated_words(h.repeated_contexts?, h.repeated_contexts_error?));
        let churn: BTreeMap<Arc<SitePair>, Option<f64>> =
            history.into_iter().filter(|h| h.snapshot == snapshots).map(|h| (h.pair, h.churn)).collect();
        let reader = TableReader::open(&tables.join("pairs.parquet"))?;
        let [control, random_weights] = ["control", "random_weights"].map(|key| reader.origin().get(key).cloned());
        let given = reader.origin().get("given").cloned();
        let rows: Vec<PairRow> = reader.read_all()?;
        let (tokens, documents) = rows.first().map_or((0, 0), |row| (row.tokens, row.documents));
        let summary = |row: PairRow| {
            let churn = churn.get(&row.pair).copied().flatten();
            (
                row.pair.clone(),
                PairSummary {
                    row,
                    churn,
                    given: given.clone(),
                    scores: Vec::new(),
                    best: Vec::new(),
                    min_within: MinWithin::default(),
                },
            )
        };
        let mut pairs: BTreeMap<Arc<SitePair>, PairSummary> = rows.into_iter().map(summary).collect();
        let similarities: Vec<SimilarityRow> = TableReader::open(&tables.join("similarities.parquet"))?.read_all()?;
        for row in similarities.into_iter().filter(|s| s.subset == "all") {
            if let Some(pair) = pairs.get_mut(&row.pair) {
                pair.scores.push(row);
            }
        }
        let mut matches: TableReader<MatchRow> = TableReader::open(&tables.join("matches.parquet"))?;
        while let Some(rows) = matches.next_rows()? {
            for row in rows.into_iter().filter(|r| r.rank == 1 && r.direction == Direction::Forward) {
                if let Some(pair) = pairs.get_mut(&row.pair) {
                    offer(&mut pair.best, &row);
                    pair.min_within.add(&row);
                }
            }
        }
        let mut wanted: BTreeMap<(String, u32), (u64, Vec<TopTokenCell>)> = BTreeMap::new();
        for (pair, summary) in &pairs {
            for b in &summary.best {
                wanted.insert((pair.source.to_string(), b.source), (0, Vec::new()));
                wanted.insert((pair.target.to_string(), b.target), (0, Vec::new()));
            }
        }
        let mut latents: TableReader<LatentRow> = TableReader::open(&tables.join("latents.parquet"))?;
        while let Some(rows) = latents.next_rows()? {
            for row in rows {
                if let Some(latent) = wanted.get_mut(&(row.site.to_string(), row.latent)) {
                    *latent = (row.n_active, row.top);
                }
            }
        }
        for (pair, summary) in &mut pairs {
            for b in &mut summary.best {
                (b.n_active[0], b.source_top) = wanted[&(pair.source.to_string(), b.source)].clone();
                (b.n_active[1], b.target_top) = wanted[&(pair.target.to_string(), b.target)].clone();
            }
        }
        let (groups, best_over) = (GroupSummary::read(tables)?, BestOverSummary::read(tables)?);
        let alignment = read_alignment(tables)?;
        let (readout, agreement) = (ReadoutSummary::read(tables)?, AgreementSummary::read(tables)?);
        let (tables, pairs) = (tables.to_path_buf(), pairs.into_values().collect());
        Ok(Summary {
            tables,
            tokens,
            documents,
            snapshots,
            pairs,
            groups,
            best_over,
            alignment,
            readout,
            agreement,
            control,
            random_weights,
            repeated,
            ending: None,
            sample: None,
            speed,
            report: None,
        })
    }

    /// The same with the share of the documents that was read, in words.
    #[must_use]
    pub fn with_sample(self, sample: Option<String>) -> Summary {
        Summary { sample, ..self }
    }

    /// The same with the reason why the run ended before its corpus did.
    #[must_use]
    pub fn with_ending(self, ending: Option<String>) -> Summary {
        Summary { ending, ..self }
    }

    /// With the page, which shows more.
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

    /// What one row is called: without an alignment, rows are tokens.
    fn row(&self) -> &'static str {
        if self.alignment.is_empty() { "token" } else { "row" }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let said = self.sample.iter().chain(&self.ending);
        let ending = said.map(|what| format!("; {what}")).collect::<String>();
        let head = format!(
            "{} of {}, {}{ending}",
            counted(self.tokens, self.row()),
            counted(self.documents, "document"),
            counted(u64::from(self.snapshots), "snapshot")
        );
        writeln!(out, "\n{}", wrapped(&head, 2, WIDTH))?;
        if let Some(words) = alignment_words(&self.alignment) {
            writeln!(out, "{}", wrapped(&words, 2, WIDTH))?;
        }
        self.write_cautions(out)?;
        if self.pairs.len() > 1 {
            overview::write(&self.pairs, out)?;
        }
        if let Some(best_over) = &self.best_over {
            best_over.write(out)?;
        }
        if let Some(groups) = &self.groups {
            groups.write(out)?;
        }
        if let Some(readout) = &self.readout {
            readout.write(out)?;
        }
        if let Some(agreement) = &self.agreement {
            agreement.write(out)?;
        }
        let shown = self.shown_in_full();
        if let Some((pair, rule)) = shown {
            pair.write(Some(rule).filter(|_| self.pairs.len() > 1), out)?;
            pair.write_caveat(self.control.is_some(), out)?;
        }
        if let Some(speed) = &self.speed {
            speed.write(out, self.row())?;
        }
        // by the name that the newest tables always have
        let sets = self.tables.parent().filter(|folder| folder.ends_with("sets"));
        let tables = sets.map_or_else(|| self.tables.clone(), |sets| sets.with_file_name("tables"));
        writeln!(out, "\ntables    {}", tables.display())?;
        let Some(page) = &self.report else { return Ok(()) };
        writeln!(out, "report    {} (open it in a browser)", page.display())?;
        let run = page.parent().unwrap_or(Path::new(".")).display();
        if let Some((site, latent)) = shown.and_then(|(p, _)| Some((&p.row.pair.source, p.best.first()?.source))) {
            writeln!(out, "next      one latent in context:      cognate show {run} {site}/{latent}")?;
            writeln!(out, "          other filters and scores:   cognate score {run} --set KEY=VALUE")?;
        }
        Ok(())
    }

    /// The closest pair, and the rule by which it is.
    fn shown_in_full(&self) -> Option<(&PairSummary, &'static str)> {
        let of = |p: &PairSummary| {
            let c = &p.row.counts;
            Closeness {
                mean: [c.mean_best_correlation_forward, c.mean_best_correlation_backward],
                chance: [c.null_mean_best_correlation_forward, c.null_mean_best_correlation_backward],
                left_out: p.row.too_few.is_some() || p.row.one_decoder,
            }
        };
        let all: Vec<Closeness> = self.pairs.iter().map(of).collect();
        closest(&all).map(|(k, rule)| (&self.pairs[k], rule))
    }

    /// Why the figures are no evidence: too little text, chance levels that are not known.
    fn write_cautions(&self, out: &mut String) -> std::fmt::Result {
        let mut said: Vec<String> = self.repeated.clone().into_iter().collect();
        for row in self.pairs.iter().map(|p| &p.row) {
            let unknown = row.no_chance.as_ref().map(|why| format!("chance unknown: {why}"));
            // too little text is named as such already
            let unknown = unknown.filter(|_| row.too_few.is_none());
            for caution in row.too_few.iter().cloned().chain(unknown) {
                if !said.contains(&caution) {
                    said.push(caution);
                }
            }
        }
        let several = self.pairs.len() > 1;
        for pair in &self.pairs {
            let name =
                if several { format!("{} x {}: ", pair.row.pair.source, pair.row.pair.target) } else { String::new() };
            said.extend(pair.min_within.caution().map(|caution| format!("{name}{caution}")));
        }
        if let Some(control) = &self.control {
            let control = format!(
                "this run is a control: {control}; whatever agrees here, what was drawn at random did not make it"
            );
            writeln!(out, "{}", wrapped(&control, 9, WIDTH))?;
        }
        said.iter().try_for_each(|caution| writeln!(out, "{}", wrapped(&format!("caution: {caution}"), 9, WIDTH)))
    }

    /// Cautions and one line a pair, whatever their number.
    pub fn overview(&self) -> String {
        let mut out = String::new();
        self.write_cautions(&mut out)
            .and_then(|()| overview::write(&self.pairs, &mut out))
            .and_then(|()| self.best_over.as_ref().map_or(Ok(()), |best| best.write(&mut out)))
            .and_then(|()| self.groups.as_ref().map_or(Ok(()), |groups| groups.write(&mut out)))
            .and_then(|()| self.readout.as_ref().map_or(Ok(()), |readout| readout.write(&mut out)))
            .and_then(|()| self.agreement.as_ref().map_or(Ok(()), |agreement| agreement.write(&mut out)))
            .expect("a string takes all");
        out
    }

    /// For programs.
    pub fn as_json(&self) -> Value {
        json!({
            "event": "summary",
            "tokens": self.tokens,
            "documents": self.documents,
            "snapshots": self.snapshots,
            "control": self.control,
            "random_weights": self.random_weights,
            "repeated_contexts": self.repeated,
            "ending": self.ending,
            "sample": self.sample,
            "tables": self.tables,
            "report": self.report,
            "pairs": self.pairs.iter().map(PairSummary::as_json).collect::<Vec<_>>(),
            "best_over": self.best_over.as_ref().map(BestOverSummary::as_json),
            "alignment": self.alignment.iter().map(|r| json!({
                "model": r.model, "rows": r.rows, "one_to_one": r.one_to_one, "tokens": r.tokens, "tokens_per_row": r.tokens_per_row,
                "bytes": r.bytes, "dropped_bytes": r.dropped_bytes, "unaligned_documents": r.unaligned_documents,
                "unit": r.unit, "cut_units": r.cut_units,
            })).collect::<Vec<_>>(),
            "readout": self.readout.as_ref().map(ReadoutSummary::as_json),
            "agreement": self.agreement.as_ref().map(AgreementSummary::as_json),
            "groups": self.groups.as_ref().map(GroupSummary::as_json),
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
        let point = row.significance.point;
        let within = row.listed.within_correlation.map(|r| [Some(r), row.listed.null_within_correlation]);
        let (source_top, target_top) = (Vec::new(), Vec::new());
        best.insert(
            at,
            BestPair { source, target, correlation, point, within, n_active: [0; 2], source_top, target_top },
        );
        best.truncate(BEST_SHOWN);
    }
}

/// `1 token`, `2 000 tokens`.
fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
