//! Where do directions lie in the plane if neighbours shall stay neighbours? A small exact t-SNE (van der Maaten and Hinton
//! 2008) that starts at the principal plane.
//!
//! Similarity is the cosine. The power iteration has a fixed start and sums have a fixed order: the same rows give the same
//! positions on the same kind of machine. Only neighbourhoods have a meaning; distances and axes have none.

use crate::linalg::{Matrix, Stream, vectorised};
use rayon::prelude::*;

/// Effective number of neighbours that pull.
const PERPLEXITY: f64 = 12.0;
/// Neighbours of a row that are looked at: three times the perplexity, beyond which weights are below a percent.
const NEIGHBOURS: usize = 36;
const ROUNDS: usize = 300;
/// Rounds with an exaggerated pull, in which clusters form before they push each other apart.
const GATHERING_ROUNDS: usize = 80;
const EXAGGERATION: f32 = 8.0;
/// Sums run in so many lanes, whatever the processor's vectors hold.
const LANES: usize = 16;
/// Position of lanes without a row: far enough to push none.
const NOWHERE: f32 = 1e9;

/// Places `[n_rows, 2]` of `rows: [n_rows, d]`, in arbitrary units around 0. With fewer than 10 rows the principal plane.
pub(super) fn embed(rows: &Matrix<f32>) -> Vec<[f32; 2]> {
    let unit = unit_rows(rows);
    let plane = principal_plane(&unit);
    if rows.n_rows() < 10 {
        return plane;
    }
    // within the pool: from outside of it, each of the rounds would wait for threads to wake up
    let mut places = Vec::new();
    rayon::scope(|_| places = descend(&pulls(&unit), &plane));
    places
}

/// Places on a square grid of `0..=size`, the middle of their range in its middle, the same scale on both axes.
pub(super) fn on_grid(places: &[[f32; 2]], size: f32) -> [Vec<u16>; 2] {
    let range = |axis: usize| {
        let values = places.iter().map(|p| p[axis]);
        values.fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
    };
    let ranges = [range(0), range(1)];
    let widest = ranges.iter().map(|r| r.1 - r.0).fold(f32::MIN_POSITIVE, f32::max);
    [0, 1].map(|axis| {
        let middle = (ranges[axis].0 + ranges[axis].1) / 2.0;
        places
            .iter()
            .map(|p| ((p[axis] - middle) / widest * size + size / 2.0).round().clamp(0.0, size) as u16)
            .collect()
    })
}

/// Rows of length 1; rows of zeros stay.
fn unit_rows(rows: &Matrix<f32>) -> Matrix<f32> {
    let mut out = rows.clone();
    for i in 0..out.n_rows() {
        let norm = dot(rows.row(i), rows.row(i)).sqrt();
        if norm > 0.0 {
            out.row_mut(i).iter_mut().for_each(|x| *x /= norm);
        }
    }
    out
}

/// Σ xy, in a fixed order.
#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in xs.zip(ys) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// The two directions of largest variance, by power iteration: a start needs no more digits.
fn principal_plane(unit: &Matrix<f32>) -> Vec<[f32; 2]> {
    let (n, d) = (unit.n_rows(), unit.n_cols());
    let mut mean = vec![0f32; d];
    unit.rows().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n as f32));
    let mut axes: Vec<Vec<f32>> = Vec::new();
    for axis in 0..2 {
        let mut stream = Stream::new(0, "report map", axis);
        let mut v: Vec<f32> = (0..d).map(|_| stream.gaussian() as f32).collect();
        for _ in 0..30 {
            for known in &axes {
                let along = dot(known, &v);
                v.iter_mut().zip(known).for_each(|(x, k)| *x -= along * k);
            }
            let norm = dot(&v, &v).sqrt().max(f32::MIN_POSITIVE);
            v.iter_mut().for_each(|x| *x /= norm);
            let offset = dot(&mean, &v);
            let mut next = vec![0f32; d];
            for row in unit.rows() {
                let score = dot(row, &v) - offset;
                next.iter_mut().zip(row).zip(&mean).for_each(|((x, r), m)| *x += score * (r - m));
            }
            v = next;
        }
        let norm = dot(&v, &v).sqrt();
        v.iter_mut().for_each(|x| *x = if norm > 0.0 { *x / norm } else { 0.0 });
        axes.push(v);
    }
    unit.rows().map(|row| [0, 1].map(|k| dot(row, &axes[k]) - dot(&mean, &axes[k]))).collect()
}

