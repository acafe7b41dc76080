//! How long do scores of a layer pair of the paper's size take? One JSON line a part, which `benches/peers/matching.py` sets
//! beside NumPy's.

use cognate::linalg::{Matrix, Stream};
use cognate::similarity::{Permutations, compare_rows};
use std::time::Instant;

/// The parts with `wanted` in their name.
pub fn scores(wanted: &str) {
    let rows = |n: usize, d: usize, name| {
        let mut stream = Stream::new(1, name, 0);
        Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian()).collect())
    };
    for (part, n, measure, runs) in [
        ("svcca, 1 component, 1000 permutations", 7500, "svcca_as_published", 1000),
        ("svcca_k10, 1000 permutations", 7500, "svcca_k10", 1000),
        ("svcca, all components, 5 permutations", 7500, "svcca_k512", 5),
        ("rsa, N = 7500, 10 permutations", 7500, "rsa", 10),
        ("rsa, N = 20000", 20_000, "rsa", 0),
        ("cka, 20 permutations", 7500, "cka", 20),
        ("procrustes, 20 permutations", 7500, "procrustes", 20),
        ("mutual_knn10, 1000 permutations", 7500, "mutual_knn10", 1000),
    ] {
        if !part.contains(wanted) {
            continue;
        }
        let (p, q) = (rows(n, 512, "p"), rows(n, 768, "q"));
        let seconds = |runs: usize| {
            let clock = Instant::now();
            let nulls = Permutations::Seeded { seed: 0, stream: "null/bench", runs };
            let score = compare_rows(&p, &q, &[measure.parse().unwrap()], nulls).unwrap().remove(0);
            assert_eq!((score.n_pairs, score.null.map_or(0, |n| n.runs)), (n, runs));
            clock.elapsed().as_secs_f64()
        };
        let once = seconds(0);
        let drawn = if runs > 0 { (seconds(runs) - once).max(0.0) } else { 0.0 };
        println!("{}", serde_json::json!({ "part": part, "once_s": once, "null_s": drawn }));
    }
}
