//! Which of a model's places holds a latent's best partner, and how high would the best be by chance over as many places? Best partners of
//! pairs of places in; one choice for each latent and model out, its chance level, and counts.
//!
//! The best of many places is also the luckiest. So a latent's chance level here is the highest of its chance levels
//! over the same places: all pairs rotate a batch's rows by the same number of rows, so that the maximum is over
//! pairings that belong together. Bands, points and p-values then follow as for one pair ([`significance`]), and
//! q-values go over all places of a model.

use super::{Correlation, Partner, Significance, benjamini_hochberg, significance};
use std::collections::{BTreeMap, BTreeSet};

/// Two places that are compared.
#[derive(Clone, Copy, Debug)]
pub struct PlacePair<'a> {
    /// Source and target, two different places. Of equal choices the lower place wins.
    pub places: [u32; 2],
    /// Best partner of each latent of the source, and of the target.
    pub best: [&'a [Option<Partner>]; 2],
    /// The same by chance; `None` where there is no chance level.
    pub null: Option<[&'a [Option<Partner>]; 2]>,
}

/// A latent that another one chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Its place.
    pub place: u32,
    /// Its number there.
    pub latent: u32,
    /// Of the two.
    pub correlation: Correlation,
}

/// What the latents of one place find over all places of a model that they are compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverPlaces {
    /// How many places compete.
    pub n_places: u32,
    /// The choice of each latent.
    pub best: Vec<Option<Chosen>>,
    /// The choice of each by chance; `None` where one of the places has no chance level.
    pub null: Option<Vec<Option<Chosen>>>,
    /// How far above chance each choice is; the margin is the distance to the best partner in another place.
    pub significance: Vec<Significance>,
}

/// By place, and model that it is compared with.
pub type BestOver = BTreeMap<[u32; 2], OverPlaces>;