/// The weighted neighbour graph: row i's partners are `partners[starts[i]..starts[i + 1]]`, weights sum to 1 over all.
struct Pulls {
    starts: Vec<usize>,
    partners: Vec<u32>,
    weights: Vec<f32>,
}

fn pulls(unit: &Matrix<f32>) -> Pulls {
    let n = unit.n_rows();
    let nearest: Vec<Vec<(u32, f64)>> = (0..n).into_par_iter().map(|i| neighbours(unit, i)).collect();
    let half = 0.5 / n as f64;
    let mut edges: Vec<(u32, u32, f64)> = (nearest.iter().enumerate())
        .flat_map(|(i, list)| list.iter().flat_map(move |&(j, p)| [(i as u32, j, p * half), (j, i as u32, p * half)]))
        .collect();
    edges.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2)));
    let mut out = Pulls { starts: vec![0; n + 1], partners: Vec::new(), weights: Vec::new() };
    let mut last = None;
    for (i, j, p) in edges {
        if last == Some((i, j)) {
            *out.weights.last_mut().expect("an edge came before") += p as f32;
            continue;
        }
        last = Some((i, j));
        out.partners.push(j);
        out.weights.push(p as f32);
        out.starts[i as usize + 1] = out.partners.len();
    }
    for i in 0..n {
        out.starts[i + 1] = out.starts[i + 1].max(out.starts[i]);
    }
    out
}

/// The nearest rows of row `i` and the chance that it picks each, their spread set by the perplexity.
fn neighbours(unit: &Matrix<f32>, i: usize) -> Vec<(u32, f64)> {
    // squared distance of unit rows; ties to the lower row
    let mut near: Vec<(f32, u32)> = (0..unit.n_rows() as u32).map(|j| (0.0, j)).collect();
    near.swap_remove(i);
    vectorised(
        #[inline(always)]
        || {
            for (distance, j) in &mut near {
                *distance = 2.0 - 2.0 * dot(unit.row(i), unit.row(*j as usize));
            }
        },
    );
    let k = NEIGHBOURS.min(near.len());
    let order = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    near.select_nth_unstable_by(k - 1, order);
    near.truncate(k);
    near.sort_by(order);
    let least = f64::from(near[0].0);
    let wanted = PERPLEXITY.min(k as f64 / 2.0).ln();
    let (mut low, mut high, mut beta) = (0f64, f64::INFINITY, 1f64);
    let mut p = vec![0f64; k];
    for _ in 0..60 {
        p.iter_mut().zip(&near).for_each(|(p, d)| *p = (-beta * (f64::from(d.0) - least)).exp());
        let sum: f64 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= sum);
        let entropy: f64 = p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        if (entropy - wanted).abs() < 1e-4 {
            break;
        }
        if entropy > wanted {
            low = beta
        } else {
            high = beta
        }
        beta = if high.is_finite() { (low + high) / 2.0 } else { beta * 2.0 };
    }
    near.iter().zip(p).map(|(d, p)| (d.1, p)).collect()
}

/// Gradient descent with momentum and gains on the Kullback-Leibler divergence.
fn descend(pulls: &Pulls, start: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let n = start.len();
    let spread = (start.iter().map(|p| p[0] * p[0]).sum::<f32>() / n as f32).sqrt().max(f32::MIN_POSITIVE);
    let mut at: [Vec<f32>; 2] = [0, 1].map(|axis| start.iter().map(|p| p[axis] / spread * 1e-4).collect());
    at.iter_mut().for_each(|axis| axis.resize(n.div_ceil(LANES) * LANES, NOWHERE));
    let rate = (n as f32 / EXAGGERATION).max(50.0);
    let (mut step, mut gain) = (vec![[0f32; 2]; n], vec![[1f32; 2]; n]);
    for round in 0..ROUNDS {
        let (exaggeration, momentum) = if round < GATHERING_ROUNDS { (EXAGGERATION, 0.5) } else { (1.0, 0.8) };
        // of each row: pull, push, and its share of the normaliser
        let forces: Vec<([f32; 2], [f32; 2], f32)> =
            (0..n).into_par_iter().with_min_len(128).map(|i| forces(pulls, &at, i)).collect();
        // a row meets itself with weight 1
        let total: f32 = forces.iter().map(|f| f.2 - 1.0).sum::<f32>().max(f32::MIN_POSITIVE);
        for i in 0..n {
            for axis in 0..2 {
                let gradient = 4.0 * (exaggeration * forces[i].0[axis] - forces[i].1[axis] / total);
                let same = (gradient > 0.0) == (step[i][axis] > 0.0);
                gain[i][axis] = if same { gain[i][axis] * 0.8 } else { gain[i][axis] + 0.2 }.max(0.01);
                step[i][axis] = momentum * step[i][axis] - rate * gain[i][axis] * gradient;
                at[axis][i] += step[i][axis];
            }
        }
        for axis in &mut at {
            let mean = axis[..n].iter().sum::<f32>() / n as f32;
            axis[..n].iter_mut().for_each(|x| *x -= mean);
        }
    }
    (0..n).map(|i| [at[0][i], at[1][i]]).collect()
}

