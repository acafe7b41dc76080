//! From views and notes to tables: what worker 0 of process 0 knows, says and commits. No dataflow here.

use crate::corpus::Tokenizer;
use crate::engine::encode::Loaded;
use crate::engine::fold::flags_of;
use crate::engine::message::{Control, Note, SavedFile, SpaceSnapshot, ViewRow};
use crate::engine::shared::{Shared, Stage};
use crate::engine::{Event, Observer, SnapshotFacts};
use crate::error::Result;
use crate::ids::{BatchIndex, Site};
use crate::linalg::Matrix;
use crate::matching::{Direction, Partner, Verdict};
use crate::moments::{CoMoment, CrossCoMoment, LabelKey};
use crate::plan::{Plan, RawPair};
use crate::similarity::{Moments, MomentsMeasure, Permutations, compare_rows, moments_scores};
use crate::spec::{NullAt, Pairing, StopRule};
use crate::store::{Environment, FileRecord, Manifest, RunDir, StateFile, StateLayout};
use crate::table::{HistoryRow, LabelColumn, LabelSum, LatentRow, MatchRow, Row, SimilarityRow, TopToken, write_table};
use rayon::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The maintained views of one pair and direction.
#[derive(Clone, Debug, Default)]
struct View {
    /// `[n_latents][rank]`
    best: Vec<Vec<Option<Partner>>>,
    /// Verdict on the best match, `[n_latents]`.
    judged: Vec<Option<Verdict>>,
    /// Best partner at the snapshot before, `u32::MAX` for none; empty before the first.
    before: Vec<u32>,
}

/// What worker 0 knows.
pub struct Publisher {
    plan: Arc<Plan>,
    loaded: Arc<Loaded>,
    tokenizer: Arc<Tokenizer>,
    run: Arc<RunDir>,
    shared: Arc<Shared>,
    observer: Observer,
    /// `[n_pairs]`, for each direction.
    views: Vec<[View; 2]>,
    /// Mutual best: `[n_pairs][source] -> target`.
    mutual: Vec<BTreeMap<u32, u32>>,
    history: Vec<HistoryRow>,
    parts: (String, BTreeMap<String, String>),
    /// What the manifest says beside.
    extra: serde_json::Value,
}

const FORWARD: usize = 0;
const BACKWARD: usize = 1;

/// What arrived for one batch that has something due.
#[derive(Default)]
pub struct Due {
    pub control: Option<Control>,
    pub deltas: Vec<(ViewRow, isize)>,
    pub spaces: BTreeMap<usize, Arc<SpaceSnapshot>>,
    pub moments: BTreeMap<usize, Arc<CoMoment>>,
    pub cross_moments: BTreeMap<usize, Arc<CrossCoMoment>>,
    pub saved: Vec<SavedFile>,
}

impl Due {
    /// Takes a note in.
    pub fn note(&mut self, note: Note) {
        match note {
            Note::Due(control) => self.control = Some(control),
            Note::Space(s) => {
                self.spaces.insert(s.space, s);
            }
            Note::Moments(k, m) => {
                self.moments.insert(k, m);
            }
            Note::CrossMoments(k, m) => {
                self.cross_moments.insert(k, m);
            }
            Note::Saved(file) => self.saved.push(file),
        }
    }
}

impl Publisher {
    /// A publisher that has said nothing yet.
    pub fn new(
        plan: Arc<Plan>,
        loaded: Arc<Loaded>,
        tokenizer: Arc<Tokenizer>,
        run: Arc<RunDir>,
        shared: Arc<Shared>,
        observer: Observer,
        extra: serde_json::Value,
    ) -> Self {
        let views = (plan.pairs.iter())
            .map(|pair| {
                [pair.source, pair.target].map(|space| {
                    let n = plan.spaces[space].width;
                    View {
                        best: vec![vec![None; plan.spec.estimate.best]; n],
                        judged: vec![None; n],
                        before: Vec::new(),
                    }
                })
            })
            .collect();
        let mutual = vec![BTreeMap::new(); plan.pairs.len()];
        let parts = (crate::plan::fingerprint(&plan.fingerprint_parts), plan.fingerprint_parts.clone());
        Publisher { plan, loaded, tokenizer, run, shared, observer, views, mutual, history: Vec::new(), parts, extra }
    }

