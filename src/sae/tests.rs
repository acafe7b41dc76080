//! Encoding against plain loops in f64, and the laws: a row's latents are its own.

use super::autoencoder::{Sae, SaeShape};
use super::declared::Declared;
use super::rule::{Normalise, Rule};
use super::screen::Screen;
use super::{Activation, Encode, Format, LatentBatch};
use crate::linalg::Matrix;
use crate::linalg::bf16::rounded;
use crate::linalg::kept::{Kept, Numbers};
use proptest::prelude::*;
use std::sync::Arc;

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

fn sae(d_in: usize, d_sae: usize, rule: Rule) -> Sae {
    let activation = match rule {
        Rule::TopK { k, signed: false, .. } => Activation::TopK(k),
        Rule::TopK { k, .. } => Activation::AbsTopK(k),
        Rule::GroupMax { groups, .. } => Activation::GroupMax(groups),
        Rule::Above { .. } => Activation::JumpRelu,
        Rule::Gated { .. } => Activation::Gated,
    };
    Sae {
        shape: SaeShape {
            format: Format::Sparsify,
            d_in,
            d_sae,
            d_out: d_in,
            activation,
            transcoder: false,
            skip: false,
            declared: Declared::default(),
            files: vec!["test".into()],
            size_bytes: 0,
        },
        w_enc: Kept::from_transposed(Numbers::F32, &values(d_sae * d_in, 1), d_sae, d_in),
        w_dec: Matrix::from_vec(d_sae, d_in, values(d_sae * d_in, 2)),
        b_dec: values(d_in, 3),
        normalise: Normalise::Nothing,
        subtract: Some(values(d_in, 3)),
        rule,
        output_scale: None,
        skip: None,
        screen: None,
        products: Vec::new(),
    }
}

fn rules(d_sae: usize) -> Vec<Rule> {
    let bias = values(d_sae, 4);
    let floor = values(d_sae, 5).iter().map(|v| v.max(0.0)).collect();
    vec![
        Rule::Above { bias: bias.clone(), floor: vec![0.0; d_sae] },
        Rule::Above { bias: bias.clone(), floor },
        Rule::TopK { bias: bias.clone(), k: 1, signed: false },
        Rule::TopK { bias: bias.clone(), k: 7.min(d_sae), signed: false },
        Rule::TopK { bias: bias.clone(), k: d_sae, signed: false },
        Rule::TopK { bias: bias.clone(), k: 5.min(d_sae), signed: true },
        Rule::GroupMax { bias: bias.clone(), groups: if d_sae.is_multiple_of(3) { d_sae / 3 } else { 1 } },
        Rule::Gated { bias, scale: values(d_sae, 6).iter().map(|v| v.exp()).collect(), gate: values(d_sae, 7) },
    ]
}

/// A row's latents by the definition, dense, in f64.
fn plain(sae: &Sae, x: &[f32]) -> Vec<f64> {
    let subtract = sae.subtract.clone().unwrap_or_else(|| vec![0.0; x.len()]);
    let z: Vec<f64> = (0..sae.shape.d_sae)
        .map(|j| {
            let w = sae.w_enc.column(j);
            let taken = |u: f32| if sae.w_enc.as_f32().is_some() { u } else { rounded(u) };
            x.iter().zip(&subtract).zip(w).map(|((&x, &b), w)| f64::from(taken(x - b)) * f64::from(w)).sum()
        })
        .collect();
    let add = |bias: &[f32]| -> Vec<f64> { z.iter().zip(bias).map(|(z, &b)| z + f64::from(b)).collect() };
    match &sae.rule {
        Rule::Above { bias, floor } => {
            add(bias).iter().zip(floor).map(|(&v, &f)| if v > f64::from(f) { v } else { 0.0 }).collect()
        }
        Rule::Gated { bias, scale, gate } => (0..z.len())
            .map(|j| {
                let open = z[j] + f64::from(gate[j]) > 0.0;
                if open { (z[j] * f64::from(scale[j]) + f64::from(bias[j])).max(0.0) } else { 0.0 }
            })
            .collect(),
        Rule::TopK { bias, k, signed } => {
            let v: Vec<f64> = add(bias).iter().map(|&v| if *signed { v } else { v.max(0.0) }).collect();
            let mut order: Vec<usize> = (0..v.len()).collect();
            order.sort_by(|&a, &b| v[b].abs().total_cmp(&v[a].abs()).then(a.cmp(&b)));
            let mut kept = vec![0.0; v.len()];
            order[..*k].iter().for_each(|&j| kept[j] = v[j]);
            kept
        }
        Rule::GroupMax { bias, groups } => {
            let v = add(bias);
            let mut kept = vec![0.0; v.len()];
            let group = v.len() / groups;
            for first in (0..v.len()).step_by(group) {
                let best = (first..first + group).rev().max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap();
                kept[best] = v[best].max(0.0);
            }
            kept
        }
    }
}

