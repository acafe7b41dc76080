//! How long does each part take alone? One group a part, each on demo-sized or small made-up input, on the threads that
//! `RAYON_NUM_THREADS` lends. `cargo bench --bench plumbing -- NAME` runs one.

use cognate::corpus::{Corpus, CorpusOptions, TokenBatch, Tokenizer};
use cognate::ids::{Hookpoint, Site};
use cognate::linalg::gemm::gemm_f32;
use cognate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use cognate::linalg::{Matrix, Stream};
use cognate::matching::{Direction, Significance, Standardised, choose_candidates, match_tile};
use cognate::moments::{Accumulator, Beside, ByLatent, CandidateSums, CrossTile, LatentSums, Sketch};
use cognate::sae::{Encode, LatentBatch};
use cognate::similarity::{Measure, Permutations, compare_rows};
use cognate::table::{MatchRow, SitePair, write_table};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn demo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/demo").join(path)
}

/// Values in [-1, 1), the same in every run.
fn values(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(0, name, 0);
    (0..n).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect()
}

/// `k` of `d_sae` latents per row, low ones more often, values in (0, 1].
fn firings(n_rows: usize, d_sae: usize, k: usize, name: &str) -> LatentBatch {
    let mut stream = Stream::new(0, name, 0);
    let mut batch = LatentBatch { d_sae, row_starts: vec![0], ..LatentBatch::default() };
    for _ in 0..n_rows {
        let mut row = std::collections::BTreeSet::new();
        while row.len() < k {
            // density falling as 1/sqrt: the share of the first latents is as uneven as real firings are
            row.insert(((stream.unit() * stream.unit()) * d_sae as f64) as u32);
        }
        batch.values.extend(row.iter().map(|_| 1.0 - stream.unit() as f32));
        batch.latents.extend(row);
        batch.row_starts.push(batch.latents.len() as u32);
    }
    batch
}

/// Products of the shapes that the demo and Pythia's SAEs take; throughput is multiply-adds.
fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("gemm");
    let shapes = [
        ("qkv, one context of the demo", 128, 384, 128),
        ("qkv, eight contexts of the demo", 1024, 384, 128),
        ("scores of a head", 64, 128, 32),
        ("SAE tile of the demo", 128, 512, 128),
        ("SAE tile of Pythia-70m", 128, 512, 512),
    ];
    for (name, m, n, k) in shapes {
        let (a, b, mut out) = (values(m * k, "a"), values(n * k, "b"), vec![0.0; m * n]);
        group.throughput(Throughput::Elements((m * n * k) as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| gemm_f32(m, n, k, black_box(&a), (k, 1), &b, (1, k), &mut out, (n, 1), 0.0, 1.0));
        });
    }
}

/// The same by the kernel for weights that are kept, rows laid out again each time.
fn kept_products(c: &mut Criterion) {
    let mut group = c.benchmark_group("panels");
    let shapes = [
        ("qkv, one context of the demo", 128, 384, 128),
        ("qkv, one context of Pythia-70m", 256, 1536, 512),
        ("SAE tile of Pythia-70m", 264, 512, 512),
    ];
    for (name, m, n, k) in shapes {
        let (a, panels) = (values(m * k, "a"), Panels::from_transposed(&values(n * k, "b"), n, k));
        let (mut rows, mut out) = (PackedRows::default(), vec![0.0; m * n]);
        group.throughput(Throughput::Elements((m * n * k) as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                rows.pack(black_box(&a), m, k);
                multiply(&rows, &panels, 0..panels.n_panels(), &mut out, Finish::default());
            });
        });
    }
}

