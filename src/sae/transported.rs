//! What is an SAE of one place in the activations of another? Its rows under a linear map, as a SAELens folder of version 6.
//!
//! With y ≈ Tx + b: decoder rows become `W_dec Tᵀ`, the decoder bias `T b_dec + b`; encoder rows `W_enc T⁺` with the pseudo-inverse, and what the
//! encoder adds loses `W_enc T⁺ b` and, where the decoder bias is taken off first, `W_enc b_dec`. So where T has full column rank the latents of Tx + b
//! are those of x, threshold for threshold, and what T does not carry over is left out. Singular values of T below [`CUTOFF`] of the largest are
//! left out of T⁺.

use super::autoencoder::Sae;
use super::rule::{Normalise, Rule};
use crate::error::{Error, Result};
use crate::linalg::{Matrix, product, product_transposed, thin_svd};
use crate::weights::safetensors::written;
use rayon::prelude::*;
use serde_json::{Value, json};

/// Singular values of the map below this share of the largest have no inverse: the weights are f32.
const CUTOFF: f64 = 1e-6;

/// The version of SAELens whose layout the folder has.
const SAE_LENS_VERSION: &str = "6.54.12";

/// Latents whose rows are mapped together.
const AT_ONCE: usize = 256;

/// The two files of a SAELens folder.
#[derive(Clone, Debug)]
pub struct SaeLensFolder {
    /// `cfg.json`.
    pub config: String,
    /// `sae_weights.safetensors`.
    pub weights: Vec<u8>,
}

