//! Check vectors, brute force on small problems, and the answers of SciPy and the paper's own code on the fixture.

use super::*;
use crate::linalg::{Matrix, Stream};

/// Correlations of the check vector: rows A0, A1, A3, A4 of five (A2 is dead), columns B0..B3.
fn pool() -> Matrix<f64> {
    Matrix::from_vec(
        4,
        4,
        vec![
            0.156894060574,
            0.087314784549,
            0.794284840542,
            0.0, //
            0.008650979974,
            -0.100078807927,
            -0.046150535793,
            0.0, //
            0.779275915876,
            0.598335027978,
            0.145082391677,
            0.0, //
            0.322538318912,
            0.108330665896,
            0.000507446543,
            0.0,
        ],
    )
}

fn total(scores: &Matrix<f64>, pairs: &[(usize, usize)]) -> f64 {
    pairs.iter().map(|&(i, j)| scores.row(i)[j]).sum()
}

fn random(m: usize, n: usize, index: u64) -> Matrix<f64> {
    let mut stream = Stream::new(8, "assignment", index);
    // Eighths: many ties.
    Matrix::from_vec(m, n, (0..m * n).map(|_| stream.below(17) as f64 / 8.0 - 1.0).collect())
}

/// Largest sum over all one-to-one pairings; with `alone`, a row may stay unpaired.
fn brute(scores: &Matrix<f64>, row: usize, used: &mut Vec<bool>, alone: bool) -> f64 {
    if row == scores.n_rows() {
        return 0.0;
    }
    let mut best = if alone { brute(scores, row + 1, used, alone) } else { f64::NEG_INFINITY };
    for j in 0..scores.n_cols() {
        if !used[j] {
            used[j] = true;
            best = best.max(scores.row(row)[j] + brute(scores, row + 1, used, alone));
            used[j] = false;
        }
    }
    best
}

fn flipped(m: &Matrix<f64>) -> Matrix<f64> {
    Matrix::from_vec(m.n_cols(), m.n_rows(), (0..m.n_cols()).flat_map(|j| m.rows().map(move |r| r[j])).collect())
}

fn all_candidates(scores: &Matrix<f64>) -> ScoredColumns {
    ScoredColumns::from_rows(scores.n_cols(), scores.rows().map(|row| (0u32..).zip(row.iter().copied()))).unwrap()
}

fn one_to_one<T: Ord + Copy>(pairs: &[(T, T)]) -> bool {
    let unique = |values: Vec<T>| values.iter().collect::<std::collections::BTreeSet<_>>().len() == pairs.len();
    unique(pairs.iter().map(|p| p.0).collect()) && unique(pairs.iter().map(|p| p.1).collect())
}

#[test]
fn hungarian_gives_the_check_value() {
    let scores = pool();
    let pairs = hungarian(&scores).unwrap();
    assert_eq!(pairs, [(0, 2), (1, 3), (2, 1), (3, 0)]); // pool rows 3, 2, 0, 1 for B0..B3
    assert!((total(&scores, &pairs) - 1.7151581874323911).abs() < 1e-9);
}

