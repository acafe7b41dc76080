//! Similarity against the numbers of the published Python code, SciPy, rsatoolbox and NumPy on the fixture `matching`.

use std::path::{Path, PathBuf};

use cognate::halt::Halt;
use cognate::linalg::{Matrix, transposed_product};
use cognate::moments::{Accumulator, CoMoment, CrossCoMoment, FoldCross, FoldMoments, FoldRows, SiteMoments};
use cognate::similarity::{
    LatentHalf, LogitEffects, MapFit, Measure, Moments, MomentsMeasure, NullMoments, PairMaps, Permutations, RIDGE,
    Readout, SvccaRule, Units, compare_rows, direction, latent_scaling, moments_scores, svcca, wide,
};
use serde_json::Value;

/// Decoders, permutations and the expected numbers.
fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/matching")).to_path_buf()
}

#[path = "fixtures/matching/read.rs"]
mod read;

/// The activations `A: [4000, 300]` and `B: [4000, 260]`.
fn activations() -> [Matrix<f64>; 2] {
    let wide = |m: &Matrix<f32>| {
        Matrix::from_vec(m.n_rows(), m.n_cols(), m.as_slice().iter().map(|&v| f64::from(v)).collect())
    };
    read::activations().each_ref().map(wide)
}

fn tensor(folder: &Path, file: &str, name: &str) -> Matrix<f64> {
    let bytes = std::fs::read(folder.join(file)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = tensors.tensor(name).unwrap();
    let data = view.data();
    let values: Vec<f64> = match view.dtype() {
        safetensors::Dtype::F32 => {
            data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
        }
        safetensors::Dtype::I64 => {
            data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
        }
        other => panic!("{name} is {other:?}"),
    };
    Matrix::from_vec(view.shape()[0], view.shape()[1], values)
}

fn json(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(file)).unwrap()).unwrap()
}

fn transposed(m: &Matrix<f64>) -> Matrix<f64> {
    let values = (0..m.n_cols()).flat_map(|j| m.rows().map(move |row| row[j])).collect();
    Matrix::from_vec(m.n_cols(), m.n_rows(), values)
}

fn columns(m: &Matrix<f64>, pick: &[usize]) -> Matrix<f64> {
    Matrix::from_vec(m.n_rows(), pick.len(), m.rows().flat_map(|row| pick.iter().map(|&j| row[j])).collect())
}

fn centred(m: &Matrix<f64>) -> Matrix<f64> {
    let mean: Vec<f64> = (0..m.n_cols()).map(|j| m.rows().map(|r| r[j]).sum::<f64>() / m.n_rows() as f64).collect();
    let values = m.rows().flat_map(|row| row.iter().zip(&mean).map(|(x, m)| x - m)).collect();
    Matrix::from_vec(m.n_rows(), m.n_cols(), values)
}

fn value(p: &Matrix<f64>, q: &Matrix<f64>, name: &str) -> f64 {
    compare_rows(p, q, &[name.parse().unwrap()], Permutations::NONE).unwrap()[0].value.unwrap()
}

#[track_caller]
fn near(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().expect("a number in the fixture");
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}, off {:e}", found - expected);
}

/// Direct SVD and covariance blocks agree to 1e-15 in Python; the published code adds a ridge of 1e-10.
const TIGHT: f64 = 1e-7;
const RANKS: f64 = 1e-6;
const SETS: [&str; 4] =
    ["paper_run_expm_final_pairs", "1to1_first_corr_gt_0.1", "keyword_1to1_first_corr_gt_0.1", "many_to_1_corr_gt_0.1"];

struct Set {
    a: Vec<usize>,
    b: Vec<usize>,
    expected: Value,
    /// Ranks of repeated rows differ by rounding between the references themselves.
    ranks: f64,
}

fn sets(folder: &Path) -> Vec<Set> {
    let scores = json(folder, "scores.json");
    let side = |set: &Value, which: usize| {
        set["pairs"].as_array().unwrap().iter().map(|p| p[which].as_u64().unwrap() as usize).collect()
    };
    SETS.iter()
        .map(|name| {
            let expected = scores[name].clone();
            let ranks = if name.starts_with("many") { 2e-6 } else { RANKS };
            Set { a: side(&expected, 0), b: side(&expected, 1), expected, ranks }
        })
        .collect()
}

