//! What are the singular values of a bidiagonal matrix? Differential quotient differences with shifts (dqds), in f64.
//!
//! Fernando and Parlett 1994 (Numerische Mathematik 67); Parlett and Marques 2000 (Linear Algebra and its
//! Applications 309). With `q` the squared diagonal and `e` the squared superdiagonal, one sweep turns `(q, e)` into
//! those of a matrix whose squared singular values are smaller by the shift. `e` falls to nothing at the end, where `q`
//! is then one squared singular value less all shifts. A sweep divides once per entry; a rotation takes a root and
//! more.

/// Square of the relative size below which a value is negligible.
const NOTHING: f64 = f64::EPSILON * f64::EPSILON;
/// Squares below this are negligible against the largest, which is 1: no quotient overflows.
const FLOOR: f64 = 1e-290;
/// Sweeps per value before giving up; two to four are usual.
const SWEEPS: usize = 40;

/// Of the smallest pivot, what is taken as a shift before any has succeeded.
const FIRST_SHARE: f64 = 0.25;

/// A part of the matrix that no entry couples with the rest.
struct Part {
    /// Squared diagonal, without all shifts so far.
    q: Vec<f64>,
    /// Squared superdiagonal, one entry less.
    e: Vec<f64>,
    shift: Shift,
}

/// Sum of shifts, and what rounding lost of it.
#[derive(Clone, Copy, Default)]
struct Shift {
    sum: f64,
    lost: f64,
}

impl Shift {
    fn plus(self, by: f64) -> Shift {
        let sum = self.sum + by;
        Shift { sum, lost: self.lost + (by - (sum - self.sum)) }
    }

    fn value(self, q: f64) -> f64 {
        (self.sum + (self.lost + q)).max(0.0).sqrt()
    }
}

/// What a sweep found.
struct Swept {
    /// The smallest pivot.
    least: f64,
    /// The smallest but for the last.
    before: f64,
    /// The last.
    last: f64,
    /// The smallest squared superdiagonal entry but for the last two.
    coupling: f64,
}

/// Singular values of the upper bidiagonal matrix with `diagonal: [n]` and `above: [n - 1]`, largest first, each within
/// some units of rounding of the largest; `None` for entries that are not finite, or without convergence.
pub(super) fn bidiagonal_values(diagonal: &[f64], above: &[f64]) -> Option<Vec<f64>> {
    let largest = diagonal.iter().chain(above).fold(0.0f64, |most, x| most.max(x.abs()));
    if diagonal.iter().chain(above).any(|x| !x.is_finite()) {
        return None;
    }
    if largest == 0.0 {
        return Some(vec![0.0; diagonal.len()]);
    }
    let squares = |of: &[f64]| of.iter().map(|x| (x / largest).powi(2)).collect::<Vec<f64>>();
    let mut parts = vec![Part { q: squares(diagonal), e: squares(above), shift: Shift::default() }];
    let mut values = Vec::with_capacity(diagonal.len());
    let mut left = SWEEPS * (diagonal.len() + 5);
    while let Some(part) = parts.pop() {
        part.solve(&mut parts, &mut values, &mut left)?;
    }
    values.iter_mut().for_each(|x| *x *= largest);
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values.iter().all(|x| x.is_finite()).then_some(values)
}

impl Part {
    /// Sends the values to `values`, and what splits off to `parts`. Takes a sweep from `left` for each that it makes.
    fn solve(mut self, parts: &mut Vec<Part>, values: &mut Vec<f64>, left: &mut usize) -> Option<()> {
        let mut next = (vec![0.0; self.q.len()], vec![0.0; self.e.len()]);
        let mut found: Option<Swept> = None;
        let mut share = FIRST_SHARE;
        while self.deflate(values) {
            if found.as_ref().is_none_or(|swept| swept.coupling <= 16.0 * NOTHING) && self.split(parts) {
                found = None;
                continue;
            }
            if self.q[self.q.len() - 1] > 1.5 * self.q[0] {
                // values are found from the end, so the small entries are put there
                self.q.reverse();
                self.e.reverse();
                found = None;
            }
            found = Some(self.step(found.as_ref(), &mut share, &mut next, left)?);
        }
        Some(())
    }

    /// Sends the values that nothing couples any more at the end to `values`. Whether a part of three or more is left.
    fn deflate(&mut self, values: &mut Vec<f64>) -> bool {
        loop {
            let n = self.q.len();
            match n {
                0 => return false,
                1 => {
                    values.push(self.shift.value(self.q[0]));
                    return false;
                }
                _ if self.uncoupled(n - 2) || self.e[n - 2] <= NOTHING * self.q[n - 1] => {
                    values.push(self.shift.value(self.q[n - 1]));
                    self.shorten(1);
                }
                2 => {
                    values.extend(two(self.q[0], self.e[0], self.q[1]).map(|q| self.shift.value(q)));
                    return false;
                }
                _ if self.uncoupled(n - 3) => {
                    values.extend(two(self.q[n - 2], self.e[n - 2], self.q[n - 1]).map(|q| self.shift.value(q)));
                    self.shorten(2);
                }
                _ => return true,
            }
        }
    }

