//! The findings in plain words: what the figures say, with the figures in them, and no more than they say.

use super::count;
use super::data::{MatchesData, PageData, ScoreData};
use std::collections::{BTreeMap, BTreeSet};

/// Churn below which matches are called settled.
const SETTLED: f64 = 0.05;
/// Error rate at which a score or a match is said to stand above its null.
const LEVEL: f64 = 0.05;

/// One finding: a few words that lead, then a sentence or two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub lead: &'static str,
    pub text: String,
}

/// What there is to say, the most important first.
pub(super) fn findings(data: &PageData) -> Vec<Finding> {
    let said = [
        closest(data),
        single_matches(data),
        beyond_chance(data),
        beside(data),
        labels(data),
        categories(data),
        settled(data),
    ];
    said.into_iter().flatten().collect()
}

/// `a/resid_post.2 and b/resid_post.5`
fn pair_name(data: &PageData, pair: usize) -> String {
    let [a, b] = data.pairs[pair].map(|s| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint));
    format!("{a} and {b}")
}

fn n_mutual(m: &MatchesData) -> u64 {
    m.mutual.iter().map(|x| u64::from(*x)).sum()
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn last(data: &PageData, series: &str, pair: usize) -> Option<f64> {
    data.history.series.get(series)?.get(pair)?.last().copied().flatten()
}

fn noun(data: &PageData) -> &'static str {
    if data.sites.iter().all(|s| s.no_map.is_none()) { "latents" } else { "latents or dimensions" }
}