#[test]
fn decoder_scores_are_those_of_python() {
    let folder = folder();
    let (wa, wb) =
        (tensor(&folder, "decoders.safetensors", "W_dec_A"), tensor(&folder, "decoders.safetensors", "W_dec_B"));
    for Set { a, b, expected, ranks } in sets(&folder) {
        let (p, q) = (wa.gather_rows(&a), wb.gather_rows(&b));
        assert_eq!(p.n_rows() as u64, expected["n_pairs"].as_u64().unwrap());
        let published = svcca(&p, &q, SvccaRule::AsPublished).unwrap().unwrap();
        near(published.value, &expected["paper_svcca_float64_input"], TIGHT);
        near(published.value, &expected["paper_svcca_float32_input"], TIGHT);
        assert_eq!((published.k_a, published.k_b), (1, 1));
        for (scaled, name) in [(1.0, "_1"), (0.5, "_0.5")] {
            let unit = |m: &Matrix<f64>| {
                let total: f64 = centred(m).as_slice().iter().map(|x| x * x).sum();
                let factor = (scaled / total).sqrt();
                Matrix::from_vec(m.n_rows(), m.n_cols(), m.as_slice().iter().map(|x| x * factor).collect())
            };
            let score = value(&unit(&p), &unit(&q), "svcca_as_published");
            near(score, &expected[format!("paper_svcca_on_inputs_scaled_to_total_variance{name}")], TIGHT);
        }
        let intended = svcca(&p, &q, SvccaRule::Variance(0.99)).unwrap().unwrap();
        near(intended.value, &expected["svcca_99pct_intended"], 1e-12);
        assert_eq!(serde_json::json!([intended.k_a, intended.k_b]), expected["svcca_99pct_components"]);
        let coefficients = expected["svcca_99pct_canonical_correlations"].as_array().unwrap();
        assert_eq!(coefficients.len(), intended.coefficients.len());
        intended.coefficients.iter().zip(coefficients).for_each(|(&x, y)| near(x, y, 1e-11));
        let every = svcca(&p, &q, SvccaRule::Fixed(usize::MAX)).unwrap().unwrap();
        near(every.value, &expected["cca_mean_all_directions_scipy_subspace_angles"], 1e-11);
        every
            .coefficients
            .iter()
            .zip(expected["cca_correlations"].as_array().unwrap())
            .for_each(|(&x, y)| near(x, y, 1e-10));
        near(value(&p, &q, "rsa"), &expected["paper_rsa_correlation_spearman"], ranks);
        near(value(&p, &q, "rsa"), &expected["rsatoolbox_correlation_spearman"], ranks);
        near(value(&p, &q, "rsa"), &expected["scipy_pdist_correlation_spearman"], ranks);
        near(value(&p, &q, "rsa_euclidean"), &expected["paper_rsa_euclidean_spearman"], ranks);
        near(value(&p, &q, "rsa_euclidean"), &expected["scipy_pdist_euclidean_spearman"], ranks);
        near(value(&p, &q, "jaccard_knn10"), &expected["paper_jaccard_k10_cosine"], 1e-12);
        near(value(&p, &q, "cka"), &expected["linear_cka_decoders"], 1e-12);
    }
}

#[test]
fn activation_scores_are_those_of_python() {
    let [xa, xb] = activations();
    let folder = folder();
    for Set { a, b, expected, ranks } in sets(&folder) {
        let (p, q) = (columns(&xa, &a), columns(&xb, &b));
        let intended = svcca(&p, &q, SvccaRule::Variance(0.99)).unwrap().unwrap();
        near(intended.value, &expected["svcca_99pct_intended_activations"], TIGHT);
        assert_eq!(serde_json::json!([intended.k_a, intended.k_b]), expected["svcca_99pct_components_activations"]);
        let top = expected["canonical_correlations_top10_activations"].as_array().unwrap();
        intended.coefficients.iter().zip(top).for_each(|(&x, y)| near(x, y, TIGHT));
        near(value(&p, &q, "svcca_as_published"), &expected["paper_svcca_activations"], TIGHT);
        near(value(&p, &q, "cka"), &expected["linear_cka_activations"], TIGHT);
        let procrustes = value(&p, &q, "procrustes");
        near(procrustes, &expected["procrustes_nuclear_norm_similarity_centred"], TIGHT);
        let distance = (2.0 - 2.0 * procrustes).sqrt();
        near(distance, &expected["orthogonal_procrustes_distance_centred_unit_norm"], TIGHT);
        near(value(&p, &q, "procrustes_rmse"), &expected["paper_procrustes_relative_rmse_activations"], TIGHT);
        let rsa = value(&transposed(&p), &transposed(&q), "rsa");
        near(rsa, &expected["paper_rsa_activations_rows_are_features"], ranks);
        from_blocks(&p, &q, |share| match share {
            Some(0.99) => (
                &expected["svcca_99pct_from_covariance_blocks"],
                &expected["svcca_99pct_from_covariance_blocks_components"],
            ),
            _ => (&expected["linear_cka_activations"], &Value::Null),
        });
    }
}