    /// Where an entry couples nothing, keeps what is behind it and puts the rest to `parts`. Whether there is one.
    fn split(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(at) = (0..self.q.len() - 3).rev().find(|&k| self.uncoupled(k)) else { return false };
        let q = self.q.split_off(at + 1);
        let e = self.e.split_off(at + 1);
        self.e.pop();
        let (q, e) = (std::mem::replace(&mut self.q, q), std::mem::replace(&mut self.e, e));
        parts.push(Part { q, e, shift: self.shift });
        true
    }

    /// One sweep with the largest shift of those tried that is not too large; `next` is room for it.
    fn step(
        &mut self,
        found: Option<&Swept>,
        share: &mut f64,
        next: &mut (Vec<f64>, Vec<f64>),
        left: &mut usize,
    ) -> Option<Swept> {
        let mut shift = self.guess(found, *share);
        next.0.resize(self.q.len(), 0.0);
        next.1.resize(self.e.len(), 0.0);
        for tries in 0.. {
            *left = left.checked_sub(1)?;
            let swept = sweep(&self.q, &self.e, shift, next);
            if swept.least >= 0.0 {
                if tries == 0 {
                    *share += (1.0 - *share) / 3.0;
                }
                std::mem::swap(&mut self.q, &mut next.0);
                std::mem::swap(&mut self.e, &mut next.1);
                self.shift = self.shift.plus(shift);
                return Some(swept);
            }
            if shift == 0.0 {
                return None;
            }
            *share = FIRST_SHARE;
            shift = match tries {
                // only the last pivot fell below 0: it locates the value, to third order
                0 if swept.before > 0.0 => (shift + swept.last) * (1.0 - 2.0 * f64::EPSILON),
                0 | 1 => shift / 4.0,
                _ => 0.0,
            }
            .max(0.0);
        }
        None
    }

    /// Whether `e[k]` is negligible against what it couples.
    fn uncoupled(&self, k: usize) -> bool {
        self.e[k] <= NOTHING * self.shift.sum.max(self.q[k]) || self.e[k] <= FLOOR
    }

    fn shorten(&mut self, by: usize) {
        self.q.truncate(self.q.len() - by);
        self.e.truncate((self.e.len() + 1 - by).saturating_sub(1));
    }

    /// A shift that is probably below the smallest squared value, and close to it.
    fn guess(&self, found: Option<&Swept>, share: f64) -> f64 {
        let Some(swept) = found else { return 0.0 };
        let careful = share * swept.least;
        if swept.last > swept.before {
            return careful;
        }
        // The last pivot is the smallest. Take the vector `z` for which only the last entry of `B z` is not 0: the
        // smallest value is at least its Rayleigh quotient less residual² / gap (Kato and Temple).
        let (mut others, mut term) = (0.0, 1.0);
        for (e, q) in self.e.iter().zip(&self.q).rev() {
            term *= e / q;
            others += term;
            if term < 0.01 * others || others > 1.0 {
                break;
            }
        }
        others *= 1.05;
        if others > 0.6 {
            return careful;
        }
        let quotient = self.q[self.q.len() - 1] / (1.0 + others);
        let residual = quotient * others.sqrt();
        let gap = 0.75 * swept.before - quotient;
        if gap > residual { quotient - residual * residual / gap } else { careful.max(quotient - residual) }
    }
}

/// One sweep: `(q, e)` less the shift into `next`. Where a pivot is negative the shift was too large.
fn sweep(q: &[f64], e: &[f64], shift: f64, next: &mut (Vec<f64>, Vec<f64>)) -> Swept {
    let n = q.len();
    let (next_q, next_e) = (&mut next.0[..n], &mut next.1[..n - 1]);
    let mut pivot = q[0] - shift;
    let (mut before, mut coupling) = (pivot, f64::INFINITY);
    let early = n.saturating_sub(3);
    for (((&q, &e), next_q), next_e) in q[1..].iter().zip(&e[..early]).zip(&mut *next_q).zip(&mut *next_e) {
        *next_q = pivot + e;
        let ratio = q / *next_q;
        *next_e = e * ratio;
        coupling = coupling.min(*next_e);
        pivot = pivot * ratio - shift;
        before = before.min(pivot);
    }
    for k in early..n - 1 {
        before = before.min(pivot);
        next_q[k] = pivot + e[k];
        let ratio = q[k + 1] / next_q[k];
        next_e[k] = e[k] * ratio;
        pivot = pivot * ratio - shift;
    }
    next_q[n - 1] = pivot;
    Swept { least: before.min(pivot), before, last: pivot, coupling }
}