/// A sparsify folder with random weights.
fn made_up_sae(folder: &Path, d_in: usize, d_sae: usize, k: usize) {
    use safetensors::tensor::{Dtype, TensorView};
    let tensors = [
        ("encoder.weight", vec![d_sae, d_in]),
        ("encoder.bias", vec![d_sae]),
        ("W_dec", vec![d_sae, d_in]),
        ("b_dec", vec![d_in]),
    ];
    let data: Vec<Vec<f32>> = tensors.iter().map(|(name, shape)| values(shape.iter().product(), name)).collect();
    let views: HashMap<String, TensorView> = (tensors.iter().zip(&data))
        .map(|((name, shape), data)| {
            (name.to_string(), TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data)).unwrap())
        })
        .collect();
    safetensors::serialize_to_file(&views, None, &folder.join("sae.safetensors")).unwrap();
    let config = serde_json::json!({ "activation": "topk", "expansion_factor": d_sae / d_in, "normalize_decoder": true,
        "num_latents": d_sae, "k": k, "multi_topk": false, "skip_connection": false, "transcode": false, "d_in": d_in });
    std::fs::write(folder.join("cfg.json"), config.to_string()).unwrap();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let folder = tempfile::tempdir().unwrap();
    made_up_sae(folder.path(), 512, 32768, 32);
    for (name, path, n_rows) in [
        ("512 to 32768, k 32", folder.path().to_path_buf(), 256),
        ("128 to 1024, k 16", demo("saes/small-a/layers.2"), 4096),
    ] {
        let sae = cognate::sae::open(&path, None).unwrap();
        let d_in = sae.shape().d_in;
        let x = Matrix::from_vec(n_rows, d_in, values(n_rows * d_in, "rows"));
        group.throughput(Throughput::Elements(n_rows as u64));
        group.bench_function(name, |b| b.iter(|| sae.encode(black_box(&x), Encode::Sparse).unwrap()));
    }
}

/// The first batch of the demo.
fn tokens() -> TokenBatch {
    let tokenizer = Arc::new(Tokenizer::from_folder(&demo("models/small-a")).unwrap());
    let options: CorpusOptions = serde_json::from_value(serde_json::json!({
        "files": [demo("corpus.jsonl")], "context_length": 128, "batch_contexts": 32
    }))
    .unwrap();
    Corpus::open(options, tokenizer).unwrap().next_batch().unwrap().unwrap()
}

fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    let batch = tokens();
    group.throughput(Throughput::Elements(batch.n_rows() as u64));
    for (name, last) in [("small-a", 2), ("small-b", 3)] {
        let model = cognate::model::open(&demo("models").join(name)).unwrap();
        let hookpoint: Hookpoint = format!("resid_post.{last}").parse().unwrap();
        group.bench_function(format!("{name} to {hookpoint}"), |b| {
            b.iter(|| {
                cognate::model::forward(model.as_ref(), black_box(&batch), &batch.views[0], &[hookpoint], &[false])
                    .unwrap()
            });
        });
    }
}

/// A pair's sums after one batch of made-up firings.
struct Sums {
    source: LatentBatch,
    target: LatentBatch,
    tile: CrossTile,
    standardised: [Standardised; 2],
}

fn sums(n_rows: usize, d_sae: usize, k: usize) -> Sums {
    let (source, target) = (firings(n_rows, d_sae, k, "source"), firings(n_rows, d_sae, k, "target"));
    let mut tile = CrossTile::new(0, d_sae / 4, d_sae);
    tile.fold((&ByLatent::new(&source), Beside::own(&target))).unwrap();
    let standardised = [&source, &target].map(|batch| {
        let mut sums = LatentSums::new(d_sae);
        sums.fold(batch).unwrap();
        Standardised::new(&sums)
    });
    Sums { source, target, tile, standardised }
}

fn fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("fold");
    for (name, n_rows, d_sae, k) in [("1024 latents, k 16", 4096, 1024, 16), ("8192 latents, k 32", 4096, 8192, 32)] {
        let mut sums = sums(n_rows, d_sae, k);
        group.throughput(Throughput::Elements(n_rows as u64));
        group.bench_function(format!("a quarter of the source, {name}"), |b| {
            b.iter(|| sums.tile.fold((&ByLatent::new(black_box(&sums.source)), Beside::own(&sums.target))));
        });
    }
}

