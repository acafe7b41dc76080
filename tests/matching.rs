//! Correlations from streamed sums against numpy's two-pass ones (`fixtures/matching`) and check vectors of the published method.

use cognate::linalg::Matrix;
use cognate::matching::assignment::{ScoredColumns, hungarian, hungarian_sparse};
use cognate::matching::{
    BestPartners, Filters, LatentFacts, MatchCounts, OneToOne, Partner, Rules, Side, Standardised, TokenClass,
    apply_filters, count_matches, kept, match_tile, significance,
};
use cognate::moments::{Accumulator, Beside, ByLatent, CrossTile, LatentSums, Null, document_rotation};
use cognate::sae::LatentBatch;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[path = "fixtures/matching/read.rs"]
mod read;

/// Rows `from..to` as entries that are not 0.
fn sparse(x: &Matrix<f32>, from: usize, to: usize) -> LatentBatch {
    let mut out = LatentBatch { d_sae: x.n_cols(), row_starts: vec![0], ..Default::default() };
    for r in from..to {
        for (j, &v) in x.row(r).iter().enumerate().filter(|(_, v)| **v != 0.0) {
            out.latents.push(j as u32);
            out.values.push(v);
        }
        out.row_starts.push(out.latents.len() as u32);
    }
    out
}

struct Streamed {
    a: Standardised,
    b: Standardised,
    sums_a: LatentSums,
    sums_b: LatentSums,
    tiles: Vec<CrossTile>,
}

/// Streams both sides in batches of `batch` rows and tiles of `height` latents.
fn stream(a: &Matrix<f32>, b: &Matrix<f32>, batch: usize, height: usize) -> Streamed {
    stream_turned(a, b, batch, height, |_| 0)
}

/// The same with each batch's target rows rotated by `turn` of its length.
fn stream_turned(
    a: &Matrix<f32>,
    b: &Matrix<f32>,
    batch: usize,
    height: usize,
    turn: impl Fn(usize) -> usize,
) -> Streamed {
    let (mut sums_a, mut sums_b) = (LatentSums::new(a.n_cols()), LatentSums::new(b.n_cols()));
    let mut tiles: Vec<CrossTile> = (0..a.n_cols())
        .step_by(height)
        .map(|first| CrossTile::new(first, height.min(a.n_cols() - first), b.n_cols()))
        .collect();
    for from in (0..a.n_rows()).step_by(batch) {
        let to = (from + batch).min(a.n_rows());
        let (x, y) = (sparse(a, from, to), sparse(b, from, to));
        sums_a.fold(&x).unwrap();
        sums_b.fold(&y).unwrap();
        let by = ByLatent::new(&x);
        let order: Vec<usize> = (0..y.n_rows()).map(|r| (r + turn(y.n_rows())) % y.n_rows()).collect();
        tiles.iter_mut().for_each(|t| t.fold((&by, Beside::ordered(&y, &order))).unwrap());
    }
    Streamed { a: Standardised::new(&sums_a), b: Standardised::new(&sums_b), sums_a, sums_b, tiles }
}

impl Streamed {
    /// Correlation of (i, j) from the sums.
    fn correlation(&self, i: usize, j: usize) -> Option<f64> {
        let tile = self.tiles.iter().find(|t| (t.first_row()..t.first_row() + t.n_rows()).contains(&i)).unwrap();
        let sum_xy = tile.row(i - tile.first_row()).map_or(0.0, |row| row[j]);
        self.a.correlate(i, &self.b, j, sum_xy)
    }