fn forces(pulls: &Pulls, at: &[Vec<f32>; 2], i: usize) -> ([f32; 2], [f32; 2], f32) {
    let (x, y) = (at[0][i], at[1][i]);
    let mut pull = [0f32; 2];
    for e in pulls.starts[i]..pulls.starts[i + 1] {
        let j = pulls.partners[e] as usize;
        let (dx, dy) = (x - at[0][j], y - at[1][j]);
        let w = pulls.weights[e] / (1.0 + dx * dx + dy * dy);
        pull = [pull[0] + w * dx, pull[1] + w * dy];
    }
    let (mut push_x, mut push_y, mut sum) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    let (xs, ys) = (at[0].as_chunks::<LANES>().0, at[1].as_chunks::<LANES>().0);
    vectorised(
        #[inline(always)]
        || {
            for (xs, ys) in xs.iter().zip(ys) {
                for l in 0..LANES {
                    let (dx, dy) = (x - xs[l], y - ys[l]);
                    let q = 1.0 / (1.0 + dx * dx + dy * dy);
                    sum[l] += q;
                    push_x[l] += q * q * dx;
                    push_y[l] += q * q * dy;
                }
            }
        },
    );
    (pull, [push_x.iter().sum(), push_y.iter().sum()], sum.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows around `n_clusters` directions, cluster of row i is i mod n_clusters.
    fn clusters(n: usize, n_clusters: usize, d: usize) -> Matrix<f32> {
        let mut stream = Stream::new(3, "clusters", 0);
        let centres: Vec<Vec<f32>> =
            (0..n_clusters).map(|_| (0..d).map(|_| stream.gaussian() as f32).collect()).collect();
        let rows = (0..n).flat_map(|i| centres[i % n_clusters].clone());
        let noisy = rows.map(|x| x + 0.3 * stream.gaussian() as f32).collect();
        Matrix::from_vec(n, d, noisy)
    }

    #[test]
    fn neighbours_in_space_are_neighbours_in_the_plane() {
        let (n, k) = (120, 5);
        let rows = clusters(n, k, 40);
        let places = embed(&rows);
        let nearest = |i: usize| {
            let distance = |j: usize| (places[i][0] - places[j][0]).powi(2) + (places[i][1] - places[j][1]).powi(2);
            (0..n).filter(|j| *j != i).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap()
        };
        let kin = (0..n).filter(|&i| nearest(i) % k == i % k).count();
        assert!(kin >= n - 2, "{kin} of {n} have their nearest in their own cluster");
        assert_eq!(places, embed(&rows), "the same rows give the same places");
        let [x, y] = on_grid(&places, 1000.0);
        assert!(x.iter().chain(&y).all(|v| *v <= 1000) && (x.contains(&0) || y.contains(&0)));
    }

    #[test]
    fn few_or_equal_rows_have_finite_places() {
        for n in [0, 1, 3, 12] {
            let places = embed(&Matrix::from_vec(n, 4, vec![1.0; n * 4]));
            assert!(places.len() == n && places.iter().flatten().all(|x| x.is_finite()), "{places:?}");
            assert_eq!(on_grid(&places, 1000.0)[0].len(), n);
        }
        let zeros = embed(&Matrix::zeros(11, 4));
        assert!(zeros.iter().flatten().all(|x| x.is_finite()));
    }
}
