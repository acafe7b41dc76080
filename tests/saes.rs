//! Do SAEs written by the real Python libraries give the numbers those libraries give?
//!
//! Every folder of the fixtures goes through `cognate encode --decode` and is compared with the library's own `features`
//! and output. Limits are the fixtures' own: 5e-5 of the tensor's root mean square, equal supports.

use cognate::cli::encode::encode;
use cognate::device::{BackendName, Compute, Dtype as Numbers};
use cognate::linalg::Matrix;
use cognate::sae::{self, Format};
use common::fixture;
use safetensors::SafeTensors;
use std::path::Path;

mod common;
#[path = "saes/in_bf16.rs"]
mod in_bf16;

/// Largest difference allowed, as a share of the reference's root mean square; float32 against float64 of the reference
/// itself differs by up to 1e-5.
const LIMIT: f64 = 5e-5;

/// A tensor as (shape, values).
fn tensor(path: &Path, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).ok()?;
    let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Some((view.shape().to_vec(), values))
}

fn compare(what: &str, found: &[f32], expected: &[f32], same_support: bool) -> Result<f64, String> {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} values for {}", found.len(), expected.len()));
    }
    let rms = (expected.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / expected.len() as f64).sqrt();
    let mut worst = 0f64;
    for (at, (&a, &b)) in found.iter().zip(expected).enumerate() {
        if same_support && (a != 0.0) != (b != 0.0) {
            return Err(format!("{what}: element {at} is {a}, the library has {b}"));
        }
        let off = (f64::from(a) - f64::from(b)).abs() / rms;
        if off.is_nan() || off > LIMIT {
            return Err(format!("{what}: element {at} is {a}, the library has {b}: {off:.2e} of rms {rms:.3}"));
        }
        worst = worst.max(off);
    }
    Ok(worst)
}

/// Encodes `x` of a reference through the command, by the kernels and by the tensor library, and compares; `features` names the tensor
/// to compare with.
fn check(sae: &Path, reference: &Path, features: &str, format: Option<Format>, ties: bool) -> Result<String, String> {
    let by = |backend| Compute { backend, ..Compute::default() };
    let kernels = check_by(by(BackendName::Kernels), sae, reference, features, format, ties)?;
    let candle = check_by(by(BackendName::Candle), sae, reference, features, format, ties);
    Ok(format!("{kernels}; by candle {}", candle.map_err(|e| format!("by candle: {e}"))?))
}

fn check_by(
    compute: Compute,
    sae: &Path,
    reference: &Path,
    features: &str,
    format: Option<Format>,
    ties: bool,
) -> Result<String, String> {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("z.safetensors");
    encode(sae, reference, Some("x"), &out, true, format, compute).map_err(|e| e.to_string())?;
    let (shape, latents) = tensor(&out, "latents").unwrap();
    let (expected_shape, expected) = tensor(reference, features).unwrap();
    if shape != expected_shape {
        return Err(format!("latents are {shape:?}, the library's {expected_shape:?}"));
    }
    if ties {
        let sorted = |values: &[f32]| {
            let mut values = values.to_vec();
            values.chunks_mut(shape[1]).for_each(|row| row.sort_by(|a, b| b.total_cmp(a)));
            values
        };
        return compare("sorted latents", &sorted(&latents), &sorted(&expected), true).map(|off| format!("{off:.1e}"));
    }
    let a = compare("latents", &latents, &expected, true)?;
    let (_, found) = tensor(&out, "reconstruction").unwrap();
    let (_, expected) = tensor(reference, "forward").or_else(|| tensor(reference, "decoded")).unwrap();
    let b = compare("reconstruction", &found, &expected, false)?;
    Ok(format!("latents {a:.1e}, reconstruction {b:.1e} of rms"))
}

