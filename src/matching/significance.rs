//! Significance of a best correlation: each match compared with the maxima that unrelated tokens give.
//!
//! A maximum over thousands of partners is high by chance, and the higher the fewer tokens a latent fires on. The null is
//! the best correlation of every latent when its side's rows are paired with those of another document (see
//! [`crate::moments::Null`]): each latent keeps its values, how often it fires and how its firings
//! cluster, and all latents of the other side stay as correlated among themselves as they are.
//!
//! The pool of a latent is the chance maxima of all latents of the same pair and direction that fire about as often:
//! bands of one power of two in the number of firings, merged from the rarest up until each holds at least
//! [`MIN_POOL`]. A band's chance point is the level that one in twenty of its chance maxima exceeds: at most that share
//! of the null's latents is above its own.

use super::benjamini_hochberg;

/// One in this many of a band's chance maxima may be above its chance point.
const ONE_IN: usize = 20;

/// Significance maxima in a band, where there are so many: the smallest p-value is then at most 1/201.
pub const MIN_POOL: usize = 200;

/// How far above chance a best match is. `None` where it is undefined or was not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Significance {
    /// The latent's own highest correlation under the null.
    pub null_correlation: Option<f64>,
    /// The 95 % chance point of its band: the lowest of the n chance maxima above which there are at most 5 % of them.
    pub point: Option<f64>,
    /// `(c + 1) / (n + 1)`, c of the n chance maxima of its band at least as high as its best correlation.
    pub p_value: Option<f64>,
    /// The p-value adjusted over all latents of the pair and direction (Benjamini and Hochberg).
    pub q_value: Option<f64>,
    /// Best correlation less the second best.
    pub margin: Option<f64>,
}

/// Significance of each picking latent's best correlation: `best[i]`, its chance maximum `null[i]` (`None` where no
/// correlation is defined) and `n_active[i]`, the tokens it fires on. Margins are left `None`. Latents without a chance
/// maximum are no part of a pool; without any pool p-values are `None`.
///
/// # Panics
/// When the three differ in length.
pub fn significance(best: &[Option<f64>], null: &[Option<f64>], n_active: &[u64]) -> Vec<Significance> {
    assert!(best.len() == null.len() && best.len() == n_active.len(), "three facts of every latent");
    let pools = Pools::new(null, n_active);
    let p_values: Vec<Option<f64>> =
        best.iter().zip(n_active).map(|(r, &n)| r.and_then(|r| pools.p_value(r, n))).collect();
    let q_values = benjamini_hochberg(&p_values);
    let point = |i: usize| best[i].and_then(|_| pools.point(n_active[i]));
    let of_latent = |(i, (&p_value, q_value))| Significance {
        null_correlation: null[i],
        point: point(i),
        p_value,
        q_value,
        margin: None,
    };
    p_values.iter().zip(q_values).enumerate().map(of_latent).collect()
}

/// Significance maxima by band, each sorted; `upto[k]` is the last power of two of band k.
struct Pools {
    upto: Vec<u32>,
    maxima: Vec<Vec<f64>>,
}

impl Pools {
    fn new(null: &[Option<f64>], n_active: &[u64]) -> Pools {
        let mut by_power = vec![Vec::new(); 65];
        for (r, &n) in null.iter().zip(n_active) {
            by_power[power(n) as usize].extend(*r);
        }
        let mut out = Pools { upto: Vec::new(), maxima: Vec::new() };
        let mut band = Vec::new();
        for (k, more) in by_power.into_iter().enumerate() {
            band.extend(more);
            if band.len() >= MIN_POOL {
                out.upto.push(k as u32);
                out.maxima.push(std::mem::take(&mut band));
            }
        }
        // what is left at the top is too few for a band of its own
        match out.maxima.last_mut() {
            Some(last) => last.extend(band),
            None => {
                out.upto.push(64);
                out.maxima.push(band);
            }
        }
        out.maxima.iter_mut().for_each(|m| m.sort_by(f64::total_cmp));
        out
    }

    /// Significance maxima of the latents that fire about as often, ascending.
    fn band(&self, n_active: u64) -> &[f64] {
        let band = self.upto.partition_point(|&upto| upto < power(n_active)).min(self.maxima.len() - 1);
        &self.maxima[band]
    }

