//! The findings in plain words: the figures with their chance levels, and no claim beyond them.

use super::data::{LEVEL, MatchesData, PageData, ScoreData, count};
use crate::matching::HOLDS_WITHIN;
use crate::report::{CAVEAT, shown_sd};
use crate::similarity::Measure;
use std::collections::{BTreeMap, BTreeSet};

/// Churn below which matches are called converged.
const CONVERGED: f64 = 0.05;

/// One finding: a few words that lead, then a sentence or two.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub lead: &'static str,
    pub text: String,
}

/// The findings: what spoils everything first, then the most important.
pub(super) fn findings(data: &PageData) -> Vec<Finding> {
    let spoilt = data.warnings.iter().map(|text| Finding { lead: "Look at the text first.", text: text.clone() });
    let said = [
        control(data),
        rows(data),
        one_decoder(data),
        closest(data),
        given_the_token(data),
        read_out(data),
        directions(data),
        best_over(data),
        single_matches(data),
        beyond_chance(data),
        groups(data),
        controls(data),
        beside(data),
        labels(data),
        categories(data),
        converged(data),
    ];
    spoilt.chain(said.into_iter().flatten()).collect()
}

/// `a/resid_post.2 and b/resid_post.5`
fn pair_name(data: &PageData, pair: usize) -> String {
    let [a, b] = data.pairs[pair].map(|s| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint));
    format!("{a} and {b}")
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

/// `0.533 (chance 0.020)`
fn with_chance(value: String, chance: Option<String>) -> String {
    format!("{value} ({})", chance.map_or_else(|| "chance unknown".to_string(), |c| format!("chance {c}")))
}

fn mean_r(m: &MatchesData) -> Option<String> {
    Some(with_chance(format!("{:.3}", m.mean?), m.null_mean.map(|r| format!("{r:.3}"))))
}

/// What a row is, where it is no token: every count of tokens is one of rows.
fn rows(data: &PageData) -> Option<Finding> {
    let mut text = data.rows.clone()?;
    text[..1].make_ascii_uppercase();
    Some(Finding { lead: "Rows of text.", text: format!("{text}. Counts of tokens on this page are counts of rows.") })
}

/// A control: nothing here is due to what was drawn at random in it.
fn control(data: &PageData) -> Option<Finding> {
    let control = data.control.as_ref()?;
    let text = format!(
        "This run is a control: {control}. Whatever agrees here, what was drawn at random did not make it. Hold a run of the trained models \
         and SAEs, on text as it is, against it."
    );
    Some(Finding { lead: "A control.", text })
}

/// Pairs whose two sides are read through one SAE.
fn one_decoder(data: &PageData) -> Option<Finding> {
    let pairs: Vec<usize> = (0..data.pairs.len()).filter(|p| data.facts[*p].one_decoder).collect();
    let shown = *pairs.iter().find(|p| **p == data.first_pair).or(pairs.first())?;
    let (forward, facts) = (&data.matches[shown][0], &data.facts[shown]);
    let which = if pairs.len() == data.pairs.len() {
        "Every pair".to_string()
    } else {
        format!("{} of {} pairs", pairs.len(), data.pairs.len())
    };
    let verb = if pairs.len() == 1 || which == "Every pair" { "is" } else { "are" };
    Some(Finding {
        lead: "One decoder.",
        text: format!(
            "{which} {verb} read through one SAE on both sides. Decoder rows of a latent matched with itself agree by construction, so \
             scores of decoder rows are no evidence there. What is: in {}, {} of {} latents have themselves as best partner.",
            pair_name(data, shown),
            with_chance(count(facts.own.unwrap_or(0)), facts.own_null.map(count)),
            count(forward.matched),
        ),
    })
}