/// Every fixture whose path starts with `under`.
fn check_all(under: &str) {
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(fixture("saes/index.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut n = 0;
    for entry in &index {
        let path = entry["path"].as_str().unwrap();
        if !path.starts_with(under) {
            continue;
        }
        n += 1;
        let folder = fixture(path);
        let shape = match sae::header(&folder, None) {
            Ok(shape) => shape,
            Err(e) => {
                failures.push(format!("{path}: {e}"));
                continue;
            }
        };
        let sizes = (entry["d_in"].as_u64().unwrap() as usize, entry["n_features"].as_u64().unwrap() as usize);
        assert_eq!((shape.d_in, shape.d_sae), sizes, "{path}");
        let ties = path.contains("topk_ties");
        match check(&folder, &folder.join("reference.safetensors"), "features", None, ties) {
            Ok(told) => {
                println!("{path}: {shape}, {:?}: {told}", shape.declared.input.as_ref().map(|place| &place.written))
            }
            Err(e) => failures.push(format!("{path}: {shape}: {e}")),
        }
    }
    assert!(failures.is_empty() && n > 0, "{} of {n} differ:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn sparsify_as_sparsify_computes_it() {
    check_all("saes/sparsify");
}

#[test]
fn sae_lens_as_sae_lens_computes_it() {
    check_all("saes/sae_lens");
}

#[test]
fn gemma_scope_as_sae_lens_reads_it() {
    check_all("saes/gemma_scope");
}

#[test]
fn llama_scope_as_sae_lens_reads_it() {
    check_all("saes/llama_scope");
}

#[test]
fn dictionary_learning_as_it_loads_them() {
    check_all("saes/dictionary_learning");
}

#[test]
fn torch_files_from_a_gpu_and_from_before_zip() {
    for (folder, file) in [("topk", "ae_cuda_tagged.pt"), ("jumprelu", "ae_legacy_container.pt")] {
        let folder = fixture("saes/dictionary_learning").join(folder);
        check(&folder.join(file), &folder.join("reference.safetensors"), "features", None, false).unwrap();
    }
}

#[test]
fn a_topk_dictionary_of_2024_as_its_class_computes_it() {
    let folder = fixture("saes/dictionary_learning/topk_2024");
    for file in ["ae.pt", "with_k.pt", "wrapped.pt"] {
        check(&folder.join(file), &folder.join("reference.safetensors"), "features", None, false).unwrap();
    }
}

/// A fixed sequence of values in [-1, 1).
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
        })
        .collect()
}

