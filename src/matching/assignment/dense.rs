//! Which one-to-one pairing has the largest sum? Shortest augmenting paths on a dense matrix.
//!
//! Crouse 2016, "On implementing 2D rectangular assignment algorithms" (the method of SciPy's `linear_sum_assignment`):
//! one Dijkstra search a row over reduced costs, `O(n_rows² n_cols)` at worst.

use super::integer_costs;
use crate::error::Result;
use crate::linalg::Matrix;

const NONE: usize = usize::MAX;

/// The pairs `(row, column)` of the one-to-one pairing with the largest sum of `scores: [n_rows, n_cols]`, by row. Every
/// row or column of the smaller side is used, even at a negative score. Of equally short paths the one that ends in a free
/// column, then in the lowest column, is taken.
///
/// # Errors
/// `Input` for scores that are not finite.
pub fn hungarian(scores: &Matrix<f64>) -> Result<Vec<(usize, usize)>> {
    let (m, n) = (scores.n_rows(), scores.n_cols());
    let costs = integer_costs(scores.as_slice())?;
    if m <= n {
        return Ok(assign(&costs, m, n).into_iter().enumerate().collect());
    }
    let mut flipped = Vec::with_capacity(costs.len());
    for j in 0..n {
        flipped.extend((0..m).map(|i| costs[i * n + j]));
    }
    let mut pairs: Vec<(usize, usize)> =
        assign(&flipped, n, m).into_iter().enumerate().map(|(col, row)| (row, col)).collect();
    pairs.sort_unstable();
    Ok(pairs)
}

/// Column of each row, `m <= n`, least total cost.
fn assign(costs: &[i64], m: usize, n: usize) -> Vec<usize> {
    let (mut u, mut v) = (vec![0i64; m], vec![0i64; n]);
    let (mut column_of, mut row_of) = (vec![NONE; m], vec![NONE; n]);
    let mut distance = vec![0i64; n];
    let mut from = vec![NONE; n];
    for start in 0..m {
        distance.fill(i64::MAX);
        let mut open: Vec<usize> = (0..n).collect();
        let mut closed: Vec<usize> = Vec::new();
        let (mut row, mut reached) = (start, 0);
        let end = loop {
            let (mut best, mut at) = ((i64::MAX, true, NONE), NONE);
            let line = &costs[row * n..][..n];
            for (k, &j) in open.iter().enumerate() {
                let through = reached + line[j] - u[row] - v[j];
                if through < distance[j] {
                    distance[j] = through;
                    from[j] = row;
                }
                let key = (distance[j], row_of[j] != NONE, j);
                if key < best {
                    (best, at) = (key, k);
                }
            }
            let j = open.swap_remove(at);
            reached = best.0;
            if row_of[j] == NONE {
                break j;
            }
            closed.push(j);
            row = row_of[j];
        };
        u[start] += reached;
        for &j in &closed {
            u[row_of[j]] += reached - distance[j];
            v[j] -= reached - distance[j];
        }
        let mut j = end;
        loop {
            let row = from[j];
            row_of[j] = row;
            std::mem::swap(&mut column_of[row], &mut j);
            if row == start {
                break;
            }
        }
    }
    column_of
}