/// Checks SVCCA by each share (`None` for CKA) computed from co-moments alone.
fn from_blocks<'a>(p: &Matrix<f64>, q: &Matrix<f64>, expected: impl Fn(Option<f64>) -> (&'a Value, &'a Value)) {
    let (x, y) = (centred(p), centred(q));
    let [cxx, cyy, cxy] = [transposed_product(&x, &x), transposed_product(&y, &y), transposed_product(&x, &y)];
    // no measure here looks at norms of rows
    let moments = Moments { n: p.n_rows(), cxx: &cxx, cyy: &cyy, cxy: &cxy, norms: [0.0; 3] };
    for share in [Some(0.99), Some(0.9), None] {
        let measure = share.map_or(MomentsMeasure::Cka, |s| MomentsMeasure::Svcca(SvccaRule::Variance(s)));
        let (value, components) = expected(share);
        if share == Some(0.9) && components != &Value::from("90") {
            continue;
        }
        let score = &moments_scores(&Halt::NEVER, &moments, &[measure], &[]).unwrap()[0];
        near(score.value.unwrap(), value, TIGHT);
        if let Value::Array(_) = components {
            let (k_a, k_b) = score.components.unwrap();
            assert_eq!(&serde_json::json!([k_a, k_b]), components);
        }
    }
}

#[test]
fn whole_dictionaries_agree_directly_and_from_blocks() {
    let [xa, xb] = activations();
    let folder = folder();
    let expected = &json(&folder, "scores.json")["all_live_features_activations"];
    let kinds = json(&folder, "matches.json");
    let live = |m: &Matrix<f64>, side: &str| {
        let kinds = kinds[format!("feature_kinds_{side}")].as_array().unwrap();
        let varies = |j: usize| m.rows().any(|row| row[j] != m.row(0)[j]);
        let keep: Vec<usize> =
            (0..m.n_cols()).filter(|&j| kinds[j] != "huge_mean_small_variance" && varies(j)).collect();
        columns(m, &keep)
    };
    let (p, q) = (live(&xa, "A"), live(&xb, "B"));
    assert_eq!((Value::from(p.n_cols()), Value::from(q.n_cols())), (expected["n_a"].clone(), expected["n_b"].clone()));
    let direct = svcca(&p, &q, SvccaRule::Variance(0.99)).unwrap().unwrap();
    near(direct.value, &expected["svcca_99pct_direct_svd"], TIGHT);
    assert_eq!(serde_json::json!([direct.k_a, direct.k_b]), expected["components"]);
    near(value(&p, &q, "cka"), &expected["linear_cka"], TIGHT);
    let ninety = Value::from("90");
    from_blocks(&p, &q, |share| match share {
        Some(0.99) => (&expected["svcca_99pct_from_covariance_blocks"], &expected["components_from_covariance"]),
        Some(_) => (&expected["svcca_90pct_from_covariance_blocks"], &ninety),
        None => (&expected["linear_cka_from_covariance_blocks"], &Value::Null),
    });
}