#[test]
fn sinkhorn_gives_the_check_value() {
    let transport = sinkhorn(&pool(), &Sinkhorn::default()).unwrap();
    assert_eq!(transport.source_of, [3, 2, 0, 1]);
    assert!((transport.cost - 0.5797032622).abs() < 1e-9, "cost {}", transport.cost);
    assert!((transport.plan.as_slice().iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(sinkhorn(&pool(), &Sinkhorn { regularisation: 1e-4, ..Default::default() }).is_err());
}

#[test]
fn published_walk_gives_the_check_value() {
    let survives = [true, true, true, true, false, false, true, true, true];
    let pairs = first_one_to_one(&[3, 3, 0, 0, 5, 7, 7, 7, 2], &survives);
    assert_eq!(pairs, [(3, 0), (0, 2), (7, 6), (2, 8)]);
    let r = [0.9, 0.8, 0.05, 0.7, 0.3, 0.2, 0.6, 0.4, 0.1];
    let strong: Vec<_> = pairs.into_iter().filter(|&(_, b)| r[b as usize] > 0.1).collect();
    assert_eq!(strong, [(3, 0), (7, 6)]);
}

#[test]
fn optimal_pairings_are_those_of_brute_force() {
    for index in 0..300 {
        let (m, n) = (1 + (index % 6) as usize, 1 + (index / 6 % 7) as usize);
        let scores = random(m, n, index);
        let wide = if m <= n { scores.clone() } else { flipped(&scores) };
        let pairs = hungarian(&scores).unwrap();
        assert!(pairs.len() == m.min(n) && one_to_one(&pairs));
        assert_eq!(total(&scores, &pairs), brute(&wide, 0, &mut vec![false; m.max(n)], false), "[{m}, {n}] {index}");
        let sparse = hungarian_sparse(&all_candidates(&scores)).unwrap();
        let sparse: Vec<_> = sparse.into_iter().map(|(i, j)| (i as usize, j as usize)).collect();
        assert!(one_to_one(&sparse));
        assert_eq!(total(&scores, &sparse), brute(&wide, 0, &mut vec![false; m.max(n)], true), "sparse {index}");
    }
}

#[test]
fn dense_and_sparse_agree_where_no_latent_gains_by_staying_alone() {
    let mut stream = Stream::new(8, "both", 0);
    let scores: Matrix<f64> = Matrix::from_vec(150, 220, (0..150 * 220).map(|_| 0.01 + stream.unit()).collect());
    let dense = hungarian(&scores).unwrap();
    let sparse = hungarian_sparse(&all_candidates(&scores)).unwrap();
    assert!(dense.iter().zip(&sparse).all(|(d, s)| *d == (s.0 as usize, s.1 as usize)) && sparse.len() == 150);
    let mut back: Vec<_> = hungarian(&flipped(&scores)).unwrap().into_iter().map(|(i, j)| (j, i)).collect();
    back.sort_unstable();
    assert_eq!(back, dense);
}

#[test]
fn scale_changes_no_pairing() {
    for factor in [1e-300, 1e-9, 1.0, 1e300] {
        let scores = pool();
        let scaled = Matrix::from_vec(4, 4, scores.as_slice().iter().map(|x| x * factor).collect());
        assert_eq!(hungarian(&scaled).unwrap(), hungarian(&scores).unwrap(), "factor {factor}");
    }
}

#[test]
fn bad_scores_are_refused() {
    assert!(hungarian(&Matrix::from_vec(1, 2, vec![0.5, f64::NAN])).is_err());
    assert!(ScoredColumns::from_rows(3, [[(3, 0.5)]]).is_err());
    assert!(ScoredColumns::from_rows(3, [[(1, 0.5), (1, 0.4)]]).is_err());
    assert!(ScoredColumns::from_rows(3, [[(1, f64::INFINITY)]]).is_err());
    assert!(hungarian(&Matrix::zeros(0, 4)).unwrap().is_empty());
    assert!(hungarian_sparse(&all_candidates(&Matrix::zeros(2, 2))).unwrap().is_empty());
}

#[test]
fn greedy_takes_the_strongest_and_breaks_ties_downwards() {
    let pairs = [(1, 1, 0.5), (0, 1, 0.5), (0, 0, 0.9), (2, 2, f64::NAN), (2, 1, 0.4), (1, 3, 0.1)];
    assert_eq!(greedy_one_to_one(&pairs), [(0, 0), (1, 1)]);
}

mod fixture {
    use super::*;
    use serde_json::Value;
    use std::path::Path;

    struct Reference {
        matches: Value,
        bytes: Vec<u8>,
    }

    impl Reference {
        fn open() -> Self {
            let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/matching"));
            let bytes = std::fs::read(folder.join("reference.safetensors")).unwrap();
            let matches = serde_json::from_slice(&std::fs::read(folder.join("matches.json")).unwrap()).unwrap();
            Reference { matches, bytes }
        }

        fn numbers(&self, name: &str) -> Vec<f64> {
            let file = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
            let tensor = file.tensor(name).unwrap();
            let data = tensor.data();
            match tensor.dtype() {
                safetensors::Dtype::F32 => {
                    data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
                }
                safetensors::Dtype::F64 => {
                    data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
                }
                _ => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            }
        }

        fn pairs(&self, name: &str) -> Vec<(u32, u32)> {
            let list = self.matches["filtered_sets"][name].as_array().or(self.matches[name].as_array()).unwrap();
            list.iter().map(|p| (p[0].as_u64().unwrap() as u32, p[1].as_u64().unwrap() as u32)).collect()
        }
    }

    #[test]
    fn hungarian_is_that_of_scipy() {
        let reference = Reference::open();
        let corr = Matrix::from_vec(300, 260, reference.numbers("corr"));
        let rows: Vec<usize> = (0..300).filter(|&i| corr.row(i).iter().any(|x| !x.is_nan())).collect();
        let columns: Vec<usize> = (0..260).filter(|&j| corr.rows().any(|row| !row[j].is_nan())).collect();
        let live = rows.iter().flat_map(|&i| columns.iter().map(move |&j| (i, j))).map(|(i, j)| corr.row(i)[j]);
        let live = Matrix::from_vec(rows.len(), columns.len(), live.collect());
        let pairs = hungarian(&live).unwrap();
        let expected = &reference.matches["hungarian_live"];
        assert!((total(&live, &pairs) - expected["total"].as_f64().unwrap()).abs() < 1e-9);
        let of_scipy: Vec<(usize, usize)> = expected["pairs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p[0].as_u64().unwrap() as usize, p[1].as_u64().unwrap() as usize))
            .collect();
        // Where exact copies make a pair ambiguous, both take the lower index.
        let ours: Vec<(usize, usize)> = pairs.iter().map(|&(i, j)| (rows[i], columns[j])).collect();
        assert_eq!(ours, of_scipy);
    }

    #[test]
    fn walk_is_that_of_the_paper() {
        let reference = Reference::open();
        let b_to_a = reference.numbers("b_to_a");
        let live: Vec<bool> = b_to_a.iter().map(|&a| a >= 0.0).collect();
        let source_of: Vec<u32> = b_to_a.iter().map(|&a| a.max(0.0) as u32).collect();
        assert_eq!(first_one_to_one(&source_of, &live), reference.pairs("1to1_first"));
        let keyword: std::collections::BTreeSet<u32> = reference.pairs("keyword").iter().map(|p| p.1).collect();
        let survives: Vec<bool> = (0..260).map(|b| keyword.contains(&b)).collect();
        assert_eq!(first_one_to_one(&source_of, &survives), reference.pairs("keyword_then_1to1_first"));
        // The paper's driver as it runs: every target walks, dead ones too, and the weak are dropped after it.
        let source_of: Vec<u32> = reference.numbers("paper_b_to_a").iter().map(|&a| a as u32).collect();
        let r = reference.numbers("paper_b_to_a_corr");
        let walked = first_one_to_one(&source_of, &[true; 260]);
        assert_eq!(walked.len(), 205);
        let strong: Vec<_> = walked.into_iter().filter(|&(_, b)| r[b as usize] > 0.1).collect();
        assert_eq!(strong, reference.pairs("paper_run_expm_final_pairs"));
    }

    #[test]
    fn greedy_over_best_partners_keeps_the_strongest_target_of_each_source() {
        let reference = Reference::open();
        let (b_to_a, r) = (reference.numbers("b_to_a"), reference.numbers("b_to_a_corr"));
        let pairs: Vec<(u32, u32, f64)> = (0..260u32)
            .filter(|&b| b_to_a[b as usize] >= 0.0)
            .map(|b| (b_to_a[b as usize] as u32, b, r[b as usize]))
            .collect();
        let mut kept = greedy_one_to_one(&pairs);
        kept.sort_by_key(|pair| pair.1);
        assert_eq!(kept, reference.pairs("1to1_best"));
    }
}
