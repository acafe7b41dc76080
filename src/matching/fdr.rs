//! Which of many p-values survive being many? The false-discovery rate of Benjamini and Hochberg (1995).

/// Adjusted p-values (q-values), in the order of the input: the smallest false-discovery rate at which each would be
/// accepted, `min over ranks j >= i of p_(j) m / j`, at most 1. `None` (no test was made) stays `None` and is not counted
/// in `m`. NaN counts as `None`.
pub fn benjamini_hochberg(p_values: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut tested: Vec<(f64, usize)> =
        p_values.iter().enumerate().filter_map(|(i, p)| p.filter(|p| !p.is_nan()).map(|p| (p, i))).collect();
    tested.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    let m = tested.len() as f64;
    let mut out = vec![None; p_values.len()];
    let mut smallest = 1.0f64;
    for (rank, &(p, i)) in tested.iter().enumerate().rev() {
        smallest = smallest.min(p * m / (rank + 1) as f64);
        out[i] = Some(smallest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy_and_skips_what_was_not_tested() {
        // scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.005, 0.8])
        let p = [Some(0.01), None, Some(0.04), Some(0.03), Some(0.005), Some(f64::NAN), Some(0.8)];
        let expected = [Some(0.025), None, Some(0.05), Some(0.05), Some(0.025), None, Some(0.8)];
        for (q, e) in benjamini_hochberg(&p).into_iter().zip(expected) {
            assert_eq!(q.is_some(), e.is_some());
            assert!(q.zip(e).is_none_or(|(q, e)| (q - e).abs() < 1e-15), "{q:?} {e:?}");
        }
        assert!(benjamini_hochberg(&[]).is_empty());
    }
}