fn closest(data: &PageData) -> Option<Finding> {
    let p = data.first_pair;
    let forward = &data.matches.get(p)?[0];
    let mut text = format!(
        "{}{}: the {} living {} of the first correlate with their best partners at {} on average{}.",
        pair_name(data, p),
        data.closest_rule.filter(|_| data.pairs.len() > 1).map_or(String::new(), |rule| format!(" ({rule})")),
        count(data.sites[data.pairs[p][0]].alive),
        noun(data),
        mean_r(forward)?,
        mutual(data, p).map_or(String::new(), |n| format!("; {n}")),
    );
    let effect = |k: usize| {
        let [mean, chance] = data.matches[k][0].exact_means;
        Some(mean? - chance.unwrap_or(0.0))
    };
    let farthest = (0..data.pairs.len())
        .filter_map(|k| Some((k, effect(k)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|f| f.0 != p && data.closest_rule.is_some());
    if let Some((k, _)) = farthest
        && let Some(r) = mean_r(&data.matches[k][0])
    {
        text += &format!(
            " Farthest apart: {}, {r}{}.",
            pair_name(data, k),
            mutual(data, k).map_or(String::new(), |n| format!("; {n}"))
        );
    }
    let lead = if data.pairs.len() > 1 { "Closest hookpoints." } else { "How much is shared." };
    Some(Finding { lead, text })
}

/// Mutual matches of a pair compared with chance.
fn mutual(data: &PageData, pair: usize) -> Option<String> {
    let shown = |name: &str, what: &str| {
        let n = |x: f64| count(x as u64);
        let value = format!("{}{what}", n(last(data, name, pair)?));
        Some(with_chance(value, last(data, &format!("{name}_null"), pair).map(n)))
    };
    let above = shown("n_mutual_above_chance", " of them above both chance points");
    Some(shown("n_mutual", " mutual matches")? + &above.map_or(String::new(), |n| format!(", {n}")))
}

/// How many mutual matches of the first pair are more than what rows of one token share anyway.
fn given_the_token(data: &PageData) -> Option<Finding> {
    let key = data.given.as_deref()?;
    let n = |name: &str| last(data, name, data.first_pair).map(|n| n as u64);
    let (known, holds, by_chance) = (n("n_mutual_given")?, n("n_mutual_within")?, n("n_mutual_within_null")?);
    let mutual = n("n_mutual").unwrap_or(known);
    let unknown = match mutual.saturating_sub(known) {
        0 => String::new(),
        rest => format!(" Of {} more it is not known: too few rows.", count(rest)),
    };
    let text = format!(
        "Between {}, {} of {} mutual matches still have r ≥ {HOLDS_WITHIN} when only rows of one {key} are compared ({} by chance). The other {} \
         are mostly that {key}: both latents fire on it, whatever the text around it is.{unknown}",
        pair_name(data, data.first_pair),
        count(holds),
        count(known),
        count(by_chance),
        count(known.saturating_sub(holds)),
    );
    let lead = match key {
        "bigram" => "Beyond the current two tokens.",
        "position" => "Beyond the position.",
        _ => "Beyond the current token.",
    };
    Some(Finding { lead, text })
}

/// What becomes of the latents of the first pair that have no match.
fn read_out(data: &PageData) -> Option<Finding> {
    let c = data.matches.get(data.first_pair)?[0].readout_counts.as_ref()?;
    let [source, target] =
        data.pairs[data.first_pair].map(|s| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint));
    let n: u64 = c.here[2..].iter().sum();
    let with = |k: usize| with_chance(count(c.here[k]), c.by_chance[k].map(count));
    let text = format!(
        "Of {} latents of {source} whose best r with {target} is below 0.5, {} can be read out of its activations by a linear map, {} a little, {} no more \
         than chance gives. Those that can be read, the model has and its SAE lacks or splits; a linear map need not find every latent that is there.",
        count(n),
        with(2),
        with(3),
        with(4),
    );
    (n > 0).then_some(Finding { lead: "Missing in the SAE, or in the model.", text })
}

/// Whether matches of the first pair point the same way under the map, and do the same to the logits.
fn directions(data: &PageData) -> Option<Finding> {
    let found = data.agreement.get(data.first_pair)?.as_ref()?;
    let [source, target] =
        data.pairs[data.first_pair].map(|s| format!("{}/{}", data.sites[s].model, data.sites[s].hookpoint));
    let mut said = Vec::new();
    if let Some(&(.., Some(r2), null)) = found.maps.iter().find(|m| (m.0, m.1) == ("least_squares", 0)) {
        said.push(format!(
            "A linear map of the activations of {source} explains {} of those of {target}",
            with_chance(
                format!("{:.1} %", 100.0 * r2),
                null.map(|null| if null > 0.0 { format!("{:.1} %", 100.0 * null) } else { "nothing".to_string() })
            )
        ));
    }
    let share = |scores: Option<[Option<f64>; 4]>| {
        Some(with_chance(format!("{:.0} %", 100.0 * scores?[3]?), Some("5 %".into())))
    };
    if let Some(share) = share(found.mapped) {
        said.push(format!(
            "Under the map, the decoder rows of {share} of the kept matches lie closer together than 95 % of rows of different matches"
        ));
    }
    if let Some(share) = share(found.logits) {
        said.push(format!(
            "The decoder rows of {share} of the kept matches between {source} and {target} do more alike to the logits than 95 % of rows of \
             different matches"
        ));
    }
    (!said.is_empty()).then(|| Finding { lead: "The same direction.", text: said.join(". ") + "." })
}

/// What remains when every latent may choose its place.
fn best_over(data: &PageData) -> Option<Finding> {
    let over = data.over.first()?;
    let [here, by_chance] = over.above[0];
    let text = format!(
        "When every latent of {} may choose among all {} places of {}, {} of {} have a best partner above chance, and {} pairs choose each other above \
         both chance points. Chance chooses among as many places.",
        over.models[0],
        over.places[1],
        over.models[1],
        with_chance(count(here?), by_chance.map(count)),
        count(over.of[0]),
        with_chance(count(over.mutual_above[0]?), over.mutual_above[1].map(count)),
    );
    Some(Finding { lead: "The best of all layers.", text })
}

fn single_matches(data: &PageData) -> Option<Finding> {
    let forward = &data.matches.get(data.first_pair)?[0];
    let n = forward.significant?;
    let text = format!(
        "Between {}, {} of {} best matches have q ≤ {LEVEL} (at most {:.0} % of these are there by chance). {CAVEAT}",
        pair_name(data, data.first_pair),
        count(n),
        count(forward.matched),
        100.0 * LEVEL,
    );
    Some(Finding { lead: "Single matches.", text })
}

/// Groups over the most models, compared with chance.
fn groups(data: &PageData) -> Option<Finding> {
    let groups = data.groups.as_ref()?;
    let &(size, all, all_null, complete, complete_null) = groups.sizes.first().filter(|s| s.0 > 2)?;
    let text = format!(
        "{} groups of latents span {size} {}; in {} of them each two are matched with each other.",
        with_chance(count(all), all_null.map(count)),
        groups.what,
        with_chance(count(complete), complete_null.map(count)),
    );
    Some(Finding { lead: "Shared by several.", text })
}

fn above(s: &ScoreData) -> bool {
    s.q.or(s.p).is_some_and(|p| p <= LEVEL) && excess(s) > 0.0
}

fn beyond_chance(data: &PageData) -> Option<Finding> {
    let of_all = || data.scores.iter().filter(|s| s.subset == "all" && !s.one_decoder);
    let with_null = of_all().filter(|s| s.p.is_some() && !s.no_power);
    // with few runs even the smallest possible p-value is above the level
    let (tested, few): (Vec<&ScoreData>, Vec<&ScoreData>) =
        with_null.partition(|s| 1.0 / (f64::from(s.null_runs) + 1.0) <= LEVEL);
    let powerless = of_all().filter(|s| s.no_power).count();
    let first = data.first_score.as_ref()?;
    let mut text = String::new();
    let shown = data.scores.iter().find(|s| {
        s.pair == data.first_pair && [&s.measure, &s.pairing.to_string(), &s.subset].into_iter().eq(first.iter())
    });
    // the size first
    if let Some(s) = shown.filter(|s| !s.one_decoder)
        && let (Some(value), Some(null)) = (s.value, s.null_mean)
    {
        let what = if s.pairing == "activations" { "activations" } else { "decoder rows of matched latents" };
        text += &format!(
            "Between {} the {what} agree at {value:.3} ({}), where {} reach {null:.3}{}.",
            pair_name(data, data.first_pair),
            s.measure,
            if s.pairing == "activations" { "permuted tokens" } else { "shuffled matches" },
            shown_sd(s.null_sd, s.null_runs).map_or(String::new(), |sd| format!(" ± {sd:.3}")),
        );
    }
    if !tested.is_empty() {
        let n = tested.iter().filter(|s| above(s)).count();
        let (all, level) = (tested.len(), if tested.iter().all(|s| s.q.is_some()) { "q" } else { "p" });
        let how_many = if n == all && all > 1 { format!("All {all}") } else { format!("{n} of {all}") };
        text += &format!(
            " {how_many} scores with a null of {} runs or more lie above it ({level} ≤ {LEVEL}).",
            (1.0 / LEVEL) as u32 - 1
        );
    }
    // the value itself is counted in, so this is the p-value of one above every run
    let highest = |s: &&&ScoreData| s.p.is_some_and(|p| p < 1.5 / (f64::from(s.null_runs) + 1.0));
    if let Some(runs) = few.iter().map(|s| s.null_runs).max() {
        let n = few.iter().filter(highest).count();
        text += &format!(
            " {n} of {} scores with a null of {runs} runs or fewer lie above every run; so few give no p below {:.1}.",
            few.len(),
            1.0 / (f64::from(runs) + 1.0)
        );
    }
    if powerless > 0 {
        text += &format!(
            " {powerless} score{} nothing, because any two spaces of so few rows look alike.",
            if powerless == 1 { " says" } else { "s say" }
        );
    }
    let beyond = if tested.is_empty() { few.iter().any(|s| highest(&s)) } else { tested.iter().any(|s| above(s)) };
    let lead = if beyond { "Beyond chance." } else { "Not beyond chance." };
    (!text.is_empty()).then(|| Finding { lead, text: text.trim_start().to_string() })
}

/// The first pair in the run's controls.
fn controls(data: &PageData) -> Option<Finding> {
    let of_pair = || data.controls.iter().filter(|c| c.pair == data.first_pair);
    let shown = |c: &super::data::ControlData| {
        let r = with_chance(format!("{:.3}", c.mean[0]?), c.mean[1].map(|r| format!("{r:.3}")));
        let above = c.above[0]
            .map(|n| format!(", {} mutual matches above both points", with_chance(count(n), c.above[1].map(count))));
        Some(r + &above.unwrap_or_default())
    };
    let here = shown(of_pair().find(|c| c.name.is_none())?)?;
    let others: Vec<String> =
        of_pair().filter_map(|c| Some(format!("in the control “{}” {}", c.name.as_ref()?, shown(c)?))).collect();
    let text =
        format!("Between {} the mean best r is {here}; {}.", pair_name(data, data.first_pair), others.join("; "));
    (!others.is_empty()).then_some(Finding { lead: "Beside its controls.", text })
}

/// The same pair in the other run, each as its distance from its own chance level.
fn beside(data: &PageData) -> Option<Finding> {
    let p = data.first_pair;
    let theirs = data.beside.as_ref()?;
    let matches = theirs.matches.get(p)?.as_ref()?;
    let forward = &data.matches[p][0];
    let distance = |mean: Option<f64>, null: Option<f64>| match (mean, null) {
        (Some(mean), Some(null)) => Some(format!("{:.3} above chance ({mean:.3}, chance {null:.3})", mean - null)),
        (Some(mean), None) => Some(format!("{mean:.3} (chance unknown)")),
        _ => None,
    };
    let mut text = format!(
        "Between the same hookpoints the best partner of a latent correlates in “{}”{} at {}, here at {}",
        theirs.name,
        if theirs.control { " (a control)" } else { "" },
        distance(matches.mean[0], matches.null_mean[0])?,
        distance(forward.mean, forward.null_mean)?,
    );
    let counts = |[n, null]: [Option<f64>; 2]| Some(with_chance(count(n? as u64), null.map(|n| count(n as u64))));
    let here = |name: &str| [last(data, name, p), last(data, &format!("{name}_null"), p)];
    let above = [counts(matches.n_mutual_above_chance), counts(here("n_mutual_above_chance"))];
    if let [Some(there), Some(here)] = above {
        text += &format!("; {there} mutual matches are above both chance points in “{}”, {here} here", theirs.name);
    }
    let first = data.first_score.as_ref();
    let shown = |scores: &[ScoreData]| {
        let is_first = |s: &&ScoreData| {
            s.pair == p && first.is_some_and(|f| s.measure == f[0] && s.pairing == f[1] && s.subset == f[2])
        };
        let s = scores.iter().find(is_first)?;
        let (value, null) = (s.value?, s.null_mean?);
        Some((
            s.measure.clone(),
            format!("{:+.3} from its null ({value:.3}, null {null:.3})", excess(s)).replace('-', "−"),
        ))
    };
    if let (Some((measure, there)), Some((_, here))) = (shown(&theirs.scores), shown(&data.scores)) {
        text += &format!(". {measure} is {there} in “{}”, here {here}", theirs.name);
    }
    let tokens = data.history.tokens.last().copied();
    if let (Some(there), Some(here)) = (theirs.tokens, tokens)
        && there != here
    {
        text += &format!(
            ". “{}” has {} tokens, this run {}: the fewer tokens, the higher chance, so compare runs of the same length",
            theirs.name,
            count(there),
            count(here)
        );
    }
    Some(Finding { lead: "Beside another run.", text: text + "." })
}

/// Whether partners fire on documents of the same label.
fn labels(data: &PageData) -> Option<Finding> {
    let field = data.labels.first().filter(|l| l.values.len() > 1)?;
    let [a, b] = data.pairs.get(data.first_pair)?.map(|s| &data.sites[s]);
    // values of the first field come first
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
            "Of the {} mutual matches kept in that pair, {} ({}) fire most often on the same “{}” on both sides (chance {}: partners drawn at \
             random).",
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
    let there = |s: &&ScoreData| s.pair == data.first_pair && s.subset != "all" && s.value.is_some() && !s.one_decoder;
    // worded with the measure that has power in most categories; among equals, with the one that the page shows first
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
            "{} of {n} semantic categories of that pair are above their null ({measure}){}{}.",
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

/// How far a score is from its null, above 0 where it is closer than chance.
fn excess(s: &ScoreData) -> f64 {
    let distance = s.value.unwrap_or(0.0) - s.null_mean.unwrap_or(0.0);
    if s.measure.parse::<Measure>().is_ok_and(Measure::smaller_is_closer) { -distance } else { distance }
}

fn converged(data: &PageData) -> Option<Finding> {
    let churn = data.history.series.get("churn")?;
    let n = data.history.tokens.len();
    let mean = |k: usize| {
        let values: Vec<f64> = churn.iter().filter_map(|c| c[k]).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let now = mean(n.checked_sub(1)?)?;
    let since = (0..n).rev().take_while(|k| mean(*k).is_some_and(|c| c <= CONVERGED)).last();
    let mut text = format!(
        "Between the last two snapshots {:.1} % of the latents changed their best partner (all pairs taken together).",
        100.0 * now
    );
    text += &match since {
        Some(k) if k + 1 == n => format!(" It is the first time that it is {:.0} % or less.", 100.0 * CONVERGED),
        Some(k) => {
            format!(" It has been {:.0} % or less since {} tokens.", 100.0 * CONVERGED, count(data.history.tokens[k]))
        }
        None => format!(" That is more than {:.0} %: more tokens would still move the matches.", 100.0 * CONVERGED),
    };
    let lead = match since {
        Some(k) if k + 1 == n => "Nearly converged.",
        Some(_) => "Converged.",
        None => "Not converged yet.",
    };
    Some(Finding { lead, text })
}

#[cfg(test)]
mod tests;