    /// Best partners both ways: `[source]`, `[target]`.
    fn best(&self, keep: usize) -> (Vec<BestPartners>, Vec<BestPartners>) {
        let mut forward = Vec::new();
        let mut backward = vec![BestPartners::default(); self.b.sum.len()];
        for tile in &self.tiles {
            let found = match_tile(tile, &self.a, &self.b, keep);
            forward.extend(found.forward);
            backward.iter_mut().zip(&found.backward).for_each(|(all, t)| all.merge(t, keep));
        }
        (forward, backward)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/matching")
}

fn numbers(bytes: &[u8], name: &str) -> Vec<f64> {
    let all = SafeTensors::deserialize(bytes).unwrap();
    let t = all.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}; there are {:?}", all.names()));
    match t.dtype() {
        Dtype::F64 => t.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::I64 => t.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        Dtype::F32 => t.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        Dtype::F16 => {
            t.data().chunks_exact(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f64()).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

#[test]
fn correlations_of_the_fixture_to_1e_9_dead_constant_tied_and_huge_mean_latents_included() {
    let folder = folder();
    let reference = std::fs::read(folder.join("reference.safetensors")).unwrap();
    let [a, b] = read::activations();
    assert_eq!((a.n_cols(), b.n_cols()), (300, 260));
    let expected = numbers(&reference, "corr");
    let streamed = stream(&a, &b, 137, 64);

    let (mut largest, mut undefined) = (0.0f64, 0);
    for i in 0..300 {
        for j in 0..260 {
            let want = expected[i * 260 + j];
            match streamed.correlation(i, j) {
                None => {
                    assert!(want.is_nan(), "{i} {j}: undefined here, {want} there");
                    undefined += 1;
                }
                Some(r) => {
                    largest = largest.max((r - want).abs());
                    assert!((r - want).abs() < 1e-9, "{i} {j}: found {r}, expected {want}");
                }
            }
        }
    }
    println!("largest difference of {} correlations {largest:.1e}, {undefined} undefined", 300 * 260);
    assert!(undefined > 0, "the fixture plants latents without variance");

    let (forward, backward) = streamed.best(2);
    for (name, best) in [("a_to_b", &forward), ("b_to_a", &backward)] {
        let (index, gap) = (numbers(&reference, name), numbers(&reference, &format!("{name}_gap")));
        for (k, partners) in best.iter().enumerate() {
            match partners.as_slice() {
                [] => assert!(index[k] < 0.0 || index[k].is_nan(), "{name} {k}: expected {}", index[k]),
                [first, ..] if gap[k] > 1e-9 => assert_eq!(f64::from(first.latent), index[k], "{name} {k}"),
                // exact copies tie: the lower latent is taken, as the fixture's rule says
                [first, ..] => {
                    assert!(f64::from(first.latent) <= index[k] + 0.0, "{name} {k}: {} {}", first.latent, index[k])
                }
            }
        }
    }
    let matches: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("matches.json")).unwrap()).unwrap();
    let mut mutual: Vec<[u64; 2]> = Vec::new();
    for (i, partners) in forward.iter().enumerate() {
        if let Some(p) = partners.as_slice().first()
            && backward[p.latent as usize].as_slice()[0].latent == i as u32
        {
            mutual.push([i as u64, u64::from(p.latent)]);
        }
    }
    let listed: Vec<Vec<f64>> = serde_json::from_value(matches["mutual_best"].clone()).unwrap();
    let named: Vec<[u64; 2]> = listed.iter().map(|p| [p[0] as u64, p[1] as u64]).collect();
    assert_eq!(mutual, named);
}

/// NumPy's counts on whole matrices (`benches/peers/chance.py`): real and rotated rows, chance points of both sides.
#[test]
fn counts_and_their_chance_are_numpys() {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder().join("chance.json")).unwrap()).unwrap();
    let [a, b] = read::activations();
    let batch = json["batch"].as_u64().unwrap() as usize;
    let first = |best: Vec<BestPartners>| -> Vec<Option<Partner>> {
        best.iter().map(|p| p.as_slice().first().copied()).collect()
    };
    let of = |streamed: &Streamed| {
        let (forward, backward) = streamed.best(1);
        [first(forward), first(backward)]
    };
    let streamed = stream(&a, &b, batch, 64);
    let (real, null) = (of(&streamed), of(&stream_turned(&a, &b, batch, 64, document_rotation)));
    let values = |side: &[Option<Partner>]| -> Vec<Option<f64>> {
        side.iter().map(|p| p.map(|p| p.correlation.value())).collect()
    };
    let n_active = [&streamed.sums_a.n_active, &streamed.sums_b.n_active];
    let points: [Vec<Option<f64>>; 2] = [0, 1].map(|d: usize| {
        significance(&values(&real[d]), &values(&null[d]), n_active[d]).into_iter().map(|c| c.point).collect()
    });
    for (d, points) in points.iter().enumerate() {
        let expected: Vec<Option<f64>> = serde_json::from_value(json["points"][d].clone()).unwrap();
        assert_eq!(points.len(), expected.len());
        for (i, (found, expected)) in points.iter().zip(expected).enumerate() {
            assert_eq!(found.is_some(), expected.is_some(), "side {d} latent {i}");
            assert!((found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-9, "side {d} latent {i}");
        }
    }
    for (name, best) in [("real", &real), ("null", &null)] {
        let MatchCounts { n_mutual, n_mutual_above_chance, n_distinct_partners, mean_best_correlation, .. } =
            count_matches([&best[0], &best[1]], Some([&points[0], &points[1]]));
        let expected = &json[name];
        assert_eq!(expected["n_mutual"], n_mutual, "{name}");
        assert_eq!(expected["n_mutual_above_chance"], n_mutual_above_chance.unwrap(), "{name}");
        assert_eq!(expected["n_distinct_partners"], serde_json::json!(n_distinct_partners), "{name}");
        for (d, mean) in mean_best_correlation.into_iter().enumerate() {
            let expected = expected["mean_best_correlation"][d].as_f64().unwrap();
            assert!((mean.unwrap() - expected).abs() < 1e-9, "{name} {d}: {mean:?} {expected}");
        }
    }
}

