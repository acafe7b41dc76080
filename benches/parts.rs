//! How many processor seconds does one part take? For the scripts in `peers/`, which run this beside other programs.
//!
//! `parts forward MODEL HOOKPOINT LENGTH CONTEXTS [N_OUT,N_IN …]`: a forward to the hookpoint, and its floor, the bare products
//! of linear layers with these sides. `parts encode SAE INPUT`: latents of the rows `x: [n, d_in]`, and the bare product.
//! `parts screen SAE ROWS`: latents of so many random rows, screened and not, which must be the same bit for bit.
//! `parts sums FIRINGS LATENTS`: the products of two batches of firings (`a`, `b`: latents `[n, k]` i32, ascending in a row;
//! `x`, `y`: their values) added to the sums of all pairs, and a copy of 256 MiB.
//! Each prints one JSON object; threads are those of `RAYON_NUM_THREADS`.

use cognate::ids::Hookpoint;
use cognate::linalg::panels::{Finish, PackedRows, Panels, multiply};
use cognate::linalg::{Matrix, Stream};
use cognate::moments::{Accumulator, Beside, ByLatent, CrossTile};
use cognate::sae::{Encode, LatentBatch};
use cpu_time::ProcessTime;
use rayon::prelude::*;
use std::hint::black_box;
use std::path::Path;

fn main() {
    // `cargo bench` adds --bench, and runs every target without a word of what to do.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["forward", model, hookpoint, length, contexts, ref sides @ ..] => {
            forward(Path::new(model), hookpoint.parse().unwrap(), number(length), number(contexts), sides);
        }
        ["sums", firings, latents] => sums(Path::new(firings), number(latents)),
        ["encode", sae, input] => encode(Path::new(sae), Path::new(input)),
        ["screen", sae, rows] => screen(Path::new(sae), number(rows)),
        _ => println!("parts: called by the scripts in benches/peers; see the head of benches/parts.rs"),
    }
}

/// Rows that are screened at once.
const ROWS: usize = 16_384;

fn number(word: &str) -> usize {
    word.parse().unwrap()
}

fn values(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(0, name, 0);
    (0..n).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect()
}

/// Processor seconds of `work`, called once before.
fn seconds(mut work: impl FnMut()) -> f64 {
    work();
    let start = ProcessTime::now();
    work();
    start.elapsed().as_secs_f64()
}

fn forward(model: &Path, hookpoint: Hookpoint, length: usize, contexts: usize, sides: &[&str]) {
    let model = cognate::model::open_for(model, None, Default::default(), &[hookpoint]).unwrap();
    let n_vocab = model.shape().n_vocab as u32;
    let ids: Vec<Vec<u32>> = (0..contexts as u32)
        .map(|c| (0..length as u32).map(|p| (c * 7919 + p * 31 + p * p % 101) % n_vocab).collect())
        .collect();
    let time = seconds(|| {
        ids.par_iter().for_each(|ids| {
            black_box(model.activations(ids, &[hookpoint]).unwrap());
        });
    });
    let kept: Vec<Panels> = sides
        .iter()
        .map(|sides| {
            let (n_out, n_in) = sides.split_once(',').unwrap();
            let (n_out, n_in) = (number(n_out), number(n_in));
            Panels::from_plain(&values(n_out * n_in, "weights"), n_in, n_out)
        })
        .collect();
    let widest = kept.iter().map(|k| k.n_columns().max(k.depth())).max().unwrap_or(0);
    let x = values(length * widest, "rows");
    // Packed once for each depth: the floor is the products alone.
    let packed: Vec<PackedRows> = kept
        .iter()
        .map(|kept| {
            let mut rows = PackedRows::default();
            rows.pack(&x[..length * kept.depth()], length, kept.depth());
            rows
        })
        .collect();
    let floor = seconds(|| {
        (0..contexts).into_par_iter().for_each_init(
            || vec![0.0; length * widest],
            |out, _| {
                for (kept, rows) in kept.iter().zip(&packed) {
                    let out = &mut out[..length * kept.n_columns()];
                    multiply(rows, kept, 0..kept.n_panels(), out, Finish::default());
                    black_box(&out);
                }
            },
        );
    });
    let flop: f64 = kept.iter().map(|k| 2.0 * (k.n_columns() * k.depth() * length * contexts) as f64).sum();
    let told =
        serde_json::json!({ "tokens": length * contexts, "cpu_s": time, "floor_cpu_s": floor, "floor_flop": flop });
    println!("{told}");
}

