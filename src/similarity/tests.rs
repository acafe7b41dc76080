//! Check vectors computed outside this program, laws that every measure keeps, and what chance gives.
//!
//! The vectors come from SplitMix64 (Steele, Lea, Flood 2014), all arithmetic in f64.

use super::*;
use crate::error::ErrorKind;
use crate::halt::Halt;
use crate::linalg::{Matrix, Stream, product, thin_svd, transposed_product};

struct SplitMix64(u64);

impl SplitMix64 {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

pub(super) fn decoders() -> (Matrix<f64>, Matrix<f64>) {
    let mut mix = SplitMix64(42);
    let mut draw = |n| (0..n).map(|_| mix.unit() - 0.5).collect::<Vec<f64>>();
    let a = Matrix::from_vec(40, 6, draw(240));
    let z = Matrix::from_vec(40, 5, draw(200));
    let mut b = Matrix::zeros(40, 5);
    for i in 0..40 {
        for j in 0..5 {
            b.row_mut(i)[j] = a.row(i)[j] + 0.5 * a.row(i)[j + 1] + 0.25 * z.row(i)[j];
        }
    }
    (a, b)
}

/// Decoder rows `[n, 24]`, `[n, 32]` of a set of pairs of the fixture `matching`, with what Python gives for them.
pub(super) fn matched_decoders(set: &str) -> (Matrix<f64>, Matrix<f64>, serde_json::Value) {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/matching"));
    let bytes = std::fs::read(folder.join("decoders.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let scores: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("scores.json")).unwrap()).unwrap();
    let pairs = scores[set]["pairs"].as_array().unwrap();
    let side = |name, which: usize| {
        let tensor = file.tensor(name).unwrap();
        let (n, d) = (tensor.shape()[0], tensor.shape()[1]);
        let values = tensor.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())));
        let rows: Vec<usize> = pairs.iter().map(|pair| pair[which].as_u64().unwrap() as usize).collect();
        Matrix::from_vec(n, d, values.collect()).gather_rows(&rows)
    };
    (side("W_dec_A", 0), side("W_dec_B", 1), scores[set].clone())
}

fn gaussian(n: usize, d: usize, name: &str) -> Matrix<f64> {
    let mut stream = Stream::new(17, name, 0);
    Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian()).collect())
}

fn reversed(m: &Matrix<f64>) -> Matrix<f64> {
    m.gather_rows(&(0..m.n_rows()).rev().collect::<Vec<_>>())
}

fn value(p: &Matrix<f64>, q: &Matrix<f64>, name: &str) -> f64 {
    let scores = compare_rows(p, q, &[name.parse().unwrap()], Permutations::NONE).unwrap();
    scores[0].value.unwrap_or_else(|| panic!("{name} is undefined"))
}

#[track_caller]
pub(super) fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}, off by {:e}", found - expected);
}

#[test]
fn decoders_give_the_check_values() {
    let (a, b) = decoders();
    near(a.row(0)[0], 0.2415648787718233, 1e-16);
    near(b.row(39)[4], 0.4725326491450707, 1e-15);
    let published = svcca(&a, &b, SvccaRule::AsPublished).unwrap().unwrap();
    assert_eq!((published.k_a, published.k_b), (1, 1));
    near(published.value, 0.9444438057942482, 1e-12);
    let intended = svcca(&a, &b, SvccaRule::Variance(0.99)).unwrap().unwrap();
    assert_eq!((intended.k_a, intended.k_b), (6, 5));
    near(intended.value, 0.9610337922848166, 1e-9);
    let coefficients =
        [0.9933771943883737, 0.9856577753229725, 0.969090001941333, 0.9515452645350884, 0.9054987252363148];
    intended.coefficients.iter().zip(coefficients).for_each(|(&x, y)| near(x, y, 1e-9));
    let most = svcca(&a, &b, SvccaRule::Variance(0.9)).unwrap().unwrap();
    assert_eq!((most.k_a, most.k_b), (5, 4));
    near(most.value, 0.8458776315570462, 1e-9);
    near(value(&a, &b, "rsa"), 0.8161273213036941, 1e-12);
    near(value(&a, &b, "rsa_euclidean"), 0.736063441160261, 1e-12);
    near(value(&a, &b, "jaccard_knn5"), 0.43759920634920635, 1e-12);
    let back = reversed(&b);
    near(value(&a, &back, "svcca_as_published"), 0.297462963832511, 1e-9);
    near(value(&a, &back, "svcca"), 0.3871119751713459, 1e-9);
    near(value(&a, &back, "rsa"), -0.02684561636992525, 1e-12);
    let variance = |m| svcca_variances(m).iter().sum::<f64>();
    near(variance(&a), 20.47550177870377, 1e-12);
    near(variance(&b), 21.731295778592745, 1e-12);
}