#[test]
fn batches_and_tiles_of_any_size_give_the_same_bits() {
    let [a, b] = read::activations();
    let whole = stream(&a, &b, 4000, 300);
    for (batch, height) in [(1, 300), (17, 7), (1000, 64)] {
        let other = stream(&a, &b, batch, height);
        assert_eq!((&other.sums_a, &other.sums_b), (&whole.sums_a, &whole.sums_b));
        for i in (0..300).step_by(3) {
            for j in 0..260 {
                assert_eq!(other.correlation(i, j), whole.correlation(i, j));
            }
        }
    }
}

/// What the filters know of each latent of a side; the labels are the strings of the five largest values, ties and what
/// is missing by the lowest row, as in the fixture.
fn facts(x: &Matrix<f32>, sums: &LatentSums, tokens: &[String], lists: &[TokenClass]) -> Vec<LatentFacts> {
    let numbers: BTreeMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
    (0..x.n_cols())
        .map(|j| {
            let mut rows: Vec<usize> = (0..x.n_rows()).collect();
            rows.sort_by(|&p, &q| x.row(q)[j].total_cmp(&x.row(p)[j]));
            let strings: Vec<&str> = rows[..5].iter().map(|&r| tokens[r].as_str()).collect();
            let mut top: Vec<u32> = strings.iter().map(|s| numbers[s]).collect();
            top.sort_unstable();
            LatentFacts {
                dead: !sums.is_alive(j),
                constant: sums.is_constant(j),
                n_active: sums.n_active[j],
                max: None,
                non_concept: strings.iter().any(|s| lists.iter().any(|list| list.holds(s, false))),
                top,
            }
        })
        .collect()
}