/// Adding a batch to a sketch, and choosing candidates of two.
fn sketch(c: &mut Criterion) {
    let mut group = c.benchmark_group("sketch");
    let (n_rows, d_sae, k, width) = (4096, 8192, 32, 512);
    let mut stream = Stream::new(0, "places", 0);
    let places: Vec<u32> = (0..n_rows).map(|_| stream.below(2 * width as u64) as u32).collect();
    let [(mut source, of_source), (target, of_target)] = ["source", "target"].map(|name| {
        let batch = firings(n_rows, d_sae, k, name);
        let (mut sketch, mut sums) = (Sketch::new(d_sae, width), LatentSums::new(d_sae));
        sketch.fold((&ByLatent::new(&batch), &places)).unwrap();
        sums.fold(&batch).unwrap();
        (sketch, Standardised::new(&sums))
    });
    group.throughput(Throughput::Elements((d_sae * d_sae) as u64));
    group.bench_function("10 candidates, 8192 by 8192, width 512", |b| {
        let none = CandidateSums::new(d_sae, d_sae);
        b.iter(|| choose_candidates(&none, [(black_box(&source), &of_source), (&target, &of_target)], 10));
    });
    group.throughput(Throughput::Elements(n_rows as u64));
    let batch = firings(n_rows, d_sae, k, "source");
    group.bench_function("fold, 8192 latents, k 32, width 512", |b| {
        b.iter(|| source.fold((&ByLatent::new(black_box(&batch)), &places)));
    });
}

fn matching(c: &mut Criterion) {
    let mut group = c.benchmark_group("match_tile");
    let sums = sums(4096, 4096, 16);
    group.throughput(Throughput::Elements((sums.tile.n_rows() * sums.tile.d_target()) as u64));
    group.bench_function("1024 by 4096, best 5", |b| {
        b.iter(|| match_tile(black_box(&sums.tile), &sums.standardised[0], &sums.standardised[1], 5));
    });
}

fn similarity(c: &mut Criterion) {
    let mut group = c.benchmark_group("compare_rows");
    let side = |name: &str, d: usize| {
        let shared = values(500 * 16, "shared");
        let noise = values(500 * d, name);
        let mixing = values(16 * d, name);
        let row = |i: usize, j: usize| (0..16).map(|k| shared[i * 16 + k] * mixing[k * d + j]).sum::<f32>();
        Matrix::from_vec(
            500,
            d,
            (0..500 * d).map(|at| f64::from(row(at / d, at % d) + 0.3 * noise[at])).collect::<Vec<f64>>(),
        )
    };
    let (p, q) = (side("p", 128), side("q", 160));
    let svcca: Measure = "svcca".parse().unwrap();
    let nulls = Permutations::Seeded { seed: 0, stream: "bench", runs: 20 };
    group.bench_function("svcca of 500 rows, 20 permutations", |b| {
        b.iter(|| compare_rows(black_box(&p), &q, &[svcca], nulls).unwrap());
    });
}

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("publish");
    let site = |text: &str| text.parse::<Site>().unwrap();
    let pair = Arc::new(SitePair { source: site("small-a/resid_post.2"), target: site("small-b/resid_post.3") });
    let (n, best) = (4096u32, 5u32);
    let r = values((n * best) as usize, "r");
    let rows: Vec<MatchRow> = (0..n * best)
        .map(|i| MatchRow {
            cosines: Default::default(),
            listed: Default::default(),
            pair: pair.clone(),
            source_latent: Some(i / best),
            target_latent: Some(i.wrapping_mul(2_654_435_761) % n),
            correlation: Some(f64::from(r[i as usize])),
            significance: Significance::default(),
            exact_tokens: 0,
            sketch_error: Some(0.0),
            rank: i % best + 1,
            direction: Direction::Forward,
            mutual: false,
            kept: i % best == 0,
            dropped_by: (i % best != 0).then(|| "rank".into()),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("matches.parquet");
    group.throughput(Throughput::Elements(u64::from(n * best)));
    group.bench_function("matches, 20480 rows", |b| {
        b.iter_batched(
            || rows.clone(),
            |rows| write_table::<MatchRow>(&path, (), &BTreeMap::new(), rows).unwrap(),
            BatchSize::LargeInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = products, kept_products, encode, forward, fold, sketch, matching, similarity, publish
}
criterion_main!(benches);
