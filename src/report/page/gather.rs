//! Which data of a run's tables does the page show? Tables are read row group by row group. The amount of data kept has a bound
//! that does not depend on the width of the SAEs or the number of pairs: a browser can open the page at once.

use super::asked_for::{over_data, read_agreement, read_readout};
use super::collect::Collector;
use super::data::{
    BIN, BesideData, BesideMatches, GroupData, GroupsData, HistoryData, LabelData, MapData, PageData, PairFacts,
    ScoreData, SiteData, TopData, digits, significant,
};
use super::embedding::{embed, on_grid};
use crate::error::{Error, Result};
use crate::ids::Site;
use crate::linalg::Matrix;
use crate::matching::{CONTAINED, Direction, HOLDS_WITHIN};
use crate::report::{
    BestOverSummary, Closeness, GroupSummary, LEAST_RUNS_FOR_SD, Marker, alignment_words, closest, read_alignment,
    repeated_words,
};
use crate::table::{
    GroupRow, HistoryRow, LatentRow, MatchRow, PairRow, SimilarityRow, SitePair, TableReader, TopTokenCell,
};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Matches shown, over all pairs and both directions.
const MATCHES_SHOWN: usize = 20_000;
/// Groups shown.
const GROUPS_SHOWN: usize = 1_000;
/// Bytes of contexts, about.
const CONTEXT_BYTES: usize = 2_200_000;
/// Contexts of a latent at most.
const CONTEXTS_SHOWN: usize = 5;
/// Sum over sites of the square of their points on the map: the time it takes, half a second for a million on one core.
const MAP_WORK: usize = 8_000_000;
/// Label values kept apart in a field.
const LABELS_SHOWN: usize = 12;

/// Decoder rows of the latents given; `None` for a place without an SAE.
pub type Decoders<'a> = &'a dyn Fn(&Site, &[usize]) -> Result<Option<Matrix<f32>>>;

/// Another run to be shown with this one: a control, another seed.
#[derive(Clone, Copy, Debug)]
pub struct OtherRun<'a> {
    /// Its name.
    pub name: &'a str,
    /// The folder of its newest tables.
    pub tables: &'a Path,
    /// Its history file.
    pub history: &'a Path,
}

/// Reads everything. `tables` is the folder of the newest tables, `history` the history file.
///
/// # Errors
/// Those of reading a table; a map that cannot be made is left out, and the data records it.
pub(super) fn gather(tables: &Path, history: &Path, marker: &Marker, decoders: Decoders<'_>) -> Result<PageData> {
    let mut data = PageData {
        bin: BIN,
        holds: HOLDS_WITHIN,
        contained: CONTAINED,
        least_runs: LEAST_RUNS_FOR_SD,
        ..PageData::default()
    };
    let pairs = read_history(history, &mut data)?;
    let sites: Vec<Site> =
        pairs.iter().flat_map(|p| [p.source.clone(), p.target.clone()]).collect::<BTreeSet<_>>().into_iter().collect();
    let number = |site: &Site| sites.binary_search(site).ok();
    data.sites = (sites.iter())
        .map(|s| SiteData { model: s.model.clone(), hookpoint: s.place(), ..SiteData::default() })
        .collect();
    data.pairs =
        pairs.iter().map(|p| [&p.source, &p.target].map(|s| number(s).expect("sites come of pairs"))).collect();
    read_pairs(&tables.join("pairs.parquet"), &pairs, &mut data)?;
    read_scores(&tables.join("similarities.parquet"), &pairs, &mut data)?;
    let shown = read_matches(&tables.join("matches.parquet"), &pairs, &mut data)?;

    // a latent's place in the order of its best correlation decides where room is short
    let mut wanted: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); sites.len()];
    for (pair, rows) in data.pairs.iter().zip(&shown) {
        for m in rows {
            for (site, latent) in [(pair[0], m.source_latent), (pair[1], m.target_latent)] {
                if let (Some(latent), Some(r)) = (latent, m.correlation) {
                    let best = wanted[site].entry(latent).or_insert(r);
                    *best = best.max(r);
                }
            }
        }
    }
    let alive = read_latents(&tables.join("latents.parquet"), &number, &wanted, marker, &mut data)?;
    let n_points = ((MAP_WORK / sites.len().max(1)) as f64).sqrt() as usize;
    for (s, site) in sites.iter().enumerate() {
        let points = points(&alive[s], &wanted[s], n_points);
        let index: Vec<usize> = points.iter().map(|l| *l as usize).collect();
        match decoders(site, &index) {
            Ok(Some(rows)) if rows.n_rows() == points.len() => {
                let [x, y] = on_grid(&embed(&rows), 1000.0);
                data.sites[s].map = Some(MapData { latent: points, x, y });
            }
            Ok(Some(_)) => data.sites[s].no_map = Some("its SAE has other latents than the tables".into()),
            Ok(None) => data.sites[s].no_map = Some("it has no SAE, so no decoder directions".into()),
            Err(e) => data.sites[s].no_map = Some(e.to_string()),
        }
    }
    data.rows = alignment_words(&read_alignment(tables)?);
    read_groups(tables, &number, &mut data)?;
    read_readout(tables, &pairs, &mut data)?;
    read_agreement(tables, &pairs, &mut data)?;
    data.over = BestOverSummary::read(tables)?.map_or_else(Vec::new, |over| over.rows().map(over_data).collect());
    choose_first(&mut data);
    Ok(data)
}

