use super::*;
use crate::linalg::Stream;
use crate::linalg::panels::{CHAIN, DEPTH, Panels};
use proptest::prelude::*;

/// The nearest bf16 as the crate `half` finds it; what is below the smallest normal number is zero.
fn nearest(v: f32) -> f32 {
    flushed(half::bf16::from_f32(v).to_f32())
}

fn flushed(v: f32) -> f32 {
    if v.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(v) } else { v }
}

/// The definition, element by element.
fn plain(x: &[f32], w: &[f32]) -> f32 {
    let at = |v: &[f32], i: usize| v.get(i).map_or(0.0, |v| nearest(*v));
    let chain = |(x, w): (&[f32], &[f32])| {
        (0..x.len().div_ceil(2)).fold(0.0f32, |sum, i| {
            let sum = flushed(at(x, 2 * i + 1).mul_add(at(w, 2 * i + 1), sum));
            flushed(at(x, 2 * i).mul_add(at(w, 2 * i), sum))
        })
    };
    let block = |(x, w): (&[f32], &[f32])| x.chunks(CHAIN).zip(w.chunks(CHAIN)).map(chain).reduce(|a, b| a + b);
    let sums = x.chunks(DEPTH).zip(w.chunks(DEPTH)).filter_map(block);
    sums.reduce(|a, b| a + b).unwrap_or(0.0)
}

/// Bits, one for all NaN.
fn bits(v: f32) -> u32 {
    if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }
}

/// Numbers of many sizes around `scale`; a few that are no numbers where `wild`.
fn values(n: usize, name: &str, scale: f32, wild: bool) -> Vec<f32> {
    let mut stream = Stream::new(0, name, 0);
    let mut one = || (2.0 * stream.unit() - 1.0) as f32;
    let mut of = || {
        let (v, kind) = (one() * scale, one());
        match (wild, (kind * 1000.0) as i32) {
            (true, 7) => f32::INFINITY,
            (true, -7) => f32::NEG_INFINITY,
            (true, 8) => f32::NAN,
            (_, 9..20) => v * 1e-30,
            (_, 20..30) => -0.0,
            _ => v,
        }
    };
    (0..n).map(|_| of()).collect()
}

/// The ways of this machine, and [`multiply`] itself.
fn by_every_way(
    rows: &HalfRows,
    panels: &HalfPanels,
    range: Range<usize>,
    n: usize,
    finish: Finish<'_>,
) -> Vec<(&'static str, Vec<f32>)> {
    let width = n / rows.n_rows().max(1);
    let by = |way: fn(Product<'_>)| {
        let mut c = vec![f32::NAN; n];
        let lines = panels.lines(range.clone());
        way(Product { rows, n_pairs: panels.n_pairs(), lines, width, c: &mut c, finish });
        c
    };
    let mut found = vec![("emulated", by(|product| product.emulated()))];
    #[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
    if x86::has_instruction() {
        found.push(("by the instruction", by(x86::run)));
    }
    let mut c = vec![f32::NAN; n];
    multiply(rows, panels, range.clone(), &mut c, finish);
    found.push(("multiplied", c));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bit for bit, for any shape, range of panels and finish, from any layout; near the smallest numbers and with values that are none.
    #[test]
    fn a_product_is_its_definition_by_every_way(
        n_rows in 0usize..30, depth in prop_oneof![0usize..70, 120usize..136, 500usize..530, 1020usize..1030], n_columns in 1usize..70,
        cut in 0usize..5, bias in any::<bool>(), add in any::<bool>(), wild in any::<bool>(),
        scales in prop_oneof![
            4 => Just((1.0f32, 1.0f32)), 2 => Just((1e-19, 1e-19)), 1 => Just((1e-30, 1e-8)), 1 => Just((1e-38, 1.0)), 1 => Just((1e25, 1e13)),
        ],
    ) {
        let x = values(n_rows * depth, "x", scales.0, wild);
        let w = values(n_columns * depth, "w", scales.1, wild);
        let panels = HalfPanels::from_transposed(&w, n_columns, depth);
        let plain_w: Vec<f32> = (0..depth).flat_map(|l| (0..n_columns).map(|j| w[j * depth + l]).collect::<Vec<_>>()).collect();
        prop_assert_eq!(&HalfPanels::from_plain(&plain_w, depth, n_columns), &panels);
        prop_assert_eq!(&HalfPanels::of(&Panels::from_transposed(&w, n_columns, depth)), &panels);
        let kept: Vec<u32> = panels.transposed().into_iter().map(bits).collect();
        prop_assert_eq!(kept, w.iter().map(|w| bits(nearest(*w))).collect::<Vec<_>>());
        prop_assert_eq!(HalfPanels::memory_bytes(depth, n_columns), (panels.lines(0..panels.n_panels()).len() * 64) as u64);
        let first = cut.min(panels.n_panels() - 1);
        let width = n_columns - first * WIDTH;
        let (bias_values, add_values) = (values(width, "bias", 1.0, false), values(n_rows * width, "add", 1.0, false));
        let mut rows = HalfRows::default();
        // what is reused holds nothing of what it held
        rows.pack(&values(7 * 33, "before", 1.0, true), 7, 33);
        rows.pack(&x, n_rows, depth);
        let finish = Finish { bias: bias.then_some(&bias_values), add: add.then_some(&add_values) };
        for (way, c) in by_every_way(&rows, &panels, first..panels.n_panels(), n_rows * width, finish) {
            for i in 0..n_rows {
                for j in 0..width {
                    let w = &w[(first * WIDTH + j) * depth..][..depth];
                    let mut want = plain(&x[i * depth..][..depth], w);
                    // nothing added is not 0 added: a sum may be the negative zero
                    finish.bias.iter().for_each(|bias| want += bias[j]);
                    finish.add.iter().for_each(|add| want += add[i * width + j]);
                    prop_assert_eq!(bits(c[i * width + j]), bits(want), "{}: [{}, {}] at {}, {}", way, n_rows, depth, i, j);
                }
            }
        }
    }

    /// Any 32 bits are rounded as `half` rounds them.
    #[test]
    fn numbers_are_rounded_to_nearest_even(bits_of in any::<u32>()) {
        let v = f32::from_bits(bits_of);
        prop_assert_eq!(bits(rounded(v)), bits(nearest(v)));
    }
}

