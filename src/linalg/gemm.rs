//! What is the product of two dense matrices? `c = beta c + alpha a b` over slices with strides, in f32 and f64.
//!
//! The one place where the raw kernel of the `gemm` crate is called: everything it would read or write is checked
//! against the slices first. A product is sequential; callers run several at once. Its bits depend on the
//! shapes and strides and on the machine's vector instructions, not on threads. Known limitation: a product of one row
//! or one column takes another kernel and so sums in another order than the same row inside a taller product.

/// Distance in elements between neighbouring rows and between neighbouring columns: `(row_stride, col_stride)`.
pub type Strides = (usize, usize);

/// `c = beta c + alpha a b`, with `a: [m, k]`, `b: [k, n]`, `c: [m, n]`, each addressed by its [`Strides`].
///
/// With `beta == 0` the old `c` is not read (it may hold anything). With `k == 0` the product is 0.
///
/// # Panics
/// When a slice is too short for its shape and strides, or when two elements of `c` would share a place.
#[allow(clippy::too_many_arguments)]
pub fn gemm_f32(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_strides: Strides,
    c: &mut [f32],
    c_strides: Strides,
    beta: f32,
    alpha: f32,
) {
    checked(m, n, k, a.len(), a_strides, b.len(), b_strides, c.len(), c_strides);
    if m > 0 && n > 0 {
        raw(m, n, k, a, a_strides, b, b_strides, c, c_strides, beta, alpha, beta != 0.0);
    }
}

/// The same as [`gemm_f32`] in f64.
///
/// # Panics
/// As [`gemm_f32`].
#[allow(clippy::too_many_arguments)]
pub fn gemm_f64(
    m: usize,
    n: usize,
    k: usize,
    a: &[f64],
    a_strides: Strides,
    b: &[f64],
    b_strides: Strides,
    c: &mut [f64],
    c_strides: Strides,
    beta: f64,
    alpha: f64,
) {
    checked(m, n, k, a.len(), a_strides, b.len(), b_strides, c.len(), c_strides);
    if m > 0 && n > 0 {
        raw(m, n, k, a, a_strides, b, b_strides, c, c_strides, beta, alpha, beta != 0.0);
    }
}

/// Number of elements a `[rows, cols]` matrix with these strides reaches into its slice; `None` when that overflows.
fn reach(rows: usize, cols: usize, (row_stride, col_stride): Strides) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    let last = (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?;
    let reach = last.checked_add(1)?;
    (reach <= isize::MAX as usize && row_stride <= isize::MAX as usize && col_stride <= isize::MAX as usize)
        .then_some(reach)
}

/// Whether every element of a `[rows, cols]` matrix has a place of its own.
fn distinct(rows: usize, cols: usize, (row_stride, col_stride): Strides) -> bool {
    let by_rows = |outer: usize, outer_stride: usize, inner: usize, inner_stride: usize| {
        (inner <= 1 || inner_stride >= 1)
            && (outer <= 1 || (outer_stride >= 1 && outer_stride > (inner - 1).saturating_mul(inner_stride)))
    };
    rows == 0 || cols == 0 || by_rows(rows, row_stride, cols, col_stride) || by_rows(cols, col_stride, rows, row_stride)
}

#[allow(clippy::too_many_arguments)]
fn checked(m: usize, n: usize, k: usize, a: usize, sa: Strides, b: usize, sb: Strides, c: usize, sc: Strides) {
    let fits = |rows, cols, strides, len| reach(rows, cols, strides).is_some_and(|reach| reach <= len);
    assert!(fits(m, k, sa, a), "a [{m}, {k}] with strides {sa:?} does not fit {a} values");
    assert!(fits(k, n, sb, b), "b [{k}, {n}] with strides {sb:?} does not fit {b} values");
    assert!(fits(m, n, sc, c), "c [{m}, {n}] with strides {sc:?} does not fit {c} values");
    assert!(distinct(m, n, sc), "elements of c [{m}, {n}] with strides {sc:?} share places");
}