/// What another run has of the pairs of `data`.
///
/// # Errors
/// The errors of reading a table; `Request` when the other run has none of the pairs.
pub(super) fn gather_beside(beside: OtherRun<'_>, data: &mut PageData) -> Result<()> {
    let mut theirs = PageData::default();
    let pairs = read_history(beside.history, &mut theirs)?;
    read_scores(&beside.tables.join("similarities.parquet"), &pairs, &mut theirs)?;
    read_matches(&beside.tables.join("matches.parquet"), &pairs, &mut theirs)?;
    let names = pairs.iter().map(|p| [p.source.to_string(), p.target.to_string()]);
    let place: BTreeMap<[String; 2], usize> = names.enumerate().map(|(k, n)| (n, k)).collect();
    let tokens = theirs.history.tokens.last().copied();
    let mut out = BesideData {
        name: beside.name.to_string(),
        tokens,
        control: theirs.control.is_some(),
        ..BesideData::default()
    };
    for (p, sites) in data.pairs.iter().enumerate() {
        let name = sites.map(|s| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint));
        let Some(&k) = place.get(&name) else {
            out.matches.push(None);
            continue;
        };
        let count = |name: &str| theirs.history.series.get(name).and_then(|s| s[k].last().copied().flatten());
        let [forward, backward] = &theirs.matches[k];
        out.matches.push(Some(BesideMatches {
            mean: [forward.mean, backward.mean],
            null_mean: [forward.null_mean, backward.null_mean],
            histogram: [forward.histogram.clone(), backward.histogram.clone()],
            n_mutual: [count("n_mutual"), count("n_mutual_null")],
            n_mutual_above_chance: [count("n_mutual_above_chance"), count("n_mutual_above_chance_null")],
        }));
        out.scores.extend(theirs.scores.iter().filter(|s| s.pair == k).map(|s| ScoreData { pair: p, ..s.clone() }));
    }
    if out.matches.iter().all(Option::is_none) {
        return Err(Error::request(format!(
            "run {:?} cannot be shown with this one: they have no pair of hookpoints in common",
            beside.name
        )));
    }
    data.beside = Some(out);
    Ok(())
}

/// All living latents where they are few enough, else those that match best.
fn points(alive: &[u32], wanted: &BTreeMap<u32, f64>, n_points: usize) -> Vec<u32> {
    if alive.len() <= n_points {
        return alive.to_vec();
    }
    let mut best: Vec<(u32, f64)> = wanted.iter().map(|(l, r)| (*l, *r)).collect();
    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut out: Vec<u32> = best.iter().take(n_points).map(|b| b.0).collect();
    out.sort_unstable();
    out
}