#[test]
fn given_permutations_give_the_null_of_python() {
    let folder = folder();
    let expected = &json(&folder, "scores.json")["permutation_null_1to1_first_corr_gt_0.1"];
    let orders = tensor(&folder, "permutations.safetensors", "permutations");
    let orders: Vec<Vec<u32>> = orders.rows().map(|row| row.iter().map(|&x| x as u32).collect()).collect();
    let (wa, wb) =
        (tensor(&folder, "decoders.safetensors", "W_dec_A"), tensor(&folder, "decoders.safetensors", "W_dec_B"));
    let set = &sets(&folder)[1];
    let (p, q) = (wa.gather_rows(&set.a), wb.gather_rows(&set.b));
    let names =
        [("svcca", "svcca_99pct_intended"), ("svcca_as_published", "paper_svcca"), ("rsa", "rsa_correlation_spearman")];
    let measures: Vec<Measure> = names.iter().map(|(name, _)| name.parse().unwrap()).collect();
    for (r, order) in orders.iter().enumerate() {
        let nulls = compare_rows(&p, &q, &measures, Permutations::Given(std::slice::from_ref(order))).unwrap();
        for (score, (_, name)) in nulls.iter().zip(names) {
            near(score.null.unwrap().mean, &expected[name][r], if name.starts_with("rsa") { RANKS } else { TIGHT });
        }
    }
    // All runs at once; the published p counts without the +1.
    let nulls = compare_rows(&p, &q, &measures, Permutations::Given(&orders)).unwrap();
    for (score, name) in [(&nulls[0], "p_svcca_99pct_intended"), (&nulls[2], "p_rsa")] {
        let published = expected[name].as_f64().unwrap();
        assert_eq!(score.null.unwrap().p_value, (published * 20.0 + 1.0) / 21.0);
    }
}

/// Sums by half of two places' activations, as a run makes them, against ridge regression and Procrustes over the rows.
#[test]
fn maps_are_those_of_regression_over_rows() {
    let expected = json(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")), "stitching.json");
    let rows = |value: &Value| -> Vec<Vec<f64>> { serde_json::from_value(value.clone()).unwrap() };
    let matrix = |value: &Value| {
        let rows = rows(value);
        Matrix::from_vec(rows.len(), rows[0].len(), rows.concat().iter().map(|&v| v as f32).collect())
    };
    let half: Vec<usize> = serde_json::from_value(expected["half"].clone()).unwrap();
    let folds = FoldRows {
        fold: half.iter().map(|&f| f as u8).collect(),
        beside: vec![0; half.len()],
        rows: [0, 1].map(|f: usize| (0..half.len()).filter(|&r| half[r] == f).collect()),
    };
    let near = |found: f64, right: f64, what: &str| {
        assert!((found - right).abs() < 1e-8 * right.abs().max(1.0), "{what}: {found}, expected {right}");
    };
    let x = matrix(&expected["x"]);
    let mut compared = 0;
    for (name, target) in expected["targets"].as_object().unwrap() {
        let y = matrix(&target["y"]);
        let sides = [FoldMoments::of_batch(&x, &folds), FoldMoments::of_batch(&y, &folds)];
        let cross = FoldCross::of_batch(&x, &y, &folds, false);
        for units in [Units::Raw, Units::Std] {
            let (right, what) = (&target[units.as_str()], format!("{name} {}", units.as_str()));
            let found =
                PairMaps::of(&Halt::NEVER, [&sides[0], &sides[1]], &cross, MapFit { ridge: 1e-3, units }).unwrap();
            let scores = [("least_squares", Some(found.least_squares)), ("orthogonal", found.orthogonal)];
            for (kind, scores) in scores {
                assert_eq!(scores.is_some(), right[kind].is_array(), "{what} {kind}");
                for (k, score) in scores.iter().flatten().enumerate() {
                    near(score.r_squared.unwrap(), right[kind][k].as_f64().unwrap(), &format!("{what} {kind} {k}"));
                    assert_eq!(score.null, None);
                    compared += 1;
                }
            }
            let map = found.maps[0].as_ref().unwrap();
            for (found, right) in map.weight.rows().zip(rows(&right["weight"])) {
                found.iter().zip(&right).for_each(|(found, right)| near(*found, *right, &what));
            }
            let bias: Vec<f64> = serde_json::from_value(right["bias"].clone()).unwrap();
            map.bias.iter().zip(&bias).for_each(|(found, right)| near(*found, *right, &what));
            let mapped = map.directions(&Matrix::from_vec(1, 5, vec![1.0, 2.0, 3.0, 4.0, 5.0]));
            let other: Vec<f32> = (0..y.n_cols()).map(|j| (j as f64).cos() as f32).collect();
            near(map.cosine(mapped.row(0), &other).unwrap(), right["cosine"].as_f64().unwrap(), &what);
        }
    }
    assert_eq!(compared, 12);
}

/// Output heads and decoder rows of the demo's files, against the effects themselves.
#[test]
fn effects_on_the_logits_agree_as_numpy_says() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let expected = json(&project.join("tests/fixtures"), "logits.json");
    let demo = project.join("data/demo");
    let head = |model: &str| cognate::model::unembedding(&demo.join("models").join(model)).unwrap().unwrap();
    let heads = [head("small-a"), head("small-b")];
    let sae = |of: &str| cognate::sae::open(&demo.join("saes").join(of), None).unwrap();
    let (a, b) = (sae("small-a/layers.2"), sae("small-b/layers.3"));
    let n_vocab = expected["n_vocab"].as_u64().unwrap() as usize;
    let rows = |side: usize, first: usize, n: usize| heads[side].rows(first, n);
    let effects = LogitEffects::of(n_vocab, [0, 1].map(|k: usize| heads[k].width()), rows).unwrap();
    let lengths = [effects.lengths(0, a.decoder_rows()), effects.lengths(1, b.decoder_rows())];
    let pairs: Vec<(usize, usize, f64)> = serde_json::from_value(expected["pairs"].clone()).unwrap();
    assert_eq!(pairs.len(), 40);
    for (i, j, right) in pairs {
        let across = effects.across(&wide(a.decoder_rows(), &[i]));
        let both = [lengths[0][i], lengths[1][j]];
        let found = LogitEffects::correlation(across.row(0), b.decoder_rows().row(j), both).unwrap();
        // the norm's weight is multiplied into f32 rows of the head
        assert!((found - right).abs() < 1e-6, "{i} {j}: {found}, expected {right}");
    }
}