    /// Reads back what a checkpoint holds of the publisher.
    ///
    /// # Errors
    /// `State` when the file is not what the plan expects.
    pub fn restore(&mut self, manifest: &Manifest) -> Result<()> {
        let mut file = self.run.read_state(manifest, PUBLISHED)?;
        for (p, pair) in self.plan.pairs.clone().iter().enumerate() {
            for (d, space) in [pair.source, pair.target].into_iter().enumerate() {
                let name = format!("before.{p}.{d}");
                let before: Vec<u32> = file.tensor(&name)?;
                if !before.is_empty() && before.len() != self.plan.spaces[space].width {
                    return Err(crate::error::Error::state(format!(
                        "state file {PUBLISHED}: {name} has another width"
                    )));
                }
                self.views[p][d].before = before;
            }
        }
        self.history = serde_json::from_value(file.metadata()["history"].clone())
            .map_err(|e| crate::error::Error::state(format!("state file {PUBLISHED}: history: {e}")))?;
        let numbers: Vec<f64> = file.tensor("history")?;
        let mut numbers = numbers.into_iter();
        for number in self.history.iter_mut().flat_map(numbers_of) {
            let saved = numbers.next().ok_or_else(|| {
                crate::error::Error::state(format!("state file {PUBLISHED}: the history lacks numbers"))
            })?;
            *number = Some(saved).filter(|n| !n.is_nan());
        }
        self.look_whether_settled();
        Ok(())
    }

    /// Does what is due after a batch: brings the views up to date, publishes, commits.
    ///
    /// # Errors
    /// Those of writing; `Input` or `State` from a score that meets a non-finite number.
    pub fn settle(&mut self, t: BatchIndex, due: Due) -> Result<()> {
        self.update(due.deltas);
        let Some(control) = due.control else { return Ok(()) };
        debug_assert_eq!(control.t, t);
        let shared = self.shared.clone();
        if let Some(snapshot) = control.snapshot {
            shared.timed(Stage::Publish, || {
                self.publish(snapshot, &control, &due.spaces, &due.moments, &due.cross_moments)
            })?;
        }
        if control.checkpoint {
            shared.timed(Stage::Checkpoint, || self.commit(&control, due.saved))?;
        }
        Ok(())
    }

    fn update(&mut self, deltas: Vec<(ViewRow, isize)>) {
        let mut net: BTreeMap<ViewRow, isize> = BTreeMap::new();
        for (row, diff) in deltas {
            *net.entry(row).or_default() += diff;
        }
        // what is gone first, so that a row that changed ends with its new value
        for wanted in [-1, 1] {
            for (row, _) in net.iter().filter(|(_, diff)| diff.signum() == wanted) {
                self.apply(row, wanted > 0);
            }
        }
    }

    fn apply(&mut self, row: &ViewRow, come: bool) {
        match *row {
            ViewRow::Best { direction, pair, latent, rank, partner, correlation } => {
                self.views[pair as usize][side(direction)].best[latent as usize][rank as usize] =
                    come.then_some(Partner { latent: partner, correlation });
            }
            ViewRow::Mutual { pair, source, target } => {
                let mutual = &mut self.mutual[pair as usize];
                if come {
                    mutual.insert(source, target);
                } else {
                    mutual.remove(&source);
                }
            }
            ViewRow::Judged { direction, pair, latent, verdict } => {
                self.views[pair as usize][side(direction)].judged[latent as usize] = come.then_some(verdict);
            }
        }
    }

    fn is_mutual(&self, pair: usize, direction: Direction, latent: u32, partner: u32) -> bool {
        let (source, target) = match direction {
            Direction::Forward => (latent, partner),
            Direction::Backward => (partner, latent),
        };
        self.mutual[pair].get(&source) == Some(&target)
    }