fn encode(sae: &Path, input: &Path) {
    let sae = cognate::sae::open(sae, None).unwrap();
    let (d_in, d_sae) = (sae.shape().d_in, sae.shape().d_sae);
    let x: Vec<f32> = words(input, "x").into_iter().map(f32::from_le_bytes).collect();
    let n_rows = x.len() / d_in;
    let x = Matrix::from_vec(n_rows, d_in, x);
    let mut n_latents = 0;
    let time = seconds(|| n_latents = black_box(sae.encode(&x, Encode::Sparse).unwrap()).latents.len());
    let full = sae.encode(&x, Encode::Sparse).unwrap();
    let sae = sae.screened();
    // The first call holds the trial as well, and on few rows does not end it.
    let screened = || assert!(black_box(sae.encode(&x, Encode::Sparse).unwrap()) == full, "screened, other latents");
    screened();
    let screened_time = seconds(screened);
    let kept = Panels::from_transposed(&values(d_sae * d_in, "weights"), d_sae, d_in);
    let block = 132.min(n_rows);
    let mut rows = PackedRows::default();
    rows.pack(&x.as_slice()[..block * d_in], block, d_in);
    // As many products as the encode makes, over panels that leave the caches in between, into a tile that stays there.
    let product = seconds(|| {
        (0..n_rows.div_ceil(block)).into_par_iter().for_each_init(
            || vec![0.0; block * 256],
            |out, _| {
                for first in (0..kept.n_panels()).step_by(16) {
                    let range = first..kept.n_panels().min(first + 16);
                    let width = (range.end * 16).min(d_sae) - range.start * 16;
                    multiply(&rows, &kept, range, &mut out[..block * width], Finish::default());
                    black_box(&out);
                }
            },
        );
    });
    let flop = 2.0 * (n_rows.div_ceil(block) * block * d_in * d_sae) as f64;
    let told = serde_json::json!({
        "rows": n_rows, "latents": n_latents, "cpu_s": time, "product_cpu_s": product, "flop": flop,
        "screened_cpu_s": screened_time, "screening_times": sae.screening(),
    });
    println!("{told}");
}

fn screen(sae: &Path, n_rows: usize) {
    let full = cognate::sae::open(sae, None).unwrap();
    let screened = full.clone().screened();
    let d_in = full.shape().d_in;
    let (mut times, mut n_latents) = ([0.0; 2], 0);
    for first in (0..n_rows).step_by(ROWS) {
        let n = ROWS.min(n_rows - first);
        let x: Vec<f32> = (0..n)
            .into_par_iter()
            .flat_map_iter(|r| {
                let mut stream = Stream::new(1, "screened rows", (first + r) as u64);
                // sums of uniform values: near to normal ones
                (0..d_in).map(move |_| (2.0 * (0..6).map(|_| stream.unit()).sum::<f64>() - 6.0) as f32 / 1.414)
            })
            .collect();
        let x = Matrix::from_vec(n, d_in, x);
        let found = [&full, &screened].map(|sae| {
            let start = ProcessTime::now();
            (sae.encode(&x, Encode::Sparse).unwrap(), start.elapsed().as_secs_f64())
        });
        assert!(found[0].0 == found[1].0, "rows from {first} on: screened, other latents");
        n_latents += found[0].0.latents.len();
        times[0] += found[0].1;
        times[1] += found[1].1;
    }
    let told = serde_json::json!({
        "rows": n_rows, "latents": n_latents, "cpu_s": times[0], "screened_cpu_s": times[1], "screening_times": screened.screening(),
    });
    println!("{told}");
}

/// The values of a tensor of 4-byte numbers.
fn words(path: &Path, name: &str) -> Vec<[u8; 4]> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensor(name).unwrap().data().as_chunks().0.to_vec()
}

fn sums(firings: &Path, d_sae: usize) {
    let batch = |latents: &str, values: &str, n_rows: usize| {
        let latents: Vec<u32> = words(firings, latents).into_iter().map(u32::from_le_bytes).collect();
        let k = latents.len() / n_rows;
        let row_starts = (0..=n_rows).map(|r| (r * k) as u32).collect();
        let values = words(firings, values).into_iter().map(f32::from_le_bytes).collect();
        LatentBatch { d_sae, row_starts, latents, values, ..LatentBatch::default() }
    };
    let bytes = std::fs::read(firings).unwrap();
    let n_rows = safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor("a").unwrap().shape()[0];
    drop(bytes);
    let (source, target) = (batch("a", "x", n_rows), batch("b", "y", n_rows));
    let mut tile = CrossTile::new(0, d_sae, d_sae);
    let time = seconds(|| tile.fold((&ByLatent::new(&source), Beside::own(&target))).unwrap());
    let n_updates: usize = (0..n_rows).map(|r| source.row(r).0.len() * target.row(r).0.len()).sum();
    // Read and written once each, as copy bandwidth is counted.
    let from = values(64 << 20, "copied");
    let mut to = vec![0.0f32; from.len()];
    let copy = seconds(|| black_box(&mut to).copy_from_slice(black_box(&from)));
    let total: f64 = tile.alive().map(|(_, row)| row.iter().sum::<f64>()).sum();
    let told = serde_json::json!({
        "updates": n_updates, "cpu_s": time, "total": total / 2.0, "copy_gb_per_s": 2.0 * 4.0 * from.len() as f64 / copy / 1e9
    });
    println!("{told}");
}
