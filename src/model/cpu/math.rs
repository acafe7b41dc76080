//! What are exp, erf, tanh and the sigmoid of many f32 values? Branch-free polynomials that the compiler turns into
//! vector instructions.
//!
//! Every function is element by element, so its bits do not depend on the width of the vectors; call them inside
//! [`vectorised`](crate::linalg::vectorised). Errors were measured over a dense grid (see the tests) and are stated with each function. NaN goes in
//! and comes out.

/// `e^x`, relative error at most 1.2e-7; 0 below -87.3 (where f32 would be denormal), f32's largest powers above 88.3.
///
/// Cody and Waite's reduction by multiples of ln 2, then the polynomial of the Cephes library.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // `max`/`min` would swallow a NaN; comparisons let it through.
    let low = x < -87.3;
    let clamped = if x > 88.3 { 88.3 } else { x };
    let clamped = if low { -87.3 } else { clamped };
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, clamped);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 0.166_666_66);
    p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    // n is in [-126, 127]: the low bits become the exponent field of 2^n.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if low { 0.0 } else { y * scale }
}

/// `erf(x)`, absolute error at most 5e-7: the rational function of Eigen and XLA on [-4, 4], constant beyond.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let s = x * x;
    let mut p = -2.726_142_3e-10_f32;
    p = p.mul_add(s, 2.770_681_4e-8);
    p = p.mul_add(s, -2.101_024e-6);
    p = p.mul_add(s, -5.692_506_4e-5);
    p = p.mul_add(s, -7.349_906_3e-4);
    p = p.mul_add(s, -2.954_6e-3);
    p = p.mul_add(s, -1.609_603_3e-2);
    let mut q = -1.456_607_2e-5_f32;
    q = q.mul_add(s, -2.133_740_6e-4);
    q = q.mul_add(s, -1.682_827e-3);
    q = q.mul_add(s, -7.373_329e-3);
    q = q.mul_add(s, -1.426_474e-2);
    x * p / q
}

/// `tanh(x)`, absolute error at most 4e-7: the rational function of Eigen on [-7.9, 7.9], constant beyond.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let x = if x > 7.905_311 { 7.905_311 } else { x };
    let x = if x < -7.905_311 { -7.905_311 } else { x };
    let s = x * x;
    let mut p = -2.760_768_5e-16_f32;
    p = p.mul_add(s, 2.000_188e-13);
    p = p.mul_add(s, -8.604_672e-11);
    p = p.mul_add(s, 5.122_297e-8);
    p = p.mul_add(s, 1.485_722_4e-5);
    p = p.mul_add(s, 6.372_619e-4);
    p = p.mul_add(s, 4.893_524_6e-3);
    let mut q = 1.198_258_4e-6_f32;
    q = q.mul_add(s, 1.185_347_1e-4);
    q = q.mul_add(s, 2.268_434_6e-3);
    q = q.mul_add(s, 4.893_525e-3);
    x * p / q
}

/// `1 / (1 + e^-x)`, relative error at most 4e-7 above -87; 0 below.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let down = exp(if x < 0.0 { x } else { -x });
    (if x < 0.0 { down } else { 1.0 }) / (1.0 + down)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its Taylor series (|x| < 3) or continued fraction, in f64.
    fn plain_erf(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            return sum * 2.0 / std::f64::consts::PI.sqrt();
        }
        let mut f = 0.0;
        for k in (1..200).rev() {
            f = f64::from(k) / 2.0 / (x.abs() + f);
        }
        (1.0 - (-x * x).exp() / (std::f64::consts::PI.sqrt() * (x.abs() + f))).copysign(x)
    }

    #[test]
    fn errors_are_no_larger_than_stated() {
        let worst = |f: fn(f32) -> f32, plain: fn(f64) -> f64, low: f32, high: f32, relative: bool| {
            let n = 400_000;
            (0..=n)
                .map(|i| {
                    let x = low + (high - low) * (i as f32 / n as f32);
                    let (got, want) = (f64::from(f(x)), plain(f64::from(x)));
                    (got - want).abs() / if relative { want.abs() } else { 1.0 }
                })
                .fold(0.0, f64::max)
        };
        let measured = [
            ("exp", worst(exp, f64::exp, -87.2, 88.2, true), 1.2e-7),
            ("erf", worst(erf, plain_erf, -6.0, 6.0, false), 5e-7),
            ("tanh", worst(tanh, f64::tanh, -12.0, 12.0, false), 4e-7),
            ("sigmoid", worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0, true), 4e-7),
        ];
        for (name, error, limit) in measured {
            println!("{name}: {error:.3e}");
            assert!(error <= limit, "{name} is off by {error:.3e}, stated {limit:.1e}");
        }
    }

    #[test]
    fn ends_and_nan_are_kept() {
        assert_eq!((exp(-1e9), exp(f32::NEG_INFINITY), exp(0.0)), (0.0, 0.0, 1.0));
        assert!(exp(1e9).is_finite());
        assert_eq!((sigmoid(-1e9), sigmoid(1e9)), (0.0, 1.0));
        for f in [exp, erf, tanh, sigmoid] {
            assert!(f(f32::NAN).is_nan());
        }
    }
}