    fn publish(
        &mut self,
        snapshot: u32,
        control: &Control,
        spaces: &BTreeMap<usize, Arc<SpaceSnapshot>>,
        moments: &BTreeMap<usize, Arc<CoMoment>>,
        cross_moments: &BTreeMap<usize, Arc<CrossCoMoment>>,
    ) -> Result<()> {
        let origin = self.origin(control.rows);
        write_table(&self.run.table("latents"), label_columns(&self.plan, spaces), &origin, self.latent_rows(spaces))?;
        write_table(&self.run.table("matches"), (), &origin, self.match_rows(spaces))?;
        let with_null = control.last || self.plan.spec.estimate.null.at == NullAt::Snapshot;
        let similarities = self.score(moments, cross_moments, with_null)?;
        write_table(&self.run.table("similarities"), (), &origin, similarities.iter().cloned())?;
        let rows = self.history_rows(snapshot, control.rows, spaces, &similarities);
        self.history.extend(rows.iter().cloned());
        self.look_whether_settled();
        write_table(&self.run.history("history"), self.history_measures(), &origin, self.history.iter().cloned())?;
        let facts = SnapshotFacts { snapshot, tokens: control.rows, pairs: rows };
        (self.observer)(Event::Snapshot(facts));
        Ok(())
    }

