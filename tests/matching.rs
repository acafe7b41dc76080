//! Correlations from streamed sums against numpy's two-pass ones (`fixtures/matching`) and METHOD's check vectors.

use cognate::linalg::Matrix;
use cognate::matching::{BestPartners, Standardised, match_tile};
use cognate::moments::{ByLatent, CrossTile, LatentSums};
use cognate::sae::LatentBatch;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

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
    let (mut sums_a, mut sums_b) = (LatentSums::new(a.n_cols()), LatentSums::new(b.n_cols()));
    let mut tiles: Vec<CrossTile> = (0..a.n_cols())
        .step_by(height)
        .map(|first| CrossTile::new(first, height.min(a.n_cols() - first), b.n_cols()))
        .collect();
    for from in (0..a.n_rows()).step_by(batch) {
        let to = (from + batch).min(a.n_rows());
        let (x, y) = (sparse(a, from, to), sparse(b, from, to));
        sums_a.fold(&x);
        sums_b.fold(&y);
        let by = ByLatent::new(&x);
        tiles.iter_mut().for_each(|t| t.fold(&by, &y));
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

fn fixture() -> Option<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/matching");
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
    }
    path.exists().then_some(path)
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

fn matrix(bytes: &[u8], name: &str, n_rows: usize) -> Matrix<f32> {
    let values = numbers(bytes, name);
    Matrix::from_vec(n_rows, values.len() / n_rows, values.into_iter().map(|v| v as f32).collect())
}

#[test]
fn correlations_of_the_fixture_to_1e_9_dead_constant_tied_and_huge_mean_latents_included() {
    let Some(folder) = fixture() else { return };
    let activations = std::fs::read(folder.join("activations.safetensors")).unwrap();
    let reference = std::fs::read(folder.join("reference.safetensors")).unwrap();
    let (a, b) = (matrix(&activations, "A", 4000), matrix(&activations, "B", 4000));
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

#[test]
fn batches_and_tiles_of_any_size_give_the_same_bits() {
    let Some(folder) = fixture() else { return };
    let activations = std::fs::read(folder.join("activations.safetensors")).unwrap();
    let (a, b) = (matrix(&activations, "A", 4000), matrix(&activations, "B", 4000));
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

/// The generator of METHOD §15.
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
    // the formula of METHOD §4.1 from sums: Pearson times (T-1)/T times s²/(s+1e-8)² a side; f64 sums of f64 values, since
    // the vectors are f64 and a latent's stream is f32
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
}