/// The pairs (a, b) that are kept when B picks, with their mean correlation.
fn kept_pairs(filters: &Filters, facts: [&[LatentFacts]; 2], partners: &[Vec<Partner>]) -> (Vec<[u64; 2]>, f64) {
    let side = Side {
        pickers: facts[1],
        others: facts[0],
        partners,
        first_of_other: &vec![None; facts[0].len()],
        points: [&[], &[]],
        within: None,
    };
    let outcomes = apply_filters(filters, side).unwrap();
    let found: Vec<(u64, &Partner)> = (outcomes.iter().zip(partners).zip(0..))
        .filter_map(|((outcomes, listed), b)| Some((b, kept(outcomes, listed)?.1)))
        .collect();
    let mean = found.iter().map(|(_, p)| p.correlation.value()).sum::<f64>() / found.len() as f64;
    (found.into_iter().map(|(b, p)| [u64::from(p.latent), b]).collect(), mean)
}

/// Each filtered set of the fixture, made with NumPy, and what the paper's own driver keeps and reports.
#[test]
fn filtered_sets_are_those_of_the_fixture_and_the_published_pairs_those_of_the_authors_code() {
    let json = |file: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder().join(file)).unwrap()).unwrap()
    };
    let (matches, tokens) = (json("matches.json"), json("tokens.json"));
    let tokens: Vec<String> = serde_json::from_value(tokens).unwrap();
    let reference = std::fs::read(folder().join("reference.safetensors")).unwrap();
    let [a, b] = read::activations();
    let streamed = stream(&a, &b, 500, 64);
    let list = [TokenClass::Pipeline];
    let facts_a = facts(&a, &streamed.sums_a, &tokens, &list);
    let facts_b = facts(&b, &streamed.sums_b, &tokens, &list);
    let pairs = |value: &serde_json::Value| -> Vec<[u64; 2]> { serde_json::from_value(value.clone()).unwrap() };
    let of_partners =
        |best: Vec<BestPartners>| best.iter().map(|p| p.as_slice().to_vec()).collect::<Vec<Vec<Partner>>>();

    let partners = of_partners(streamed.best(1).1);
    let all = Filters { min_correlation: -2.0, ..Filters::default() };
    let keyword = Filters { non_concept: list.to_vec(), shared_token: true, ..all.clone() };
    let first = |filters: &Filters| Filters { one_to_one: OneToOne::AsPublished, ..filters.clone() };
    let strong = |filters: Filters| Filters { min_correlation: 0.1, ..filters };
    for (name, filters) in [
        ("all_b_to_a", all.clone()),
        ("keyword", keyword.clone()),
        ("keyword_then_1to1_first", first(&keyword)),
        ("1to1_first", first(&all)),
        ("1to1_best", Filters { one_to_one: OneToOne::Best, ..all.clone() }),
        ("1to1_first_corr_gt_0.1", strong(first(&all))),
        ("keyword_1to1_first_corr_gt_0.1", strong(first(&keyword))),
        ("many_to_1_corr_gt_0.1", strong(all.clone())),
    ] {
        let (found, mean) = kept_pairs(&filters, [&facts_a, &facts_b], &partners);
        assert_eq!(found, pairs(&matches["filtered_sets"][name]), "{name}");
        let expected = matches["filtered_set_mean_corr"][name].as_f64().unwrap();
        assert!((mean - expected).abs() < 1e-9, "{name}: {mean} {expected}");
    }

    // the authors' code in float32: 4.5e-5 is what two such passes differ by
    let (sa, sb) = (
        Standardised::by(&streamed.sums_a, Rules::AsPublished),
        Standardised::by(&streamed.sums_b, Rules::AsPublished),
    );
    let published = Streamed { a: sa, b: sb, ..streamed };
    let (a_to_b, b_to_a) = published.best(1);
    for (name, best) in [("paper_a_to_b", &a_to_b), ("paper_b_to_a", &b_to_a)] {
        let (index, r) = (numbers(&reference, name), numbers(&reference, &format!("{name}_corr")));
        for (k, best) in best.iter().enumerate() {
            let found = best.as_slice()[0];
            assert_eq!(f64::from(found.latent), index[k], "{name} {k}");
            assert!((found.correlation.value() - r[k]).abs() < 4.6e-5, "{name} {k}: {found:?} {}", r[k]);
        }
    }
    let driver = &matches["paper_run_expm_as_is"];
    let number = |name: &str| driver[name].as_f64().unwrap();
    let partners = of_partners(b_to_a);
    let facts = [&facts_a[..], &facts_b[..]];
    let mean = partners.iter().map(|p| p[0].correlation.value()).sum::<f64>() / 260.0;
    assert!((mean - number("mean_actv_corr")).abs() < 1e-6, "{mean}");
    // the driver at HEAD throws its keyword filter away
    let as_run = Filters { non_concept: vec![], shared_token: false, ..Filters::as_published() };
    let walk = Filters { min_correlation: -2.0, ..as_run.clone() };
    assert_eq!(kept_pairs(&walk, facts, &partners).0.len() as f64, number("num_feat_1_to_1"));
    let (found, mean) = kept_pairs(&as_run, facts, &partners);
    assert_eq!(found, pairs(&matches["paper_run_expm_final_pairs"]));
    assert_eq!(found.len() as f64, number("num_feat_after_rmv_lowCorr"));
    assert!((mean - number("mean_actv_corr_filt")).abs() < 1e-6, "{mean}");
    let decoders = std::fs::read(folder().join("decoders.safetensors")).unwrap();
    let rows = |name: &str, n: usize, which: usize| {
        let values = numbers(&decoders, name);
        let whole = Matrix::from_vec(n, values.len() / n, values);
        whole.gather_rows(&found.iter().map(|p| p[which] as usize).collect::<Vec<_>>())
    };
    let (p, q) = (rows("W_dec_A", 300, 0), rows("W_dec_B", 260, 1));
    let score = cognate::similarity::svcca(&p, &q, cognate::similarity::SvccaRule::AsPublished).unwrap().unwrap();
    assert!((score.value - number("svcca_paired")).abs() < 1e-7, "{}", score.value);
}