    /// What the tables say of where they come from.
    fn origin(&self, tokens: u64) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("run".to_string(), self.plan.spec.name.clone()),
            ("fingerprint".to_string(), self.parts.0.clone()),
            ("tokens".to_string(), tokens.to_string()),
        ])
    }

    fn latent_rows<'a>(
        &'a self,
        spaces: &'a BTreeMap<usize, Arc<SpaceSnapshot>>,
    ) -> impl Iterator<Item = LatentRow> + 'a {
        let columns = label_columns(&self.plan, spaces);
        let fields = &self.plan.spec.corpus.labels;
        let keys: Vec<LabelKey> = (columns.iter())
            .map(|c| (fields.iter().position(|f| *f == c.field).expect("a column of a field"), c.value.clone()))
            .collect();
        spaces.iter().flat_map(move |(s, known)| {
            let site = Arc::new(self.plan.spaces[*s].site.clone());
            let keys = keys.clone();
            let n = known.sums.d_sae();
            // decoding the contexts is most of the work, so a stretch of latents is done by all threads at once
            (0..n).step_by(LATENTS_AT_ONCE).flat_map(move |from| {
                let stretch = from..(from + LATENTS_AT_ONCE).min(n);
                stretch.into_par_iter().map(|i| self.latent_row(&site, known, i, &keys)).collect::<Vec<LatentRow>>()
            })
        })
    }

    fn latent_row(&self, site: &Arc<Site>, known: &SpaceSnapshot, i: usize, labels: &[LabelKey]) -> LatentRow {
        let sums = &known.sums;
        let top = |t: &crate::moments::TopToken| TopToken {
            token: self.tokenizer.token_text(t.token()),
            value: t.value,
            context: self.tokenizer.decode(&t.context).unwrap_or_default(),
            document: t.document.to_string(),
        };
        let label = |key| known.labels.get(key).map(|c| LabelSum { n_active: c.n_active[i], sum: c.sum[i] });
        LatentRow {
            site: site.clone(),
            latent: i as u32,
            n_active: sums.n_active[i],
            frequency: sums.n_active[i] as f64 / sums.n_rows.max(1) as f64,
            mean: sums.mean(i).unwrap_or(0.0),
            std: sums.std(i).unwrap_or(0.0),
            max: sums.is_alive(i).then(|| sums.max[i]),
            alive: sums.is_alive(i),
            top: known.top[i].iter().map(top).collect(),
            labels: labels.iter().map(label).collect(),
        }
    }

    fn match_rows<'a>(
        &'a self,
        spaces: &'a BTreeMap<usize, Arc<SpaceSnapshot>>,
    ) -> impl Iterator<Item = MatchRow> + 'a {
        (0..self.plan.pairs.len()).flat_map(move |p| {
            let pair = Arc::new(self.table_pair(p));
            [Direction::Forward, Direction::Backward].into_iter().flat_map(move |direction| {
                let pair = pair.clone();
                let n = self.views[p][side(direction)].best.len() as u32;
                (0..n).flat_map(move |latent| self.matches_of(&pair, p, direction, latent, spaces))
            })
        })
    }

    fn table_pair(&self, p: usize) -> crate::table::Pair {
        let (source, target) = self.plan.pair_sites(p);
        crate::table::Pair { source: source.clone(), target: target.clone() }
    }

    /// The rows of one picking latent.
    fn matches_of(
        &self,
        pair: &Arc<crate::table::Pair>,
        p: usize,
        direction: Direction,
        latent: u32,
        spaces: &BTreeMap<usize, Arc<SpaceSnapshot>>,
    ) -> Vec<MatchRow> {
        let view = &self.views[p][side(direction)];
        let row = |partner: Option<Partner>, rank: u32, verdict: Verdict| {
            let other = partner.map(|p| p.latent);
            let (source_latent, target_latent) = match direction {
                Direction::Forward => (Some(latent), other),
                Direction::Backward => (other, Some(latent)),
            };
            MatchRow {
                pair: pair.clone(),
                source_latent,
                target_latent,
                correlation: partner.map(|p| p.correlation.value()),
                rank,
                direction,
                mutual: rank == 1 && other.is_some_and(|o| self.is_mutual(p, direction, latent, o)),
                kept: verdict == Verdict::Kept,
                dropped_by: verdict.dropped_by().map(str::to_string),
            }
        };
        let partners = &view.best[latent as usize];
        if partners[0].is_none() {
            let own = match direction {
                Direction::Forward => self.plan.pairs[p].source,
                Direction::Backward => self.plan.pairs[p].target,
            };
            let flags = flags_of(&spaces[&own].sums, latent as usize, self.plan.spec.estimate.filters.min_active);
            return vec![row(None, 1, flags.without_partner())];
        }
        (partners.iter().enumerate())
            .take_while(|(_, partner)| partner.is_some())
            .map(|(rank, partner)| {
                let verdict = match rank {
                    0 => view.judged[latent as usize].expect("every best match is judged"),
                    _ => Verdict::Rank,
                };
                row(*partner, rank as u32 + 1, verdict)
            })
            .collect()
    }

    /// Kept matches of a pair as (source, target), in order of the picking latent.
    fn kept(&self, pair: usize, pairing: Pairing) -> Vec<(usize, usize)> {
        let direction = if pairing == Pairing::Backward { Direction::Backward } else { Direction::Forward };
        let view = &self.views[pair][side(direction)];
        (0..view.best.len())
            .filter(|&i| view.judged[i] == Some(Verdict::Kept))
            .filter_map(|i| view.best[i][0].map(|p| (i as u32, p.latent)))
            .filter(|&(i, j)| pairing != Pairing::Mutual || self.is_mutual(pair, direction, i, j))
            .map(
                |(i, j)| {
                    if direction == Direction::Forward { (i as usize, j as usize) } else { (j as usize, i as usize) }
                },
            )
            .collect()
    }

    fn score(
        &self,
        moments: &BTreeMap<usize, Arc<CoMoment>>,
        cross_moments: &BTreeMap<usize, Arc<CrossCoMoment>>,
        with_null: bool,
    ) -> Result<Vec<SimilarityRow>> {
        let estimate = &self.plan.spec.estimate;
        let mut out = Vec::new();
        for p in 0..self.plan.pairs.len() {
            let pair = self.plan.pairs[p];
            let (source, target) = self.plan.pair_sites(p);
            let table_pair = Arc::new(self.table_pair(p));
            let row = |pairing: crate::table::Pairing, score: crate::similarity::Score| SimilarityRow {
                pair: table_pair.clone(),
                subset: "all".into(),
                pairing,
                measure: score.measure.to_string(),
                value: score.value,
                n_pairs: score.n_pairs as u64,
                components_source: score.components.map(|c| c.0 as u32),
                components_target: score.components.map(|c| c.1 as u32),
                no_power: score.no_power,
                null_mean: score.null.map(|n| n.mean),
                null_sd: score.null.and_then(|n| n.sd),
                null_runs: score.null.map_or(0, |n| n.runs as u32),
                p_value: score.null.map(|n| n.p_value),
            };
            let saes = (&self.loaded.saes[pair.source], &self.loaded.saes[pair.target]);
            for &pairing in &estimate.pairings {
                // a hookpoint's own dimensions have no decoder rows
                let (Some(a), Some(b), false) = (saes.0, saes.1, estimate.measures.is_empty()) else { break };
                let (rows, columns): (Vec<usize>, Vec<usize>) = self.kept(p, pairing).into_iter().unzip();
                let stream = format!("null/rows {source} {target} {}", pairing.as_str());
                let (p, q) = (widened_rows(a.decoder_rows(), &rows), widened_rows(b.decoder_rows(), &columns));
                let runs = if with_null { estimate.null.permutations as usize } else { 0 };
                let nulls = Permutations::Seeded { seed: self.plan.spec.seed, stream: &stream, runs };
                let scores = compare_rows(&p, &q, &estimate.measures, nulls)?;
                out.extend(scores.into_iter().map(|s| row(pairing.into(), s)));
            }
            if !estimate.activation_measures.is_empty() {
                // with activation measures there is one for every pair
                let RawPair { source: a, target: b, .. } = self.plan.raw_pairs[p];
                let cross = &cross_moments[&p];
                let blocks =
                    Moments { n: cross.n_rows as usize, cxx: &moments[&a].c, cyy: &moments[&b].c, cxy: &cross.c };
                let measures: Vec<MomentsMeasure> =
                    estimate.activation_measures.iter().filter_map(|m| MomentsMeasure::of(*m)).collect();
                let scores = moments_scores(&blocks, &measures, &cross.nulls)?;
                out.extend(scores.into_iter().map(|s| row(crate::table::Pairing::Activations, s)));
            }
        }
        out.sort_by(Row::order);
        Ok(out)
    }

    fn history_measures(&self) -> Vec<String> {
        let estimate = &self.plan.spec.estimate;
        let rows =
            estimate.pairings.iter().flat_map(|p| estimate.measures.iter().map(move |m| format!("{}.{m}", p.as_str())));
        rows.chain(estimate.activation_measures.iter().map(|m| format!("activations.{m}"))).collect()
    }

    fn history_rows(
        &mut self,
        snapshot: u32,
        tokens: u64,
        spaces: &BTreeMap<usize, Arc<SpaceSnapshot>>,
        similarities: &[SimilarityRow],
    ) -> Vec<HistoryRow> {
        let measures = self.history_measures();
        let mut out = Vec::new();
        for p in 0..self.plan.pairs.len() {
            let pair = self.plan.pairs[p];
            let table_pair = Arc::new(self.table_pair(p));
            let mean_best = |view: &View| {
                let best: Vec<f64> = view.best.iter().filter_map(|b| b[0].map(|p| p.correlation.value())).collect();
                (!best.is_empty()).then(|| best.iter().sum::<f64>() / best.len() as f64)
            };
            let alive = |s: usize| (0..spaces[&s].sums.d_sae()).filter(|&i| spaces[&s].sums.is_alive(i)).count() as u64;
            let [forward, backward] = &self.views[p];
            let values = (measures.iter())
                .map(|name| {
                    let is_it = |r: &&SimilarityRow| {
                        r.pair == table_pair && format!("{}.{}", r.pairing.as_str(), r.measure) == *name
                    };
                    similarities.iter().find(is_it).and_then(|r| r.value)
                })
                .collect();
            out.push(HistoryRow {
                snapshot,
                tokens,
                pair: table_pair.clone(),
                mean_best_correlation_forward: mean_best(forward),
                mean_best_correlation_backward: mean_best(backward),
                n_alive_source: alive(pair.source),
                n_alive_target: alive(pair.target),
                n_mutual: self.mutual[p].len() as u64,
                n_kept: forward.judged.iter().filter(|j| **j == Some(Verdict::Kept)).count() as u64,
                churn: churn(&self.views[p]),
                measures: values,
            });
            for view in &mut self.views[p] {
                view.before = firsts(view);
            }
        }
        out
    }

    fn look_whether_settled(&self) {
        if self.plan.spec.estimate.stop_when.is_some_and(|rule| has_settled(&self.history, rule)) {
            self.shared.settle();
        }
    }

    fn commit(&mut self, control: &Control, saved: Vec<SavedFile>) -> Result<()> {
        let next = control.t + 1;
        // decimal text does not bring every f64 back, so numbers are saved as they are; here alone NaN stands for none
        let numbers: Vec<f64> =
            self.history.iter_mut().flat_map(numbers_of).map(|number| number.unwrap_or(f64::NAN)).collect();
        let mut layout = StateLayout::new(json!({ "kind": "published", "history": self.history }))
            .tensor::<f64>("history", &[numbers.len()]);
        for (p, views) in self.views.iter().enumerate() {
            for (d, view) in views.iter().enumerate() {
                layout = layout.tensor::<u32>(&format!("before.{p}.{d}"), &[view.before.len()]);
            }
        }
        let mut file = self.run.write_state(next, PUBLISHED, layout)?;
        file.put("history", &numbers)?;
        for (p, views) in self.views.iter().enumerate() {
            for (d, view) in views.iter().enumerate() {
                file.put(&format!("before.{p}.{d}"), &view.before)?;
            }
        }
        let published: StateFile = file.finish()?;
        let mut manifest = Manifest::new(self.parts.0.clone(), self.parts.1.clone());
        manifest.next_batch = next;
        manifest.rows = control.rows;
        manifest.cursor = (control.cursor.as_deref())
            .and_then(|c| serde_json::from_str(c).ok())
            .expect("the source sends a cursor with every checkpoint");
        manifest.snapshot = self.history.last().map_or(0, |h| h.snapshot);
        manifest.finished = control.last;
        manifest.extra = self.extra.clone();
        if let (true, Some(rule)) = (control.settled, self.plan.spec.estimate.stop_when) {
            manifest.extra["settled"] = json!(rule);
        }
        manifest.environment = Environment::here();
        manifest.files = (saved.into_iter())
            .map(|f| (f.path, FileRecord { size: f.size, blake3: f.digest }))
            .chain([(published.path, published.record)])
            .collect();
        self.run.commit(&manifest)?;
        (self.observer)(Event::Checkpoint { tokens: control.rows, finished: control.last });
        Ok(())
    }
}