/// Fills the history; gives the pairs of the last snapshot.
fn read_history(path: &Path, data: &mut PageData) -> Result<Vec<Arc<SitePair>>> {
    let reader: TableReader<HistoryRow> = TableReader::open(path)?;
    let measures = reader.shape().clone();
    data.control = reader.origin().get("control").cloned();
    data.given = reader.origin().get("given").cloned();
    let rows = reader.read_all()?;
    let last = rows.last().map_or(0, |r| r.snapshot);
    let pairs: Vec<Arc<SitePair>> = rows.iter().filter(|r| r.snapshot == last).map(|r| r.pair.clone()).collect();
    if let Some((share, error)) = rows.last().and_then(|r| r.repeated_contexts.zip(r.repeated_contexts_error)) {
        data.warnings.extend(repeated_words(share, error));
    }
    let snapshots: BTreeMap<u32, u64> = rows.iter().map(|r| (r.snapshot, r.tokens)).collect();
    let place: BTreeMap<u32, usize> = snapshots.keys().enumerate().map(|(i, s)| (*s, i)).collect();
    let mut history = HistoryData { tokens: snapshots.values().copied().collect(), series: BTreeMap::new() };
    for row in &rows {
        let Some(pair) = pairs.iter().position(|p| *p == row.pair) else { continue };
        let mut put = |name: &str, value: Option<f64>| {
            let empty = || vec![vec![None; place.len()]; pairs.len()];
            let series = history.series.entry(name.to_string()).or_insert_with(empty);
            series[pair][place[&row.snapshot]] = value.map(|v| digits(v, 4));
        };
        put("best_forward", row.counts.mean_best_correlation_forward);
        put("best_backward", row.counts.mean_best_correlation_backward);
        put("churn", row.churn);
        let n = |count: Option<u64>| count.map(|n| n as f64);
        put("best_forward_null", row.counts.null_mean_best_correlation_forward);
        put("best_backward_null", row.counts.null_mean_best_correlation_backward);
        put("n_mutual", Some(row.counts.n_mutual as f64));
        put("n_mutual_null", n(row.counts.n_mutual_null));
        put("n_mutual_above_chance", n(row.counts.n_mutual_above_chance));
        put("n_mutual_above_chance_null", n(row.counts.n_mutual_above_chance_null));
        if row.counts.n_mutual_given > 0 {
            put("n_mutual_given", Some(row.counts.n_mutual_given as f64));
            put("n_mutual_within", Some(row.counts.n_mutual_within as f64));
            put("n_mutual_within_null", Some(row.counts.n_mutual_within_null as f64));
        }
        put("n_kept", Some(row.counts.n_kept as f64));
        put("n_kept_null", n(row.counts.n_kept_null));
        put("n_kept_backward_null", n(row.counts.n_kept_backward_null));
        for (name, value) in measures.iter().zip(&row.measures) {
            put(&format!("score.{name}"), *value);
        }
    }
    data.history = history;
    Ok(pairs)
}

/// Fills what is known of each pair as a whole.
fn read_pairs(path: &Path, pairs: &[Arc<SitePair>], data: &mut PageData) -> Result<()> {
    data.facts = vec![PairFacts::default(); pairs.len()];
    for row in TableReader::<PairRow>::open(path)?.read_all()? {
        let Some(pair) = pairs.iter().position(|p| *p == row.pair) else { continue };
        if let Some(why) = row.too_few.as_ref().filter(|why| !data.warnings.contains(why)) {
            data.warnings.push(why.clone());
        }
        data.facts[pair] = PairFacts {
            one_decoder: row.one_decoder,
            own: row.n_own_partner,
            own_null: row.n_own_partner_null,
            too_few: row.too_few,
            no_chance: row.no_chance,
        };
    }
    Ok(())
}

fn read_scores(path: &Path, pairs: &[Arc<SitePair>], data: &mut PageData) -> Result<()> {
    let reader: TableReader<SimilarityRow> = TableReader::open(path)?;
    for row in reader.read_all()? {
        let Some(pair) = pairs.iter().position(|p| *p == row.pair) else { continue };
        let short = |x: Option<f64>| x.map(|x| digits(x, 5));
        data.scores.push(ScoreData {
            pair,
            subset: row.subset,
            pairing: row.pairing.as_str(),
            measure: row.measure,
            value: short(row.value),
            null_mean: short(row.null_mean),
            null_sd: short(row.null_sd),
            null_runs: row.null_runs,
            p: row.p_value.map(|p| significant(p, 3)),
            q: row.q_value.map(|q| significant(q, 3)),
            n: row.n_pairs,
            no_power: row.no_power,
            one_decoder: row.one_decoder,
        });
    }
    Ok(())
}

