//! Which pairs are left when a latent may be used once? Rules that need no optimum.

/// Strongest first: pairs `(source, target)` with their correlations, taken in falling order while both are free; ties go
/// to the lower source, then the lower target. Returned in the order taken. NaN is skipped.
pub fn greedy_one_to_one(pairs: &[(u32, u32, f64)]) -> Vec<(u32, u32)> {
    let mut order: Vec<(u32, u32, f64)> = pairs.iter().copied().filter(|p| !p.2.is_nan()).collect();
    order.sort_by(|x, y| y.2.total_cmp(&x.2).then((x.0, x.1).cmp(&(y.0, y.1))));
    let mut used = (std::collections::HashSet::new(), std::collections::HashSet::new());
    order.retain(|&(source, target, _)| {
        let free = !used.0.contains(&source) && !used.1.contains(&target);
        if free {
            used.0.insert(source);
            used.1.insert(target);
        }
        free
    });
    order.into_iter().map(|(source, target, _)| (source, target)).collect()
}

/// The published filter (arXiv 2410.06981, the authors' code): walk the surviving targets in rising order and keep each
/// whose source was not kept before, whatever the correlations. `source_of[target]` is each target's best source; targets
/// with `survives` false are passed over. (The code keeps a source that one target names without asking; that is the same
/// thing.) Pairs `(source, target)` in rising order of target.
///
/// # Panics
/// When the two slices differ in length.
pub fn first_one_to_one(source_of: &[u32], survives: &[bool]) -> Vec<(u32, u32)> {
    assert_eq!(source_of.len(), survives.len(), "each target survives or not");
    let mut kept = std::collections::HashSet::new();
    let pairs = source_of.iter().zip(survives).zip(0u32..);
    pairs
        .filter(|((source, live), _)| **live && kept.insert(**source))
        .map(|((&source, _), target)| (source, target))
        .collect()
}