    fn point(&self, n_active: u64) -> Option<f64> {
        let maxima = self.band(n_active);
        maxima.len().checked_sub(maxima.len() / ONE_IN + 1).map(|at| maxima[at])
    }

    fn p_value(&self, r: f64, n_active: u64) -> Option<f64> {
        let maxima = self.band(n_active);
        let reach = maxima.len() - maxima.partition_point(|&m| m < r);
        (!maxima.is_empty()).then(|| (reach + 1) as f64 / (maxima.len() + 1) as f64)
    }
}

/// Place of the highest set bit, from 1; 0 for 0.
fn power(n: u64) -> u32 {
    u64::BITS - n.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rare_latent_is_tested_against_rare_ones() {
        // 300 rare latents reach 0.9 by chance, 300 common ones 0.1
        let n_active: Vec<u64> = (0..600).map(|i| if i < 300 { 3 } else { 900 }).collect();
        let null: Vec<Option<f64>> = (0..600).map(|i| Some(if i < 300 { 0.9 } else { 0.1 })).collect();
        let found = significance(&[Some(0.5); 600], &null, &n_active);
        assert_eq!((found[0].p_value, found[599].p_value), (Some(1.0), Some(1.0 / 301.0)));
        assert_eq!(found[0].q_value, Some(1.0));
        assert!((found[599].q_value.unwrap() - 2.0 / 301.0).abs() < 1e-15);
        assert_eq!(found[5].null_correlation, Some(0.9));
        assert_eq!((found[0].point, found[599].point), (Some(0.9), Some(0.1)));
    }

    #[test]
    fn what_is_undefined_stays_so() {
        let found = significance(&[None, Some(0.5)], &[None, None], &[0, 4]);
        assert_eq!(found, [Significance::default(); 2]);
        assert!(significance(&[], &[], &[]).is_empty());
    }

    proptest! {
        /// The plain count over the band, found by merging powers of two from below.
        #[test]
        fn p_is_the_plain_count(
            latents in prop::collection::vec((0i8..20, prop::option::weighted(0.9, 0i8..20), 1u64..70), 1..900),
        ) {
            let number = |v: i8| f64::from(v) / 20.0;
            let best: Vec<Option<f64>> = latents.iter().map(|l| Some(number(l.0))).collect();
            let null: Vec<Option<f64>> = latents.iter().map(|l| l.1.map(number)).collect();
            let n_active: Vec<u64> = latents.iter().map(|l| l.2).collect();
            let of = |k: u32| latents.iter().filter(|l| l.2.ilog2() == k).filter_map(|l| l.1).collect::<Vec<_>>();
            let mut bands: Vec<(Vec<u32>, Vec<i8>)> = vec![(vec![], vec![])];
            for k in 0..7 {
                if bands.last().unwrap().1.len() >= MIN_POOL {
                    bands.push((vec![], vec![]));
                }
                let last = bands.last_mut().unwrap();
                last.0.push(k);
                last.1.extend(of(k));
            }
            if bands.len() > 1 && bands.last().unwrap().1.len() < MIN_POOL {
                let last = bands.pop().unwrap();
                let before = bands.last_mut().unwrap();
                before.0.extend(last.0);
                before.1.extend(last.1);
            }
            for (l, found) in latents.iter().zip(significance(&best, &null, &n_active)) {
                let pool = &bands.iter().find(|b| b.0.contains(&l.2.ilog2())).unwrap().1;
                let c = pool.iter().filter(|&&m| m >= l.0).count();
                let p = (!pool.is_empty()).then(|| (c + 1) as f64 / (pool.len() + 1) as f64);
                prop_assert_eq!(found.p_value, p);
                // the lowest level of the pool that at most one in twenty exceeds
                let few_exceed = |level: f64| 20 * pool.iter().filter(|&&m| number(m) > level).count() <= pool.len();
                let Some(point) = found.point else { prop_assert!(pool.is_empty()); continue };
                prop_assert!(few_exceed(point) && pool.iter().any(|&m| number(m) == point));
                let below = pool.iter().map(|&m| number(m)).filter(|&m| m < point).reduce(f64::max);
                prop_assert!(below.is_none_or(|level| !few_exceed(level)));
            }
        }
    }
}