/// Sums by half of latents and activations, as a run makes them, against least squares over the rows.
#[test]
fn readout_is_that_of_least_squares_over_rows() {
    let expected = json(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")), "readout.json");
    let rows = |name: &str| -> Vec<Vec<f64>> { serde_json::from_value(expected[name].clone()).unwrap() };
    let list = |name: &str| -> Vec<f64> { serde_json::from_value(expected[name].clone()).unwrap() };
    let (w, x, decoder, half) = (rows("w"), rows("x"), rows("decoder"), list("half"));
    let of_half = |f: usize| (0..w.len()).filter(|&r| half[r] as usize == f).collect::<Vec<usize>>();
    let moments = [0, 1].map(|f: usize| {
        let data: Vec<f32> = of_half(f).iter().flat_map(|&r| w[r].iter().map(|&v| v as f32)).collect();
        CoMoment::of_batch(&Matrix::from_vec(data.len() / w[0].len(), w[0].len(), data))
    });
    let readout = Readout::new(&moments, RIDGE).unwrap().unwrap();
    let latents: Vec<[LatentHalf; 2]> = (0..4)
        .map(|k| {
            [0, 1].map(|f: usize| {
                let rows = of_half(f);
                let of = |g: &dyn Fn(usize) -> f64| rows.iter().map(|&r| g(r)).sum::<f64>();
                let cross: Vec<f64> = (0..w[0].len()).map(|j| of(&|r| x[r][k] * w[r][j])).collect();
                LatentHalf::of_sums(&moments[f], of(&|r| x[r][k]), of(&|r| x[r][k] * x[r][k]), &cross)
            })
        })
        .collect();
    let near = |found: f64, right: f64| assert!((found - right).abs() < 1e-9 * right.abs().max(1.0), "{found} {right}");
    let found = readout.r_squared(&latents).unwrap();
    for k in 0..4 {
        near(found[k].unwrap(), list("r_squared")[k]);
        let (n, whole) = readout.whole(&latents[k]);
        for (found, right) in direction(&whole).unwrap().iter().zip(&rows("direction")[k]) {
            near(*found, *right);
        }
        let sum_sq = x.iter().map(|x| x[k] * x[k]).sum();
        near(latent_scaling(n, &whole, &readout.mean(), sum_sq, &decoder[k]).unwrap(), list("scaling")[k]);
    }
    assert!(found[0].unwrap() > 0.4 && found[2].unwrap() < 0.0, "{found:?}");
}

/// Debiased CKA of rows and of their streamed sums, in the pairing that is meant and in others, and how far it is above those, against
/// whole Gram matrices; a mean of 4096 beside a spread of 1 changes nothing.
#[test]
fn debiased_cka_of_rows_and_of_sums_is_that_of_gram_matrices() {
    let expected = json(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")), "cka.json");
    let debiased: Measure = "cka_debiased".parse().unwrap();
    for (at, case) in expected.as_array().unwrap().iter().enumerate() {
        let rows = |name: &str| -> Vec<Vec<f64>> { serde_json::from_value(case[name].clone()).unwrap() };
        let matrix = |name: &str| {
            let rows = rows(name);
            Matrix::from_vec(rows.len(), rows[0].len(), rows.concat())
        };
        let orders: Vec<Vec<u32>> = serde_json::from_value(case["orders"].clone()).unwrap();
        let (x, y) = (matrix("x"), matrix("y"));
        let of_rows = &compare_rows(&x, &y, &[debiased], Permutations::Given(&orders)).unwrap()[0];
        near(of_rows.value.unwrap(), &case["debiased"], TIGHT);
        near(of_rows.null.unwrap().point.unwrap(), &case["point"], TIGHT);
        near(of_rows.calibrated().unwrap(), &case["calibrated"], TIGHT);
        for mean in [0.0, 4096.0] {
            let narrow = |m: &Matrix<f64>, from: usize, to: usize| {
                let data = (from..to).flat_map(|i| m.row(i).iter().map(move |v| (v + mean) as f32)).collect();
                Matrix::from_vec(to - from, m.n_cols(), data)
            };
            // the random pairings are of rows inside a batch, so all of them are in one; the meant one is cut
            let n = x.n_rows();
            let whole: Vec<Vec<usize>> =
                orders.iter().map(|order| order.iter().map(|&o| o as usize).collect()).collect();
            let paired = CrossCoMoment::of_batch(&narrow(&x, 0, n), &narrow(&y, 0, n), &whole);
            let mut cross = CrossCoMoment::new(x.n_cols(), y.n_cols(), 0);
            let (mut own_x, mut own_y) = (SiteMoments::new(x.n_cols()), SiteMoments::new(y.n_cols()));
            for (from, to) in [(0, 1), (1, 12), (12, 14), (14, n)] {
                let (x, y) = (narrow(&x, from, to), narrow(&y, from, to));
                cross.merge(&CrossCoMoment::of_batch(&x, &y, &[])).unwrap();
                own_x.merge(&SiteMoments::of_batch(&x)).unwrap();
                own_y.merge(&SiteMoments::of_batch(&y)).unwrap();
            }
            let norms = [own_x.norms.both, own_y.norms.both, cross.norms.both];
            let moments = Moments { n, cxx: &own_x.co.c, cyy: &own_y.co.c, cxy: &cross.c, norms };
            let nulls: Vec<NullMoments<'_>> = (paired.nulls.iter().zip(&paired.null_norms))
                .map(|(cxy, norms)| NullMoments { cxy, norms: norms.both })
                .collect();
            let score = &moments_scores(&Halt::NEVER, &moments, &[MomentsMeasure::CkaDebiased], &nulls).unwrap()[0];
            near(score.value.unwrap(), &case["debiased"], 1e-9);
            // products of null pairings are f32: 60 terms
            for (draw, want) in score.draws.iter().zip(case["draws"].as_array().unwrap()) {
                near(*draw, want, 1e-6);
            }
            near(score.calibrated().unwrap(), &case["calibrated"], 1e-6);
            assert_eq!(score.calibrated(), moments_plain_calibrated(score.value.unwrap(), &score.draws), "case {at}");
        }
    }
}

/// max(0, (value - point)/(1 - point)), the point the ⌈0.95 (R + 1)⌉-th of R draws by size.
fn moments_plain_calibrated(value: f64, draws: &[f64]) -> Option<f64> {
    let mut sorted = draws.to_vec();
    sorted.sort_by(f64::total_cmp);
    let point = sorted[(0.95 * (draws.len() + 1) as f64).ceil() as usize - 1];
    Some(((value - point) / (1.0 - point)).max(0.0))
}
