//! A whole model against plain loops in f64, on a tiny random GPT-NeoX.

use super::*;
use crate::ids::Hookpoint;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;

const D: usize = 12;
const N_LAYERS: usize = 2;
const HEADS: usize = 3;
const D_HEAD: usize = D / HEADS;
const MLP: usize = 20;
const VOCAB: usize = 30;

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn weights() -> Weights {
    let mut shapes = vec![("embed_in.weight".to_string(), vec![VOCAB, D])];
    let norm = |shapes: &mut Vec<(String, Vec<usize>)>, name: String| {
        shapes.push((format!("{name}.weight"), vec![D]));
        shapes.push((format!("{name}.bias"), vec![D]));
    };
    norm(&mut shapes, "final_layer_norm".into());
    for l in 0..N_LAYERS {
        norm(&mut shapes, format!("layers.{l}.input_layernorm"));
        norm(&mut shapes, format!("layers.{l}.post_attention_layernorm"));
        for (name, n_in, n_out) in [
            ("attention.query_key_value", D, 3 * D),
            ("attention.dense", D, D),
            ("mlp.dense_h_to_4h", D, MLP),
            ("mlp.dense_4h_to_h", MLP, D),
        ] {
            shapes.push((format!("layers.{l}.{name}.weight"), vec![n_out, n_in]));
            shapes.push((format!("layers.{l}.{name}.bias"), vec![n_out]));
        }
    }
    let mut state = 7_u64;
    let mut value = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    shapes
        .into_iter()
        .map(|(name, shape)| {
            let n = shape.iter().product();
            (name, (shape, (0..n).map(|_| value()).collect()))
        })
        .collect()
}

fn write(folder: &std::path::Path, weights: &Weights) {
    let config = serde_json::json!({
        "model_type": "gpt_neox", "hidden_size": D, "num_hidden_layers": N_LAYERS, "num_attention_heads": HEADS,
        "intermediate_size": MLP, "vocab_size": VOCAB, "rotary_pct": 0.5, "rotary_emb_base": 50,
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let bytes: Vec<Vec<u8>> =
        weights.values().map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = weights
        .iter()
        .zip(&bytes)
        .map(|((name, (shape, _)), bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

type Rows = Vec<Vec<f64>>;

struct Plain<'a>(&'a Weights);

impl Plain<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        self.0[name].1.iter().map(|&v| f64::from(v)).collect()
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            b.iter()
                .enumerate()
                .map(|(o, b)| b + (0..x.len()).map(|i| w[o * x.len() + i] * x[i]).sum::<f64>())
                .collect()
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let (w, b) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / x.len() as f64;
            (0..x.len()).map(|i| (x[i] - mean) / (variance + 1e-5).sqrt() * w[i] + b[i]).collect()
        };
        x.iter().map(row).collect()
    }

    fn attention(&self, l: usize, x: &Rows) -> Rows {
        let qkv = self.linear(&format!("layers.{l}.attention.query_key_value"), x);
        let rotated = D_HEAD / 2;
        let part = |p: usize, h: usize, which: usize| -> Vec<f64> {
            let mut v = qkv[p][h * 3 * D_HEAD + which * D_HEAD..][..D_HEAD].to_vec();
            if which < 2 {
                let half = rotated / 2;
                for i in 0..half {
                    let angle = p as f64 / 50_f64.powf(2.0 * i as f64 / rotated as f64);
                    let (a, b) = (v[i], v[i + half]);
                    v[i] = a * angle.cos() - b * angle.sin();
                    v[i + half] = b * angle.cos() + a * angle.sin();
                }
            }
            v
        };
        let mut z = vec![vec![0.0; D]; x.len()];
        for h in 0..HEADS {
            for (i, z) in z.iter_mut().enumerate() {
                let q = part(i, h, 0);
                let score = |j: usize| {
                    let k = part(j, h, 1);
                    (q.iter().zip(&k).map(|(a, b)| a * b).sum::<f64>() / (D_HEAD as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = (0..=i).map(score).collect();
                let total: f64 = weights.iter().sum();
                for (j, w) in weights.iter().enumerate() {
                    for (f, v) in part(j, h, 2).iter().enumerate() {
                        z[h * D_HEAD + f] += w / total * v;
                    }
                }
            }
        }
        z
    }

    fn gelu(x: f64) -> f64 {
        // Phi by its Taylor series, exact in f64 for the small values met here.
        let t = x / 2_f64.sqrt();
        let (mut term, mut sum) = (t, t);
        for n in 1..300 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        if t.abs() > 4.5 {
            if t > 0.0 { x } else { 0.0 }
        } else {
            x * 0.5 * (1.0 + sum * 2.0 / std::f64::consts::PI.sqrt())
        }
    }

    fn forward(&self, ids: &[u32]) -> BTreeMap<Hookpoint, Rows> {
        use Hookpoint::*;
        let table = self.get("embed_in.weight");
        let mut x: Rows = ids.iter().map(|&id| table[id as usize * D..][..D].to_vec()).collect();
        let mut read = BTreeMap::from([(Embed, x.clone())]);
        for l in 0..N_LAYERS {
            read.insert(ResidPre(l), x.clone());
            let z = self.attention(l, &self.norm(&format!("layers.{l}.input_layernorm"), &x));
            let attention = self.linear(&format!("layers.{l}.attention.dense"), &z);
            let into = self.norm(&format!("layers.{l}.post_attention_layernorm"), &x);
            let mut hidden = self.linear(&format!("layers.{l}.mlp.dense_h_to_4h"), &into);
            hidden.iter_mut().flatten().for_each(|v| *v = Self::gelu(*v));
            let mlp = self.linear(&format!("layers.{l}.mlp.dense_4h_to_h"), &hidden);
            for (p, x) in x.iter_mut().enumerate() {
                for f in 0..D {
                    x[f] += attention[p][f] + mlp[p][f];
                }
            }
            for (hookpoint, rows) in [(AttnZ(l), z), (AttnOut(l), attention), (MlpIn(l), into), (MlpOut(l), mlp)] {
                read.insert(hookpoint, rows);
            }
            read.insert(ResidPost(l), x.clone());
        }
        read.insert(FinalNorm, self.norm("final_layer_norm", &x));
        read
    }
}

#[test]
fn a_tiny_random_model_is_what_plain_loops_say() {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights();
    write(folder.path(), &weights);
    let model = open(folder.path()).unwrap();
    let ids: Vec<u32> = (0..70).map(|p| (p * 11 + 3) % VOCAB as u32).collect();
    let plain = Plain(&weights).forward(&ids);
    let hookpoints: Vec<Hookpoint> = plain.keys().copied().collect();
    let read = model.activations(&ids, &hookpoints).unwrap();
    for ((hookpoint, want), got) in plain.iter().zip(&read) {
        let want: Vec<f64> = want.iter().flatten().copied().collect();
        let rms = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
        let off = want.iter().zip(got.as_slice()).map(|(a, &b)| (a - f64::from(b)).abs()).fold(0.0, f64::max) / rms;
        // f32 against f64 over two blocks: the fixtures' own noise is 5e-6 of the RMS.
        assert!(off < 1e-5, "{hookpoint}: off by {off:.1e}");
    }
}
