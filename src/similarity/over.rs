//! Which of several scores by one measure is the closest, and how close would the closest be by chance? Used where the
//! best of several places is picked.

use super::measure::Measure;
use super::score::{NullScores, Score};

/// One of several scores by one measure.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The value.
    pub value: f64,
    /// The measure under each random pairing. Pairing r is the same for all candidates where they have rows in common, else drawn for each
    /// alone.
    pub draws: &'a [f64],
}

/// The closest of `candidates` (the first of equal ones) and its score, whose null is the closest of all under each random pairing; no null
/// where they have not as many pairings each. `None` of none. Pairings that are drawn for each alone make the candidates independent: the closest of
/// so many is no less close than that of candidates which lean the same way, so its p-value is no less than theirs.
pub fn closest_of(measure: Measure, candidates: &[Candidate<'_>]) -> Option<(usize, Score)> {
    let closer = |a: f64, b: f64| if measure.smaller_is_closer() { a < b } else { a > b };
    let closest =
        |values: &mut dyn Iterator<Item = f64>| values.reduce(|best, v| if closer(v, best) { v } else { best });
    let (at, best) = (candidates.iter().enumerate())
        .reduce(|best, next| if closer(next.1.value, best.1.value) { next } else { best })?;
    let runs = candidates.iter().map(|c| c.draws.len()).min().unwrap_or(0);
    let shared = candidates.iter().all(|c| c.draws.len() == runs);
    let draws: Vec<f64> = (0..if shared { runs } else { 0 })
        .filter_map(|r| closest(&mut candidates.iter().map(|c| c.draws[r])))
        .collect();
    let null = NullScores::of(best.value, &draws, measure.smaller_is_closer());
    Some((at, Score { value: Some(best.value), null, draws, ..Score::undefined(measure, candidates.len()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_null_of_the_closest_is_the_closest_of_each_pairing(
            all in prop::collection::vec((0i8..20, prop::collection::vec(0i8..20, 25)), 1..6),
            distance in any::<bool>(),
        ) {
            let measure = if distance { Measure::ProcrustesRmse } else { Measure::Cka };
            let number = |v: i8| f64::from(v) / 20.0;
            let lists: Vec<Vec<f64>> = all.iter().map(|(_, draws)| draws.iter().map(|&v| number(v)).collect()).collect();
            let candidates: Vec<Candidate<'_>> =
                all.iter().zip(&lists).map(|((v, _), draws)| Candidate { value: number(*v), draws }).collect();
            let (at, score) = closest_of(measure, &candidates).unwrap();
            let extreme = |values: Vec<i8>| if distance { *values.iter().min().unwrap() } else { *values.iter().max().unwrap() };
            let best = extreme(all.iter().map(|c| c.0).collect());
            prop_assert_eq!(at, all.iter().position(|c| c.0 == best).unwrap());
            let draws: Vec<i8> = (0..25).map(|r| extreme(all.iter().map(|c| c.1[r]).collect())).collect();
            prop_assert_eq!(&score.draws, &draws.iter().map(|&v| number(v)).collect::<Vec<f64>>());
            let reach = draws.iter().filter(|&&d| if distance { d <= best } else { d >= best }).count();
            prop_assert_eq!(score.null.unwrap().p_value, (reach + 1) as f64 / 26.0);
            // the more compete, the higher chance is
            let alone = closest_of(measure, &candidates[at..=at]).unwrap().1;
            prop_assert!(alone.null.unwrap().p_value <= score.null.unwrap().p_value);
        }
    }

    #[test]
    fn without_as_many_pairings_each_there_is_no_null() {
        let of = |value, draws| Candidate { value, draws };
        let (at, score) = closest_of(Measure::Cka, &[of(0.25, &[0.5, 0.25][..]), of(0.75, &[])]).unwrap();
        assert_eq!((at, score.value, score.null), (1, Some(0.75), None));
        assert!(closest_of(Measure::Cka, &[]).is_none());
    }
}