#[allow(clippy::too_many_arguments)]
#[allow(unsafe_code)]
fn raw<T: Copy + 'static>(
    m: usize,
    n: usize,
    k: usize,
    a: &[T],
    a_strides: Strides,
    b: &[T],
    b_strides: Strides,
    c: &mut [T],
    c_strides: Strides,
    beta: T,
    alpha: T,
    read_c: bool,
) {
    // In the crate's words `alpha` scales the destination and `beta` the product.
    // SAFETY: `checked` has shown that every index `i * row_stride + j * col_stride` of the three matrices lies inside
    // its slice, that strides fit an isize, and that elements of `c` do not overlap; `c` is borrowed mutably and so
    // cannot alias `a` or `b`. The crate accepts f32 and f64, the only two types this function is called with.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            c_strides.1 as isize,
            c_strides.0 as isize,
            read_c,
            a.as_ptr(),
            a_strides.1 as isize,
            a_strides.0 as isize,
            b.as_ptr(),
            b_strides.1 as isize,
            b_strides.0 as isize,
            beta,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of values in [-1, 1), different for each seed.
    fn values(n: usize, seed: u64) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    #[test]
    fn agrees_with_three_plain_loops_in_every_layout() {
        for (m, n, k) in [(1, 1, 1), (1, 7, 5), (7, 1, 5), (5, 6, 0), (3, 4, 1), (17, 33, 65), (64, 48, 100)] {
            for transposed in [false, true] {
                for (beta, alpha) in [(0.0, 1.0), (1.0, 1.0), (0.5, -2.0)] {
                    let (a, b) = (values(m * k, 1), values(k * n, 2));
                    let mut c = values(m * (n + 3), 3);
                    let sb = if transposed { (1, k.max(1)) } else { (n, 1) };
                    let mut plain = c.clone();
                    for i in 0..m {
                        for j in 0..n {
                            let sum: f64 = (0..k).map(|l| a[i * k + l] * b[l * sb.0 + j * sb.1]).sum();
                            plain[i * (n + 3) + j] = beta * plain[i * (n + 3) + j] + alpha * sum;
                        }
                    }
                    let (a32, b32): (Vec<f32>, Vec<f32>) =
                        (a.iter().map(|&v| v as f32).collect(), b.iter().map(|&v| v as f32).collect());
                    let mut c32: Vec<f32> = c.iter().map(|&v| v as f32).collect();
                    gemm_f64(m, n, k, &a, (k, 1), &b, sb, &mut c, (n + 3, 1), beta, alpha);
                    gemm_f32(m, n, k, &a32, (k, 1), &b32, sb, &mut c32, (n + 3, 1), beta as f32, alpha as f32);
                    for (at, &p) in plain.iter().enumerate() {
                        // 100 terms of size 1: rounding grows as terms times epsilon.
                        assert!((c[at] - p).abs() < 1e-13, "[{m}, {n}, {k}] f64 at {at}: {} for {p}", c[at]);
                        assert!(
                            (f64::from(c32[at]) - p).abs() < 2e-5,
                            "[{m}, {n}, {k}] f32 at {at}: {} for {p}",
                            c32[at]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn beta_zero_does_not_read_what_was_there() {
        let mut c = [f32::NAN; 4];
        gemm_f32(2, 2, 1, &[1.0, 2.0], (1, 1), &[3.0, 4.0], (2, 1), &mut c, (2, 1), 0.0, 1.0);
        assert_eq!(c, [3.0, 4.0, 6.0, 8.0]);
        let mut c = [f32::NAN; 4];
        gemm_f32(2, 2, 0, &[], (1, 1), &[], (2, 1), &mut c, (2, 1), 0.0, 1.0);
        assert_eq!(c, [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_short_slice_is_refused() {
        gemm_f32(2, 2, 2, &[0.0; 3], (2, 1), &[0.0; 4], (2, 1), &mut [0.0; 4], (2, 1), 0.0, 1.0);
    }

    #[test]
    #[should_panic(expected = "share places")]
    fn an_overlapping_result_is_refused() {
        gemm_f32(2, 3, 1, &[0.0; 2], (1, 1), &[0.0; 3], (3, 1), &mut [0.0; 6], (2, 1), 0.0, 1.0);
    }
}
