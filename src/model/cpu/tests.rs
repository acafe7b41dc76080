//! Our kernels against candle's operations, over shapes that meet every edge: one row, a row more than a block,
//! widths that are no multiple of a lane.

use super::attention::{View, gather};
use super::strides::Strides;
use super::{Cpu, rotary};
use crate::device::{Compute, Opened};
use crate::linalg::bf16::rounded;
use crate::linalg::kept::Numbers;
use crate::model::activation_function::ActivationFunction;
use crate::model::architecture::Scores;
use crate::model::backend::{Backend, LinearValues, Mlp, NormValues, Order};
use crate::model::candle::{Candle, Masks};
use crate::model::pool::Rows;
use crate::model::rotary::{Rope, Rotary, Scaling};
use candle_core::{DType, Device, Tensor};

const KERNELS: Cpu = Cpu { numbers: Numbers::F32 };
const IN_BF16: Cpu = Cpu { numbers: Numbers::Bf16 };

fn values(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn random(n: usize, width: usize, seed: u64, scale: f32) -> Rows {
    Rows::new(values(n * width, seed, scale), width)
}

/// Candle in f32, or in f64, where it is exact beside us.
fn candle(dtype: DType) -> Candle {
    let mut on = Opened::of(Compute::default()).unwrap();
    on.dtype = dtype;
    Candle::new(on)
}

fn taken(candle: &Candle, x: &Rows) -> Tensor {
    candle.rows(x.values().to_vec(), x.width()).unwrap()
}

/// Largest difference over the root mean square of `b`.
fn off(a: &Rows, b: &Tensor) -> f32 {
    let b: Vec<f32> = b.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(a.values().len(), b.len());
    let rms = (b.iter().map(|v| v * v).sum::<f32>() / b.len() as f32).sqrt();
    a.values().iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / rms
}

fn linear(n_in: usize, n_out: usize, order: Order, bias: bool, seed: u64) -> LinearValues {
    let bias = bias.then(|| values(n_out, seed + 1, 1.0));
    LinearValues { weight: values(n_in * n_out, seed, 1.0), bias, n_in, n_out, order }
}

#[test]
fn linear_in_both_orders_with_and_without_bias() {
    for (m, k, n) in [(1, 5, 7), (3, 64, 33), (65, 17, 128)] {
        let (x, base) = (random(m, k, 1, 1.0), random(m, n, 4, 1.0));
        for order in [Order::OutIn, Order::InOut] {
            for bias in [false, true] {
                let layer = || linear(k, n, order, bias, 2);
                let (ours, exact) = (KERNELS.linear(layer()).unwrap(), candle(DType::F64));
                let found = KERNELS.apply(&ours, &x).unwrap();
                let onto = KERNELS.apply_onto(&ours, &x, &base).unwrap();
                assert_eq!(onto.values(), KERNELS.sum(&base, &found).unwrap().values());
                let wanted = exact.apply(&exact.linear(layer()).unwrap(), &taken(&exact, &x)).unwrap();
                // 1e-6: at most 64 terms of f32.
                assert!(off(&found, &wanted) < 1e-6, "[{m}, {k}] to {n}: {}", off(&found, &wanted));
            }
        }
    }
}

/// A layer in bf16 is the layer of rounded weights on rounded rows, in f32; its bias is not rounded.
#[test]
fn linear_in_bf16_in_both_orders_with_and_without_bias() {
    for (m, k, n) in [(1, 5, 7), (3, 64, 33), (65, 17, 128)] {
        let (x, base) = (random(m, k, 1, 1.0), random(m, n, 4, 1.0));
        let rounded_x = Rows::new(x.values().iter().map(|v| rounded(*v)).collect(), k);
        for order in [Order::OutIn, Order::InOut] {
            for bias in [false, true] {
                let layer = || linear(k, n, order, bias, 2);
                let mut of_rounded = layer();
                of_rounded.weight.iter_mut().for_each(|w| *w = rounded(*w));
                let (ours, exact) = (IN_BF16.linear(layer()).unwrap(), candle(DType::F64));
                let found = IN_BF16.apply(&ours, &x).unwrap();
                let onto = IN_BF16.apply_onto(&ours, &x, &base).unwrap();
                assert_eq!(onto.values(), IN_BF16.sum(&base, &found).unwrap().values());
                let wanted = exact.apply(&exact.linear(of_rounded).unwrap(), &taken(&exact, &rounded_x)).unwrap();
                // 1e-6: at most 64 terms of f32.
                assert!(off(&found, &wanted) < 1e-6, "[{m}, {k}] to {n}: {}", off(&found, &wanted));
                let whole = exact.apply(&exact.linear(layer()).unwrap(), &taken(&exact, &x)).unwrap();
                assert!(off(&found, &whole) > 1e-5, "nothing was rounded");
            }
        }
    }
}

#[test]
#[should_panic(expected = "rows of the width that the layer takes")]
fn rows_of_another_width_are_not_taken() {
    let layer = KERNELS.linear(linear(6, 4, Order::OutIn, false, 2)).unwrap();
    let _ = KERNELS.apply(&layer, &random(2, 5, 1, 1.0));
}

#[test]
fn norms_of_rows_far_from_zero() {
    for width in [1, 15, 16, 33, 512] {
        let mut x = random(5, width, 4, 3.0);
        x.values_mut().iter_mut().for_each(|v| *v += 2.0);
        let (weight, bias) = (values(width, 5, 1.0), values(width, 6, 1.0));
        for rms in [false, true] {
            let norm = || match rms {
                false => NormValues::Layer { weight: weight.clone(), bias: bias.clone(), eps: 1e-5 },
                true => NormValues::Rms { weight: weight.clone(), eps: 1e-6 },
            };
            let theirs = candle(DType::F32);
            let wanted = theirs.normed(&theirs.norm(norm()).unwrap(), &taken(&theirs, &x)).unwrap();
            // 2e-6: two f32 sums of `width` terms in another order.
            assert!(off(&KERNELS.normed(&norm(), &x).unwrap(), &wanted) < 2e-6, "rms {rms}, {width}");
        }
    }
    // rows of two heads: each has a norm of its own
    let x = random(3, 14, 4, 3.0);
    let norm = NormValues::Rms { weight: values(7, 5, 1.0), eps: 1e-6 };
    let halves = Rows::new(x.values().to_vec(), 7);
    assert_eq!(KERNELS.normed(&norm, &x).unwrap().values(), KERNELS.normed(&norm, &halves).unwrap().values());
}

#[test]
fn activations_alone_and_gated() {
    let (x, up, theirs) = (random(7, 1001, 7, 9.0), random(7, 1001, 8, 1.0), candle(DType::F32));
    for function in
        [ActivationFunction::GeluErf, ActivationFunction::GeluTanh, ActivationFunction::Silu, ActivationFunction::Relu]
    {
        let plain = theirs.activate(function, &taken(&theirs, &x)).unwrap();
        assert!(off(&KERNELS.activate(function, &x).unwrap(), &plain) < 5e-7, "{function:?}");
        let gated = theirs.gated(function, &taken(&theirs, &x), &taken(&theirs, &up)).unwrap();
        assert!(off(&KERNELS.gated(function, &x, &up).unwrap(), &gated) < 5e-7, "{function:?}");
        let nan = KERNELS.activate(function, &Rows::new(vec![f32::NAN; 3], 3)).unwrap();
        assert!(nan.values().iter().all(|v| v.is_nan()), "{function:?} lets a NaN through");
    }
}

/// Over more rows than are taken at once: the bits of the layers one after the other, with and without a gate.
#[test]
fn an_mlp_is_its_layers() {
    [KERNELS, IN_BF16].into_iter().for_each(an_mlp_is_its_layers_by);
}

fn an_mlp_is_its_layers_by(kernels: Cpu) {
    let (n, d, hidden) = (135, 20, 50);
    let layer = |n_in, n_out, seed| kernels.linear(linear(n_in, n_out, Order::OutIn, true, seed)).unwrap();
    let (x, base) = (random(n, d, 13, 1.0), random(n, d, 14, 1.0));
    for gate in [None, Some(layer(d, hidden, 15))] {
        let mlp =
            Mlp { gate, up: layer(d, hidden, 17), activation: ActivationFunction::Silu, down: layer(hidden, d, 19) };
        let up = kernels.apply(&mlp.up, &x).unwrap();
        let hidden = match &mlp.gate {
            Some(gate) => kernels.gated(mlp.activation, &kernels.apply(gate, &x).unwrap(), &up),
            None => kernels.activate(mlp.activation, &up),
        };
        let layers = kernels.apply(&mlp.down, &hidden.unwrap()).unwrap();
        assert_eq!(kernels.mlp(&mlp, &x).unwrap().values(), layers.values());
        let onto = kernels.mlp_onto(&mlp, &x, &base).unwrap();
        assert_eq!(onto.values(), kernels.sum(&base, &layers).unwrap().values());
    }
}

#[test]
fn attention_over_views_windows_caps_and_shared_keys() {
    for n in [1, 2, 15, 16, 17, 63, 64, 65, 150] {
        for (n_heads, n_kv) in [(4, 4), (6, 2), (3, 1)] {
            let d = 10;
            // queries behind other heads' keys, keys before values
            let (queries, kv) = (values(n * n_heads * 3 * d, 9, 2.0), values(n * 2 * n_kv * d, 10, 2.0));
            let view = |values, first, by_token, by_head| View { values, at: Strides { first, by_token, by_head }, d };
            let q = view(&queries, d, n_heads * 3 * d, 3 * d);
            let (k, v) = (view(&kv, 0, 2 * n_kv * d, d), view(&kv, n_kv * d, 2 * n_kv * d, d));
            let exact = |values: &[f32], heads: usize, width: usize| {
                let x = Tensor::from_slice(values, (1, n, heads, width), &Device::Cpu).unwrap();
                x.to_dtype(DType::F64).unwrap().transpose(1, 2).unwrap()
            };
            let whole = |x: candle_core::Result<Tensor>| x.and_then(|x| x.contiguous()).unwrap();
            let q_exact = whole(exact(&queries, n_heads, 3 * d).narrow(3, d, d));
            let kv_exact = exact(&kv, 2 * n_kv, d);
            let (k_exact, v_exact) = (whole(kv_exact.narrow(1, 0, n_kv)), whole(kv_exact.narrow(1, n_kv, n_kv)));
            for window in [None, Some(1), Some(8), Some(64), Some(1000)] {
                for soft_cap in [None, Some(1.5)] {
                    let scores = Scores { scale: 0.7, soft_cap, window };
                    let mut out = vec![0.0; n * n_heads * d];
                    gather(&scores, [q, k, v], n, [n_heads, n_kv], &mut out);
                    let wanted = scores.gather(&q_exact, &k_exact, &v_exact, &Masks::default()).unwrap();
                    let error = off(&Rows::new(out, n_heads * d), &wanted);
                    assert!(error < 3e-6, "{n} tokens, {n_heads}/{n_kv} heads, {scores:?}: {error}");
                }
            }
        }
    }
}

/// `x`, rows of `n_heads` heads, through a rotation.
fn turned(rotation: &Rotary, mut x: Rows, n_heads: usize) -> Vec<f32> {
    let d = x.width() / n_heads;
    let at = Strides { first: 0, by_token: x.width(), by_head: d };
    rotary::turn(rotation, &mut x, at, n_heads, d);
    x.values().to_vec()
}

#[test]
fn rotation_turns_pairs_by_position_and_nothing_else() {
    let (n, h, d, rotated) = (9, 2, 10, 6);
    let rotation = Rotary::new(&Rope { theta: 100.0, d_rotated: rotated, scaling: Scaling::None });
    let mut all = random(n, h * 3 * d, 11, 1.0);
    let before = all.values().to_vec();
    rotary::turn(&rotation, &mut all, Strides { first: d, by_token: h * 3 * d, by_head: 3 * d }, h, d);
    for p in 0..n {
        for head in 0..h {
            let at = (p * h + head) * 3 * d;
            let (row, old) = (&all.values()[at..][..3 * d], &before[at..][..3 * d]);
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
            let turned = |rotation: &Rotary| turned(rotation, random(n, 2 * 64, 5, 1.0), 2);
            assert_eq!(turned(&kept), turned(&Rotary::new(&rope)), "{n} tokens");
        }
        // The same rows turn otherwise where more follow them than the model was trained on.
        let row_of = |n: usize| turned(&Rotary::new(&rope), random(n, 2 * 64, 5, 1.0), 2)[15 * 128..16 * 128].to_vec();
        assert!(row_of(16) != row_of(24));
    }
}

#[test]
fn an_odd_width_turns_with_the_feature_behind_it() {
    let rope = Rope { theta: 100.0, d_rotated: 3, scaling: Scaling::None };
    let x = random(2, 6, 3, 1.0);
    let before = x.values().to_vec();
    let after = turned(&Rotary::new(&rope), x, 1);
    let (old, new) = (&before[6..], &after[6..]);
    for i in 0..2 {
        let angle = 100.0_f32.powf(-2.0 * i as f32 / 3.0);
        let (a, b) = (old[i], old[i + 2]);
        assert!((new[i] - (a * angle.cos() - b * angle.sin())).abs() < 1e-6);
        assert!((new[i + 2] - (b * angle.cos() + a * angle.sin())).abs() < 1e-6);
    }
    assert_eq!(old[4..], new[4..]);
}
