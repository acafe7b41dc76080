//! How many best matches of a pair are mutual, how many are above chance, how many partners are there at all? Best partners in,
//! counts out. One function counts the matches and those of the rotated tiles, so that each count comes with the same count
//! by chance.
//!
//! The count that needs this most is `n_mutual`: in a matrix of independent noise, F_A by F_B, an entry is the highest of its row
//! and of its column with probability 1/(F_A + F_B − 1), so that F_A F_B/(F_A + F_B − 1) pairs are mutual by chance, half of the
//! latents where both sides have as many.

use super::Partner;
use std::collections::BTreeSet;

/// Counts over the best matches of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchCounts {
    /// Pairs of latents that are each other's best.
    pub n_mutual: u64,
    /// Those whose correlation is above the chance points of both latents; `None` without a chance level.
    pub n_mutual_above_chance: Option<u64>,
    /// Targets that are some source's best, sources that are some target's: few of them are hubs, everybody's best.
    pub n_distinct_partners: [u64; 2],
    /// Sources whose best target has their own number: the latent itself, where both sides are one SAE.
    pub n_own: u64,
    /// Mean best correlation of the sources, and of the targets; `None` where none is defined.
    pub mean_best_correlation: [Option<f64>; 2],
}

/// Counts the best matches `best`: `[n_sources]` and `[n_targets]`, `None` where no correlation is defined. `points` are the
/// latents' chance points (see [`super::Significance::point`]), in the same shape.
pub fn count_matches(best: [&[Option<Partner>]; 2], points: Option<[&[Option<f64>]; 2]>) -> MatchCounts {
    let [forward, backward] = best;
    let mutual = || {
        let chosen = forward.iter().enumerate().filter_map(|(i, p)| p.map(|p| (i, p)));
        chosen.filter(|(i, p)| backward[p.latent as usize].is_some_and(|q| q.latent as usize == *i))
    };
    let above = |[of_source, of_target]: [&[Option<f64>]; 2]| {
        let is_above = |r: f64, point: Option<f64>| point.is_some_and(|point| r > point);
        let pairs = mutual().map(|(i, p)| (p.correlation.value(), of_source[i], of_target[p.latent as usize]));
        pairs.filter(|&(r, source, target)| is_above(r, source) && is_above(r, target)).count() as u64
    };
    let distinct = |side: &[Option<Partner>]| side.iter().flatten().map(|p| p.latent).collect::<BTreeSet<u32>>().len();
    let mean = |side: &[Option<Partner>]| {
        let n = side.iter().flatten().count();
        (n > 0).then(|| side.iter().flatten().map(|p| p.correlation.value()).sum::<f64>() / n as f64)
    };
    MatchCounts {
        n_mutual: mutual().count() as u64,
        n_mutual_above_chance: points.map(above),
        n_distinct_partners: best.map(|side| distinct(side) as u64),
        n_own: (forward.iter().enumerate()).filter(|(i, p)| p.is_some_and(|p| p.latent as usize == *i)).count() as u64,
        mean_best_correlation: best.map(mean),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use crate::matching::{BestPartners, Correlation, significance};
    use proptest::prelude::*;

    /// Best partners both ways in a whole matrix `r[source][target]`.
    fn best(r: &[Vec<Option<f64>>]) -> [Vec<Option<Partner>>; 2] {
        let n_targets = r.first().map_or(0, Vec::len);
        let of = |row: Vec<Option<f64>>| {
            let mut found = BestPartners::default();
            for (latent, r) in (0..).zip(row) {
                let Some(correlation) = r.and_then(Correlation::new) else { continue };
                found.offer(Partner { latent, correlation }, 1);
            }
            found.as_slice().first().copied()
        };
        let column = |j: usize| r.iter().map(|row| row[j]).collect();
        [r.iter().cloned().map(of).collect(), (0..n_targets).map(|j| of(column(j))).collect()]
    }

    fn slices<T>(sides: &[Vec<T>; 2]) -> [&[T]; 2] {
        [&sides[0], &sides[1]]
    }

    proptest! {
        /// Every count by looking at every entry of the matrix; ties are common, and go to the lower latent.
        #[test]
        fn counts_are_the_plain_ones(
            (r, points) in (1usize..9, 1usize..9).prop_flat_map(|(n, m)| {
                let entry = prop::option::weighted(0.8, -4i8..5).prop_map(|v| v.map(|v| f64::from(v) / 4.0));
                let points = |n| prop::collection::vec(prop::option::weighted(0.9, -0.9f64..1.0), n);
                (prop::collection::vec(prop::collection::vec(entry, m), n), (points(n), points(m)))
            }),
        ) {
            let (n, m) = (r.len(), r[0].len());
            // the first highest of a list: what "ties to the lower latent" means
            let first = |list: Vec<Option<f64>>| {
                let top = list.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
                list.iter().position(|v| *v == Some(top))
            };
            let row = |i: usize| first(r[i].clone());
            let column = |j: usize| first(r.iter().map(|row| row[j]).collect());
            let pairs: Vec<(usize, usize)> = (0..n).flat_map(|i| (0..m).map(move |j| (i, j))).collect();
            let mutual: Vec<(usize, usize)> =
                pairs.into_iter().filter(|&(i, j)| row(i) == Some(j) && column(j) == Some(i)).collect();
            let above = mutual.iter().filter(|&&(i, j)| {
                let r = r[i][j].unwrap();
                points.0[i].is_some_and(|p| r > p) && points.1[j].is_some_and(|p| r > p)
            });
            let distinct = [
                (0..m).filter(|&j| (0..n).any(|i| row(i) == Some(j))).count() as u64,
                (0..n).filter(|&i| (0..m).any(|j| column(j) == Some(i))).count() as u64,
            ];
            let got = count_matches(slices(&best(&r)), Some([&points.0, &points.1]));
            prop_assert_eq!(got.n_mutual, mutual.len() as u64);
            prop_assert_eq!(got.n_mutual_above_chance, Some(above.count() as u64));
            prop_assert_eq!(got.n_distinct_partners, distinct);
            prop_assert_eq!(got.n_own, (0..n).filter(|&i| row(i) == Some(i)).count() as u64);
            prop_assert_eq!(count_matches(slices(&best(&r)), None).n_mutual_above_chance, None);
            // of those that have a correlation at all
            let mean = |tops: Vec<f64>| (!tops.is_empty()).then(|| tops.iter().sum::<f64>() / tops.len() as f64);
            let forward = (0..n).filter_map(|i| row(i).and_then(|j| r[i][j])).collect();
            let backward = (0..m).filter_map(|j| column(j).and_then(|i| r[i][j])).collect();
            prop_assert_eq!(got.mean_best_correlation, [mean(forward), mean(backward)]);
        }
    }

    /// Independent noise, many draws: F_A F_B/(F_A + F_B − 1) pairs are mutual, and of a null of the same noise at most one in
    /// twenty latents is above its chance point.
    #[test]
    fn noise_has_the_mutual_matches_that_theory_says() {
        let (n, m, draws) = (120, 80, 60);
        let mut stream = Stream::new(5, "noise", 0);
        let mut noise = || -> Vec<Vec<Option<f64>>> {
            (0..n).map(|_| (0..m).map(|_| Some(stream.unit() * 0.2 - 0.1)).collect()).collect()
        };
        let (mut total, mut above) = (0, 0);
        for _ in 0..draws {
            let (real, null) = (best(&noise()), best(&noise()));
            let points: [Vec<Option<f64>>; 2] = [0, 1].map(|d: usize| {
                let r = |side: &[Option<Partner>]| -> Vec<Option<f64>> {
                    side.iter().map(|p| p.map(|p| p.correlation.value())).collect()
                };
                let n_active = vec![50; null[d].len()];
                significance(&r(&real[d]), &r(&null[d]), &n_active).into_iter().map(|c| c.point).collect()
            });
            let counts = count_matches(slices(&real), Some(slices(&points)));
            let by_chance = count_matches(slices(&null), Some(slices(&points)));
            assert!(by_chance.n_mutual_above_chance.unwrap() <= 80 / 20, "{by_chance:?}");
            total += counts.n_mutual;
            above += counts.n_mutual_above_chance.unwrap();
        }
        let (mean, theory) = (f64::from(total as u32) / f64::from(draws), (n * m) as f64 / (n + m - 1) as f64);
        // sd of one draw some 3: 60 draws know the mean to 0.4
        assert!((mean - theory).abs() < 1.6, "{mean} mutual, {theory} by theory");
        assert!(f64::from(above as u32) / f64::from(draws) < 6.0, "{above} of {total}");
    }

    #[test]
    fn a_space_against_itself_is_mutual_throughout() {
        let r: Vec<Vec<Option<f64>>> =
            (0..30).map(|i| (0..30).map(|j| Some(if i == j { 1.0 } else { 0.5 })).collect()).collect();
        let sides = best(&r);
        let counts = count_matches(slices(&sides), None);
        assert_eq!((counts.n_mutual, counts.n_distinct_partners), (30, [30, 30]));
        assert_eq!(counts.mean_best_correlation, [Some(1.0); 2]);
        assert_eq!(count_matches([&[], &[]], None), MatchCounts::default());
    }
}
