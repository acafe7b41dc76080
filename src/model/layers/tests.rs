//! Our CPU kernels against candle's own operations, over shapes that meet every edge: one row, a row more than a block,
//! widths that are no multiple of a lane.

use super::linear::Order;
use super::norm::Norm;
use super::rotary::{Rope, Rotary, Scaling};
use super::tensors::slice;
use super::{ActivationFunction, Linear, Mlp, sum};
use crate::model::architecture::Scores;
use candle_core::{DType, Device, Tensor};

fn random(shape: &[usize], seed: u64, scale: f32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn flat(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference over the root mean square of `b`.
fn off(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (a, b) = (values(a), values(b));
    let rms = (b.iter().map(|v| v * v).sum::<f32>() / b.len() as f32).sqrt();
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / rms
}

#[test]
fn linear_in_both_orders_with_and_without_bias() {
    for (m, k, n) in [(1, 5, 7), (3, 64, 33), (65, 17, 128)] {
        let x = random(&[m, k], 1, 1.0);
        for (order, shape) in [(Order::OutIn, [n, k]), (Order::InOut, [k, n])] {
            for bias in [None, Some(random(&[n], 3, 1.0))] {
                let weight = random(&shape, 2, 1.0);
                let layer = Linear::new(&flat(&weight), bias.as_ref().map(flat), k, n, order);
                let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
                let weight = if order == Order::OutIn { wide(&weight).t().unwrap() } else { wide(&weight) };
                let mut exact = wide(&x).matmul(&weight).unwrap();
                if let Some(bias) = bias {
                    exact = exact.broadcast_add(&wide(&bias)).unwrap();
                }
                let exact = exact.to_dtype(DType::F32).unwrap();
                let base = random(&[m, n], 4, 1.0);
                let onto = layer.forward_add(&x, &base).unwrap();
                let added = sum(&base, &layer.forward(&x).unwrap()).unwrap();
                assert_eq!(onto.to_vec2::<f32>().unwrap(), added.to_vec2::<f32>().unwrap());
                // 1e-6: at most 64 terms of f32.
                for found in [layer.forward(&x).unwrap(), layer.plain(&x).unwrap()] {
                    assert!(off(&found, &exact) < 1e-6, "[{m}, {k}] to {n}: {}", off(&found, &exact));
                }
            }
        }
    }
    let wrong = Linear::new(&flat(&random(&[4, 6], 2, 1.0)), None, 6, 4, Order::OutIn);
    assert!(wrong.forward(&random(&[2, 5], 1, 1.0)).is_err());
}

#[test]
fn norms_of_rows_far_from_zero() {
    for width in [1, 15, 16, 33, 512] {
        let x = (random(&[5, width], 4, 3.0) + 2.0).unwrap();
        let (weight, bias) = (random(&[width], 5, 1.0), random(&[width], 6, 1.0));
        for norm in [Norm::Layer { weight: weight.clone(), bias, eps: 1e-5 }, Norm::Rms { weight, eps: 1e-6 }] {
            // 2e-6: two f32 sums of `width` terms in another order.
            assert!(off(&norm.forward(&x).unwrap(), &norm.plain(&x).unwrap()) < 2e-6, "{norm:?} {width}");
        }
    }
}

#[test]
fn activations_alone_and_gated() {
    let x = random(&[7, 1001], 7, 9.0);
    let up = random(&[7, 1001], 8, 1.0);
    for activation in
        [ActivationFunction::GeluErf, ActivationFunction::GeluTanh, ActivationFunction::Silu, ActivationFunction::Relu]
    {
        let plain = activation.plain(&x).unwrap();
        assert!(off(&activation.apply(x.copy().unwrap()).unwrap(), &plain) < 5e-7, "{activation:?}");
        let gated = activation.gated(x.copy().unwrap(), &up).unwrap();
        assert!(off(&gated, &(plain * &up).unwrap()) < 5e-7, "{activation:?}");
        let nan = Tensor::full(f32::NAN, 3, &Device::Cpu).unwrap();
        let out = activation.apply(nan).unwrap().to_vec1::<f32>().unwrap();
        assert!(out.iter().all(|v| v.is_nan()), "{activation:?} lets a NaN through");
    }
}

/// Over more rows than are taken at once: the bits of the layers one after the other, with and without a gate.
#[test]
fn an_mlp_is_its_layers() {
    let (n, d, hidden) = (135, 20, 50);
    let linear = |rows: usize, cols: usize, seed: u64| {
        let (weight, bias) = (random(&[rows, cols], seed, 0.5), random(&[rows], seed + 1, 1.0));
        Linear::new(&flat(&weight), Some(flat(&bias)), cols, rows, Order::OutIn)
    };
    let (x, base) = (random(&[n, d], 13, 1.0), random(&[n, d], 14, 1.0));
    for gate in [None, Some(linear(hidden, d, 15))] {
        let mlp =
            Mlp { gate, up: linear(hidden, d, 17), activation: ActivationFunction::Silu, down: linear(d, hidden, 19) };
        let layers = mlp.by_layers(&x).unwrap();
        let bits = |x: &Tensor| x.to_vec2::<f32>().unwrap();
        assert_eq!(bits(&mlp.forward(&x).unwrap()), bits(&layers));
        assert_eq!(bits(&mlp.forward_add(&x, &base).unwrap()), bits(&sum(&base, &layers).unwrap()));
    }
    let wrong = Mlp { gate: None, up: linear(8, d, 1), activation: ActivationFunction::Relu, down: linear(d, 9, 1) };
    assert!(wrong.forward(&x).is_err());
}

#[test]
fn attention_over_views_windows_caps_and_shared_keys() {
    for n in [1, 2, 15, 16, 17, 63, 64, 65, 150] {
        for (n_heads, n_kv) in [(4, 4), (6, 2), (3, 1)] {
            let d = 10;
            let q = random(&[n, n_heads, 3 * d], 9, 2.0).narrow(2, d, d).unwrap();
            let kv = random(&[n, 2 * n_kv, d], 10, 2.0);
            let (k, v) = (kv.narrow(1, 0, n_kv).unwrap(), kv.narrow(1, n_kv, n_kv).unwrap());
            for window in [None, Some(1), Some(8), Some(64), Some(1000)] {
                for soft_cap in [None, Some(1.5)] {
                    let scores = Scores { scale: 0.7, soft_cap, window };
                    let got = q.apply_op3_no_bwd(&k, &v, &scores).unwrap();
                    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
                    let exact = scores.plain(&wide(&q), &wide(&k), &wide(&v)).unwrap().to_dtype(DType::F32).unwrap();
                    let error = off(&got, &exact);
                    assert!(error < 3e-6, "{n} tokens, {n_heads}/{n_kv} heads, {scores:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn rotation_turns_pairs_by_position_and_nothing_else() {
    let (n, h, d, rotated) = (9, 2, 10, 6);
    let rotary = Rotary::new(&Rope { theta: 100.0, d_rotated: rotated, scaling: Scaling::None });
    let all = random(&[n, h, 3 * d], 11, 1.0);
    let before = all.copy().unwrap();
    rotary.apply(all.narrow(2, d, d).unwrap()).unwrap();
    let (all, before) = (all.to_vec3::<f32>().unwrap(), before.to_vec3::<f32>().unwrap());
    for p in 0..n {
        for head in 0..h {
            let (row, old) = (&all[p][head], &before[p][head]);
            for f in 0..3 * d {
                let inside = (d..d + rotated).contains(&f);
                let want = if inside {
                    let (i, first) = ((f - d) % 3, f - d < 3);
                    let angle = p as f64 / 100.0_f64.powf(2.0 * i as f64 / rotated as f64);
                    let (a, b) = (f64::from(old[d + i]), f64::from(old[d + i + 3]));
                    if first { a * angle.cos() - b * angle.sin() } else { b * angle.cos() + a * angle.sin() }
                } else {
                    f64::from(old[f])
                };
                assert!((f64::from(row[f]) - want).abs() < 1e-6, "position {p}, feature {f}");
            }
        }
    }
}

fn rope(scaling: Scaling) -> Rope {
    Rope { theta: 10_000.0, d_rotated: 64, scaling }
}

#[test]
fn scaled_frequencies_keep_short_waves_and_stretch_long_ones() {
    let plain = rope(Scaling::None).frequencies(1);
    let linear = rope(Scaling::Linear(4.0)).frequencies(1);
    assert!(plain.iter().zip(&linear).all(|(a, b)| a / 4.0 == *b));
    let llama = rope(Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 512.0 }).frequencies(1);
    assert_eq!((plain[0], plain[31] / 8.0), (llama[0], llama[31]));
    assert!(plain.iter().zip(&llama).all(|(a, b)| *b <= *a && *b >= a / 8.0));
    let yarn = rope(Scaling::Yarn {
        factor: 8.0,
        original_context: 512.0,
        fast: 32.0,
        slow: 1.0,
        truncate: true,
        attention: 1.2,
    });
    let (yarn, attention) = (yarn.frequencies(1), yarn.attention());
    assert_eq!((plain[0], plain[31] / 8.0, 1.2), (yarn[0], yarn[31], attention));
    assert!(plain.iter().zip(&yarn).all(|(a, b)| *b <= *a && *b >= a / 8.0));
    assert!(plain.iter().zip(&yarn).any(|(a, b)| *b < *a && *b > a / 8.0), "some pairs are blended");
}

#[test]
fn two_scalings_depend_on_the_length_of_the_context_and_on_nothing_else() {
    let plain = rope(Scaling::None).frequencies(1);
    let dynamic = rope(Scaling::Dynamic { factor: 2.0, max_positions: 16.0 });
    assert_eq!(dynamic.frequencies(16), plain);
    let (longer, longest) = (dynamic.frequencies(17), dynamic.frequencies(32));
    // The slowest pair of twice the context turns by 1 / (2 * 2 - 1): the base grows by 3^(64 / 62).
    assert!((longest[31] * 3.0 / plain[31] - 1.0).abs() < 1e-5 && longer[31] > longest[31] && longer[31] < plain[31]);
    let factors = |f: f32| vec![f; 32].into();
    let long = rope(Scaling::Long { short: factors(1.0), long: factors(4.0), original_context: 16.0, attention: 1.0 });
    assert_eq!(long.frequencies(16), plain);
    assert!(plain.iter().zip(long.frequencies(17)).all(|(a, b)| a / 4.0 == b));
    // Long, short and long again through one rotation: a context's rows are those it has alone.
    for rope in [dynamic, long] {
        let kept = Rotary::new(&rope);
        for n in [20, 16, 3, 24, 20, 17] {
            let turned = |rotary: &Rotary| rotary.apply(random(&[n, 2, 64], 5, 1.0)).unwrap().to_vec3::<f32>().unwrap();
            assert_eq!(turned(&kept), turned(&Rotary::new(&rope)), "{n} tokens");
        }
        // The same rows turn otherwise where more follow them than the model was trained on.
        let last_of = |n: usize| {
            let x = random(&[24, 2, 64], 5, 1.0).narrow(0, 0, n).unwrap().force_contiguous().unwrap();
            Rotary::new(&rope).apply(x).unwrap().to_vec3::<f32>().unwrap()[15].clone()
        };
        assert!(last_of(16) != last_of(24));
    }
}

#[test]
fn an_odd_width_turns_with_the_feature_behind_it() {
    let rope = Rope { theta: 100.0, d_rotated: 3, scaling: Scaling::None };
    let x = random(&[2, 1, 6], 3, 1.0);
    let before = x.copy().unwrap().to_vec3::<f32>().unwrap();
    let after = Rotary::new(&rope).apply(x).unwrap().to_vec3::<f32>().unwrap();
    let (old, new) = (&before[1][0], &after[1][0]);
    for i in 0..2 {
        let angle = 100.0_f32.powf(-2.0 * i as f32 / 3.0);
        let (a, b) = (old[i], old[i + 2]);
        assert!((new[i] - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
        assert!((new[i + 2] - (b * angle.cos() + a * angle.sin())).abs() < 1e-6);
    }
    assert_eq!(old[4..], new[4..]);
}

#[test]
fn a_strided_view_is_not_taken_for_contiguous() {
    let x = random(&[4, 6], 12, 1.0).narrow(1, 0, 3).unwrap();
    let (storage, layout) = x.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { panic!("a CPU tensor has CPU storage") };
    assert!(slice(storage, layout).is_err());
}