fn svcca_variances(m: &Matrix<f64>) -> Vec<f64> {
    space::SideSpace::of(m).unwrap().unwrap().variances()
}

#[test]
fn activations_give_the_check_values() {
    let mut mix = SplitMix64(7);
    let (mut a, mut b) = (Matrix::<f64>::zeros(50, 5), Matrix::<f64>::zeros(50, 4));
    for t in 0..50 {
        a.row_mut(t).iter_mut().for_each(|x| *x = (mix.unit() - 0.6).max(0.0));
        b.row_mut(t).iter_mut().for_each(|x| *x = (mix.unit() - 0.7).max(0.0));
    }
    for t in 0..50 {
        let (from, to) = (a.row_mut(t), b.row_mut(t));
        from[2] = 0.0;
        to[0] += from[3];
        to[1] += 0.5 * from[3];
        to[2] += from[0];
        to[3] = 0.0;
    }
    let columns = |m: &Matrix<f64>, pick: [usize; 3]| {
        Matrix::from_vec(50, 3, m.rows().flat_map(|row| pick.map(|j| row[j])).collect())
    };
    let (x, y) = (columns(&a, [3, 0, 1]), columns(&b, [0, 2, 1]));
    near(value(&x, &y, "cka"), 0.5852319517253617, 1e-9);
    near(value(&x, &y, "procrustes_rmse"), 0.67348169753224, 1e-9);
}

#[test]
fn toy_figure_gives_the_check_values() {
    let m1 = Matrix::from_vec(4, 3, vec![2.48, 5.24, 1.24, 5.95, 0.67, 1.8, 0.1, 7.4, 4.1, 3.15, 6.48, 9.28]);
    let m2 = Matrix::from_vec(4, 3, vec![0.55, 6.13, 3.56, 0.91, 5.89, 4.26, 6.48, 7.44, 5.36, 5.78, 2.22, 4.54]);
    let paired = m2.gather_rows(&[2, 3, 0, 1]);
    near(value(&m1, &m2, "svcca_as_published"), 0.9054412837073471, 1e-9);
    near(value(&m1, &paired, "svcca_as_published"), 0.9276255578117908, 1e-9);
    near(value(&m1, &m2, "rsa"), 0.08571428571428573, 1e-12);
    near(value(&m1, &paired, "rsa"), 0.942857142857143, 1e-12);
}

const ALL: [&str; 13] = [
    "svcca",
    "svcca_as_published",
    "svcca_k3",
    "cka",
    "rsa",
    "rsa_cosine",
    "rsa_euclidean",
    "pwcca",
    "pwcca_as_published",
    "procrustes",
    "procrustes_rmse",
    "jaccard_knn10",
    "mutual_knn10",
];

#[test]
fn a_space_is_equal_to_itself() {
    let x = gaussian(120, 7, "self");
    for name in ALL {
        if name == "procrustes_rmse" {
            near(value(&x, &x, name), 0.0, 1e-7); // √ of what cancels
        } else {
            near(value(&x, &x, name), 1.0, 1e-12);
        }
    }
}

#[test]
fn rotation_and_scale_change_nothing_where_they_should_not() {
    let (p, q) = (gaussian(90, 6, "p"), {
        let (mut q, noise) = (product(&gaussian(90, 6, "p"), &gaussian(6, 8, "map")), gaussian(90, 8, "noise"));
        q.as_mut_slice().iter_mut().zip(noise.as_slice()).for_each(|(x, e)| *x += 2.0 * e);
        q
    });
    let rotation = thin_svd(&gaussian(8, 8, "rotation")).unwrap().u;
    let mut turned = product(&q, &rotation);
    turned.as_mut_slice().iter_mut().for_each(|x| *x *= 3.5);
    for name in
        ["svcca", "svcca_as_published", "cka", "rsa_cosine", "rsa_euclidean", "pwcca", "procrustes", "mutual_knn10"]
    {
        near(value(&p, &q, name), value(&p, &turned, name), 1e-10);
    }
    // Taking off a row's own mean singles out one direction of the space, so the paper's RSA moves under a rotation.
    assert!((value(&p, &q, "rsa") - value(&p, &turned, "rsa")).abs() > 1e-4);
    // Any invertible map leaves plain CCA alone, and moves CKA.
    let mapped = product(&q, &gaussian(8, 8, "invertible"));
    near(value(&p, &q, "svcca_k99"), value(&p, &mapped, "svcca_k99"), 1e-9);
    assert!((value(&p, &q, "cka") - value(&p, &mapped, "cka")).abs() > 1e-3);
}

