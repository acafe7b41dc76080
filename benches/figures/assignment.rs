//! How long does it take to pair off whole dictionaries?

use cognate::linalg::{Matrix, Stream};
use cognate::matching::assignment::{ScoredColumns, Sinkhorn, hungarian, hungarian_sparse, sinkhorn};
use std::collections::BTreeMap;
use std::time::Instant;

/// 32 768 latents per side by the Hungarian method over candidates: one JSON line per part with `wanted` in its name,
/// which `benches/peers/matching.py` compares with SciPy's.
pub fn hungarian_beside_scipy(wanted: &str) {
    let n = 32_768u32;
    for candidates in [10, 50] {
        let part = format!("hungarian, 32768 x 32768, {candidates} candidates");
        if !part.contains(wanted) {
            continue;
        }
        let mut stream = Stream::new(1, "candidates", candidates);
        let mut uniform = || {
            let u = stream.gaussian().abs() * 1e6;
            u - u.floor()
        };
        let mut row = |_| {
            let named: BTreeMap<u32, f64> =
                (0..candidates).map(|_| ((uniform() * f64::from(n)) as u32, uniform())).collect();
            named.into_iter().collect::<Vec<_>>()
        };
        let rows: Vec<Vec<(u32, f64)>> = (0..n).map(&mut row).collect();
        let clock = Instant::now();
        let pairs = hungarian_sparse(&ScoredColumns::from_rows(n as usize, rows).unwrap()).unwrap();
        assert!(pairs.len() > 30_000);
        println!("{}", serde_json::json!({ "part": part, "once_s": clock.elapsed().as_secs_f64(), "null_s": 0.0 }));
    }
}

/// Kinds of candidates that are harder or easier, and the dense methods.
pub fn whole_dictionaries() {
    for (name, latents, per_row, planted, skew) in [
        ("5 candidates", 32_768u32, 5, true, 1.0),
        ("20 candidates", 32_768, 20, true, 1.0),
        ("20 candidates, unplanted", 32_768, 20, false, 1.0),
        ("20 candidates, popular columns", 32_768, 20, false, 3.0),
        ("100 candidates, popular columns", 32_768, 100, false, 3.0),
    ] {
        let mut stream = Stream::new(6, "whole", 0);
        let hidden = stream.permutation(latents as usize);
        let rows: Vec<Vec<(u32, f64)>> = (0..latents)
            .map(|i| {
                let mut row = BTreeMap::new();
                for _ in 0..per_row {
                    let column = (stream.unit().powf(skew) * f64::from(latents)) as u32;
                    row.insert(column, 0.1 + 0.4 * stream.unit());
                }
                if planted && i % 3 == 0 {
                    row.insert(hidden[i as usize], 0.5 + 0.5 * stream.unit());
                }
                row.into_iter().collect()
            })
            .collect();
        let candidates = ScoredColumns::from_rows(latents as usize, rows).unwrap();
        let clock = Instant::now();
        let pairs = hungarian_sparse(&candidates).unwrap();
        println!("sparse, {name:32} {:.2} s, {} pairs", clock.elapsed().as_secs_f64(), pairs.len());
    }
    let mut stream = Stream::new(6, "dense", 0);
    let scores = Matrix::from_vec(3000, 3000, (0..9_000_000).map(|_| stream.unit()).collect());
    let clock = Instant::now();
    let sum: f64 = hungarian(&scores).unwrap().iter().map(|&(i, j)| scores.row(i)[j]).sum();
    println!("dense 3000 x 3000: {:.2} s, sum {sum}", clock.elapsed().as_secs_f64());
    let clock = Instant::now();
    let transport = sinkhorn(&scores, &Sinkhorn::default()).unwrap();
    println!("sinkhorn 3000 x 3000: {:.2} s, {} iterations", clock.elapsed().as_secs_f64(), transport.iterations);
}