#[test]
fn ties_go_to_the_even_bf16_and_what_is_no_number_stays() {
    let of = |bits: u32| rounded(f32::from_bits(bits)).to_bits();
    assert_eq!([of(0x3f80_8000), of(0x3f81_8000)], [0x3f80_0000, 0x3f82_0000]);
    assert_eq!([of(0x3f80_7fff), of(0x3f80_8001)], [0x3f80_0000, 0x3f81_0000]);
    // past the largest bf16, infinities, the NaN whose payload bf16 does not keep
    assert_eq!([of(0x7f7f_ffff), of(0x7f80_0000), of(0xff80_0000)], [0x7f80_0000, 0x7f80_0000, 0xff80_0000]);
    assert!(rounded(f32::from_bits(0x7f80_0001)).is_nan() && rounded(f32::from_bits(0xffff_ffff)).is_nan());
    // the largest number below the normal ones is rounded up to the first of them, others to zero
    assert_eq!([of(0x007f_ffff), of(0x807f_0000), of(0x0000_0001)], [0x0080_0000, 0x8000_0000, 0]);
}

/// 2⁶⁰ in the odd term swallows the 1 that comes behind it, not the 1 of the pair before.
#[test]
fn the_odd_term_of_a_pair_is_added_first() {
    let of = |x: &[f32], w: &[f32]| {
        let mut rows = HalfRows::default();
        rows.pack(x, 1, x.len());
        let panels = HalfPanels::from_transposed(w, 1, x.len());
        by_every_way(&rows, &panels, 0..1, 1, Finish::default()).into_iter().map(|(_, c)| c[0]).collect::<Vec<_>>()
    };
    let far = 2f32.powi(60);
    // odd: 2⁶⁰; even: + 1, lost; odd: - 2⁶⁰; even: + 1
    assert!(of(&[1.0, far, 1.0, far], &[1.0, 1.0, 1.0, -1.0]).iter().all(|&c| c == 1.0));
    // the even one first would lose the first 1 only
    assert!(of(&[far, 1.0, far, 1.0], &[1.0, 1.0, -1.0, 1.0]).iter().all(|&c| c == 0.0));
    // a sum below the normal numbers is zero on the way, not only at its end
    let small = f32::MIN_POSITIVE;
    assert!(of(&[small, 0.0, small, 0.0], &[0.5, 0.0, 0.5, 0.0]).iter().all(|&c| c == 0.0));
}

#[test]
#[should_panic(expected = "as many terms on both sides")]
fn sides_that_do_not_fit_are_refused() {
    let mut rows = HalfRows::default();
    rows.pack(&[0.0; 6], 2, 3);
    multiply(&rows, &HalfPanels::from_plain(&[0.0; 4], 4, 1), 0..1, &mut [0.0; 2], Finish::default());
}