#[test]
fn order_of_pairs_changes_nothing() {
    let (a, b) = decoders();
    let order: Vec<usize> = Stream::new(1, "joint", 0).permutation(40).into_iter().map(|i| i as usize).collect();
    for name in ALL {
        // The published PWCCA depends on the signs of singular vectors, which the order may turn.
        let (tolerance, p, q) = (1e-12, a.gather_rows(&order), b.gather_rows(&order));
        if name != "pwcca_as_published" {
            near(value(&a, &b, name), value(&p, &q, name), tolerance);
        }
    }
}

#[test]
fn permuted_components_are_the_measure_of_permuted_rows() {
    let (a, b) = decoders();
    let orders: Vec<Vec<u32>> = (0..5).map(|r| Stream::new(4, "given", r).permutation(40)).collect();
    for name in ALL.into_iter().filter(|&name| name != "pwcca_as_published") {
        let measure = [name.parse().unwrap()];
        let direct: f64 = orders
            .iter()
            .map(|order| value(&a, &b.gather_rows(&order.iter().map(|&o| o as usize).collect::<Vec<_>>()), name))
            .sum();
        let null = compare_rows(&a, &b, &measure, Permutations::Given(&orders)).unwrap()[0].null.unwrap();
        near(null.mean, direct / 5.0, 1e-12);
        assert_eq!(null.runs, 5);
    }
}

#[test]
fn covariance_blocks_give_what_rows_give() {
    let (a, b) = decoders();
    let centred = |m: &Matrix<f64>| {
        let mean: Vec<f64> = (0..m.n_cols()).map(|j| m.rows().map(|r| r[j]).sum::<f64>() / 40.0).collect();
        let rows = m.rows().flat_map(|r| r.iter().zip(&mean).map(|(x, m)| x - m).collect::<Vec<_>>()).collect();
        Matrix::from_vec(40, m.n_cols(), rows)
    };
    let (x, y) = (centred(&a), centred(&b));
    let [cxx, cyy, cxy] = [transposed_product(&x, &x), transposed_product(&y, &y), transposed_product(&x, &y)];
    let null = transposed_product(&x, &reversed(&y));
    let norms = |a: &Matrix<f64>, b: &Matrix<f64>| -> f64 {
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
        a.rows().zip(b.rows()).map(|(a, b)| square(a) * square(b)).sum()
    };
    let null = NullMoments { cxy: &null, norms: norms(&x, &reversed(&y)) };
    let norms = [norms(&x, &x), norms(&y, &y), norms(&x, &y)];
    let moments = Moments { n: 40, cxx: &cxx, cyy: &cyy, cxy: &cxy, norms };
    let measures: Vec<Measure> = ["svcca", "svcca_as_published", "svcca_k3", "cka", "cka_debiased", "procrustes"]
        .map(|m| m.parse().unwrap())
        .into();
    let streamed: Vec<_> = measures.iter().map(|&m| MomentsMeasure::of(m).unwrap()).collect();
    let scores = moments_scores(&Halt::NEVER, &moments, &streamed, std::slice::from_ref(&null)).unwrap();
    let back = [(0..40).rev().collect::<Vec<u32>>()];
    for (found, expected) in scores.iter().zip(compare_rows(&a, &b, &measures, Permutations::Given(&back)).unwrap()) {
        near(found.value.unwrap(), expected.value.unwrap(), 1e-11);
        near(found.null.unwrap().mean, expected.null.unwrap().mean, 1e-11);
        assert_eq!((found.components, found.measure), (expected.components, expected.measure));
    }
    // Blocks of different data are distinguished.
    let mut wrong = cxy.clone();
    wrong.as_mut_slice().iter_mut().for_each(|x| *x *= 2.0);
    assert!(moments_scores(&Halt::NEVER, &Moments { cxy: &wrong, ..moments }, &streamed[..1], &[]).is_err());
}

#[test]
fn one_component_by_chance_is_the_absolute_correlation_of_noise() {
    let (n, runs) = (300, 2000);
    let (p, q) = (gaussian(n, 8, "null p"), gaussian(n, 11, "null q"));
    let nulls = Permutations::Seeded { seed: 3, stream: "null/test", runs };
    let score = &compare_rows(&p, &q, &["svcca_as_published".parse().unwrap()], nulls).unwrap()[0];
    let null = score.null.unwrap();
    let theory = (2.0 / (std::f64::consts::PI * (n - 1) as f64)).sqrt();
    near(null.mean, theory, 3.0 * null.sd.unwrap() / (runs as f64).sqrt());
    assert!(null.p_value > 0.001, "independent spaces look alike: p = {}", null.p_value);
}