fn closest(data: &PageData) -> Option<Finding> {
    let p = data.first_pair;
    let forward = &data.matches.get(p)?[0];
    let mean = forward.mean?;
    // of the history, because the list of shown matches may be cut
    let mutual = last(data, "n_mutual", p).map_or(n_mutual(forward), |n| n as u64);
    let alive = data.sites[data.pairs[p][0]].alive;
    let mut text = format!(
        "{}: {} of {} living {} of the first ({}) and their partners pick each other; the best partner of one correlates at \
         {mean:.3} on average.",
        pair_name(data, p),
        count(mutual),
        count(alive),
        noun(data),
        percent(mutual, alive),
    );
    let worst = (0..data.pairs.len())
        .filter_map(|k| Some((k, data.matches[k][0].mean?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|w| w.0 != p);
    if let Some((k, r)) = worst {
        let mutual = last(data, "n_mutual", k).unwrap_or(0.0) as u64;
        text += &format!(" Farthest apart: {} ({} mutual, {r:.3}).", pair_name(data, k), count(mutual));
    }
    let lead = if data.pairs.len() > 1 { "Closest layers." } else { "How much is shared." };
    Some(Finding { lead, text })
}

fn single_matches(data: &PageData) -> Option<Finding> {
    let forward = &data.matches.get(data.first_pair)?[0];
    let (mean, null) = (forward.mean?, forward.null_mean?);
    let mut text = format!("There a best match reaches {mean:.3} on average, where chance alone reaches {null:.3}.");
    if let Some(n) = forward.significant {
        text += &format!(
            " {} of {} best matches stand above chance at a false discovery rate of {:.0} %.",
            count(n),
            count(forward.matched),
            100.0 * LEVEL
        );
    }
    Some(Finding { lead: "Single matches.", text })
}

fn above(s: &ScoreData) -> bool {
    s.q.or(s.p).is_some_and(|p| p <= LEVEL) && s.value > s.null_mean
}

fn beyond_chance(data: &PageData) -> Option<Finding> {
    let with_null = data.scores.iter().filter(|s| s.subset == "all" && s.p.is_some() && !s.no_power);
    // with few runs the smallest p-value there can be says nothing at the level
    let (tested, few): (Vec<&ScoreData>, Vec<&ScoreData>) =
        with_null.partition(|s| 1.0 / (f64::from(s.null_runs) + 1.0) <= LEVEL);
    let powerless = data.scores.iter().filter(|s| s.no_power).count();
    let first = data.first_score.as_ref()?;
    let mut text = String::new();
    if !tested.is_empty() {
        let n = tested.iter().filter(|s| above(s)).count();
        let (all, level) = (tested.len(), if tested.iter().all(|s| s.q.is_some()) { "q" } else { "p" });
        let how_many = if n == all { format!("All {all}") } else { format!("{n} of {all}") };
        text += &format!("{how_many} scores with a null lie above it ({level} ≤ {LEVEL}).");
    }
    if let Some(runs) = few.iter().map(|s| s.null_runs).max() {
        // the value itself is counted in, so this is the p-value of one above every run
        let n = few.iter().filter(|s| s.p.is_some_and(|p| p < 1.5 / (f64::from(s.null_runs) + 1.0))).count();
        text += &format!(" {n} of {} that were held against {runs} runs only lie above every one of them.", few.len());
    }
    let shown = data.scores.iter().find(|s| {
        s.pair == data.first_pair && [&s.measure, &s.pairing.to_string(), &s.subset].into_iter().eq(first.iter())
    });
    if let Some(s) = shown
        && let (Some(value), Some(null)) = (s.value, s.null_mean)
    {
        let what = if s.pairing == "activations" { "activations" } else { "decoder directions of matched latents" };
        text += &format!(
            " Between the closest layers the {what} agree at {value:.3} ({}), where shuffled pairings reach {null:.3}{}.",
            s.measure,
            s.null_sd.map_or(String::new(), |sd| format!(" ± {sd:.3}")),
        );
    }
    if powerless > 0 {
        text += &format!(
            " {powerless} score{} say nothing, because any two spaces of so few rows look alike.",
            if powerless == 1 { "" } else { "s" }
        );
    }
    (!text.is_empty()).then(|| Finding { lead: "Beyond chance.", text: text.trim_start().to_string() })
}

/// The same pair in the run beside.
fn beside(data: &PageData) -> Option<Finding> {
    let p = data.first_pair;
    let theirs = data.beside.as_ref()?;
    let matches = theirs.matches.get(p)?.as_ref()?;
    let (here, there) = (data.matches[p][0].mean?, matches.mean[0]?);
    let mut text = format!(
        "In the run “{}” the best partner of a latent of the same places correlates at {there:.3} (here {here:.3})",
        theirs.name
    );
    if let (Some(there), Some(here)) = (matches.n_mutual, last(data, "n_mutual", p)) {
        text += &format!(", and {} pairs pick each other (here {})", count(there as u64), count(here as u64));
    }
    let first = data.first_score.as_ref();
    let shown = |scores: &[ScoreData]| {
        let is_first = |s: &&ScoreData| {
            s.pair == p && first.is_some_and(|f| s.measure == f[0] && s.pairing == f[1] && s.subset == f[2])
        };
        let s = scores.iter().find(is_first)?;
        let null = s.null_mean.map_or(String::new(), |n| format!(", null {n:.3}"));
        Some((s.measure.clone(), format!("{:.3}{null}", s.value?)))
    };
    if let (Some((measure, there)), Some((_, here))) = (shown(&theirs.scores), shown(&data.scores)) {
        text += &format!("; {measure} is {there} (here {here})");
    }
    Some(Finding { lead: "Beside another run.", text: text + "." })
}

/// Whether partners fire on documents of the same label.
fn labels(data: &PageData) -> Option<Finding> {
    let field = data.labels.first().filter(|l| l.values.len() > 1)?;
    let [a, b] = data.pairs.get(data.first_pair)?.map(|s| &data.sites[s]);
    // values of the first field stand first
    let leading = |site: &super::data::SiteData, latent: u32| {
        let i = site.latent.binary_search(&latent).ok()?;
        let firings = &site.labels[i][..field.values.len()];
        let most = *firings.iter().max()?;
        (most > 0).then(|| firings.iter().position(|n| *n == most)).flatten()
    };
    let forward = &data.matches[data.first_pair][0];
    let kept = (0..forward.source.len()).filter(|&k| forward.mutual[k] == 1 && forward.dropped[k] < 0);
    let (mut n, mut agree) = (0u64, 0u64);
    // how often each value leads on either side, for the agreement of partners drawn at random
    let mut leads: BTreeMap<usize, [u64; 2]> = BTreeMap::new();
    for k in kept {
        if let (Some(x), Some(y)) = (leading(a, forward.source[k]), leading(b, forward.target[k])) {
            n += 1;
            agree += u64::from(x == y);
            leads.entry(x).or_default()[0] += 1;
            leads.entry(y).or_default()[1] += 1;
        }
    }
    let by_chance = leads.values().map(|[a, b]| a * b).sum::<u64>() / n.max(1);
    (n > 0).then(|| Finding {
        lead: "Same contexts.",
        text: format!(
            "Of the {} mutual matches kept there, {} ({}) fire most often on the same “{}” on both sides; partners drawn at \
             random would in {}.",
            count(n),
            count(agree),
            percent(agree, n),
            field.field,
            percent(by_chance, n)
        ),
    })
}

fn categories(data: &PageData) -> Option<Finding> {
    let first = data.first_score.as_ref()?;
    let there = |s: &&ScoreData| s.pair == data.first_pair && s.subset != "all" && s.value.is_some();
    // told by the measure that has power in most categories; of equal ones by the one that the page shows first
    let tells = |key: &(&str, &str)| {
        let n = data.scores.iter().filter(there).filter(|s| (&*s.measure, s.pairing) == *key && can_tell(s)).count();
        (n, *key == (first[0].as_str(), first[1].as_str()))
    };
    let keys: BTreeSet<(&str, &str)> = data.scores.iter().filter(there).map(|s| (&*s.measure, s.pairing)).collect();
    let (measure, pairing) = keys.into_iter().max_by_key(tells)?;
    let of: Vec<&ScoreData> =
        data.scores.iter().filter(there).filter(|s| s.measure == measure && s.pairing == pairing).collect();
    let n = of.len();
    let beyond: Vec<&&ScoreData> = of.iter().filter(|s| above(s) && !s.no_power).collect();
    let best = beyond.iter().max_by(|a, b| excess(a).total_cmp(&excess(b)));
    let few = of.iter().filter(|s| !can_tell(s)).count();
    (n > 0).then(|| Finding {
        lead: "Categories.",
        text: format!(
            "{} of {n} semantic categories are above their null there ({measure}){}{}.",
            beyond.len(),
            best.map_or(String::new(), |s| format!(
                ", most of all {} ({:.3}, null {:.3}, {} pairs)",
                s.subset,
                s.value.unwrap_or(0.0),
                s.null_mean.unwrap_or(0.0),
                s.n
            )),
            if few > 0 { format!("; {few} with too few pairs to tell") } else { String::new() },
        ),
    })
}

/// Whether the score could have come out above its null.
fn can_tell(s: &ScoreData) -> bool {
    s.p.is_some() && !s.no_power && 1.0 / (f64::from(s.null_runs) + 1.0) <= LEVEL
}

fn excess(s: &ScoreData) -> f64 {
    s.value.unwrap_or(0.0) - s.null_mean.unwrap_or(0.0)
}

fn settled(data: &PageData) -> Option<Finding> {
    let churn = data.history.series.get("churn")?;
    let n = data.history.tokens.len();
    let mean = |k: usize| {
        let values: Vec<f64> = churn.iter().filter_map(|c| c[k]).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let now = mean(n.checked_sub(1)?)?;
    let since = (0..n).rev().take_while(|k| mean(*k).is_some_and(|c| c <= SETTLED)).last();
    let mut text = format!(
        "Between the last two snapshots {:.1} % of the latents changed their best partner (all pairs taken together).",
        100.0 * now
    );
    text += &match since {
        Some(k) => {
            format!(" It has been {:.0} % or less since {} tokens.", 100.0 * SETTLED, count(data.history.tokens[k]))
        }
        None => format!(" That is more than {:.0} %: more tokens would still move the matches.", 100.0 * SETTLED),
    };
    Some(Finding { lead: if since.is_some() { "Settled." } else { "Not settled yet." }, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(measure: &str, subset: &str, p: f64, no_power: bool) -> ScoreData {
        ScoreData {
            pair: 0,
            subset: subset.into(),
            pairing: "mutual",
            measure: measure.into(),
            value: Some(0.5),
            null_mean: Some(0.1),
            null_sd: Some(0.1),
            null_runs: 100,
            p: Some(p),
            q: Some(p),
            n: 9,
            no_power,
        }
    }

    #[test]
    fn categories_are_told_by_a_measure_that_can_tell() {
        let mut scores = vec![score("svcca_k20", "all", 0.01, false)];
        scores.extend(["time", "people", "small"].map(|c| score("svcca_k20", c, 0.5, true)));
        scores.extend(
            [("time", 0.01, false), ("people", 0.4, false), ("small", 0.9, true)]
                .map(|(c, p, few)| score("cka", c, p, few)),
        );
        let first_score = Some(["svcca_k20", "mutual", "all"].map(String::from));
        let data = PageData { scores, first_score, ..PageData::default() };
        assert_eq!(
            categories(&data).unwrap().text,
            "1 of 3 semantic categories are above their null there (cka), most of all time (0.500, null 0.100, 9 pairs); \
             1 with too few pairs to tell."
        );
        // where both can tell, by the measure that the page shows first
        let both = data
            .scores
            .iter()
            .filter(|s| s.measure == "cka")
            .map(|s| ScoreData { measure: "svcca_k20".into(), ..s.clone() });
        let scores = both.chain(data.scores.iter().filter(|s| s.measure == "cka").cloned()).collect();
        assert!(categories(&PageData { scores, ..data.clone() }).unwrap().text.contains("(svcca_k20)"));
    }
}