/// Two independent sides, each clustered by document: best correlations are high by chance, and the chance level says
/// so. Then the same with a tenth of the latents copied: those are found.
#[test]
fn the_document_null_is_calibrated_and_finds_what_is_planted() {
    let (n, d, batch) = (6000, 400, 500);
    let side = |name: &str| {
        let mut out = Matrix::zeros(n, d);
        for j in 0..d {
            let mut stream = cognate::linalg::Stream::new(11, name, j as u64);
            let rate = 0.002 + 0.03 * (j as f64 / d as f64);
            for document in 0..n / 50 {
                // most documents hold none of it
                let here = if stream.gaussian() > 0.7 { 4.0 * rate } else { 0.0 };
                for r in document * 50..(document + 1) * 50 {
                    let above = stream.gaussian().abs();
                    if (above - above.floor()) < here {
                        out.row_mut(r)[j] = (1.0 + above) as f32;
                    }
                }
            }
        }
        out
    };
    let a = side("a");
    for planted in [0, d / 10] {
        let mut b = side("b");
        for r in 0..n {
            for j in 0..planted {
                b.row_mut(r)[j * 7] = a.row(r)[j * 9];
            }
        }
        let (mut sums_a, mut sums_b) = (LatentSums::new(d), LatentSums::new(d));
        let (mut tile, mut null) = (CrossTile::new(0, d, d), CrossTile::new(0, d, d));
        for from in (0..n).step_by(batch) {
            let (x, y) = (sparse(&a, from, from + batch), sparse(&b, from, from + batch));
            sums_a.fold(&x).unwrap();
            sums_b.fold(&y).unwrap();
            let by = ByLatent::new(&x);
            tile.fold((&by, Beside::own(&y))).unwrap();
            null.fold((&by, Beside::ordered(&y, &Null::Rotated.order(batch)))).unwrap();
        }
        let (sa, sb) = (Standardised::new(&sums_a), Standardised::new(&sums_b));
        let best = |tile: &CrossTile| -> Vec<Option<f64>> {
            let found = match_tile(tile, &sa, &sb, 1).forward;
            found.iter().map(|p| p.as_slice().first().map(|p| p.correlation.value())).collect()
        };
        let found = cognate::matching::significance(&best(&tile), &best(&null), &sums_a.n_active);
        let p: Vec<f64> = found.iter().map(|c| c.p_value.unwrap()).collect();
        let discoveries = found.iter().filter(|c| c.q_value.unwrap() < 0.1).count();
        let low = p.iter().filter(|&&p| p < 0.1).count();
        println!("{planted} planted: {discoveries} with q < 0.1, {low} of {d} with p < 0.1");
        if planted == 0 {
            // 40 are expected; four standard deviations of a binomial count are 24
            assert!((16..=64).contains(&low) && discoveries == 0, "{low} {discoveries}");
        } else {
            assert!((0..planted).all(|j| found[j * 9].q_value.unwrap() < 0.1));
            assert!(discoveries <= planted + planted / 4, "{discoveries}");
        }
    }
}