#[test]
fn scores_do_not_depend_on_the_number_of_threads() {
    let (p, q) = (gaussian(333, 20, "threads p"), gaussian(333, 30, "threads q"));
    let measures: Vec<Measure> = ALL.iter().map(|m| m.parse().unwrap()).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let nulls = Permutations::Seeded { seed: 9, stream: "null/threads", runs: 7 };
        pool.install(|| compare_rows(&p, &q, &measures, nulls).unwrap())
    };
    assert_eq!(run(1), run(4));
}

#[test]
fn too_few_rows_say_that_they_have_no_power() {
    let (p, q) = (gaussian(10, 20, "few p"), gaussian(10, 20, "few q"));
    let scores = compare_rows(&p, &q, &[Measure::Svcca(SvccaRule::Variance(0.99))], Permutations::NONE).unwrap();
    assert!(scores[0].no_power);
    let nulls = Permutations::Seeded { seed: 0, stream: "null/few", runs: 50 };
    let null = compare_rows(&p, &q, &["svcca".parse().unwrap()], nulls).unwrap()[0].null.unwrap();
    assert_eq!(null.p_value, 1.0, "every pairing of few rows is as close as any other");
    near(scores[0].value.unwrap(), 1.0, 1e-9);
    let two = gaussian(2, 3, "two");
    for name in ALL {
        let score = &compare_rows(&two, &two, &[name.parse().unwrap()], Permutations::NONE).unwrap()[0];
        assert_eq!((score.value, score.null), (None, None), "{name} of two rows");
    }
}

#[test]
fn a_dead_row_leaves_cosines_undefined_and_nan_is_refused() {
    let (mut p, q) = (gaussian(20, 4, "dead"), gaussian(20, 4, "live"));
    p.row_mut(3).fill(0.0);
    let names = ["rsa", "rsa_cosine", "jaccard_knn3", "cka"].map(|m| m.parse().unwrap());
    let scores = compare_rows(&p, &q, &names, Permutations::NONE).unwrap();
    assert!(scores[..3].iter().all(|s| s.value.is_none()) && scores[3].value.is_some());
    p.row_mut(3)[1] = f64::NAN;
    assert!(compare_rows(&p, &q, &names, Permutations::NONE).is_err());
}

#[test]
fn repeated_rows_are_ties_wherever_they_stand() {
    // Many-to-one matches repeat decoder rows; their similarities are equal, and must stay so in any order of the rows.
    let pick: Vec<usize> = (0..300).map(|i| i * i % 70).collect();
    let (p, q) = (gaussian(70, 24, "few rows").gather_rows(&pick), gaussian(300, 32, "all rows"));
    let order: Vec<usize> = Stream::new(3, "ties", 0).permutation(300).into_iter().map(|i| i as usize).collect();
    for name in ["rsa", "rsa_cosine", "rsa_euclidean"] {
        assert_eq!(value(&p, &q, name), value(&p.gather_rows(&order), &q.gather_rows(&order), name), "{name}");
    }
}

#[test]
fn full_svcca_of_independent_rows_is_far_above_zero() {
    // Measured by the method's authors' formula elsewhere: 0.459 at (3000, 512, 768). So it means nothing without its
    // null.
    let (p, q) = (gaussian(3000, 512, "chance p"), gaussian(3000, 768, "chance q"));
    near(value(&p, &q, "svcca"), 0.459, 1.5e-3);
}

#[test]
fn overflow_is_an_error_and_no_nan() {
    let mut p = gaussian(20, 3, "large");
    p.as_mut_slice().iter_mut().for_each(|x| *x *= 1e100);
    assert!(compare_rows(&p, &p, &[Measure::Cka], Permutations::NONE).is_err());
}

#[test]
fn scores_stop_between_two_pairings_when_it_is_asked() {
    let (p, q) = decoders();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let of_halt = asked.clone();
    let halt = Halt::when(move || of_halt.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 100);
    let nulls = Permutations::Seeded { seed: 1, stream: "halted", runs: 100_000 };
    let e = compare_rows_until(&halt, &p, &q, &["svcca".parse().unwrap()], nulls).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Interrupted);
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!((100..10_000).contains(&asked), "{asked}: one question for each pairing, and not all of them");
    // without a request to stop, the same as without a halt
    let nulls = || Permutations::Seeded { seed: 1, stream: "halted", runs: 20 };
    let never = compare_rows_until(&Halt::when(|| false), &p, &q, &["svcca".parse().unwrap()], nulls()).unwrap();
    assert_eq!(never[0].null, compare_rows(&p, &q, &["svcca".parse().unwrap()], nulls()).unwrap()[0].null);
}