#[test]
fn encoding_is_the_definition_for_every_rule_and_at_every_edge_of_a_tile() {
    for (n_rows, d_in, d_sae) in [(1, 3, 2), (5, 16, 33), (130, 24, 513), (257, 7, 1024), (3, 40, 1538)] {
        let x = Matrix::from_vec(n_rows, d_in, values(n_rows * d_in, 8));
        let whole = rules(d_sae).into_iter().map(|rule| sae(d_in, d_sae, rule));
        for sae in whole.flat_map(|sae| [sae.clone(), sae.in_bf16()]) {
            let batch = sae.encode(&x, Encode::Sparse).unwrap();
            assert_eq!((batch.n_rows(), batch.d_sae), (n_rows, d_sae));
            for r in 0..n_rows {
                let plain = plain(&sae, x.row(r));
                let (latents, found) = batch.row(r);
                assert!(latents.is_sorted_by(|a, b| a < b));
                let mut dense = vec![0.0; d_sae];
                latents.iter().zip(found).for_each(|(&latent, &value)| dense[latent as usize] = f64::from(value));
                for (j, (found, plain)) in dense.iter().zip(&plain).enumerate() {
                    // 40 terms of size 1 in f32; a value this near a threshold or a rank may fall on either side.
                    let near = (found - plain).abs() < 1e-5 || edge(&sae, plain.abs().max(found.abs()), &dense, j);
                    assert!(near, "{:?} row {r} latent {j}: {found} for {plain}", sae.shape.activation);
                }
            }
        }
    }
}

/// Whether a difference of support is within rounding of the rule's edge.
fn edge(sae: &Sae, value: f64, kept: &[f64], latent: usize) -> bool {
    let floor = match &sae.rule {
        Rule::Above { floor, .. } => f64::from(floor[latent]),
        Rule::Gated { .. } => 0.0,
        _ => kept.iter().map(|v| v.abs()).filter(|&v| v > 0.0).fold(f64::INFINITY, f64::min),
    };
    (value - floor).abs() < 1e-5
}

#[test]
fn dense_is_all_that_is_positive_before_a_selection() {
    let bias = values(600, 4);
    let x = Matrix::from_vec(9, 12, values(108, 8));
    let all =
        sae(12, 600, Rule::Above { bias: bias.clone(), floor: vec![0.0; 600] }).encode(&x, Encode::Sparse).unwrap();
    for rule in
        [Rule::TopK { bias: bias.clone(), k: 4, signed: false }, Rule::GroupMax { bias: bias.clone(), groups: 6 }]
    {
        assert_eq!(sae(12, 600, rule).encode(&x, Encode::Dense).unwrap(), all);
    }
    let signed = sae(12, 600, Rule::TopK { bias, k: 4, signed: true }).encode(&x, Encode::Dense).unwrap();
    assert_eq!(signed.latents.len(), 9 * 600);
}

#[test]
fn no_rows_and_rows_that_are_wrong() {
    let sae = sae(4, 8, Rule::TopK { bias: vec![0.0; 8], k: 2, signed: false });
    let none = sae.encode(&Matrix::zeros(0, 4), Encode::Sparse).unwrap();
    assert_eq!((none.n_rows(), none.row_starts.clone()), (0, vec![0]));
    assert_eq!(sae.decode(&none, &Matrix::zeros(0, 4)).unwrap().n_rows(), 0);
    for wrong in [f32::NAN, f32::INFINITY] {
        let mut x = Matrix::from_vec(300, 4, values(1200, 1));
        x.row_mut(207)[3] = wrong;
        let told = sae.encode(&x, Encode::Sparse).unwrap_err();
        assert_eq!(told.kind(), crate::error::ErrorKind::Input);
        assert!(told.to_string().starts_with("row 207 of the activations: holds"), "{told}");
    }
    let mut x = Matrix::zeros(1, 4);
    x.row_mut(0).fill(f32::MAX);
    let told = sae.encode(&x, Encode::Sparse).unwrap_err().to_string();
    assert!(told.contains("row 0") && told.contains("overflow"), "{told}");
    assert!(sae.encode(&Matrix::zeros(2, 5), Encode::Sparse).is_err());
    assert!(sae.decode(&none, &Matrix::zeros(1, 4)).is_err());
}