fn write_safetensors(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(.., v)| v.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Writes a sparsify folder of random weights.
fn write_sparsify(folder: &Path, d_in: usize, d_sae: usize, k: usize) {
    let tensors = [
        ("encoder.weight", &[d_sae, d_in][..], values(d_sae * d_in, 1)),
        ("encoder.bias", &[d_sae], values(d_sae, 2)),
        ("W_dec", &[d_sae, d_in], values(d_sae * d_in, 3)),
        ("b_dec", &[d_in], values(d_in, 4)),
    ];
    write_safetensors(&folder.join("sae.safetensors"), &tensors);
    std::fs::write(folder.join("cfg.json"), format!("{{\"k\": {k}, \"num_latents\": {d_sae}, \"d_in\": {d_in}}}"))
        .unwrap();
}

/// By the tensor library, more rows than it multiplies at once, of whole numbers, which any order of summation adds exactly: the same
/// latents and values as by the kernels, ties included.
#[test]
fn the_tensor_library_selects_as_the_kernels_do() {
    let (d_in, d_sae, n) = (5, 65_536, 700);
    let folder = tempfile::tempdir().unwrap();
    let whole = |n: usize, seed: u64| values(n, seed).into_iter().map(|v| (3.0 * v).round()).collect::<Vec<f32>>();
    let x = Matrix::from_vec(n, d_in, whole(n * d_in, 5));
    let candle = |dtype| Compute { backend: BackendName::Candle, dtype, ..Compute::default() };
    for k in [1, 64] {
        let tensors = [
            ("encoder.weight", &[d_sae, d_in][..], whole(d_sae * d_in, 1)),
            ("encoder.bias", &[d_sae], whole(d_sae, 2)),
            ("W_dec", &[d_sae, d_in], vec![0.0; d_sae * d_in]),
            ("b_dec", &[d_in], vec![0.0; d_in]),
        ];
        write_safetensors(&folder.path().join("sae.safetensors"), &tensors);
        let about = format!("{{\"k\": {k}, \"num_latents\": {d_sae}, \"d_in\": {d_in}}}");
        std::fs::write(folder.path().join("cfg.json"), about).unwrap();
        let sae = sae::open(folder.path(), None).unwrap();
        for encode in [sae::Encode::Sparse, sae::Encode::Dense] {
            let x = if encode == sae::Encode::Dense { &Matrix::from_vec(1, d_in, x.row(3).to_vec()) } else { &x };
            let kernels = sae.encode(x, encode).unwrap();
            assert!(kernels.n_rows() == x.n_rows() && !kernels.latents.is_empty());
            // of whole numbers below 2048 f16 loses nothing
            for dtype in [Numbers::F32, Numbers::F16] {
                let found = sae.clone().computed(&[candle(dtype)]).unwrap().encode(x, encode).unwrap();
                assert!(found == kernels, "k {k}, {encode:?}, {dtype}");
            }
        }
    }
    // what f16 cannot hold is named
    let half = sae::open(folder.path(), None).unwrap().computed(&[candle(Numbers::F16)]).unwrap();
    let mut large = x.clone();
    large.row_mut(600)[0] = 1e6;
    let error = half.encode(&large, sae::Encode::Sparse).unwrap_err().to_string();
    assert!(error.contains("row 600 of the activations") && error.contains("overflow"), "{error}");
    // an output that is the input would lose it
    let input = folder.path().join("x.safetensors");
    write_safetensors(&input, &[("x", &[n, d_in], x.as_slice().to_vec())]);
    let error = encode(folder.path(), &input, None, &input, false, None, Compute::default()).unwrap_err().to_string();
    assert!(error.contains("is the input, which would be lost") && tensor(&input, "x").is_some(), "{error}");
    assert!(half.computed(&[candle(Numbers::Bf16)]).unwrap_err().to_string().contains("does not multiply on the CPU"));
}

/// Llamascopium by its description: the selection in units of decoder rows, the latents without them.
#[test]
fn llamascopium_selects_by_decoder_norm_and_divides_it_out() {
    let (d, m, n) = (6, 40, 9);
    let (w, dec, bias, x) = (values(d * m, 1), values(m * d, 2), values(m, 3), values(n * d, 4));
    let logs: Vec<f32> = values(m, 5).iter().map(|v| v - 1.0).collect();
    let norm = |j: usize| (0..d).map(|i| f64::from(dec[j * d + i]).powi(2)).sum::<f64>().sqrt();
    let folder = tempfile::tempdir().unwrap();
    let hook = "blocks.3.hook_resid_post";
    let average = format!("dataset_average_activation_norm.{hook}");
    let tensors = [
        ("W_E", &[d, m][..], w.clone()),
        ("b_E", &[m], bias.clone()),
        ("W_D", &[m, d], dec.clone()),
        ("b_D", &[d], values(d, 6)),
        ("log_jumprelu_threshold", &[m], logs.clone()),
        (average.as_str(), &[], vec![3.5]),
    ];
    write_safetensors(&folder.path().join("sae_weights.safetensors"), &tensors);
    let rows = cognate::linalg::Matrix::from_vec(n, d, x.clone());
    for (act_fn, scaled) in [("jumprelu", false), ("jumprelu", true), ("topk", false), ("topk", true)] {
        let config = serde_json::json!({
            "hook_point_in": hook, "act_fn": act_fn, "top_k": 5, "sparsity_include_decoder_norm": true,
            "norm_activation": if scaled { "dataset-wise" } else { "inference" },
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let sae = sae::open(folder.path(), None).unwrap();
        let place = sae.shape().declared.input.clone().unwrap();
        assert_eq!(place.hookpoint("gpt2").unwrap().to_string(), "resid_post.3");
        let c = if scaled { (d as f64).sqrt() / 3.5 } else { 1.0 };
        let found = sae.encode(&rows, sae::Encode::Sparse).unwrap();
        let (mut dense, mut plain) = (vec![0f32; n * m], vec![0f32; n * m]);
        for r in 0..n {
            let (active, values) = found.row(r);
            active.iter().zip(values).for_each(|(&j, &v)| dense[r * m + j as usize] = v);
            let pre = |j: usize| (0..d).map(|i| c * f64::from(x[r * d + i]) * f64::from(w[i * m + j])).sum::<f64>();
            let pre: Vec<f64> = (0..m).map(|j| pre(j) + f64::from(bias[j])).collect();
            let mut order: Vec<f64> = (0..m).map(|j| (pre[j] * norm(j)).max(0.0)).collect();
            let weighed = order.clone();
            order.sort_by(|a, b| b.total_cmp(a));
            for j in 0..m {
                let floor = if act_fn == "topk" { order[5] } else { f64::from(logs[j]).exp() };
                plain[r * m + j] = if weighed[j] > floor { pre[j] as f32 } else { 0.0 };
            }
        }
        compare(act_fn, &dense, &plain, true).unwrap();
        // The output is in raw units again.
        let out = sae.decode(&found, &rows).unwrap();
        let b_dec = values(d, 6);
        let first = |i: usize| {
            (0..m).map(|j| f64::from(plain[j]) * f64::from(dec[j * d + i])).sum::<f64>() + f64::from(b_dec[i])
        };
        let expected: Vec<f32> = (0..d).map(|i| (first(i) / c) as f32).collect();
        compare("reconstruction", out.row(0), &expected, false).unwrap();
    }
}

/// Every error is typed, whatever is done to a file; nothing panics and nothing large is allocated.
#[test]
fn damaged_files_are_refused_and_never_panicked_on() {
    for (folder, file) in [
        ("sparsify/topk/layers.1", "sae.safetensors"),
        ("gemma_scope/layer_2/width_16k/average_l0_14", "params.npz"),
        ("gemma_scope_compressed_npz/layer_2/width_65k/average_l0_9", "params.npz"),
        ("dictionary_learning/topk", "ae.pt"),
        ("dictionary_learning/jumprelu", "ae_legacy_container.pt"),
    ] {
        let from = fixture("saes").join(folder);
        let place = tempfile::tempdir().unwrap();
        for name in ["cfg.json", "config.json"] {
            let _ = std::fs::copy(from.join(name), place.path().join(name));
        }
        let whole = std::fs::read(from.join(file)).unwrap();
        let path = place.path().join(file);
        std::fs::write(&path, &whole).unwrap();
        sae::open(&path, None).unwrap();
        for part in 0..60 {
            std::fs::write(&path, &whole[..whole.len() * part / 60]).unwrap();
            let told = sae::open(&path, None).err().unwrap_or_else(|| panic!("{folder} cut to {part}/60 was opened"));
            assert!(told.to_string().contains(file), "{told}");
        }
        // The headers lie at the ends: there every third byte is changed, in one of three ways.
        let n = whole.len();
        for at in (0..n.min(700)).chain(n.saturating_sub(700)..n).step_by(3) {
            let mut bytes = whole.clone();
            bytes[at] ^= [0xff, 0x01, 0x80][at / 3 % 3];
            std::fs::write(&path, &bytes).unwrap();
            let _ = sae::open(&path, None);
        }
    }
}

#[test]
fn configurations_that_contradict_the_weights_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    write_sparsify(folder.path(), 4, 16, 3);
    sae::open(folder.path(), None).unwrap();
    for (config, told) in [
        (r#"{"k": 17, "num_latents": 16}"#, "k 17"),
        (r#"{"k": 0, "num_latents": 16}"#, "k 0"),
        (r#"{"k": 3, "num_latents": 15}"#, "num_latents is 15"),
        (r#"{"k": 3, "num_latents": 0, "expansion_factor": 3}"#, "num_latents is 12"),
        (r#"{"k": 3, "num_latents": 0, "expansion_factor": 18446744073709551615}"#, "num_latents is"),
        (r#"{"k": 3, "num_latents": 16, "d_in": 5}"#, "d_in is 5"),
        (r#"{"k": 3, "num_latents": 16, "activation": "softmax"}"#, "softmax"),
        (r#"{"k": 5, "num_latents": 16, "activation": "groupmax"}"#, "equal groups"),
        (r#"{"k": 3, "num_latents": 16, "skip_connection": true}"#, "W_skip"),
        (r#"{"num_latents": 16}"#, "missing field `k`"),
        (r#"{"k": -1}"#, "cfg.json"),
        (r#"{"k""#, "cfg.json"),
    ] {
        std::fs::write(folder.path().join("cfg.json"), config).unwrap();
        let found = sae::header(folder.path(), None).unwrap_err().to_string();
        assert!(found.contains(told), "{config}: {found}");
    }
    let nothing = tempfile::tempdir().unwrap();
    let found = sae::open(nothing.path(), None).unwrap_err();
    assert!(found.to_string().contains("params.npz (gemma_scope)"), "{found}");
    assert_eq!(found.kind(), cognate::error::ErrorKind::Request);
    assert_eq!(sae::open(&nothing.path().join("x"), None).unwrap_err().kind(), cognate::error::ErrorKind::Request);
}

/// The authors' own reading, by their formula in plain loops: latents in units of decoder rows, thresholds raw.
#[test]
fn llama_scope_with_decoder_norms_follows_the_authors() {
    let from = fixture("saes/llama_scope/Llama3_1-8B-Base-L1R-8x");
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("checkpoints")).unwrap();
    let weights = "checkpoints/final.safetensors";
    std::fs::copy(from.join(weights), place.path().join(weights)).unwrap();
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(from.join("hyperparams.json")).unwrap()).unwrap();
    let number = |v: &serde_json::Value| v.as_f64().unwrap();
    let (norm, threshold) =
        (number(&config["dataset_average_activation_norm"]["in"]), number(&config["jump_relu_threshold"]));
    config["sparsity_include_decoder_norm"] = true.into();
    std::fs::write(place.path().join("hyperparams.json"), config.to_string()).unwrap();
    let sae = sae::open(place.path(), None).unwrap();
    let (_, x) = sae::read_activations(&from.join("reference.safetensors"), Some("x")).unwrap();
    let found = sae.encode(&x, sae::Encode::Sparse).unwrap();
    let decoded = sae.decode(&found, &x).unwrap();

    let read = |name: &str| sae::read_activations(&place.path().join(weights), Some(name)).unwrap().1;
    let (w, d) = (read("encoder.weight"), read("decoder.weight"));
    let bytes = std::fs::read(place.path().join(weights)).unwrap();
    let vector = |name: &str| -> Vec<f64> {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let view = file.tensor(name).unwrap();
        view.data().as_chunks::<2>().0.iter().map(|b| f64::from(half::bf16::from_le_bytes(*b))).collect()
    };
    let (b, b_dec) = (vector("encoder.bias"), vector("decoder.bias"));
    let c = (x.n_cols() as f64).sqrt() / norm;
    let (mut latents, mut outputs) = (vec![0f32; x.n_rows() * w.n_rows()], vec![0f32; x.n_rows() * x.n_cols()]);
    for (r, x) in x.rows().enumerate() {
        let mut out: Vec<f64> = b_dec.iter().map(|b| b / c).collect();
        for j in 0..w.n_rows() {
            let column: Vec<f64> = (0..d.n_rows()).map(|i| f64::from(d.row(i)[j])).collect();
            let n = column.iter().map(|v| v * v).sum::<f64>().sqrt();
            let p = n * (x.iter().zip(w.row(j)).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum::<f64>() + b[j] / c);
            if p > threshold {
                latents[r * w.n_rows() + j] = p as f32;
                out.iter_mut().zip(&column).for_each(|(out, v)| *out += p * v / n);
            }
        }
        outputs[r * x.len()..][..x.len()].iter_mut().zip(out).for_each(|(a, b)| *a = b as f32);
    }
    let mut dense = vec![0f32; latents.len()];
    for r in 0..found.n_rows() {
        let (active, values) = found.row(r);
        active.iter().zip(values).for_each(|(&j, &v)| dense[r * w.n_rows() + j as usize] = v);
    }
    compare("latents", &dense, &latents, true).unwrap();
    compare("reconstruction", decoded.as_slice(), &outputs, false).unwrap();
}

/// SAEs that SAELens saved with `expected_average_only_in`, whose factor lies outside the file: latents and outputs as SAELens
/// has them once it folded the factor in, of the rows as they are and of the centred rows.
#[test]
fn a_scale_outside_the_file_and_centred_rows_as_sae_lens_computes_them() {
    let place = fixture("sae_lens");
    for name in ["standard", "gated", "jumprelu", "topk", "topk_by_decoder_norm", "skip_transcoder"] {
        let (folder, reference) = (place.join(name), place.join(name).join("reference.safetensors"));
        assert_eq!(sae::header(&folder, None).unwrap().declared.scale, sae::Scale::Missing, "{name}");
        let (_, x) = sae::read_activations(&reference, Some("x")).unwrap();
        for center in [false, true] {
            let reading = sae::Reading { scale: Some(2.37), center, ..sae::Reading::default() };
            let sae = sae::open_as(&folder, &reading).unwrap();
            let latents = sae.encode(&x, sae::Encode::Sparse).unwrap();
            let mut dense = vec![0f32; x.n_rows() * latents.d_sae];
            for r in 0..x.n_rows() {
                let (active, values) = latents.row(r);
                active.iter().zip(values).for_each(|(&j, &v)| dense[r * latents.d_sae + j as usize] = v);
            }
            let key = if center { "centered." } else { "" };
            let expected = |what: &str| tensor(&reference, &format!("{key}{what}")).unwrap().1;
            compare(&format!("{name} {key}latents"), &dense, &expected("features"), true).unwrap();
            let mut output = sae.decode(&latents, &x).unwrap();
            if center && !sae.shape().transcoder {
                // the mean that was taken off is put back
                for (r, x) in x.rows().enumerate() {
                    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
                    output.row_mut(r).iter_mut().for_each(|v| *v = (f64::from(*v) - mean) as f32);
                }
            }
            compare(&format!("{name} {key}output"), output.as_slice(), &expected("forward"), false).unwrap();
        }
        // the other scale gives other latents
        let plain = sae::open(&folder, None).unwrap().encode(&x, sae::Encode::Sparse).unwrap();
        let reading = sae::Reading { scale: Some(2.37), ..sae::Reading::default() };
        assert_ne!(plain, sae::open_as(&folder, &reading).unwrap().encode(&x, sae::Encode::Sparse).unwrap(), "{name}");
    }
}

/// What `center_writing_weights` does, by TransformerLens: with LayerNorm the mean over dimensions goes from what is written to
/// the residual stream, and nothing else changes; with RMSNorm nothing changes.
#[test]
fn centred_weights_take_the_mean_off_what_is_written() {
    let file = fixture("sae_lens/centering.safetensors");
    let places = [
        "embed",
        "resid_post.0",
        "resid_post.1",
        "attn_out.0",
        "attn_out.1",
        "mlp_out.0",
        "mlp_out.1",
        "attn_z.0",
        "attn_z.1",
    ];
    for (kind, layer_norm) in [("LN", true), ("RMS", false)] {
        for place in places {
            let hookpoint: cognate::ids::Hookpoint = place.parse().unwrap();
            let (shape, mut raw) = tensor(&file, &format!("{kind}.raw.{place}")).unwrap();
            let (_, centered) = tensor(&file, &format!("{kind}.centered.{place}")).unwrap();
            let changed = compare("", &raw, &centered, false).is_err();
            assert_eq!(changed, layer_norm && cognate::plan::is_written(hookpoint), "{kind} {place}");
            if changed {
                for row in raw.chunks_mut(shape[1]) {
                    let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / row.len() as f64;
                    row.iter_mut().for_each(|v| *v = (f64::from(*v) - mean) as f32);
                }
            }
            compare(&format!("{kind} {place}"), &raw, &centered, false).unwrap();
        }
    }
}

#[test]
fn a_configuration_of_other_sizes_is_refused_unless_the_weights_are_trusted() {
    let from = fixture("sae_lens/standard");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("sae_weights.safetensors"), folder.path().join("sae_weights.safetensors")).unwrap();
    let text = std::fs::read_to_string(from.join("cfg.json")).unwrap();
    for (key, value) in [("d_in", 25), ("d_sae", 63)] {
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config[key] = value.into();
        std::fs::write(folder.path().join("cfg.json"), config.to_string()).unwrap();
        let told = sae::header(folder.path(), None).unwrap_err().to_string();
        assert!(told.contains(&value.to_string()) && told.contains("insist = [\"width\"]"), "{told}");
        let trusting = sae::Reading { trust_weights: true, ..sae::Reading::default() };
        assert_eq!(sae::header_as(folder.path(), &trusting).unwrap().d_in, 24);
    }
}

#[test]
fn a_scale_that_changes_nothing_or_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let from = fixture("sae_lens/standard");
    std::fs::copy(from.join("sae_weights.safetensors"), folder.path().join("sae_weights.safetensors")).unwrap();
    let text = std::fs::read_to_string(from.join("cfg.json")).unwrap();
    std::fs::write(folder.path().join("cfg.json"), text.replace("expected_average_only_in", "layer_norm")).unwrap();
    let with =
        |scale: f64| sae::header_as(folder.path(), &sae::Reading { scale: Some(scale), ..sae::Reading::default() });
    assert!(with(2.0).unwrap_err().to_string().contains("would change nothing"));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(with(scale).unwrap_err().to_string().contains("positive number"), "{scale}");
    }
}