/// The optimum over latents that vary, against SciPy's total; single pairs are not unique.
#[test]
fn hungarian_reaches_the_total_of_scipy_dense_and_sparse() {
    let matches: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder().join("matches.json")).unwrap()).unwrap();
    let [a, b] = read::activations();
    let streamed = stream(&a, &b, 4000, 300);
    let live = |s: &Standardised| (0..s.scale.len()).filter(|&i| s.scale[i].is_some()).collect::<Vec<_>>();
    let (rows, columns) = (live(&streamed.a), live(&streamed.b));
    let r = |i: usize, j: usize| streamed.correlation(rows[i], columns[j]).unwrap();
    let scores = Matrix::from_vec(
        rows.len(),
        columns.len(),
        (0..rows.len()).flat_map(|i| (0..columns.len()).map(move |j| (i, j))).map(|(i, j)| r(i, j)).collect(),
    );
    let total: f64 = hungarian(&scores).unwrap().iter().map(|&(i, j)| r(i, j)).sum();
    let expected = matches["hungarian_live"]["total"].as_f64().unwrap();
    assert!((total - expected).abs() < 1e-9, "{total} {expected}");
    // all candidates given: no pair is forced, so at least as much, and each a gain
    let all = (0..rows.len()).map(|i| (0..columns.len() as u32).zip(scores.row(i).to_vec()).collect::<Vec<_>>());
    let pairs = hungarian_sparse(&ScoredColumns::from_rows(columns.len(), all).unwrap()).unwrap();
    let sparse: f64 = pairs.iter().map(|&(i, j)| r(i as usize, j as usize)).sum();
    assert!(sparse >= total - 1e-9 && pairs.iter().all(|&(i, j)| r(i as usize, j as usize) > 0.0), "{sparse} {total}");
}

/// The generator of the check vectors.
struct SplitMix(u64);