impl SaeLensFolder {
    /// Their names.
    pub const NAMES: [&'static str; 2] = [super::sae_lens::CONFIG, super::sae_lens::WEIGHTS];
}

/// `sae` under `y = weight x + bias`, `weight: [d_y, d_x]`; `metadata`, an object, goes into the configuration.
///
/// # Errors
/// `Request` for an SAE that is no dictionary of the activations that it reads, or whose latents a SAELens folder
/// cannot express; `Input` for a map that is not finite or is 0.
///
/// # Panics
/// When the map's width is not the SAE's.
pub fn transported(sae: &Sae, weight: &Matrix<f64>, bias: &[f64], metadata: &Value) -> Result<SaeLensFolder> {
    let shape = sae.shape();
    let (d_x, d_y, n) = (weight.n_cols(), weight.n_rows(), shape.d_sae);
    if shape.transcoder || shape.skip {
        return Err(refused("it is a transcoder, whose decoder writes another place than its encoder reads"));
    }
    if sae.normalise != Normalise::Nothing {
        return Err(refused("it normalises or centres each row before it is read, which no linear map carries over"));
    }
    if sae.output_scale.is_some() {
        return Err(refused("its latents are selected in other units than they have"));
    }
    assert_eq!((shape.d_in, shape.d_out), (d_x, d_x), "a map from the place that the SAE reads and writes");
    let inverse = pseudo_inverse(weight)?;
    // what a row of the encoder loses: T⁺b, and the decoder bias where it is taken off
    let mut lost = product(&Matrix::from_vec(1, d_y, bias.to_vec()), &transposed(&inverse)).into_vec();
    if let Some(subtract) = &sae.subtract {
        lost.iter_mut().zip(subtract).for_each(|(lost, &v)| *lost += f64::from(v));
    }
    let latents: Vec<usize> = (0..n).collect();
    let parts: Vec<(Vec<f32>, Vec<f32>, Vec<f64>)> = (latents.par_chunks(AT_ONCE))
        .map(|some| {
            let rows = |of: &dyn Fn(usize) -> Vec<f32>| {
                let data = some.iter().flat_map(|&i| of(i).into_iter().map(f64::from)).collect();
                Matrix::from_vec(some.len(), d_x, data)
            };
            let (encoder, decoder) = (rows(&|i| sae.encoder_row(i)), rows(&|i| sae.decoder_rows().row(i).to_vec()));
            let narrow = |m: Matrix<f64>| m.as_slice().iter().map(|&v| v as f32).collect::<Vec<f32>>();
            let shift = encoder.rows().map(|row| -row.iter().zip(&lost).map(|(e, l)| e * l).sum::<f64>()).collect();
            (narrow(product(&encoder, &inverse)), narrow(product_transposed(&decoder, weight)), shift)
        })
        .collect();
    let (mut encoder, mut decoder, mut shift) = (Vec::new(), Vec::new(), Vec::new());
    for (e, d, s) in parts {
        encoder.extend(e);
        decoder.extend(d);
        shift.extend(s);
    }
    // stored as [d_in, d_sae]
    let mut w_enc = vec![0f32; encoder.len()];
    for (i, row) in encoder.chunks_exact(d_y).enumerate() {
        row.iter().enumerate().for_each(|(j, &v)| w_enc[j * n + i] = v);
    }
    let b_dec: Vec<f32> = (0..d_y)
        .map(|j| (weight.row(j).iter().zip(&sae.b_dec).map(|(t, &v)| t * f64::from(v)).sum::<f64>() + bias[j]) as f32)
        .collect();
    let moved = |of: &[f32], times: &dyn Fn(usize) -> f64| -> Vec<f32> {
        of.iter().zip(&shift).enumerate().map(|(i, (&v, s))| (f64::from(v) + s * times(i)) as f32).collect()
    };
    let (architecture, vectors, k) = match &sae.rule {
        Rule::Above { bias, floor } if floor.iter().all(|&f| f == 0.0) => {
            ("standard", vec![("b_enc", moved(bias, &|_| 1.0))], None)
        }
        Rule::Above { bias, floor } => {
            ("jumprelu", vec![("b_enc", moved(bias, &|_| 1.0)), ("threshold", floor.clone())], None)
        }
        Rule::TopK { bias, k, signed: false } => ("topk", vec![("b_enc", moved(bias, &|_| 1.0))], Some(*k)),
        Rule::Gated { bias, scale, gate } => {
            let log_scale = scale.iter().map(|s| s.ln()).collect();
            let magnitude = moved(bias, &|i| f64::from(scale[i]));
            ("gated", vec![("b_gate", moved(gate, &|_| 1.0)), ("b_mag", magnitude), ("r_mag", log_scale)], None)
        }
        Rule::TopK { .. } | Rule::GroupMax { .. } => {
            return Err(refused(&format!("SAELens has no selection like its own ({})", shape.activation)));
        }
    };
    let mut config = json!({
        "architecture": architecture,
        "d_in": d_y,
        "d_sae": n,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": false,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": metadata,
    });
    // without a version the rest of the metadata is taken for that of an older layout and dropped
    config["metadata"]["sae_lens_version"] = json!(SAE_LENS_VERSION);
    if let Some(k) = k {
        config["k"] = json!(k);
        config["rescale_acts_by_decoder_norm"] = json!(false);
    }
    let mut tensors =
        vec![("W_enc", vec![d_y, n], w_enc), ("W_dec", vec![n, d_y], decoder), ("b_dec", vec![d_y], b_dec)];
    tensors.extend(vectors.into_iter().map(|(name, values)| (name, vec![n], values)));
    let config = serde_json::to_string_pretty(&config).expect("plain data");
    Ok(SaeLensFolder { config, weights: written(&tensors, &Value::Null) })
}

fn refused(why: &str) -> Error {
    Error::request(format!("this SAE cannot be written for another place: {why}"))
}

/// T⁺, `[d_x, d_y]`.
fn pseudo_inverse(map: &Matrix<f64>) -> Result<Matrix<f64>> {
    let svd = thin_svd(map)?;
    let least = svd.s.first().copied().unwrap_or(0.0) * CUTOFF;
    if least <= 0.0 {
        return Err(Error::input("the map between the two places is 0 everywhere; read more text"));
    }
    let mut scaled = svd.v;
    for i in 0..scaled.n_rows() {
        scaled.row_mut(i).iter_mut().zip(&svd.s).for_each(|(v, &s)| *v = if s > least { *v / s } else { 0.0 });
    }
    Ok(product_transposed(&scaled, &svd.u))
}

fn transposed(a: &Matrix<f64>) -> Matrix<f64> {
    let mut out = Matrix::zeros(a.n_cols(), a.n_rows());
    for (i, row) in a.rows().enumerate() {
        row.iter().enumerate().for_each(|(j, &v)| out.row_mut(j)[i] = v);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Stream;
    use crate::sae::{Encode, open};
    use crate::weights::safetensors::written;

    /// An SAE from a SAELens folder with random weights.
    fn folder(dir: &std::path::Path, architecture: &str, more: Value, subtracts: bool) -> Sae {
        let (d, n) = (6, 40);
        let mut stream = Stream::new(3, architecture, 0);
        let mut values = |n: usize| (0..n).map(|_| stream.gaussian() as f32).collect::<Vec<f32>>();
        let mut tensors = vec![
            ("W_enc", vec![d, n], values(d * n)),
            ("W_dec", vec![n, d], values(n * d)),
            ("b_dec", vec![d], values(d)),
        ];
        let vectors: &[&str] = match architecture {
            "gated" => &["b_gate", "b_mag", "r_mag"],
            "jumprelu" => &["b_enc", "threshold"],
            _ => &["b_enc"],
        };
        for name in vectors {
            let of = values(n).into_iter().map(|v| if *name == "threshold" { v.abs() } else { v / 2.0 });
            tensors.push((name, vec![n], of.collect()));
        }
        let mut config = json!({ "architecture": architecture, "apply_b_dec_to_input": subtracts });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(dir.join("cfg.json"), config.to_string()).unwrap();
        std::fs::write(dir.join("sae_weights.safetensors"), written(&tensors, &Value::Null)).unwrap();
        open(dir, None).unwrap()
    }

    fn gaussian(n: usize, d: usize, name: &str) -> Matrix<f64> {
        let mut stream = Stream::new(9, name, 0);
        Matrix::from_vec(n, d, (0..n * d).map(|_| stream.gaussian()).collect())
    }

    /// The law: under an exact map the other place's activations have the same latents, and are read back under the map.
    #[test]
    fn latents_of_the_mapped_activations_are_those_of_the_activations() {
        let x = gaussian(50, 6, "x");
        let narrow = |m: &Matrix<f64>| {
            Matrix::from_vec(m.n_rows(), m.n_cols(), m.as_slice().iter().map(|&v| v as f32).collect::<Vec<f32>>())
        };
        // wider, and turned within the same width
        for (d_y, name) in [(9, "wider"), (6, "square")] {
            let (map, bias) = (gaussian(d_y, 6, name), gaussian(1, d_y, "bias").into_vec());
            let mapped = |rows: &Matrix<f64>| {
                let mut y = product_transposed(rows, &map);
                (0..y.n_rows()).for_each(|i| y.row_mut(i).iter_mut().zip(&bias).for_each(|(v, b)| *v += b));
                y
            };
            let y = mapped(&x);
            let kinds = [
                ("standard", json!({})),
                ("jumprelu", json!({})),
                ("topk", json!({ "k": 5 })),
                ("topk", json!({ "k": 5, "rescale_acts_by_decoder_norm": true })),
                ("gated", json!({})),
            ];
            for (architecture, more) in kinds {
                for subtracts in [true, false] {
                    let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
                    let sae = folder(from.path(), architecture, more.clone(), subtracts);
                    let Ok(found) = transported(&sae, &map, &bias, &json!({ "model_name": "b" })) else {
                        assert!(sae.output_scale.is_some(), "{architecture} is refused");
                        continue;
                    };
                    for (name, bytes) in SaeLensFolder::NAMES.iter().zip([found.config.as_bytes(), &found.weights]) {
                        std::fs::write(into.path().join(name), bytes).unwrap();
                    }
                    let moved = open(into.path(), None).unwrap();
                    assert_eq!((moved.shape().d_in, moved.shape().activation), (d_y, sae.shape().activation));
                    let (own, other) = (
                        sae.encode(&narrow(&x), Encode::Sparse).unwrap(),
                        moved.encode(&narrow(&y), Encode::Sparse).unwrap(),
                    );
                    assert_eq!(own.latents, other.latents, "{architecture}");
                    for (a, b) in own.values.iter().zip(&other.values) {
                        // f32 rows and weights through an inverse
                        assert!((a - b).abs() < 1e-3 * a.abs().max(1.0), "{architecture}: {a} {b}");
                    }
                    let back = sae.decode(&own, &narrow(&x)).unwrap();
                    let wide = back.as_slice().iter().map(|&v| f64::from(v)).collect();
                    let right = mapped(&Matrix::from_vec(50, 6, wide));
                    let found = moved.decode(&other, &narrow(&y)).unwrap();
                    for (a, b) in found.as_slice().iter().zip(right.as_slice()) {
                        assert!((f64::from(*a) - b).abs() < 1e-2 * b.abs().max(1.0), "{architecture}: {a} {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_map_carries_over_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let sae = folder(dir.path(), "topk", json!({ "k": 5 }), true);
        let (map, bias) = (gaussian(6, 6, "map"), vec![0.0; 6]);
        let said = |sae: &Sae| transported(sae, &map, &bias, &json!({})).unwrap_err().to_string();
        assert!(said(&sae.centered(true)).contains("normalises or centres"));
        let normed = folder(dir.path(), "topk", json!({ "k": 5, "normalize_activations": "layer_norm" }), true);
        assert!(said(&normed).contains("normalises or centres"));
        assert!(said(&folder(dir.path(), "abstopk", json!({ "k": 5 }), true)).contains("no selection like its own"));
        assert!(transported(&sae, &Matrix::zeros(6, 6), &bias, &json!({})).is_err());
    }
}
