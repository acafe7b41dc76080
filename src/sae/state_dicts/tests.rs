//! Releases of one torch file each: small ones of their layout, against their formula in plain loops.

use crate::error::ErrorKind;
use crate::linalg::Matrix;
use crate::sae::{Activation, Encode, Format, open};
use crate::weights::torch::tests::{Item, write_state_dict};

const D: usize = 3;
const M: usize = 5;

/// Decoder and encoder share the values; `[M, D]` and its transpose.
fn weights() -> (Vec<f32>, Vec<f32>) {
    let rows: Vec<f32> = (0..M * D).map(|i| ((i * 37 + 11) % 17) as f32 / 8.0 - 1.0).collect();
    let turned = (0..D).flat_map(|d| (0..M).map(move |m| m * D + d)).map(|at| rows[at]).collect();
    (rows, turned)
}

fn close(found: &[f32], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(&a, &b)| (f64::from(a) - b).abs() < 1e-5)
}

/// Dense latents and reconstruction of one row.
fn run(path: &std::path::Path, x: [f32; D]) -> (crate::sae::SaeShape, Vec<f32>, Vec<f32>) {
    let sae = open(path, None).unwrap();
    let x = Matrix::from_vec(1, D, x.to_vec());
    let latents = sae.encode(&x, Encode::Sparse).unwrap();
    let mut dense = vec![0.0; M];
    latents.latents.iter().zip(&latents.values).for_each(|(&at, &value)| dense[at as usize] = value);
    (sae.shape().clone(), dense, sae.decode(&latents, &x).unwrap().into_vec())
}

/// `relu(u W + b)` with only the k largest kept, and `latents W + offset`.
fn plain(u: [f64; D], b_enc: &[f32], k: usize, offset: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (w, _) = weights();
    let dot = |m: usize| (0..D).map(|d| u[d] * f64::from(w[m * D + d])).sum::<f64>() + f64::from(b_enc[m]);
    let mut latents: Vec<f64> = (0..M).map(|m| dot(m).max(0.0)).collect();
    let mut order = latents.clone();
    order.sort_by(|a, b| b.total_cmp(a));
    latents.iter_mut().for_each(|v| *v = if *v < order[k - 1] { 0.0 } else { *v });
    let out = |d: usize| (0..M).map(|m| latents[m] * f64::from(w[m * D + d])).sum::<f64>() + f64::from(offset[d]);
    let decoded = (0..D).map(out).collect();
    (latents, decoded)
}

const X: [f32; D] = [0.5, -1.25, 2.0];
const B_ENC: [f32; M] = [0.25, 0.5, -0.125, 0.75, 0.0];
const B_DEC: [f32; D] = [0.5, -0.25, 1.0];

#[test]
fn qwen_scope_takes_k_from_the_repository_and_nothing_from_the_input() {
    let (rows, turned) = weights();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("SAE-Res-Qwen3-8B-Base-W64K-L0_2");
    std::fs::create_dir(&folder).unwrap();
    let items = |_| {
        [
            ("W_enc", Item::Tensor(&[M, D], &rows)),
            ("W_dec", Item::Tensor(&[D, M], &turned)),
            ("b_enc", Item::Tensor(&[M], &B_ENC)),
            ("b_dec", Item::Tensor(&[D], &B_DEC)),
        ]
    };
    for layer in [0, 17] {
        write_state_dict(&folder.join(format!("layer{layer}.sae.pt")), &items(layer));
    }
    let (shape, latents, decoded) = run(&folder.join("layer17.sae.pt"), X);
    assert_eq!((shape.format, shape.activation), (Format::QwenScope, Activation::TopK(2)));
    assert_eq!(shape.declared.input.clone().unwrap().written, "resid_post.17");
    let (expected, out) = plain(X.map(f64::from), &B_ENC, 2, &B_DEC);
    assert!(close(&latents, &expected) && close(&decoded, &out), "{latents:?} for {expected:?}");
    let told = open(&folder, None).unwrap_err();
    assert!(told.kind() == ErrorKind::Request && told.to_string().contains("several torch files"), "{told}");
}

#[test]
fn goodfire_is_relu_of_a_linear_layer() {
    let (rows, turned) = weights();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("Llama-3.1-8B-Instruct-SAE-l19.pth");
    let items = [
        ("encoder_linear.weight", Item::Tensor(&[M, D], &rows)),
        ("encoder_linear.bias", Item::Tensor(&[M], &B_ENC)),
        ("decoder_linear.weight", Item::Tensor(&[D, M], &turned)),
        ("decoder_linear.bias", Item::Tensor(&[D], &B_DEC)),
    ];
    write_state_dict(&path, &items);
    let (shape, latents, decoded) = run(&path, X);
    assert_eq!(
        (shape.format, shape.declared.input.clone().unwrap().written.as_str()),
        (Format::Goodfire, "resid_post.19")
    );
    let (expected, out) = plain(X.map(f64::from), &B_ENC, M, &B_DEC);
    assert!(close(&latents, &expected) && close(&decoded, &out));
}

#[test]
fn openai_normalises_the_input_only_of_top_k_and_undoes_it() {
    let (rows, turned) = weights();
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("resid_post_mlp");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("6.pt");
    let items = |activation: &'static str| {
        vec![
            ("pre_bias", Item::Tensor(&[D], &B_DEC)),
            ("encoder.weight", Item::Turned([M, D], &rows)),
            ("latent_bias", Item::Tensor(&[M], &B_ENC)),
            ("decoder.weight", Item::Tensor(&[D, M], &turned)),
            ("stats_last_nonzero", Item::Tensor(&[M], &B_ENC)),
            ("activation", Item::Text(activation)),
            ("activation_state_dict", Item::Dict(vec![("k", Item::Number(2)), ("postact_fn", Item::Text("ReLU"))])),
        ]
    };
    let x = X.map(f64::from);
    let (mean, squares) = (x.iter().sum::<f64>() / 3.0, x.iter().map(|v| v * v).sum::<f64>());
    let std = ((squares - 3.0 * mean * mean) / 2.0).sqrt();
    for (activation, k, (shift, scale), eps) in [("TopK", 2, (mean, std), 1e-5), ("ReLU", M, (0.0, 1.0), 0.0)] {
        write_state_dict(&path, &items(activation));
        let (shape, latents, decoded) = run(&path, X);
        assert_eq!(
            (shape.format, shape.declared.input.clone().unwrap().written.as_str()),
            (Format::OpenAi, "resid_post.6")
        );
        let u: [f64; D] = std::array::from_fn(|d| (x[d] - shift) / (scale + eps) - f64::from(B_DEC[d]));
        let (expected, out) = plain(u, &B_ENC, k, &B_DEC);
        let out: Vec<f64> = out.iter().map(|v| v * scale + shift).collect();
        assert!(close(&latents, &expected) && close(&decoded, &out), "{activation}: {latents:?} for {expected:?}");
    }
    write_state_dict(&path, &items("Sine"));
    assert_eq!(open(&path, None).unwrap_err().kind(), ErrorKind::Request);
}