impl SplitMix {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[test]
fn check_vector_v2() {
    let mut g = SplitMix(7);
    let (mut a, mut b) = (Matrix::zeros(50, 5), Matrix::zeros(50, 4));
    let above = |u: f64, t: f64| if u > t { u - t } else { 0.0 };
    for t in 0..50 {
        for i in 0..5 {
            a.row_mut(t)[i] = above(g.unit(), 0.6);
        }
        for j in 0..4 {
            b.row_mut(t)[j] = above(g.unit(), 0.7);
        }
    }
    for t in 0..50 {
        a.row_mut(t)[2] = 0.0;
        let (a0, a3) = (a.row(t)[0], a.row(t)[3]);
        let row: &mut [f64] = b.row_mut(t);
        row[0] += a3;
        row[1] += 0.5 * a3;
        row[2] += a0;
        row[3] = 0.0;
    }
    // the published formula (docs/method.md) from sums: Pearson times (T-1)/T times s²/(s+1e-8)² per side; f64 sums of
    // f64 values, since the vectors are f64 and a latent's stream is f32
    let sums = |x: &Matrix<f64>, i: usize| {
        (0..50).fold((0.0, 0.0), |(s, q), t| (s + x.row(t)[i], q + x.row(t)[i] * x.row(t)[i]))
    };
    let pearson = |i: usize, j: usize| {
        let ((sx, qx), (sy, qy)) = (sums(&a, i), sums(&b, j));
        let sxy: f64 = (0..50).map(|t| a.row(t)[i] * b.row(t)[j]).sum();
        let scale = |s: f64, q: f64| 1.0 / (50.0 * q - s * s).sqrt();
        cognate::matching::pearson(50.0, sx, scale(sx, qx), sy, scale(sy, qy), sxy)
    };
    let published = |i: usize, j: usize| {
        let std = |(s, q): (f64, f64)| ((q - s * s / 50.0) / 49.0).max(0.0).sqrt();
        let (sa, sb) = (std(sums(&a, i)), std(sums(&b, j)));
        if sa == 0.0 || sb == 0.0 { 0.0 } else { pearson(i, j) * 49.0 / 50.0 * sa / (sa + 1e-8) * sb / (sb + 1e-8) }
    };
    let expected = [
        [0.156894060574, 0.087314784549, 0.794284840542, 0.0],
        [0.008650979974, -0.100078807927, -0.046150535793, 0.0],
        [0.0, 0.0, 0.0, 0.0],
        [0.779275915876, 0.598335027978, 0.145082391677, 0.0],
        [0.322538318912, 0.108330665896, 0.000507446543, 0.0],
    ];
    for (i, row) in expected.iter().enumerate() {
        for (j, &r) in row.iter().enumerate() {
            assert!((published(i, j) - r).abs() < 1e-9, "A{i} B{j}: {} {r}", published(i, j));
        }
    }
    assert!((pearson(3, 0) - 0.795_179_610_536_831_7).abs() < 1e-9);

    // the same matrix as f32 entries through the stream: f32 rounds the inputs, 6e-8 of each
    let narrow =
        |x: &Matrix<f64>| Matrix::from_vec(x.n_rows(), x.n_cols(), x.as_slice().iter().map(|&v| v as f32).collect());
    let streamed = stream(&narrow(&a), &narrow(&b), 7, 2);
    assert!((streamed.correlation(3, 0).unwrap() - 0.795_179_610_536_831_7).abs() < 1e-6);
    assert_eq!(streamed.correlation(2, 0), None, "dead: undefined, not 0");
    assert_eq!(streamed.correlation(0, 3), None);
    let (forward, backward) = streamed.best(1);
    let first = |b: &BestPartners| b.as_slice().first().map(|p| p.latent);
    assert_eq!(forward.iter().map(first).collect::<Vec<_>>(), [Some(2), Some(0), None, Some(0), Some(0)]);
    assert_eq!(backward.iter().map(first).collect::<Vec<_>>(), [Some(3), Some(3), Some(0), None]);

    // as published, through the same sums: what is dead correlates at 0 with everyone, and the lowest is taken
    let by = |sums: &LatentSums| Standardised::by(sums, Rules::AsPublished);
    let streamed = Streamed { a: by(&streamed.sums_a), b: by(&streamed.sums_b), ..streamed };
    for (i, row) in expected.iter().enumerate() {
        for (j, &r) in row.iter().enumerate() {
            assert!((streamed.correlation(i, j).unwrap() - r).abs() < 1e-6, "A{i} B{j}");
        }
    }
    let (forward, backward) = streamed.best(1);
    assert_eq!(forward.iter().map(first).collect::<Vec<_>>(), [Some(2), Some(0), Some(0), Some(0), Some(0)]);
    assert_eq!(backward.iter().map(first).collect::<Vec<_>>(), [Some(3), Some(3), Some(0), Some(0)]);
    let mean = backward.iter().map(|p| p.as_slice()[0].correlation.value()).sum::<f64>() / 4.0;
    assert!((mean - 0.542973946098942).abs() < 1e-6, "{mean}");
}