/// The choices of all latents over all places of each model. `model_of`: the model of each place; `n_active`: of each place, tokens that
/// its latents fire on. Neither the order of pairs nor which side is the source changes anything.
pub fn best_over(pairs: &[PlacePair<'_>], model_of: &[u32], n_active: &[&[u64]]) -> BestOver {
    let mut lists: BTreeMap<[u32; 2], BTreeMap<u32, (&PlacePair<'_>, usize)>> = BTreeMap::new();
    for pair in pairs {
        for (own, other) in [(0, 1), (1, 0)] {
            let (place, there) = (pair.places[own], pair.places[other]);
            lists.entry([place, model_of[there as usize]]).or_default().insert(there, (pair, own));
        }
    }
    let mut out: BestOver =
        lists.into_iter().map(|(key, places)| (key, over(&places, n_active[key[0] as usize]))).collect();
    let directions: BTreeSet<[u32; 2]> = out.keys().map(|&[place, model]| [model_of[place as usize], model]).collect();
    for direction in directions {
        let mut of: Vec<&mut OverPlaces> = (out.iter_mut())
            .filter(|([place, model], _)| [model_of[*place as usize], *model] == direction)
            .map(|(_, over)| over)
            .collect();
        let all = of.iter_mut().flat_map(|over| &mut over.significance);
        let mut all: Vec<&mut Significance> = all.collect();
        let q_values = benjamini_hochberg(&all.iter().map(|s| s.p_value).collect::<Vec<_>>());
        all.iter_mut().zip(q_values).for_each(|(s, q)| s.q_value = q);
    }
    out
}

/// Of one place, over others: by place, the pair and the side that the place is on.
fn over(places: &BTreeMap<u32, (&PlacePair<'_>, usize)>, n_active: &[u64]) -> OverPlaces {
    // the highest and the next, each of another place
    let mut best: Vec<[Option<Chosen>; 2]> = vec![[None; 2]; n_active.len()];
    let mut null = Some(vec![None; n_active.len()]);
    for (&place, (pair, side)) in places {
        let chosen = |p: &Partner| Chosen { place, latent: p.latent, correlation: p.correlation };
        for (kept, partner) in best.iter_mut().zip(pair.best[*side]) {
            let Some(new) = partner.as_ref().map(chosen) else { continue };
            // places ascend, so an equal one stays behind
            if kept[0].is_none_or(|first| new.correlation > first.correlation) {
                *kept = [Some(new), kept[0]];
            } else if kept[1].is_none_or(|second| new.correlation > second.correlation) {
                kept[1] = Some(new);
            }
        }
        null = null.zip(pair.null).map(|(mut null, more)| {
            for (kept, partner) in null.iter_mut().zip(more[*side]) {
                if let Some(new) = partner.as_ref().map(chosen)
                    && kept.is_none_or(|first: Chosen| new.correlation > first.correlation)
                {
                    *kept = Some(new);
                }
            }
            null
        });
    }
    let values = |of: &mut dyn Iterator<Item = Option<Chosen>>| -> Vec<Option<f64>> {
        of.map(|c| c.map(|c| c.correlation.value())).collect()
    };
    let found = values(&mut best.iter().map(|b| b[0]));
    let levels = null.as_ref().map_or_else(|| vec![None; found.len()], |n| values(&mut n.iter().copied()));
    let mut significance = significance(&found, &levels, n_active);
    for (of, [first, second]) in significance.iter_mut().zip(&best) {
        of.margin = first.zip(*second).map(|(a, b)| a.correlation.value() - b.correlation.value());
    }
    OverPlaces { n_places: places.len() as u32, best: best.iter().map(|b| b[0]).collect(), null, significance }
}

/// Counts over the choices of two models' latents, and the same by chance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OverCounts {
    /// Places of the one model and of the other that are compared.
    pub n_places: [u32; 2],
    /// Latents of the one, and of the other, that have a choice.
    pub n_best: [u64; 2],
    /// Those whose r is above the chance point over the same places; `None` without a chance level.
    pub n_above_chance: [Option<u64>; 2],
    /// The same of the choices by chance.
    pub n_above_chance_null: [Option<u64>; 2],
    /// Mean r of the choices; `None` where there is none.
    pub mean_best: [Option<f64>; 2],
    /// The same by chance.
    pub mean_best_null: [Option<f64>; 2],
    /// Pairs of latents that choose each other among all places.
    pub n_mutual: u64,
    /// The same by chance.
    pub n_mutual_null: Option<u64>,
    /// Those whose r is above the chance points of both.
    pub n_mutual_above_chance: Option<u64>,
    /// The same by chance.
    pub n_mutual_above_chance_null: Option<u64>,
}

/// Counts of the choices between models `a` and `b`; of one model with itself both sides are all its places.
pub fn count_over(all: &BestOver, model_of: &[u32], [a, b]: [u32; 2]) -> OverCounts {
    let side = |own: u32, other: u32| -> Vec<(u32, &OverPlaces)> {
        let of = all.iter().filter(|([place, model], _)| model_of[*place as usize] == own && *model == other);
        of.map(|([place, _], over)| (*place, over)).collect()
    };
    let sides = [side(a, b), side(b, a)];
    // every choice of a side: place, latent, choice, chance point
    type Choice = (u32, u32, Chosen, Option<f64>);
    let choices = |side: &[(u32, &OverPlaces)], by_chance: bool| -> Option<Vec<Choice>> {
        let mut out = Vec::new();
        for (place, over) in side {
            let of = if by_chance { over.null.as_ref()? } else { &over.best };
            let each = (0u32..).zip(of).zip(&over.significance);
            out.extend(each.filter_map(|((latent, chosen), s)| Some((*place, latent, (*chosen)?, s.point))));
        }
        Some(out)
    };
    let here = sides.each_ref().map(|side| choices(side, false).expect("choices are always there"));
    let null = sides.each_ref().map(|side| choices(side, true));
    let above = |r: Correlation, point: Option<f64>| point.is_some_and(|point| r.value() > point);
    let n_above = |of: &[Choice]| of.iter().filter(|(.., c, point)| above(c.correlation, *point)).count() as u64;
    let mean = |of: &[Choice]| {
        let sum: f64 = of.iter().map(|(.., c, _)| c.correlation.value()).sum();
        (!of.is_empty()).then(|| sum / of.len() as f64)
    };
    // pairs that choose each other, and those above the points of both
    let mutual = |[one, other]: [&[Choice]; 2]| -> [u64; 2] {
        let back: BTreeMap<(u32, u32), &Choice> = other.iter().map(|c| ((c.0, c.1), c)).collect();
        let mut out = [0; 2];
        for &(place, latent, chosen, point) in one {
            let Some((.., chosen_back, other_point)) = back.get(&(chosen.place, chosen.latent)) else { continue };
            let both = (chosen_back.place, chosen_back.latent) == (place, latent);
            // of one model each pair is met twice
            if both && (a != b || (place, latent) < (chosen.place, chosen.latent)) {
                out[0] += 1;
                out[1] += u64::from(above(chosen.correlation, point) && above(chosen.correlation, *other_point));
            }
        }
        out
    };
    let has_chance = null.iter().all(Option::is_some);
    let [n_mutual, mutual_above] = mutual([&here[0], &here[1]]);
    let by_chance = null[0].as_ref().zip(null[1].as_ref()).map(|(one, other)| mutual([one, other]));
    OverCounts {
        n_places: sides.each_ref().map(|side| side.len() as u32),
        n_best: here.each_ref().map(|of| of.len() as u64),
        n_above_chance: [0, 1].map(|d: usize| null[d].is_some().then(|| n_above(&here[d]))),
        n_above_chance_null: null.each_ref().map(|of| of.as_deref().map(n_above)),
        mean_best: here.each_ref().map(|of| mean(of)),
        mean_best_null: null.each_ref().map(|of| of.as_deref().and_then(mean)),
        n_mutual,
        n_mutual_null: by_chance.map(|[n, _]| n),
        n_mutual_above_chance: has_chance.then_some(mutual_above),
        n_mutual_above_chance_null: by_chance.map(|[_, above]| above),
    }
}

#[cfg(test)]
mod tests;