/// Fills the matches; gives the shown ones of each pair, forward then backward.
fn read_matches(path: &Path, pairs: &[Arc<SitePair>], data: &mut PageData) -> Result<Vec<Vec<MatchRow>>> {
    let quota = (MATCHES_SHOWN / (2 * pairs.len().max(1))).max(10);
    let mut collectors: Vec<[Collector; 2]> =
        pairs.iter().map(|_| [Collector::new(quota), Collector::new(quota)]).collect();
    let mut reader: TableReader<MatchRow> = TableReader::open(path)?;
    while let Some(rows) = reader.next_rows()? {
        let mut last: Option<(Arc<SitePair>, Option<usize>)> = None;
        for row in rows {
            // neighbours share their pair
            let pair = match &last {
                Some((pair, k)) if Arc::ptr_eq(pair, &row.pair) => *k,
                _ => {
                    let k = pairs.iter().position(|p| *p == row.pair);
                    last = Some((row.pair.clone(), k));
                    k
                }
            };
            if let Some(k) = pair {
                collectors[k][usize::from(row.direction == Direction::Backward)].take(row);
            }
        }
    }
    let mut shown = Vec::new();
    for [forward, backward] in collectors {
        let ((forward, mut rows), (backward, more)) = (forward.close(), backward.close());
        data.matches.push([forward, backward]);
        rows.extend(more);
        shown.push(rows);
    }
    Ok(shown)
}

/// Fills sites and texts; gives the living latents of each site.
fn read_latents(
    path: &Path,
    number: &dyn Fn(&Site) -> Option<usize>,
    wanted: &[BTreeMap<u32, f64>],
    marker: &Marker,
    data: &mut PageData,
) -> Result<Vec<Vec<u32>>> {
    let mut reader: TableReader<LatentRow> = TableReader::open(path)?;
    let mut models = vec![String::new(); data.sites.len()];
    let mut fields: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    for (k, column) in reader.shape().iter().enumerate() {
        fields.entry(column.field.clone()).or_default().push((column.value.clone(), k));
    }
    fields.values_mut().for_each(|values| values.truncate(LABELS_SHOWN));
    data.labels = (fields.iter())
        .map(|(field, values)| LabelData { field: field.clone(), values: values.iter().map(|v| v.0.clone()).collect() })
        .collect();
    let mut alive = vec![Vec::new(); wanted.len()];
    let mut tops: Vec<Vec<Vec<TopTokenCell>>> = vec![Vec::new(); wanted.len()];
    while let Some(rows) = reader.next_rows()? {
        for mut row in rows {
            let Some(s) = number(&row.site) else { continue };
            let site = &mut data.sites[s];
            site.width += 1;
            site.alive += u64::from(row.alive);
            if row.alive {
                alive[s].push(row.latent);
            }
            if !wanted[s].contains_key(&row.latent) {
                continue;
            }
            site.latent.push(row.latent);
            site.n_active.push(row.n_active);
            site.max.push(row.max.map(|m| significant(f64::from(m), 4)));
            let firings = |k: usize| row.labels[k].map_or(0, |l| l.n_active);
            site.labels.push(fields.values().flatten().map(|(_, k)| firings(*k)).collect());
            let categories = row.categories.iter().flatten().map(|name| data.categories.number(name));
            site.categories.push(categories.collect());
            site.tokens.push(different(&row.top, &mut data.tokens));
            row.top.truncate(CONTEXTS_SHOWN);
            models[s].clone_from(&row.site.model);
            tops[s].push(row.top);
        }
    }
    let keep = contexts_that_fit(&tops);
    for ((site, tops), model) in data.sites.iter_mut().zip(&tops).zip(&models) {
        let marker = marker.of(model);
        let places: Vec<Vec<[i64; 2]>> =
            tops.par_iter().map(|top| top.iter().take(keep).map(|t| place(marker, t)).collect()).collect();
        for (top, places) in tops.iter().zip(places) {
            let of = |(t, [from, to]): (&TopTokenCell, [i64; 2])| {
                let (context, document) = (data.contexts.number(&t.context), data.documents.number(&t.document));
                TopData(context, document, significant(f64::from(t.value), 4), from, to)
            };
            site.top.push(top.iter().zip(places).map(of).collect());
        }
    }
    Ok(alive)
}