/// Squared singular values of the 2 by 2 bidiagonal matrix with squares `q`, `e`, `last`; larger first.
fn two(q: f64, e: f64, last: f64) -> [f64; 2] {
    // trace and determinant of the product with the transpose; the difference of the values without cancellation
    let (trace, product) = (q + e + last, q * last);
    let apart = ((q - last).powi(2) + e * (e + 2.0 * (q + last))).max(0.0).sqrt();
    let larger = (trace + apart) / 2.0;
    [larger, if larger > 0.0 { product / larger } else { 0.0 }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Matrix, Stream, thin_svd};

    fn furthest(found: &[f64], expected: &[f64]) -> f64 {
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0f64, |a, x| a.max(*x)).max(f64::MIN_POSITIVE);
        found.iter().zip(expected).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max)
    }

    /// The same by the decomposition with vectors.
    fn plain(diagonal: &[f64], above: &[f64]) -> Vec<f64> {
        let n = diagonal.len();
        let largest = diagonal.iter().chain(above).fold(0.0f64, |most, x| most.max(x.abs()));
        let mut a = Matrix::zeros(n, n);
        for i in 0..n {
            a.row_mut(i)[i] = diagonal[i] / largest;
            if i + 1 < n {
                a.row_mut(i)[i + 1] = above[i] / largest;
            }
        }
        thin_svd(&a).unwrap().s.into_iter().map(|s| s * largest).collect()
    }

    #[test]
    fn a_matrix_whose_values_are_known() {
        // of ones: 2 cos(k π / (2n + 1)); its smallest is small compared with the others, and right to its own last
        // digits
        for n in [1, 2, 3, 10, 300] {
            let found = bidiagonal_values(&vec![1.0; n], &vec![1.0; n - 1]).unwrap();
            for (k, &x) in (1..).zip(&found) {
                let exact = 2.0 * (k as f64 * std::f64::consts::PI / (2 * n + 1) as f64).cos();
                assert!((x - exact).abs() <= 2e-13 * exact, "n {n}: value {k} is {x}, expected {exact}");
            }
        }
    }

    #[test]
    fn as_the_decomposition_with_vectors() {
        let mut stream = Stream::new(3, "bidiagonal", 0);
        let mut of =
            |n: usize, f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> { (0..n).map(|i| f(i, stream.gaussian())).collect() };
        let shapes: Vec<(&str, Box<dyn Fn(usize, f64) -> f64>)> = vec![
            ("gaussian", Box::new(|_, x| x)),
            ("falling", Box::new(|i, x| x * 0.7f64.powi(i as i32))),
            ("rising", Box::new(|i, x| x * 0.7f64.powi(90 - i as i32))),
            ("some zeros", Box::new(|i, x| if i % 7 == 3 { 0.0 } else { x })),
            ("clusters", Box::new(|i, x| 1.0 + 1e-9 * x + (i / 20) as f64)),
            ("huge", Box::new(|_, x| x * 1e200)),
            ("tiny", Box::new(|_, x| x * 1e-200)),
            ("hills", Box::new(|i, x| x * 10f64.powi(-((i % 20) as i32)))),
        ];
        for (a, diagonal) in &shapes {
            for (b, above) in &shapes {
                for n in [2, 3, 5, 31, 90] {
                    let (d, e) = (of(n, diagonal.as_ref()), of(n - 1, above.as_ref()));
                    let found = bidiagonal_values(&d, &e).unwrap_or_else(|| panic!("{a} {b} {n}: did not converge"));
                    let far = furthest(&found, &plain(&d, &e));
                    assert!(far < 1e-13, "diagonal {a}, above {b}, n {n}: {far:e}");
                    assert!(found.windows(2).all(|w| w[0] >= w[1]));
                }
            }
        }
    }

    #[test]
    fn edges_of_the_question() {
        assert_eq!(bidiagonal_values(&[0.0, 0.0], &[0.0]), Some(vec![0.0, 0.0]));
        assert_eq!(bidiagonal_values(&[-3.0], &[]), Some(vec![3.0]));
        assert_eq!(bidiagonal_values(&[2.0, -5.0, 1.0], &[0.0, 0.0]), Some(vec![5.0, 2.0, 1.0]));
        assert_eq!(bidiagonal_values(&[1.0, f64::NAN], &[0.0]), None);
        assert_eq!(bidiagonal_values(&[1.0, 1.0], &[f64::INFINITY]), None);
        // no sweep is left: it says so, and does not answer with what it has
        let part = Part { q: vec![3.0, 2.0, 1.0], e: vec![1.0, 1.0], shift: Shift::default() };
        assert!(part.solve(&mut Vec::new(), &mut Vec::new(), &mut 2).is_none());
        // rank one: [0, 1] above a zero row
        let found = bidiagonal_values(&[0.0, 0.0], &[1.0]).unwrap();
        assert!((found[0] - 1.0).abs() < 1e-15 && found[1] == 0.0, "{found:?}");
    }
}