#[test]
fn a_norm_that_is_divided_by_and_undone_gives_the_row_back() {
    let x = values(50, 9);
    for normalise in [
        Normalise::Nothing,
        Normalise::LayerNorm,
        Normalise::ConstantNorm,
        Normalise::Centered,
        Normalise::CenteredConstantNorm,
    ] {
        let mut out = vec![0.0; 50];
        let (shift, scale) = normalise.apply(&x, &mut out).unwrap();
        for (&x, &u) in x.iter().zip(&out) {
            // LayerNorm divides by std + 1e-5 and is undone with std alone, as its authors do.
            assert!((f64::from(u) * f64::from(scale) + f64::from(shift) - f64::from(x)).abs() < 3e-5, "{normalise:?}");
        }
    }
    let zeros = Normalise::ConstantNorm.apply(&[0.0; 3], &mut [0.0; 3]);
    assert!(zeros.unwrap_err().to_string().contains("all zeros"));
}

/// The rows `rows` of `x` encoded alone.
fn of_rows(sae: &Sae, x: &Matrix<f32>, rows: &[usize]) -> LatentBatch {
    sae.encode(&x.gather_rows(rows), Encode::Sparse).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_row_has_the_same_bits_alone_anywhere_and_on_any_number_of_threads(
        which in 0usize..8, d_sae in 500usize..530, d_in in 1usize..70, cut in 1usize..199, shift in 0usize..200, in_bf16 in any::<bool>(),
    ) {
        let sae = sae(d_in, d_sae, rules(d_sae).swap_remove(which));
        let sae = if in_bf16 { sae.in_bf16() } else { sae };
        let n_rows = 200;
        let x = Matrix::from_vec(n_rows, d_in, values(n_rows * d_in, 11));
        let whole = sae.encode(&x, Encode::Sparse).unwrap();
        let in_order: Vec<usize> = (0..n_rows).collect();
        for part in [&in_order[..cut], &in_order[cut..], &in_order[cut..cut + 1]] {
            let alone = of_rows(&sae, &x, part);
            for (r, &row) in part.iter().enumerate() {
                prop_assert_eq!(alone.row(r), whole.row(row));
            }
        }
        let turned: Vec<usize> = (0..n_rows).map(|r| (r * 7 + shift) % n_rows).collect();
        let moved = of_rows(&sae, &x, &turned);
        for (r, &row) in turned.iter().enumerate() {
            prop_assert_eq!(moved.row(r), whole.row(row));
        }
        for n_threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            prop_assert_eq!(&pool.install(|| sae.encode(&x, Encode::Sparse).unwrap()), &whole);
            let decoded = sae.decode(&whole, &x).unwrap();
            prop_assert_eq!(pool.install(|| sae.decode(&whole, &x).unwrap()), decoded);
        }
    }
}