/// Latents whose rows are made together.
const LATENTS_AT_ONCE: usize = 4096;

/// Name of the publisher's own state file.
const PUBLISHED: &str = "published";

fn side(direction: Direction) -> usize {
    match direction {
        Direction::Forward => FORWARD,
        Direction::Backward => BACKWARD,
    }
}

/// The numbers of a row of the history.
fn numbers_of(row: &mut HistoryRow) -> impl Iterator<Item = &mut Option<f64>> {
    [&mut row.mean_best_correlation_forward, &mut row.mean_best_correlation_backward, &mut row.churn]
        .into_iter()
        .chain(&mut row.measures)
}

/// The rows named by `index`, in f64.
fn widened_rows(rows: &Matrix<f32>, index: &[usize]) -> Matrix<f64> {
    let data = index.iter().flat_map(|&i| rows.row(i).iter().map(|&v| f64::from(v))).collect();
    Matrix::from_vec(index.len(), rows.n_cols(), data)
}

/// Best partner of each latent, `u32::MAX` for none.
fn firsts(view: &View) -> Vec<u32> {
    view.best.iter().map(|b| b[0].map_or(u32::MAX, |p| p.latent)).collect()
}

/// Share of latents, both ways, whose best partner is another one than at the snapshot before; of those that have one now
/// or had one. `None` at the first snapshot.
fn churn(views: &[View; 2]) -> Option<f64> {
    let (mut changed, mut known) = (0u64, 0u64);
    for view in views {
        if view.before.is_empty() {
            return None;
        }
        for (now, before) in firsts(view).into_iter().zip(&view.before) {
            known += u64::from(now != u32::MAX || *before != u32::MAX);
            changed += u64::from(now != *before);
        }
    }
    (known > 0).then(|| changed as f64 / known as f64)
}

/// Whether every pair's churn was below the rule's share in each of the last snapshots that it asks for.
fn has_settled(history: &[HistoryRow], rule: StopRule) -> bool {
    let last = history.last().map_or(0, |row| row.snapshot);
    let asked: Vec<&HistoryRow> = history.iter().filter(|row| row.snapshot + rule.snapshots > last).collect();
    last >= rule.snapshots && asked.iter().all(|row| row.churn.is_some_and(|churn| churn < rule.churn_below))
}

/// Every (field, value) seen in any space, in order of field as listed and value.
fn label_columns(plan: &Plan, spaces: &BTreeMap<usize, Arc<SpaceSnapshot>>) -> Vec<LabelColumn> {
    let keys: std::collections::BTreeSet<_> =
        spaces.values().flat_map(|s| s.labels.labels().map(|(k, _)| k.clone())).collect();
    keys.into_iter()
        .map(|(field, value)| LabelColumn { field: plan.spec.corpus.labels[field].clone(), value })
        .collect()
}