/// Fills the groups, where the run makes them; the first of them are shown.
fn read_groups(tables: &Path, number: &dyn Fn(&Site) -> Option<usize>, data: &mut PageData) -> Result<()> {
    let Some(summary) = GroupSummary::read(tables)? else { return Ok(()) };
    let (what, sizes) = summary.by_size();
    let mut out = GroupsData {
        what,
        sizes: sizes.into_iter().map(|(size, [all, complete])| (size, all.0, all.1, complete.0, complete.1)).collect(),
        returned: summary.returned().map(|(share, null)| (digits(share, 4), null.map(|n| digits(n, 4)))),
        ..GroupsData::default()
    };
    let mut reader: TableReader<GroupRow> = TableReader::open(&tables.join("groups.parquet"))?;
    while let Some(rows) = reader.next_rows()? {
        for row in rows {
            let is_new = u64::from(row.group) > out.total;
            out.total = u64::from(row.group);
            if row.group as usize > GROUPS_SHOWN {
                continue;
            }
            if is_new {
                let closest = |m: crate::table::Missing| {
                    let latent = m.hookpoint.zip(m.latent).zip(m.correlation);
                    let latent = latent.map(|((hookpoint, latent), r)| (format!("{hookpoint}/{latent}"), digits(r, 4)));
                    (m.model, latent, m.readout_r2.map(|r2| digits(r2, 4)))
                };
                out.shown.push(GroupData {
                    kind: row.kind.as_str(),
                    models: row.models,
                    edges: row.edges,
                    possible: row.edges_possible,
                    min: digits(row.min_correlation, 4),
                    mean: digits(row.mean_correlation, 4),
                    within: row.min_within.map(|r| digits(r, 4)),
                    members: Vec::new(),
                    missing: row.missing.into_iter().map(closest).collect(),
                });
            }
            let Some(site) = number(&row.site) else { continue };
            let tokens = row.top.iter().map(|t| data.tokens.number(t)).collect();
            let group = out.shown.last_mut().expect("a group begins with its first member");
            group.members.push((site, row.latent, row.best, significant(row.frequency, 3), tokens));
        }
    }
    data.groups = Some(out);
    Ok(())
}

/// The first few different tokens.
fn different(top: &[TopTokenCell], texts: &mut super::data::Texts) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::new();
    for t in top {
        let k = texts.number(&t.token);
        if !out.contains(&k) && out.len() < CONTEXTS_SHOWN {
            out.push(k);
        }
    }
    out
}

/// How many contexts of each latent fit into the page; at least one.
fn contexts_that_fit(tops: &[Vec<Vec<TopTokenCell>>]) -> usize {
    let bytes = |keep: usize| {
        let shown = || tops.iter().flatten().flat_map(|top| top.iter().take(keep));
        let texts: BTreeSet<&str> = shown().map(|t| t.context.as_str()).collect();
        // 26: numbers and brackets of one firing
        texts.iter().map(|t| t.len() + 3).sum::<usize>() + 26 * shown().count()
    };
    (1..=CONTEXTS_SHOWN).rev().find(|keep| *keep == 1 || bytes(*keep) <= CONTEXT_BYTES).unwrap_or(1)
}

/// The strong token's place in UTF-16 units, as a browser counts.
fn place(marker: &Marker, top: &TopTokenCell) -> [i64; 2] {
    let units = |text: &str| text.encode_utf16().count() as i64;
    match marker.place(top) {
        Some(range) => [units(&top.context[..range.start]), units(&top.context[..range.end])],
        None => [-1, -1],
    }
}

/// What [`closest`] is to know of a pair.
pub(super) fn closeness(data: &PageData, pair: usize) -> Closeness {
    let of = |k: usize| [0, 1].map(|d: usize| data.matches[pair][d].exact_means[k]);
    let facts = &data.facts[pair];
    Closeness { mean: of(0), chance: of(1), left_out: facts.one_decoder || facts.too_few.is_some() }
}

/// The closest pair, and the most informative score: of decoder rows, of a fixed number of components or
/// invariant, with power.
fn choose_first(data: &mut PageData) {
    let pairs: Vec<Closeness> = (0..data.pairs.len()).map(|p| closeness(data, p)).collect();
    let best = closest(&pairs);
    data.first_pair = best.map_or(0, |(pair, _)| pair);
    data.closest_rule = best.map(|(_, rule)| rule);
    let rank = |s: &ScoreData| {
        let measure = match s.measure.as_str() {
            m if m.starts_with("svcca_k") => 0,
            "rsa_cosine" => 1,
            "cka" => 2,
            m if m.starts_with("rsa") => 3,
            m if m.ends_with("as_published") => 5,
            _ => 4,
        };
        let pairing = ["mutual", "forward", "backward", "activations"].iter().position(|p| *p == s.pairing);
        (s.subset != "all", s.one_decoder, pairing, s.null_mean.is_none(), measure)
    };
    let first = data.scores.iter().filter(|s| s.value.is_some()).min_by_key(|s| rank(s));
    data.first_score = first.map(|s| [s.measure.clone(), s.pairing.to_string(), s.subset.clone()]);
}