/// `like` with its latents screened, whatever a trial would say; `None` where its rule cannot be.
fn screened(like: &Sae) -> Option<Sae> {
    let screen = Screen::always(like.w_enc.as_f32()?, &like.rule)?;
    Some(Sae { screen: Some(Arc::new(screen)), ..like.clone() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Bit for bit, with near duplicates among the latents, equal ones, and rows of every size.
    #[test]
    fn screened_latents_are_those_of_the_full_encode(
        which in 0usize..6, d_sae in 500usize..1200, d_in in prop_oneof![1usize..70, Just(513), Just(1030)],
        n_rows in 1usize..300, scale in prop_oneof![Just(1.0f32), Just(1e-3), Just(1e3), Just(0.0)], seed in 0u64..1000,
    ) {
        let bias: Vec<f32> = values(d_sae, seed + 4).iter().map(|b| b * scale * 0.1).collect();
        let floor: Vec<f32> = values(d_sae, seed + 5).iter().map(|v| v.max(0.0) * scale * (d_in as f32).sqrt()).collect();
        let rule = match which {
            0 => Rule::Above { bias, floor: vec![0.0; d_sae] },
            1 => Rule::Above { bias, floor },
            2 => Rule::TopK { bias, k: 1, signed: false },
            3 => Rule::TopK { bias: vec![0.0; d_sae], k: 3, signed: false },
            4 => Rule::TopK { bias, k: 7, signed: false },
            _ => Rule::TopK { bias, k: 14, signed: false },
        };
        let mut full = sae(d_in, d_sae, rule);
        let mut w = values(d_sae * d_in, seed);
        for j in (0..d_sae - 1).step_by(5) {
            let (own, other) = w[j * d_in..][..2 * d_in].split_at_mut(d_in);
            other.copy_from_slice(own);
            if j % 2 == 0 {
                other[0] += 1e-5;
            }
        }
        full.w_enc = Kept::from_transposed(Numbers::F32, &w, d_sae, d_in);
        full.subtract = None;
        let x = Matrix::from_vec(n_rows, d_in, values(n_rows * d_in, seed + 8).iter().map(|x| x * scale).collect());
        let screened = screened(&full).expect("a rule that is screened");
        prop_assert_eq!(screened.encode(&x, Encode::Sparse).unwrap(), full.encode(&x, Encode::Sparse).unwrap());
    }
}

#[test]
fn screening_reports_what_overflows_and_leaves_a_dense_encode_alone() {
    let full = sae(4, 600, Rule::TopK { bias: vec![0.0; 600], k: 2, signed: false });
    let screened = screened(&full).unwrap();
    let mut x = Matrix::zeros(1, 4);
    x.row_mut(0).fill(f32::MAX);
    let told = |sae: &Sae| sae.encode(&x, Encode::Sparse).unwrap_err().to_string();
    assert!(told(&screened).contains("overflow"));
    let x = Matrix::from_vec(9, 4, values(36, 8));
    assert_eq!(screened.encode(&x, Encode::Dense).unwrap(), full.encode(&x, Encode::Dense).unwrap());
    for rule in rules(600).split_off(5) {
        assert!(self::screened(&sae(4, 600, rule)).is_none(), "rules that nothing bounds");
    }
    let few = sae(4, 600, Rule::TopK { bias: vec![0.0; 600], k: 19, signed: false });
    assert!(self::screened(&few).is_none(), "nothing is left after the head start");
}

#[test]
fn an_sae_in_bf16_is_not_screened() {
    let full = sae(24, 2000, Rule::TopK { bias: values(2000, 4), k: 5, signed: false });
    let rounded = screened(&full).unwrap().in_bf16();
    assert!(rounded.screen.is_none() && rounded.clone().screened().screen.is_none());
    assert_eq!(rounded.encoder_row(3), full.encoder_row(3).into_iter().map(self::rounded).collect::<Vec<_>>());
    let x = Matrix::from_vec(300, 24, values(7200, 8));
    assert!(rounded.encode(&x, Encode::Sparse).unwrap() != full.encode(&x, Encode::Sparse).unwrap());
}

#[test]
fn a_trial_keeps_the_faster_way_and_its_latents() {
    let full = sae(24, 2000, Rule::TopK { bias: values(2000, 4), k: 5, signed: false });
    let tried =
        Sae { screen: Some(Arc::new(Screen::of(full.w_enc.as_f32().unwrap(), &full.rule).unwrap())), ..full.clone() };
    let few = Matrix::from_vec(100, 24, values(2400, 8));
    assert_eq!(tried.encode(&few, Encode::Sparse).unwrap(), full.encode(&few, Encode::Sparse).unwrap());
    assert_eq!(tried.screening(), None, "too few rows to tell");
    let many = Matrix::from_vec(2000, 24, values(48_000, 8));
    let expected = full.encode(&many, Encode::Sparse).unwrap();
    for _ in 0..2 {
        assert_eq!(tried.encode(&many, Encode::Sparse).unwrap(), expected);
        assert!(tried.screening().is_some_and(|times| times > 0.0));
    }
}
